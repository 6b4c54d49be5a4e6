r"""What a pilot tells of designs before the run: variances, slopes and shares, each with its error.

Variances are compared on the log scale. With s^2 the variance of R replicate means, nearly normal,

.. math:: E \log s^2 = \log \sigma^2 + \psi(\nu / 2) - \log(\nu / 2), \qquad
   \operatorname{Var} \log s^2 = \psi'(\nu / 2), \qquad \nu = R - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, OrthogonalAntithetic, Sobol, Subspace
from mcgen.errors import GeneratorWarning, warn_user
from mcgen.generators import Generator
from mcgen.generators.joint import OnSomeBlocks
from mcgen.inference.log_ratios import LogRatio, log_variance_of, skew
from mcgen.noise import NoiseSpec, as_rows
from mcgen.noise.directions import Basis
from mcgen.replicates.pilot import pilot_means
from mcgen.replicates.task import Estimand
from mcgen.statistics import Combined, Statistic
from mcgen.variance_reduction.bases.cosines import dct_basis
from mcgen.variance_reduction.bases.gradients import active_subspace
from mcgen.variance_reduction.bases.pilot import NoGradientError
from mcgen.variance_reduction.bases.regression import regression_basis
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.controls.quadratic import quadratic
from mcgen.variance_reduction.levels.sum_of_levels import slopes
from mcgen.variance_reduction.planning.shrinkage import (
    LEAST_SCATTER,
    PRIOR_OF_DOUBLING,
    PRIORS,
    doubling_gain,
    shrunk,
)

FEWEST_REPLICATES = 4
"""Below so many replicates a trial is not worth what it costs."""
_WANTED_REPLICATES, _MOST_REPLICATES = 6, 100
_SMALLEST_NET = 8
_FEWEST_PAIRS = 8
# The net's share of what is left for trials.
_OF_NETS = 0.6

MOST_DIRECTIONS = 32
_MOST_GRADIENTS = 64
# Components whose gradients are taken one by one; of more, so many random combinations.
_MOST_COMPONENTS = 8
# Shares of what a pilot may spend; what is left is for the trials of designs.
_SHARES = {"gradients": 0.2, "pairs": 0.35, "controls": 0.1}
_MOST_CONTROLLED, _FEWEST_TO_CONTROL = 8, 100
# The number of values per dimension for a direction that is found from them.
_VALUES_A_DIMENSION = 8


_FEWEST_TO_QUARTER = 16


@dataclass(frozen=True)
class Coarse:
    """A cheaper generator on the noise of the one that is estimated, and what an evaluation of it costs in its."""

    generator: Generator
    cost: float

    def on(self, noise: NoiseSpec) -> Generator:
        """Return it as a generator that takes all of a noise."""
        return self.generator if self.generator.noise == noise else OnSomeBlocks(self.generator, noise)


@dataclass
class Pilot:
    """What a pilot measured; all variances are of means over antithetic pairs, of each component.

    Attributes
    ----------
    pairs : ndarray of shape (n_pairs, k)
        Of the generator.
    within : ndarray of shape (n_pairs, k)
        Mean squared deviations inside them.
    coarse_pairs : list of ndarray of shape (n_pairs, k)
        The same pairs of each coarse generator.
    odd_differences : list of ndarray of shape (k,)
        Of the variance of the difference to each coarse generator the share that is odd in the noise.
    basis : Basis or None
        Leading directions.
    gains : dict of LogRatio
        The log efficiency over pairs of each design that was tried, or is known from other models.
    tried : dict of int
        Replicates of its trial.
    doubling : tuple of float
        The log gain of each doubling of a net's points, and its error.
    spent : float
        In evaluations of the generator.
    """

    pairs: Floats
    within: Floats
    coarse_pairs: list[Floats]
    odd_differences: list[Floats] = field(default_factory=list)
    basis: Basis | None = None
    gains: dict[Design, LogRatio] = field(default_factory=dict)
    tried: dict[Design, int] = field(default_factory=dict)
    doubling: tuple[float, float] = PRIOR_OF_DOUBLING
    controls: Controls | None = None
    residual_skewness: float = 0.0
    controlled: LogRatio | None = None
    spent: float = 0.0

    @property
    def variance(self) -> Floats:
        """Of a pair mean, shape (k,)."""
        return np.asarray(self.pairs.var(axis=0, ddof=1))

    @property
    def point_variance(self) -> Floats:
        """Of one value, shape (k,)."""
        return np.asarray(self.within.mean(axis=0) + self.variance)

    def correlation(self, number: int) -> Floats:
        """Return the correlation of pair means of the generator and of a coarse one, shape (k,)."""
        fine, coarse = (part - part.mean(axis=0) for part in (self.pairs, self.coarse_pairs[number]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(
                np.nan_to_num((fine * coarse).sum(axis=0) / np.sqrt((fine**2).sum(axis=0) * (coarse**2).sum(axis=0)))
            )

    def correction(self, number: int) -> tuple[Floats, LogRatio]:
        """Return the slopes by a coarse generator's pair means, and the log variance of what they leave."""
        b = slopes(self.pairs, self.coarse_pairs[number])
        left = (self.pairs - b * self.coarse_pairs[number]).var(axis=0) * len(self.pairs)
        return b, log_variance_of(left / (len(self.pairs) - 2), len(self.pairs) - 2)


def run_pilot(
    estimand: Estimand, coarse: Sequence[Coarse], budget: float, points: int, batch_size: int | None
) -> Pilot:
    """Spend at most a budget, in evaluations of the estimand's generator, on what tells designs apart.

    Parameters
    ----------
    estimand : Estimand
        What will be estimated.
    coarse : sequence of Coarse
        Generators that may stand below it; gradients and trials are on the cheapest.
    budget : float
        In evaluations of the estimand's generator.
    points : int
        Of a replicate of the designs that are tried.
    batch_size : int or None
        As for `mcgen.estimate`.
    """
    noise = estimand.generator.noise
    cheapest = min(coarse, key=lambda one: one.cost, default=Coarse(estimand.generator, 1.0))
    each = 2 * (1 + sum(one.cost for one in coarse))
    n_pairs = max(FEWEST_REPLICATES, int(_SHARES["pairs"] * budget / each))
    generators = [estimand.generator, *(one.on(noise) for one in coarse)]
    rows = pilot_means(estimand, Antithetic(), generators, n_pairs, batch_size, "plan")
    below = [means for means, _ in rows[1 : 1 + len(coarse)]]
    pilot = Pilot(rows[0][0], rows[0][1], below, spent=n_pairs * each)
    pilot.odd_differences = [odd_share(*rows_of) for rows_of in rows[1 + len(coarse) :]]
    pilot.basis = _basis(estimand, cheapest, pilot, _SHARES["gradients"] * budget)
    source = replace(estimand, generator=cheapest.on(noise))
    _try_controls(source, pilot, int(_SHARES["controls"] * budget / (2 * cheapest.cost)), cheapest.cost, batch_size)
    reference = _reference(estimand, coarse, cheapest, pilot)
    for design in designs_to_try(noise, pilot.basis, points, (budget - pilot.spent) / cheapest.cost):
        prior, smaller = PRIORS[type(design).__name__], _quarter(design)
        size = design.n_points + (0 if smaller is None else smaller.n_points)
        # Frames come last, with what is left; nothing can go far wrong with them, and they need not be tried.
        room = (budget - pilot.spent) / cheapest.cost * (1 if isinstance(design, OrthogonalAntithetic) else _OF_NETS)
        n = min(_MOST_REPLICATES, int(room / size))
        if n < FEWEST_REPLICATES:
            if isinstance(design, OrthogonalAntithetic):
                error = math.hypot(prior[1], math.sqrt(LEAST_SCATTER))
                pilot.gains[design] = LogRatio.of((prior[0], error), len(pilot.variance))
            continue
        work = _trial_log_variance(source, design, n, batch_size)
        pilot.spent += n * size * cheapest.cost
        pilot.gains[design], pilot.tried[design] = shrunk(reference.minus(work), prior), n
        if smaller is not None:
            pilot.doubling = doubling_gain(_trial_log_variance(source, smaller, n, batch_size).minus(work))
    return pilot


def odd_share(means: Floats, within: Floats) -> Floats:
    """Return of the variance of one value the share that pairs take away, from their means and deviations (R, k)."""
    even, odd = means.var(axis=0, ddof=1), within.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(odd / (even + odd)))


def affords_pairs(coarse: Sequence[Coarse], budget: float) -> bool:
    """Tell whether a pilot has enough pairs of the generator and all these coarse ones."""
    return _SHARES["pairs"] * budget >= 2 * _FEWEST_PAIRS * (1 + sum(one.cost for one in coarse))


def _try_controls(source: Estimand, pilot: Pilot, n_pairs: int, cost: float, batch_size: int | None) -> None:
    """Regress pair means on the squares and products of as many leading coordinates as there are pairs for."""
    noise = source.generator.noise
    r = max((r for r in range(1, _MOST_CONTROLLED + 1) if r * (r + 1) / 2 <= n_pairs / 3), default=0)
    # Few pairs do not show how skewed the rest is, on which the interval of controlled means depends most.
    if pilot.basis is None or r == 0 or n_pairs < _FEWEST_TO_CONTROL or not pilot.basis.by_block(noise):
        return
    controls = quadratic(pilot.basis.leading(min(r, pilot.basis.n_directions)))
    means, _ = pilot_means(source, Antithetic(), [source.generator], n_pairs, batch_size, "plan", "controls")[0]
    pilot.spent += 2 * n_pairs * cost
    stream = ("pilot", "plan", "controls", *source.stream)
    first = as_rows(Antithetic().draw(noise, n_pairs, source.seed, stream=stream, points=range(1)))
    # With pairs the odd ones, which come first, are zero.
    x = controls.function(first, noise)[:, controls.bases[0].n_directions :]
    x = np.column_stack([np.ones(n_pairs), x])
    left = means - x @ np.linalg.lstsq(x, means, rcond=None)[0]
    df = n_pairs - x.shape[1]
    varies = left.std(axis=0) > 0
    pilot.residual_skewness = float(np.abs(skew(left[:, varies])).max(initial=0.0))
    alone = log_variance_of(means.var(axis=0, ddof=1), n_pairs - 1)
    # Both are of the same pairs, so that only what was left has an error of its own.
    gain = LogRatio(alone.value, np.zeros(len(alone.value))).minus(log_variance_of((left**2).sum(axis=0) / df, df))
    pilot.controls, pilot.controlled = controls, shrunk(gain, PRIORS["controls"])


def _trial_log_variance(source: Estimand, design: Design, n_replicates: int, batch_size: int | None) -> LogRatio:
    """Return the log of (variance of a replicate mean) x (points of a replicate), from a trial."""
    means, _ = pilot_means(source, design, [source.generator], n_replicates, batch_size, "plan", "trial")[0]
    return log_variance_of(design.n_points * means.var(axis=0, ddof=1), n_replicates - 1)


def _quarter(design: Design) -> Design | None:
    """Return the same with a net of a quarter of the points, which tells what larger nets bring."""
    if not isinstance(design, Subspace) or design.n_points < _FEWEST_TO_QUARTER:
        return None
    return replace(design, leading=Sobol(design.n_points // 4))


def designs_to_try(noise: NoiseSpec, basis: Basis | None, points: int, room: float) -> list[Design]:
    """Return a net on leading directions, as large as so many evaluations can try, and orthogonal frames.

    Of at most `points` points; no net where there is not even room for one of 8.
    """
    found: list[Design] = []
    if basis is not None:
        size = points
        while size > _SMALLEST_NET and size * 1.25 * _WANTED_REPLICATES > room * _OF_NETS:
            size //= 2
        found.append(Subspace(basis, Sobol(size)))
    steered = [block.size for _, block in noise.blocks if not block.iid]
    smallest = min(steered, default=1)
    frame = min(points, 1 << int(math.log2(2 * smallest)))
    return [*found, OrthogonalAntithetic(frame)] if frame > 2 else found


def _reference(estimand: Estimand, coarse: Sequence[Coarse], cheapest: Coarse, pilot: Pilot) -> LogRatio:
    """Return the log of (variance of a pair mean) x 2 of the generator that trials are on."""
    means = next((means for one, means in zip(coarse, pilot.coarse_pairs, strict=True) if one is cheapest), pilot.pairs)
    return log_variance_of(2 * means.var(axis=0, ddof=1), len(means) - 1)


def _basis(estimand: Estimand, source: Coarse, pilot: Pilot, budget: float) -> Basis | None:
    """Return leading directions from as many gradients as the budget has.

    Where there are none: from values, if these are many for the dimensions, or cosines, if the noise has axes.
    """
    noise = source.generator.noise
    dimension = sum(block.size for _, block in noise.blocks if not block.iid)
    if dimension == 0:
        return None
    r, statistic = min(MOST_DIRECTIONS, dimension), _combined(estimand.statistic, pilot)
    k = min(len(pilot.variance), _MOST_COMPONENTS)
    each = 1 + 2 * k if hasattr(source.generator, "jacobian") else 3 * k
    n = min(_MOST_GRADIENTS, int(budget / (source.cost * each)))
    options: dict[str, Any] = {"seed": estimand.seed, "condition": estimand.condition, "coarse": source.generator}
    options["cost"] = source.cost
    if n >= 2 and hasattr(source.generator, "gradient"):
        try:
            found = active_subspace(estimand.generator, statistic, r, n_gradients=n, at_most=True, **options)
        except NoGradientError as error:
            warn_user(f"{error}; the plan does without the directions of gradients", GeneratorWarning)
            pilot.spent += error.n_evaluations
        else:
            pilot.spent += found.n_evaluations
            return found
    evaluations = int(budget / source.cost)
    if evaluations >= _VALUES_A_DIMENSION * dimension and (pilot.point_variance > 0).any():
        found = regression_basis(estimand.generator, statistic, r, n_evaluations=evaluations, **options)
        pilot.spent += found.n_evaluations
        return found
    axes = max(sum(n > 1 for n in block.shape) for _, block in noise.blocks if not block.iid)
    return dct_basis(noise, r) if axes > 1 else None


def _combined(statistic: Statistic, pilot: Pilot) -> Statistic:
    """Return a statistic of few components: itself, or random combinations of many."""
    k, scale = len(pilot.variance), np.sqrt(pilot.point_variance)
    if k <= _MOST_COMPONENTS:
        return statistic
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(k, _MOST_COMPONENTS))
    return Combined(statistic, signs * np.where(scale > 0, 1 / np.maximum(scale, 1e-300), 0.0)[:, None])

r"""What a pilot measures before the run: variances, slopes, correlations and log efficiencies, each with its error.

All comparisons are of w, the variance of a replicate mean times the number of points of a replicate: the variance of an
estimate is w / n after n evaluations. Logarithms of variances are corrected for their bias. With s^2 the variance of
R nearly normal replicate means,

.. math:: E \log s^2 = \log \sigma^2 + \psi(\nu / 2) - \log(\nu / 2), \qquad
   \operatorname{Var} \log s^2 = \psi'(\nu / 2), \qquad \nu = R - 1.

Log efficiencies from few replicates are then shrunk, see `shrinkage`.
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
from mcgen.replicates.pilot import pilot_means, pilot_stream
from mcgen.replicates.task import Estimand
from mcgen.statistics import Combined, Statistic
from mcgen.variance_reduction.bases.cosines import dct_basis
from mcgen.variance_reduction.bases.gradients import active_subspace
from mcgen.variance_reduction.bases.pilot import NoGradientError
from mcgen.variance_reduction.bases.regression import regression_basis
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.controls.quadratic import quadratic
from mcgen.variance_reduction.levels.sum_of_levels import residual_variance, slopes
from mcgen.variance_reduction.planning.shrinkage import (
    LEAST_SCATTER,
    PRIOR_OF_DOUBLING,
    PRIOR_OF_DOUBLING_IN_ALL,
    PRIORS,
    doubling_gain,
    shrunk,
)

# Fewest replicates of a trial: with fewer the standard deviation of its log variance is above 1 (with 4 it is 0.97).
_FEWEST_REPLICATES = 4
# Fewest replicates for which a larger net is tried: the standard deviation of the log variance is 0.70.
_WANTED_REPLICATES = 6
# Most replicates of a trial: with 100 the standard deviation of the log variance is 0.14, below that of the priors.
_MOST_REPLICATES = 100
# Fewest Sobol' points that are tried on the leading directions.
_SMALLEST_NET = 8
# Fewest points of a net that is also tried with a quarter of its points, so that the smaller net has 4 or more.
_FEWEST_TO_QUARTER = 16
# Fewest pairs to measure a correlation with a coarse generator: its Fisher transform has a standard error of 0.45.
_FEWEST_PAIRS = 8
# Part of the remaining budget for the trial of Sobol' points; the rest is for orthogonal frames.
_NET_SHARE = 0.6
# Parts of the pilot's budget; the remaining 0.35 are for trials of designs.
_SHARES = {"gradients": 0.2, "pairs": 0.35, "controls": 0.1}

# Most leading directions that are looked for, as many as on the documentation's page on efficiency.
_MOST_DIRECTIONS = 32
# Most points at which gradients are taken: 64 gradients span twice as many directions as are looked for.
_MOST_GRADIENTS = 64
# Most components whose gradients are taken: 8 cost up to 24 evaluations a point. More components are replaced by 8
# random combinations of them.
_MOST_COMPONENTS = 8
# Most leading directions that make controls: 8 have 36 squares and products.
_MOST_CONTROLLED = 8
# Fewest pairs for a trial of controls: fewer do not show how skewed the residuals are, on which coverage depends most.
_FEWEST_TO_CONTROL = 100
# A regression basis needs 8 evaluations per noise dimension: with fewer the directions are mostly noise.
_VALUES_PER_DIMENSION = 8


@dataclass(frozen=True)
class Coarse:
    """A cheaper generator on the same noise, with the cost of one evaluation in evaluations of the generator."""

    generator: Generator
    cost: float

    def on(self, noise: NoiseSpec) -> Generator:
        """Return the generator as one that takes the given noise, of which it may use some blocks only."""
        return self.generator if self.generator.noise == noise else OnSomeBlocks(self.generator, noise)


@dataclass
class Pilot:
    """What a pilot measured; variances are of means of antithetic pairs, one for each of k components.

    Attributes
    ----------
    pairs : ndarray of shape (n_pairs, k)
        Pair means of the generator.
    within : ndarray of shape (n_pairs, k)
        Mean squared deviations inside the pairs.
    coarse_pairs : list of ndarray of shape (n_pairs, k)
        Pair means of each coarse generator on the same noise.
    odd_differences : list of ndarray of shape (k,)
        For each coarse generator the odd share of the variance of its difference to the generator, see `odd_share`.
    basis : Basis or None
        Leading directions.
    gains : dict of LogRatio
        Log efficiency over pairs of each design, from a trial or from other models; -inf for components that pairs
        alone integrate exactly.
    tried : dict of int
        Number of replicates of each design's trial; designs known from other models are not in it.
    doubling : dict of tuple of float
        Log efficiency that a doubling of a net's points adds, and its error, of each net that was tried with fewer.
    controls : Controls or None
        Squares and products of leading coordinates, if they were tried.
    controls_gain : LogRatio or None
        Log efficiency of pairs with these controls over pairs.
    residual_skewness : float
        Largest absolute skewness of what these controls leave of pair means.
    spent : float
        Cost of the pilot so far, in evaluations of the generator.
    """

    pairs: Floats
    within: Floats
    coarse_pairs: list[Floats]
    odd_differences: list[Floats] = field(default_factory=list)
    basis: Basis | None = None
    gains: dict[Design, LogRatio] = field(default_factory=dict)
    tried: dict[Design, int] = field(default_factory=dict)
    doubling: dict[Design, tuple[float, float]] = field(default_factory=dict)
    controls: Controls | None = None
    controls_gain: LogRatio | None = None
    residual_skewness: float = 0.0
    spent: float = 0.0

    @property
    def variance(self) -> Floats:
        """The variance of a pair mean, shape (k,)."""
        return np.asarray(self.pairs.var(axis=0, ddof=1))

    @property
    def point_variance(self) -> Floats:
        """The variance of one value, shape (k,)."""
        return np.asarray(self.within.mean(axis=0) + self.variance)

    def correlation(self, number: int) -> Floats:
        """Return the correlation of pair means of the generator and of a coarse one, shape (k,).

        It is 0 where either does not vary.
        """
        fine, coarse = (part - part.mean(axis=0) for part in (self.pairs, self.coarse_pairs[number]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(
                np.nan_to_num((fine * coarse).sum(axis=0) / np.sqrt((fine**2).sum(axis=0) * (coarse**2).sum(axis=0)))
            )

    def correction(self, number: int) -> tuple[Floats, LogRatio]:
        """Return the slopes b on a coarse generator's pair means, and the log of Var(fine - b coarse)."""
        coarse, df = self.coarse_pairs[number], len(self.pairs) - 2
        b = slopes(self.pairs, coarse)
        return b, log_variance_of(residual_variance(self.pairs, coarse, b, df), df)


def run_pilot(
    estimand: Estimand, coarse: Sequence[Coarse], budget: float, points: int, batch_size: int | None
) -> Pilot:
    """Run a pilot of at most `budget` evaluations and return what it measured.

    Parameters
    ----------
    estimand : Estimand
        The estimand of the run.
    coarse : sequence of Coarse
        Generators for a coarse level. Gradients and trials of designs use the cheapest one.
    budget : float
        Upper limit of the cost, in evaluations of the estimand's generator.
    points : int
        Upper limit of the points of a replicate in trials of designs.
    batch_size : int or None
        As for `mcgen.estimate`.
    """
    noise = estimand.generator.noise
    cheapest = min(coarse, key=lambda one: one.cost, default=Coarse(estimand.generator, 1.0))
    pilot = _measured_pairs(estimand, coarse, budget, batch_size)
    pilot.basis = _basis(estimand, cheapest, pilot, _SHARES["gradients"] * budget)
    source = replace(estimand, generator=cheapest.on(noise))
    _try_controls(source, pilot, int(_SHARES["controls"] * budget / (2 * cheapest.cost)), cheapest.cost, batch_size)
    reference = _pairs_of(cheapest, coarse, pilot)
    for design in designs_to_try(noise, pilot.basis, points, (budget - pilot.spent) / cheapest.cost):
        _try_design(design, source, pilot, reference, budget, cheapest.cost, batch_size)
    return pilot


def _measured_pairs(estimand: Estimand, coarse: Sequence[Coarse], budget: float, batch_size: int | None) -> Pilot:
    """Return a pilot with antithetic pairs of the generator and of all coarse ones on the same noise."""
    pair_cost = 2 * (1 + sum(one.cost for one in coarse))
    n_pairs = max(_FEWEST_REPLICATES, int(_SHARES["pairs"] * budget / pair_cost))
    generators = [estimand.generator, *(one.on(estimand.generator.noise) for one in coarse)]
    rows = pilot_means(estimand, Antithetic(), generators, n_pairs, batch_size, "plan")
    own, of_coarse, differences = rows[0], rows[1 : 1 + len(coarse)], rows[1 + len(coarse) :]
    pilot = Pilot(*own, [means for means, _ in of_coarse], spent=n_pairs * pair_cost)
    pilot.odd_differences = [odd_share(means, within) for means, within in differences]
    return pilot


def _pairs_of(cheapest: Coarse, coarse: Sequence[Coarse], pilot: Pilot) -> LogRatio:
    """Return log w of antithetic pairs of the generator that trials use."""
    for one, means in zip(coarse, pilot.coarse_pairs, strict=True):
        if one is cheapest:
            return log_w(means, 2)
    return log_w(pilot.pairs, 2)


def _try_design(
    design: Design,
    source: Estimand,
    pilot: Pilot,
    reference: LogRatio,
    budget: float,
    cost: float,
    batch_size: int | None,
) -> None:
    """Measure a design's log efficiency over pairs and add it to the pilot, if there are evaluations for a trial.

    As many replicates of a quarter of the Sobol' points show how fast w falls with the number of points. Orthogonal
    frames are tried last, with all remaining evaluations. Without a trial they keep their prior, since they are known
    to lose at most a few per cent to pairs.
    """
    prior, smaller = PRIORS[type(design).__name__], _quarter(design)
    are_frames = isinstance(design, OrthogonalAntithetic)
    points = design.n_points + (0 if smaller is None else smaller.n_points)
    n = min(_MOST_REPLICATES, int((budget - pilot.spent) / cost * (1 if are_frames else _NET_SHARE) / points))
    if n < _FEWEST_REPLICATES:
        if are_frames:
            error = math.hypot(prior[1], math.sqrt(LEAST_SCATTER))
            pilot.gains[design] = LogRatio.of((prior[0], error), len(pilot.variance))
        return
    tried = _trial(source, design, n, batch_size)
    pilot.spent += n * points * cost
    gain = shrunk(reference.minus(tried), prior)
    # What pairs integrate exactly and the design does not is no gain of an unknown size.
    lost = (pilot.variance == 0) & np.isneginf(reference.value) & np.isfinite(tried.value)
    pilot.gains[design], pilot.tried[design] = LogRatio(np.where(lost, -np.inf, gain.value), gain.variance), n
    if smaller is not None:
        fourfold = _trial(source, smaller, n, batch_size).minus(tried)
        pilot.doubling[design] = doubling_gain(fourfold, prior_of_doubling(design))


def prior_of_doubling(design: Design) -> tuple[float, float]:
    """Return what is known beforehand of a doubling of a net's points."""
    return PRIOR_OF_DOUBLING_IN_ALL if isinstance(design, Sobol) else PRIOR_OF_DOUBLING


def odd_share(means: Floats, within: Floats) -> Floats:
    r"""Return the odd share of the variance of one value, which antithetic pairs remove: shape (k,).

    The half difference of a pair is the odd part of the statistic, the pair mean the even part. The share is
    odd / (even + odd), with even the variance of the pair means and odd the mean of `within`; 0 where neither varies.

    Parameters
    ----------
    means, within : ndarray of shape (R, k)
        Pair means, and mean squared deviations from them.
    """
    even, odd = means.var(axis=0, ddof=1), within.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(odd / (even + odd)))


def affords_pairs(coarse: Sequence[Coarse], budget: float) -> bool:
    """Return whether a pilot of this budget has enough pairs of the generator and of all these coarse ones."""
    return _SHARES["pairs"] * budget >= 2 * _FEWEST_PAIRS * (1 + sum(one.cost for one in coarse))


def _try_controls(source: Estimand, pilot: Pilot, n_pairs: int, cost: float, batch_size: int | None) -> None:
    """Regress pair means on the squares and products of leading coordinates and add their efficiency to the pilot.

    There are three pairs or more for each control; nothing is done where the pairs or the directions are too few.
    """
    noise = source.generator.noise
    r = max((r for r in range(1, _MOST_CONTROLLED + 1) if r * (r + 1) / 2 <= n_pairs / 3), default=0)
    if pilot.basis is None or r == 0 or n_pairs < _FEWEST_TO_CONTROL or not pilot.basis.by_block(noise):
        return
    controls = quadratic(pilot.basis.leading(min(r, pilot.basis.n_directions)))
    means, _ = pilot_means(source, Antithetic(), [source.generator], n_pairs, batch_size, "plan", "controls")[0]
    pilot.spent += 2 * n_pairs * cost
    residuals, df = _residuals(means, _even_controls(controls, source, n_pairs))
    varies = residuals.std(axis=0) > 0
    pilot.residual_skewness = float(np.abs(skew(residuals[:, varies])).max(initial=0.0))
    log_variance = log_variance_of(means.var(axis=0, ddof=1), n_pairs - 1)
    # Both variances come from the same pairs, so that only that of the residuals counts as uncertain.
    exact = LogRatio(log_variance.value, np.zeros(len(log_variance.value)))
    gain = exact.minus(log_variance_of((residuals**2).sum(axis=0) / df, df))
    pilot.controls, pilot.controls_gain = controls, shrunk(gain, PRIORS["controls"])


def _even_controls(controls: Controls, source: Estimand, n_pairs: int) -> Floats:
    """Return the pair means of quadratic controls on the pilot's noise, without the odd ones, which are 0.

    The even ones have the same value at both points of a pair, so the first points are enough.
    """
    noise, stream = source.generator.noise, pilot_stream(source.stream, "plan", "controls")
    first = as_rows(Antithetic().draw(noise, n_pairs, source.seed, stream=stream, points=range(1)))
    values: Floats = controls.function(first, noise)
    return values[:, controls.bases[0].n_directions :]


def _residuals(means: Floats, controls: Floats) -> tuple[Floats, int]:
    """Return the least-squares residuals of means on controls with an intercept, and their degrees of freedom."""
    x = np.column_stack([np.ones(len(means)), controls])
    return means - x @ np.linalg.lstsq(x, means, rcond=None)[0], len(means) - x.shape[1]


def log_w(means: Floats, n_points: int) -> LogRatio:
    """Return the log of w = n_points x variance of the replicate means (R, k), with its error."""
    return log_variance_of(n_points * means.var(axis=0, ddof=1), len(means) - 1)


def _trial(source: Estimand, design: Design, n_replicates: int, batch_size: int | None) -> LogRatio:
    """Run some replicates of a design and return its log w."""
    means, _ = pilot_means(source, design, [source.generator], n_replicates, batch_size, "plan", "trial")[0]
    return log_w(means, design.n_points)


def _quarter(design: Design) -> Design | None:
    """Return this design with a quarter of its Sobol' points, or None where there are none or too few."""
    if design.n_points < (_FEWEST_TO_QUARTER if isinstance(design, Subspace) else _SMALLEST_NET):
        return None
    if isinstance(design, Subspace):
        return replace(design, leading=Sobol(design.n_points // 4))
    return Sobol(design.n_points // 4) if isinstance(design, Sobol) else None


def designs_to_try(noise: NoiseSpec, basis: Basis | None, points: int, evaluations: float) -> list[Design]:
    """Return Sobol' points on the leading directions and in all dimensions, and orthogonal frames.

    Each has at most `points` points. The nets are as large as the evaluations allow for 6 replicates of each and of a
    quarter of it, and have 8 points or more. There is none on directions without a basis. There is none in all
    dimensions where these are many, or where gradients found directions, which are worth more. Frames are left out for
    noise of one dimension.
    """
    steered = [block.size for _, block in noise.blocks if not block.iid]
    in_all = 0 < sum(steered) <= _MOST_DIRECTIONS and (basis is None or basis.importance is None)
    share, size = evaluations * _NET_SHARE / (2 if in_all and basis is not None else 1), points
    while size > _SMALLEST_NET and size * 1.25 * _WANTED_REPLICATES > share:
        size //= 2
    found: list[Design] = [] if basis is None else [Subspace(basis, Sobol(size))]
    found += [Sobol(size)] if in_all else []
    smallest = min(steered, default=1)
    frame = min(points, 1 << int(math.log2(2 * smallest)))
    return [*found, OrthogonalAntithetic(frame)] if frame > 2 else found


def _basis(estimand: Estimand, source: Coarse, pilot: Pilot, budget: float) -> Basis | None:
    """Return leading directions from at most `budget` evaluations, or None.

    They are from gradients where the generator has them, else from values where these are many for the dimension, else
    cosines where the noise has axes.
    """
    noise = source.generator.noise
    dimension = sum(block.size for _, block in noise.blocks if not block.iid)
    if dimension == 0:
        return None
    r, statistic = min(_MOST_DIRECTIONS, dimension), _few_components(estimand.statistic, pilot)
    options: dict[str, Any] = {"seed": estimand.seed, "condition": estimand.condition, "coarse": source.generator}
    options["cost"] = source.cost
    n = _gradients_for(source, pilot, budget)
    if n >= 2 and hasattr(source.generator, "gradient"):
        try:
            found = active_subspace(estimand.generator, statistic, r, n_gradients=n, at_most=True, **options)
        except NoGradientError as error:
            warn_user(f"{error}; the plan uses no gradients", GeneratorWarning)
            pilot.spent += error.n_evaluations
        else:
            pilot.spent += found.n_evaluations
            return found
    evaluations = int(budget / source.cost)
    if evaluations >= _VALUES_PER_DIMENSION * dimension and (pilot.point_variance > 0).any():
        found = regression_basis(estimand.generator, statistic, r, n_evaluations=evaluations, **options)
        pilot.spent += found.n_evaluations
        return found
    axes = max(sum(n > 1 for n in block.shape) for _, block in noise.blocks if not block.iid)
    return dct_basis(noise, r) if axes > 1 else None


def _gradients_for(source: Coarse, pilot: Pilot, budget: float) -> int:
    """Return the number of points at which the budget pays for gradients of all components.

    At each point a Jacobian costs 1 + 2 k evaluations, and k gradients one by one cost 3 k.
    """
    k = min(len(pilot.variance), _MOST_COMPONENTS)
    each = 1 + 2 * k if hasattr(source.generator, "jacobian") else 3 * k
    return min(_MOST_GRADIENTS, int(budget / (source.cost * each)))


def _few_components(statistic: Statistic, pilot: Pilot) -> Statistic:
    """Return the statistic, or random combinations of its components, scaled to variance 1, if there are many."""
    k, scale = len(pilot.variance), np.sqrt(pilot.point_variance)
    if k <= _MOST_COMPONENTS:
        return statistic
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(k, _MOST_COMPONENTS))
    return Combined(statistic, signs * np.where(scale > 0, 1 / np.maximum(scale, 1e-300), 0.0)[:, None])

r"""What a pilot measures before the run: variances, slopes, correlations and log efficiencies, each with its error.

All comparisons are of w, the variance of a replicate mean times the number of points of a replicate: the variance of an
estimate is w / n after n evaluations. Logarithms of variances are corrected for their bias. With s^2 the variance of
R nearly normal replicate means,

.. math:: E \log s^2 = \log \sigma^2 + \psi(\nu / 2) - \log(\nu / 2), \qquad
   \operatorname{Var} \log s^2 = \psi'(\nu / 2), \qquad \nu = R - 1.

Log efficiencies from few replicates are then shrunk, see `shrinkage`; `trials` has what a few replicates of a net say
of larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic, Design, LatinHypercube, OrthogonalAntithetic, Sobol, Subspace
from mcgen.errors import GeneratorWarning, warn_user
from mcgen.inference.log_ratios import LogRatio, kurtosis, log_variance_of, log_variance_of_sample, skew
from mcgen.noise import NoiseSpec, as_rows
from mcgen.noise.directions import Basis
from mcgen.replicates.pilot import pilot_means, pilot_stream, pilot_values
from mcgen.replicates.task import Estimand
from mcgen.statistics import Combined, Statistic
from mcgen.variance_reduction.bases.cosines import dct_basis
from mcgen.variance_reduction.bases.gradients import active_subspace
from mcgen.variance_reduction.bases.pilot import NoGradientError
from mcgen.variance_reduction.bases.regression import regression_basis
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.controls.quadratic import quadratic
from mcgen.variance_reduction.levels.sum_of_levels import residual_variance, slopes
from mcgen.variance_reduction.planning.coarse import Coarse, cheapest
from mcgen.variance_reduction.planning.shrinkage import PRIORS, shrunk
from mcgen.variance_reduction.planning.trials import Reference, Trial, curves_of, is_net, known_trial, trial_of

# Fewest replicates of a trial: with fewer the standard deviation of its log variance is above 1 (with 4 it is 0.97).
_FEWEST_REPLICATES = 4
# Fewest replicates for which a larger net is tried: the standard deviation of the log variance is 0.70.
_WANTED_REPLICATES = 6
# Most replicates of a trial: with 100 the standard deviation of the log variance is 0.14, below that of the priors.
_MOST_REPLICATES = 100
# Fewest points of a net that is tried, and of each where two kinds are.
_SMALLEST_NET, _SMALLEST_OF_TWO = 8, 16
# Most points of a hypercube that is tried: its variance x points hardly falls with more.
_LARGEST_CUBE = 64
# Odd share of the variance above which a net is tried with negations where there are evaluations for one kind only.
_MOSTLY_ODD = 0.8
# Fewest pairs to measure a correlation with a coarse generator: its Fisher transform has a standard error of 0.45.
_FEWEST_PAIRS = 8
# Part of the remaining budget for the trials of nets; the rest is for hypercubes and frames.
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
    trials : dict of Trial
        What is known of each design that was tried, or is known from other models.
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
    trials: dict[Design, Trial] = field(default_factory=dict)
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

    @property
    def skewness_of_points(self) -> Floats:
        """The skewness of one value, shape (k,); 0 where it does not vary."""
        d = self.pairs - self.pairs.mean(axis=0)
        # The two values of a pair are d + h and d - h, with h^2 = within.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num((d**3 + 3 * d * self.within).mean(axis=0) / self.point_variance**1.5))

    @property
    def excess_kurtosis(self) -> Floats:
        """The kurtosis of a pair mean above 3, shape (k,); at least 0."""
        return kurtosis(self.pairs) - 3

    def log_w_of_points(self) -> LogRatio:
        """Return log w of independent points, which is the log of the variance of a value."""
        # Each pair gives a mean square about the mean; these are independent, though its two values are not.
        squares = (self.pairs - self.pairs.mean(axis=0)) ** 2 + self.within
        n, mean = len(squares), squares.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.nan_to_num(squares.var(axis=0, ddof=1) / mean**2) / n
            return LogRatio(np.log(self.point_variance) + variance / 2, variance)

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
        found = log_variance_of(residual_variance(self.pairs, coarse, b, df), df)
        return b, LogRatio(found.value, found.variance * (kurtosis(self.pairs - b * coarse) - 1) / 2)


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
    number = cheapest(coarse)
    own = Coarse(estimand.generator, 1.0) if number is None else coarse[number]
    pilot = _measured_pairs(estimand, coarse, budget, batch_size)
    pilot.basis = _basis(estimand, own, pilot, _SHARES["gradients"] * budget)
    source = replace(estimand, generator=own.on(noise))
    _try_controls(source, pilot, int(_SHARES["controls"] * budget / (2 * own.cost)), own.cost, batch_size)
    reference = _reference(number, pilot)
    evaluations = (budget - pilot.spent) / own.cost
    for design, most in designs_to_try(noise, pilot, points, evaluations):
        _try_design(design, source, pilot, reference, int(most / design.n_points), batch_size)
        if design in pilot.trials:
            pilot.spent += pilot.trials[design].n_replicates * design.n_points * own.cost
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


def _reference(number: int | None, pilot: Pilot) -> Reference:
    """Return log w of pairs, and of independent points, of the coarse generator that trials use, or of the fine one."""
    exact = pilot.variance == 0
    if number is not None:
        return Reference(log_w(pilot.coarse_pairs[number], 2), None, exact)
    return Reference(log_w(pilot.pairs, 2), pilot.log_w_of_points(), exact)


def designs_to_try(noise: NoiseSpec, pilot: Pilot, points: int, evaluations: float) -> list[tuple[Design, float]]:
    """Return nets on the leading directions or in all of few dimensions, Latin hypercubes, and orthogonal frames.

    Each comes with the evaluations for its trial, and has at most `points` points. Nets have 8 points or more, and as
    many as the evaluations allow for 6 replicates. In all dimensions there is one kind, points with their negations,
    whose trial shows what the points alone do. On directions both kinds are tried where the evaluations are enough,
    else the points with their negations where pairs remove most of the variance. Frames and hypercubes are left out for
    noise of one dimension, and where a net is in all dimensions.
    """
    steered = [block.size for _, block in noise.blocks if not block.iid]
    basis, found = pilot.basis, list[tuple[Design, float]]()
    if 0 < sum(steered) <= _MOST_DIRECTIONS and basis is None:
        size = _net_size(points, evaluations)
        return [(Antithetic(Sobol(size // 2)), evaluations)] if size else []
    if basis is not None:
        both = evaluations * _NET_SHARE >= 2 * _WANTED_REPLICATES * _SMALLEST_OF_TWO
        each = evaluations * _NET_SHARE / (2 if both else 1)
        size = _net_size(points, each)
        negated = float(odd_share(pilot.pairs, pilot.within).mean()) > _MOSTLY_ODD
        kinds = [Antithetic(Sobol(max(2, size // 2))), Sobol(max(2, size))]
        kinds = kinds if both else kinds[:1] if negated else kinds[1:]
        found = [(Subspace(basis, leading=kind), each) for kind in kinds] if size else []
    left = evaluations * (1 - _NET_SHARE if found else 1) / 2
    frame = min(points, 1 << int(math.log2(2 * min(steered, default=1))))
    if frame > 2:
        cube = min(_LARGEST_CUBE, _net_size(points, left))
        found += [(LatinHypercube(cube), left)] if cube else []
        found.append((OrthogonalAntithetic(frame), left if cube else 2 * left))
    return found


def _net_size(points: int, evaluations: float) -> int:
    """Return the most points, a power of two, that leave 6 replicates of a trial, or 4 of the fewest points; or 0."""
    size = points
    while size > _SMALLEST_NET and size * _WANTED_REPLICATES > evaluations:
        size //= 2
    return size if size * _FEWEST_REPLICATES <= evaluations else 0


def _try_design(
    design: Design, source: Estimand, pilot: Pilot, reference: Reference, n_replicates: int, batch_size: int | None
) -> None:
    """Measure a design's log efficiency over pairs and add it to the pilot, if there are evaluations for a trial.

    Orthogonal frames without a trial keep their prior, since they are known to lose at most a few per cent to pairs.
    """
    n = min(_MOST_REPLICATES, n_replicates)
    if n < _FEWEST_REPLICATES:
        if isinstance(design, OrthogonalAntithetic):
            pilot.trials[design] = known_trial(design, len(pilot.variance))
        return
    if not is_net(design):
        means, _ = pilot_means(source, design, [source.generator], n, batch_size, "plan", "trial", tried=True)[0]
        pilot.trials[design] = trial_of(design, log_w(means, design.n_points), reference, n)
        return
    values, rounding = pilot_values(source, design, n, batch_size, "plan", "trial", tried=True)
    # Blocks of noise of their own have their points in random order.
    ordered = isinstance(design, Subspace) or len(source.generator.noise.blocks) == 1
    for one, curve in curves_of(design, values, ordered, rounding):
        pilot.trials[one] = trial_of(one, curve, reference, n)


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


def affordable(coarse: list[Coarse], budget: float) -> tuple[list[Coarse], list[str]]:
    """Return the cheapest coarse generators that a pilot has enough pairs for, and texts on those left out."""
    kept, reasons = sorted(coarse, key=lambda one: one.cost), []
    while kept and _SHARES["pairs"] * budget < 2 * _FEWEST_PAIRS * (1 + sum(one.cost for one in kept)):
        reasons.append(f"{name_of(kept.pop().generator)} was left out: the pilot has too few evaluations to try it")
    return [one for one in coarse if one in kept], reasons


def _try_controls(source: Estimand, pilot: Pilot, n_pairs: int, cost: float, batch_size: int | None) -> None:
    """Regress pair means on the squares and products of leading coordinates and add their efficiency to the pilot.

    There are three pairs or more for each control; nothing is done where the pairs or the directions are too few.
    """
    noise = source.generator.noise
    r = max((r for r in range(1, _MOST_CONTROLLED + 1) if r * (r + 1) / 2 <= n_pairs / 3), default=0)
    if pilot.basis is None or r == 0 or n_pairs < _FEWEST_TO_CONTROL or not pilot.basis.by_block(noise):
        return
    controls = quadratic(pilot.basis.leading(min(r, pilot.basis.n_directions)))
    means, _ = pilot_means(
        source, Antithetic(), [source.generator], n_pairs, batch_size, "plan", "controls", tried=True
    )[0]
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
    return log_variance_of_sample(math.sqrt(n_points) * means)


def _basis(estimand: Estimand, source: Coarse, pilot: Pilot, budget: float) -> Basis | None:
    """Return leading directions from at most `budget` evaluations, or None.

    They are from gradients where the generator has them, else from values where these are many for the dimension, else
    cosines where the noise has axes.
    """
    noise = source.generator.noise
    dimension = sum(block.size for _, block in noise.blocks if not block.iid)
    few = dimension <= _MOST_DIRECTIONS
    if dimension == 0 or (few and source.generator is estimand.generator):
        # A net in all of few dimensions needs no directions, and gradients are dear without a coarse generator.
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
    if few:
        return None
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

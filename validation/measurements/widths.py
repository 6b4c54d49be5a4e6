r"""Widths of the intervals of each design at equal cost, on mixtures with exact score and on shipped models.

The relative efficiency in width of a design D over a baseline A at n evaluations is the squared ratio of the widths of
their intervals; pilots count in n. Let V be the variance of a replicate mean, measured in one run of a design, m the
points of a replicate, P the evaluations of the pilot, R = floor((n - P) / m) the replicates and t the quantile of
Student's law. Then

.. math:: RE(n) = \frac{V_A\, m_A / (n - P_A)\; t_{R_A - 1}^2}{V_D\, m_D / (n - P_D)\; t_{R_D - 1}^2}.

So one variance gives the efficiency at every n. Two levels, cross-fitted controls and auto have no such formula. For
them whole runs of n evaluations are made, pilots included, and their squared widths are averaged.

The error of a log variance is the jackknife's over replicates [1]_. The error of five or more whole runs is from their
spread; that of fewer runs is the jackknife's over the replicates of each level, whose shares of the squared error add.
A geometric mean over components has a jackknife of its own, which leaves out a replicate in all components at once.

.. rubric:: References

.. [1] R. G. Miller (1968). Jackknifing variances. Ann. Math. Statist. 39(2), 567-582.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.designs import Design
from mcgen.errors import CoverageWarning, GeneratorWarning
from mcgen.inference.efficiency import FEWEST_FOR_JACKKNIFE, log_variance
from mcgen.inference.interval_input import Interval, student_t_quantile
from mcgen.inference.log_ratios import LogRatio, welch_satterthwaite
from mcgen.results.estimate import Estimate
from mcgen.validation.measurements.cases import MOST_DIRECTIONS, Case
from mcgen.variance_reduction.controls.kernel import MOST_COORDINATES
from mcgen.variance_reduction.controls.quadratic import quadratic
from mcgen.variance_reduction.levels.sum_of_levels import weights_of

Record = dict[str, Any]
Run = Callable[[Case, int, int], Estimate]
"""Makes an estimate from a case, a number of evaluations, pilots included, and a seed."""

BUDGETS = (3200, 200)
"""The numbers of evaluations n at which widths are compared."""
LEVEL = 0.95
_SEED = 0
# Fewest whole runs whose spread gives the error of their mean.
_ENOUGH_RUNS = 5


@dataclass(frozen=True)
class Contender:
    """A way to estimate, which is measured on every case that has what it needs.

    Attributes
    ----------
    label : str
        The name on the page.
    design : callable, optional
        Makes a design for a case; one run of it gives the variance of a replicate mean.
    runs : callable, optional
        Makes a whole run, for contenders without such a variance.
    budgets : tuple of int
        The n of whole runs.
    needs : callable
        Returns whether a case has what the contender needs.
    """

    label: str
    design: Callable[[Case], Design] | None = None
    runs: Run | None = None
    budgets: tuple[int, ...] = BUDGETS
    needs: Callable[[Case], bool] = lambda case: True


def active(case: Case, n_points: int = 64) -> Design:
    """Return Sobol' points on the active subspace, with pairs on the rest."""
    return mcgen.Subspace(case.active_subspace(MOST_DIRECTIONS), mcgen.Sobol(n_points))


def two_levels(case: Case, n: int, seed: int, below: Design | None = None, n_pilot: int = 16) -> Estimate:
    """Return a sum of two levels, a fifth of the steps below and all above; pairs on both, or another design below."""
    found = case.coarse(5)
    assert found is not None
    coarse, fewer, steps = found
    spent = getattr(below, "n_pilot_evaluations", 0)
    return mcgen.multilevel(
        [(coarse, fewer), (case.generator, steps)],
        case.statistic,
        designs=[below or mcgen.Antithetic(), mcgen.Antithetic()],
        n_evaluations=n - spent,
        n_pilot=n_pilot,
        seed=seed,
        condition=case.condition,
        batch_size=case.batch_size,
        keep_replicates=True,
    )


def two_levels_with_net(case: Case, n: int, seed: int) -> Estimate:
    """Return two levels with 256 Sobol' points on the active subspace below; the pilot has 8 replicates."""
    return two_levels(case, n, seed, active(case, 256), 8)


def controlled(case: Case, n: int, seed: int) -> Estimate:
    """Return an estimate by pairs, with squares and products of the 8 leading directions as cross-fitted controls."""
    controls = quadratic(case.active_subspace(8))
    return mcgen.estimate(
        case.generator,
        case.statistic,
        design=mcgen.Antithetic(),
        n_evaluations=(n - controls.n_evaluations) // 2 * 2,
        controls=controls,
        seed=seed,
        condition=case.condition,
        batch_size=case.batch_size,
        keep_replicates=True,
    )


def kernel_controlled(case: Case, n: int, seed: int) -> Estimate:
    """Return an estimate by pairs with a cross-fitted kernel control on all coordinates of the noise."""
    return mcgen.estimate(
        case.generator,
        case.statistic,
        design=mcgen.Antithetic(),
        n_evaluations=n,
        controls=mcgen.controls.kernel(),
        seed=seed,
        condition=case.condition,
        batch_size=case.batch_size,
        keep_replicates=True,
    )


def fitted_levels(case: Case, n: int, seed: int) -> Estimate:
    """Return two levels of pairs with a sampler of 5 evaluations, or 3 of few steps, below that is fitted for the run.

    The pilot of the levels has 24 pairs.
    """
    evaluations = 5 if case.generator.steps >= 25 else 3
    below = case.generator.fitted(evaluations, seed=seed, condition=case.condition)
    return mcgen.multilevel(
        [(below, below.cost), (case.generator, 1.0)],
        case.statistic,
        n_evaluations=n - below.pilot_evaluations,
        n_pilot=24,
        seed=seed,
        condition=case.condition,
        batch_size=case.batch_size,
        keep_replicates=True,
    )


def auto(case: Case, n: int, seed: int) -> Estimate:
    """Return an estimate by the planner."""
    return mcgen.estimate(
        case.generator,
        case.statistic,
        design="auto",
        n_evaluations=n,
        seed=seed,
        condition=case.condition,
        batch_size=case.batch_size,
        keep_replicates=True,
    )


def _frames(case: Case) -> Design:
    return mcgen.OrthogonalAntithetic(min(64, 2 * case.smallest_block))


def _has_coarse(case: Case) -> bool:
    return case.coarse(5) is not None


def _is_small_black_box(case: Case) -> bool:
    return case.dimension <= MOST_COORDINATES and not _has_coarse(case)


def _can_be_fitted(case: Case) -> bool:
    return _has_coarse(case) and hasattr(case.generator, "fitted")


PLAIN, PAIRS, AUTO = "Monte Carlo", "antithetic pairs", "auto"
CONTENDERS = {
    one.label: one
    for one in (
        Contender(PLAIN, lambda case: mcgen.MonteCarlo()),
        Contender(PAIRS, lambda case: mcgen.Antithetic()),
        Contender("k-antithetic 8", lambda case: mcgen.KAntithetic(8)),
        Contender("Sobol' 8", lambda case: mcgen.Sobol(8)),
        Contender("Sobol' 64", lambda case: mcgen.Sobol(64)),
        Contender("Latin hypercube 64", lambda case: mcgen.LatinHypercube(64)),
        Contender("antithetic frames 64", _frames),
        Contender("Sobol' 64 on cosines", lambda case: mcgen.Subspace(case.cosines(), mcgen.Sobol(64))),
        Contender("Sobol' 64 on active subspace", active),
        Contender("pairs with controls", runs=controlled, budgets=(3200,)),
        Contender("pairs with kernel control", runs=kernel_controlled, budgets=(3200,), needs=_is_small_black_box),
        Contender("two levels, pairs", runs=two_levels, needs=_has_coarse),
        Contender("two levels, Sobol' 256 below", runs=two_levels_with_net, budgets=(3200,), needs=_has_coarse),
        Contender("two levels, fitted below", runs=fitted_levels, budgets=(3200,), needs=_can_be_fitted),
        Contender(AUTO, runs=auto),
    )
}


def settings(case: Case, contender: Contender) -> Record:
    """Return what a measurement depends on; it is measured again if this changes."""
    own: Record = {"case": case.name, "contender": contender.label, "names": list(case.names), "seed": _SEED}
    if contender.design is not None:
        return own | {"evaluations": case.evaluations}
    return own | {"runs": {str(n): case.runs[n] for n in contender.budgets}}


def measure(case: Case, contender: Contender) -> Record | None:
    """Return the numbers of a contender on a case; None if the case lacks what it needs."""
    if not contender.needs(case) or (contender.design is None and contender.runs is None):
        return None
    with warnings.catch_warnings():
        # Runs have few replicates on purpose, and components without gradients don't contribute to the directions.
        warnings.simplefilter("ignore", CoverageWarning)
        warnings.simplefilter("ignore", GeneratorWarning)
        if contender.design is not None:
            return _of_variance(case, contender.design(case))
        assert contender.runs is not None
        return {"widths": {str(n): _of_runs(case, contender.runs, n) for n in contender.budgets}}


def _of_variance(case: Case, design: Design) -> Record:
    """Return the log variance of a replicate mean, and what its run cost, from one run."""
    n_points = design.n_points
    one = mcgen.estimate(
        case.generator,
        case.statistic,
        design=design,
        n_replicates=max(FEWEST_FOR_JACKKNIFE, case.evaluations // n_points),
        seed=_SEED,
        condition=case.condition,
        batch_size=case.batch_size,
        keep_replicates=True,
    )
    spread = with_geometric_mean(log_squared_error(one), [_deviations(one)], case.counted)
    # The variance of one replicate mean instead of that of the mean over all.
    scaled = LogRatio(spread.value + np.log(one.n_replicates), spread.variance, spread.degrees_of_freedom)
    pilot = one.provenance.pilot_evaluations
    return _plain(scaled) | {
        "design": str(design),
        "n_points": n_points,
        "pilot": pilot,
        "replicates": one.n_replicates,
        "seconds_per_evaluation": one.provenance.seconds_per_evaluation,
    }


def _of_runs(case: Case, run: Run, n: int) -> Record:
    """Return the log of the mean squared half-width over whole runs, scaled to n evaluations if fewer were spent.

    The half-widths are those of Student's intervals, as for designs whose variance is measured; the default interval of
    a run is longer where its replicate means are skewed, whatever the design.
    """
    made = [run(case, n, _SEED + number) for number in range(case.runs[n])]
    pilots = [one.provenance.pilot_evaluations for one in made]
    spent = [one.n_evaluations + pilot for one, pilot in zip(made, pilots, strict=True)]
    squares = np.stack([students_half_width(one) ** 2 * s / n for one, s in zip(made, spent, strict=True)])
    widths = over_runs(squares, made, case.counted)
    return _plain(widths) | {
        "designs": dict(Counter(one.provenance.design for one in made)),
        "runs": len(made),
        "pilot": float(np.mean(pilots)),
        "spent": float(np.mean(spent)),
    }


def students_half_width(one: Estimate) -> Floats:
    """Return the half-widths of the Student intervals of a run or a sum of levels, shape (k,)."""
    df = np.asarray(one.degrees_of_freedom, np.float64)
    t = student_t_quantile((1 + LEVEL) / 2, np.where(df > 0, df, 1.0))
    return np.ravel(one.standard_error) * np.ravel(np.broadcast_to(t, np.shape(one.standard_error)))


def over_runs(squares: Floats, made: Sequence[Estimate], counted: NDArray[np.bool_]) -> LogRatio:
    """Return the logs of mean squared half-widths from squares (runs, k), and last that of their geometric mean."""
    n, mean = len(squares), squares.mean(axis=0)
    if n >= _ENOUGH_RUNS:
        relative = squares / mean - 1
        deviations = np.column_stack([relative, relative[:, counted].mean(axis=1)])
        variance = (deviations**2).sum(axis=0) / (n * (n - 1))
        df = np.full(len(variance), n - 1.0)
        return LogRatio(_joined(np.log(mean), counted), variance, df)
    each = [with_geometric_mean(log_squared_error(one), _all_deviations(one), counted) for one in made]
    variances = np.stack([one.variance for one in each]) / n**2
    df = welch_satterthwaite(variances, np.stack([one.degrees_of_freedom for one in each]))
    return LogRatio(_joined(np.log(mean), counted), variances.sum(axis=0), df)


def log_squared_error(one: Estimate) -> LogRatio:
    """Return the log of the squared standard error of a run or a sum of levels, with the jackknife's variance."""
    if not one.levels:
        assert one.replicate_means is not None
        assert one.within is not None
        found = log_variance(one.replicate_means, one.within, one.provenance.rounding)
        return LogRatio(found.value - np.log(len(one.replicate_means)), found.variance, found.degrees_of_freedom)
    shares, parts = _shares(one), [log_squared_error(part) for part in one.levels]
    variances = shares**2 * np.stack([part.variance for part in parts])
    df = welch_satterthwaite(variances, np.stack([part.degrees_of_freedom for part in parts]))
    return LogRatio(2 * np.log(np.ravel(one.standard_error)), variances.sum(axis=0), df)


def with_geometric_mean(each: LogRatio, deviations: Sequence[Floats], counted: NDArray[np.bool_]) -> LogRatio:
    """Return the log estimates of components (k,), and last that of their geometric mean.

    Parameters
    ----------
    each : LogRatio
        Estimates of the components.
    deviations : sequence of ndarray of shape (R, k)
        For each part of the run: log variances without each replicate, less their mean.
    counted : ndarray of bool, shape (k,)
        Which components count.
    """
    parts = [rows[:, counted].mean(axis=1) for rows in deviations]
    variances = np.array([[(len(part) - 1) / len(part) * float((part**2).sum())] for part in parts])
    df = welch_satterthwaite(variances, np.array([[len(part) - 1.0] for part in parts]))
    return LogRatio(
        _joined(each.value, counted), np.append(each.variance, variances.sum()), np.append(each.degrees_of_freedom, df)
    )


def _all_deviations(one: Estimate) -> list[Floats]:
    """Return the deviations of each level, multiplied by the level's share of the squared error."""
    if not one.levels:
        return [_deviations(one)]
    return [share * _deviations(part) for share, part in zip(_shares(one), one.levels, strict=True)]


def _deviations(one: Estimate) -> Floats:
    """Return the log variances without each replicate, less their mean, shape (R, k)."""
    means = one.replicate_means
    assert means is not None
    n = len(means)
    squares = (means - means.mean(axis=0)) ** 2
    left_out = np.log(squares.sum(axis=0) - squares * (n / (n - 1)))
    return np.asarray(left_out - left_out.mean(axis=0))


def _shares(one: Estimate) -> Floats:
    """Return the share of each level in the squared error of their sum, shape (levels, k)."""
    weights = weights_of([np.array(part.provenance.coefficients) for part in one.levels[1:]])
    squares = np.stack([np.ravel(part.standard_error) ** 2 for part in one.levels]) * weights**2
    return np.asarray(squares / squares.sum(axis=0))


def _joined(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    return np.append(values, values[counted].mean())


def _plain(found: LogRatio) -> Record:
    return {
        "log": found.value.tolist(),
        "variance": found.variance.tolist(),
        "degrees_of_freedom": np.asarray(found.degrees_of_freedom).tolist(),
    }


def squared_half_width(record: Record | None, n: int) -> LogRatio | None:
    """Return the log of the squared half-width at n evaluations, pilots included; None below 5 replicates.

    Parameters
    ----------
    record : dict or None
        A record that `measure` returned.
    n : int
        Number of evaluations.
    """
    if record is None:
        return None
    if "widths" in record:
        made = record["widths"].get(str(n))
        return None if made is None else _read(made, 0.0)
    left = n - record["pilot"]
    replicates = left // record["n_points"]
    if replicates < FEWEST_FOR_JACKKNIFE:
        return None
    t = float(student_t_quantile((1 + LEVEL) / 2, replicates - 1))
    return _read(record, float(np.log(record["n_points"] / left) + 2 * np.log(t)))


def relative_efficiency(record: Record | None, baseline: Record | None, n: int) -> tuple[Floats, Interval] | None:
    """Return the squared ratio of the baseline's widths to the record's at n evaluations, and its interval.

    Both have shape (k + 1,); the last entry is the geometric mean over components. None if either record has no
    interval at n.
    """
    own, base = squared_half_width(record, n), squared_half_width(baseline, n)
    return None if own is None or base is None else base.minus(own).exp(LEVEL)


def _read(record: Record, shift: float) -> LogRatio:
    value, variance, df = (np.array(record[name]) for name in ("log", "variance", "degrees_of_freedom"))
    return LogRatio(value + shift, variance, df)

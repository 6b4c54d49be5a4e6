"""Efficiencies of the designs of a comparison, and the rows of its table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.efficiency import LevelMeans, log_variance, log_variance_of_sum, stretch_between
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.log_ratios import LogRatio
from mcgen.results.estimate import Estimate
from mcgen.results.provenance import weights_of_levels

if TYPE_CHECKING:
    import pandas as pd

EFFICIENCY = ("relative_efficiency", "efficiency_low", "efficiency_high")
PER_SECOND = ("efficiency_per_second", "per_second_low", "per_second_high")
GEOMETRIC_MEAN = ("efficiency_geometric_mean", "geometric_mean_low", "geometric_mean_high")
"""Columns of an efficiency, of one by the clock, and of the mean over conditions, with the ends of their intervals."""


def rows_of_design(one: Estimate, base: Estimate, label: str) -> pd.DataFrame:
    """Return the rows of a design in the table of a comparison, one a component; see `Comparison.to_frame`."""
    frame = replace(one, parts=()).to_frame().drop(columns="level", errors="ignore")
    frame.insert(0, "design", label)
    frame.insert([*frame.columns].index("n_replicates"), "n_points", one.provenance.n_points)
    frame.insert([*frame.columns].index("n_evaluations") + 1, "pilot_evaluations", one.provenance.pilot_evaluations)
    work = log_work(base).minus(log_work(one)) if one is not base else _log_one(len(one.names))
    (seconds, error), (base_seconds, base_error) = _timing(one), _timing(base)
    speed = math.log(base_seconds / seconds)
    noise = error**2 + base_error**2 if one is not base else 0.0
    timed = replace(work.plus_noise(noise), value=work.value + speed)
    stretch = stretch_between(fewest_replicates(base), fewest_replicates(one))
    for log_ratio, (point, low, high) in ((work, EFFICIENCY), (timed, PER_SECOND)):
        frame[point], interval = log_ratio.exp(one.confidence_level, stretch)
        frame[low], frame[high] = interval.low, interval.high
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = (_student_half_width(base) / _student_half_width(one)) ** 2 * (_evaluations(base) / _evaluations(one))
    frame["relative_efficiency_width"] = np.where(np.isnan(work.value), np.nan, widths)
    frame["seconds_per_evaluation"] = seconds
    return frame.assign(**_over_conditions(one, base, np.isnan(work.value))) if has_own_streams(one) else frame


def rows_by_condition(one: Estimate, base: Estimate, label: str) -> list[pd.DataFrame]:
    """Return the rows of a design under each condition; see `Comparison.by_condition`."""
    pairs = zip(_with_shared_pilot(one), _with_shared_pilot(base), strict=False)
    return [rows_of_design(part, part if one is base else other, label) for part, other in pairs]


def has_own_streams(one: Estimate) -> bool:
    """Return whether an estimate is an average over conditions on independent random numbers."""
    return bool(one.conditions) and not one.provenance.common_random_numbers


def undefined_conditions(one: Estimate, base: Estimate) -> int:
    """Return in how many conditions some component has no efficiency, so that geometric means leave it out."""
    return int(np.isnan(_logs_by_condition(one, base)).any(axis=1).sum())


def _over_conditions(one: Estimate, base: Estimate, undefined: NDArray[np.bool_]) -> dict[str, Floats]:
    """Return the columns that an average over conditions on independent random numbers has besides; see `to_frame`.

    Widths of components whose efficiency is `undefined` are rounding errors, and have no ratio.
    """
    mean_widths = [np.mean([_student_half_width(part) for part in each.conditions], axis=0) for each in (one, base)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (mean_widths[1] / mean_widths[0]) ** 2 * (_evaluations(base) / _evaluations(one))
    ratio = np.where(undefined, np.nan, ratio)
    columns = dict(
        zip(GEOMETRIC_MEAN, _geometric_mean(_logs_by_condition(one, base), one.confidence_level), strict=True)
    )
    return {"mean_half_width": mean_widths[0], "relative_efficiency_mean_width": ratio} | columns


def _logs_by_condition(one: Estimate, base: Estimate) -> Floats:
    """Return the logarithm of the efficiency under each condition, shape (conditions, k); NaN where there is none."""
    pairs = zip(_with_shared_pilot(base), _with_shared_pilot(one), strict=False)
    return np.stack([log_work(two[0]).minus(log_work(two[1])).value for two in pairs])


def _geometric_mean(logs: Floats, level: float) -> tuple[Floats, Floats, Floats]:
    """Return the geometric mean over conditions and the ends of its t interval; NaN where fewer than 2 have a value."""
    defined = ~np.isnan(logs)
    count = defined.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(count > 0, np.nansum(logs, axis=0) / count, np.nan)
        variance = np.nansum((logs - mean) ** 2, axis=0) / np.where(count > 1, count - 1, np.nan)
        half = student_t_quantile((1 + level) / 2, np.maximum(count - 1.0, 1.0)) * np.sqrt(variance / count)
    return np.exp(mean), np.exp(mean - half), np.exp(mean + half)


def _with_shared_pilot(one: Estimate) -> list[Estimate]:
    """Return the estimates of the conditions, each of which bears an equal share of the evaluations of pilots."""
    share = round(one.provenance.pilot_evaluations / max(1, len(one.conditions)))
    return [replace(part, provenance=replace(part.provenance, pilot_evaluations=share)) for part in one.conditions]


def fewest_replicates(one: Estimate) -> int:
    """Return the number of replicates; of several conditions or levels, of the one that has the fewest."""
    if has_own_streams(one):
        return min(map(fewest_replicates, one.conditions))
    return min(part.n_replicates for part in one.levels or (one,))


def _timing(one: Estimate) -> tuple[float, float]:
    """Return the seconds of an evaluation and their relative error, averaged over conditions that ran one by one."""
    runs = [part.provenance for part in (one.conditions if has_own_streams(one) else (one,))]
    seconds = [run.seconds_per_evaluation for run in runs]
    errors = [run.seconds_per_evaluation * run.timing_error for run in runs]
    return math.fsum(seconds) / len(runs), math.hypot(*errors) / math.fsum(seconds)


def _student_half_width(one: Estimate) -> Floats:
    """Return the half-widths of Student's t intervals: the same kind for all designs, whichever their own are."""
    t = student_t_quantile((1 + one.confidence_level) / 2, np.ravel(one.degrees_of_freedom))
    return np.asarray(t * np.ravel(one.standard_error))


def _log_one(k: int) -> LogRatio:
    """Return the log of the efficiency of the baseline over itself."""
    return LogRatio(np.zeros(k), np.zeros(k), np.full(k, np.inf))


def log_work(one: Estimate) -> LogRatio:
    """Return the log of (variance of the estimate) x (evaluations spent, pilot included)."""
    if one.levels or has_own_streams(one):
        log = log_variance_of_sum([_level_means(run, w) for run, w in _runs(one, np.ones(len(one.names)))])
        return replace(log, value=log.value + np.log(_evaluations(one)))
    means, within = _kept(one)
    log = log_variance(means, within, one.provenance.rounding)
    # The variance of the estimate is that of a replicate mean over the number of replicates.
    return replace(log, value=log.value + np.log(one.provenance.n_points * _spent(one)))


def _runs(one: Estimate, weight: Floats) -> list[tuple[Estimate, Floats]]:
    """Return the independent runs that an estimate is a weighted sum of, and the weight of each."""
    if one.levels:
        each = np.array(weights_of_levels([part.provenance for part in one.levels], len(one.names)))
        return [(part, weight * own) for part, own in zip(one.levels, each, strict=True)]
    if has_own_streams(one):
        return [
            run for part, share in zip(one.conditions, one.weights, strict=True) for run in _runs(part, weight * share)
        ]
    return [(one, weight)]


def _level_means(level: Estimate, weight: Floats) -> LevelMeans:
    return LevelMeans(*_kept(level), weight, level.provenance.rounding)


def _kept(one: Estimate) -> tuple[Floats, Floats]:
    """Return the replicate means and the mean squared deviations within, or refuse where they were not kept.

    Pseudo-values of a functional have no deviations within.
    """
    if one.replicate_means is not None and one.plug_in is not None:
        return one.replicate_means, np.zeros_like(one.replicate_means)
    if one.replicate_means is None or one.within is None:
        raise ValueError(
            "an efficiency needs the replicate means, which this estimate does not have; compare with "
            "keep_replicates=True"
        )
    return one.replicate_means, one.within


def _evaluations(one: Estimate) -> int:
    """Return the evaluations spent, a pilot's included, under all conditions."""
    return sum(part.n_evaluations for part in one.conditions or (one,)) + one.provenance.pilot_evaluations


def _spent(one: Estimate) -> float:
    """Return the evaluations spent, a pilot's included, over those of the run."""
    return _evaluations(one) / (_evaluations(one) - one.provenance.pilot_evaluations)

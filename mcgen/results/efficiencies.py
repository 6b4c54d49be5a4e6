"""Efficiencies of the designs of a comparison, and the rows of its table."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

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
"""Columns of an efficiency, and of one by the clock, with the ends of their intervals."""


def rows_of_design(one: Estimate, base: Estimate, label: str) -> pd.DataFrame:
    """Return the rows of a design in the table of a comparison, one a component; see `Comparison.to_frame`."""
    frame = replace(one, parts=()).to_frame().drop(columns="level", errors="ignore")
    frame.insert(0, "design", label)
    frame.insert([*frame.columns].index("n_replicates"), "n_points", one.provenance.n_points)
    frame.insert([*frame.columns].index("n_evaluations") + 1, "pilot_evaluations", one.provenance.pilot_evaluations)
    work = _log_work(base).minus(_log_work(one)) if one is not base else _log_one(len(one.names))
    times = one.provenance, base.provenance
    speed = math.log(times[1].seconds_per_evaluation / times[0].seconds_per_evaluation)
    noise = sum(part.timing_error**2 for part in times) if one is not base else 0.0
    timed = replace(work.plus_noise(noise), value=work.value + speed)
    stretch = stretch_between(fewest_replicates(base), fewest_replicates(one))
    for log_ratio, (point, low, high) in ((work, EFFICIENCY), (timed, PER_SECOND)):
        frame[point], interval = log_ratio.exp(one.confidence_level, stretch)
        frame[low], frame[high] = interval.low, interval.high
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = (_student_half_width(base) / _student_half_width(one)) ** 2 * (_evaluations(base) / _evaluations(one))
    frame["relative_efficiency_width"] = np.where(np.isnan(work.value), np.nan, widths)
    frame["seconds_per_evaluation"] = one.provenance.seconds_per_evaluation
    return frame


def fewest_replicates(one: Estimate) -> int:
    """Return the number of replicates, for a sum of levels of the level that has the fewest."""
    return min(part.n_replicates for part in one.levels or (one,))


def _student_half_width(one: Estimate) -> Floats:
    """Return the half-widths of Student's t intervals: the same kind for all designs, whichever their own are."""
    t = student_t_quantile((1 + one.confidence_level) / 2, np.ravel(one.degrees_of_freedom))
    return np.asarray(t * np.ravel(one.standard_error))


def _log_one(k: int) -> LogRatio:
    """Return the log of the efficiency of the baseline over itself."""
    return LogRatio(np.zeros(k), np.zeros(k), np.full(k, np.inf))


def _log_work(one: Estimate) -> LogRatio:
    """Return the log of (variance of the estimate) x (evaluations spent, pilot included)."""
    if one.levels:
        weights = np.array(weights_of_levels([part.provenance for part in one.levels], len(one.names)))
        log = log_variance_of_sum([_level_means(part, w) for part, w in zip(one.levels, weights, strict=True)])
        return replace(log, value=log.value + np.log(_evaluations(one)))
    means, within = _kept(one)
    log = log_variance(means, within, one.provenance.rounding)
    # The variance of the estimate is that of a replicate mean over the number of replicates.
    return replace(log, value=log.value + np.log(one.provenance.n_points * _spent(one)))


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
    return one.n_evaluations * max(1, len(one.conditions)) + one.provenance.pilot_evaluations


def _spent(one: Estimate) -> float:
    """Return the evaluations spent, a pilot's included, over those of the run."""
    return _evaluations(one) / (_evaluations(one) - one.provenance.pilot_evaluations)

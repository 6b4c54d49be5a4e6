"""A running estimate: what a run had given after each number of evaluations, with its own interval."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import EventCounts, IntervalInput
from mcgen.inference.intervals import interval_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.results.estimate import Estimate

# Numbers of replicates at which the interval is made: fewer for intervals that work through all replicate means.
_POINTS, _POINTS_FROM_MEANS = 200, 25
# The interval of all replicates, made again, may differ by rounding: the largest part of its length.
_ROUNDING = 1e-6


class Running(NamedTuple):
    """An estimate after each of m numbers of evaluations; the last one is that of the whole run.

    Attributes
    ----------
    evaluations : ndarray of int of shape (m,)
        Numbers of evaluations.
    mean, low, high : ndarray of shape (m, k)
        The estimate and the ends of its interval there, which may be infinite.
    """

    evaluations: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats


def running_estimate(estimate: Estimate) -> Running:
    """Return the estimate and its interval after each of some numbers of evaluations, by the method of the whole run.

    Numbers of replicates that are too few for the method are left out.

    Raises
    ------
    ValueError
        If the estimate does not have the replicate means that its interval is made from.
    """
    means = _required_means(estimate)
    options, whole = estimate._own_options(estimate.confidence_level), estimate._sampled()
    most = _POINTS_FROM_MEANS if options.needs_means else _POINTS
    first = 2 if whole.first_stage is None else whole.first_stage[0]
    counts = np.unique(np.geomspace(first, len(means), most).astype(int)).tolist()
    found = [(n, *_interval_at(estimate, whole, options, n)) for n in counts]
    _require_same(estimate, found[-1][2:])
    rows = [row for row in found[:-1] if not np.isnan(row[2]).any()]
    last = (len(means), *(np.ravel(one) for one in (estimate.mean, *estimate.interval)))
    numbers, mean, low, high = (np.stack(column) for column in zip(*rows, last, strict=True))
    return Running(numbers * estimate.provenance.n_points, mean, low, high)


def _required_means(estimate: Estimate) -> Floats:
    """Return the replicate means, or refuse where the interval is not made from them alone."""
    functional = estimate.provenance.functional
    if functional is not None:
        raise ValueError(
            f"a {functional} after fewer evaluations does not follow from what the result keeps: its pseudo-values "
            "belong to all evaluations. Draw result.plot(); distances against the number of samples are drawn by "
            "mcgen.evaluate(..., curves=True).plot_curves(score)"
        )
    if estimate.variance_components is not None:
        raise ValueError(
            "the conditions of this estimate are a sample of a population, and its interval is made from them, not "
            "from evaluations. Draw result.plot()"
        )
    means = estimate.replicate_means
    if means is None:
        kind = "conditions" if estimate.conditions else "levels" if estimate.levels else "models"
        what = f"run it with keep_replicates=True{f', and draw each of result.{kind}' if estimate.parts else ''}"
        raise ValueError(
            f"the estimate against evaluations is made from replicate means, which this estimate does not have; {what}"
        )
    if estimate._dependent():
        raise ValueError(
            "replicate means corrected by cross-fitted controls share coefficients that all of them gave, so fewer of "
            "them are not what a shorter run would give. Fix the coefficients by controls=controls.fit(...), or draw "
            "result.plot()"
        )
    return means


def _interval_at(
    estimate: Estimate, whole: IntervalInput, options: IntervalOptions, n: int
) -> tuple[Floats, Floats, Floats]:
    """Return estimate and interval after n replicates; NaN where these are too few for the interval."""
    sampled = _first_replicates(estimate, whole, n)
    try:
        interval, _, _ = interval_of(sampled, options)
    except ValueError:
        nowhere = np.full_like(sampled.mean, np.nan)
        return sampled.mean, nowhere, nowhere
    return sampled.mean, np.asarray(interval.low), np.asarray(interval.high)


def _first_replicates(estimate: Estimate, whole: IntervalInput, n: int) -> IntervalInput:
    """Return the input of the interval after n replicates; which methods suit a component is known from all."""
    assert estimate.replicate_means is not None
    means = estimate.replicate_means[:n]
    within = np.zeros_like(means) if estimate.within is None else estimate.within[:n]
    ones, n_points = None, estimate.provenance.n_points
    if whole.counts:
        counted = whole.counts[0].events >= 0
        ones = np.where(counted, np.rint(means * n_points), -1).astype(np.int64)
    moments = Moments.of(ReplicateMeans(0, means, within, ones, n_points))
    return replace(
        whole,
        mean=moments.mean,
        standard_error=moments.standard_error,
        degrees_of_freedom=np.full(len(moments.mean), n - 1.0),
        replicate_means=None if whole.replicate_means is None else means,
        skewness=None if whole.skewness is None else moments.skewness_of_mean,
        counts=() if ones is None else (EventCounts.of(moments, n_points),),
        constant=moments.constant(estimate.provenance.rounding),
    )


def _require_same(estimate: Estimate, made: tuple[Floats, Floats]) -> None:
    """Refuse an estimate whose interval, made again, is another one: it holds together with others of a result."""
    for own, again in zip(estimate.interval, made, strict=True):
        own = np.ravel(own)
        allowed = _ROUNDING * np.nan_to_num(np.ravel(estimate.half_width), posinf=0.0) + 1e-12 * np.abs(
            np.nan_to_num(own, posinf=0.0, neginf=0.0)
        )
        with np.errstate(invalid="ignore"):
            same = (own == again) | (np.abs(own - again) <= allowed)
        if not same.all():
            raise ValueError(
                "the interval of this estimate holds together with those of other parts of a result, and does not "
                "follow from its own replicate means. Draw result.plot(), or give it an interval of its own by "
                "with_interval(interval='skewness-safe-t')"
            )

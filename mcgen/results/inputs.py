"""The input of the interval of a run or of a sum of runs, and the reasons why some intervals are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.moments import Moments
from mcgen.inference.stopping import Stopping
from mcgen.results.provenance import Provenance

CROSS_FITTED = (
    "replicate means corrected by cross-fitted controls share coefficients, and are not to be resampled; use "
    "'student-t', 'skewness-adjusted-t' or simultaneous='bonferroni', or fixed coefficients of quadratic or other "
    "controls from a pilot: controls=controls.fit(...)"
)
STOPPED_BY_ITSELF = (
    "this run stopped by its own numbers, and the interval is one for a number of replicates that was fixed "
    "beforehand: it covers less than it says (0.92 for 0.95 in simulations, and far less for skewed replicate means); "
    "keep interval='two-stage-t', 'anytime' or 'asymptotic-anytime', whichever the run had, or use 'betting' for "
    "statistics with declared bounds"
)


def input_of_run(
    moments: Moments,
    replicate_means: Floats | None,
    provenance: Provenance,
    boolean: tuple[bool, ...],
    bounds: tuple[tuple[float, float], ...],
) -> IntervalInput:
    """Return what the interval of one run is computed from; see `IntervalInput`."""
    n_points = 0 if provenance.controls is not None else provenance.n_points
    return IntervalInput.of(
        moments,
        replicate_means,
        provenance.seed,
        n_points=n_points,
        boolean=boolean,
        net=provenance.net,
        rounding=provenance.rounding,
        bounds=bounds,
    )


def input_of_sum(each: Sequence[IntervalInput], weights: tuple[float, ...], boolean: tuple[bool, ...]) -> IntervalInput:
    """Return what the interval of a sum of independent estimates is computed from; see `IntervalInput`.

    Parameters
    ----------
    each : sequence of IntervalInput
        What the interval of each estimate is computed from.
    weights : tuple of float
        A weight above 0 for each, where the sum is an average; empty for other sums.
    boolean : tuple of bool
        Which components are boolean in all estimates; empty where none is, or the sum is no average.
    """
    holds = [one.student_holds for one in each if one.student_holds is not None]
    counts = tuple(
        replace(one, weight=weight) for sampled, weight in zip(each, weights, strict=False) for one in sampled.counts
    )
    known = [one.indicators for one in each if one.indicators is not None]
    return replace(
        each[0],
        replicate_means=None,
        counts=counts if len(counts) == len(each) else (),
        indicators=np.all(known, axis=0) if boolean and len(known) == len(each) else None,
        student_holds=np.all(holds, axis=0) if len(holds) == len(each) else None,
        first_stage=None,
        planned=None,
        constant=None,
    )


def bets_for(stopping: Stopping | None) -> int | None:
    """Return the number of replicates that was fixed before the run for betting intervals; None where none was.

    Only a run that was asked for them knows it: another one may have been extended in a store after a look at it.
    """
    return None if stopping is None else stopping.planned

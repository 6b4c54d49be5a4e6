"""The options of a call of `estimate`, `difference` and `evaluate`: checked, and completed by their defaults."""

from __future__ import annotations

import math
from typing import Any

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer
from mcgen.designs import Design
from mcgen.designs._base import checked_design
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.resampling import checked_resampling
from mcgen.inference.sequences import FEWEST_REPLICATES, SEQUENCES
from mcgen.inference.tolerance import Tolerance, checked_tolerance
from mcgen.replicates.sizes import (
    Conditions,
    batch_until_sure,
    checked_batch_of_part,
    checked_batch_size,
    checked_replicates,
)
from mcgen.results.inputs import CROSS_FITTED
from mcgen.runs.arguments import RunArguments
from mcgen.runs.conditions import checked_weights
from mcgen.runs.options import RunOptions
from mcgen.variance_reduction.controls.control_variates import Controls, FittedControls
from mcgen.variance_reduction.controls.kernel import KernelControl


def batch_size_of(design: Design, dimension: int, options: RunOptions, n_replicates: int | None, part: range) -> int:
    """Return the rows that the model sees at a time."""
    n_points = design.n_points
    if part:
        return checked_batch_of_part(options.batch_size, n_points, part)
    if options.tolerance is None:
        return checked_batch_size(options.batch_size, n_points, n_replicates)
    most, fewest = options.tolerance.most_replicates(n_points), options.tolerance.first_count
    return batch_until_sure(options.batch_size, n_points, dimension, most, fewest)


def checked_options(asked: RunArguments) -> tuple[RunOptions, range]:
    """Return what is asked for beside a design, and the replicates of a part of a run."""
    tolerance = checked_tolerance(
        asked["atol"], asked["rtol"], asked["max_evaluations"], asked["min_replicates"], asked["components"]
    )
    part = _checked_part(asked["replicates"], asked["n_evaluations"], asked["n_replicates"], tolerance)
    interval = IntervalOptions(asked["confidence_level"], asked["interval"], asked["simultaneous"])
    controls, keep = asked["controls"], asked["keep_replicates"]
    if not isinstance(controls, Controls | FittedControls | KernelControl | None):
        raise TypeError(
            f"controls must be mcgen.controls.Controls, such as mcgen.controls.quadratic(basis); got {controls!r}"
        )
    if controls is not None and controls.needs_means:
        if interval.resamples:
            raise ValueError(CROSS_FITTED)
        if keep is False:
            raise ValueError(
                "cross-fitting works on kept replicate means; got keep_replicates=False. Leave it out, or fix the "
                "coefficients of quadratic or other controls before the run: controls=controls.fit(generator, "
                "statistic, ...)"
            )
    if interval.method == "betting" and (controls is not None or keep is False):
        raise ValueError(
            "interval='betting' is for the replicate means of the statistic itself, which are kept; got "
            f"keep_replicates={keep} and controls={controls!r}. Leave them out, or use interval='anytime'"
        )
    options = RunOptions(
        interval,
        keep,
        asked["progress"],
        controls,
        tolerance,
        asked["batch_size"],
        part.start,
        callback=asked["callback"],
    )
    return options, part


def _checked_part(
    replicates: range | None, n_evaluations: int | None, n_replicates: int | None, tolerance: Tolerance | None
) -> range:
    """Return the replicates of a part of a run; none where the run is whole."""
    if replicates is None:
        return range(0)
    if isinstance(replicates, range):
        checked_integer("the end of replicates", replicates.stop)
    if not isinstance(replicates, range) or replicates.step != 1 or not 0 <= replicates.start < replicates.stop - 1:
        raise ValueError(
            f"replicates must be a range of two or more, such as range(1000, 2000), of step 1 from 0 or later; got "
            f"{replicates!r}"
        )
    if n_evaluations is not None or n_replicates is not None or tolerance is not None:
        raise ValueError(
            f"replicates={replicates} says itself how many they are; leave out n_evaluations, n_replicates, atol and "
            "rtol"
        )
    return replicates


def checked_count(
    design: Design, n_evaluations: int | None, n_replicates: int | None, options: RunOptions
) -> int | None:
    """Return the number of replicates; None where a tolerance decides."""
    checked_design(design)
    if options.tolerance is None:
        count = checked_replicates(design, n_evaluations, n_replicates)
        _require_interval_of_fixed_run(options, count)
        return count
    if n_evaluations is not None or n_replicates is not None:
        raise ValueError(
            f"atol and rtol say when to stop; got n_evaluations={n_evaluations} and n_replicates={n_replicates} beside "
            "them. Leave these out, or say max_evaluations"
        )
    asked = options.interval
    if not (asked.method in (None, "student-t") or asked.is_sequential) or asked.resamples:
        raise ValueError(
            f"a run that stops by its own numbers needs an interval that knows of it; got interval={asked.method!r} "
            f"and simultaneous={asked.simultaneous!r}. Leave interval out (it is then of two stages), or use "
            "'anytime', 'asymptotic-anytime' or 'betting', with simultaneous=False or 'bonferroni'"
        )
    if options.controls is not None and options.controls.needs_means:
        raise ValueError(
            "cross-fitted controls need to know the number of replicates; fix the coefficients of quadratic or other "
            "controls before the run: controls=controls.fit(generator, statistic, ...)"
        )
    return None


def _require_interval_of_fixed_run(options: RunOptions, count: int) -> None:
    """Refuse intervals that a run of a fixed number of replicates can't have."""
    asked = options.interval
    if asked.method == "two-stage-t":
        raise ValueError(
            "interval='two-stage-t' is of a run in two stages, by atol or rtol; got a fixed number of replicates. "
            "Leave it out, or say how narrow the interval is to be"
        )
    if asked.method in SEQUENCES and (
        count < FEWEST_REPLICATES or math.isinf(SEQUENCES[asked.method](float(count), count, asked.confidence_level))
    ):
        raise ValueError(
            f"interval={asked.method!r} has no end yet at {count} replicates; ask for more, of which 30 are enough at "
            "95 % where they are little skewed, or for 'student-t'"
        )
    if asked.resamples:
        checked_resampling(count, options.keep_replicates)


def checked_shares(condition: Any, asked: RunArguments) -> Floats | None:
    """Return the weights of several conditions; None for a single one."""
    weights, common = asked["weights"], asked["common_random_numbers"]
    if isinstance(condition, Conditions):
        shares = checked_weights(condition, weights)
        if not common and asked["interval"] in SEQUENCES:
            raise ValueError(
                "the average over independent conditions has no confidence sequence; got interval="
                f"{asked['interval']!r}. Use common_random_numbers=True, or estimate the conditions one by one"
            )
        return shares
    if weights is not None or common:
        raise ValueError(
            "weights and common_random_numbers are for several conditions: pass a list or a dict as condition"
        )
    return None

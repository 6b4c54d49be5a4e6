"""From the moments of replicate means to an estimate with its interval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcgen.inference.methods import Method
from mcgen.results.estimate import Estimate
from mcgen.runs.options import RunOptions


def with_options(made: Estimate, options: RunOptions) -> Estimate:
    """Return the estimate with the interval that was asked for.

    An estimate that was cut short, or whose replicates are too few for that interval, keeps its numbers: it gets one
    that does not resample, or goes with the error as its ``partial``.
    """
    interval: Method = options.interval
    if made.stopping is not None and made.stopping.first_stage is not None:
        interval = "two-stage-t"
    level = options.confidence_level
    if made.partial:
        simultaneous: Any = "bonferroni" if options.simultaneous else False
        interval = "student-t" if options.resamples else interval
        try:
            return made.with_interval(confidence_level=level, interval=interval, simultaneous=simultaneous)
        except ValueError as error:
            told = f"{error}; the interval is Student's, which does not allow for stopping when one likes"
            noted = replace(made, warnings=(*made.warnings, told))
            return noted.with_interval(confidence_level=level, interval="student-t", simultaneous=simultaneous)
    try:
        return made.with_interval(confidence_level=level, interval=interval, simultaneous=options.simultaneous)
    except ValueError as error:
        error.partial = made.with_interval(confidence_level=level)  # type: ignore[attr-defined]
        raise

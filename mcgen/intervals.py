"""Intervals from replicate means: the methods, their options, and the input that an interval is computed from."""

import warnings
from typing import TYPE_CHECKING, Any

from mcgen.inference.interval_input import Interval, IntervalInput, student_t_quantile
from mcgen.inference.intervals import make_interval, studentized_ends
from mcgen.inference.methods import Method, SequentialMethod, SimultaneousMethod
from mcgen.inference.resampling import (
    BOOTSTRAP_RESAMPLES,
    FEWEST_FOR_BOOTSTRAP,
    FEWEST_FOR_MAX_T,
)

__all__ = [
    "BOOTSTRAP_RESAMPLES",
    "FEWEST_FOR_BOOTSTRAP",
    "FEWEST_FOR_MAX_T",
    "Interval",
    "IntervalInput",
    "Method",
    "SequentialMethod",
    "SimultaneousMethod",
    "make_interval",
    "student_t_quantile",
    "studentized_ends",
]

if not TYPE_CHECKING:
    # For type checkers a name that does not exist must stay an error.
    def __getattr__(name: str) -> Any:
        if name == "Sampled":
            warnings.warn(
                "mcgen.intervals.Sampled is now mcgen.intervals.IntervalInput; the old name goes with the next release",
                DeprecationWarning,
                stacklevel=2,
            )
            return IntervalInput
        raise AttributeError(f"module 'mcgen.intervals' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

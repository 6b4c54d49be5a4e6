"""Intervals from replicate means: methods, options, and the values that they are made of."""

from mcgen.inference.interval_input import Interval, Sampled, student_t_quantile
from mcgen.inference.intervals import make_interval, studentized_ends
from mcgen.inference.methods import Method, SequentialMethod, SimultaneousMethod
from mcgen.inference.resampling import (
    BOOTSTRAP_RESAMPLES,
    FEWEST_FOR_BOOTSTRAP,
    FEWEST_FOR_MAX_T,
    FEWEST_FOR_MULTIPLIER,
)

__all__ = [
    "BOOTSTRAP_RESAMPLES",
    "FEWEST_FOR_BOOTSTRAP",
    "FEWEST_FOR_MAX_T",
    "FEWEST_FOR_MULTIPLIER",
    "Interval",
    "Method",
    "Sampled",
    "SequentialMethod",
    "SimultaneousMethod",
    "make_interval",
    "student_t_quantile",
    "studentized_ends",
]

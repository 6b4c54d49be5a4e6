"""Samples and values of any array library: copies, rows, and gaps between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.arrays import as_numpy, gap_between, tolerance_of, tuple_like
from mcgen.validation.conformance.reports import AdvisedError, Finding, NotJudgedError


def frozen(samples: Any) -> Any:
    """Return copies as numpy arrays, which later calls can't change; samples that are no arrays come back unchanged."""
    if isinstance(samples, tuple):
        return tuple_like(samples, map(frozen, samples))
    try:
        array = as_numpy(samples).copy()
    except (TypeError, ValueError):
        return samples
    return samples if array.dtype.hasobject else array


def are_arrays(samples: Any) -> bool:
    """Return whether frozen samples are arrays of numbers."""
    if isinstance(samples, tuple):
        return all(map(are_arrays, samples))
    return isinstance(samples, np.ndarray) and samples.dtype.kind in "biufc"


def rows_of(samples: Any, chosen: Any) -> Any:
    """Return some rows, by a slice or an array of indices, in the samples' own library."""
    if isinstance(samples, tuple):
        return tuple_like(samples, (rows_of(part, chosen) for part in samples))
    if isinstance(samples, list):
        return [samples[i] for i in np.arange(len(samples))[chosen]]
    return samples[chosen]


def gap(a: Any, b: Any) -> float:
    """Return the largest difference relative to the largest sample.

    Raises
    ------
    AdvisedError
        If they are not arrays of numbers.
    """
    if isinstance(a, tuple):
        return max((gap(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if not (are_arrays(a) and are_arrays(b)):
        kind = getattr(a, "dtype", type(a).__name__)
        raise AdvisedError(
            f"samples of type {kind} can't be compared; return an array of numbers, or a tuple of such arrays"
        )
    return gap_between(a, b)


def kept(before: Any, now: Any, what: str) -> Finding:
    """Return how far samples or values have changed since they were frozen."""
    if not are_arrays(before):
        raise NotJudgedError(f"{what} can't be compared")
    return Finding(gap(before, frozen(now)))


def widest_tolerance(samples: Any) -> float:
    """Return the largest relative gap that rounding explains, over the types of the samples."""
    parts = samples if isinstance(samples, tuple) else (samples,)
    return max((tolerance_of(part) for part in parts if isinstance(part, np.ndarray)), default=0.0)

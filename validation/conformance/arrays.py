"""Samples and values of any library, compared and kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen.arrays import as_numpy
from mcgen.laws import gap_between, tolerance_of
from mcgen.validation.conformance.reports import AdvisedError


def frozen(samples: Any) -> Any:
    """Return copies as numpy arrays, which later calls can't change; what makes no array of values as it is."""
    if isinstance(samples, tuple):
        return tuple(map(frozen, samples))
    try:
        array = as_numpy(samples).copy()
    except (TypeError, ValueError):
        return samples
    return samples if array.dtype.hasobject else array


def are_arrays(samples: Any) -> bool:
    """Tell whether frozen samples are arrays of values."""
    return all(map(are_arrays, samples)) if isinstance(samples, tuple) else isinstance(samples, np.ndarray)


def rows_of(samples: Any, chosen: Any) -> Any:
    """Return some rows, by a slice or an array of indices, in the samples' own library."""
    if isinstance(samples, tuple):
        return tuple(rows_of(part, chosen) for part in samples)
    if isinstance(samples, list):
        return [samples[i] for i in np.arange(len(samples))[chosen]]
    return samples[chosen]


def gap(a: Any, b: Any) -> float:
    """Return the largest difference relative to the largest sample.

    Raises
    ------
    AdvisedError
        If they are no arrays.
    """
    if isinstance(a, tuple):
        return max((gap(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if not (are_arrays(a) and are_arrays(b)):
        raise AdvisedError(
            f"samples of type {type(a).__name__} can't be compared; return an array, or a tuple of arrays"
        )
    return gap_between(a, b)


def widest_tolerance(samples: Any) -> float:
    """Return what rounding may do in the widest tolerance of the samples' types."""
    parts = samples if isinstance(samples, tuple) else (samples,)
    return max((tolerance_of(part) for part in parts if isinstance(part, np.ndarray)), default=0.0)

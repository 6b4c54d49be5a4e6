"""Conversions of samples inside their own library: numpy, torch or another."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.arrays import as_numpy


def _real(samples: Any) -> Any:
    """Return samples as floating-point numbers, since sums and differences of small integers would overflow."""
    if not hasattr(samples, "dtype") or not hasattr(samples, "reshape"):
        raise TypeError(
            f"this statistic takes an array of samples; got a {type(samples).__name__}. Let the generator return an "
            "array (of a tuple or a dictionary, its images), or use a statistic of your own"
        )
    if any(kind in str(samples.dtype) for kind in ("float", "complex")):
        return samples
    return samples.float() if hasattr(samples, "new_tensor") else np.asarray(samples, dtype=np.float64)


def _like(array: Any, values: Any) -> Any:
    """Return values in the library, dtype and device of `array`."""
    if hasattr(array, "new_tensor"):
        return values.to(array) if hasattr(values, "new_tensor") else array.new_tensor(np.asarray(values))
    return as_numpy(values)

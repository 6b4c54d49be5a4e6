"""Conversions of samples inside their own library: numpy, torch or another."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.arrays import holds_real_numbers, numbers_of, unreadable_text


def _real(samples: Any) -> Any:
    """Return samples as floating-point numbers, since sums and differences of small integers would overflow.

    Raises
    ------
    TypeError
        If they are no array of numbers: masked arrays, texts and dates are refused, and never converted.
    """
    if not hasattr(samples, "dtype") or not hasattr(samples, "reshape"):
        raise TypeError(
            f"this statistic takes an array of samples; got a {type(samples).__name__}. Let the generator return an "
            "array (of a tuple or a dictionary, its images), or use a statistic of your own"
        )
    problem = unreadable_text(samples)
    if problem is not None:
        raise TypeError(f"this statistic takes an array of plain numbers; got {problem}")
    if any(kind in str(samples.dtype) for kind in ("float", "complex")):
        return samples
    if hasattr(samples, "new_tensor"):
        return samples.float()
    if isinstance(samples, np.ndarray) and holds_real_numbers(samples):
        return samples.astype(np.float64)
    try:
        return numbers_of(samples).astype(np.float64)
    except TypeError as error:
        raise TypeError(
            f"this statistic takes an array of plain numbers; got {error}. Let the generator return numbers, or use a "
            "statistic of your own"
        ) from None


def _like(array: Any, values: Any) -> Any:
    """Return values in the library, dtype and device of `array`."""
    problem = unreadable_text(values)
    if problem is not None:
        raise TypeError(f"a reference must be an array of plain numbers; got {problem}")
    if hasattr(array, "new_tensor") and hasattr(values, "new_tensor"):
        return values.to(array)
    try:
        numbers = numbers_of(values, "biufc")
    except TypeError as error:
        raise TypeError(f"a reference must be an array of plain numbers; got {error}") from None
    return array.new_tensor(numbers) if hasattr(array, "new_tensor") else numbers

"""Measurements, images and samples that a user gives: arrays of floats of any library, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mcgen._lib.arrays import as_numpy


def as_floats(array: Any, what: str = "condition") -> torch.Tensor:
    """Return a copy of an array of floats, of any library, as a tensor on the CPU, in float32 or float64.

    Raises
    ------
    TypeError
        If it is not an array of floats.
    """
    require_floats(array, what)
    values = as_numpy(array)
    return torch.from_numpy(values.astype(np.promote_types(values.dtype, np.float32)))


def require_floats(array: Any, what: str = "condition") -> None:
    """Refuse anything but an array of real floats. Images in bytes (0 to 255) would be on the wrong scale unnoticed."""
    dtype = getattr(array, "dtype", None)
    if dtype is None or not hasattr(array, "shape"):
        found = "none" if array is None else type(array).__name__
        advice = ". A list is a list of conditions; give an array" if isinstance(array, list) else ""
        raise TypeError(f"{what} must be an array of floats; got {found}{advice}")
    kind = str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    if "complex" in kind:
        raise TypeError(
            f"{what} must be an array of real numbers; got {kind}. Give the real part, or real and imaginary parts as "
            "an axis"
        )
    if "float" not in kind:
        raise TypeError(
            f"{what} must be an array of floats; got {kind}. Give floats on the scale of the model's samples, such as "
            "image / 255"
        )

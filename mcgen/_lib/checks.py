"""Checks of arguments: integers, real numbers, and objects that must satisfy a protocol."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np


def checked_integer(name: str, value: Any) -> int:
    """Return an integer argument as an int.

    Raises
    ------
    TypeError
        If it has another type; a float is refused, and never rounded.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        advice = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise TypeError(f"{name} must be an int; got {value!r} of type {type(value).__name__}{advice}") from None


def checked_real(name: str, value: Any) -> float:
    """Return a finite real argument as a float.

    Raises
    ------
    TypeError
        If it has another type; texts and booleans are refused, and never converted.
    ValueError
        If it is not finite.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number; got {value!r} of type {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")
    return float(value)


def checked_protocol(value: Any, protocol: Any, name: str, advice: str) -> Any:
    """Return the value if it satisfies the protocol; otherwise refuse it, with advice how to get one."""
    if not isinstance(value, protocol) or isinstance(value, type):
        raise TypeError(f"{name} must satisfy mcgen.{protocol.__name__}; got {value!r}. To get one, {advice}")
    return value

"""Numbers as arguments."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np


def checked_integer(name: str, value: Any) -> int:
    """Return an argument that must be a whole number.

    Raises
    ------
    TypeError
        If it is of another type; a float is not rounded in silence.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        advice = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise TypeError(f"{name} must be an int; got {value!r} of type {type(value).__name__}{advice}") from None


def checked_real(name: str, value: Any) -> float:
    """Return an argument that must be a finite number.

    Raises
    ------
    TypeError
        If it is of another type; a text is not read, nor a boolean counted, in silence.
    ValueError
        If it is not finite.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number; got {value!r} of type {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")
    return float(value)


def checked_protocol(value: Any, protocol: Any, name: str, advice: str) -> Any:
    """Return a value that satisfies a protocol, or refuse it with advice."""
    if not isinstance(value, protocol) or isinstance(value, type):
        raise TypeError(f"{name} must satisfy mcgen.{protocol.__name__}; got {value!r}. To get one, {advice}")
    return value

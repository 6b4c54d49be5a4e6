"""Whole numbers as arguments."""

from __future__ import annotations

import operator
from typing import Any


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

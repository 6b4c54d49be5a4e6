"""Checks of arguments: integers, real numbers, flags, confidence levels, and objects that must satisfy a protocol."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

LARGEST_INTEGER = 2**63 - 1
"""The largest integer argument but for seeds: numpy and the columns of a store hold no larger ones."""


def checked_integer(name: str, value: Any, largest: int | None = LARGEST_INTEGER) -> int:
    """Return an integer argument as an int.

    Parameters
    ----------
    name : str
        The argument's name.
    value : object
        What was given.
    largest : int or None
        The largest value that is allowed; None for no limit.

    Raises
    ------
    TypeError
        If it has another type; a float is refused, and never rounded.
    ValueError
        If it is too large.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        advice = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise TypeError(f"{name} must be an int; got {value!r} of type {type(value).__name__}{advice}") from None
    if largest is not None and number > largest:
        limit = "2**63 - 1" if largest == LARGEST_INTEGER else f"{largest}"
        raise ValueError(f"{name} must be at most {limit}; got {number}. Give a smaller number")
    return number


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
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value}")
    return number


def checked_flag(name: str, value: Any) -> bool:
    """Return an argument that is True or False as a bool.

    Raises
    ------
    TypeError
        If it is anything else; texts and numbers are refused, and never taken for True.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False; got {value!r} of type {type(value).__name__}")
    return bool(value)


def checked_level(value: Any) -> float:
    """Return a confidence level as a float; one of fewer bits than a float by its shortest decimal, 0.9 for float32's.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it does not lie between 0 and 1.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"confidence_level must be a number such as 0.95; got {value!r}")
    level = float(str(value)) if isinstance(value, np.float16 | np.float32) else float(value)
    if not 0 < level < 1:
        hint = f"; for {level:g} % write {level / 100:g}" if 1 < level < 100 else ""
        raise ValueError(f"confidence_level must lie between 0 and 1, such as 0.95; got {value}{hint}")
    return level


def checked_protocol(value: Any, protocol: Any, name: str, advice: str) -> Any:
    """Return the value if it satisfies the protocol; otherwise refuse it, with advice how to get one."""
    if not isinstance(value, protocol) or isinstance(value, type):
        raise TypeError(f"{name} must satisfy mcgen.{protocol.__name__}; got {value!r}. To get one, {advice}")
    return value

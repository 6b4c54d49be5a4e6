"""Values from the texts of a command line: numbers, conditions, paths and lists of names."""

from __future__ import annotations

import math
import os
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

# A whole number, and any decimal number. Names such as "inf" and "nan" are texts.
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# Most digits of a number with an exponent. A seed has at most 39 (128 bits), and 1e999999999 would fill the memory.
_MOST_DIGITS = 40


def whole_number(text: str) -> int:
    """Return a whole number; ``1e4`` and ``10_000`` are 10000.

    Raises
    ------
    ArgumentTypeError
        If the text is no whole number.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = Decimal(text)
    except InvalidOperation:
        advice = (
            f"; write it as {text.replace(',', '')}" if text.replace(",", "").isdigit() else ", such as 3200 or 1e4"
        )
        raise ArgumentTypeError(f"must be a whole number; got {text!r}{advice}") from None
    if number.is_finite() and number.adjusted() > _MOST_DIGITS:
        raise ArgumentTypeError(f"must have at most {_MOST_DIGITS} digits; got {text!r}")
    if not number.is_finite() or number != number.to_integral_value():
        raise ArgumentTypeError(f"must be a whole number, such as 3200 or 1e4; got {text!r}")
    return int(number)


def decimal_number(text: str) -> float:
    """Return a decimal number, such as ``0.001`` or ``1e-3``.

    Raises
    ------
    ArgumentTypeError
        If the text is no number.
    """
    try:
        return float(text)
    except ValueError:
        advice = "; write a point before the decimals" if "," in text else ""
        advice = "; write 5 % as 0.05" if text.endswith("%") else advice
        raise ArgumentTypeError(f"must be a number, such as 0.001 or 1e-3; got {text!r}{advice}") from None


def condition_value(text: str) -> int | float | str:
    """Return a condition: a number where the text is one, else the text. Quotes within the text make it a text."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def path_text(text: str) -> str:
    """Return a path with ``~`` replaced by the home folder; shells leave it in ``--output=~/run.json``."""
    if not text:
        raise ArgumentTypeError("must be a path; got an empty text")
    return os.path.expanduser(text)


def names_in(texts: Iterable[str]) -> list[str]:
    """Return the names in texts that separate them by commas; commas in brackets belong to a name, as in top[0, 1]."""
    found = []
    for text in texts:
        depth, name = 0, ""
        for letter in text:
            depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(letter, 0)
            if letter == "," and depth <= 0:
                found.append(name.strip())
                name = ""
            else:
                name += letter
        found.append(name.strip())
    return found

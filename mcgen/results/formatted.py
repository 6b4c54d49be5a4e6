"""Estimates in an f-string: ``f"{result:.3f}"``."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np

from mcgen.results.shown import Shown
from mcgen.results.text import IN_LINE

_SPEC = re.compile(r"\+?,?(?:\.(?P<digits>\d{1,2}))?(?P<kind>[feg%])")


def formatted(estimate: Shown, spec: str) -> str:
    """Return the numbers of an estimate by a format specification; see `mcgen.Estimate.__format__`."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise ValueError(
            f"the format of an estimate must be like .3f, .2e, .4g or .1%, after an optional '+' and ','; got {spec!r}."
            " To align the text, format the text itself: f'{str(result):>40}'"
        )
    digits = 6 if found["digits"] is None else int(found["digits"])
    write = partial(_component, spec=spec, kind=found["kind"], digits=digits)
    columns = [np.ravel(x).tolist() for x in (estimate.mean, *estimate.interval, estimate.half_width)]
    if estimate.shape == ():
        return write(*(column[0] for column in columns))
    if len(estimate.names) <= IN_LINE:
        texts = (f"{name} {write(*row)}" for name, *row in zip(estimate.names, *columns, strict=True))
        return ", ".join(texts)
    means, _, _, half = (sorted(column) for column in columns)
    widths = [_width(one, spec.replace("+", ""), _unit(one, found["kind"], digits)) for one in (half[0], half[-1])]
    return (
        f"{len(means)} components, means {means[0]:{spec}} to {means[-1]:{spec}}, "
        f"half-widths {widths[0]} to {widths[1]}"
    )


def _component(mean: float, low: float, high: float, half_width: float, *, spec: str, kind: str, digits: int) -> str:
    """Return one mean with its half-width, or with the ends of an interval that is not symmetric."""
    unit = _unit(mean, kind, digits)
    # Rounding errors of the ends themselves are no asymmetry.
    if abs((low - mean) + (high - mean)) / 2 <= unit / 2 + 2 * math.ulp(mean):
        return f"{mean:{spec}} ± {_width(half_width, spec.replace('+', ''), unit)}"
    ends = [f"{end:{spec}}" for end in (low, high)]
    if ends[0] == ends[1] and low < high:
        # Rounded outward, so that the text does not show an interval of width 0.
        ends = [f"{low - unit / 2:{spec}}", f"{high + unit / 2:{spec}}"]
    return f"{mean:{spec}} [{', '.join(ends)}]"


def _width(half_width: float, spec: str, unit: float) -> str:
    """Return a half-width as text: at least one unit of the last digit of its mean, unless it is 0.

    The mean is rounded to that digit, so that a shorter interval about it would not hold the mean itself.
    """
    return f"{max(half_width, unit) if half_width > 0 else half_width:{spec}}"


def _unit(value: float, kind: str, digits: int) -> float:
    """Return what one unit of the last digit is, where a value is written with these digits."""
    if kind in "f%":
        return 10.0 ** -(digits + 2 * (kind == "%"))
    if value == 0 or not math.isfinite(value):
        return 0.0
    significant = digits + 1 if kind == "e" else max(digits, 1)
    return 10.0 ** (math.floor(math.log10(abs(value))) - significant + 1)

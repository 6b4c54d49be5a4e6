"""What a study decides: the promise, the rule declared beforehand, what was measured, and whether it holds.

Rules come with the probability `FALSE_ALARM` that they reject what is true, so that a table of some hundred verdicts on
a correct package fails less than once in a thousand. It is exact for shares. Means are judged by the normal law, which
they follow in the limit only: where thousands of values are strongly skewed it may be some hundred times as much.

A negative control is a study of something broken, whose promise must be rejected: without it a rule may be one that
nothing fails. A measurement that is no finite number holds neither way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer, checked_real
from mcgen.inference.interval_input import Interval

FALSE_ALARM = 3.1e-6
Z_LIMIT = float(-ndtri(FALSE_ALARM / 2))
_CONTROL = "control: "


@dataclass(frozen=True)
class Verdict:
    """One promise, judged.

    Attributes
    ----------
    promise : str
        What is promised, or, of a negative control, what is broken.
    rule : str
        When it holds, declared before the measurement.
    measured : str
        What came out.
    holds : bool
        Whether it does; never where `value` is not finite.
    value : float
        The number in it, such as the middle of an interval; NaN where nothing was measured.
    """

    promise: str
    rule: str
    measured: str
    holds: bool
    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", bool(self.holds) and math.isfinite(self.value))

    @property
    def is_control(self) -> bool:
        """Whether it is that of a negative control."""
        return self.promise.startswith(_CONTROL)


Study = Callable[[bool, int], list[Verdict]]
"""Takes whether it is to be full, and a seed."""


def control(verdict: Verdict) -> Verdict:
    """Return the verdict of a negative control: it holds where a finite number was measured and rejected."""
    return replace(verdict, promise=_CONTROL + verdict.promise, rule=f"not {verdict.rule}", holds=not verdict.holds)


def acceptance_band(
    repetitions: int, nominal: float = 0.95, false_alarm: float = FALSE_ALARM, *, at_least: bool = False
) -> tuple[float, float]:
    """Return the shares of hits that are accepted of a method whose true share is `nominal`.

    From the exact binomial distribution, half of the false alarms on each side. At 12,000 repetitions and 0.95 the
    band is [0.9405, 0.9590]; a method that covers 0.935 is caught 99 times in 100.

    Parameters
    ----------
    repetitions : int
        How many intervals are counted.
    nominal : float
        The share promised.
    false_alarm : float
        Probability of a share outside the band, at most, for a correct method.
    at_least : bool
        For a promise of `nominal` or more: the upper end is 1.

    Raises
    ------
    TypeError, ValueError
        If there are no repetitions, or a probability is not between 0 and 1.
    """
    from scipy.stats import binom

    if checked_integer("repetitions", repetitions) < 1:
        raise ValueError(f"repetitions must be at least 1; got {repetitions}")
    for name, value in (("nominal", nominal), ("false_alarm", false_alarm)):
        if not 0 < checked_real(name, value) < 1:
            raise ValueError(f"{name} must be between 0 and 1; got {value}: write 95 % as 0.95")
    low, high = binom.ppf(false_alarm / 2, repetitions, nominal), binom.isf(false_alarm / 2, repetitions, nominal)
    return float(low) / repetitions, 1.0 if at_least else float(high) / repetitions


def share(promise: str, hits: int, repetitions: int, nominal: float = 0.95, *, at_least: bool = False) -> Verdict:
    """Judge a share of hits by `acceptance_band`."""
    low, high = acceptance_band(repetitions, nominal, at_least=at_least)
    if not 0 <= checked_integer("hits", hits) <= repetitions:
        raise ValueError(f"hits must be from 0 to the {repetitions} repetitions; got {hits}")
    rule = f"at least {low:.4f}" if at_least else f"in [{low:.4f}, {high:.4f}]"
    found = hits / repetitions
    return Verdict(promise, rule, f"{found:.4f} of {repetitions:,}", low <= found <= high, found)


def mean(promise: str, values: Floats, expected: float, expected_error: float = 0.0) -> Verdict:
    """Judge the mean of i.i.d. values, shape (n,): at most `Z_LIMIT` standard errors from what is expected.

    What is expected may have a standard error of its own.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 values, or what is expected is no finite number.
    """
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values must have shape (n,) with n at least 2; got shape {values.shape}: simulate more")
    checked_real("expected", expected)
    if checked_real("expected_error", expected_error) < 0:
        raise ValueError(f"expected_error must be at least 0; got {expected_error}")
    found = float(values.mean())
    error = math.hypot(float(values.std(ddof=1)) / math.sqrt(len(values)), expected_error)
    z = (found - expected) / error if error else math.copysign(math.inf, found - expected) if found != expected else 0.0
    return Verdict(
        promise,
        f"{expected:.6g} within {Z_LIMIT:.2f} standard errors",
        f"{found:.6g} ± {error:.2g} ({z:+.2f} standard errors)",
        abs(z) <= Z_LIMIT,
        # A standard error that overflows would let any mean hold.
        found if math.isfinite(error) else math.nan,
    )


def inside(promise: str, value: float, low: float, high: float, note: str = "") -> Verdict:
    """Judge a number by a range that was declared."""
    if not checked_real("low", low) <= checked_real("high", high):
        raise ValueError(f"low must be at most high; got {low} and {high}")
    measured = f"{value:.6g}{note and f' ({note})'}"
    return Verdict(promise, f"in [{low:.6g}, {high:.6g}]", measured, low <= value <= high, value)


def at_most(promise: str, value: float, limit: float) -> Verdict:
    """Judge a number by a largest one that was declared."""
    checked_real("limit", limit)
    return Verdict(promise, f"at most {limit:.6g}", f"{value:.6g}", value <= limit, value)


def holding(promise: str, interval: Interval, expected: float) -> Verdict:
    """Judge an interval of confidence 1 - `FALSE_ALARM`: it holds what is expected; one without an end does not."""
    checked_real("expected", expected)
    low, high = float(np.ravel(interval.low)[0]), float(np.ravel(interval.high)[0])
    middle = low + (high - low) / 2
    return Verdict(promise, f"holds {expected:.6g}", f"[{low:.6g}, {high:.6g}]", low <= expected <= high, middle)

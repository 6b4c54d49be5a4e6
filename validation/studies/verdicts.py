"""`Verdict`: a promise, the rule declared beforehand, what was measured, and whether the promise holds.

Each rule rejects a true promise with probability `FALSE_ALARM`. So a table of a few hundred verdicts on a correct
package fails less than once in a thousand times. For shares this probability is an exact bound. Means are judged by
their limit, the normal law. For thousands of strongly skewed values the probability may be a hundred times as large.

A negative control judges something broken, whose promise must be rejected. It shows that the rule can fail. If the
measured value is not a finite number, a promise does not hold, and neither does a control.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer, checked_real
from mcgen.inference.interval_input import Interval

# Probability that a rule rejects a true promise. A few hundred verdicts then fail less than once in a thousand times.
FALSE_ALARM = 3.1e-6
Z_LIMIT = float(-ndtri(FALSE_ALARM / 2))
_CONTROL = "control: "


@dataclass(frozen=True)
class Verdict:
    """The verdict on one promise.

    Attributes
    ----------
    promise : str
        The promise; for a negative control, the broken promise.
    rule : str
        The condition under which it holds, declared before the measurement.
    measured : str
        The measured value, as text.
    holds : bool
        Whether the promise holds; False if `value` is not finite.
    value : float
        The measured value, as a number, such as the middle of an interval; NaN if nothing was measured.
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
        """Whether this is the verdict of a negative control."""
        return self.promise.startswith(_CONTROL)


Study = Callable[[bool, int], list[Verdict]]
"""A function of (full, seed): whether to run the full form, and the seed."""


def control(verdict: Verdict) -> Verdict:
    """Return the verdict of a negative control: it holds if a finite number was measured and rejected."""
    return replace(verdict, promise=_CONTROL + verdict.promise, rule=f"not {verdict.rule}", holds=not verdict.holds)


def acceptance_band(
    repetitions: int, nominal: float = 0.95, false_alarm: float = FALSE_ALARM, *, at_least: bool = False
) -> tuple[float, float]:
    """Return the lowest and highest share of hits that is accepted for a promised share `nominal`.

    The band is from the exact binomial distribution, with half of the false alarms on each side. For 12,000 repetitions
    and 0.95 it is [0.9405, 0.9590]; a method that covers 0.935 is rejected 99 times in 100.

    Parameters
    ----------
    repetitions : int
        How many intervals are counted.
    nominal : float
        The promised share.
    false_alarm : float
        Largest probability of a share outside the band, for a correct method.
    at_least : bool
        Whether the promise is `nominal` or more; the upper end is then 1.

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
    """Return the verdict on a share of hits, by `acceptance_band`."""
    low, high = acceptance_band(repetitions, nominal, at_least=at_least)
    if not 0 <= checked_integer("hits", hits) <= repetitions:
        raise ValueError(f"hits must be from 0 to the {repetitions} repetitions; got {hits}")
    rule = f"at least {low:.4f}" if at_least else f"in [{low:.4f}, {high:.4f}]"
    found = hits / repetitions
    return Verdict(promise, rule, f"{found:.4f} of {repetitions:,}", low <= found <= high, found)


def least(what: str, hits: Mapping[str, int], runs: Mapping[str, int], nominal: float) -> Verdict:
    """Return the verdict that the least share of hits is `nominal` or more; false alarms are shared among the cells.

    Parameters
    ----------
    what : str
        What covers, such as "the average".
    hits, runs : mapping of str to int
        Hits and repetitions of each cell, by what the cell is called.
    nominal : float
        The promised share.
    """
    worst = min(hits, key=lambda name: hits[name] / runs[name])
    n, found = runs[worst], hits[worst] / runs[worst]
    low, _ = acceptance_band(n, nominal, FALSE_ALARM / len(hits), at_least=True)
    return Verdict(
        f"{what} covers {nominal}", f"at least {low:.4f}", f"{found:.4f} of {n:,} ({worst})", found >= low, found
    )


def mean(promise: str, values: Floats, expected: float, expected_error: float = 0.0) -> Verdict:
    """Return the verdict on the mean of i.i.d. values (n,): at most `Z_LIMIT` standard errors from `expected`.

    `expected` may have a standard error of its own.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 values, or `expected` is not a finite number.
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
        # With a standard error that overflows any mean would hold.
        found if math.isfinite(error) else math.nan,
    )


def inside(promise: str, value: float, low: float, high: float, note: str = "") -> Verdict:
    """Return the verdict on a number by a declared range."""
    if not checked_real("low", low) <= checked_real("high", high):
        raise ValueError(f"low must be at most high; got {low} and {high}")
    measured = f"{value:.6g}{note and f' ({note})'}"
    return Verdict(promise, f"in [{low:.6g}, {high:.6g}]", measured, low <= value <= high, value)


def at_most(promise: str, value: float, limit: float) -> Verdict:
    """Return the verdict on a number by a declared largest value."""
    checked_real("limit", limit)
    return Verdict(promise, f"at most {limit:.6g}", f"{value:.6g}", value <= limit, value)


def holding(promise: str, interval: Interval, expected: float) -> Verdict:
    """Return the verdict on an interval of level 1 - `FALSE_ALARM`, which has finite ends and must hold `expected`."""
    checked_real("expected", expected)
    low, high = float(np.ravel(interval.low)[0]), float(np.ravel(interval.high)[0])
    middle = low + (high - low) / 2
    return Verdict(promise, f"holds {expected:.6g}", f"[{low:.6g}, {high:.6g}]", low <= expected <= high, middle)

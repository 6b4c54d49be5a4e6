"""What a study decides: the promise, the rule declared beforehand, what was measured, and whether it holds.

Rules come with the probability `FALSE_ALARM` that they reject what is true, so that a table of some hundred verdicts on
a correct package fails less than once in a thousand. A negative control is a study of something broken, whose promise
must be rejected: without it a rule may be one that nothing fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from mcgen.intervals import Interval
from mcgen.moments import Floats

FALSE_ALARM = 3.1e-6
Z_LIMIT = float(-ndtri(FALSE_ALARM / 2))


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
        Whether it does.
    """

    promise: str
    rule: str
    measured: str
    holds: bool


def control(verdict: Verdict) -> Verdict:
    """Return the verdict of a negative control: it holds where the rule has rejected what is broken."""
    return replace(verdict, promise=f"control: {verdict.promise}", rule=f"not {verdict.rule}", holds=not verdict.holds)


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
    """
    from scipy.stats import binom

    low, high = binom.ppf(false_alarm / 2, repetitions, nominal), binom.isf(false_alarm / 2, repetitions, nominal)
    return float(low) / repetitions, 1.0 if at_least else float(high) / repetitions


def share(promise: str, hits: int, repetitions: int, nominal: float = 0.95, *, at_least: bool = False) -> Verdict:
    """Judge a share of hits by `acceptance_band`."""
    low, high = acceptance_band(repetitions, nominal, at_least=at_least)
    rule = f"at least {low:.4f}" if at_least else f"in [{low:.4f}, {high:.4f}]"
    measured = f"{hits / repetitions:.4f} of {repetitions:,}"
    return Verdict(promise, rule, measured, low <= hits / repetitions <= high)


def mean(promise: str, values: Floats, expected: float, expected_error: float = 0.0) -> Verdict:
    """Judge the mean of i.i.d. values, shape (n,): at most `Z_LIMIT` standard errors from what is expected.

    What is expected may have a standard error of its own.
    """
    found = float(values.mean())
    error = math.hypot(float(values.std(ddof=1)) / math.sqrt(len(values)), expected_error)
    z = (found - expected) / error if error else math.copysign(math.inf, found - expected) if found != expected else 0.0
    return Verdict(
        promise,
        f"{expected:.6g} within {Z_LIMIT:.2f} standard errors",
        f"{found:.6g} ± {error:.2g} ({z:+.2f} standard errors)",
        bool(abs(z) <= Z_LIMIT),
    )


def inside(promise: str, value: float, low: float, high: float, note: str = "") -> Verdict:
    """Judge a number by a range that was declared."""
    return Verdict(
        promise, f"in [{low:.6g}, {high:.6g}]", f"{value:.6g}{note and f' ({note})'}", bool(low <= value <= high)
    )


def at_most(promise: str, value: float, limit: float) -> Verdict:
    """Judge a number by a largest one that was declared."""
    return Verdict(promise, f"at most {limit:.6g}", f"{value:.6g}", bool(value <= limit))


def holding(promise: str, interval: Interval, expected: float) -> Verdict:
    """Judge an interval of confidence 1 - `FALSE_ALARM`: it holds what is expected."""
    low, high = float(np.ravel(interval.low)[0]), float(np.ravel(interval.high)[0])
    return Verdict(promise, f"holds {expected:.6g}", f"[{low:.6g}, {high:.6g}]", bool(low <= expected <= high))

"""Tests of the difference of means of a measure, and p-values where they are too small for a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.log_ratios import welch_satterthwaite

# Differences and standard errors below so much of the largest value are rounding errors of sums over entries.
_ROUNDING = 1e-12


def tested(samples: Sequence[Floats], largest: float, confidence_level: float) -> dict[str, float]:
    """Return Welch's t-test that the means of independent samples, which bear their signs and weights, add up to 0.

    Parameters
    ----------
    samples : sequence of ndarray
        Two or more values each.
    largest : float
        Size of the largest value, which shows the scale on which values are rounded. Values that vary by rounding alone
        have no standard error, and means that differ by rounding alone are equal.
    confidence_level : float
        Of the interval.
    """
    difference = float(sum(one.mean() for one in samples))
    variances = np.array([[one.var(ddof=1) / len(one)] for one in samples])
    if math.sqrt(variances.sum()) <= _ROUNDING * largest:
        variances = np.zeros_like(variances)
        difference = 0.0 if abs(difference) <= _ROUNDING * largest else difference
    freedom = np.array([[len(one) - 1.0] for one in samples])
    df = float(welch_satterthwaite(variances, freedom)[0])
    error = math.sqrt(variances.sum())
    t = difference / error if error > 0 else math.copysign(math.inf, difference) if difference else 0.0
    half = float(student_t_quantile((1 + confidence_level) / 2, df)) * error
    log_p = math.log(2) + log_t_tail(abs(t), df)
    return {
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "t": t,
        "degrees_of_freedom": df,
        "p": float(min(1.0, 2 * stdtr(df, -abs(t)))),
        "log10_p": min(0.0, log_p / math.log(10)),
    }


def holm(p: Floats) -> Floats:
    """Return Holm's p-values, which allow for all tests together."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(stepped, 1.0)
    return found


def log_t_tail(t: float, degrees_of_freedom: float) -> float:
    """Return the logarithm of P(T > t) of Student's t, also where it underflows: by its expansion for large t."""
    tail = float(stdtr(degrees_of_freedom, -t))
    if tail > 0:
        return math.log(tail)
    if math.isinf(t):
        return -math.inf
    # The density over the rate at which it falls there.
    df = degrees_of_freedom
    log_density = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    log_density -= (df + 1) / 2 * math.log1p(t * t / df)
    return log_density + math.log((df / t + t) / (df + 1))

"""Tests of a difference of means, and p-values where they are too small for a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.log_ratios import welch_satterthwaite

# Differences and standard errors below so much of the largest value are rounding errors of sums over entries.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """A difference of means, with its standard error and Welch's degrees of freedom.

    Attributes
    ----------
    value, standard_error, degrees_of_freedom : float
        The numbers.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float

    @classmethod
    def of(cls, samples: Sequence[Floats], largest: float) -> Difference:
        """Return the sum of the means of independent samples, which bear their signs and weights.

        Parameters
        ----------
        samples : sequence of ndarray
            Two or more values each.
        largest : float
            Size of the largest value, which shows the scale on which values are rounded. Values that vary by rounding
            alone have no standard error, and means that differ by rounding alone are equal.
        """
        value = float(sum(one.mean() for one in samples))
        variances = np.array([[one.var(ddof=1) / len(one)] for one in samples])
        if math.sqrt(variances.sum()) <= _ROUNDING * largest:
            variances = np.zeros_like(variances)
            value = 0.0 if abs(value) <= _ROUNDING * largest else value
        freedom = np.array([[len(one) - 1.0] for one in samples])
        return cls(value, math.sqrt(variances.sum()), float(welch_satterthwaite(variances, freedom)[0]))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the t interval."""
        half = float(student_t_quantile((1 + level) / 2, self.degrees_of_freedom)) * self.standard_error
        return self.value - half, self.value + half

    def tested(self, level: float) -> dict[str, float]:
        """Return the t-test that it is 0, with the interval."""
        t, df = self._t(self.value), self.degrees_of_freedom
        low, high = self.interval(level)
        return {
            "difference": self.value,
            "low": low,
            "high": high,
            "t": t,
            "degrees_of_freedom": df,
            "p": float(min(1.0, 2 * stdtr(df, -abs(t)))),
            "log10_p": min(0.0, (math.log(2) + log_t_tail(abs(t), df)) / math.log(10)),
        }

    def equivalence(self, margin: float) -> float:
        """Return the p-value of the two one-sided t-tests that it lies inside -margin to margin."""
        return max(float(stdtr(self.degrees_of_freedom, self._t(sign * self.value - margin))) for sign in (1, -1))

    def _t(self, distance: float) -> float:
        """Return a distance in standard errors."""
        if self.standard_error > 0:
            return distance / self.standard_error
        return math.copysign(math.inf, distance) if distance else 0.0


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

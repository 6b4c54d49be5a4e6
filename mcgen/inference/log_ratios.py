"""Logarithms of variances and of their ratios, with their uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import polygamma, psi

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import Interval, student_t_quantile


@dataclass(frozen=True)
class LogEstimate:
    """An estimate on the log scale.

    Attributes
    ----------
    value, variance : ndarray of shape (k,)
        The jackknife's estimate and its squared standard error.
    degrees_of_freedom : ndarray of shape (k,)
        Of the variance.
    """

    value: Floats
    variance: Floats
    degrees_of_freedom: Floats

    def minus(self, other: LogEstimate) -> LogEstimate:
        """Return the log of the ratio of two independent estimates, degrees of freedom by Welch-Satterthwaite."""
        variances = np.stack([self.variance, other.variance])
        df = np.stack([self.degrees_of_freedom, other.degrees_of_freedom])
        return LogEstimate(self.value - other.value, variances.sum(axis=0), welch_satterthwaite(variances, df))

    def exp(self, confidence_level: float) -> tuple[Floats, Interval]:
        """Return the estimate and its interval on the scale of the ratio itself."""
        half = student_t_quantile((1 + confidence_level) / 2, self.degrees_of_freedom) * np.sqrt(self.variance)
        return np.exp(self.value), Interval(np.exp(self.value - half), np.exp(self.value + half))


def welch_satterthwaite(variances: Floats, degrees_of_freedom: Floats) -> Floats:
    """Return the degrees of freedom of a sum of independent variance estimates along the first axis.

    (sum v_i)^2 / sum (v_i^2 / df_i), by B. L. Welch (1947), Biometrika 34, 28-35; where all v_i are 0, the least df_i.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variances.sum(axis=0) ** 2 / (variances**2 / degrees_of_freedom).sum(axis=0)
    return np.asarray(np.where(np.isnan(df), np.broadcast_to(degrees_of_freedom, variances.shape).min(axis=0), df))


@dataclass(frozen=True)
class LogRatio:
    """The log of a ratio of variances, a component each, with the variance of its error."""

    value: Floats
    error: Floats

    @classmethod
    def of(cls, mean_and_sd: tuple[float, float], k: int) -> Self:
        """Return what is known alike of k components."""
        return cls(np.full(k, mean_and_sd[0]), np.full(k, mean_and_sd[1] ** 2))

    def minus(self, other: LogRatio) -> LogRatio:
        """Return the log of the ratio of two, whose errors are independent."""
        # What does not vary in either has no ratio: NaN.
        with np.errstate(invalid="ignore"):
            return LogRatio(self.value - other.value, self.error + other.error)


def log_variance_of(variance: Floats, degrees_of_freedom: int) -> LogRatio:
    """Return the log of an estimated variance without the bias of the logarithm; -inf where it is 0."""
    half = degrees_of_freedom / 2
    with np.errstate(divide="ignore"):
        value = np.log(variance) - (psi(half) - math.log(half))
    return LogRatio(value, np.full(len(variance), float(polygamma(1, half))))


def skew(x: Floats) -> Floats:
    """Return the skewness of each column."""
    d = x - x.mean(axis=0)
    return np.asarray((d**3).mean(axis=0) / (d**2).mean(axis=0) ** 1.5)

"""Logarithms of variances and of ratios of variances, with the variance of their error and its degrees of freedom.

Ratios of variances (relative efficiencies) are compared on the log scale, where errors of independent estimates add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import log_ndtr, polygamma, psi

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import Interval, skewness_safe_ends, student_t_quantile


@dataclass(frozen=True)
class LogRatio:
    """An estimate of the logarithm of a variance, or of a ratio of variances, for each of k components.

    Attributes
    ----------
    value : ndarray of shape (k,)
        The estimated logarithm.
    variance : ndarray of shape (k,)
        Squared standard error of `value`.
    degrees_of_freedom : float or ndarray of shape (k,)
        Degrees of freedom of `variance`; infinite where the variance is taken as known.
    skewness : float or ndarray of shape (k,)
        Skewness of the error of `value`.
    """

    value: Floats
    variance: Floats
    degrees_of_freedom: float | Floats = math.inf
    skewness: float | Floats = 0.0

    @classmethod
    def of(cls, mean_and_sd: tuple[float, float], k: int) -> Self:
        """Return the log ratio that has the same mean and the same known standard deviation for k components."""
        return cls(np.full(k, mean_and_sd[0]), np.full(k, mean_and_sd[1] ** 2))

    def minus(self, other: LogRatio) -> LogRatio:
        """Return the difference of two independent estimates: the log of the ratio of what they estimate.

        The variances add, with degrees of freedom by Welch-Satterthwaite; third cumulants subtract. Where both
        logarithms are -inf (neither of the two varies) there is no ratio, and the value is NaN.
        """
        variances = np.stack([self.variance, other.variance])
        df = np.stack([np.broadcast_to(one.degrees_of_freedom, one.variance.shape) for one in (self, other)])
        variance = variances.sum(axis=0)
        third = self.skewness * self.variance**1.5 - other.skewness * other.variance**1.5
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self.value - other.value
            skewness = np.nan_to_num(third / variance**1.5)
        return LogRatio(value, variance, welch_satterthwaite(variances, df), skewness)

    def above(self, limit: Floats) -> Self:
        """Return the mean and the variance that the normal law of the estimate has above a limit, shape (k,).

        Values that are not finite stay as they are.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(self.variance)
            a = (limit - self.value) / error
            # The hazard phi(a) / (1 - Phi(a)); far above the value it is about a + 1 / a.
            hazard = np.exp(-(a**2) / 2 - log_ndtr(-a)) / math.sqrt(2 * math.pi)
            value, variance = self.value + error * hazard, self.variance * (1 + a * hazard - hazard**2)
        usable = np.isfinite(self.value) & np.isfinite(a) & (self.variance > 0)
        value, variance = (
            np.where(usable, value, self.value),
            np.where(usable, np.maximum(variance, 0.0), self.variance),
        )
        return replace(self, value=value, variance=variance)

    def plus_noise(self, variance: float) -> LogRatio:
        """Return the same value with an independent symmetric error of known variance added to its own."""
        total = self.variance + variance
        with np.errstate(invalid="ignore", divide="ignore"):
            skewness = np.nan_to_num(self.skewness * (self.variance / total) ** 1.5)
        return LogRatio(self.value, total, self.degrees_of_freedom, skewness)

    def exp(self, confidence_level: float, stretch: tuple[float, float] = (1.0, 1.0)) -> tuple[Floats, Interval]:
        """Return the ratio itself and its skewness-safe t interval, made on the log scale.

        Parameters
        ----------
        confidence_level : float
            In (0, 1).
        stretch : tuple of two float
            Factors of the distances from the value to the lower and to the upper end.
        """
        t = student_t_quantile((1 + confidence_level) / 2, self.degrees_of_freedom)
        low, high = skewness_safe_ends(t, np.asarray(self.skewness, np.float64))
        error = np.sqrt(self.variance)
        ends = self.value + stretch[0] * low * error, self.value + stretch[1] * high * error
        return np.exp(self.value), Interval(np.exp(ends[0]), np.exp(ends[1]))


def welch_satterthwaite(variances: Floats, degrees_of_freedom: Floats) -> Floats:
    """Return the degrees of freedom of a sum of independent variance estimates v_i, the first axis.

    They are (sum v_i)^2 / sum (v_i^2 / df_i), by B. L. Welch (1947), Biometrika 34, 28-35. Where all v_i are 0, the
    least df_i is returned.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variances.sum(axis=0) ** 2 / (variances**2 / degrees_of_freedom).sum(axis=0)
    return np.asarray(np.where(np.isnan(df), np.broadcast_to(degrees_of_freedom, variances.shape).min(axis=0), df))


def log_variance_of(variance: Floats, degrees_of_freedom: float) -> LogRatio:
    r"""Return the log of a variance that was estimated from normal values, corrected for the bias of the logarithm.

    With nu degrees of freedom and the digamma and trigamma functions psi and psi_1,

    .. math:: \log s^2 - \psi(\nu / 2) + \log(\nu / 2), \qquad \text{with variance } \psi_1(\nu / 2) .

    The value is -inf where the variance is 0.
    """
    half = degrees_of_freedom / 2
    with np.errstate(divide="ignore"):
        value = np.log(variance) - (psi(half) - math.log(half))
    return LogRatio(value, np.full(len(variance), float(polygamma(1, half))))


def log_variance_of_sample(x: Floats) -> LogRatio:
    r"""Return the log of the variance of each column of x (R, k), with an error that allows for heavy tails.

    The error variance of a log variance is about :math:`(\kappa - 1) / R`, with :math:`\kappa` the kurtosis, and its
    bias half of that. Both are those of `log_variance_of` times :math:`(\kappa - 1) / 2`, which is 1 for normal values.
    The kurtosis is that of the sample, and at least 3.
    """
    found = log_variance_of(x.var(axis=0, ddof=1), len(x) - 1)
    factor = (kurtosis(x) - 1) / 2
    half = (len(x) - 1) / 2
    bias = float(psi(half) - math.log(half))
    return LogRatio(found.value - (factor - 1) * bias, found.variance * factor)


def kurtosis(x: Floats) -> Floats:
    """Return the kurtosis of each column, mean(d^4) / mean(d^2)^2 with d the deviations from its mean; at least 3."""
    d = x - x.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.maximum(3.0, np.nan_to_num((d**4).mean(axis=0) / (d**2).mean(axis=0) ** 2)))


def skew(x: Floats) -> Floats:
    """Return the skewness of each column, mean(d^3) / mean(d^2)^(3/2) with d the deviations from its mean, or 0."""
    d = x - x.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num((d**3).mean(axis=0) / (d**2).mean(axis=0) ** 1.5))

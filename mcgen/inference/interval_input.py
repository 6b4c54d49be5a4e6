"""Confidence intervals, the input that they are computed from, and quantiles of Student's t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments
from mcgen.noise.random import Seed


class Interval(NamedTuple):
    """A confidence interval, or one for each component; ``low, high = interval`` unpacks its ends.

    It equals, and hashes, as the tuple of its ends. Ends that are arrays have no hash, and ``==`` raises a ValueError
    for them, as it does for all tuples of arrays: compare the ends by ``numpy.array_equal``.

    Attributes
    ----------
    low, high : float or ndarray
        Lower and upper end.

    Examples
    --------
    >>> import mcgen
    >>> interval = mcgen.Interval(1.0, 2.0)
    >>> low, high = interval
    >>> low, high, interval.half_width, 1.5 in interval
    (1.0, 2.0, 0.5, True)
    """

    low: float | Floats
    high: float | Floats

    @property
    def half_width(self) -> float | Floats:
        """Half the distance between the ends."""
        return (self.high - self.low) / 2

    def __contains__(self, value: object) -> bool:
        """Return whether the value, with all its components, lies in the interval."""
        inside = np.asarray(value)
        return bool(np.all((self.low <= inside) & (inside <= self.high)))


@dataclass(frozen=True)
class IntervalInput:
    """The numbers that an interval is computed from.

    Attributes
    ----------
    mean, standard_error : ndarray of shape (k,)
        The estimate and its standard error.
    degrees_of_freedom : ndarray of shape (k,)
        Degrees of freedom of the standard error: R - 1, or Welch-Satterthwaite's for sums of independent estimates.
    replicate_means : ndarray of shape (R, k), or None
        Replicate means, for the methods that resample them.
    seed : int or SeedSequence
        Seed of the run; resampling takes a stream of its own from it.
    skewness : ndarray of shape (k,), or None
        Skewness of the estimate, for the method that adjusts for it.
    first_stage : tuple of int and ndarray of shape (k,), or None
        Number of replicates in the first stage of a two-stage run, and their standard deviations.
    planned : int or None
        Number of replicates at which the confidence sequence is narrowest.
    """

    mean: Floats
    standard_error: Floats
    degrees_of_freedom: Floats
    replicate_means: Floats | None
    seed: Seed
    skewness: Floats | None = None
    first_stage: tuple[int, Floats] | None = None
    planned: int | None = None

    @classmethod
    def of(cls, moments: Moments, replicate_means: Floats | None, seed: Seed) -> IntervalInput:
        """Return the input for the replicate means of one run, with R - 1 degrees of freedom."""
        df = np.full(len(moments.mean), moments.count - 1.0)
        return cls(moments.mean, moments.standard_error, df, replicate_means, seed, moments.skewness_of_mean)


def shared_level(confidence_level: float, k: int) -> float:
    """Return Bonferroni's level for each of k components, 1 - (1 - c) / k: then all cover together with level c."""
    return 1 - (1 - confidence_level) / k


def student_t_quantile(p: float | Floats, degrees_of_freedom: float | Floats) -> Floats:
    """Return a quantile of Student's t distribution; with infinite degrees of freedom a normal quantile."""
    df = np.asarray(degrees_of_freedom, dtype=np.float64)
    return np.where(np.isinf(df), ndtri(p), stdtrit(np.where(np.isinf(df), 1.0, df), p))


def hall_inverse(y: Floats, skewness: Floats) -> Floats:
    """Return the T with g(T) = y: (3 / lambda) (c - 1) with c^3 = 1 + lambda (y - lambda / 6).

    g is Hall's transformation, see `mcgen.inference.intervals`, and lambda the skewness. With c^3 - 1 = (c - 1)
    (c^2 + c + 1) there is no division by lambda, which may be 0.
    """
    shifted = y - skewness / 6
    c = np.cbrt(1 + skewness * shifted)
    return np.asarray(3 * shifted / (c**2 + c + 1))


def skewness_safe_ends(t: Floats, skewness: Floats) -> tuple[Floats, Floats]:
    """Return the ends in standard errors from the estimate: on each side the farther of Student's t and Hall's.

    Parameters
    ----------
    t : ndarray
        Quantile of Student's t, above 0.
    skewness : ndarray
        Skewness of the estimate.
    """
    return -np.maximum(t, hall_inverse(t, skewness)), np.maximum(t, -hall_inverse(-t, skewness))

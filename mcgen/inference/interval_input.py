"""What an interval is made from, and what it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments
from mcgen.noise.random import Seed


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or one for each component.

    Attributes
    ----------
    low, high : float or ndarray
        Its ends.
    """

    low: float | Floats
    high: float | Floats

    @property
    def half_width(self) -> float | Floats:
        """Half the distance between the ends."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float | Floats) -> bool:
        """Whether the value (every component of it) lies inside."""
        return bool(np.all((self.low <= np.asarray(value)) & (np.asarray(value) <= self.high)))


@dataclass(frozen=True)
class IntervalInput:
    """What an interval is made from.

    Attributes
    ----------
    mean, standard_error : ndarray of shape (k,)
        Of the estimate.
    degrees_of_freedom : ndarray of shape (k,)
        Of the standard error: R - 1, or Welch-Satterthwaite's for sums of independent estimates.
    replicate_means : ndarray of shape (R, k), or None
        For the methods that resample them.
    seed : int or SeedSequence
        The run's; resampling takes a stream of its own from it.
    skewness : ndarray of shape (k,), or None
        Of the estimate, for the method that adjusts for it.
    first_stage : tuple of int and ndarray of shape (k,), or None
        How many replicates the first stage of a run in two stages had, and their standard deviations.
    planned : int or None
        At how many replicates the confidence sequence is to be narrowest.
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
        """Return what the moments of one run's replicate means give."""
        df = np.full(len(moments.mean), moments.count - 1.0)
        return cls(moments.mean, moments.standard_error, df, replicate_means, seed, moments.skewness_of_mean)


def shared_level(confidence_level: float, k: int) -> float:
    """Return Bonferroni's level of each of k components: all cover together at the confidence level."""
    return 1 - (1 - confidence_level) / k


def student_t_quantile(p: float | Floats, degrees_of_freedom: float | Floats) -> Floats:
    """Return the quantile of Student's t distribution; of the normal one for infinite degrees of freedom."""
    df = np.asarray(degrees_of_freedom, dtype=np.float64)
    return np.where(np.isinf(df), ndtri(p), stdtrit(np.where(np.isinf(df), 1.0, df), p))

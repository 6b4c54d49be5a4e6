"""Confidence intervals, the input that they are computed from, and quantiles of Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments
from mcgen.noise.random import Seed

LEAST_NET, FEWEST_DIMENSIONS, MOST_SKEWED = 64, 4, 0.3
"""Least points and dimensions of a net, and largest skewness of values, for which Student's t interval holds."""


class Interval(NamedTuple):
    """A confidence interval, or one for each component; ``low, high = interval`` unpacks its ends.

    It equals the tuple of its ends, and has the same hash. Ends that are arrays have no hash, and ``==`` raises a
    ValueError for them, as for all tuples of arrays. Compare such ends by ``numpy.array_equal``.

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


@dataclass(frozen=True, eq=False)
class EventCounts:
    """Numbers of events of k indicators in the replicates of one run.

    Attributes
    ----------
    n_replicates, n_points : int
        Number of replicates R, and of points in each. In studies of many runs, R may be an array of shape (k,).
    events, non_events : ndarray of shape (k,)
        Numbers of values that were 1 and 0.
    dispersion : ndarray of shape (k,)
        Sum over the replicates of the squared deviation of the number of events from its mean.
    weight : float
        Weight of this run in an average of several, 1 for one run.

    The numbers of components whose values are not all 0 or 1 mean nothing.
    """

    n_replicates: int | NDArray[np.int64]
    n_points: int
    events: Floats
    non_events: Floats
    dispersion: Floats
    weight: float = 1.0

    @classmethod
    def of(cls, moments: Moments, n_points: int, weight: float = 1.0) -> EventCounts:
        """Return the counts of a run; some of its components have only values 0 and 1."""
        assert moments.events is not None
        assert moments.non_events is not None
        events, others = moments.events.astype(np.float64), moments.non_events.astype(np.float64)
        return cls(moments.count, n_points, events, others, n_points**2 * moments.m2, weight)

    @property
    def per_event(self) -> float | Floats:
        """What one event adds to the average."""
        return self.weight / (self.n_replicates * self.n_points)

    def cluster(self, prior: float) -> Floats:
        """Return w, the size of the cluster of events that is added, shape (k,)."""
        n_values = self.n_replicates * self.n_points
        binomial = self.events * self.non_events / n_values
        return np.asarray(np.clip((self.dispersion + prior) / (binomial + 1), 1.0, self.n_points))

    def least_shift(self, prior: float) -> Floats:
        """Return the least number of events that m allows for beyond those that came, shape (k,).

        Parameters
        ----------
        prior : float
            Events by which a replicate is believed to deviate from the others before any does.
        """
        if self.n_points == 1:
            return np.zeros_like(self.dispersion)
        binomial = self.events * self.non_events / (self.n_replicates * self.n_points)
        ratio = np.divide(self.dispersion, binomial, out=np.ones_like(binomial), where=binomial > 0)
        size = (self.dispersion + min(prior, self.n_points)) / (self.dispersion + 1)
        return np.asarray((1 - np.minimum(ratio, 1)) * size)

    def reflected(self) -> EventCounts:
        """Return the counts of the non-events."""
        return EventCounts(self.n_replicates, self.n_points, self.non_events, self.events, self.dispersion, self.weight)


@dataclass(frozen=True)
class IntervalInput:
    """The numbers that an interval is computed from; `make_interval` takes them.

    `IntervalInput.of` makes one from the moments of replicate means.

    Attributes
    ----------
    mean, standard_error : ndarray of shape (k,)
        The estimate and its standard error.
    degrees_of_freedom : ndarray of shape (k,)
        Degrees of freedom of the standard error: R - 1, or Welch and Satterthwaite's for sums of independent
        estimates.
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
    counts : tuple of EventCounts
        Numbers of events of components whose values are all 0 or 1, of the run or of each run that is averaged.
    indicators : ndarray of bool of shape (k,), or None
        The components that are known to be probabilities of events; None where none is.
    student_holds : ndarray of bool of shape (k,), or None
        The components for which Student's t interval is known to cover from few replicates on; None where none is.
    constant : ndarray of bool of shape (k,), or None
        The components whose replicate means differ only by rounding; None where that is not known.
    bounds : ndarray of shape (2, k), or None
        Least and largest value that the statistic can have, infinite where none is declared; None where none are.
    bets_for : int or None
        Number of replicates, fixed before the run, at which a betting interval is to be narrow; None for any number.

    Examples
    --------
    A mean of 2 with standard error 0.1 from 10 replicates:

    >>> import numpy as np
    >>> from mcgen.intervals import IntervalInput, make_interval
    >>> sampled = IntervalInput(np.array([2.0]), np.array([0.1]), np.array([9.0]), None, seed=0)
    >>> interval, _ = make_interval(sampled, 0.95, "student-t")
    >>> interval.low.round(3).tolist(), interval.high.round(3).tolist()
    ([1.774], [2.226])
    """

    mean: Floats
    standard_error: Floats
    degrees_of_freedom: Floats
    replicate_means: Floats | None
    seed: Seed
    skewness: Floats | None = None
    first_stage: tuple[int, Floats] | None = None
    planned: int | None = None
    counts: tuple[EventCounts, ...] = ()
    indicators: NDArray[np.bool_] | None = None
    student_holds: NDArray[np.bool_] | None = None
    constant: NDArray[np.bool_] | None = None
    bounds: Floats | None = None
    bets_for: int | None = None

    @classmethod
    def of(
        cls,
        moments: Moments,
        replicate_means: Floats | None,
        seed: Seed,
        *,
        n_points: int = 0,
        boolean: Sequence[bool] = (),
        net: int = 0,
        rounding: float = 0.0,
        bounds: Sequence[tuple[float, float]] = (),
    ) -> IntervalInput:
        """Return the input for the replicate means of one run, with R - 1 degrees of freedom.

        Parameters
        ----------
        moments : Moments
            Moments of the replicate means.
        replicate_means : ndarray of shape (R, k), or None
            The replicate means, where they are kept.
        seed : int or SeedSequence
            Seed of the run.
        n_points : int
            Points in a replicate, where the values are those of the model; 0 where they were corrected by controls.
        boolean : sequence of bool
            Which components are boolean; empty where none is.
        net : int
            Dimension of the randomized net that each replicate is; 0 for other designs.
        rounding : float
            Relative rounding error of the values.
        bounds : sequence of tuple of two float
            Declared bounds of each component's values; empty where none are.
        """
        df = np.full(len(moments.mean), moments.count - 1.0)
        counts = () if moments.events is None or not n_points else (EventCounts.of(moments, n_points),)
        indicators = np.array(boolean, bool) & moments.counted if counts and len(boolean) else None
        return cls(
            moments.mean,
            moments.standard_error,
            df,
            replicate_means,
            seed,
            moments.skewness_of_mean,
            counts=counts,
            indicators=indicators,
            student_holds=student_holds(moments, n_points, net),
            constant=moments.constant(rounding),
            bounds=bounds_of(len(df), bounds, boolean),
        )


def student_holds(moments: Moments, n_points: int, net: int) -> NDArray[np.bool_] | None:
    """Return for which components Student's t interval is known to cover from few replicates on; None for none.

    It is where replicates are randomized nets of 64 points or more in four dimensions or more, and the skewness of all
    values is at most 0.3. There its 95 % intervals covered 0.93 and more from 5 replicates on, also where a statistic
    depends on a single coordinate, and the skewness-safe one would be up to twice as wide for smooth statistics, whose
    replicate means have heavy, symmetric tails. For more skewed values of one coordinate it covered less: 0.92 at
    skewness 0.6 with 10 nets, and 0.90 at 1.8. Nets integrate the smooth part of a statistic away and leave its tail,
    however many points they have. So values whose large part is smooth and symmetric may hide a small skewed part;
    nothing in few replicates shows it.
    """
    skewness = moments.skewness_of_values
    if net < FEWEST_DIMENSIONS or n_points < LEAST_NET or skewness is None:
        return None
    return np.asarray(np.abs(skewness) <= MOST_SKEWED)


def bounds_of(k: int, declared: Sequence[tuple[float, float]], boolean: Sequence[bool]) -> Floats:
    """Return the least and the largest value of k components, shape (2, k): those declared, and 0 and 1 of booleans.

    They are infinite where a component has neither.
    """
    bounds = np.stack([np.full(k, -np.inf), np.full(k, np.inf)])
    if len(declared):
        bounds = np.array(declared, np.float64).T
    if len(boolean):
        bounds = np.where(boolean, np.array([[0.0], [1.0]]), bounds)
    return bounds


def shared_level(confidence_level: float, k: int) -> float:
    """Return Bonferroni's level for each of k components, 1 - (1 - c) / k: then all cover together with level c."""
    return 1 - (1 - confidence_level) / k


def enlarged_skewness(sampled: IntervalInput, numbers: int) -> IntervalInput:
    """Return the input of intervals that cover together with others, `numbers` in all, at Bonferroni's level."""
    if sampled.skewness is None or numbers == 1:
        return sampled
    return replace(sampled, skewness=skewness_factor(numbers) * sampled.skewness)


def skewness_factor(numbers: int) -> float:
    """Return the factor of the estimated skewness for `numbers` intervals that cover together.

    It is min(1.5, 1 + 0.12 ln numbers), found by simulation: the sample's skewness is bounded by its size and biased
    towards 0, which matters the more the farther out the ends lie.
    """
    return min(1.5, 1 + 0.12 * math.log(numbers))


def student_t_quantile(p: float | Floats, degrees_of_freedom: float | Floats) -> Floats:
    """Return a quantile of Student's t distribution; with infinite degrees of freedom a normal quantile.

    Parameters
    ----------
    p : float or ndarray
        The probability, in (0, 1).
    degrees_of_freedom : float or ndarray
        Degrees of freedom, above 0.

    Examples
    --------
    >>> from mcgen.intervals import student_t_quantile
    >>> [round(float(student_t_quantile(0.975, df)), 3) for df in (9, 99, float("inf"))]
    [2.262, 1.984, 1.96]
    """
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

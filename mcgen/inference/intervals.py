r"""Intervals for a mean from R independent, identically distributed replicate means B_1, ..., B_R.

Nothing here knows the design: every design gives i.i.d. replicate means, and the mean of all points is the mean of
the B_r. With s their standard deviation, the Student t interval is

.. math:: \bar B \pm t_{R-1,\,(1+c)/2}\; s / \sqrt R,

exact for normal replicate means. For randomized quasi-Monte Carlo it covered best among the intervals compared in
[1]_. The normal interval has z in place of t (too short for few replicates: on normal means it covers 0.878 instead
of 0.95 for R = 5, 0.938 for R = 25). Bootstrap t [2]_ takes the quantiles of the studentized mean from resampled
replicates and follows their skewness. The skewness-adjusted t interval [5]_ does so in closed form, from the moments
alone: with lambda the skewness of the estimate, third central moment over cubed standard error, the studentized mean
T is changed into

.. math:: g(T) = T + \frac{\lambda}{3} T^2 + \frac{\lambda^2}{27} T^3 + \frac{\lambda}{6},

whose law is normal but for terms of order 1 / R, and the ends are where g(T) is a quantile of Student's t. It is
Student's interval for lambda = 0.

Simultaneous intervals cover all k components together: Bonferroni's [3]_ (each at level 1 - (1 - c) / k; valid whatever
their dependence), the largest studentized deviation over the components from resampled replicates (max-t), or from
Gaussian multipliers [4]_.

Where the replicates are counted by what they give, an interval has to allow for it. "two-stage-t" is that of
`mcgen.inference.stopping`: with s_0 the standard deviation of the first R_0 replicates,

.. math:: \bar B \pm \max(t_{R_0-1}\; s_0,\; t_{R-1}\; s) / \sqrt R .

The first term alone [6]_ covers exactly for normal replicate means, whatever standard deviations R is chosen by, since
the mean of R normal values is independent of them all. "anytime" and "asymptotic-anytime" are of `sequences`: they
cover at all R together. Their simultaneous form is Bonferroni's.

.. rubric:: References

.. [1] P. L'Ecuyer, M. K. Nakayama, A. B. Owen, B. Tuffin (2023). Confidence intervals for randomized quasi-Monte Carlo
   estimators. Winter Simulation Conference.
.. [2] P. Hall (1988). Theoretical comparison of bootstrap confidence intervals. Ann. Statist. 16(3), 927-953.
.. [3] O. J. Dunn (1961). Multiple comparisons among means. J. Amer. Statist. Assoc. 56(293), 52-64.
.. [4] V. Chernozhukov, D. Chetverikov, K. Kato (2013). Gaussian approximations and multiplier bootstrap for maxima of
   sums of high-dimensional random vectors. Ann. Statist. 41(6), 2786-2819.
.. [5] P. Hall (1992). On the removal of skewness by transformation. J. R. Statist. Soc. B 54(1), 221-228. Equation
   for :math:`g_1`, with a = 1/3 and b = 1/6 of the studentized mean.
.. [6] C. Stein (1945). A two-sample test for a linear hypothesis whose power is independent of the variance. Ann. Math.
   Statist. 16(3), 243-258.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator as NumpyGenerator
from scipy.special import ndtri, stdtrit

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments
from mcgen.inference.sequences import SEQUENCES
from mcgen.noise.random import Seed, Stream

__all__ = [
    "BOOTSTRAP_RESAMPLES",
    "FEWEST_FOR_BOOTSTRAP",
    "FEWEST_FOR_MAX_T",
    "FEWEST_FOR_MULTIPLIER",
    "Interval",
    "Method",
    "Sampled",
    "SequentialMethod",
    "SimultaneousMethod",
    "make_interval",
    "student_t_quantile",
    "studentized_ends",
]

FixedMethod = Literal["student-t", "normal", "skewness-adjusted-t", "bootstrap-t"]
SequentialMethod = Literal["two-stage-t", "anytime", "asymptotic-anytime"]
Method = Literal[FixedMethod, SequentialMethod]
SimultaneousMethod = Literal["bonferroni", "bootstrap-max-t", "gaussian-multiplier"]

BOOTSTRAP_RESAMPLES = 1999
FEWEST_FOR_BOOTSTRAP = 5
FEWEST_FOR_MAX_T = 50
FEWEST_FOR_MULTIPLIER = 1000
_RESAMPLED_VALUES = 2**22


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
class Sampled:
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
    def of(cls, moments: Moments, replicate_means: Floats | None, seed: Seed) -> Sampled:
        """Return what the moments of one run's replicate means give."""
        df = np.full(len(moments.mean), moments.count - 1.0)
        return cls(moments.mean, moments.standard_error, df, replicate_means, seed, moments.skewness_of_mean)


def make_interval(
    sampled: Sampled, confidence_level: float, method: Method, simultaneous: bool | SimultaneousMethod
) -> tuple[Interval, str]:
    """Return the interval of each component and the name of the method that made it.

    Parameters
    ----------
    sampled : Sampled
        The estimate.
    confidence_level : float
        In (0, 1).
    method : {"student-t", "normal", "skewness-adjusted-t", "bootstrap-t", "two-stage-t", "anytime", \
            "asymptotic-anytime"}
        For each component alone. The last three are for runs that stopped at what they gave.
    simultaneous : bool or {"bonferroni", "bootstrap-max-t", "gaussian-multiplier"}
        Cover all components together. True chooses by the number of replicates: Bonferroni-t below 50, bootstrap max-t
        from 50, Gaussian multipliers from 1,000; Bonferroni-t too where the replicate means were not kept, or a
        component varies in so few replicates that the bootstrap has no finite interval. Beside one of the last three
        methods True is Bonferroni's form of it, whose name is "bonferroni-two-stage-t", and alike.

    Raises
    ------
    ValueError
        If the level or a method is not one of those allowed, replicate means are needed that were not kept, or what
        a run that stopped by itself would have left.
    """
    check_interval_options(confidence_level, method, simultaneous)
    if simultaneous and len(sampled.mean) > 1 and method in get_args(SequentialMethod):
        level = shared_level(confidence_level, len(sampled.mean))
        return _around(sampled, *studentized_ends(sampled, level, method)), f"bonferroni-{method}"
    if simultaneous and len(sampled.mean) > 1:
        chosen = _default_simultaneous(sampled) if simultaneous is True else simultaneous
        c = _SIMULTANEOUS[chosen](sampled, confidence_level)
        if simultaneous is True and not np.isfinite(c).all():
            # A component that varies in few replicates: too many resamples do not vary in it.
            chosen, c = "bonferroni", _bonferroni(sampled, confidence_level)
        c = _finite(c, sampled)
        return _around(sampled, -c, c), chosen
    low, high = (_finite(end, sampled) for end in studentized_ends(sampled, confidence_level, method))
    return _around(sampled, low, high), method


def studentized_ends(sampled: Sampled, confidence_level: float, method: Method) -> tuple[Floats, Floats]:
    """Return the ends of each component's interval in standard errors from the mean; infinite where it has none."""
    return _POINTWISE[method](sampled, confidence_level)


def shared_level(confidence_level: float, k: int) -> float:
    """Return Bonferroni's level of each of k components: all cover together at the confidence level."""
    return 1 - (1 - confidence_level) / k


def options_of(method: str) -> tuple[Method, bool | SimultaneousMethod]:
    """Return the arguments of `make_interval` that ask for a method by its name."""
    for simultaneous in get_args(SimultaneousMethod):
        if method == simultaneous:
            return "student-t", simultaneous
    for pointwise in get_args(Method):
        if method == pointwise:
            return pointwise, False
        if method == f"bonferroni-{pointwise}":
            return pointwise, "bonferroni"
    return "student-t", False


def check_interval_options(confidence_level: float, method: str, simultaneous: bool | str) -> None:
    """Refuse a level outside (0, 1) and unknown methods."""
    if isinstance(confidence_level, bool) or not isinstance(confidence_level, int | float):
        raise TypeError(f"confidence_level must be a number such as 0.95; got {confidence_level!r}")
    if not 0 < confidence_level < 1:
        hint = f"; for {confidence_level:g} % write {confidence_level / 100:g}" if 1 < confidence_level < 100 else ""
        raise ValueError(f"confidence_level must lie between 0 and 1, such as 0.95; got {confidence_level}{hint}")
    if method not in get_args(Method):
        raise ValueError(
            f"interval must be one of {', '.join(get_args(FixedMethod))}; got {method!r}. Runs that stop by themselves "
            f"have {', '.join(get_args(SequentialMethod))} too"
        )
    if method in get_args(SequentialMethod):
        if simultaneous not in (True, False, "bonferroni"):
            raise ValueError(
                f"interval={method!r} covers all components together by Bonferroni's inequality alone; got "
                f"simultaneous={simultaneous!r}. Use simultaneous=True"
            )
    elif simultaneous and method != "student-t":
        raise ValueError(
            f"simultaneous intervals have methods of their own; got interval={method!r} beside "
            f"simultaneous={simultaneous!r}. Leave out one of them"
        )
    if not isinstance(simultaneous, bool) and simultaneous not in get_args(SimultaneousMethod):
        raise ValueError(
            f"simultaneous must be True, False or one of {', '.join(get_args(SimultaneousMethod))}; "
            f"got {simultaneous!r}"
        )


def student_t_quantile(p: float | Floats, degrees_of_freedom: float | Floats) -> Floats:
    """Return the quantile of Student's t distribution; of the normal one for infinite degrees of freedom."""
    df = np.asarray(degrees_of_freedom, dtype=np.float64)
    return np.where(np.isinf(df), ndtri(p), stdtrit(np.where(np.isinf(df), 1.0, df), p))


def _around(sampled: Sampled, low: Floats, high: Floats) -> Interval:
    return Interval(sampled.mean + low * sampled.standard_error, sampled.mean + high * sampled.standard_error)


def _student_t(sampled: Sampled, level: float) -> tuple[Floats, Floats]:
    t = student_t_quantile((1 + level) / 2, sampled.degrees_of_freedom)
    return -t, t


def _normal(sampled: Sampled, level: float) -> tuple[Floats, Floats]:
    z = np.full(len(sampled.mean), ndtri((1 + level) / 2))
    return -z, z


def _skewness_adjusted_t(sampled: Sampled, level: float) -> tuple[Floats, Floats]:
    """Return minus the T at which g(T) is the upper and the lower quantile of Student's t, reference 5."""
    if sampled.skewness is None:
        raise ValueError(
            "skewness-adjusted-t needs the skewness of the replicate means, which an estimate saved by an older "
            "version does not have; use student-t, or run it again"
        )
    t = student_t_quantile((1 + level) / 2, sampled.degrees_of_freedom)
    return -_untransformed(t, sampled.skewness), -_untransformed(-t, sampled.skewness)


def _untransformed(y: Floats, skewness: Floats) -> Floats:
    """Return the T with g(T) = y: (3 / lambda) (c - 1) with c^3 = 1 + lambda (y - lambda / 6).

    By c^3 - 1 = (c - 1) (c^2 + c + 1) without the division, which lambda = 0 would not allow.
    """
    shifted = y - skewness / 6
    c = np.cbrt(1 + skewness * shifted)
    return np.asarray(3 * shifted / (c**2 + c + 1))


def _bootstrap_t(sampled: Sampled, level: float) -> tuple[Floats, Floats]:
    """Return minus the upper and lower quantiles of (B*bar - Bbar) / se*, Hall's equal-tailed interval."""
    t = np.concatenate(_studentized_resamples(sampled, "bootstrap-t"))
    upper = np.quantile(t, (1 + level) / 2, axis=0, method="higher")
    lower = np.quantile(t, (1 - level) / 2, axis=0, method="lower")
    return -upper, -lower


def _two_stage_t(sampled: Sampled, level: float) -> tuple[Floats, Floats]:
    """Return the ends by the larger of the two stages' terms; Student's t where no replicate varies."""
    if sampled.first_stage is None:
        raise ValueError(
            "two-stage-t needs the number and the standard deviations of the first stage, which only a run in two "
            "stages has (atol=... or rtol=...); use student-t"
        )
    first_count, first = sampled.first_stage
    t = student_t_quantile((1 + level) / 2, sampled.degrees_of_freedom)
    last = sampled.standard_error * np.sqrt(sampled.degrees_of_freedom + 1)
    ratio = np.divide(first, last, out=np.zeros_like(t), where=last > 0)
    width = np.maximum(t, student_t_quantile((1 + level) / 2, first_count - 1.0) * ratio)
    return -width, width


def _of_sequence(sampled: Sampled, level: float, method: str) -> tuple[Floats, Floats]:
    if sampled.planned is None:
        raise ValueError(
            f"{method} needs the number of replicates that was planned before the run, which only a run that was asked "
            f"for it has: mcgen.estimate(..., interval={method!r}); use student-t"
        )
    width = SEQUENCES[method](sampled.degrees_of_freedom + 1, sampled.planned, level)
    if not np.isfinite(width).all():
        raise ValueError(
            f"at this confidence level {method} has no end yet for {_count(sampled)} replicates, with "
            f"{sampled.planned} planned; run more replicates or use student-t"
        )
    return -width, width


def _bonferroni(sampled: Sampled, level: float) -> Floats:
    return student_t_quantile(1 - (1 - level) / (2 * len(sampled.mean)), sampled.degrees_of_freedom)


def _bootstrap_max_t(sampled: Sampled, level: float) -> Floats:
    largest = [np.abs(t).max(axis=1) for t in _studentized_resamples(sampled, "bootstrap-max-t")]
    return np.asarray(np.quantile(np.concatenate(largest), level, method="higher"))


def _gaussian_multiplier(sampled: Sampled, level: float) -> Floats:
    means = _required_means(sampled, "gaussian-multiplier")
    n = len(means)
    with np.errstate(invalid="ignore"):
        scores = np.nan_to_num((means - sampled.mean) / (sampled.standard_error * n))
    largest = []
    for rng, rows in _resampling(sampled, "gaussian-multiplier", max(means.shape)):
        largest.append(np.abs(rng.standard_normal((rows, n)) @ scores).max(axis=1))
    return np.asarray(np.quantile(np.concatenate(largest), level, method="higher"))


_POINTWISE: dict[str, Callable[[Sampled, float], tuple[Floats, Floats]]] = {
    "student-t": _student_t,
    "normal": _normal,
    "skewness-adjusted-t": _skewness_adjusted_t,
    "bootstrap-t": _bootstrap_t,
    "two-stage-t": _two_stage_t,
    "anytime": partial(_of_sequence, method="anytime"),
    "asymptotic-anytime": partial(_of_sequence, method="asymptotic-anytime"),
}
_SIMULTANEOUS: dict[str, Callable[[Sampled, float], Floats]] = {
    "bonferroni": _bonferroni,
    "bootstrap-max-t": _bootstrap_max_t,
    "gaussian-multiplier": _gaussian_multiplier,
}


def _default_simultaneous(sampled: Sampled) -> SimultaneousMethod:
    n = _count(sampled)
    if n < FEWEST_FOR_MAX_T or sampled.replicate_means is None:
        return "bonferroni"
    return "gaussian-multiplier" if n >= FEWEST_FOR_MULTIPLIER else "bootstrap-max-t"


def _studentized_resamples(sampled: Sampled, purpose: str) -> list[Floats]:
    """Return the studentized means (resamples, k) of resampled replicates, in pieces.

    A component whose resampled replicates are all equal has an infinite studentized mean, or 0 where they equal the
    mean: so it counts in the tails, on the side it lies.
    """
    means = _required_means(sampled, purpose)
    n = len(means)
    if n < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(f"{purpose} needs at least {FEWEST_FOR_BOOTSTRAP} replicates; got {n}. Use student-t")
    # Deviations of a constant component are the rounding of its mean's sum; they must not be studentized.
    d = means - sampled.mean
    d[:, np.abs(d).max(axis=0) <= n * np.finfo(np.float64).eps * np.abs(sampled.mean)] = 0.0
    pieces = []
    for rng, rows in _resampling(sampled, purpose, max(means.shape)):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)
        first, second = counts @ d / n, counts @ (d * d) / n
        variance = second - first**2
        # Where all n draws are equal the difference is only rounding.
        variance[variance <= 1e-12 * second] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            pieces.append(np.nan_to_num(first / np.sqrt(variance / (n - 1)), nan=0.0, posinf=np.inf, neginf=-np.inf))
    return pieces


def _resampling(sampled: Sampled, purpose: str, size: int) -> Iterator[tuple[NumpyGenerator, int]]:
    """Yield pairs (random numbers, resamples) that make up all resamples, each of bounded memory."""
    rows = max(1, min(BOOTSTRAP_RESAMPLES, _RESAMPLED_VALUES // size))
    stream = Stream(sampled.seed, "interval", purpose)
    for start in range(0, BOOTSTRAP_RESAMPLES, rows):
        yield stream.generator(start), min(rows, BOOTSTRAP_RESAMPLES - start)


def _finite(quantile: Floats, sampled: Sampled) -> Floats:
    if not np.isfinite(quantile).all():
        raise ValueError(
            f"at this confidence level the bootstrap has no finite interval from {_count(sampled)} replicates, too "
            "many of whose resamples do not vary; run more replicates or use student-t"
        )
    return np.asarray(quantile)


def _count(sampled: Sampled) -> int:
    return round(float(np.min(sampled.degrees_of_freedom))) + 1


def _required_means(sampled: Sampled, purpose: str) -> Floats:
    if sampled.replicate_means is None:
        raise ValueError(
            f"{purpose} resamples the replicate means, which this estimate does not have; run it with "
            "keep_replicates=True (an average over independent conditions has none: use student-t)"
        )
    return sampled.replicate_means

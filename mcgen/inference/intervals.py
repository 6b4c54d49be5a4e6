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
Student's interval for lambda = 0. The skewness-safe t interval takes, on each side, the farther of Student's end and
that of the skewness-adjusted one. Skewed replicate means need the longer side; heavy symmetric tails look skewed in few
replicates, and there the shorter side of the adjusted interval covers too rarely. In simulations with means of skewness
up to 3.4 it covered 0.94 and more from 16 replicates on, and 0.95 from 25 on; with 25 normal means it is 3 % wider than
Student's.

Simultaneous intervals cover all k components together: Bonferroni's [3]_ (each at level 1 - (1 - c) / k; valid whatever
their dependence), with Student's ends or skewness-safe ones; quantiles of the largest and the smallest studentized mean
of all components over resampled replicates (max-t); or Gaussian multipliers [4]_.

Where the replicates are counted by what they give, an interval has to allow for it. "two-stage-t" is that of
`mcgen.inference.stopping`: with s_0 the standard deviation of the first R_0 replicates,

.. math:: \bar B \pm \max(t_{R_0-1}\; s_0,\; t_{R-1}\; s) / \sqrt R ,

where each side takes the skewness-adjusted end if that is farther. The first term alone [6]_ covers exactly for normal
replicate means, whatever standard deviations R is chosen by, since the mean of R normal values is independent of them
all. "anytime" and "asymptotic-anytime" are of `sequences`, and "betting" of `betting`: they cover at all R together.
The simultaneous form of all these is Bonferroni's, with the skewness enlarged as for skewness-safe ends.

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

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.inference.betting import betting_interval
from mcgen.inference.indicators import stopped_interval
from mcgen.inference.interval_input import (
    Interval,
    IntervalInput,
    enlarged_skewness,
    hall_inverse,
    shared_level,
    skewness_safe_ends,
    student_t_quantile,
)
from mcgen.inference.methods import AND, IntervalOptions, Method, SimultaneousMethod
from mcgen.inference.proportions import proportion_interval
from mcgen.inference.resampling import (
    BOOTSTRAP_RESAMPLES,
    FEWEST_FOR_MAX_T,
    FEWEST_TAIL_RESAMPLES,
    bootstrap_max_t,
    bootstrap_t,
    count_of,
    gaussian_multiplier,
)
from mcgen.inference.sequences import FEWEST_REPLICATES, SEQUENCES, sequence_ends

FEWEST_FOR_SKEWNESS = 10
"""Fewest replicates whose skewness the default interval looks at: of fewer it is nearly all chance."""


NO_PROBABILITIES = (
    "interval='proportion' is for components whose values are all 0 or 1, of one run or of an average over independent "
    "conditions, without control variates; got others. Leave interval out: boolean components then have it, and others "
    "what suits them"
)
"""Refusal of the interval of a probability for other numbers."""


def make_interval(
    sampled: IntervalInput,
    confidence_level: float,
    method: Method | None = None,
    simultaneous: bool | SimultaneousMethod = False,
) -> tuple[Interval, str]:
    """Return the interval of each component, and the name of the method that made it.

    Use it to make intervals from replicate means of your own. `Estimate.with_interval` does it for a result.

    Parameters
    ----------
    sampled : IntervalInput
        The numbers that the interval is computed from.
    confidence_level : float
        In (0, 1).
    method : {"student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t", "proportion", \
            "two-stage-t", "anytime", "asymptotic-anytime", "betting"}, optional
        For each component alone. The last four are for runs whose length depended on their own numbers. By default the
        method is chosen for each component: "proportion" for boolean ones, and "skewness-safe-t" from 10 replicates
        on. "student-t" is the default below, and where it is known to cover (`IntervalInput.student_holds`).
    simultaneous : bool or {"skewness-safe", "bonferroni", "bootstrap-max-t", "gaussian-multiplier"}
        Cover all components together. True is the bootstrap max-t, from 25 replicates whose means were kept. Otherwise
        True is skewness-safe t at Bonferroni's level. The same holds for a component that varies in too few replicates
        for a finite bootstrap interval. A boolean component then has the interval of a probability at Bonferroni's
        level. "bonferroni" is Student's t at that level; it covers too rarely where replicate means are skewed. With
        "proportion" or one of the last four methods, True is Bonferroni's form of it, named for example
        "bonferroni-two-stage-t".

    Raises
    ------
    ValueError
        If the level or a method is not one of those allowed; if the method needs replicate means that were not kept,
        or what only a run by a tolerance has; or if "proportion" is asked for values that are not all 0 or 1.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.intervals import IntervalInput, make_interval
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> sampled = IntervalInput.of(result.moments, result.replicate_means, seed=0)
    >>> interval, method = make_interval(sampled, 0.95)
    >>> method, float(interval.low[0]) == result.interval.low
    ('skewness-safe-t', True)
    """
    interval, _, made_by = interval_of(sampled, IntervalOptions(confidence_level, method, simultaneous))
    return interval, made_by


def interval_of(sampled: IntervalInput, options: IntervalOptions) -> tuple[Interval, Floats, str]:
    """Return the interval of each component, its half-width and the name of the method; see `make_interval`.

    The half-width is that of the studentized interval times the standard error: the difference of the ends would lose
    all digits where the mean is far larger.
    """
    method = method_of(sampled, options)
    if method in _SIMULTANEOUS:
        low, high = _SIMULTANEOUS[method](sampled, options)
        if options.simultaneous is True and not (np.isfinite(low).all() and np.isfinite(high).all()):
            # A component varies in few replicates, so that too many resamples do not vary in it.
            method = _by_moments(sampled)
            low, high = _SIMULTANEOUS[method](sampled, options)
        low, high = _finite(low, sampled), _finite(high, sampled)
    else:
        numbers = options.numbers(len(sampled.mean))
        level, adjusted = shared_level(options.confidence_level, numbers), enlarged_skewness(sampled, numbers)
        low, high = studentized_ends(adjusted, level, options.method)
        if not options.is_sequential:
            low, high = _finite(low, sampled), _finite(high, sampled)
    interval, half_width = _around(sampled, low, high)
    own, ends = _with_own_ends(sampled, options)
    if own.any():
        low, high = ends
        interval = Interval(np.where(own, low, interval.low), np.where(own, high, interval.high))
        half_width = np.where(own, (high - low) / 2, half_width)
    return interval, half_width, AND.join(dict.fromkeys(_methods(sampled, options, method).tolist()))


def method_of(sampled: IntervalInput, options: IntervalOptions) -> str | None:
    """Return the method of the components that are not boolean; None where it is chosen for each."""
    if not options.simultaneous or options.numbers(len(sampled.mean)) == 1:
        return options.method
    if options.has_own_simultaneous:
        return f"bonferroni-{options.method}"
    return _default_simultaneous(sampled, options) if options.simultaneous is True else options.simultaneous


def methods_of(sampled: IntervalInput, options: IntervalOptions) -> NDArray[np.str_]:
    """Return the name of the method of each component, shape (k,); see `make_interval`."""
    return _methods(sampled, options, method_of(sampled, options))


def _methods(sampled: IntervalInput, options: IntervalOptions, method: str | None) -> NDArray[np.str_]:
    """Return the name of the method of each component, where those that are not boolean have this one."""
    others = np.where(_student_suffices(sampled), "student-t", "skewness-safe-t") if method is None else method
    together = options.numbers(len(sampled.mean)) > 1
    return np.where(_events(sampled, options), "bonferroni-proportion" if together else "proportion", others)


def _events(sampled: IntervalInput, options: IntervalOptions) -> NDArray[np.bool_]:
    """Return which components have the interval of a probability, shape (k,)."""
    if options.method == "proportion":
        return np.ones(len(sampled.mean), bool)
    if sampled.indicators is None or not options.by_component:
        return np.zeros(len(sampled.mean), bool)
    return sampled.indicators


def _with_own_ends(sampled: IntervalInput, options: IntervalOptions) -> tuple[NDArray[np.bool_], tuple[Floats, Floats]]:
    """Return which components have ends that are not in standard errors, and these ends."""
    if options.method == "betting":
        level = shared_level(options.confidence_level, options.numbers(len(sampled.mean)))
        return np.ones(len(sampled.mean), bool), betting_interval(sampled, level)
    events = _events(sampled, options)
    return events, _ends_of_events(sampled, options, events) if events.any() else (sampled.mean, sampled.mean)


def _ends_of_events(
    sampled: IntervalInput, options: IntervalOptions, events: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the ends of the intervals of these probabilities; those of other components mean nothing."""
    if not sampled.counts or any((one.events[events] < 0).any() for one in sampled.counts):
        raise ValueError(NO_PROBABILITIES)
    level = shared_level(options.confidence_level, options.numbers(len(sampled.mean)))
    if options.method == "two-stage-t":
        return stopped_interval(sampled.counts[0], level)
    return proportion_interval(sampled.counts, sampled.degrees_of_freedom, level)


def _student_suffices(sampled: IntervalInput) -> NDArray[np.bool_]:
    """Return which components have Student's interval by default, shape (k,).

    These are those for which it is known to cover, and all of fewer than 10 replicates, whose skewness says nothing.
    """
    few = sampled.degrees_of_freedom < FEWEST_FOR_SKEWNESS - 1
    if sampled.skewness is None:
        return np.ones_like(few)
    return few if sampled.student_holds is None else few | sampled.student_holds


def studentized_ends(sampled: IntervalInput, confidence_level: float, method: Method | None) -> tuple[Floats, Floats]:
    """Return the ends of each component's interval, in standard errors from the mean; infinite where it has none.

    Parameters
    ----------
    sampled : IntervalInput
        The numbers that the interval is computed from.
    confidence_level : float
        In (0, 1).
    method : str or None
        The method for each component alone; None for the default of each.

    Returns
    -------
    low, high : ndarray of shape (k,)

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.intervals import IntervalInput, studentized_ends
    >>> sampled = IntervalInput(np.array([2.0]), np.array([0.1]), np.array([9.0]), None, seed=0)
    >>> low, high = studentized_ends(sampled, 0.95, "student-t")
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([-2.262], [2.262])
    """
    return _POINTWISE[method](sampled, confidence_level)


def _around(sampled: IntervalInput, low: Floats, high: Floats) -> tuple[Interval, Floats]:
    """Return the interval with these ends in standard errors from the mean, and its half-width."""
    # An end that is not there stays away where the replicate means do not vary: infinity times 0 is no number.
    error = np.where(np.isinf(low) | np.isinf(high), 1.0, sampled.standard_error)
    return Interval(sampled.mean + low * error, sampled.mean + high * error), np.asarray((high - low) / 2 * error)


def _student_t(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    t = student_t_quantile((1 + level) / 2, sampled.degrees_of_freedom)
    return -t, t


def _by_default(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return the ends of Student's interval for the components for which it suffices, else of the skewness-safe one."""
    suffices, (low, high) = _student_suffices(sampled), _student_t(sampled, level)
    if suffices.all():
        return low, high
    safe_low, safe_high = _skewness_safe_t(sampled, level)
    return np.where(suffices, low, safe_low), np.where(suffices, high, safe_high)


def _normal(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    z = np.full(len(sampled.mean), ndtri((1 + level) / 2))
    return -z, z


def _skewness_adjusted_t(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return minus the T at which g(T) is the upper and the lower quantile of Student's t, reference 5."""
    if sampled.skewness is None:
        raise ValueError(
            "skewness-adjusted-t needs the skewness of the replicate means, which an estimate saved by an older "
            "version does not have; use student-t, or run it again"
        )
    t = student_t_quantile((1 + level) / 2, sampled.degrees_of_freedom)
    return -hall_inverse(t, sampled.skewness), -hall_inverse(-t, sampled.skewness)


def _skewness_safe_t(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return, on each side, the end farther from the mean: Student's, or that of the skewness-adjusted t interval."""
    t = student_t_quantile((1 + level) / 2, sampled.degrees_of_freedom)
    if sampled.skewness is None:
        raise ValueError(
            "skewness-safe-t needs the skewness of the replicate means, which an estimate saved by an older version "
            "does not have; use student-t, or run it again"
        )
    return skewness_safe_ends(t, sampled.skewness)


def _simultaneous_skewness_safe(sampled: IntervalInput, options: IntervalOptions) -> tuple[Floats, Floats]:
    """Return the ends of skewness-safe t intervals at Bonferroni's level for all numbers that cover together."""
    numbers = options.numbers(len(sampled.mean))
    return _skewness_safe_t(enlarged_skewness(sampled, numbers), shared_level(options.confidence_level, numbers))


def _resampled(
    method: Callable[[IntervalInput, float], tuple[Floats, Floats]], sampled: IntervalInput, options: IntervalOptions
) -> tuple[Floats, Floats]:
    """Return the ends by a method that covers all components of one result together."""
    return method(sampled, shared_level(options.confidence_level, options.shared_with))


def _two_stage_t(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return, on each side, the farthest of the ends by the two stages' terms and the skewness-adjusted one."""
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
    low, high = skewness_safe_ends(t, _known_skewness(sampled))
    return np.minimum(low, -width), np.maximum(high, width)


def _known_skewness(sampled: IntervalInput) -> Floats:
    """Return the skewness of the estimate; 0 for estimates of versions that did not keep it."""
    return np.zeros_like(sampled.mean) if sampled.skewness is None else sampled.skewness


def _of_sequence(sampled: IntervalInput, level: float, method: str) -> tuple[Floats, Floats]:
    if sampled.planned is None:
        raise ValueError(
            f"{method} needs the number of replicates that was planned before the run, which only a run that was asked "
            f"for it has: mcgen.estimate(..., interval={method!r}); use student-t"
        )
    n = sampled.degrees_of_freedom + 1
    if (n < FEWEST_REPLICATES).all() or np.isinf(SEQUENCES[method](n, sampled.planned, level)).all():
        raise ValueError(
            f"at this confidence level {method} has no end yet for {count_of(sampled)} replicates, with "
            f"{sampled.planned} planned; run more replicates or use student-t"
        )
    low, high = sequence_ends(method, n, sampled.planned, level, _known_skewness(sampled))
    if sampled.constant is None:
        return low, high
    return np.where(sampled.constant, -np.inf, low), np.where(sampled.constant, np.inf, high)


def _bonferroni(sampled: IntervalInput, options: IntervalOptions) -> tuple[Floats, Floats]:
    """Return the ends of Student t intervals at Bonferroni's level for all numbers that cover together."""
    return _student_t(sampled, shared_level(options.confidence_level, options.numbers(len(sampled.mean))))


_POINTWISE: dict[str | None, Callable[[IntervalInput, float], tuple[Floats, Floats]]] = {
    None: _by_default,
    "student-t": _student_t,
    # Replaced by ends that are not in standard errors, see `interval_of`.
    "proportion": _student_t,
    "betting": _student_t,
    "normal": _normal,
    "skewness-safe-t": _skewness_safe_t,
    "skewness-adjusted-t": _skewness_adjusted_t,
    "bootstrap-t": bootstrap_t,
    "two-stage-t": _two_stage_t,
    "anytime": partial(_of_sequence, method="anytime"),
    "asymptotic-anytime": partial(_of_sequence, method="asymptotic-anytime"),
}
_SIMULTANEOUS: dict[str, Callable[[IntervalInput, IntervalOptions], tuple[Floats, Floats]]] = {
    "skewness-safe": _simultaneous_skewness_safe,
    "bonferroni": _bonferroni,
    "bootstrap-max-t": partial(_resampled, bootstrap_max_t),
    "gaussian-multiplier": partial(_resampled, gaussian_multiplier),
}


def _default_simultaneous(sampled: IntervalInput, options: IntervalOptions) -> SimultaneousMethod:
    """Return the method of ``simultaneous=True``; see `make_interval`."""
    tail = (1 - options.confidence_level) / options.shared_with / 2
    enough = BOOTSTRAP_RESAMPLES * tail >= FEWEST_TAIL_RESAMPLES
    resampled = sampled.replicate_means is not None and not _events(sampled, options).any()
    if resampled and count_of(sampled) >= FEWEST_FOR_MAX_T and enough:
        return "bootstrap-max-t"
    return _by_moments(sampled)


def _by_moments(sampled: IntervalInput) -> SimultaneousMethod:
    """Return the simultaneous method that needs no replicate means; estimates of older versions have no skewness."""
    return "bonferroni" if sampled.skewness is None else "skewness-safe"


def _finite(quantile: Floats, sampled: IntervalInput) -> Floats:
    if not np.isfinite(quantile).all():
        raise ValueError(
            f"at this confidence level the bootstrap has no finite interval from {count_of(sampled)} replicates, too "
            "many of whose resamples do not vary; run more replicates or use student-t"
        )
    return np.asarray(quantile)

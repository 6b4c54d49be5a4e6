r"""How many evaluations of Monte Carlo one evaluation of a design is worth, and how sure that is.

The relative efficiency of a design over a baseline is (variance x cost) of the baseline over (variance x cost) of
the design; at equal numbers of evaluations, the ratio of the variances of the estimates. With s^2 the variance of the
replicate means and n the points of a replicate it is :math:`n_0 s_0^2 / (n s^2)`.

Its interval is Student's t on the log scale, with the error of each log variance from the jackknife over replicates
[1]_: F intervals, which suppose normal replicate means, cover far too little here. The point is the jackknife's too,
free of the first-order bias of a ratio of two estimated variances.

.. rubric:: References

.. [1] R. G. Miller (1968). Jackknifing variances. Ann. Math. Statist. 39(2), 567-582.
"""

from __future__ import annotations

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import Interval
from mcgen.inference.log_ratios import LogRatio
from mcgen.inference.moments import varies_by_rounding

FEWEST_FOR_JACKKNIFE = 5


def log_variance(replicate_means: Floats, within: Floats, rounding: float) -> LogRatio:
    """Return the jackknife of the log variance of the replicate means (R, k); arguments as for `over_monte_carlo`."""
    n = _enough(replicate_means)
    variance, left_out = _left_out_variances(replicate_means, within, rounding)
    return _jackknife(np.log(variance), np.log(left_out), n)


def over_monte_carlo(
    replicate_means: Floats, within: Floats, n_points: int, confidence_level: float, rounding: float = 2.0**-52
) -> tuple[Floats, Interval]:
    """Return the efficiency over Monte Carlo that a design's own run shows, and its interval, each of shape (k,).

    The variance of one value, sigma^2 = mean within + s^2, is what Monte Carlo would have; so the efficiency is
    sigma^2 / (n s^2), one run and no baseline needed.

    Parameters
    ----------
    replicate_means, within : ndarray of shape (R, k)
        Means, and mean squared deviations from them, of the values of each replicate.
    n_points : int
        Points in a replicate.
    confidence_level : float
        Of the interval.
    rounding : float
        Relative rounding error of the values.

    Returns
    -------
    value : ndarray
        NaN for a component whose replicate means do not vary but by rounding: the statistic is constant, or the
        design integrates it exactly, and there is no variance to compare.
    interval : Interval
        NaN there too.

    Raises
    ------
    ValueError
        If there are fewer than 5 replicates.
    """
    n = _enough(replicate_means)
    variance, left_out = _left_out_variances(replicate_means, within, rounding)
    total = within.mean(axis=0) + variance
    total_left_out = (within.sum(axis=0) - within) / (n - 1) + left_out
    log_ratio = np.log(total / (n_points * variance))
    return _jackknife(log_ratio, np.log(total_left_out / (n_points * left_out)), n).exp(confidence_level)


def _enough(replicate_means: Floats) -> int:
    n = len(replicate_means)
    if n < FEWEST_FOR_JACKKNIFE:
        raise ValueError(
            f"a relative efficiency needs at least {FEWEST_FOR_JACKKNIFE} replicates; got {n}. Use more evaluations "
            "or fewer points a replicate"
        )
    return n


def _left_out_variances(means: Floats, within: Floats, rounding: float) -> tuple[Floats, Floats]:
    """Return the variance (k,) and those with each replicate left out (R, k), in closed form; NaN for rounding."""
    n, mean = len(means), means.mean(axis=0)
    squares = (means - mean) ** 2
    m2 = squares.sum(axis=0)
    left_out = (m2 - squares * (n / (n - 1))) / (n - 2)
    # The least of them: where one replicate alone varies, the others say nothing either.
    undefined = varies_by_rounding(mean, np.maximum(left_out.min(axis=0), 0.0), within.mean(axis=0), rounding)
    return np.where(undefined, np.nan, m2 / (n - 1)), np.where(undefined, np.nan, left_out)


def _jackknife(value: Floats, left_out: Floats, n: int) -> LogRatio:
    mean = left_out.mean(axis=0)
    variance = (n - 1) / n * ((left_out - mean) ** 2).sum(axis=0)
    return LogRatio(n * value - (n - 1) * mean, variance, np.full(value.shape, n - 1.0))

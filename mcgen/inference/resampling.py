"""Quantiles of studentized means from resampled replicates: bootstrap t, bootstrap max-t, Gaussian multipliers.

`mcgen.inference.intervals` makes intervals of them, and has the sources.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator as NumpyGenerator

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput
from mcgen.noise.random import Stream

BOOTSTRAP_RESAMPLES = 1999
"""Number of resamples: (1999 + 1) times any tail probability of two or three digits is a whole number."""
FEWEST_FOR_BOOTSTRAP = 5
"""Fewest replicates that are resampled: with fewer, too many resamples consist of equal replicates."""
FEWEST_FOR_MAX_T = 25
"""Fewest replicates for which the bootstrap max-t is the default of simultaneous intervals: with so many it covered
0.95 and more of up to 1,024 skewed components in simulations."""
FEWEST_TAIL_RESAMPLES = 10
"""Fewest resamples beyond each quantile of the bootstrap max-t where it is the default: fewer are mostly chance."""
# Most numbers that are held at once while resampling: 32 MB in double precision.
_RESAMPLED_VALUES = 2**22


def bootstrap_t(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return the ends of Hall's equal-tailed interval: minus the upper and lower quantile of (B*bar - Bbar) / se*."""
    t = np.concatenate(_studentized_resamples(sampled, "bootstrap-t"))
    upper = np.quantile(t, (1 + level) / 2, axis=0, method="higher")
    lower = np.quantile(t, (1 - level) / 2, axis=0, method="lower")
    return -upper, -lower


def bootstrap_max_t(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return the ends common to all components: minus quantiles of the largest and smallest studentized mean.

    With T*_j the studentized means of a resample, the upper end is minus the (1 - level) / 2 quantile of min_j T*_j,
    and the lower end is minus the (1 + level) / 2 quantile of max_j T*_j. Separate quantiles follow the skewness.
    """
    resamples = _studentized_resamples(sampled, "bootstrap-max-t")
    largest = np.concatenate([t.max(axis=1) for t in resamples])
    smallest = np.concatenate([t.min(axis=1) for t in resamples])
    upper = np.quantile(largest, (1 + level) / 2, method="higher")
    lower = np.quantile(smallest, (1 - level) / 2, method="lower")
    return np.full(len(sampled.mean), -upper), np.full(len(sampled.mean), -lower)


def gaussian_multiplier(sampled: IntervalInput, level: float) -> tuple[Floats, Floats]:
    """Return the ends common to all components: plus and minus a quantile, for independent g_r ~ N(0, 1).

    It is the quantile of max_j abs(sum_r g_r (B_rj - Bbar_j)) / (R se_j).
    """
    means = _required_means(sampled, "gaussian-multiplier")
    n = len(means)
    with np.errstate(invalid="ignore"):
        scores = np.nan_to_num((means - sampled.mean) / (sampled.standard_error * n))
    largest = []
    for rng, rows in _resampling(sampled, "gaussian-multiplier", max(means.shape)):
        largest.append(np.abs(rng.standard_normal((rows, n)) @ scores).max(axis=1))
    width = np.full(len(sampled.mean), np.quantile(np.concatenate(largest), level, method="higher"))
    return -width, width


def _studentized_resamples(sampled: IntervalInput, purpose: str) -> list[Floats]:
    """Return the studentized means (B*bar - Bbar) / se* of all resamples, as arrays of shape (resamples, k).

    Where a component's resampled replicates are all equal, se* is 0. The studentized mean is then infinite with the
    sign of the difference, or 0 where there is no difference. So the quantiles count it in the tail on its side.
    """
    means = _required_means(sampled, purpose)
    n = len(means)
    if n < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(f"{purpose} needs at least {FEWEST_FOR_BOOTSTRAP} replicates; got {n}. Use student-t")
    # A constant component deviates from its mean by the rounding of a sum, which must not be studentized.
    d = means - sampled.mean
    d[:, np.abs(d).max(axis=0) <= n * np.finfo(np.float64).eps * np.abs(sampled.mean)] = 0.0
    pieces = []
    for rng, rows in _resampling(sampled, purpose, max(means.shape)):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)
        first, second = counts @ d / n, counts @ (d * d) / n
        variance = second - first**2
        # Where all n resampled replicates are equal, the difference of squares is only rounding.
        variance[variance <= 1e-12 * second] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            pieces.append(np.nan_to_num(first / np.sqrt(variance / (n - 1)), nan=0.0, posinf=np.inf, neginf=-np.inf))
    return pieces


def _resampling(sampled: IntervalInput, purpose: str, size: int) -> Iterator[tuple[NumpyGenerator, int]]:
    """Yield (random generator, number of resamples) for parts of all the resamples that fit into memory."""
    rows = max(1, min(BOOTSTRAP_RESAMPLES, _RESAMPLED_VALUES // size))
    stream = Stream(sampled.seed, "interval", purpose)
    for start in range(0, BOOTSTRAP_RESAMPLES, rows):
        yield stream.generator(start), min(rows, BOOTSTRAP_RESAMPLES - start)


def count_of(sampled: IntervalInput) -> int:
    """Return the number of replicates, R = degrees of freedom + 1."""
    return round(float(np.min(sampled.degrees_of_freedom))) + 1


def _required_means(sampled: IntervalInput, purpose: str) -> Floats:
    if sampled.replicate_means is None:
        raise ValueError(
            f"{purpose} resamples the replicate means, which this estimate does not have; run it with "
            "keep_replicates=True (an average over independent conditions has none: use student-t)"
        )
    return sampled.replicate_means


def checked_resampling(n_replicates: int, keep_replicates: bool | None) -> None:
    """Refuse, before anything is run, options under which the replicate means could not be resampled."""
    if keep_replicates is False or n_replicates < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(
            f"bootstrap and multiplier intervals need {FEWEST_FOR_BOOTSTRAP} or more replicates and "
            f"keep_replicates=True; got {n_replicates} replicates and keep_replicates={keep_replicates}. Otherwise use "
            "interval='student-t'"
        )

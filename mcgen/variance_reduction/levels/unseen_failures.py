r"""How many evaluations a difference of levels needs so that rare failures of its coarse generator are seen.

A coarse generator may equal the fine one but for rare failures, for example where one noise entry is large. The pilot
then shows no failure, the variance of the difference looks like 0, and the optimal number of replicates is the least
that is allowed. The failures then shift the estimate and widen no interval: with 25 replicates of pairs and failures
where z_0 > 2.5, 95 % intervals covered the truth 37 to 70 % of the time.

Let failures of probability p change a value by x, and let s be the standard error of the sum of levels. Unseen failures
shift the estimate by p x, which matters from about 2 s on. In N evaluations they stay unseen with probability
:math:`e^{-N p}`, which is 0.05 for N p = 3. So failures of all sizes up to c standard deviations :math:`\sigma` of a
value that matter are seen with probability 0.95 if

.. math:: N \ge \tfrac32\, c\, \sigma / s.

This number is asked for only where a pilot's differences are nearly 0, so that they say nothing of N p. Where one
replicate makes most of their variance, or otherwise, a difference gets somewhat more than the optimal number, since the
optimum is flat: with the share :math:`\phi` of the cost in place of the optimal share :math:`\phi^*` the variance grows
by the factor

.. math:: 1 + \frac{(\phi - \phi^*)^2}{\phi (1 - \phi)}.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats

FAILURE_SIZE = 4.0
"""Size c of the failures that are to be seen, in standard deviations of a value. Failures of 1 to 6 were simulated."""

PASSES = 3
"""Passes that find numbers of evaluations and the standard error, on which they depend. More changed nothing."""

# Least effective number of replicates, (sum d^2)^2 / sum d^4, that makes the variance of a difference. One outlier
# among replicates that are 0 has 1.1; of 16 normal differences 1 in 10,000 pilots has less than 2.
_LEAST_EFFECTIVE = 2.0
# A difference is nearly 0 below this share of the fine generator's variance: an sd ratio of 0.001. Smooth coarse
# generators, whose differences tell something, are mostly above it.
NEARLY_ZERO = 1e-6
SMALL = 1e-3
"""Share of the fine generator's variance below which a plan gives a difference the evaluations that rare failures need,
without a warning. Of a smooth statistic with a jump, whose samples seldom fall on its other side, intervals of plans
covered 0.84 without."""
# Most of the cost that is spent on differences in search of failures, however much they gain: it at most doubles the
# variance.
_LARGEST_SHARE = 0.5
# Growth of the variance that is allowed for more replicates of a difference than are optimal, and where one replicate
# makes most of the variance, which is then hardly known.
_LOSS, _LOSS_IF_HEAVY = 0.03, 0.2


def is_nearly_zero(differences: Floats, fine: Floats, limit: float = NEARLY_ZERO) -> NDArray[np.bool_]:
    """Return for each component whether a pilot's differences are nearly 0, shape (k,); False where nothing varies.

    Parameters
    ----------
    differences, fine : ndarray of shape (R, k)
        Replicate means of the difference of two levels, and of its finer generator.
    limit : float
        The share of the fine generator's variance that counts as nearly 0.
    """
    return np.asarray(differences.var(axis=0) < limit * fine.var(axis=0))


def is_heavy(differences: Floats) -> bool:
    """Return whether one replicate makes most of the variance of a component's differences (R, k)."""
    d = differences - differences.mean(axis=0)
    # Divided by the largest, so that fourth powers of small numbers do not vanish.
    scaled = d / np.maximum(np.abs(d).max(axis=0), 1e-300)
    squares, fourth = (scaled**2).sum(axis=0), (scaled**4).sum(axis=0)
    return bool(((fourth > 0) & (squares**2 < _LEAST_EFFECTIVE * fourth)).any())


def wanted_evaluations(sd: Floats, standard_error: Floats) -> Floats:
    r"""Return the evaluations :math:`\tfrac32 c\, \sigma / s` of each difference, the most over the components.

    Parameters
    ----------
    sd : ndarray of shape (levels - 1, k)
        Standard deviation of a value of the finer generator, times the weight of the level, where the pilot's
        differences are nearly 0; else 0.
    standard_error : ndarray of shape (k,)
        The predicted standard error s of the sum.

    Returns
    -------
    ndarray of shape (levels - 1,)
        Infinite where the standard error is predicted to be 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(sd > 0, 1.5 * FAILURE_SIZE * sd / standard_error, 0.0)
    return np.asarray(wanted.max(axis=1))


def largest_share(gain: float) -> float:
    r"""Return the most of the cost that is spent on differences in search of failures, 1/2 or less.

    The share :math:`1 - g^{-1/2}` multiplies the variance by about the root of the gain g over the fine generator
    alone, so that the root of the gain remains.
    """
    return min(_LARGEST_SHARE, 1 - min(1.0, 1 / math.sqrt(gain)))


def least_shares(
    wanted: Floats,
    costs: Floats,
    budget: float,
    *,
    optimal: Floats,
    needed: Floats,
    heavy: Sequence[bool],
    largest: float,
) -> Floats:
    """Return the least share of the cost of each difference, shape (levels - 1,).

    Parameters
    ----------
    wanted : ndarray of shape (levels - 1,)
        Evaluations from `wanted_evaluations`.
    costs : ndarray of shape (levels - 1,)
        Cost of an evaluation of each difference.
    budget : float
        Cost of all levels.
    optimal : ndarray of shape (levels - 1,)
        The differences' shares in the optimal allocation.
    needed : ndarray of shape (levels,)
        Shares of the fewest replicates that each level must have.
    heavy : sequence of bool
        Whether one replicate makes most of the variance of each difference in the pilot.
    largest : float
        The most of the cost that is shared out beyond what is needed, see `largest_share`.
    """
    n = len(costs)
    # The larger root phi of (phi - phi*)^2 = loss phi (1 - phi).
    loss = np.where(heavy, _LOSS_IF_HEAVY, _LOSS) / n
    half = optimal + loss / 2
    flat = (half + np.sqrt(np.maximum(half**2 - (1 + loss) * optimal**2, 0.0))) / (1 + loss)
    most = needed[1:] + largest / n * max(0.0, 1 - float(needed.sum()))
    return np.asarray(np.minimum(np.maximum(flat, wanted * costs / budget), most))


def failures_text(n_pilot: int, name: str, level: str, n_replicates: int) -> str:
    """Return the note that a level has more replicates than are optimal, and why."""
    return (
        f"{level} has {n_replicates:,} replicates in search of rare failures of the coarse generator: {n_pilot} pilot "
        f"differences of {name} are nearly 0"
    )


def unseen_text(n_pilot: int, name: str, level: str, evaluations: int, wanted: float) -> str | None:
    """Return a warning if the evaluations are less than half of those wanted; None if they are enough."""
    if evaluations >= wanted / 2:
        return None
    size = f"{FAILURE_SIZE * evaluations / wanted:.1g}"
    more = f"about {math.ceil(wanted):,} evaluations of it" if math.isfinite(wanted) else "more evaluations of it"
    return (
        f"{level} may miss rare failures of the coarse generator that matter beside the interval: {n_pilot} pilot "
        f"differences of {name} are nearly 0, and its {evaluations:,} evaluations show only "
        f"failures of up to {size} standard deviations of a value. Failures of up to {FAILURE_SIZE:g} need {more}: "
        "use more evaluations, or estimate the fine generator alone"
    )

r"""Betting intervals: proven coverage at all numbers of replicates, for statistics whose values have declared bounds.

Let X_1, X_2, ... be replicate means that are scaled to [0, 1], with expectation mu. Whoever bets on a mean above m owns
after t replicates

.. math:: K_t^+(m) = \prod_{i \le t} (1 + \lambda_i(m) (X_i - m)), \qquad \lambda_i(m) = \min(\lambda_i, c / m),

where the bet :math:`\lambda_i` depends on the replicates before i alone. At m = mu this is a nonnegative martingale of
mean 1. So by Ville's inequality it ever reaches 2 / alpha with a probability of at most alpha / 2 [1]_. The same bets
on 1 - X against means below m give :math:`K_t^-`. The interval holds every m for which neither capital has reached
2 / alpha at any time up to R. It covers at all R together, for any law of the replicate means within the bounds, and
thus for every design. The replicates of a design are independent; all that is used is
:math:`E[X_i \mid X_1, \dots, X_{i-1}] = \mu`.

:math:`K_t^+(m)` falls in m, since each factor does: without the limit it is 1 + lambda (X - m), and with it
1 - c + c X / m. So the m that are excluded from below are an interval, and bisection finds its end.

The bets are the predictable plug-in of [1]_, with the standard deviation of the replicates before:

.. math::

    \lambda_t = \sqrt{\frac{2 \log(2 / \alpha)}{\hat\sigma_{t-1}^2\; t \log(t + 1)}}, \quad
    \hat\sigma_t^2 = \frac{1/4 + \sum_{i \le t} (X_i - \hat\mu_i)^2}{t + 1}, \quad
    \hat\mu_t = \frac{1/2 + \sum_{i \le t} X_i}{t + 1},

and c = 1/2. Where the number R of replicates was fixed before the run, R stands in place of t log(t + 1) up to
there, and c = 3/4: the interval is then narrow at R, and still covers at any other number.

The interval depends on the order of the replicates, so it needs their means and not only moments.

.. rubric:: References

.. [1] I. Waudby-Smith, A. Ramdas (2024). Estimating means of bounded random variables by betting. J. R. Statist. Soc. B
   86(1), 1-27. Theorem 3 (hedged capital), equations 24 to 27.
"""

from __future__ import annotations

import math

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput

SHARE_AT_ANY_TIME, SHARE_IF_FIXED = 0.5, 0.75
"""Largest part c of the capital that one bet can lose, as in reference 1: more where the number of replicates is fixed.
"""
_BISECTIONS = 55
# Most numbers that are worked on at a time; a bisection makes several arrays of this size.
_AT_ONCE = 2**20


def betting_interval(sampled: IntervalInput, confidence_level: float) -> tuple[Floats, Floats]:
    """Return the ends of the betting intervals of k components, shape (k,) each.

    The interval is made to hold the mean of the replicates, which it does by itself but for rare accidents.

    Raises
    ------
    ValueError
        If the replicate means were not kept, or a component has no declared bounds.
    """
    if sampled.replicate_means is None:
        raise ValueError(
            "interval='betting' needs the replicate means in their order, which this estimate does not have. Run it "
            "with interval='betting' or keep_replicates=True; averages over independent conditions, sums of levels and "
            "runs with cross-fitted controls have none"
        )
    bounds = np.full((2, len(sampled.mean)), np.inf) if sampled.bounds is None else sampled.bounds
    unbounded = np.asarray(np.isinf(bounds).any(axis=0))
    if unbounded.any():
        raise ValueError(
            f"interval='betting' needs bounds for the values of every component; got none for {int(unbounded.sum())} "
            f"of {len(unbounded)}, the first is component {int(unbounded.argmax())}. Declare them by "
            "mcgen.as_statistic(f, bounds=(low, high)), or return booleans"
        )
    least, largest = bounds
    low, high = bounded_interval(
        (sampled.replicate_means - least) / (largest - least), 1 - confidence_level, sampled.bets_for
    )
    low, high = least + (largest - least) * low, least + (largest - least) * high
    # The ends cross, or leave the mean out, with a probability far below alpha.
    ends = np.stack([low, high, sampled.mean])
    return ends.min(axis=0), ends.max(axis=0)


def bounded_interval(x: Floats, alpha: float, fixed_count: int | None = None) -> tuple[Floats, Floats]:
    """Return the ends of the betting intervals from replicate means in [0, 1], shape (k,) each.

    Parameters
    ----------
    x : ndarray of shape (R, k)
        Replicate means in their order.
    alpha : float
        Bound of the probability that the intervals of a component ever miss.
    fixed_count : int, optional
        Number of replicates, fixed before the run, at which the interval is to be narrow.
    """
    # Means of bounded values leave the bounds by rounding alone.
    x = np.clip(x, 0.0, 1.0)
    share = SHARE_AT_ANY_TIME if fixed_count is None else SHARE_IF_FIXED
    ends = []
    columns = max(1, _AT_ONCE // len(x))
    for first in range(0, x.shape[1], columns):
        some = x[:, first : first + columns]
        wanted = bets(some, alpha, fixed_count)
        ends.append((_lower_end(some, wanted, share, alpha), 1 - _lower_end(1 - some, wanted, share, alpha)))
    low, high = zip(*ends, strict=True)
    return np.concatenate(low), np.concatenate(high)


def bets(x: Floats, alpha: float, fixed_count: int | None = None) -> Floats:
    """Return the bets, shape (R, k); each depends on the replicates before it alone."""
    t = np.arange(1.0, len(x) + 1)[:, None]
    centre = (0.5 + x.cumsum(axis=0)) / (t + 1)
    variance = np.empty_like(x)
    variance[0] = 0.25
    variance[1:] = ((0.25 + np.square(x - centre).cumsum(axis=0)) / (t + 1))[:-1]
    spread = t * np.log(t + 1)
    if fixed_count is not None:
        spread = np.where(t <= fixed_count, float(fixed_count), spread)
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (variance * spread)))


def log_capital(x: Floats, wanted: Floats, share: float, m: Floats) -> Floats:
    """Return the logarithm of the capital of bets on a mean above m after each replicate, shape (R, k)."""
    with np.errstate(divide="ignore"):
        stakes = np.minimum(wanted, share / m)
    return np.log1p(stakes * (x - m)).cumsum(axis=0)


def _lower_end(x: Floats, wanted: Floats, share: float, alpha: float) -> Floats:
    """Return the largest m at which the capital has ever reached 2 / alpha; 0 where there is none."""
    low, high = np.zeros(x.shape[1]), np.ones(x.shape[1])
    limit = math.log(2 / alpha)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        excluded = log_capital(x, wanted, share, middle).max(axis=0) >= limit
        low, high = np.where(excluded, middle, low), np.where(excluded, high, middle)
    return low

"""How many replicates each level gets."""

from __future__ import annotations

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING

# What evaluations are shared out by: more, since the pilot is only a pilot.
_LEAST_AIMED_AT = 1.2


def allocation(
    variances: Floats, costs: Floats, budget: float, fewest: int = FEWEST_WITHOUT_WARNING
) -> tuple[int, ...]:
    """Return the numbers of replicates of each level for which the variance of the sum is least.

    Of several components it is the mean of their variances, each in units of the least that it could have alone.

    Parameters
    ----------
    variances : ndarray of shape (levels, k)
        Of a replicate mean.
    costs : ndarray of shape (levels,)
        Of a replicate.
    budget : float
        What all replicates cost at most.
    fewest : int
        Replicates of a level, at least.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.variance_reduction.levels.allocation import allocation
    >>> allocation(np.array([[4.0], [1.0]]), np.array([1.0, 4.0]), 1600.0)
    (800, 200)
    """
    least = np.sqrt(variances * costs[:, None]).sum(axis=0) ** 2
    # What does not vary has no say.
    pooled = (variances[:, least > 0] / least[least > 0]).mean(axis=1) if (least > 0).any() else np.ones(len(costs))
    at_floor = np.zeros(len(costs), dtype=bool)
    while True:
        shares = np.where(at_floor, 0.0, np.sqrt(pooled / costs))
        spent = fewest * costs[at_floor].sum()
        counts = np.where(at_floor, fewest, shares * (budget - spent) / max(float(shares @ costs), 1e-300))
        if (counts[~at_floor] >= fewest).all():
            return tuple(int(n) for n in np.floor(counts * (1 + 1e-12)))
        at_floor |= counts < fewest


def coarse_share(works: Floats, pairs: Floats, best: Floats) -> float:
    """Return the share of the evaluations for the coarse level that has the greatest mean efficiency over pairs.

    Of the shares that leave each component somewhat more than the better of pairs and Monte Carlo, or else than pairs;
    where there are none, the one that leaves the worst component most.

    Parameters
    ----------
    works : ndarray of shape (2, k)
        Variance x cost of the coarse level and of the difference.
    pairs, best : ndarray of shape (k,)
        Variance x cost of antithetic pairs, and of the better of these and Monte Carlo.
    """
    shares = np.linspace(0.05, 0.95, 91)
    sums = works[0] / shares[:, None] + works[1] / (1 - shares[:, None])
    varies = (sums > 0).all(axis=0) & (best > 0)
    if not varies.any():
        return 0.5
    sums, pairs, best = sums[:, varies], pairs[varies], best[varies]
    for bar in (best, pairs):
        least = (bar / sums).min(axis=1)
        enough = least >= _LEAST_AIMED_AT
        if enough.any():
            return float(shares[np.where(enough, np.log(pairs / sums).mean(axis=1), -np.inf).argmax()])
    return float(shares[least.argmax()])

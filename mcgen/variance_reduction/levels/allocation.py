r"""How evaluations are shared out between levels.

Level l has n_l replicates of cost C_l, whose means have variance V_l. The sum of the levels' estimates has variance
:math:`\sum_l V_l / n_l` at cost :math:`\sum_l n_l C_l = B`. It is least for

.. math:: n_l = B\, \frac{\sqrt{V_l / C_l}}{\sum_m \sqrt{V_m C_m}},
   \qquad \text{where it is } \frac1B \Big(\sum_m \sqrt{V_m C_m}\Big)^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING

# Efficiency that each component must keep, relative to the better of pairs and Monte Carlo. It is above 1 because a
# pilot overestimates what it selects: with 1 the worst component of one mixture had 0.79 of the efficiency of pairs.
_LEAST_EFFICIENCY = 1.2
# Shares of the coarse level that are compared, from 0.05 to 0.95 in steps of 0.01: the efficiency is flat at its top.
_SHARES = np.linspace(0.05, 0.95, 91)


def allocation(
    variances: Floats, costs: Floats, budget: float, fewest: int | Sequence[int] = FEWEST_WITHOUT_WARNING
) -> tuple[int, ...]:
    r"""Return the numbers of replicates n_l of the levels that give the sum the least variance.

    The variance of several components j is the mean of theirs, each relative to its own least value:
    :math:`V_l = \operatorname{mean}_j V_{lj} / (\sum_m \sqrt{V_{mj} C_m})^2`. Levels whose optimal number is below
    `fewest` get `fewest`, and the others share the rest by the formula of this module.

    Parameters
    ----------
    variances : ndarray of shape (levels, k)
        Variances V_lj of a replicate mean.
    costs : ndarray of shape (levels,)
        Costs C_l of a replicate.
    budget : float
        Upper limit B of the cost of all replicates.
    fewest : int or sequence of int
        Least number of replicates of every level, or of each. Together they must not cost more than the budget.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.variance_reduction.levels.allocation import allocation
    >>> allocation(np.array([[4.0], [1.0]]), np.array([1.0, 4.0]), 1600.0)
    (800, 200)
    """
    v, least = _pooled(variances, costs), np.broadcast_to(np.asarray(fewest, np.float64), costs.shape)
    at_fewest = np.zeros(len(costs), dtype=bool)
    while True:
        optimal = np.where(at_fewest, 0.0, np.sqrt(v / costs))
        rest = budget - (least * costs)[at_fewest].sum()
        # The denominator is 0 where every level has the fewest.
        counts = np.where(at_fewest, least, optimal * rest / max(float(optimal @ costs), 1e-300))
        if (counts >= least)[~at_fewest].all():
            # The factor keeps a whole number whole that rounding has put just below it.
            return tuple(int(n) for n in np.floor(counts * (1 + 1e-12)))
        at_fewest |= counts < least


def _pooled(variances: Floats, costs: Floats) -> Floats:
    """Return one variance V_l for each level, the mean over the components that vary; ones where none varies."""
    least = np.sqrt(variances * costs[:, None]).sum(axis=0) ** 2
    varies = least > 0
    return (variances[:, varies] / least[varies]).mean(axis=1) if varies.any() else np.ones(len(costs))


def coarse_share(w: Floats, pairs: Floats, best: Floats, second: Floats | None = None) -> float:
    r"""Return the share of the evaluations for the coarse one of two levels, for all components together.

    With the share a the sum of the two levels has variance x cost

    .. math:: w(a) = \frac{w_0}{a} + \frac{w_1}{1 - a},

    and the efficiency pairs / w(a) over antithetic pairs. Among the shares where every component has at least 1.2 times
    the efficiency of the better of pairs and Monte Carlo, the one with the greatest geometric mean over the components
    is returned. Where there are none, pairs alone are the standard. Where there are none again, the share with the
    greatest least efficiency is returned.

    Parameters
    ----------
    w : ndarray of shape (2, k)
        Variance x cost of the coarse level and of the difference, w_0 and w_1.
    pairs : ndarray of shape (k,)
        Variance x cost of antithetic pairs.
    best : ndarray of shape (k,)
        Variance x cost of the better of pairs and Monte Carlo; infinite for components that need not keep it.
    second : ndarray of shape (k,), optional
        The standard where no share keeps the first; by default `pairs`.
    """
    second = pairs if second is None else second
    both = w[0] / _SHARES[:, None] + w[1] / (1 - _SHARES[:, None])
    varies = (both > 0).all(axis=0) & (best > 0)
    if not varies.any():
        return 0.5
    both, pairs, best, second = both[:, varies], pairs[varies], best[varies], second[varies]
    for standard in (best, second):
        least = (standard / both).min(axis=1)
        enough = least >= _LEAST_EFFICIENCY
        if enough.any():
            return float(_SHARES[np.where(enough, np.log(pairs / both).mean(axis=1), -np.inf).argmax()])
    return float(_SHARES[least.argmax()])

r"""Intervals of weighted sums of quantiles: differences of two models, and averages over conditions.

**Independent runs.** The sum :math:`\theta = \sum_i w_i \theta_i` has the ends of Zou and Donner [1]_: with
:math:`c_i = w_i \theta_i` and the ends :math:`l_i, u_i` of the interval of each,

.. math:: L = \theta - \Big(\sum_i (c_i - l_i)^2\Big)^{1/2}, \qquad U = \theta + \Big(\sum_i (u_i - c_i)^2\Big)^{1/2}.

So each side follows the asymmetry of the quantiles, no density is needed, and a quantile without an end leaves the sum
without one.

**The same noise.** The replicates have influence values of the sum, with Student's t interval or a skewness-safe one.
Two things are added. A side has no end where a quantile has none. And a design may fix a share :math:`F_N` more exactly
than one value changes it, as antithetic pairs do for the median of an odd statistic. The influence values then do not
vary, but the quantile is known only up to the next value. Where the standard error of a share is below 2 / N, the
distances to the next values add to the half-width as a root of a sum of squares.

.. rubric:: References

.. [1] G. Y. Zou, A. Donner (2008). Construction of confidence limits about effect measures: a general approach. Stat.
   Med. 27(10), 1693-1702.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import Interval
from mcgen.inference.quantiles import Quantiles

# Values, as a standard error of their number below an estimate: where it is smaller, the next values count.
_FEW_VALUES = 2


@dataclass(frozen=True, eq=False)
class QuantileSum:
    """A weighted sum of quantiles of k components.

    Attributes
    ----------
    terms : tuple of Quantiles
        The quantiles.
    factors : tuple of float
        Their weights, such as 1 and -1 of a difference.
    same_noise : bool
        Whether all are of one run on the same noise; otherwise the runs are independent.
    """

    terms: tuple[Quantiles, ...]
    factors: tuple[float, ...]
    same_noise: bool

    @property
    def n_values(self) -> int:
        """Fewest values of a quantile."""
        return min(one.n_values for one in self.terms)

    def kept(self) -> QuantileSum:
        """Return the same with the values alone that intervals of any usual level need."""
        return replace(self, terms=tuple(one.kept() for one in self.terms))

    def select(self, columns: slice) -> QuantileSum:
        """Return some of the components."""
        return replace(self, terms=tuple(one.select(columns) for one in self.terms))

    def evaluations_for_two_ends(self, confidence_level: float) -> int:
        """Return with how many evaluations of each run the interval would likely have two ends."""
        return max(one.evaluations_for_two_ends(confidence_level) for one in self.terms)

    def interval(self, confidence_level: float) -> tuple[Floats, Floats]:
        """Return the ends of the intervals of a sum of independent quantiles; see the module."""
        low, high = (np.sqrt((reach**2).sum(axis=0)) for reach in self._reaches(confidence_level))
        point = np.asarray(sum(w * one.point for w, one in zip(self.factors, self.terms, strict=True)))
        return point - low, point + high

    def widened(self, made: Interval, mean: Floats, confidence_level: float) -> Interval:
        """Return the interval of a sum on the same noise, from that of its influence values; see the module."""
        down, up = self._reaches(confidence_level)
        few = np.stack([one.error * one.n_values < _FEW_VALUES for one in self.terms])
        low, high = (
            np.where(np.isinf(reach).any(axis=0), np.inf, np.hypot(own, np.where(few, step, 0.0).sum(axis=0)))
            for own, reach, step in zip(
                (mean - made.low, made.high - mean), (down, up), self._reaches(None), strict=True
            )
        )
        return Interval(mean - low, mean + high)

    def _reaches(self, confidence_level: float | None) -> tuple[Floats, Floats]:
        """Return how far the ends of each term lie below and above it, shape (terms, k); None: the next values."""
        down, up = [], []
        for w, one in zip(self.factors, self.terms, strict=True):
            low, high = one.next_values() if confidence_level is None else one.interval(confidence_level)
            below, above = abs(w) * (one.point - low), abs(w) * (high - one.point)
            down.append(below if w > 0 else above)
            up.append(above if w > 0 else below)
        return np.stack(down), np.stack(up)

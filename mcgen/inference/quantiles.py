r"""Quantiles of all values of a run, with intervals by inversion, and the expected shortfall beyond them.

With F_N the distribution function of all N values, the estimate of the q-quantile is the least value x with
F_N(x) >= q. Its interval is Woodruff's [1]_: with D_r the share of the values of replicate r that are at most this
value, and h = t_{R-1} sd(D_r) / sqrt(R), the ends are the values where F_N passes q - h and q + h. The D_r are
independent and identically distributed under any design, and nothing is assumed of the law of the values. Where values
lack, an end is infinite. Where several values are equal to the estimate, the larger sd of the shares up to it and below
it counts. Independent values have the exact interval of two order statistics, from the binomial law (see [2]_).

The mean of the replicates' own quantiles is not consistent, and is not used.

.. rubric:: References

.. [1] R. S. Woodruff (1952). Confidence intervals for medians and other position measures. J. Amer. Statist. Assoc.
   47(260), 635-646.
.. [2] H. A. David, H. N. Nagaraja (2003). Order statistics, third edition. Wiley. Section 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrik

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.log_ratios import welch_satterthwaite

FEWEST_FOR_INVERSION = 6
"""Fewest replicates whose inverted intervals covered 0.94 and more in simulations, with nets of 64 points."""

# Levels around the estimate, in standard errors of the share, whose values are kept for other confidence levels; more
# where the replicates are so few that Student's quantile of this probability is larger.
_WINDOW, _FARTHEST = 8.0, 1 - 1e-6
# Values that are kept of each component at least, on each side.
_FEWEST_KEPT = 16
# The level at which the density at the quantile is measured.
_LEVEL_OF_DENSITY = 0.95


@dataclass(frozen=True, eq=False)
class Quantiles:
    """Estimates of the q-quantile of k components, and the values around them, from which their intervals follow.

    Attributes
    ----------
    q : float
        The probability, in (0, 1).
    levels, values : ndarray of shape (m, k)
        Values in ascending order, and the share of all values that are at most these.
    error : ndarray of shape (k,)
        Standard error of the share of values at most the estimate.
    degrees_of_freedom : ndarray of shape (k,)
        Its degrees of freedom.
    n_values : int
        Number of all values, N.
    independent : bool
        Whether they are independent.
    """

    q: float
    levels: Floats
    values: Floats
    error: Floats
    degrees_of_freedom: Floats
    n_values: int
    independent: bool

    @property
    def point(self) -> Floats:
        """The estimates, shape (k,)."""
        return self._at((self.levels < self.q).sum(axis=0))

    @property
    def method(self) -> str:
        """The name of the method of the intervals."""
        return "order-statistics" if self.independent else "quantile-inversion"

    def interval(self, confidence_level: float, stretch: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """Return the ends of the intervals; an infinite one where the values are too few.

        Parameters
        ----------
        confidence_level : float
            In (0, 1); of each component.
        stretch : ndarray of shape (k,) or float
            Factor of the standard errors, for runs that stop by their own numbers.

        Raises
        ------
        ValueError
            If the values that a saved estimate has kept do not reach as far as the level asks.
        """
        if self.independent and np.all(np.asarray(stretch) == 1):
            tail, n = (1 - confidence_level) / 2, self.n_values
            low, high = (binomial_quantile(p, n, self.q) / n for p in (tail, 1 - tail))
            return self._between(np.full_like(self.error, low), np.full_like(self.error, high))
        h = student_t_quantile((1 + confidence_level) / 2, self.degrees_of_freedom) * self.error * stretch
        return self._between(self.q - h, self.q + h)

    def select(self, columns: slice) -> Quantiles:
        """Return some of the components."""
        return Quantiles(
            self.q,
            self.levels[:, columns],
            self.values[:, columns],
            self.error[columns],
            self.degrees_of_freedom[columns],
            self.n_values,
            self.independent,
        )

    def density(self) -> Floats:
        """Return the density of the values at the estimates, shape (k,); infinite where they do not vary.

        It is the slope of the distribution function over the 95 % interval, over its finite side, or over all values
        that are kept where no end is finite.
        """
        h = student_t_quantile((1 + _LEVEL_OF_DENSITY) / 2, self.degrees_of_freedom) * self.error
        low, high = self._between(self.q - h, self.q + h)
        point = self.point
        sides = np.isfinite(low) * 1.0 + np.isfinite(high)
        length = np.where(np.isfinite(high), high, point) - np.where(np.isfinite(low), low, point)
        # A step of one value is the least that the values show.
        rise = np.maximum(h * sides, 1 / self.n_values)
        all_of_them = sides == 0
        rise = np.where(all_of_them, self.levels[-1] - self.levels[0], rise)
        length = np.where(all_of_them, self.values[-1] - self.values[0], length)
        return np.asarray(np.divide(rise, length, out=np.full_like(rise, np.inf), where=length > 0))

    def _between(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Return the last value whose level is at most `low`, and the first one whose level is above `high`."""
        first, last = (self.levels <= low).sum(axis=0) - 1, (self.levels <= high).sum(axis=0)
        whole = len(self.levels) == self.n_values
        cut = ((first < 0) & (self.levels[0] > 1 / self.n_values)) | (
            (last == len(self.levels)) & (self.levels[-1] < 1)
        )
        if not whole and cut.any():
            raise ValueError(
                "this estimate of a quantile has kept the values around it, which do not reach as far as this "
                "confidence level asks; run it again with confidence_level=..."
            )
        return np.where(first < 0, -np.inf, self._at(first)), np.where(last == len(self.levels), np.inf, self._at(last))

    def _at(self, rows: NDArray[np.intp]) -> Floats:
        inside = np.clip(rows, 0, len(self.values) - 1)
        return np.asarray(np.take_along_axis(self.values, inside[None], axis=0)[0])


@dataclass(frozen=True, eq=False)
class Shares:
    """Values of one or several independent runs with their weights, and what replicates say of a quantile.

    Parameters
    ----------
    values : sequence of ndarray of shape (R_s, n_s, k)
        Values of each run, by replicate and point.
    weights : sequence of ndarray of shape (n_s,)
        Weights of the points of a replicate; over all runs they sum to 1.
    """

    values: Sequence[Floats]
    weights: Sequence[Floats]

    def quantiles(self, q: float, independent: bool) -> tuple[Quantiles, list[Floats]]:
        """Return the quantiles, and for each run the shares D_r of its replicates, shape (R_s, k).

        Of these shares the estimate itself counts half, where no other value is equal to it. So its own distance to
        the next values shows where all replicates have equal shares, such as pairs below and above a median.
        """
        k = self.values[0].shape[2]
        whole = [self._ordered(column) for column in range(k)]
        values, levels = np.stack([v for v, _ in whole], axis=1), np.stack([c for _, c in whole], axis=1)
        places = (levels < q).sum(axis=0)
        point = values[np.minimum(places, len(values) - 1), np.arange(k)]
        shares, variances = self._shares([one <= point for one in self.values])
        ties = sum((one == point).sum(axis=(0, 1)) for one in self.values) > 1
        if np.any(ties):
            below = self._shares([one < point for one in self.values])[1]
            wider = ties & (below.sum(axis=0) > variances.sum(axis=0))
            variances = np.where(wider, below, variances)
        df = welch_satterthwaite(variances, np.stack([np.full(k, len(d) - 1.0) for d in shares]))
        error = np.sqrt(variances.sum(axis=0))
        n = len(values)
        # Exact intervals of independent values go by the binomial law, also where replicates show no error.
        width = np.maximum(_WINDOW, student_t_quantile(_FARTHEST, df)) * error
        width = np.maximum(width, _WINDOW * np.sqrt(q * (1 - q) / n)) if independent else width
        found = Quantiles(q, *_window(levels, values, np.stack([q - width, q + width])), error, df, n, independent)
        halves = [np.where(ties, 0.0, one / 2) for one in self._shares([one == point for one in self.values])[0]]
        shares = [share - half for share, half in zip(shares, halves, strict=True)]
        return found, shares

    def _shares(self, events: Sequence[NDArray[np.bool_]]) -> tuple[list[Floats], Floats]:
        """Return the weighted share of events of each replicate, and the variance of the mean over each run."""
        each = [np.einsum("rnk,n->rk", one, w) for one, w in zip(events, self.weights, strict=True)]
        return each, np.stack([d.var(axis=0, ddof=1) / len(d) for d in each])

    def _ordered(self, column: int) -> tuple[Floats, Floats]:
        """Return all values of a component in ascending order, and the share that is at most each."""
        values = np.concatenate([one[:, :, column].ravel() for one in self.values])
        order = np.argsort(values, kind="stable")
        if len(self.values) == 1 and np.all(self.weights[0] == self.weights[0][0]):
            return values[order], np.arange(1, len(values) + 1) / len(values)
        each = [np.tile(w, len(one)) / len(one) for one, w in zip(self.values, self.weights, strict=True)]
        level = np.cumsum(np.concatenate(each)[order])
        return values[order], level / level[-1]


def _window(levels: Floats, values: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """Return the part of the ordered values that intervals of any usual level need, of equal length for all.

    Its levels lie within `reach` standard errors' share of the estimate's, whatever the weights of the values.
    """
    n, k = values.shape
    low, high = (levels < reach[0]).sum(axis=0) - _FEWEST_KEPT, (levels <= reach[1]).sum(axis=0) + _FEWEST_KEPT
    length = int((high - low).max(initial=0))
    if length >= n:
        return levels, values
    rows = np.clip(low, 0, n - length) + np.arange(length)[:, None]
    columns = np.arange(k)
    return levels[rows, columns], values[rows, columns]


def binomial_quantile(p: float, n: int, q: float) -> float:
    """Return the least number of successes of n, each of probability q, whose distribution function is at least p."""
    above = max(float(np.ceil(bdtrik(p, n, q))), 0.0)
    return above - 1 if above >= 1 and bdtr(above - 1, n, q) >= p else above


def excess_beyond(values: Floats, point: Floats, weights: Floats) -> Floats:
    """Return the mean excess of each replicate's values over a point, mean (S - point)+, shape (R, k)."""
    return np.asarray(np.einsum("rnk,n->rk", np.maximum(values - point, 0.0), weights))

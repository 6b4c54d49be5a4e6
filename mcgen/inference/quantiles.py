r"""Quantiles of all values of a run, with intervals by inversion, and the expected shortfall beyond them.

With F_N the distribution function of all N values, the estimate of the q-quantile is the least value x with
F_N(x) >= q. Its interval is Woodruff's [1]_: with D_r the share of the values of replicate r that are at most x, and
h = t_{R-1} sd(D_r) / sqrt(R), the ends are the values where F_N passes q - h and q + h. The D_r are independent and
identically distributed under any design, and nothing is assumed of the law of the values. Where values lack, an end is
infinite. Independent values have the exact interval of two order statistics, from the binomial law (see [2]_).

Several values may be equal to x. Ties are broken at random, as if a small random number had been added to each value:
this changes no quantile, and the values have a density. With u = (q - F_N(x-)) / (F_N(x) - F_N(x-)) a value equal to x
then counts with probability u. So D_r = B_r + u A_r, for the shares B_r of values below x and A_r of values equal to
it; their mean is q. The variance of D_r has the addition u (1 - u) min(8 A_r / n, A_r^2). This supposes random numbers
that up to 8 points of a replicate share, as the interval of a probability does (`proportions`).

The mean of the replicates' own quantiles is not consistent, and is not used.

.. rubric:: References

.. [1] R. S. Woodruff (1952). Confidence intervals for medians and other position measures. J. Amer. Statist. Assoc.
   47(260), 635-646.
.. [2] H. A. David, H. N. Nagaraja (2003). Order statistics, third edition. Wiley. Section 7.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrik

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.log_ratios import welch_satterthwaite

FEWEST_FOR_INVERSION = 6
"""Fewest replicates whose inverted intervals covered 0.94 and more in simulations, with nets of 64 points."""

# Estimates keep the values that intervals of up to this confidence level need.
_LEVEL_KEPT = 1 - 1e-9
# Values that are kept of each component at least, on each side.
_FEWEST_KEPT = 16
# The level at which the density at the quantile is measured.
_LEVEL_OF_DENSITY = 0.95
# Points of a replicate that share the random number which breaks ties.
_CLUSTER = 8
# Decimal digits of the shares of values where weights are summed up: fewer than rounding errors reach.
_DIGITS = 12
# Factor on the number of evaluations that a warning names. With it all simulated runs of that number had two ends.
_MARGIN = 1.15


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
        Standard error of the share of values at most the estimate, with ties broken at random.
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
        return self._at(self._place())

    def method(self, stretch: Floats | float = 1.0) -> str:
        """Return the name of the method of `interval`."""
        return "order-statistics" if self._exact(stretch) else "quantile-inversion"

    def _exact(self, stretch: Floats | float) -> bool:
        return self.independent and bool(np.all(np.asarray(stretch) == 1))

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
        if self._exact(stretch):
            tail, n = (1 - confidence_level) / 2, self.n_values
            low, high = (binomial_quantile(p, n, self.q) / n for p in (tail, 1 - tail))
            return self._between(np.full_like(self.error, low), np.full_like(self.error, high))
        h = self.reach(confidence_level) * stretch
        return self._between(self.q - h, self.q + h)

    def evaluations_for_two_ends(self, confidence_level: float) -> int:
        """Return with how many evaluations the interval of every component would likely have two ends.

        Independent values need ``max(q, 1 - q)**n <= (1 - confidence_level) / 2``. Otherwise the standard error of the
        share is taken to fall with the root of the number of evaluations.
        """
        if self.independent:
            return math.ceil(math.log((1 - confidence_level) / 2) / math.log(max(self.q, 1 - self.q)))
        most = float(np.max(self.reach(confidence_level))) / min(self.q, 1 - self.q)
        return math.ceil(self.n_values * _MARGIN * most**2)

    def next_values(self) -> tuple[Floats, Floats]:
        """Return the values beside the estimates: the ends of an interval whose standard error is 0."""
        return self._between(np.full_like(self.error, self.q), np.full_like(self.error, self.q))

    def reach(self, confidence_level: float) -> Floats:
        """Return how far in the share of values the ends are from q, h, shape (k,)."""
        return student_t_quantile((1 + confidence_level) / 2, self.degrees_of_freedom) * self.error

    def kept(self) -> Quantiles:
        """Return the same with the values alone that intervals of any usual level need, equally many for each."""
        n = len(self.levels)
        widest = float(np.max(self.reach(_LEVEL_KEPT), initial=0.0))
        if self.independent:
            low, high = (binomial_quantile(p, self.n_values, self.q) for p in ((1 - _LEVEL_KEPT) / 2, _LEVEL_KEPT))
            widest = max(widest, (high - low) / self.n_values)
        place, columns = self._place(), np.arange(self.levels.shape[1])
        below = place - (self.levels < self.q - widest).sum(axis=0)
        above = (self.levels <= self.q + widest).sum(axis=0) - place
        reach = int(np.maximum(below, above).max()) + _FEWEST_KEPT
        if 2 * reach >= n:
            return self
        rows = np.clip(place - reach, 0, n - 2 * reach) + np.arange(2 * reach)[:, None]
        return replace(self, levels=self.levels[rows, columns], values=self.values[rows, columns])

    def stretched(self, stretch: Floats) -> Quantiles:
        """Return the same with standard errors that are larger by a factor for each component."""
        return replace(self, error=self.error * stretch, independent=self._exact(stretch))

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

    def _place(self) -> NDArray[np.intp]:
        """Return the row of each estimate."""
        return np.asarray(np.minimum((self.levels < self.q).sum(axis=0), len(self.levels) - 1))

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
        """Return the quantiles, and for each run the shares D_r of its replicates, shape (R_s, k)."""
        k = self.values[0].shape[2]
        n = sum(one.shape[0] * one.shape[1] for one in self.values)
        values, point = np.empty((n, k)), np.empty(k)
        equal = len(self.values) == 1 and bool(np.all(self.weights[0] == self.weights[0][0]))
        levels = np.broadcast_to(np.arange(1.0, n + 1)[:, None] / n, (n, k)) if equal else np.empty((n, k))
        shares = [np.empty((len(one), k)) for one in self.values]
        variances = np.empty((len(shares), k))
        for column in range(k):
            own = [one[:, :, column] for one in self.values]
            whole = np.concatenate([one.ravel() for one in own])
            if equal:
                values[:, column] = np.sort(whole)
            else:
                order = np.argsort(whole, kind="stable")
                values[:, column], levels[:, column] = whole[order], self._levels(own, order)
            point[column] = values[min(int((levels[:, column] < q).sum()), n - 1), column]
            for number, (shares_of, variance) in enumerate(self._shares(own, point[column], q)):
                shares[number][:, column], variances[number, column] = shares_of, variance
        df = welch_satterthwaite(variances, np.stack([np.full(k, len(d) - 1.0) for d in shares]))
        return Quantiles(q, levels, values, np.sqrt(variances.sum(axis=0)), df, n, independent), shares

    def _levels(self, values: Sequence[Floats], order: NDArray[np.intp]) -> Floats:
        """Return the share of all values that is at most each, in ascending order."""
        each = [np.tile(w, len(one)) / len(one) for one, w in zip(values, self.weights, strict=True)]
        level = np.cumsum(np.concatenate(each)[order])
        # Rounding errors of the sum must not carry a level beyond q.
        return np.asarray(np.round(level / level[-1], _DIGITS))

    def _shares(self, values: Sequence[Floats], point: float, q: float) -> list[tuple[Floats, float]]:
        """Return of each run the shares D_r, shape (R_s,), and the variance of their mean."""
        below = [(one < point) @ w for one, w in zip(values, self.weights, strict=True)]
        at = [(one == point) @ w for one, w in zip(values, self.weights, strict=True)]
        u = (q - sum(b.mean() for b in below)) / sum(a.mean() for a in at)
        u = min(max(u, 0.0), 1.0)
        found = []
        for one, w, b, a in zip(values, self.weights, below, at, strict=True):
            d = b + u * a
            at_random = u * (1 - u) * float(np.minimum(_CLUSTER * ((one == point) @ w**2), a**2).mean())
            found.append((d, (float(d.var(ddof=1)) + at_random) / len(d)))
        return found


def binomial_quantile(p: float, n: int, q: float) -> float:
    """Return the least number of successes of n, each of probability q, whose distribution function is at least p."""
    above = max(float(np.ceil(bdtrik(p, n, q))), 0.0)
    return above - 1 if above >= 1 and bdtr(above - 1, n, q) >= p else above


def excess_beyond(values: Floats, point: Floats, weights: Floats) -> Floats:
    """Return the mean excess of each replicate's values over a point, mean (S - point)+, shape (R, k)."""
    return np.asarray(np.einsum("rnk,n->rk", np.maximum(values - point, 0.0), weights))

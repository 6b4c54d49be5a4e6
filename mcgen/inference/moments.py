"""Streaming moments of replicate means: all that inference needs, in memory that does not grow with R.

With B_r the replicate means, the number R, the mean and the sums of powers M_p = sum_r (B_r - mean)^p, p = 2, 3, 4, are
kept. Two sets of replicates are merged by the pairwise formulas of Pebay [1]_ (equations 1.1, 2.1 and those after).
These have no cancellation: deviations are from the current mean, never differences of large powers.

.. rubric:: References

.. [1] P. Pebay (2008). Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
   statistical moments. Sandia report SAND2008-6212.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats

Pairs = NDArray[np.int64]
"""Numbers of two components in each row, shape (p, 2)."""

COVARIANCE_COMPONENTS = 32
"""Most components whose covariance is kept: its k^2 numbers are then about a thousand at most."""


@dataclass(frozen=True)
class ReplicateMeans:
    """Replicate means of m consecutive replicates, one row for each replicate.

    Attributes
    ----------
    start : int
        Index of the first replicate.
    means : ndarray of shape (m, k)
        Mean of each component of the statistic over the points of a replicate.
    within : ndarray of shape (m, k)
        Mean squared deviation of a replicate's values from their mean.
    ones : ndarray of int of shape (m, k), or None
        Number of values that were 1, where all values of a component are 0 or 1; -1 for other components, and None
        where there are only others.
    n_points : int
        Points in a replicate.
    third : ndarray of shape (m, k), or None
        Mean cubed deviation of a replicate's values from their mean, for large replicates.
    pairs : ndarray of shape (p, 2), or None
        The pairs of components whose products are computed; None for none.
    products : ndarray of shape (m, p), or None
        For each pair the mean product of the deviations of a replicate's values from their means.
    gathered : mapping of str to ndarray of shape (m, n_points, ...)
        What was gathered of each sample; see `mcgen.replicates.gathering`.
    """

    start: int
    means: Floats
    within: Floats
    ones: NDArray[np.int64] | None
    n_points: int
    third: Floats | None = None
    pairs: Pairs | None = None
    products: Floats | None = None
    gathered: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.means)

    def to_keep(self) -> ReplicateMeans:
        """Return what a run keeps: all but counts and cubed deviations, which only moments need."""
        if self.ones is None and self.third is None:
            return self
        rest = self.pairs, self.products, self.gathered
        return ReplicateMeans(self.start, self.means, self.within, None, self.n_points, None, *rest)

    def without_gathered(self) -> ReplicateMeans:
        """Return the rows without what was gathered of each sample."""
        if not self.gathered:
            return self
        moments = self.means, self.within, self.ones, self.n_points, self.third, self.pairs, self.products
        return ReplicateMeans(self.start, *moments)

    def __getitem__(self, rows: slice) -> ReplicateMeans:
        first, last, _ = rows.indices(len(self))
        if last - first == len(self):
            return self
        return ReplicateMeans(
            self.start + first,
            self.means[first:last],
            self.within[first:last],
            None if self.ones is None else self.ones[first:last],
            self.n_points,
            None if self.third is None else self.third[first:last],
            self.pairs,
            None if self.products is None else self.products[first:last],
            {name: array[first:last] for name, array in self.gathered.items()},
        )


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of R replicate means with k components, and of the values inside the replicates.

    Attributes
    ----------
    count : int
        Number of replicates, R.
    mean, m2, m3, m4 : ndarray of shape (k,)
        Mean of the replicate means, and the sums M_2, M_3, M_4 of the powers of their deviations from it.
    within : ndarray of shape (k,)
        Mean over the replicates of the mean squared deviation inside a replicate.
    events, non_events : ndarray of int of shape (k,), or None
        Numbers of values that were 1 and 0, where all values of a component are 0 or 1; -1 for other components, and
        None where there are only others.
    comoment : ndarray of shape (k, k), or None
        Sums of products of two components' deviations; None for more than 32 components.
    third : ndarray of shape (k,), or None
        Mean cubed deviation of all values from their mean; None where it was not computed.
    pairs : ndarray of shape (p, 2), or None
        The pairs of components whose products are computed; None for none.
    product : ndarray of shape (p,), or None
        For each pair the mean product of the deviations of all values from their means.
    """

    count: int
    mean: Floats
    m2: Floats
    m3: Floats
    m4: Floats
    within: Floats
    events: NDArray[np.int64] | None = None
    non_events: NDArray[np.int64] | None = None
    comoment: Floats | None = None
    third: Floats | None = None
    pairs: Pairs | None = None
    product: Floats | None = None

    @classmethod
    def of(cls, rows: ReplicateMeans) -> Moments:
        """Return the moments of these replicates, in two passes over their means."""
        mean = rows.means.mean(axis=0)
        d = rows.means - mean
        square = d * d
        k = len(mean)
        events, non_events = _counts(rows)
        third = None if rows.third is None else (rows.third + 3 * d * rows.within + square * d).mean(axis=0)
        return cls(
            count=len(rows),
            mean=mean,
            m2=square.sum(axis=0),
            m3=(square * d).sum(axis=0),
            m4=(square * square).sum(axis=0),
            within=rows.within.mean(axis=0),
            events=events,
            non_events=non_events,
            comoment=d.T @ d if k <= COVARIANCE_COMPONENTS else None,
            third=third,
            pairs=rows.pairs,
            product=_product_of(rows, d),
        )

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets of replicates together."""
        a, b, n = self.count, other.count, self.count + other.count
        delta = other.mean - self.mean
        step = delta / n
        return Moments(
            count=n,
            mean=self.mean + step * b,
            m2=self.m2 + other.m2 + delta * step * a * b,
            m3=self.m3 + other.m3 + delta * step**2 * a * b * (a - b) + 3 * step * (a * other.m2 - b * self.m2),
            m4=self.m4
            + other.m4
            + delta * step**3 * a * b * (a * a - a * b + b * b)
            + 6 * step**2 * (a * a * other.m2 + b * b * self.m2)
            + 4 * step * (a * other.m3 - b * self.m3),
            within=self.within + (other.within - self.within) * (b / n),
            events=_sum(self.events, other.events),
            non_events=_sum(self.non_events, other.non_events),
            comoment=_merged_comoment(self, other, delta),
            third=_merged_third(self, other, delta),
            pairs=self.pairs,
            product=_merged_product(self, other, delta),
        )

    def select(self, components: slice) -> Moments:
        """Return the moments of some of the components, without the products of pairs."""

        def pick(value: NDArray[Any] | None) -> Any:
            return None if value is None else value[components]

        return Moments(
            count=self.count,
            mean=pick(self.mean),
            m2=pick(self.m2),
            m3=pick(self.m3),
            m4=pick(self.m4),
            within=pick(self.within),
            events=_where_any(pick(self.events)),
            non_events=_where_any(pick(self.non_events)),
            comoment=None if self.comoment is None else self.comoment[components, components],
            third=pick(self.third),
        )

    @property
    def variance(self) -> Floats:
        """Unbiased variance of a replicate mean, M_2 / (R - 1)."""
        return np.asarray(self.m2 / (self.count - 1))

    @property
    def standard_error(self) -> Floats:
        """Standard error of the mean over the replicates, sqrt(variance / R)."""
        return np.asarray(np.sqrt(self.variance / self.count))

    def constant(self, rounding: float) -> NDArray[np.bool_]:
        """Return which components' replicate means differ only by rounding; see `varies_by_rounding`."""
        return varies_by_rounding(self.mean, self.variance, self.within, rounding)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which components have only values 0 and 1, shape (k,)."""
        return np.zeros(len(self.mean), bool) if self.events is None else self.events >= 0

    @property
    def skewness_of_values(self) -> Floats | None:
        """Skewness of all values, 0 where they do not vary; None where it was not computed."""
        if self.third is None:
            return None
        variance = self.within + self.m2 / self.count
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num(self.third / variance / np.sqrt(variance)))

    @property
    def covariance(self) -> Floats | None:
        """Covariance of the components' replicate means, shape (k, k); None where it is not kept."""
        return None if self.comoment is None else self.comoment / (self.count - 1)

    @property
    def skewness(self) -> Floats:
        """Skewness of the replicate means, sqrt(R) M_3 / M_2^(3/2); 0 where they do not vary."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num(np.sqrt(self.count) * (self.m3 / self.m2) / np.sqrt(self.m2)))

    @property
    def skewness_of_mean(self) -> Floats:
        """Skewness of the mean over the replicates, 0 where they do not vary.

        It is the skewness of the replicate means divided by sqrt(R). The first-order bias is removed, as in G_1 of
        D. N. Joanes, C. A. Gill (1998), The Statistician 47(1), 183-189. With two replicates it is 0.
        """
        n = self.count
        return np.asarray(self.skewness * np.sqrt(n - 1) / max(n - 2, 1))

    @property
    def kurtosis(self) -> Floats:
        """Kurtosis of the replicate means, R M_4 / M_2^2 (3 for normal ones); 0 where they do not vary."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num(self.count * (self.m4 / self.m2) / self.m2))


def varies_by_rounding(mean: Floats, variance: Floats, within: Floats, rounding: float) -> NDArray[np.bool_]:
    """Return where replicate means vary by no more than rounding: sd <= rounding x (root mean square of the values).

    Parameters
    ----------
    mean, variance : ndarray of shape (k,)
        Mean and variance of the replicate means.
    within : ndarray of shape (k,)
        Mean squared deviation inside replicates; the mean square of the values is mean^2 + within.
    rounding : float
        Relative rounding error of the values.
    """
    return np.asarray(np.sqrt(variance) <= rounding * np.sqrt(mean**2 + within))


def _counts(rows: ReplicateMeans) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Return the numbers of ones and of zeros of each component; see `Moments`."""
    if rows.ones is None:
        return None, None
    counted = (rows.ones >= 0).all(axis=0)
    events = rows.ones.sum(axis=0)
    others = len(rows) * rows.n_points - events
    return _where_any(np.where(counted, events, -1)), _where_any(np.where(counted, others, -1))


def _sum(a: NDArray[np.int64] | None, b: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    return None if a is None or b is None else _where_any(np.where((a < 0) | (b < 0), -1, a + b))


def _where_any(counts: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return counts, or None where no component has one."""
    return None if counts is None or (counts < 0).all() else counts


def _merged_third(a: Moments, b: Moments, delta: Floats) -> Floats | None:
    """Return the mean cubed deviation of the values of both; equation 1.2 of Pebay [1]_ for means over values."""
    if a.third is None or b.third is None:
        return None
    n, product = a.count + b.count, a.count * b.count
    spread = (b.within + b.m2 / b.count) - (a.within + a.m2 / a.count)
    shifted = delta * product / n**2 * (3 * spread + delta**2 * (a.count - b.count) / n)
    return np.asarray((a.count * a.third + b.count * b.third) / n + shifted)


def _product_of(rows: ReplicateMeans, deviations: Floats) -> Floats | None:
    """Return the mean products over all values, from those inside replicates and the deviations of the means."""
    if rows.products is None or rows.pairs is None:
        return None
    first, second = rows.pairs.T
    return np.asarray((rows.products + deviations[:, first] * deviations[:, second]).mean(axis=0))


def _merged_product(a: Moments, b: Moments, delta: Floats) -> Floats | None:
    if a.product is None or b.product is None or a.pairs is None:
        return None
    share, (first, second) = b.count / (a.count + b.count), a.pairs.T
    return np.asarray(a.product + (b.product - a.product) * share + delta[first] * delta[second] * share * (1 - share))


def _merged_comoment(a: Moments, b: Moments, delta: Floats) -> Floats | None:
    if a.comoment is None or b.comoment is None:
        return None
    return a.comoment + b.comoment + np.outer(delta, delta) * (a.count * b.count / (a.count + b.count))

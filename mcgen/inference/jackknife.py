r"""The jackknife over independent units: functions of means without their second-order bias, and their pseudo-values.

A unit is a replicate, or a group of replicates where their means are not kept. With theta the function at all G units
and theta_g that without unit g, the pseudo-values are

.. math:: P_g = G \theta - (G - 1)\, \theta_{(g)}.

Their mean is theta without its bias of order 1 / G, and they are nearly independent, so that their standard error is
that of the mean [1]_. Intervals, efficiencies and stopping rules take them for replicate means. For units of n_g of N
replicates h_g = N / n_g stands for G [2]_; the deviations are then scaled by sqrt((G - 1) / (h_g - 1)), so that the
usual standard error of their mean is that of reference 2.

A `Units` holds means, variances and products, which are all moments of the values about the units' own means. So no
digits are lost where the mean is far larger than the spread.

.. rubric:: References

.. [1] B. Efron (1982). The jackknife, the bootstrap and other resampling plans. SIAM. Chapters 2 and 3.
.. [2] F. M. T. A. Busing, E. Meijer, R. van der Leeden (1999). Delete-m jackknife for unequal m. Statistics and
   Computing 9, 3-8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments, Pairs, ReplicateMeans, varies_by_rounding


@dataclass(frozen=True, eq=False)
class Units:
    """Central moments of the values in G independent units.

    Attributes
    ----------
    counts : ndarray of shape (G,)
        Replicates in each unit.
    mean, variance : ndarray of shape (G, k)
        Mean of all values in a unit, and their mean squared deviation from it.
    pairs : ndarray of shape (p, 2)
        Pairs of components.
    product : ndarray of shape (G, p)
        For each pair the mean product of the deviations.
    """

    counts: Floats
    mean: Floats
    variance: Floats
    pairs: Pairs
    product: Floats

    @classmethod
    def of_rows(cls, rows: ReplicateMeans) -> Units:
        """Return each replicate as a unit."""
        n = len(rows)
        pairs, products = _or_none(rows.pairs, rows.products, (n, 0))
        return cls(np.ones(n), rows.means, rows.within, pairs, products)

    @classmethod
    def of_groups(cls, groups: Sequence[Moments]) -> Units:
        """Return each group of replicates as a unit."""
        found = [_or_none(group.pairs, group.product, (0,)) for group in groups]
        return cls(
            np.array([float(group.count) for group in groups]),
            np.stack([group.mean for group in groups]),
            np.stack([group.within + group.m2 / group.count for group in groups]),
            found[0][0],
            np.stack([product for _, product in found]),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def part(self, number: int, of: int) -> Units:
        """Return the units with one of several equal blocks of components, each with pairs of its own."""
        k, p = self.mean.shape[1] // of, len(self.pairs) // of
        columns, pairs = slice(number * k, (number + 1) * k), slice(number * p, (number + 1) * p)
        own = self.pairs[pairs] - number * k
        return Units(self.counts, self.mean[:, columns], self.variance[:, columns], own, self.product[:, pairs])

    def select(self, columns: slice) -> Units:
        """Return the units with some components, and the pairs among them."""
        first, last, _ = columns.indices(self.mean.shape[1])
        inside = ((self.pairs >= first) & (self.pairs < last)).all(axis=1)
        own = self.pairs[inside] - first
        return Units(self.counts, self.mean[:, columns], self.variance[:, columns], own, self.product[:, inside])

    def total(self) -> Units:
        """Return the one unit of all values."""
        share = (self.counts / self.counts.sum())[:, None]
        # From the first unit on, so that what does not vary stays the same to the last bit.
        mean = self.mean[0] + (share * (self.mean - self.mean[0])).sum(axis=0)
        d = self.mean - mean
        product = self.product + d[:, self.pairs[:, 0]] * d[:, self.pairs[:, 1]]
        return Units(
            self.counts.sum(keepdims=True),
            mean[None],
            (share * (self.variance + d**2)).sum(axis=0)[None],
            self.pairs,
            (share * product).sum(axis=0)[None],
        )

    def left_out(self, whole: Units, some: slice = slice(None)) -> Units:
        """Return, for each of some units, the unit of all values without it, from that of all; there must be two."""
        n = self.counts[some, None]
        rest = whole.counts - n
        d = self.mean[some] - whole.mean
        step = -d * n / rest
        first, second = self.pairs.T
        products = self.product[some] + d[:, first] * d[:, second]
        return Units(
            rest[:, 0],
            whole.mean + step,
            np.maximum(_without(whole.variance, self.variance[some] + d**2, n / rest) - step**2, 0.0),
            self.pairs,
            _without(whole.product, products, n / rest) - step[:, first] * step[:, second],
        )

    def settled(self, rounding: float) -> Units:
        """Return the units with components that vary by rounding alone replaced by constants.

        These are components whose standard deviation is at most `rounding` times the root mean square of their values.
        """
        whole = self.total()
        constant = varies_by_rounding(whole.mean[0], whole.variance[0], whole.variance[0], rounding)
        if not constant.any():
            return self
        either = constant[self.pairs].any(axis=1)
        return Units(
            self.counts,
            np.where(constant, whole.mean, self.mean),
            np.where(constant, 0.0, self.variance),
            self.pairs,
            np.where(either, 0.0, self.product),
        )


def mixture_of(parts: Sequence[Units], weights: Floats) -> Units:
    """Return the units of a mixture of laws, from units of each that belong together; or a single one of each."""
    n = max(len(part) for part in parts)
    base = parts[0].mean[0]
    mean = base + sum(w * (part.mean - base) for w, part in zip(weights, parts, strict=True))
    variance, product = np.zeros((n, 1)), np.zeros((n, 1))
    pairs = parts[0].pairs
    for w, part in zip(weights, parts, strict=True):
        d = part.mean - mean
        variance = variance + w * (part.variance + d**2)
        product = product + w * (part.product + d[:, pairs[:, 0]] * d[:, pairs[:, 1]])
    return Units(parts[0].counts if n == len(parts[0]) else np.ones(n), np.asarray(mean), variance, pairs, product)


def pseudo_values(counts: Floats, whole: Floats, left_out: Floats) -> Floats:
    """Return the pseudo-values of each unit, shape (G, c).

    Parameters
    ----------
    counts : ndarray of shape (G,)
        Replicates in each unit.
    whole : ndarray of shape (c,)
        The function of all units.
    left_out : ndarray of shape (G, c)
        The function without each unit.
    """
    h = (counts.sum() / counts)[:, None]
    found = h * whole - (h - 1) * left_out
    if (h == h[0]).all():
        return np.asarray(found)
    n = len(counts)
    mean = n * whole - ((1 - 1 / h) * left_out).sum(axis=0)
    scaled = (found - mean) * np.sqrt((n - 1) / (h - 1))
    centred = scaled - scaled.mean(axis=0)
    # The estimate is not the plain mean of the deviations; with what centring takes away the squares keep their sum.
    ratio = np.divide(
        (scaled**2).sum(axis=0), (centred**2).sum(axis=0), out=np.ones(len(mean)), where=centred.any(axis=0)
    )
    return np.asarray(mean + centred * np.sqrt(ratio))


def expanded(
    function: Callable[[Floats], Floats],
    at: Floats,
    points: Floats,
    steps: Floats,
    gradient: Callable[[Floats], Floats] | None = None,
) -> Floats:
    """Return a function near a point by its expansion to second order, shape (m, c).

    It takes 2 k (k + 1) + 1 calls, or 2 k + 1 of the gradient where there is one, whatever the number of points.

    Parameters
    ----------
    function : callable
        From an array of shape (k,) to one of shape (c,).
    at : ndarray of shape (k,)
        The centre of the expansion.
    points : ndarray of shape (m, k)
        Where the function is wanted.
    steps : ndarray of shape (k,)
        Steps of the central differences, of the size of the uncertainty of `at`; a component with step 0 is constant.
    gradient : callable, optional
        From an array of shape (k,) to the derivatives, shape (c, k).
    """
    moving = np.flatnonzero(steps > 0)
    middle = function(at)
    if len(moving) == 0:
        return np.broadcast_to(middle, (len(points), len(middle)))
    units = np.eye(len(at))[moving] * steps[moving, None]
    d = (points - at)[:, moving] / steps[moving]
    if gradient is None:
        slope, bend = _differences(function, at, middle, units)
    else:
        slope = (gradient(at)[:, moving] * steps[moving]).T
        bends = [(gradient(at + u) - gradient(at - u))[:, moving] * steps[moving] / 2 for u in units]
        bend = np.moveaxis(np.stack(bends), 1, 2)
    return np.asarray(middle + d @ slope + np.einsum("mi,ijc,mj->mc", d, bend, d) / 2)


def _differences(
    function: Callable[[Floats], Floats], at: Floats, middle: Floats, units: Floats
) -> tuple[Floats, Floats]:
    """Return the first and second central differences along some steps, shapes (k, c) and (k, k, c)."""
    up, down = np.stack([function(at + u) for u in units]), np.stack([function(at - u) for u in units])
    bend = np.zeros((len(units), len(units), len(middle)))
    for i, u in enumerate(units):
        bend[i, i] = up[i] - 2 * middle + down[i]
        for j, v in enumerate(units[:i]):
            same, other = function(at + u + v) + function(at - u - v), function(at + u - v) + function(at - u + v)
            bend[i, j] = bend[j, i] = (same - other) / 4
    return (up - down) / 2, bend


def in_strata(left_out: Sequence[Floats], whole: Floats, counts: Sequence[Floats]) -> list[Floats]:
    """Return pseudo-values for each stratum of a function of several independent runs; the sum of their means counts.

    Parameters
    ----------
    left_out : sequence of ndarray of shape (G_s, c)
        The function without each unit of stratum s.
    whole : ndarray of shape (c,)
        The function of all units.
    counts : sequence of ndarray of shape (G_s,)
        Replicates in each unit.
    """
    share = whole / len(left_out)
    return [pseudo_values(n, whole, each) - whole + share for n, each in zip(counts, left_out, strict=True)]


def widened(strata: Sequence[Floats], bias: Floats, error: Floats) -> tuple[Floats, ...]:
    """Return pseudo-values with larger deviations where their standard error is small beside the bias taken away.

    Near a point where the derivative vanishes, such as a product or a score at its largest value, the deviations of
    the first order do so too, and the estimate varies by about the bias of second order. So the standard error becomes
    sqrt(error^2 + bias^2 - error^2 / 16) where the bias is above a quarter of it; elsewhere it stays what it is.

    Parameters
    ----------
    strata : sequence of ndarray of shape (G_s, c)
        Pseudo-values of each independent run.
    bias, error : ndarray of shape (c,)
        Bias and standard error of the sum of their means.
    """
    excess = np.maximum(bias**2 - error**2 / 16, 0.0)
    factor = np.sqrt(1 + np.divide(excess, error**2, out=np.zeros_like(error), where=error > 0))
    if (factor == 1).all():
        return tuple(strata)
    wider = (one.mean(axis=0) + (one - one.mean(axis=0)) * factor for one in strata)
    return tuple(np.where(factor == 1, one, new) for one, new in zip(strata, wider, strict=True))


def _without(whole: Floats, own: Floats, ratio: Floats) -> Floats:
    """Return the mean over the other units: (N whole - n own) / (N - n) with ratio = n / (N - n)."""
    return np.asarray(whole + ratio * (whole - own))


def _or_none(pairs: Pairs | None, product: Floats | None, shape: tuple[int, ...]) -> tuple[Pairs, Floats]:
    """Return pairs and products, empty ones where there are none."""
    if pairs is None or product is None:
        return np.empty((0, 2), np.int64), np.empty(shape)
    return pairs, product

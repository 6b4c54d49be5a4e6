r"""Statistical tests of noise: z scores of quantities whose mean and variance are known under the law of the noise.

For noise z ~ N(0, 1), with u = Phi(z) ~ U(0, 1) and v = 2u - 1, the tests use

- z and z^2, whose sums over N numbers are N(0, N) and chi-squared (made normal by Wilson and Hilferty [1]_);
- counts of u in 64 equal cells, chi-squared, and in the two outer 2048ths, binomial;
- the scores :math:`s_1 = \sqrt 3\, v` and :math:`s_2 = \sqrt 5\, (3 v^2 - 1) / 2`, orthonormal Legendre polynomials:
  bounded, so that the sum of N products of independent standardized scores is N(0, N) far into the tails;
- ranks of one number from each replicate. Their serial correlation has the same law whatever the law of the numbers.

The probability of a false alarm is divided among the m tests: the z limit of each belongs to 1/m of it.

.. rubric:: References

.. [1] E. B. Wilson, M. M. Hilferty (1931). The distribution of chi-square. Proc. Natl. Acad. Sci. 17(12), 684-688.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, ndtr, ndtri

from mcgen._lib.arrays import Floats
from mcgen.noise import Law
from mcgen.validation.conformance.reports import Finding

# Cells of u: the outer two of the fine ones test the tails, the others are for chi-squared.
_FINE_CELLS, _CELLS = 2048, 64
# Most points that are tested pair by pair, and most replicates in tests of pairs of coordinates; more take too long.
_FEW_POINTS, _FEW_REPLICATES = 16, 2**13
# Distance of u from 0 and 1 at least, so that z stays finite; scores with a smaller spread are taken as constant.
_EDGE, _LEAST_SPREAD = 2.0**-40, 1e-6


@dataclass(frozen=True)
class ZScores:
    """Some z scores of one kind.

    Attributes
    ----------
    what : str
        The quantity.
    seen, z : ndarray
        Its measured values, and their distances from `expected` in standard errors; arrays of one shape.
    expected : float
        Its expected value.
    axes : tuple of (str, sequence)
        For each axis of `seen`: its name, and the labels of its entries.
    """

    what: str
    seen: Floats
    z: Floats
    expected: float
    axes: tuple[tuple[str, Sequence[object]], ...] = ()

    def worst(self) -> tuple[float, str]:
        """Return the largest absolute score, and a text that says what was measured there."""
        place = np.unravel_index(int(np.abs(self.z).argmax()), self.z.shape)
        places = [f"{name} {labels[int(i)]}" for (name, labels), i in zip(self.axes, place, strict=True)]
        where = ", ".join(places).replace(", and ", " and ")
        return float(np.abs(self.z[place])), (
            f"{self.what}{where and f' at {where}'}: {float(self.seen[place]):.4g} instead of {self.expected:.4g} "
            f"({float(self.z[place]):+.1f} standard errors)"
        )


def finding_of(tests: Sequence[ZScores], false_alarm: float) -> Finding:
    """Return the largest z score of all tests, with the limit that true laws exceed with this probability at most."""
    some = [test for test in tests if test.z.size]
    count = sum(test.z.size for test in some)
    if count == 0:
        return Finding(0.0)
    largest, found = max(test.worst() for test in some)
    return Finding(largest, float(-ndtri(false_alarm / (2 * count))), found)


class Scores:
    """The numbers of some points and coordinates of some replicates, as scores.

    Parameters
    ----------
    noise : ndarray of shape (n_replicates, n_points, n_coordinates)
        The noise as it was drawn.
    law : {"normal", "uniform"}
        Its law.
    points : sequence of int
        Labels of the points.
    """

    def __init__(self, noise: NDArray[Any], law: Law, points: Sequence[int]) -> None:
        self.noise, self.law, self.points = noise, law, points
        self.coordinates = range(noise.shape[2])
        wide = noise.astype(np.float64)
        # Infinite numbers, NaN, 0 and 1 break the law "inside", and are no concern of these tests.
        wide[~np.isfinite(wide)] = 0.0 if law == "normal" else 0.5
        self.u = np.clip(ndtr(wide) if law == "normal" else wide, _EDGE, 1 - _EDGE)
        self.z = wide if law == "normal" else ndtri(self.u)

    @cached_property
    def v(self) -> Floats:
        """The numbers v = 2u - 1 on (-1, 1), shape (n_replicates, n_points, n_coordinates)."""
        return 2 * self.u - 1

    def margins(self) -> list[ZScores]:
        """Return tests that each point alone has the law, in each coordinate and in all."""
        sums, squares = self.z.sum(axis=0), np.einsum("rpc,rpc->pc", self.z, self.z)
        one, every = len(self.z), len(self.z) * self.z.shape[2]
        point, coordinate = ("point", self.points), ("coordinate", self.coordinates)
        return [
            _mean(sums.sum(1), every, (point,)),
            _mean(sums, one, (point, coordinate)),
            _square(squares.sum(1), every, (point,)),
            _square(squares, one, (point, coordinate)),
            *self._cells((point,)),
        ]

    def _cells(self, axes: tuple[tuple[str, Sequence[object]], ...]) -> list[ZScores]:
        r, p, c = self.u.shape
        offsets = np.arange(p, dtype=np.int32)[:, None] * np.int32(_FINE_CELLS)
        cells = (self.u * _FINE_CELLS).astype(np.int32) + offsets
        counts = np.bincount(cells.ravel(), minlength=p * _FINE_CELLS).reshape(p, _FINE_CELLS)
        n, expected, degrees = r * c, r * c / _CELLS, _CELLS - 1
        coarse = counts.reshape(p, _CELLS, -1).sum(axis=2)
        squared = ((coarse - expected) ** 2).sum(axis=1) / expected
        outer, share = counts[:, 0] + counts[:, -1], 2 / _FINE_CELLS
        low, high = bdtr(outer, n, share), np.where(outer > 0, bdtrc(outer - 1, n, share), 1.0)
        tails = np.where(low < high, ndtri(low), -ndtri(high))
        return [
            ZScores("chi-squared of 64 cells over its mean", squared / degrees, _normal(squared, degrees), 1.0, axes),
            ZScores("share of numbers in the outer 2 of 2048 cells", outer / n, tails, share, axes),
        ]

    def coordinate_pairs(self) -> list[ZScores]:
        """Return tests that the coordinates of one point are uncorrelated, and so are their squares."""
        v = self.by_few_points[:_FEW_REPLICATES].transpose(1, 2, 0)
        scores = standardized(np.concatenate(legendre(v), axis=1), 2)
        products = scores @ scores.transpose(0, 2, 1) / v.shape[2]
        c = v.shape[1]
        first, second = np.nonzero(np.arange(c)[:, None] < np.arange(c))
        pairs = [f"{i} and {j}" for i, j in zip(first, second, strict=True)]
        axes = (("point", self.few_points), ("coordinates", pairs))
        tests = []
        for what, a, b in (("", 0, 0), ("squares' ", c, c), ("mixed ", 0, c), ("mixed ", c, 0)):
            seen = products[:, first + a, second + b]
            tests.append(ZScores(f"{what}correlation", seen, seen * math.sqrt(v.shape[2]), 0.0, axes))
        return tests

    @property
    def few_points(self) -> Sequence[int]:
        """The points that are tried pair by pair: up to 8 from the front and 8 from the back."""
        return [self.points[i] for i in self._few_places]

    @property
    def _few_places(self) -> Sequence[int]:
        n = len(self.points)
        return range(n) if n <= _FEW_POINTS else [*range(_FEW_POINTS // 2), *range(n - _FEW_POINTS // 2, n)]

    @cached_property
    def by_few_points(self) -> Floats:
        """The numbers of few points on (-1, 1), shape (n_replicates, n_points, n_coordinates)."""
        return self.v if len(self.points) <= _FEW_POINTS else self.v[:, self._few_places]

    @cached_property
    def by_point(self) -> tuple[Floats, Floats]:
        """Both scores of few points, summed over coordinates and standardized: shape (n_replicates, n_points) each."""
        first, second = (standardized(score.sum(axis=2), 0) for score in legendre(self.by_few_points))
        return first, second

    @cached_property
    def by_replicate(self) -> Floats:
        """Three numbers of each replicate as standardized ranks, shape (n_replicates, 3)."""
        v = self.v
        means = (v.mean(axis=(1, 2)), (v * v).mean(axis=(1, 2)), (v[:, :, 0] * v[:, :, -1]).mean(axis=1))
        return np.stack([standard_ranks(mean) for mean in means], axis=1)


def across(a: Scores, b: Scores, what: str, lag: int = 0) -> list[ZScores]:
    """Return tests that replicate r of some noise is uncorrelated with replicate r + lag of other noise."""
    n = min(len(a.z), len(b.z)) - lag
    axes: tuple[tuple[str, Sequence[object]], ...] = (("points", a.few_points), ("and", b.few_points))
    tests = []
    for kind, x, y in zip(("", "squares' "), a.by_point, b.by_point, strict=True):
        seen = x[:n].T @ y[lag : n + lag] / n
        tests.append(ZScores(f"{kind}correlation of {what}", seen, seen * math.sqrt(n), 0.0, axes))
    ranks = (a.by_replicate[:n] * b.by_replicate[lag : n + lag]).mean(axis=0)
    means = (("mean of", ("scores", "squared scores", "products")),)
    return [*tests, ZScores(f"rank correlation of {what}", ranks, ranks * math.sqrt(n), 0.0, means)]


def at_one_point(a: Scores, b: Scores, what: str) -> list[ZScores]:
    """Return tests that at each point the coordinates of two blocks are uncorrelated, and so are their squares."""
    axes = (("point", a.few_points), ("coordinate", a.coordinates), ("and", b.coordinates))
    first, second = ([standardized(score, 0) for score in legendre(one.by_few_points)] for one in (a, b))
    n = len(a.z)
    tests = []
    for kind, i, j in (("", 0, 0), ("squares' ", 1, 1), ("mixed ", 0, 1), ("mixed ", 1, 0)):
        seen = np.einsum("rpc,rpd->pcd", first[i], second[j], optimize=True) / n
        tests.append(ZScores(f"{kind}correlation of {what}", seen, seen * math.sqrt(n), 0.0, axes))
    return tests


def every_lag(scores: Scores) -> list[ZScores]:
    """Return tests that replicates are serially uncorrelated at every lag up to half their number."""
    ranks = scores.by_replicate
    n = len(ranks)
    spectrum = np.fft.rfft(ranks, 2 * n, axis=0)
    lags = np.arange(1, n // 2)
    sums = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=0)[lags]
    terms = (n - lags)[:, None]
    axes = (("lag", [*lags]), ("mean of", ("scores", "squared scores", "products")))
    return [ZScores("rank correlation of replicates", sums / terms, sums / np.sqrt(terms), 0.0, axes)]


def point_pairs(scores: Scores) -> list[ZScores]:
    """Return tests that the points of one replicate are uncorrelated, and so are their squares."""
    (n, p), points = scores.by_point[0].shape, scores.few_points
    first, second = np.nonzero(np.arange(p)[:, None] < np.arange(p))
    pairs = [f"{points[int(i)]} and {points[int(j)]}" for i, j in zip(first, second, strict=True)]
    tests = []
    for kind, x in zip(("", "squares' "), scores.by_point, strict=True):
        seen = (x.T @ x / n)[first, second]
        tests.append(ZScores(f"{kind}correlation", seen, seen * math.sqrt(n), 0.0, (("points", pairs),)))
    return tests


def legendre(v: Floats) -> tuple[Floats, Floats]:
    """Return the scores s_1 and s_2 of U(-1, 1)."""
    return math.sqrt(3) * v, math.sqrt(5) / 2 * (3 * v * v - 1)


def standardized(scores: Floats, axis: int) -> Floats:
    """Return scores with mean 0 and variance 1 along an axis, so that a wrong margin breaks no law of dependence."""
    centred = scores - scores.mean(axis=axis, keepdims=True)
    spread = np.sqrt((centred * centred).mean(axis=axis, keepdims=True))
    found: Floats = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > _LEAST_SPREAD)
    return found


def standard_ranks(values: Floats) -> Floats:
    """Return ranks with mean 0 and variance 1, where equal values share a rank; zeros if all values are equal."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2)[place] - len(values) / 2
    spread = ranks.std()
    return ranks / spread if spread else ranks


def _mean(sums: Floats, n: int, axes: tuple[tuple[str, Sequence[object]], ...]) -> ZScores:
    return ZScores("mean of z", sums / n, sums / math.sqrt(n), 0.0, axes)


def _square(sums: Floats, n: int, axes: tuple[tuple[str, Sequence[object]], ...]) -> ZScores:
    return ZScores("mean of z^2", sums / n, _normal(sums, n), 1.0, axes)


def _normal(chi_squared: Floats, degrees: int) -> Floats:
    """Return ((x / n)^(1/3) - 1 + w) / sqrt(w) with w = 2 / (9 n): nearly N(0, 1) for x chi-squared with n degrees."""
    width = 2 / (9 * degrees)
    found: Floats = (np.cbrt(chi_squared / degrees) - (1 - width)) / math.sqrt(width)
    return found

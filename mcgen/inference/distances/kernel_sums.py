"""Sums of a kernel over all pairs of points, inside the replicates of a law and between a law and a reference.

The points of all strata of a law form one sequence, which is cut into blocks of about 1,024 points. Each pair of blocks
gives a matrix of kernel values, which is summed over the points of each replicate. So the memory does not depend on
the number of points, apart from the features themselves, a few numbers for each replicate, and the matrix of the
replicates that are kept for the terms of second order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy
from mcgen.errors import NonFiniteError, RunError
from mcgen.inference.distances.terms import Law

Kernel = Callable[[Floats, Floats], Floats]
"""From points of shapes (n, d) and (m, d) to the values of a symmetric function of two points, shape (n, m)."""

Indices = NDArray[np.intp]

# Points in a block: 1,024 x 1,024 kernel values take 8 MiB, and larger blocks are not faster.
_BLOCK = 1024
# Each stratum keeps at least so many replicates: the mean square of the U-centred matrix needs 4.
_FEWEST_KEPT = 5
# Rounding in k(x, y) - k(y, x) that is allowed, relative to the largest value; a kernel may work in single precision.
_SYMMETRIC = 1e-5


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive points of a sample, and the u replicates that they belong to; the first and last may be incomplete.

    Attributes
    ----------
    points : ndarray of shape (n, d)
        The points in double precision.
    weights : ndarray of shape (n,)
        The weight of each point in its replicate.
    starts : ndarray of shape (u,)
        The first point of each replicate.
    units : slice
        The replicates, by their numbers in the sample.
    stratum, shares : ndarray of shape (u,)
        The stratum of each replicate, and its weight in the law.
    local : ndarray
        Which of the u replicates are kept for the terms of second order.
    kept : slice
        Where these are among all that are kept.
    """

    points: Floats
    weights: Floats
    starts: Indices
    units: slice
    stratum: Indices
    shares: Floats
    local: Indices
    kept: slice

    def sums(self, values: Floats) -> Floats:
        """Return weighted sums over the points of each replicate, from an array whose first axis is the points."""
        if len(self.starts) == len(values) and (self.weights == 1).all():
            return values
        return np.asarray(np.add.reduceat(self.weights[:, None] * values, self.starts, axis=0))


@dataclass(frozen=True, eq=False)
class Sample:
    """All points of a law, in the order of strata and replicates.

    Attributes
    ----------
    parts : tuple of ndarray of shape (R_c p_c, d)
        The points of each stratum.
    point_weights, unit : ndarray of shape (n,)
        The weight of each point in its replicate, and the number of this replicate.
    stratum : ndarray of shape (R,)
        The stratum of each replicate.
    weights, counts : ndarray of shape (C,)
        The weight and the number of replicates of each stratum.
    kept : ndarray of shape (S,)
        The replicates that enter the terms of second order.
    """

    parts: tuple[Floats, ...]
    point_weights: Floats
    unit: Indices
    stratum: Indices
    weights: Floats
    counts: Indices
    kept: Indices

    @classmethod
    def of(cls, law: Law, most: int) -> Sample:
        """Return the points of a law, of which about `most` replicates are kept for the terms of second order."""
        counts = np.array([len(one) for one in law])
        sizes = np.repeat([one.values.shape[1] for one in law], counts)
        firsts = np.cumsum(counts) - counts
        share = np.minimum(counts, np.maximum(_FEWEST_KEPT, most * counts // counts.sum())) if most else 0 * counts
        return cls(
            tuple(np.reshape(one.values, (-1, one.values.shape[2])) for one in law),
            np.concatenate([np.tile(np.asarray(one.point_weights, np.float64), len(one)) for one in law]),
            np.repeat(np.arange(len(sizes)), sizes),
            np.repeat(np.arange(len(law)), counts),
            np.array([one.weight for one in law]),
            counts,
            np.concatenate([f + np.arange(k) * n // max(k, 1) for f, k, n in zip(firsts, share, counts, strict=True)]),
        )

    @cached_property
    def shares(self) -> Floats:
        """The weight of each replicate, shape (R,)."""
        return np.asarray((self.weights / self.counts)[self.stratum])

    @cached_property
    def ends(self) -> Indices:
        """Where the points of each stratum end, shape (C,)."""
        return np.cumsum([len(part) for part in self.parts])

    def bounds(self) -> list[tuple[int, int]]:
        """Return where blocks of points begin and end."""
        return list(pairwise([*range(0, len(self.unit), _BLOCK), len(self.unit)]))

    def block(self, low: int, high: int) -> Block:
        """Return some consecutive points in double precision."""
        first, last = np.searchsorted(self.ends, [low, high - 1], side="right")
        parts = [(self.parts[c], self.ends[c] - len(self.parts[c])) for c in range(first, last + 1)]
        pieces = [part[max(low - begin, 0) : high - begin] for part, begin in parts]
        points = np.concatenate(pieces, dtype=np.float64) if len(pieces) > 1 else np.asarray(pieces[0], np.float64)
        unit = self.unit[low:high]
        units = slice(int(unit[0]), int(unit[-1]) + 1)
        kept = slice(*np.searchsorted(self.kept, [units.start, units.stop]).tolist())
        starts = np.searchsorted(unit, np.arange(units.start, units.stop))
        local, shares = self.kept[kept] - units.start, self.shares[units]
        return Block(points, self.point_weights[low:high], starts, units, self.stratum[units], shares, local, kept)


@dataclass(frozen=True, eq=False)
class Inside:
    """Sums of the kernel inside one sample.

    Attributes
    ----------
    own : ndarray of shape (R,)
        For each replicate the sum of h over the replicates of its stratum, itself included.
    other : ndarray of shape (R,)
        The weighted mean of h over the other strata.
    itself : ndarray of shape (R,)
        h of the replicate with itself.
    diagonal : ndarray of shape (R,)
        The part of `itself` that comes from pairs of a point with itself.
    matrix : ndarray of shape (S, S)
        h of the kept replicates.
    """

    own: Floats
    other: Floats
    itself: Floats
    diagonal: Floats
    matrix: Floats

    def add(self, h: Floats, a: Block, b: Block) -> None:
        """Add the values of a block of rows against a block of columns."""
        same = a.stratum[:, None] == b.stratum
        if same.all():
            self.own[a.units] += h.sum(axis=1)
        else:
            self.own[a.units] += np.where(same, h, 0.0).sum(axis=1)
            self.other[a.units] += np.where(same, 0.0, h) @ b.shares
        self.matrix[a.kept, b.kept] += h[np.ix_(a.local, b.local)]
        common = np.arange(max(a.units.start, b.units.start), min(a.units.stop, b.units.stop))
        self.itself[common] += h[common - a.units.start, common - b.units.start]


@dataclass(frozen=True, eq=False)
class Across:
    """Means of the kernel between a law and the reference, whose weight is -1.

    Attributes
    ----------
    rows : ndarray of shape (R,)
        -g for each replicate.
    columns : ndarray of shape (N,)
        For each reference point the weighted mean over the replicates.
    matrix : ndarray of shape (S, T)
        The kernel's means of the kept replicates and the kept reference points.
    """

    rows: Floats
    columns: Floats
    matrix: Floats


_Sums = TypeVar("_Sums", Inside, Across)


def combined(parts: Sequence[_Sums], coefficients: Sequence[float]) -> _Sums:
    """Return a linear combination of sums."""
    # Not by a matrix product, which may round 0.3 a - 0.3 a to something else than 0.
    pairs = list(zip(coefficients, parts, strict=True))
    names = [field.name for field in fields(parts[0])]
    return type(parts[0])(*(np.asarray(sum(c * getattr(part, name) for c, part in pairs)) for name in names))


def _values(kernel: Kernel, a: Block, b: Block) -> Floats:
    """Return the kernel's values of two blocks of points, after a check."""
    found: NDArray[Any] = as_numpy(kernel(a.points, b.points))
    name, shape = getattr(kernel, "__name__", repr(kernel)), (len(a.points), len(b.points))
    if found.shape != shape or found.dtype.kind not in "fiub":
        raise RunError(
            f"kernel {name!r} returned shape {found.shape} of {found.dtype} for points of shapes {a.points.shape} and "
            f"{b.points.shape}; it must return real numbers of shape {shape}, one for each pair of points"
        )
    if not np.isfinite(found).all():
        raise NonFiniteError(
            f"kernel {name!r} returned {(~np.isfinite(found)).sum()} values that are not finite, of {found.size}; all "
            "must be finite. Check that the features are finite, and that the kernel is defined for all of them"
        )
    if a is b and (gap := np.abs(found - found.T).max()) > _SYMMETRIC * np.abs(found).max():
        raise RunError(
            f"kernel {name!r} is not symmetric: k(x, y) and k(y, x) differ by up to {gap:.3g}; average the two"
        )
    return found.astype(np.float64, copy=False)


def pairs_inside(sample: Sample, kernel: Kernel) -> Inside:
    """Return the sums inside a sample."""
    n, s = len(sample.stratum), len(sample.kept)
    sums = Inside(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((s, s)))
    bounds = sample.bounds()
    for i, row in enumerate(bounds):
        a = sample.block(*row)
        for j, column in enumerate(bounds[i:], i):
            b = a if i == j else sample.block(*column)
            values = _values(kernel, a, b)
            h = b.sums(a.sums(values).T).T
            sums.add(h, a, b)
            if i < j:
                sums.add(h.T, b, a)
                continue
            squares = (a.weights * values.diagonal())[:, None]
            sums.diagonal[a.units] += a.sums(squares)[:, 0]
    return sums


def pairs_across(sample: Sample, target: Sample, kernel: Kernel) -> Across:
    """Return the means between a sample and the reference."""
    sums = Across(
        np.zeros(len(sample.stratum)), np.zeros(len(target.stratum)), np.zeros((len(sample.kept), len(target.kept)))
    )
    for row in sample.bounds():
        a = sample.block(*row)
        for column in target.bounds():
            b = target.block(*column)
            h = a.sums(_values(kernel, a, b))
            sums.rows[a.units] += h @ b.shares
            sums.columns[b.units] += a.shares @ h
            sums.matrix[a.kept, b.kept] += h[np.ix_(a.local, b.local)]
    return sums

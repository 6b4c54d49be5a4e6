"""Sums over the points of a replicate in a fixed order, so that their bits do not depend on the batch size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Pairs, ReplicateMeans

LEAF = 256
"""Points of a replicate, or replicates, that are summed at a time: enough that merging the sums takes little time."""
LARGE_REPLICATE = 64
"""Fewest points of a replicate for mean cubed deviations: intervals of nets of so many points depend on them."""


class Reduction:
    """Means and mean powers of deviations over the points of some replicates, from values that are added in slices.

    Parameters
    ----------
    third : bool
        Whether mean cubed deviations are computed too.
    pairs : ndarray of shape (p, 2), optional
        Pairs of components for which mean products of deviations are computed too.
    """

    def __init__(self, third: bool = False, pairs: Pairs | None = None) -> None:
        self._pairs = pairs
        self._products: Any = 0.0
        self._left: list[Floats] = []
        self._n = 0
        self._mean: Any = 0.0
        self._m2: Any = 0.0
        self._m3: Any = 0.0 if third else None
        # The components whose values were all 0 or 1 so far, and how many of these were 1.
        self._counted: NDArray[np.int64] | None = None
        self._ones: Any = 0

    def add(self, values: Floats) -> None:
        """Add the values of the next points, shape (replicates, points, k)."""
        self._left.append(values)
        if sum(part.shape[1] for part in self._left) < LEAF:
            return
        values = self._joined()
        whole = values.shape[1] - values.shape[1] % LEAF
        for first in range(0, whole, LEAF):
            self._merge(values[:, first : first + LEAF])
        self._left = [values[:, whole:]] if whole < values.shape[1] else []

    def finish(self, start: int, gathered: Mapping[str, NDArray[Any]] | None = None) -> ReplicateMeans:
        """Return the means of the replicates, of which the first has index `start`, with what was gathered of them."""
        if self._left:
            self._merge(self._joined())
        third = None if self._m3 is None else self._m3 / self._n
        products = None if self._pairs is None else self._products / self._n
        within = self._m2 / self._n
        counts, pairs = self._counts(), self._pairs
        return ReplicateMeans(start, self._mean, within, counts, self._n, third, pairs, products, gathered or {})

    def _counts(self) -> NDArray[np.int64] | None:
        """Return the numbers of ones, -1 for components with other values; None where all have others."""
        if self._counted is None or len(self._counted) == 0:
            return None
        counts = np.full(self._mean.shape, -1, np.int64)
        counts[:, self._counted] = self._ones
        return counts

    def _joined(self) -> Floats:
        return np.concatenate(self._left, axis=1) if len(self._left) > 1 else self._left[0]

    def _merge(self, values: Floats) -> None:
        # One memory layout for all slices, so that numpy always sums in the same order.
        values = np.ascontiguousarray(values)
        n, total = values.shape[1], self._n + values.shape[1]
        mean = values.mean(axis=1)
        deviations = values - mean[:, None]
        delta = mean - self._mean
        if self._pairs is not None:
            a, b = self._pairs.T
            inside = (deviations[:, :, a] * deviations[:, :, b]).sum(axis=1)
            self._products = self._products + inside + delta[:, a] * delta[:, b] * (self._n * n / total)
        if self._m3 is None:
            m2 = np.square(deviations, out=deviations).sum(axis=1)
        else:
            squares = np.square(deviations)
            m2, m3 = squares.sum(axis=1), np.multiply(squares, deviations, out=squares).sum(axis=1)
            self._m3 = (
                self._m3
                + m3
                + delta**3 * (self._n * n * (self._n - n) / total**2)
                + delta * (3 / total) * (self._n * m2 - n * self._m2)
            )
        self._mean = self._mean + delta * (n / total)
        self._m2 = self._m2 + m2 + delta**2 * (self._n * n / total)
        self._n = total
        self._count(values)

    def _count(self, values: Floats) -> None:
        """Count the ones of the components whose values are all 0 or 1."""
        if self._counted is None:
            self._counted = np.arange(values.shape[2])
        if len(self._counted) == 0:
            return
        some = values if len(self._counted) == values.shape[2] else values[:, :, self._counted]
        ones = some == 1
        still = (ones | (some == 0)).all(axis=(0, 1))
        if not still.all():
            before = self._ones if np.ndim(self._ones) == 0 else self._ones[:, still]
            self._counted, self._ones, ones = self._counted[still], before, ones[:, :, still]
        self._ones = self._ones + ones.sum(axis=1)

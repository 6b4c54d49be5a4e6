"""Sums over the points of a replicate in a fixed order, so that their bits do not depend on the batch size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import ReplicateMeans

LEAF = 256
"""Points of a replicate, or replicates, that are summed at a time: enough that merging the sums takes little time."""


class Reduction:
    """Means and mean squared deviations over the points of some replicates, from values that are added in slices."""

    def __init__(self) -> None:
        self._left: list[Floats] = []
        self._n = 0
        self._mean: Any = 0.0
        self._m2: Any = 0.0
        self._ones: NDArray[np.int64] | None = np.zeros((), np.int64)

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

    def finish(self, start: int) -> ReplicateMeans:
        """Return the means of the replicates, of which the first has index `start`."""
        if self._left:
            self._merge(self._joined())
        return ReplicateMeans(start, self._mean, self._m2 / self._n, self._ones, self._n)

    def _joined(self) -> Floats:
        return np.concatenate(self._left, axis=1) if len(self._left) > 1 else self._left[0]

    def _merge(self, values: Floats) -> None:
        # One memory layout for all slices, so that numpy always sums in the same order.
        values = np.ascontiguousarray(values)
        n, total = values.shape[1], self._n + values.shape[1]
        mean = values.mean(axis=1)
        deviations = values - mean[:, None]
        m2 = np.square(deviations, out=deviations).sum(axis=1)
        delta = mean - self._mean
        self._mean = self._mean + delta * (n / total)
        self._m2 = self._m2 + m2 + delta**2 * (self._n * n / total)
        self._n = total
        if self._ones is not None:
            ones = values == 1
            self._ones = self._ones + ones.sum(axis=1) if (ones | (values == 0)).all() else None

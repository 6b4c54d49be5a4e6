"""Sums whose order is fixed: the same bits whatever the batch size, and however the work was cut.

The values of a replicate are summed in aligned chunks of 256 points, merged in order; replicate means are summed in
aligned leaves of 256 replicates, merged in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen.moments import Floats, Moments, ReplicateMeans

LEAF = 256
"""Points of a replicate, or replicates, that are summed at a time."""


class Reduction:
    """Means and mean squared deviations over the points of some replicates, whose values come slice by slice."""

    def __init__(self) -> None:
        self._left: list[Floats] = []
        self._n = 0
        self._mean: Any = 0.0
        self._m2: Any = 0.0
        self._ones: NDArray[np.int64] | None = np.zeros((), np.int64)

    def add(self, values: Floats) -> None:
        """Take the values of the next points, shape (replicates, points, k)."""
        self._left.append(values)
        if sum(part.shape[1] for part in self._left) < LEAF:
            return
        values = self._joined()
        whole = values.shape[1] - values.shape[1] % LEAF
        for first in range(0, whole, LEAF):
            self._merge(values[:, first : first + LEAF])
        self._left = [values[:, whole:]] if whole < values.shape[1] else []

    def finish(self, start: int) -> ReplicateMeans:
        """Return the rows of the replicates, the first of which is `start`."""
        if self._left:
            self._merge(self._joined())
        return ReplicateMeans(start, self._mean, self._m2 / self._n, self._ones, self._n)

    def _joined(self) -> Floats:
        return np.concatenate(self._left, axis=1) if len(self._left) > 1 else self._left[0]

    def _merge(self, values: Floats) -> None:
        # One memory layout whatever the slices were, so that numpy sums in one order.
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


class Tally:
    """Replicate means coming in, in order: moments by leaves, and the means themselves where they are kept.

    Parameters
    ----------
    n_replicates : int
        How many will come.
    keep : bool or None
        Keep the replicate means; None keeps them up to `KEPT_VALUES` numbers.
    """

    KEPT_VALUES = 2**20

    def __init__(self, n_replicates: int, keep: bool | None) -> None:
        self._n_replicates, self._keep = n_replicates, keep
        self._merged: Moments | None = None
        self._pending: list[ReplicateMeans] = []
        self._kept: tuple[Floats, Floats] | None = None
        self.count = 0

    def add(self, rows: ReplicateMeans) -> None:
        """Take the next rows."""
        if self.count == 0:
            self._start_keeping(rows.means.shape[1])
        if self._kept is not None:
            place = slice(self.count, self.count + len(rows))
            self._kept[0][place], self._kept[1][place] = rows.means, rows.within
        self.count += len(rows)
        while len(rows):
            room = LEAF - rows.start % LEAF
            self._pending.append(rows[:room])
            if room <= len(rows):
                self._merged, self._pending = self.moments(), []
            rows = rows[room:]

    def moments(self) -> Moments | None:
        """Return the moments of all that came; None where nothing did."""
        if not self._pending:
            return self._merged
        leaf = Moments.of(_joined(self._pending))
        return leaf if self._merged is None else self._merged.merge(leaf)

    def kept(self) -> tuple[Floats, Floats] | None:
        """Return the replicate means and the mean squared deviations within, each (R, k), where they are kept."""
        return None if self._kept is None else (self._kept[0][: self.count], self._kept[1][: self.count])

    def _start_keeping(self, k: int) -> None:
        small = self._n_replicates * k <= self.KEPT_VALUES
        if self._keep or (self._keep is None and small):
            self._kept = (np.empty((self._n_replicates, k)), np.empty((self._n_replicates, k)))


def _joined(parts: list[ReplicateMeans]) -> ReplicateMeans:
    indicators = [part.ones for part in parts if part.ones is not None]
    return ReplicateMeans(
        parts[0].start,
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.within for part in parts]),
        np.concatenate(indicators) if len(indicators) == len(parts) else None,
        parts[0].n_points,
    )

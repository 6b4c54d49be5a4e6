"""Moments of finished replicates, summed in a fixed order: the same bits for every batch size and division of work.

The values of a replicate are summed in aligned chunks of 256 points (see `summation`), and replicate means in aligned
leaves of 256 replicates. Chunks and leaves are merged in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.summation import LEAF

KEPT_VALUES = 2**20
"""Most replicate means (replicates times components) that are kept by default: 16 MB, with their deviations."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """Moments of a whole leaf of 256 replicates; a run that does not keep replicate means keeps only these.

    Attributes
    ----------
    start : int
        Index of the first replicate, a multiple of `LEAF`.
    moments : Moments
        Moments of the `LEAF` replicates.
    """

    start: int
    moments: Moments

    def __len__(self) -> int:
        return LEAF


Segment = ReplicateMeans | Leaf
"""Finished replicates: the means of some, or the moments of a whole leaf."""


def keeps_rows(keep: bool | None, n_replicates: int, k: int) -> bool:
    """Tell whether replicate means are kept; by default up to `KEPT_VALUES` numbers."""
    return n_replicates * k <= KEPT_VALUES if keep is None else keep


def segments_of(rows: Iterable[ReplicateMeans], keep: bool) -> list[Segment]:
    """Return consecutive rows as one segment per leaf; whole leaves become their moments unless `keep`."""
    found: list[Segment] = []
    pending: list[ReplicateMeans] = []
    for part in rows:
        while len(part):
            room = LEAF - part.start % LEAF
            pending.append(part[:room])
            if room <= len(part):
                found.append(_segment(pending, keep))
                pending = []
            part = part[room:]
    return [*found, _segment(pending, keep)] if pending else found


def _segment(parts: list[ReplicateMeans], keep: bool) -> Segment:
    rows = joined(parts)
    return rows if keep or len(rows) < LEAF else Leaf(rows.start, Moments.of(rows))


class Tally:
    """Accumulator of finished replicates, added in order: moments by leaves, and replicate means if they are kept.

    Parameters
    ----------
    keep : bool or None
        Whether replicate means are kept; None keeps them up to `KEPT_VALUES` numbers.
    """

    def __init__(self, keep: bool | None) -> None:
        self._keep = keep
        self._merged: Moments | None = None
        self._pending: list[ReplicateMeans] = []
        self._kept: list[tuple[Floats, Floats]] | None = []
        self.count = 0

    def add(self, segment: Segment) -> None:
        """Add the next replicates; moments of a whole leaf must start at a multiple of `LEAF`."""
        self.count += len(segment)
        if isinstance(segment, Leaf):
            assert not self._pending
            self._merged = segment.moments if self._merged is None else self._merged.merge(segment.moments)
            self._kept = None
            return
        if not keeps_rows(self._keep, self.count, segment.means.shape[1]):
            self._kept = None
        if self._kept is not None:
            self._kept.append((segment.means, segment.within))
        while len(segment):
            room = LEAF - segment.start % LEAF
            self._pending.append(segment[:room])
            if room <= len(segment):
                self._merged, self._pending = self.moments(), []
            segment = segment[room:]

    def moments(self) -> Moments | None:
        """Return the moments of all replicates that were added; None where there are none."""
        if not self._pending:
            return self._merged
        leaf = Moments.of(joined(self._pending))
        return leaf if self._merged is None else self._merged.merge(leaf)

    def kept(self) -> tuple[Floats, Floats] | None:
        """Return the replicate means and the mean squared deviations inside replicates, each (R, k), if kept."""
        if not self._kept:
            return None
        if len(self._kept) > 1:
            means, within = zip(*self._kept, strict=True)
            self._kept = [(np.concatenate(means), np.concatenate(within))]
        return self._kept[0]


def joined(parts: list[ReplicateMeans]) -> ReplicateMeans:
    """Return consecutive rows joined to one object."""
    counts = [part.ones for part in parts if part.ones is not None]
    thirds = [part.third for part in parts if part.third is not None]
    return ReplicateMeans(
        parts[0].start,
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.within for part in parts]),
        np.concatenate(counts) if len(counts) == len(parts) else None,
        parts[0].n_points,
        np.concatenate(thirds) if len(thirds) == len(parts) else None,
    )

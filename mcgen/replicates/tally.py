"""Moments of finished replicates, summed in a fixed order: the same bits for every batch size and division of work.

The values of a replicate are summed in aligned chunks of 256 points (see `summation`), and replicate means in aligned
leaves of 256 replicates. Chunks and leaves are merged in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.blocks import Blocks, Found, InBlocks
from mcgen.replicates.gathering import Gatherer, without_wrapper
from mcgen.replicates.summation import LEAF

KEPT_VALUES = 2**20
"""Most replicate means (replicates times components) that are kept by default: 16 MB, with their deviations."""
GROUPS = 64
"""Groups of a jackknife where replicate means are not kept: Student's quantile of 63 degrees of freedom is 2 % above
the normal one, and the memory is that of 64 sets of moments."""


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
    grouped : bool
        Whether moments are also kept of `GROUPS` groups of replicates, for a jackknife: leaf i is in group i mod
        `GROUPS`. Where the means are kept for certain, there are no groups.
    gatherers : sequence of Gatherer
        What is gathered; of that of blocks only the numbers of each block are kept.
    """

    def __init__(self, keep: bool | None, grouped: bool = False, gatherers: Sequence[Gatherer] = ()) -> None:
        own = {one.name: without_wrapper(one) for one in gatherers}
        self._blocks = {name: Blocks(g.size, g.numbers) for name, g in own.items() if isinstance(g, InBlocks)}
        self._keep = keep
        self._merged: Moments | None = None
        self._groups: list[Moments | None] | None = [None] * GROUPS if grouped and keep is not True else None
        self._pending: list[ReplicateMeans] = []
        self._kept: list[ReplicateMeans] | None = []
        self.count = 0

    def add(self, segment: Segment) -> None:
        """Add the next replicates; moments of a whole leaf must start at a multiple of `LEAF`."""
        self.count += len(segment)
        if isinstance(segment, Leaf):
            assert not self._pending
            self._merge(segment.start, segment.moments)
            self._kept = None
            return
        if not keeps_rows(self._keep, self.count, segment.means.shape[1]):
            self._kept = None
        for name, blocks in self._blocks.items():
            blocks.add(segment.gathered[name])
        if self._kept is not None:
            self._kept.append(self.without_blocks(segment.to_keep()))
        segment = segment.without_gathered()
        while len(segment):
            room = LEAF - segment.start % LEAF
            self._pending.append(segment[:room])
            if room <= len(segment):
                leaf, self._pending = joined(self._pending), []
                self._merge(leaf.start, Moments.of(leaf))
            segment = segment[room:]

    def _merge(self, start: int, leaf: Moments) -> None:
        """Add the moments of a leaf, or of a part of one, to those of all and of its group."""
        self._merged = _merged(self._merged, leaf)
        if self._groups is not None:
            number = start // LEAF % GROUPS
            self._groups[number] = _merged(self._groups[number], leaf)

    def without_blocks(self, rows: ReplicateMeans) -> ReplicateMeans:
        """Return rows without what is kept by blocks alone."""
        if not self._blocks:
            return rows
        return replace(rows, gathered={n: a for n, a in rows.gathered.items() if n not in self._blocks})

    def blocks(self) -> dict[str, Found]:
        """Return the numbers of the blocks by the name of their gatherer."""
        return {name: blocks.found() for name, blocks in self._blocks.items()}

    @property
    def whole(self) -> Tally:
        """The tally of all columns: itself; see `ColumnsOfTally`."""
        return self

    def moments(self) -> Moments | None:
        """Return the moments of all replicates that were added; None where there are none."""
        if not self._pending:
            return self._merged
        return _merged(self._merged, Moments.of(joined(self._pending)))

    def groups(self) -> list[Moments]:
        """Return the moments of the groups that have replicates, in the order of their numbers."""
        assert self._groups is not None
        found = list(self._groups)
        if self._pending:
            last = joined(self._pending)
            number = last.start // LEAF % GROUPS
            found[number] = _merged(found[number], Moments.of(last))
        return [group for group in found if group is not None]

    def rows(self) -> ReplicateMeans | None:
        """Return all replicates that were added, with what was gathered of them, if they are kept."""
        if not self._kept:
            return None
        if len(self._kept) > 1:
            self._kept = [joined(self._kept)]
        return self._kept[0]

    def kept(self) -> tuple[Floats, Floats] | None:
        """Return the replicate means and the mean squared deviations inside replicates, each (R, k), if kept."""
        rows = self.rows()
        return None if rows is None else (rows.means, rows.within)


@dataclass(frozen=True, eq=False)
class ColumnsOfTally:
    """Some columns of the replicates of a run, as if they were a run of their own.

    Attributes
    ----------
    whole : Tally
        All replicates; their means are kept.
    columns : slice
        The columns.
    """

    whole: Tally
    columns: slice

    @property
    def count(self) -> int:
        """Number of replicates."""
        return self.whole.count

    def moments(self) -> Moments | None:
        """Return the moments of the replicate means."""
        moments = self.whole.moments()
        return None if moments is None else moments.select(self.columns)

    def kept(self) -> tuple[Floats, Floats] | None:
        """Return the replicate means and the mean squared deviations inside replicates."""
        kept = self.whole.kept()
        return None if kept is None else (kept[0][:, self.columns], kept[1][:, self.columns])

    def rows(self) -> ReplicateMeans | None:
        """Return all rows, with what was gathered."""
        return self.whole.rows()


def _merged(first: Moments | None, second: Moments) -> Moments:
    return second if first is None else first.merge(second)


def joined(parts: list[ReplicateMeans]) -> ReplicateMeans:
    """Return consecutive rows joined to one object."""
    counts = [part.ones for part in parts if part.ones is not None]
    thirds = [part.third for part in parts if part.third is not None]
    products = [part.products for part in parts if part.products is not None]
    return ReplicateMeans(
        parts[0].start,
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.within for part in parts]),
        np.concatenate(counts) if len(counts) == len(parts) else None,
        parts[0].n_points,
        np.concatenate(thirds) if len(thirds) == len(parts) else None,
        parts[0].pairs,
        np.concatenate(products) if len(products) == len(parts) else None,
        {name: np.concatenate([part.gathered[name] for part in parts]) for name in parts[0].gathered},
    )

"""Ranges of replicates, and what a finished one gives: a worker sends it, and a store keeps it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcgen.replicates.loop import replicate_means
from mcgen.replicates.tally import Segment, keeps_rows, segments_of
from mcgen.replicates.task import Facts, Findings, Task


@dataclass(frozen=True, eq=False)
class FinishedRange:
    """The replicate means or moments of a finished range of replicates.

    Attributes
    ----------
    segments : sequence of Segment
        Consecutive, each inside one leaf: rows, or a whole leaf's moments.
    facts : Facts
        What the first batch showed of the generator and the statistic.
    seconds : float
        The time that the range took.
    """

    segments: Sequence[Segment]
    facts: Facts
    seconds: float

    @property
    def replicates(self) -> range:
        """The range of replicate numbers."""
        last = self.segments[-1]
        return range(self.segments[0].start, last.start + len(last))


def run_range(
    task: Task, replicates: range, keep: bool | None, n_replicates: int, findings: Findings | None = None
) -> FinishedRange:
    """Run a range of a task's replicates and return it finished.

    Parameters
    ----------
    task : Task
        The run.
    replicates : range
        The range, best of whole groups: the rest of a group is run and dropped.
    keep : bool or None
        Whether replicate means are returned, or moments of whole leaves; None goes by `n_replicates`.
    n_replicates : int
        The number of replicates of the whole run.
    findings : Findings, optional
        Collects what the batches show of the task.
    """
    start = time.perf_counter()
    findings = Findings(task) if findings is None else findings
    rows = list(replicate_means(task, replicates, findings))
    keeps = keeps_rows(keep, n_replicates, rows[0].means.shape[1])
    return FinishedRange(segments_of(rows, keeps), findings.facts, time.perf_counter() - start)


def range_text(replicates: range) -> str:
    """Return a range of replicates in words."""
    return f"replicates {replicates.start} to {replicates.stop - 1}"


def gaps_between(parts: Iterable[range], whole: range) -> list[range]:
    """Return the gaps that ascending parts of a range leave in it."""
    edges = [whole.start, *(edge for part in parts for edge in (part.start, part.stop)), whole.stop]
    gaps = [range(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return [gap for gap in gaps if len(gap)]


def joined_ranges(ranges: Iterable[range]) -> list[range]:
    """Return ascending ranges with adjacent ones joined."""
    found: list[range] = []
    for part in ranges:
        if found and found[-1].stop == part.start:
            found[-1] = range(found[-1].start, part.stop)
        else:
            found.append(part)
    return found

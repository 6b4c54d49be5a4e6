"""The source of a run's finished replicates: a store, this process or an executor; always in replicate order."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass

from mcgen._lib.batches import executed_rows
from mcgen.inference.moments import ReplicateMeans
from mcgen.replicates.clock import Clock
from mcgen.replicates.executors.coordinator import finished_ranges
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.ranges import FinishedRange, gaps_between
from mcgen.replicates.stores.store import Store, StoredRun
from mcgen.replicates.tally import Segment, keeps_rows, segments_of
from mcgen.replicates.task import Findings, Task

# Seconds between two writes to the store: a kill loses at most about a second of work.
_SECONDS_BETWEEN = 1.0


@dataclass(frozen=True)
class Resources:
    """The store and the executor of a run.

    Attributes
    ----------
    store : Store or None
        The open store of this call.
    executor : concurrent.futures.Executor or None
        Runs ranges of replicates in threads or other processes.
    timeout : float or None
        Seconds that one range may take in the executor.
    model : str
        The model whose runs these are, where several share their random numbers; empty for a single one.
    """

    store: Store | None = None
    executor: Executor | None = None
    timeout: float | None = None
    model: str = ""

    def run_of(self, task: Task) -> StoredRun | None:
        """Return the task's own run in the store."""
        return (
            None
            if self.store is None
            else self.store.run(" / ".join(map(str, (*filter(None, [self.model]), *task.stream))))
        )


class Source:
    """The finished replicates of one run.

    Parameters
    ----------
    task : Task
        The run's task.
    keep : bool or None
        Whether replicate means are kept; None keeps up to a number of them.
    resources : Resources
        The store and the executor.
    stored : StoredRun or None
        The run in the store, where there is one.
    """

    def __init__(self, task: Task, keep: bool | None, resources: Resources, stored: StoredRun | None) -> None:
        self._task, self._keep, self._resources, self._stored = task, keep, resources, stored
        self.clock, self.findings = Clock(), Findings(task)
        if stored is not None and stored.facts is not None:
            self.findings.learn(stored.facts, warns=True)
            self.clock.add_stored(stored.seconds, sum(map(self._rows_of, stored.covered())))

    def segments(self, replicates: range, n_replicates: int) -> Iterator[Segment]:
        """Yield some replicates in order. Those that the store lacks are run, and stored.

        Parameters
        ----------
        replicates : range
            The replicates to yield.
        n_replicates : int
            Number of replicates of the whole run, as far as it is known.
        """
        there = [] if self._stored is None else [_common(part, replicates) for part in self._stored.covered()]
        there = [part for part in there if len(part)]
        gaps = gaps_between(there, replicates)
        if gaps and self._stored is not None:
            self._stored.store.require_writable()
        with closing(self._fresh(gaps, n_replicates)) as fresh:
            if not there:
                yield from fresh
                return
            for part in sorted([*there, *gaps], key=lambda one: one.start):
                if part not in there:
                    yield from _up_to(fresh, part)
                    continue
                assert self._stored is not None
                yield from self._stored.segments(part)

    def _fresh(self, gaps: list[range], n_replicates: int) -> Generator[Segment]:
        """Return what runs the gaps, one after the other, and yields their replicates in order."""
        executor = self._resources.executor
        if executor is not None and gaps:
            return self._by_executor(executor, gaps, n_replicates)
        return self._here(gaps, n_replicates)

    def _here(self, gaps: list[range], n_replicates: int) -> Generator[Segment]:
        """Run gaps in this process; the store gets about once a second what is finished, and the rest in the end."""
        for gap in gaps:
            finished: list[ReplicateMeans] = []
            # The clock leaves out what was not spent on replicates, such as a callback.
            since, counted = time.perf_counter(), self.clock.seconds
            try:
                for rows in replicate_means(self._task, gap, self.findings):
                    finished.append(rows)
                    self.clock.tick(self._rows_of(range(rows.start, rows.start + len(rows))))
                    now = time.perf_counter()
                    if now - since > _SECONDS_BETWEEN:
                        # First out of the list: an interrupt may come once they are stored.
                        ready, finished = finished, []
                        self._store_rows(ready, n_replicates, self.clock.seconds - counted)
                        since, counted = now, self.clock.seconds
                    yield rows
            finally:
                self._store_rows(finished, n_replicates, self.clock.seconds - counted)

    def _by_executor(self, executor: Executor, gaps: list[range], n_replicates: int) -> Generator[Segment]:
        """Yield the finished ranges of an executor in order; the store gets each as it comes."""
        waiting: dict[int, FinishedRange] = {}
        each = self.clock.seconds_per_evaluation()[0] * self._task.design.n_points
        coming = finished_ranges(
            executor, self._task, gaps, self._keep, n_replicates, self._resources.timeout, each or None, self.findings
        )
        with closing(coming):
            for gap in gaps:
                place = gap.start
                while place < gap.stop:
                    while place not in waiting:
                        finished = next(coming)
                        self._take(finished, n_replicates)
                        waiting[finished.replicates.start] = finished
                    finished = waiting.pop(place)
                    place = finished.replicates.stop
                    yield from finished.segments

    def _store_rows(self, rows: list[ReplicateMeans], n_replicates: int, seconds: float) -> None:
        if rows and self._stored is not None:
            keep = keeps_rows(self._keep, n_replicates, rows[0].means.shape[1])
            self._stored.add(FinishedRange(segments_of(rows, keep), self.findings.facts, seconds), keep)

    def _rows_of(self, replicates: range) -> int:
        """Return how many rows the model ran for some replicates."""
        return executed_rows(replicates, self._task.batch_size, self._task.design.n_points)

    def _take(self, finished: FinishedRange, n_replicates: int) -> None:
        self.clock.tick(self._rows_of(finished.replicates), finished.seconds)
        if self._stored is not None:
            self._stored.add(finished, keeps_rows(self._keep, n_replicates, math.prod(finished.facts.components)))


def _common(a: range, b: range) -> range:
    return range(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))


def _up_to(fresh: Iterator[Segment], gap: range) -> Iterator[Segment]:
    """Yield the segments of one gap."""
    place = gap.start
    while place < gap.stop:
        segment = next(fresh)
        place += len(segment)
        yield segment

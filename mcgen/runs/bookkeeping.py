"""Records of a run in a store beside its replicates: how it began, the state of its stopping rule, its progress."""

from __future__ import annotations

import time
from dataclasses import replace

from mcgen._lib.fingerprints import content_of
from mcgen.errors import StoreError
from mcgen.inference.stopping import Rule
from mcgen.replicates.stores.states import About, Asked, Begun, RuleState, State, remember
from mcgen.replicates.stores.store import StoredRun
from mcgen.replicates.summation import LEAF
from mcgen.replicates.task import Task
from mcgen.results.saved import estimate_to_plain
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, provenance_of
from mcgen.runs.scores import statistics_of


class Bookkeeping:
    """Reads and writes what a store keeps of a run; without a store it does nothing.

    Parameters
    ----------
    stored : StoredRun or None
        The run in the store.
    task : Task
        The task as it was asked for.
    n_replicates : int or None
        The number that was asked for; None where a tolerance decides.
    options : RunOptions
        What else was asked for.

    Attributes
    ----------
    stored : StoredRun or None
        The run in the store.
    task : Task
        The task with the batch size of the run's first call, since other batches give other last bits.
    planned : int
        The number of replicates that was asked for first, at which a confidence sequence is narrowest: one chosen
        after a look at the results would not be valid. 0 where a tolerance was asked for.
    n_found, n_contiguous : int
        Replicates that are stored, and those of them from the first on without a gap.

    Raises
    ------
    StoreError
        If the store has replicates of another design or of other coefficients, or with other batches; or only their
        sums, where replicate means are asked for.
    """

    def __init__(self, stored: StoredRun | None, task: Task, n_replicates: int | None, options: RunOptions) -> None:
        self.stored, self.task, self._options = stored, task, options
        self.planned, self.n_found, self.n_contiguous = n_replicates or 0, 0, 0
        # `mcgen status` tells the pace from when the last call began and how many replicates there were.
        self._began = time.time()
        if stored is None:
            return
        begun, asked = _begin(stored, task, Asked(n_replicates or 0, options.batch_size))
        _require_same(stored, begun, asked, n_replicates, options)
        self.task, self.planned = replace(task, batch_size=begun.batch_size), asked.n_replicates
        covered = stored.covered()
        self.n_found = sum(map(len, covered))
        from_start = [part for part in covered if part.start == options.first_replicate]
        self.n_contiguous = len(from_start[0]) if from_start else 0

    def restore(self, rule: Rule) -> None:
        """Let a rule go on where it was when the run was interrupted."""
        state = None if self.stored is None else RuleState.of(self.stored, rule.name)
        if state is None:
            return
        values = dict(state.values)
        if state.asked != self._asked_of(rule) and values.get("first_stage", ()) is not None:
            # Something else is asked for now: the rule looks at what there is, and its first stage stays what it was.
            values["target"] = rule.capped(min(values["target"], self.n_contiguous))
        rule.restore(values)

    def save(self, rule: Rule) -> None:
        """Store where a rule is, before what it decided is run: a killed run has the same looks."""
        if self.stored is not None:
            _keep(self.stored, RuleState(rule.name, self._asked_of(rule), rule.state()))

    def record(
        self, outcome: Outcome, names: tuple[str, ...], n_controls: int, rule: Rule | None, target: int, done: bool
    ) -> None:
        """Store what `mcgen status` shows of the run."""
        if self.stored is None:
            return
        asked, functional = self._options.interval, self._options.functional
        provenance = provenance_of(self.task, outcome, self._options.first_replicate)
        provenance = replace(provenance, functional=None if functional is None else functional.label)
        about = About(
            names=names,
            shape=outcome.shape,
            controls=n_controls,
            provenance=estimate_to_plain(provenance),
            confidence_level=asked.confidence_level,
            interval=asked.method,
            simultaneous=asked.simultaneous,
            stopping=None if outcome.stopping is None else estimate_to_plain(outcome.stopping),
            tolerance=None if rule is None else str(rule.tolerance),
            first=self._options.first_replicate,
            target=target,
            done=done,
            began=self._began,
            count=self.n_found,
        )
        _keep(self.stored, about)

    def _asked_of(self, rule: Rule) -> str:
        asked = self._options.interval
        return f"{rule.tolerance!r}, {asked.confidence_level}, {asked.simultaneous}"


def _keep(stored: StoredRun, state: State) -> None:
    """Store a record; a store that can only be read keeps those of the call that finished its run."""
    if stored.store.is_writable:
        remember(stored, state)


def _begin(stored: StoredRun, task: Task, asked: Asked) -> tuple[Begun, Asked]:
    """Return how a run was begun and what was asked for first; it begins here where nothing of it is stored."""
    begun, first = Begun.of(stored), Asked.of(stored)
    if begun is None or not stored.covered():
        begun, first = _begun(task), None
        _keep(stored, begun)
    if first is None:
        first = asked
        _keep(stored, first)
    own = _begun(task)
    for field, name in Begun.names.items():
        there, here = getattr(begun, field), getattr(own, field)
        if there != here:
            raise StoreError(
                f"store {stored.store.path}: {name} is {there!r} in the store{stored.of_run} and {here!r} here; a "
                "pilot that chose it gave something else this time, on another machine or by other options, or an "
                "earlier version of mcgen wrote the store. Give another path, or call as the store was called"
            )
    return begun, first


def _begun(task: Task) -> Begun:
    given = task.given.things.get("statistic", task.statistic) if task.bound is None else task.bound
    # Coefficients of levels and controls are part of the statistic.
    statistic = content_of(task.statistic, known=statistics_of(given)).fingerprint
    return Begun(str(task.design), statistic, task.batch_size)


def _require_same(stored: StoredRun, begun: Begun, asked: Asked, n_replicates: int | None, options: RunOptions) -> None:
    """Refuse other batches than those of the store, and replicates or means that it does not have."""
    if options.batch_size not in (None, begun.batch_size, asked.batch_size):
        raise StoreError(
            f"store {stored.store.path}: batch_size is {begun.batch_size} in the store and {options.batch_size} "
            "here, and other batches give other last bits; leave it out, or give another path"
        )
    there = sum(map(len, stored.covered()))
    if n_replicates is not None and n_replicates < there and n_replicates % LEAF and not stored.keeps_rows:
        raise StoreError(
            f"store {stored.store.path} has {there:,} replicates, as sums of {LEAF}; got {n_replicates:,}, whose "
            f"last sum is not whole. Ask for {there:,} or more, for a multiple of {LEAF}, or give another path"
        )
    if options.keeps(n_replicates) and not stored.keeps_rows:
        raise StoreError(
            f"store {stored.store.path} has sums of replicate means alone, since they were many or keep_replicates was "
            "False, and this call asks for the means (by keep_replicates=True, a bootstrap or cross-fitted controls); "
            "leave that out, or give another path"
        )

"""One run from its task to its estimate: what is interrupted or fails gives back what is finished."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from mcgen._lib.arrays import Floats
from mcgen._lib.fingerprints import Given
from mcgen.designs import Antithetic
from mcgen.errors import CoverageWarning, warn_user
from mcgen.generators.base import checked_generator
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.moments import Moments
from mcgen.inference.sequences import SEQUENCES
from mcgen.inference.stopping import Stopping
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.loop import Task
from mcgen.replicates.source import Source
from mcgen.replicates.streams import label_of
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import Tally
from mcgen.results.estimate import Estimate, estimate_to_plain
from mcgen.runs.bookkeeping import begin
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, provenance_of, single_estimate
from mcgen.runs.progress import Progress
from mcgen.statistics.values import checked_callable, component_names
from mcgen.variance_reduction.controls.control_variates import Controls, FittedControls
from mcgen.variance_reduction.controls.correction import ControlledRun


def task_of(generator: Any, statistic: Any, seed: Seed, condition: Any, **parts: Any) -> Task:
    """Return a task of checked arguments, whose design, stream and batches are still to be said.

    What else the user gave, by which a store is to know the run, comes as further arguments; None is nothing.
    """
    things = {"generator": generator, "statistic": statistic} | parts
    return Task(
        generator=checked_generator(generator),
        statistic=checked_callable(statistic),
        given=Given({name: thing for name, thing in things.items() if thing is not None}),
        design=Antithetic(),
        seed=as_seed_sequence(seed),
        stream=(),
        condition=condition,
        batch_size=0,
    )


def run_single(task: Task, options: RunOptions, n_replicates: int | None) -> Estimate:
    """Run one task and make its estimate."""
    return run(task, n_replicates, options, partial(single_estimate, options=options))


def run(
    task: Task, n_replicates: int | None, options: RunOptions, finish: Callable[[Task, Outcome], Estimate]
) -> Estimate:
    """Run one task, for so many replicates or until it is sure enough, and return what `finish` makes of them.

    What is interrupted from the keyboard returns it for the replicates that came; an exception carries it as its
    ``partial``. With fewer than two replicates there is nothing to make.
    """
    under_way, interrupted = _UnderWay(task, n_replicates, options), False
    try:
        with Progress(_label(task), options.progress, under_way.half_width) as bar:
            under_way.go_on(bar)
    except KeyboardInterrupt:
        if under_way.tally.count < 2:
            raise
        interrupted = True
    except Exception as error:
        if under_way.tally.count >= 2:
            # Exceptions with slots have no room for it; they keep what they say.
            with contextlib.suppress(AttributeError):
                error.partial = finish(*under_way.outcome(partial=True))  # type: ignore[attr-defined]
        raise
    made = finish(*under_way.outcome(partial=interrupted))
    told = [text for part in (made, *made.strata) for text in part.warnings if text not in task.warnings]
    for text in dict.fromkeys(told):
        warn_user(text, CoverageWarning)
    return made


class _UnderWay:
    """A run, from its first replicate to the last one wanted."""

    def __init__(self, task: Task, n_replicates: int | None, options: RunOptions) -> None:
        self._task, self._n_replicates, self._options = task, n_replicates, options
        self._stored = options.resources.run_of(task)
        self._planned = n_replicates or 0
        if self._stored is not None:
            begun = begin(self._stored, task, n_replicates, options)
            task.batch_size, self._planned = begun.batch_size, begun.planned
        self._controlled = controlled_run(task, n_replicates, options.controls)
        inner, keep = (task, options.keeps) if self._controlled is None else (self._controlled.task, True)
        self._source = Source(inner, keep, options.resources, self._stored)
        self._rule = options.rule(task.design.n_points)
        self.tally = Tally(options.keeps)
        # What `mcgen status` tells the pace by.
        self._began = time.time()
        covered = [] if self._stored is None else self._stored.covered()
        self._found = sum(map(len, covered))
        from_start = [part for part in covered if part.start == options.first_replicate]
        self._contiguous = len(from_start[0]) if from_start else 0
        if self._rule is not None:
            self._rule.limit_to_groups(task.group, self._contiguous)

    def go_on(self, bar: Progress) -> None:
        """Run what there is still to run."""
        n_points, first = self._task.design.n_points, self._options.first_replicate
        for target in self._targets():
            bar.expect((target if self._rule is None else self._rule.expected) * n_points)
            to_record = True
            for segment in self._source.segments(range(first + self.tally.count, first + target), target):
                self.tally.add(segment if self._controlled is None else self._controlled.rows(segment))
                bar.update(len(segment) * n_points, self.tally)
                if to_record and self.tally.count > 1:
                    to_record = False
                    self.record(target)
        self.record(self.tally.count, done=True)

    def half_width(self, moments: Moments) -> Floats:
        """Return the half-widths to watch: those of the interval that the run is going to have."""
        if self._rule is not None:
            return self._rule.half_widths(moments)
        level, kind = self._options.confidence_level, self._options.interval
        if kind in SEQUENCES:
            return SEQUENCES[kind](float(moments.count), self._planned, level) * moments.standard_error
        return student_t_quantile((1 + level) / 2, moments.count - 1.0) * moments.standard_error

    def outcome(self, partial: bool) -> tuple[Task, Outcome]:
        """Return what there is to make an estimate of."""
        outcome = Outcome(self.tally, partial, self._source.clock)
        if self._controlled is not None:
            assert self._options.controls is not None
            spent = self._options.controls.n_evaluations_beside(self._task.design)
            corrected = self._controlled.corrected(self.tally)
            outcome = replace(outcome, corrected=corrected, control_evaluations=spent)
        task = self._plain_task
        return task, replace(outcome, stopping=self._stopping(task, outcome))

    def _stopping(self, task: Task, outcome: Outcome) -> Stopping | None:
        """Return how the run ended, where its interval has to know."""
        if self._rule is not None:
            return self._rule.outcome(outcome.moments, task.rounding)
        if self._options.interval not in SEQUENCES:
            return None
        told = "ended early" if outcome.partial else "as many as were asked for"
        return Stopping(self._options.interval, None, None, None, None, self._planned, not outcome.partial, told)

    @property
    def _names(self) -> tuple[str, ...]:
        task = self._plain_task
        assert task.components is not None
        return component_names(task.statistic, task.components)

    @property
    def _plain_task(self) -> Task:
        """The task without its controls, with what the run has told of it."""
        return self._task if self._controlled is None else self._controlled.plain_task

    def _targets(self) -> Iterator[int]:
        """Yield numbers of replicates to run to, one after another, until there are enough."""
        if self._n_replicates is not None:
            yield self._n_replicates
            return
        assert self._rule is not None
        key = f"stopping by {self._rule.name}"
        state = None if self._stored is None else self._stored.recall(key)
        asked = f"{self._rule.tolerance!r}, {self._options.confidence_level}, {self._options.simultaneous}"
        if state is not None:
            if state["asked"] != asked and state.get("first_stage", ()) is not None:
                # Other wishes, whose rule looks at what there is; the first stage stays what it was.
                state["target"] = self._rule.capped(min(state["target"], self._contiguous))
            self._rule.restore(state)
        wanted: int | None = self._rule.first_target()
        while wanted is not None:
            if self._stored is not None:
                self._stored.remember(key, self._rule.state() | {"asked": asked})
            yield self._whole(wanted)
            task, outcome = self.outcome(partial=True)
            self._rule.name_components(self._names)
            wanted = self._rule.next_target(outcome.moments, task.rounding)
        if self._stored is not None:
            self._stored.remember(key, self._rule.state() | {"asked": asked})

    def _whole(self, target: int) -> int:
        """Return a target rounded up to whole groups, which the model runs in any case, and to leaves that are stored.

        A part of a leaf of which only the sum is stored can't be had.
        """
        assert self._rule is not None
        group = self._task.group
        target = self._rule.capped(math.ceil(target / group) * group)
        if self._stored is not None and not self._stored.keeps_rows:
            target = max(target, min(math.ceil(target / LEAF) * LEAF, self._found))
        return target

    def record(self, target: int, done: bool = False) -> None:
        """Let the store know what `mcgen status` shows."""
        if self._stored is None:
            return
        task, outcome = self.outcome(partial=not done)
        assert task.components is not None
        provenance = provenance_of(task, outcome, self._options.first_replicate)
        self._stored.remember(
            "about",
            {
                "names": self._names,
                "shape": task.components,
                "controls": 0 if self._controlled is None else self._controlled.n_controls,
                "provenance": estimate_to_plain(provenance),
                "confidence_level": self._options.confidence_level,
                "interval": self._options.interval,
                "simultaneous": self._options.simultaneous,
                "stopping": None if outcome.stopping is None else estimate_to_plain(outcome.stopping),
                "tolerance": None if self._rule is None else str(self._rule.tolerance),
                "first": self._options.first_replicate,
                "target": target,
                "done": done,
                "began": self._began,
                "count": self._found,
            },
        )


def _label(task: Task) -> str:
    """Return what the bar says."""
    label = label_of(task)
    return f"{task.design}" if label is None else f"{task.design}, condition {label}"


def controlled_run(
    task: Task, n_replicates: int | None, controls: Controls | FittedControls | None
) -> ControlledRun | None:
    """Return the task with its controls, or refuse those that are not for it."""
    if controls is None:
        return None
    if isinstance(controls, Controls):
        return ControlledRun(task, controls, n_replicates, None)
    return ControlledRun(task, controls.controls, n_replicates, (controls.coefficients, controls.shape, str(controls)))

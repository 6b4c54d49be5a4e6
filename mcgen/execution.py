"""One run from its task to its estimate: what is interrupted or fails gives back what is finished."""

from __future__ import annotations

import contextlib
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import scipy

from mcgen._version import __version__
from mcgen.controlled import ControlledRun, Corrected
from mcgen.coverage import coverage_warnings
from mcgen.errors import CoverageWarning, warn_user
from mcgen.estimates import Estimate, Provenance, estimate_of, resamples
from mcgen.generators import name_of
from mcgen.intervals import Method, Sampled, SimultaneousMethod
from mcgen.moments import Floats, Moments
from mcgen.progress import Progress
from mcgen.random import as_seed_sequence
from mcgen.reduction import Tally
from mcgen.run import Task
from mcgen.statistics import Statistic
from mcgen.variates import Controls, FittedControls


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for beside its task; the attributes are arguments of `mcgen.estimate`."""

    confidence_level: float
    interval: Method
    simultaneous: bool | SimultaneousMethod
    keep_replicates: bool | None
    progress: bool
    controls: Controls | FittedControls | None = None

    @property
    def keeps(self) -> bool | None:
        """Whether replicate means are kept; None for up to a number of them."""
        return True if self.resamples or isinstance(self.controls, Controls) else self.keep_replicates

    @property
    def resamples(self) -> bool:
        """Whether the interval is made from the replicate means themselves."""
        return resamples(self.interval, self.simultaneous)


class Clock:
    """How long a run takes, and an evaluation: from its groups but the first, in which models warm up."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.seconds = 0.0
        self._first: float | None = None
        # Of the groups after the first: their count, mean and sum of squared deviations.
        self._count, self._mean, self._m2 = 0, 0.0, 0.0

    def tick(self, n_evaluations: int) -> None:
        """Take note of a finished group."""
        now = time.perf_counter()
        each, self._last = (now - self._last) / n_evaluations, now
        self.seconds = now - self._start
        if self._first is None:
            self._first = each
            return
        step = each - self._mean
        self._count += 1
        self._mean += step / self._count
        self._m2 += step * (each - self._mean)

    def seconds_per_evaluation(self) -> tuple[float, float]:
        """Return seconds an evaluation and their relative standard error, 0 where there are too few groups."""
        if self._count == 0:
            return self._first or 0.0, 0.0
        if self._count == 1:
            return self._mean, 0.0
        return self._mean, math.sqrt(self._m2 / (self._count - 1) / self._count) / self._mean


@dataclass(frozen=True)
class Outcome:
    """What a run gave: its replicates (two or more), whether it ended before its time, how long it took.

    With control variates also what they made of the replicates, and what they cost before the run.
    """

    tally: Tally
    partial: bool
    clock: Clock
    corrected: Corrected | None = None
    control_evaluations: int = 0

    @property
    def moments(self) -> Moments:
        """The moments of the replicates, corrected where there are controls."""
        moments = self.tally.moments() if self.corrected is None else self.corrected.moments()
        assert moments is not None
        return moments

    @property
    def kept(self) -> tuple[Floats, Floats] | None:
        """The replicate means and the mean squared deviations within, where they are kept."""
        return self.tally.kept() if self.corrected is None else self.corrected.kept()


def run_single(task: Task, n_replicates: int, options: RunOptions) -> Estimate:
    """Run one task and make its estimate."""
    return run(task, n_replicates, options, partial(single_estimate, options=options))


def run(task: Task, n_replicates: int, options: RunOptions, finish: Callable[[Task, Outcome], Estimate]) -> Estimate:
    """Run one task and return what `finish` makes of its replicates.

    What is interrupted from the keyboard returns it for the replicates that came; an exception carries it as its
    ``partial``. With fewer than two replicates there is nothing to make.
    """
    tally, controlled = Tally(options.keeps), controlled_run(task, n_replicates, options.controls)
    label = f"{task.design}" if task.condition is None else f"{task.design}, condition {condition_text(task.condition)}"
    bar = Progress(n_replicates * task.design.n_points, label, options.progress, options.confidence_level)
    clock, interrupted = Clock(), False

    def made_of(partial: bool) -> Estimate:
        if controlled is None:
            return finish(task, Outcome(tally, partial, clock))
        assert options.controls is not None
        spent = options.controls.n_evaluations_beside(task.design)
        return finish(controlled.plain_task, Outcome(tally, partial, clock, controlled.corrected(tally), spent))

    try:
        with bar:
            for rows in (task if controlled is None else controlled.task).evaluate(range(n_replicates)):
                tally.add(rows if controlled is None else controlled.rows(rows))
                clock.tick(len(rows) * task.design.n_points)
                bar.update(len(rows) * task.design.n_points, tally)
    except KeyboardInterrupt:
        if tally.count < 2:
            raise
        interrupted = True
    except Exception as error:
        if tally.count >= 2:
            # Exceptions with slots have no room for it; they keep what they say.
            with contextlib.suppress(AttributeError):
                error.partial = made_of(True)  # type: ignore[attr-defined]
        raise
    made = made_of(interrupted)
    told = [text for part in (made, *made.strata) for text in part.warnings if text not in task.warnings]
    for text in dict.fromkeys(told):
        warn_user(text, CoverageWarning)
    return made


def controlled_run(task: Task, n_replicates: int, controls: Controls | FittedControls | None) -> ControlledRun | None:
    """Return the task with its controls, or refuse those that are not for it."""
    if controls is None:
        return None
    if isinstance(controls, Controls):
        return ControlledRun(task, controls, n_replicates, None)
    return ControlledRun(task, controls.controls, n_replicates, (controls.coefficients, controls.shape, str(controls)))


def single_estimate(task: Task, outcome: Outcome, options: RunOptions) -> Estimate:
    """Return the estimate of the replicates that came."""
    assert task.components is not None
    names = component_names(task.statistic, task.components)
    provenance = provenance_of(task, outcome)
    return with_options(
        moments_estimate(task, outcome, slice(None), task.components, names, provenance, options), options
    )


def moments_estimate(
    task: Task,
    outcome: Outcome,
    columns: slice,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    provenance: Provenance,
    options: RunOptions,
) -> Estimate:
    """Return the estimate of some columns of a run's components, without its interval yet."""
    moments, kept, corrected = outcome.moments.select(columns), outcome.kept, outcome.corrected
    method = None if options.simultaneous else options.interval
    sampled = Sampled.of(moments, None if kept is None else kept[0][:, columns], provenance.seed)
    notes: tuple[str, ...] = ()
    if corrected is not None:
        sampled = replace(sampled, degrees_of_freedom=sampled.degrees_of_freedom - corrected.rank)
        notes = corrected.warnings
    return estimate_of(
        sampled,
        provenance,
        shape,
        names,
        moments=moments,
        within=None if kept is None else kept[1][:, columns],
        warnings=(*task.warnings, *notes, *coverage_warnings(moments, names, task.rounding, method)),
    )


def with_options(made: Estimate, options: RunOptions) -> Estimate:
    """Return the estimate with the interval that was asked for.

    An estimate that was cut short, or whose replicates are too few for that interval, keeps its numbers: it gets one
    that does not resample, or goes with the error as its ``partial``.
    """
    if made.partial:
        return made.with_interval(
            confidence_level=options.confidence_level,
            interval="student-t" if options.resamples else options.interval,
            simultaneous="bonferroni" if options.simultaneous else False,
        )
    try:
        return made.with_interval(
            confidence_level=options.confidence_level, interval=options.interval, simultaneous=options.simultaneous
        )
    except ValueError as error:
        error.partial = made.with_interval(confidence_level=options.confidence_level)  # type: ignore[attr-defined]
        raise


def component_names(statistic: Statistic, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of a statistic's components: its own, or its name with their indices."""
    inner = getattr(statistic, "statistic", statistic)
    given = getattr(inner, "names", None)
    if given is not None and len(given) == math.prod(shape):
        return tuple(map(str, given))
    name = name_of(statistic)
    if shape == ():
        return (name,)
    return tuple(f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape))


def condition_text(condition: Any) -> str:
    """Return a short text for a condition."""
    text = repr(condition)
    if len(text) <= 60 and "\n" not in text:
        return text
    shape = getattr(condition, "shape", None)
    return f"{type(condition).__name__} of shape {tuple(shape)}" if shape is not None else f"{text[:57]}..."


def provenance_of(task: Task, outcome: Outcome) -> Provenance:
    """Return what was done in a run."""
    torch = sys.modules.get("torch")
    versions = {
        "mcgen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    n_replicates = outcome.tally.count
    seconds, timing_error = outcome.clock.seconds_per_evaluation()
    return Provenance(
        generator=name_of(task.generator),
        statistic=name_of(task.statistic),
        noise=str(task.generator.noise),
        dimension=task.generator.noise.dimension,
        design=str(task.design),
        n_points=task.design.n_points,
        n_replicates=n_replicates,
        n_evaluations=n_replicates * task.design.n_points,
        seed=as_seed_sequence(task.seed),
        condition=None if task.condition is None else condition_text(task.condition),
        batch_size=task.batch_size,
        pilot_evaluations=int(getattr(task.design, "n_pilot_evaluations", 0)) + outcome.control_evaluations,
        partial=outcome.partial,
        rounding=task.rounding,
        seconds=outcome.clock.seconds,
        seconds_per_evaluation=seconds,
        timing_error=timing_error,
        controls=None if outcome.corrected is None else outcome.corrected.text,
        versions=versions | ({"torch": torch.__version__} if torch is not None else {}),
    )

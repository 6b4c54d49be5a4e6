"""What a run is asked for, what it gave, and the estimate that is made of it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, replace

import numpy as np
import scipy

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen._version import __version__
from mcgen.inference.coverage import coverage_warnings
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.moments import Moments
from mcgen.inference.stopping import Stopping
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.clock import Clock
from mcgen.replicates.loop import Task
from mcgen.replicates.streams import label_of
from mcgen.replicates.tally import Tally
from mcgen.results.estimate import Estimate, estimate_of
from mcgen.results.from_moments import with_options
from mcgen.results.provenance import Provenance
from mcgen.runs.options import RunOptions
from mcgen.statistics.values import component_names
from mcgen.variance_reduction.controls.correction import Corrected


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
    stopping: Stopping | None = None

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


def single_estimate(task: Task, outcome: Outcome, options: RunOptions) -> Estimate:
    """Return the estimate of the replicates that came."""
    assert task.components is not None
    names = component_names(task.statistic, task.components)
    provenance = provenance_of(task, outcome, options.first_replicate)
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
    sampled = IntervalInput.of(moments, None if kept is None else kept[0][:, columns], provenance.seed)
    stopping = None if outcome.stopping is None else outcome.stopping.select(columns)
    if stopping is not None:
        sampled = replace(sampled, first_stage=stopping.first_stage, planned=stopping.planned)
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
        stopping=stopping,
        warnings=(*task.warnings, *notes, *coverage_warnings(moments, names, task.rounding, method)),
    )


def provenance_of(task: Task, outcome: Outcome, first_replicate: int) -> Provenance:
    """Return what was done in a run from some replicate on."""
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
        condition=label_of(task),
        batch_size=task.batch_size,
        first_replicate=first_replicate,
        pilot_evaluations=int(getattr(task.design, "n_pilot_evaluations", 0)) + outcome.control_evaluations,
        partial=outcome.partial,
        rounding=task.rounding,
        seconds=outcome.clock.seconds,
        seconds_per_evaluation=seconds,
        timing_error=timing_error,
        controls=None if outcome.corrected is None else outcome.corrected.text,
        versions=versions | ({"torch": torch.__version__} if torch is not None else {}),
    )

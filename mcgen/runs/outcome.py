"""The outcome of a run, and the estimate that is made of it."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import dataclass

import numpy as np
import scipy

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen._version import __version__
from mcgen.designs._base import net_dimension
from mcgen.generators.joint import pilot_evaluations_of
from mcgen.inference.interval_input import bounds_of
from mcgen.inference.moments import Moments
from mcgen.inference.stopping import Stopping
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.clock import Clock
from mcgen.replicates.streams import label_of
from mcgen.replicates.tally import Tally
from mcgen.replicates.task import Facts, Task
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_moments
from mcgen.results.provenance import Provenance
from mcgen.runs.corrections import Corrected
from mcgen.runs.options import RunOptions
from mcgen.statistics.values import component_names


@dataclass(frozen=True)
class Outcome:
    """The replicates of a run, and what was found out on the way.

    Attributes
    ----------
    tally : Tally
        Its replicates, two or more.
    facts : Facts
        What it found out about its task.
    partial : bool
        Whether it ended before its time.
    clock : Clock
        How long it took.
    corrected : Corrected or None
        The replicates after control variates.
    control_evaluations : int
        What the control variates cost before the run.
    stopping : Stopping or None
        How it ended, where its interval has to know.
    receding : str or None
        The warning that its relative tolerance recedes, where it was given and the tolerance is not reached.
    """

    tally: Tally
    facts: Facts
    partial: bool
    clock: Clock
    corrected: Corrected | None = None
    control_evaluations: int = 0
    stopping: Stopping | None = None
    receding: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the components of the user's statistic."""
        own = None if self.corrected is None else self.facts.own_shape
        return self.facts.components if own is None else own

    @property
    def bounds(self) -> Floats:
        """Least and largest value of each component, shape (2, k); infinite where none is declared."""
        facts = self.facts
        return bounds_of(math.prod(facts.components), facts.bounds, facts.boolean)

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

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings that concern the whole run."""
        receding = () if self.receding is None else (self.receding,)
        return (*self.facts.warnings, *(() if self.corrected is None else self.corrected.warnings), *receding)


def single_estimate(task: Task, outcome: Outcome, options: RunOptions) -> Estimate:
    """Return the estimate of all components of a run."""
    names = component_names(task.statistic, outcome.shape)
    provenance = provenance_of(task, outcome, options.first_replicate)
    return estimate_of_columns(outcome, slice(None), outcome.shape, names, provenance, options)


def estimate_of_columns(
    outcome: Outcome,
    columns: slice,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    provenance: Provenance,
    options: RunOptions,
) -> Estimate:
    """Return the estimate of some columns of a run's components."""
    kept, corrected = outcome.kept, outcome.corrected
    return estimate_from_moments(
        outcome.moments.select(columns),
        None if kept is None else (kept[0][:, columns], kept[1][:, columns]),
        provenance,
        shape,
        names,
        options.interval,
        stopping=None if outcome.stopping is None else outcome.stopping.select(columns),
        boolean=outcome.facts.boolean[columns] if corrected is None else (),
        bounds=outcome.facts.bounds[columns] if corrected is None else (),
        rank=0 if corrected is None else corrected.rank,
        warnings=outcome.warnings,
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
        net=net_dimension(task.design, task.generator.noise),
        pilot_evaluations=_pilot_evaluations(task) + outcome.control_evaluations,
        partial=outcome.partial,
        rounding=outcome.facts.rounding,
        seconds=outcome.clock.seconds,
        seconds_per_evaluation=seconds,
        timing_error=timing_error,
        controls=None if outcome.corrected is None else outcome.corrected.text,
        model=task.model,
        models_noise=task.models_noise,
        versions=versions | ({"torch": torch.__version__} if torch is not None else {}),
    )


def _pilot_evaluations(task: Task) -> int:
    """Return what was spent before the run on the design and on the generator."""
    spent = int(getattr(task.design, "n_pilot_evaluations", 0))
    return spent + math.ceil(pilot_evaluations_of(task.generator) - 1e-9)

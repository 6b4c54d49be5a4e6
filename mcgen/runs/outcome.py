"""The outcome of a run, and the estimate that is made of it."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen._version import __version__
from mcgen.designs._base import net_dimension
from mcgen.functionals import Functional
from mcgen.functionals.base import Evaluated
from mcgen.functionals.joint import Each, OnSameNoise
from mcgen.generators.joint import pilot_evaluations_of
from mcgen.inference.interval_input import bounds_of
from mcgen.inference.moments import Moments
from mcgen.inference.stopping import Stopping
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.clock import Clock
from mcgen.replicates.gathering import Samples
from mcgen.replicates.streams import label_of
from mcgen.replicates.tally import ColumnsOfTally, Tally
from mcgen.replicates.task import Facts, Task
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_functional, estimate_from_moments
from mcgen.results.provenance import Provenance
from mcgen.runs.corrections import Corrected
from mcgen.runs.options import RunOptions
from mcgen.statistics import Statistic
from mcgen.statistics.values import component_names


@dataclass(frozen=True)
class Outcome:
    """The replicates of a run, and what was found out on the way.

    Attributes
    ----------
    tally : Tally or ColumnsOfTally
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
    evaluated : Evaluated or None
        The functional at these replicates, where one is estimated.
    """

    tally: Tally | ColumnsOfTally
    facts: Facts
    partial: bool
    clock: Clock
    corrected: Corrected | None = None
    control_evaluations: int = 0
    stopping: Stopping | None = None
    receding: str | None = None
    evaluated: Evaluated | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the components of the user's statistic, or of the functional."""
        if self.evaluated is not None:
            return self.evaluated.shape
        own = None if self.corrected is None else self.facts.own_shape
        return self.facts.components if own is None else own

    @property
    def bounds(self) -> Floats:
        """Least and largest value of each component, shape (2, k); infinite where none is declared."""
        facts = self.facts
        return bounds_of(math.prod(facts.components), facts.bounds, facts.boolean)

    @property
    def moments(self) -> Moments:
        """The moments of the replicates, corrected where there are controls; those of a functional's pseudo-values."""
        if self.evaluated is not None:
            return self.evaluated.moments
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
        own = self.corrected or self.evaluated
        return (*self.facts.warnings, *(() if own is None else own.warnings), *receding)

    @property
    def samples(self) -> NDArray[Any] | None:
        """The samples, shape (R, points, ...), where they were gathered."""
        rows = self.tally.rows()
        return None if rows is None else rows.gathered.get(Samples.name)


def single_estimate(task: Task, outcome: Outcome, options: RunOptions) -> Estimate:
    """Return the estimate of all components of a run."""
    provenance = provenance_of(task, outcome, options.first_replicate)
    if outcome.evaluated is not None:
        return functional_estimate(outcome, outcome.evaluated, task, provenance, options)
    names = component_names(task.statistic, outcome.shape)
    return estimate_of_columns(outcome, slice(None), outcome.shape, names, provenance, options)


def functional_estimate(
    outcome: Outcome,
    evaluated: Evaluated,
    task: Task,
    provenance: Provenance,
    options: RunOptions,
    columns: slice = slice(None),
) -> Estimate:
    """Return the estimate of a functional that is all, or some columns, of what a run evaluated."""
    functional, whole = options.functional, evaluated is outcome.evaluated
    if isinstance(functional, OnSameNoise) and not whole:
        functional = functional.functional
    assert functional is not None
    made = estimate_from_functional(
        evaluated,
        replace(provenance, functional=functional.label, **functional.identity()),
        functional_names(functional, task.statistic, outcome.facts.components, evaluated.shape),
        options.interval,
        stopping=None if outcome.stopping is None else outcome.stopping.select(columns),
        warnings=outcome.warnings,
    )
    return replace(made, samples=outcome.samples)


def functional_names(
    functional: Functional, statistic: Statistic, components: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[str, ...]:
    """Return the names of a functional's components, from those of the statistic that is run."""
    while isinstance(statistic, Each):
        statistic, components = statistic.own, components[1:]
    return functional.component_names(component_names(statistic, components), shape)


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
    made = estimate_from_moments(
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
    return replace(made, samples=outcome.samples)


def provenance_of(task: Task, outcome: Outcome, first_replicate: int) -> Provenance:
    """Return what was done in a run from some replicate on."""
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
        versions=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of Python and the libraries that a result was made with."""
    torch = sys.modules.get("torch")
    versions = {
        "mcgen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    return versions | ({"torch": torch.__version__} if torch is not None else {})


def _pilot_evaluations(task: Task) -> int:
    """Return what was spent before the run on the design and on the generator."""
    spent = int(getattr(task.design, "n_pilot_evaluations", 0))
    return spent + math.ceil(pilot_evaluations_of(task.generator) - 1e-9)

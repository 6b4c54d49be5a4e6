"""One run from its task to its estimate: what is interrupted or fails gives back what is finished."""

from __future__ import annotations

import contextlib
import math
import platform
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from mcgen._version import __version__
from mcgen.coverage import coverage_warnings
from mcgen.errors import CoverageWarning
from mcgen.estimates import Estimate, Provenance, estimate_of
from mcgen.generators import name_of
from mcgen.intervals import Method, Sampled, SimultaneousMethod
from mcgen.progress import Progress
from mcgen.random import as_seed_sequence
from mcgen.reduction import Tally
from mcgen.run import Task
from mcgen.statistics import Statistic


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for beside its task; the attributes are arguments of `mcgen.estimate`."""

    confidence_level: float
    interval: Method
    simultaneous: bool | SimultaneousMethod
    keep_replicates: bool | None
    progress: bool

    @property
    def resamples(self) -> bool:
        """Whether the interval is made from the replicate means themselves."""
        return self.interval == "bootstrap-t" or self.simultaneous in ("bootstrap-max-t", "gaussian-multiplier")


def run_single(task: Task, n_replicates: int, options: RunOptions) -> Estimate:
    """Run one task and make its estimate."""
    keep = True if options.resamples else options.keep_replicates
    tally, partial = Tally(n_replicates, keep), False
    label = f"{task.design}" if task.condition is None else f"{task.design}, condition {condition_text(task.condition)}"
    total = n_replicates * task.design.n_points
    bar = Progress(total, label, options.progress, options.confidence_level)
    start = time.perf_counter()
    try:
        with bar:
            for rows in task.evaluate(range(n_replicates)):
                tally.add(rows)
                bar.update(len(rows) * task.design.n_points, tally)
    except KeyboardInterrupt:
        if tally.count < 2:
            raise
        partial = True
    except Exception as error:
        # Exceptions with slots have no room for it; they keep what they say.
        with contextlib.suppress(AttributeError):
            error.partial = _finished(task, tally, options, True, start)  # type: ignore[attr-defined]
        raise
    made = _finished(task, tally, options, partial, start)
    assert made is not None  # two replicates at least, by the checks above
    for text in made.warnings[len(task.warnings) :]:
        warnings.warn(text, CoverageWarning, stacklevel=3)
    return made


def with_options(made: Estimate, options: RunOptions) -> Estimate:
    """Return the estimate with the interval that was asked for.

    An estimate that was cut short, or whose replicates are too few for that interval, keeps its numbers: it gets
    Student's t, or goes with the error as its ``partial``.
    """
    if made.partial:
        return made.with_interval(
            confidence_level=options.confidence_level, simultaneous="sidak" if options.simultaneous else False
        )
    try:
        return made.with_interval(
            confidence_level=options.confidence_level, interval=options.interval, simultaneous=options.simultaneous
        )
    except ValueError as error:
        error.partial = made.with_interval(confidence_level=options.confidence_level)  # type: ignore[attr-defined]
        raise


def _finished(task: Task, tally: Tally, options: RunOptions, partial: bool, start: float) -> Estimate | None:
    """Return the estimate of the replicates that came, None where they are fewer than two."""
    moments, kept = tally.moments(), tally.kept()
    if moments is None or moments.count < 2 or task.components is None:
        return None
    provenance = _provenance(task, moments.count, partial, time.perf_counter() - start)
    sampled = Sampled(
        moments.mean,
        moments.standard_error,
        np.full(len(moments.mean), moments.count - 1.0),
        None if kept is None else kept[0],
        provenance.seed,
    )
    names = component_names(task.statistic, task.components)
    notes = (*task.warnings, *coverage_warnings(moments, names, options.interval))
    within = None if kept is None else kept[1]
    made = estimate_of(sampled, provenance, task.components, names, moments=moments, within=within, warnings=notes)
    return with_options(made, options)


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


def _provenance(task: Task, n_replicates: int, partial: bool, seconds: float) -> Provenance:
    torch = sys.modules.get("torch")
    versions = {
        "mcgen": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
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
        partial=partial,
        seconds=seconds,
        versions=versions | ({"torch": torch.__version__} if torch is not None else {}),
    )

"""Several conditions (classes, prompts, measurements): an estimate for each, and their weighted average.

On independent random numbers the average's variance is the weighted sum of the conditions', with degrees of freedom
by Welch-Satterthwaite; under common random numbers the average is taken replicate by replicate, and is an estimate like
any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcgen.arrays import as_numpy
from mcgen.efficiency import welch_satterthwaite
from mcgen.estimates import Estimate, Provenance, estimate_of
from mcgen.execution import RunOptions, component_names, condition_text, run_single, with_options
from mcgen.generators import Generator, name_of
from mcgen.intervals import Sampled
from mcgen.moments import Floats
from mcgen.noise import Noise, NoiseSpec
from mcgen.run import Task
from mcgen.statistics import Statistic


def stream_of(condition: Any, number: int) -> tuple[str | int, ...]:
    """Return what sets a condition's random numbers apart: a class or a prompt is itself, all else its number."""
    if condition is None:
        return ()
    return ("condition", repr(condition) if isinstance(condition, int | str) else f"number {number}")


def stratified_average(task: Task, n_replicates: int, options: RunOptions, weights: Floats) -> Estimate:
    """Estimate each condition on its own random numbers, and their weighted average.

    Variances add; degrees of freedom by Welch-Satterthwaite. If interrupted, the average is over what was finished.
    """
    if options.resamples:
        raise ValueError(
            "the average over independent conditions has no replicate means to resample; use interval='student-t', "
            "simultaneous='sidak', or common_random_numbers=True"
        )
    strata: list[Estimate] = []
    try:
        for number, condition in enumerate(task.condition):
            part = replace(task, stream=stream_of(condition, number), condition=condition, warnings=[])
            strata.append(run_single(part, n_replicates, options))
            if strata[-1].partial:
                break
    except KeyboardInterrupt:
        if not strata:
            raise
    except Exception as error:
        last: Estimate | None = getattr(error, "partial", None)
        strata += [] if last is None else [last]
        if strata:
            error.partial = _average(strata, task, options, weights)  # type: ignore[attr-defined]
        raise
    return _average(strata, task, options, weights)


def _average(strata: list[Estimate], task: Task, options: RunOptions, weights: Floats) -> Estimate:
    """Return the weighted average of the conditions that are there."""
    weights = weights[: len(strata)]
    first = strata[0]
    share = weights / weights.sum() if len(strata) < len(task.condition) else weights
    means = np.stack([np.ravel(part.mean) for part in strata])
    variances = np.stack([(w * np.ravel(part.standard_error)) ** 2 for w, part in zip(share, strata, strict=True)])
    df = np.stack([np.ravel(part.degrees_of_freedom) for part in strata])
    notes = tuple(dict.fromkeys(text for part in strata for text in part.warnings))
    if len(strata) < len(task.condition):
        notes += (f"interrupted: the average is over the first {len(strata)} of {len(task.condition)} conditions only",)
    provenance = replace(
        first.provenance,
        condition=", ".join(str(part.provenance.condition) for part in strata),
        partial=len(strata) < len(task.condition) or strata[-1].partial,
        seconds=sum(part.provenance.seconds for part in strata),
    )
    sampled = Sampled(
        share @ means,
        np.sqrt(variances.sum(axis=0)),
        welch_satterthwaite(variances, df),
        None,
        provenance.seed,
    )
    made = estimate_of(sampled, provenance, first.shape, first.names, strata=tuple(strata), warnings=notes)
    return with_options(made, options)


def common_noise_average(task: Task, n_replicates: int, options: RunOptions, weights: Floats) -> Estimate:
    """Estimate all conditions on the same noise: each and their average are components of one run."""
    conditions, n = task.condition, len(task.condition)
    joint = replace(
        task,
        generator=_EachCondition(task.generator),
        statistic=_EachAndAverage(task.statistic, weights),
    )
    # Intervals are made for each condition, not across them.
    whole = run_single(joint, n_replicates, replace(options, interval="student-t", simultaneous=False))
    shape = whole.shape[1:]
    names = component_names(task.statistic, shape)
    parts = []
    for number in range(n + 1):
        text = condition_text(conditions[number]) if number < n else ", ".join(map(condition_text, conditions))
        provenance = replace(
            whole.provenance,
            generator=name_of(task.generator),
            statistic=name_of(task.statistic),
            condition=text,
            common_random_numbers=True,
        )
        part = _components(whole, number, shape, names, provenance)
        parts.append(with_options(part, options))
    return replace(parts[-1], strata=tuple(parts[:-1]))


def _components(
    whole: Estimate, number: int, shape: tuple[int, ...], names: tuple[str, ...], provenance: Provenance
) -> Estimate:
    """Return the estimate of one condition, or of the average, out of a run of all."""
    assert whole.moments is not None
    k = math.prod(shape)
    columns = slice(number * k, (number + 1) * k)
    moments = whole.moments.select(columns)
    means = None if whole.replicate_means is None else whole.replicate_means[:, columns]
    within = None if whole.within is None else whole.within[:, columns]
    df = np.full(k, moments.count - 1.0)
    sampled = Sampled(moments.mean, moments.standard_error, df, means, provenance.seed)
    return estimate_of(sampled, provenance, shape, names, moments=moments, within=within, warnings=whole.warnings)


@dataclass(frozen=True)
class _EachCondition:
    """A generator under a list of conditions: a tuple of samples, one for each, from the same noise."""

    generator: Generator

    @property
    def noise(self) -> NoiseSpec:
        return self.generator.noise

    @property
    def name(self) -> str:
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, ...]:
        return tuple(self.generator(noise, one) for one in condition)


@dataclass(frozen=True, eq=False)
class _EachAndAverage:
    """A statistic of the samples under each condition, and its weighted average, shape (n, conditions + 1, ...)."""

    statistic: Statistic
    weights: Floats

    @property
    def name(self) -> str:
        return name_of(self.statistic)

    def __call__(self, samples: tuple[Any, ...]) -> Floats:
        values = np.stack([as_numpy(self.statistic(part)).astype(np.float64) for part in samples], axis=1)
        average = np.einsum("c,nc...->n...", self.weights, values)
        return np.concatenate([values, average[:, None]], axis=1)

"""What a run estimates and by which design, as frozen values; and what a run finds out about its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, rounding_of
from mcgen._lib.batches import group_of
from mcgen._lib.fingerprints import Changes, Given
from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.errors import GeneratorWarning, RunError, warn_user
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.gathering import Gatherer
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, with_condition


@dataclass(frozen=True)
class Estimand:
    """E[statistic(generator(noise, condition))], and the random numbers that it is estimated with.

    Attributes
    ----------
    generator : Generator
        The model.
    statistic : callable
        From n samples to values of shape (n, ...).
    seed : int or SeedSequence
        The seed of all random numbers.
    stream : tuple of str and int
        The path of these random numbers under the seed; other paths give independent ones.
    condition : object
        Passed to the generator.
    label : str or None
        The condition's name in results, where it has one.
    given : Given
        The generator and the statistic that the user gave; the estimand's own may be made of them.
    model : str or None
        Name in results of one of two models on independent noise, of which the difference is taken.
    models_noise : str or None
        Which noise the two models of a difference share, in words.
    bound : callable or None
        The user's statistic under the condition, of which the estimand's own may be made; None where it is the given.
    """

    generator: Generator
    statistic: Statistic
    seed: Seed
    stream: tuple[str | int, ...] = ()
    condition: Any = None
    label: str | None = field(default=None, kw_only=True)
    given: Given = field(default_factory=Given, kw_only=True)
    model: str | None = field(default=None, kw_only=True)
    models_noise: str | None = field(default=None, kw_only=True)
    bound: Statistic | None = field(default=None, kw_only=True)

    def task(self, design: Design, batch_size: int) -> Task:
        """Return the task of estimating this by a design, with at most `batch_size` rows in a batch."""
        own = {one.name: getattr(self, one.name) for one in fields(Estimand)}
        return Task(**own, design=design, batch_size=batch_size)


@dataclass(frozen=True)
class Task(Estimand):
    """All that determines the replicate means of a run.

    Attributes
    ----------
    design : Design
        How the noise is drawn.
    batch_size : int
        The most rows that the model sees at a time.
    gatherers : tuple of Gatherer
        What is gathered of each sample beside the means of its values.
    """

    design: Design = field(kw_only=True)
    batch_size: int = field(kw_only=True)
    gatherers: tuple[Gatherer, ...] = field(default=(), kw_only=True)

    @property
    def group(self) -> int:
        """The number of replicates that share a batch."""
        return group_of(self.batch_size, self.design.n_points)


def estimand_of(
    generator: Any, statistic: Any, seed: Seed, condition: Any, given: Mapping[str, Any] | None = None
) -> Estimand:
    """Return an estimand of checked arguments.

    Parameters
    ----------
    generator, statistic, seed, condition
        As for `mcgen.estimate`.
    given : mapping, optional
        What else the user gave, by which a store has to know the run, also in place of the generator or the statistic;
        None is left out.

    Raises
    ------
    TypeError, ValueError
        If the generator or the statistic is not one, or the statistic takes a condition and there is none.
    """
    things = {"generator": generator, "statistic": statistic, **(given or {})}
    found, checked = checked_generator(generator), checked_callable(statistic)
    # A statistic that takes a condition is refused without one before a store is opened.
    for one in condition if isinstance(condition, list) else [condition]:
        with_condition(checked, one)
    return Estimand(
        generator=found,
        statistic=checked,
        seed=as_seed_sequence(seed),
        condition=condition,
        given=Given({name: thing for name, thing in things.items() if thing is not None}),
    )


@dataclass(frozen=True)
class Facts:
    """What a run has found out about its task.

    Attributes
    ----------
    components : tuple of int
        Trailing shape of the statistic's values.
    rounding : float
        Relative rounding error of the samples' type.
    warnings : tuple of str
        Warnings of the first batch.
    own_shape : tuple of int or None
        Trailing shape of the user's statistic, where the values of control variates stand beside its own.
    shapes : tuple of tuple of tuple of int, or None
        The shapes of the components and of the values of each of several statistics that run together.
    changes : dict
        Parts of the generator and the statistic that were seen to change by running, such as counters and caches.
    boolean : tuple of bool
        Which components of the statistic are boolean; empty where none is.
    bounds : tuple of tuple of two float
        Least and largest value of each component, infinite where none is declared; empty where none are.
    """

    components: tuple[int, ...]
    rounding: float
    warnings: tuple[str, ...]
    own_shape: tuple[int, ...] | None = None
    changes: Changes = field(default_factory=dict)
    boolean: tuple[bool, ...] = ()
    bounds: tuple[tuple[float, float], ...] = ()
    shapes: tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]] | None = None


class Findings:
    """Collects the facts of one run, from its own batches, from a store and from other processes.

    Parameters
    ----------
    task : Task
        The run's task.
    components : tuple of int, optional
        Trailing shape of the statistic's values, where another process has seen them.
    tried : bool
        Whether the first batch was tried already, by another part of the same run.

    Attributes
    ----------
    components : tuple of int or None
        Trailing shape of the statistic's values; None before the first batch.
    rounding : float
        Relative rounding error of the samples' type.
    warnings : list of str
        Warnings of the first batch.
    tried : bool
        Whether the first batch was tried.
    """

    def __init__(self, task: Task, components: tuple[int, ...] | None = None, tried: bool = False) -> None:
        self._task = task
        self._own_shape: tuple[int, ...] | None = None
        self._shapes: Any = None
        self.components, self.tried = components, tried
        self.rounding = 0.0
        self.warnings: list[str] = []
        self._boolean: tuple[bool, ...] = ()
        self._bounds: tuple[tuple[float, float], ...] = ()

    @property
    def facts(self) -> Facts:
        """All that was found; there must have been a batch."""
        assert self.components is not None
        changes = dict(self._task.given.changes)
        return Facts(
            self.components,
            self.rounding,
            tuple(self.warnings),
            self._own_shape,
            changes,
            self._boolean,
            self._bounds,
            self._shapes,
        )

    def note_boolean(self, components: NDArray[np.bool_]) -> None:
        """Take note of which components of the statistic are boolean."""
        self._boolean = tuple(components.tolist()) if components.any() else ()

    def note_bounds(self, bounds: Floats) -> None:
        """Take note of the least and the largest value of each component, shape (2, k), infinite where not declared."""
        self._bounds = tuple(zip(*bounds.tolist(), strict=True)) if np.isfinite(bounds).any() else ()

    def note_batch(self, samples: Any, values: Floats) -> None:
        """Take note of a batch that has passed all checks."""
        self.components = values.shape[1:]
        self.rounding = max(self.rounding, rounding_of(samples))
        self._own_shape = getattr(self._task.statistic, "own_shape", None)
        self._shapes = getattr(self._task.statistic, "shapes_together", None)
        self.tried = True

    def warn_of(self, problem: str | None) -> None:
        """Warn of a problem of the generator, once."""
        if problem is not None and problem not in self.warnings:
            self.warnings.append(problem)
            warn_user(problem, GeneratorWarning)

    def learn(self, facts: Facts, warns: bool) -> None:
        """Add the facts that a store has, or that another process found.

        Parameters
        ----------
        facts : Facts
            The other's facts.
        warns : bool
            Whether to repeat its warnings here, where the user sees them.

        Raises
        ------
        RunError
            If the components differ from those that are known.
        """
        if self.components not in (None, facts.components):
            raise RunError(
                f"statistic {name_of(self._task.statistic)!r} returned components of shape {facts.components}, where "
                f"{self.components} as before are needed; every sample must give the same number of values"
            )
        self.components, self.rounding = facts.components, max(self.rounding, facts.rounding)
        self._own_shape = facts.own_shape if self._own_shape is None else self._own_shape
        if facts.shapes is not None and self._shapes is None:
            self._shapes = facts.shapes
            self._task.statistic.learn(facts.shapes)  # type: ignore[attr-defined]
        self._boolean, self._bounds = self._boolean or facts.boolean, self._bounds or facts.bounds
        new = [text for text in facts.warnings if text not in self.warnings]
        self.warnings += new
        self._task.given.note(facts.changes)
        for text in new if warns else ():
            warn_user(text, GeneratorWarning)

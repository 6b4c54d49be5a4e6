"""From noise to replicate means: the one loop of the package, for every design.

Replicates meet the model in groups of max(1, batch_size // n_points), counted from replicate 0. A range that starts or
ends inside a group runs the whole group and drops the rest, so that a replicate always sees the same rows beside it, in
a batch of the same size: matrix products give other last bits for other batches. Replicates larger than a batch
are cut into slices of their points.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mcgen.arrays import as_numpy
from mcgen.designs import Design
from mcgen.errors import GeneratorWarning
from mcgen.generators import Generator, name_of
from mcgen.laws import (
    Batch,
    repeatability_problem,
    require_finite,
    require_input_kept,
    require_samples,
    require_values,
)
from mcgen.moments import Floats, ReplicateMeans
from mcgen.noise import Array, Noise, change_noise
from mcgen.random import Seed
from mcgen.reduction import LEAF, Reduction
from mcgen.statistics import Statistic

# Noise of small replicates is drawn for several groups at once, up to this many numbers (8 MB in float32).
_NOISE_VALUES = 2**21


@dataclass
class Task:
    """All that determines the replicate means of a run, and what its first batch told.

    Attributes
    ----------
    components : tuple of int or None
        Trailing shape of the statistic's values, known after the first batch.
    warnings : list of str
        What the first batch gave cause to warn of.
    """

    generator: Generator
    statistic: Statistic
    design: Design
    seed: Seed
    stream: tuple[str | int, ...]
    condition: Any
    batch_size: int
    components: tuple[int, ...] | None = None
    warnings: list[str] = field(default_factory=list)

    def evaluate(self, replicates: range) -> Iterator[ReplicateMeans]:
        """Yield the replicate means of a range of replicates, group by group, in order.

        Raises
        ------
        RunError
            If the generator or the statistic breaks a law; what they raise themselves carries a note that says
            at which replicates.
        """
        for company, noise in self._groups(replicates):
            kept = range(max(company.start, replicates.start), min(company.stop, replicates.stop))
            rows = slice(kept.start - company.start, kept.stop - company.start)
            reduction = Reduction()
            for batch in self._batches(company, noise):
                values = self._values(batch, kept)
                reduction.add(values.reshape(len(company), len(batch.points), -1)[rows])
            yield reduction.finish(kept.start)

    def _groups(self, replicates: range) -> Iterator[tuple[range, Noise | None]]:
        """Yield the groups that hold the replicates and their noise, None where it is to be drawn batch by batch."""
        spec, n_points = self.generator.noise, self.design.n_points
        group = max(1, self.batch_size // n_points)
        size = group * n_points * spec.dimension
        first = replicates.start - replicates.start % group
        if len(spec.blocks) > 1 or (group == 1 and size > _NOISE_VALUES):
            for start in range(first, replicates.stop, group):
                yield range(start, start + group), None
            return
        at_once = group * max(1, min(LEAF // group, _NOISE_VALUES // size))
        last = replicates.stop + (first - replicates.stop) % group
        parts = [range(start, min(start + at_once, last)) for start in range(first, last, at_once)]
        draw = partial(self.design.draw, spec, seed=self.seed, stream=self.stream)
        for part, noise in zip(parts, _one_ahead(draw, parts), strict=True):
            for place in range(0, len(part), group):
                yield part[place : place + group], np.asarray(noise)[place : place + group]

    def _batches(self, company: range, noise: Noise | None) -> Iterator[Batch]:
        """Yield a group's batches: all of it, or slices of the points of a replicate that is larger than a batch."""
        n_points, spec = self.design.n_points, self.generator.noise
        length = min(n_points, self.batch_size)
        span = n_points
        if noise is None:
            # Of one block several batches are drawn at once; several blocks stay lazy.
            span = length * (max(1, _NOISE_VALUES // (length * spec.dimension)) if len(spec.blocks) == 1 else 1)
        for first in range(0, n_points, span):
            drawn = range(first, min(first + span, n_points))
            part = noise
            if part is None:
                part = self.design.draw(spec, company, self.seed, stream=self.stream, points=drawn)
            for start in range(first, drawn.stop, length):
                points = range(start, min(start + length, drawn.stop))
                rows = part if points == drawn else np.asarray(part)[:, start - first : points.stop - first]
                yield Batch(company, points, change_noise(rows, _as_rows))

    def _values(self, batch: Batch, kept: range) -> Floats:
        """Return the statistic's values of a batch, shape (n_rows, *components), once all laws were checked."""
        first_batch = self.components is None
        before = batch.noise.copy() if first_batch and isinstance(batch.noise, np.ndarray) else None
        samples = _call(self.generator, batch, batch.noise, self.condition)
        if before is not None:
            require_input_kept(self.generator, batch, before)
        require_samples(self.generator, samples, batch)
        require_finite(f"generator {name_of(self.generator)!r}", samples, batch, kept)
        values = np.asarray(as_numpy(_call(self.statistic, batch, samples)), dtype=np.float64)
        require_values(self.statistic, values, batch, self.components)
        require_finite(f"statistic {name_of(self.statistic)!r}", values, batch, kept)
        if first_batch:
            self.components = values.shape[1:]
            problem = repeatability_problem(self.generator, samples, batch, self.condition)
            if problem is not None:
                self.warnings.append(problem)
                warnings.warn(problem, GeneratorWarning, stacklevel=2)
        return values


def _one_ahead(draw: Callable[[range], Noise], parts: list[range]) -> Iterator[Noise]:
    """Yield the noise of each part, drawing the next in a thread meanwhile: numpy and devices work side by side."""
    if len(parts) == 1:
        yield draw(parts[0])
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(draw, parts[0])
        for following in [*parts[1:], None]:
            noise = ahead.result()
            if following is not None:
                ahead = pool.submit(draw, following)
            yield noise


def _call(function: Callable[..., Any], batch: Batch, *arguments: Any) -> Any:
    """Call the user's code; what it raises gets a note that says where it was."""
    try:
        return function(*arguments)
    except Exception as error:
        first, last = batch.replicates[0], batch.replicates[-1]
        error.add_note(f"raised by {name_of(function)!r} at replicates {first} to {last}")
        raise


def _as_rows(block: Array) -> Array:
    return block.reshape(-1, *block.shape[2:])

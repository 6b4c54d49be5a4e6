"""From noise to replicate means: the one loop of the package, for every design.

Replicates meet the model in groups of max(1, batch_size // n_points), counted from replicate 0. A range that starts or
ends inside a group runs the whole group and drops the rest, so that a replicate always sees the same rows beside it, in
a batch of the same size: matrix products give other last bits for other batches. Replicates larger than a batch
are cut into slices of their points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, rounding_of, take_rows
from mcgen._lib.fingerprints import Changes, Given
from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.errors import GeneratorWarning, RunError, warn_user
from mcgen.generators import Generator
from mcgen.inference.moments import ReplicateMeans
from mcgen.noise import Array, BlockNoise, Noise, as_rows, change_noise
from mcgen.noise.random import Seed
from mcgen.replicates.first_batch import repeatability_problem, require_evaluation_mode, tried_values
from mcgen.replicates.laws import Batch, copied, require_components, require_finite, require_input_kept, require_samples
from mcgen.replicates.summation import LEAF, Reduction
from mcgen.statistics import Statistic
from mcgen.statistics.values import values_of

# Noise of small replicates is drawn for several groups at once, up to this many numbers (8 MB in float32); that of
# one group as a whole up to so many (64 MB).
_USUAL_DRAW = 2**21
_LARGEST_DRAW = 2**24


def group_of(batch_size: int, n_points: int) -> int:
    """Return how many replicates meet the model together."""
    return max(1, batch_size // n_points)


def executed_rows(replicates: range, batch_size: int, n_points: int) -> int:
    """Return the rows that the model runs for a range of replicates: whole groups.

    Examples
    --------
    >>> from mcgen.replicates.loop import executed_rows
    >>> executed_rows(range(100), 64, 2), executed_rows(range(30, 70), 64, 2)
    (256, 192)
    """
    group = group_of(batch_size, n_points)
    return (-(-replicates.stop // group) - replicates.start // group) * group * n_points


@dataclass(frozen=True)
class Facts:
    """What the first batch of a run told.

    Attributes
    ----------
    components : tuple of int
        Trailing shape of the statistic's values.
    rounding : float
        Relative rounding error of the samples' type.
    warnings : tuple of str
        What it gave cause to warn of.
    own_shape : tuple of int or None
        Of a statistic beside which controls stand: its own components.
    changes : dict
        What running was seen to change in the generator and the statistic, such as counters and caches.
    """

    components: tuple[int, ...]
    rounding: float
    warnings: tuple[str, ...]
    own_shape: tuple[int, ...] | None = None
    changes: Changes = field(default_factory=dict)


@dataclass
class Task:
    """All that determines the replicate means of a run, and what its first batch told.

    Attributes
    ----------
    components : tuple of int or None
        Trailing shape of the statistic's values, known after the first batch.
    warnings : list of str
        What the first batch gave cause to warn of.
    rounding : float
        Relative rounding error of the samples' type.
    checked : bool
        Whether the first batch need not be tried: it was, here or in another process.
    label : str or None
        What results call the condition, where it has a name.
    given : Given
        The generator and the statistic that the user gave, of which the task's own may be made.
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
    rounding: float = 0.0
    checked: bool = False
    label: str | None = None
    given: Given = field(default_factory=Given)

    @property
    def group(self) -> int:
        """How many replicates meet the model together."""
        return group_of(self.batch_size, self.design.n_points)

    def facts(self) -> Facts:
        """Return what the first batch told."""
        assert self.components is not None
        own_shape = getattr(self.statistic, "own_shape", None)
        return Facts(self.components, self.rounding, tuple(self.warnings), own_shape, dict(self.given.changes))

    def learn(self, facts: Facts, warns: bool) -> None:
        """Take what another process's first batch told, or refuse what does not go with what is known.

        What that warned of there is warned of here, where the user sees it, if it `warns`.
        """
        if self.components not in (None, facts.components):
            raise RunError(
                f"statistic {name_of(self.statistic)!r} returned components of shape {facts.components}, where "
                f"{self.components} as before are needed; every sample must give the same number of values"
            )
        self.components, self.rounding = facts.components, max(self.rounding, facts.rounding)
        told = [text for text in facts.warnings if text not in self.warnings]
        self.warnings += told
        self.given.note(facts.changes)
        if getattr(self.statistic, "own_shape", ...) is None:
            self.statistic.own_shape = facts.own_shape  # type: ignore[attr-defined]
        for text in told if warns else ():
            warn_user(text, GeneratorWarning)

    def evaluate(self, replicates: range) -> Iterator[ReplicateMeans]:
        """Yield the replicate means of a range of replicates, group by group, in order.

        Raises
        ------
        RunError
            If the generator or the statistic breaks a law; what they raise themselves carries a note that says
            at which replicates.
        """
        watched = self.given.watched()
        first = watched is not None
        try:
            for company, noise in self._groups(replicates):
                kept = range(max(company.start, replicates.start), min(company.stop, replicates.stop))
                reduction = Reduction()
                for batch in self._batches(company, noise):
                    values = self._values(batch, kept)
                    reduction.add(values.reshape(len(kept), len(batch.points), -1))
                if watched is not None and first:
                    watched.look()
                    first = False
                yield reduction.finish(kept.start)
        finally:
            if watched is not None:
                watched.look()

    def _groups(self, replicates: range) -> Iterator[tuple[range, Noise | None]]:
        """Yield the groups that hold the replicates and their noise, None where it is to be drawn batch by batch."""
        group = self.group
        size = group * self.design.n_points * self.generator.noise.dimension
        first = replicates.start - replicates.start % group
        last = replicates.stop + (first - replicates.stop) % group
        if size > _LARGEST_DRAW:
            for start in range(first, last, group):
                yield range(start, start + group), None
            return
        at_once = group * max(1, min(LEAF // group, _USUAL_DRAW // size))
        parts = (range(start, min(start + at_once, last)) for start in range(first, last, at_once))
        for part, noise in _one_ahead(self._draw, parts, several=last - first > at_once):
            for place in range(0, len(part), group):
                yield part[place : place + group], change_noise(noise, itemgetter(slice(place, place + group)))

    def _draw(self, replicates: range) -> Noise:
        """Return all the noise of some replicates, of several blocks too."""
        noise = self.design.draw(self.generator.noise, replicates, self.seed, stream=self.stream)
        if isinstance(noise, np.ndarray):
            return noise
        blocks = dict(noise)
        return BlockNoise(blocks.__getitem__, tuple(blocks))

    def _batches(self, company: range, noise: Noise | None) -> Iterator[Batch]:
        """Yield a group's batches: all of it, or slices of the points of a replicate that is larger than a batch."""
        n_points, spec = self.design.n_points, self.generator.noise
        length = min(n_points, self.batch_size)
        span = n_points
        if noise is None:
            # Noise of one block is drawn for several batches at once; several blocks stay lazy.
            span = length * (max(1, _LARGEST_DRAW // (length * spec.dimension)) if len(spec.blocks) == 1 else 1)
        for first in range(0, n_points, span):
            drawn = range(first, min(first + span, n_points))
            part = noise
            if part is None:
                part = self.design.draw(spec, company, self.seed, stream=self.stream, points=drawn)
            for start in range(first, drawn.stop, length):
                points = range(start, min(start + length, drawn.stop))
                yield Batch(company, points, change_noise(part, partial(_rows_of, points, first)))

    def _values(self, batch: Batch, kept: range) -> Floats:
        """Return the statistic's values of the kept replicates, shape (rows, ...), once all laws were checked.

        The rest of a batch is there for company; what it gives, or breaks, is nobody's concern.
        """
        first_batch, trying = self.components is None, not self.checked
        if trying:
            require_evaluation_mode(self.generator, self.statistic)
        small = batch.n_rows * self.generator.noise.dimension <= _USUAL_DRAW
        before = copied(batch.noise) if (first_batch or trying) and small else None
        samples = _call(self.generator, batch, self.generator, batch.noise, self.condition)
        if before is not None:
            require_input_kept(self.generator, batch, before)
        require_samples(self.generator, samples, batch)
        if trying:
            self._warn_of(
                repeatability_problem(self.generator, samples, batch, self.condition, self._points_after(batch))
            )
        if kept != batch.replicates:
            n, start = len(batch.points), batch.replicates.start
            samples = take_rows(samples, slice((kept.start - start) * n, (kept.stop - start) * n))
            batch = replace(batch, replicates=kept)
        require_finite(f"generator {name_of(self.generator)!r}", samples, batch)
        function = tried_values if trying else values_of
        values: Floats = _call(self.statistic, batch, function, self.statistic, samples, batch.n_rows)
        require_components(self.statistic, values, batch, self.components)
        require_finite(f"statistic {name_of(self.statistic)!r}", values, batch)
        self.components = values.shape[1:]
        self.rounding = max(self.rounding, rounding_of(samples))
        self.checked = True
        return values

    def _warn_of(self, problem: str | None) -> None:
        """Warn of what was found, once."""
        if problem is not None and problem not in self.warnings:
            self.warnings.append(problem)
            warn_user(problem, GeneratorWarning)

    def _points_after(self, batch: Batch) -> Callable[[int], Noise]:
        """Return a function from a number to the noise of the first points of so many replicates after a batch."""
        first = batch.replicates.stop

        def draw(n: int) -> Noise:
            replicates = range(first, first + n)
            spec, points = self.generator.noise, range(1)
            return as_rows(self.design.draw(spec, replicates, self.seed, stream=self.stream, points=points))

        return draw


def _one_ahead(draw: Callable[[range], Noise], parts: Iterable[range], several: bool) -> Iterator[tuple[range, Noise]]:
    """Yield each part and its noise, drawing the next in a thread meanwhile: numpy and the model work side by side."""
    if not several:
        yield from ((part, draw(part)) for part in parts)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = None
        for part in parts:
            following = part, pool.submit(draw, part)
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = following
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def _call(culprit: object, batch: Batch, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the user's code; what it raises gets a note that says where it was."""
    first, last = batch.replicates[0], batch.replicates[-1]
    note = f"raised by {name_of(culprit)!r} at replicates {first} to {last}"
    try:
        return function(*arguments)
    except RunError:
        raise
    except StopIteration as error:
        raise RuntimeError(f"StopIteration {note}") from error
    except Exception as error:
        error.add_note(note)
        raise


def _rows_of(points: range, first: int, block: Array) -> Array:
    """Return some points of a block (replicates, points, ...) as rows, where the block starts at point `first`."""
    part = block[:, points.start - first : points.stop - first]
    return part.reshape(-1, *part.shape[2:])

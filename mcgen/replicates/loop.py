"""From noise to replicate means: the one loop of the package, for every design.

Replicates meet the model in groups of max(1, batch_size // n_points), counted from replicate 0. A range that starts or
ends inside a group runs the whole group and drops the rest. So a replicate always sees the same rows beside it, in a
batch of the same size: matrix products give other last bits for other batches. Replicates larger than a batch are cut
into slices of their points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, leading_length, take_rows
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.inference.moments import ReplicateMeans
from mcgen.noise import Array, BlockNoise, Noise, as_rows, change_noise
from mcgen.replicates.first_batch import repeatability_problem, require_evaluation_mode, tried_values
from mcgen.replicates.gathering import Collected
from mcgen.replicates.laws import Batch, copied, require_components, require_finite, require_input_kept, require_samples
from mcgen.replicates.summation import LARGE_REPLICATE, LEAF, Reduction
from mcgen.replicates.tally import Tally
from mcgen.replicates.task import Facts, Findings, Task
from mcgen.statistics.values import boolean_components, component_bounds, product_pairs, reduced_values, values_of

_USUAL_DRAW = 2**21
"""Noise of small replicates is drawn for several groups at once, up to this many numbers (8 MB in float32)."""
_SMALL_DRAW = 2**16
"""Noise of up to this many numbers in all is drawn at once: that takes less than a millisecond."""
_LARGEST_DRAW = 2**24
"""Noise of one group is drawn as a whole up to this many numbers (64 MB in float32)."""

_WITHOUT_CONDITION = "the generator was called without a condition; if it takes one, pass condition=..."
_OF_SAMPLES_ALONE = (
    "the statistic was called with the samples alone; if it takes the condition too, pass "
    "mcgen.as_statistic(f, uses_condition=True)"
)
"""What to do where an argument is missing in a call of the generator, and of the statistic."""


def replicate_means(task: Task, replicates: range, findings: Findings | None = None) -> Iterator[ReplicateMeans]:
    """Yield the replicate means of a range of replicates, group by group, in order.

    Parameters
    ----------
    task : Task
        What to run.
    replicates : range
        Which replicates.
    findings : Findings, optional
        Collects what the batches show of the task; one run shares it among its ranges.

    Raises
    ------
    RunError
        If the generator or the statistic breaks a law; what they raise themselves carries a note that says at which
        replicates.
    """
    findings = Findings(task) if findings is None else findings
    watched = task.given.watched()
    first = watched is not None
    try:
        for group, noise in _groups(task, replicates):
            kept = range(max(group.start, replicates.start), min(group.stop, replicates.stop))
            reduction: Reduction | None = None
            collected = Collected(task.gatherers)
            for batch in _batches(task, group, noise):
                samples, own = _samples(task, batch, kept, findings)
                values, reduced = _values(task, samples, own, findings)
                if reduction is None:
                    reduction = _reduction(task, math.prod(reduced.shape[1:]))
                reduction.add(reduced.reshape(len(kept), len(batch.points), -1))
                collected.add(samples, values, len(kept))
            if watched is not None and first:
                watched.look()
                first = False
            assert reduction is not None
            yield reduction.finish(kept.start, collected.finish())
    finally:
        if watched is not None:
            watched.look()


def _reduction(task: Task, k: int) -> Reduction:
    """Return what takes the means over points of k components, and of what else the task asks for."""
    return Reduction(task.design.n_points >= LARGE_REPLICATE, product_pairs(task.statistic, k))


def samples_of(task: Task, replicates: range) -> Iterator[Any]:
    """Yield the samples of a range of replicates, batch by batch, in order; the task's statistic is not called."""
    findings = Findings(task)
    for group, noise in _groups(task, replicates):
        kept = range(max(group.start, replicates.start), min(group.stop, replicates.stop))
        for batch in _batches(task, group, noise):
            yield _samples(task, batch, kept, findings)[0]
            findings.tried = True


def rows_of_samples(task: Task, batches: Iterable[Any], findings: Findings) -> Iterator[ReplicateMeans]:
    """Yield rows for samples that are there already: each is a replicate of one point.

    The samples and the values of the task's statistic are checked as those of a generator are.
    """
    start = 0
    for samples in batches:
        n = leading_length(samples)
        batch = Batch(range(start, start + n), range(1), {})
        require_finite(f"finished samples {name_of(task.generator)!r}", samples, batch)
        if not findings.tried:
            require_evaluation_mode(task.generator, task.statistic)
        values, reduced = _values(task, samples, batch, findings)
        reduction, collected = _reduction(task, math.prod(reduced.shape[1:])), Collected(task.gatherers)
        reduction.add(reduced.reshape(n, 1, -1))
        collected.add(samples, values, n)
        yield reduction.finish(start, collected.finish())
        start += n


def run_all(task: Task, n_replicates: int, tried: bool = False) -> tuple[Tally, Facts]:
    """Run the first replicates of a task in this process, and return them with what they showed of the task.

    The first batch is not tried again where `tried` says that another run of the same generator has done it.
    """
    tally, findings = Tally(True), Findings(task, tried=tried)
    for rows in replicate_means(task, range(n_replicates), findings):
        tally.add(rows)
    return tally, findings.facts


def _groups(task: Task, replicates: range) -> Iterator[tuple[range, Noise | None]]:
    """Yield the groups that hold the replicates and their noise, None where it is to be drawn batch by batch."""
    n = task.group
    size = n * task.design.n_points * task.generator.noise.dimension
    first = replicates.start - replicates.start % n
    last = replicates.stop + (first - replicates.stop) % n
    if size > _LARGEST_DRAW:
        for start in range(first, last, n):
            yield range(start, start + n), None
        return
    # Replicates that the design can only draw together are drawn once, not for each group anew.
    together = math.lcm(n, getattr(task.design, "n_together", 1))
    length = together if together // n * size <= _LARGEST_DRAW else n
    at_once = length * max(1, min(LEAF // length, _USUAL_DRAW // (length // n * size)))
    several = last - first > at_once or (last - first) // n * size > _SMALL_DRAW
    parts = _parts(first, last, length if several else at_once, at_once)
    for part, noise in _one_ahead(partial(_draw, task), parts, several):
        for place in range(0, len(part), n):
            yield part[place : place + n], change_noise(noise, itemgetter(slice(place, place + n)))


def _parts(first: int, last: int, length: int, longest: int) -> Iterator[range]:
    """Yield ranges from `first` to `last` of `length`, 2 `length`, 3 `length`, ..., up to the longest.

    The model waits for the first alone: while it works on one part, the next is drawn, which may not take much longer.
    """
    start, n = first, length
    while start < last:
        yield range(start, min(start + n, last))
        start, n = start + n, min(n + length, longest)


def _draw(task: Task, replicates: range) -> Noise:
    """Return all the noise of some replicates, of several blocks too."""
    noise = task.design.draw(task.generator.noise, replicates, task.seed, stream=task.stream)
    if isinstance(noise, np.ndarray):
        return noise
    blocks = dict(noise)
    return BlockNoise(blocks.__getitem__, tuple(blocks))


def _batches(task: Task, group: range, noise: Noise | None) -> Iterator[Batch]:
    """Yield a group's batches: all of it, or slices of the points of a replicate that is larger than a batch."""
    n_points, spec = task.design.n_points, task.generator.noise
    length = min(n_points, task.batch_size)
    span = n_points
    if noise is None:
        # Noise of one block is drawn for several batches at once; several blocks stay lazy.
        span = length * (max(1, _LARGEST_DRAW // (length * spec.dimension)) if len(spec.blocks) == 1 else 1)
    for first in range(0, n_points, span):
        drawn = range(first, min(first + span, n_points))
        part = noise
        if part is None:
            part = task.design.draw(spec, group, task.seed, stream=task.stream, points=drawn)
        for start in range(first, drawn.stop, length):
            points = range(start, min(start + length, drawn.stop))
            yield Batch(group, points, change_noise(part, partial(_rows_of, points, first)))


def _samples(task: Task, batch: Batch, kept: range, findings: Findings) -> tuple[Any, Batch]:
    """Return the samples of the kept replicates, once the generator's laws were checked, and the batch without others.

    The other rows only fill the batch: their samples are not looked at, whatever they are.
    """
    trying = not findings.tried
    if trying:
        require_evaluation_mode(task.generator, task.statistic)
    small = batch.n_rows * task.generator.noise.dimension <= _USUAL_DRAW
    before = copied(batch.noise) if (findings.components is None or trying) and small else None
    with _located(task.generator, batch, _WITHOUT_CONDITION if task.condition is None else None):
        samples = task.generator(batch.noise, task.condition)
    if before is not None:
        require_input_kept(task.generator, batch, before)
    require_samples(task.generator, samples, batch)
    if trying:
        findings.warn_of(
            repeatability_problem(task.generator, samples, batch, task.condition, _points_after(task, batch))
        )
    if kept != batch.replicates:
        n, start = len(batch.points), batch.replicates.start
        samples = take_rows(samples, slice((kept.start - start) * n, (kept.stop - start) * n))
        batch = replace(batch, replicates=kept)
    require_finite(f"generator {name_of(task.generator)!r}", samples, batch)
    return samples, batch


def _values(task: Task, samples: Any, batch: Batch, findings: Findings) -> tuple[Floats, Floats]:
    """Return the statistic's values of the samples of a batch, shape (rows, ...), once its laws were checked.

    The second array is what the means are taken of: the values, or what the statistic reduces them to.
    """
    with _located(task.statistic, batch, _OF_SAMPLES_ALONE):
        if findings.tried:
            values = values_of(task.statistic, samples, batch.n_rows)
        else:
            values = tried_values(task.statistic, samples, batch.n_rows)
        reduced = reduced_values(task.statistic, values)
        if not findings.tried:
            one = take_rows(samples, slice(0, 1))
            findings.note_boolean(boolean_components(task.statistic, one))
            findings.note_bounds(component_bounds(task.statistic, math.prod(reduced.shape[1:]), one))
    require_components(task.statistic, reduced, batch, findings.components)
    require_finite(f"statistic {name_of(task.statistic)!r}", values, batch)
    findings.note_batch(samples, reduced)
    return values, reduced


def _points_after(task: Task, batch: Batch) -> Callable[[int], Noise]:
    """Return a function from a number to the noise of the first points of so many replicates after a batch."""
    first = batch.replicates.stop

    def draw(n: int) -> Noise:
        replicates = range(first, first + n)
        spec, points = task.generator.noise, range(1)
        return as_rows(task.design.draw(spec, replicates, task.seed, stream=task.stream, points=points))

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


@contextmanager
def _located(culprit: object, batch: Batch, on_missing: str | None) -> Iterator[None]:
    """Give what the user's code raises notes that say where it was, and what mistake it is likely to come from.

    Parameters
    ----------
    culprit : object
        The generator or the statistic.
    batch : Batch
        What it was called for.
    on_missing : str or None
        What to do where an argument is missing.
    """
    first, last = batch.replicates[0], batch.replicates[-1]
    note = f"raised by {name_of(culprit)!r} at replicates {first} to {last}"
    try:
        yield
    except RunError:
        raise
    except StopIteration as error:
        raise RuntimeError(f"StopIteration {note}") from error
    except Exception as error:
        # A frozen exception takes no note, and stays as it is.
        with suppress(Exception):
            error.add_note(note)
            if isinstance(error, TypeError):
                for advice in _advice(str(error), on_missing):
                    error.add_note(advice)
        raise


def _advice(message: str, on_missing: str | None) -> Iterator[str]:
    """Yield what to do about a TypeError of the user's code, where its message is that of a frequent mistake."""
    if "must be Tensor" in message and "ndarray" in message:
        yield (
            "a torch network got numpy arrays: make its generator by mcgen.adapters.from_torch(network, noise=shape), "
            "which takes a function of tensors too"
        )
    if on_missing is not None and "missing 1 required positional argument" in message:
        yield on_missing
    if "takes 1 positional argument but 2 were given" in message:
        yield "it was called with a condition too; if it takes none, leave out condition=..., or uses_condition=True"


def _rows_of(points: range, first: int, block: Array) -> Array:
    """Return some points of a block (replicates, points, ...) as rows, where the block starts at point `first`."""
    part = block[:, points.start - first : points.stop - first]
    return part.reshape(-1, *part.shape[2:])

"""Tests of a captured sampler: each sample must depend on its own noise alone.

The noise of one sample is changed, and the samples are compared with those before the change. The batch has the same
size, so that the same kernels run and the other samples must stay the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy
from mcgen.adapters.capturing.draws import Draw
from mcgen.adapters.capturing.random_state import another_seed
from mcgen.designs import MonteCarlo
from mcgen.noise import Law, NoiseSpec

Draws = tuple[Draw, ...]
Rows = list[NDArray[np.float64]]

# Most draws that are tested in one batch, each by a sample of its own; it bounds the memory of a test.
_MOST_TRIED = 64
# Largest change that counts as rounding between two batches of the same size, relative to the largest value.
_SAME = 1e-4
# Most samples of a test of the order of a draw's rows.
_MOST_SAMPLES = 64

_MOVES: dict[Law, tuple[Callable[[Any], Any], ...]] = {
    "normal": (lambda z: -3 * z, lambda z: 8 + np.abs(z), lambda z: -8 - np.abs(z)),
    "uniform": (lambda u: (u + 0.5) % 1, lambda u: 1 - (u + 1) / 1024, lambda u: (u + 1) / 1024),
}
"""Changes of noise. The first changes integers and masks; the others are extreme, to pass most thresholds."""


class Captured(Protocol):
    """The part of a `CapturedGenerator` that the tests use."""

    name: str
    noise: NoiseSpec
    draws: Draws
    modules: tuple[torch.nn.Module, ...]

    def __call__(self, noise: Any, condition: object = None) -> Any:
        """Return the samples that `noise` makes."""

    def block_of(self, number: int) -> str:
        """Return the name of the block of noise that a draw uses."""


def arranged(make: Callable[[Draws], Captured], draws: Draws, condition: object) -> Draws:
    """Return draws with several rows a sample in the order in which the sampler uses the rows.

    Raises
    ------
    ValueError
        If no order gives each sample rows of its own.
    """
    alike: dict[object, list[int]] = {}
    for i, draw in enumerate(draws):
        if draw.rows > 1 and draw.same is None:
            alike.setdefault((draw.rows, draw.shape, draw.axis), []).append(i)
    # Draws of one shape often come from one loop and have the same order, so that one test serves all of them.
    for numbers in alike.values():
        found = _in_order(make, draws, numbers, condition)
        for number in numbers if found is None else ():
            draws = _in_order(make, draws, [number], condition) or _refuse_order(make(draws), number)
        draws = found or draws
    return draws


def _in_order(make: Callable[[Draws], Captured], draws: Draws, numbers: list[int], condition: object) -> Draws | None:
    """Return the draws in the order of rows that keeps the samples independent; None if there is no such order."""
    rows = draws[numbers[0]].rows
    divisors = [rounds for rounds in range(1, rows + 1) if rows % rounds == 0]
    # With this number of samples a wrong order can't pass as the right one, even if a sample uses only some rows.
    n = next((n for n in range(3, _MOST_SAMPLES) if all(d % n != 1 for d in divisors[1:])), _MOST_SAMPLES)
    for rounds in sorted(divisors, key=lambda rounds: (rounds not in (1, rows), -rounds)):
        tried = _changed(draws, numbers, partial(replace, rounds=rounds))
        apart, seen = _tried(make(tried), numbers, n, condition)
        if apart and seen:
            return tried
        if apart:
            # No change of rows shows in the samples. Independent noise has the right law in every order.
            return _changed(draws, numbers, lambda draw: replace(draw, kind=replace(draw.kind, iid=True)))
    return None


def _changed(draws: Draws, numbers: list[int], change: Callable[[Draw], Draw]) -> Draws:
    """Return all draws, with a change of the given ones and of those that share their random numbers."""
    return tuple(change(draw) if i in numbers or draw.same in numbers else draw for i, draw in enumerate(draws))


def _tried(captured: Captured, numbers: list[int], n: int, condition: object) -> tuple[bool, bool]:
    """Return whether a sample's noise leaves the other samples unchanged, and whether it changes each sample itself."""
    noise = _probe(captured, n)
    before = _rows(_given(captured, noise, condition))
    seen = set()
    for way in range(len(_MOVES["normal"])):
        for i in range(n):
            after = _after(captured, noise, {i: numbers}, way, condition)
            others = [j for j in range(n) if j != i]
            if gap(_of(before, others), _of(after, others)) > _SAME:
                return False, True
            if not _equal(_of(before, [i]), _of(after, [i])):
                seen.add(i)
    return True, len(seen) == n


def _after(
    captured: Captured,
    noise: dict[str, NDArray[Any]],
    moves: Mapping[int, list[int]],
    way: int,
    condition: Any,
) -> Rows:
    """Return the samples after a change of the noise; the samples before it, if the sampler fails at extreme noise."""
    try:
        return _rows(_given(captured, _moved(captured, noise, moves, way), condition))
    except Exception:
        if way == 0:
            raise
        return _rows(_given(captured, noise, condition))


def _refuse_order(captured: Captured, number: int) -> Draws:
    draw = captured.draws[number]
    raise ValueError(
        f"in {captured.name!r} the noise of one sample reaches others: draw {number}, {draw.operation}, has "
        f"{draw.rows} rows a sample along its batch axis. Neither sample after sample nor all samples round after "
        "round gives each sample rows of its own. The sampler mixes the samples of a batch, or shares draws between "
        f"them; an interval would not cover. Draw torch.randn(n, {draw.rows}, ...), and keep the samples apart"
    )


def without_effect(captured: Captured, condition: object) -> set[int]:
    """Return the draws that have no effect: changing draw i in sample i of a batch does not change the sample."""
    left = [i for i, draw in enumerate(captured.draws) if draw.same is None]
    for way in range(len(_MOVES["normal"])):
        still: list[int] = []
        for first in range(0, len(left), _MOST_TRIED):
            tried = left[first : first + _MOST_TRIED]
            noise = _probe(captured, max(2, len(tried)))
            before = _rows(_given(captured, noise, condition))
            moves = {row: [number] for row, number in enumerate(tried)}
            after = _after(captured, noise, moves, way, condition)
            still += [number for row, number in enumerate(tried) if _equal(_of(before, [row]), _of(after, [row]))]
        left = still
    return set(left)


def require_rows_apart(captured: Captured, condition: object) -> None:
    """Refuse a sampler with draws that capture does not see, or whose samples depend on other samples of the batch."""
    noise = _probe(captured, 3)
    first = _rows(_given(captured, noise, condition))
    with another_seed():
        again = _rows(_given(captured, noise, condition))
    if (found := gap(first, again)) > _SAME:
        raise ValueError(
            f"{captured.name!r} gives other samples of the same noise ({found:.2g} of the greatest value): it draws "
            "numbers of its own outside torch (numpy, random), or in another thread, where capture sees no draw. Draw "
            "them by torch in the thread that calls the sampler, or pass them in"
        )
    every = [i for i, draw in enumerate(captured.draws) if draw.same is None]
    others = _after(captured, noise, {0: every, 2: every}, 0, condition)
    if (found := gap(_of(first, [1]), _of(others, [1]))) > _SAME:
        raise ValueError(
            f"in {captured.name!r} the noise of one sample reaches others (they changed by {found:.2g} of the greatest "
            "value): it shares draws between the samples of a batch, normalizes over it, or adapts its steps to "
            "it, or a network is in training mode; an interval would not cover. Sample one by one in it, or use a "
            "sampler whose samples are independent; call a network's .eval(), and name it in modules="
        )
    fewer = _rows(_given(captured, {name: block[1:] for name, block in noise.items()}, condition))
    if (found := gap(_of(first, [1, 2]), fewer)) > _same_in_other_batch(captured):
        raise ValueError(
            f"in {captured.name!r} a sample depends on its place in the batch or on the number of samples (it changed "
            f"by {found:.2g} of the greatest value when the first of 3 was left out): it divides by n, mixes "
            "neighbours, or adds numbers by their place, such as those of numpy by a fixed seed or of another "
            "thread; an interval would not cover. Make each sample of its own noise alone; draw what is random by torch"
        )


def _same_in_other_batch(captured: Captured) -> float:
    """Return the largest change of a sample in a batch of another size, where other kernels round in another way."""
    types = {draw.dtype for draw in captured.draws}
    types |= {parameter.dtype for module in captured.modules for parameter in module.parameters()}
    return max([0.01, *(16 * torch.finfo(t).eps for t in types if t.is_floating_point or t.is_complex)])


def _probe(captured: Captured, n: int) -> dict[str, NDArray[Any]]:
    drawn = MonteCarlo().draw(captured.noise, n, seed=0, stream=("probe",))
    blocks = drawn if isinstance(drawn, Mapping) else {captured.noise.blocks[0][0]: drawn}
    return {name: block[:, 0].copy() for name, block in blocks.items()}


def _given(captured: Captured, noise: dict[str, NDArray[Any]], condition: object) -> Any:
    return captured(noise if len(noise) > 1 else next(iter(noise.values())), condition)


def _moved(
    captured: Captured, noise: dict[str, NDArray[Any]], moves: Mapping[int, Iterable[int]], way: int
) -> dict[str, NDArray[Any]]:
    """Return the noise with changes: `moves` maps samples to the draws that are changed in them."""
    found = {name: block.copy() for name, block in noise.items()}
    for sample, numbers in moves.items():
        for number in numbers:
            block = found[captured.block_of(number)]
            block[sample] = _MOVES[captured.draws[number].kind.law][way](block[sample])
    return found


def _rows(samples: Any) -> Rows:
    """Return each array of nested tuples of samples as rows of real numbers."""
    if isinstance(samples, tuple):
        return [rows for part in samples for rows in _rows(part)]
    array = as_numpy(samples)
    flat = array.reshape(len(array), -1)
    return [np.hstack([flat.real, flat.imag]).astype(np.float64)]


def _of(parts: Rows, samples: list[int]) -> Rows:
    return [part[samples] for part in parts]


def _equal(before: Rows, after: Rows) -> bool:
    return all(np.array_equal(b, a, equal_nan=True) for b, a in zip(before, after, strict=True))


def gap(before: Rows, after: Rows) -> float:
    """Return the largest change, relative to the largest value of the same array."""
    gaps = [0.0]
    for b, a in zip(map(np.nan_to_num, before), map(np.nan_to_num, after), strict=True):
        gaps.append(float(np.abs(a - b).max(initial=0.0)) / (float(np.abs(b).max(initial=0.0)) or 1.0))
    return max(gaps)

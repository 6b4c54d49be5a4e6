"""Detection of draws that use the same random numbers as an earlier draw of the run.

A sampler that seeds a random generator twice with the same number, or restores a state, draws the same numbers again.
Two draws use the same numbers if they begin at equal states of their random generators, even of different generators.
The states are compared and not the numbers, since two masks may be equal by chance.

A state of the CPU's generator (a Mersenne twister) is a position in an array of 624 numbers. A state of CUDA's
generator is a position in the stream of a seed. A draw that begins in the middle of another draw's numbers is detected
if both use numbers of the same array or stream.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import torch

from mcgen.adapters.capturing.laws import Arguments, kind_of

# Sizes of the states in bytes and positions of their fields: at::CPUGeneratorImplState and at::CUDAGeneratorImpl of
# torch.
_CPU_BYTES, _CPU_LEFT, _CPU_ARRAY, _ARRAY_LENGTH = 5056, slice(8, 12), slice(24, 5016), 624
_CUDA_BYTES, _CUDA_SEED, _CUDA_OFFSET = 16, slice(0, 8), slice(8, 16)

_Place = tuple[Hashable, int, int]
"""A range of random numbers: the name of the array, the first position and the position after the last."""


class _Begun(NamedTuple):
    number: int
    words: str
    made: tuple[Hashable, ...]


class Repeats:
    """The states at which the draws of one run began, and the random numbers that they used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun: dict[bytes, _Begun] = {}
        self._taken: dict[Hashable, list[tuple[int, int, _Begun]]] = {}

    def earlier(
        self, number: int, operation: str, out: torch.Tensor, a: Arguments, before: bytes, after: bytes
    ) -> int | None:
        """Return the number of the earlier draw whose random numbers this draw uses; None where they are fresh.

        Raises
        ------
        ValueError
            If the draw turns these numbers into other values than the earlier draw, or uses only a part of them.
        """
        if before == after:
            # Some operations use no random number for some arguments, such as Poisson numbers of rate 0.
            return None
        draw = _Begun(number, f"{operation} of shape {tuple(out.shape)}", _made(operation, out, a))
        first = self._begun.setdefault(before, draw)
        if first is not draw and first.made == draw.made:
            return first.number
        places = list(_places(before, after))
        other = first if first is not draw else self._overlapping(places)
        if other is not None:
            raise ValueError(
                f"{self._name!r} draws {draw.words} (as number {number}) from random numbers that draw {other.number}, "
                f"{other.words}, used in another way: it seeds a random generator again, or restores its state. Draws "
                "may share their numbers if operation, shape, type, memory layout and settings are equal; others "
                "depend on each other in ways that can't be repeated. Seed once, or draw once and use the result twice"
            )
        for array, low, high in places:
            self._taken.setdefault(array, []).append((low, high, draw))
        return None

    def _overlapping(self, places: list[_Place]) -> _Begun | None:
        for array, low, high in places:
            for begin, end, draw in self._taken.get(array, ()):
                if low < end and begin < high:
                    return draw
        return None


def _made(operation: str, out: torch.Tensor, a: Arguments) -> tuple[Hashable, ...]:
    """Return everything that determines the standard numbers of a draw, besides the state."""
    kind = kind_of(operation)
    family, settings = (operation, ()) if kind is None else (kind.family, kind.settings)
    values = [_hashable(a.get(name)) for name in settings]
    # The stride of an axis of length 1 has no effect.
    layout = tuple(stride for stride, length in zip(out.stride(), out.shape, strict=True) if length > 1)
    return family, tuple(out.shape), layout, out.dtype, out.device.type, *values


def _hashable(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        rows = value.detach().to(device="cpu", dtype=torch.float64)
        return tuple(rows.shape), rows.contiguous().numpy().tobytes()
    found: Hashable = value
    return found


def _places(before: bytes, after: bytes) -> Iterator[_Place]:
    """Yield the ranges of random numbers between two states."""
    (first, low), (last, high) = _place(before), _place(after)
    if first == last:
        yield first, low, high
    elif len(before) == _CPU_BYTES:
        # The arrays in between can't be named by the two states.
        yield first, low, _ARRAY_LENGTH
        yield last, 0, high


def _place(state: bytes) -> tuple[Hashable, int]:
    """Return the array of random numbers that a state is in, and how many of its numbers are used."""
    if len(state) == _CPU_BYTES:
        left = int.from_bytes(state[_CPU_LEFT], sys.byteorder)
        return hash(state[_CPU_ARRAY]), _ARRAY_LENGTH + 1 - left
    if len(state) == _CUDA_BYTES:
        return state[_CUDA_SEED], int.from_bytes(state[_CUDA_OFFSET], sys.byteorder)
    return state, 0

"""Which random numbers a run uses more than once.

A sampler that seeds a random generator twice with one number, or restores a state, draws the same numbers again. Two
draws use the same numbers where they begin at equal states of their random generators, whichever these are. The state
is what is compared, and not the numbers: two masks may be equal by chance.

The states of the CPU's generator (a Mersenne twister) are places in arrays of 624 numbers, those of CUDA's are places
in the stream of a seed. A draw that begins amid the numbers of another one is seen where both touch the same array.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import torch

from mcgen.adapters.capturing.laws import Arguments, kind_of

# Bytes of the states, and where they hold what: at::CPUGeneratorImplState and at::CUDAGeneratorImpl of torch.
_CPU_BYTES, _CPU_LEFT, _CPU_ARRAY, _ARRAY_LENGTH = 5056, slice(8, 12), slice(24, 5016), 624
_CUDA_BYTES, _CUDA_SEED, _CUDA_OFFSET = 16, slice(0, 8), slice(8, 16)

_Place = tuple[Hashable, int, int]
"""Random numbers: an array's name, the first place, and the place after the last."""


class _Begun(NamedTuple):
    number: int
    words: str
    made: tuple[Hashable, ...]


class Repeats:
    """The states at which the draws of one run began, and the numbers that they took."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun: dict[bytes, _Begun] = {}
        self._taken: dict[Hashable, list[tuple[int, int, _Begun]]] = {}

    def earlier(
        self, number: int, operation: str, out: torch.Tensor, a: Arguments, before: bytes, after: bytes
    ) -> int | None:
        """Return the number of the earlier draw whose random numbers this one uses, None where they are fresh.

        Raises
        ------
        ValueError
            If it uses them for something else, or only a part of them.
        """
        if before == after:
            # Some operations take no random number for some arguments, such as Poisson numbers of rate 0.
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
    """Return what, beside the state, determines the standard numbers of a draw."""
    kind = kind_of(operation)
    family, settings = (operation, ()) if kind is None else (kind.family, kind.settings)
    values = [_hashable(a.get(name)) for name in settings]
    # The stride of an axis of length 1 says nothing.
    layout = tuple(stride for stride, length in zip(out.stride(), out.shape, strict=True) if length > 1)
    return family, tuple(out.shape), layout, out.dtype, out.device.type, *values


def _hashable(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        rows = value.detach().to(device="cpu", dtype=torch.float64)
        return tuple(rows.shape), rows.contiguous().numpy().tobytes()
    found: Hashable = value
    return found


def _places(before: bytes, after: bytes) -> Iterator[_Place]:
    """Yield the random numbers between two states."""
    (first, low), (last, high) = _place(before), _place(after)
    if first == last:
        yield first, low, high
    elif len(before) == _CPU_BYTES:
        # Arrays between the two are not known.
        yield first, low, _ARRAY_LENGTH
        yield last, 0, high


def _place(state: bytes) -> tuple[Hashable, int]:
    """Return which array of random numbers comes next, and how many of it are used."""
    if len(state) == _CPU_BYTES:
        left = int.from_bytes(state[_CPU_LEFT], sys.byteorder)
        return hash(state[_CPU_ARRAY]), _ARRAY_LENGTH + 1 - left
    if len(state) == _CUDA_BYTES:
        return state[_CUDA_SEED], int.from_bytes(state[_CUDA_OFFSET], sys.byteorder)
    return state, 0

"""Numbers of blocks of replicates: what is gathered of a block is turned into a few numbers, and then let go."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.replicates.gathering import Features


@dataclass(frozen=True, eq=False)
class InBlocks(Features):
    """Gathers all values, of which a run keeps only some numbers of each block of replicates.

    Attributes
    ----------
    size : int
        Samples in a block; it has whole replicates, and two or more.
    numbers : callable
        From the values of a block, shape (replicates, points, k), to an array of numbers of a shape that is the same
        for all blocks.
    """

    size: int
    numbers: Callable[[NDArray[Any]], Floats]
    name: ClassVar[str] = "blocks"


Found = tuple[Floats, NDArray[np.int64]]
"""The numbers of the blocks of a run, shape (B, ...), and the replicates of each, shape (B,)."""


class Blocks:
    """The numbers of the blocks of a run, whose replicates are added in order.

    Parameters
    ----------
    size : int
        Samples in a block.
    numbers : callable
        As of `InBlocks`.
    """

    def __init__(self, size: int, numbers: Callable[[NDArray[Any]], Floats]) -> None:
        self._size, self._numbers = size, numbers
        self._found: list[tuple[Floats, int]] = []
        # The last whole block waits for the next one: an incomplete one at the end joins it.
        self._last: list[NDArray[Any]] = []
        self._parts: list[NDArray[Any]] = []

    def add(self, values: NDArray[Any]) -> None:
        """Add the values of the next replicates, shape (replicates, points, k)."""
        wanted = max(2, math.ceil(self._size / values.shape[1]))
        while len(values):
            room = wanted - sum(map(len, self._parts))
            self._parts.append(values[:room])
            if room <= len(values):
                if self._last:
                    self._found.append(self._of(self._last))
                self._last, self._parts = self._parts, []
            values = values[room:]

    def found(self) -> Found:
        """Return the numbers of the blocks, shape (B, ...), and the replicates of each."""
        rest = [*self._last, *self._parts]
        # Replicates before the first whole block are none.
        each = [*self._found, *([self._of(rest)] if self._last else [])]
        numbers = np.stack([one for one, _ in each]) if each else np.empty((0, 0, 0))
        return numbers, np.array([count for _, count in each], np.int64)

    def _of(self, parts: list[NDArray[Any]]) -> tuple[Floats, int]:
        values = np.concatenate(parts)
        return self._numbers(values), len(values)

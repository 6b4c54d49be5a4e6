"""Random numbers as a pure function of (seed, path, replicate), from a counter-based generator.

A `Stream` has the random numbers of one purpose, which a path such as (design, condition, block) names. Its key is a
hash of the seed and the path. From a key and a counter, Philox [1]_ makes as many random numbers as are needed.
Replicates are grouped in tiles of 2^i replicates, with one counter value for each tile: where a replicate needs few
numbers, setting the counter for every replicate would take longer than drawing them. So any range of replicates can be
drawn at any time, in any order, in any process, with the same numbers.

.. rubric:: References

.. [1] J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw (2011). Parallel random numbers: as easy as 1, 2, 3. SC'11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import Philox, SeedSequence
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer
from mcgen.noise import Array, DType

Seed = int | SeedSequence

# Most random numbers in a tile of several replicates: 64 to 128 KB, which stay in a core's second-level cache.
_TILE_VALUES = 2**14
# Most replicates in a tile; drawing one replicate alone then wastes the numbers of at most 255 others.
_TILE_REPLICATES = 256


def as_seed_sequence(seed: Seed) -> SeedSequence:
    """Return the SeedSequence of `seed`.

    Raises
    ------
    TypeError, ValueError
        If it is neither a SeedSequence nor a non-negative integer.
    """
    if isinstance(seed, SeedSequence):
        return seed
    try:
        number = checked_integer("seed", seed, largest=None)
    except TypeError:
        raise TypeError(
            f"seed must be an int or a numpy.random.SeedSequence; got {seed!r} of type {type(seed).__name__}. "
            "Pass a fixed number such as seed=0, so that the result can be made again"
        ) from None
    if number < 0:
        raise ValueError(f"seed must be at least 0; got {number}")
    return SeedSequence(number)


class Stream:
    """The random numbers of one purpose, as arrays with one row for each replicate.

    Parameters
    ----------
    seed : int or SeedSequence
        Seed that the user gave.
    *path : str or int
        Name of the purpose; different paths give independent numbers.
    """

    def __init__(self, seed: Seed, *path: str | int) -> None:
        root = as_seed_sequence(seed)
        digest = hashlib.sha256("\x1f".join(map(str, path)).encode()).digest()
        words = tuple(np.frombuffer(digest[:16], dtype="<u4").tolist())
        leaf = SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *words), pool_size=root.pool_size)
        self._philox = Philox(key=leaf.generate_state(2, np.uint64))
        self._state = self._philox.state
        self._generator = NumpyGenerator(self._philox)

    def normals(self, replicates: range, size: int, dtype: DType) -> Array:
        """Return i.i.d. N(0, 1) numbers, shape (len(replicates), size)."""
        out: Array = np.empty((len(replicates), size), dtype)
        for rows, part in self.normal_tiles(replicates, size, dtype, out):
            if part.base is not out:
                out[rows] = part
        return out

    def normal_tiles(
        self, replicates: range, size: int, dtype: DType, out: Array | None = None
    ) -> Iterator[tuple[slice, Array]]:
        """Yield (rows, numbers) tile by tile, so that callers can transform the numbers while they are in cache.

        Where `out` is given, tiles that are needed from their first replicate on are drawn into their rows of it.
        Other tiles are drawn into new memory.
        """
        for rows, skip in self._tiles(replicates, size):
            n_rows = rows.stop - rows.start
            if out is not None and skip == 0:
                yield rows, self._generator.standard_normal(dtype=np.dtype(dtype), out=out[rows])
            else:
                yield (
                    rows,
                    self._generator.standard_normal((skip + n_rows, size), dtype=np.dtype(dtype))[skip:],
                )

    def digits(self, replicates: range, size: int) -> NDArray[np.uint32]:
        """Return i.i.d. 32-bit words, shape (len(replicates), size)."""
        tiles = self._digit_tiles(replicates, size)
        rows, part = next(tiles)
        if len(part) == len(replicates):
            # Returned without a copy, which would take the same memory a second time.
            return part
        out = np.empty((len(replicates), size), np.uint32)
        out[rows] = part
        for rows, part in tiles:
            out[rows] = part
        return out

    def generator(self, index: int) -> NumpyGenerator:
        """Return numpy's generator, set to the start of one index's numbers; valid until the stream is used again."""
        self._seek(index)
        return self._generator

    def _digit_tiles(self, replicates: range, size: int) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
        for rows, skip in self._tiles(replicates, size):
            first, last = skip * size, (skip + rows.stop - rows.start) * size
            words = self._philox.random_raw((last + 1) // 2).astype("<u8", copy=False).view("<u4")
            yield rows, words[first:last].reshape(-1, size).astype(np.uint32, copy=False)

    def _tiles(self, replicates: range, size: int) -> Iterator[tuple[slice, int]]:
        """Set the counter to one tile after another; yield its rows in the output and the replicates to skip."""
        per_tile = replicates_per_tile(size)
        start = replicates.start
        while start < replicates.stop:
            tile, skip = divmod(start, per_tile)
            stop = min(replicates.stop, (tile + 1) * per_tile)
            self._seek(tile)
            yield slice(start - replicates.start, stop - replicates.start), skip
            start = stop

    def _seek(self, index: int) -> None:
        # Drawing numbers increases the two low words of the counter; the index is in a higher word.
        self._state["state"]["counter"][:] = (0, 0, index, 0)
        self._state["buffer_pos"] = 4
        self._state["has_uint32"] = 0
        self._philox.state = self._state


def replicates_per_tile(size: int) -> int:
    """Return the number of replicates in a tile: a power of two that depends only on the numbers per replicate."""
    return min(_TILE_REPLICATES, 1 << max(0, (_TILE_VALUES // max(1, size)).bit_length() - 1))

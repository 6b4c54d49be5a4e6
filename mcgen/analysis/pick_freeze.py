"""The design behind `variance_shares`: points that take a part of the noise from one vector and the rest from another.

A replicate draws two independent noise vectors x and x'. Its points are x, -x, x', -x' (1 - u for uniform noise), and
two for each swap: one takes the part from x and the rest from x', the other takes the part from x' and the rest from
x. A part is a set of entries, or the span of some directions B, for which the point is x' + B B'(x - x'), or a single
coordinate that is drawn for each replicate. Each point alone has exactly the law of the noise, since x and x' are
independent and the parts of a vector are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.analysis.noise_parts import Part
from mcgen.designs import MonteCarlo, Replicates
from mcgen.designs._base import Path, _checked_range
from mcgen.designs.antithetic import _negate
from mcgen.noise import Array, BlockNoise, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.directions import Basis, Matrix
from mcgen.noise.numbers import uniform_from_normal
from mcgen.noise.random import Seed, Stream

BASE_POINTS = 4
"""The points x, -x, x' and -x'."""

Swap = tuple[Literal["part", "directions", "coordinate"], int]
"""What two further points exchange: the number of a part, a number of directions, or the number of a coordinate."""


@dataclass(frozen=True, repr=False)
class PickFreeze:
    """Pick-freeze points of two independent noise vectors.

    Attributes
    ----------
    parts : tuple of Part
        Parts of the noise that are swapped; together they are all of it, or there is none.
    basis : Basis or None
        Directions that are swapped.
    directions : tuple of int
        How many leading directions each swap of directions has.
    n_coordinates : int
        How many single coordinates are swapped; others in each replicate, each equally often.
    """

    parts: tuple[Part, ...] = ()
    basis: Basis | None = None
    directions: tuple[int, ...] = ()
    n_coordinates: int = 0
    n_points: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_points", BASE_POINTS + 2 * len(self.swaps))

    @property
    def swaps(self) -> tuple[Swap, ...]:
        """The swaps, in the order of their points. Of two parts one is enough: the other is its complement."""
        own = 1 if len(self.parts) == 2 else len(self.parts)
        return (
            *(("part", j) for j in range(own)),
            *(("directions", r) for r in self.directions),
            *(("coordinate", i) for i in range(self.n_coordinates)),
        )

    def points_of(self, swap: Swap) -> tuple[int, int]:
        """Return the point with the swapped noise from x and the rest from x', and the point with the reverse."""
        if swap == ("part", 1) and len(self.parts) == 2:
            first, second = self.points_of(("part", 0))
            return second, first
        first = BASE_POINTS + 2 * self.swaps.index(swap)
        return first, first + 1

    def draw(
        self,
        spec: NoiseSpec | Shape,
        replicates: Replicates,
        seed: Seed,
        *,
        stream: Path = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of some replicates; see `mcgen.designs.PointsDesign.draw`."""
        spec = as_noise_spec(spec)
        rows = _checked_range("replicates", replicates, None)
        columns = _checked_range("points", self.n_points if points is None else points, self.n_points)
        drawn = _Drawn(self, spec, rows, columns, seed, (str(self), *stream))
        names = tuple(name for name, _ in spec.blocks)
        return BlockNoise(drawn.block, names) if len(names) > 1 else drawn.block(names[0])

    def __str__(self) -> str:
        told = [part.name for part in self.parts]
        told += [f"{r} directions" for r in self.directions]
        told += [f"{self.n_coordinates} coordinates"] * (self.n_coordinates > 0)
        content = repr((self.parts, None if self.basis is None else self.basis.digest))
        digest = hashlib.blake2b(content.encode(), digest_size=4).hexdigest()
        return f"PickFreeze({', '.join(told)}; {digest})"

    __repr__ = __str__


class _Drawn:
    """The points of some replicates, block by block."""

    def __init__(
        self, design: PickFreeze, spec: NoiseSpec, replicates: range, points: range, seed: Seed, path: Path
    ) -> None:
        self._design, self._spec, self._replicates, self._points = design, spec, replicates, points
        self._seed, self._path = seed, path
        self._matrices = {} if design.basis is None else design.basis.by_block(spec)

    def block(self, name: str) -> Array:
        """Return one block of noise of the points that were asked for."""
        if dict(self._spec.blocks)[name].iid:
            return self._independent(name)
        x, other = self._both(name)
        law = dict(self._spec.blocks)[name].law
        out = np.empty((len(x), len(self._points), *x.shape[1:]), x.dtype)
        for place, point in enumerate(self._points):
            if point >= BASE_POINTS:
                out[:, place] = self._swapped(name, point, x, other)
            elif point % 2:
                _negate(x if point == 1 else other, law, out[:, place])
            else:
                out[:, place] = other if point else x
        return out

    def _independent(self, name: str) -> Array:
        """Return one block that is drawn for every point, whatever the design."""
        rows, n = self._replicates, self._design.n_points
        inner = range(n * rows.start, n * rows.stop)
        drawn = MonteCarlo().draw(self._spec, inner, self._seed, stream=(*self._path, "independent"))
        block = drawn if isinstance(drawn, np.ndarray) else drawn[name]
        return block.reshape(len(rows), n, *block.shape[2:])[:, self._points.start : self._points.stop]

    def _both(self, name: str) -> tuple[Array, Array]:
        """Return x and x' of one block, each of shape (replicates, ...)."""
        inner = range(2 * self._replicates.start, 2 * self._replicates.stop)
        drawn = MonteCarlo().draw(self._spec, inner, self._seed, stream=(*self._path, "both"))
        block = drawn if isinstance(drawn, np.ndarray) else drawn[name]
        return block[::2, 0], block[1::2, 0]

    def _swapped(self, name: str, point: int, x: Array, other: Array) -> Array:
        """Return the block of a point that takes the swapped noise from one vector, and the rest from the other."""
        number, reverse = divmod(point - BASE_POINTS, 2)
        kind, which = self._design.swaps[number]
        taken, rest = (other, x) if reverse else (x, other)
        if kind == "part":
            return np.where(self._design.parts[which].mask(name, x.shape[1:]), taken, rest)
        if kind == "directions":
            return self._along(name, which, rest, -1.0 if reverse else 1.0)
        found = rest.reshape(len(rest), -1).copy()
        rows, columns = self._chosen(name, which)
        found[rows, columns] = taken.reshape(len(rest), -1)[rows, columns]
        return found.reshape(rest.shape)

    def _chosen(self, name: str, which: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the replicates whose coordinate lies in a block, and where in it."""
        sizes = {name: block.size for name, block in self._spec.blocks}
        place = [*sizes].index(name)
        inside = self._coordinates[:, which] - sum([*sizes.values()][:place])
        rows = np.flatnonzero((inside >= 0) & (inside < sizes[name]))
        return rows, inside[rows]

    @cached_property
    def _coordinates(self) -> NDArray[np.intp]:
        """The coordinates that are swapped, shape (replicates, n): one in each of n equal stretches of all of them.

        With one uniform shift for a replicate each coordinate has the same probability, and all differ.
        """
        n, d = self._design.n_coordinates, self._spec.dimension
        digits = Stream(self._seed, *self._path, "coordinates").digits(self._replicates, 1)
        shift = (digits.astype(np.float64) + 0.5) / 2.0**32
        return np.minimum(np.floor((shift + np.arange(n)) * (d / n)), d - 1).astype(np.intp)

    def _along(self, name: str, r: int, rest: Array, sign: float) -> Array:
        """Return one block of the rest with the first r directions of the other vector."""
        if name not in self._matrices:
            return rest
        matrix, normal = self._matrices[name][:, :r], self._normal(name, rest)
        found = np.stack(
            [row + matrix @ (sign * step) for row, step in zip(normal, self._steps[:, :r], strict=True)]
        ).reshape(rest.shape)
        if dict(self._spec.blocks)[name].law == "uniform":
            return uniform_from_normal(found, self._spec.dtype)
        return found.astype(rest.dtype)

    @cached_property
    def _steps(self) -> Matrix:
        """The differences B'(x - x') along all directions, shape (replicates, r)."""
        return np.asarray(sum(self._differences()))

    def _differences(self) -> Iterator[Matrix]:
        """Yield the part of each block in the differences along the directions."""
        for name, matrix in self._matrices.items():
            x, other = (self._normal(name, one) for one in self._both(name))
            # One product per replicate, since the last bits of matrix products depend on their sizes.
            yield np.stack([row @ matrix for row in x - other])

    def _normal(self, name: str, block: Array) -> Floats:
        """Return a block as normal numbers in double precision, shape (replicates, size)."""
        flat = block.reshape(len(block), -1).astype(np.float64)
        return np.asarray(ndtri(flat)) if dict(self._spec.blocks)[name].law == "uniform" else flat

r"""A leading design on the most important directions, another on the rest.

With the r orthonormal directions B of a basis, the leading design's points a of r dimensions and the other's points w
of all d,

.. math:: z = w + B (a - B'w) = B a + (I - B B') w.

For a ~ N(0, I) and w ~ N(0, I) independent of it, the covariance of z is B B' + (I - B B') = I: every point has exactly
its law whatever B is, and B'z = a. What the statistic owes to the r directions meets the leading design in r
dimensions, where nets are good, however many the noise has [1]_ [2]_. A poor basis costs efficiency, never the
interval.

B is taken by the blocks of the noise, :math:`B'w = \sum_b B_b' w_b`, so that no d x d matrix is ever made, and of
several blocks no more than one is in memory: the r numbers a - B'w of each point are found first, once, and then each
block is drawn again as it is asked for. There is one joint draw of the leading points for all blocks, not one a block:
their directions may reach over blocks, and a net over all directions is better than several in random order. Uniform
blocks that directions reach are the normal distribution function of such z.

.. rubric:: References

.. [1] R. E. Caflisch, W. Morokoff, A. Owen (1997). Valuation of mortgage-backed securities using Brownian bridges to
   reduce effective dimension. J. Comput. Finance 1(1), 27-46.
.. [2] J. Imai, K. S. Tan (2006). A general dimension reduction technique for derivative pricing. J. Comput. Finance
   10(2), 129-155.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mcgen.designs._base import Design, Path, Replicates, _checked_range
from mcgen.designs.antithetic import Antithetic
from mcgen.designs.sobol import Sobol
from mcgen.noise import Array, BlockNoise, DType, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.directions import Basis, Matrix
from mcgen.noise.numbers import uniform_from_normal
from mcgen.noise.random import Seed

# Noise of the other design is drawn for several replicates at once, up to this many numbers.
_AT_ONCE = 2**21
_LEADING, _REST = Sobol(64), Antithetic()


@dataclass(frozen=True)
class Subspace:
    """The leading design on the directions of a basis, the other design on what is orthogonal to them.

    Blocks that no direction reaches, and i.i.d. ones, are the other design's alone.

    Parameters
    ----------
    basis : Basis
        Such as `mcgen.bases.active_subspace` or `mcgen.bases.dct_basis` make.
    leading : Design
        Draws the coordinates along the directions; its points are those of a replicate.
    rest : Design
        Draws everything else. Its points divide those of `leading`: several of its replicates, side by side, are one.

    Notes
    -----
    The mathematics and its references open the module `mcgen.designs.subspace`.

    Examples
    --------
    >>> import mcgen
    >>> design = mcgen.Subspace(mcgen.bases.dct_basis((3, 8, 8), 4), leading=mcgen.Sobol(16))
    >>> design.draw((3, 8, 8), replicates=25, seed=0).shape
    (25, 16, 3, 8, 8)
    """

    basis: Basis
    leading: Design = _LEADING
    rest: Design = _REST
    n_points: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.basis, Basis):
            raise TypeError(
                f"basis must be an mcgen.bases.Basis; got {type(self.basis).__name__}. Of a matrix: Basis(matrix)"
            )
        for name in ("leading", "rest"):
            design = getattr(self, name)
            if not isinstance(design, Design) or isinstance(design, type):
                raise TypeError(f"{name} must satisfy mcgen.Design, such as mcgen.Antithetic(); got {design!r}")
        n, each = self.leading.n_points, self.rest.n_points
        if n % each:
            raise ValueError(
                f"the {n} points of leading={self.leading} must be a multiple of the {each} of rest={self.rest}; take "
                f"rest=MonteCarlo(), or a rest or a leading design of other n_points, such as {each} and {2 * each}"
            )
        object.__setattr__(self, "n_points", n)

    @property
    def n_pilot_evaluations(self) -> int:
        """What finding the basis cost, beside the run."""
        return self.basis.n_evaluations

    def draw(
        self,
        spec: NoiseSpec | Shape,
        replicates: Replicates,
        seed: Seed,
        *,
        stream: Path = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of some replicates; see `mcgen.designs.PointsDesign.draw`.

        Raises
        ------
        TypeError, ValueError
            If the basis does not fit the noise, or the seed, the replicates or the points can't be used.
        """
        spec = as_noise_spec(spec)
        rows = _checked_range("replicates", replicates, None)
        columns = _checked_range("points", self.n_points if points is None else points, self.n_points)
        joined = _Joined(self, spec, rows, columns, seed, (str(self), *stream))
        names = tuple(name for name, _ in spec.blocks)
        return BlockNoise(joined.block, names) if len(names) > 1 else joined.block(names[0])


class _Joined:
    """The noise of some replicates, block by block: whole replicates, of which only some points are given out."""

    def __init__(
        self, design: Subspace, spec: NoiseSpec, replicates: range, points: range, seed: Seed, path: Path
    ) -> None:
        self._spec, self._replicates, self._points = spec, replicates, points
        self._seed, self._path = seed, path
        self._leading, self._rest, self._n = design.leading, design.rest, design.n_points
        self._directions = design.basis.n_directions
        matrices = design.basis.by_block(spec)
        steered = {name: replace(b, law="normal") if name in matrices else b for name, b in spec.blocks}
        uniform = any(block.law == "uniform" for name, block in spec.blocks if name in matrices)
        # Through float64, so that the distribution function keeps its tails.
        dtype: DType = "float64" if uniform else spec.dtype
        self._normal = NoiseSpec(tuple(steered.items()), dtype)
        # In the type of the noise: float32 products of float32 noise take half the time.
        self._matrices = {name: matrix.astype(dtype) for name, matrix in matrices.items()}

    def block(self, name: str) -> Array:
        """Return one block of the given points."""
        spec, points = dict(self._spec.blocks)[name], self._points
        out = np.empty((len(self._replicates), len(points), spec.size), self._spec.dtype)
        if name not in self._matrices:
            for rows, w in self._others(name, self._spec):
                out[rows] = w[:, points.start : points.stop]
        else:
            matrix = self._matrices[name]
            # A single block is drawn whole, once; with several the steps must be known first.
            steps = self._coordinates if len(self._matrices) == 1 else self._steps
            for rows, w in self._others(name, self._normal):
                # Matrix products give other last bits for other sizes: always of a whole replicate.
                for i, r in enumerate(range(rows.start, rows.stop)):
                    step = steps[r] - w[i] @ matrix if len(self._matrices) == 1 else steps[r]
                    w[i] += step.astype(matrix.dtype) @ matrix.T
                    z = w[i, points.start : points.stop]
                    out[r] = z if spec.law == "normal" else uniform_from_normal(z, self._spec.dtype)
        return out.reshape(len(out), len(points), *spec.shape)

    @cached_property
    def _coordinates(self) -> Matrix:
        """The leading design's r coordinates of every point, shape (replicates, n_points, r)."""
        directions = NoiseSpec.normal((self._directions,), "float64")
        path = (*self._path, "leading")
        return np.array(self._leading.draw(directions, self._replicates, self._seed, stream=path), np.float64)

    @cached_property
    def _steps(self) -> Matrix:
        """The r coordinates a - B'w of every point, by which w moves along the directions of several blocks."""
        steps = self._coordinates.copy()
        for name, matrix in self._matrices.items():
            for rows, w in self._others(name, self._normal):
                for i, r in enumerate(range(rows.start, rows.stop)):
                    steps[r] -= w[i] @ matrix
        return steps

    def _others(self, name: str, spec: NoiseSpec) -> Iterator[tuple[slice, Array]]:
        """Yield (rows, w of shape (rows, n_points, size)) of one block, some replicates at a time."""
        size, each = dict(spec.blocks)[name].size, self._n // self._rest.n_points
        at_once = max(1, _AT_ONCE // (self._n * size))
        for first in range(0, len(self._replicates), at_once):
            some = self._replicates[first : first + at_once]
            inner = range(some.start * each, some.stop * each)
            drawn = self._rest.draw(spec, inner, self._seed, stream=(*self._path, "rest"))
            w = drawn if isinstance(drawn, np.ndarray) else np.asarray(drawn[name])
            yield slice(first, first + len(some)), w.reshape(len(some), self._n, size)

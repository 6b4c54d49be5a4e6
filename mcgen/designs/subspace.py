r"""Subspace designs: one design on the most important directions of the noise, another on the rest.

Let the columns of B be the r orthonormal directions of a basis. The leading design draws points a in r dimensions, and
the other design points w in all d dimensions. The points of the subspace design are

.. math:: z = w + B (a - B'w) = B a + (I - B B') w.

For a ~ N(0, I) and w ~ N(0, I) independent of it, the covariance of z is B B' + (I - B B') = I. So every point has
exactly its law, whatever B is, and B'z = a. The leading design integrates the part of the statistic that
depends on the r directions alone. In few dimensions nets are good, however many dimensions the noise has [1]_ [2]_.
A poor basis costs efficiency; the interval stays valid.

B is used block by block, :math:`B'w = \sum_b B_b' w_b`, so no d x d matrix is made and at most one block is in memory.
First the r numbers a - B'w of each point are computed, once; then each block is drawn again when it is asked for. The
leading points are drawn once for all blocks together. A direction may extend over several blocks, and one net over all
directions is better than several nets in random order. Uniform blocks that have directions are the normal distribution
function of such z.

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

from mcgen.designs._base import Design, Path, Replicates, _checked_range, require_points
from mcgen.designs.antithetic import Antithetic
from mcgen.designs.sobol import Sobol
from mcgen.noise import Array, BlockNoise, DType, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.directions import Basis, Matrix
from mcgen.noise.numbers import uniform_from_normal
from mcgen.noise.random import Seed

# Most numbers of the other design that are drawn at once: 8 to 16 MB.
_AT_ONCE = 2**21
# Default designs: nets of 64 points leave many replicates, and pairs cancel what is odd in the remaining directions.
_LEADING, _REST = Sobol(64), Antithetic()


@dataclass(frozen=True)
class Subspace:
    """One design along the directions of a basis, another on the rest of the noise.

    Use it where the statistic depends mostly on a few directions of many-dimensional noise. Nets are good in few
    dimensions, and the pairs on the rest cancel its odd part. A poor basis costs efficiency; the interval stays valid.

    Parameters
    ----------
    basis : Basis
        The directions, such as those of `mcgen.bases.active_subspace` or `mcgen.bases.dct_basis`.
    leading : Design
        The design along the directions. A replicate has as many points as one of this design.
    rest : Design
        The design of everything else, also of blocks without directions and of i.i.d. blocks. Its number of points
        must divide that of `leading`; several of its replicates together have the points of one.

    Raises
    ------
    TypeError, ValueError
        If the basis is no `Basis`, a design is none, or the numbers of points do not fit. A run raises ValueError if
        the basis does not fit the noise.

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
                f"basis must be an mcgen.bases.Basis; got {type(self.basis).__name__}. For a matrix write Basis(matrix)"
            )
        for name in ("leading", "rest"):
            design = getattr(self, name)
            if not isinstance(design, Design) or isinstance(design, type):
                raise TypeError(f"{name} must satisfy mcgen.Design, such as mcgen.Antithetic(); got {design!r}")
            require_points(design)
        n, each = self.leading.n_points, self.rest.n_points
        if n % each:
            raise ValueError(
                f"the {n} points of leading={self.leading} must be a multiple of the {each} of rest={self.rest}; take "
                f"rest=MonteCarlo(), or a rest or a leading design of other n_points, such as {each} and {2 * each}"
            )
        object.__setattr__(self, "n_points", n)

    @property
    def n_pilot_evaluations(self) -> int:
        """Cost of finding the basis, in evaluations of the generator; the run itself does not include it."""
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
    """The noise of some replicates, block by block. Replicates are drawn whole, even for a few of their points."""

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
        # Uniform blocks are computed in float64, since the distribution function loses its upper tail in float32.
        dtype: DType = "float64" if uniform else spec.dtype
        self._normal = NoiseSpec(tuple(steered.items()), dtype)
        # The matrices have the type of the noise: products in float32 take half the time.
        self._matrices = {name: matrix.astype(dtype) for name, matrix in matrices.items()}

    def block(self, name: str) -> Array:
        """Return one block of noise for the points that were asked for."""
        spec, points = dict(self._spec.blocks)[name], self._points
        steered = name in self._matrices
        parts = []
        for rows, w in self._others(name, self._normal if steered else self._spec):
            if steered:
                self._steer(name, rows, w)
            z = w[:, points.start : points.stop]
            uniform = steered and spec.law == "uniform"
            parts.append(
                uniform_from_normal(z, self._spec.dtype) if uniform else z.astype(self._spec.dtype, copy=False)
            )
        # A single part is returned without a copy.
        out = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return out.reshape(len(out), len(points), *spec.shape)

    def _steer(self, name: str, rows: slice, w: Array) -> None:
        """Add B (a - B'w) to the points w (rows, n_points, size) of one block."""
        matrix = self._matrices[name]
        # A single block is drawn once; with several blocks, a - B'w needs all of them first.
        alone = len(self._matrices) == 1
        steps, product = self._coordinates if alone else self._steps, np.empty(w.shape[1:], w.dtype)
        # One product per whole replicate, since the last bits of matrix products depend on their sizes.
        for one, step in zip(w, steps[rows], strict=True):
            step = step - one @ matrix if alone else step
            one += np.matmul(step.astype(matrix.dtype), matrix.T, out=product)

    @cached_property
    def _coordinates(self) -> Matrix:
        """Coordinates a of every point along the r directions, shape (replicates, n_points, r)."""
        directions = NoiseSpec.normal((self._directions,), "float64")
        path = (*self._path, "leading")
        return np.array(self._leading.draw(directions, self._replicates, self._seed, stream=path), np.float64)

    @cached_property
    def _steps(self) -> Matrix:
        """Steps a - B'w of every point along the r directions, shape (replicates, n_points, r)."""
        steps = self._coordinates.copy()
        for name, matrix in self._matrices.items():
            for rows, w in self._others(name, self._normal):
                for i, r in enumerate(range(rows.start, rows.stop)):
                    steps[r] -= w[i] @ matrix
        return steps

    def _others(self, name: str, spec: NoiseSpec) -> Iterator[tuple[slice, Array]]:
        """Yield (rows, w of shape (rows, n_points, size)) for one block of the other design, group by group."""
        size, each = dict(spec.blocks)[name].size, self._n // self._rest.n_points
        at_once = max(1, _AT_ONCE // (self._n * size))
        for first in range(0, len(self._replicates), at_once):
            some = self._replicates[first : first + at_once]
            inner = range(some.start * each, some.stop * each)
            drawn = self._rest.draw(spec, inner, self._seed, stream=(*self._path, "rest"))
            w = drawn if isinstance(drawn, np.ndarray) else np.asarray(drawn[name])
            yield slice(first, first + len(some)), w.reshape(len(some), self._n, size)

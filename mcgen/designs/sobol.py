r"""Scrambled Sobol' points: digital nets in base 2 with a linear matrix scramble and a digital shift.

In each coordinate, the n = 2^k points of a net are x_i = C i: a 32 x 32 matrix C over the field of two elements maps
the binary digits of i to those of x_i. A linear matrix scramble [1]_ replaces C by L C, with L random, lower
triangular, and ones on its diagonal. A digital shift adds one random word to all points. Then every point alone is
uniform on the grid of 32 digits, and the points together keep the net's quality parameter t.

Since i < 2^k, only the first k columns of C matter. These are upper triangular, so only the first k columns of L do.
Each column is a 32-bit word, so k random words per coordinate are the whole scramble. With the scrambled columns S_0,
..., S_{k-1} as words, the points are made by doubling: the second half of 2^{j+1} points is the first half XOR S_j.

Sobol' sequences have up to 21,201 dimensions here [2]_. Larger blocks, and specs of several blocks, are cut into parts,
each with its own randomization and with its points in random order. This is Latin supercube sampling [3]_.

.. rubric:: References

.. [1] J. Matousek (1998). On the L2-discrepancy for anchored boxes. J. Complexity 14(4), 527-556.
.. [2] S. Joe, F. Y. Kuo (2008). Constructing Sobol sequences with better two-dimensional projections. SIAM J. Sci.
   Comput. 30(5), 2635-2654. The direction numbers are those of `scipy.stats.qmc.Sobol`.
.. [3] A. B. Owen (1998). Latin supercube sampling for very high-dimensional simulations. ACM Trans. Model. Comput.
   Simul. 8(1), 71-102.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer
from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.designs.sobol_matrices import Words, generator_columns
from mcgen.noise import Array, NoiseSpec
from mcgen.noise.numbers import number_from_digits

MAX_DIMENSION = 21_201
"""Most dimensions of one Sobol' sequence: those for which direction numbers were published [2]_."""
MAX_POINTS = 2**24
"""Most points in a replicate; each still has 8 of its 32 random digits below the net's own."""
# Numbers made at a time: their float64 middles (256 KB) stay in a core's second-level cache until they are stored.
_CHUNK = 2**15


@dataclass(frozen=True)
class Sobol(PointsDesign):
    """Scrambled Sobol' points, `n_points` in each replicate; each replicate has its own scramble and shift.

    Use it for smooth statistics, of noise in few dimensions above all: there its gains are the largest of all designs.

    An interval needs several replicates, so the evaluations are shared out over them. Without `n_points` a run by
    `n_evaluations` has 16 to 31 replicates (`for_evaluations`). Fewer and larger replicates have the smaller variance.
    More replicates show better whether their means are skewed.

    Parameters
    ----------
    n_points : int, optional
        Points in a replicate: a power of two from 2 to 2^24. By default it follows from the `n_evaluations` of
        `estimate`, `difference` or `compare`. It is 64 for a run by `atol` or `rtol`.

    Raises
    ------
    TypeError, ValueError
        If the number of points is no such power of two.

    Notes
    -----
    The mathematics and its references open the module `mcgen.designs.sobol`.

    Examples
    --------
    >>> import mcgen
    >>> mcgen.Sobol().for_evaluations(10_000)
    Sobol(n_points=512)
    >>> model = mcgen.as_generator(lambda z: z**3 + z, noise=(4,), name="cube")
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Sobol(), n_evaluations=4000, seed=0)
    >>> result.n_replicates, result.n_evaluations
    (31, 3968)
    """

    # None until the number of evaluations is known; no run and no draw sees a design without points.
    n_points: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.n_points is None:
            return
        n = checked_integer("n_points", self.n_points)
        if n < 2 or n > MAX_POINTS or n & (n - 1):
            below = 1 << max(1, min(n, MAX_POINTS).bit_length() - 1)
            near = f"{below} and {2 * below}" if below < MAX_POINTS else f"{below}"
            raise ValueError(f"Sobol needs a power of two from 2 to {MAX_POINTS} as n_points; got {n}. Near it: {near}")
        object.__setattr__(self, "n_points", n)

    def net_dimension(self, spec: NoiseSpec) -> int:
        """Return the dimension of the net that each replicate is for this noise; 0 where some blocks are i.i.d."""
        return 0 if any(block.iid for _, block in spec.blocks) else spec.dimension

    def __repr__(self) -> str:
        return "Sobol()" if self.n_points is None else f"Sobol(n_points={self.n_points})"

    def for_evaluations(self, n_evaluations: int) -> Sobol:
        r"""Return the design with its number of points; without one, :math:`n = 2^{\lfloor \log_2 (N / 16) \rfloor}`.

        A run of N evaluations then has 16 to 31 replicates, or fewer if N is below 32. Fewer and larger replicates
        have the smaller variance, but with fewer than 16 the quantile of Student's t is large. In simulations of 13
        integrands, 16 replicates had 0.64 to 0.90 of the half-width of 64 replicates (medians).
        """
        if self.n_points is not None:
            return self
        return Sobol(1 << min(max(n_evaluations // 16, 2).bit_length() - 1, MAX_POINTS.bit_length() - 1))

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        out = np.empty((len(replicates), len(points), pieces.size), pieces.dtype)
        cuts = range(0, pieces.size, MAX_DIMENSION)
        shuffled = pieces.several_blocks or len(cuts) > 1
        for start in cuts:
            dimensions = slice(start, min(start + MAX_DIMENSION, pieces.size))
            self._draw_piece(pieces, start, replicates, points, shuffled, out[:, :, dimensions])
        return out

    def _draw_piece(
        self, pieces: _Pieces, piece: int, replicates: range, points: range, shuffled: bool, out: Array
    ) -> None:
        d, k = out.shape[2], self.n_points.bit_length() - 1
        columns = generator_columns(d, k)
        stream, order = pieces.stream("net", piece), pieces.stream("order", piece)
        at_once = max(1, _CHUNK // (self.n_points * d))
        for first in range(0, len(replicates), at_once):
            some = replicates[first : first + at_once]
            random = stream.digits(some, (k + 1) * d).reshape(len(some), k + 1, d)
            net = _Net(scramble(columns, random[:, :k]), random[:, k])
            rows = out[first : first + at_once]
            if shuffled:
                orders = np.stack([order.generator(r).permutation(self.n_points) for r in some])
                for chunk, digits in net.select(orders[:, points.start : points.stop]):
                    number_from_digits(digits, pieces.law, pieces.dtype, rows[chunk])
            else:
                for chunk, digits in net.consecutive(points):
                    number_from_digits(digits, pieces.law, pieces.dtype, rows[chunk])


class _Net:
    """The nets of m replicates, made from their scrambled columns S, shape (m, k, d), and shifts, shape (m, d)."""

    def __init__(self, columns: Words, shift: Words) -> None:
        self._columns, self._shift = columns, shift
        # A chunk has 2^j points and some dimensions, of all replicates.
        m, k, d = columns.shape
        self._width = min(d, max(16, _CHUNK // (m << k)))
        self._log2_length = min(k, max(0, (_CHUNK // (m * self._width)).bit_length() - 1))

    def consecutive(self, points: range) -> Iterator[tuple[tuple[slice, slice, slice], Words]]:
        """Yield (place in the output, digits) for a range of points in the net's order."""
        length = 1 << self._log2_length
        for dimensions in self._dimensions():
            for start in range(points.start - points.start % length, points.stop, length):
                digits = self._aligned(start, dimensions)
                low, high = max(start, points.start), min(start + length, points.stop)
                place = slice(low - points.start, high - points.start)
                yield (slice(None), place, dimensions), digits[:, low - start : high - start]

    def select(self, indices: NDArray[np.int64]) -> Iterator[tuple[tuple[slice, slice, slice], Words]]:
        """Yield (place in the output, digits) for the points with these indices, shape (m, n)."""
        n, length = indices.shape[1], 1 << self._log2_length
        for dimensions in self._dimensions():
            for start in range(0, n, length):
                some = indices[:, start : start + length]
                digits = np.repeat(self._shift[:, None, dimensions], some.shape[1], axis=1)
                for j in range(self._columns.shape[1]):
                    bit = (some >> j & 1).astype(np.uint32)
                    digits ^= bit[:, :, None] * self._columns[:, j, None, dimensions]
                yield (slice(None), slice(start, start + length), dimensions), digits

    def _dimensions(self) -> Iterator[slice]:
        d = self._columns.shape[2]
        return (slice(start, min(start + self._width, d)) for start in range(0, d, self._width))

    def _aligned(self, start: int, dimensions: slice) -> Words:
        """Return the points start, ..., start + 2^j - 1 for j = log2_length, where 2^j divides start."""
        columns = self._columns[:, :, dimensions]
        first = self._shift[:, dimensions].copy()
        for j in range(self._log2_length, columns.shape[1]):
            if start >> j & 1:
                first ^= columns[:, j]
        digits = np.empty((len(first), 1 << self._log2_length, first.shape[1]), np.uint32)
        digits[:, 0] = first
        for j in range(self._log2_length):
            half = 1 << j
            np.bitwise_xor(digits[:, :half], columns[:, j, None], out=digits[:, half : 2 * half])
        return digits


def scramble(columns: Words, random: Words) -> Words:
    """Return the first k columns of L C as words, for lower triangular matrices L made from random words.

    Parameters
    ----------
    columns : ndarray of uint32, shape (k, d)
        The first k columns of the generator matrices C, with row 0 in the most significant bit.
    random : ndarray of uint32, shape (m, k, d)
        Random words. Column i of L has a one in row i, and below it the bits of word i that are lower than 2^(31 - i).

    Returns
    -------
    ndarray of uint32, shape (m, k, d)
        The scrambled columns S of m replicates.
    """
    k = len(columns)
    lower = np.empty_like(random)
    scrambled = np.empty_like(random)
    for i in range(k):
        diagonal = np.uint32(1 << (31 - i))
        lower[:, i] = random[:, i] & (diagonal - np.uint32(1)) | diagonal
        # C is upper triangular with ones on its diagonal: L C_i is L_i plus each L_j where C_i has a one in row j < i.
        scrambled[:, i] = lower[:, i]
        for j in range(i):
            bit = columns[i] >> np.uint32(31 - j) & np.uint32(1)
            scrambled[:, i] ^= lower[:, j] * bit
    return scrambled

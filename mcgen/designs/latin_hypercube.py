r"""Latin hypercube samples: n points with one point in each of n equal intervals of every coordinate.

Each coordinate j has a uniform random permutation :math:`\pi_j` of 0, ..., n - 1 and uniform numbers :math:`v_{ij}`.
All are independent [1]_, and

.. math:: u_{ij} = (\pi_j(i) + v_{ij}) / n .

So each point alone is uniform, and each coordinate has one point in every stratum [p/n, (p + 1)/n). Let the statistic
have variance :math:`\sigma^2`, and the residual of its best additive approximation :math:`\sum_j f_j(u_j)` variance
:math:`\sigma^2_{\mathrm{rest}}`. Then the mean over the points has variance
:math:`\sigma^2_{\mathrm{rest}} / n + o(1/n)` [2]_, and never more than :math:`\sigma^2 / (n - 1)` [3]_. For a linear
statistic :math:`\sum_j a_j u_j` it is :math:`\sum_j a_j^2 / (12 n^3)`, and :math:`n^2` times as large for a Monte Carlo
mean of n points.

A permutation is the order of n random words of 64 bits. The index of each word replaces its lowest bits, so no two
words are equal and every sorting algorithm gives the same order. At n = 64 the other bits of some two words are equal
with probability 2^-47; then the index decides.

Coordinates are permuted independently, so the hypercubes of several blocks side by side are one hypercube.

.. rubric:: References

.. [1] M. D. McKay, R. J. Beckman, W. J. Conover (1979). A comparison of three methods for selecting values of input
   variables in the analysis of output from a computer code. Technometrics 21(2), 239-245.
.. [2] M. Stein (1987). Large sample properties of simulations using Latin hypercube sampling. Technometrics 29(2),
   143-151.
.. [3] A. B. Owen (1997). Monte Carlo variance of scrambled net quadrature. SIAM J. Numer. Anal. 34(5), 1884-1910.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer
from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.noise import Array
from mcgen.noise.numbers import number_in_stratum

MAX_POINTS = 2**22
"""Most points in a replicate: with more, a stratum of uniform float32 numbers has fewer than two cells."""
# Numbers made at a time: their words and middles (512 KB) stay in a core's second-level cache until they are stored.
_CHUNK = 2**15


@dataclass(frozen=True)
class LatinHypercube(PointsDesign):
    """Latin hypercube samples: `n_points` points in each replicate, in any dimension.

    Use it for statistics that are nearly a sum of functions of single noise entries. That part is integrated almost
    exactly. Interactions of entries gain nothing, and lose at most a factor n / (n - 1). Each replicate has its own
    permutations.

    Parameters
    ----------
    n_points : int
        Points in a replicate, from 2 to 2^22.

    Raises
    ------
    TypeError, ValueError
        If the number of points is no integer in this range.

    Notes
    -----
    The mathematics and its references open the module `mcgen.designs.latin_hypercube`.

    Examples
    --------
    Each of the 8 equal intervals has one point, in every coordinate:

    >>> import mcgen
    >>> noise = mcgen.LatinHypercube(8).draw(mcgen.NoiseSpec.uniform((3,)), replicates=10, seed=0)
    >>> sorted((noise[0, :, 0] * 8).astype(int).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7]
    """

    n_points: int

    def __post_init__(self) -> None:
        n = checked_integer("n_points", self.n_points)
        if n < 2 or n > MAX_POINTS:
            advice = "For one point use MonteCarlo()" if n < 2 else "Take more replicates instead"
            raise ValueError(f"LatinHypercube needs n_points from 2 to {MAX_POINTS}; got {n}. {advice}")
        object.__setattr__(self, "n_points", n)

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        n, d = self.n_points, pieces.size
        out = np.empty((len(replicates), len(points), d), pieces.dtype)
        draw = _Slabs(pieces, n)
        for some in _aligned(replicates, max(1, _CHUNK // (n * d))):
            rows = out[some.start - replicates.start : some.stop - replicates.start]
            for slab in range(draw.n_slabs):
                draw.into(rows, some, slab, points)
        return out


class _Slabs:
    """Hypercubes made in slabs: some coordinates at a time, and some consecutive points (a run) of them at a time.

    Each row of the permutation stream belongs to a slab of one replicate, and each row of the stream of places (the
    v_ij) to a run of a slab. All rows of a stream have the same length.
    """

    def __init__(self, pieces: _Pieces, n: int) -> None:
        self._order, self._place = pieces.stream("order"), pieces.stream("place")
        self._n, self._law, self._dtype = n, pieces.law, pieces.dtype
        self.n_slabs, self._width = _cut(pieces.size, max(1, _CHUNK // n))
        self._n_runs, self._length = _cut(n, _CHUNK)

    def into(self, rows: Array, replicates: range, slab: int, points: range) -> None:
        """Store one slab of coordinates of these points; several replicates at once only where there is one slab."""
        n, width, length = self._n, self._width, self._length
        out = rows[:, :, slab * width : (slab + 1) * width]
        first, last = replicates.start * self.n_slabs + slab, (replicates.stop - 1) * self.n_slabs + slab
        strata = permutations(self._order.digits(range(first, last + 1), 2 * width * n), n)
        for run in range(points.start // length, (points.stop - 1) // length + 1):
            low, high = max(run * length, points.start), min((run + 1) * length, points.stop)
            runs = range(first * self._n_runs + run, last * self._n_runs + run + 1)
            digits = self._place.digits(runs, length * width).reshape(-1, length, width)
            number_in_stratum(
                strata[:, : out.shape[2], low:high].swapaxes(1, 2),
                n,
                digits[:, low - run * length : high - run * length, : out.shape[2]],
                self._law,
                self._dtype,
                out[:, low - points.start : high - points.start],
            )


def permutations(words: NDArray[np.uint32], n: int) -> NDArray[np.uint64]:
    """Return the permutations of 0, ..., n - 1 that sort random 64-bit words.

    Parameters
    ----------
    words : ndarray of uint32, shape (m, 2 * w * n)
        Random digits, two for each number to permute; they are overwritten.
    n : int
        Length of a permutation.

    Returns
    -------
    ndarray of uint64, shape (m, w, n)
        w permutations for each of the m rows.
    """
    keys = words.view(np.uint64).reshape(len(words), -1, n)
    mask = np.uint64((1 << (n - 1).bit_length()) - 1)
    keys &= ~mask
    # In parts, so that no array of n indices is made for many points.
    for start in range(0, n, _CHUNK):
        keys[:, :, start : start + _CHUNK] |= np.arange(start, min(start + _CHUNK, n), dtype=np.uint64)
    keys.sort(axis=-1)
    keys &= mask
    return keys


def _cut(size: int, most: int) -> tuple[int, int]:
    """Return the number of equal parts, each of at most `most` elements, that a size is cut into, and their size."""
    n_parts = -(-size // most)
    return n_parts, -(-size // n_parts)


def _aligned(replicates: range, most: int) -> Iterator[range]:
    """Yield ranges of 2^i <= most replicates that start at multiples of 2^i, so that whole random tiles are used."""
    at_once = 1 << (most.bit_length() - 1)
    start = replicates.start
    while start < replicates.stop:
        stop = min(replicates.stop, (start // at_once + 1) * at_once)
        yield range(start, stop)
        start = stop

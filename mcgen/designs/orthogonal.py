r"""Orthogonal antithetic points: vectors in orthogonal directions, each with its own length, and their negations.

Let the m = n/2 <= d rows :math:`a_1, ..., a_m` of A be i.i.d. N(0, I) vectors of d numbers, and :math:`A = L Q` with L
lower triangular, of positive diagonal, and the rows :math:`q_i` of Q orthonormal. The points are

.. math:: z_i = \|a_i\|\, q_i, \qquad -z_i.

For V orthogonal, A V has the law of A, hence (L, Q V) has that of (L, Q): Q is Haar-distributed and independent of L
[1]_. The lengths :math:`\|a_i\|` are the lengths of the rows of L: independent chi variables with d degrees of freedom.
So they are independent of the directions, and each :math:`\pm z_i` alone is exactly N(0, I). These are the corners of a
randomly rotated cross-polytope [2]_ [3]_ [4]_, with an own radius for each pair.

The part of a statistic that is odd in the noise cancels entirely, as with pairs. For the even part consider a quadratic
form z'Bz. Its mean over the points has variance

.. math:: \frac{2}{m} \Bigl(\mathrm{tr} B^2 - \frac{(m - 1)\, d}{(d - 1)(d + 2)}\, \mathrm{tr} B_0^2 \Bigr),
   \qquad B_0 = B - \frac{\mathrm{tr} B}{d} I,

since over a whole frame of d directions :math:`\sum_i q_i' B q_i = \mathrm{tr} B` is constant. So two of its terms,
each of variance :math:`2\, \mathrm{tr} B_0^2 / (d (d + 2))`, have a covariance of -1/(d - 1) times that variance; the
radii multiply by :math:`d^2`. The same number of antithetic pairs has variance :math:`2\, \mathrm{tr} B^2 / m`. For a
form without trace the ratio of the two is 2/(d + 2) at m = d; for the squared length :math:`|z|^2` it is 1. In general,
by the Funk-Hecke formula, the values of a spherical harmonic of even degree k in two orthogonal directions of uniform
law have the correlation

.. math:: P_k(0) = (-1)^{k/2} \frac{1 \cdot 3 \cdots (k - 1)}{(d - 1)(d + 1) \cdots (d + k - 3)} .

It is negative for degree 2, which gains. It is positive for degree 4: the variance of a statistic purely of that degree
may grow by a factor of up to 1 + 3/(d + 1) at m = d.

Q is computed from the Gram matrix :math:`A A' = L L'` [5]_, in about d n^2 operations. All are matrix products in the
type of the noise; sums over parts of the coordinates are in double precision. The rounding error grows as the square of
the condition number of A, which is at most about 6 for d >= 2 m + 16. In fewer
dimensions Householder's reflections are used, in double precision. Both are computed for a whole replicate at a time.

.. rubric:: References

.. [1] F. Mezzadri (2007). How to generate random matrices from the classical compact groups. Notices Amer. Math. Soc.
   54(5), 592-604.
.. [2] I. Deak (1980). Three digit accurate multiple normal probabilities. Numer. Math. 35, 369-380.
.. [3] F. X. Yu, A. T. Suresh, K. Choromanski, D. Holtmann-Rice, S. Kumar (2016). Orthogonal random features. NIPS 29.
.. [4] M. Rowland, K. Choromanski, F. Chalus, A. Pacchiano, T. Sarlos, R. E. Turner, A. Weller (2018). Geometrically
   coupled Monte Carlo sampling. NeurIPS 31.
.. [5] A. Stathopoulos, K. Wu (2002). A block orthogonalization procedure with constant synchronization requirements.
   SIAM J. Sci. Comput. 23(6), 2165-2182.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mcgen._lib.checks import checked_integer
from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.noise import Array, Law
from mcgen.noise.numbers import uniform_from_normal

# Coordinates in a matrix product: few enough for sums in single precision, and for results that stay in cache.
_COORDINATES = 4096
# Dimensions beyond 2 m that the Gram matrix needs, so that its condition number is small where m is small too.
_SURPLUS = 16


@dataclass(frozen=True)
class OrthogonalAntithetic(PointsDesign):
    """Orthogonal directions with independent lengths, and their negations; points 2i and 2i + 1 are a pair.

    Use it where the even part of a statistic is nearly quadratic. The odd part cancels, as with antithetic pairs.
    Quadratic parts without trace are integrated better too, and best where n_points / 2 is near the dimension. Uniform
    blocks are the normal distribution function of such points.

    Parameters
    ----------
    n_points : int
        Points in a replicate: even, from 2 to twice the size of the smallest block.

    Raises
    ------
    TypeError, ValueError
        If the number of points is no even integer of at least 2. A run raises ValueError for too small blocks.

    Notes
    -----
    The mathematics and its references open the module `mcgen.designs.orthogonal`.

    Examples
    --------
    >>> import mcgen
    >>> noise = mcgen.OrthogonalAntithetic(4).draw((8,), replicates=10, seed=0)
    >>> first, negated, second, _ = noise[0]
    >>> bool((first == -negated).all()), bool(abs(first @ second) < 1e-5)
    (True, True)
    """

    n_points: int

    def __post_init__(self) -> None:
        n = checked_integer("n_points", self.n_points)
        if n < 2 or n % 2:
            near = f"{n - 1} and {n + 1}" if n > 2 else "2"
            raise ValueError(f"OrthogonalAntithetic needs an even n_points, at least 2; got {n}. Near it: {near}")
        object.__setattr__(self, "n_points", n)

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        m, d = self.n_points // 2, pieces.size
        if m > d:
            raise ValueError(
                f"OrthogonalAntithetic needs n_points / 2 orthogonal directions, and a block of {d} numbers has {d}; "
                f"got n_points = {self.n_points}. Take at most {2 * d}, with more replicates, or mark the block iid"
            )
        out = np.empty((len(replicates), len(points), d), pieces.dtype)
        # Uniform blocks are computed in float64, since the distribution function loses its upper tail in float32.
        dtype = pieces.dtype if pieces.law == "normal" else "float64"
        for rows, numbers in pieces.stream().normal_tiles(replicates, m * d, dtype):
            for coordinates, z in orthogonalized(numbers.reshape(-1, m, d)):
                values = z if pieces.law == "normal" else uniform_from_normal(z, pieces.dtype)
                _store_pairs(values, pieces.law, points, out[rows, :, coordinates])
        return out


def orthogonalized(a: Array) -> Iterator[tuple[slice, Array]]:
    """Yield (coordinates, values of z_i there): the rows of A, made orthogonal in order with their lengths kept.

    Parameters
    ----------
    a : ndarray, shape (replicates, m, d)
        The matrices A, with m <= d.
    """
    m, d = a.shape[1:]
    if d < 2 * m + _SURPLUS:
        yield slice(0, d), _by_reflections(a)
        return
    pieces = [slice(start, min(start + _COORDINATES, d)) for start in range(0, d, _COORDINATES)]
    gram = np.zeros((len(a), m, m))
    for piece in pieces:
        gram += np.matmul(a[:, :, piece], a[:, :, piece].swapaxes(1, 2))
    lengths = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    mixing = (lengths[:, :, None] * np.linalg.inv(np.linalg.cholesky(gram))).astype(a.dtype)
    for piece in pieces:
        yield piece, np.matmul(mixing, a[:, :, piece])


def _by_reflections(a: Array) -> Array:
    """Return the z_i by A' = Q R, with signs for a positive diagonal of R; R's columns are as long as A's rows."""
    q, r = np.linalg.qr(a.astype(np.float64, copy=False).swapaxes(1, 2))
    lengths = np.sqrt((r * r).sum(axis=1))
    q *= np.copysign(lengths, np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    return q.swapaxes(1, 2)


def _store_pairs(z: Array, law: Law, points: range, out: Array) -> None:
    """Store z_i as point 2i and its negation as point 2i + 1, for the points in the range."""
    for side in (0, 1):
        first = points.start + (points.start + side) % 2
        values, place = z[:, first // 2 : (points.stop + 1 - side) // 2], out[:, first - points.start :: 2]
        if side == 0:
            place[...] = values
        elif law == "normal":
            np.negative(values, out=place)
        else:
            np.subtract(1, values, out=place)

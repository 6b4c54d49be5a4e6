"""k-antithetic points: k points of which every pair has the most negative correlation that is possible."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcgen._lib.checks import checked_integer
from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.noise import Array
from mcgen.noise.numbers import uniform_from_normal


@dataclass(frozen=True)
class KAntithetic(PointsDesign):
    r"""k points in each replicate; every two have the least possible correlation, -1/(k-1) [1]_.

    Use it in place of pairs for statistics that are nearly linear plus quadratic in the noise. `compare` shows whether
    it gains. Its efficiency is at most twice that of pairs.

    The points are made from x_1, ..., x_k i.i.d. N(0, I) with mean :math:`\bar x`:

    .. math:: z_i = \sqrt{k / (k - 1)}\, (x_i - \bar x) .

    Each z_i is N(0, I), and the z_i sum to zero. For k = 2 they are a pair z, -z. Uniform blocks are the normal
    distribution function of such points. Let :math:`w_j` be the share of the statistic's variance in the Hermite
    polynomials of degree j. Then k times the variance of a replicate mean is
    :math:`\sigma^2 \sum_j w_j (1 + (-1)^j (k - 1)^{1-j})`.

    Parameters
    ----------
    k : int
        Points in a replicate, at least 2.

    Raises
    ------
    TypeError, ValueError
        If k is no integer of at least 2.

    References
    ----------
    .. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
       arXiv:2506.06185.

    Examples
    --------
    >>> import mcgen
    >>> noise = mcgen.KAntithetic(4).draw((3,), replicates=10, seed=0)
    >>> noise.shape, bool((abs(noise.sum(axis=1)) < 1e-5).all())
    ((10, 4, 3), True)
    """

    k: int
    n_points: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        k = checked_integer("k", self.k)
        if k < 2:
            raise ValueError(f"KAntithetic needs at least k = 2 points; got k = {k}. For one point use MonteCarlo()")
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "n_points", k)

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        out = np.empty((len(replicates), len(points), pieces.size), pieces.dtype)
        # Uniform blocks are computed in float64, since the distribution function loses its upper tail in float32.
        dtype = pieces.dtype if pieces.law == "normal" else "float64"
        scale = np.sqrt(self.k / (self.k - 1))
        for rows, numbers in pieces.stream().normal_tiles(replicates, self.k * pieces.size, dtype):
            x = numbers.reshape(-1, self.k, pieces.size)
            z = x[:, points.start : points.stop] - x.mean(axis=1, keepdims=True)
            z *= scale
            out[rows] = z if pieces.law == "normal" else uniform_from_normal(z, pieces.dtype)
        return out

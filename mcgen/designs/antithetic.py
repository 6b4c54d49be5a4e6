"""Antithetic pairs: z and -z."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.noise import Array


@dataclass(frozen=True)
class Antithetic(PointsDesign):
    r"""Antithetic pairs z, -z of normal noise and u, 1 - u of uniform noise [1]_ [2]_.

    With rho the correlation of the statistic between the two points of a pair, the mean over a pair has variance
    :math:`\sigma^2 (1 + \rho) / 2`, so the efficiency relative to Monte Carlo is 1 / (1 + rho). The part of the
    statistic that is odd in the noise cancels entirely; the variance of the even part stays.

    References
    ----------
    .. [1] J. M. Hammersley, K. W. Morton (1956). A new Monte Carlo technique: antithetic variates. Math. Proc.
       Cambridge Philos. Soc. 52(3), 449-475.
    .. [2] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
       arXiv:2506.06185.
    """

    n_points: int = field(default=2, init=False, repr=False)

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        out = np.empty((len(replicates), 2, pieces.size), pieces.dtype)
        for rows, numbers in pieces.tiles(replicates):
            out[rows, 0] = numbers
            if pieces.law == "normal":
                np.negative(numbers, out=out[rows, 1])
            else:
                np.subtract(1, numbers, out=out[rows, 1])
        return out[:, points.start : points.stop]

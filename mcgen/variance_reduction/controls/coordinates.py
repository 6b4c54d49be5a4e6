"""Coordinates of noise along the directions of a basis."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.noise import Noise, NoiseSpec
from mcgen.noise.directions import Basis


def require_controlled(basis: Basis, spec: NoiseSpec) -> None:
    """Refuse a basis that does not fit the noise, or has directions only in blocks that no design controls."""
    if not basis.by_block(spec):
        raise ValueError(
            f"{basis} has directions only in blocks that are drawn independently for every point ({spec}); "
            "controls need directions in other blocks"
        )


def coordinates(basis: Basis, noise: Noise, spec: NoiseSpec) -> Floats:
    """Return the coordinates B'z of n points of noise, shape (n, r); for uniform blocks z is the normal score.

    Each row has the same bits whatever rows are beside it.
    """
    blocks, a = dict(spec.blocks), np.zeros((n_points_of(noise), basis.n_directions))
    for name, matrix in basis.by_block(spec).items():
        block = noise if isinstance(noise, np.ndarray) else noise[name]
        z = np.asarray(block, np.float64).reshape(len(a), 1, len(matrix))
        # One product for each point: a product for all has other last bits for other numbers of points.
        a += np.matmul(z if blocks[name].law == "normal" else ndtri(z), matrix)[:, 0]
    return a


def n_points_of(noise: Noise) -> int:
    """Return the number of points of noise."""
    return len(noise if isinstance(noise, np.ndarray) else noise[next(iter(noise))])

"""Plain Monte Carlo: every replicate is one independent point."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.noise import Array


@dataclass(frozen=True)
class MonteCarlo(PointsDesign):
    """Independent noise, one point in each replicate: the baseline of every comparison.

    Use it to see what the other designs gain, and where a model's samples must be independent.

    Examples
    --------
    >>> import mcgen
    >>> design = mcgen.MonteCarlo()
    >>> design.n_points, design.draw((3,), replicates=100, seed=0).shape
    (1, (100, 1, 3))
    """

    n_points: int = field(default=1, init=False, repr=False)

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        return pieces.independent(replicates, 1)

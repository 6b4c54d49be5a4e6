"""Plain Monte Carlo: every replicate is one independent point."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcgen.designs._base import PointsDesign, _Pieces
from mcgen.noise import Array


@dataclass(frozen=True)
class MonteCarlo(PointsDesign):
    """Independent noise with one point per replicate: the baseline of every comparison."""

    n_points: int = field(default=1, init=False, repr=False)

    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        return pieces.independent(replicates, 1)

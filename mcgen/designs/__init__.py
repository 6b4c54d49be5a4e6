"""Designs: ways to draw independent replicates of dependent points of noise, where each point has exactly its law."""

from mcgen.designs._base import Design, PointsDesign, Replicates
from mcgen.designs.antithetic import Antithetic
from mcgen.designs.k_antithetic import KAntithetic
from mcgen.designs.latin_hypercube import LatinHypercube
from mcgen.designs.monte_carlo import MonteCarlo
from mcgen.designs.orthogonal import OrthogonalAntithetic
from mcgen.designs.sobol import Sobol
from mcgen.designs.subspace import Subspace

__all__ = [
    "Antithetic",
    "Design",
    "KAntithetic",
    "LatinHypercube",
    "MonteCarlo",
    "OrthogonalAntithetic",
    "PointsDesign",
    "Replicates",
    "Sobol",
    "Subspace",
]

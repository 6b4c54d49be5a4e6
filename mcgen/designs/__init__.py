"""Designs: ways to draw independent replicates of dependent noise, each point of which has exactly its law."""

from mcgen.designs._base import Design, PointsDesign, Replicates
from mcgen.designs.antithetic import Antithetic
from mcgen.designs.k_antithetic import KAntithetic
from mcgen.designs.monte_carlo import MonteCarlo
from mcgen.designs.sobol import Sobol

__all__ = ["Antithetic", "Design", "KAntithetic", "MonteCarlo", "PointsDesign", "Replicates", "Sobol"]

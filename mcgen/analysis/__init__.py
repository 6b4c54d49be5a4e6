"""Looks at a model beyond one estimate: pairs of its samples, their making, shares of variance, tables of values."""

from mcgen.analysis.antisymmetry import symmetry
from mcgen.analysis.frames import samples_frame
from mcgen.analysis.measures import ssim
from mcgen.analysis.outline import emergence, path_dimension, similarity
from mcgen.analysis.pair_analysis import PairAnalysis
from mcgen.analysis.pairs import pairs
from mcgen.analysis.perturbations import sensitivity
from mcgen.analysis.shares import VarianceShares
from mcgen.analysis.trajectories import along_time
from mcgen.analysis.variance_shares import variance_shares
from mcgen.results.profile import Profile

__all__ = [
    "PairAnalysis",
    "Profile",
    "VarianceShares",
    "along_time",
    "emergence",
    "pairs",
    "path_dimension",
    "samples_frame",
    "sensitivity",
    "similarity",
    "ssim",
    "symmetry",
    "variance_shares",
]

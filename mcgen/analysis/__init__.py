"""Looks at a model beyond one estimate: pairs of its samples, which noise its variance is due to, tables of values."""

from mcgen.analysis.frames import samples_frame
from mcgen.analysis.measures import ssim
from mcgen.analysis.pair_analysis import PairAnalysis
from mcgen.analysis.pairs import pairs
from mcgen.analysis.shares import VarianceShares
from mcgen.analysis.variance_shares import variance_shares

__all__ = ["PairAnalysis", "VarianceShares", "pairs", "samples_frame", "ssim", "variance_shares"]

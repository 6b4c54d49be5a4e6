"""Looks at a model's samples, beyond one estimate: tables of values for your own analysis."""

from mcgen.analysis.frames import samples_frame
from mcgen.analysis.measures import ssim
from mcgen.analysis.pair_analysis import PairAnalysis
from mcgen.analysis.pairs import pairs

__all__ = ["PairAnalysis", "pairs", "samples_frame", "ssim"]

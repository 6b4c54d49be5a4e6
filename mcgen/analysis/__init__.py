"""Looks at a model's samples, beyond one estimate: tables of values, and which noise the variance is due to."""

from mcgen.analysis.frames import samples_frame
from mcgen.analysis.shares import VarianceShares
from mcgen.analysis.variance_shares import variance_shares

__all__ = ["VarianceShares", "samples_frame", "variance_shares"]

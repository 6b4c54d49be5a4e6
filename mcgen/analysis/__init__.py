"""Looks at a model's samples and their making, beyond one estimate."""

from mcgen.analysis.antisymmetry import symmetry
from mcgen.analysis.frames import samples_frame
from mcgen.analysis.trajectories import along_time
from mcgen.results.profile import Profile

__all__ = ["Profile", "along_time", "samples_frame", "symmetry"]

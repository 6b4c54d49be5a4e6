"""Looks at a model's samples, beyond one estimate: tables of values for your own analysis."""

from mcgen.analysis.frames import samples_frame

__all__ = ["samples_frame"]

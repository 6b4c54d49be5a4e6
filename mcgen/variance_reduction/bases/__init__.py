"""Pilots that find directions of noise that matter, and cosines, which need none."""

"""Sums over levels: a coarse generator does most of the work, a finer one corrects it."""

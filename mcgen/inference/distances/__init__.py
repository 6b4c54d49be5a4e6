"""Distances between distributions: their formulas from features of replicates, with terms of first and second order."""

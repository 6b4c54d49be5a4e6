"""Replicates: the loop that computes them, the laws that it checks, sums in a fixed order, stores and executors."""

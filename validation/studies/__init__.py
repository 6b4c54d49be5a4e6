"""Simulations that judge the package's promises, each by a rule that was declared before the run."""

"""Directions of noise that matter: from gradients, from values, and cosines, which need no pilot."""

from mcgen.noise.directions import Basis
from mcgen.variance_reduction.bases.cosines import dct_basis
from mcgen.variance_reduction.bases.gradients import active_subspace
from mcgen.variance_reduction.bases.regression import regression_basis

__all__ = ["Basis", "active_subspace", "dct_basis", "regression_basis"]

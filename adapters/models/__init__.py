"""Trained models that ship with the package, as generators. `list()` names them, and `load(name)` loads one.

A model has a weight file and a log with the hash, size, licence, training data and quality. The training scripts are in
`mcgen.adapters.models.training`.
"""

from mcgen.adapters.models.loading import list, load, log

__all__ = ["list", "load", "log"]

# Stores and pickled factories refer to `load` by this module.
load.__module__ = __name__

"""Trained models that ship with the package, each a generator: `load` one of `list()`.

Each comes as a weight file and a log with its hash, size, licence, data and quality; the scripts that made them are
`mcgen.adapters.models.training`.
"""

from mcgen.adapters.models.loading import list, load, log

__all__ = ["list", "load", "log"]

# Stores and pickled factories know `load` by this place.
load.__module__ = __name__

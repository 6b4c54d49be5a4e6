"""Trained models that ship with the package, as generators. `list()` names them, and `load(name)` loads one.

A model has a weight file and a log with the hash, size, licence, training data and quality. `real_images(name)` returns
real images that were held out of a model's training. The training scripts are in `mcgen.adapters.models.training`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcgen.adapters.models.held_out import real_images

if TYPE_CHECKING:
    from mcgen.adapters.models.loading import list, load, log

__all__ = ["list", "load", "log", "real_images"]


def __getattr__(name: str) -> Any:
    # Loading needs torch, which is not needed to read real images.
    if name not in __all__:
        raise AttributeError(f"module 'mcgen.adapters.models' has no attribute {name!r}; it has {', '.join(__all__)}")
    # Imported first, since its error says what to install where torch is missing.
    import_module("mcgen.adapters.tensors.torch_generator")
    return getattr(import_module("mcgen.adapters.models.loading"), name)


def __dir__() -> Any:
    return __all__

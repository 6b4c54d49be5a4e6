"""Pickling by cloudpickle where it is installed."""

from __future__ import annotations

import importlib.util
import pickle
from typing import Any


def has_cloudpickle() -> bool:
    """Tell whether functions without a module can be pickled."""
    return importlib.util.find_spec("cloudpickle") is not None


def pickled(value: Any) -> bytes:
    """Return a value pickled by cloudpickle, which takes lambdas and functions of a notebook too, or by pickle.

    Examples
    --------
    >>> import pickle
    >>> from mcgen._lib.pickling import pickled
    >>> pickle.loads(pickled((1, "two")))
    (1, 'two')
    """
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    found: bytes = cloudpickle.dumps(value)
    return found

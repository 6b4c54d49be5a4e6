"""Pickling, by cloudpickle where it is installed."""

from __future__ import annotations

import importlib.util
import pickle
from typing import Any


def has_cloudpickle() -> bool:
    """Tell whether cloudpickle is installed, which pickles lambdas and functions of a notebook."""
    return importlib.util.find_spec("cloudpickle") is not None


def pickled(value: Any) -> bytes:
    """Return the pickled value, by cloudpickle where it is installed and by pickle elsewhere.

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

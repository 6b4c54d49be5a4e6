"""How results call things."""

from __future__ import annotations


def name_of(thing: object) -> str:
    """Return how results call a generator or a statistic: its `name`, its `__name__` or its class."""
    return str(getattr(thing, "name", None) or getattr(thing, "__name__", None) or type(thing).__name__)

"""Names of generators and statistics in results."""

from __future__ import annotations


def name_of(thing: object) -> str:
    """Return the name of a generator or a statistic in results: its `name`, its `__name__` or that of its class."""
    return str(getattr(thing, "name", None) or getattr(thing, "__name__", None) or type(thing).__name__)

"""Calls of statistics: their values as float64 of shape (n, ...), with checks, names, and a record of the calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, as_values, leading_length
from mcgen._lib.names import name_of
from mcgen.errors import RunError

Statistic = Callable[[Any], Any]

LARGEST_VALUE = 1e75
"""Largest allowed absolute value: with larger ones the sums of fourth powers overflow in double precision."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Record of one call of a statistic.

    Attributes
    ----------
    statistic : callable
        Statistic that the user gave, without mcgen's wrappers.
    samples : object
        Samples that it was called with.
    parts : list of (slice, samples)
        Copies of some rows of the samples, made before the call.
    result : object
        Returned values, in the statistic's own library.
    values : ndarray of shape (n, ...)
        Returned values in float64.
    """

    statistic: Callable[[Any], Any]
    samples: Any
    parts: list[tuple[slice, Any]]
    result: Any
    values: Floats


_watch: ContextVar[tuple[Callable[[Any, int], list[tuple[slice, Any]]], list[Seen]] | None] = ContextVar(
    "_watch", default=None
)


@contextmanager
def watched(copied_parts: Callable[[Any, int], list[tuple[slice, Any]]]) -> Iterator[list[Seen]]:
    """Record the call of a statistic by `values_of`, with copies of some of its samples.

    Some statistics of mcgen, such as that of a difference, call the user's statistic inside. The innermost call is
    first in the list. Only there can the statistic's laws be checked on its own values.
    """
    found: list[Seen] = []
    token = _watch.set((copied_parts, found))
    try:
        yield found
    finally:
        _watch.reset(token)


def values_of(statistic: Statistic, samples: Any, n: int) -> Floats:
    """Return the statistic's values of n samples as float64, shape (n, ...), or refuse any other result."""
    watch = _watch.get()
    # Copied before the call, since a statistic may overwrite its samples.
    parts = [] if watch is None or watch[1] else watch[0](samples, n)
    result, name = statistic(samples), name_of(statistic)
    wanted = f"it must return one number or one vector a sample: shape ({n},) or ({n}, k)"
    try:
        values = as_values(result)
    except (TypeError, ValueError) as error:
        raise RunError(f"statistic {name!r} returned {error}; {wanted}, of real numbers") from error
    if values.ndim == 0 or len(values) != n:
        raise RunError(f"statistic {name!r} returned an array of shape {values.shape} for {n} samples; {wanted}")
    # NaN and infinity pass here; `mcgen.replicates.laws.require_finite` refuses them.
    if LARGEST_VALUE < max(values.max(initial=0.0), -values.min(initial=0.0)) < np.inf:
        raise RunError(
            f"statistic {name!r} returned values beyond {LARGEST_VALUE:g}, whose powers overflow; divide them by a "
            "constant first"
        )
    if watch is not None:
        watch[1].append(Seen(statistic, samples, parts, result, values))
    return values


def values_of_each(statistic: Statistic, samples: tuple[Any, ...], where: str) -> list[Floats]:
    """Return the statistic's values of several samples made from the same noise, or refuse different shapes."""
    n = leading_length(samples)
    columns = [values_of(statistic, part, n) for part in samples]
    if len({column.shape for column in columns}) > 1:
        raise RunError(
            f"statistic {name_of(statistic)!r} gave components of shapes {[column.shape[1:] for column in columns]} "
            f"{where}"
        )
    return columns


def component_names(statistic: Statistic, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of a statistic's components: those it declares, or its name with the components' indices."""
    if hasattr(statistic, "component_names"):
        return tuple(statistic.component_names(shape))
    inner = getattr(statistic, "statistic", statistic)
    given = getattr(inner, "names", None)
    if given is not None and len(given) == math.prod(shape):
        return tuple(map(str, given))
    name = name_of(statistic)
    if shape == ():
        return (name,)
    return tuple(f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape))


def checked_callable(statistic: Any) -> Statistic:
    """Return the statistic, or refuse what can't be called."""
    if not callable(statistic):
        raise TypeError(
            f"statistic must be a callable from n samples to n values; got {statistic!r}. For several use "
            "mcgen.statistics.stack(...)"
        )
    found: Statistic = statistic
    return found

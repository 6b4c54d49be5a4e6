"""Calls of statistics: their values as float64 of shape (n, ...), with checks, names, and a record of the calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_values, leading_length
from mcgen._lib.names import name_of
from mcgen.errors import RunError

Statistic = Callable[[Any], Any]
T = TypeVar("T")

# Most names that a message lists.
_MOST_SHOWN = 6

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
    result, name = called(statistic, samples), name_of(statistic)
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


def called(statistic: Callable[..., Any], samples: Any, *condition: Any) -> Any:
    """Return what a statistic returns for some samples; refuse a torch module where they are no tensors.

    The condition, where one is given, is the second argument of the statistic.
    """
    if hasattr(statistic, "named_parameters") and not _may_be_tensors(samples):
        raise RunError(
            f"statistic {name_of(statistic)!r} is a torch module, which takes tensors, and the samples are of type "
            f"{type(samples).__name__}. Wrap it, lambda x: module(torch.as_tensor(x)).detach(), or let the generator "
            "return tensors (mcgen.adapters.from_torch)"
        )
    return statistic(samples, *condition)


def with_condition(statistic: Statistic, condition: Any) -> Statistic:
    """Return the statistic under a condition; the statistic itself where it does not depend on the condition.

    A statistic that depends on it has a method ``for_condition(condition)``, which returns the statistic of samples
    alone. A statistic that is made of others has it too, and returns itself where none of them depends on it.

    Raises
    ------
    ValueError
        If the statistic takes the condition, and this is None.
    """
    bind = getattr(statistic, "for_condition", None)
    found: Statistic = statistic if bind is None else bind(condition)
    return found


def parts_with_condition(whole: T, condition: Any, *names: str) -> T:
    """Return a dataclass made of statistics, with those of some fields under a condition.

    It is returned itself where none of them depends on the condition.
    """
    made: Any = whole
    own = {name: getattr(made, name) for name in names}
    bound = {name: with_condition(statistic, condition) for name, statistic in own.items()}
    found: T = made if all(bound[name] is own[name] for name in names) else replace(made, **bound)
    return found


def is_watched() -> bool:
    """Tell whether the laws of a statistic are being tried, by `watched`."""
    return _watch.get() is not None


def boolean_components(statistic: Statistic, samples: Any) -> NDArray[np.bool_]:
    """Return which components of a statistic are boolean, so that their expectations are probabilities; shape (k,).

    A statistic that is made of others says it by a method of this name, which takes samples. Others are called on the
    samples. Values that only happen to be 0 and 1 are not boolean.
    """
    own = getattr(statistic, "boolean_components", None)
    if callable(own):
        return np.asarray(own(samples), bool)
    result = called(statistic, samples)
    kind = str(result.dtype if hasattr(result, "dtype") else np.asarray(result).dtype)
    return np.full(math.prod(np.shape(result)[1:]), kind in ("bool", "boolean", "torch.bool"))


def component_bounds(statistic: Statistic, k: int, samples: Any) -> Floats:
    """Return the least and the largest value that each of k components can have, shape (2, k).

    A statistic declares them by a method of this name, which takes k and some samples; they are infinite where none is
    declared. Those of boolean components, 0 and 1, are not among them.
    """
    own = getattr(statistic, "component_bounds", None)
    if callable(own):
        return np.asarray(own(k, samples), np.float64)
    return np.stack([np.full(k, -np.inf), np.full(k, np.inf)])


def product_pairs(statistic: Statistic, k: int) -> NDArray[np.int64] | None:
    """Return the pairs of k components whose products a run adds up, shape (p, 2); None where none are asked for.

    A statistic asks for them by a method of this name, which takes k.
    """
    own = getattr(statistic, "product_pairs", None)
    return np.asarray(own(k), np.int64).reshape(-1, 2) if callable(own) else None


def reduced_values(statistic: Statistic, values: Floats) -> Floats:
    """Return what a run takes the means of, shape (n, ...): the values, or the fewer numbers they are reduced to.

    A statistic of many values, such as the features of an image, says by a method ``reduced_values(values)`` which
    numbers stand for them. All values are then only gathered (`mcgen.replicates.gathering`).
    """
    own = getattr(statistic, "reduced_values", None)
    return np.asarray(own(values), np.float64) if callable(own) else values


def _may_be_tensors(samples: Any) -> bool:
    """Tell whether samples are, or hold, anything that a torch module may take."""
    if isinstance(samples, tuple | list):
        return any(map(_may_be_tensors, samples))
    return hasattr(samples, "detach") or not hasattr(samples, "dtype")


def values_of_each(statistics: Sequence[Statistic], samples: tuple[Any, ...], where: str) -> list[Floats]:
    """Return the values of several samples made from the same noise, or refuse different shapes.

    The statistics, one for each of the samples, are the same but for their conditions.
    """
    n = leading_length(samples)
    columns = [values_of(statistic, part, n) for statistic, part in zip(statistics, samples, strict=True)]
    if len({column.shape for column in columns}) > 1:
        shapes = [column.shape[1:] for column in columns]
        raise RunError(f"statistic {name_of(statistics[0])!r} gave components of shapes {shapes} {where}")
    return columns


def component_names(statistic: Statistic, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of a statistic's components: those it declares, or its name with the components' indices.

    A statistic declares names by an attribute ``names``, or by a method ``component_names`` of their shape.

    Raises
    ------
    RunError
        If it declares another number of names than there are components.
    """
    inner = getattr(statistic, "statistic", statistic)
    name, declared = name_of(statistic), getattr(statistic, "component_names", None)
    given = getattr(inner, "names", None) if declared is None else declared
    if declared is not None:
        given = declared(shape) if callable(declared) else declared
    if isinstance(given, str) or (declared is not None and not isinstance(given, list | tuple)):
        raise RunError(
            f"the component names of statistic {name!r} must be a list or tuple of texts, one for each value of a "
            f"sample; got {given!r}"
        )
    if isinstance(given, list | tuple):
        return _checked_names(name, tuple(map(str, given)), shape)
    if isinstance(given, Sized) and isinstance(given, Iterable) and len(given) == math.prod(shape):
        return tuple(map(str, given))
    if shape == ():
        return (name,)
    return tuple(f"{name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape))


def _checked_names(name: str, names: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names that a statistic declares for components of a shape, or refuse other numbers of them."""
    if len(names) != math.prod(shape):
        raise RunError(
            f"statistic {name!r} has {len(names)} component names ({', '.join(names[:_MOST_SHOWN])}"
            f"{', ...' if len(names) > _MOST_SHOWN else ''}) and returned components of shape {shape}, "
            f"{math.prod(shape)} values for each sample; give as many names as there are values"
        )
    return names


def checked_callable(statistic: Any) -> Statistic:
    """Return the statistic, or refuse what can't be called."""
    if type(statistic).__module__.startswith("mcgen.functionals") and not callable(statistic):
        raise TypeError(
            f"here a statistic is needed, a function of the samples; got the functional {name_of(statistic)!r}. "
            "Functionals are for mcgen.estimate, difference, compare, plan and analysis.variance_shares; pass the "
            "statistic that it is made of"
        )
    if not callable(statistic):
        raise TypeError(
            f"statistic must be a callable from n samples to n values; got {statistic!r}. For several use "
            "mcgen.statistics.stack(...)"
        )
    found: Statistic = statistic
    return found

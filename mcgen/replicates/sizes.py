"""Arguments of runs, checked: what was got, what is allowed, what to do."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from mcgen._lib.checks import checked_integer
from mcgen.designs import Design
from mcgen.designs._base import checked_design

DEFAULT_BATCH = 64
LARGEST_BATCH = 2**16
"""Rows of a batch at most where the number of rows is not known: the first look at the results costs a whole batch."""
LARGEST_NOISE = 2**24
"""Numbers of noise of such a batch at most, 64 MB in float32."""

# Sizes of groups that are tried for one that uses up a limit.
_TRIED = 64


def checked_replicates(design: Design, n_evaluations: int | None, n_replicates: int | None) -> int:
    """Return the number of replicates that is asked for.

    Raises
    ------
    TypeError, ValueError
        If not exactly one number is given, it is below 2 replicates, or the evaluations are no whole replicates.
    """
    checked_design(design)
    if (n_evaluations is None) == (n_replicates is None):
        raise ValueError(
            f"give either n_evaluations or n_replicates (mcgen.estimate takes atol or rtol in their place); got "
            f"n_evaluations={n_evaluations}, n_replicates={n_replicates}"
        )
    n = design.n_points
    if n_replicates is not None:
        count = checked_integer("n_replicates", n_replicates)
    else:
        evaluations = checked_integer("n_evaluations", n_evaluations)
        count, rest = divmod(evaluations, n)
        if rest:
            below, above = max(2, count) * n, max(2, count + 1) * n
            near = f"{below} or {above}" if below != above else f"{above}"
            raise ValueError(
                f"n_evaluations must be a multiple of the {n} points of a replicate of {design}; got {evaluations}. "
                f"Use {near}"
            )
    if count < 2:
        raise ValueError(
            f"an interval needs at least 2 replicates; got {count} of {n} points ({design}). Use n_evaluations of "
            f"{2 * n} or more (25 replicates are {25 * n}), or fewer points a replicate"
        )
    return count


def checked_batch_size(batch_size: int | None, n_points: int, n_replicates: int | None) -> int:
    """Return the rows that the model sees at a time, no more than there are.

    By default about 64, in groups of the same size; for an unknown number of replicates, None, whole replicates of 64
    rows at most.
    """
    if batch_size is None:
        if n_points >= DEFAULT_BATCH:
            return DEFAULT_BATCH
        if n_replicates is None:
            return DEFAULT_BATCH - DEFAULT_BATCH % n_points
        # Groups of the same size, so that the last is not half empty.
        n_groups = math.ceil(n_replicates * n_points / DEFAULT_BATCH)
        return math.ceil(n_replicates / n_groups) * n_points
    size = checked_integer("batch_size", batch_size)
    if size < 1:
        raise ValueError(f"batch_size must be at least 1; got {size}. Leave it out for about {DEFAULT_BATCH}")
    return size if n_replicates is None else min(size, n_replicates * n_points)


def checked_batch_of_part(batch_size: int | None, n_points: int, part: range) -> int:
    """Return the rows that the model sees at a time in a part of a run, which all parts must share."""
    size, rows = checked_batch_size(batch_size, n_points, None), len(part) * n_points
    if batch_size is not None and size > rows:
        raise ValueError(
            f"batch_size must be at most the {rows} rows of replicates={part}, since a batch is filled up with rows "
            f"that no estimate uses; got {size}. Use at most the rows of the smallest part, the same in all parts"
        )
    return size


def batch_until_sure(batch_size: int | None, n_points: int, dimension: int, most: int | None, fewest: int) -> int:
    """Return the rows that the model sees at a time in a run whose number of replicates its own results decide.

    Parameters
    ----------
    batch_size, n_points
        As for `checked_batch_size`.
    dimension : int
        Of the noise of one row.
    most : int or None
        Replicates that `max_evaluations` allows. Whole groups must not exceed it, and should use it up: among groups of
        between half and all of the batch size those that do best are taken.
    fewest : int
        Replicates that the limit must have room for in whole groups.
    """
    size = min(checked_batch_size(batch_size, n_points, None), LARGEST_BATCH)
    size = min(size, max(DEFAULT_BATCH, LARGEST_NOISE // dimension))
    group = size // n_points
    if most is None or group <= 1:
        return size
    n_groups = math.ceil(most / group)
    sizes = {most // n for n in range(n_groups, min(2 * n_groups, n_groups + _TRIED) + 1)}
    sizes |= {*range(group, max(group // 2, group - _TRIED), -1)}
    best = max((one for one in sizes if 0 < one <= group), key=lambda one: (most // one * one, one))
    if best == group and most // best * best >= fewest:
        return size
    return n_points * (best if most // best * best >= fewest else 1)


class Conditions(list[Any]):
    """Several conditions, in order, and what results call each of them.

    Attributes
    ----------
    names : tuple of str or None
        The keys of a dictionary, or the index of a Series; None where each is shown as it is.
    """

    def __init__(self, values: Iterable[Any], names: tuple[str, ...] | None = None) -> None:
        super().__init__(values)
        self.names = names


def conditions_of(condition: Any) -> Any:
    """Return several conditions as `Conditions`, and a single one as it is.

    A list, a range, a dictionary from names to values and a pandas Series are several; arrays and tuples are one.

    Raises
    ------
    ValueError
        If there are none, or their names repeat.
    """
    if isinstance(condition, Conditions) or not (isinstance(condition, list | range) or is_named(condition)):
        return condition
    if not len(condition):
        raise ValueError(
            f"condition is an empty {type(condition).__name__}; give at least one condition, or leave it out for a "
            "generator without"
        )
    return named_conditions(condition) if is_named(condition) else Conditions(condition)


def require_single(condition: Any, refusal: str) -> None:
    """Refuse several conditions where one is wanted; the refusal says why and what to do."""
    if isinstance(conditions_of(condition), Conditions):
        kind = type(condition).__name__.replace("Conditions", "list")
        raise ValueError(refusal.format(f"the {kind} {condition!r}"))


def is_named(thing: Any) -> bool:
    """Tell whether a thing is a dictionary or a pandas Series; who has a Series has imported pandas."""
    series = getattr(sys.modules.get("pandas"), "Series", None)
    return isinstance(thing, dict) or (series is not None and isinstance(thing, series))


def named_conditions(thing: Any) -> Conditions:
    """Return the values of a dictionary or a Series with their names; the default index of a Series names nothing."""
    if isinstance(thing, dict):
        keys, values = [*thing], [*thing.values()]
    else:
        keys, values = thing.index.tolist(), thing.tolist()
        if type(thing.index).__name__ == "RangeIndex" and keys == [*range(len(keys))]:
            return Conditions(values)
    names = tuple(key if isinstance(key, str) else repr(key) for key in keys)
    if len(set(names)) < len(names):
        raise ValueError(f"names repeat in {', '.join(names)}; give each condition a name of its own, as a text")
    return Conditions(values, names)

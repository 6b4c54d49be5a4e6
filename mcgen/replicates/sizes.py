"""Checks of the arguments of runs: numbers of replicates and evaluations, batch sizes, and conditions."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

from mcgen._lib.checks import LARGEST_INTEGER, checked_integer
from mcgen.designs import Design, Sobol
from mcgen.designs._base import checked_design

DEFAULT_BATCH = 64
"""Default number of rows in a batch: enough to use most processors well, and small enough for large models."""
LARGEST_BATCH = 2**16
"""Most rows in a batch of a run that stops by itself, since its first look needs at least one whole batch."""
LARGEST_NOISE = 2**24
"""Most numbers of noise in such a batch: 64 MB in float32."""

POINTS_BY_TOLERANCE = 64
"""Points of a net without a number of its own in a run that ends by a tolerance: a replicate fills a default batch."""

# Group sizes that are compared for the one that leaves the least of `max_evaluations` unused.
_TRIED = 64


def with_points(design: Any, n_evaluations: int | None, has_tolerance: bool = False) -> tuple[Any, int | None]:
    """Return a design that takes its number of points from the run with that number, and the evaluations of the run.

    These are rounded down to whole replicates. Other designs, and what is no design, are returned as they are.

    Parameters
    ----------
    design : object
        The design as given, such as ``Sobol()``.
    n_evaluations : int or None
        As for `mcgen.estimate`; without it the design stays without points, and is refused later.
    has_tolerance : bool
        Whether the run ends by a tolerance. Its replicates then have 64 points.
    """
    if isinstance(design, type) or not isinstance(design, Design) or design.n_points is not None:
        return design, n_evaluations
    if has_tolerance and n_evaluations is None:
        return Sobol(POINTS_BY_TOLERANCE), None
    if n_evaluations is None or not isinstance(design, Sobol):
        return design, n_evaluations
    evaluations = checked_integer("n_evaluations", n_evaluations)
    found = design.for_evaluations(evaluations)
    return found, evaluations - evaluations % found.n_points


def checked_replicates(design: Design, n_evaluations: int | None, n_replicates: int | None) -> int:
    """Return the number of replicates that `n_replicates` or `n_evaluations` asks for.

    Raises
    ------
    TypeError, ValueError
        If not exactly one of the two is given, there are fewer than 2 replicates, or the evaluations are no multiple of
        the design's points.
    """
    checked_design(design)
    if (n_evaluations is None) == (n_replicates is None):
        raise ValueError(
            f"give either n_evaluations or n_replicates (mcgen.estimate takes atol or rtol in their place); got "
            f"n_evaluations={n_evaluations}, n_replicates={n_replicates}"
        )
    n = design.n_points
    if n_replicates is not None:
        count = checked_integer("n_replicates", n_replicates, LARGEST_INTEGER // n)
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
            f"{2 * n} or more (25 replicates are {25 * n}), or fewer points per replicate"
        )
    return count


def checked_batch_size(batch_size: int | None, n_points: int, n_replicates: int | None) -> int:
    """Return the number of rows in a batch, at most those of the whole run.

    The default is about 64, so that all batches have the same size. Where the number of replicates is not known (None),
    it is as many whole replicates as 64 rows hold.
    """
    if batch_size is None:
        if n_points >= DEFAULT_BATCH:
            return DEFAULT_BATCH
        if n_replicates is None:
            return DEFAULT_BATCH - DEFAULT_BATCH % n_points
        # All groups have the same size, so that the last is not half empty.
        n_groups = math.ceil(n_replicates * n_points / DEFAULT_BATCH)
        return math.ceil(n_replicates / n_groups) * n_points
    size = checked_integer("batch_size", batch_size)
    if size < 1:
        raise ValueError(f"batch_size must be at least 1; got {size}. Leave it out for about {DEFAULT_BATCH}")
    return size if n_replicates is None else min(size, n_replicates * n_points)


def checked_batch_of_part(batch_size: int | None, n_points: int, part: range) -> int:
    """Return the number of rows in a batch of a part of a run; it must be the same in all parts."""
    size, rows = checked_batch_size(batch_size, n_points, None), len(part) * n_points
    if batch_size is not None and size > rows:
        raise ValueError(
            f"batch_size must be at most the {rows} rows of replicates={part}, since a batch is filled up with rows "
            f"that no estimate uses; got {size}. Use at most the rows of the smallest part, the same in all parts"
        )
    return size


def batch_until_sure(batch_size: int | None, n_points: int, dimension: int, most: int | None, fewest: int) -> int:
    """Return the number of rows in a batch of a run that stops by itself.

    Parameters
    ----------
    batch_size, n_points
        As for `checked_batch_size`.
    dimension : int
        Dimension of the noise of one row.
    most : int or None
        Most replicates that `max_evaluations` allows. Only whole groups are run. So among group sizes between half the
        batch size and all of it, the one that leaves the fewest replicates unused is taken.
    fewest : int
        Replicates before the first look, which must fit into `most` in whole groups.
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
    """Several conditions, in order, with their names in results.

    Attributes
    ----------
    names : tuple of str or None
        Keys of a dictionary, or index of a Series; None where results show the conditions themselves.
    """

    def __init__(self, values: Iterable[Any], names: tuple[str, ...] | None = None) -> None:
        super().__init__(values)
        self.names = names


def conditions_of(condition: Any) -> Any:
    """Return several conditions as `Conditions`, and a single condition itself.

    A list, a range, a dictionary from names to values and a pandas Series are several conditions. An array or a tuple
    is one.

    Raises
    ------
    ValueError
        If the list is empty, or names repeat.
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
    """Refuse several conditions where one is needed; `refusal` is the message, with {} for the conditions."""
    if isinstance(conditions_of(condition), Conditions):
        kind = type(condition).__name__.replace("Conditions", "list")
        raise ValueError(refusal.format(f"the {kind} {condition!r}"))


def is_named(thing: Any) -> bool:
    """Tell whether a value is a dictionary or a pandas Series; pandas is not imported for that."""
    series = getattr(sys.modules.get("pandas"), "Series", None)
    return isinstance(thing, dict) or (series is not None and isinstance(thing, series))


def named_conditions(thing: Any) -> Conditions:
    """Return the values of a dictionary or a Series with their names; a Series' default index gives no names."""
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

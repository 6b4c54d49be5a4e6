"""Checks of laws that a run makes on its first batch alone, since they need more calls of the model or the statistic.

The generator runs two rows again, in both orders and without the others. The statistic runs about 17 rows again, in
small parts. A statistic that breaks a law is refused, since its mean is then no expectation of one sample's value. A
generator that seems to break a law causes a warning.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy, gap_between, rounding_of, take_rows, tolerance_of, tuple_like
from mcgen._lib.fingerprints import networks_in_training
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.generators.joint import samples_apart
from mcgen.noise import Noise, change_noise
from mcgen.replicates.laws import Batch, values_gap
from mcgen.statistics.values import Seen, component_names, values_of, watched

OTHER_POINTS = 8
"""Further points of noise that are run where all samples of the first batch are equal.

A discrete sample that differs in every second point shows it among them with probability 0.996.
"""

# Values below so many rounding errors of the largest sample may be nothing but rounding errors.
_ROUNDINGS = 8


class _IncomparableError(Exception):
    """The samples are no arrays that numpy can compare."""


def _comparing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its TypeError and ValueError turned into an error that no generator raises."""

    @wraps(function)
    def compare(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (TypeError, ValueError) as error:
            raise _IncomparableError from error

    return compare


def require_evaluation_mode(generator: Generator, statistic: object) -> None:
    """Refuse networks in training mode, as far as they can be found without running anything."""
    for role, thing in (("generator", generator), ("statistic", statistic)):
        found = networks_in_training(thing)
        if found:
            kinds = ", ".join(sorted(set(found.values()))[:3])
            raise RunError(
                f"{role} {name_of(thing)!r} uses {kinds} in training mode (the first is at {next(iter(found))}), where "
                "batch normalization couples the samples of a batch and dropout draws random numbers; call its .eval() "
                "first"
            )


def tried_values(statistic: Callable[[Any], Any], samples: Any, n: int) -> Floats:
    """Return a statistic's values of n samples; refuse it where some of these samples alone have other values.

    A statistic that is made of several others has them as ``tried_parts``; each is tried.
    """
    parts = getattr(statistic, "tried_parts", ())
    for part in parts:
        tried_values(part, samples, n)
    if parts:
        return values_of(statistic, samples, n)
    with watched(_copied_parts) as seen:
        values = values_of(statistic, samples, n)
    # Values without components are refused later, by `require_components`.
    if seen[0].values[:1].size:
        # A run must not fail at its end because of the names.
        component_names(seen[0].statistic, seen[0].values.shape[1:])
        _require_rows_apart(seen[0])
    return values


def _copied_parts(samples: Any, n: int) -> list[tuple[slice, Any]]:
    """Return copies of the rows on which a statistic is tried; the first two parts are the same rows.

    The parts split the pairs of antithetic noise. Single rows show best that a value depends on other rows.
    """
    several = slice(1, min(5, n)) if n > 2 else slice(0, n)
    alone = [slice(row, row + 1) for row in dict.fromkeys((0, 1, n - 1)) if row < n]
    last = [slice(n - 4, n)] if n > 5 else []
    return [(rows, _copied(take_rows(samples, rows))) for rows in (several, several, *alone, *last)]


def _copied(samples: Any) -> Any:
    """Return a copy of some samples in their own library; samples that can't be copied are returned themselves."""
    if isinstance(samples, tuple):
        return tuple_like(samples, map(_copied, samples))
    try:
        return samples.clone() if hasattr(samples, "clone") else copy.deepcopy(samples)
    except Exception:
        return samples


def _require_rows_apart(seen: Seen) -> None:
    """Refuse a statistic whose values of some rows change in a second call, or without the other rows."""
    name, allowed = name_of(seen.statistic), _tolerance(seen)
    more = _extreme_rows(seen)
    (rows, first), (_, second), *others = seen.parts
    values, again = _values_of_part(seen, rows, first), _values_of_part(seen, rows, second)
    is_all = len(values) == len(seen.values)
    if max(_gap(seen, values, again), _gap(seen, values, seen.values) if is_all else 0.0) > allowed:
        raise RunError(
            f"statistic {name!r} gives other values for the same samples: it draws random numbers, or keeps a state "
            "from call to call. Fix what it draws when it is made, and use networks in evaluation mode"
        )
    found = [(rows, values), *((part, _values_of_part(seen, part, samples)) for part, samples in [*others, *more])]
    for rows, values in found:
        if _gap(seen, seen.values[rows], values) > allowed:
            raise RunError(
                f"statistic {name!r} gives other values for the same samples when fewer come with them ({_text(rows)} "
                f"of {len(seen.values)}): it depends on the other rows of the batch, their number or its place among "
                "them, so that its mean is no expectation of one sample's value and changes with batch_size. Name the "
                "axes of each mean, and use networks in evaluation mode. Scores of a whole set, such as Frechet "
                "distances, are no means over samples"
            )


def _extreme_rows(seen: Seen) -> list[tuple[slice, Any]]:
    """Return the rows of the largest and the smallest value as parts of one row each.

    Thresholds that depend on the batch show in these rows. The list is empty where the statistic has overwritten its
    samples, which are then lost.
    """
    rows, before = seen.parts[0]
    try:
        if _gap_of_samples(before, take_rows(seen.samples, rows)) > 0:
            return []
    except _IncomparableError:
        return []
    values = np.nan_to_num(seen.values.reshape(len(seen.values), -1))
    column = values[:, int(np.argmax(np.ptp(values, axis=0) > 0))]
    ends = dict.fromkeys((int(column.argmax()), int(column.argmin())))
    return [(slice(row, row + 1), take_rows(seen.samples, slice(row, row + 1))) for row in ends]


def _values_of_part(seen: Seen, rows: slice, samples: Any) -> Floats:
    """Return the statistic's values of some rows alone, or refuse it where it fails on them."""
    n, name = rows.stop - rows.start, name_of(seen.statistic)
    try:
        values = values_of(seen.statistic, samples, n)
    except Exception as error:
        raise RunError(
            f"statistic {name!r} fails where {_text(rows)} of the first batch comes alone ({error}); a value must not "
            "need other samples. Name the axes of each mean, and never squeeze the leading one"
        ) from error
    if values.shape[1:] != seen.values.shape[1:]:
        raise RunError(
            f"statistic {name!r} returned components of shape {values.shape[1:]} for {_text(rows)} of the first batch, "
            f"and {seen.values.shape[1:]} for all; every sample must give the same number of values"
        )
    return values


def _text(rows: slice) -> str:
    n = rows.stop - rows.start
    return f"sample {rows.start}" if n == 1 else f"samples {rows.start} to {rows.stop - 1}"


def _tolerance(seen: Seen) -> float:
    """Return the largest difference that rounding may cause, relative to the largest value.

    It depends on the types of the samples and of the values. A statistic may compute in float32 inside: only where
    samples are float64 and some value is no float32 number is it known that it does not.
    """
    samples, values = seen.parts[0][1], seen.values
    types = [rounding_of(part) for part in (samples, seen.result)]
    with np.errstate(over="ignore"):
        may_be_single = not _is_double(samples) or bool((values.astype(np.float32) == values).all())
    types += [2.0**-23] if may_be_single else []
    return tolerance_of(np.empty(0, {-7: "f2", -10: "f2", -23: "f4"}.get(round(np.log2(max(types))), "f8")))


def _is_double(samples: Any) -> bool:
    if isinstance(samples, tuple):
        return any(map(_is_double, samples))
    return "float64" in str(getattr(samples, "dtype", "")) or "complex128" in str(getattr(samples, "dtype", ""))


def _gap(seen: Seen, expected: Floats, found: Floats) -> float:
    """Return the largest difference relative to each component's largest value; 0 where all are rounding errors."""
    gap = values_gap(expected, found, seen.values)
    if gap == 0:
        return gap
    size = _largest(seen.parts[0][1])
    rounding = _ROUNDINGS * rounding_of(seen.parts[0][1]) * size
    # Values of some rows alone count too: those of all rows may cancel, as a batch mean does under antithetic noise.
    sizes = [np.abs(np.nan_to_num(part, nan=np.inf)).reshape(len(part), -1) for part in (seen.values, expected, found)]
    significant = np.concatenate(sizes).max(axis=0) > rounding
    columns = [part.reshape(len(part), -1)[:, significant] for part in (expected, found, seen.values)]
    return values_gap(*columns)


def _largest(samples: Any) -> float:
    """Return the largest absolute value of floating-point samples; 0 for other types."""
    if isinstance(samples, tuple):
        return max(map(_largest, samples), default=0.0)
    try:
        array = as_numpy(samples)
    except Exception:
        return 0.0
    if array.dtype.kind not in "fc" or not array.size:
        return 0.0
    return float(np.nan_to_num(np.abs(array), nan=0.0, posinf=0.0).max())


def repeatability_problem(
    generator: Generator, samples: Any, batch: Batch, condition: Any, others: Callable[[int], Noise]
) -> str | None:
    """Return a warning where a generator gives other samples for the last and the first point of a batch; else None.

    It runs these two points again, in reversed order and then in their own. In their own places, the two points of a
    pair would show neither a batch mean that the generator subtracts nor random numbers from a fixed seed. The second
    order shows samples that are left over from the previous call.

    Parameters
    ----------
    generator, samples, batch, condition
        The generator, and the samples that it gave for a batch and a condition.
    others : callable
        Function from a number n to the noise of n other points.
    """
    name, ends = name_of(generator), [batch.n_rows - 1, 0][: batch.n_rows]

    def run(rows: list[int]) -> Any:
        return generator(change_noise(batch.noise, lambda block: block[rows].copy()), condition)

    again = run(ends)
    try:
        if _agree(_at(samples, ends), again):
            return _staleness_problem(generator, samples, again, run, batch.n_rows, condition, others)
        if len(ends) > 1 and _agree(again, run(ends[::-1])):
            return _stale(name)
        return _coupled(name) if _agree(again, run(ends)) else _random(name)
    except _IncomparableError:
        return (
            f"the samples of generator {name!r} can't be compared (they are {type(samples).__name__}), so that its "
            "laws were not tried: that the same noise gives the same samples, whatever the batch. Let it return arrays"
        )


def _staleness_problem(
    generator: Generator,
    samples: Any,
    again: Any,
    run: Callable[[list[int]], Any],
    n: int,
    condition: Any,
    others: Callable[[int], Noise],
) -> str | None:
    """Return a warning where samples do not change with the noise; `again` has the samples of rows n - 1 and 0."""
    name, own = name_of(generator), samples_apart(generator, samples)
    unlike = [_row_unlike_first(part, n) for part in own]
    for row in dict.fromkeys(row for row in unlike if row is not None):
        turned, expected = run([0, row]), _at(samples, [0, row])
        for number in (number for number, other in enumerate(unlike) if other == row):
            before, now, wanted = (samples_apart(generator, some)[number] for some in (again, turned, expected))
            if _gap_of_samples(before, now) < _gap_of_samples(wanted, now):
                return _stale(name)
        if not _agree(expected, turned):
            return _coupled(name) if _agree(turned, run([0, row])) else _random(name)
    constant = [number for number, row in enumerate(unlike) if row is None]
    if constant:
        noise, length = others(OTHER_POINTS), min(n, 2)
        for start in range(0, OTHER_POINTS, length):
            if not constant:
                break
            rows = slice(start, start + length)
            found = samples_apart(generator, generator(change_noise(noise, itemgetter(rows)), condition))
            constant = [k for k in constant if _all_like(own[k], found[k], length)]
    return _constant(name, n) if constant else None


def _row_unlike_first(samples: Any, n: int) -> int | None:
    """Return a row whose sample differs from that of row 0, if possible the last; None where all are equal."""
    if n > 1 and not _all_like(samples, take_rows(samples, slice(n - 1, n)), 1):
        return n - 1
    return next(
        (row for row in range(1, n) if not _all_like(samples, take_rows(samples, slice(row, row + 1)), 1)), None
    )


@_comparing
def _all_like(samples: Any, others: Any, n: int) -> bool:
    """Tell whether each of the first n of other samples equals the first of these, bit for bit."""
    if isinstance(samples, tuple):
        return all(_all_like(*parts, n) for parts in zip(samples, others, strict=True))
    first = as_numpy(samples[0:1])
    return all(np.array_equal(first, as_numpy(others[row : row + 1])) for row in range(n))


def _stale(name: str) -> str:
    return (
        f"the samples of generator {name!r} do not change with the noise: other noise gave the samples of the previous "
        "call. That is legitimate for discrete samples alone; a cache, or compiled code that keeps its first noise, "
        "does it too, and then the interval may not cover. Compute each sample from the noise that is given"
    )


def _constant(name: str, n: int) -> str:
    return (
        f"the samples of generator {name!r} do not change with the noise: those of the first batch ({n}) and "
        f"{OTHER_POINTS} more are all equal. That is legitimate for discrete samples that seldom differ; a cache, or "
        "compiled code that keeps its first noise, does it too, and then the interval may not cover"
    )


def _coupled(name: str) -> str:
    return (
        f"generator {name!r} gives other samples for the same noise when other rows share its batch: the samples "
        "of one replicate depend on another's, or on random numbers from a fixed seed inside, and the interval may "
        "not cover. Normalization over the batch and adaptive steps do this; use evaluation mode and fixed steps"
    )


def _random(name: str) -> str:
    return (
        f"generator {name!r} gives other samples for the same noise: it draws random numbers of its own, which "
        "neither the design nor the seed controls. Declare them as blocks of its NoiseSpec and use the noise that "
        "it is given"
    )


@_comparing
def _at(samples: Any, rows: list[int]) -> Any:
    """Return some rows of samples of any library, as numpy arrays."""
    if isinstance(samples, tuple):
        return tuple(_at(part, rows) for part in samples)
    return np.concatenate([as_numpy(samples[row : row + 1]) for row in rows])


def _agree(a: Any, b: Any) -> bool:
    """Tell whether samples differ only by rounding."""
    return bool(_compared(a, b, lambda x, y: 0.0 if gap_between(x, y) <= tolerance_of(x) else np.inf) == 0)


def _gap_of_samples(a: Any, b: Any) -> float:
    """Return the largest difference of samples, relative to the largest entry of `a`."""
    return float(_compared(a, b, gap_between))


@_comparing
def _compared(a: Any, b: Any, gap: Callable[[NDArray[Any], NDArray[Any]], float]) -> float:
    """Return the largest gap over the arrays that the samples consist of."""
    if isinstance(a, tuple):
        return max((_compared(x, y, gap) for x, y in zip(a, b, strict=True)), default=0.0)
    return gap(as_numpy(a), as_numpy(b))

"""What a run tries on its first batch: laws that cost more rows of the model or the statistic.

The generator runs two rows again, in both orders and without the others; the statistic some 17 rows, in small parts.
What a statistic breaks is refused, since its values would be no expectation of one sample's; what a generator seems to
break is warned of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy, gap_between, rounding_of, take_rows, tolerance_of
from mcgen._lib.fingerprints import networks_in_training
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.generators.joint import samples_apart
from mcgen.noise import Noise, change_noise
from mcgen.replicates.laws import Batch, values_gap
from mcgen.statistics.values import Seen, values_of, watched

OTHER_POINTS = 8
"""How many more points of noise are run where all samples of the first batch are the same."""

# Rounding errors of samples: values below so many, relative to the largest sample, may be nothing else.
_ROUNDINGS = 8


class _IncomparableError(Exception):
    """Samples that are no arrays."""


def _comparing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let what arrays can't be made of, or compared by, raise an error that no generator raises."""

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
    """Return a statistic's values of n samples, or refuse it where parts of these samples have other values."""
    with watched(_copied_parts) as seen:
        values = values_of(statistic, samples, n)
    # Values without components are refused as such.
    if seen[0].values[:1].size:
        _require_rows_apart(seen[0])
    return values


def _copied_parts(samples: Any, n: int) -> list[tuple[slice, Any]]:
    """Return copies of the rows to try a statistic on; the first two parts are the same rows.

    They lie across the pairs of antithetic noise. Rows that come alone show best what depends on other rows.
    """
    several = slice(1, min(5, n)) if n > 2 else slice(0, n)
    alone = [slice(row, row + 1) for row in dict.fromkeys((0, 1, n - 1)) if row < n]
    last = [slice(n - 4, n)] if n > 5 else []
    return [(rows, _copied(take_rows(samples, rows))) for rows in (several, several, *alone, *last)]


def _copied(samples: Any) -> Any:
    """Return a copy of some samples in their own library; what can't be copied is returned as it is."""
    if isinstance(samples, tuple):
        return tuple(map(_copied, samples))
    try:
        return samples.clone() if hasattr(samples, "clone") else copy.deepcopy(samples)
    except Exception:
        return samples


def _require_rows_apart(seen: Seen) -> None:
    """Refuse a statistic whose values of some rows are not the same again, or not those among all rows."""
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
                f"statistic {name!r} gives other values for the same samples when fewer come with them ({_told(rows)} "
                f"of {len(seen.values)}): it depends on the other rows of the batch, their number or its place among "
                "them, so that its mean is no expectation of one sample's value and changes with batch_size. Name the "
                "axes of each mean, and use networks in evaluation mode. Scores of a whole set, such as Frechet "
                "distances, are no means over samples"
            )


def _extreme_rows(seen: Seen) -> list[tuple[slice, Any]]:
    """Return the rows of the largest and the smallest value, each alone: a threshold over the batch shows by them.

    None where the statistic has worked in the memory of its samples, which are not there any more.
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
    """Return the statistic's values of some rows alone, or refuse it where it has none."""
    n, name = rows.stop - rows.start, name_of(seen.statistic)
    try:
        values = values_of(seen.statistic, samples, n)
    except Exception as error:
        raise RunError(
            f"statistic {name!r} fails where {_told(rows)} of the first batch comes alone ({error}); a value must not "
            "need other samples. Name the axes of each mean, and never squeeze the leading one"
        ) from error
    if values.shape[1:] != seen.values.shape[1:]:
        raise RunError(
            f"statistic {name!r} returned components of shape {values.shape[1:]} for {_told(rows)} of the first batch, "
            f"and {seen.values.shape[1:]} for all; every sample must give the same number of values"
        )
    return values


def _told(rows: slice) -> str:
    n = rows.stop - rows.start
    return f"sample {rows.start}" if n == 1 else f"samples {rows.start} to {rows.stop - 1}"


def _tolerance(seen: Seen) -> float:
    """Return what rounding may do to a value, relative to the largest: by the types on the way to it.

    A statistic may compute in float32 whatever comes in and goes out; of float64 alone is it known that it does not.
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
    """Return how far values are apart, in units of each component's largest; 0 where all are rounding errors."""
    gap = values_gap(expected, found, seen.values)
    if gap == 0:
        return gap
    size = _largest(seen.parts[0][1])
    rounding = _ROUNDINGS * rounding_of(seen.parts[0][1]) * size
    # Values of all rows may cancel where those of some rows alone don't: under antithetic noise a batch's mean does.
    sizes = [np.abs(np.nan_to_num(part, nan=np.inf)).reshape(len(part), -1) for part in (seen.values, expected, found)]
    significant = np.concatenate(sizes).max(axis=0) > rounding
    columns = [part.reshape(len(part), -1)[:, significant] for part in (expected, found, seen.values)]
    return values_gap(*columns)


def _largest(samples: Any) -> float:
    """Return the largest size of floating-point samples; 0 where they are something else."""
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
    """Run the last and the first point of a batch again, in this order and in the other; say what is wrong.

    The two points of one pair, in their own places, would not show a mean that is taken off over the batch, nor random
    numbers from a fixed seed. The second order shows samples that are those of the call before.

    Parameters
    ----------
    generator, samples, batch, condition
        What was run, and its samples.
    others : callable
        From a number to the noise of so many other points.
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
    """Say what is wrong where samples stay as they are when the noise changes; `again` is of rows n - 1 and 0."""
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
    """Return a row whose sample is not that of row 0, the last one where it will do; None where all are the same."""
    if n > 1 and not _all_like(samples, take_rows(samples, slice(n - 1, n)), 1):
        return n - 1
    return next(
        (row for row in range(1, n) if not _all_like(samples, take_rows(samples, slice(row, row + 1)), 1)), None
    )


@_comparing
def _all_like(samples: Any, others: Any, n: int) -> bool:
    """Tell whether the first n of other samples are the first of these, bit for bit."""
    if isinstance(samples, tuple):
        return all(_all_like(*parts, n) for parts in zip(samples, others, strict=True))
    first = as_numpy(samples[0:1])
    return all(np.array_equal(first, as_numpy(others[row : row + 1])) for row in range(n))


def _stale(name: str) -> str:
    return (
        f"the samples of generator {name!r} do not change with the noise: for other noise came those of the call "
        "before. That is legitimate for discrete samples alone; a cache, or compiled code that holds its first noise, "
        "does it too, and the interval may not cover. Compute each sample from the noise that is given"
    )


def _constant(name: str, n: int) -> str:
    return (
        f"the samples of generator {name!r} do not change with the noise: those of the first batch ({n}) and "
        f"{OTHER_POINTS} more are all the same. That is legitimate for discrete samples that seldom differ; a cache, "
        "or compiled code that holds its first noise, does it too, and the interval may not cover"
    )


def _coupled(name: str) -> str:
    return (
        f"generator {name!r} gives other samples for the same noise when other rows share its batch: the samples "
        "of one replicate depend on another's, or on random numbers from a fixed seed inside, and the interval may "
        "not cover. Normalization over the batch and adaptive steps do this; use evaluation mode and fixed steps"
    )


def _random(name: str) -> str:
    return (
        f"generator {name!r} gives other samples for the same noise: it draws random numbers of its own, which the "
        "design can't steer and the seed does not fix. Declare them as blocks of its NoiseSpec and use the noise that "
        "it is given"
    )


@_comparing
def _at(samples: Any, rows: list[int]) -> Any:
    """Return some rows of samples of any library, in numpy."""
    if isinstance(samples, tuple):
        return tuple(_at(part, rows) for part in samples)
    return np.concatenate([as_numpy(samples[row : row + 1]) for row in rows])


def _agree(a: Any, b: Any) -> bool:
    """Tell whether samples are equal but for rounding."""
    return bool(_compared(a, b, lambda x, y: 0.0 if gap_between(x, y) <= tolerance_of(x) else np.inf) == 0)


def _gap_of_samples(a: Any, b: Any) -> float:
    """Return how far samples are apart, relative to the largest of `a`."""
    return float(_compared(a, b, gap_between))


@_comparing
def _compared(a: Any, b: Any, gap: Callable[[NDArray[Any], NDArray[Any]], float]) -> float:
    """Return the largest gap of the arrays that samples are made of."""
    if isinstance(a, tuple):
        return max((_compared(x, y, gap) for x, y in zip(a, b, strict=True)), default=0.0)
    return gap(as_numpy(a), as_numpy(b))

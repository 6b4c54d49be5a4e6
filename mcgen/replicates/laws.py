"""The laws of generators and statistics that a run checks in every batch; what breaks one is refused.

What it tries on the first batch alone is in `mcgen.replicates.first_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_values, leading_length, non_finite_rows
from mcgen._lib.names import name_of
from mcgen.errors import NonFiniteError, RunError
from mcgen.generators import Generator
from mcgen.inference.moments import Floats
from mcgen.noise import Noise

# Relative to the largest sample: what matrix products of another batch size do, by bytes of the type.
_TOLERANCE = {2: 2e-2, 4: 1e-4, 8: 1e-8}

# How small a component may be beside the others before its values may be what rounding left of them.
_LEAST_SHARE = 1e-3

LARGEST_VALUE = 1e75
"""The fourth power of larger values overflows, and with it the moments."""


@dataclass(frozen=True)
class Batch:
    """Rows that the model sees together: some points of some replicates."""

    replicates: range
    points: range
    noise: Noise

    @property
    def n_rows(self) -> int:
        """Number of noise vectors."""
        return len(self.replicates) * len(self.points)

    def place_of(self, row: int) -> tuple[int, int]:
        """Return the replicate and the point that a row belongs to."""
        replicate, point = divmod(row, len(self.points))
        return self.replicates[replicate], self.points[point]


def require_samples(generator: Generator, samples: Any, batch: Batch) -> None:
    """Refuse samples whose leading axis is not that of the noise."""
    name, n = name_of(generator), batch.n_rows
    try:
        length = leading_length(samples)
    except TypeError as error:
        raise RunError(
            f"generator {name!r} returned {type(samples).__name__} without a leading axis ({error}); it must return "
            f"an array, or a tuple of arrays, of {n} samples for {n} points of noise"
        ) from error
    if length != n:
        raise RunError(
            f"generator {name!r} returned {length} samples for {n} points of noise; the leading axis of its output "
            "must be that of its input"
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """One call of a statistic: some of its samples as they were before, and what it returned.

    Attributes
    ----------
    statistic : callable
        The one that a user gave, without what mcgen puts around it.
    samples : object
        What it was given.
    parts : list of (slice, samples)
        Copies of some rows.
    result : object
        In the statistic's own library.
    values : ndarray of shape (n, ...)
        The same in float64.
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
    """Collect the calls of statistics by `values_of`, the innermost first, with copies of some of their samples.

    A difference, or the values under several conditions, calls the user's statistic inside its own: only there can the
    statistic's laws be tried without what is made of its values.
    """
    found: list[Seen] = []
    token = _watch.set((copied_parts, found))
    try:
        yield found
    finally:
        _watch.reset(token)


def values_of(statistic: Callable[[Any], Any], samples: Any, n: int) -> Floats:
    """Return the statistic's values of n samples as float64, shape (n, ...), or refuse what is no such array."""
    watch = _watch.get()
    # Copied before the call, since a statistic may work in the memory of its samples.
    parts = [] if watch is None or watch[1] else watch[0](samples, n)
    result, name = statistic(samples), name_of(statistic)
    wanted = f"it must return one number or one vector a sample: shape ({n},) or ({n}, k)"
    try:
        values = as_values(result)
    except (TypeError, ValueError) as error:
        raise RunError(f"statistic {name!r} returned {error}; {wanted}, of real numbers") from error
    if values.ndim == 0 or len(values) != n:
        raise RunError(f"statistic {name!r} returned an array of shape {values.shape} for {n} samples; {wanted}")
    # A NaN compares false and an infinity is another law's concern.
    if LARGEST_VALUE < max(values.max(initial=0.0), -values.min(initial=0.0)) < np.inf:
        raise RunError(
            f"statistic {name!r} returned values beyond {LARGEST_VALUE:g}, whose powers overflow; divide them by a "
            "constant first"
        )
    if watch is not None:
        watch[1].append(Seen(statistic, samples, parts, result, values))
    return values


def values_of_each(statistic: Callable[[Any], Any], samples: tuple[Any, ...], where: str) -> list[Floats]:
    """Return the statistic's values of several samples made from the same noise, or refuse those of other shapes."""
    n = leading_length(samples)
    columns = [values_of(statistic, part, n) for part in samples]
    if len({column.shape for column in columns}) > 1:
        raise RunError(
            f"statistic {name_of(statistic)!r} gave components of shapes {[column.shape[1:] for column in columns]} "
            f"{where}"
        )
    return columns


def require_components(statistic: object, values: Floats, batch: Batch, components: tuple[int, ...] | None) -> None:
    """Refuse values without components, or with other components than those of the first batch."""
    if values[:1].size == 0 or (components is not None and values.shape[1:] != components):
        before = "one or more" if components is None else f"{components} as in the first batch"
        raise RunError(
            f"statistic {name_of(statistic)!r} returned components of shape {values.shape[1:]} at replicate "
            f"{batch.replicates[0]}, where {before} are needed; every sample must give the same number of values"
        )


def require_finite(culprit: str, found: Any, batch: Batch) -> None:
    """Refuse a NaN or an infinity in the rows that are asked for."""
    places = [batch.place_of(row) for row in non_finite_rows(found, batch.n_rows).tolist()]
    if places:
        replicates = sorted({replicate for replicate, _ in places})
        raise NonFiniteError(
            f"{culprit} returned NaN or infinity for {len(places)} of the {batch.n_rows} points of a batch, in "
            f"{len(replicates)} replicates; the first is replicate {places[0][0]}, point {places[0][1]}. Every value "
            "must be finite. See its noise by design.draw(generator.noise, range(r, r + 1), seed) and mend the model "
            "or the statistic; the estimate from the batches before is this error's .partial"
        )


def copied(noise: Noise) -> dict[str, NDArray[Any]]:
    """Return copies of the blocks of some noise."""
    return {name: block.copy() for name, block in _blocks(noise)}


def require_input_kept(generator: Generator, batch: Batch, before: dict[str, NDArray[Any]]) -> None:
    """Refuse a generator that has written into its noise."""
    if not all(np.array_equal(block, before[name]) for name, block in _blocks(batch.noise)):
        raise RunError(
            f"generator {name_of(generator)!r} changed its input in place; it must leave the noise as it is. Let it "
            "work on a copy: noise = noise.copy(), or noise.clone() in torch"
        )


def _blocks(noise: Noise) -> list[tuple[str, NDArray[Any]]]:
    return [("", noise)] if isinstance(noise, np.ndarray) else [*noise.items()]


def tolerance_of(array: NDArray[Any]) -> float:
    """Return what matrix products of another batch size may do to samples of this type, relative to the largest."""
    return _TOLERANCE.get(np.finfo(array.dtype).dtype.itemsize, 0.0) if array.dtype.kind in "fc" else 0.0


def gap_between(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest difference relative to the largest entry of `a`; infinite where they can't be compared."""
    if a.shape != b.shape:
        return np.inf
    if a.dtype.kind not in "biufc":
        return 0.0 if bool((a == b).all()) else np.inf
    wide = np.result_type(a, np.float64)
    x, y = a.astype(wide), b.astype(wide)
    # What is infinite or NaN in both is another law's concern.
    one_finite = np.isfinite(x) | np.isfinite(y)
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(x - y)[one_finite].max(initial=0.0))
    largest = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    if difference == 0:
        return 0.0
    return difference / largest if largest and np.isfinite(difference) else np.inf


def values_gap(expected: Floats, found: Floats, among: Floats) -> float:
    """Return the largest difference of values, in units of their component's largest value among some.

    A component far smaller than the others may be what rounding left of them: its unit is a thousandth of theirs at
    least. Where one value alone is finite, the gap is infinite.
    """
    x, y, every = (part.reshape(len(part), -1) for part in (expected, found, among))
    one_finite = np.isfinite(x) | np.isfinite(y)
    with np.errstate(invalid="ignore"):
        difference = np.where(one_finite, np.abs(x - y), 0.0).max(axis=0, initial=0.0)
    sizes = np.where(np.isfinite(every), np.abs(every), 0.0).max(axis=0, initial=0.0)
    units = np.maximum(sizes, _LEAST_SHARE * sizes.max(initial=0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.where(difference == 0, 0.0, difference / units)
    return float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(initial=0.0))

"""Checks of the laws of generators and statistics that a run makes in every batch; a breach raises `RunError`.

The checks of the first batch alone are in `mcgen.replicates.first_batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, leading_length, non_finite_rows, unreadable_text
from mcgen._lib.names import name_of
from mcgen.errors import NonFiniteError, RunError
from mcgen.generators import Generator
from mcgen.noise import Noise

# Smallest unit of a component's gaps, relative to the largest component: smaller values may be nothing but rounding
# errors of the others.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Batch:
    """A batch of noise that the model gets at once: some points of some replicates."""

    replicates: range
    points: range
    noise: Noise

    @property
    def n_rows(self) -> int:
        """Number of noise vectors."""
        return len(self.replicates) * len(self.points)

    def place_of(self, row: int) -> tuple[int, int]:
        """Return the indices of the replicate and the point of a row."""
        replicate, point = divmod(row, len(self.points))
        return self.replicates[replicate], self.points[point]


def require_samples(generator: Generator, samples: Any, batch: Batch) -> None:
    """Refuse samples whose leading axis is not that of the noise, and tensors that have no plain numbers."""
    name, n = name_of(generator), batch.n_rows
    for part in samples if isinstance(samples, tuple) else (samples,):
        # A statistic may deal with masked samples itself; those of mcgen refuse them.
        problem = unreadable_text(part) if hasattr(part, "detach") else None
        if problem is not None:
            raise RunError(f"the samples of generator {name!r} must be arrays of plain numbers; got {problem}")
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


def require_components(statistic: object, values: Floats, batch: Batch, components: tuple[int, ...] | None) -> None:
    """Refuse values without components, or with other components than those of the first batch."""
    if values[:1].size == 0 or (components is not None and values.shape[1:] != components):
        before = "one or more" if components is None else f"{components} as in the first batch"
        raise RunError(
            f"statistic {name_of(statistic)!r} returned components of shape {values.shape[1:]} at replicate "
            f"{batch.replicates[0]}, where {before} are needed; every sample must give the same number of values"
        )


def require_finite(culprit: str, found: Any, batch: Batch) -> None:
    """Refuse a NaN or an infinity in the rows of the batch."""
    places = [batch.place_of(row) for row in non_finite_rows(found, batch.n_rows).tolist()]
    if places:
        replicates = sorted({replicate for replicate, _ in places})
        raise NonFiniteError(
            f"{culprit} returned NaN or infinity for {len(places)} of the {batch.n_rows} points of a batch, in "
            f"{len(replicates)} replicates; the first is replicate {places[0][0]}, point {places[0][1]}. Every value "
            "must be finite. Look at the noise of replicate r, design.draw(generator.noise, range(r, r + 1), seed), "
            "and correct the model or the statistic; this error's .partial is the estimate from the batches before"
        )


def copied(noise: Noise) -> dict[str, NDArray[Any]]:
    """Return copies of the blocks of the noise."""
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


def values_gap(expected: Floats, found: Floats, among: Floats) -> float:
    """Return the largest difference of two sets of values, relative to the size of their component.

    The size of a component is its largest absolute value in `among`, and at least a thousandth of the largest
    component's: a much smaller component may be nothing but rounding errors. Where only one of two values is finite,
    the gap is infinite.
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

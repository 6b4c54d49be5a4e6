"""What a run gathers of each sample, beside the moments of its values: the values themselves, samples, or features.

A gatherer turns a batch into one entry for each of its rows. The loop collects the entries by replicate and point, as
`ReplicateMeans.gathered`: shape (replicates, n_points, ...). From there on they are part of the rows: executors send
them, stores keep them, and rows are joined in replicate order. So they are the same bits however a run is cut. What
they cost is `n_bytes` for each replicate, and a run that would gather more than `MOST_BYTES` is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy, single_if_exact
from mcgen.errors import RunError
from mcgen.inference.moments import ReplicateMeans

MOST_BYTES = 2**29
"""Most bytes that a run gathers: 67 million values, or 40,000 images of 3 x 64 x 64 float32 numbers (512 MB)."""


class Gatherer(Protocol):
    """Turns a batch of samples and their values into what is gathered of each."""

    @property
    def name(self) -> str:
        """The name under which it is kept; other gatherers have other names."""
        ...

    def __call__(self, samples: Any, values: Floats) -> NDArray[Any]:
        """Return one entry for each sample of a batch, shape (rows, ...), in a type that does not change.

        An entry depends on its own sample alone.
        """
        ...


@dataclass(frozen=True)
class Values:
    """Gathers the values of the statistic, shape (rows, k)."""

    name: ClassVar[str] = "values"

    def __call__(self, samples: Any, values: Floats) -> NDArray[Any]:
        """Return the values."""
        return values.reshape(len(values), -1)


@dataclass(frozen=True)
class Features:
    """Gathers all values of the statistic, shape (rows, k), such as the features of images.

    They are kept in single precision where this changes none of them, as for a network in single precision. The numbers
    are the same either way.
    """

    name: ClassVar[str] = "features"

    def __call__(self, samples: Any, values: Floats) -> NDArray[Any]:
        """Return the values."""
        return single_if_exact(values.reshape(len(values), -1))


def without_wrapper(gatherer: Gatherer) -> Gatherer:
    """Return a gatherer itself, where it stands for that of one of several statistics."""
    return gatherer.own if isinstance(gatherer, OfOne) else gatherer


class Columns(Protocol):
    """What knows the columns of each of several statistics that run together."""

    def columns(self, number: int) -> slice:
        """Return the columns of the values of a statistic."""
        ...


def name_of_one(own: str, number: int, score: str = "") -> str:
    """Return under which name something is gathered of one of several statistics, for all of its scores or for one."""
    return f"{own} of {score} {number}" if score else f"{own} {number}"


@dataclass(frozen=True)
class OfOne:
    """Gathers what another gatherer does, of the values of one of several statistics that run together.

    Attributes
    ----------
    own : Gatherer
        The other gatherer.
    together : Columns
        What knows the columns of the statistic.
    number : int
        The number of the statistic.
    score : str
        The only score that it is for; empty where all scores of the statistic share it.
    """

    own: Gatherer
    together: Columns
    number: int
    score: str = ""

    @property
    def name(self) -> str:
        """The name, with the number of the statistic."""
        return name_of_one(self.own.name, self.number, self.score)

    def __call__(self, samples: Any, values: Floats) -> NDArray[Any]:
        """Return what is gathered of the statistic's own values."""
        return self.own(samples, values[:, self.together.columns(self.number)])


@dataclass(frozen=True)
class Samples:
    """Gathers the samples, as arrays of their own type."""

    name: ClassVar[str] = "samples"

    def __call__(self, samples: Any, values: Floats) -> NDArray[Any]:
        """Return the samples as a numpy array, or refuse what is no single array."""
        try:
            array = as_numpy(samples) if hasattr(samples, "dtype") else np.array(None)
        except (TypeError, ValueError):
            array = np.array(None)
        if array.dtype.kind not in "biufc" or array.ndim == 0:
            raise RunError(
                "keep_samples keeps samples that are one array of numbers for each noise; got samples of type "
                f"{type(samples).__name__}. Let a statistic return the numbers that you need of them, and take its "
                "values by mcgen.analysis.samples_frame"
            )
        return array


class Collected:
    """What some gatherers return for the batches of a group of replicates.

    Parameters
    ----------
    gatherers : sequence of Gatherer
        What is gathered.
    """

    def __init__(self, gatherers: Sequence[Gatherer]) -> None:
        self._parts: list[tuple[Gatherer, list[NDArray[Any]]]] = [(one, []) for one in gatherers]

    def add(self, samples: Any, values: Floats, n_replicates: int) -> None:
        """Add a batch of the next points of so many replicates."""
        for gatherer, parts in self._parts:
            found = gatherer(samples, values)
            parts.append(found.reshape(n_replicates, -1, *found.shape[1:]))

    def finish(self) -> dict[str, NDArray[Any]]:
        """Return what was gathered by name, each of shape (replicates, points, ...)."""
        return {gatherer.name: np.concatenate(parts, axis=1) for gatherer, parts in self._parts}


def require_room(rows: ReplicateMeans, n_replicates: int) -> None:
    """Refuse to gather more than `MOST_BYTES`, before it happens where the first rows show it.

    Parameters
    ----------
    rows : ReplicateMeans
        Some replicates.
    n_replicates : int
        How many the run is to have.

    Raises
    ------
    RunError
        If they would gather too much; the message says how many evaluations fit.
    """
    each = sum(array.nbytes for array in rows.gathered.values()) / len(rows)
    if each * n_replicates <= MOST_BYTES:
        return
    fitting = int(MOST_BYTES // each) * rows.n_points
    raise RunError(
        f"{' and '.join(rows.gathered)} of {n_replicates * rows.n_points:,} evaluations take "
        f"{each * n_replicates / 1e6:,.0f} MB, and a run keeps up to {MOST_BYTES / 1e6:,.0f} MB; use up to "
        f"{fitting:,} evaluations, or a statistic that returns fewer numbers for each sample"
    )

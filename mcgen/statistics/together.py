"""Several statistics of the same samples, evaluated together in one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, leading_length
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.statistics.features import FeatureValues
from mcgen.statistics.values import (
    Statistic,
    boolean_components,
    component_bounds,
    component_names,
    product_pairs,
    reduced_values,
    values_of,
    with_condition,
)

Shapes = tuple[tuple[int, ...], ...]
"""The shape of the components of each statistic."""


class Together:
    """Several statistics whose values stand side by side in one row, shape (n, k).

    Its attribute `shapes_together` is set by the first call, and is a fact of the run (`mcgen.replicates.task.Facts`):
    the shapes of the components of each statistic, as they are reduced, and of its values.

    Parameters
    ----------
    statistics : sequence of callable
        The statistics.
    labels : sequence of str or None
        What each is called; None for its own names.
    """

    def __init__(self, statistics: Sequence[Statistic], labels: Sequence[str | None]) -> None:
        self.statistics, self.labels = tuple(statistics), tuple(labels)
        # Shared with the same statistics under a condition.
        self._found: list[tuple[Shapes, Shapes]] = []

    def __mcgen_content__(self, load: bool) -> Any:
        return self.statistics

    @property
    def name(self) -> str:
        """The names, joined."""
        each = zip(self.labels, self.statistics, strict=True)
        return ", ".join(name_of(one) if label is None else label for label, one in each)

    @property
    def tried_parts(self) -> tuple[Statistic, ...]:
        """The statistics, each of which has to keep the laws by itself."""
        return self.statistics

    def for_condition(self, condition: Any) -> Together:
        """Return the statistics under a condition."""
        bound = tuple(with_condition(one, condition) for one in self.statistics)
        same = all(one is own for one, own in zip(bound, self.statistics, strict=True))
        if same:
            return self
        made = Together(bound, self.labels)
        made._found = self._found
        return made

    @property
    def shapes_together(self) -> tuple[Shapes, Shapes] | None:
        """The shapes of the components and of the values of each statistic; None before the first call."""
        return self._found[0] if self._found else None

    def learn(self, shapes: tuple[Shapes, Shapes]) -> None:
        """Take the shapes that another process has found."""
        self._found[:] = [shapes]

    def __call__(self, samples: Any) -> Floats:
        """Return the values of all statistics, shape (n, k)."""
        n = leading_length(samples)
        each = [values_of(one, samples, n) for one in self.statistics]
        if not self._found:
            reduced = [reduced_values(one, values) for one, values in zip(self.statistics, each, strict=True)]
            self.learn((tuple(one.shape[1:] for one in reduced), tuple(one.shape[1:] for one in each)))
        self._require_shapes(each)
        return np.concatenate([one.reshape(n, -1) for one in each], axis=1)

    def _require_shapes(self, each: Sequence[Floats]) -> None:
        """Refuse values of other shapes than the first, such as those of another model: columns would be mixed up."""
        for one, label, values, shape in zip(self.statistics, self.labels, each, self._found[0][1], strict=True):
            if values.shape[1:] != shape:
                raise RunError(
                    f"score {name_of(one) if label is None else label!r} gives components of shape {values.shape[1:]}, "
                    f"and gave {shape} before, for other samples; it must give the same number of values for all "
                    "models, conditions and samples"
                )

    def columns(self, number: int) -> slice:
        """Return the columns of the values of a statistic; there must have been a call."""
        return columns_of(self._found[0][1], number)

    def reduced_values(self, values: Floats) -> Floats:
        """Return what the means are taken of, statistic by statistic."""
        found = []
        for number, one in enumerate(self.statistics):
            own = values[:, self.columns(number)].reshape(len(values), *self._found[0][1][number])
            found.append(reduced_values(one, own).reshape(len(values), -1))
        return np.concatenate(found, axis=1)

    def boolean_components(self, samples: Any) -> NDArray[np.bool_]:
        """Return which components are boolean."""
        return np.concatenate([boolean_components(one, samples) for one in self.statistics])

    def component_bounds(self, k: int, samples: Any) -> Floats:
        """Return the least and the largest value of each component, shape (2, k)."""
        sizes = [math.prod(shape) for shape in self._reduced]
        own = zip(self.statistics, sizes, strict=True)
        return np.concatenate([component_bounds(one, size, samples) for one, size in own], axis=1)

    def product_pairs(self, k: int) -> NDArray[np.int64]:
        """Return the pairs of components whose products are wanted."""
        found = [np.empty((0, 2), np.int64)]
        for number, one in enumerate(self.statistics):
            columns = columns_of(self._reduced, number)
            own = product_pairs(one, columns.stop - columns.start)
            found += [] if own is None else [own + columns.start]
        return np.concatenate(found)

    def component_names(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of all components: that of its statistic, and its own where there are several."""
        if not self._found:
            return tuple(f"{self.name}[{number}]" for number in range(math.prod(shape)))
        found: list[str] = []
        for one, label, own in zip(self.statistics, self.labels, self._reduced, strict=True):
            names = component_names(one, own)
            named = names if label is None else [label] if len(names) == 1 else [f"{label}: {name}" for name in names]
            found += named
        return tuple(found)

    @property
    def _reduced(self) -> Shapes:
        return self._found[0][0]


def columns_of(shapes: Shapes, number: int) -> slice:
    """Return the columns of one of several statistics, whose components stand side by side."""
    sizes = [math.prod(shape) for shape in shapes]
    return slice(sum(sizes[:number]), sum(sizes[: number + 1]))


def distinct(statistics: Sequence[Statistic]) -> tuple[list[Statistic], list[int]]:
    """Return statistics without repetitions, and the number of each among them.

    Features are the same where their network and their centre are, so that they are computed once.
    """
    found: list[Statistic] = []
    keys: list[Any] = []
    places = []
    for one in statistics:
        key = one.key if isinstance(one, FeatureValues) else id(one)
        if key not in keys:
            keys.append(key)
            found.append(one)
        places.append(keys.index(key))
    return found, places

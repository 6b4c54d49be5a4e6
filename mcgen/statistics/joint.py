"""Statistics of samples that several generators made from the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, leading_length
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.statistics import Statistic
from mcgen.statistics.values import (
    boolean_components,
    component_bounds,
    component_names,
    parts_with_condition,
    values_of,
    values_of_each,
)


@dataclass(frozen=True, eq=False)
class Difference:
    """The statistic of the first generator's samples minus b times that of the second's.

    Attributes
    ----------
    statistic : callable
        Applied to the samples of both generators.
    coefficients : ndarray of shape (1,) or (k,), or None
        The factors b, one for all components or one for each; None for 1.
    """

    statistic: Statistic
    coefficients: Floats | None = None

    def __mcgen_content__(self, load: bool) -> Any:
        return self.statistic, self.coefficients

    @property
    def name(self) -> str:
        """The statistic's name."""
        return name_of(self.statistic)

    def __call__(self, samples: tuple[Any, Any]) -> Floats:
        """Return the differences of the values, shape (n, ...)."""
        n = leading_length(samples)
        a, b = (values_of(self.statistic, part, n) for part in samples)
        if a.shape != b.shape:
            raise RunError(
                f"statistic {self.name!r} gave components of shape {a.shape[1:]} for one generator and {b.shape[1:]} "
                "for the other; a difference needs the same"
            )
        if self.coefficients is None:
            return np.asarray(a - b)
        if self.coefficients.size not in (1, b[0].size):
            raise RunError(
                f"statistic {self.name!r} has {b[0].size} components, and there are {self.coefficients.size} "
                "coefficients or correlations for them; give one for all, or one for each"
            )
        return np.asarray(a - np.broadcast_to(self.coefficients, b[0].size).reshape(b.shape[1:]) * b)

    def for_condition(self, condition: Any) -> Difference:
        """Return the difference of the statistic under a condition, which both generators share."""
        return parts_with_condition(self, condition, "statistic")

    def component_bounds(self, k: int, samples: tuple[Any, ...]) -> Floats:
        """Return the bounds of the differences, shape (2, k); infinite for coefficients other than 1."""
        if self.coefficients is not None:
            return np.stack([np.full(k, -np.inf), np.full(k, np.inf)])
        low, high = _bounds(self.statistic, k, samples[0])
        return np.stack([low - high, high - low])


@dataclass(frozen=True)
class EachOf:
    """The statistic of each of m generators, then its differences between the first and every other one.

    The values have shape (n, m k + (m - 1) k) for k components.
    """

    statistic: Statistic

    def __mcgen_content__(self, load: bool) -> Any:
        return (self.statistic,)

    @property
    def name(self) -> str:
        """The statistic's name."""
        return name_of(self.statistic)

    def __call__(self, samples: tuple[Any, ...]) -> Floats:
        """Return the values of n samples."""
        where = "for generators that stand for each other; they need the same"
        columns = values_of_each([self.statistic] * len(samples), samples, where)
        flat = [column.reshape(len(column), -1) for column in columns]
        return np.concatenate([*flat, *(flat[0] - other for other in flat[1:])], axis=1)


@dataclass(frozen=True, eq=False)
class EachAndAverage:
    """A statistic of the samples under each condition, and its weighted average, shape (n, conditions + 1, ...).

    Attributes
    ----------
    statistic : callable
        The statistic that the user gave.
    weights : ndarray of shape (conditions,)
        Weights in the average.
    conditions : tuple of str
        What results call the conditions.
    each : tuple of callable
        The statistic under each condition.
    """

    statistic: Statistic
    weights: Floats
    conditions: tuple[str, ...]
    each: tuple[Statistic, ...]

    def __mcgen_content__(self, load: bool) -> Any:
        return self.statistic, self.weights, self.conditions

    @property
    def name(self) -> str:
        """The statistic's name."""
        return name_of(self.statistic)

    def component_names(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return what the components are called: each under each condition, and on average."""
        own = component_names(self.statistic, shape[1:])
        return tuple(
            f"{name} {where}"
            for where in (*(f"under {text}" for text in self.conditions), "on average")
            for name in own
        )

    def __call__(self, samples: tuple[Any, ...]) -> Floats:
        """Return the values of n samples."""
        where = "under the conditions; to average they must be the same. Estimate the conditions one by one"
        columns = values_of_each(self.each, samples, where)
        values = np.stack(columns, axis=1)
        average = np.einsum("c,nc...->n...", self.weights, values)
        return np.concatenate([values, average[:, None]], axis=1)

    def boolean_components(self, samples: tuple[Any, ...]) -> NDArray[np.bool_]:
        """Return which components are boolean: those under each condition may be, their average is not."""
        own = [boolean_components(one, part) for one, part in zip(self.each, samples, strict=True)]
        return np.concatenate([*own, np.zeros_like(own[0])])

    def component_bounds(self, k: int, samples: tuple[Any, ...]) -> Floats:
        """Return the bounds, shape (2, k): an average with weights above 0 lies between the outermost of its parts."""
        own = k // (len(self.each) + 1)
        parts = [_bounds(one, own, part) for one, part in zip(self.each, samples, strict=True)]
        low, high = np.min(parts, axis=0)[0], np.max(parts, axis=0)[1]
        return np.concatenate([*parts, np.stack([low, high])], axis=1)


def _bounds(statistic: Statistic, k: int, samples: Any) -> Floats:
    """Return the bounds of k components, shape (2, k): those declared, and 0 and 1 of boolean ones."""
    low, high = component_bounds(statistic, k, samples)
    boolean = boolean_components(statistic, samples)
    return np.stack([np.where(boolean, 0.0, low), np.where(boolean, 1.0, high)])


class WithControlValues:
    """A statistic's values, one row a sample, with those of the controls beside them: shape (n, k + q).

    Parameters
    ----------
    statistic : callable
        The statistic of the samples alone.
    shape : tuple of int, optional
        Shape of its components, which it must keep; by default that of the first values.
    """

    def __init__(self, statistic: Statistic, shape: tuple[int, ...] | None = None) -> None:
        self.statistic, self.own_shape = statistic, shape

    @property
    def name(self) -> str:
        """The statistic's name."""
        return name_of(self.statistic)

    @property
    def n_components(self) -> int:
        """k, known after the first values."""
        assert self.own_shape is not None
        return int(np.prod(self.own_shape))

    def __call__(self, samples: tuple[Any, Floats]) -> Floats:
        """Return the values, those of the statistic first."""
        own, controls = samples
        values = values_of(self.statistic, own, len(controls))
        self.own_shape = values.shape[1:] if self.own_shape is None else self.own_shape
        if values.shape[1:] != self.own_shape or self.n_components == 0:
            raise RunError(
                f"statistic {self.name!r} returned components of shape {values.shape[1:]}, where one or more, and "
                f"{self.own_shape} as before or as its control coefficients, are needed; fit them to the same statistic"
            )
        return np.concatenate([values.reshape(len(controls), -1), controls], axis=1)


def as_they_are(values: Floats) -> Floats:
    """Return the values unchanged: the statistic of samples that are values already."""
    return values

"""Stacks of several statistics as the components of one, and linear combinations of components."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy, numbers_of, unreadable_text
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.statistics._libraries import _like
from mcgen.statistics.values import (
    Statistic,
    boolean_components,
    called,
    component_bounds,
    parts_with_condition,
    with_condition,
)


@dataclass(frozen=True)
class Stack:
    """A statistic with k components, each of which is a statistic of one number; made by `stack`.

    Attributes
    ----------
    statistics : tuple of callable
        The statistics.
    names : tuple of str
        The names of the components.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen import statistics
    >>> both = statistics.stack(statistics.brightness, statistics.contrast)
    >>> both.names, both(np.ones((5, 8, 8))).shape
    (('brightness', 'contrast'), (5, 2))
    """

    statistics: tuple[Statistic, ...]
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The components' names, joined."""
        return ", ".join(self.names)

    def __call__(self, samples: Any) -> Any:
        """Return the values of n samples, shape (n, k), in the library of the first statistic's values."""
        columns = [
            _column(name, called(statistic, samples))
            for name, statistic in zip(self.names, self.statistics, strict=True)
        ]
        for name, column in zip(self.names, columns, strict=True):
            if tuple(column.shape) != (len(columns[0]),):
                raise ValueError(
                    f"stack takes statistics of one number a sample; {name!r} gave an array of shape "
                    f"{tuple(column.shape)} for {len(columns[0])} samples"
                )
        if not all(hasattr(column, "new_zeros") for column in columns):
            return np.stack([as_numpy(column) for column in columns], axis=1)
        joined = columns[0].new_zeros((len(columns[0]), len(columns)))
        for j, column in enumerate(columns):
            joined[:, j] = column
        return joined

    def for_condition(self, condition: Any) -> Stack:
        """Return the stack of the statistics under a condition."""
        bound = tuple(with_condition(one, condition) for one in self.statistics)
        unchanged = all(one is own for one, own in zip(bound, self.statistics, strict=True))
        return self if unchanged else replace(self, statistics=bound)

    def boolean_components(self, samples: Any) -> NDArray[np.bool_]:
        """Return which of the statistics are boolean."""
        return np.concatenate([boolean_components(statistic, samples) for statistic in self.statistics])

    def component_bounds(self, k: int, samples: Any) -> Floats:
        """Return the declared bounds of the statistics, shape (2, k)."""
        return np.concatenate([component_bounds(statistic, 1, samples) for statistic in self.statistics], axis=1)


def stack(*statistics: Statistic, names: tuple[str, ...] | list[str] | None = None) -> Stack:
    """Return one statistic whose components are several statistics, so that one run estimates them all.

    The components share their samples. `mcgen.evaluate` does this by itself for several scores.

    Parameters
    ----------
    *statistics : callables
        Statistics that return one number per sample, shape (n,).
    names : sequence of str, optional
        Names of the components in results; by default the statistics' own names.

    Raises
    ------
    ValueError
        If there is no statistic, or not a different name for each.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen import statistics
    >>> both = statistics.stack(statistics.brightness, statistics.contrast)
    >>> model = mcgen.as_generator(lambda z: 1 / (1 + z**2), noise=(8, 8), name="pixels")
    >>> result = mcgen.estimate(model, both, design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> result.names, result.mean.shape
    (('brightness', 'contrast'), (2,))
    """
    for statistic in statistics:
        if not callable(statistic):
            hint = "; a functional takes a stack: variance(stack(a, b))" if hasattr(statistic, "statistic") else ""
            raise TypeError(
                f"stack takes callables, one after another: stack(brightness, contrast); got {statistic!r}{hint}"
            )
    if isinstance(names, str):
        names = (names,)
    chosen = tuple(names) if names is not None else tuple(name_of(statistic) for statistic in statistics)
    if not statistics or len(chosen) != len(statistics) or len(set(chosen)) != len(chosen):
        raise ValueError(
            f"stack needs at least one statistic and a different name for each; got {len(statistics)} statistics "
            f"and the names {chosen}. Name them by names=(...)"
        )
    return Stack(statistics, chosen)


@dataclass(frozen=True, eq=False)
class Combined:
    """Linear combinations of a statistic's components, in the samples' own library.

    Parameters
    ----------
    statistic : callable
        A statistic with k components.
    matrix : ndarray of shape (k, m)
        Coefficients; column j has those of combination j.

    Examples
    --------
    The sum and the difference of two components:

    >>> import numpy as np
    >>> from mcgen import statistics
    >>> sums = statistics.Combined(lambda x: x, np.array([[1.0, 1.0], [1.0, -1.0]]))
    >>> sums(np.array([[3.0, 1.0]])).tolist()
    [[4.0, 2.0]]
    """

    statistic: Statistic
    matrix: NDArray[np.float64]

    def __call__(self, samples: Any) -> Any:
        """Return the combinations of n samples, values @ matrix, shape (n, m)."""
        values = called(self.statistic, samples)
        return values.reshape(len(values), -1) @ _like(values, self.matrix)

    def for_condition(self, condition: Any) -> Combined:
        """Return the combinations of the statistic under a condition."""
        return parts_with_condition(self, condition, "statistic")


def _column(name: str, values: Any) -> Any:
    """Return a statistic's values in double precision, as a torch tensor or numpy array, so that all can be joined."""
    problem = unreadable_text(values)
    try:
        if problem is not None:
            raise TypeError(problem)
        values = values if hasattr(values, "new_tensor") else numbers_of(values)
    except (TypeError, ValueError) as error:
        raise RunError(f"statistic {name!r} of a stack returned {error}; it must return one number a sample") from error
    if hasattr(values, "new_tensor"):
        # Torch has no double precision on Apple's devices.
        return values.float() if getattr(values.device, "type", "") == "mps" else values.double()
    return values

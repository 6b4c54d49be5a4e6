"""Several statistics as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy
from mcgen._lib.names import name_of
from mcgen.statistics._libraries import _like
from mcgen.statistics.values import Statistic


@dataclass(frozen=True)
class Stack:
    """Several statistics of one number each as one of k components; made by `stack`."""

    statistics: tuple[Statistic, ...]
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The components' names, joined."""
        return ", ".join(self.names)

    def __call__(self, samples: Any) -> Any:
        """Return the values of n samples, shape (n, k), in the library of the first statistic's values."""
        columns = [_column(statistic(samples)) for statistic in self.statistics]
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


def stack(*statistics: Statistic, names: tuple[str, ...] | list[str] | None = None) -> Stack:
    """Estimate several statistics in one run, component by component.

    Parameters
    ----------
    *statistics : callables
        Each from n samples to an array of shape (n,).
    names : sequence of str, optional
        How results call the components; by default the statistics' own names.

    Raises
    ------
    ValueError
        If there is none, or not as many different names as statistics.

    Examples
    --------
    >>> from mcgen import statistics
    >>> statistics.stack(statistics.brightness, statistics.contrast).names
    ('brightness', 'contrast')
    """
    for statistic in statistics:
        if not callable(statistic):
            raise TypeError(f"stack takes callables, one after another: stack(brightness, contrast); got {statistic!r}")
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
        Of k components.
    matrix : ndarray of shape (k, m)
        The combinations.
    """

    statistic: Statistic
    matrix: NDArray[np.float64]

    def __call__(self, samples: Any) -> Any:
        """Return the combinations, shape (n, m)."""
        values = self.statistic(samples)
        return values.reshape(len(values), -1) @ _like(values, self.matrix)


def _column(values: Any) -> Any:
    """Return one statistic's values in a type that all can be joined in: double precision, in torch's own."""
    if hasattr(values, "new_tensor"):
        # Apple's devices have no double precision.
        return values.float() if getattr(values.device, "type", "") == "mps" else values.double()
    return as_numpy(values)

"""Statistics that stand for a functional near an estimate of it, by which designs are planned.

Near an estimate, a functional varies as the mean of its influence function does, to first order. So what makes the
variance of that mean small makes that of the functional small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcgen._lib.arrays import Floats
from mcgen.statistics import Statistic
from mcgen.statistics.values import called, parts_with_condition


@dataclass(frozen=True, eq=False)
class Influence:
    """A function of a statistic's values, in the library of the samples, so that it has a gradient where they do.

    Attributes
    ----------
    statistic : callable
        The functional's statistic.
    name : str
        The functional's name.
    names : tuple of str
        Names of its components.
    function : callable
        From values of shape (n, k), or (n, blocks, k / blocks), to shape (n, c). It gets its numbers by `constants`.
    constants : tuple of ndarray
        Numbers that the function takes after the values, in the same library.
    blocks : int
        Number of statistics that stand side by side.
    """

    statistic: Statistic
    name: str
    names: tuple[str, ...]
    function: Callable[..., Any]
    constants: tuple[Floats, ...]
    blocks: int = 1

    def for_condition(self, condition: Any) -> Influence:
        """Return the influence by the statistic under a condition."""
        return parts_with_condition(self, condition, "statistic")

    def component_names(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of the functional's components."""
        return self.names

    def __call__(self, samples: Any) -> Any:
        """Return the influence of n samples, shape (n, c)."""
        values = called(self.statistic, samples)
        if hasattr(values, "new_tensor"):
            values = values.double()
        n = len(values)
        flat = values.reshape(n, -1) if self.blocks == 1 else values.reshape(n, self.blocks, -1)
        of_torch = hasattr(flat, "new_tensor")
        return self.function(flat, *(flat.new_tensor(one) if of_torch else one for one in self.constants))

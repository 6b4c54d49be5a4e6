"""Statistics that stand for a functional near an estimate of it, by which designs are planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcgen._lib.arrays import Floats, leading_length
from mcgen.statistics import Statistic
from mcgen.statistics.values import parts_with_condition, values_of


@dataclass(frozen=True, eq=False)
class Influence:
    """A function of a statistic's values.

    Attributes
    ----------
    statistic : callable
        The functional's statistic.
    name : str
        The functional's name.
    function : callable
        From values of shape (n, k) to shape (n, c); of shape (n, blocks, k / blocks) where there are several blocks.
    blocks : int
        Number of statistics that stand side by side.
    """

    statistic: Statistic
    name: str
    function: Callable[[Floats], Floats]
    blocks: int = 1

    def for_condition(self, condition: Any) -> Influence:
        """Return the influence by the statistic under a condition."""
        return parts_with_condition(self, condition, "statistic")

    def __call__(self, samples: Any) -> Floats:
        """Return the influence of n samples, shape (n, c)."""
        n = leading_length(samples)
        values = values_of(self.statistic, samples, n).reshape(n, -1)
        return self.function(values if self.blocks == 1 else values.reshape(n, self.blocks, -1))

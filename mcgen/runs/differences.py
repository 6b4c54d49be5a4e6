"""Two generators on the same noise, and the difference of a statistic of their samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, leading_length
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.noise import Noise, NoiseSpec
from mcgen.replicates.first_batch import samples_apart
from mcgen.statistics import Statistic
from mcgen.statistics.values import values_of


@dataclass(frozen=True)
class Pair:
    """Two generators fed with the same noise."""

    a: Generator
    b: Generator

    @property
    def noise(self) -> NoiseSpec:
        """The noise of both."""
        return self.a.noise

    @property
    def name(self) -> str:
        """Their names."""
        return f"{name_of(self.a)} - {name_of(self.b)}"

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, Any]:
        """Return the samples of both."""
        return self.a(noise, condition), self.b(noise, condition)

    def samples_apart(self, samples: tuple[Any, Any]) -> list[Any]:
        """Return the samples of each generator."""
        return [*samples_apart(self.a, samples[0]), *samples_apart(self.b, samples[1])]


@dataclass(frozen=True, eq=False)
class Difference:
    """A statistic of the first generator's samples minus that of the second's, or minus so much of it a component."""

    statistic: Statistic
    coefficients: Floats | None = None

    @property
    def name(self) -> str:
        """The statistic's."""
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

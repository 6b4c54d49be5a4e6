"""What a problem is: a generator, a statistic, their expectation, and where that is known from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import MonteCarlo
from mcgen.generators import Generator
from mcgen.noise import Array, NoiseSpec

# Numbers of float64 that a core's second-level cache holds with some intermediate results.
_IN_CACHE = 2**15


@dataclass(frozen=True)
class Problem:
    """An expectation that is known.

    Attributes
    ----------
    name : str
        What `PROBLEMS` calls it.
    generator : Generator
        From noise to samples.
    statistic : callable
        From n samples to shape (n,).
    truth : float
        The expectation.
    source : str
        Where the truth comes from.
    hard : str
        What is hard about it.
    truth_error : float
        Standard error of a truth that was simulated; 0 for one that is exact.
    family : str
        Problems of one kind.
    event_probability : float or None
        Of a statistic that tells whether an event came: its probability.
    """

    name: str
    generator: Generator
    statistic: Callable[[Array], Array]
    truth: float
    source: str = ""
    hard: str = ""
    truth_error: float = 0.0
    family: str = ""
    event_probability: float | None = None

    @property
    def dimension(self) -> int:
        """Number of entries of the noise of one sample."""
        return self.generator.noise.dimension


def first(x: Array) -> Array:
    """Return the first entry of each sample: of integrands, whose samples are their values."""
    return x[:, 0]


def parameters(seed: int, *shape: int) -> Floats:
    """Return fixed numbers of the look of N(0, 1): the package's own, which are the same under every numpy."""
    drawn = MonteCarlo().draw(NoiseSpec.normal(shape, "float64"), 1, seed, stream=("problems",))
    numbers: Floats = drawn[0, 0] if not hasattr(drawn, "keys") else drawn["noise"][0, 0]
    return numbers


def by_slices(function: Callable[[Array], Array], noise: Array) -> Array:
    """Apply a function of rows to slices of them that stay in a core's cache."""
    rows = max(1, _IN_CACHE // max(1, noise[0].size))
    if len(noise) <= rows:
        return function(noise)
    return np.concatenate([function(noise[start : start + rows]) for start in range(0, len(noise), rows)])

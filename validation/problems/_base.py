"""A generator and a statistic, with their expectation and the source of that number: `Problem`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.designs import MonteCarlo
from mcgen.generators import Generator
from mcgen.noise import Array, NoiseSpec


@dataclass(frozen=True)
class Problem:
    """A generator and a statistic whose expectation is known, for `coverage_study`.

    `mcgen.validation.PROBLEMS` has those of the package by name. Make one to learn how often intervals cover on a
    problem that is like yours.

    Attributes
    ----------
    name : str
        Its name; the key in `PROBLEMS` for the package's own problems.
    generator : Generator
        From noise to samples.
    statistic : callable
        From n samples to shape (n,).
    truth : float
        The expectation.
    source : str
        Where the truth comes from.
    hard : str
        The difficulty of the problem, in words.
    truth_error : float
        Standard error of a simulated truth; 0 for an exact one.
    family : str
        The group of similar problems that it belongs to.
    event_probability : float or None
        Probability of the event, where the statistic is an indicator of an event; else None.

    Examples
    --------
    The mean of a squared normal number is 1:

    >>> import mcgen
    >>> from mcgen.validation import Problem, coverage_study
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(1,), name="square")
    >>> problem = Problem("square", model, lambda x: x[:, 0], truth=1.0)
    >>> options = dict(n_replicates=20, repetitions=1000, seed=0)
    >>> study = coverage_study(problem, mcgen.MonteCarlo(), "student-t", **options)
    >>> 0.85 < study.covered < 0.95
    True
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
    """Return the first entry of each sample, shape (n,): the value, for integrands."""
    return x[:, 0]


def happens(x: Array) -> NDArray[np.bool_]:
    """Return whether the first entry of each sample is 1, shape (n,): the event, for indicators."""
    return np.asarray(x[:, 0] == 1)


def parameters(seed: int, *shape: int) -> Floats:
    """Return fixed numbers that look like N(0, 1), from mcgen's own random numbers: the same under every numpy."""
    drawn = MonteCarlo().draw(NoiseSpec.normal(shape, "float64"), 1, seed, stream=("problems",))
    numbers: Floats = drawn[0, 0] if not hasattr(drawn, "keys") else drawn["noise"][0, 0]
    return numbers

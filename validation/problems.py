"""Problems with known truth, for coverage studies and tests.

Each is a generator and a statistic whose expectation is known in closed form; `truth` says it, `why` derives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from mcgen.generators import Generator, as_generator
from mcgen.noise import Array, NoiseSpec


@dataclass(frozen=True)
class Problem:
    """An expectation that is known.

    Attributes
    ----------
    name : str
        One word.
    generator : Generator
        From noise to samples.
    statistic : callable
        From n samples to shape (n,).
    truth : float
        The expectation.
    why : str
        Where the truth comes from, and what is hard.
    """

    name: str
    generator: Generator
    statistic: Callable[[Array], Array]
    truth: float
    why: str


def _first(x: Array) -> Array:
    return x[:, 0]


def _normal_pairs(z: Array) -> Array:
    """S = 3 z_2 + Phi^-1(2 Phi(|z_1|) - 1): the mean over a pair z, -z is exactly N(0, 1)."""
    even = ndtri(2 * ndtr(np.abs(z[:, :1])) - 1)
    return np.asarray(3 * z[:, 1:2] + even)


PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "linear",
            as_generator(lambda z: z.sum(axis=1, keepdims=True), NoiseSpec.normal((8,), "float64"), name="linear"),
            _first,
            0.0,
            "a sum of standard normals; replicate means of Monte Carlo are exactly normal, of pairs exactly 0",
        ),
        Problem(
            "normal-pairs",
            as_generator(_normal_pairs, NoiseSpec.normal((2,), "float64"), name="normal-pairs"),
            _first,
            0.0,
            "|z_1| has distribution function 2 Phi - 1, so the even part is N(0, 1); the odd part has mean 0. The "
            "means of antithetic pairs are the even part, exactly normal: the nominal level is the true one",
        ),
        Problem(
            "odd-and-even",
            as_generator(lambda z: z + z**2 / 2, NoiseSpec.normal((1,), "float64"), name="odd-and-even"),
            _first,
            0.5,
            "odd part w of variance 1, even part w^2 / 2 of variance 1/2: pairs have rho = -1/3 and efficiency 3/2",
        ),
        Problem(
            "exponential",
            as_generator(lambda z: np.exp(z / 2), NoiseSpec.normal((1,), "float64"), name="exponential"),
            _first,
            float(np.exp(1 / 8)),
            "E exp(w/2) = exp(1/8); pair means cosh(w/2) are skewed, and t intervals from few of them cover too little",
        ),
        Problem(
            "square",
            as_generator(np.square, NoiseSpec.normal((1,), "float64"), name="square"),
            _first,
            1.0,
            "E w^2 = 1; an even statistic, for which a pair is the same point twice",
        ),
    )
}

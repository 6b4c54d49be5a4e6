"""Laws of statistics whose functionals are known, and a design that draws many independent runs side by side.

With w and u standard normal of correlation 0.6, a law is that of a pair of values g(w), g(u), and of a third, exp(u/2).
Variances, correlations and the like are known in closed form, or by quadrature to 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr, softmax

from mcgen import functionals
from mcgen._lib.arrays import Floats
from mcgen.designs import Design
from mcgen.functionals import Functional
from mcgen.generators import Generator, as_generator
from mcgen.noise import Block, Noise, NoiseSpec
from mcgen.noise.random import Seed

CORRELATION = 0.6
"""Correlation of w and u."""
# The indicator is of w above this number: an event of probability 0.31.
_ABOVE = 0.5
# Directions of w and of what u has beside it, by the dimension of the noise: single coordinates, and all alike.
_DIRECTIONS = {
    2: np.array([[1.0, 0.0], [0.0, 1.0]]),
    4: np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]]) / 2,
}


@dataclass(frozen=True)
class SideBySide:
    """A design that draws independent runs of another one, noise of shape (replicates, points, runs, dimension).

    Replicate r of run j is replicate r runs + j of the other design.
    """

    design: Design
    runs: int

    @property
    def n_points(self) -> int:
        """Points of a replicate of each run."""
        return self.design.n_points

    def draw(
        self,
        spec: NoiseSpec | tuple[int, ...],
        replicates: int | range,
        seed: Seed,
        *,
        stream: tuple[str | int, ...] = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of some replicates of all runs."""
        assert isinstance(spec, NoiseSpec)
        (name, block), rows = spec.blocks[0], range(replicates) if isinstance(replicates, int) else replicates
        one = NoiseSpec(((name, Block(block.shape[1:], block.law)),), spec.dtype)
        own = range(rows.start * self.runs, rows.stop * self.runs)
        drawn = np.asarray(self.design.draw(one, own, seed, stream=stream, points=points))
        return drawn.reshape(len(rows), self.runs, *drawn.shape[1:]).swapaxes(1, 2)


def noise(runs: int, dimension: int, shift: float = 0.0) -> Generator:
    """Return the generator whose samples are shifted noise of all runs, shape (n, runs, dimension)."""
    spec = NoiseSpec.normal((runs, dimension), "float64")
    return as_generator(lambda z: z + shift, noise=spec, name=f"noise + {shift:g}")


def noise_by_condition(runs: int, dimension: int) -> Generator:
    """Return the generator whose condition is what its noise is shifted by."""
    spec = NoiseSpec.normal((runs, dimension), "float64")
    return as_generator(lambda z, shift: z + shift, noise=spec, name="noise + condition")


@dataclass(frozen=True)
class FunctionalLaw:
    """A law of values, with its known moments.

    Attributes
    ----------
    name : str
        What the values are.
    g : callable
        From w to the values.
    mean, variance, correlation : float
        Mean and variance of g(w), and the correlation of g(w) and g(u).
    skewness : float
        Skewness of g(w).
    """

    name: str
    g: Callable[[Floats], Floats]
    mean: float
    variance: float
    correlation: float
    skewness: float

    def first(self, samples: Floats) -> Floats:
        """Return g(w), shape (n, runs)."""
        return self.g(_along(samples, 0))

    def second(self, samples: Floats) -> Floats:
        """Return g(u), shape (n, runs)."""
        return self.g(_other(samples))

    def pair(self, samples: Floats) -> Floats:
        """Return g(w) and exp(u/2), shape (n, 2, runs)."""
        return np.stack([self.first(samples), third(samples)], axis=1)


def third(samples: Floats) -> Floats:
    """Return exp(u/2), shape (n, runs)."""
    return np.asarray(np.exp(_other(samples) / 2))


def _along(samples: Floats, number: int) -> Floats:
    return np.asarray(samples @ _DIRECTIONS[samples.shape[-1]][number])


def _other(samples: Floats) -> Floats:
    return CORRELATION * _along(samples, 0) + math.sqrt(1 - CORRELATION**2) * _along(samples, 1)


def _lognormal(name: str, s: float) -> FunctionalLaw:
    e = math.exp(s**2)
    return FunctionalLaw(
        name,
        lambda w: np.asarray(np.exp(s * w)),
        math.sqrt(e),
        e * (e - 1),
        (math.exp(CORRELATION * s**2) - 1) / (e - 1),
        (e + 2) * math.sqrt(e - 1),
    )


def _indicator() -> FunctionalLaw:
    p = float(ndtr(-_ABOVE))
    rest = math.sqrt(1 - CORRELATION**2)

    def density(t: float) -> float:
        return math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) * float(ndtr((CORRELATION * t - _ABOVE) / rest))

    both = quad(density, _ABOVE, 12, epsabs=1e-13)[0]
    variance = p * (1 - p)
    skewness = (1 - 2 * p) / math.sqrt(variance)
    return FunctionalLaw(
        f"1(w > {_ABOVE})", lambda w: (w > _ABOVE).astype(float), p, variance, (both - p**2) / variance, skewness
    )


LAWS = {
    law.name: law
    for law in (
        FunctionalLaw("w + 3", lambda w: w + 3, 3.0, 1.0, CORRELATION, 0.0),
        _lognormal("exp(w/2)", 0.5),
        FunctionalLaw("w^2", lambda w: w**2, 1.0, 2.0, CORRELATION**2, math.sqrt(8)),
        _lognormal("exp(w)", 1.0),
        _indicator(),
    )
}
"""Laws of values by name."""
_THIRD_MEAN = math.exp(1 / 8)


@dataclass(frozen=True)
class Case:
    """A functional of a law, and its true value.

    Attributes
    ----------
    of : callable
        Makes the functional of the law.
    truth : callable
        Returns its value.
    """

    of: Callable[[FunctionalLaw], Functional]
    truth: Callable[[FunctionalLaw], float]


FUNCTIONALS = {
    "variance": Case(lambda law: functionals.variance(law.first), lambda law: law.variance),
    "std": Case(lambda law: functionals.std(law.first), lambda law: math.sqrt(law.variance)),
    "covariance": Case(
        lambda law: functionals.covariance(law.first, law.second), lambda law: law.correlation * law.variance
    ),
    "correlation": Case(lambda law: functionals.correlation(law.first, law.second), lambda law: law.correlation),
    "ratio": Case(lambda law: functionals.ratio(law.first, third), lambda law: law.mean / _THIRD_MEAN),
    "coefficient_of_variation": Case(
        lambda law: functionals.coefficient_of_variation(law.first), lambda law: math.sqrt(law.variance) / law.mean
    ),
    "log_mean": Case(lambda law: functionals.log_mean(law.first), lambda law: math.log(law.mean)),
    "function_of_means": Case(
        lambda law: functionals.function_of_means(law.pair, _product, name="product of means"),
        lambda law: law.mean * _THIRD_MEAN,
    ),
}
"""Functionals by the name of their function."""


def _product(means: Floats) -> Floats:
    return np.asarray(means[0] * means[1])


def class_probabilities(samples: Floats) -> Floats:
    """Return the probabilities of three classes, the softmax of (2 z_1, 2 z_2, 0), shape (n, 3)."""
    logits = np.concatenate([2 * samples[:, 0, :2], np.zeros((len(samples), 1))], axis=1)
    return np.asarray(softmax(logits, axis=1))


def true_inception_score() -> float:
    """Return the inception score of `class_probabilities`, by Gauss-Hermite quadrature of 120 x 120 nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    p, share = class_probabilities(grid), np.outer(weights, weights).ravel()
    mean = share @ p
    return float(np.exp(share @ (p * np.log(p)).sum(axis=1) - mean @ np.log(mean)))

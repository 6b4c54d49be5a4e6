"""Laws of replicate means with known mean, for studies of runs that stop and of confidence sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator as NumpyGenerator

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, Sobol
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies.coverage import simulate

# Replicate means of a sampler that are simulated once; runs draw from them with replacement.
_POOL = 2**15


@dataclass(frozen=True)
class Law:
    """A law of replicate means.

    Attributes
    ----------
    draw : callable from a random generator and n to ndarray of shape (n, k)
        Draws n replicate means.
    mean, standard_deviation : ndarray of shape (k,)
        Mean and standard deviation of the law.
    symmetric : bool
        Whether the law is symmetric, exactly or nearly.
    indicator : bool
        Whether the values are 0 and 1.
    bounded : bool
        Whether the values lie in [0, 1].
    """

    draw: Callable[[NumpyGenerator, int], Floats]
    mean: Floats
    standard_deviation: Floats
    symmetric: bool = False
    indicator: bool = False
    bounded: bool = False


def _one(draw: Callable[[NumpyGenerator, int], Floats], mean: float, sd: float, **kinds: bool) -> Law:
    return Law(lambda rng, n: draw(rng, n)[:, None], np.array([mean]), np.array([sd]), **kinds)


@cache
def _pool(problem: str, design: Design) -> Law:
    """Return the uniform law on simulated replicate means of a problem under a design."""
    means = simulate(PROBLEMS[problem], design, _POOL, 0).means
    return _one(
        lambda rng, n: means[rng.integers(0, _POOL, n)], float(means.mean()), float(means.std()), symmetric=True
    )


def _bernoulli(p: float) -> Law:
    deviation = math.sqrt(p * (1 - p))
    return _one(lambda rng, n: (rng.random(n) < p).astype(np.float64), p, deviation, indicator=True, bounded=True)


_SKEWED_VARIANCE = math.e * (math.e - 1)
_MEAN_OF_PAIRS = math.exp(1 / 8)
_VARIANCE_OF_PAIRS = (math.exp(0.5) + 1) / 2 - math.exp(0.25)
LAWS: dict[str, Callable[[], Law]] = {
    "normal": lambda: _one(lambda rng, n: 1 + rng.standard_normal(n), 1.0, 1.0, symmetric=True),
    "pairs of a diffusion": lambda: _pool("mixture-64-contrast", Antithetic()),
    "Sobol' nets of a diffusion": lambda: _pool("mixture-64-contrast", Sobol(16)),
    "t, 5 degrees of freedom": lambda: _one(
        lambda rng, n: 1 + rng.standard_t(5, n), 1.0, math.sqrt(5 / 3), symmetric=True
    ),
    "mean chi-squared of 3": lambda: _one(lambda rng, n: rng.standard_gamma(1.5, n) / 1.5, 1.0, math.sqrt(1 / 1.5)),
    "exponential": lambda: _one(lambda rng, n: rng.standard_exponential(n), 1.0, 1.0),
    "chi-squared, 1 degree of freedom": lambda: _one(lambda rng, n: rng.chisquare(1, n), 1.0, math.sqrt(2.0)),
    "pairs of exp(w/2)": lambda: _one(
        lambda rng, n: np.cosh(rng.standard_normal(n) / 2), _MEAN_OF_PAIRS, math.sqrt(_VARIANCE_OF_PAIRS)
    ),
    "lognormal": lambda: _one(
        lambda rng, n: np.exp(rng.standard_normal(n)), math.exp(0.5), math.sqrt(_SKEWED_VARIANCE)
    ),
    "Bernoulli 0.1": lambda: _bernoulli(0.1),
    "Bernoulli 0.02": lambda: _bernoulli(0.02),
}

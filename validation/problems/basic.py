"""Problems with closed-form truths: some with exactly normal replicate means, some with skewness or rare events."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import dawsn, ndtr, ndtri

from mcgen.generators import as_generator
from mcgen.noise import Array, NoiseSpec
from mcgen.validation.problems._base import Problem, first, happens

# Probabilities of the rare events: 50 replicates by Monte Carlo see 1 or 0.5 of them on average.
_RARE = (0.02, 0.01)


def _total(z: Array) -> Array:
    return np.asarray(z.sum(axis=1, keepdims=True))


def _normal_pairs(z: Array) -> Array:
    """Return S = 3 z_2 + Phi^-1(2 Phi(|z_1|) - 1), whose mean over a pair z, -z is exactly N(0, 1)."""
    even = ndtri(2 * ndtr(np.abs(z[:, :1])) - 1)
    return np.asarray(3 * z[:, 1:2] + even)


def _odd_and_even(z: Array) -> Array:
    return z + z**2 / 2


def _half_exponential(z: Array) -> Array:
    return np.asarray(np.exp(z / 2))


def _lognormal(z: Array) -> Array:
    return np.asarray(np.exp(z.sum(axis=1, keepdims=True) / math.sqrt(z.shape[1])))


def _exceeds(threshold: float, z: Array) -> Array:
    return np.asarray(z.sum(axis=1, keepdims=True) > threshold * math.sqrt(z.shape[1]), z.dtype)


def _keister(z: Array) -> Array:
    """Return pi^(d/2) cos(|x|) at x = z / sqrt 2; its expectation is the integral of cos(|x|) exp(-|x|^2)."""
    radius = np.sqrt(np.einsum("ij,ij->i", z, z) / 2)[:, None]
    return np.asarray(math.pi ** (z.shape[1] / 2) * np.cos(radius))


def keister_truth(d: int) -> float:
    r"""Return :math:`\int \cos(|x|) e^{-|x|^2} dx` over d-space.

    It is :math:`2 \pi^{d/2} C_d / \Gamma(d/2)` with :math:`C_j = \int_0^\infty r^{j-1} \cos(r) e^{-r^2} dr`. With
    :math:`S_j` the same integral of the sine, integration by parts gives :math:`2 C_j = (j-2) C_{j-2} - S_{j-1}` and
    :math:`2 S_j = (j-2) S_{j-2} + C_{j-1}`.
    """
    c, s = [0.0, math.sqrt(math.pi) / 2 * math.exp(-0.25)], [0.0, float(dawsn(0.5))]
    c, s = [*c, (1 - s[1]) / 2], [*s, c[1] / 2]
    for j in range(3, d + 1):
        c_j, s_j = ((j - 2) * c[j - 2] - s[j - 1]) / 2, ((j - 2) * s[j - 2] + c[j - 1]) / 2
        c, s = [*c, c_j], [*s, s_j]
    return float(2 * math.pi ** (d / 2) / math.gamma(d / 2) * c[d])


def _of_normals(
    function: Callable[[Array], Array],
    d: int,
    name: str,
    truth: float,
    source: str,
    hard: str,
    event_probability: float | None = None,
) -> Problem:
    generator = as_generator(function, NoiseSpec.normal((d,), "float64"), name=name)
    statistic = first if event_probability is None else happens
    return Problem(name, generator, statistic, truth, source, hard, family="basic", event_probability=event_probability)


def problems() -> list[Problem]:
    """Return the problems of this module."""
    return [*_exactly_known(), *_hard()]


def _exactly_known() -> list[Problem]:
    """Return problems of which more than the mean is known, such as the law of pair means."""
    return [
        _of_normals(
            _total,
            8,
            "linear",
            0.0,
            "symmetry",
            "nothing: replicate means of Monte Carlo are exactly normal, of pairs exactly 0",
        ),
        _of_normals(
            _normal_pairs,
            2,
            "normal-pairs",
            0.0,
            "|z_1| has distribution function 2 Phi - 1, so the even part is N(0, 1); the odd part has mean 0",
            "nothing: means of antithetic pairs are the even part, exactly normal; the nominal level is the true one",
        ),
        _of_normals(
            _odd_and_even,
            1,
            "odd-and-even",
            0.5,
            "E w^2 / 2",
            "odd part w of variance 1, even part w^2 / 2 of variance 1/2: pairs have rho = -1/3 and efficiency 3/2",
        ),
        _of_normals(
            _half_exponential,
            1,
            "exponential",
            math.exp(1 / 8),
            "E exp(w/2) = exp(1/8)",
            "pair means cosh(w/2) are skewed, and t intervals from few of them cover too little",
        ),
        _of_normals(
            np.square, 1, "square", 1.0, "E w^2 = 1", "an even statistic, for which a pair is the same point twice"
        ),
    ]


def _hard() -> list[Problem]:
    rare = [
        _of_normals(
            partial(_exceeds, float(-ndtri(p))),
            8,
            f"bernoulli-{p}",
            p,
            "a sum of 8 normals over its standard deviation is N(0, 1)",
            f"an indicator that is 1 with probability {p}: small runs see no event, and none in both points of a pair",
            event_probability=p,
        )
        for p in _RARE
    ]
    return [
        _of_normals(
            _lognormal,
            4,
            "lognormal",
            math.exp(0.5),
            "E exp(S) = exp(1/2) for S ~ N(0, 1)",
            "skewness 6.2 and excess kurtosis 111",
        ),
        *rare,
        _of_normals(
            _keister,
            4,
            "keister",
            keister_truth(4),
            "B. D. Keister (1996), Computers in Physics 10, 119-122; by the recursion over d of `keister_truth`",
            "even: a pair is the same point twice; depends on all coordinates alike through their norm",
        ),
    ]

"""Problems with normal data, for which every sampler is affine in its noise, whatever its number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import ndtr

from mcgen._lib.arrays import Floats
from mcgen.generators import as_generator
from mcgen.noise import Array, NoiseSpec
from mcgen.statistics import pixel_mean
from mcgen.validation.problems._base import Problem, parameters
from mcgen.validation.problems.quadrature import density
from mcgen.validation.problems.samplers import Sampler, affine_moments, cosine_signals, noise_of


def energy(x: Array) -> Array:
    """Return the mean of the squares of each sample, shape (n,)."""
    flat = x.reshape(len(x), -1)
    values: Array = np.einsum("ij,ij->i", flat, flat)
    return values / flat.shape[1]


def lit(x: Array) -> Array:
    """Return the mean of the positive parts of each sample's entries, shape (n,)."""
    return np.asarray(np.maximum(x, 0).reshape(len(x), -1).mean(axis=1))


def lit_truth(mean: Floats, variance: Floats) -> float:
    """Return the expectation of `lit` for entries N(mean, variance)."""
    sd = np.sqrt(variance)
    return float(np.mean(mean * ndtr(mean / sd) + sd * density(mean / sd)))


def spectrum(d: int) -> tuple[Floats, Floats]:
    """Return means and decaying variances (d,) of data in the basis of their principal components."""
    decay = 1 / (1 + np.arange(d) / 4)
    return parameters(11, d) * np.sqrt(decay), decay


def normal_sampler(d: int, n_steps: int, eta: float = 0.0) -> Sampler:
    """Return DDIM with the exact score of normal data with means and variances `spectrum(d)`."""
    mean, variance = spectrum(d)
    return Sampler(partial(_posterior_mean, mean, variance), cosine_signals(n_steps), eta)


def _posterior_mean(mean: Floats, variance: Floats, x: Array, signal: float) -> Array:
    gain = math.sqrt(signal) * variance / (signal * variance + 1 - signal)
    x_0: Array = gain.astype(x.dtype) * x
    x_0 += ((1 - math.sqrt(signal) * gain) * mean).astype(x.dtype)
    return x_0


def _affine(mean: Floats, factor: Floats, z: Array) -> Array:
    return z @ factor + mean


def _flow(mean: Floats, variance: Floats, signal: float, z: Array) -> Array:
    """Return the end of the probability flow from z; the standardized state is constant along it."""
    return mean + np.sqrt(variance / (signal * variance + 1 - signal)) * (z - math.sqrt(signal) * mean)


def _problem(
    name: str, sampler: Sampler, statistic: Callable[[Array], Array], d: int, truth: float, source: str, hard: str
) -> Problem:
    generator = as_generator(sampler, noise_of(d, sampler.signals, sampler.eta, "float32"), name=name)
    return Problem(name, generator, statistic, truth, source, hard, family="normal data")


def problems() -> list[Problem]:
    """Return the problems of this module."""
    d = 16
    affine = partial(_affine, parameters(12, d), parameters(13, d, d) / 4)
    found = [
        Problem(
            "affine-mean",
            as_generator(affine, NoiseSpec.normal((d,), "float64"), name="affine"),
            pixel_mean,
            float(parameters(12, d).mean()),
            "the mean of the samples is the constant term",
            "odd about its mean: the variance of pairs is 0 up to rounding",
            family="normal data",
        )
    ]
    recursion = "the sampler is affine in its noise: mean and variance of its samples by `affine_moments`"
    for name, d, n_steps, eta, hard in (
        ("normal-ddim-energy", 64, 20, 0.0, "quadratic with a linear part"),
        ("normal-ddpm-energy", 16, 10, 1.0, "a block of noise for every step but the last"),
    ):
        sampler = normal_sampler(d, n_steps, eta)
        mean, variance = affine_moments(*spectrum(d), sampler.signals, eta)
        truth = float(np.mean(mean**2 + variance))
        found.append(_problem(name, sampler, energy, d, truth, f"E x^2 = mean^2 + variance; {recursion}", hard))
    d = 64
    mean, variance = spectrum(d)
    signal = cosine_signals(1)[0]
    # The flow starts from N(0, 1), although the noised data at that time follow N(sqrt(t) m, t v + 1 - t).
    factor = np.sqrt(variance / (signal * variance + 1 - signal))
    ends = (1 - math.sqrt(signal) * factor) * mean
    generator = as_generator(partial(_flow, mean, variance, signal), NoiseSpec.normal((d,), "float64"), name="flow")
    source = "the solution of the probability flow of normal data; E max(x, 0) = m Phi(m / s) + s phi(m / s)"
    hard = "a kink in every coordinate"
    found.append(
        Problem("normal-flow-lit", generator, lit, lit_truth(ends, factor**2), source, hard, family="normal data")
    )
    return found

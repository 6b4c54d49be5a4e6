"""Problems with normal data, for which every sampler is affine in its noise, whatever its number of steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from mcgen._lib.arrays import Floats
from mcgen.generators import GaussianDiffusion, as_generator
from mcgen.noise import Array, NoiseSpec
from mcgen.statistics import pixel_mean
from mcgen.validation.problems._base import Problem, parameters
from mcgen.validation.problems.quadrature import density
from mcgen.validation.problems.samplers import Mixture, MixtureDiffusion


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


def normal_sampler(d: int, steps: int, **options: Any) -> MixtureDiffusion:
    """Return DDIM with the exact score of normal data with means and variances `spectrum(d)`."""
    mean, variance = spectrum(d)
    # As a mixture of one component its steps are elementwise, in the type of the noise.
    return MixtureDiffusion(Mixture(np.ones(1), mean[None], variance[None]), steps=steps, **options)


def normal_law(d: int, **options: Any) -> GaussianDiffusion:
    """Return the model of the same data whose samples have a known mean and covariance."""
    mean, variance = spectrum(d)
    return GaussianDiffusion(mean, np.diag(variance), **options)


def _affine(mean: Floats, factor: Floats, z: Array) -> Array:
    return z @ factor + mean


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
    recursion = "the sampler is affine in its noise: mean and variance of its samples by `GaussianDiffusion`"
    for name, d, steps, eta, hard in (
        ("normal-ddim-energy", 64, 20, 0.0, "quadratic with a linear part"),
        ("normal-ddpm-energy", 16, 10, 1.0, "a block of noise for every step but the last"),
    ):
        law = normal_law(d, sampler="ddim", steps=steps, eta=eta)
        truth = float(np.mean(law.sample_mean**2 + np.diag(law.sample_covariance)))
        source = f"E x^2 = mean^2 + variance; {recursion}"
        model = normal_sampler(d, steps, eta=eta, name=name)
        found.append(Problem(name, model, energy, truth, source, hard, family="normal data"))
    flow = normal_law(64, steps=1, dtype="float64", name="flow")
    truth = lit_truth(flow.sample_mean, np.diag(flow.sample_covariance))
    source = "the solution of the probability flow of normal data; E max(x, 0) = m Phi(m / s) + s phi(m / s)"
    hard = "a kink in every coordinate"
    found.append(Problem("normal-flow-lit", flow, lit, truth, source, hard, family="normal data"))
    return found

r"""Mixtures whose means lie in a line or a plane: nonlinear samplers in any dimension, with a truth by quadrature.

With u the direction of the line, a sample is :math:`x = p\,u + q`. Here p is the output of the sampler of the
one-dimensional mixture for the noise :math:`u \cdot z`. The rest q is normal and independent of p, with variance c^2
in every direction across the line; c is that of a single normal law. So E h(x) is an integral over p of an expectation
over q. For deterministic samplers p = F(w) with w ~ N(0, 1), where F is the sampler on the line. For the ancestral
sampler the density of p follows from step to step by

.. math:: f_s(y) = \int f_t(p)\, \sigma^{-1} \varphi((y - A(p)) / \sigma)\, dp

on the grid of the trapezoidal rule, where A is the sampler's step without its noise.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from mcgen._lib.arrays import Floats
from mcgen.generators import GaussianDiffusion, as_generator
from mcgen.generators.reverse_steps import steps_of
from mcgen.noise import Array
from mcgen.statistics import contrast
from mcgen.validation.problems._base import Problem
from mcgen.validation.problems.gaussians import energy
from mcgen.validation.problems.quadrature import density, normal_rule
from mcgen.validation.problems.samplers import Mixture, MixtureDiffusion, as_images

# Steps of each sampler, and the variance of each component in every direction.
_N_STEPS = 10
_VARIANCE = 0.36
# Positions of the components' means, three on the line and five in the plane, and their weights.
_LINE = np.array([[-2.4], [0.3], [2.1]])
_LINE_WEIGHTS = np.array([0.5, 0.2, 0.3])
_PLANE = np.array([[2.0, 0.3], [0.4, 1.9], [-1.7, 1.0], [-1.1, -1.8], [1.2, -1.5]])
_PLANE_WEIGHTS = np.array([0.1, 0.15, 0.2, 0.25, 0.3])


def patterns(d: int) -> Floats:
    """Return two orthogonal unit vectors (2, d): smooth images, one brighter at the top, the other at the left."""
    side = round(d**0.5)
    wave = np.cos(np.pi * (np.arange(side) + 0.5) / side)
    images = np.stack([np.repeat(wave[:, None], side, 1), np.repeat(wave[None], side, 0)]).reshape(2, d)
    found: Floats = images / np.linalg.norm(images, axis=1, keepdims=True)
    return found


def mixture(positions: Floats, weights: Floats, directions: Floats) -> Mixture:
    """Return the mixture with means positions @ directions, (k, r) @ (r, d), and one variance in all directions."""
    return Mixture(weights, positions @ directions, np.full((1, directions.shape[1]), _VARIANCE))


def sampler_of(positions: Floats, weights: Floats, directions: Floats, **options: Any) -> MixtureDiffusion:
    """Return the sampler of that mixture; with the identity as directions, the sampler in the line or the plane."""
    return MixtureDiffusion(mixture(positions, weights, directions), steps=_N_STEPS, **options)


def across(eta: float = 0.0) -> float:
    """Return c^2, the variance of the samples across the line."""
    law = GaussianDiffusion([0.0], [[_VARIANCE]], sampler="ddim", steps=_N_STEPS, eta=eta)
    return float(law.sample_covariance[0, 0])


def inside(positions: Floats, weights: Floats, step: float = 0.02) -> tuple[Floats, Floats]:
    """Return the sampler's outputs in the line or the plane at nodes of a quadrature, (n, r), and the weights (n,)."""
    r = positions.shape[1]
    nodes, heights = normal_rule(step)
    grid = np.stack(np.meshgrid(*[nodes] * r, indexing="ij"), -1).reshape(-1, r)
    probabilities = np.multiply.reduce(np.meshgrid(*[heights] * r, indexing="ij")).reshape(-1)
    # Nodes in the corners of the grid weigh less than rounding.
    kept = probabilities > 1e-16
    return sampler_of(positions, weights, np.eye(r))(grid[kept]), probabilities[kept]


def inside_ancestral(positions: Floats, weights: Floats, step: float = 0.05) -> tuple[Floats, Floats]:
    """Return nodes (n, 1) and weights (n,) for the outputs of the ancestral sampler on a line."""
    line = sampler_of(positions, weights, np.eye(1), eta=1.0)
    nodes, probabilities = normal_rule(step)
    for signal, move in zip(line.signal_shares.tolist(), steps_of(line.signal_shares, 1.0), strict=False):
        ends = (move.state * nodes[:, None] + move.sample * line.posterior_mean(nodes[:, None], signal))[:, 0]
        if move.fresh > 0:
            kernel = density((nodes[:, None] - ends) / move.fresh) * (step / move.fresh)
            probabilities = kernel @ probabilities
    return ends[:, None], probabilities


def clipped(x: Array) -> Array:
    """Return the mean of each sample's entries, clipped to [0, 1], shape (n,)."""
    return np.asarray(np.clip(x, 0, 1).reshape(len(x), -1).mean(axis=1))


def clipped_truth(p: Floats, probabilities: Floats, direction: Floats, variance: float) -> float:
    """Return the expectation of `clipped` for samples p * direction + q, where q has this variance across the line."""
    sd = np.sqrt(variance * (1 - direction**2))
    # Each pattern is constant along rows or columns, so that only a few entries differ.
    pairs, counts = np.unique(np.stack([direction, sd]).round(14), axis=1, return_counts=True)
    low = p * pairs[0] / pairs[1]
    means = pairs[1] * (_positive_part(low) - _positive_part(low - 1 / pairs[1]))
    return float(probabilities @ means @ counts / counts.sum())


def _positive_part(a: Floats) -> Floats:
    """Return E max(a + Z, 0) for Z ~ N(0, 1)."""
    values: Floats = a * ndtr(a) + density(a)
    return values


def problems() -> list[Problem]:
    """Return the problems of this module."""
    p, probabilities = inside(_LINE, _LINE_WEIGHTS)
    variance, found = across(), []
    exact = "the sampler on the line by the trapezoidal rule, the normal rest across it in closed form"
    for d in (64, 256):
        direction = patterns(d)[:1]
        generator = sampler_of(_LINE, _LINE_WEIGHTS, direction, name=f"line-{d}")
        truth = clipped_truth(p, probabilities, direction[0], variance)
        hard = "three clusters, kinks in every pixel"
        found.append(Problem(f"line-{d}-clipped", generator, clipped, truth, exact, hard, family="line"))
        if d == 64:
            truth = (float(probabilities @ p[:, 0] ** 2) + (d - 1) * variance) / d
            hard = "three clusters of unequal weight"
            found.append(Problem(f"line-{d}-energy", generator, energy, truth, exact, hard, family="line"))
    return [*found, *_ancestral(), *_in_plane()]


def _ancestral() -> list[Problem]:
    d = 16
    generator = sampler_of(_LINE, _LINE_WEIGHTS, patterns(d)[:1], eta=1.0, dtype="float64", name=f"line-ddpm-{d}")
    p, probabilities = inside_ancestral(_LINE, _LINE_WEIGHTS)
    truth = (float(probabilities @ p[:, 0] ** 2) + (d - 1) * across(1.0)) / d
    source = "the density on the line from step to step by the trapezoidal rule, the normal rest across it by recursion"
    hard = "a block of noise for every step but the last; which cluster is decided late"
    return [Problem(f"line-ddpm-{d}-energy", generator, energy, truth, source, hard, family="line")]


def _in_plane() -> list[Problem]:
    d, side = 64, 8
    directions = patterns(d)
    sampler = sampler_of(_PLANE, _PLANE_WEIGHTS, directions)
    generator = as_generator(partial(as_images, sampler, side), sampler.noise, name=f"plane-{d}")
    p, probabilities = inside(_PLANE, _PLANE_WEIGHTS, 0.1)
    source = "the sampler in the plane by the trapezoidal rule, the normal rest across it in closed form"
    mean = probabilities @ p @ directions
    squares = float(probabilities @ (p**2).sum(axis=1))
    truth = (squares + (d - 2) * across()) / d
    return [
        Problem(
            f"plane-{d}-contrast",
            generator,
            contrast,
            float(contrast(mean.reshape(1, side, side))[0]),
            source,
            "five clusters of unequal weight",
            family="line",
        ),
        Problem(
            f"plane-{d}-energy", generator, energy, truth, source, "five clusters of unequal weight", family="line"
        ),
    ]

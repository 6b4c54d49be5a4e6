r"""Small networks with truths by quadrature: a hidden layer, a decoder with dequantization, a coupling flow.

A unit depends on the noise through one number, :math:`w \cdot z + b \sim N(b, |w|^2)`. Its expectation is thus an
integral over one standard normal number. That of a product of two units is an integral over two normal numbers with
correlation :math:`w \cdot w' / (|w| |w'|)`.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from mcgen._lib.arrays import Floats
from mcgen.generators import as_generator
from mcgen.noise import Array, Block, Noise, NoiseSpec
from mcgen.statistics import pixel_mean
from mcgen.validation.problems._base import Problem, parameters
from mcgen.validation.problems.gaussians import energy
from mcgen.validation.problems.quadrature import density, normal_rule

# Grey levels of the decoder's pixels.
_LEVELS = 8


def _layer(w: Floats, b: Floats, v: Floats, z: Array) -> Array:
    hidden = z @ w
    hidden += b
    return np.tanh(hidden, out=hidden) @ v


def layer_moments(w: Floats, b: Floats, v: Floats, step: float = 0.15) -> tuple[Floats, Floats]:
    """Return mean (m,) and second moments (m, m) of the outputs tanh(z w + b) v, for w (d, k), b (k,), v (k, m)."""
    x, weights = normal_rule(step)
    norms = np.linalg.norm(w, axis=0)
    rho = np.clip(w.T @ w / np.outer(norms, norms), -1, 1)
    units = np.tanh(b + norms * x[:, None])
    products = np.empty_like(rho)
    for i in range(len(b)):
        # The inner integral: the expectation of tanh_j given the input of unit i, for all j at once.
        given = rho[i] * x[:, None, None] + np.sqrt(1 - rho[i] ** 2) * x[:, None]
        products[i] = (weights * units[:, i]) @ (weights @ np.tanh(b + norms * given))
    return weights @ units @ v, v.T @ products @ v


def _decode(w: Floats, b: Floats, noise: Noise) -> Array:
    assert not isinstance(noise, np.ndarray)
    grey = expit(noise["latent"] @ w + b)
    grey *= _LEVELS
    np.floor(grey, out=grey)
    grey += noise["dequantization"]
    grey /= _LEVELS
    return np.asarray(grey)


def decoder_truth(w: Floats, b: Floats) -> float:
    """Return the mean over pixels of E x^2, x = (F + u) / L, where F >= k exactly if the unit exceeds logit(k / L)."""
    k = np.arange(1, _LEVELS)[:, None]
    at_least = ndtr((b - logit(k / _LEVELS)) / np.linalg.norm(w, axis=0))
    squares = ((2 * k - 1) * at_least).sum(axis=0) + at_least.sum(axis=0) + 1 / 3
    return float(squares.mean()) / _LEVELS**2


def _couple(w: Floats, b: Floats, noise: Noise) -> Array:
    assert not isinstance(noise, np.ndarray)
    kept = ndtri(noise["kept"])
    unit = kept @ w + b
    changed = ndtri(noise["changed"]) * np.exp(np.tanh(unit)) + np.maximum(unit, 0)
    return np.concatenate([kept, changed], axis=1)


def coupling_truth(w: Floats, b: Floats) -> float:
    """Return the mean over entries of E x^2: 1 for kept ones, E exp(2 tanh h) + E max(h, 0)^2 for changed ones."""
    x, weights = normal_rule()
    n = np.linalg.norm(w, axis=0)
    scales = weights @ np.exp(2 * np.tanh(b + n * x[:, None]))
    shifts = (b**2 + n**2) * ndtr(b / n) + b * n * density(b / n)
    return float(len(w) + np.sum(scales + shifts)) / (len(w) + len(b))


def problems() -> list[Problem]:
    """Return the problems of this module."""
    d, k, m = 8, 12, 4
    layer = parameters(31, d, k) * 0.6, parameters(32, k) / 2, parameters(33, k, m) / math.sqrt(k)
    mean, second = layer_moments(*layer)
    generator = as_generator(partial(_layer, *layer), NoiseSpec.normal((d,), "float64"), name="network")
    decoder = parameters(34, d, 16) / 2, parameters(35, 16)
    decoder_noise = NoiseSpec((("latent", Block((d,))), ("dequantization", Block((16,), "uniform"))), "float64")
    coupling = parameters(36, d, d) / 4, parameters(37, d) / 2
    coupling_noise = NoiseSpec((("kept", Block((d,), "uniform")), ("changed", Block((d,), "uniform"))), "float64")
    one, two = "an integral over one normal number a unit", "over two normal numbers a pair of units"
    return [
        Problem("network-mean", generator, pixel_mean, float(mean.mean()), one, "mostly odd", family="network"),
        Problem(
            "network-energy",
            generator,
            energy,
            float(np.trace(second)) / m,
            f"integrals {two}",
            "mostly even",
            family="network",
        ),
        Problem(
            "decoder-energy",
            as_generator(partial(_decode, *decoder), decoder_noise, name="decoder"),
            energy,
            decoder_truth(*decoder),
            "each grey level is a threshold of a normal number; the uniform block has moments 1/2 and 1/3",
            "jumps at every grey level, and a uniform block beside a normal one",
            family="network",
        ),
        Problem(
            "coupling-energy",
            as_generator(partial(_couple, *coupling), coupling_noise, name="coupling"),
            energy,
            coupling_truth(*coupling),
            f"{one}, and a closed form for the shift",
            "two uniform blocks that multiply; heavy tails",
            family="network",
        ),
    ]

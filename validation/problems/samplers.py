r"""Mixtures of normal laws, and their exact diffusion models.

`mcgen.generators.reverse_steps` has the sampler. For a mixture of normals with diagonal covariances, component k of
weight w_k, mean m_k and variances v_k has

.. math::

    \hat x_0^k = m_k + g_k (x_t - \sqrt t\, m_k), \qquad g_k = \frac{\sqrt t\, v_k}{t v_k + 1 - t},

where t is the signal's share. :math:`\hat x_0` is their average under the posterior probabilities of the components.
Given k, :math:`x_t` is normal with mean :math:`\sqrt t\, m_k` and variances :math:`t v_k + 1 - t`. With v = 0 the data
are points [1]_.

For a single normal law `mcgen.generators.GaussianDiffusion` has the law of the samples. Where the means lie in a line
or a plane and all variances are one number v, the sampler acts in that line or plane as the sampler of a mixture in one
or two dimensions. All directions across it are scaled.

The truth of a problem is the expectation of this sampler at its number of steps, not of the data.

.. rubric:: References

.. [1] C. Scarvelis, H. Sáez de Ocáriz Borde, J. Solomon (2023). Closed-form diffusion models. arXiv:2310.12395.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy.special import logsumexp

from mcgen._lib.arrays import Floats
from mcgen.generators import AnalyticDiffusion
from mcgen.noise import Array


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of k normal laws with diagonal covariances in d dimensions.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        The components' weights, with sum 1.
    means : ndarray of shape (k, d)
        The components' means.
    variances : ndarray of shape (k, d) or (1, d)
        Each component's own, or one for all.
    """

    weights: Floats
    means: Floats
    variances: Floats

    def at(self, t: float) -> Mixture:
        """Return the law of e^{-t} x_0 + sqrt(1 - e^{-2t}) z: the Ornstein-Uhlenbeck process at time t."""
        c = math.exp(-t)
        return Mixture(self.weights, c * self.means, 1 + c**2 * (self.variances - 1))

    def log_density(self, x: Floats) -> Floats:
        """Return log p at points (n, d)."""
        return np.asarray(logsumexp(self._log_components(x), axis=1))

    def score(self, x: Floats) -> Floats:
        """Return the gradient of log p at points (n, d)."""
        logs = self._log_components(x)
        shares = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
        return np.asarray(np.einsum("nk,nkd->nd", shares, (self.means - x[:, None]) / self.variances))

    def _log_components(self, x: Floats) -> Floats:
        z2 = (x[:, None] - self.means) ** 2 / self.variances + np.log(2 * np.pi * self.variances)
        return np.asarray(np.log(self.weights) - z2.sum(axis=2) / 2)

    def predict(self, x: Array, signal: float) -> Array:
        """Return the posterior mean of x_0 for states x of shape (n, d)."""
        at = _posterior(self, signal, x.dtype.str)
        # Shape (k, n): sums and maxima over the few components are fast along the first axis.
        probabilities: Array = at.slopes @ x.T
        probabilities += at.offsets
        if at.curvatures is not None:
            probabilities -= at.curvatures @ (x * x).T
        probabilities -= probabilities.max(axis=0)
        np.exp(probabilities, out=probabilities)
        probabilities /= probabilities.sum(axis=0)
        own = at.gain if at.curvatures is None else probabilities.T @ at.gain
        x_0: Array = own * x
        x_0 += probabilities.T @ at.centres
        return x_0


@dataclass(frozen=True)
class _Posterior:
    """The components' log probabilities, slopes x - curvatures x^2 + offsets, and posterior means, gain x + centres."""

    slopes: Array
    offsets: Array
    curvatures: Array | None
    gain: Array
    centres: Array


@lru_cache(maxsize=1024)
def _posterior(data: Mixture, signal: float, dtype: str) -> _Posterior:
    root, own = math.sqrt(signal), len(data.variances) > 1
    spread = signal * data.variances + (1 - signal)
    slopes, gain = root * data.means / spread, root * data.variances / spread
    offsets = np.log(data.weights) - root / 2 * np.einsum("kd,kd->k", slopes, data.means)
    offsets -= np.log(spread).sum(axis=1) / 2
    return _Posterior(
        slopes.astype(dtype),
        offsets[:, None].astype(dtype),
        (0.5 / spread).astype(dtype) if own else None,
        gain.astype(dtype),
        ((1 - root * gain) * data.means).astype(dtype),
    )


class MixtureDiffusion(AnalyticDiffusion):
    """The exact diffusion model of a mixture, on flat noise (d,).

    Parameters
    ----------
    data : Mixture
        The law of the data.
    **options
        See `mcgen.generators.AnalyticDiffusion`.
    """

    _label: ClassVar[str] = "mixture diffusion"

    def __init__(self, data: Mixture, **options: Any) -> None:
        self.data = data
        super().__init__(data.means.shape[1:], **options)

    def posterior_mean(self, x: Array, signal: float) -> Array:
        """Return the posterior mean of x_0 for states x (n, d), in their dtype."""
        return self.data.predict(x, signal)


def as_images(model: MixtureDiffusion, side: int, z: Array) -> Array:
    """Return samples (n, side, side)."""
    return model(z).reshape(-1, side, side)

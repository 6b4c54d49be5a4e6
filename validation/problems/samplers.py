r"""The samplers of `mcgen.adapters.samplers.diffusion` in numpy, for data whose posterior mean is known in closed form.

With t and s the signal's shares :math:`\bar\alpha` before and after a step, DDIM's step is linear in the state and the
predicted sample :math:`\hat x_0`,

.. math::

    x_s = k\, x_t + (\sqrt s - k \sqrt t)\, \hat x_0(x_t) + \sigma z,
    \qquad k = \sqrt{\frac{1 - s - \sigma^2}{1 - t}}, \qquad \sigma^2 = \eta^2\, \frac{1 - s}{1 - t} (1 - t / s).

For a mixture of normals with diagonal covariances, component k of weight w_k, mean m_k and variances v_k has

.. math::

    \hat x_0^k = m_k + g_k (x_t - \sqrt t\, m_k), \qquad g_k = \frac{\sqrt t\, v_k}{t v_k + 1 - t},

and :math:`\hat x_0` is their average under the posterior probabilities of the components. Given k, :math:`x_t` is
normal with mean :math:`\sqrt t\, m_k` and variances :math:`t v_k + 1 - t`. With v = 0 the data are points [1]_.

For a single normal law a step is affine, so the mean and variance of the samples follow by a recursion. Where the means
lie in a line or a plane and all variances are one number v, the sampler acts in that line or plane as the sampler of a
mixture in one or two dimensions. All directions across it are scaled.

The truth of a problem is the expectation of this sampler at its number of steps, not of the data.

.. rubric:: References

.. [1] C. Scarvelis, H. Sáez de Ocáriz Borde, J. Solomon (2023). Closed-form diffusion models. arXiv:2310.12395.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from scipy.special import logsumexp

from mcgen._lib.arrays import Floats
from mcgen.noise import Array, Block, DType, Noise, NoiseSpec
from mcgen.validation.problems._base import by_slices

Signals = tuple[float, ...]
"""The signal's shares, alpha bar, from the start of a sampler to its end."""


def cosine_signals(n_steps: int, n_training: int = 1000) -> Signals:
    """Return the n_steps + 1 shares of `Schedule.cosine(n_training)` at its `times(n_steps)`."""
    edges = np.cos((np.arange(n_training + 1) / n_training + 0.008) / 1.008 * math.pi / 2) ** 2
    shares = np.append(np.cumprod(np.maximum(edges[1:] / edges[:-1], 1e-3)), 1.0)
    times = np.rint(np.linspace(n_training - 1, -1, n_steps + 1)).astype(np.int64)
    return tuple(shares[times].tolist())


@dataclass(frozen=True)
class Step:
    """One step of the sampler: the factors of the state, of the predicted sample, and of fresh noise."""

    state: float
    sample: float
    fresh: float


def steps_of(signals: Signals, eta: float = 0.0) -> list[Step]:
    """Return the steps of DDIM, or of the ancestral sampler for eta = 1."""
    steps = []
    for t, s in pairwise(signals):
        variance = eta**2 * (1 - s) / (1 - t) * (1 - t / s)
        state = math.sqrt(max(0.0, 1 - s - variance) / (1 - t))
        steps.append(Step(state, math.sqrt(s) - state * math.sqrt(t), math.sqrt(variance)))
    return steps


def noise_of(d: int, signals: Signals, eta: float = 0.0, dtype: DType = "float64") -> NoiseSpec:
    """Return the sampler's noise: one block for eta = 0, else the blocks "start", "step 1", ... as in the adapters."""
    if eta == 0:
        return NoiseSpec.normal((d,), dtype)
    fresh = [f"step {i + 1}" for i, step in enumerate(steps_of(signals, eta)) if step.fresh > 0]
    return NoiseSpec(tuple((name, Block((d,))) for name in ("start", *fresh)), dtype)


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


@dataclass(frozen=True)
class Sampler:
    """DDIM, or for eta = 1 the ancestral sampler, of data whose posterior mean is known.

    Attributes
    ----------
    predict : callable
        ``predict(x, signal)``, the posterior mean.
    signals : tuple of float
        The signal's shares from start to end.
    eta : float
        Share of fresh noise.
    """

    predict: Callable[[Array, float], Array]
    signals: Signals
    eta: float = 0.0

    def __call__(self, noise: Noise) -> Array:
        """Return the samples (n, d)."""
        if isinstance(noise, np.ndarray):
            return by_slices(partial(self._run, {}), noise)
        return self._run(noise, noise["start"])

    def _run(self, fresh: Mapping[str, Array], x: Array) -> Array:
        for i, step in enumerate(steps_of(self.signals, self.eta)):
            x_0 = self.predict(x, self.signals[i])
            x_0 *= step.sample
            x_0 += step.state * x
            if step.fresh > 0:
                x_0 += step.fresh * fresh[f"step {i + 1}"]
            x = x_0
        return x


def affine_moments(mean: Floats, variance: Floats, signals: Signals, eta: float = 0.0) -> tuple[Floats, Floats]:
    """Return mean and variance (d,) of the samples for data N(mean, diag(variance)), by a recursion over the steps."""
    m, v = np.zeros_like(mean), np.ones_like(variance)
    for t, step in zip(signals, steps_of(signals, eta), strict=False):
        gain = math.sqrt(t) * variance / (t * variance + 1 - t)
        factor = step.state + step.sample * gain
        m = factor * m + step.sample * (1 - math.sqrt(t) * gain) * mean
        v = factor**2 * v + step.fresh**2
    return m, v

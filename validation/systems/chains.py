r"""Markov chains of a user's own kernel: the posterior of a logistic regression on real data.

The data are scikit-learn's breast cancer images, 569 tumours with ten features each, standardized. The prior of the
eleven coefficients is :math:`N(0, I)`. Chains start from the Laplace approximation :math:`N(m, L L^\top)` and move in
the coordinates z of :math:`\beta = m + L z`. The truth comes from importance sampling with 100,000 draws of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.generators import chain
from mcgen.noise import Block
from mcgen.validation.systems._base import SEED, Case, System, Table

N_SAMPLES = 5000
_STEP = 0.25
_DRAWS, _CHUNK = 100_000, 4000
MOMENTS = mcgen.statistics.stack(
    lambda b: b[:, 0], lambda b: b[:, 2], lambda b: (b**2).sum(1), names=("intercept", "texture", "squared length")
)


class Posterior(NamedTuple):
    """The posterior of a logistic regression, with its Laplace approximation.

    Attributes
    ----------
    x : ndarray of shape (cases, d)
        The features, the first of which is 1.
    y : ndarray of shape (cases,)
        The classes, 0 or 1.
    mode : ndarray of shape (d,)
        The posterior's mode m.
    root : ndarray of shape (d, d)
        A root L of the inverse Hessian there.
    """

    x: Floats
    y: Floats
    mode: Floats
    root: Floats

    def coefficients(self, z: Floats) -> Floats:
        """Return the coefficients (n, d) of whitened coordinates (n, d)."""
        return np.asarray(self.mode + z @ self.root.T)

    def both(self, z: Floats) -> tuple[Floats, Floats]:
        """Return log densities (n,) and their gradients (n, d) in whitened coordinates."""
        beta = self.coefficients(z)
        return self.density(z), ((self.y - expit(beta @ self.x.T)) @ self.x - beta) @ self.root

    def density(self, z: Floats) -> Floats:
        """Return log densities (n,) in whitened coordinates, up to a constant."""
        beta = self.coefficients(z)
        logits = beta @ self.x.T
        return np.asarray(logits @ self.y - np.logaddexp(0, logits).sum(1) - (beta**2).sum(1) / 2)


@cache
def posterior() -> Posterior:
    """Return the posterior; its mode is found by Newton's method."""
    from sklearn.datasets import load_breast_cancer

    features, y = load_breast_cancer(return_X_y=True)
    features = features[:, :10]
    x = np.column_stack([np.ones(len(y)), (features - features.mean(0)) / features.std(0)])
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = expit(x @ beta)
        hessian = (x.T * (p * (1 - p))) @ x + np.eye(len(beta))
        beta = beta + np.linalg.solve(hessian, x.T @ (y - p) - beta)
    return Posterior(x, y.astype(np.float64), beta, np.linalg.cholesky(np.linalg.inv(hessian)))


@cache
def truth() -> tuple[Floats, Floats]:
    """Return the posterior means of the statistic and their standard errors, by importance sampling."""
    law, rng = posterior(), np.random.default_rng(SEED)
    logs, values = [], []
    for _ in range(_DRAWS // _CHUNK):
        z = rng.standard_normal((_CHUNK, len(law.mode)))
        logs.append(law.density(z) + (z**2).sum(1) / 2)
        values.append(MOMENTS(law.coefficients(z)))
    log, value = np.concatenate(logs), np.concatenate(values)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ value
    return mean, np.sqrt(weight**2 @ (value - mean) ** 2)


def ula(z: Floats, xi: Floats, i: int) -> Floats:
    """Return the next coordinates after an unadjusted Langevin step."""
    return np.asarray(z + _STEP * posterior().both(z)[1] + np.sqrt(2 * _STEP) * xi)


def random_walk(z: Floats, noise: Any, i: int) -> tuple[Floats, Floats]:
    """Return the next coordinates and the acceptances of random-walk Metropolis."""
    y = z + 0.7 * noise["move"]
    accepted = np.log(noise["accept"]) < posterior().density(y) - posterior().density(z)
    return np.where(accepted[:, None], y, z), accepted


def mala(z: Floats, noise: Any, i: int, divisor: float = 4 * _STEP) -> tuple[Floats, Floats]:
    """Return the next coordinates and the acceptances of the Metropolis-adjusted Langevin algorithm."""
    density, slope = posterior().both(z)
    forward = z + _STEP * slope
    y = forward + np.sqrt(2 * _STEP) * noise["move"]
    density_there, slope_there = posterior().both(y)
    moved = ((z - y - _STEP * slope_there) ** 2).sum(1) - ((y - forward) ** 2).sum(1)
    accepted = np.log(noise["accept"]) < density_there - density - moved / divisor
    return np.where(accepted[:, None], y, z), accepted


def wrong_mala(z: Floats, noise: Any, i: int) -> tuple[Floats, Floats]:
    """Return the same with the proposal density that public code has: 2 h^2 in place of 4 h."""
    return mala(z, noise, i, divisor=2 * _STEP**2)


def model(kernel: Any, n_steps: int) -> mcgen.Generator:
    """Return a chain in whitened coordinates."""
    d = len(posterior().mode)
    blocks = {"move": Block((d,)), "accept": Block((), "uniform")}
    return chain(kernel, n_steps, (d,), noise=(d,) if kernel is ula else blocks)


def of_coefficients(samples: Any) -> Any:
    """Return the statistic, and the acceptance where the chain has one."""
    z, *accepted = samples if isinstance(samples, tuple) else (samples,)
    return np.column_stack([MOMENTS(posterior().coefficients(z)), *accepted])


def cases() -> Sequence[Case]:
    """Return the chains whose designs are compared."""
    statistic = mcgen.as_statistic(
        lambda samples: of_coefficients(samples)[:, :3], components=["intercept", "texture", "squared length"]
    )
    return [
        Case("logistic regression, MALA, 20 steps", model(mala, 20), statistic),
        Case("logistic regression, random walk, 40 steps", model(random_walk, 40), statistic),
    ]


def posterior_table() -> Table:
    """Return posterior means by kernel, beside the truth."""
    wanted, error = truth()
    rows = [["importance sampling", *(f"{m:.4f} ± {1.96 * e:.4f}" for m, e in zip(wanted, error, strict=True)), "", ""]]
    listed = [
        ("ULA, 20 steps", ula, 20),
        ("MALA, 20 steps", mala, 20),
        ("random walk, 40 steps", random_walk, 40),
        ("MALA with a wrong proposal density", wrong_mala, 20),
    ]
    for name, kernel, n_steps in listed:
        found = mcgen.estimate(
            model(kernel, n_steps), of_coefficients, design=mcgen.MonteCarlo(), n_evaluations=N_SAMPLES, seed=SEED
        )
        mean, half = np.asarray(found.mean), np.asarray(found.half_width)
        cells = [f"{m:.4f} ± {h:.4f}" for m, h in zip(mean[:3], half[:3], strict=True)]
        away = np.abs((mean[:3] - wanted) / np.hypot(half[:3] / 1.96, error)).max()
        rows.append([name, *cells, f"{away:.1f}", f"{mean[3]:.3f}" if len(mean) > 3 else ""])
    return Table(["chain", "intercept", "texture", "squared length", "largest error / s.e.", "accepted"], rows)


SYSTEM = System("chains", cases, {"posterior means by chains": posterior_table})

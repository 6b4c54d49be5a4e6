r"""What is promised of diffusion models in closed form: `mcgen.generators.EmpiricalDiffusion` and `GaussianDiffusion`.

The exact minimiser of the denoising loss of a finite data set makes the data again, each as often as the others, and no
new samples. Given the datum :math:`x_0`, its ancestral step is DDPM's posterior [1]_, which is the bridge of the
Ornstein-Uhlenbeck process dX = -X dt + sqrt(2) dW: for times :math:`\tau < T` with signal's shares
:math:`a_s = e^{-2 \tau}` and :math:`a_t = e^{-2 T}`,

.. math::

    X_\tau \mid X_T, x_0 \sim N\Bigl( e^{-\tau} x_0 + e^{-(T - \tau)} \frac{1 - e^{-2 \tau}}{1 - e^{-2 T}}
    (X_T - e^{-T} x_0),\; \frac{(1 - e^{-2 \tau})(1 - e^{-2 (T - \tau)})}{1 - e^{-2 T}} I \Bigr).

.. rubric:: References

.. [1] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS. Equations (6) and (7).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import chisquare

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.generators import AnalyticDiffusion, EmpiricalDiffusion, GaussianDiffusion
from mcgen.generators.reverse_steps import steps_of
from mcgen.statistics import nearest
from mcgen.validation.problems.gaussians import energy
from mcgen.validation.problems.mixtures import digits
from mcgen.validation.studies.verdicts import FALSE_ALARM, Study, Verdict, at_most, control, inside, mean

# Largest distance to the nearest datum, relative to the standard deviation of the data, of a sample that is a datum.
_SUPPORT = 1e-3
# Largest gap of the two forms of the bridge, relative to the largest number: rounding.
_ROUNDING = 1e-12
# Steps after which all data are equally frequent, and so few that some are far more frequent.
_MANY, _FEW = 200, 3


def finite_data(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that a model of ten digits makes these digits alone, and each as often as the others.

    The frequencies are judged by the chi-square test of the multinomial law. With few steps they are off.
    """
    points, n = digits(), 16_000 if full else 4_000
    verdicts = []
    for steps in (10, 50, _MANY):
        for eta in (0.0, 1.0):
            model = EmpiricalDiffusion(points, steps=steps, eta=eta)
            verdicts.append(_near(f"{steps} steps, eta {eta:g}", model, points, seed))
    wide = EmpiricalDiffusion(points, steps=_MANY, bandwidth=0.1)
    verdicts.append(control(_near("a kernel density", wide, points, seed)))
    exact = EmpiricalDiffusion(points, steps=_MANY)
    verdicts += [_copies("ten digits", exact, points, seed), control(_copies("a kernel density", wide, points, seed))]
    few = EmpiricalDiffusion(points, steps=_FEW)
    return [
        *verdicts,
        _frequencies(f"{_MANY} steps", exact, points, n, seed),
        control(_frequencies(f"{_FEW} steps", few, points, n, seed)),
    ]


def bridge(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that the ancestral step of a single datum is the bridge of the Ornstein-Uhlenbeck process."""
    steps = 1000 if full else 50
    return [
        at_most("gap of DDPM's step of a single datum to the bridge", _bridge_gap(steps, 1.0, seed), _ROUNDING),
        control(at_most("the same with eta = 0.9", _bridge_gap(steps, 0.9, seed), _ROUNDING)),
    ]


def normal_data(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that the samples of normal data have the mean and covariance that the model says."""
    rng, n = np.random.default_rng([seed, 1]), 40_000 if full else 10_000
    root = rng.normal(size=(6, 6))
    verdicts = []
    for sampler, eta in (("flow", 0.0), ("ddim", 0.0), ("ddim", 1.0)):
        options: dict[str, Any] = {"sampler": sampler, "eta": eta, "steps": 20, "dtype": "float64"}
        model = GaussianDiffusion(rng.normal(size=6), root @ root.T / 6, **options)
        samples = mcgen.sample(model, n, seed=seed)
        truth = float(np.mean(model.sample_mean**2 + np.diag(model.sample_covariance)))
        name = f"mean square of normal data, {sampler}, eta {eta:g}"
        verdicts.append(mean(name, energy(samples), truth))
        along = rng.normal(size=6)
        products = ((samples - model.sample_mean) @ along) ** 2
        verdicts.append(
            mean(f"variance along a line, {sampler}", products, float(along @ model.sample_covariance @ along))
        )
    data = float(np.mean(model.mean**2 + np.diag(model.covariance)))
    return [*verdicts, control(mean("mean square of the data in place of that of 20 steps", energy(samples), data))]


STUDIES: dict[str, Study] = {
    "diffusion of a finite data set": finite_data,
    "the bridge of a single datum": bridge,
    "diffusion of normal data": normal_data,
}
"""Studies by title."""


def _near(what: str, model: AnalyticDiffusion, points: Floats, seed: int) -> Verdict:
    distances = nearest(points)(mcgen.sample(model, 300, seed=seed))[:, 0]
    worst = float(np.sqrt((distances**2).mean()) / points.std())
    return at_most(f"distance of samples to the nearest digit in standard deviations, {what}", worst, _SUPPORT)


def _copies(what: str, model: AnalyticDiffusion, points: Floats, seed: int) -> Verdict:
    copies = nearest(points)(mcgen.sample(model, 1000, seed=seed))[:, 2]
    return at_most(f"share of samples that are no copies, {what}", float(1 - copies.mean()), 0.0)


def _frequencies(what: str, model: AnalyticDiffusion, points: Floats, n: int, seed: int) -> Verdict:
    samples = mcgen.sample(model, n, seed=seed)
    squares = ((samples[:, None] - points.astype(np.float32)) ** 2).sum(axis=2)
    counts = np.bincount(squares.argmin(axis=1), minlength=len(points))
    return inside(
        f"frequencies of the digits, {what}: p value of chi-square", float(chisquare(counts).pvalue), FALSE_ALARM, 1.0
    )


def _bridge_gap(steps: int, eta: float, seed: int) -> float:
    """Return the largest gap of mean and variance of the model's steps to the bridge, for a random datum and states."""
    rng = np.random.default_rng([seed, 2])
    x_0 = rng.normal(size=(1, 4))
    model = EmpiricalDiffusion(x_0, steps=steps, eta=eta, dtype="float64")
    gaps = []
    # The last step has no noise.
    for i, move in enumerate(steps_of(model.signal_shares, eta)[:-1]):
        end, tau = (-math.log(share) / 2 for share in model.signal_shares[i : i + 2].tolist())
        x, rest = rng.normal(size=(1, 4)), -math.expm1(-2 * end)
        slope = math.exp(-(end - tau)) * -math.expm1(-2 * tau) / rest
        expected = math.exp(-tau) * x_0 + slope * (x - math.exp(-end) * x_0)
        variance = math.expm1(-2 * tau) * math.expm1(-2 * (end - tau)) / rest
        found = move.state * x + move.sample * model.posterior_mean(x, float(model.signal_shares[i]))
        gaps += [np.abs(found - expected).max(), abs(move.fresh**2 - variance)]
    return float(np.max(gaps))

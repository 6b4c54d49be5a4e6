r"""Integrands over the unit cube: the six of a study of intervals for randomized quasi-Monte Carlo, and Genz's six.

With :math:`S = d^{-1/2} \sum_j \Phi^{-1}(u_j) \sim N(0, 1)`, the study [1]_ has these integrands, each minus its mean:

- SumUeU: :math:`\sum_j u_j e^{u_j}`, where :math:`\int_0^1 u e^u du = 1`;
- MC2: :math:`(d - 1/2)^{-d} \prod_j (d - u_j)`;
- PieceLinGauss: :math:`\max(S - \tau, 0)` of mean :math:`\varphi(\tau) - \tau \Phi(-\tau)`, tau = 1;
- IndSumNormal: :math:`1\{S \ge \tau\}` of mean :math:`\Phi(-\tau)`, tau = 1;
- SmoothGauss: :math:`\Phi(1 + S)` of mean :math:`\Phi(1 / \sqrt 2)`;
- RidgeJohnsonSU: :math:`F^{-1}(\Phi(S)) = \sinh(S - 1)`, Johnson's SU distribution with gamma = delta = lambda = 1 and
  xi = 0, of mean :math:`-e^{1/2} \sinh 1`, skewness -5.36 and excess kurtosis 90.4.

The definitions and tau are those of the authors' code [2]_. The first version of its SmoothGauss sums
:math:`\Phi(1 + \Phi^{-1}(u_j))`, which is not centred for d > 1; the present one is the ridge function above. A comment
there gives RidgeJohnsonSU skewness -5.66 and excess kurtosis 96.8; the exact moments are those above.

Genz's families [3]_ have difficulties c_j and shifts w_j. Their integrals are products of integrals over one
coordinate. Only that of the corner peak is an alternating sum over the corners of the cube.

.. rubric:: References

.. [1] P. L'Ecuyer, M. Nakayama, A. B. Owen, B. Tuffin (2023). Confidence intervals for randomized quasi-Monte Carlo
   estimators. Winter Simulation Conference, 445-456.
.. [2] The supplements github.com/pierrelecuyer/rqmc-samples-wsc23 (README and java/) and wsc26-periodic.
.. [3] A. Genz (1984). Testing multidimensional integration routines. Tools, Methods and Languages for Scientific and
   Engineering Computation, 81-94.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import ndtr, ndtri

from mcgen._lib.arrays import Floats
from mcgen._lib.batches import by_slices
from mcgen.generators import as_generator
from mcgen.noise import Array, NoiseSpec
from mcgen.validation.problems._base import Problem, first

# The threshold tau of the study.
_TAU = 1.0
_DIMENSIONS = (4, 32)
# Shifts and normalized difficulties of all of Genz's families; `_GENZ` has the sum of the difficulties of each.
_SHIFTS = np.array([0.35, 0.6, 0.45, 0.7, 0.25])
_DIRECTION = np.array([1.0, 2.0, 3.0, 4.0, 5.0]) / 15


def _sum_u_exp_u(u: Array) -> Array:
    return np.asarray(np.einsum("ij,ij->i", u, np.exp(u))[:, None] - u.shape[1])


def _morokoff_caflisch(u: Array) -> Array:
    d = u.shape[1]
    return np.asarray(np.prod((d - u) / (d - 0.5), axis=1, keepdims=True) - 1)


def _ridge(function: Callable[[Array], Array], mean: float, u: Array) -> Array:
    return function(by_slices(_normal_sum, u)) - mean


def _normal_sum(u: Array) -> Array:
    """Return S ~ N(0, 1), the sum of the normal quantiles over sqrt d, shape (n, 1)."""
    total: Array = ndtri(u).sum(axis=1, keepdims=True)
    return total / math.sqrt(u.shape[1])


def _above(s: Array) -> Array:
    return np.maximum(s - _TAU, 0)


def _indicator(s: Array) -> Array:
    return (s >= _TAU).astype(s.dtype)


def _smooth(s: Array) -> Array:
    return np.asarray(ndtr(1 + s))


def _johnson(s: Array) -> Array:
    return np.asarray(np.sinh(s - 1))


def _of_study() -> dict[str, tuple[Callable[[Array], Array], str, str]]:
    tail = float(ndtr(-_TAU))
    above = math.exp(-(_TAU**2) / 2) / math.sqrt(2 * math.pi) - _TAU * tail
    smooth, johnson = float(ndtr(1 / math.sqrt(2))), -math.exp(0.5) * math.sinh(1)
    return {
        "SumUeU": (_sum_u_exp_u, "the integral of u exp(u) is 1", "nothing: smooth and additive"),
        "MC2": (_morokoff_caflisch, "d - u has mean d - 1/2", "nothing: smooth and nearly additive"),
        "PieceLinGauss": (
            partial(_ridge, _above, above),
            "E max(S - 1, 0) = phi(1) - Phi(-1)",
            "a kink across all axes; unbounded",
        ),
        "IndSumNormal": (partial(_ridge, _indicator, tail), "P(S >= 1) = Phi(-1)", "a jump across all axes"),
        "SmoothGauss": (
            partial(_ridge, _smooth, smooth),
            "Phi(1 + S) = P(N <= 1 + S | S), so its mean is Phi(1 / sqrt 2)",
            "smooth, but along a diagonal",
        ),
        "RidgeJohnsonSU": (
            partial(_ridge, _johnson, johnson),
            "E sinh(S - 1) = -exp(1/2) sinh 1",
            "skewness -5.4 and excess kurtosis 90",
        ),
    }


def _oscillatory(c: Floats, w: Floats, u: Array) -> Array:
    return np.asarray(np.cos(2 * math.pi * w[0] + u @ c)[:, None])


def _product_peak(c: Floats, w: Floats, u: Array) -> Array:
    return np.asarray(1 / np.prod(c**-2 + (u - w) ** 2, axis=1, keepdims=True))


def _corner_peak(c: Floats, w: Floats, u: Array) -> Array:
    return (1 + u @ c)[:, None] ** -(len(c) + 1.0)


def _gaussian(c: Floats, w: Floats, u: Array) -> Array:
    scaled = (u - w) * c
    return np.asarray(np.exp(-np.einsum("ij,ij->i", scaled, scaled))[:, None])


def _continuous(c: Floats, w: Floats, u: Array) -> Array:
    return np.exp(-(np.abs(u - w) @ c))[:, None]


def _discontinuous(c: Floats, w: Floats, u: Array) -> Array:
    inside = (u[:, 0] <= w[0]) & (u[:, 1] <= w[1])
    return np.where(inside, np.exp(u @ c), 0)[:, None]


def _oscillatory_truth(c: Floats, w: Floats) -> float:
    factors = [(cmath.exp(1j * x) - 1) / (1j * x) for x in c.tolist()]
    return (cmath.exp(2j * math.pi * float(w[0])) * math.prod(factors, start=1 + 0j)).real


def _product_peak_truth(c: Floats, w: Floats) -> float:
    return float(np.prod(c * (np.arctan(c * (1 - w)) + np.arctan(c * w))))


def _corner_peak_truth(c: Floats, w: Floats) -> float:
    d = len(c)
    corners = ((-1) ** sum(corner) / (1 + c @ corner) for corner in itertools.product((0, 1), repeat=d))
    return float(sum(corners) / (math.factorial(d) * np.prod(c)))


def _gaussian_truth(c: Floats, w: Floats) -> float:
    # By erf(x) = 2 Phi(x sqrt 2) - 1.
    within = ndtr(math.sqrt(2) * c * (1 - w)) - ndtr(-math.sqrt(2) * c * w)
    return float(np.prod(math.sqrt(math.pi) / c * within))


def _continuous_truth(c: Floats, w: Floats) -> float:
    return float(np.prod((2 - np.exp(-c * w) - np.exp(-c * (1 - w))) / c))


def _discontinuous_truth(c: Floats, w: Floats) -> float:
    ends = np.where(np.arange(len(c)) < 2, w, 1)
    return float(np.prod(np.expm1(c * ends) / c))


_Integrand = Callable[[Floats, Floats, Array], Array]
_Integral = Callable[[Floats, Floats], float]
_GENZ: dict[str, tuple[_Integrand, _Integral, float, str]] = {
    "oscillatory": (_oscillatory, _oscillatory_truth, 9.0, "waves across all axes"),
    "product-peak": (_product_peak, _product_peak_truth, 15.0, "a peak in the middle, which few points meet"),
    "corner-peak": (_corner_peak, _corner_peak_truth, 4.0, "a peak in a corner: skewed"),
    "gaussian": (_gaussian, _gaussian_truth, 12.0, "a peak in the middle, which few points meet"),
    "continuous": (_continuous, _continuous_truth, 12.0, "a kink along each axis"),
    "discontinuous": (_discontinuous, _discontinuous_truth, 6.0, "jumps along two axes; 0 four times in five"),
}


def problems() -> list[Problem]:
    """Return the problems of this module."""
    found = []
    for (name, (function, source, hard)), d in itertools.product(_of_study().items(), _DIMENSIONS):
        generator = as_generator(function, NoiseSpec.uniform((d,), "float64"), name=f"{name}-{d}")
        source = f"L'Ecuyer, Nakayama, Owen, Tuffin (2023): {source}"
        event = float(ndtr(-_TAU)) if name == "IndSumNormal" else None
        found.append(
            Problem(f"{name}-{d}", generator, first, 0.0, source, hard, family="WSC 2023", event_probability=event)
        )
    for name, (integrand, integral, size, hard) in _GENZ.items():
        c, w = size * _DIRECTION, _SHIFTS
        spec = NoiseSpec.uniform((len(c),), "float64")
        generator = as_generator(partial(integrand, c, w), spec, name=f"genz-{name}")
        source = f"Genz (1984), closed form, c = {c.round(6).tolist()}, w = {w.tolist()}"
        found.append(Problem(f"genz-{name}", generator, first, integral(c, w), source, hard, family="Genz"))
    return found

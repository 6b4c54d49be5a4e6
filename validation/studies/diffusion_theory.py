r"""The Ornstein-Uhlenbeck process behind diffusion models [1]_: its Hermite expansion and its score error.

The process dX = -X dt + sqrt(2) dW takes x to :math:`e^{-t} x + \sigma_t Z`, where :math:`\sigma_t^2 = 1 - e^{-2t}` and
Z ~ N(0, I). Its semigroup and its generator are [2]_

.. math::

    P_t f(x) = E f(e^{-t} x + \sigma_t Z), \qquad L f = \Delta f - x \cdot \nabla f.

The Hermite polynomials of probability are

.. math::

    He_0 = 1, \qquad He_1(x) = x, \qquad He_{n+1}(x) = x\, He_n(x) - n\, He_{n-1}(x),

and :math:`He_\alpha(x) = \prod_i He_{\alpha_i}(x_i)` for a multi-index :math:`\alpha` with
:math:`|\alpha| = \sum_i \alpha_i` and :math:`\alpha! = \prod_i \alpha_i!`. Expectations of polynomials are sums over
Gauss-Hermite nodes, which are exact up to rounding. Derivatives are those of the powers of x.

Notation, score and mixtures are those of `mcgen.validation.studies.antithetic_theory`. The propositions have their
numbers in the second version of [1]_. What is known of monotone samplers is in
`mcgen.validation.studies.monotone_samplers`.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185v2.
.. [2] D. Bakry, I. Gentil, M. Ledoux (2014). Analysis and geometry of Markov diffusion operators. Springer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.polynomial import Hermite, HermiteE, Polynomial

from mcgen._lib.arrays import Floats
from mcgen.validation.problems.samplers import Mixture
from mcgen.validation.studies.antithetic_theory import ROUNDING, Nodes, fisher_information, random_mixture
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control

# Highest degree of the polynomials. Nodes of 20 points are exact up to degree 39, so for products of two.
DEGREE, _N_NODES = 8, 20
_DIMENSIONS = (1, 2)

Family = Sequence[Polynomial]
"""Polynomials of degrees 0 to `DEGREE`."""
Index = tuple[int, ...]
"""A multi-index: the degree in each coordinate."""

PROBABILISTS: Family = [HermiteE.basis(n).convert(kind=Polynomial) for n in range(DEGREE + 1)]
"""The polynomials He_n, which are orthogonal under N(0, 1)."""
PHYSICISTS: Family = [Hermite.basis(n).convert(kind=Polynomial) for n in range(DEGREE + 1)]
"""The polynomials 2^{n/2} He_n(sqrt(2) x), which are orthogonal under exp(-x^2) instead."""
POWERS: Family = [Polynomial.basis(n) for n in range(DEGREE + 1)]
"""The polynomials x^n."""


def recurrence_gap(family: Family) -> float:
    """Return the largest relative gap of He_{n+1} to x He_n - n He_{n-1}, for coefficients of powers."""
    x = Polynomial([0.0, 1.0])
    return max(
        _gap(_coefficients(x * family[n] - n * family[n - 1]), _coefficients(family[n + 1])) for n in range(1, DEGREE)
    )


def derivative_gap(family: Family) -> float:
    """Return the largest relative gap of He_n' to n He_{n-1}, for coefficients of powers."""
    return max(_gap(_coefficients(family[n].deriv()), _coefficients(n * family[n - 1])) for n in range(1, DEGREE + 1))


def orthogonality_gap(family: Family) -> float:
    """Return the largest gap of E He_a He_b / sqrt(a! b!) to 1 for a = b and to 0 otherwise, in 1 and 2 dimensions."""
    gaps = []
    for d in _DIMENSIONS:
        nodes = Nodes.normal(_N_NODES, d)
        rows = np.array([_values(family, a, nodes.z) / math.sqrt(_factorial(a)) for a in _indices(d)])
        gaps.append(float(np.max(np.abs(rows * nodes.weights @ rows.T - np.eye(len(rows))))))
    return max(gaps)


def generator_gap(family: Family) -> float:
    """Return the largest relative gap of L He_a to -|a| He_a, in 1 and 2 dimensions."""
    gaps = []
    for d in _DIMENSIONS:
        x = Nodes.normal(_N_NODES, d).z
        for a in _indices(d):
            value = np.zeros(len(x))
            for i, n in enumerate(a):
                others = _values(family, (*a[:i], 0, *a[i + 1 :]), x)
                first, second = family[n].deriv(1), family[n].deriv(2)
                value += others * (second(x[:, i]) - x[:, i] * first(x[:, i]))
            gaps.append(_gap(value, -sum(a) * _values(family, a, x)))
    return max(gaps)


def semigroup_gap(family: Family, rng: np.random.Generator, n: int) -> float:
    """Return the largest relative gap of P_t f to sum_a e^{-|a| t} c_a He_a, for n random polynomials f.

    The coefficients are c_a = E f(Z) He_a(Z) / a!.
    """
    gaps = []
    for d, _ in product(_DIMENSIONS, range(n)):
        nodes, indices, t = Nodes.normal(_N_NODES, d), _indices(d), float(rng.uniform(0, 2))
        f = rng.normal(size=len(indices)) / [_factorial(a) for a in indices]
        x = rng.uniform(-2, 2, (5, d))
        ends = math.exp(-t) * x[:, None] + math.sqrt(-math.expm1(-2 * t)) * nodes.z
        later = _series(POWERS, f, ends.reshape(-1, d)).reshape(len(x), -1) @ nodes.weights
        weighted = nodes.weights * _series(POWERS, f, nodes.z)
        c = np.array([weighted @ _values(family, a, nodes.z) / _factorial(a) for a in indices])
        c *= np.exp([-t * sum(a) for a in indices])
        gaps.append(_gap(_series(family, c, x), later))
    return max(gaps)


def hermite_expansion(full: bool, seed: int) -> list[Verdict]:
    """P_t f = sum_a e^{-|a| t} c_a He_a with c_a = E f(Z) He_a(Z) / a! (propositions 1 and 2 of [1]_).

    The recurrence gives He_n' = n He_{n-1}, so L He_n = He_n'' - x He_n' = n ((n - 1) He_{n-2} - x He_{n-1}) = -n He_n.
    L is a sum over the coordinates, hence L He_a = -|a| He_a and P_t He_a = e^{-|a| t} He_a. As L is self-adjoint under
    N(0, I), eigenfunctions of different degrees are orthogonal: E He_a He_b = a! if a = b, else 0. Terms of odd degree
    change their sign with x. The terms of degree 1 outlast all of higher degree. So at large t, P_t f is nearly odd
    about its mean, unless f has no terms of degree 1. Pairs z, -z then cancel nearly all of its variance.

    The control has the physicists' polynomials, 2^{n/2} He_n(sqrt(2) x), in place of He_n.
    """
    n = 50 if full else 5
    gaps: dict[str, Callable[[Family], float]] = {
        "He_{n+1} = x He_n - n He_{n-1}": recurrence_gap,
        "He_n' = n He_{n-1}": derivative_gap,
        "E He_a He_b = a! if a = b, else 0": orthogonality_gap,
        "L He_a = -|a| He_a": generator_gap,
        f"P_t of {2 * n} random polynomials by their expansion": lambda family: semigroup_gap(
            family, np.random.default_rng([seed, 1]), n
        ),
    }
    return [
        verdict
        for law, gap in gaps.items()
        for verdict in (
            at_most(f"gap in {law}, degrees up to {DEGREE}", gap(PROBABILISTS), ROUNDING),
            control(at_most(f"gap in {law}, physicists' polynomials", gap(PHYSICISTS), ROUNDING)),
        )
    ]


def heat_flow(mixture: Mixture, t: float) -> Mixture:
    """Return the law of X_0 + sqrt(2 t) Z: the process without its drift."""
    return replace(mixture, variances=mixture.variances + 2 * t)


def largest_rise(values: Floats) -> float:
    """Return the largest ratio of a value to an earlier one, for positive values (n,)."""
    return float(np.max(values[1:] / np.minimum.accumulate(values)[:-1]))


def score_error_monotone(full: bool, seed: int) -> list[Verdict]:
    """I_{t+d} e^{2d} <= I_t for all t and d >= 0, with I_t = E |s_t(X_t) + X_t|^2 (section A.3.2 of [1]_).

    Equivalently, dI/dt <= -2 I, and so I_t does not rise. The process started from p_t has the law p_{t+d} after the
    time d. So the inequality from time 0, in `score_convergence` of `mcgen.validation.studies.antithetic_theory`, holds
    from each t on. N(m, I) has equality: I_t = e^{-2t} |m|^2. I is the relative Fisher information. Without the drift,
    for X_0 + sqrt(2t) Z, it can rise, since that law spreads without end.
    """
    rng = np.random.default_rng([seed, 2])
    times = np.linspace(0.0, 3.0, 31)
    mixtures = [random_mixture(rng) for _ in range(31 if full else 4)]
    curves = np.array([[fisher_information(p.at(t)) for t in times] for p in mixtures])
    rises = [largest_rise(curve * np.exp(2 * times)) for curve in curves]
    shifted = Mixture(np.ones(1), np.full((1, 1), 1.5), np.ones((1, 1)))
    normal = np.array([fisher_information(shifted.at(t)) for t in times]) * np.exp(2 * times)
    heated = [largest_rise(np.array([fisher_information(heat_flow(p, t)) for t in times])) for p in mixtures]
    promise = f"of {len(mixtures)} random mixtures, all pairs of {len(times)} times up to 3, the largest"
    return [
        at_most(f"I_(t+d) e^(2d) / I_t {promise}", max(rises), 1 + ROUNDING),
        at_most("I_t of the same, one time over an earlier one, the largest", max(map(largest_rise, curves)), 1.0),
        at_most("|I_(t+d) e^(2d) / I_t - 1| of N(1.5, 1), the largest", float(np.ptp(normal)) / normal.min(), ROUNDING),
        control(at_most("I_(t+d) / I_t of the same mixtures without drift, the largest", max(heated), 1.0)),
        control(at_most("I_(t+d) e^(2.1 d) / I_t of N(1.5, 1)", largest_rise(normal * np.exp(0.1 * times)), 1.0)),
    ]


STUDIES: dict[str, Study] = {
    "Hermite expansion": hermite_expansion,
    "the score error is monotone": score_error_monotone,
}
"""Studies by title."""


def _coefficients(p: Polynomial) -> Floats:
    return np.asarray(p.coef, dtype=np.float64)


def _indices(d: int) -> list[Index]:
    """Return the multi-indices of d coordinates with |a| <= `DEGREE`."""
    return [a for a in product(range(DEGREE + 1), repeat=d) if sum(a) <= DEGREE]


def _factorial(a: Index) -> int:
    return math.prod(map(math.factorial, a))


def _values(family: Family, a: Index, x: Floats) -> Floats:
    """Return the products of the polynomials of degrees a_i at points x (n, d)."""
    return np.asarray(math.prod(family[n](x[:, i]) for i, n in enumerate(a)))


def _series(family: Family, coefficients: Floats, x: Floats) -> Floats:
    """Return sum_a c_a f_a(x) over the multi-indices, at points x (n, d)."""
    values = [_values(family, a, x) for a in _indices(x.shape[1])]
    return np.asarray(coefficients @ np.array(values))


def _gap(found: Floats, expected: Floats) -> float:
    """Return the largest difference over the largest of 1 and |expected|."""
    return float(np.max(np.abs(found - expected))) / max(1.0, float(np.max(np.abs(expected))))

r"""Indices of parts of the noise: how much of the variance of a statistic is due to each.

Let y = f(x) be the statistic's value at noise x, V its variance, x' an independent copy of x, and f(x_u : x'_{-u}) the
value at noise that takes part u from x and the rest from x'. The first-order index (also: closed index) of part u is
:math:`\operatorname{Var} E[f \mid x_u] / V`, the share that part u has by itself. Its total index is
:math:`E \operatorname{Var}[f \mid x_{-u}] / V`, the share that has to do with part u at all [1]_. The variances are
estimated without bias, from one replicate of pick-freeze points (`mcgen.analysis.pick_freeze`), by

.. math::

    \text{first-order:} \quad & \tfrac12 \bigl(f(x) - f(x'_u : x_{-u})\bigr) \bigl(f(x_u : x'_{-u}) - f(x')\bigr), \\
    \text{total:} \quad & \tfrac14 \bigl(f(x) - f(x'_u : x_{-u})\bigr)^2
        + \tfrac14 \bigl(f(x_u : x'_{-u}) - f(x')\bigr)^2 .

The second is the mean of two estimates of Jansen's kind ([2]_, table 2, row f). The first is Owen's estimator
"Correlation 2" [3]_ with the same x' in both factors, where its expectation is twice as large: of the four products,
:math:`f(x) f(x_u : x'_{-u})` and :math:`f(x'_u : x_{-u}) f(x')` have expectation :math:`V_u + \mu^2` each, and the
other two :math:`\mu^2`, since their noises are independent. Both are made of differences that vanish where part u does
not matter. So small indices have small errors, whatever the mean of f is; the products of [2]_, table 2, rows a and b,
do not have this. In each replicate the first is at most the second.

The odd part of f is (f(x) - f(-x)) / 2, with -u for 1 - u of uniform noise; antithetic pairs remove it. The share of
its variance is 1 less that of the even part. Additive in the parts is the sum of the first-order indices of parts that
are all of the noise; what is missing to 1 is due to interactions between parts. The mean dimension is the sum of the
total indices [4]_: 1 where f is additive, and s where f has interactions of s parts alone. The same for single
coordinates takes d times the mean over coordinates that are drawn at random, a few in each replicate.

V is estimated by the pairs of independent points whose noises add up to x and x': for m parts by the mean of
:math:`\tfrac12 (f(x) - f(x'))^2`, with weight max(1 - m / 4, -1), and of :math:`\tfrac12 (f(x_u : x'_{-u}) - f(x'_u :
x_{-u}))^2` of all parts. With a statistic that is additive in up to 8 parts this is the sum of its first-order terms in
each replicate. So the share is then 1 without an error, and so is that of a part which is all that matters.

Replicates are independent, and all indices are ratios of means over them. Their estimates and intervals are by the
jackknife (`mcgen.inference.jackknife`). Components of a statistic have indices of their own; for all of them together,
numerators and denominators are summed [5]_.

.. rubric:: References

.. [1] I. M. Sobol' (1993). Sensitivity estimates for nonlinear mathematical models. Math. Modelling Comput. Experiment
   1(4), 407-414.
.. [2] A. Saltelli, P. Annoni, I. Azzini, F. Campolongo, M. Ratto, S. Tarantola (2010). Variance based sensitivity
   analysis of model output. Computer Physics Communications 181(2), 259-270.
.. [3] A. B. Owen (2013). Better estimation of small Sobol' sensitivity indices. ACM Trans. Model. Comput. Simul. 23(2),
   article 11.
.. [4] R. Liu, A. B. Owen (2006). Estimating mean dimensionality of analysis of variance decompositions. J. Amer.
   Statist. Assoc. 101(474), 712-721.
.. [5] F. Gamboa, A. Janon, T. Klein, A. Lagnoux (2014). Sensitivity analysis for multidimensional and functional
   outputs. Electron. J. Statist. 8(1), 575-603.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.analysis.noise_parts import ALL, BLOCKS, COORDINATES
from mcgen.analysis.pick_freeze import PickFreeze
from mcgen.inference.functional_intervals import summed
from mcgen.inference.jackknife import pseudo_values


@dataclass(frozen=True)
class Index:
    """One number of the result.

    Attributes
    ----------
    part, name : str
        What it is of, and which index it is.
    numerator, denominator : ndarray of shape (R, k)
        Their terms in each replicate.
    largest : float
        The largest that it can be; a mean dimension is at least 1, and a share at least 0.
    """

    part: str
    name: str
    numerator: Floats
    denominator: Floats
    largest: float = 1.0

    def over_components(self) -> Index:
        """Return the index of all components together, shape (R, 1)."""
        numerator, denominator = (terms.sum(axis=1, keepdims=True) for terms in (self.numerator, self.denominator))
        return replace(self, numerator=numerator, denominator=denominator)

    def plus(self, other: Index) -> Index:
        """Return the index of the components of both together."""
        numerator, denominator = self.numerator + other.numerator, self.denominator + other.denominator
        return replace(self, numerator=numerator, denominator=denominator)


def indices_of(v: Floats, design: PickFreeze, dimension: int) -> Iterator[Index]:
    """Yield all indices from the values (R, points, k) of the replicates."""
    odd = ((v[:, 0] - v[:, 1]) ** 2 + (v[:, 2] - v[:, 3]) ** 2) / 8
    even = (v[:, 0] + v[:, 1] - v[:, 2] - v[:, 3]) ** 2 / 8
    yield Index(ALL, "odd", odd, odd + even)
    yield Index(ALL, "even", even, odd + even)
    m, n = len(design.parts), design.n_coordinates
    variance = _variance(v, design) if m else odd + even
    swapped = [_swapped(v, design.points_of(("part", j))) for j in range(m)]
    for part, (first, total) in zip(design.parts, swapped, strict=True):
        yield Index(part.name, "first-order", first, variance)
        yield Index(part.name, "total", total, variance)
    if m:
        yield from _added_up(BLOCKS, swapped, variance, m, m)
    for r in design.directions:
        own, other = design.points_of(("directions", r))
        both = ((v[:, 0] - v[:, 2]) ** 2 + (v[:, own] - v[:, other]) ** 2) / 4
        first, total = _swapped(v, (own, other))
        name = "1 direction" if r == 1 else f"{r} directions"
        yield Index(name, "first-order", first, both)
        yield Index(name, "total", total, both)
    if n:
        drawn = [_swapped(v, design.points_of(("coordinate", i))) for i in range(n)]
        yield from _added_up(COORDINATES, drawn, variance, n, dimension)


def _swapped(v: Floats, points: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return the terms of the first-order and the total variance of what two points swap, in each replicate."""
    changed, kept = v[:, 0] - v[:, points[1]], v[:, points[0]] - v[:, 2]
    return changed * kept / 2, (changed**2 + kept**2) / 4


def _added_up(
    part: str, swapped: Sequence[tuple[Floats, Floats]], variance: Floats, drawn: int, of: int
) -> Iterator[Index]:
    """Yield the additive share and the mean dimension from some parts that were drawn of all."""
    first, total = (np.sum(terms, axis=0) * (of / drawn) for terms in zip(*swapped, strict=True))
    yield Index(part, "additive", first, variance)
    yield Index(part, "mean dimension", total, variance, float(of))


def _variance(v: Floats, design: PickFreeze) -> Floats:
    """Return the terms of the variance in each replicate, from pairs of independent points."""
    m = len(design.parts)
    weight = max(1 - m / 4, -1.0)
    pairs = [design.points_of(("part", j)) for j in range(m)]
    swapped = np.sum([(v[:, own] - v[:, other]) ** 2 for own, other in pairs], axis=0)
    return np.asarray((weight * (v[:, 0] - v[:, 2]) ** 2 + (1 - weight) / m * swapped) / 2)


def jackknifed(indices: Sequence[Index]) -> Floats:
    """Return estimates, standard errors and skewness of some indices, shape (3, indices, k); NaN where undefined."""
    numerator = np.stack([one.numerator for one in indices], axis=1)
    denominator = np.stack([one.denominator for one in indices], axis=1)
    n = len(numerator)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = numerator.sum(axis=0) / denominator.sum(axis=0)
        left_out = (numerator.sum(axis=0) - numerator) / (denominator.sum(axis=0) - denominator)
        made = summed([pseudo_values(np.ones(n), whole.ravel(), left_out.reshape(n, -1))])
    # A variance is estimated without bias, but the estimate is not always above 0.
    positive = (denominator.sum(axis=0) > 0).ravel()
    found = np.where(positive, np.stack([made.mean, made.standard_error, made.skewness]), np.nan)
    return found.reshape(3, *whole.shape)

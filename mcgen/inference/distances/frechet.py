r"""The squared Fréchet distance of features from replicates, without its bias, with terms of first and second order.

For features of mean m and covariance S, and a reference of mean :math:`\mu` and covariance :math:`\Sigma = L L^T`,

.. math:: F = |m - \mu|^2 + \operatorname{tr} S + \operatorname{tr} \Sigma - 2 \sum_i s_i,
   \qquad L^T S L = U \operatorname{diag}(s_i^2) U^T .

This is the distance of [1]_, called FID for features of the Inception network [2]_. At n samples its usual value, the
plug-in, is too large by about c / n, with a c of the order of the number of features [3]_. Here

- the bias is removed by the jackknife over groups of replicates [4]_. The term of order 1 / n goes whatever the design
  is, since groups are independent. A difference from the extrapolation by halves, 2 F(n) - F(n / 2), shows bias of
  higher order.
- with x relative to :math:`\mu`, y = L^T x and z = U^T (y - mean y), the influence of a sample on F is

  .. math:: |x|^2 - \sum_i z_i^2 / s_i

  but for a constant; averages over replicates give the variance of first order.
- the second derivative of F gives the Gram matrix of the groups,

  .. math:: H_{gh} = \sum_i \frac{\bar z_{gi} \bar z_{hi}}{s_i}
     + \frac12 \sum_{ij} \frac{B_{gij} B_{hij}}{s_i s_j (s_i + s_j)},

  where B_g is the mean of z z^T in group g. Its trace of squares is the variance of second order, which is all there is
  where model and reference agree: there F has the law of a sum of squares.

A reference that is a sample itself has the same terms with the roles exchanged, since F is symmetric.

.. rubric:: References

.. [1] D. C. Dowson, B. V. Landau (1982). The Fréchet distance between multivariate normal distributions. J.
   Multivariate Anal. 12, 450-455.
.. [2] M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler, S. Hochreiter (2017). GANs trained by a two time-scale
   update rule converge to a local Nash equilibrium. NeurIPS.
.. [3] M. J. Chong, D. Forsyth (2020). Effectively unbiased FID and inception score and where to find them. CVPR.
.. [4] F. M. T. A. Busing, E. Meijer, R. van der Leeden (1999). Delete-m jackknife for unequal m. Statistics and
   Computing 9, 3-8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.errors import RunError
from mcgen.inference.distances.feature_moments import FeatureMoments, Projected
from mcgen.inference.distances.terms import DistanceTerms, Law, Points

FEWEST_REPLICATES = 8
"""Fewest replicates of each run: the variance of second order is estimated from one group of replicates each."""
# Features whose variance is below this share of their squared size do not vary but by rounding.
_CONSTANT = 1e-13
# Differences below this share of the traces are rounding errors.
_ROUNDING = 1e-12
# Columns of a block of the second moments of all groups (some 40 MB for 2,048 features).
_COLUMNS = 128
# The extrapolation by halves may differ from the jackknife by this many standard errors, or by this many standard
# deviations of second order, without a warning.
_OFF, _OFF_BY_SECOND = 0.5, 2.0


@dataclass(frozen=True, eq=False)
class _Expanded:
    """The distance of one law, expanded about its replicates.

    Attributes
    ----------
    plug_in, jackknife, by_halves : float
        The usual value, and its two estimates without bias.
    influence : tuple of ndarray of shape (R_c,)
        Influence of the replicates of each run.
    grouped : ndarray of shape (G,)
        Influence of the groups, of mean 0.
    gram : ndarray of shape (G + G_reference, G + G_reference)
        Gram matrix of second order of the groups, and of those of a sampled reference with its sign.
    repetition : float
        How many points of a replicate count as one independent point, for the covariance.
    of_reference : ndarray of shape (N,) or None
        Influence of the points of a sampled reference.
    """

    plug_in: float
    jackknife: float
    by_halves: float
    influence: tuple[Floats, ...]
    grouped: Floats
    gram: Floats
    repetition: float
    of_reference: Floats | None = None


def plug_in(features: Floats, reference: FeatureMoments) -> float:
    """Return the usual value of the distance at some features, shape (n, d); it is biased upwards.

    Raises
    ------
    RunError
        If there are fewer than two samples.
    """
    if len(features) < 2:
        raise RunError(f"a Fréchet distance needs two or more samples for a covariance; got {len(features)}")
    return Projected([Points(features[:, None, :], np.ones(1))], reference).distance()


def frechet_terms(
    laws: Sequence[Law], coefficients: Floats, reference: FeatureMoments, sample: Floats | None = None
) -> list[DistanceTerms]:
    """Return linear combinations of the distances of some laws on the same noise from a reference.

    Parameters
    ----------
    laws : sequence of Law
        The features of each; with several the runs of each have the same numbers of replicates.
    coefficients : ndarray of shape (m, laws)
        The factors of the laws in each combination; one row (1,) for the distance of a single law.
    reference : FeatureMoments
        The moments of the reference.
    sample : ndarray of shape (N, d), optional
        The features that these are the moments of, where the reference is a sample; by default it is fixed.

    Raises
    ------
    RunError
        If there are too few samples or replicates, or the features do not vary.
    """
    require_enough(_n_points(laws[0]), min(len(one) for one in laws[0]), reference)
    each = [_expanded(law, reference, sample) for law in laws]
    n = _independent_points(_n_points(laws[0]), max(one.repetition for one in each), reference)
    return [_combined(each, row, n, reference) for row in coefficients]


def influence_matrix(law: Law, reference: FeatureMoments) -> tuple[Floats, Floats]:
    r"""Return the matrix A of the influence of a sample x, and the two centres that it is taken about.

    The influence is :math:`|x - \mu|^2 - (x - m)^T A (x - m)` but for a constant.

    Returns
    -------
    matrix : ndarray of shape (d, d)
        The optimal transport map between the normal laws of both moments.
    centres : ndarray of shape (2, d)
        The mean of the reference, and that of the features.
    """
    projected = Projected(law, reference)
    projected.distances()
    s, _, vectors = projected.expanded()
    half = reference.root @ vectors
    return (half / s) @ half.T, np.stack([reference.mean, reference.mean + projected.mean])


def _independent_points(n: int, repetition: float, reference: FeatureMoments) -> int:
    """Return how many independent points n points stand for, or refuse too few."""
    found = math.floor(n / repetition)
    if found < reference.fewest_samples:
        raise RunError(
            f"{n:,} samples are too few for a Fréchet distance whose bias is removed: points of a replicate repeat "
            f"each other, and have the covariance of {found:,} independent points. This reference needs "
            f"{reference.fewest_samples:,}; use {math.ceil(repetition * reference.fewest_samples):,} samples or more, "
            "or independent points"
        )
    return found


def _n_points(law: Law) -> int:
    return sum(one.values.shape[0] * one.values.shape[1] for one in law)


def require_enough(n: int, n_replicates: int, reference: FeatureMoments) -> None:
    """Refuse so few samples, or replicates, that the bias can't be removed."""
    fewest = reference.fewest_samples
    if n < fewest:
        raise RunError(
            f"{n:,} samples are too few for a Fréchet distance whose bias is removed: this reference has "
            f"{len(reference.mean):,} features of rank {reference.rank:,} and effective rank "
            f"{reference.effective_rank:.0f}. Use {fewest:,} samples or more, and {reference.enough_samples:,} for the "
            "usual accuracy; the biased usual value, which has no interval, is .plug_in(samples) of the functional"
        )
    if n_replicates < FEWEST_REPLICATES:
        raise RunError(
            f"a Fréchet distance needs {FEWEST_REPLICATES} or more replicates for its interval, under each condition "
            f"of a mixture; got {n_replicates}. Use more evaluations, or fewer points per replicate"
        )


def _expanded(law: Law, reference: FeatureMoments, sample: Floats | None) -> _Expanded:
    """Return the distance of a law, expanded about its replicates."""
    own = Projected(law, reference)
    value, jackknife, by_halves = _without_bias(own.distances(), own.mass)
    if own.spread < _CONSTANT:
        raise RunError(
            "the features of all samples are the same, or vary by less than 3e-7 of their distance from the "
            "reference: a Fréchet distance needs features that vary. Look at the samples, or at the network of the "
            "features"
        )
    of_reference = None
    if sample is not None:
        swapped = Projected(
            [Points(sample[:, None, :], np.ones(1))], FeatureMoments(own.mean + reference.mean, own.covariance())
        )
        plain, other, _ = _without_bias(swapped.distances(), swapped.mass)
        jackknife, by_halves = jackknife + other - plain, by_halves + other - plain
        of_reference = swapped.of_replicates(swapped.expanded()[1])[0]
        del swapped
    s, influence, vectors = own.expanded()
    groups, repetition = own.in_groups(), own.repetition(s)
    grouped = np.array([influence[rows] @ weights for rows, weights in groups])
    parts = [(own.y, groups)]
    if sample is not None:
        parts.append(_of_sample(sample, reference, vectors))
    return _Expanded(
        value,
        jackknife,
        by_halves,
        own.of_replicates(influence),
        grouped - grouped.mean(),
        _gram(parts, s),
        repetition,
        of_reference,
    )


_Grouped = tuple[Floats, list[tuple[NDArray[np.int64], Floats]]]
"""Points z, shape (n, r), with the rows of each group and their weights."""


def _of_sample(sample: Floats, reference: FeatureMoments, vectors: Floats) -> _Grouped:
    """Return the points of a sampled reference in the directions z of a model, in groups."""
    projected = Projected([Points(sample[:, None, :], np.ones(1))], reference)
    for rows, x in projected.chunks():
        projected.y[rows] = x @ reference.root
    return projected.y @ vectors, projected.in_groups()


def _without_bias(distances: Floats, mass: Floats) -> tuple[float, float, float]:
    """Return the distance of all groups, and its estimates without bias by the jackknife and by halves.

    Parameters
    ----------
    distances : ndarray of shape (G + 3,)
        That of all groups, without each group, and of each half.
    mass : ndarray of shape (G,)
        The share of each group in the law.
    """
    value, left_out, halves = distances[0], distances[1:-2], distances[-2:]
    jackknife = len(mass) * value - ((1 - mass) * left_out).sum()
    return float(value), float(jackknife), float(2 * value - halves.mean())


def _gram(parts: Sequence[_Grouped], s: Floats) -> Floats:
    """Return the Gram matrix H of all groups of one or two samples; the second one enters with a minus sign."""
    n = sum(len(groups) for _, groups in parts)
    signs = np.concatenate([np.full(len(groups), 1.0 - 2 * number) for number, (_, groups) in enumerate(parts)])
    means = np.stack([weights @ z[rows] for z, groups in parts for rows, weights in groups])
    found = (means / s) @ means.T
    for start in range(0, len(s), _COLUMNS):
        some = slice(start, start + _COLUMNS)
        # The weights of B_ij for j > i stand for B_ji too.
        factors = np.triu(1 / (np.outer(s[some], s[start:]) * np.add.outer(s[some], s[start:])))
        np.fill_diagonal(factors, np.diagonal(factors) / 2)
        np.sqrt(factors, out=factors)
        block = np.empty((n, factors.size))
        at = 0
        for z, groups in parts:
            for rows, weights in groups:
                own = z[rows, start:]
                block[at] = (((own[:, :_COLUMNS] * weights[:, None]).T @ own) * factors).ravel()
                at += 1
        # Centred first, so that no digits are lost; each sample has a mean of its own.
        for first, last in _bounds(parts):
            block[first:last] -= block[first:last].mean(axis=0)
        found += block @ block.T
    for first, last in _bounds(parts):
        found[first:last] -= found[first:last].mean(axis=0)
        found[:, first:last] -= found[:, first:last].mean(axis=1, keepdims=True)
    return found * np.outer(signs, signs)


def _bounds(parts: Sequence[_Grouped]) -> list[tuple[int, int]]:
    """Return the first and the last number of the groups of each sample."""
    return list(pairwise(np.cumsum([0, *(len(groups) for _, groups in parts)]).tolist()))


def _combined(each: Sequence[_Expanded], factors: Floats, n: int, reference: FeatureMoments) -> DistanceTerms:
    """Return a linear combination of distances on the same noise."""

    def total(values: Sequence[Any]) -> Any:
        return sum(factor * value for factor, value in zip(factors, values, strict=True))

    grouped, gram = total([one.grouped for one in each]), total([one.gram for one in each])
    second, third = _second_order(grouped, gram, signed=bool((factors < 0).any()))
    estimate, by_halves = total([one.jackknife for one in each]), total([one.by_halves for one in each])
    sampled = [one.of_reference for one in each if one.of_reference is not None]
    of_reference = total(sampled) if sampled else np.zeros(2)
    third += float((of_reference**3).mean() / len(of_reference) ** 2)
    made = DistanceTerms(
        float(estimate),
        float(total([one.plug_in for one in each])),
        tuple(total(of_run) for of_run in zip(*(one.influence for one in each), strict=True)),
        second,
        third,
        float(of_reference.var(ddof=1) / len(of_reference)),
        of_reference=of_reference if sampled else None,
    )
    return _diagnosed(made, abs(float(estimate - by_halves)), n, reference)


def _second_order(grouped: Floats, gram: Floats, signed: bool) -> tuple[float, float]:
    """Return the variance and the third central moment that come from the terms of second order.

    For Gaussian terms of groups, with nu = G - 1, nu^2 / ((nu - 1) (nu + 2)) (|H|^2 / nu^2 - (tr H / nu)^2 / nu) is an
    unbiased estimate of the trace of their squared covariance.
    """
    g = len(grouped)
    sizes = [g, len(gram) - g] if len(gram) > g else [g]
    scaled, variance = gram.copy(), 0.0
    starts = np.cumsum([0, *sizes])
    for size, first in zip(sizes, starts, strict=False):
        nu, own = size - 1, gram[first : first + size, first : first + size]
        trace = np.trace(own) / nu
        square = nu**2 / ((nu - 1) * (nu + 2)) * ((own**2).sum() / nu**2 - trace**2 / nu)
        variance += 2 * max(float(square), 0.0) / size**2
        scaled[first : first + size] /= math.sqrt(nu * size)
        scaled[:, first : first + size] /= math.sqrt(nu * size)
    if len(sizes) == 2:
        variance += 4 * float((scaled[:g, g:] ** 2).sum())
    nu, own = g - 1, gram[:g, :g]
    cross = grouped @ own @ grouped / nu**2 - np.trace(own) / nu * (grouped @ grouped / nu) / nu
    cross = cross if signed else max(float(cross), 0.0)
    return variance, float(6 * cross / g**2 + 8 * np.trace(scaled @ scaled @ scaled))


def _diagnosed(made: DistanceTerms, off: float, n: int, reference: FeatureMoments) -> DistanceTerms:
    """Return terms with what two estimates of the bias tell by their difference `off`."""
    few = n < reference.enough_samples
    if off <= _ROUNDING * (reference.trace + abs(made.plug_in)):
        off = 0.0
    by_chance = _OFF_BY_SECOND * math.sqrt(made.second_variance)
    if off <= by_chance and not few:
        return made
    # Where both ways differ by more than chance, either may be the wrong one.
    made = replace(made, margin=off)
    if few:
        note = (
            f"samples that are worth {n:,} independent ones are few for features of effective rank "
            f"{reference.effective_rank:.0f}: some bias may be left, and the interval is wider by {off:.2g} on both "
            "sides, the difference of two ways to remove it. Use "
            f"{reference.enough_samples:,} independent samples or more"
        )
        return replace(made, warnings=(note,))
    if off <= _OFF * math.sqrt(made.variance):
        return made
    note = (
        f"two ways to remove the bias of the Fréchet distance (jackknife, halves) differ by {off:.2g}, which is not "
        f"small beside its standard error {math.sqrt(made.variance):.2g}: some bias may be left, and the interval is "
        "wider by this on both sides. Use more samples"
    )
    return replace(made, warnings=(note,))

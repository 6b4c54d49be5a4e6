r"""Distances by a kernel (KID or MMD\ :sup:`2`, energy distance) from replicates, with their influence values.

A law P and a reference Q have the squared distance

.. math:: D = E\, k(x, x') - 2\, E\, k(x, y) + E\, k(y, y'), \qquad x, x' \sim P, \quad y, y' \sim Q.

**Estimate.** With h_rs the mean of k over all pairs of a point of replicate r and one of replicate s, and g_r the mean
of k over the pairs of a point of replicate r and a reference point, the estimate is

.. math:: \frac{1}{R (R - 1)} \sum_{r \neq s} h_{rs} - \frac{2}{R} \sum_r g_r + c_{yy}.

Points of one replicate may depend on each other, so their pairs never enter. The estimate is therefore unbiased for
every design [1]_. In a mixture the stratum c has weight w_c: sums over r != s are taken inside each stratum, and pairs
of different strata all enter. A reference that is a sample itself is one more stratum, with weight -1 and one point in
each replicate. So one set of formulas gives the variances of both.

**First order.** The influence value of a replicate is that of the jackknife: -(R - 1) times the change of the estimate
when the replicate is left out. With :math:`h_r = \sum_{s \neq r} h_{rs} / (R - 1)` and with K_r the mean of k over its
own points and all points of the other strata (the reference included), both weighted,

.. math:: L_r = 2 w \left[ w \frac{R - 1}{R - 2} h_r + K_r \right] - \text{mean}.

**Second order.** What is left of h after its additive parts, the U-centred matrix [2]_,

.. math:: q_{rs} = h_{rs} - \frac{R - 1}{R - 2} (h_r + h_s) + \frac{R}{R - 2}\, \overline{h}, \qquad r \neq s,

has the unbiased mean square :math:`\sum_{r \neq s} q_{rs}^2 / (R (R - 3))`. Between strata a and b, q is the doubly
centred matrix. The variance of the terms of second order is

.. math:: V_2 = \sum_c \frac{2 w_c^4}{R_c (R_c - 1)} E q_{cc}^2
    + \sum_{a < b} \frac{4 w_a^2 w_b^2}{R_a R_b} E q_{ab}^2.

With :math:`q_{ij}` of any two replicates i and j divided by :math:`R_a R_b` and multiplied by :math:`w_a w_b`, the
third moment of the error is, next to that of the influence values,

.. math:: 6 \sum_{i \neq j} \frac{L_i}{R_a} q_{ij} \frac{L_j}{R_b} + 8 \,\mathrm{tr}\, q^3.

These terms of second order are computed from all replicates where these are not more than 2,000, and otherwise from
that many, evenly spaced. Where the distance is 0, the jackknife's variance is about 2 V_2 instead of V_2 and errs
together with the estimate. So intervals take the sum of both variances.

For a linear combination of laws on the same noise, all of this holds with the combined h. `cubic_kernel` is the kernel
of [3]_, and `energy_kernel` that of [4]_.

.. rubric:: References

.. [1] A. Gretton, K. M. Borgwardt, M. J. Rasch, B. Schölkopf, A. Smola (2012). A kernel two-sample test. Journal of
   Machine Learning Research 13, 723-773.
.. [2] G. J. Székely, M. L. Rizzo (2014). Partial distance correlation with methods for dissimilarities. Annals of
   Statistics 42, 2382-2412.
.. [3] M. Bińkowski, D. J. Sutherland, M. Arbel, A. Gretton (2018). Demystifying MMD GANs. ICLR.
.. [4] G. J. Székely, M. L. Rizzo (2013). Energy statistics: a class of statistics based on distances. Journal of
   Statistical Planning and Inference 143, 1249-1272.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.errors import RunError
from mcgen.inference.distances.kernel_sums import (
    Across,
    Indices,
    Inside,
    Kernel,
    Sample,
    combined,
    pairs_across,
    pairs_inside,
)
from mcgen.inference.distances.terms import DistanceTerms, Law, Points

# Replicates, and reference points, that the terms of second order are computed from; of more, evenly spaced ones. The
# matrix of 2,000 replicates takes 32 MiB, and estimates E q^2 to some per cent, where V_2 is one part of a variance.
_MOST_REPLICATES = 2000
_MOST_REFERENCE = 1000
_FEWEST_REPLICATES = 8
# Rows at once in the product of a matrix with itself.
_ROWS = 512
# Squared distances below this share of the squared norms lose half their digits, and are computed from differences.
_NEAR = 1e-7
# Pairs of near points whose differences are formed at once.
_PAIRS = 1024


def cubic_kernel(x: Floats, y: Floats) -> Floats:
    """Return (x . y / d + 1)^3, the kernel of KID [3]_, shape (n, m), for points of shapes (n, d) and (m, d)."""
    t: Floats = x @ y.T
    t /= x.shape[1]
    t += 1
    # A power takes several times as long as two products.
    return np.asarray(t * t * t)


def energy_kernel(x: Floats, y: Floats) -> Floats:
    """Return -|x - y|, the kernel of the energy distance [4]_, shape (n, m), for points of shapes (n, d) and (m, d)."""
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    norms: Floats = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)
    squares: Floats = x @ y.T
    squares *= -2
    squares += norms
    rows, columns = np.nonzero(squares < _NEAR * norms)
    for start in range(0, len(rows), _PAIRS):
        i, j = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
        squares[i, j] = ((x[i] - y[j]) ** 2).sum(axis=1)
    return np.asarray(-np.sqrt(np.maximum(squares, 0.0, out=squares)))


def kernel_terms(
    laws: Sequence[Law],
    coefficients: Floats,
    reference: Floats,
    kernel: Kernel,
    *,
    fixed: bool,
    sums: Inside | None = None,
) -> list[DistanceTerms]:
    """Return the terms of linear combinations of squared distances between laws and a reference, one for each row.

    Kernel values are computed once for each law, in blocks of about 1,024 x 1,024 in double precision. The time is
    n^2 d / 2 + n N d multiply-adds for each law of n points, and N^2 d / 2 for the reference. The memory beyond the
    features is some 100 to 400 MiB, and more only for over 400 strata, each of which keeps 5 replicates or more.

    Parameters
    ----------
    laws : sequence of M laws
        Laws on the same noise: each has the same strata, with the same numbers of replicates.
    coefficients : ndarray of shape (m, M)
        The weights of the laws' distances in each of m combinations: (1,) for the distance of a single law, (1, -1) for
        the difference of two.
    reference : ndarray of shape (N, d)
        Features of the reference.
    kernel : callable
        `cubic_kernel`, `energy_kernel`, or any other symmetric function with the same arguments.
    fixed : bool
        Whether the N points are the reference distribution itself. Otherwise they are a sample of it: c_yy leaves out
        the pairs of a point with itself, `reference_variance` has the jackknife's variance over the points, and the
        terms of second order include the reference.
    sums : Inside, optional
        The kernel's sums inside the reference, by `sums_of_reference`, where they are known already.

    Returns
    -------
    list of DistanceTerms
        ``plug_in`` is the estimate as if all points were independent: the mean of k over pairs of different points,
        without those of a reference point with itself. ``second_third`` includes the third moment of a sampled
        reference's influence values.

    Raises
    ------
    ValueError
        If the laws differ in their strata, or coefficients have another shape.
    RunError
        If there are fewer than 8 replicates in a stratum, too few points in the reference, points
        with different numbers of features, or values of the kernel that are not finite or of the wrong shape.
    """
    coefficients = np.atleast_2d(np.asarray(coefficients, np.float64))
    _require_alike(laws, coefficients)
    _require_enough(laws, reference, fixed)
    samples = [Sample.of(law, _MOST_REPLICATES) for law in laws]
    target = sample_of_reference(reference, fixed)
    inside = [pairs_inside(sample, kernel) for sample in samples]
    across = [pairs_across(sample, target, kernel) for sample in samples]
    own = pairs_inside(target, kernel) if sums is None else sums
    return [
        _Row(
            samples[0],
            target,
            combined(inside, row),
            combined(across, row),
            combined([own], [sum(row)]),
            plug_in=sum(c * plug_in_of(s, one) for c, s, one in zip(row, samples, inside, strict=True)),
        ).terms(fixed)
        for row in coefficients.tolist()
    ]


def sample_of_reference(reference: Floats, fixed: bool) -> Sample:
    """Return the points of a reference, shape (N, d), as a sample of weight -1 with one point in each replicate."""
    points = Points(np.asarray(reference)[:, None, :], np.ones(1), -1.0)
    return Sample.of([points], 0 if fixed else _MOST_REFERENCE)


def sums_of_reference(reference: Floats, kernel: Kernel, fixed: bool) -> Inside:
    """Return the kernel's sums inside a reference, which do not depend on the model."""
    return pairs_inside(sample_of_reference(reference, fixed), kernel)


def constants_of(sums: Inside) -> tuple[float, float]:
    """Return the mean of the kernel over all pairs of reference points, and over those of different ones."""
    n = len(sums.own)
    return float(sums.own.sum()) / n**2, float((sums.own - sums.itself).sum()) / (n * (n - 1))


def plug_in_of(sample: Sample, sums: Inside) -> float:
    """Return the mean of the kernel over all pairs of different points."""
    u, squares = sample.shares, np.bincount(sample.unit, sample.point_weights**2)
    whole = u @ (sums.other + u * sums.own) - u**2 @ sums.diagonal
    return float(whole / (1 - u**2 @ squares))


@dataclass(frozen=True, eq=False)
class _Row:
    """Sums of one linear combination of laws."""

    sample: Sample
    target: Sample
    inside: Inside
    across: Across
    reference: Inside
    plug_in: float

    def terms(self, fixed: bool) -> DistanceTerms:
        """Return the terms of the distance."""
        u, n = self.sample.shares, len(self.target.stratum)
        equal, unequal = constants_of(self.reference)
        constant = equal if fixed else unequal
        own = own_means(self.sample, self.inside)
        weight = self.sample.weights[self.sample.stratum]
        cross = 2 * float(u @ self.across.rows)
        mirrored = _influence(self.target, own_means(self.target, self.reference), self.across.columns)
        first = _influence(self.sample, own, self.inside.other + self.across.rows)
        second, third = self._second_order(first, None if fixed else mirrored)
        return DistanceTerms(
            estimate=float(u @ (weight * own + self.inside.other)) + cross + constant,
            plug_in=self.plug_in + cross + unequal,
            influence=tuple(np.split(first, np.cumsum(self.sample.counts)[:-1])),
            second_variance=second,
            second_third=third + (0.0 if fixed else float((mirrored**3).mean()) / n**2),
            reference_variance=0.0 if fixed else float(mirrored.var(ddof=1)) / n,
            of_reference=None if fixed else mirrored,
        )

    def _second_order(self, first: Floats, mirrored: Floats | None) -> tuple[float, float]:
        """Return the variance and the third moment of the terms of second order."""
        samples, values, raw = [self.sample], [first], self.inside.matrix
        if mirrored is not None:
            samples, values = [self.sample, self.target], [first, mirrored]
            raw = np.block([[raw, self.across.matrix], [self.across.matrix.T, self.reference.matrix]])
        counts, weights = (np.concatenate([getattr(s, name) for s in samples]) for name in ("counts", "weights"))
        sizes = np.concatenate([np.bincount(s.stratum[s.kept]) for s in samples])
        q = _degenerate(raw, sizes, counts, weights)
        linear = np.concatenate([value[s.kept] for s, value in zip(samples, values, strict=True)])
        linear = linear / np.repeat(np.sqrt(counts * sizes), sizes)
        rows = [slice(start, start + _ROWS) for start in range(0, len(q), _ROWS)]
        cubes = sum(float(((q[row] @ q) * q[row]).sum()) for row in rows)
        return 2 * float((q * q).sum()), 6 * float(linear @ q @ linear) + 8 * cubes


def own_means(sample: Sample, sums: Inside) -> Floats:
    """Return for each replicate the mean of h over the other replicates of its stratum, shape (R,)."""
    return np.asarray((sums.own - sums.itself) / (sample.counts - 1)[sample.stratum])


def _influence(sample: Sample, own: Floats, other: Floats) -> Floats:
    """Return the influence values of a sample's replicates, with mean 0 in each stratum, shape (R,)."""
    w, n = sample.weights[sample.stratum], sample.counts[sample.stratum]
    values = 2 * w * (w * (n - 1) / np.maximum(n - 2, 1) * own + other)
    return np.asarray(values - (np.bincount(sample.stratum, values) / sample.counts)[sample.stratum])


def _degenerate(raw: Floats, sizes: Indices, counts: Indices, weights: Floats) -> Floats:
    """Return the kernel of second order of the kept replicates, scaled to be that of all of them, shape (S, S).

    Twice the sum of its squares is V_2.
    """
    starts = np.cumsum(sizes) - sizes
    q = raw - np.repeat(np.add.reduceat(raw, starts, axis=1) / sizes, sizes, axis=1)
    q -= np.repeat(np.add.reduceat(q, starts, axis=0) / sizes[:, None], sizes, axis=0)
    scale = np.repeat(weights / np.sqrt(counts * (sizes - 1)), sizes)
    q *= scale[:, None]
    q *= scale
    for start, k, n, w in zip(starts, sizes, counts, weights, strict=True):
        stratum = slice(start, start + k)
        q[stratum, stratum] = _u_centred(raw[stratum, stratum]) * w**2 / np.sqrt(n * (n - 1.0) * k * (k - 3.0))
    return q


def _u_centred(h: Floats) -> Floats:
    """Return a symmetric matrix without its additive parts, from what is off its diagonal; the diagonal becomes 0."""
    n = len(h)
    h = h.copy()
    np.fill_diagonal(h, 0.0)
    sums = h.sum(axis=1)
    h += sums.sum() / ((n - 1) * (n - 2)) - (sums[:, None] + sums) / (n - 2)
    np.fill_diagonal(h, 0.0)
    return h


def _require_alike(laws: Sequence[Law], coefficients: Floats) -> None:
    """Refuse laws that can't be on the same noise, and coefficients that are not theirs."""
    shapes = [[(one.values.shape[:2], one.weight) for one in law] for law in laws]
    if not laws or any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            f"laws on the same noise have the same strata; got replicates, points and weights {shapes}. Compute them "
            "one by one where the noise differs"
        )
    if coefficients.ndim != 2 or coefficients.shape[1] != len(laws):
        raise ValueError(
            f"coefficients must have shape (m, {len(laws)}) for {len(laws)} laws; got {coefficients.shape}"
        )


def _require_enough(laws: Sequence[Law], reference: Floats, fixed: bool) -> None:
    """Refuse too few replicates or reference points, and features that differ in number."""
    numbers = sorted({one.values.shape[2] for law in laws for one in law} | {np.shape(reference)[1]})
    if len(numbers) > 1:
        raise RunError(
            f"the points of laws and reference have {numbers} features; they must have the same number. Compute all "
            "of them by the same network"
        )
    n, least = len(reference), 2 if fixed else _FEWEST_REPLICATES
    if n < least:
        kind = "fixed" if fixed else "sampled"
        raise RunError(f"a {kind} reference needs at least {least} points; got {n}. Give more of them")
    fewest = min(len(one) for one in laws[0])
    if fewest < _FEWEST_REPLICATES:
        raise RunError(
            f"a distance by a kernel needs at least {_FEWEST_REPLICATES} replicates in each stratum; got {fewest}. Run "
            "more replicates, with fewer points in each if need be"
        )

"""Features relative to a reference: its moments, and the squared Fréchet distance of parts of a law from it.

The distance of any part is made of sums over its points; `Projected` makes them for all points, without each group of
replicates, and for both halves. The formulas are those of `mcgen.inference.distances.frechet`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvalsh

from mcgen._lib.arrays import Floats
from mcgen.inference.distances.terms import Law

GROUPS = 20
"""Groups of the jackknife. With 10 or 50 the estimate is the same within 3 % of its standard deviation."""
# Directions of the reference whose variance is below this share of the largest do not enter the root: in a trial with
# 1,280 features the distance changed by less than 1e-6 of its traces.
_RANK = 1e-10
# Directions in which the root is too small for its derivatives.
_NULL = 1e-12
# Points of a replicate that are compared with each other; few of larger nets repeat each other.
_MOST_POINTS = 64
# Rows of a chunk of samples.
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class FeatureMoments:
    """Mean and covariance of features.

    Attributes
    ----------
    mean : ndarray of shape (d,)
        The mean.
    covariance : ndarray of shape (d, d)
        The covariance, symmetric, without negative eigenvalues but for rounding.
    """

    mean: Floats
    covariance: Floats

    @property
    def trace(self) -> float:
        """The sum of the variances."""
        return float(np.trace(self.covariance))

    @cached_property
    def root(self) -> Floats:
        """A root L of the covariance, shape (d, rank), with covariance = L L^T but for directions without weight."""
        values, vectors = eigh(self.covariance, driver="evd")
        kept = values > _RANK * max(float(values[-1]), 0.0)
        return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))

    @property
    def rank(self) -> int:
        """The numerical rank of the covariance."""
        return int(self.root.shape[1])

    @property
    def effective_rank(self) -> float:
        r"""The number of directions that count for the bias: :math:`2 \sum_{ij} s_i s_j / (s_i + s_j) / \sum_i s_i`.

        The s_i are the eigenvalues of the covariance. It is the number of features where all vary alike.
        """
        s = (self.root**2).sum(axis=0)
        return float(2 * (np.outer(s, s) / np.add.outer(s, s)).sum() / s.sum())

    @property
    def fewest_samples(self) -> int:
        """The number of samples below which the bias can't be removed."""
        return math.ceil(2 * min(self.effective_rank, self.rank))

    @property
    def enough_samples(self) -> int:
        """The number of samples from which on the bias is removed but for 1 % or so."""
        return math.ceil(min(5 * self.effective_rank, 2 * self.rank))


class Projected:
    """The features of a law relative to a reference, and the distance of parts of them.

    Parameters
    ----------
    law : Law
        The features.
    against : FeatureMoments
        The reference.
    """

    def __init__(self, law: Law, against: FeatureMoments) -> None:
        self._law, self._against = law, against
        self.n_groups = min(GROUPS, *(len(one) for one in law))
        sizes = [one.values.shape[:2] for one in law]
        # Of each point: its run, its group, and the weight of its replicate and of itself in the law.
        self._run = np.repeat(np.arange(len(law)), [r * p for r, p in sizes])
        self._group = np.concatenate([np.repeat(np.arange(r) % self.n_groups, p) for r, p in sizes])
        self._share = np.concatenate([one.weight * np.tile(one.point_weights, len(one)) for one in law])
        self._replicates = np.array([float(r) for r, _ in sizes])
        # Replicates of each group in each run, shape (G, runs).
        self._counts = np.stack([np.bincount(np.arange(r) % self.n_groups) for r, _ in sizes], axis=1).astype(float)
        self.y, self.square = np.empty((len(self._run), against.rank)), np.empty(len(self._run))

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield the features relative to the reference's mean, in parts, with the rows that they are."""
        at = 0
        for one in self._law:
            flat = one.values.reshape(-1, one.values.shape[2])
            for start in range(0, len(flat), _ROWS):
                x = flat[start : start + _ROWS].astype(np.float64) - self._against.mean
                yield slice(at + start, at + start + len(x)), x
            at += len(flat)

    def weights(self, kept: NDArray[np.bool_]) -> Floats:
        """Return the weights of all points in the law of some groups alone, shape (n,); they sum to 1."""
        left = kept @ self._counts
        return np.where(kept[self._group], (self._share / left[self._run]), 0.0)

    def distance(self) -> float:
        """Return the distance of all points."""
        weights = self.weights(np.full(self.n_groups, True))
        means, squares = self._sums(weights[None])
        values = self._eigenvalues(self._second(weights), means[0])
        return self._distance(values, weights, means[0], squares[0])

    def distances(self) -> Floats:
        """Return the distance of all points, without each group, and of each half of the groups; fill y and |x|^2."""
        groups = np.arange(self.n_groups)
        subsets = np.stack([groups >= 0, *(groups != g for g in groups), groups % 2 == 0, groups % 2 == 1])
        weights = np.stack([self.weights(one) for one in subsets])
        means, squares = self._sums(weights)
        self.mean, self.mass = means[0], np.bincount(self._group, weights[0]).astype(float)
        whole = self._second(weights[0])
        second = whole - np.outer(self._centre, self._centre)
        self._values, self._vectors = eigh(second, driver="evd", overwrite_a=True, check_finite=False)
        found = [self._distance(self._values, weights[0], means[0], squares[0])]
        for number, (w, mean, square) in enumerate(zip(weights[1:], means[1:], squares[1:], strict=True)):
            second = self._second_without(number, w, whole, weights[0])
            found.append(self._distance(self._eigenvalues(second, mean), w, mean, square))
        self.spread = float(squares[0] - means[0] @ means[0]) / max(float(squares[0]), np.finfo(float).tiny)
        self._factor = 1 / (1 - weights[0] @ weights[0])
        return np.array(found)

    @property
    def _centre(self) -> Floats:
        """The mean of y."""
        return np.asarray(self.mean @ self._against.root)

    def _eigenvalues(self, second: Floats, mean: Floats) -> Floats:
        """Return the eigenvalues of the covariance of y from its second moments, which are overwritten."""
        centre = mean @ self._against.root
        second -= np.outer(centre, centre)
        return np.asarray(eigvalsh(second, overwrite_a=True, check_finite=False))

    def _distance(self, values: Floats, weights: Floats, mean: Floats, square: float) -> float:
        """Return the distance of weighted points from the eigenvalues of the covariance of y and the moments of x."""
        # The covariance of n equally weighted points has the divisor n - 1.
        factor = 1 / (1 - weights @ weights)
        # Rounding errors would enter by their roots.
        least = len(values) * np.finfo(float).eps * values[-1]
        roots = 2 * math.sqrt(factor) * np.sqrt(np.where(values < least, 0.0, values)).sum()
        return float(mean @ mean + factor * (square - mean @ mean) + self._against.trace - roots)

    def _sums(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return weighted sums of x, shape (m, d), and of |x|^2, shape (m,), for rows of weights; fill y and |x|^2."""
        means = np.zeros((len(weights), len(self._against.mean)))
        for rows, x in self.chunks():
            np.matmul(x, self._against.root, out=self.y[rows])
            self.square[rows] = np.einsum("ij,ij->i", x, x)
            means += weights[:, rows] @ x
        return means, weights @ self.square

    def _second(self, weights: Floats) -> Floats:
        """Return the weighted sum of y y^T."""
        rows = np.flatnonzero(weights)
        found = np.zeros((self.y.shape[1],) * 2)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            scaled = self.y[part] * np.sqrt(weights[part, None])
            found += scaled.T @ scaled
        return found

    def _second_without(self, group: int, weights: Floats, whole: Floats, of_all: Floats) -> Floats:
        """Return the weighted sum of y y^T without a group, or of a half where `group` is one more, or two."""
        if group >= self.n_groups:
            return self._second(weights)
        left = self._replicates / (self._replicates - self._counts[group])
        own = np.where(self._group == group, of_all * left[self._run], 0.0)
        rest = whole * left[0] if (left == left[0]).all() else self._second(of_all * left[self._run])
        rest -= self._second(own)
        return rest

    def expanded(self) -> tuple[Floats, Floats, Floats]:
        """Return the roots s_i, shape (r,), the influence of all points, and the matrix from y to z; y becomes z."""
        kept = self._values > _NULL * self._values[-1]
        s, vectors, centre = np.sqrt(self._factor * self._values[kept]), self._vectors[:, kept], self._centre
        influence = self.square.copy()
        for start in range(0, len(self.y), _ROWS):
            z = (self.y[start : start + _ROWS] - centre) @ vectors
            influence[start : start + _ROWS] -= (z**2 / s).sum(axis=1)
            self.y[start : start + _ROWS, : len(s)] = z
        self.y = self.y[:, : len(s)]
        return s, influence, vectors

    def repetition(self, s: Floats) -> float:
        """Return how many times fewer independent points would have the covariance's variance; z must be in y.

        Features that are linear in the noise have the same square at both points of a pair, so that a pair counts as
        one point. With u = z / s^(3/4), which makes the second derivative of the distance nearly a sum of squares, the
        terms of a replicate are (u_k . u_l)^2 less their mean, the sum of s.
        """
        between, own, at = 0.0, 0.0, 0
        for one in self._law:
            r, p = one.values.shape[:2]
            used = slice(0, min(p, _MOST_POINTS))
            u = (self.y[at : at + r * p].reshape(r, p, -1) / s**0.75)[:, used]
            squares = np.matmul(u, u.swapaxes(1, 2)) ** 2 - s.sum()
            itself = float(np.trace(squares, axis1=1, axis2=2).mean()) / squares.shape[1]
            own += one.weight * itself
            between += one.weight * (float(squares.sum(axis=(1, 2)).mean()) / squares.shape[1] - itself)
            at += r * p
        return max(1.0, 1 + between / own) if own > 0 else 1.0

    def of_replicates(self, influence: Floats) -> tuple[Floats, ...]:
        """Return the influence of each replicate of each run, with the weight of the run and without its mean."""
        found, at = [], 0
        for one in self._law:
            r, p = one.values.shape[:2]
            means = influence[at : at + r * p].reshape(r, p) @ one.point_weights
            found.append(one.weight * (means - means.mean()))
            at += r * p
        return tuple(found)

    def in_groups(self) -> list[tuple[NDArray[np.int64], Floats]]:
        """Return the rows of each group, and their weights in the law of the group alone."""
        found = []
        for group in range(self.n_groups):
            weights = self.weights(np.arange(self.n_groups) == group)
            rows = np.flatnonzero(self._group == group)
            found.append((rows, weights[rows]))
        return found

    def covariance(self) -> Floats:
        """Return the covariance of the features, shape (d, d)."""
        weights = self.weights(np.full(self.n_groups, True))
        found = np.zeros((len(self.mean),) * 2)
        for rows, x in self.chunks():
            scaled = (x - self.mean) * np.sqrt(weights[rows, None])
            found += scaled.T @ scaled
        return np.asarray(found * self._factor)

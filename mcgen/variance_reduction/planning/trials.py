r"""Trials: a few replicates of a design, and what they say of its variance for any number of points.

Let w be the variance of a replicate mean times the number of points of a replicate: the variance of an estimate is
w / n after n evaluations. A scrambled net of m points consists of m / s nets of s points, for every power of two s up
to m: each aligned block of s points is such a net, with a scramble and a shift of the same laws. So a trial of R
replicates shows w for all s at once, from R m / s means of blocks. With :math:`x = \log_2(m / s)` the line

.. math:: \log w_s = a + b x

is fitted by weighted least squares, with a prior for b. Then a is :math:`\log w_m`, and a net of
:math:`m 2^D` points has :math:`a - b D`. Blocks of a large net are better known than the net itself, of which there are
only R; but far from m the line bends. So the variance of :math:`\log w_s` is that of its estimate, see
`mcgen.inference.log_ratios`, and a bend of :math:`\delta x`.

The points of `Antithetic` on a net are two nets of half as many points, so that a trial of these says both what the
points alone do, and what they do with their negations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, Sobol, Subspace
from mcgen.inference.log_ratios import LogRatio, log_variance_of
from mcgen.inference.moments import varies_by_rounding
from mcgen.variance_reduction.planning.shrinkage import (
    LEAST_SCATTER,
    PRIOR_OF_DOUBLING,
    PRIOR_OF_DOUBLING_IN_ALL,
    PRIOR_OVER_POINTS,
    PRIORS,
    shrunk,
)

# Standard deviation of what the line misses, for each doubling between a block and the whole net.
_BEND = 0.3
# Standard deviation of the change of b from one doubling to the next, beyond the trial.
_CHANGE = 0.25
# Most halvings of a net whose blocks are used.
_MOST_HALVINGS = 5
# Blocks of one replicate count as so many independent ones: together they are a net, and compensate each other.
_INDEPENDENT = 0.75


@dataclass(frozen=True, eq=False)
class Curve:
    """Log w of a design by its number of points, for each of k components.

    Attributes
    ----------
    n_points : int
        The points m of the trial's replicates.
    level, slope : ndarray of shape (k,)
        The estimates of a, which is log w at m points, and of b.
    covariance : ndarray of shape (2, 2, k)
        The covariance of both errors.
    """

    n_points: int
    level: Floats
    slope: Floats
    covariance: Floats

    def doublings(self, n_points: int) -> float:
        """Return D, the doublings from the trial's number of points to another one."""
        return math.log2(n_points / self.n_points)

    def growth(self, n_points: int) -> tuple[Floats, Floats]:
        """Return the log efficiency that more points add, b D, and the variance that its error adds to that of a."""
        d = self.doublings(n_points)
        variance = d**2 * self.covariance[1, 1] - 2 * d * self.covariance[0, 1] + abs(d) * _CHANGE**2
        return d * self.slope, variance


def curve_of(
    values: Floats, smallest: int, rounding: float, prior: tuple[float, float], n_independent: int | None = None
) -> Curve:
    r"""Return the curve that the values of nets show.

    Parameters
    ----------
    values : ndarray of shape (R, m, k)
        The values at the points of R replicates, in the order of the nets.
    smallest : int
        The fewest points of a block; m for points that are not in an order whose blocks are nets.
    rounding : float
        Relative rounding error of the values. Means that vary by no more have a log w of -inf.
    prior : tuple of float
        Mean and standard deviation of b in other models.
    n_independent : int, optional
        How many of the replicates are independent, if not all are.
    """
    n, m, k = values.shape
    sizes = [m >> j for j in range(_MOST_HALVINGS + 1) if m >> j >= smallest]
    logs, errors = np.empty((len(sizes), k)), np.empty((len(sizes), k))
    centre, all_variance = values.mean(axis=(0, 1)), values.var(axis=(0, 1))
    independent = n_independent or n
    for j, size in enumerate(sizes):
        blocks = values.reshape(n * (m // size), size, k).mean(axis=1)
        square = ((blocks - centre) ** 2).mean(axis=0) * (independent / (independent - 1))
        square = np.where(varies_by_rounding(centre, square, all_variance, rounding), 0.0, square)
        df = max(independent - 1.0, _INDEPENDENT * independent * (m // size) if j else 0.0)
        found = log_variance_of(square, df)
        logs[j], errors[j] = found.value + math.log(size), found.variance + (_BEND * j) ** 2
    return _line(logs, errors, m, prior)


def _line(logs: Floats, errors: Floats, n_points: int, prior: tuple[float, float]) -> Curve:
    """Return the posterior of a and b from logs (J, k) with variances at x = 0, ..., J - 1, and the prior of b."""
    mean, sd = prior
    known = np.isfinite(logs)
    weights = np.where(known, 1 / errors, 0.0)
    y, x = np.where(known, logs, 0.0), np.arange(len(logs))[:, None]
    aa, ab, bb = weights.sum(axis=0), (weights * x).sum(axis=0), (weights * x**2).sum(axis=0) + sd**-2
    ay, by = (weights * y).sum(axis=0), (weights * x * y).sum(axis=0) + mean * sd**-2
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = np.array([[bb, -ab], [-ab, aa]]) / (aa * bb - ab**2)
        level, slope = covariance[0, 0] * ay + covariance[0, 1] * by, covariance[1, 0] * ay + covariance[1, 1] * by
    # What does not vary at the trial's own size is integrated exactly.
    exact = ~known[0]
    return Curve(
        n_points, np.where(exact, -np.inf, level), np.where(exact, 0.0, slope), np.where(exact, 0.0, covariance)
    )


@dataclass(frozen=True, eq=False)
class Trial:
    """What is known of a design: from replicates of a trial, or from other models.

    Attributes
    ----------
    gain : LogRatio
        Log efficiency over pairs, shrunk; -inf for components that pairs alone integrate exactly.
    work_variance : ndarray of shape (k,)
        Variance of the error of log w itself on the generator of the trial, less than that of `gain`, which has the
        error of the pairs' variance too.
    n_replicates : int
        The replicates; 0 where the design is known from other models alone.
    curve : Curve or None
        Log w by the number of points, for nets.
    """

    gain: LogRatio
    work_variance: Floats
    n_replicates: int = 0
    curve: Curve | None = None

    def at(self, n_points: int) -> tuple[LogRatio, Floats]:
        """Return the log efficiency over pairs with another number of points, and the variance of log w itself."""
        if self.curve is None:
            return self.gain, self.work_variance
        added, variance = self.curve.growth(n_points)
        return LogRatio(self.gain.value + added, self.gain.variance + variance), self.work_variance + variance


@dataclass(frozen=True, eq=False)
class Reference:
    """What designs are compared with, for the generator of the trials.

    Attributes
    ----------
    pairs : LogRatio
        Log w of antithetic pairs.
    points : LogRatio or None
        Log w of independent points, where it is known.
    exact : ndarray of bool, shape (k,)
        Components that pairs integrate exactly.
    """

    pairs: LogRatio
    points: LogRatio | None
    exact: NDArray[np.bool_]


def trial_of(design: Design, tried: LogRatio | Curve, reference: Reference, n_replicates: int) -> Trial:
    """Return what the replicates of a trial say of a design.

    Parameters
    ----------
    design : Design
        The design.
    tried : LogRatio or Curve
        Log w of the design, or its curve.
    reference : Reference
        What it is compared with. Sobol' points alone are shrunk to what they gain over independent points, of which
        more is known than of their gain over pairs.
    n_replicates : int
        The replicates.
    """
    curve = tried if isinstance(tried, Curve) else None
    work = tried if isinstance(tried, LogRatio) else LogRatio(tried.level, tried.covariance[0, 0])
    pairs, points = reference.pairs, reference.points
    prior, base = PRIORS[type(design).__name__], pairs
    if isinstance(design, Sobol) and points is not None:
        prior, base = PRIOR_OVER_POINTS, points
    found = shrunk(base.minus(work), prior)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = found.value + (0.0 if base is pairs else np.nan_to_num(pairs.value - base.value))
        own = 1 / (1 / (base.variance + prior[1] ** 2 + LEAST_SCATTER) + 1 / work.variance)
    # What pairs integrate exactly and the design does not is no gain of an unknown size.
    lost = reference.exact & np.isneginf(pairs.value) & np.isfinite(work.value)
    return Trial(LogRatio(np.where(lost, -np.inf, gain), found.variance), own, n_replicates, curve)


def known_trial(design: Design, k: int) -> Trial:
    """Return what is known of a design from other models, for k components."""
    mean, sd = PRIORS[type(design).__name__]
    gain = LogRatio.of((mean, math.hypot(sd, math.sqrt(LEAST_SCATTER))), k)
    return Trial(gain, gain.variance)


def curves_of(design: Design, values: Floats, ordered: bool, rounding: float) -> Iterator[tuple[Design, Curve]]:
    """Yield the curve of a design of nets from its values (R, m, k), and that of the points without their negations.

    Parameters
    ----------
    design : Design
        A design for which `is_net` holds.
    values : ndarray of shape (R, m, k)
        The values at its points.
    ordered : bool
        Whether the points are in an order in which blocks are nets.
    rounding : float
        Relative rounding error of the values.
    """
    n, m, k = values.shape
    alone = isinstance(design, Sobol)
    # Several nets side by side in random order integrate nothing that is joint between their blocks.
    prior = PRIOR_OF_DOUBLING_IN_ALL if ordered and not isinstance(design, Subspace) else PRIOR_OF_DOUBLING
    yield design, curve_of(values, (1 if alone else 2) if ordered else m, rounding, prior)
    if isinstance(design, Antithetic) and m > 2:
        # For an even function both nets have the same values, so that they count as one.
        halves = values.reshape(n, m // 2, 2, k).swapaxes(1, 2).reshape(2 * n, m // 2, k)
        yield Sobol(m // 2), curve_of(halves, 1 if ordered else m // 2, rounding, prior, n)


def is_net(design: Design) -> bool:
    """Return whether a design is made of Sobol' points, whose number can be changed by `resized`."""
    inner = getattr(design, "leading", getattr(design, "base", design))
    return isinstance(inner, Sobol) or (inner is not design and is_net(inner))


def resized(design: Design, n_points: int) -> Design:
    """Return a design of Sobol' points with another number of points in a replicate."""
    if isinstance(design, Subspace):
        return replace(design, leading=resized(design.leading, n_points))
    return Antithetic(Sobol(n_points // 2)) if isinstance(design, Antithetic) else Sobol(n_points)

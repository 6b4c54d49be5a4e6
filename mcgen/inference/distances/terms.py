"""What a distance between two distributions is known by: its estimate, and terms of first and second order.

Every distance of `mcgen.functionals` is computed in two parts. A module for its formula turns features into
`DistanceTerms`; `Lengthened` (`mcgen.inference.functional_intervals`) makes the interval of these terms. So the squared
Fréchet distance and distances by a kernel share their interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats


@dataclass(frozen=True, eq=False)
class Points:
    """Features of the replicates of one run, which are independent and identically distributed.

    Attributes
    ----------
    values : ndarray of shape (R, p, d)
        The features of p points in each of R replicates, in any type of floating-point numbers.
    point_weights : ndarray of shape (p,)
        The weight of each point in its replicate; they sum to 1.
    weight : float
        The weight of this run in a mixture of several laws.
    """

    values: Floats
    point_weights: Floats
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.values)


Law = Sequence[Points]
"""A law of features: independent runs, whose weights sum to 1; one run of weight 1 unless it is a mixture."""


@dataclass(frozen=True, eq=False)
class DistanceTerms:
    """A distance, or a linear combination of distances of laws on the same noise, with terms of its error.

    Attributes
    ----------
    estimate : float
        The distance without its bias; it may be negative.
    plug_in : float
        The usual formula at all points, with its bias.
    influence : tuple of ndarray of shape (R_c,)
        For each independent run the influence of its replicates, of mean 0. To first order the error of the estimate is
        the sum over runs of the mean of these values over random replicates; so its variance is the sum of
        ``influence.var(ddof=1) / R``.
    second_variance : float
        Variance of the terms of second order, which is all there is where two laws are equal.
    second_third : float
        Third central moment that the terms of second order, and those of a sampled reference, add to that of the
        influence values.
    reference_variance : float
        Variance of the error of a reference that is a sample itself; 0 for a fixed one.
    of_reference : ndarray of shape (N,) or None
        Influence of the points of a sampled reference, of mean 0; that variance is ``of_reference.var(ddof=1) / N``.
    margin : float
        What is added to the interval on both sides, for a bias that may remain.
    warnings : tuple of str
        Reasons for doubt.
    """

    estimate: float
    plug_in: float
    influence: tuple[Floats, ...]
    second_variance: float
    second_third: float
    reference_variance: float = 0.0
    margin: float = 0.0
    warnings: tuple[str, ...] = ()
    of_reference: Floats | None = None

    @property
    def first_variance(self) -> float:
        """Variance of the terms of first order, over the noise."""
        return float(sum(one.var(ddof=1) / len(one) for one in self.influence))

    @property
    def variance(self) -> float:
        """Variance of the estimate."""
        return self.first_variance + self.second_variance + self.reference_variance

    @property
    def skewness(self) -> float:
        """Skewness of the estimate, between -1 and 1: larger ones are not known from a few groups of replicates."""
        if self.variance <= 0:
            return 0.0
        return float(np.clip((self._first_third + self.second_third) / self.variance**1.5, -1.0, 1.0))

    @property
    def skewness_of_first_order(self) -> float:
        """What the influence values add to the skewness: large where few replicates decide the estimate."""
        return self._first_third / self.variance**1.5 if self.variance > 0 else 0.0

    @property
    def _first_third(self) -> float:
        """Third central moment of the terms of first order."""
        return sum(float((one**3).mean()) / len(one) ** 2 for one in self.influence)

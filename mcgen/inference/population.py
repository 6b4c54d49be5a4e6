r"""The mean of a population from a sample of its conditions: interval, variance components, and what to run next.

Condition c has the expectation :math:`\mu + a_{g(c)} + b_c`, where the cluster g(c) and the condition are drawn at
random. Its estimate :math:`Y_c` adds the noise :math:`e_c` of a run of n evaluations:

.. math:: Y_c = \mu + a_{g(c)} + b_c + e_c, \qquad
   \mathrm{Var}\,a = \sigma_g^2,\quad \mathrm{Var}\,b = \sigma_b^2,\quad \mathrm{Var}\,e_c = \sigma_w^2 / n .

Without clusters there is no a. The units are the clusters, or else the conditions. Each unit has the mean of its
:math:`Y_c`; these means are independent and have the expectation mu. So the interval is that of the mean of independent
values, and its standard error holds the spread between the units and the noise [1]_. Each cluster counts the same,
whatever its size: the mean is that of a random condition of a random cluster. It is least squares with the weights
:math:`1 / n_g` and cluster-robust errors with the factor G / (G - 1) [2]_.

The components are those of the analysis of variance for groups of unequal size [3]_. The noise is known from the
standard errors :math:`s_c` of the runs. With m_g the means of G clusters of n_g conditions, C in all,

.. math:: \hat\sigma_b^2 &= \frac{\sum_g \sum_{c \in g} (Y_c - m_g)^2 - \sum_c (1 - 1 / n_{g(c)}) s_c^2}{C - G}, \\
   \hat\sigma_g^2 &= \mathrm{var}(m_g)
   - \frac 1 G \sum_g \Bigl(\frac{\hat\sigma_b^2}{n_g} + \frac{\sum_{c \in g} s_c^2}{n_g^2}\Bigr) ,

and without clusters :math:`\hat\sigma_b^2 = \mathrm{var}(Y_c) - \mathrm{mean}(s_c^2)`. Negative ones are set to 0.

A condition that costs as much as k evaluations beside its own is used best with
:math:`n^* = \sqrt{k\, \sigma_w^2 / \sigma_b^2}` evaluations [4]_.

.. rubric:: References

.. [1] S. R. Searle, G. Casella, C. E. McCulloch (1992). Variance Components. Wiley. Chapter 3.
.. [2] A. C. Cameron, D. L. Miller (2015). A practitioner's guide to cluster-robust inference. J. Human Resources 50(2),
   317-372.
.. [3] W. G. Cochran (1939). The use of the analysis of variance in enumeration by sampling. J. Amer. Statist. Assoc.
   34, 492-510.
.. [4] W. G. Cochran (1977). Sampling Techniques, third edition. Wiley. Section 10.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer
from mcgen.inference.coverage import Judged
from mcgen.inference.functional_intervals import moments_of

FEWEST_UNITS = 10
"""Fewest conditions, or clusters, without a warning: with 5 of a population of skewness 6.2, 95 % intervals covered
0.92 (`mcgen.validation.studies.population`), and 5 conditions do not show such skewness."""
# Shares of noise in the variance, below which more evaluations hardly help, and above which they help most.
_LITTLE_NOISE, _MUCH_NOISE = 0.1, 0.5


@dataclass(frozen=True, eq=False)
class VarianceComponents:
    """The parts of the variance of a population's mean, by component: `Estimate.variance_components`.

    Use it to choose the next run: more conditions, or more evaluations of each.

    Attributes
    ----------
    n_conditions : int
        Conditions in the sample.
    n_clusters : int or None
        Clusters of conditions; None where each condition is drawn by itself.
    between_clusters : ndarray of shape (k,), or None
        Variance between clusters; None without clusters.
    between_conditions : ndarray of shape (k,), or None
        Variance between conditions; with clusters, inside a cluster. None where each cluster has one condition: it is
        then a part of the variance between clusters.
    noise : ndarray of shape (k,)
        Variance of the mean of a condition from one evaluation. The mean of ``n_evaluations`` has this variance over
        their number.
    n_evaluations : float
        Evaluations of a condition, averaged over the conditions.
    mean_inverse_size : float
        Average over the clusters of one over their number of conditions; 1 without clusters.

    Examples
    --------
    The conditions differ by much more than the noise, so that further conditions are what narrows the interval:

    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z, prompt: prompt + 0.1 * z**2, noise=(4,), name="model")
    >>> prompts = np.random.default_rng(0).standard_normal(40).tolist()
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=100, seed=0, condition=prompts)
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, across="population", **options)
    >>> parts = result.variance_components
    >>> parts.n_units, bool(parts.noise_share[0] < 0.01)
    (40, True)
    >>> bool(parts.standard_error(n_units=160)[0] < 0.51 * result.standard_error)
    True
    """

    n_conditions: int
    n_clusters: int | None
    between_clusters: Floats | None
    between_conditions: Floats | None
    noise: Floats
    n_evaluations: float
    mean_inverse_size: float = 1.0

    @property
    def n_units(self) -> int:
        """Number of independent values that the interval is made from: of the clusters, or else the conditions."""
        return self.n_conditions if self.n_clusters is None else self.n_clusters

    @property
    def noise_share(self) -> Floats:
        """Share of the noise in the variance of the mean, shape (k,); NaN where nothing varies."""
        of_noise = self.mean_inverse_size * self.noise / self.n_evaluations
        with np.errstate(invalid="ignore"):
            return np.asarray(of_noise / (of_noise + self._between()))

    def standard_error(self, n_units: int | None = None, n_evaluations: float | None = None) -> Floats:
        """Return the standard error that the mean would have, shape (k,).

        Parameters
        ----------
        n_units : int, optional
            Number of conditions, or of clusters of the same sizes; by default that of the sample.
        n_evaluations : float, optional
            Evaluations of each condition; by default as in the sample.
        """
        units = self.n_units if n_units is None else checked_integer("n_units", n_units)
        evaluations = self.n_evaluations if n_evaluations is None else n_evaluations
        if units < 1 or not isinstance(evaluations, Real) or not evaluations > 0:
            raise ValueError(
                f"n_units must be 1 or more and n_evaluations a number above 0; got {units} and {evaluations!r}. Leave "
                "them out for those of the sample"
            )
        return np.asarray(np.sqrt((self._between() + self.mean_inverse_size * self.noise / float(evaluations)) / units))

    def best_evaluations(self, cost_of_condition: float) -> Floats:
        """Return the evaluations of each condition that give the least variance for a cost, shape (k,).

        Parameters
        ----------
        cost_of_condition : float
            The cost of one more condition beside its evaluations, such as writing a prompt, in evaluations.

        Returns
        -------
        ndarray
            n* = sqrt(cost_of_condition * noise / between_conditions); infinite where conditions do not differ.

        Raises
        ------
        ValueError
            If the cost is no number above 0, or the variance between conditions is not known.
        """
        if self.between_conditions is None:
            raise ValueError(
                "the variance between the conditions of a cluster is not known, since each cluster has one condition; "
                "leave clusters out, or use several conditions in some of them"
            )
        if not (isinstance(cost_of_condition, Real) and 0 < cost_of_condition < math.inf):
            raise ValueError(
                f"cost_of_condition must be a number of evaluations above 0; got {cost_of_condition!r}. A condition "
                "that costs nothing is best replaced by a new one after each replicate"
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.sqrt(float(cost_of_condition) * self.noise / self.between_conditions))

    def advice(self, names: Sequence[str]) -> str:
        """Return in words whether more conditions or more evaluations narrow the interval."""
        shares = np.nan_to_num(self.noise_share)
        worst = int(shares.argmax())
        share, units = float(shares[worst]), "conditions" if self.n_clusters is None else "clusters"
        of = "" if len(names) == 1 else f" of {names[worst]}, the most of all components"
        text = f"noise is {share:.0%} of the variance{of}: "
        if share < _LITTLE_NOISE:
            text += f"more {units} narrow the interval (4 times as many halve it), more evaluations hardly do"
        elif share < _MUCH_NOISE:
            text += f"more {units} narrow the interval most, and more evaluations of each condition somewhat"
        else:
            text += f"more evaluations of each condition narrow the interval, as more {units} do"
        return text

    def _between(self) -> Floats:
        """Return the variance of a unit's expectation, shape (k,)."""
        own, clusters = self.between_conditions, self.between_clusters
        among = np.zeros_like(self.noise) if clusters is None else clusters
        return among if own is None else among + own * self.mean_inverse_size


def means_of_clusters(values: Floats, clusters: NDArray[np.int64]) -> Floats:
    """Return the mean of the values (C, k) of each cluster, shape (G, k); `clusters` has their numbers from 0 on."""
    sums = np.zeros((int(clusters.max()) + 1, values.shape[1]))
    np.add.at(sums, clusters, values)
    return np.asarray(sums / np.bincount(clusters)[:, None])


def variance_components(
    values: Floats, variances: Floats, evaluations: Floats, clusters: NDArray[np.int64] | None
) -> VarianceComponents:
    """Return the variance components of a sample of conditions.

    Parameters
    ----------
    values : ndarray of shape (C, k)
        The estimate of each condition.
    variances : ndarray of shape (C, k)
        Their squared standard errors.
    evaluations : ndarray of shape (C,)
        Evaluations of each condition.
    clusters : ndarray of int of shape (C,), or None
        The cluster of each condition, numbered from 0.
    """
    count, mean_evaluations = len(values), float(evaluations.mean())
    noise = (variances * evaluations[:, None]).mean(axis=0)
    if clusters is None:
        between = np.maximum(values.var(axis=0, ddof=1) - variances.mean(axis=0), 0.0)
        return VarianceComponents(count, None, None, between, noise, mean_evaluations)
    sizes, means = np.bincount(clusters), means_of_clusters(values, clusters)
    inverse = 1 / sizes
    within = ((values - means[clusters]) ** 2).sum(axis=0)
    of_noise = ((1 - inverse[clusters])[:, None] * variances).sum(axis=0)
    spare = count - len(sizes)
    own = (within - of_noise) / spare if spare else np.zeros(values.shape[1])
    noise_of_means = (means_of_clusters(variances, clusters) * inverse[:, None]).mean(axis=0)
    mean_inverse = float(inverse.mean())
    among = means.var(axis=0, ddof=1) - own * mean_inverse - noise_of_means
    between = np.maximum(own, 0.0) if spare else None
    return VarianceComponents(count, len(sizes), np.maximum(among, 0.0), between, noise, mean_evaluations, mean_inverse)


def population_warnings(
    units: Floats, names: Sequence[str], called: str, rounding: float, methods: NDArray[np.str_], numbers: int
) -> tuple[str, ...]:
    """Return the warnings about the interval of a population's mean: few units, skewness, no variation.

    Parameters
    ----------
    units : ndarray of shape (U, k)
        The values of the conditions, or the means of the clusters.
    names : sequence of str
        Names of the components.
    called : str
        What the units are: "conditions" or "clusters".
    rounding : float
        Relative rounding error of the values.
    methods : ndarray of str of shape (k,)
        Name of the method of each component's interval.
    numbers : int
        Number of intervals that cover together.
    """
    n, found = len(units), []
    judged = Judged.of(moments_of(units), rounding, methods, numbers=numbers)
    if n < FEWEST_UNITS:
        found.append(
            f"{n} {called} are a small sample of a population: they do not show how skewed it is. In simulations with "
            f"5 {called} of a population of skewness 6.2, 95 % intervals covered its mean 92 % of the time. Use at "
            f"least {FEWEST_UNITS} {called}"
        )
    elif judged.skewed.any():
        worst = int(judged.needed.argmax())
        found.append(
            f"the {called} are skewed: {names[worst]} has skewness up to {judged.skewness[worst]:.2g}, for which {n} "
            f"{called} are few (below {judged.needed[worst]:.0f}). Use more {called}"
        )
    if judged.constant.any():
        found.append(
            f"all {n} {called} have the same {names[int(judged.constant.argmax())]} but for rounding: the interval has "
            "no width. The statistic does not depend on the condition or the noise, or a rare event was never seen"
        )
    return tuple(found)

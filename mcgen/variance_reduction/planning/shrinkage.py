r"""Shrinkage of what a short trial says of a design.

A trial of few replicates gives a log efficiency :math:`x_i` of a design for each of k components, each with large
error. The components say more together than one by one. The model is

.. math:: x_i = \mu + s_i + e_i, \qquad \operatorname{Var} s_i = \tau^2, \quad \operatorname{Var} e_i = v, \quad
   \mu \sim N(m, \sigma^2),

where :math:`s_i` is the scatter of the components about their common mean, :math:`e_i` the error of the trial, and
:math:`N(m, \sigma^2)` a prior: what the same design did for other models (`PRIORS`). Components share their noise, so
their errors are taken as fully correlated: the mean :math:`\bar x` of the components has the error variance v about
:math:`\mu + \bar s`, whose prior variance is :math:`\sigma^2 + \tau^2 / k`. The estimates of that mean and of
:math:`\theta_i = \mu + s_i` are [1]_

.. math:: \hat\mu = V \Bigl(\frac{\bar x}{v} + \frac{m}{\sigma^2 + \tau^2 / k}\Bigr), \qquad
   V = \Bigl(\frac{1}{v} + \frac{1}{\sigma^2 + \tau^2 / k}\Bigr)^{-1}, \qquad
   \hat\theta_i = \hat\mu + \lambda (x_i - \bar x), \qquad \lambda = \frac{\tau^2}{\tau^2 + v},

and :math:`\hat\theta_i` has the variance :math:`(1 - \lambda) V + \lambda v`. A long trial is believed: with v = 0
each estimate is the trial's own. The scatter is estimated from the trial,
:math:`\tau^2 = \max(\tau_0^2,\, \operatorname{var}(x) - v)`.

.. rubric:: References

.. [1] B. Efron, C. Morris (1975). Data analysis using Stein's estimator and its generalizations. J. Amer. Statist.
   Assoc. 70(350), 311-319.
"""

from __future__ import annotations

import math

import numpy as np

from mcgen.inference.log_ratios import LogRatio

PRIORS = {
    "OrthogonalAntithetic": (math.log(1.35), 0.4),
    "LatinHypercube": (math.log(1.2), 0.5),
    "Subspace": (math.log(2.0), 0.8),
    "Sobol": (math.log(2.0), 1.3),
    "Antithetic": (math.log(1.6), 0.8),
    "controls": (math.log(1.5), 0.5),
}
"""Mean and standard deviation of each design's log efficiency over pairs, over the components of other models.

Read off the tables of the documentation's page on efficiency, and of the page on fewer runs for points in all of few
dimensions: 16 of them had 0.02 to 32 times the efficiency of pairs, and 8 with their negations 0.87 to 6.
"""
PRIOR_OVER_POINTS = (0.8, 0.8)
"""The same of 8 to 32 Sobol' points in all of few dimensions over as many independent points: 0.85 to 24 times."""
PRIOR_OF_DOUBLING = (math.log(1.15), 0.2)
"""Log efficiency, and its error, that each doubling of the number of Sobol' points on leading directions adds; read off
the same tables."""
PRIOR_OF_DOUBLING_IN_ALL = (0.65, 0.5)
"""The same for points in all of few dimensions: 0.2 for an indicator, 0.5 for kinks, 1.1 for smooth sums."""
LEAST_SCATTER = 0.1
"""Least variance tau_0^2 of log efficiencies over components, about the squared standard deviation of `PRIORS`.

The difference var(x) - v of a short trial is often near 0 or negative by chance.
"""


def shrunk(trial: LogRatio, prior: tuple[float, float]) -> LogRatio:
    r"""Return a trial's log efficiencies, shrunk to their common mean and that to the prior's.

    This is :math:`\hat\theta_i` of the module's formulas with its variance. Components without a finite value get
    :math:`\hat\mu`. A single component has :math:`\hat\theta = \hat\mu`, with the variance V.

    Parameters
    ----------
    trial : LogRatio
        The values x_i; the mean of their variances is v.
    prior : tuple of float
        Mean m and standard deviation sigma.
    """
    known, k_all = np.isfinite(trial.value), len(trial.value)
    if not known.any():
        return LogRatio.of(prior, k_all)
    x, v = trial.value[known], float(trial.variance[known].mean())
    k, mean = len(x), x.mean()
    tau2 = max(LEAST_SCATTER, float(x.var(ddof=1)) - v) if k > 1 else LEAST_SCATTER
    weight = (prior[1] ** 2 + tau2 / k) / (prior[1] ** 2 + tau2 / k + v)
    mu, v_mu = prior[0] + weight * (mean - prior[0]), weight * v
    lam = tau2 / (tau2 + v) if k > 1 else 0.0
    theta = np.full(k_all, mu)
    theta[known] = mu + lam * (x - mean)
    return LogRatio(theta, np.full(k_all, (1 - lam) * v_mu + lam * v))

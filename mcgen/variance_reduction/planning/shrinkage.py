r"""Shrinkage of what few replicates say of a design.

A trial of few replicates says little of one component, but more of all together: log ratios of the components are
shrunk to their mean by the share of their scatter that is more than error [1]_, and the mean is weighed against what
was found of the same design in other models (`PRIORS`, from the tables of the documentation's page on efficiency).

.. rubric:: References

.. [1] B. Efron, C. Morris (1975). Data analysis using Stein's estimator and its generalizations. J. Amer. Statist.
   Assoc. 70(350), 311-319.
"""

from __future__ import annotations

import math

import numpy as np

from mcgen.inference.log_ratios import LogRatio

# Log efficiency over pairs that designs had on the components of other models' statistics: mean and standard deviation.
PRIORS = {
    "OrthogonalAntithetic": (math.log(1.35), 0.3),
    "Subspace": (math.log(2.0), 0.5),
    "controls": (math.log(1.5), 0.5),
}
# What a net of 16 points on the directions takes off the variance of a difference of levels, below pairs.
PRIOR_OF_FINE_NET = (math.log(1.15), 0.15)
# What each doubling of a net's points brings.
PRIOR_OF_DOUBLING = (math.log(1.15), 0.2)
SCATTER = 0.1


def shrunk(ratio: LogRatio, prior: float, prior_sd: float) -> LogRatio:
    """Return log ratios shrunk to their mean, and that to the prior's."""
    known = np.isfinite(ratio.value)
    if not known.any():
        return LogRatio(np.full(len(known), prior), np.full(len(known), prior_sd**2))
    x, v = ratio.value[known], float(ratio.variance[known].mean())
    scatter = max(SCATTER, float(x.var(ddof=1)) - v) if len(x) > 1 else SCATTER
    # Components share their noise: their mean is taken to be as uncertain as one of them.
    precision = np.array([1 / (v + scatter / len(x)), 1 / prior_sd**2])
    centre = float(precision @ [x.mean(), prior] / precision.sum())
    own = scatter / (scatter + v)
    value = np.full(len(known), centre)
    value[known] = centre + own * (x - x.mean()) if len(x) > 1 else centre
    error = (1 - own) / precision.sum() + own * v + (scatter if len(x) == 1 else 0.0) * (1 - own)
    return LogRatio(value, np.full(len(known), error))


def doubling_gain(by_four: LogRatio) -> tuple[float, float]:
    """Return the log gain of a doubling of a net's points, and its error, from that of four times as many."""
    found = by_four.value[np.isfinite(by_four.value)] / 2
    if not len(found):
        return PRIOR_OF_DOUBLING
    # Half of the components' errors are taken to be shared.
    error = float(by_four.variance.mean()) / 4 * (1 + 1 / len(found)) / 2
    precision = np.array([1 / error, 1 / PRIOR_OF_DOUBLING[1] ** 2])
    mean = float(precision @ [found.mean(), PRIOR_OF_DOUBLING[0]] / precision.sum())
    return max(0.0, mean), float(precision.sum() ** -0.5)

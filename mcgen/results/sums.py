"""Sums of independent estimates: averages over conditions, and levels. One rule for both."""

from __future__ import annotations

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput, shared_level, student_t_quantile
from mcgen.inference.log_ratios import welch_satterthwaite
from mcgen.inference.methods import options_of
from mcgen.results.estimate import Estimate, estimate_of
from mcgen.results.provenance import Provenance


def weighted_sum(
    parts: tuple[Estimate, ...], weights: Floats, provenance: Provenance, warnings: tuple[str, ...]
) -> Estimate:
    """Return the weighted sum of independent estimates of the same components, without its interval yet.

    Variances and third central moments add, with the squares and cubes of the weights; degrees of freedom by
    Welch-Satterthwaite. Weights are of shape (parts,), or (parts, k) where each component has its own. The standard
    error of a part that stopped by itself is the one by which Student's interval would be as wide as its own.
    """
    weights = weights.reshape(len(parts), -1)
    means = np.stack([np.ravel(part.mean) for part in parts])
    variances = (weights * np.stack([_error_in_sums(part) for part in parts])) ** 2
    df = np.stack([np.ravel(part.degrees_of_freedom) for part in parts])
    skewnesses = np.stack([np.asarray(part.skewness, np.float64).ravel() for part in parts])
    standard_error = np.sqrt(variances.sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.nan_to_num((np.sign(weights) * variances**1.5 * skewnesses).sum(axis=0) / standard_error**3)
    mean, df = (weights * means).sum(axis=0), welch_satterthwaite(variances, df)
    sampled = IntervalInput(mean, standard_error, df, None, provenance.seed, skewness)
    return estimate_of(sampled, provenance, parts[0].shape, parts[0].names, strata=parts, warnings=warnings)


def _error_in_sums(part: Estimate) -> Floats:
    """Return the standard errors of a part, those of its sequential interval where it has one."""
    error = np.ravel(part.standard_error)
    if part.stopping is None:
        return error
    k, simultaneous = len(error), options_of(part.method)[1]
    level = shared_level(part.confidence_level, k) if simultaneous else part.confidence_level
    t = student_t_quantile((1 + level) / 2, np.ravel(part.degrees_of_freedom))
    return np.asarray(np.maximum(error, np.ravel(part.half_width) / t))

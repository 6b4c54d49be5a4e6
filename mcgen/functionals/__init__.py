"""Functionals: numbers that belong to the law of a model's samples, such as a variance, a ratio or a quantile.

`mcgen.estimate`, `difference`, `compare` and `plan` take a functional where they take a statistic.
"""

from mcgen.functionals.base import Functional
from mcgen.functionals.distances import energy_distance, frechet_distance, kernel_distance
from mcgen.functionals.function import function_of_means
from mcgen.functionals.moments import (
    coefficient_of_variation,
    correlation,
    covariance,
    inception_score,
    log_mean,
    ratio,
    std,
    variance,
)
from mcgen.functionals.quantiles import expected_shortfall, quantile
from mcgen.functionals.references import reference

__all__ = [
    "Functional",
    "coefficient_of_variation",
    "correlation",
    "covariance",
    "energy_distance",
    "expected_shortfall",
    "frechet_distance",
    "function_of_means",
    "inception_score",
    "kernel_distance",
    "log_mean",
    "quantile",
    "ratio",
    "reference",
    "std",
    "variance",
]

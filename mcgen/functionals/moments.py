"""Functionals of means, variances and products: variance, ratio, correlation, inception score and the like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from mcgen._lib.arrays import Floats, as_values
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.functionals.base import Evaluated, Functional, MomentFunctional, OfOneStatistic, Replicates
from mcgen.functionals.influence import Influence
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.functional_intervals import SKEWNESS_OF_SQUARES, moments_of
from mcgen.inference.jackknife import Units
from mcgen.statistics import Statistic
from mcgen.statistics.values import called, checked_callable, component_names, parts_with_condition

# How far probabilities of a sample may miss a sum of 1: rounding in half precision of a thousand classes.
_OFF_ONE = 1e-2
# Replicates for each unit of the excess kurtosis of pseudo-values, below which products are warned of. In 50 values of
# w^2 and exp(w), where intervals of correlations covered 0.90 and of covariances 0.84, it warns in 37 to 64 % of the
# runs; in 1 to 3 % of those of normal values.
_REPLICATES_BY_KURTOSIS = 3.0
# Effective number of replicates, (sum b)^2 / (sum b^2), that the denominator of a ratio rests on, such as the number of
# rare events: intervals from 1 to 3 events covered 0.76, from 4 to 6 0.84, and from 7 to 9 0.94.
_FEWEST_DENOMINATORS = 8.0
_FEW_DENOMINATORS = (
    "the denominator of the ratio rests on some {:.0f} replicates, and is 0 or small in all others: with 6 or fewer "
    "95 % intervals covered the truth 76 to 84 % of the time. Use more evaluations"
)


@dataclass(frozen=True)
class Variance(OfOneStatistic):
    """The variance of each component; made by `variance`."""

    label = "variance"
    scale = "from 0"
    skewness_factor = SKEWNESS_OF_SQUARES
    fewest_points = 3

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the variances."""
        return units.variance

    def influence(self, found: Replicates) -> Influence:
        """Return the squared deviation from the mean."""
        mean = found.units.total().mean[0]
        return self._influence(found, lambda values, mean: (values - mean) ** 2, mean)


@dataclass(frozen=True)
class StandardDeviation(Variance):
    """The standard deviation of each component; made by `std`."""

    label = "standard deviation"
    scale = "square"

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the standard deviations."""
        return np.sqrt(units.variance)

    def influence(self, found: Replicates) -> Influence:
        """Return the squared deviation from the mean over twice the standard deviation."""
        whole = found.units.total()
        constants = whole.mean[0], 1 / (2 * np.sqrt(whole.variance[0]))
        return self._influence(found, lambda values, mean, factor: (values - mean) ** 2 * factor, *constants)


@dataclass(frozen=True)
class CoefficientOfVariation(OfOneStatistic):
    """The standard deviation over the mean of each component; made by `coefficient_of_variation`."""

    label = "coefficient of variation"
    fewest_points = 3

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the coefficients."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(units.variance > 0, np.sqrt(units.variance) / units.mean, np.nan)

    def influence(self, found: Replicates) -> Influence:
        """Return the derivative in the direction of a value, (s - mean)^2 / (2 sd mean) - sd (s - mean) / mean^2."""
        whole = found.units.total()
        mean, sd = whole.mean[0], np.sqrt(whole.variance[0])
        constants = mean, 1 / (2 * sd * mean), sd / mean**2
        return self._influence(found, lambda v, mean, a, b: (v - mean) ** 2 * a - (v - mean) * b, *constants)


@dataclass(frozen=True)
class LogMean(OfOneStatistic):
    """The logarithm of the mean of each component; made by `log_mean`."""

    label = "log of the mean"

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the logarithms; NaN where a mean is not above 0."""
        return np.log(np.where(units.mean > 0, units.mean, np.nan))

    def influence(self, found: Replicates) -> Influence:
        """Return the value over its mean."""
        return self._influence(found, lambda values, mean: values / mean, found.units.total().mean[0])


@dataclass(frozen=True)
class Both:
    """Two statistics of the same samples, side by side: values of shape (n, 2, ...)."""

    a: Statistic
    b: Statistic

    @property
    def name(self) -> str:
        """Both names."""
        return f"{name_of(self.a)} and {name_of(self.b)}"

    def component_names(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of the components of both."""
        return (*component_names(self.a, shape[1:]), *component_names(self.b, shape[1:]))

    def for_condition(self, condition: Any) -> Both:
        """Return both statistics under a condition."""
        return parts_with_condition(self, condition, "a", "b")

    def __call__(self, samples: Any) -> Any:
        """Return the values of n samples, in their own library where both are of torch."""
        a, b = called(self.a, samples), called(self.b, samples)
        if tuple(a.shape) != tuple(b.shape):
            raise RunError(
                f"{self.name} have components of shapes {tuple(a.shape[1:])} and {tuple(b.shape[1:])}; a functional of "
                "both needs the same number of values from each, component by component"
            )
        if not (hasattr(a, "new_zeros") and hasattr(b, "new_zeros")):
            return np.stack([as_values(a), as_values(b)], axis=1)
        joined = a.double().new_zeros((len(a), 2, *a.shape[1:]))
        joined[:, 0], joined[:, 1] = a, b
        return joined

    def product_pairs(self, k: int) -> NDArray[np.int64]:
        """Return each component of the first statistic with that of the second, shape (k / 2, 2)."""
        return np.arange(k).reshape(2, -1).T


@dataclass(frozen=True)
class OfTwoStatistics(MomentFunctional):
    """A functional of each component of one statistic with that of another."""

    a: Statistic = field(kw_only=True)
    b: Statistic = field(kw_only=True)

    def __post_init__(self) -> None:
        checked_callable(self.a)
        checked_callable(self.b)

    @property
    def statistic(self) -> Statistic:
        """Both statistics."""
        return Both(self.a, self.b)

    def shape_of(self, shape: tuple[int, ...], whole: Units) -> tuple[int, ...]:
        """Return the shape of one of them."""
        return shape[1:]

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the name, with the number of the component where there are several."""
        if shape == ():
            return (self.name,)
        return tuple(f"{self.name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape))

    def _halves(self, found: Replicates) -> tuple[Floats, ...]:
        """Return means, standard deviations and products of both statistics."""
        whole = found.units.total()
        (a, b), (va, vb) = whole.mean[0].reshape(2, -1), whole.variance[0].reshape(2, -1)
        return a, b, np.sqrt(va), np.sqrt(vb), whole.product[0]


@dataclass(frozen=True)
class DecidedByFew(OfTwoStatistics):
    """A functional of two statistics whose standard error few replicates may decide: products, rare denominators."""

    def _heavy(self, strata: Sequence[Floats]) -> tuple[str, ...]:
        """Return a warning where the kurtosis of the pseudo-values is large for their number."""
        if len(strata) > 1:
            return ()
        found = moments_of(strata[0])
        kurtosis = found.kurtosis - 3
        heavy = (found.count < _REPLICATES_BY_KURTOSIS * kurtosis) & (found.count >= FEWEST_WITHOUT_WARNING)
        if not heavy.any():
            return ()
        return (
            f"the standard error of the {self.label} rests on few of the {found.count} replicates (kurtosis "
            f"{kurtosis[heavy].max():.2g}): in simulations with such tails 95 % intervals covered the truth 84 to 94 % "
            f"of the time. Use more replicates, at least {_REPLICATES_BY_KURTOSIS * kurtosis[heavy].max():.0f}",
        )


@dataclass(frozen=True)
class Ratio(DecidedByFew):
    """The ratio of two means; made by `ratio`."""

    label = "ratio"

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the ratios; NaN where a denominator is 0."""
        a, b = np.split(units.mean, 2, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(b != 0, a / b, np.nan)

    def evaluated(self, found: Replicates) -> Evaluated:
        """Return the ratio, with a warning where its denominator rests on few replicates, as with rare events."""
        made = super().evaluated(found)
        units = found.units
        parts = units.counts[:, None] * np.split(units.mean, 2, axis=1)[1]
        effective = parts.sum(axis=0) ** 2 / np.square(parts).sum(axis=0)
        fewest = float(effective.min())
        if units.counts.sum() < FEWEST_WITHOUT_WARNING or fewest >= _FEWEST_DENOMINATORS:
            return made
        return replace(made, warnings=(*made.warnings, _FEW_DENOMINATORS.format(fewest)))

    def influence(self, found: Replicates) -> Influence:
        """Return the residual of the first statistic, over the mean of the second."""
        a, b, *_ = self._halves(found)
        return self._influence(found, lambda v, r, b: (v[:, 0] - r * v[:, 1]) / b, a / b, b, blocks=2)


@dataclass(frozen=True)
class Covariance(DecidedByFew):
    """The covariance of two statistics; made by `covariance`."""

    label = "covariance"
    scale = "itself"
    skewness_factor = SKEWNESS_OF_SQUARES
    fewest_points = 3

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the covariances."""
        return units.product

    def influence(self, found: Replicates) -> Influence:
        """Return the product of the deviations from the means."""
        a, b, *_ = self._halves(found)
        return self._influence(found, lambda v, a, b: (v[:, 0] - a) * (v[:, 1] - b), a, b, blocks=2)


@dataclass(frozen=True)
class Correlation(DecidedByFew):
    """Pearson's correlation of two statistics; made by `correlation`."""

    label = "correlation"
    scale = "Fisher's z"
    fewest_points = 4

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the correlations; NaN where a statistic does not vary."""
        a, b = np.split(np.sqrt(units.variance), 2, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip(np.where((a > 0) & (b > 0), units.product / a / b, np.nan), -1.0, 1.0)

    def influence(self, found: Replicates) -> Influence:
        """Return u v - r (u^2 + v^2) / 2 of the standardized values u and v."""
        a, b, sa, sb, product = self._halves(found)

        def of(v: Any, a: Any, b: Any, sa: Any, sb: Any, r: Any) -> Any:
            x, y = (v[:, 0] - a) / sa, (v[:, 1] - b) / sb
            return x * y - (x**2 + y**2) * r / 2

        return self._influence(found, of, a, b, sa, sb, product / sa / sb, blocks=2)


@dataclass(frozen=True)
class Entropies:
    """Class probabilities of each sample after their sum of p log p, shape (n, classes + 1)."""

    probabilities: Statistic

    @property
    def name(self) -> str:
        """The name of the probabilities."""
        return name_of(self.probabilities)

    def for_condition(self, condition: Any) -> Entropies:
        """Return the values of the probabilities under a condition."""
        return parts_with_condition(self, condition, "probabilities")

    def __call__(self, samples: Any) -> Floats:
        """Return the values, or refuse what are no probabilities."""
        p = as_values(called(self.probabilities, samples))
        if p.ndim != 2 or p.shape[1] < 2:
            raise RunError(
                f"an inception score needs the probabilities of two or more classes for each sample, shape (n, "
                f"classes); {self.name!r} returned shape {p.shape}"
            )
        total = p.sum(axis=1)
        if not ((p >= 0).all() and (np.abs(total - 1) < _OFF_ONE).all()):
            raise RunError(
                f"an inception score needs probabilities, at least 0 and with sum 1; {self.name!r} returned values "
                f"from {p.min():.3g} to {p.max():.3g} with sums from {total.min():.3g} to {total.max():.3g}. Apply "
                "softmax to logits"
            )
        p = p / total[:, None]
        return np.concatenate([xlogy(p, p).sum(axis=1, keepdims=True), p], axis=1)


@dataclass(frozen=True)
class InceptionScore(MomentFunctional):
    """exp(E[KL(p(class | sample), p(class))]); made by `inception_score`."""

    probabilities: Statistic

    label = "inception score"
    fewest_points = 3

    def __post_init__(self) -> None:
        checked_callable(self.probabilities)

    @property
    def statistic(self) -> Statistic:
        """The probabilities and their entropies."""
        return Entropies(self.probabilities)

    def shape_of(self, shape: tuple[int, ...], whole: Units) -> tuple[int, ...]:
        """Return the shape of a single number."""
        return ()

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the name."""
        return (self.name,)

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the scores."""
        marginal = np.maximum(units.mean[:, 1:], 0.0)
        return np.asarray(np.exp(units.mean[:, :1] - xlogy(marginal, marginal).sum(axis=1, keepdims=True)))

    def influence(self, found: Replicates) -> Influence:
        """Return the divergence of a sample's probabilities from the mean ones, times the score."""
        whole = found.units.total()
        logs = np.log(np.maximum(whole.mean[0, 1:], math.ulp(0.0)))
        score = self.of(whole, found.shape)[0]
        return self._influence(found, lambda v, logs, score: (v[:, :1] - v[:, 1:] @ logs) * score, logs[:, None], score)


def variance(statistic: Statistic) -> Functional:
    """Return the variance of a statistic as a functional, component by component.

    The estimate is unbiased under every design. It is the mean squared deviation of all values from their mean, plus
    the variance of that mean. Its interval ends at 0 or above.

    Parameters
    ----------
    statistic : callable
        From n samples to values of shape (n,) or (n, ...).

    Raises
    ------
    TypeError
        If the statistic can't be called.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 3 * z[:, 0], noise=(1,), name="model")
    >>> spread = mcgen.functionals.variance(mcgen.as_statistic(lambda x: x, name="x"))
    >>> result = mcgen.estimate(model, spread, design=mcgen.Sobol(64), n_evaluations=3200, seed=0)
    >>> result.names, bool(abs(result.mean - 9) < 0.2), 9 in result.interval
    (('variance of x',), True, True)
    """
    return Variance(own=statistic)


def std(statistic: Statistic) -> Functional:
    """Return the standard deviation of a statistic as a functional; its interval is that of the variance's roots.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 3 * z[:, 0], noise=(1,), name="model")
    >>> spread = mcgen.functionals.std(mcgen.as_statistic(lambda x: x, name="x"))
    >>> 3 in mcgen.estimate(model, spread, design=mcgen.Sobol(64), n_evaluations=3200, seed=0).interval
    True
    """
    return StandardDeviation(own=statistic)


def coefficient_of_variation(statistic: Statistic) -> Functional:
    """Return the standard deviation over the mean of a statistic as a functional.

    A run raises RunError if the statistic does not vary, or its mean is 0.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 5 + z[:, 0], noise=(1,), name="model")
    >>> spread = mcgen.functionals.coefficient_of_variation(lambda x: x)
    >>> 0.2 in mcgen.estimate(model, spread, design=mcgen.Sobol(64), n_evaluations=3200, seed=0).interval
    True
    """
    return CoefficientOfVariation(own=statistic)


def log_mean(statistic: Statistic) -> Functional:
    """Return log E[S] as a functional, such as a log evidence; a run raises RunError if the mean is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: np.exp(z[:, 0]), noise=(1,), name="lognormal")
    >>> evidence = mcgen.functionals.log_mean(lambda x: x)
    >>> 0.5 in mcgen.estimate(model, evidence, design=mcgen.Sobol(64), n_evaluations=3200, seed=0).interval
    True
    """
    return LogMean(own=statistic)


def ratio(a: Statistic, b: Statistic) -> Functional:
    """Return E[a] / E[b] as a functional, such as a precision or a conditional mean.

    Parameters
    ----------
    a, b : callable
        Statistics with components of the same shape.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z[:, 0], noise=(1,), name="model")
    >>> upper = mcgen.functionals.ratio(lambda x: x * (x > 0), lambda x: x > 0)
    >>> result = mcgen.estimate(model, upper, design=mcgen.Antithetic(), n_evaluations=6400, seed=0)
    >>> bool(abs(result.mean - (2 / 3.14159) ** 0.5) < 0.03)
    True
    """
    return Ratio(a=a, b=b)


def covariance(a: Statistic, b: Statistic) -> Functional:
    """Return the covariance of two statistics, component by component, as a functional; it is unbiased.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z, noise=(2,), name="model")
    >>> joint = mcgen.functionals.covariance(lambda x: x[:, 0], lambda x: 2 * x[:, 0] + x[:, 1])
    >>> 2 in mcgen.estimate(model, joint, design=mcgen.Sobol(64), n_evaluations=3200, seed=0).interval
    True
    """
    return Covariance(a=a, b=b)


def correlation(a: Statistic, b: Statistic) -> Functional:
    """Return Pearson's correlation of two statistics, component by component, as a functional.

    Its interval is made on the scale of Fisher's z = artanh(r). A run raises RunError if a statistic does not vary.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z, noise=(2,), name="model")
    >>> joint = mcgen.functionals.correlation(lambda x: x[:, 0], lambda x: 3 * x[:, 0] + 4 * x[:, 1])
    >>> 0.6 in mcgen.estimate(model, joint, design=mcgen.Sobol(64), n_evaluations=3200, seed=0).interval
    True
    """
    return Correlation(a=a, b=b)


def inception_score(probabilities: Statistic) -> Functional:
    r"""Return the inception score as a functional, from class probabilities of each sample.

    It is :math:`\exp(E[KL(p(y | x) \,\|\, p(y))])` with p(y) the mean of p(y | x) [1]_. From n samples the score is
    too small: its logarithm by up to (classes - 1) / (2 n). This bias is removed, so that scores of different numbers
    of samples can be compared.

    Parameters
    ----------
    probabilities : callable
        From n samples to probabilities of shape (n, classes): a classifier after softmax.

    References
    ----------
    .. [1] T. Salimans and others (2016). Improved techniques for training GANs. NeurIPS.

    Examples
    --------
    Two classes of probabilities 0.31 and 0.69, never in doubt; the score is the exponential of their entropy:

    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z[:, 0], noise=(1,), name="model")
    >>> score = mcgen.functionals.inception_score(lambda x: np.stack([x > 0.5, x <= 0.5], axis=1).astype(float))
    >>> 1.855 in mcgen.estimate(model, score, design=mcgen.MonteCarlo(), n_evaluations=3200, seed=0).interval
    True
    """
    return InceptionScore(probabilities)

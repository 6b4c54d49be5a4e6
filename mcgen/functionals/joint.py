"""A functional of several models, or of one model under several conditions, on the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, leading_length
from mcgen._lib.names import name_of
from mcgen.functionals.base import Evaluated, Functional, Replicates, mixed
from mcgen.functionals.influence import Influence
from mcgen.inference.functional_intervals import Lengthened, covariance_by_reference, sum_of_lengthened
from mcgen.inference.methods import Method
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import Quantiles
from mcgen.replicates.gathering import Gatherer
from mcgen.statistics import Statistic
from mcgen.statistics.values import (
    boolean_components,
    parts_with_condition,
    product_pairs,
    reduced_values,
    values_of,
    values_of_each,
    with_condition,
)


@dataclass(frozen=True)
class Each:
    """A statistic of the samples of each of several models or conditions, shape (n, models, ...).

    Attributes
    ----------
    own : callable
        The statistic.
    under : tuple of callable
        The statistic under each condition; empty where there is one condition or none.
    """

    own: Statistic
    under: tuple[Statistic, ...] = field(default=(), kw_only=True)

    def __mcgen_content__(self, load: bool) -> Any:
        return (self.own,)

    @property
    def name(self) -> str:
        """The statistic's name."""
        return name_of(self.own)

    def for_condition(self, condition: Any) -> Each:
        """Return the statistic under a condition that all models share."""
        return parts_with_condition(self, condition, "own")

    def reduced_values(self, values: Floats) -> Floats:
        """Return what the means are taken of, (n, models, ...), of the values of each model."""
        return reduced_values(self.own, values)

    def boolean_components(self, samples: tuple[Any, ...]) -> NDArray[np.bool_]:
        """Return which components are boolean, those of each model."""
        each = self.under or [self.own] * len(samples)
        flags = [boolean_components(one, part) for one, part in zip(each, samples, strict=True)]
        return np.concatenate(flags)

    def __call__(self, samples: tuple[Any, ...]) -> Floats:
        """Return the values of n samples."""
        where = "on the same noise; they must be the same for all. Estimate them one by one"
        return np.stack(values_of_each(self.under or [self.own] * len(samples), samples, where), axis=1)


@dataclass(frozen=True)
class OnSameNoise(Functional):
    """A functional of each of several laws, and combinations of them, on the same noise.

    Attributes
    ----------
    functional : Functional
        The functional.
    labels : tuple of str
        What the laws are called.
    weights : tuple of float
        Weights of the combination: those of an average or a mixture, or 1 and -1 of a difference.
    kind : str
        "each and average", "each and mixture" or "difference".
    """

    functional: Functional
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    kind: str

    @property
    def is_mixture(self) -> bool:
        """Whether the combination is the functional of a mixture."""
        return self.kind == "each and mixture"

    @property
    def label(self) -> str:
        """That of the functional."""
        return self.functional.label

    @property
    def name(self) -> str:
        """That of the functional."""
        return self.functional.name

    @property
    def statistic(self) -> Statistic:
        """The statistic of each law."""
        return _with_pairs(self.functional.statistic, len(self.labels))

    def statistic_under(self, conditions: Sequence[Any]) -> Statistic:
        """Return the statistic of each law, where each has a condition of its own."""
        under = tuple(with_condition(self.functional.statistic, one) for one in conditions)
        return replace(_with_pairs(self.functional.statistic, len(self.labels)), under=under)

    @property
    def gatherers(self) -> tuple[Gatherer, ...]:
        """Those of the functional."""
        return self.functional.gatherers

    @property
    def fewest_values(self) -> int:
        """That of the functional."""
        return self.functional.fewest_values

    @property
    def default_method(self) -> Method | None:
        """That of the functional."""
        return self.functional.default_method

    @property
    def pools(self) -> bool:
        """As the functional."""
        return self.functional.pools

    def require_size(self, n_evaluations: int, n_replicates: int) -> None:
        """As the functional, for each law."""
        self.functional.require_size(n_evaluations, n_replicates)

    @property
    def shares_an_error(self) -> bool:
        """As the functional."""
        return self.functional.shares_an_error

    @property
    def why_no_mixture(self) -> str:
        """As the functional."""
        return self.functional.why_no_mixture

    @property
    def why_no_tolerance(self) -> str:
        """As the functional."""
        return self.functional.why_no_tolerance

    def identity(self) -> dict[str, Any]:
        """Return that of the functional."""
        return self.functional.identity()

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return what the components are called: each of each law, then the combination."""
        if self.kind == "difference":
            return self.functional.component_names(base, shape)
        own = self.functional.component_names(base, shape[1:])
        joined = "of the mixture" if self.is_mixture else "on average"
        wheres = [*(f"under {label}" for label in self.labels), joined]
        return tuple(f"{name} {where}" for where in wheres for name in own)

    def evaluated(self, found: Replicates) -> Evaluated:
        """Return the functional of each law, and the combination."""
        parts = [found.part(number, len(self.labels)) for number in range(len(self.labels))]
        weights = np.array(self.weights)
        own = None if self.is_mixture else self._combination([[part] for part in parts], np.ones(1))
        if own is not None and self.kind == "difference":
            return own
        each = [self.functional.evaluated(part) for part in parts]
        if self.is_mixture:
            own = self.functional.evaluated(mixed(parts, weights))
        last = _combined(each, weights) if own is None else own
        return last if self.kind == "difference" else _side_by_side([*each, last])

    def _combination(self, laws: Sequence[Sequence[Replicates]], weights: Floats) -> Evaluated | None:
        found = self.functional.combinations(laws, weights, np.array([self.weights]))
        return None if found is None else found[0]

    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Return the difference of the functionals of two mixtures; both models share their noise in each stratum."""
        laws = [[one.part(number, 2) for one in strata] for number in (0, 1)]
        own = self._combination(laws, weights)
        if own is not None:
            return own
        a, b = (self.functional.of_mixture(law, weights) for law in laws)
        return less(a, tuple(x - y for x, y in zip(a.strata, b.strata, strict=True)), b, same_noise=True)

    def influence(self, found: Replicates) -> Influence:
        """Return the difference of the influences of two models."""
        parts = [found.part(number, 2) for number in (0, 1)]
        a, b = (self.functional.influence(part) for part in parts)
        return replace(a, statistic=_Both(a, b), function=lambda v: v[:, 0] - v[:, 1], constants=(), blocks=2)


@dataclass(frozen=True)
class _Both:
    """The influence of each of two models, shape (n, 2, c)."""

    a: Influence
    b: Influence

    @property
    def name(self) -> str:
        """The name of the functional."""
        return self.a.name

    def for_condition(self, condition: Any) -> _Both:
        """Return both influences under a condition."""
        return parts_with_condition(self, condition, "a", "b")

    def __call__(self, samples: tuple[Any, Any]) -> Floats:
        """Return the values of n samples of both models."""
        n = leading_length(samples)
        return np.stack([values_of(one, part, n) for one, part in zip((self.a, self.b), samples, strict=True)], axis=1)


def difference_of_mixtures(functional: Functional, found: Sequence[Replicates], weights: Floats) -> Evaluated:
    """Return the functional of a mixture, or its difference of two models whose runs alternate and are independent."""
    if len(found) == len(weights):
        return functional.of_mixture(found, weights)
    a, b = (functional.of_mixture(found[number::2], weights) for number in (0, 1))
    return less(a, (*a.strata, *(-one for one in b.strata)), b, same_noise=False)


def less(a: Evaluated, strata: tuple[Floats, ...], b: Evaluated, *, same_noise: bool) -> Evaluated:
    """Return the difference of two functionals with these pseudo-values."""
    quantiles = _sum_of_quantiles([a, b], (1.0, -1.0), same_noise)
    scale, size = (None, 1.0) if same_noise else _difference_of_distances(a, b)
    if size != 1:
        strata = tuple(one.mean(axis=0) + size * (one - one.mean(axis=0)) for one in strata)
    notes = _all_warnings([a, b])
    return Evaluated(a.shape, a.plug_in - b.plug_in, strata, scale=scale, quantiles=quantiles, warnings=notes)


def _difference_of_distances(a: Evaluated, b: Evaluated) -> tuple[Lengthened | None, float]:
    """Return the interval of the difference of two distances on independent noise, and by what to stretch its error.

    A reference that is a sample has an error that both distances share. None, and 1, for other functionals.
    """
    if not (isinstance(a.scale, Lengthened) and isinstance(b.scale, Lengthened)):
        return None, 1.0
    first, second = a.summed.standard_error, b.summed.standard_error
    apart = first**2 + second**2
    shared = covariance_by_reference([a.scale, b.scale], (1.0, -1.0))
    together = np.maximum(apart + shared, 0.0)
    third, size = a.scale.skewness * first**3 - b.scale.skewness * second**3, together**1.5
    skewness = np.divide(third, size, out=np.zeros_like(size), where=size > 0)
    stretch = float(np.sqrt(together[0] / apart[0])) if apart[0] > 0 else 1.0
    return sum_of_lengthened([a.scale, b.scale], np.array([[1.0], [-1.0]]), skewness), stretch


def _sum_of_quantiles(each: Sequence[Evaluated], weights: Sequence[float], same_noise: bool) -> QuantileSum | None:
    terms = [one.quantiles for one in each if isinstance(one.quantiles, Quantiles)]
    return QuantileSum(tuple(terms), tuple(weights), same_noise) if len(terms) == len(each) else None


def _with_pairs(statistic: Statistic, n: int) -> Each:
    return EachWithPairs(statistic, n) if hasattr(statistic, "product_pairs") else Each(statistic)


@dataclass(frozen=True)
class EachWithPairs(Each):
    """`Each` of a statistic whose products of pairs are wanted."""

    n: int

    def product_pairs(self, k: int) -> NDArray[np.int64]:
        """Return the pairs of each law."""
        own, each = product_pairs(self.own, k // self.n), k // self.n
        assert own is not None
        return np.concatenate([own + number * each for number in range(self.n)])


def _combined(each: Sequence[Evaluated], weights: Floats) -> Evaluated:
    """Return a weighted sum of functionals of the same replicates."""
    own = sum(w * one.strata[0] for w, one in zip(weights, each, strict=True))
    value = sum(w * one.plug_in for w, one in zip(weights, each, strict=True))
    quantiles, notes = _sum_of_quantiles(each, weights.tolist(), True), _all_warnings(each)
    return Evaluated(each[0].shape, np.asarray(value), (np.asarray(own),), quantiles=quantiles, warnings=notes)


def _side_by_side(each: Sequence[Evaluated]) -> Evaluated:
    """Return the components of all, shape (all, ...), each with its own interval."""
    own = np.concatenate([one.strata[0] for one in each], axis=1)
    value = np.concatenate([one.plug_in for one in each])
    return Evaluated((len(each), *each[0].shape), value, (own,), warnings=_all_warnings(each), parts=tuple(each))


def _all_warnings(each: Sequence[Evaluated]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for one in each for text in one.warnings))

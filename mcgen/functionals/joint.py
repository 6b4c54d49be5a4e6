"""A functional of several models, or of one model under several conditions, on the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.functionals.base import Evaluated, Functional, Replicates, mixed
from mcgen.replicates.gathering import Gatherer
from mcgen.statistics import Statistic
from mcgen.statistics.values import parts_with_condition, product_pairs, values_of_each, with_condition


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

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return what the components are called: each of each law, then the combination."""
        own = self.functional.component_names(base, shape[1:] if self.kind != "difference" else shape)
        if self.kind == "difference":
            return own
        wheres = [*(f"under {label}" for label in self.labels), "on average"]
        return tuple(f"{name} {where}" for where in wheres for name in own)

    def evaluated(self, found: Replicates) -> Evaluated:
        """Return the functional of each law, and the combination."""
        parts = [found.part(number, len(self.labels)) for number in range(len(self.labels))]
        each = [self.functional.evaluated(part) for part in parts]
        weights = np.array(self.weights)
        if self.kind == "difference":
            return _combined(each, weights)
        if self.kind == "each and mixture":
            last = self.functional.evaluated(mixed(parts, weights))
        else:
            last = _combined(each, weights)
        return _side_by_side([*each, last])

    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Refuse: laws on the same noise are mixed by `evaluated`."""
        raise NotImplementedError

    def influence(self, found: Replicates) -> Statistic:
        """Refuse: designs are planned for one law."""
        raise NotImplementedError


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
    return Evaluated(each[0].shape, np.asarray(value), (np.asarray(own),), warnings=_all_warnings(each))


def _side_by_side(each: Sequence[Evaluated]) -> Evaluated:
    """Return the components of all, shape (all, ...), each with its own interval."""
    own = np.concatenate([one.strata[0] for one in each], axis=1)
    value = np.concatenate([one.plug_in for one in each])
    return Evaluated((len(each), *each[0].shape), value, (own,), warnings=_all_warnings(each), parts=tuple(each))


def _all_warnings(each: Sequence[Evaluated]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for one in each for text in one.warnings))

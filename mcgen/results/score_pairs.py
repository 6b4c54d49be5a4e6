"""Differences of models that hold together, and the models that cannot be told from the best.

A score has a difference for each pair of models, with k components each. The intervals of all n pairs are made at
Bonferroni's level 1 - (1 - c) / (n k), so that all of them hold with probability c. A model is left out of the best
only where another model is shown to be better, so the best model is among them with probability c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import Interval, shared_level
from mcgen.inference.methods import IntervalOptions
from mcgen.results.estimate import Estimate, shaped
from mcgen.results.provenance import has_biased_plug_in

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Pair = tuple[str, str]

LOWER, HIGHER, ALIKE, UNKNOWN = "lower", "higher", "cannot be told apart", "no interval"
"""What is said of the first model of a pair beside the second."""


class SharedPairs(NamedTuple):
    """The differences of the pairs of models by one score, whose intervals hold together.

    Attributes
    ----------
    pairs : dict of Estimate
        The first model minus the second; the interval is NaN where it cannot be made at the shared level.
    warnings : tuple of str
        Which pairs have no interval, and why.
    """

    pairs: dict[Pair, Estimate]
    warnings: tuple[str, ...]


class ShownScorecard(Protocol):
    """A scorecard, as far as texts, tables and figures read it; the attributes are those of `Scorecard`."""

    @property
    def estimates(self) -> Mapping[str, Mapping[str, Estimate]]:
        """The estimates by score and model."""
        ...

    @property
    def curves(self) -> Mapping[str, Mapping[str, pd.DataFrame]]:
        """Scores against the number of samples, by score and model."""
        ...

    @property
    def pictures(self) -> Mapping[str, NDArray[Any]]:
        """Samples of z and of -z, by model."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        ...

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores."""
        ...

    @property
    def confidence_level(self) -> float:
        """The level of the intervals."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there was to warn of."""
        ...

    def shared(self, score: str) -> SharedPairs:
        """Return the differences by a score, whose intervals hold together."""
        ...

    def differences(self, score: str) -> pd.DataFrame:
        """Return the differences as a table."""
        ...


def shared_pairs(pairs: Mapping[Pair, Estimate]) -> SharedPairs:
    """Return the differences with intervals that hold together over all pairs and components."""
    made: dict[Pair, Estimate] = {}
    problems = []
    for names, one in pairs.items():
        try:
            made[names] = _at_shared_level(one, len(pairs))
        except ValueError as error:
            made[names] = replace(one, interval=_nowhere(one), half_width=shaped(_nan(one), one.shape))
            problems.append(
                f"the difference {difference_text(names)} has no interval that holds together with those of all pairs: "
                f"{error}"
            )
    return SharedPairs(made, tuple(problems))


def _at_shared_level(one: Estimate, n_pairs: int) -> Estimate:
    """Return a difference with an interval at the level that n pairs and their components share."""
    numbers, level = n_pairs * len(one.names), one.confidence_level
    if numbers == 1:
        return one
    own = one._own_options(level)
    method = own.method if own.has_own_simultaneous else None
    try:
        return one._with_options(IntervalOptions(level, method, own.simultaneous or True, n_pairs))
    except ValueError:
        # Some methods have no simultaneous form; each component alone then has Bonferroni's level.
        alone = replace(own, confidence_level=shared_level(level, numbers), simultaneous=False)
        return replace(one._with_options(alone), confidence_level=level)


def _nan(one: Estimate) -> Floats:
    return np.full(len(one.names), np.nan)


def _nowhere(one: Estimate) -> Interval:
    return Interval(shaped(_nan(one), one.shape), shaped(_nan(one), one.shape))


def difference_text(names: Pair) -> str:
    """Return the name of a difference, such as ``A - B``."""
    return f"{names[0]} - {names[1]}"


def verdict(low: float, high: float) -> str:
    """Return what the interval of first minus second says of the first model."""
    if np.isnan(low) or np.isnan(high):
        return UNKNOWN
    return LOWER if high < 0 else HIGHER if low > 0 else ALIKE


def differences_frame(shared: SharedPairs) -> pd.DataFrame:
    """Return the table of the differences by one score; see `Scorecard.differences`."""
    import pandas as pd

    rows = [
        {
            "first": first,
            "second": second,
            "component": name,
            "difference": value,
            "low": low,
            "high": high,
            "noise": one.provenance.models_noise or "",
            "verdict": verdict(low, high),
        }
        for (first, second), one in shared.pairs.items()
        for name, value, low, high in zip(one.names, *map(np.ravel, (one.mean, *one.interval)), strict=True)
    ]
    columns = ["first", "second", "component", "difference", "low", "high", "noise", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def is_distance(estimates: Mapping[str, Estimate]) -> bool:
    """Return whether a score is a distance, of which less is better."""
    return all("distance" in (one.provenance.functional or "").lower() for one in estimates.values())


def has_bias(estimates: Mapping[str, Estimate]) -> bool:
    """Return whether the usual value of a score is biased; see `has_biased_plug_in`."""
    return all(has_biased_plug_in(one.provenance) for one in estimates.values())


def best_models(estimates: Mapping[str, Estimate], shared: SharedPairs, number: int, largest: bool) -> tuple[str, ...]:
    """Return the models that cannot be told from the best by one component, best first; see `Scorecard.best`.

    Parameters
    ----------
    estimates : mapping of Estimate
        The score of each model.
    shared : SharedPairs
        Differences whose intervals hold together.
    number : int
        Number of the component.
    largest : bool
        Whether more is better.
    """
    worse = set()
    for (first, second), one in shared.pairs.items():
        found = verdict(*ends_of(one, number))
        if found in (LOWER, HIGHER):
            worse.add(first if (found == LOWER) == largest else second)
    # If each model were worse than another one, the intervals would contradict each other.
    kept = [model for model in estimates if model not in worse] or [*estimates]
    sign = -1.0 if largest else 1.0
    return tuple(sorted(kept, key=lambda model: sign * float(np.ravel(estimates[model].mean)[number])))


def ends_of(one: Estimate, number: int) -> tuple[float, float]:
    """Return the ends of the interval of one component."""
    return float(np.ravel(one.interval.low)[number]), float(np.ravel(one.interval.high)[number])


def number_of_component(names: tuple[str, ...], component: str | None, score: str) -> int:
    """Return the number of a component by its name; None is the only one.

    Raises
    ------
    ValueError
        If there are several components and none is named.
    KeyError
        If no component has this name.
    """
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    if component is None:
        if len(names) > 1:
            raise ValueError(
                f"{score!r} has {len(names)} components, and the best is by one of them; got component=None. Give one "
                f"of {listed}, such as component={names[0]!r}"
            )
        return 0
    if component not in names:
        raise KeyError(f"{score!r} has no component {component!r}; its components are {listed}. Give one of them")
    return names.index(component)

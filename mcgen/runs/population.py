"""The arguments of a population of conditions: which conditions are its sample, and which of them form clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mcgen.inference.methods import IntervalOptions, SequentialMethod
from mcgen.inference.resampling import FEWEST_FOR_BOOTSTRAP
from mcgen.replicates.sizes import Conditions, is_named, named_conditions
from mcgen.runs.arguments import RunArguments

FEWEST = 2
"""Fewest conditions, or clusters, whose spread can be estimated."""


@dataclass(frozen=True, eq=False)
class Population:
    """A population, of which some conditions are a sample.

    Attributes
    ----------
    labels : tuple of str or None
        The label of each condition's cluster; None where each condition is drawn by itself.
    """

    labels: tuple[str, ...] | None = None

    def clusters(self, n_conditions: int) -> NDArray[np.int64] | None:
        """Return the cluster of each of the first conditions, numbered in their order; None without clusters."""
        if self.labels is None:
            return None
        numbers = {label: number for number, label in enumerate(dict.fromkeys(self.labels[:n_conditions]))}
        return np.array([numbers[label] for label in self.labels[:n_conditions]], np.int64)

    def n_units(self, n_conditions: int) -> int:
        """Return how many clusters, or else conditions, there are among the first conditions."""
        return n_conditions if self.labels is None else len(set(self.labels[:n_conditions]))


def checked_population(condition: Any, asked: RunArguments) -> Population | None:
    """Return the population that a call asks for, or None where it asks for none.

    Raises
    ------
    TypeError, ValueError
        If there are too few conditions or clusters, the labels of the clusters do not fit the conditions, or an
        argument does not go with a population.
    """
    if asked["across"] != "population":
        if asked["clusters"] is not None:
            raise ValueError(
                "clusters say which conditions of a sample belong together, for across='population'; got across="
                f"{asked['across']!r}. Leave clusters out, or use across='population'"
            )
        return None
    if not isinstance(condition, Conditions) or len(condition) < FEWEST:
        count = len(condition) if isinstance(condition, Conditions) else "one condition that is no list or dict"
        raise ValueError(
            f"across='population' needs {FEWEST} conditions or more, a sample of the population; got {count}. Pass a "
            "list or a dict as condition, of 10 or more"
        )
    _refuse_other_arguments(asked)
    found = Population(None if asked["clusters"] is None else _labels(condition, asked["clusters"]))
    _check_units(found, len(condition), asked)
    return found


def _refuse_other_arguments(asked: RunArguments) -> None:
    """Refuse arguments that make no sense for a population."""
    if asked["weights"] is not None:
        raise ValueError(
            "weights are of an average over exactly these conditions, and in a sample of a population each stands for "
            f"the same share; got weights={asked['weights']!r}. Leave weights out, or use across='average'"
        )
    if asked["common_random_numbers"]:
        raise ValueError(
            "the interval of a population is made from independent conditions, and on common random numbers they share "
            "a part of the noise that their spread does not show; got common_random_numbers=True. Leave it out, or use "
            "across='average'"
        )
    if asked["atol"] is not None or asked["rtol"] is not None:
        raise ValueError(
            "atol and rtol stop each condition by its own noise, and the interval of a population depends on the "
            f"spread between conditions too; got atol={asked['atol']!r} and rtol={asked['rtol']!r}. Give "
            "n_evaluations: result.variance_components then says how many conditions give which standard error"
        )
    if asked["interval"] == "proportion" or asked["interval"] in get_args(SequentialMethod):
        raise ValueError(
            "the interval of a population is made from the means of its conditions, which are neither events nor "
            f"watched one by one; got interval={asked['interval']!r}. Leave it out, or use 'student-t'"
        )


def _check_units(population: Population, n_conditions: int, asked: RunArguments) -> None:
    """Refuse fewer clusters or conditions than the interval needs."""
    units, called = population.n_units(n_conditions), "clusters" if population.labels else "conditions"
    if units < FEWEST:
        raise ValueError(
            f"clusters must be {FEWEST} or more, since the interval is made from their spread; got one, "
            f"{population.labels and population.labels[0]!r}, for all {n_conditions} conditions. Use conditions of "
            "more clusters, or leave clusters out if each condition was drawn by itself"
        )
    interval = IntervalOptions(asked["confidence_level"], asked["interval"], asked["simultaneous"])
    if interval.resamples and units < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(
            f"bootstrap and multiplier intervals resample the {called}, and need {FEWEST_FOR_BOOTSTRAP} or more; got "
            f"{units}. Use interval='student-t' or simultaneous=True"
        )


def _labels(conditions: Conditions, clusters: Any) -> tuple[str, ...]:
    """Return the label of each condition's cluster as text."""
    given = _in_order(conditions, clusters)
    if isinstance(given, str) or not isinstance(given, list | tuple | np.ndarray):
        raise TypeError(
            "clusters must be a list of labels, one for each condition, or a dict from the names of the conditions; "
            f"got {clusters!r}"
        )
    labels = given.tolist() if isinstance(given, np.ndarray) else [_plain(one) for one in given]
    if len(labels) != len(conditions):
        raise ValueError(
            f"clusters must have a label for each of {len(conditions)} conditions; got {len(labels)}: {clusters!r}"
        )
    missing = [number for number, label in enumerate(labels) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"clusters must have a label for each condition; got {labels[missing[0]]!r} for condition "
            f"{conditions[missing[0]]!r}. Give a condition of no cluster a label of its own"
        )
    return _texts(labels)


def _plain(label: Any) -> Any:
    """Return a label of numpy as the Python object that equals it."""
    return label.item() if isinstance(label, np.generic) else label


def _is_missing(label: Any) -> bool:
    """Tell whether a label is None, NaN, or a missing value of pandas."""
    if label is None:
        return True
    try:
        return bool(label != label)
    except (TypeError, ValueError):
        # A missing value of pandas is neither equal to itself nor different; an array is no missing value.
        return type(label).__name__ in ("NAType", "NaTType")


def _key(label: Any) -> Any:
    """Return what equal labels share: the label itself, or its text where it has no hash."""
    try:
        hash(label)
    except TypeError:
        return repr(label)
    return label


def _texts(labels: list[Any]) -> tuple[str, ...]:
    """Return a text for each label: the same for labels that are equal, and others for others, such as 1 and '1'."""
    first: dict[Any, Any] = {}
    equal = [first.setdefault(_key(label), label) for label in labels]
    texts = {repr(label) for label in equal if not isinstance(label, str)}
    return tuple(label if isinstance(label, str) and label not in texts else repr(label) for label in equal)


def _in_order(conditions: Conditions, clusters: Any) -> Any:
    """Return labels in the order of the conditions, where they are given by name."""
    if not is_named(clusters):
        return clusters
    found = named_conditions(clusters)
    if found.names is None:
        return list(found)
    names = conditions.names or tuple(one if isinstance(one, str) else repr(one) for one in conditions)
    by_name: Mapping[str, Any] = dict(zip(found.names, found, strict=True))
    if set(by_name) != set(names):
        odd = sorted(set(by_name) ^ set(names))
        raise ValueError(
            f"clusters must have the names of the conditions; {odd[0]!r} is "
            f"{'no condition' if odd[0] in by_name else 'a condition without a label'}. The conditions are "
            f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        )
    return [by_name[name] for name in names]

"""`pairs`: what noise and its negation do to the samples of a model, against independent noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, numbers_of, rounding_of
from mcgen._lib.checks import checked_integer, checked_level
from mcgen._lib.names import name_of
from mcgen.analysis.measures import Centre, Measure, PairsOfSamples, influence_of_mean, measured
from mcgen.analysis.pair_analysis import About, PairAnalysis
from mcgen.analysis.pair_arguments import (
    STANDARD,
    Kind,
    checked_kinds,
    checked_labels,
    checked_measures,
    region_of,
    truth_of,
)
from mcgen.designs import Design
from mcgen.errors import NonFiniteError, RunError
from mcgen.generators import Generator
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.loop import samples_of
from mcgen.replicates.sizes import Conditions, checked_batch_size, conditions_of
from mcgen.replicates.streams import under_condition
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.results.provenance import text_of_seed
from mcgen.statistics import Statistic, identity
from mcgen.statistics.values import component_names, values_of, with_condition

_FEWEST = 3


def pairs(
    generator: Generator,
    *,
    n_pairs: int,
    seed: Seed,
    condition: Any = None,
    reference: Any = None,
    measures: Sequence[str | Measure] = STANDARD,
    kinds: Sequence[str | Design] = ("negated", "independent"),
    statistic: Statistic | None = None,
    region: Any = None,
    centre: Literal["unbiased", "leave-pair-out", "all"] = "unbiased",
    share_first: bool = False,
    undefined: Literal["error", "drop"] = "error",
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> PairAnalysis:
    """Measure how alike the two samples of a pair are, for noise and its negation and for independent noise.

    In every generative model that [1]_ tried, z and -z give samples that are negatively correlated about the mean
    sample. This measures the correlation in your model, with an interval, a test against independent pairs, and the
    efficiency of the pairs for a statistic.

    Parameters
    ----------
    generator : Generator
        The model; its samples are arrays.
    n_pairs : int
        Pairs of each kind, 3 or more, under each condition.
    seed : int or SeedSequence
        The same seed gives the same samples.
    condition : object, or a list, range, dict or Series of them, optional
        Passed to the generator. Several conditions have pairs of their own, with equal weights.
    reference : array, or one for each condition, optional
        A truth of a sample's shape. Correlations are then those of the errors, sample less truth.
    measures : sequence of str or callable
        "standard": Pearson's correlation over the entries of both samples. "centralized": the same after the mean
        sample is subtracted. "wasserstein": the Wasserstein-1 distance of their values, wherever they stand. Or
        functions of two batches of samples that return a number for each pair.
    kinds : sequence of str or Design
        "negated" (z and -z), "independent" (two draws), or designs, such as ``KAntithetic(4)`` or
        ``Antithetic(only=mask)``. The first two points of a design's replicate are a pair. Tests are against the last
        kind.
    statistic : callable, optional
        A statistic of a sample. Its correlation in pairs gives the efficiency of antithetic pairs over Monte Carlo:
        1 / (1 + correlation).
    region : array of bool, optional
        The entries of a sample that enter correlations and distances; all by default.
    centre : {"unbiased", "leave-pair-out", "all"}
        The mean samples of "centralized". By default the first samples of a kind have a mean of their own, and so have
        the second ones. Products of deviations of independent samples then have expectation 0. "all", as in reference
        1, is the mean of all 2 n samples of the kind; it moves correlations of independent pairs down by about 1 / (2
        n). "leave-pair-out" is the mean of all but the pair's own; it moves them up.
    share_first : bool
        Let the independent pairs have the first samples of the first kind. This saves a quarter of the evaluations,
        and the tests are paired.
    undefined : {"error", "drop"}
        What to do where a sample is constant, so that it has no correlation: raise an error, or drop the pair and
        count it.
    confidence_level : float
        Of the intervals.
    batch_size : int, optional
        The most rows that the model sees at a time; about 64 by default.

    Returns
    -------
    PairAnalysis
        ``print`` it, or use its `to_frame`, `test` and `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described: fewer than 3 pairs, an unknown measure or kind, a reference or a region of
        another shape.
    RunError
        If the generator or the statistic breaks a law, samples are no single arrays, or a sample is constant.

    References
    ----------
    .. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
       arXiv:2506.06185. Tables 1 and 5 to 9, figure 2.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(8, 8), name="logistic")
    >>> found = mcgen.analysis.pairs(model, n_pairs=200, seed=0, statistic=mcgen.statistics.pixel_mean)
    >>> frame = found.to_frame().set_index(["kind", "measure"])["mean"]
    >>> bool(frame["negated", "centralized"] < -0.9), bool(abs(frame["independent", "centralized"]) < 0.05)
    (True, True)
    """
    n = checked_integer("n_pairs", n_pairs)
    if n < _FEWEST:
        raise ValueError(f"n_pairs must be at least {_FEWEST}; got {n}. Intervals of fewer pairs say nothing")
    chosen = checked_kinds(kinds, share_first)
    asked_measures = checked_measures(measures)
    names = tuple(one if isinstance(one, str) else name_of(one) for one in asked_measures)
    _require_one_of("centre", centre, ("unbiased", "leave-pair-out", "all"))
    _require_one_of("undefined", undefined, ("error", "drop"))
    conditions = conditions_of(condition)
    several = conditions if isinstance(conditions, Conditions) else Conditions([conditions], None)
    labels = checked_labels(conditions) if isinstance(conditions, Conditions) else ("",)
    asked = _Asked(n, chosen, asked_measures, names, centre, share_first, reference, region)
    estimand = estimand_of(generator, identity if statistic is None else statistic, seed, conditions)
    run = _Run(estimand, n, statistic, batch_size)
    values, influence, of_statistic = _over_conditions(run, asked, several, labels)
    _require_defined(values, undefined, labels)
    return PairAnalysis(
        about=About(
            generator=name_of(generator),
            statistic=None if statistic is None else name_of(statistic),
            noise=str(generator.noise),
            seed_text=text_of_seed(as_seed_sequence(seed)),
            condition=", ".join(labels) or None,
            n_evaluations=run.n_evaluations,
            centre=centre,
            of_errors=reference is not None,
        ),
        conditions=labels if isinstance(conditions, Conditions) else (),
        kinds=tuple(kind.name for kind in chosen),
        measures=names,
        values=values,
        influence=influence,
        paired=share_first,
        confidence_level=checked_level(confidence_level),
        components=() if statistic is None else component_names(statistic, run.shape),
        of_statistic=of_statistic,
        rounding=run.rounding,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is to be measured: the checked arguments of `pairs`."""

    n: int
    kinds: tuple[Kind, ...]
    measures: Sequence[str | Measure]
    names: tuple[str, ...]
    centre: str
    share_first: bool
    reference: Any
    region: Any


def _over_conditions(
    run: _Run, asked: _Asked, several: Conditions, labels: Sequence[str]
) -> tuple[dict[tuple[str, str], Floats], dict[tuple[str, str], Floats], dict[str, Floats]]:
    """Return measures and influences by kind and name, and the statistic by kind, with an axis of conditions first."""
    values: dict[tuple[str, str], list[Floats]] = {}
    influence: dict[tuple[str, str], list[Floats]] = {}
    of_statistic: dict[str, list[Floats]] = {}
    for number, (condition, label) in enumerate(zip(several, labels, strict=True)):
        drawn = run.under(condition, number, label or None, asked.kinds, asked.share_first)
        shape = drawn[asked.kinds[0].name].samples.shape
        _require_entries(shape, asked.names)
        truth, where = truth_of(asked.reference, several, number, shape), region_of(asked.region, shape)
        centres = _centres(drawn, asked.centre, asked.n)
        for kind, own in drawn.items():
            if own.values is not None:
                of_statistic.setdefault(kind, []).append(own.values)
            for measure, name in zip(asked.measures, asked.names, strict=True):
                found = measured(own.samples, measure, centres[kind], truth, where)
                values.setdefault((kind, name), []).append(found)
                if measure == "centralized" and np.isfinite(found).any():
                    added = influence_of_mean(own.samples, centres[kind], truth, where, found)
                    influence.setdefault((kind, name), []).append(added)
    return _stacked(values), _stacked(influence), {kind: np.stack(found) for kind, found in of_statistic.items()}


def _stacked(parts: Mapping[tuple[str, str], list[Floats]]) -> dict[tuple[str, str], Floats]:
    return {key: np.stack(found) for key, found in parts.items()}


def _require_entries(shape: tuple[int, ...], measures: Sequence[str]) -> None:
    """Refuse correlations over the entries of samples of a single number."""
    named = [name for name in ("standard", "centralized") if name in measures]
    if math.prod(shape) == 1 and named:
        raise ValueError(
            f"{' and '.join(named)} correlations are over the entries of a sample, and a sample is one number here, of "
            f"shape {shape}; take measures=['wasserstein'], or give the number as statistic=..., whose correlation in "
            "pairs efficiencies() has"
        )


def _require_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


class _Drawn:
    """The pairs of one kind under one condition, and the statistic's values of shape (n, 2, k) where there is one."""

    def __init__(self, n: int) -> None:
        self.samples = PairsOfSamples(n)
        self._parts: list[Floats] = []

    def add(self, samples: NDArray[Any], values: Floats | None) -> None:
        """Add samples, both of a pair one after the other, with their values."""
        self.samples.add(samples)
        if values is not None:
            self._parts.append(values)

    @property
    def values(self) -> Floats | None:
        """The values, shape (n, 2, k)."""
        if not self._parts:
            return None
        flat = np.concatenate(self._parts)
        return flat.reshape(len(flat) // 2, 2, -1)


class _Run:
    """Draws the pairs of all kinds under one condition after another."""

    def __init__(self, estimand: Estimand, n: int, statistic: Statistic | None, batch_size: int | None) -> None:
        self._estimand, self._n, self._statistic, self._batch_size = estimand, n, statistic, batch_size
        self.n_evaluations, self.shape, self.rounding = 0, (), 2.0**-52

    def under(
        self, condition: Any, number: int, label: str | None, kinds: Sequence[Kind], share: bool
    ) -> dict[str, _Drawn]:
        """Return the pairs of each kind; with `share` independent ones have the first samples of the first kind."""
        estimand = under_condition(self._estimand, condition, number, label)
        statistic = None if self._statistic is None else with_condition(self._statistic, condition)
        found: dict[str, _Drawn] = {}
        for kind in kinds:
            alone = kind.design.n_points == 1
            first = next(iter(found.values()), None) if share and alone else None
            found[kind.name] = _Drawn(self._n)
            count = 2 * self._n if alone and first is None else self._n
            task = estimand.task(kind.design, checked_batch_size(self._batch_size, kind.design.n_points, count))
            at = 0
            for drawn in samples_of(task, range(count)):
                batch = _as_array(drawn)
                size = len(batch)
                self.n_evaluations += size
                self.rounding = max(self.rounding, rounding_of(drawn))
                values = None if statistic is None else self._values(statistic, drawn, size)
                if first is not None:
                    rows = slice(at, at + size)
                    batch = _alternating(first.samples.firsts(rows), batch)
                    own = first.values
                    values = None if values is None or own is None else _alternating(own[rows, 0], values)
                found[kind.name].add(batch, values)
                at += size
        return found

    def _values(self, statistic: Statistic, samples: Any, n: int) -> Floats:
        found = values_of(statistic, samples, n)
        if not np.isfinite(found).all():
            raise NonFiniteError(
                f"statistic {name_of(statistic)!r} returned NaN or infinity for some samples of a batch of {n}. Every "
                "value must be finite; correct the statistic, or leave it out"
            )
        self.shape = found.shape[1:]
        return found.reshape(n, -1)


def _alternating(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Return rows of both, one after the other."""
    return np.stack([first, second], axis=1).reshape(2 * len(first), *first.shape[1:])


def _as_array(samples: Any) -> NDArray[Any]:
    """Return samples as an array, or refuse what is none, or holds no real numbers."""
    if not hasattr(samples, "dtype"):
        raise RunError(
            f"pairs compares samples that are one array for each noise; got a {type(samples).__name__}. Wrap the "
            "generator so that it returns the array to compare"
        )
    try:
        return numbers_of(samples)
    except TypeError as error:
        raise RunError(
            f"pairs compares samples of real numbers; got {error}. Wrap the generator so that it returns real numbers, "
            "such as the absolute values or both parts of complex ones"
        ) from error


def _centres(drawn: Mapping[str, _Drawn], centre: str, n: int) -> dict[str, Centre]:
    """Return the mean samples of each kind, from its own samples."""
    totals = {name: one.samples.totals for name, one in drawn.items()}
    if centre == "unbiased":
        return {name: Centre(own, n) for name, own in totals.items()}
    leaves_out = centre == "leave-pair-out"
    return {
        name: Centre(np.repeat(own.sum(axis=0)[None], 2, axis=0), 2 * n, leaves_out) for name, own in totals.items()
    }


def _require_defined(values: Mapping[tuple[str, str], Floats], undefined: str, labels: Sequence[str]) -> None:
    """Refuse pairs for which a measure is not defined; or, where they may be left out, a condition with hardly any."""
    for (kind, measure), found in values.items():
        n = int(np.isnan(found).sum())
        if n and undefined == "error":
            why = (
                "have a sample that is constant but for rounding, so that"
                if measure == "standard"
                else "have a sample that differs from the mean sample by a constant, but for rounding, so that"
                if measure == "centralized"
                else "got NaN, so that"
            )
            raise RunError(
                f"{n} of {found.size} {kind} pairs {why} the {measure} measure is not defined for them. Leave them out "
                "by undefined='drop', which counts them; or look at the samples"
            )
        for label, own in zip(labels, np.isfinite(found).sum(axis=1).tolist(), strict=True):
            if own < _FEWEST:
                where = f" under the condition {label}" if label else ""
                raise RunError(
                    f"only {own} of {found.shape[1]} {kind} pairs have a {measure} measure{where}, and a mean needs "
                    f"{_FEWEST}; leave the {'condition' if label else 'measure'} out, or look at the samples"
                )

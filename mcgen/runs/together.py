"""Several scores of one run: what is run, and the estimate of each score, alone or of the difference of two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.functionals import Functional
from mcgen.functionals.base import Evaluated, Replicates
from mcgen.functionals.influence import Influence
from mcgen.functionals.joint import OnSameNoise
from mcgen.generators.joint import MINUS
from mcgen.replicates.blocks import InBlocks
from mcgen.replicates.gathering import Gatherer, OfOne
from mcgen.replicates.tally import ColumnsOfTally
from mcgen.replicates.task import Task
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_functional
from mcgen.results.provenance import SAME_NOISE
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, functional_names, provenance_of, single_estimate
from mcgen.runs.scores import replicates_of
from mcgen.statistics import Statistic
from mcgen.statistics.together import Together, columns_of, distinct
from mcgen.statistics.values import component_names, with_condition


@dataclass(frozen=True)
class Score:
    """One of several scores.

    Attributes
    ----------
    name : str
        Its name in the scorecard.
    statistic : callable
        The statistic that is run.
    functional : Functional or None
        The functional, where the score is one.
    number : int
        The number of the statistic among those that run together.
    """

    name: str
    statistic: Statistic
    functional: Functional | None
    number: int

    def under(self, condition: Any) -> Score:
        """Return the score with its statistic under a condition."""
        return replace(self, statistic=with_condition(self.statistic, condition))


def scores_together(parts: Sequence[tuple[str, Statistic, Functional | None]]) -> tuple[Together, list[Score]]:
    """Return the statistic that is run for some scores, given by name, statistic and functional; and the scores."""
    statistics, places = distinct([statistic for _, statistic, _ in parts])
    first = [parts[places.index(number)] for number in range(len(statistics))]
    labels = [name if functional is None else None for name, _, functional in first]
    scores = [Score(*part, place) for part, place in zip(parts, places, strict=True)]
    return Together(statistics, labels), scores


def gatherers_of(together: Together, scores: Sequence[Score]) -> tuple[Gatherer, ...]:
    """Return what is gathered of the samples for all scores: each kind of a statistic once, blocks for each score."""
    found: dict[str, Gatherer] = {}
    for score in scores:
        for one in () if score.functional is None else score.functional.gatherers:
            part = OfOne(one, together, score.number, score.name if isinstance(one, InBlocks) else "")
            found.setdefault(part.name, part)
    return tuple(found.values())


@dataclass(frozen=True)
class GivenScores:
    """The scores as the user gave them, by which a store knows a run again.

    Attributes
    ----------
    scores : dict of str to object
        The scores by name.
    """

    scores: dict[str, Any]

    def __mcgen_content__(self, load: bool) -> Any:
        return self.scores

    @property
    def name(self) -> str:
        """The names, joined."""
        return ", ".join(self.scores)


@dataclass(frozen=True)
class AllScores(Functional):
    """All scores of a run side by side, for the rule that stops it; each component is called by its score.

    Attributes
    ----------
    together : Together
        The statistic that is run.
    scores : tuple of Score
        The scores.
    names_found : list of str
        For each component the name of its score; filled by the first evaluation.
    """

    together: Together
    scores: tuple[Score, ...]
    names_found: list[str] = field(default_factory=list, compare=False)

    @property
    def label(self) -> str:
        """What it is."""
        return "scores"

    @property
    def statistic(self) -> Statistic:
        """All statistics."""
        return self.together

    @property
    def gatherers(self) -> tuple[Gatherer, ...]:
        """What is gathered for all scores."""
        return gatherers_of(self.together, self.scores)

    @property
    def fewest_values(self) -> int:
        """The most that a score wants."""
        return max(0 if one.functional is None else one.functional.fewest_values for one in self.scores)

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the name of its score for each component; there must have been an evaluation."""
        return tuple(self.names_found)

    def evaluated(self, found: Replicates) -> Evaluated:
        """Return all scores, one after the other."""
        each = [_of_score(one, found, self.together) for one in self.scores]
        names = [one.name for one, part in zip(self.scores, each, strict=True) for _ in range(len(part.plug_in))]
        self.names_found[:] = names
        first = [part.strata[0] if part.first_order is None else part.first_order for part in each]
        return Evaluated(
            (len(names),),
            np.concatenate([part.plug_in for part in each]),
            (np.concatenate([part.strata[0] for part in each], axis=1),),
            first_order=np.concatenate(first, axis=1),
            warnings=tuple(dict.fromkeys(text for part in each for text in part.warnings)),
            parts=tuple(each),
        )

    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Refuse: scores are joined one by one."""
        raise NotImplementedError

    def influence(self, found: Replicates) -> Influence:
        """Refuse: designs are planned for one score."""
        raise NotImplementedError


def _of_score(score: Score, found: Replicates, together: Together) -> Evaluated:
    """Return one score at the replicates of all; the mean of a statistic is the mean of its replicate means."""
    shapes = together.shapes_together
    assert shapes is not None
    own = found.of_one(columns_of(shapes[0], score.number), shapes[0][score.number], score.number, score.name)
    if score.functional is not None:
        return score.functional.evaluated(own)
    means = own.units.mean
    return Evaluated(own.shape, means.mean(axis=0), (means,))


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run of all scores of one model under one condition.

    Attributes
    ----------
    task : Task
        What was run.
    outcome : Outcome
        Its replicates.
    scores : tuple of str
        The names of all scores, in the order of their components where the run stopped by itself.
    """

    task: Task
    outcome: Outcome
    scores: tuple[str, ...] = ()

    @property
    def replicates(self) -> Replicates:
        """The replicates of all scores."""
        return replicates_of(self.outcome.tally, self.outcome.facts, self.task.design.n_points)

    def of(self, score: Score) -> Replicates:
        """Return the replicates of one score."""
        return self.replicates.of_one(self._columns(score), self._shape(score), score.number, score.name)

    def estimate(self, score: Score, options: RunOptions, evaluated: Evaluated | None) -> Estimate:
        """Return the estimate of one score, as a run of it alone would give it.

        Parameters
        ----------
        score : Score
            The score, under the condition of the run.
        options : RunOptions
            Its options.
        evaluated : Evaluated or None
            The functional at the replicates, where the score is one and is evaluated.
        """
        columns, facts = self._columns(score), self.outcome.facts
        own = replace(
            facts,
            components=self._shape(score),
            boolean=_where_any(facts.boolean[columns]),
            bounds=facts.bounds[columns],
        )
        stopping = self.outcome.stopping
        if stopping is not None and self.outcome.evaluated is not None:
            stopping = stopping.select(self._components(score))
        outcome = replace(
            self.outcome,
            tally=ColumnsOfTally(self.outcome.tally.whole, columns),
            facts=own,
            evaluated=evaluated,
            stopping=stopping,
        )
        task = replace(self.task, statistic=score.statistic)
        return single_estimate(task, outcome, options)

    def _columns(self, score: Score) -> slice:
        assert self.outcome.facts.shapes is not None
        return columns_of(self.outcome.facts.shapes[0], score.number)

    def _shape(self, score: Score) -> tuple[int, ...]:
        assert self.outcome.facts.shapes is not None
        return self.outcome.facts.shapes[0][score.number]

    def _components(self, score: Score) -> slice:
        """Return where the components of a score are among those of all, in a run that stopped by itself."""
        assert isinstance(self.outcome.evaluated, Evaluated)
        at = 0
        for other, part in zip(self.scores, self.outcome.evaluated.parts, strict=True):
            if other == score.name:
                return slice(at, at + len(part.plug_in))
            at += len(part.plug_in)
        raise KeyError(score.name)


def difference_of(
    first: FinishedRun, second: FinishedRun, score: Score, options: RunOptions, evaluated: Evaluated | None
) -> Estimate:
    """Return the difference of two models by a score, from runs on the same noise.

    Parameters
    ----------
    first, second : FinishedRun
        The runs; where one stopped earlier, the other counts as far as it does.
    score, options, evaluated
        As for `FinishedRun.estimate`; the functional of the difference.
    """
    if evaluated is None:
        a, b = (run.of(score) for run in (first, second))
        n = min(len(a.units), len(b.units))
        evaluated = Evaluated(
            a.shape, a.units.mean.mean(axis=0) - b.units.mean.mean(axis=0), (a.units.mean[:n] - b.units.mean[:n],)
        )
    task = replace(first.task, statistic=score.statistic)
    provenance = provenance_of(task, first.outcome, options.first_replicate)
    names = MINUS.join(name_of(one.task.generator) for one in (first, second))
    rounding = max(first.outcome.facts.rounding, second.outcome.facts.rounding)
    provenance = replace(provenance, generator=names, models_noise=SAME_NOISE, rounding=rounding)
    shape = first._shape(score)
    if score.functional is None:
        shown = component_names(score.statistic, shape)
    else:
        provenance = replace(provenance, functional=score.functional.label, **score.functional.identity())
        shown = functional_names(score.functional, score.statistic, shape, evaluated.shape)
    made = estimate_from_functional(evaluated, provenance, shown, options.interval, warnings=evaluated.warnings)
    # Means have no usual value beside the estimate.
    return made if score.functional is not None else replace(made, plug_in=None)


def on_same_noise(functional: Functional) -> OnSameNoise:
    """Return the difference of a functional of two models on the same noise."""
    return OnSameNoise(functional, ("a", "b"), (1.0, -1.0), "difference")


def _where_any(flags: tuple[bool, ...]) -> tuple[bool, ...]:
    return flags if any(flags) else ()

"""Runs of all scores of several models, and the estimates made from them: of each model, and of pairs of models.

Each model is run once under each condition, whatever the number of scores: samples are made once, and features once.
The estimates come from what these runs have kept, by the same code as those of a run of one score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.errors import RunError
from mcgen.functionals.base import Evaluated, beside
from mcgen.generators.finished import FinishedSamples
from mcgen.generators.joint import MINUS
from mcgen.replicates.clock import Clock
from mcgen.replicates.loop import rows_of_samples
from mcgen.replicates.tally import Tally
from mcgen.replicates.task import Estimand, Findings, Task
from mcgen.results.estimate import Estimate
from mcgen.results.notes import merged_warnings
from mcgen.results.provenance import INDEPENDENT_NOISE
from mcgen.results.sums import weighted_sum
from mcgen.runs.arguments import Across
from mcgen.runs.conditions import run_each
from mcgen.runs.execution import run
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, single_estimate
from mcgen.runs.population import Population
from mcgen.runs.together import AllScores, FinishedRun, Score, difference_of, on_same_noise

if TYPE_CHECKING:
    import pandas as pd

# Images, or other finished samples, that a statistic gets at a time.
_BATCH = 64
# Points of a curve of a distance against n, and the share of the replicates at the first.
_N_CURVE, _SMALLEST = 8, 64


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked for of all models.

    Attributes
    ----------
    scores : tuple of Score
        The scores.
    options : mapping of str to RunOptions
        The options of each score, by its name.
    shares : ndarray or None
        The weights of several conditions; None for one.
    across : str
        What several conditions are joined to.
    population : Population or None
        The population that the conditions are a sample of.
    """

    scores: tuple[Score, ...]
    options: dict[str, RunOptions]
    shares: Floats | None
    across: Across
    population: Population | None


@dataclass(eq=False)
class ModelRuns:
    """The runs of some models, and the estimates that follow from them.

    Attributes
    ----------
    asked : Asked
        What is asked for.
    estimands : dict of str to Estimand
        For each model all that is run of it, with the conditions.
    noise : dict of str to int
        Which models share their noise: those of the same number.
    runs : dict of (str, tuple) to FinishedRun
        By model and the path of the condition's random numbers.
    """

    asked: Asked
    estimands: dict[str, Estimand] = field(default_factory=dict)
    noise: dict[str, int] = field(default_factory=dict)
    runs: dict[tuple[str, tuple[str | int, ...]], FinishedRun] = field(default_factory=dict)
    _evaluated: dict[tuple[str, tuple[str | int, ...], int], dict[tuple[str, ...], Evaluated]] = field(
        default_factory=dict
    )
    _errors: dict[tuple[str, tuple[str | int, ...], str], RunError] = field(default_factory=dict)

    def has(self, model: str) -> bool:
        """Return whether something of a model was run."""
        return any(name == model for name, _ in self.runs)

    def add(self, model: str, task: Task, n_replicates: int | None, options: RunOptions) -> bool:
        """Run a model under one condition, and return whether it was not interrupted.

        Its path is kept without what sets its noise apart from that of other models.
        """
        together = task.statistic

        def finish(own: Task, outcome: Outcome, asked: RunOptions) -> Estimate:
            kept = FinishedRun(own, outcome, tuple(score.name for score in self.asked.scores))
            self.runs[model, _path(own)] = kept
            made = single_estimate(own, outcome, asked)
            if outcome.stopping is None or outcome.evaluated is None:
                return replace(made, warnings=outcome.warnings)
            # A run that stops by itself looks at the interval of each score.
            each = self._estimates(kept, outcome.evaluated.parts)
            halves = [np.ravel(one.half_width) for one in each.values()]
            return replace(made, half_width=np.concatenate(halves), warnings=outcome.warnings)

        functional = None
        if options.tolerance is not None:
            functional = AllScores(together, self.asked.scores)  # type: ignore[arg-type]
        made = run(task, n_replicates, replace(options, functional=functional, bar=model), finish, self._each_score)
        return not made.partial

    def _each_score(self, task: Task, outcome: Outcome) -> dict[str, Estimate]:
        """Return the estimate of each score from a run that may still go on."""
        so_far = FinishedRun(task, outcome, tuple(score.name for score in self.asked.scores))
        parts = [
            None if one.functional is None else one.functional.evaluated(so_far.of(one)) for one in self.asked.scores
        ]
        return self._estimates(so_far, parts)

    def _estimates(self, kept: FinishedRun, parts: Sequence[Evaluated | None]) -> dict[str, Estimate]:
        """Return the estimate of each score of a run, from what its functional gave where it is one."""
        return {
            one.name: kept.estimate(
                one.under(kept.task.condition), self.asked.options[one.name], None if one.functional is None else part
            )
            for one, part in zip(self.asked.scores, parts, strict=True)
        }

    def add_finished(self, model: str, task: Task, samples: FinishedSamples, options: RunOptions) -> None:
        """Take samples that are there already for independent replicates of one point."""
        task = replace(task, gatherers=options.gatherers)
        tally, findings, clock = Tally(True, gatherers=task.gatherers), Findings(task), Clock()
        for rows in rows_of_samples(task, samples.batches(_BATCH), findings):
            tally.add(rows)
            clock.tick(len(rows))
        names = tuple(score.name for score in self.asked.scores)
        self.runs[model, _path(task)] = FinishedRun(task, Outcome(tally, findings.facts, False, clock), names)

    def estimate(self, model: str, score: Score) -> Estimate:
        """Return the estimate of a model by a score, over all conditions."""
        return self._over_conditions((model,), score, self.asked.options[score.name])

    def differences(self, score: Score, estimates: dict[str, Estimate]) -> Iterator[tuple[tuple[str, str], Estimate]]:
        """Yield the difference of each pair of models: the first minus the second, each with its own interval.

        Models on independent noise that have not run under the same conditions have no difference.

        Parameters
        ----------
        score : Score
            The score.
        estimates : dict of str to Estimate
            Its estimate of each model.
        """
        options = self.asked.options[score.name]
        interval = replace(options.interval, simultaneous=False, shared_with=1)
        if interval.method == "proportion":
            interval = interval.by_default()
        options = replace(options, interval=interval, tolerance=None)
        for pair in combinations(estimates, 2):
            if self.noise[pair[0]] == self.noise[pair[1]]:
                yield pair, self._over_conditions(pair, score, options)
            elif len({len(estimates[model].parts) for model in pair}) == 1:
                # A model that was interrupted may lack some conditions.
                yield pair, _independent(pair, [estimates[model] for model in pair], options)

    def curves(self, models: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
        """Return distances against the number of samples, by score and model, from the first replicates of each run.

        There is a row for each number n, with the usual value, and the estimate with its interval; these are NaN where
        n is too small to remove the bias. Models under several conditions have none, nor have distances by blocks,
        which keep no features.
        """
        found: dict[str, dict[str, pd.DataFrame]] = {}
        for score in self.asked.scores:
            for model in models:
                kept = self.runs.get((model, ()))
                pools = score.functional is not None and score.functional.pools
                if kept is not None and pools and not kept.of(score).blocks:
                    found.setdefault(score.name, {})[model] = self._curve(score, kept)
        return found

    def _curve(self, score: Score, kept: FinishedRun) -> pd.DataFrame:
        """Return a distance at smaller numbers of the replicates of a run."""
        import pandas as pd

        whole, options = kept.of(score), self.asked.options[score.name]
        functional: Any = score.functional
        rows = []
        for count in _numbers(len(whole.units)):
            first = whole.first(count)
            values = first.values
            assert values is not None
            plug_in = functional.plug_in(values.reshape(-1, values.shape[2]))
            try:
                made = kept.estimate(score, options, functional.evaluated(first))
            except RunError:
                rows.append((count * whole.n_points, plug_in, math.nan, math.nan, math.nan))
            else:
                ends = float(made.interval.low), float(made.interval.high)
                rows.append((count * whole.n_points, plug_in, float(made.mean), *ends))

        return pd.DataFrame(rows, columns=["n", "plug_in", "estimate", "low", "high"])

    def _over_conditions(self, models: tuple[str, ...], score: Score, options: RunOptions) -> Estimate:
        """Return the estimate of a model, or of the difference of two, joined over the conditions."""
        if len(models) == 2 and score.functional is not None:
            options = replace(options, functional=on_same_noise(score.functional))
        estimand = replace(self.estimands[models[0]], statistic=score.statistic)
        run_one = partial(self._under_condition, models=models, score=score)
        return run_each(estimand, options, self.asked.shares, run_one, self.asked.across, self.asked.population)

    def _under_condition(
        self, estimand: Estimand, options: RunOptions, *, models: tuple[str, ...], score: Score
    ) -> Estimate:
        """Return the estimate of a model, or of the difference of two, under one condition."""
        if any((model, estimand.stream) not in self.runs for model in models):
            # What joins the conditions then goes on with those that are there.
            raise KeyboardInterrupt("the run of a model was interrupted before this condition")
        runs = [self.runs[model, estimand.stream] for model in models]
        own = replace(score, statistic=estimand.statistic)
        evaluated = None
        if score.functional is not None:
            if options.collected is not None:
                parts = [one.of(own) for one in runs]
                options.collected.append(beside(parts) if len(parts) > 1 else parts[0])
            if options.collected is not None and score.functional.pools:
                # A distance of a mixture is that of all features together; a condition has means alone.
                own = replace(own, functional=None)
            else:
                found = self._at(own, estimand.stream, self.noise[models[0]])
                for model in models:
                    if (model,) not in found:
                        raise self._errors[score.name, estimand.stream, model]
                evaluated = found[models]
        if len(models) > 1:
            return difference_of(runs[0], runs[1], own, options, evaluated)
        return runs[0].estimate(own, replace(options, functional=own.functional), evaluated)

    def _at(self, score: Score, path: tuple[str | int, ...], noise: int) -> dict[tuple[str, ...], Evaluated]:
        """Return a functional of all models that share their noise, and its differences; each is evaluated once."""
        key = score.name, path, noise
        if key not in self._evaluated:
            models = [model for model in self.noise if self.noise[model] == noise and (model, path) in self.runs]
            try:
                self._evaluated[key] = self._of_models(score, models, path)
            except RunError:
                self._evaluated[key] = self._of_models(score, self._with_value(score, models, path), path)
        return self._evaluated[key]

    def _with_value(self, score: Score, models: Sequence[str], path: tuple[str | int, ...]) -> list[str]:
        """Return those of some models whose functional has a value; why the others have none is kept."""
        assert score.functional is not None
        found = []
        for model in models:
            try:
                score.functional.evaluated(self.runs[model, path].of(score))
                found.append(model)
            except RunError as error:
                error.add_note(f"score {score.name!r} of model {model!r}")
                self._errors[score.name, path, model] = error
        return found

    def _of_models(
        self, score: Score, models: Sequence[str], path: tuple[str | int, ...]
    ) -> dict[tuple[str, ...], Evaluated]:
        functional = score.functional
        assert functional is not None
        own = [self.runs[model, path].of(score) for model in models]
        pairs = list(combinations(range(len(models)), 2))
        keys = [*((model,) for model in models), *((models[a], models[b]) for a, b in pairs)]
        if len({len(one.units) for one in own}) == 1:
            rows = np.zeros((len(pairs), len(models)))
            for number, (a, b) in enumerate(pairs):
                rows[number, a], rows[number, b] = 1.0, -1.0
            factors = np.concatenate([np.eye(len(models)), rows])
            at_once = functional.combinations([[one] for one in own], np.ones(1), factors)
            if at_once is not None:
                return dict(zip(keys, at_once, strict=True))
        found = [functional.evaluated(one) for one in own]
        found += [on_same_noise(functional).evaluated(beside([own[a], own[b]])) for a, b in pairs]
        return dict(zip(keys, found, strict=True))


def _numbers(count: int) -> list[int]:
    """Return numbers of replicates up to this one, evenly spread on a logarithmic axis."""
    least = max(8, count // _SMALLEST)
    return sorted({round(one) for one in np.geomspace(min(least, count), count, _N_CURVE).tolist()})


def _path(task: Task) -> tuple[str | int, ...]:
    """Return the path of a condition's random numbers, without what sets the noise of a model apart."""
    return task.stream[2:] if task.stream[:1] == (APART,) else task.stream


APART = "models"
"""First part of the path of the random numbers of models whose noise is apart from that of the first."""


def _independent(pair: tuple[str, str], parts: Sequence[Estimate], options: RunOptions) -> Estimate:
    """Return the difference of two estimates on independent noise."""
    first = parts[0].provenance
    record = replace(
        first,
        generator=MINUS.join(part.provenance.generator for part in parts),
        noise="; ".join(f"{model}: {part.provenance.noise}" for model, part in zip(pair, parts, strict=True)),
        design=" or ".join(dict.fromkeys(part.provenance.design for part in parts)),
        n_replicates=min(part.n_replicates for part in parts),
        n_evaluations=min(part.n_evaluations for part in parts),
        seconds=sum(part.provenance.seconds for part in parts),
        rounding=max(part.provenance.rounding for part in parts),
        models_noise=INDEPENDENT_NOISE,
        condition=None,
    )
    each = tuple(
        replace(part, provenance=replace(part.provenance, model=model)) for model, part in zip(pair, parts, strict=True)
    )
    notes = merged_warnings(
        [(model, part.warnings) for model, part in zip(pair, each, strict=True)], "model", each[0].names
    )
    interval = options.interval
    asked = replace(interval, method=None) if interval.method == "two-stage-t" else interval
    return weighted_sum(each, np.array([[1.0], [-1.0]]), record, asked, warnings=notes)

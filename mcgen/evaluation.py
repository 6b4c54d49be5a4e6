"""`evaluate`: several models by several scores, each number with its interval, from one pass over each model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from mcgen._lib.checks import checked_flag, checked_integer
from mcgen._lib.names import name_of
from mcgen.call_options import batch_size_of, checked_count, checked_options, checked_shares
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.designs._base import checked_design, refuse_class
from mcgen.errors import CoverageWarning, held_warnings, warn_user, with_partial
from mcgen.functionals import Functional
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.finished import FinishedSamples
from mcgen.noise.random import as_seed_sequence
from mcgen.noise.spec import agree_in_order
from mcgen.replicates.sizes import Conditions, conditions_of, with_points
from mcgen.replicates.streams import labels_of, under_condition
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.results.estimate import Estimate
from mcgen.results.scorecard import Scorecard
from mcgen.runs.arguments import RunArguments, checked_arguments, showing_arguments
from mcgen.runs.header import header_of, opened
from mcgen.runs.model_runs import APART, Asked, ModelRuns
from mcgen.runs.options import RunOptions
from mcgen.runs.population import checked_population
from mcgen.runs.scores import parts_of_score, require_size, with_fewest_values, with_functional
from mcgen.runs.together import GivenScores, gatherers_of, scores_together
from mcgen.sampling import antithetic_pictures
from mcgen.statistics import Statistic

_REFUSED = {
    "common_random_numbers": "Models share their noise where they take the same; conditions have noise of their own.",
    "controls": "A scorecard has many scores, and controls are fitted to one; use mcgen.estimate.",
    "replicates": "Parts of runs are for mcgen.estimate.",
    "keep_replicates": "All replicate means are kept, for the differences between models.",
}
# Most characters of a model's name in that of its store.
_LONGEST_NAME = 100
Model = Generator | FinishedSamples | Any
Score = Statistic | Functional


@showing_arguments(without=_REFUSED)
def evaluate(
    models: Model | Sequence[Model] | Mapping[str, Model],
    scores: Score | Sequence[Score] | Mapping[str, Score],
    *,
    design: Design | None = None,
    curves: bool = False,
    pictures: int = 0,
    **run: Unpack[RunArguments],
) -> Scorecard:
    """Estimate several scores of several models, each number with its interval, from one pass over each model.

    Samples are made once for all scores, and features once for all distances. Models that take the same noise get the
    same numbers, so their differences are known far better than each of them. Other models are independent. The first
    model, and those on the same noise, get the estimates that `estimate` gives with the same arguments.

    Parameters
    ----------
    models : Generator, array_like, str or Path, or several of them
        One model, a list, or a dict from names to models. In place of a model: samples that exist already, as an array
        or tensor, a folder of images or an ``.npy`` file (`mcgen.generators.FinishedSamples`). They count as
        independent samples. No design is used for them, and all of them are used.
    scores : callable or Functional, or several of them
        One score, a list, or a dict from names to scores: statistics, or functionals such as
        ``mcgen.functionals.frechet_distance(reference, features)``.
    design : Design
        How the noise is drawn; ``Antithetic()`` by default.
    curves : bool
        Also evaluate distances at smaller numbers of samples, for the picture of the distance against n. It takes a
        few times the work of one evaluation, and no more samples.
    pictures : int
        Also keep this number of antithetic pairs of samples of each generator of images, for the report.
    **run
        Further arguments of `estimate`. `components` are names of scores here: those whose half-widths count for
        `atol` and `rtol`. `store` is a folder, which gets a file for each model, so that models can be added later.
        With ``simultaneous=True`` all intervals of the scorecard hold together.

    Returns
    -------
    Scorecard
        ``card[model, score]`` is an `Estimate`. `Scorecard.differences` and `Scorecard.best` compare the models;
        `Scorecard.report` writes a page.

    Raises
    ------
    TypeError, ValueError, RunError, StoreError, WorkerError
        As for `estimate`. The exception's ``partial`` is the scorecard of the models that are finished, without the
        scores that have no value; None where there is none. A run that is interrupted from the keyboard returns the
        scorecard of the models so far.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> models = {
    ...     "old": mcgen.as_generator(lambda z: np.tanh(z + 1), noise=(16,), name="old"),
    ...     "new": mcgen.as_generator(lambda z: np.tanh(z + 1.02), noise=(16,), name="new"),
    ... }
    >>> card = mcgen.evaluate(models, mcgen.statistics.pixel_mean, n_evaluations=2000, seed=0)
    >>> card["new", "pixel_mean"].half_width > card.pairs["pixel_mean"]["old", "new"].half_width
    True
    >>> card.best("pixel_mean", largest=True)
    ('new',)
    """
    found = {name: _checked_model(name, one) for name, one in _named(models, "models").items()}
    if all(isinstance(model, FinishedSamples) for model in found.values()):
        # Nothing is drawn.
        run.setdefault("seed", 0)
    asked = checked_arguments("evaluate", run, _REFUSED, own=("design", "curves", "pictures"))
    checked_flag("curves", curves)
    if checked_integer("pictures", pictures) < 0:
        raise ValueError(f"pictures must be a number of pairs of samples, 0 or more; got {pictures}")
    refuse_class(design)
    own_design = Antithetic() if design is None else design
    evaluation = _Evaluation(found, _named(scores, "scores"), own_design, asked)
    try:
        evaluation.run()
        return evaluation.card(curves, pictures)
    except Exception as error:
        with_partial(error, evaluation.partial())
        raise


def _named(given: Any, what: str) -> dict[str, Any]:
    """Return models or scores by name: those of a dict, or their own."""
    if isinstance(given, Mapping):
        found = dict(given)
        wrong = next((name for name in found if not isinstance(name, str) or not name), None)
        if wrong is not None:
            raise TypeError(f"names of {what} must be texts that are not empty; got {wrong!r}")
    else:
        several = list(given) if isinstance(given, list | tuple) else [given]
        names = [_name(one) for one in several]
        if len(set(names)) < len(names):
            raise ValueError(
                f"{what} need names that differ; got {', '.join(names)}. Pass a dict from names to {what}, such as "
                f"{{'first': ..., 'second': ...}}"
            )
        found = dict(zip(names, several, strict=True))
    if not found:
        raise ValueError(f"evaluate needs one or more {what}; got none")
    return found


def _name(one: Any) -> str:
    if isinstance(one, str | Path):
        return Path(one).name or str(one)
    return "samples" if _is_array(one) else name_of(one)


def _is_array(one: Any) -> bool:
    # Some generators have a shape and a type too.
    return hasattr(one, "shape") and hasattr(one, "dtype") and not callable(one)


class _Evaluation:
    """One call of `evaluate`."""

    def __init__(self, models: dict[str, Any], scores: dict[str, Any], design: Design, asked: RunArguments) -> None:
        self._asked, self._scores_given = asked, scores
        self._models = models
        components = asked["components"]
        unknown = [one for one in components or () if one not in scores]
        if unknown:
            raise ValueError(f"components must be names of scores, such as {next(iter(scores))!r}; got {unknown}")
        self._options, _ = checked_options(asked)
        condition = conditions_of(asked["condition"])
        finished = [name for name, model in self._models.items() if isinstance(model, FinishedSamples)]
        if finished and isinstance(condition, Conditions):
            raise ValueError(
                f"finished samples have no conditions; got samples for {finished[0]!r} beside several conditions. "
                "Evaluate the samples of each condition by themselves, or pass the model"
            )
        population, shares = checked_population(condition, asked), checked_shares(condition, asked)
        parts = [(name, *parts_of_score(one)) for name, one in scores.items()]
        self._together, found = scores_together(parts)
        self._condition = condition
        interval = self._options.interval
        if interval.simultaneous:
            interval = replace(interval, shared_with=len(models) * len(scores))
        each = replace(self._options, interval=interval)
        options = {one.name: with_functional(each, one.functional, asked) for one in found}
        self._options = replace(self._options, keep_samples=asked["keep_samples"])
        known, evaluations = with_points(design, asked["n_evaluations"], self._options.tolerance is not None)
        self._design = checked_design(known)
        self._count = self._checked_count(evaluations, list(options.values()))
        self._runs = ModelRuns(Asked(tuple(found), options, shares, asked["across"], population))
        self.finished: list[str] = []

    def _checked_count(self, evaluations: int | None, options: list[RunOptions]) -> int | None:
        """Return the number of replicates of each model, or None where a tolerance decides."""
        if all(isinstance(model, FinishedSamples) for model in self._models.values()):
            if self._options.tolerance is not None:
                raise ValueError(
                    f"all finished samples are used, whatever the interval; got atol={self._asked['atol']!r} and "
                    f"rtol={self._asked['rtol']!r}. Leave these out"
                )
            return None
        for one in options:
            own = with_fewest_values(one, self._design.n_points)
            if own.tolerance is not None and self._options.tolerance is not None:
                fewest = max(own.tolerance.min_replicates or 0, self._options.tolerance.min_replicates or 0)
                tolerance = replace(self._options.tolerance, min_replicates=fewest or None)
                self._options = replace(self._options, tolerance=tolerance)
        count = checked_count(self._design, evaluations, self._asked["n_replicates"], self._options)
        for one in options:
            require_size(one, self._design.n_points, count, self._asked)
        return count

    def run(self) -> None:
        """Run each model, under each condition, until all are finished or one is interrupted from the keyboard."""
        specs: list[Any] = []
        for name, model in self._models.items():
            finished = True
            if isinstance(model, FinishedSamples):
                self._runs.noise[name] = -1 - len(self.finished)
                self._take(name, model)
            else:
                known = [number for number, spec in enumerate(specs) if agree_in_order(spec, model.noise)]
                specs += [] if known else [model.noise]
                self._runs.noise[name] = known[0] if known else len(specs) - 1
                try:
                    finished = self._run(name, model)
                except KeyboardInterrupt:
                    # Too little was finished of a condition, or of the whole model.
                    finished, begun = False, self._runs.has(name)
                    if not (begun or self.finished):
                        raise
                    if not begun:
                        return
            self.finished.append(name)
            if not finished:
                return

    def _take(self, name: str, samples: FinishedSamples) -> None:
        """Take finished samples for a run."""
        for one in self._runs.asked.options.values():
            require_size(one, 1, len(samples), self._asked)
        stand_in: Any = _Finished(name)
        estimand = Estimand(stand_in, self._together, as_seed_sequence(self._asked["seed"]))
        self._runs.estimands[name] = estimand
        options = replace(self._options, beside=gatherers_of(self._together, self._runs.asked.scores))
        self._runs.add_finished(name, estimand.task(MonteCarlo(), 1), samples, options)

    def _run(self, name: str, model: Generator) -> bool:
        """Run one model under all conditions, with a store of its own; return whether it was not interrupted."""
        given = {"generator": model, "statistic": GivenScores(self._scores_given)}
        estimand = estimand_of(model, self._together, self._asked["seed"], self._condition, given)
        self._runs.estimands[name] = estimand
        batch_size = batch_size_of(self._design, model.noise.dimension, self._options, self._count, range(0))
        apart = self._runs.noise[name]
        header = {"design": str(self._design), "scores": list(self._scores_given), "apart": apart}
        belongs_to = partial(header_of, "evaluate", estimand, header)
        store = _store_of(self._asked["store"], name)
        with opened(store, belongs_to, self._asked["executor"], self._asked["range_timeout"]) as resources:
            options = replace(
                self._options,
                resources=resources,
                keep_replicates=True,
                beside=gatherers_of(self._together, self._runs.asked.scores),
            )
            for one in self._each_condition(estimand):
                stream = (APART, apart, *one.stream) if apart else one.stream
                task = replace(one, stream=stream).task(self._design, batch_size)
                if not self._runs.add(name, task, self._count, options):
                    return False
        return True

    def _each_condition(self, estimand: Estimand) -> list[Estimand]:
        """Return the estimand under each condition."""
        conditions = self._condition
        if not isinstance(conditions, Conditions):
            return [under_condition(estimand, conditions)]
        labels = labels_of(conditions, conditions.names)
        return [
            under_condition(estimand, condition, number, label)
            for number, (condition, label) in enumerate(zip(conditions, labels, strict=True))
        ]

    def card(self, curves: bool, pictures: int) -> Scorecard:
        """Return the scorecard of the models that are finished."""
        with held_warnings():
            estimates = {
                score.name: {model: self._runs.estimate(model, score) for model in self.finished}
                for score in self._runs.asked.scores
            }
            pairs = self._pairs(estimates)
        found = Scorecard(
            estimates, pairs, self._runs.curves(self.finished) if curves else {}, self._pictures(pictures)
        )
        for text in found.warnings:
            warn_user(text, CoverageWarning)
        return found

    def partial(self) -> Scorecard | None:
        """Return the scorecard of what there is after an error; None where there is no number."""
        estimates: dict[str, dict[str, Estimate]] = {}
        with held_warnings():
            for score in self._runs.asked.scores:
                for model in self.finished:
                    with suppress(Exception):
                        made = self._runs.estimate(model, score)
                        estimates.setdefault(score.name, {})[model] = made
            try:
                return Scorecard(estimates, self._pairs(estimates)) if estimates else None
            except Exception:
                return None

    def _pairs(self, estimates: dict[str, dict[str, Estimate]]) -> dict[str, dict[tuple[str, str], Estimate]]:
        """Return the differences of each pair of models by the scores that they have."""
        return {
            score.name: dict(self._runs.differences(score, estimates[score.name]))
            for score in self._runs.asked.scores
            if score.name in estimates
        }

    def _pictures(self, n: int) -> dict[str, Any]:
        """Return n antithetic pairs of samples of each generator whose samples are images."""
        found = {}
        conditions = self._condition
        condition = conditions[0] if isinstance(conditions, Conditions) else conditions
        for name in self.finished if n else ():
            model = self._models[name]
            if isinstance(model, FinishedSamples):
                continue
            pictures = antithetic_pictures(model, n, seed=self._asked["seed"], condition=condition)
            if pictures is not None:
                found[name] = pictures
        return found


class _Finished:
    """Stands for the generator of finished samples."""

    def __init__(self, name: str) -> None:
        self.name, self.noise = name, _NoNoise()

    def __call__(self, noise: Any, condition: Any) -> Any:
        raise NotImplementedError


class _NoNoise:
    """The noise of finished samples, which is not known."""

    dimension = 0
    blocks = ()

    def __str__(self) -> str:
        return "none: finished samples"


def _checked_model(name: str, model: Any) -> Any:
    """Return a generator, or finished samples for what stands for them."""
    if isinstance(model, FinishedSamples):
        return model
    if isinstance(model, str | Path) or _is_array(model):
        return FinishedSamples(model, name=name)
    if isinstance(model, list | tuple) or hasattr(model, "to_numpy"):
        raise TypeError(
            f"samples in place of model {name!r} must be an array, a tensor or a path; got a {type(model).__name__}. "
            "Pass numpy.asarray(samples)"
        )
    return checked_generator(model, f"model {name!r}")


def _store_of(folder: str | Path | None, model: str) -> Path | None:
    """Return the file of a model in a folder of stores, which is made where it is missing."""
    if folder is None:
        return None
    where = Path(folder)
    if where.is_file():
        raise ValueError(
            f"store must be a folder here, which gets a file for each model; {where} is a file. Give another path"
        )
    where.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model)[:_LONGEST_NAME]
    # Other names may become the same.
    own = "" if name == model else f"-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
    return where / f"{name}{own}.sqlite"

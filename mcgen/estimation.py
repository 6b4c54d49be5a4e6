"""`estimate`: from a generator and a score to an estimate with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Unpack

from mcgen._lib.arrays import Floats
from mcgen.call_options import batch_size_of, checked_count, checked_options, checked_shares
from mcgen.designs import Design
from mcgen.designs._base import checked_design
from mcgen.errors import warn_user
from mcgen.functionals import Functional
from mcgen.generators import Generator
from mcgen.replicates.sizes import (
    conditions_of,
    with_points,
)
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.results.estimate import Estimate
from mcgen.runs.arguments import Across, RunArguments, checked_arguments, showing_arguments
from mcgen.runs.conditions import RunOne, common_noise_average, run_each
from mcgen.runs.execution import run
from mcgen.runs.header import header_of, opened
from mcgen.runs.models import run_models, with_models
from mcgen.runs.options import RunOptions
from mcgen.runs.population import checked_population
from mcgen.runs.scores import parts_of_score, require_size, with_fewest_values, with_functional
from mcgen.statistics import Statistic
from mcgen.variance_reduction.controls.control_variates import controls_text, own_controls
from mcgen.variance_reduction.planning.auto import Auto, check_auto
from mcgen.variance_reduction.planning.planner import planned


@showing_arguments()
def estimate(
    generator: Generator,
    score: Statistic | Functional,
    *,
    design: Design | Auto | Literal["auto"],
    **run: Unpack[RunArguments],
) -> Estimate:
    """Estimate E[score(generator(noise))] with a confidence interval.

    The score is a statistic of one sample, such as its brightness, or a functional of the samples' law, such as a
    variance. The interval is about the model's own value. The distance from the model to the data is not in it, nor is
    the distance from a sampler to its limit of many steps.

    A call needs the `generator`, the `score`, a `design`, a `seed`, and how much to run. All other arguments have
    defaults. They are:

    - how much to run: `n_evaluations` or `n_replicates`; or a tolerance, `atol` and `rtol`, with `components`,
      `max_evaluations` and `min_replicates`; or `replicates`, a part of a longer run;
    - which interval: `confidence_level`, `interval`, `simultaneous`;
    - conditions: `condition`, `weights`, `across`, `clusters`, `common_random_numbers`;
    - how to run: `seed`, `controls`, `batch_size`, `keep_replicates`, `keep_samples`, `store`, `executor`,
      `range_timeout`, `progress`, `callback`.

    Write options for several calls once as `mcgen.RunArguments`.

    Parameters
    ----------
    generator : Generator
        The model. `as_generator` makes one from a plain function, and `mcgen.adapters` from torch models.
    score : callable or Functional
        A statistic takes n samples, in numpy or torch, and returns values of shape (n,) or (n, ...).
        `mcgen.statistics` has some, and `as_statistic` gives a function a name. `mcgen.functionals` has the
        functionals.
    design : Design, Auto or "auto"
        How the noise is drawn. Begin with ``Antithetic()``. With ``Auto()``, or ``"auto"`` for short, a pilot chooses.
        ``Sobol()`` takes its number of points from `n_evaluations`.
    n_evaluations : int
        The number of samples: a multiple of the design's points. With several conditions it is for each of them. For
        ``"auto"`` it includes the pilot. For ``"auto"`` and ``Sobol()`` it is rounded down to whole replicates.
    n_replicates : int
        The number of replicates, 2 or more, in place of `n_evaluations`; not with ``"auto"``.
    atol, rtol : float, optional
        A tolerance, in place of a number. The run goes on until every half-width is at most
        ``max(atol, rtol * |estimate|)``. `Estimate.stopping` says what was reached. The run has two stages, or looks at
        any time with interval="anytime"; see `mcgen.inference.stopping`. Each of several conditions stops by itself.
    components : sequence of str, optional
        Names of the components whose half-widths count for `atol` and `rtol`; by default all.
    max_evaluations, min_replicates : int, optional
        Limits of a run by `atol` or `rtol`, for each condition: the most rows that the model may run, and the fewest
        replicates. The few rows that test the model's laws come on top.
    replicates : range, optional
        Only these replicates of a longer run, such as ``range(1000, 2000)`` on the second of several machines.
        `merge_stores` joins the stores.
    confidence_level : float
        A number in (0, 1).
    interval : {"student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t", "proportion", \
            "anytime", "asymptotic-anytime", "betting"}, optional
        The method; see `mcgen.intervals`. By default it is chosen for each component: "proportion" for boolean ones,
        and "skewness-safe-t" from 10 replicates on. "student-t" is the default below 10 replicates, and for large nets
        in four dimensions or more whose values are hardly skewed. Use "anytime" or "asymptotic-anytime" for runs that
        you watch and may stop at any time. "betting" is for them too, and is proved to cover; it needs bounds of the
        values (`as_statistic`). Functionals have the first five methods; quantiles have a method of their own.
    simultaneous : bool or {"skewness-safe", "bonferroni", "bootstrap-max-t", "gaussian-multiplier"}
        True if all intervals of the result are to cover together: those of all components, all conditions and their
        average. By default each covers alone.
    condition : object, or a list, range, dict or pandas Series of them, optional
        Passed to the generator, and to a statistic that takes it (`as_statistic` with ``uses_condition=True``).
        Several conditions give an estimate for each (`Estimate.conditions`) and their average. The keys of a dict, or
        the index of a Series, are their names in results. An array or a tuple is one condition.
    weights : sequence of float or dict, optional
        Weights of the conditions in the average, by default equal: numbers that sum to 1, in the order of the
        conditions or by their names. Weights of lower precision, such as float32, are divided by their sum.
    across : {"average", "mixture", "population"}
        How several conditions are joined. "average" is the weighted average of the score over exactly these
        conditions. "mixture" is the score of their pooled law, in which each condition has its weight. (For the mean
        of a statistic both are the same.) "population" is the mean over a population of which the conditions are a
        random sample. Its interval includes the spread between the conditions, and needs 10 conditions or more.
    clusters : sequence or dict, optional
        With ``across="population"``: a label for each condition, in their order or by their names. Give conditions
        that were drawn together the same label, such as several prompts of one template. The clusters are then the
        sample, and each counts the same.
    common_random_numbers : bool
        Give all conditions the same noise. By default each has its own random numbers.
    seed : int or SeedSequence
        The same seed gives the same numbers.
    controls : Controls, FittedControls or KernelControl, optional
        Functions of the noise with known expectations, which reduce the variance; see `mcgen.controls`. Their
        coefficients come from cross-fitting, or from a pilot by ``controls.fit(...)``.
    batch_size : int, optional
        The most rows that the model sees at a time. By default about 64, so that batches are nearly equal. The last
        batch is filled up with further rows, which `Estimate.executed_evaluations` counts.
    keep_replicates : bool, optional
        Keep the replicate means in the result, for bootstraps, jackknives and plots; by default up to 2^20 numbers.
    keep_samples : bool
        Keep the samples in the result (`Estimate.samples`) and in the store, up to 512 MB.
    store : str or Path, optional
        A file that receives the finished replicates about once a second. The same call continues where it stopped. A
        call with more evaluations extends the run, and a finished one returns at once.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Runs ranges of replicates on threads, on processes (also those of mpi4py and loky), or on the workers of a Dask
        client. The numbers are the same to the last bit. Wrap a generator that can't be pickled by
        `mcgen.from_factory`.
    range_timeout : float, optional
        Seconds after which a range of the executor is run elsewhere; by default never. A range takes about one second.
    progress : bool
        Show a bar with the estimate so far.
    callback : callable, optional
        Called as ``callback(state)`` with a `RunState` in this process: first at two replicates, then at most once a
        second, and once with the finished estimate. It changes no number. An exception that it raises ends the run;
        its ``partial`` is the estimate so far.

    Returns
    -------
    Estimate
        The estimate, its standard error and its interval. A run that is interrupted from the keyboard returns the
        estimate of its finished replicates, marked as partial.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    RunError
        If the generator or the statistic breaks a law, or uses a network in training mode; if a functional has no
        finite value or derivative at what the run gave; or if more values or samples are to be kept than 512 MB. Its
        ``partial`` is the estimate from the replicates before, where there are two. Any exception of the generator or
        the statistic has such a ``partial`` too.
    StoreError
        If the store is damaged, belongs to another run, is in use by another process, or its disk is full.
    WorkerError
        If the executor is shut down, or its workers die, hang or lack what they need.

    Warns
    -----
    CoverageWarning
        Below 25 replicates, and where their means are too skewed for their number.
    GeneratorWarning
        If the generator draws random numbers of its own, couples the samples of a batch, or gives samples that do not
        change with the noise.

    Examples
    --------
    A model of 16 logistic numbers, and the mean over them:

    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="logistic")
    >>> mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)
    0.69673 ± 0.00047 (95 % skewness-safe t, 1600 replicates of 2 points, Antithetic(), seed 0)

    The probability of an event, from a run that goes on until the half-width is at most 0.02:

    >>> bright = mcgen.as_statistic(lambda x: x.mean(axis=1) > 0.7, name="bright")
    >>> result = mcgen.estimate(generator, bright, design=mcgen.Antithetic(), atol=0.02, seed=0)
    >>> result.half_width <= 0.02, result.stopping.reached
    (True, True)

    Several conditions, each with its interval; all of them hold together:

    >>> shifted = mcgen.as_generator(lambda z, shift: 1 / (1 + np.exp(-z - shift)), noise=(16,), name="shifted")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0, simultaneous=True)
    >>> result = mcgen.estimate(shifted, mcgen.statistics.pixel_mean, condition={"low": 0.5, "high": 1}, **options)
    >>> low, high = result["high"].interval
    >>> bool(result["low"].mean < low < high)
    True
    """
    return estimated((generator,), score, design, run)


def estimated(
    models: tuple[Generator, ...],
    score: Statistic | Functional,
    design: Design | Auto | Literal["auto"],
    run: Mapping[str, Any],
    models_noise: str | None = None,
) -> Estimate:
    """Return the estimate of a model, or the difference of two models on independent noise.

    Parameters
    ----------
    models : tuple of Generator
        One model, or two.
    score, design, run
        As for `estimate`.
    models_noise : str, optional
        Which noise the two models of a difference share; one generator may stand for both.
    """
    chosen, words = with_auto(design, run)
    asked = checked_arguments("estimate", words, own=("design",))
    options, part = checked_options(asked)
    condition = conditions_of(asked["condition"])
    population = checked_population(condition, asked)
    shares = checked_shares(condition, asked)
    statistic, functional = parts_of_score(score)
    options = with_functional(options, functional, asked)
    given = {
        "generator": models if len(models) > 1 else models[0],
        "statistic": score,
        "coarse generators": chosen.generators if isinstance(chosen, Auto) else None,
        "controls": own_controls(asked["controls"]),
    }
    estimand = estimand_of(models[0], statistic, asked["seed"], condition, given)
    estimand = replace(estimand, models_noise=models_noise)
    if isinstance(chosen, Auto):
        check_auto(options, asked["n_evaluations"], asked["n_replicates"], asked["common_random_numbers"], part)
        header = chosen.header(asked["n_evaluations"], options)
        run_one: RunOne = partial(_run_plan, design=chosen, n_evaluations=asked["n_evaluations"])
    else:
        chosen, evaluations = with_points(chosen, asked["n_evaluations"], options.tolerance is not None)
        options = with_fewest_values(options, checked_design(chosen).n_points)
        count = checked_count(chosen, evaluations, len(part) or asked["n_replicates"], options)
        require_size(options, chosen.n_points, count, asked)
        batch_size = batch_size_of(chosen, max(one.noise.dimension for one in models), options, count, part)
        header = {"design": str(chosen), "controls": controls_text(asked["controls"])}
        common = (shares, asked["across"]) if asked["common_random_numbers"] and shares is not None else None
        run_one = partial(_run_design, design=chosen, batch_size=batch_size, n_replicates=count, common=common)
    header |= {"common_random_numbers": shares if asked["common_random_numbers"] else None}
    header |= _facts_of_run(options, part, models_noise)
    if len(models) > 1:
        options, run_one = with_models(options), partial(run_models, models=models, run_one=run_one)
    belongs_to = partial(header_of, "estimate", estimand, header)
    with opened(asked["store"], belongs_to, asked["executor"], asked["range_timeout"]) as resources:
        options = replace(options, resources=resources)
        if asked["common_random_numbers"]:
            return run_one(estimand, options)
        return run_each(estimand, options, shares, run_one, asked["across"], population)


def _facts_of_run(options: RunOptions, part: range, models_noise: str | None) -> dict[str, Any]:
    """Return what a store has to know of a call beside its estimand and its design."""
    gathered = [one.name for one in options.gatherers]
    facts = {"replicates": [part.start, part.stop] if part else None}
    optional = {"gathered": gathered or None, "noise of the models": models_noise}
    return facts | {name: value for name, value in optional.items() if value is not None}


def _run_design(
    estimand: Estimand,
    options: RunOptions,
    *,
    design: Design,
    batch_size: int,
    n_replicates: int | None,
    common: tuple[Floats, Across] | None,
) -> Estimate:
    """Run a design under one condition, or under several on the same noise, with weights and how they are joined."""
    task = estimand.task(design, batch_size)
    if common is not None:
        return common_noise_average(task, n_replicates, options, *common)
    return run(task, n_replicates, options)


def _run_plan(estimand: Estimand, options: RunOptions, *, design: Auto, n_evaluations: int | None) -> Estimate:
    """Run what a pilot chooses under one condition."""
    made = planned(estimand, options, n_evaluations, None, design)
    return made.estimate()


def with_auto(design: Design | Auto | Literal["auto"], run: Mapping[str, Any]) -> tuple[Design | Auto, dict[str, Any]]:
    """Return the design and the other arguments, with `Auto` for "auto" and for the words that it has replaced."""
    rest = dict(run)
    old = {name: rest.pop(name, None) for name in ("coarse", "correlation")}
    given = {name: value for name, value in old.items() if value is not None}
    if not isinstance(design, str):
        if given:
            raise ValueError(f"coarse and correlation are for design=mcgen.Auto(coarse=...); got design={design}")
        return design, rest
    if design != "auto":
        checked_design(design)
    if given:
        words = ", ".join(f"{name}=..." for name in given)
        warn_user(f"write design=mcgen.Auto({words}) for design='auto', {words}", DeprecationWarning)
    return Auto(**given), rest

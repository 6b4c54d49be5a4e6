"""`estimate` and `difference`: from a generator and a statistic to an estimate with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import pair
from mcgen.inference.methods import Method, SequentialMethod, SimultaneousMethod, check_interval_options
from mcgen.inference.resampling import checked_resampling
from mcgen.inference.sequences import SEQUENCES
from mcgen.inference.tolerance import Tolerance, checked_tolerance
from mcgen.noise.random import Seed
from mcgen.replicates.loop import Task
from mcgen.replicates.sizes import (
    Conditions,
    batch_until_sure,
    checked_batch_of_part,
    checked_batch_size,
    checked_replicates,
    conditions_of,
)
from mcgen.results.estimate import CROSS_FITTED, Estimate
from mcgen.runs.conditions import checked_weights, common_noise_average, run_each
from mcgen.runs.execution import run_single, task_of
from mcgen.runs.header import header_of, opened
from mcgen.runs.options import RunOptions
from mcgen.statistics import Statistic
from mcgen.statistics.joint import Difference
from mcgen.statistics.values import checked_callable
from mcgen.variance_reduction.controls.control_variates import Controls, FittedControls, controls_text, own_controls
from mcgen.variance_reduction.planning.planner import planned

if TYPE_CHECKING:
    from distributed import Client


def estimate(
    generator: Generator,
    statistic: Statistic,
    *,
    design: Design | Literal["auto"],
    n_evaluations: int | None = None,
    n_replicates: int | None = None,
    seed: Seed,
    confidence_level: float = 0.95,
    interval: Method = "student-t",
    simultaneous: bool | SimultaneousMethod = False,
    condition: Any = None,
    weights: Sequence[float] | dict[Any, float] | None = None,
    common_random_numbers: bool = False,
    batch_size: int | None = None,
    keep_replicates: bool | None = None,
    controls: Controls | FittedControls | None = None,
    coarse: Sequence[tuple[Generator, float]] | None = None,
    correlation: float | Sequence[float] | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    components: Sequence[str] | None = None,
    max_evaluations: int | None = None,
    min_replicates: int | None = None,
    replicates: range | None = None,
    store: str | Path | None = None,
    executor: Executor | Client | None = None,
    range_timeout: float | None = None,
    progress: bool = False,
) -> Estimate:
    """Estimate E[statistic(generator(noise))] with a confidence interval.

    What the interval covers is the model's own expectation: how far the model is from the data, and a sampler from its
    limit of many steps, are outside it.

    Parameters
    ----------
    generator : Generator
        The model; see `as_generator` for plain functions.
    statistic : callable
        From n samples to an array of shape (n,) or (n, ...), numpy or torch; `mcgen.statistics` has some.
    design : Design or "auto"
        How the noise is drawn, such as ``Antithetic()``; ``"auto"`` has a pilot choose, see `mcgen.plan`.
    n_evaluations, n_replicates : int
        One of them: how many samples (a multiple of the design's points), or how many replicates (2 or more). With
        several conditions: for each. ``design="auto"`` takes `n_evaluations`, which hold its pilot, and rounds down.
    seed : int or SeedSequence
        The same seed gives the same numbers.
    confidence_level : float
        In (0, 1).
    interval : {"student-t", "normal", "skewness-adjusted-t", "bootstrap-t", "anytime", "asymptotic-anytime"}
        See `mcgen.intervals`; the third for replicate means that are skewed, the last two for runs that are watched,
        and stopped when one likes.
    simultaneous : bool or {"bonferroni", "bootstrap-max-t", "gaussian-multiplier"}
        Cover all components of a vector statistic together instead of each alone.
    condition : object, or a list, range, dict or pandas Series of them, optional
        Passed to the generator. Several give an estimate for each (`Estimate.strata`) and their average; each has its
        own random numbers unless `common_random_numbers`. Results call them by the keys of a dict or the index of a
        Series. An array or a tuple is one condition.
    weights : sequence of float or dict, optional
        Of the conditions in the average, summing to 1, in their order or by their names; equal by default.
    common_random_numbers : bool
        Give all conditions the same noise; the average is then taken replicate by replicate.
    batch_size : int, optional
        Rows that the model sees at a time, at most: no more than are asked for. By default about 64, evened out over
        the run. A last batch that is not full is filled up; `Estimate.executed_evaluations` counts these rows too.
    keep_replicates : bool, optional
        Keep the replicate means in the result, for bootstraps, jackknives and plots; by default up to 2^20 numbers.
    controls : Controls or FittedControls, optional
        Functions of the noise with known expectations that take variance away, see `mcgen.controls`: their coefficients
        by cross-fitting, or fixed by ``controls.fit(...)``.
    coarse, correlation : optional
        With ``design="auto"``: cheaper generators on the same noise, as for `mcgen.plan`.
    atol, rtol : float, optional
        In place of a number: run until the half-width of every component is at most ``max(atol, rtol * |estimate|)``;
        `Estimate.stopping` says what was reached. By two stages where `interval` is "student-t", at looks of any number
        by "anytime"; see `mcgen.inference.stopping`. Every one of several conditions by itself.
    components : sequence of str, optional
        The names of those that count for `atol` and `rtol`; all by default.
    max_evaluations, min_replicates : int, optional
        With `atol` or `rtol`: the most rows that the model runs, those that fill batches included but not the few of
        the first batch's trial, and the fewest replicates. With several conditions: for each.
    replicates : range, optional
        In place of a number: these replicates of a longer run alone, such as ``range(1000, 2000)`` on the second of
        several machines, whose stores ``mcgen merge`` makes one of.
    store : str or Path, optional
        A file that gets what is finished about once a second. The same call with the same store goes on where it
        stopped, one with more evaluations extends it, and a finished one returns at once.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Runs ranges of replicates: on threads, on processes (also those of mpi4py and loky), or on the workers of a
        Dask client. The numbers are the same to the last bit. A generator that can't be pickled comes as
        `mcgen.from_factory`.
    range_timeout : float, optional
        Seconds after which a range of `executor`, which takes about one, is run elsewhere; never by default.
    progress : bool
        Show a bar with the estimate so far.

    Returns
    -------
    Estimate
        If interrupted from the keyboard, that of the finished replicates, marked as partial.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    RunError
        If the generator or the statistic breaks a law, or uses a network in training mode. Its ``partial``, like that
        of any exception out of them, is the estimate from the replicates before, where there are two.
    StoreError
        If the store is damaged, of another run, in use by another process, or its disk is full.
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
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="logistic")
    >>> mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)
    0.69673 ± 0.00046 (95 % Student t, 1600 replicates of 2 points, Antithetic(), seed 0)
    """
    tolerance = checked_tolerance(atol, rtol, max_evaluations, min_replicates, components)
    part = _checked_part(replicates, n_evaluations, n_replicates, tolerance)
    asked = confidence_level, interval, simultaneous, keep_replicates, progress
    options = _checked_options(RunOptions(*asked, controls, tolerance, batch_size, part.start))
    beside = {"coarse generators": _generators_of(coarse), "controls": own_controls(controls)}
    condition = conditions_of(condition)
    task = task_of(generator, statistic, seed, condition, **beside)
    shares = _checked_conditions(condition, weights, common_random_numbers)
    if shares is not None and not common_random_numbers and interval in SEQUENCES:
        raise ValueError(
            f"the average over independent conditions has no confidence sequence; got interval={interval!r}. Use "
            "common_random_numbers=True, or estimate the conditions one by one"
        )
    count: int | None = None
    if isinstance(design, str) and design == "auto":
        _check_auto(options, n_evaluations, n_replicates, common_random_numbers, part)
        below = None if coarse is None else list(coarse)
        run_one = partial(_by_plan, n_evaluations=n_evaluations, coarse=below, correlation=correlation)
        more = {"design": "auto", "n_evaluations": n_evaluations, "coarse": _texts(coarse), "correlation": correlation}
        more |= {"confidence_level": confidence_level, "interval": interval, "simultaneous": simultaneous}
        more |= {"keep_replicates": keep_replicates, "batch_size": batch_size}
    else:
        if coarse is not None or correlation is not None:
            raise ValueError(f"coarse and correlation are for design='auto'; got design={design}")
        count = _checked_count(design, n_evaluations, len(part) or n_replicates, options)
        task = replace(task, design=design)
        task.batch_size = _batch_size(task, options, count, part)
        run_one = partial(run_single, n_replicates=count)
        more = {"design": str(design), "controls": controls_text(controls)}
    more |= {"common_random_numbers": shares if common_random_numbers else None}
    more |= {"replicates": [part.start, part.stop] if part else None}
    header = partial(header_of, "estimate", task, more)
    with opened(store, header, executor, range_timeout) as resources:
        options = replace(options, resources=resources)
        if common_random_numbers and shares is not None:
            return common_noise_average(task, count, options, shares)
        return run_each(task, options, shares, partial(run_one, options=options))


def _batch_size(task: Task, options: RunOptions, n_replicates: int | None, part: range) -> int:
    """Return the rows that the model sees at a time."""
    n_points = task.design.n_points
    if part:
        return checked_batch_of_part(options.batch_size, n_points, part)
    if options.tolerance is None:
        return checked_batch_size(options.batch_size, n_points, n_replicates)
    most, fewest = options.tolerance.most_replicates(n_points), options.tolerance.first_count
    return batch_until_sure(options.batch_size, n_points, task.generator.noise.dimension, most, fewest)


def _by_plan(
    task: Task,
    options: RunOptions,
    n_evaluations: int | None,
    coarse: Sequence[tuple[Generator, float]] | None,
    correlation: float | Sequence[float] | None,
) -> Estimate:
    """Run what a plan of the task chooses."""
    batch_size = options.batch_size
    made = planned(task, options, n_evaluations, None, coarse=coarse, correlation=correlation, batch_size=batch_size)
    return made.estimate()


def _checked_part(
    replicates: range | None, n_evaluations: int | None, n_replicates: int | None, tolerance: Tolerance | None
) -> range:
    """Return the replicates of a part of a run; none where the run is whole."""
    if replicates is None:
        return range(0)
    if not isinstance(replicates, range) or replicates.step != 1 or replicates.start < 0 or len(replicates) < 2:
        raise ValueError(
            f"replicates must be a range of two or more, such as range(1000, 2000), of step 1 from 0 or later; got "
            f"{replicates!r}"
        )
    if n_evaluations is not None or n_replicates is not None or tolerance is not None:
        raise ValueError(
            f"replicates={replicates} says itself how many they are; leave out n_evaluations, n_replicates, atol and "
            "rtol"
        )
    return replicates


def _checked_count(
    design: Design, n_evaluations: int | None, n_replicates: int | None, options: RunOptions
) -> int | None:
    """Return the number of replicates; None where a tolerance decides."""
    tolerance, interval = options.tolerance, options.interval
    if tolerance is None:
        count = checked_replicates(design, n_evaluations, n_replicates)
        if interval == "two-stage-t":
            raise ValueError(
                "interval='two-stage-t' is of a run in two stages, by atol or rtol; got a fixed number of replicates. "
                "Leave it out, or say how narrow the interval is to be"
            )
        if interval in SEQUENCES and math.isinf(SEQUENCES[interval](float(count), count, options.confidence_level)):
            raise ValueError(
                f"interval={interval!r} has no end yet at {count} replicates; ask for more, of which 30 are enough at "
                "95 %, or for 'student-t'"
            )
        if options.resamples:
            checked_resampling(count, options.keep_replicates)
        return count
    if n_evaluations is not None or n_replicates is not None:
        raise ValueError(
            f"atol and rtol say when to stop; got n_evaluations={n_evaluations} and n_replicates={n_replicates} beside "
            "them. Leave these out, or say max_evaluations"
        )
    if interval not in ("student-t", *get_args(SequentialMethod)) or options.resamples:
        raise ValueError(
            f"a run that stops by its own numbers needs an interval that knows of it; got interval={interval!r} and "
            f"simultaneous={options.simultaneous!r}. Use 'student-t' (which is then two-stage), 'anytime' or "
            "'asymptotic-anytime', simultaneous=False or 'bonferroni'"
        )
    if isinstance(options.controls, Controls):
        raise ValueError(
            "cross-fitted controls need to know the number of replicates; fix their coefficients before the run: "
            "controls=controls.fit(generator, statistic, ...)"
        )
    return None


def _generators_of(coarse: Any) -> Any:
    """Return coarse generators without their costs."""
    with suppress(TypeError, ValueError):
        return None if coarse is None else tuple(one for one, _ in coarse)
    # What is wrong with them the plan says.
    return None


def _texts(coarse: Any) -> Any:
    """Return what a store knows coarse generators by."""
    try:
        return None if coarse is None else [[name_of(one), float(cost)] for one, cost in coarse]
    except (TypeError, ValueError):
        # What is wrong with them the plan says.
        return repr(coarse)


def _checked_conditions(condition: Any, weights: Any, common: bool) -> Floats | None:
    """Return the weights of several conditions; None for a single one."""
    if isinstance(condition, Conditions):
        return checked_weights(condition, weights)
    if weights is not None or common:
        raise ValueError(
            "weights and common_random_numbers are for several conditions: pass a list or a dict as condition"
        )
    return None


def _check_auto(
    options: RunOptions,
    n_evaluations: int | None,
    n_replicates: int | None,
    common_random_numbers: bool,
    part: range,
) -> None:
    """Refuse what does not go with a design that a pilot chooses."""
    if part or options.tolerance is not None:
        raise ValueError(
            "design='auto' shares n_evaluations out between pilot and run. To be told how many are enough use "
            "mcgen.plan(..., atol=...).estimate(); for atol and rtol here, or for a part of a run by replicates=..., "
            "choose a design, such as mcgen.Antithetic()"
        )
    if n_replicates is not None or n_evaluations is None:
        raise ValueError(
            f"design='auto' takes n_evaluations, which pilot and run share; got n_evaluations={n_evaluations} and "
            f"n_replicates={n_replicates}. Give n_evaluations, or ask mcgen.plan(..., atol=...) how many are enough"
        )
    if options.controls is not None:
        raise ValueError("design='auto' chooses controls itself; leave them out, or choose a design")
    if common_random_numbers:
        raise ValueError(
            "design='auto' plans each condition alone; with common_random_numbers=True choose a design, such as that "
            "of mcgen.plan for one of the conditions"
        )
    if options.resamples or options.interval in get_args(SequentialMethod):
        raise ValueError(
            "design='auto' may choose a sum of levels, which has no replicate means to resample; use "
            "interval='student-t', 'skewness-adjusted-t' or simultaneous='bonferroni', or choose a design"
        )


def _checked_options(options: RunOptions) -> RunOptions:
    """Refuse intervals that there are not, what are no controls, and cross-fitting where there is nothing for it."""
    check_interval_options(options.confidence_level, options.interval, options.simultaneous)
    if not isinstance(options.controls, Controls | FittedControls | None):
        raise TypeError(
            f"controls must be mcgen.controls.Controls, such as mcgen.controls.quadratic(basis); got "
            f"{options.controls!r}"
        )
    if isinstance(options.controls, Controls):
        if options.resamples:
            raise ValueError(CROSS_FITTED)
        if options.keep_replicates is False:
            raise ValueError(
                "cross-fitting works on kept replicate means; got keep_replicates=False. Leave it out, or fix the "
                "coefficients before the run: controls=controls.fit(generator, statistic, ...)"
            )
    return options


def difference(
    generator_a: Generator, generator_b: Generator, statistic: Statistic, *, design: Design, **options: Any
) -> Estimate:
    """Estimate E[statistic(a(noise))] - E[statistic(b(noise))] under common random numbers.

    Both generators see the same noise, and the interval is that of the differences, replicate by replicate: for
    models that are much alike it is far narrower than that of two runs.

    Parameters
    ----------
    generator_a, generator_b : Generator
        Two models that take the same noise.
    statistic : callable
        As for `estimate`.
    design : Design
        As for `estimate`.
    **options
        The other arguments of `estimate`. `n_evaluations` counts pairs: each evaluates both models.

    Raises
    ------
    ValueError
        If the generators want different noise.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> a = mcgen.as_generator(np.tanh, noise=(4,), name="a")
    >>> b = mcgen.as_generator(lambda z: np.tanh(1.1 * z + 0.1), noise=(4,), name="b")
    >>> mean = mcgen.statistics.pixel_mean
    >>> paired = mcgen.difference(b, a, mean, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> alone = mcgen.estimate(b, mean, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> paired.half_width < alone.half_width / 5
    True
    """
    for side, generator in (("generator_a", generator_a), ("generator_b", generator_b)):
        checked_generator(generator, side)
    if generator_a.noise != generator_b.noise:
        raise ValueError(
            f"common random numbers need the same noise for both generators; got {generator_a.noise} and "
            f"{generator_b.noise}. Give both the same NoiseSpec, or estimate each alone"
        )
    return estimate(pair(generator_a, generator_b), Difference(checked_callable(statistic)), design=design, **options)

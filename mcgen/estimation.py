"""`estimate` and `difference`: from a generator and a statistic to an estimate with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from mcgen.arguments import (
    checked_batch_size,
    checked_callable,
    checked_generator,
    checked_replicates,
    checked_resampling,
    checked_weights,
    stream_of,
)
from mcgen.conditions import common_noise_average, stratified_average
from mcgen.designs import Antithetic, Design
from mcgen.differences import Difference, Pair
from mcgen.estimates import CROSS_FITTED, Estimate
from mcgen.execution import RunOptions, run_single
from mcgen.generators import Generator
from mcgen.intervals import Method, SimultaneousMethod, check_interval_options
from mcgen.planning import planned
from mcgen.random import Seed, as_seed_sequence
from mcgen.run import Task
from mcgen.statistics import Statistic
from mcgen.variates import Controls, FittedControls


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
    weights: Sequence[float] | None = None,
    common_random_numbers: bool = False,
    batch_size: int | None = None,
    keep_replicates: bool | None = None,
    controls: Controls | FittedControls | None = None,
    coarse: Sequence[tuple[Generator, float]] | None = None,
    correlation: float | Sequence[float] | None = None,
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
    interval : {"student-t", "normal", "skewness-adjusted-t", "bootstrap-t"}
        See `mcgen.intervals`; the third for replicate means that are skewed.
    simultaneous : bool or {"bonferroni", "bootstrap-max-t", "gaussian-multiplier"}
        Cover all components of a vector statistic together instead of each alone.
    condition : object or list, optional
        Passed to the generator. A list gives an estimate for each of its conditions (`Estimate.strata`) and their
        average; each has its own random numbers unless `common_random_numbers`.
    weights : sequence of float, optional
        Of the conditions in the average, summing to 1; equal by default.
    common_random_numbers : bool
        Give all conditions the same noise; the average is then taken replicate by replicate.
    batch_size : int, optional
        Rows that the model sees at a time; by default about 64, evened out over the run.
    keep_replicates : bool, optional
        Keep the replicate means in the result, for bootstraps, jackknives and plots; by default up to 2^20 numbers.
    controls : Controls or FittedControls, optional
        Functions of the noise with known expectations that take variance away, see `mcgen.controls`: their coefficients
        by cross-fitting, or fixed by ``controls.fit(...)``.
    coarse, correlation : optional
        With ``design="auto"``: cheaper generators on the same noise, as for `mcgen.plan`.
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
        If the generator or the statistic breaks a law. Its ``partial``, like that of any exception out of them, is the
        estimate from the replicates before, where there are two.

    Warns
    -----
    CoverageWarning
        Below 25 replicates, and where their means are too skewed for their number.
    GeneratorWarning
        If the generator draws random numbers of its own, or couples the samples of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="logistic")
    >>> mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)
    0.69673 ± 0.00046 (95 % Student t, 1600 replicates of 2 points, Antithetic(), seed 0)
    """
    check_interval_options(confidence_level, interval, simultaneous)
    options = RunOptions(confidence_level, interval, simultaneous, keep_replicates, progress, controls)
    _check_controls(options)
    task = Task(
        generator=checked_generator(generator),
        statistic=checked_callable(statistic),
        design=Antithetic(),
        seed=as_seed_sequence(seed),
        stream=(),
        condition=condition,
        batch_size=0,
    )
    if isinstance(design, str) and design == "auto":
        _check_auto(options, n_evaluations, n_replicates, common_random_numbers)
        below = None if coarse is None else list(coarse)
        run_one = partial(_by_plan, options, n_evaluations, below, correlation, batch_size)
    else:
        if coarse is not None or correlation is not None:
            raise ValueError(f"coarse and correlation are for design='auto'; got design={design}")
        count = checked_replicates(design, n_evaluations, n_replicates)
        if options.resamples:
            checked_resampling(count, keep_replicates)
        task = replace(task, design=design, batch_size=checked_batch_size(batch_size, design.n_points, count))
        run_one = partial(run_single, n_replicates=count, options=options)
    if not isinstance(condition, list):
        if weights is not None or common_random_numbers:
            raise ValueError("weights and common_random_numbers are for several conditions: pass a list as condition")
        return run_one(replace(task, stream=stream_of(condition, 0)))
    shares = checked_weights(condition, weights)
    if common_random_numbers:
        return common_noise_average(task, count, options, shares)
    return stratified_average(task, options, shares, run_one)


def _by_plan(
    options: RunOptions,
    n_evaluations: int | None,
    coarse: Sequence[tuple[Generator, float]] | None,
    correlation: float | Sequence[float] | None,
    batch_size: int | None,
    task: Task,
) -> Estimate:
    """Run what a plan of the task chooses."""
    made = planned(task, options, n_evaluations, None, coarse=coarse, correlation=correlation, batch_size=batch_size)
    return made.estimate()


def _check_auto(
    options: RunOptions, n_evaluations: int | None, n_replicates: int | None, common_random_numbers: bool
) -> None:
    """Refuse what does not go with a design that a pilot chooses."""
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
    if options.resamples:
        raise ValueError(
            "design='auto' may choose a sum of levels, which has no replicate means to resample; use "
            "interval='student-t', 'skewness-adjusted-t' or simultaneous='bonferroni', or choose a design"
        )


def _check_controls(options: RunOptions) -> None:
    """Refuse what are no controls, and cross-fitting where there is nothing to do it with."""
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
    return estimate(Pair(generator_a, generator_b), Difference(checked_callable(statistic)), design=design, **options)

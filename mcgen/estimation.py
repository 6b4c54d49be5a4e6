"""`estimate` and `difference`: from a generator and a statistic to an estimate with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcgen.arguments import (
    checked_batch_size,
    checked_callable,
    checked_generator,
    checked_replicates,
    checked_resampling,
    checked_weights,
    stream_of,
)
from mcgen.arrays import leading_length
from mcgen.conditions import common_noise_average, stratified_average
from mcgen.designs import Design
from mcgen.errors import RunError
from mcgen.estimates import Estimate
from mcgen.execution import RunOptions, run_single
from mcgen.generators import Generator, name_of
from mcgen.intervals import Method, SimultaneousMethod, check_interval_options
from mcgen.laws import values_of
from mcgen.moments import Floats
from mcgen.noise import Noise, NoiseSpec
from mcgen.random import Seed, as_seed_sequence
from mcgen.run import Task
from mcgen.statistics import Statistic


def estimate(
    generator: Generator,
    statistic: Statistic,
    *,
    design: Design,
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
    design : Design
        How the noise is drawn, such as ``Antithetic()``.
    n_evaluations, n_replicates : int
        One of them: how many samples (a multiple of the design's points), or how many replicates (2 or more). With
        several conditions: for each.
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
    options = RunOptions(confidence_level, interval, simultaneous, keep_replicates, progress)
    count = checked_replicates(design, n_evaluations, n_replicates)
    if options.resamples:
        checked_resampling(count, keep_replicates)
    task = Task(
        generator=checked_generator(generator),
        statistic=checked_callable(statistic),
        design=design,
        seed=as_seed_sequence(seed),
        stream=(),
        condition=condition,
        batch_size=checked_batch_size(batch_size, design.n_points, count),
    )
    if not isinstance(condition, list):
        if weights is not None or common_random_numbers:
            raise ValueError("weights and common_random_numbers are for several conditions: pass a list as condition")
        return run_single(replace(task, stream=stream_of(condition, 0)), count, options)
    shares = checked_weights(condition, weights)
    average = common_noise_average if common_random_numbers else stratified_average
    return average(task, count, options, shares)


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


@dataclass(frozen=True)
class Pair:
    """Two generators fed with the same noise."""

    a: Generator
    b: Generator

    @property
    def noise(self) -> NoiseSpec:
        """The noise of both."""
        return self.a.noise

    @property
    def name(self) -> str:
        """Their names."""
        return f"{name_of(self.a)} - {name_of(self.b)}"

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, Any]:
        """Return the samples of both."""
        return self.a(noise, condition), self.b(noise, condition)


@dataclass(frozen=True)
class Difference:
    """A statistic of the first generator's samples minus that of the second's."""

    statistic: Statistic

    @property
    def name(self) -> str:
        """The statistic's."""
        return name_of(self.statistic)

    def __call__(self, samples: tuple[Any, Any]) -> Floats:
        """Return the differences of the values, shape (n, ...)."""
        n = leading_length(samples)
        a, b = (values_of(self.statistic, part, n) for part in samples)
        if a.shape != b.shape:
            raise RunError(
                f"statistic {self.name!r} gave components of shape {a.shape[1:]} for one generator and {b.shape[1:]} "
                "for the other; a difference needs the same"
            )
        return np.asarray(a - b)

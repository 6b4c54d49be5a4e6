"""Studies of differences of two models: Welch's interval on independent noise, and blocks of noise that are shared.

The code that `mcgen.difference` uses, `mcgen.results.sums.weighted_sum`, makes the intervals of thousands of runs at
once: each run is a component. There are two negative controls. Student's t with a pooled variance fails where variances
and numbers of replicates differ. Intervals for independent models fail for models on the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.random import SeedSequence

import mcgen
from mcgen.designs import Antithetic, Design, LatinHypercube, MonteCarlo, Sobol
from mcgen.generators.joint import pair_on_shared_blocks
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments
from mcgen.noise import Array, Block, NoiseSpec
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_moments
from mcgen.results.provenance import Provenance
from mcgen.results.sums import weighted_sum
from mcgen.statistics import Statistic
from mcgen.statistics.joint import Difference
from mcgen.validation.problems import PROBLEMS, Problem
from mcgen.validation.problems._base import first
from mcgen.validation.studies.coverage import Replicates, coverage_study, simulate
from mcgen.validation.studies.verdicts import Study, Verdict, control, share

# Runs of a cell: the standard error of a coverage of 0.95 is 0.002, so that a true 0.935 is rejected 99 times in 100.
REPETITIONS = 12_000
# The second model has this multiple of the problem's values, so that variances are 16 times as large.
_SCALE = 4.0
_MINUS = np.array([[1.0], [-1.0]])


@dataclass(frozen=True)
class _Times:
    """A statistic times a factor."""

    statistic: Statistic
    factor: float

    def __call__(self, samples: Any) -> Array:
        return np.asarray(self.factor * np.asarray(self.statistic(samples)))


def two_models(problem: str, design: Design, counts: tuple[int, int], seed: int) -> tuple[Estimate, Estimate, float]:
    """Return the estimates of two models, a component a run, and the true difference of their means.

    Parameters
    ----------
    problem : str
        Name of a problem. The second model has 4 times its values.
    design : Design
        The design of both.
    counts : tuple of two int
        Replicates of the first and of the second model.
    seed : int
        The models have different random numbers under it.
    """
    own = PROBLEMS[problem]
    scaled = replace(own, statistic=_Times(own.statistic, _SCALE), name=f"{_SCALE:g} times {problem}")
    a, b = (
        _estimate(simulate(one, design, n * REPETITIONS, SeedSequence(seed, spawn_key=(side,))), n)
        for side, (one, n) in enumerate(zip((own, scaled), counts, strict=True))
    )
    return a, b, (1 - _SCALE) * own.truth


def _estimate(found: Replicates, n: int) -> Estimate:
    """Return the estimate of which component j is run j."""
    rows = found.runs(n, REPETITIONS)
    provenance = Provenance(
        generator=found.problem.name,
        statistic="value",
        noise=str(found.problem.generator.noise),
        dimension=found.problem.dimension,
        design=str(found.design),
        n_points=found.design.n_points,
        n_replicates=n,
        n_evaluations=n * found.design.n_points,
        seed=SeedSequence(0),
        condition=None,
        batch_size=found.design.n_points,
        rounding=found.facts.rounding,
        net=found.net,
    )
    names = tuple(f"run {j}" for j in range(REPETITIONS))
    return estimate_from_moments(
        Moments.of(rows),
        None,
        provenance,
        (REPETITIONS,),
        names,
        IntervalOptions(0.95),
        boolean=found.facts.boolean * REPETITIONS,
    )


def welch(a: Estimate, b: Estimate, truth: float) -> int:
    """Return how many intervals of the difference hold the truth."""
    low, high = map(np.ravel, weighted_sum((a, b), _MINUS, a.provenance, IntervalOptions(0.95)).interval)
    return int(((low <= truth) & (truth <= high)).sum())


def pooled(a: Estimate, b: Estimate, truth: float) -> int:
    """Return how many intervals hold the truth that are Student's t with one variance for both models."""
    n = np.array([a.n_replicates, b.n_replicates], np.float64)
    variances = [np.ravel(part.standard_error) ** 2 * count for part, count in zip((a, b), n, strict=True)]
    df = float(n.sum() - 2)
    common = ((n[0] - 1) * variances[0] + (n[1] - 1) * variances[1]) / df
    half = student_t_quantile(0.975, df) * np.sqrt(common * (1 / n).sum())
    return int((np.abs(np.ravel(a.mean) - np.ravel(b.mean) - truth) <= half).sum())


def independent(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on Welch's interval for models whose variances differ by a factor of 16.

    They cover at least 0.95 where replicate means are normal. Skewed models are promised 0.94 from 25 replicates each
    on, 0.945 from 50 on, and 0.90 with 10, where runs warn. The control is Student's t with one variance for both.
    """
    designs: tuple[Design, ...] = (MonteCarlo(), Antithetic(), Sobol(16), LatinHypercube(16))
    found = []
    for problem in ("normal-pairs", "exponential", "square") if full else ("normal-pairs", "exponential"):
        for design in designs if full else designs[:3]:
            for counts in ((10, 10), (25, 25), (50, 50), (50, 10), *([(10, 50)] if full else [])):
                fewest = min(counts)
                level = 0.95 if problem == "normal-pairs" else {10: 0.90, 25: 0.94, 50: 0.945}[fewest]
                found.append(_judged(problem, design, counts, level, seed))
    few = two_models("normal-pairs", MonteCarlo(), (50, 10), seed)
    what = f"{_named('normal-pairs', MonteCarlo(), (50, 10))}: one variance for both covers 0.95"
    return [*found, control(share(what, pooled(*few), REPETITIONS, at_least=True))]


def _judged(problem: str, design: Design, counts: tuple[int, int], level: float, seed: int) -> Verdict:
    hits = welch(*two_models(problem, design, counts, seed))
    return share(f"{_named(problem, design, counts)} covers {level:g}", hits, REPETITIONS, level, at_least=True)


def _named(problem: str, design: Design, counts: tuple[int, int]) -> str:
    return f"{problem} less {_SCALE:g} times itself, {design}, R = {counts[0]} and {counts[1]}"


def probabilities(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the difference of two rare events' probabilities, 0.02 and 0.01.

    Each model enters with the interval of its own probability, which has a width where no event was seen. The control
    forgets that the values are boolean, so that models without events count as certain.
    """
    found, forgetful = [], []
    problems = [PROBLEMS["bernoulli-0.02"], PROBLEMS["bernoulli-0.01"]]
    truth = problems[0].truth - problems[1].truth
    for n in (50, 200, 1000) if full else (50, 200):
        a, b = (
            _estimate(simulate(one, MonteCarlo(), n * REPETITIONS, SeedSequence(seed, spawn_key=(side,))), n)
            for side, one in enumerate(problems)
        )
        what = f"bernoulli-0.02 less bernoulli-0.01, MonteCarlo(), R = {n} each"
        found.append(share(f"{what} covers 0.95", welch(a, b, truth), REPETITIONS, at_least=True))
        plain = welch(replace(a, boolean=()), replace(b, boolean=()), truth)
        forgetful.append(share(f"{what}, not as events, covers 0.95", plain, REPETITIONS, at_least=True))
    return [*found, control(forgetful[0])]


def _smooth(noise: Mapping[str, Array]) -> Array:
    return np.asarray(np.exp(0.4 * noise["start"][:, :1]) + 0.3 * noise["walk"][:, :1])


def _rough(noise: Mapping[str, Array]) -> Array:
    return np.asarray(np.exp(0.38 * noise["start"][:, :1]) + 0.5 * noise["mask"][:, :1] ** 2)


# E exp(c z) = exp(c^2 / 2) for standard normal z, and E u^2 = 1 / 3 for uniform u.
_SHARED_TRUTHS = float(np.exp(0.4**2 / 2)), float(np.exp(0.38**2 / 2) + 0.5 / 3)
_SMOOTH = mcgen.as_generator(
    _smooth, NoiseSpec((("start", Block((2,))), ("walk", Block((2,)))), "float64"), name="smooth"
)
_ROUGH = mcgen.as_generator(
    _rough, NoiseSpec((("mask", Block((2,), "uniform")), ("start", Block((2,)))), "float64"), name="rough"
)


def shared_blocks(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on differences of two skewed models that share a block of their noise.

    The control takes their estimates as independent: its intervals are far too wide.
    """
    a, b = _SHARED_TRUTHS
    joint = pair_on_shared_blocks(_SMOOTH, _ROUGH, {"start": "start"})
    problem = Problem("smooth less rough", joint, cast(Any, Difference(first)), a - b)
    levels = {25: 0.945, 50: 0.945} if full else {25: 0.945}
    found = []
    for design in (MonteCarlo(), Antithetic(), Sobol(16)):
        for n, level in levels.items():
            study = coverage_study(problem, design, None, n_replicates=n, repetitions=REPETITIONS, seed=seed)
            what = f"smooth less rough on the same start, {design}, R = {n} covers {level:g}"
            found.append(share(what, study.hits, REPETITIONS, level, at_least=True))
    smooth, rough = (
        _estimate(simulate(Problem(name, joint, _OfSide(side), truth), MonteCarlo(), 25 * REPETITIONS, seed), 25)
        for side, (name, truth) in enumerate((("smooth", a), ("rough", b)))
    )
    hits = welch(smooth, rough, a - b)
    return [*found, control(share("the same, R = 25, taken as independent covers 0.95", hits, REPETITIONS))]


@dataclass(frozen=True)
class _OfSide:
    """The value of one of two models."""

    side: int

    def __call__(self, samples: Any) -> Array:
        return first(samples[self.side])


STUDIES: dict[str, Study] = {
    "differences of models on independent noise": independent,
    "differences of probabilities on independent noise": probabilities,
    "differences of models that share blocks": shared_blocks,
}

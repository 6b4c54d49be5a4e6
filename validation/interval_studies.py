"""What the intervals promise, judged: on exact fixtures, skewed statistics, samplers, and many components at once.

Each study returns its verdicts; `full` has more cells. Its negative controls are methods that are known to cover less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy.special import ndtri, stdtr

import mcgen
from mcgen.arguments import stream_of
from mcgen.designs import Antithetic, Design, KAntithetic, MonteCarlo, Sobol
from mcgen.efficiency import welch_satterthwaite
from mcgen.generators import Generator
from mcgen.intervals import Method, Sampled, SimultaneousMethod, make_interval, student_t_quantile
from mcgen.moments import Floats
from mcgen.noise import NoiseSpec
from mcgen.random import as_seed_sequence
from mcgen.run import Task
from mcgen.statistics import identity
from mcgen.validation.coverage import Coverage, coverage_study, replicate_means
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.verdicts import FALSE_ALARM, Verdict, control, inside, share

REPETITIONS = 12_000
# Whose replicate means are close to normal; exact truths first.
_SAMPLERS = ("line-64-energy", "plane-64-contrast", "normal-ddpm-energy", "mixture-64-contrast")
_DESIGNS: tuple[Design, ...] = (Antithetic(), KAntithetic(8), MonteCarlo(), Sobol(16), Sobol(64))


def _judged(study: Coverage, nominal: float = 0.95, *, at_least: bool = False) -> Verdict:
    what = f"{study.interval} on {study.problem}, {study.design}, R = {study.n_replicates}"
    return share(f"{what} covers {nominal:.4g}", study.hits, study.repetitions, nominal, at_least=at_least)


def _study(problem: str, design: Design, method: Method, n: int, seed: int) -> Coverage:
    return coverage_study(PROBLEMS[problem], design, method, n_replicates=n, repetitions=REPETITIONS, seed=seed)


def exact_fixtures(full: bool, seed: int) -> list[Verdict]:
    """Judge Student t where replicate means are exactly normal, so that the nominal level is the true one.

    S = 3 z_2 + Phi^-1(2 Phi(|z_1|) - 1) has pair means that are exactly N(0, 1).
    """
    from scipy.stats import kstest

    counts = (5, 10, 25, 50, 200) if full else (5, 10, 25)
    fixtures: tuple[tuple[str, Design], ...] = (("normal-pairs", Antithetic()), ("linear", MonteCarlo()))
    found = [_judged(_study(problem, design, "student-t", n, seed)) for problem, design in fixtures for n in counts]
    for design in (Antithetic(), MonteCarlo()):
        means = replicate_means(PROBLEMS["normal-pairs"], design, 20_000, seed)
        promise = f"means of {design} of normal-pairs are N(0, 1): p value of Kolmogorov and Smirnov"
        found.append(inside(promise, float(kstest(means, "norm").pvalue), FALSE_ALARM, 1.0))
    return [*found[:-1], control(found[-1])]


def normal_interval(full: bool, seed: int) -> list[Verdict]:
    """Judge 1.96 in place of the t quantile, as in the antithetic paper: it covers P(|t_{R-1}| <= 1.96)."""
    found = []
    for n in (5, 10, 25, 50, 1600) if full else (5, 50):
        study = _study("normal-pairs", Antithetic(), "normal", n, seed)
        covered = 1 - 2 * float(stdtr(n - 1, ndtri(0.025)))
        found.append(_judged(study, covered))
        if n == 5:
            found.append(control(_judged(study)))
    return found


def skewed_statistics(full: bool, seed: int) -> list[Verdict]:
    """Judge the intervals that follow skewness, where Student t covers too little."""
    study = partial(_study, "exponential", Antithetic(), seed=seed)
    verdicts = [
        _judged(study("skewness-adjusted-t", n), 0.935, at_least=True) for n in ((25, 50, 200) if full else (25,))
    ]
    if full:
        verdicts += [_judged(study("bootstrap-t", n), 0.935, at_least=True) for n in (25, 50)]
    return [*verdicts, control(_judged(study("student-t", 25), 0.935, at_least=True))]


def samplers(full: bool, seed: int) -> list[Verdict]:
    """Judge Student t on diffusion samplers with the exact score, for every design."""
    problems, designs = (_SAMPLERS, _DESIGNS) if full else (_SAMPLERS[:1], _DESIGNS[:2])
    return [_judged(_study(problem, design, "student-t", 50, seed)) for problem in problems for design in designs]


def averages(full: bool, seed: int) -> list[Verdict]:
    """Judge the average over two conditions, 5 and 8 replicates of different variance: Welch-Satterthwaite's t."""
    rng = np.random.default_rng([seed, 1])
    samples = [sd * rng.normal(size=(n, REPETITIONS)) for n, sd in ((5, 1.0), (8, 2.0))]
    variances = np.stack([x.var(axis=0, ddof=1) / len(x) / 4 for x in samples])
    df = welch_satterthwaite(variances, np.array([[len(x) - 1.0] for x in samples]))
    missed = np.abs(sum(x.mean(axis=0) for x in samples)) / 2 / np.sqrt(variances.sum(axis=0))
    hits = int((missed <= student_t_quantile(0.975, df)).sum())
    naive = int((missed <= student_t_quantile(0.975, np.inf)).sum())
    # The approximation is good to some half a point for so few replicates.
    rule = partial(share, repetitions=REPETITIONS, nominal=0.945, at_least=True)
    return [
        rule("an average over conditions of 5 and 8 replicates covers 0.945", hits),
        control(rule("the same by 1.96", naive)),
    ]


def field(k: int, dimension: int = 256) -> Generator:
    """Return k correlated standard normal components, a smooth field on a line, of noise of some dimension."""
    centres, places = np.linspace(0, 1, dimension), np.linspace(0, 1, k)
    weights = np.exp(-(((places - centres[:, None]) * dimension / 4) ** 2))
    weights = (weights / np.linalg.norm(weights, axis=0)).astype(np.float32)
    return mcgen.as_generator(lambda z: z @ weights, NoiseSpec.normal((dimension,)), name=f"field of {k}")


def runs_of(generator: Generator, design: Design, n: int, runs: int, seed: int) -> Iterator[Floats]:
    """Yield the replicate means (n, k) of run after run."""
    task = Task(generator, identity, design, as_seed_sequence(seed), stream_of(None, 0), None, 64 * design.n_points)
    for run in range(runs):
        yield np.concatenate([rows.means for rows in task.evaluate(range(run * n, (run + 1) * n))])


def simultaneous(full: bool, seed: int) -> list[Verdict]:
    """Judge intervals that cover all components of a field together; pointwise ones are the control."""
    cells: list[tuple[int, int, int, tuple[SimultaneousMethod, ...]]] = [
        (64, 50, 300, ("bonferroni", "bootstrap-max-t")),
        (16, 1000, 150, ("gaussian-multiplier",)),
    ]
    if full:
        cells = [
            (64, 50, 2000, ("bonferroni", "bootstrap-max-t")),
            (64, 1600, 400, ("bonferroni", "gaussian-multiplier")),
            (3072, 50, 400, ("bonferroni", "bootstrap-max-t")),
            (3072, 1600, 200, ("bonferroni", "gaussian-multiplier")),
        ]
    verdicts = []
    for k, n, runs, methods in cells:
        verdicts += family_wise(k, n, runs, methods, seed)
    return verdicts


def family_wise(k: int, n: int, runs: int, methods: tuple[SimultaneousMethod, ...], seed: int) -> list[Verdict]:
    """Judge the share of runs in which the intervals of all k components hold their truth, 0."""
    options: tuple[SimultaneousMethod | bool, ...] = (*methods, False)
    hits, widths = np.zeros(len(options), int), np.zeros(len(options))
    for run, means in enumerate(runs_of(field(k), MonteCarlo(), n, runs, seed)):
        se = means.std(axis=0, ddof=1) / np.sqrt(n)
        sampled = Sampled(means.mean(axis=0), se, np.full(k, n - 1.0), means, run)
        for i, option in enumerate(options):
            made, _ = make_interval(sampled, 0.95, "student-t", option)
            hits[i] += np.zeros(k) in made
            widths[i] += np.mean(made.half_width)
    verdicts = []
    for i, option in enumerate(options):
        width = f"{widths[i] / widths[-1]:.2f} times as wide as pointwise"
        what = f"{option or 'student-t'} on {k:,} components, R = {n:,}, covers all ({width})"
        verdict = share(what, int(hits[i]), runs, at_least=True)
        verdicts.append(verdict if option else control(verdict))
    return verdicts


STUDIES: dict[str, Callable[[bool, int], list[Verdict]]] = {
    "Student t on exactly normal replicate means": exact_fixtures,
    "1.96 in place of the t quantile": normal_interval,
    "intervals that follow skewness": skewed_statistics,
    "diffusion samplers with the exact score": samplers,
    "averages over conditions": averages,
    "simultaneous intervals": simultaneous,
}

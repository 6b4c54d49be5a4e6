"""How often intervals cover: simulated through the package's own loop and intervals, judged by a declared rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mcgen.designs import Antithetic, Design, KAntithetic, MonteCarlo, Sobol
from mcgen.efficiency import log_variance, over_monte_carlo
from mcgen.intervals import Method, Sampled, make_interval
from mcgen.moments import Floats, ReplicateMeans
from mcgen.random import Seed, as_seed_sequence
from mcgen.run import Task
from mcgen.validation.problems import PROBLEMS, Problem

_ROWS = 2**14


@dataclass(frozen=True)
class Coverage:
    """What a study measured.

    Attributes
    ----------
    covered : float
        Share of the intervals that hold the truth.
    low, high : float
        95 % Wilson interval of that share.
    half_width : float
        Mean half-width of the intervals.
    bias : float
        Mean of the estimates minus the truth, in its standard errors.
    repetitions : int
        How many intervals.
    """

    covered: float
    low: float
    high: float
    half_width: float
    bias: float
    repetitions: int


def replicate_means(problem: Problem, design: Design, n: int, seed: Seed) -> Floats:
    """Return the means of replicates 0, ..., n-1, shape (n,), by the loop that `estimate` runs."""
    return np.concatenate([part.means[:, 0] for part in _replicates(problem, design, n, seed)])


def _replicates(problem: Problem, design: Design, n: int, seed: Seed) -> Iterator[ReplicateMeans]:
    rows = max(1, _ROWS // design.n_points) * design.n_points
    task = Task(problem.generator, problem.statistic, design, as_seed_sequence(seed), (), None, rows)
    return task.evaluate(range(n))


def coverage_study(
    problem: Problem,
    design: Design,
    interval: Method,
    *,
    n_replicates: int,
    repetitions: int,
    seed: Seed,
    confidence_level: float = 0.95,
) -> Coverage:
    """Simulate `repetitions` runs of `n_replicates` and count how many of their intervals hold the truth.

    Runs are consecutive ranges of replicates, which are independent; their intervals are made all at once, a run a
    component. Those of bootstrap-t then share their resampled numbers of replicates, which adds a little to the error
    of the coverage beyond the binomial.
    """
    from statsmodels.stats.proportion import proportion_confint

    table = replicate_means(problem, design, n_replicates * repetitions, seed).reshape(repetitions, n_replicates).T
    mean, sd = table.mean(axis=0), table.std(axis=0, ddof=1)
    df = np.full(repetitions, n_replicates - 1.0)
    sampled = Sampled(mean, sd / np.sqrt(n_replicates), df, table, seed)
    made, _ = make_interval(sampled, confidence_level, interval, simultaneous=False)
    hits = int(np.sum((made.low <= problem.truth) & (problem.truth <= made.high)))
    low, high = proportion_confint(hits, repetitions, alpha=0.05, method="wilson")
    spread = float(mean.std(ddof=1) / math.sqrt(repetitions))
    bias = float(mean.mean() - problem.truth) / spread if spread > 0 else 0.0
    return Coverage(hits / repetitions, float(low), float(high), float(np.mean(made.half_width)), bias, repetitions)


def acceptance_band(repetitions: int, nominal: float = 0.95, false_alarm: float = 1e-6) -> tuple[float, float]:
    """Return the band that the measured coverage of a correct method leaves with probability `false_alarm` at most.

    From the exact binomial distribution, half of the false alarms on each side.
    """
    from scipy.stats import binom

    low, high = binom.ppf(false_alarm / 2, repetitions, nominal), binom.isf(false_alarm / 2, repetitions, nominal)
    return float(low) / repetitions, float(high) / repetitions


def coverage_table(repetitions: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Return the coverage of each interval on every problem, for several designs and numbers of replicates.

    The figures in `mcgen.coverage`'s warnings and in the documentation are from this table.
    """
    rows = []
    designs: tuple[Design, ...] = (MonteCarlo(), Antithetic(), KAntithetic(8), Sobol(16))
    for name, design in ((name, design) for name in ("normal-pairs", "exponential") for design in designs):
        for n in (5, 10, 25, 50, 100):
            row: dict[str, object] = {"problem": name, "design": str(design), "replicates": n}
            for interval in ("student-t", "normal", "bootstrap-t"):
                options = {"n_replicates": n, "repetitions": repetitions, "seed": seed}
                row[interval] = coverage_study(PROBLEMS[name], design, interval, **options).covered
            rows.append(row)
    return pd.DataFrame(rows)


def efficiency_coverage(
    problem: Problem, truth: float, *, n_replicates: int, repetitions: int, seed: Seed
) -> tuple[float, float]:
    """Return the coverage of the efficiency of antithetic pairs: from their own run, and over a Monte Carlo run."""
    shape = (repetitions, n_replicates)
    parts = [*_replicates(problem, Antithetic(), n_replicates * repetitions, seed)]
    means = np.concatenate([part.means[:, 0] for part in parts]).reshape(shape).T
    within = np.concatenate([part.within[:, 0] for part in parts]).reshape(shape).T
    plain = replicate_means(problem, MonteCarlo(), 2 * n_replicates * repetitions, seed)
    plain = plain.reshape(repetitions, 2 * n_replicates).T
    _, own = over_monte_carlo(means, within, 2, 0.95)
    exact = 2.0**-52
    ratio = log_variance(plain, np.zeros_like(plain), exact).minus(log_variance(means, within, exact))
    _, paired = replace(ratio, value=ratio.value - np.log(2)).exp(0.95)
    covered = [float(np.mean((made.low <= truth) & (truth <= made.high))) for made in (own, paired)]
    return covered[0], covered[1]


def efficiency_coverage_table(repetitions: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return the coverage of the efficiency's interval by replicates, for a mild and a skewed statistic."""
    # exp(w/2) has variance e (e - 1) with e = exp(1/4), its even part cosh(w/2) has (e - 1)^2 / 2.
    e = float(np.exp(0.25))
    truths = {"odd-and-even": 1.5, "exponential": e / (e - 1)}
    rows = []
    for name, truth in truths.items():
        for n in (10, 25, 50, 100, 400, 1600):
            own, paired = efficiency_coverage(PROBLEMS[name], truth, n_replicates=n, repetitions=repetitions, seed=seed)
            rows.append({"problem": name, "replicates": n, "own run": own, "over Monte Carlo": paired})
    return pd.DataFrame(rows)

"""Intervals of relative efficiencies: coverage on statistics of their own, over the own run and over Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import SEED
from scipy import integrate, stats

from mcgen.inference.efficiency import (
    LevelMeans,
    log_variance,
    log_variance_of_sum,
    over_monte_carlo,
    stretch_between,
)
from mcgen.inference.interval_input import Interval
from mcgen.inference.log_ratios import LogRatio
from mcgen.validation.studies.verdicts import share

Function = Callable[[np.ndarray], np.ndarray]
# Declared before they were run; the first has replicate means of skewness 5.
STATISTICS: dict[str, Function] = {
    "exp(0.7 w)": lambda w: np.exp(0.7 * w),
    "|w|^1.5 + w": lambda w: np.abs(w) ** 1.5 + w,
    "cos(w) + w": lambda w: np.cos(w) + w,
    "max(w + 0.3, 0)": lambda w: np.maximum(w + 0.3, 0),
}


def truth(f: Function) -> float:
    """Return the efficiency of pairs over Monte Carlo by numerical integration."""

    def mean(g: Function) -> float:
        return float(integrate.quad(lambda w: g(w) * stats.norm.pdf(w), -12, 12, limit=300)[0])

    m = mean(f)
    return mean(lambda w: (f(w) - m) ** 2) / (2 * mean(lambda w: ((f(w) + f(-w)) / 2 - m) ** 2))


def simulated(f: Function, n: int, runs: int, stretched: bool = True) -> tuple[Interval, Interval]:
    """Return the intervals of so many runs: over the own run, and over a Monte Carlo run of as many evaluations."""
    rng = np.random.default_rng(SEED)
    w = rng.normal(size=(n, runs))
    a, b, other = f(w), f(-w), f(rng.normal(size=(2 * n, runs)))
    means, within = (a + b) / 2, ((a - b) / 2) ** 2
    pairs = log_variance(means, within, 1e-16)
    baseline = log_variance(other, np.zeros_like(other), 1e-16)
    ratio = baseline.minus(replace(pairs, value=pairs.value + math.log(2)))
    stretch = stretch_between(2 * n, n) if stretched else (1.0, 1.0)
    return over_monte_carlo(means, within, 2, 0.95)[1], ratio.exp(0.95, stretch)[1]


def hits(interval: Interval, value: float) -> int:
    return int(((np.asarray(interval.low) <= value) & (value <= np.asarray(interval.high))).sum())


@pytest.mark.study
@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("n", [10, 25, 50, 100])
def test_they_cover_from_10_replicates_on(name: str, n: int) -> None:
    """At least 0.92 over the own run, whose few skewed replicates say least of their tail, and 0.95 over another run."""
    value = truth(STATISTICS[name])
    own, other = simulated(STATISTICS[name], n, 2000)
    assert share(f"own, {name}, {n}", hits(own, value), 2000, 0.92, at_least=True).holds
    assert share(f"other, {name}, {n}", hits(other, value), 2000, 0.95, at_least=True).holds


@pytest.mark.study
def test_without_the_stretch_they_do_not() -> None:
    """The negative control."""
    f = STATISTICS["exp(0.7 w)"]
    _, other = simulated(f, 25, 2000, stretched=False)
    assert not share("unstretched", hits(other, truth(f)), 2000, 0.95, at_least=True).holds


def test_each_side_is_stretched_by_its_own_runs_replicates() -> None:
    assert stretch_between(400, 25) == pytest.approx((1 + 2 / 5, 1 + 2 / 20))


# A fine function and a coarse one that follows it, each averaged over 8 independent numbers.
PAIRS_OF_LEVELS: dict[str, tuple[Function, Function]] = {
    "exp(0.25 w)": (lambda w: np.exp(w / 4), lambda w: 1 + w / 4 + w**2 / 32),
    "exp(0.7 w)": (lambda w: np.exp(0.7 * w), lambda w: 1 + 0.7 * w + 0.245 * w**2),
    "|w|^1.5 + w": (lambda w: np.abs(w) ** 1.5 + w, lambda w: w**2 + w),
    "max(w + 0.3, 0)": (lambda w: np.maximum(w + 0.3, 0), lambda w: np.log1p(np.exp(3 * w + 0.9)) / 3),
}
_NUMBERS = 8


def variance_of(f: Function) -> float:
    """Return the variance of f(w) for a normal w by numerical integration."""

    def mean(g: Function) -> float:
        return float(integrate.quad(lambda w: g(w) * stats.norm.pdf(w), -12, 12, limit=300)[0])

    m = mean(f)
    return mean(lambda w: (f(w) - m) ** 2)


def in_pairs(f: Function) -> Function:
    """Return the pair mean of f as a function of the first noise."""
    return lambda w: (f(w) + f(-w)) / 2


def level_of(f: Function, n: int, runs: int, rng: np.random.Generator) -> LevelMeans:
    """Return n replicates of the mean of f over independent numbers, for each run."""
    means = np.mean([f(rng.normal(size=(n, runs))) for _ in range(_NUMBERS)], axis=0)
    return LevelMeans(means, np.zeros_like(means), np.ones(runs), 1e-16)


def ratio_to_two_levels(name: str, counts: tuple[int, int], runs: int) -> tuple[LogRatio, float, list[LevelMeans]]:
    """Return the log ratio of the variances of Monte Carlo and of two levels, its true value, and the levels."""
    rng = np.random.default_rng(SEED)
    fine, coarse = PAIRS_OF_LEVELS[name]
    terms = [in_pairs(coarse), in_pairs(lambda w: fine(w) - coarse(w))]
    n = 2 * sum(counts)
    levels = [level_of(f, count, runs, rng) for f, count in zip(terms, counts, strict=True)]
    other = level_of(fine, n, runs, rng)
    baseline = log_variance(other.replicate_means, other.within, 1e-16)
    found = replace(baseline, value=baseline.value - math.log(n)).minus(log_variance_of_sum(levels))
    of_sum = sum(variance_of(f) / count for f, count in zip(terms, counts, strict=True))
    return found, math.log(variance_of(fine) / n / of_sum), levels


@pytest.mark.study
@pytest.mark.parametrize("name", PAIRS_OF_LEVELS)
def test_they_cover_for_a_sum_of_two_levels(name: str) -> None:
    """At least 0.93 with 200 and 50 replicates, of which the differences may be skewed; the errors are unbiased."""
    found, value, _ = ratio_to_two_levels(name, (200, 50), 2000)
    interval = found.exp(0.95, stretch_between(500, 50))[1]
    assert share(name, hits(interval, math.exp(value)), 2000, 0.93, at_least=True).holds
    assert abs(found.value.mean() - value) < 0.05 + 5 * found.value.std() / math.sqrt(2000)


@pytest.mark.study
def test_without_the_error_of_a_level_they_do_not() -> None:
    """The negative control: the error of the difference's variance is left out."""
    found, value, levels = ratio_to_two_levels("|w|^1.5 + w", (200, 50), 2000)
    coarse, without = log_variance_of_sum(levels[:1]), log_variance_of_sum(levels)
    total = np.exp(without.value)
    part = (np.exp(coarse.value) / total) ** 2 * coarse.variance
    wrong = replace(found, variance=found.variance - without.variance + part)
    interval = wrong.exp(0.95, stretch_between(500, 50))[1]
    assert not share("one level", hits(interval, math.exp(value)), 2000, 0.93, at_least=True).holds


def test_a_sum_of_one_level_has_the_formulas_of_a_run() -> None:
    rng = np.random.default_rng(SEED)
    means, within = rng.exponential(size=(30, 3)), rng.exponential(size=(30, 3))
    alone = log_variance(means, within, 2.0**-52)
    weight = np.array([1.0, 2.0, -0.5])
    one = log_variance_of_sum([LevelMeans(means, within, weight, 2.0**-52)])
    np.testing.assert_allclose(one.value, alone.value + np.log(weight**2 / 30), rtol=1e-12)
    for name in ("variance", "degrees_of_freedom", "skewness"):
        np.testing.assert_allclose(getattr(one, name), getattr(alone, name), rtol=1e-9)


def test_a_sum_of_levels_is_the_jackknife_over_all_replicates() -> None:
    """By leaving out each replicate of each level in turn, the definition of the estimate and of its variance."""
    rng = np.random.default_rng(SEED)
    counts, weights = (40, 12), (0.9, 1.0)
    means = [rng.exponential(size=(n, 1)) for n in counts]

    def log_of(parts: list[np.ndarray]) -> float:
        rows = zip(parts, counts, weights, strict=True)
        return math.log(sum(w**2 * part.var(ddof=1) / n for part, n, w in rows))

    value, corrected, variance = log_of(means), log_of(means), 0.0
    for level, n in enumerate(counts):
        left = [[np.delete(part, r, 0) if one == level else part for one, part in enumerate(means)] for r in range(n)]
        logs = np.array([log_of(parts) for parts in left])
        corrected += (n - 1) * (value - logs.mean())
        variance += (n - 1) / n * ((logs - logs.mean()) ** 2).sum()
    found = log_variance_of_sum(
        [LevelMeans(m, np.ones_like(m), np.array([w]), 2.0**-52) for m, w in zip(means, weights, strict=True)]
    )
    assert found.value[0] == pytest.approx(corrected, rel=1e-10)
    assert found.variance[0] == pytest.approx(variance, rel=1e-10)


def test_a_level_without_variance_adds_nothing() -> None:
    rng = np.random.default_rng(SEED)
    means, ones = rng.normal(size=(20, 2)), np.ones(2)
    varies = LevelMeans(means, np.zeros_like(means), ones, 2.0**-52)
    constant = LevelMeans(np.full((10, 2), 0.3), np.zeros((10, 2)), ones, 2.0**-52)
    outlier = LevelMeans(np.eye(10)[:, :2], np.zeros((10, 2)), ones, 2.0**-52)
    with_constant, alone = log_variance_of_sum([varies, constant]), log_variance_of_sum([varies])
    np.testing.assert_allclose(with_constant.value, alone.value, rtol=1e-12)
    np.testing.assert_allclose(with_constant.variance, alone.variance, rtol=1e-12)
    assert np.isnan(log_variance_of_sum([constant, constant]).value).all()
    assert np.isnan(log_variance_of_sum([constant, outlier]).value).all()
    assert np.isfinite(log_variance_of_sum([varies, outlier]).value).all()


def test_a_level_of_few_replicates_is_refused() -> None:
    means = np.zeros((4, 1))
    with pytest.raises(ValueError, match="needs at least 5 replicates; got 4"):
        log_variance_of_sum([LevelMeans(means, means, np.ones(1), 2.0**-52)])

"""Intervals of relative efficiencies: coverage on statistics of their own, over the own run and over Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import SEED
from scipy import integrate, stats

from mcgen.inference.efficiency import log_variance, over_monte_carlo, stretch_between
from mcgen.inference.interval_input import Interval
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

"""Confidence sequences: the formulas against what they solve, their plan, and their promise against peeking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, binomial_p_value
from scipy.optimize import minimize_scalar

from mcgen.inference.sequences import asymptotic_half_width, mixture_t_half_width, planned_ratio


def log_likelihood_ratio(t: float, n: int, phi: float) -> float:
    """Of the mixture over N(0, 1 / phi) effects to none, by numerical integration of the noncentral t density."""
    from scipy import stats

    effects, weights = np.polynomial.hermite_e.hermegauss(120)
    density = stats.nct.pdf(t, n - 1, np.sqrt(n) * effects / np.sqrt(phi))
    return math.log((weights * density).sum() / weights.sum() / stats.t.pdf(t, n - 1))


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_end_is_where_the_likelihood_ratio_is_one_over_alpha(n: int, level: float) -> None:
    planned = 100
    t = float(mixture_t_half_width(n, planned, level))
    assert np.isfinite(t)
    found = log_likelihood_ratio(t, n, planned / planned_ratio(level))
    assert found == pytest.approx(-math.log(1 - level), rel=1e-6)


def test_the_issue_of_two_forms() -> None:
    """The same as the formula with powers, where these neither overflow nor cancel."""
    n, planned, alpha = np.array([40.0, 100.0, 1000.0]), 200, 0.05
    phi = planned / 8.211968062
    r = phi / (phi + n)
    c = (alpha**2 * r) ** (-1 / n)
    assert mixture_t_half_width(n, planned, 0.95) == pytest.approx(np.sqrt((n - 1) * (c - 1) / (1 - c * r)), rel=1e-8)
    rho2 = 8.211968062 / planned
    s = np.sqrt(2 * (n * rho2 + 1) * np.log(np.sqrt(n * rho2 + 1) / alpha) / (n**2 * rho2))
    assert asymptotic_half_width(n, planned, 0.95) == pytest.approx(s * np.sqrt(n), rel=1e-8)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999, 1 - 1e-9])
def test_the_plan_is_where_it_is_narrowest(level: float) -> None:
    n = 1000.0

    def width(log_planned: float) -> float:
        return float(asymptotic_half_width(n, math.exp(log_planned), level))

    best = minimize_scalar(width, bounds=(math.log(10), math.log(1e5)), method="bounded", options={"xatol": 1e-9})
    assert math.exp(best.x) == pytest.approx(n, rel=1e-3)


def test_known_numbers() -> None:
    assert planned_ratio(0.95) == pytest.approx(8.21, abs=0.005)
    assert float(asymptotic_half_width(1e6, 1e6, 0.95)) / 1.959964 == pytest.approx(1.55, abs=0.005)
    # Within what a tenth of the plan and all beyond cost; see `mcgen.inference.rules.PLANNED`.
    narrowest = math.sqrt(1 + planned_ratio(0.95))
    assert float(asymptotic_half_width(100, 1000, 0.95)) / narrowest < 1.27
    assert float(asymptotic_half_width(10_000, 1000, 0.95)) / narrowest < 1.08


def test_large_numbers_lose_no_digits() -> None:
    """With many replicates the variance is known: both are one formula."""
    for n in (1e6, 1e9):
        for planned in (100, n):
            known = float(asymptotic_half_width(n, planned, 0.95))
            assert float(mixture_t_half_width(n, planned, 0.95)) == pytest.approx(known, rel=30 / n + 1e-12)


def test_few_replicates_have_no_end() -> None:
    found = mixture_t_half_width(np.arange(2, 200.0), 100, 0.95)
    finite = np.isfinite(found)
    assert not finite[0]
    assert finite[-1]
    assert (np.diff(finite.astype(int)) >= 0).all()
    assert (np.diff(found[finite]) < 0).any()
    assert np.isinf(asymptotic_half_width(29, 100, 0.95))
    assert np.isfinite(asymptotic_half_width(30, 100, 0.95))


@pytest.mark.parametrize(("planned", "level"), [(20, 0.95), (300, 0.95), (100, 0.8)])
def test_peeking_at_every_replicate_is_paid_for(planned: int, level: float) -> None:
    """From 2 on; the control is Student's own interval."""
    runs, last = 4000, 300
    x = np.random.default_rng(SEED).normal(size=(runs, last))
    n = np.arange(1.0, last + 1)
    mean = x.cumsum(axis=1) / n
    variance = ((x**2).cumsum(axis=1) - n * mean**2) / np.maximum(n - 1, 1)
    t = (np.abs(mean) * np.sqrt(n))[:, 1:] / np.sqrt(variance[:, 1:])
    missed = int((t > mixture_t_half_width(n[1:], planned, level)).any(axis=1).sum())
    assert missed <= runs * (1 - level) or binomial_p_value(missed, runs, 1 - level) > FALSE_ALARM
    # It is not met by intervals without an end: some runs are missed.
    assert missed > runs * (1 - level) / 10
    naive = int((t[:, 8:] > 1.96).any(axis=1).sum())
    assert binomial_p_value(naive, runs, 0.05) < FALSE_ALARM

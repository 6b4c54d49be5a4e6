"""Confidence sequences: the formulas against what they solve, their plan, and their promise against peeking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, binomial_p_value
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from mcgen.inference.interval_input import hall_inverse
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.sequences import (
    SEQUENCES,
    asymptotic_half_width,
    mixture_t_half_width,
    planned_ratio,
    sequence_ends,
)
from mcgen.validation.studies.replicate_laws import LAWS, Law
from mcgen.validation.studies.sequences import WITHOUT_SKEWNESS, _missed_by_studentized, ever_missed, widths
from mcgen.validation.studies.verdicts import acceptance_band


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


@given(
    st.sampled_from([*SEQUENCES]),
    st.integers(2, 10_000),
    st.integers(10, 10_000),
    st.floats(0.5, 0.999),
    st.floats(-1, 1),
)
def test_ends_are_no_nearer_than_without_skewness(
    method: str, n: int, planned: int, level: float, skewness: float
) -> None:
    width, g = float(SEQUENCES[method](n, planned, level)), np.array([skewness])
    low, high = sequence_ends(method, n, planned, level, g)
    if n < 30 or math.isinf(width) or 10 * skewness**2 > 1:
        assert (low[0], high[0]) == (-np.inf, np.inf)
        return
    assert low[0] <= -width
    assert high[0] >= width
    halls = hall_inverse(np.array([width]), g)[0], -hall_inverse(np.array([-width]), g)[0]
    assert (-low[0], high[0]) == pytest.approx((max(width, halls[0]), max(width, halls[1])))
    mirrored = sequence_ends(method, n, planned, level, -g)
    assert (mirrored[0][0], mirrored[1][0]) == pytest.approx((-high[0], -low[0]))


def test_without_skewness_the_ends_are_the_half_width() -> None:
    n = np.arange(30, 500.0)
    low, high = sequence_ends("anytime", n, 100, 0.95, np.zeros(len(n)))
    assert high == pytest.approx(mixture_t_half_width(n, 100, 0.95), rel=1e-14)
    assert np.array_equal(low, -high)


def test_studies_look_at_the_intervals_of_runs() -> None:
    """The cumulative sums of the study against moments and ends at one number of replicates after another."""
    x = np.random.default_rng(SEED).exponential(size=(6, 80)) - 1
    # Moved, so that some of the runs miss the truth at some looks.
    off = x + np.linspace(0, 0.9, 6)[:, None]
    found = _missed_by_studentized(off, 5)
    expected = {name: np.zeros(6, bool) for name in found}
    for n in range(5, 81):
        m = Moments.of(ReplicateMeans(0, off[:, :n].T, np.zeros((n, 6)), None, 1))
        place = -m.mean / m.standard_error
        for method in SEQUENCES:
            low, high = sequence_ends(method, n, 256, 0.95, m.skewness_of_mean)
            expected[method] |= (place < low) | (place > high)
        expected[WITHOUT_SKEWNESS] |= np.abs(place) > mixture_t_half_width(n, 256, 0.95)
    for method in (*SEQUENCES, WITHOUT_SKEWNESS):
        assert np.array_equal(found[method], expected[method])
        assert 0 < found[method].sum() < 6


# Declared before they were measured, at nominal 0.05: the studies have other laws.
OTHER_LAWS = {
    "gamma of shape 0.7": (lambda rng, n: rng.gamma(0.7, size=n), 0.7),
    "Bernoulli 0.05": (lambda rng, n: (rng.random(n) < 0.05).astype(float), 0.05),
    "minus pairs of exp(0.6 w)": (lambda rng, n: -np.cosh(0.6 * rng.standard_normal(n)), -math.exp(0.18)),
}


@pytest.mark.study
@pytest.mark.parametrize("name", OTHER_LAWS)
def test_other_laws_are_missed_as_rarely_at_all_looks(name: str) -> None:
    """The chance of a false alarm is 1e-6 for all three; the control is the half-width alone."""
    draw, mean = OTHER_LAWS[name]
    law = Law(lambda rng, n: draw(rng, n)[:, None], np.array([mean]), np.array([1.0]))
    runs, limit = 3000, acceptance_band(3000, 0.94, 1e-6 / 3, at_least=True)[0]
    missed = ever_missed(law, runs, SEED, last=3000)
    assert 1 - missed["anytime"] >= limit
    assert 1 - missed[WITHOUT_SKEWNESS] < limit


def test_widths_are_over_those_of_the_normal_interval() -> None:
    found = widths(LAWS["normal"](), 1000, 20, SEED)
    assert found["anytime"] == pytest.approx(float(mixture_t_half_width(1000, 256, 0.95)) / 1.96, rel=0.02)
    found = widths(LAWS["Bernoulli 0.1"](), 1000, 20, SEED)
    assert 1 < found["betting, fixed"] < found["betting"] < 2
    assert math.isinf(widths(LAWS["Bernoulli 0.02"](), 64, 20, SEED)["anytime"])


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

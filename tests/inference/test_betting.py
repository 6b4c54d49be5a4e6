"""Betting intervals: the martingale they rest on, their laws, and exact chances of ever missing."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import SEED
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import default_rng

from mcgen.inference.betting import bets, betting_interval, bounded_interval, log_capital
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.validation.studies.verdicts import acceptance_band

unit = arrays(float, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.floats(0, 1, width=32))
several = arrays(float, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.floats(0, 1, width=32))
levels = st.floats(0.01, 0.5)
fixed_counts = st.none() | st.integers(1, 60)


def sampled(x: np.ndarray, bounds: np.ndarray, fixed: int | None = None) -> IntervalInput:
    moments = Moments.of(ReplicateMeans(0, x, np.zeros_like(x), None, 1))
    made = IntervalInput.of(moments, x, SEED, bounds=list(zip(*bounds.tolist(), strict=True)))
    return replace(made, bets_for=fixed)


@given(unit, levels, fixed_counts)
def test_bets_depend_on_the_replicates_before_alone(x: np.ndarray, alpha: float, fixed: int | None) -> None:
    whole = bets(x, alpha, fixed)
    for t in range(len(x)):
        changed = x.copy()
        changed[t:] = 1 - changed[t:]
        assert np.array_equal(bets(changed, alpha, fixed)[: t + 1], whole[: t + 1])


def test_bets_are_the_plug_in_of_the_paper() -> None:
    x = default_rng(SEED).random(6)
    for fixed in (None, 4):
        found = bets(x[:, None], 0.05, fixed)[:, 0]
        for t in range(1, 7):
            centres = [(0.5 + x[:i].sum()) / (i + 1) for i in range(1, t)]
            variance = (0.25 + sum((x[i] - centre) ** 2 for i, centre in enumerate(centres))) / t
            spread = 4 if fixed and t <= 4 else t * math.log(t + 1)
            assert found[t - 1] == pytest.approx(math.sqrt(2 * math.log(40) / variance / spread))


@given(unit, levels, fixed_counts)
def test_the_ends_are_where_the_capital_reaches_its_limit(x: np.ndarray, alpha: float, fixed: int | None) -> None:
    low, high = bounded_interval(x, alpha, fixed)
    share, wanted, limit = 0.5 if fixed is None else 0.75, bets(x, alpha, fixed), math.log(2 / alpha)
    assert ((low >= 0) & (high <= 1)).all()
    for y, end in ((x, low), (1 - x, 1 - high)):
        if (end > 1e-9).all():
            assert log_capital(y, wanted, share, end).max(axis=0) == pytest.approx(limit, abs=1e-6)
        assert (log_capital(y, wanted, share, np.minimum(end + 1e-9, 1)).max(axis=0) < limit + 1e-12).all()


@given(unit, levels, fixed_counts)
def test_reflected_values_have_the_reflected_interval(x: np.ndarray, alpha: float, fixed: int | None) -> None:
    low, high = bounded_interval(x, alpha, fixed)
    reflected_low, reflected_high = bounded_interval(1 - x, alpha, fixed)
    assert reflected_low == pytest.approx(1 - high, abs=1e-9)
    assert reflected_high == pytest.approx(1 - low, abs=1e-9)


@given(several, levels, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_the_scale_of_the_bounds_does_not_matter(x: np.ndarray, alpha: float, shift: float, scale: float) -> None:
    bounds = np.array([[0.0] * x.shape[1], [1.0] * x.shape[1]])
    low, high = betting_interval(sampled(x, bounds), 1 - alpha)
    moved_low, moved_high = betting_interval(sampled(shift + scale * x, shift + scale * bounds), 1 - alpha)
    size = 1e-7 * (abs(shift) + scale)
    assert moved_low == pytest.approx(shift + scale * low, abs=size)
    assert moved_high == pytest.approx(shift + scale * high, abs=size)


@given(unit, levels, fixed_counts)
def test_intervals_are_nested_in_the_replicates(x: np.ndarray, alpha: float, fixed: int | None) -> None:
    low, high = bounded_interval(x, alpha, fixed)
    for n in range(1, len(x)):
        before_low, before_high = bounded_interval(x[:n], alpha, fixed)
        assert (before_low <= low).all()
        assert (before_high >= high).all()


@given(several)
def test_the_interval_holds_the_mean(x: np.ndarray) -> None:
    low, high = betting_interval(sampled(x, np.array([[0.0] * x.shape[1], [1.0] * x.shape[1]])), 0.95)
    assert ((low <= x.mean(axis=0)) & (x.mean(axis=0) <= high)).all()


def ever_missed(p: float, alpha: float, fixed: int | None, peeks: bool = False, n: int = 12) -> float:
    """The exact chance that the interval of n Bernoulli values ever misses p, over all 2^n outcomes."""
    x = np.array([*itertools.product((0.0, 1.0), repeat=n)]).T
    chance = (p**x * (1 - p) ** (1 - x)).prod(axis=0)
    share, missed = 0.5 if fixed is None else 0.75, np.zeros(x.shape[1], bool)
    for y, mean in ((x, p), (1 - x, 1 - p)):
        wanted = bets(x, alpha, fixed) * (y > mean if peeks else 1)
        missed |= log_capital(y, wanted, share, np.full(y.shape[1], mean)).max(axis=0) >= math.log(2 / alpha)
    return float(chance @ missed)


@pytest.mark.parametrize("fixed", [None, 12, 5])
@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_the_exact_chance_of_ever_missing_is_within_alpha(alpha: float, fixed: int | None) -> None:
    found = [ever_missed(p, alpha, fixed) for p in (0.01, 0.1, 0.3, 0.5, 0.8, 0.97)]
    assert max(found) <= alpha
    # Not by being as wide as the bounds.
    assert alpha < 0.2 or max(found) > 0.02


def test_bets_that_peek_are_found() -> None:
    """Negative control: bets that depend on the replicate itself are no martingale."""
    assert ever_missed(0.5, 0.2, None, peeks=True) > 0.2


@pytest.mark.parametrize("n_points", [1, 64])
def test_narrow_laws_have_narrower_intervals(n_points: int) -> None:
    x = default_rng(SEED).random((2000, n_points)).mean(axis=1)[:, None]
    low, high = bounded_interval(x, 0.05)
    sure_low, sure_high = bounded_interval(x, 0.05, 2000)
    assert low[0] < 0.5 < high[0]
    hoeffding = math.sqrt(math.log(2 / 0.05) / 2 / 2000)
    assert (sure_high - sure_low)[0] < (high - low)[0]
    assert (sure_high - sure_low)[0] / 2 < hoeffding / (1 if n_points == 1 else 4)


def test_components_are_worked_on_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    x = default_rng(SEED).random((50, 7))
    whole = bounded_interval(x, 0.05)
    monkeypatch.setattr("mcgen.inference.betting._AT_ONCE", 100)
    assert np.array_equal(whole, bounded_interval(x, 0.05))
    assert np.array_equal(whole[0][3:4], bounded_interval(x[:, 3:4], 0.05)[0])


def test_what_is_missing_is_refused() -> None:
    x = default_rng(SEED).random((20, 2))
    bounds = np.array([[0.0, -np.inf], [1.0, np.inf]])
    with pytest.raises(ValueError, match=r"got none for 1 of 2, the first is component 1. Declare them by mcgen.as_st"):
        betting_interval(sampled(x, bounds), 0.95)
    moments = Moments.of(ReplicateMeans(0, x, np.zeros_like(x), None, 1))
    with pytest.raises(ValueError, match="needs the replicate means in their order.* keep_replicates=True"):
        betting_interval(IntervalInput.of(moments, None, SEED, bounds=[(0.0, 1.0)] * 2), 0.95)


@pytest.mark.study
@pytest.mark.parametrize(("a", "b"), [(0.05, 0.5), (0.2, 4.0), (3.0, 0.1), (50.0, 50.0)])
def test_betting_covers_at_all_times(a: float, b: float) -> None:
    """At nominal 0.9, for beta laws; false alarms have a chance of 1e-6 in all four."""
    runs, hits = 2000, np.ones(2000, bool)
    x = default_rng(SEED).beta(a, b, size=(600, runs))
    truth, alpha = a / (a + b), 0.1
    for y, mean in ((x, truth), (1 - x, 1 - truth)):
        capital = log_capital(y, bets(y, alpha), 0.5, np.full(runs, mean)).max(axis=0)
        hits &= capital < math.log(2 / alpha)
    assert hits.mean() >= acceptance_band(runs, 0.9, 1e-6 / 4, at_least=True)[0]

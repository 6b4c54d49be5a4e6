"""Intervals of quantiles: against brute force and scipy, with ties, weights, few values, and sums of quantiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import SEED, binomial_p_value
from scipy import stats
from scipy.special import ndtri, stdtrit

from mcgen.inference.functional_intervals import interval_of_functional, stretch_of_stages
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import Quantiles, Shares, binomial_quantile

# The binomial check of a coverage of at least 0.94 fails a correct interval once in 1e9.
FALSE_ALARM = 1e-9


def of(values: Any, q: float, weights: Any = None, independent: bool = False) -> Quantiles:
    values = np.asarray(values, np.float64)
    n = values.shape[1]
    own = np.full(n, 1 / n) if weights is None else np.asarray(weights)
    return Shares([values], [own]).quantiles(q, independent)[0]


def pairs(rng: np.random.Generator, n_replicates: int, k: int = 1, *, even: bool = False) -> np.ndarray:
    z = rng.standard_normal((n_replicates, 1, k))
    return np.concatenate([z**2, z**2] if even else [z, -z], axis=1)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 1000])
@pytest.mark.parametrize("q", [0.01, 0.3, 0.5, 0.99])
def test_binomial_quantiles_are_those_of_scipy(n: int, q: float) -> None:
    for p in (1e-6, 0.005, 0.025, 0.9, 0.975, 1 - 1e-9):
        assert binomial_quantile(p, n, q) == stats.binom.ppf(p, n, q)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.8, 0.99])
def test_the_interval_by_brute_force(q: float) -> None:
    rng = np.random.default_rng(SEED)
    values = rng.standard_normal((60, 4, 3)).cumsum(axis=1)
    found = of(values, q)
    for column in range(3):
        own = values[:, :, column]
        flat = np.sort(own.ravel())
        point = flat[math.ceil(240 * q - 1e-9) - 1]
        assert found.point[column] == point
        # A value equal to the estimate counts with probability u, so that the mean share is q.
        below, at = (own < point).mean(axis=1), (own == point).mean(axis=1)
        u = (q - below.mean()) / at.mean()
        shares = below + u * at
        assert shares.mean() == pytest.approx(q, abs=1e-12)
        variance = (shares.var(ddof=1) + u * (1 - u) * np.minimum(8 * at / 4, at**2).mean()) / 60
        assert found.error[column] == pytest.approx(math.sqrt(variance), rel=1e-9)
        h = stdtrit(59, 0.975) * math.sqrt(variance)
        level = np.arange(1, 241) / 240
        inside = flat[level <= q - h]
        beyond = flat[level > q + h]
        low, high = (end[column] for end in found.interval(0.95))
        assert low == (inside[-1] if len(inside) else -np.inf)
        assert high == (beyond[0] if len(beyond) else np.inf)


def test_order_statistics_invert_the_quantile_test_of_scipy() -> None:
    values = np.random.default_rng(SEED).exponential(size=(300, 1, 1))
    for q in (0.2, 0.5, 0.9):
        low, high = (float(end[0]) for end in of(values, q, independent=True).interval(0.95))
        flat = np.sort(values.ravel())
        # Every value outside is rejected on its side at 2.5 %, and every one inside is not.
        for x in flat:
            p_below = stats.quantile_test(flat, q=x, p=q, alternative="less").pvalue
            p_above = stats.quantile_test(flat, q=x, p=q, alternative="greater").pvalue
            if low < x < high:
                assert min(p_below, p_above) > 0.025 - 1e-9
            elif x < low or x > high:
                assert min(p_below, p_above) < 0.05


@pytest.mark.parametrize("kind", ["independent", "pairs", "pairs, even"])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_atoms_are_covered(kind: str, q: float) -> None:
    rng, n_runs, n = np.random.default_rng(SEED), 2000, 800
    independent, even = kind == "independent", kind == "pairs, even"
    law = stats.chi2(1) if even else stats.norm()
    for share in (q - 0.002, q, q + 0.002):
        values = rng.standard_normal((n, 1, n_runs)) if independent else pairs(rng, n // 2, n_runs, even=even)
        steps = (values > law.ppf(share)).astype(np.float64)
        low, high = of(steps, q, independent=independent).interval(0.95)
        truth = 0.0 if share >= q else 1.0
        hits = int(((low <= truth) & (truth <= high)).sum())
        assert hits / n_runs >= 0.94 or binomial_p_value(hits, n_runs, 0.94) > FALSE_ALARM


def test_without_random_ties_atoms_are_covered_too_rarely() -> None:
    # All values are 0 in many runs, so that shares up to the estimate do not vary.
    rng, n_runs = np.random.default_rng(SEED), 2000
    steps = (pairs(rng, 100, n_runs, even=True) > stats.chi2(1).ppf(0.9895)).astype(np.float64)
    found = of(steps, 0.99)
    shares = (steps <= found.point).mean(axis=1)
    error = shares.std(axis=0, ddof=1) / 10
    naive = Quantiles(0.99, found.levels, found.values, error, found.degrees_of_freedom, 200, False)
    for one, covers in ((found, True), (naive, False)):
        low, high = one.interval(0.95)
        assert (((low <= 1) & (high >= 1)).mean() > 0.94) == covers


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("q", [0.9, 0.99])
def test_the_evaluations_that_are_named_give_two_ends(even: bool, q: float) -> None:
    rng = np.random.default_rng(SEED)
    few = int(2 / (1 - q) / 2)
    found = of(pairs(rng, few, even=even), q)
    assert np.isinf(found.interval(0.95)).any()
    need = found.evaluations_for_two_ends(0.95)
    assert need > 2 * few
    low, high = of(pairs(rng, math.ceil(need / 2), 200, even=even), q).interval(0.95)
    assert (np.isfinite(low) & np.isfinite(high)).mean() > 0.8
    # Not many more than are needed.
    low, high = of(pairs(rng, need // 4, 200, even=even), q).interval(0.95)
    assert (np.isfinite(low) & np.isfinite(high)).mean() < 0.5


@pytest.mark.parametrize("n_replicates", [2, 3, 5])
def test_few_replicates_have_wide_intervals(n_replicates: int) -> None:
    rng = np.random.default_rng(SEED)
    values = rng.standard_normal((n_replicates, 64, 500))
    low, high = of(values, 0.5).interval(0.95)
    assert ((low <= 0) & (high >= 0)).mean() > (0.8 if n_replicates == 2 else 0.9)
    assert np.isnan(low).sum() == np.isnan(high).sum() == 0


def test_points_of_other_weights_count_by_them() -> None:
    rng = np.random.default_rng(SEED)
    values = rng.standard_normal((200, 2, 1))
    # A weight of 3 / 4 and 1 / 4 is as three equal points and one.
    repeated = values[:, [0, 0, 0, 1]]
    weighted = of(values, 0.7, [0.75, 0.25])
    assert weighted.point == of(repeated, 0.7).point
    low, high = weighted.interval(0.95)
    own_low, own_high = of(repeated, 0.7).interval(0.95)
    ranks = np.searchsorted(np.sort(values.ravel()), [low[0], own_low[0], high[0], own_high[0]])
    assert abs(ranks[0] - ranks[1]) <= 2
    assert abs(ranks[2] - ranks[3]) <= 2


def test_rounding_of_weights_carries_no_level_beyond_the_quantile() -> None:
    # Pairs of an odd statistic have a median that is known exactly, also in a mixture of two runs.
    rng = np.random.default_rng(SEED)
    for _ in range(20):
        runs = [pairs(rng, 300), 3 * pairs(rng, 300)]
        found = Shares(runs, [np.full(2, 0.7 / 2), np.full(2, 0.3 / 2)]).quantiles(0.5, False)[0]
        low, high = found.interval(0.95)
        assert low[0] <= 0 <= high[0]


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999, 1 - 1e-8])
def test_kept_values_give_the_same_intervals(independent: bool, level: float) -> None:
    rng = np.random.default_rng(SEED)
    values = np.concatenate([rng.standard_normal((20_000, 1, 2)), np.zeros((20_000, 1, 1))], axis=2)
    whole = of(values, 0.8, independent=independent)
    kept = whole.kept()
    assert len(kept.values) < 10_000
    assert np.array_equal(kept.point, whole.point)
    for one in (kept, kept.kept()):
        assert np.array_equal(one.interval(level), whole.interval(level))
    assert np.array_equal(kept.select(slice(1, 2)).interval(level), np.asarray(whole.interval(level))[:, 1:2])
    with pytest.raises(ValueError, match="run it again"):
        kept.interval(1 - 1e-300) if not independent else kept.stretched(np.full(3, 50.0)).interval(0.95)


def test_values_of_unequal_weights_are_kept_as_far_as_levels_ask() -> None:
    rng = np.random.default_rng(SEED)
    runs = [rng.standard_normal((30_000, 1, 1)), rng.standard_normal((3000, 1, 1))]
    whole = Shares(runs, [np.array([0.02]), np.array([0.98])]).quantiles(0.9, False)[0]
    kept = whole.kept()
    assert len(kept.values) < 33_000
    assert np.array_equal(kept.interval(0.99999), whole.interval(0.99999))


def test_the_density_is_that_of_the_law() -> None:
    values = np.random.default_rng(SEED).standard_normal((50_000, 1, 1))
    for q in (0.1, 0.5, 0.9):
        assert of(values, q).density()[0] == pytest.approx(stats.norm.pdf(ndtri(q)), rel=0.15)
    assert of(np.zeros((50, 1, 1)), 0.5).density()[0] == np.inf
    gap = np.where(values > 0, values + 100, values)
    assert of(gap, 0.5).density()[0] < 0.01


def test_in_a_gap_the_interval_spans_it() -> None:
    values = np.random.default_rng(SEED).permutation(np.repeat([0.0, 1.0], 500))[:, None, None]
    low, high = of(values + 1e-3 * np.random.default_rng(1).random((1000, 1, 1)), 0.5).interval(0.95)
    assert low[0] < 0.1
    assert high[0] > 0.9


def sampled(mean: np.ndarray, error: np.ndarray, df: float, first: Any = None) -> IntervalInput:
    k = len(mean)
    return IntervalInput(mean, error, np.full(k, df), None, 0, skewness=np.zeros(k), first_stage=first)


def test_stages_stretch_by_the_standard_deviation_of_the_first() -> None:
    error = np.array([0.1, 0.1, 0.0])
    found = sampled(np.zeros(3), error, 99.0, (32, np.array([3.0, 0.5, 1.0])))
    expected = 3.0 * stdtrit(31, 0.975) / (0.1 * 10 * stdtrit(99, 0.975))
    assert stretch_of_stages(found, 0.95) == pytest.approx([expected, 1, 1])
    assert np.array_equal(stretch_of_stages(sampled(np.zeros(3), error, 99.0), 0.95), np.ones(3))


def test_independent_sums_have_the_ends_of_zou_and_donner() -> None:
    rng = np.random.default_rng(SEED)
    a, b = of(rng.exponential(size=(300, 1, 1)), 0.9, independent=True), of(pairs(rng, 200), 0.9)
    joint = QuantileSum((a, b), (2.0, -0.5), same_noise=False)
    (la, ua), (lb, ub) = a.interval(0.95), b.interval(0.95)
    pa, pb = a.point, b.point
    low, high = joint.interval(0.95)
    theta = 2 * pa - pb / 2
    assert low == pytest.approx(theta - np.hypot(2 * (pa - la), (ub - pb) / 2))
    assert high == pytest.approx(theta + np.hypot(2 * (ua - pa), (pb - lb) / 2))
    made, half, method = interval_of_functional(sampled(theta, np.ones(1), 99.0), IntervalOptions(0.95), None, joint)
    assert (made.low, made.high, method) == (low, high, "quantile-sum")
    assert half == (high - low) / 2


def test_a_sum_has_no_end_where_a_term_has_none() -> None:
    rng = np.random.default_rng(SEED)
    # The first has no upper end.
    a, b = of(rng.standard_normal((250, 1, 1)), 0.99, independent=True), of(pairs(rng, 500), 0.5)
    assert np.isinf(a.interval(0.95)[1][0])
    for weights, ends in (((1.0, 1.0), (False, True)), ((-1.0, 1.0), (True, False))):
        apart = QuantileSum((a, b), weights, same_noise=False)
        assert tuple(np.isinf(np.ravel(apart.interval(0.95)))) == ends
        made, _, method = interval_of_functional(
            sampled(np.zeros(1), np.ones(1), 99.0),
            IntervalOptions(0.95),
            None,
            QuantileSum((a, b), weights, same_noise=True),
        )
        assert (np.isinf(made.low[0]), np.isinf(made.high[0])) == ends  # type: ignore[index]
        assert method == "skewness-safe-t"
    assert apart.evaluations_for_two_ends(0.95) == 368


def test_on_the_same_noise_what_is_known_exactly_reaches_to_the_next_values() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(20):
        z = pairs(rng, 200)
        a, b = of(z, 0.5), of(1.5 * z, 0.5)
        assert a.error[0] == 0
        joint = QuantileSum((a, b), (1.0, -1.0), same_noise=True)
        exact = sampled(a.point - b.point, np.zeros(1), 199.0)
        made, _, _ = interval_of_functional(exact, IntervalOptions(0.95), None, joint)
        assert made.low[0] < 0 < made.high[0]  # type: ignore[index]
    # Where the shares vary, the interval is that of the influence values.
    a, b = (of(one, 0.9) for one in (z, 1.5 * z))
    joint = QuantileSum((a, b), (1.0, -1.0), same_noise=True)
    plain = sampled(np.zeros(1), np.full(1, 0.1), 199.0)
    made, _, _ = interval_of_functional(plain, IntervalOptions(0.95), None, joint)
    own, _, _ = interval_of_functional(plain, IntervalOptions(0.95), None, None)
    assert made.low == own.low


def test_intervals_of_quantiles_have_no_other_methods() -> None:
    found = of(pairs(np.random.default_rng(SEED), 100), 0.5)
    with pytest.raises(ValueError, match="got interval='student-t'"):
        interval_of_functional(sampled(np.zeros(1), np.ones(1), 9.0), IntervalOptions(0.95, "student-t"), None, found)

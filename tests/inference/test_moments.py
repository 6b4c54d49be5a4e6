"""Moments: any order, any grouping, no cancellation; the order of summation is fixed by leaves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import SEED
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates import tally as reduction_module
from mcgen.replicates.summation import LEAF, Reduction
from mcgen.replicates.tally import Tally

FIELDS = ("mean", "m2", "m3", "m4", "within")


def rows(means: np.ndarray, start: int = 0) -> ReplicateMeans:
    within = np.abs(np.sin(np.arange(means.size))).reshape(means.shape)
    return ReplicateMeans(start, means, within, np.ones(means.shape, np.int64), 2)


def close(a: Moments, b: Moments) -> bool:
    """Equal to rounding: relative to the size that a sum of such powers has."""
    sd = np.sqrt(b.m2 / b.count)
    sizes = {"mean": np.abs(b.mean) + sd, "m2": b.m2, "m3": b.count * sd**3, "m4": b.m4, "within": b.within}
    gaps = {name: np.abs(getattr(a, name) - getattr(b, name)) for name in FIELDS}
    return a.count == b.count and all((gaps[name] <= 1e-12 * sizes[name]).all() for name in FIELDS)


@given(cuts=st.sets(st.integers(1, 99), max_size=6), seed=st.integers(0, 2**32), data=st.data())
def test_any_grouping_and_order_gives_the_same(cuts: set[int], seed: int, data: st.DataObject) -> None:
    whole = rows(np.random.default_rng(seed).gamma(2.0, size=(100, 3)))
    edges = [0, *sorted(cuts), 100]
    parts = data.draw(st.permutations([Moments.of(whole[a:b]) for a, b in itertools.pairwise(edges)]))
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    direct = Moments.of(whole)
    assert close(merged, direct)
    assert np.allclose(merged.comoment, direct.comoment)
    assert (merged.events == direct.events).all()


def test_moments_are_scipys() -> None:
    x = np.random.default_rng(SEED).gamma(1.5, size=(1000, 2))
    m = Moments.of(rows(x[:300])).merge(Moments.of(rows(x[300:], start=300)))
    assert np.allclose(m.mean, x.mean(axis=0))
    assert np.allclose(m.variance, x.var(axis=0, ddof=1))
    assert np.allclose(m.standard_error, stats.sem(x))
    assert np.allclose(m.skewness, stats.skew(x))
    assert np.allclose(m.kurtosis, stats.kurtosis(x, fisher=False))
    assert np.allclose(m.covariance, np.cov(x, rowvar=False))


@given(mean=st.sampled_from([1e8, -1e8, 0.0]), pieces=st.integers(1, 40))
def test_no_cancellation_at_a_large_mean(mean: float, pieces: int) -> None:
    """Mean 1e8, sd 1: sums of squares minus a square of sums would have no digit left."""
    x = np.random.default_rng(SEED).normal(mean, 1.0, size=(4000, 1))
    merged = None
    for part in np.array_split(x, pieces):
        one = Moments.of(rows(part))
        merged = one if merged is None else merged.merge(one)
    assert merged is not None
    assert merged.variance[0] == pytest.approx(np.var(x - mean, ddof=1), rel=1e-6)
    assert merged.skewness[0] == pytest.approx(stats.skew(x - mean)[0], abs=1e-5)


def test_constant_means_have_no_spread() -> None:
    m = Moments.of(rows(np.full((10, 1), 0.1))).merge(Moments.of(rows(np.full((5, 1), 0.1))))
    assert m.m2 == pytest.approx(0.0, abs=1e-30)
    assert m.kurtosis == pytest.approx(0.0)
    assert m.skewness == pytest.approx(0.0)


@given(group=st.integers(1, 700), n=st.integers(2, 1500))
def test_tally_has_the_same_bits_for_every_grouping(group: int, n: int) -> None:
    means = np.random.default_rng(SEED).normal(size=(1500, 2))[:n]

    def tally(size: int) -> Tally:
        made = Tally(keep=None)
        for start in range(0, n, size):
            made.add(rows(means[start : start + size], start))
        return made

    one, other = tally(group), tally(LEAF)
    a, b = one.moments(), other.moments()
    assert a is not None
    assert b is not None
    for name in FIELDS[:4]:
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert np.array_equal(one.kept()[0], means)


@given(cuts=st.sets(st.integers(1, 699), max_size=8), k=st.sampled_from([1, 3]), m=st.sampled_from([1, 4]))
def test_reduction_has_the_same_bits_for_every_slicing(cuts: set[int], k: int, m: int) -> None:
    values = np.random.default_rng(SEED).normal(5.0, size=(m, 700, k))

    def reduce(edges: list[int]) -> ReplicateMeans:
        reduction = Reduction()
        for a, b in itertools.pairwise(edges):
            reduction.add(values[:, a:b])
        return reduction.finish(0)

    sliced, whole = reduce([0, *sorted(cuts), 700]), reduce([0, 700])
    assert np.array_equal(sliced.means, whole.means)
    assert np.array_equal(sliced.within, whole.within)
    assert np.allclose(whole.means, values.mean(axis=1))
    assert np.allclose(whole.within, values.var(axis=1))


def test_events_are_counted_only_for_indicators() -> None:
    def moments(values: np.ndarray) -> Moments:
        reduction = Reduction()
        reduction.add(values)
        return Moments.of(reduction.finish(0))

    indicator = moments(np.array([[[1.0], [0.0]], [[1.0], [1.0]]]))
    assert (indicator.events, indicator.non_events) == (3, 1)
    assert moments(np.array([[[1.0], [0.5]], [[1.0], [1.0]]])).events is None


def test_means_are_kept_up_to_a_limit_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = rows(np.zeros((4, 2)))
    for keep, most, kept in ((None, 8, True), (False, 8, False), (None, 7, False), (True, 7, True)):
        monkeypatch.setattr(reduction_module, "KEPT_VALUES", most)
        tally = Tally(keep)
        tally.add(wide)
        assert (tally.kept() is not None) == kept

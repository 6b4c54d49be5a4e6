"""What a run gathers beside the means: values and samples, the same bits however a run is cut, within a limit."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic, logistic_until

import mcgen
from mcgen.designs import Antithetic, Design, MonteCarlo, Sobol
from mcgen.errors import RunError, StoreError, partial_of
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates import gathering
from mcgen.replicates.gathering import Samples, Values
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.stores.encoding import ROWS, pack, unpack
from mcgen.replicates.summation import LEAF, Reduction
from mcgen.replicates.tally import GROUPS, Leaf, Tally, joined
from mcgen.replicates.task import estimand_of
from mcgen.results.estimate import Estimate

GENERATOR = mcgen.as_generator(logistic, noise=(3, 2), name="logistic")


def values_of(samples: np.ndarray) -> np.ndarray:
    return samples.reshape(len(samples), -1)[:, :2] ** 2


def rows_of(design: Design, n: int, batch_size: int = 64) -> ReplicateMeans:
    task = estimand_of(GENERATOR, values_of, SEED, None).task(design, batch_size)
    return joined([*replicate_means(replace(task, gatherers=(Values(), Samples())), range(n))])


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(16), Sobol(512)], ids=str)
def test_values_and_samples_are_by_replicate_and_point(design: Design) -> None:
    rows = rows_of(design, 6)
    samples = mcgen.sample(GENERATOR, 6 * design.n_points, seed=SEED, design=design)
    assert rows.gathered["samples"].shape == (6, design.n_points, 3, 2)
    assert rows.gathered["samples"].dtype == samples.dtype
    np.testing.assert_array_equal(rows.gathered["samples"].reshape(samples.shape), samples)
    np.testing.assert_array_equal(rows.gathered["values"].reshape(-1, 2), values_of(samples).astype(np.float64))
    np.testing.assert_allclose(rows.gathered["values"].mean(axis=1), rows.means, rtol=1e-12)


def test_rows_with_what_was_gathered_are_cut_joined_and_stored() -> None:
    rows = rows_of(Antithetic(), 40)
    again = joined([rows[:7], rows[7:8], rows[8:]])
    stored = unpack(ROWS, range(40), pack(rows))
    assert isinstance(stored, ReplicateMeans)
    for name, array in rows.gathered.items():
        np.testing.assert_array_equal(again.gathered[name], array)
        np.testing.assert_array_equal(stored.gathered[name], array)
        assert stored.gathered[name].dtype == array.dtype


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint8, np.bool_, np.complex64, ">f8"], ids=str)
def test_stored_samples_keep_their_type(kind: Any) -> None:
    array = np.arange(12).reshape(3, 2, 2).astype(kind)
    rows = ReplicateMeans(0, np.zeros((3, 1)), np.zeros((3, 1)), None, 2, gathered={"samples": array})
    found = unpack(ROWS, range(3), pack(rows))
    assert isinstance(found, ReplicateMeans)
    np.testing.assert_array_equal(found.gathered["samples"], array)
    assert found.gathered["samples"].dtype == array.dtype.newbyteorder("=")


class WithPairs:
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return values_of(samples)

    def product_pairs(self, k: int) -> np.ndarray:
        return np.array([[0, 1], [0, 0]])


@pytest.mark.parametrize("n_points", [1, 2, 300, 700])
def test_products_of_pairs_are_those_of_all_values(n_points: int) -> None:
    values = np.random.default_rng(SEED).standard_normal((5, n_points, 2)) + 1e6
    pairs = np.array([[0, 1], [0, 0]])
    whole, cut = Reduction(pairs=pairs), Reduction(pairs=pairs)
    whole.add(values)
    for first in range(0, n_points, 37):
        cut.add(values[:, first : first + 37])
    rows = whole.finish(0)
    assert rows.products is not None
    np.testing.assert_array_equal(rows.products, cut.finish(0).products)
    deviations = values - values.mean(axis=1, keepdims=True)
    expected = np.stack([deviations[..., 0] * deviations[..., 1], deviations[..., 0] ** 2], axis=2).mean(axis=1)
    np.testing.assert_allclose(rows.products, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(rows.products[:, 1], rows.within[:, 0], rtol=1e-9, atol=1e-12)
    # Moments of all, merged from parts, are those of all values about the overall means.
    merged = Moments.of(rows[:2]).merge(Moments.of(rows[2:]))
    flat = values.reshape(-1, 2)
    assert merged.product is not None
    covariance = np.cov(flat.T, bias=True)
    np.testing.assert_allclose(merged.product, [covariance[0, 1], covariance[0, 0]], rtol=1e-6)
    product = Moments.of(rows).product
    assert product is not None
    np.testing.assert_allclose(product, merged.product, rtol=1e-9)


def test_products_go_through_a_run() -> None:
    task = estimand_of(GENERATOR, WithPairs(), SEED, None).task(Antithetic(), 64)
    rows = joined([*replicate_means(task, range(50))])
    samples = mcgen.sample(GENERATOR, 100, seed=SEED, design=Antithetic())
    values = values_of(samples).astype(np.float64).reshape(50, 2, 2)
    d = values - values.mean(axis=1, keepdims=True)
    assert rows.products is not None
    np.testing.assert_allclose(rows.products[:, 0], (d[..., 0] * d[..., 1]).mean(axis=1), atol=1e-12)


def test_groups_hold_leaves_by_their_numbers() -> None:
    n = (GROUPS + 3) * LEAF + 100
    means = np.random.default_rng(SEED).standard_normal((n, 2))
    rows = ReplicateMeans(0, means, means**2, None, 2)
    by_rows, by_leaves = Tally(False, grouped=True), Tally(False, grouped=True)
    by_rows.add(rows)
    for first in range(0, n, LEAF):
        part = rows[first : first + LEAF]
        by_leaves.add(Leaf(first, Moments.of(part)) if len(part) == LEAF else part)
    numbers = np.arange(n) // LEAF % GROUPS
    assert len(by_rows.groups()) == GROUPS
    for number, (one, other) in enumerate(zip(by_rows.groups(), by_leaves.groups(), strict=True)):
        assert one.count == other.count == (numbers == number).sum()
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_allclose(one.mean, means[numbers == number].mean(axis=0), atol=1e-12)
    assert by_rows.rows() is None


OPTIONS: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 1200, "seed": SEED, "keep_samples": True}


def test_samples_are_in_the_result_and_not_in_its_file(tmp_path: Path) -> None:
    result = mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS)
    assert result.samples is not None
    np.testing.assert_array_equal(
        result.samples.reshape(1200, 3, 2), mcgen.sample(GENERATOR, 1200, seed=SEED, design=Antithetic())
    )
    plain = mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS | {"keep_samples": False})
    assert plain.samples is None
    assert plain == result
    result.save(tmp_path / "result.json")
    found = mcgen.load(tmp_path / "result.json")
    assert found == result
    assert isinstance(found, Estimate)
    assert found.samples is None


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "processes"])
def test_samples_are_the_same_on_executors(threads: bool) -> None:
    expected = mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS)
    pool = ThreadPoolExecutor(2) if threads else ProcessPoolExecutor(2, mp_context=get_context("fork"))
    with pool:
        found = mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS, executor=pool)
    np.testing.assert_array_equal(found.samples, expected.samples)


def test_samples_are_the_same_from_a_store_that_goes_on_and_from_merged_parts(tmp_path: Path) -> None:
    expected = mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS)
    store = tmp_path / "run.sqlite"
    broken = mcgen.as_generator(logistic_until(6, ValueError("broken")), noise=(3, 2), name="logistic", fingerprint="x")
    with pytest.raises(ValueError, match="broken"):
        mcgen.estimate(broken, mcgen.statistics.pixel_mean, **OPTIONS, store=store)
    whole = mcgen.as_generator(logistic, noise=(3, 2), name="logistic", fingerprint="x")
    found = mcgen.estimate(whole, mcgen.statistics.pixel_mean, **OPTIONS, store=store)
    np.testing.assert_array_equal(found.samples, expected.samples)
    np.testing.assert_array_equal(
        mcgen.estimate(whole, mcgen.statistics.pixel_mean, **OPTIONS, store=store).samples, expected.samples
    )
    parts = [range(250), range(250, 600)]
    own = {name: value for name, value in OPTIONS.items() if name != "n_evaluations"}
    for number, part in enumerate(parts):
        path = tmp_path / f"{number}.sqlite"
        mcgen.estimate(whole, mcgen.statistics.pixel_mean, **own, replicates=part, batch_size=64, store=path)
    mcgen.merge_stores([tmp_path / "0.sqlite", tmp_path / "1.sqlite"], tmp_path / "whole.sqlite")
    merged = mcgen.estimate(
        whole, mcgen.statistics.pixel_mean, **OPTIONS, batch_size=64, store=tmp_path / "whole.sqlite"
    )
    np.testing.assert_array_equal(merged.samples, expected.samples)


def test_a_store_without_samples_is_refused_for_a_call_that_keeps_them(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS | {"keep_samples": False}, store=store)
    with pytest.raises(StoreError, match="gathered"):
        mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS, store=store)


def test_more_than_the_limit_is_refused_with_advice_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gathering, "MOST_BYTES", 1000 * 24)
    with pytest.raises(RunError, match="samples of 1,200 evaluations take .* use up to 1,000 evaluations"):
        mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS)
    # A run that grows keeps what it has.
    store = tmp_path / "run.sqlite"
    mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS | {"n_evaluations": 800}, store=store)
    with pytest.raises(RunError, match="use up to 1,000 evaluations"):
        mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS, store=store)
    assert (
        mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS | {"n_evaluations": 800}, store=store).samples
        is not None
    )
    steep = mcgen.as_statistic(lambda x: x[:, 0, 0] * 100, name="steep")
    with pytest.raises(RunError, match="use up to 1,000 evaluations") as caught:
        mcgen.estimate(GENERATOR, steep, design=Antithetic(), atol=1e-3, seed=SEED, keep_samples=True)
    part = partial_of(caught.value, Estimate)
    assert part is not None
    assert part.n_evaluations <= 1000


def test_what_can_not_be_kept_is_refused() -> None:
    pairs = mcgen.as_generator(lambda z: (z, 2 * z), noise=(2,), name="pairs")
    with pytest.raises(RunError, match="one array of numbers"):
        mcgen.estimate(pairs, lambda x: x[0][:, 0], **OPTIONS)
    with pytest.raises(ValueError, match="keep_samples=True keeps the replicate means too"):
        mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS, keep_replicates=False)


def test_conditions_keep_their_own_samples() -> None:
    result = mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **OPTIONS, condition={"low": 0.0, "high": 1.0})
    low, high = (part.samples for part in result.conditions)
    assert low is not None
    assert high is not None
    assert low.mean() < high.mean()
    common = OPTIONS | {"condition": [0.0, 1.0], "common_random_numbers": True}
    with pytest.raises(RunError, match="one array of numbers"):
        mcgen.estimate(GENERATOR, mcgen.statistics.pixel_mean, **common)

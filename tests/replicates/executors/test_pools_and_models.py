"""Workers that outlive a model: what was changed since is run as it is now, or refused, and never as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import own_code
import pytest
from helpers import logistic

import mcgen
from mcgen import WorkerError
from mcgen.generators.factories import from_factory

mean = mcgen.statistics.pixel_mean


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One pool for all tests here, as people keep one over a training."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("w.npy", 1.0)
    return tmp_path / "w.npy"


def estimate(generator: Any, executor: Any = None, **options: Any) -> mcgen.Estimate:
    return mcgen.estimate(
        generator, mean, design=mcgen.Antithetic(), n_evaluations=200, seed=0, executor=executor, **options
    )


def truth(shift: float) -> mcgen.Estimate:
    weight = np.array(shift)
    return estimate(mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - weight)), noise=(4,), name="loaded"))


# How a loader may come by its file.
FACTORIES = {
    "path": lambda path: from_factory(own_code.load_array, str(path), name="loaded"),
    "keyword": lambda path: from_factory(own_code.load_array, path=str(path), name="loaded"),
    "Path": lambda path: from_factory(own_code.load_array, path, name="loaded"),
    "partial": lambda path: from_factory(partial(own_code.load_array, str(path)), name="loaded"),
    "attribute": lambda path: from_factory(own_code.Loader(str(path)), name="loaded"),
    "cached": lambda path: from_factory(own_code.cached_load, str(path), name="loaded"),
    "folder": lambda path: from_factory(own_code.load_folder, str(path.parent), name="loaded"),
    "list": lambda path: from_factory(own_code.load_first, [str(path)], name="loaded"),
    "noise": lambda path: from_factory(own_code.load_array, str(path), noise=(4,), name="loaded"),
    "closure": lambda path: from_factory(lambda: own_code.load_array(str(path)), name="loaded"),
}


@pytest.mark.parametrize("kind", FACTORIES)
def test_an_overwritten_file(kind: str, pool: Executor, weights: Path) -> None:
    if kind == "closure":
        pytest.importorskip("cloudpickle")
    for shift in (1.0, 0.5, 1.0):
        np.save(weights, shift)
        made = FACTORIES[kind](weights)
        assert estimate(made, pool).mean == truth(shift).mean
        assert estimate(made).mean == truth(shift).mean


def test_with_the_identity_of_a_call_alone_the_first_model_would_come_back(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the pool serves the first model for ever."""
    monkeypatch.setattr("mcgen._lib.fingerprints.walk.files_of", lambda path: [])
    first = from_factory(own_code.load_array, str(weights))
    assert estimate(first).mean == truth(1.0).mean
    np.save(weights, 0.5)
    assert estimate(from_factory(own_code.load_array, str(weights))).mean == truth(1.0).mean != truth(0.5).mean


def test_a_factory_of_before_the_change_is_refused(pool: Executor, weights: Path) -> None:
    made = from_factory(own_code.load_array, str(weights), noise=(4,))
    np.save(weights, 0.25)
    for executor in (None, pool):
        with pytest.raises(RuntimeError, match="would load something else than when it was made: argument `0`: file"):
            estimate(made, executor)


def test_one_that_is_loaded_stays_what_it_is(weights: Path) -> None:
    made = from_factory(own_code.load_array, str(weights))
    first = estimate(made)
    np.save(weights, 0.25)
    assert estimate(made) == first


def test_a_file_that_changes_while_it_is_loaded(weights: Path) -> None:
    def load(path: str) -> Any:
        found = own_code.load_array(path)
        np.save(path, 0.25)
        return found

    pytest.importorskip("cloudpickle")
    with pytest.raises(RuntimeError, match="would load something else"):
        estimate(from_factory(load, str(weights)))


def test_a_store_knows_the_file_of_a_factory(weights: Path, tmp_path: Path) -> None:
    for noise in (None, (4,)):
        np.save(weights, 1.0)
        store = tmp_path / f"{noise}.sqlite"
        first = estimate(from_factory(own_code.load_array, str(weights), noise=noise), store=store)
        assert estimate(from_factory(own_code.load_array, str(weights), noise=noise), store=store) == first
        np.save(weights, 0.5)
        with pytest.raises(mcgen.StoreError, match="of the generator is.*in the store and"):
            estimate(from_factory(own_code.load_array, str(weights), noise=noise), store=store)


def test_a_fingerprint_stands_for_the_files(weights: Path) -> None:
    made = partial(from_factory, own_code.load_array, str(weights), noise=(4,))
    one = made(fingerprint="epoch 1")
    assert estimate(one).mean == truth(1.0).mean
    np.save(weights, 0.5)
    assert estimate(made(fingerprint="epoch 1")).mean == truth(1.0).mean
    assert estimate(made(fingerprint="epoch 2")).mean == truth(0.5).mean


class TestModulesOfAWorker:
    """Functions of a module travel by their names, and a worker keeps the module that it imported."""

    generator = mcgen.as_generator(own_code.counted, noise=(4,))

    def test_a_variable_that_has_changed(self, pool: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        first = estimate(self.generator, pool)
        monkeypatch.setattr(own_code, "SHIFT", 0.5)
        message = "a worker has another generator.*global `own_code.SHIFT` of the generator is 0.5 there and 1.0 in the"
        with pytest.raises(WorkerError, match=message):
            estimate(self.generator, pool)
        monkeypatch.undo()
        assert estimate(self.generator, pool) == first

    def test_a_function_that_has_changed(self, pool: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(own_code, "shifted", lambda z: logistic(z, 3.0))
        with pytest.raises(WorkerError, match="a worker has another generator.*start the executor anew"):
            estimate(self.generator, pool)

    def test_a_statistic(self, pool: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        options: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 200, "seed": 0, "executor": pool}
        mcgen.estimate(self.generator, own_code.above_shift, **options)
        monkeypatch.setattr(own_code, "SHIFT", 0.5)
        other = mcgen.as_generator(np.tanh, noise=(4,))
        with pytest.raises(WorkerError, match="a worker has another statistic.*`own_code.SHIFT`"):
            mcgen.estimate(other, own_code.above_shift, **options)

    def test_what_running_changes_is_no_change(self, pool: Executor) -> None:
        """`own_code.CALLS` grows here and in the worker, by different numbers."""
        first = estimate(self.generator, pool)
        assert estimate(self.generator) == first
        assert len(own_code.CALLS) > 0
        assert estimate(self.generator, pool) == first
        assert estimate(mcgen.as_generator(own_code.counted, noise=(4,)), pool) == first


def test_dask_workers_that_stay(weights: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(1, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        client.run(sys.path.append, os.path.dirname(own_code.__file__))
        for shift in (1.0, 0.5):
            np.save(weights, shift)
            made = from_factory(own_code.load_array, str(weights), name="loaded")
            assert estimate(made, client).mean == truth(shift).mean

"""Generators that are loaded where they run."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_parts import load_counted

import mcgen
from mcgen._lib.fingerprints import fingerprint_of
from mcgen.generators.factories import from_factory

Z = np.linspace(-1, 1, 8).reshape(2, 4).astype(np.float32)


def load_sampler() -> mcgen.Generator:
    class Sampler:
        noise = mcgen.NoiseSpec.normal((4,))
        steps = 50
        _private = 1

        def __call__(self, noise: np.ndarray, condition: float = 0.0) -> np.ndarray:
            return np.tanh(noise + (condition or 0.0))

        def gradient(self) -> str:
            return "gradient"

    return Sampler()


def load_function() -> object:
    return np.tanh


def load_nothing() -> mcgen.Generator:
    raise FileNotFoundError("weights.pt")


def loads(folder: Path) -> int:
    return len(list(folder.iterdir()))


def test_is_the_generator_that_it_loads() -> None:
    factory = from_factory(load_sampler)
    assert isinstance(factory, mcgen.Generator)
    assert factory.noise == mcgen.NoiseSpec.normal((4,))
    assert (factory.name, factory.steps, factory.gradient()) == ("load_sampler", 50, "gradient")
    assert np.array_equal(factory(Z), np.tanh(Z))
    assert np.array_equal(factory(Z, 1.0), np.tanh(Z + 1))
    assert from_factory(load_sampler, name="mine").name == "mine"


def test_an_estimate_has_the_bits_of_the_generator_itself(tmp_path: Path) -> None:
    factory = from_factory(load_counted, str(tmp_path), 2.0)
    results = [
        mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), n_evaluations=640, seed=0)
        for generator in (factory, load_counted(str(tmp_path), 2.0))
    ]
    assert results[0].mean == results[1].mean
    assert results[0].standard_error == results[1].standard_error


def test_loads_when_needed_and_once_for_equal_calls(tmp_path: Path) -> None:
    factory = from_factory(load_counted, str(tmp_path), slope=2.0, noise=(4,))
    assert factory.noise.dimension == 4
    assert "load_counted" in repr(factory)
    assert loads(tmp_path) == 0
    others = [from_factory(load_counted, str(tmp_path), slope=2.0), pickle.loads(pickle.dumps(factory))]
    others += [copy.copy(factory), copy.deepcopy(factory)]
    assert not hasattr(factory, "_private")
    assert not hasattr(factory, "__array__")
    assert loads(tmp_path) == 0
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda one: one(Z), [factory, *others] * 4))
    assert all(np.array_equal(one, np.tanh(2 * Z)) for one in made)
    assert loads(tmp_path) == 1
    from_factory(load_counted, str(tmp_path), slope=3.0)(Z)
    assert loads(tmp_path) == 2


def test_lets_go_of_the_model_with_the_last_factory(tmp_path: Path) -> None:
    for _ in range(2):
        factory = from_factory(load_counted, str(tmp_path), 2.0)
        factory(Z)
        del factory
        gc.collect()
    assert loads(tmp_path) == 2


def test_travels_as_its_call(tmp_path: Path) -> None:
    factory = from_factory(load_counted, str(tmp_path), 2.0)
    factory(Z)
    again = pickle.loads(pickle.dumps(factory))
    # The call, and hashes of the code that it loads.
    assert len(pickle.dumps(factory)) < 2000
    assert np.array_equal(again(Z), factory(Z))
    assert again.name == factory.name


def test_takes_partial_functions() -> None:
    named = from_factory(partial(mcgen.as_generator, np.tanh, noise=(4,)), name="tanh")
    assert np.array_equal(named(Z), np.tanh(Z))


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"a factory is made from a callable.*from_factory\(load, path\)"):
        from_factory(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"the call of factory 'load_counted' can't be pickled.*top level"):
        from_factory(load_counted, threading.Lock(), 2.0)
    with pytest.raises(TypeError, match=r"must load an mcgen.Generator.*returned ufunc.*as_generator"):
        from_factory(load_function)(Z)
    with pytest.raises(
        ValueError, match=r"was given another noise.*noise: normal\(3\) in noise= and noise: normal\(4\) in the gen"
    ):
        from_factory(load_counted, str(tmp_path), 2.0, noise=(3,))(Z)
    with pytest.raises(FileNotFoundError, match="weights") as raised:
        _ = from_factory(load_nothing).noise
    assert raised.value.__notes__ == ["raised as factory 'load_nothing' loaded its generator"]


def test_a_torch_module_is_told_how() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"returned Linear\. Let it return mcgen.adapters.from_torch"):
        from_factory(torch.nn.Linear, 4, 4)(Z)


def test_stores_know_a_factory_by_its_call_where_it_need_not_load(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    loads = tmp_path / "loads"

    def load(slope: float) -> Any:
        with loads.open("a") as file:
            file.write("loaded\n")
        return mcgen.as_generator(lambda z: np.tanh(slope * z + 1), noise=(4,))

    one, same, other = (from_factory(load, slope, noise=(4,)) for slope in (1.0, 1.0, 2.0))
    assert fingerprint_of(one) == fingerprint_of(same) != fingerprint_of(other)
    assert not loads.exists()
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 64, "seed": 0, "store": tmp_path / "run"}
    mcgen.estimate(one, mcgen.statistics.pixel_mean, **options)
    with pytest.raises(mcgen.StoreError, match="argument `0` of the generator is 1.0 in the store and 2.0 here"):
        mcgen.estimate(other, mcgen.statistics.pixel_mean, **options)


def test_a_generator_is_no_call() -> None:
    generator = mcgen.as_generator(np.tanh, noise=(4,), name="tanh")
    with pytest.raises(TypeError, match=r"'tanh' is a generator already.*from_factory\(models.load"):
        from_factory(generator)

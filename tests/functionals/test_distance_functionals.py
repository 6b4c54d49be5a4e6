"""Distances as functionals: through every verb, the same bits however a run is cut, and what is refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import functionals
from mcgen.designs import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.errors import CoverageWarning, RunError

WEIGHTS = np.random.default_rng(3).standard_normal((5, 5)) / 2
REAL = np.tanh(np.random.default_rng(4).standard_normal((3000, 5)) @ WEIGHTS + 0.35)


def network(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
    return np.tanh(z @ WEIGHTS + 0.3 * condition)


def near(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
    return np.tanh(z @ WEIGHTS + 0.32 * condition)


def squares(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, x**2], axis=1)


def generator(function: Any = network, dimension: int = 5) -> Any:
    return mcgen.as_generator(function, noise=mcgen.NoiseSpec.normal((dimension,), "float64"), name=function.__name__)


DISTANCES = {
    "frechet": functionals.frechet_distance(REAL),
    "features": functionals.frechet_distance(squares(REAL), squares),
    "kernel": functionals.kernel_distance(REAL[:300]),
    "energy": functionals.energy_distance(REAL[:300]),
    "blocks": functionals.kernel_distance(REAL[:300], block_size=40),
    "sampled": functionals.frechet_distance(functionals.reference(REAL[:600], fixed=False)),
}
N = 400


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        yield


def run(name: str, design: Any = None, n: int = N, **options: Any) -> mcgen.Estimate:
    asked = {"n_evaluations": n, "seed": SEED} | options
    return mcgen.estimate(generator(), DISTANCES[name], design=design or Antithetic(), **asked)


def bits(result: mcgen.Estimate) -> list[bytes]:
    numbers = (result.mean, result.standard_error, *result.interval, result.plug_in)
    return [np.asarray(one, np.float64).tobytes() for one in numbers]


@pytest.mark.parametrize("name", DISTANCES)
def test_same_bits_in_batches_threads_and_stores(name: str, tmp_path: Path) -> None:
    whole = bits(run(name))
    assert bits(run(name, batch_size=6)) == whole
    with ThreadPoolExecutor(2) as executor:
        assert bits(run(name, executor=executor)) == whole
    store = tmp_path / "run.sqlite"
    run(name, n=350, store=store)
    assert bits(run(name, store=store)) == whole
    assert bits(run(name, MonteCarlo())) != whole


@pytest.mark.parametrize("make", [functionals.frechet_distance, functionals.kernel_distance])
def test_a_store_knows_a_distance_that_was_used_before(make: Any, tmp_path: Path) -> None:
    run: dict[str, Any] = {"design": Antithetic(), "n_evaluations": N, "seed": SEED, "store": tmp_path / "run.sqlite"}
    score = make(REAL)
    first = mcgen.estimate(generator(), score, **run)
    assert score.target.moments.effective_rank > 0
    assert mcgen.estimate(generator(), score, **run) == first


def test_same_bits_in_processes() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for name in ("frechet", "features", "energy"):
            assert bits(run(name, executor=executor)) == bits(run(name))


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), KAntithetic(4), Sobol(16)], ids=str)
def test_results_say_what_was_compared(name: str, design: Any, tmp_path: Path) -> None:
    result = run(name, design, 960)
    assert result.method == "lengthened-t"
    assert result.interval.low <= max(result.mean, 0.0) <= result.interval.high
    assert result.provenance.functional == DISTANCES[name].label
    assert (
        "3,000" in result.provenance.reference
        or "300" in result.provenance.reference
        or "600" in result.provenance.reference
    )
    assert ("a sample" in result.provenance.reference) == (name == "sampled")
    assert result.provenance.features.startswith("squares, 10 features" if name == "features" else "the samples")
    result.save(tmp_path / "result.json")
    again = mcgen.load(tmp_path / "result.json")
    assert again == result
    assert again.with_interval(confidence_level=0.99).interval.high > result.interval.high
    assert again.with_interval(simultaneous=True).interval == again.interval


def test_plug_in_is_that_of_the_samples() -> None:
    kept = run("features", keep_samples=True)
    samples = kept.samples.reshape(-1, 5)
    assert kept.plug_in == pytest.approx(DISTANCES["features"].plug_in(squares(samples)), rel=1e-9)
    flat = DISTANCES["frechet"].plug_in(run("frechet", keep_samples=True).samples.reshape(-1, 5))
    assert run("frechet").plug_in == pytest.approx(flat, rel=1e-9)
    assert run("kernel", MonteCarlo()).plug_in == pytest.approx(
        DISTANCES["kernel"].plug_in(run("kernel", MonteCarlo(), keep_samples=True).samples.reshape(-1, 5)), rel=1e-9
    )
    with pytest.raises(RunError, match="the reference has 10 features, and these samples have 7"):
        DISTANCES["features"].plug_in(np.zeros((9, 7)))


@pytest.mark.parametrize("name", ["frechet", "kernel", "sampled"])
def test_differences(name: str) -> None:
    score, how = DISTANCES[name], {"design": Antithetic(), "n_evaluations": N, "seed": SEED}
    a, b = generator(), generator(near)
    same = mcgen.difference(a, b, score, **how)
    assert same.mean == pytest.approx(
        mcgen.estimate(a, score, **how).mean - mcgen.estimate(b, score, **how).mean, abs=1e-9
    )
    apart = mcgen.difference(a, b, score, common_random_numbers=False, **how)
    assert same.half_width < 0.5 * apart.half_width
    none = mcgen.difference(a, a, score, **how)
    assert (none.mean, none.half_width) == (0, 0)
    assert apart.method == same.method == "lengthened-t"


def test_conditions_average_and_mixture() -> None:
    score, how = DISTANCES["frechet"], {"design": Antithetic(), "n_evaluations": N, "seed": SEED}
    average = mcgen.estimate(generator(), score, condition=[0.5, 1.0, 1.5], **how)
    assert average.mean == pytest.approx(np.mean([one.mean for one in average.conditions]))
    assert all(one.provenance.functional == "Fréchet distance" for one in average.conditions)
    mixture = mcgen.estimate(generator(), score, condition=[0.5, 1.0, 1.5], across="mixture", **how)
    pooled = [mcgen.sample(generator(), N, seed=SEED, condition=c, design=Antithetic()) for c in (0.5, 1.0, 1.5)]
    assert mixture.plug_in == pytest.approx(score.plug_in(np.concatenate(pooled)), rel=1e-9)
    # A condition of a mixture has the means of its statistic: its own distance may not even be known.
    assert {one.provenance.functional for one in mixture.conditions} == {None}
    assert mixture.names == ("Fréchet distance",)
    alone = mcgen.estimate(generator(), score, condition=[1.0], across="mixture", **how)
    assert alone.mean == pytest.approx(mcgen.estimate(generator(), score, condition=1.0, **how).mean, rel=1e-9)
    small = mcgen.estimate(
        generator(), score, condition=[0.5, 1.0, 1.5], across="mixture", design=MonteCarlo(), n_evaluations=8, seed=0
    )
    assert len(small.conditions) == 3
    common = mcgen.estimate(generator(), score, condition=[0.5, 1.0], common_random_numbers=True, **how)
    assert common.mean == pytest.approx(np.mean([one.mean for one in common.conditions]))


def test_differences_of_mixtures() -> None:
    score, how = DISTANCES["frechet"], {"design": Antithetic(), "n_evaluations": N, "seed": SEED}
    how |= {"condition": [0.5, 1.0, 1.5], "across": "mixture"}
    same = mcgen.difference(generator(), generator(near), score, **how)
    apart = mcgen.difference(generator(), generator(near), score, common_random_numbers=False, **how)
    each = [mcgen.estimate(generator(one), score, **how).mean for one in (network, near)]
    assert same.mean == pytest.approx(each[0] - each[1], abs=1e-9)
    assert same.half_width < apart.half_width
    assert apart.method == same.method == "lengthened-t"


def test_compare_and_plan() -> None:
    designs = [MonteCarlo(), Antithetic(), Sobol(32)]
    table = mcgen.compare(generator(), DISTANCES["frechet"], designs=designs, n_evaluations=1600, seed=0)
    assert table.estimates[2].half_width < table.estimates[0].half_width
    planned = mcgen.estimate(generator(), DISTANCES["kernel"], design="auto", n_evaluations=3200, seed=0)
    assert planned.provenance.functional == "kernel distance"


def test_a_run_stops_when_the_interval_of_the_distance_is_narrow() -> None:
    result = mcgen.estimate(generator(), DISTANCES["frechet"], design=Antithetic(), atol=0.02, seed=0)
    assert result.half_width <= 0.02 * (1 + 1e-9)
    assert result.stopping is not None
    assert result.stopping.reached


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("frechet", {"n_evaluations": 4}, "4 samples are too few"),
        ("frechet", {"design": Sobol(64), "n_evaluations": 256}, "needs 8 or more replicates"),
        ("kernel", {"design": Sobol(64), "n_evaluations": 256}, "needs 8 or more replicates"),
        ("blocks", {"n_evaluations": 200}, "needs 8 or more blocks of 40 samples"),
        ("blocks", {"n_evaluations": None, "atol": 0.1}, "can't stop by a tolerance: rules that stop"),
        ("sampled", {"n_evaluations": None, "atol": 0.1}, "can't stop by a tolerance: a reference that is a sample"),
        ("sampled", {"condition": [0.5, 1.0]}, "share its error"),
        ("frechet", {"interval": "student-t"}, "leave interval out"),
        ("frechet", {"simultaneous": "bootstrap-max-t"}, "Use simultaneous=True"),
        ("frechet", {"keep_replicates": False}, "keep_replicates=False"),
        ("frechet", {"condition": [1.0, 2.0], "across": "mixture", "common_random_numbers": True}, "independent noise"),
    ],
)
def test_refusals(name: str, options: dict[str, Any], message: str) -> None:
    calls = []

    def counted(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
        calls.append(len(z))
        return network(z, condition)

    asked: dict[str, Any] = {"design": Antithetic(), "n_evaluations": N, "seed": 0} | options
    with pytest.raises((ValueError, RunError), match=message):
        mcgen.estimate(generator(counted), DISTANCES[name], **asked)
    # Refused before the model ran.
    assert not calls


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda x: x[:, :3], r"shape \(\d+, 3\), and the reference has 5"),
        (lambda x: x[:, 0], r"shape \(\d+,\), and the reference has 5"),
        (lambda x: np.where(x > 0.9, np.nan, x), "NaN"),
        (lambda x: x - x.mean(axis=0), "depends on the other rows"),
        (lambda x: np.zeros((len(x), 5)), "the features of all samples are the same"),
    ],
)
def test_features_that_are_none(features: Any, message: str) -> None:
    score = functionals.frechet_distance(REAL, features)
    with pytest.raises(RunError, match=message):
        mcgen.estimate(generator(), score, design=Antithetic(), n_evaluations=N, seed=0)


def test_features_in_single_precision_are_gathered_so() -> None:
    single = functionals.frechet_distance(REAL.astype(np.float32), lambda x: x.astype(np.float32))
    double = functionals.frechet_distance(REAL.astype(np.float32), lambda x: x.astype(np.float32).astype(np.float64))
    how = {"design": Antithetic(), "n_evaluations": N, "seed": 0}
    assert mcgen.estimate(generator(), single, **how).mean == mcgen.estimate(generator(), double, **how).mean


def test_blocks_let_go_of_their_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcgen.replicates.gathering.MOST_BYTES", 20_000)
    with pytest.raises(RunError, match="features of 2,000 evaluations take"):
        run("kernel", n=2000)
    result = run("blocks", n=2000)
    assert result.degrees_of_freedom == 49
    card = mcgen.evaluate([generator(), generator(near)], {"KID": DISTANCES["blocks"]}, n_evaluations=2000, seed=SEED)
    assert card["network", "KID"].mean == result.mean
    alone = mcgen.difference(
        generator(), generator(near), DISTANCES["blocks"], design=Antithetic(), n_evaluations=2000, seed=SEED
    )
    assert card.pairs["KID"]["network", "near"].mean == pytest.approx(alone.mean, rel=1e-12)
    with pytest.raises(ValueError, match="not for a mixture: blocks have no pairs"):
        run("blocks", condition=[0.5, 1.0], across="mixture")
    with pytest.raises(ValueError, match="blocks share the error of a reference"):
        functionals.kernel_distance(functionals.reference(REAL, fixed=False), block_size=100)


def test_a_kernel_of_ones_own() -> None:
    def gauss(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(-((x[:, None] - y[None]) ** 2).sum(axis=2))

    score = functionals.kernel_distance(REAL[:200], kernel=gauss)
    result = mcgen.estimate(generator(), score, design=Antithetic(), n_evaluations=200, seed=0)
    assert result.names == ("kernel distance by gauss",)
    with pytest.raises(TypeError, match="kernel must be a function"):
        functionals.kernel_distance(REAL, kernel="gauss")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="block_size must be"):
        functionals.kernel_distance(REAL, block_size=1)


def test_heavy_tails_are_warned_of() -> None:
    real = np.random.default_rng(0).standard_normal((2000, 4))
    heavy = mcgen.as_generator(lambda z: 0.5 * np.sinh(1.5 * z), noise=(4,), name="heavy")
    usual = mcgen.as_generator(lambda z: 0.8 * z + 0.3, noise=(4,), name="usual")
    how: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 1000, "seed": 3}
    score = mcgen.functionals.frechet_distance(real)
    with pytest.warns(mcgen.errors.CoverageWarning, match="few samples decide this distance"):
        mcgen.estimate(heavy, score, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mcgen.estimate(usual, score, **how)
        assert not mcgen.estimate(heavy, mcgen.functionals.energy_distance(real[:200]), **how).warnings


def test_the_text_of_a_distance_is_short() -> None:
    assert repr(functionals.frechet_distance(REAL)) == "<Fréchet distance from 3,000 features, fixed>"
    assert len(repr(functionals.energy_distance(REAL, lambda x: x).target)) < 200

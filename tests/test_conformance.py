"""The checks of a generator's laws: each rejects what breaks only its law, and every adapter and model passes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from conftest import SEED, logistic

import mcgen
from mcgen import Block, NoiseSpec
from mcgen.validation import parametrize_with_checks
from mcgen.validation.conformance import LawCheck, Report, check_generator, check_statistic, law_checks

LAWS = [
    "leading axis",
    "finite",
    "deterministic",
    "place",
    "batch size",
    "rows apart",
    "wrong noise",
    "input kept",
    "samples kept",
    "random states",
]


def of(function: Callable[..., object], noise: object = (4,)) -> mcgen.Generator:
    return mcgen.as_generator(function, noise, name="model")


def failures(function: Callable[..., object], noise: object = (4,), **options: object) -> list[str]:
    return [check.law for check in check_generator(of(function, noise), seed=SEED, **options).failures]


def test_the_report_says_each_law_and_its_gap() -> None:
    report = check_generator(of(logistic), seed=SEED)
    assert report.passed
    assert report.require() is report
    assert [check.law for check in report.checks] == LAWS
    lines = str(report).splitlines()
    assert lines[0] == "model: 10 of 10 laws hold, tried on 8 points of noise"
    assert len(lines) == 11
    assert lines[3].split("  ")[:2] == ["holds", "deterministic"]
    assert repr(report) == str(report)


def never_twice(z: np.ndarray, seen: set[bytes] = set()) -> np.ndarray:  # noqa: B006
    """What draws anew at each call breaks the laws of place and batch size with it; this one only repeats badly."""
    known = z.tobytes() in seen
    seen.add(z.tobytes())
    return logistic(z) + 0.01 * known


def overwriting(z: np.ndarray) -> np.ndarray:
    samples = logistic(z)
    z[:] = 0
    return samples


def reseeding(z: np.ndarray) -> np.ndarray:
    random.seed(0)
    return logistic(z)


def drawing_globally(z: np.ndarray) -> np.ndarray:
    np.random.random()  # noqa: NPY002
    return logistic(z)


def reusing(z: np.ndarray, memory: dict[tuple[int, ...], np.ndarray] = {}) -> np.ndarray:  # noqa: B006
    return np.tanh(z, out=memory.setdefault(z.shape, np.empty(z.shape, z.dtype)))


def counting(z: np.ndarray, calls: list[int] = []) -> np.ndarray:  # noqa: B006
    calls.append(1)
    return logistic(z) + 0.01 * len(calls)


def learning(z: np.ndarray, seen: set[bytes] = set()) -> np.ndarray:  # noqa: B006
    """A state that the same noise leaves as it is, and other noise changes."""
    seen.add(z.tobytes())
    return logistic(z) + 0.01 * (len(seen) > 1)


def overflowing(z: np.ndarray) -> np.ndarray:
    """A model in half precision, whose intermediate values pass 65,504."""
    with np.errstate(over="ignore"):
        return np.square(100 * z.astype(np.float16) + 200) / np.float16(1000)


BROKEN = [
    ("leading axis", lambda z: (z, z.sum())),
    ("finite", lambda z: np.where(z == z.max(axis=1, keepdims=True), np.inf, z)),
    ("finite", overflowing),
    ("deterministic", never_twice),
    ("deterministic", counting),
    ("deterministic", learning),
    ("place", lambda z: z + 0.01 * np.arange(len(z))[:, None]),
    ("batch size", lambda z: z * (1 + 0.01 * len(z))),
    ("rows apart", lambda z: np.tanh(z) * (0.9 if abs(z).max() > 5.5 else 1.0)),
    ("wrong noise", lambda z: z.reshape(-1, 4) ** 2),
    ("input kept", overwriting),
    ("samples kept", reusing),
    ("random states", reseeding),
    ("random states", drawing_globally),
]


@pytest.mark.parametrize(("law", "function"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_each_law_rejects_what_breaks_it_alone(law: str, function: Callable[[np.ndarray], object]) -> None:
    noise = (64,) if law == "rows apart" else (4,)
    found = failures(function, noise)
    # An array of another length can't be compared row by row.
    assert found == [law] if law != "leading axis" else law in found


def test_noise_of_its_own_is_rejected() -> None:
    rng = np.random.default_rng(SEED)
    report = check_generator(of(lambda z: z + 0.01 * rng.standard_normal(z.shape)), seed=SEED)
    # What compares samples would fail too, and its advice mislead.
    assert [check.law for check in report.failures] == ["deterministic"]
    assert [check.law for check in report.checks if check.not_judged] == ["place", "batch size", "rows apart"]
    assert str(report).count("not judged: samples are random") == 3
    assert str(report).startswith("model: 6 of 10 laws hold")


def test_samples_that_are_no_arrays_are_told() -> None:
    report = check_generator(of(lambda z: [{"image": row} for row in z]), seed=SEED)
    assert [check.law for check in report.failures] == ["deterministic"]
    assert "deterministic: samples of type list can't be compared; return an array" in str(report)
    assert str(report).count("not judged: samples can't be compared") == 4


def test_what_breaks_is_told_with_advice() -> None:
    report = check_generator(of(lambda z: z - z.mean(axis=0)), seed=SEED)
    assert not report.passed
    with pytest.raises(mcgen.RunError, match="model: 8 of 10 laws hold") as caught:
        report.require()
    assert "FAILS  batch size" in str(caught.value)
    assert "rows apart: it adapts its steps, normalizes or clips by the whole batch" in str(caught.value)


def test_a_generator_that_stops_on_some_batches_fails_their_law() -> None:
    def alone(z: np.ndarray) -> np.ndarray:
        if len(z) == 1:
            raise IndexError("too few rows")
        return z

    report = check_generator(of(alone), seed=SEED)
    assert [check.law for check in report.failures] == ["batch size"]
    assert "batch size: it raised IndexError: too few rows; it normalizes" in str(report)
    with pytest.raises(ZeroDivisionError):
        check_generator(of(lambda z: 1 / 0))


@pytest.mark.parametrize("kind", ["numpy", "python", "torch"])
def test_the_check_leaves_the_random_states_as_they_were(kind: str) -> None:
    torch = pytest.importorskip("torch") if kind == "torch" else None
    draw = {"numpy": np.random.random, "python": random.random, "torch": lambda: float(torch.rand(()))}[kind]
    seeds = {"numpy": np.random.seed, "python": random.seed, "torch": lambda s: torch.manual_seed(s)}[kind]
    seeds(SEED % 2**32)
    expected = draw()

    def model(z: np.ndarray) -> np.ndarray:
        draw()
        return z

    seeds(SEED % 2**32)
    assert failures(model) == ["random states"]
    assert draw() == expected


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="batches of at least 3 samples, to split and to reorder; got n=2"):
        check_generator(of(logistic), n=2)
    with pytest.raises(TypeError, match="generator"):
        check_generator(logistic)


def test_tolerance_follows_the_samples_type() -> None:
    def rounded(z: np.ndarray) -> np.ndarray:
        return z * (1 + 1e-6 * len(z))

    assert failures(rounded, NoiseSpec.normal((4,), "float32")) == []
    assert failures(rounded, NoiseSpec.normal((4,), "float64")) == ["batch size"]
    assert failures(rounded, NoiseSpec.normal((4,), "float64"), tolerance=1e-3) == []
    assert failures(rounded, tolerance=1e-6) == ["batch size"]


def test_tuples_blocks_and_conditions() -> None:
    spec = NoiseSpec({"start": Block((2, 2)), "mask": Block((), "uniform", iid=True)})

    def model(noise: mcgen.noise.BlockNoise, condition: float) -> tuple[np.ndarray, np.ndarray]:
        x = noise["start"] * condition
        return x, (noise["mask"] < 0.5).astype(int)

    assert failures(model, spec, condition=2.0) == []
    assert failures(lambda noise: noise["mask"] - noise["mask"].mean() * noise["start"][:, 0, 0], spec) == [
        "batch size",
        "rows apart",
    ]


def jax_model() -> mcgen.Generator:
    jax = pytest.importorskip("jax")
    weights = jax.random.normal(jax.random.key(0), (64, 256)) / 8
    return mcgen.as_generator(jax.jit(lambda z: jax.nn.sigmoid(z.reshape(-1, 64) @ weights)), (8, 8), name="jax")


def test_jax_models() -> None:
    """A compiled function without reshape(-1) passes; the one above reshapes whatever comes."""
    jax = pytest.importorskip("jax")
    assert [check.law for check in check_generator(jax_model(), seed=SEED).failures] == ["wrong noise"]
    compiled = jax.jit(lambda z: jax.nn.sigmoid(z.reshape(len(z), 64) @ jax.numpy.ones((64, 3)) / 8))
    assert failures(compiled, (8, 8)) == []


def test_jax_samples_stay_there_and_statistics_work_on_them() -> None:
    jax = pytest.importorskip("jax")
    seen = []

    @jax.jit
    def decode(z: object, shift: float = 0.0) -> object:
        return jax.nn.sigmoid(z + shift)

    def brightness(samples: object) -> object:
        seen.append(type(samples))
        return mcgen.statistics.brightness(samples)

    every = mcgen.statistics.stack(
        brightness, mcgen.statistics.contrast, mcgen.statistics.centroid, mcgen.statistics.pixel_mean
    )
    options = {"n_evaluations": 640, "seed": SEED, "condition": 1.0}
    found, expected = (
        mcgen.estimate(mcgen.as_generator(function, (3, 8, 8)), every, design=mcgen.Antithetic(), **options)
        for function in (decode, lambda z, c: logistic(z, c - 1).astype(np.float32))
    )
    assert issubclass(seen[0], jax.Array)
    assert np.allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-6)
    distances = mcgen.statistics.stack(mcgen.statistics.L1(np.full((3, 8, 8), 0.5)), names=["l1"])
    assert (
        mcgen.estimate(
            mcgen.as_generator(decode, (3, 8, 8)), distances, design=mcgen.Antithetic(), n_evaluations=64, seed=0
        ).mean
        > 0
    )


def test_a_jax_sampler_with_a_key_inside_is_seen() -> None:
    """Its noise is fixed by the key: the same in every batch, so that replicates are not independent."""
    jax = pytest.importorskip("jax")

    def keyed(z: np.ndarray) -> object:
        return z + 0.5 * jax.random.normal(jax.random.key(0), z.shape)

    assert "place" in failures(keyed)


WITH_CLASSES = ["digits-diffusion", "mnist-consistency", "mnist-glow"]
TORCH = ["from_torch", "DDIM eta 1", "Heun", "capture"]


def torch_generator(kind: str) -> mcgen.Generator:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import DDIM, Heun, Schedule, capture, from_torch, models

    if kind == "from_torch":
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 8)).eval()
        return from_torch(network, (8,))
    if kind == "capture":
        return capture(lambda n, condition: torch.randn(n, 4) + 0.1 * torch.rand(n, 4).log())
    denoiser = models.load("digits-diffusion").denoiser
    options = {"steps": 5, "prediction": "velocity"}
    if kind == "Heun":
        return Heun(denoiser, Schedule.cosine(), (1, 8, 8), **options)
    return DDIM(denoiser, Schedule.cosine(), (1, 8, 8), eta=1.0, **options)


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("kind", TORCH)
def test_torch_adapters(kind: str) -> None:
    check_generator(torch_generator(kind), seed=SEED).require()


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("kind", ["dropout", "batch normalization"])
def test_networks_in_training_mode_are_rejected(kind: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Dropout(0.5) if kind == "dropout" else torch.nn.BatchNorm1d(8)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), layer, torch.nn.Linear(8, 2))

    def model(z: np.ndarray) -> object:
        with torch.no_grad():
            return network(torch.from_numpy(z))

    network.eval()
    assert failures(model) == []
    network.train()
    expected = ["deterministic", "random states"] if kind == "dropout" else ["batch size", "rows apart"]
    assert failures(model) == expected


@pytest.mark.usefixtures("one_torch_thread")
def test_batch_normalization_that_adapts_is_rejected() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    # Without running statistics it normalizes by the batch in evaluation mode too.
    layer = torch.nn.BatchNorm1d(4, track_running_stats=False).eval()
    report: Report = check_generator(from_torch(layer, (4,)), seed=SEED)
    assert {"batch size", "rows apart"} <= {check.law for check in report.failures}


def conditions(name: str) -> list[int | None]:
    return [None, 3] if name in WITH_CLASSES else [None]


def model_names() -> list[str]:
    try:
        from mcgen.adapters import models
    except ImportError:
        return ["torch is missing"]
    return models.list()


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize(("name", "condition"), [(name, c) for name in model_names() for c in conditions(name)])
def test_shipped_models(name: str, condition: int | None) -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import models

    check_generator(models.load(name), condition=condition, n=4, seed=SEED).require()


def test_it_needs_no_torch() -> None:
    code = "import sys, mcgen.validation.conformance; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


MODEL = mcgen.as_generator(lambda z, shift=0.0: logistic(z) + shift, (4,), name="model")


@parametrize_with_checks(
    [mcgen.Antithetic(), mcgen.statistics.brightness, MODEL, partial(check_generator, MODEL, condition=2.0, n=4)]
)
def test_laws_one_by_one(check: LawCheck) -> None:
    check()


def test_a_law_that_fails_is_told_with_advice() -> None:
    calls = []

    def scaled(z: np.ndarray) -> np.ndarray:
        calls.append(len(z))
        return z / abs(z).max()

    checks = law_checks(mcgen.as_generator(scaled, (4,), name="scaled"))
    assert [str(check) for check in checks] == [f"scaled: {law}" for law in LAWS]
    assert calls == []
    for check in checks:
        if check.law not in ("batch size", "rows apart"):
            check()
            continue
        with pytest.raises(AssertionError, match=f"scaled breaks a law: a sample does not .*{check.law}: it "):
            check()
    # All the laws of one thing share one trial.
    assert len(calls) < 10


def test_a_law_that_is_not_judged_skips_its_test() -> None:
    numbers = np.arange(12).reshape(4, 3)
    precision = law_checks(partial(check_statistic, mcgen.statistics.pixel_mean, numbers))[6]
    with pytest.raises(pytest.skip.Exception, match="pixel_mean: precision: not judged: samples are not in float32"):
        precision()


def test_checks_are_for_generators_designs_and_statistics() -> None:
    for thing in (3, mcgen.Antithetic, partial(check_generator)):
        with pytest.raises(TypeError, match="checks are made for generators, designs and statistics"):
            law_checks(thing)


def test_the_package_names_its_checks_when_they_are_asked_for() -> None:
    code = (
        "import sys, mcgen.validation as v; assert not {'pytest', 'mcgen.validation.conformance'} & set(sys.modules)\n"
        "assert v.check_generator is v.conformance.check_generator\n"
        "assert 'pytest' not in sys.modules and dir(v) == v.__all__\n"
        "try: v.check_nothing\n"
        "except AttributeError as error: assert 'it has check_design, check_generator' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The checks of a generator's laws: each rejects what breaks only its law, and every adapter and model passes."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import Block, NoiseSpec
from mcgen.validation import parametrize_with_checks
from mcgen.validation.conformance import LawCheck, Report, check_design, check_generator, check_statistic, law_checks

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
    assert lines[0] == "model: 10 laws hold, tried on 8 points of noise"
    assert len(lines) == 11
    assert lines[3].split("  ")[:2] == ["holds", "deterministic"]
    assert repr(report) == str(report)


Function = Callable[[np.ndarray], object]


def never_twice() -> Function:
    """What draws anew at each call breaks the laws of place and batch size with it; this one only repeats badly."""
    seen: set[bytes] = set()

    def model(z: np.ndarray) -> np.ndarray:
        known = z.tobytes() in seen
        seen.add(z.tobytes())
        return logistic(z) + 0.01 * known

    return model


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


def reusing() -> Function:
    memory: dict[tuple[int, ...], np.ndarray] = {}
    return lambda z: np.tanh(z, out=memory.setdefault(z.shape, np.empty(z.shape, z.dtype)))


def counting() -> Function:
    calls = itertools.count()
    return lambda z: logistic(z) + 0.01 * next(calls)


def learning() -> Function:
    """A state that the same noise leaves as it is, and other noise changes."""
    seen: set[bytes] = set()

    def model(z: np.ndarray) -> np.ndarray:
        seen.add(z.tobytes())
        return logistic(z) + 0.01 * (len(seen) > 1)

    return model


def overflowing(z: np.ndarray) -> np.ndarray:
    """A model in half precision, whose intermediate values pass 65,504."""
    with np.errstate(over="ignore"):
        return np.square(100 * z.astype(np.float16) + 200) / np.float16(1000)


BROKEN = [
    ("leading axis", lambda z: (z, z.sum())),
    ("finite", lambda z: np.where(z == z.max(axis=1, keepdims=True), np.inf, z)),
    ("finite", overflowing),
    ("place", lambda z: z + 0.01 * np.arange(len(z))[:, None]),
    ("batch size", lambda z: z * (1 + 0.01 * len(z))),
    ("batch size", lambda z: z * (1.01 if len(z) == 4 else 1)),
    ("batch size", lambda z: z * (1.01 if len(z) == 1 else 1)),
    ("rows apart", lambda z: np.tanh(z) * (0.9 if abs(z).max() > 5.5 else 1.0)),
    ("wrong noise", lambda z: z.reshape(-1, 4) ** 2),
    ("input kept", overwriting),
    ("random states", reseeding),
    ("random states", drawing_globally),
]
# With a memory, made anew for each test.
REMEMBERING = [
    ("deterministic", never_twice),
    ("deterministic", counting),
    ("deterministic", learning),
    ("samples kept", reusing),
]


@pytest.mark.parametrize(("law", "function"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_each_law_rejects_what_breaks_it_alone(law: str, function: Callable[[np.ndarray], object]) -> None:
    noise = (64,) if law == "rows apart" else (4,)
    found = failures(function, noise)
    # An array of another length can't be compared row by row.
    assert found == [law] if law != "leading axis" else law in found


@pytest.mark.parametrize(("law", "made"), REMEMBERING, ids=lambda value: getattr(value, "__name__", value))
def test_each_law_rejects_a_memory_that_breaks_it_alone(law: str, made: Callable[[], Function]) -> None:
    assert failures(made()) == [law]


def test_noise_of_its_own_is_rejected() -> None:
    rng = np.random.default_rng(SEED)
    report = check_generator(of(lambda z: z + 0.01 * rng.standard_normal(z.shape)), seed=SEED)
    # What compares samples would fail too, and its advice mislead.
    assert [check.law for check in report.failures] == ["deterministic"]
    assert [check.law for check in report.checks if check.not_judged] == ["place", "batch size", "rows apart"]
    assert str(report).count("not judged: samples are random") == 3
    assert str(report).startswith("model: 6 laws hold, 1 fails, 3 not judged, tried on")
    # What was not measured has no number.
    assert all(np.isnan(check.gap) and np.isnan(check.limit) for check in report.checks if check.not_judged)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda z: [{"image": row} for row in z], "list"),
        (lambda z: np.array(["a"] * len(z)), "<U1"),
        (lambda z: np.array(["a"] * len(z), dtype=object), "object"),
        (lambda z: np.array(["2026-01-01"] * len(z), dtype="datetime64[D]"), r"datetime64\[D\]"),
    ],
)
def test_samples_that_are_no_numbers_are_told(made: Function, kind: str) -> None:
    report = check_generator(of(made), seed=SEED)
    assert [check.law for check in report.failures] == ["deterministic"]
    wanted = f"deterministic: samples of type {kind} can't be compared; return an array of numbers"
    assert re.search(wanted, str(report))
    assert str(report).count("not judged: samples can't be compared") == 5


def test_batches_beyond_the_largest_are_not_tried() -> None:
    def model(z: np.ndarray) -> np.ndarray:
        return z - z.mean(axis=0) if len(z) > 8 else z

    assert failures(model) == []
    assert failures(model, n=9) == ["batch size", "rows apart"]


def test_what_breaks_is_told_with_advice() -> None:
    report = check_generator(of(lambda z: z - z.mean(axis=0)), seed=SEED)
    assert not report.passed
    with pytest.raises(mcgen.RunError, match="model: 8 laws hold, 2 fail, tried on") as caught:
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
    assert report.failures[0].explanation == "batch size: it raised IndexError: too few rows; mend that first"
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
    with pytest.raises(ValueError, match="at least 3 samples, to split and to reorder; got n=2"):
        check_generator(of(logistic), n=2)
    with pytest.raises(TypeError, match="generator"):
        check_generator(logistic)


BAD_TOLERANCES = [
    (np.inf, ValueError, "tolerance must be finite; got inf"),
    (np.nan, ValueError, "tolerance must be finite; got nan"),
    (-1, ValueError, "tolerance must be at least 0; got -1. Leave it out"),
    ("a", TypeError, "tolerance must be a number; got 'a'"),
]


@pytest.mark.parametrize(("tolerance", "error", "message"), BAD_TOLERANCES, ids=str)
def test_a_tolerance_that_is_none_is_refused(tolerance: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_generator(of(logistic), tolerance=tolerance)
    with pytest.raises(error, match=message):
        check_statistic(mcgen.statistics.pixel_mean, tolerance=tolerance)


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


WITH_CLASSES = ["digits-diffusion", "digits-energy", "mnist-consistency", "digits-truncated", "mnist-glow"]
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


def conditions(name: str) -> list[Any]:
    if name == "reaching-policy":
        return [np.array([0.1, -0.8])]
    return [None, 3] if name in WITH_CLASSES else [None]


def model_names() -> list[str]:
    from mcgen.adapters import models

    try:
        return models.list()
    except ImportError:
        return ["torch is missing"]


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize(("name", "condition"), [(name, c) for name in model_names() for c in conditions(name)])
def test_shipped_models(name: str, condition: Any) -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import models

    model = models.load(name)
    if name == "mnist-storm":
        condition = model.operator.measure(models.real_images(name)[0])
    check_generator(model, condition=condition, n=4, seed=SEED).require()


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


def test_a_law_that_holds_or_not_is_told_in_words() -> None:
    checks = law_checks(of(lambda z: z.reshape(-1, 2)))
    with pytest.raises(AssertionError) as caught:
        checks[0]()
    assert str(caught.value) == (
        "model breaks a law: n points of noise give n samples. leading axis: return an array of n samples"
    )


def test_a_thing_that_raises_runs_once() -> None:
    calls = []

    def broken(z: np.ndarray) -> np.ndarray:
        calls.append(len(z))
        raise FloatingPointError("no weights")

    depths = set()
    for check in law_checks(of(broken)):
        with pytest.raises(FloatingPointError, match="no weights") as caught:
            check()
        assert caught.traceback[-1].name == "broken"
        depths.add(len(caught.traceback))
    assert len(calls) == len(depths) == 1


TESTS_OF_A_USER = """
import mcgen
from mcgen.validation import parametrize_with_checks

random = mcgen.as_generator(lambda z, drawn=__import__("random").Random(0): z + drawn.random(), (2,), name="random")

@parametrize_with_checks([random])
def test_laws(check):
    check()
"""


def test_pytest_skips_what_is_not_judged_and_shows_the_users_lines(tmp_path: Path) -> None:
    (tmp_path / "test_laws.py").write_text(TESTS_OF_A_USER)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "test_laws.py"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert "1 failed, 6 passed, 3 skipped" in shown
    assert "random: place: not judged: samples are random" in shown
    assert "parametrization.py" not in shown


def test_a_law_that_is_not_judged_skips_its_test() -> None:
    numbers = np.arange(12).reshape(4, 3)
    precision = law_checks(partial(check_statistic, mcgen.statistics.pixel_mean, numbers))[6]
    with pytest.raises(SkipTest, match="pixel_mean: precision: not judged: samples are not in float32"):
        precision()


def test_checks_are_for_generators_designs_and_statistics() -> None:
    for thing in (3, mcgen.Antithetic, partial(check_generator)):
        with pytest.raises(TypeError, match="checks are made for generators, designs and statistics"):
            law_checks(thing)
    for check, wanted in ((check_generator, "generator"), (check_design, "design"), (check_statistic, "statistic")):
        with pytest.raises(TypeError, match=f"^{wanted} must .*; got 3"):
            law_checks(partial(check, 3))


def test_things_are_a_list_of_one_or_more() -> None:
    for thing in (MODEL, mcgen.Antithetic(), 3):
        with pytest.raises(TypeError, match="things must be a list of generators.*; got .*Put it in a list"):
            parametrize_with_checks(thing)
    with pytest.raises(ValueError, match="things must be one or more .*; got none"):
        parametrize_with_checks([])


def test_without_pytest_it_is_named() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None; from mcgen.validation import parametrize_with_checks\n"
        "try: parametrize_with_checks([])\n"
        "except ImportError as error: assert 'pip install pytest' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_names_its_checks_when_they_are_asked_for() -> None:
    code = (
        "import sys, mcgen.validation as v; assert not {'pytest', 'mcgen.validation.conformance'} & set(sys.modules)\n"
        "assert v.check_generator is v.conformance.check_generator\n"
        "assert 'pytest' not in sys.modules and dir(v) == v.__all__\n"
        "assert v.coverage_study is v.studies.coverage.coverage_study and v.validate is v.studies.promises.validate\n"
        "assert isinstance(v.PROBLEMS['square'], v.Problem)\n"
        "assert all(getattr(v, name).__doc__ for name in v.__all__)\n"
        "try: v.check_nothing\n"
        "except AttributeError as error: assert 'it has PROBLEMS, Problem, check_design' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

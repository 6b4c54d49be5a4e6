"""The checks of a statistic's laws: each rejects what breaks only its law, and every statistic of the package passes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import statistics as s
from mcgen._lib.names import name_of
from mcgen.validation.conformance import check_statistic

REFERENCE = np.full((1, 8, 8), 0.3)
STATISTICS = [s.pixel_mean, s.identity, s.brightness, s.contrast, s.centroid, s.L1(REFERENCE), s.PSNR(REFERENCE), s.stack(s.brightness, s.contrast)]  # fmt: skip
LAWS = ["values", "finite", "deterministic", "place", "batch size", "rows apart", "precision", "samples kept", "values kept", "random states"]  # fmt: skip


def failures(statistic: object, **options: object) -> list[str]:
    return [check.law for check in check_statistic(statistic, seed=SEED, **options).failures]


@pytest.mark.parametrize("statistic", STATISTICS, ids=name_of)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_statistics_of_the_package_pass(statistic: object, library: str) -> None:
    samples = None
    if library == "torch":
        torch = pytest.importorskip("torch")
        samples = torch.rand((5, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    report = check_statistic(statistic, samples, seed=SEED).require()
    assert [check.law for check in report.checks] == LAWS
    assert not any(check.not_judged for check in report.checks)


def means(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=(1, 2, 3))


RNG = np.random.default_rng(SEED)


def drawing(x: np.ndarray) -> np.ndarray:
    return means(x) + 0.1 * RNG.standard_normal(len(x))


Statistic = Callable[[np.ndarray], np.ndarray]


def counting() -> Statistic:
    calls = itertools.count(1)
    return lambda x: means(x) * (1 + 0.1 * next(calls))


def normalizing(x: np.ndarray) -> np.ndarray:
    x -= x.mean(axis=(1, 2, 3), keepdims=True)
    return x.std(axis=(1, 2, 3))


def reusing() -> Statistic:
    memory: dict[int, np.ndarray] = {}
    return lambda x: np.mean(x, axis=(1, 2, 3), out=memory.setdefault(len(x), np.empty(len(x))))


def cancelling(x: np.ndarray) -> np.ndarray:
    far = x + x.dtype.type(1000)
    return (far**2).mean(axis=(1, 2, 3)) - far.mean(axis=(1, 2, 3)) ** 2


def drawing_globally(x: np.ndarray) -> np.ndarray:
    random.random()
    return means(x)


def with_brightest(x: np.ndarray) -> np.ndarray:
    return means(x) * (1.1 if means(x).max() > 0.7 else 1.0)


BROKEN = [
    ("values", lambda x: means(x)[:-1]),
    ("values", lambda x: means(x).sum()),
    ("values", lambda x: means(x).squeeze()),
    ("values", lambda x: means(x) * 1j),
    ("values", lambda x: np.repeat(means(x)[:, None], len(x), axis=1)),
    ("values", lambda x: x[:, :, :0]),
    ("values", lambda x: means(x) * 1e80),
    ("finite", lambda x: np.where(means(x) > 0.6, np.nan, means(x))),
    ("deterministic", drawing),
    ("place", lambda x: means(x) + 0.01 * np.arange(len(x))),
    ("batch size", lambda x: means(x) / len(x)),
    ("rows apart", with_brightest),
    ("precision", cancelling),
    ("samples kept", normalizing),
    ("random states", drawing_globally),
]


@pytest.mark.parametrize(("law", "statistic"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_each_law_rejects_what_breaks_it_alone(law: str, statistic: object) -> None:
    assert failures(statistic) == [law]


@pytest.mark.parametrize(("law", "made"), [("deterministic", counting), ("values kept", reusing)])
def test_each_law_rejects_a_memory_that_breaks_it_alone(law: str, made: Callable[[], Statistic]) -> None:
    assert failures(made()) == [law]


def test_a_row_that_leaves_its_own_place_and_the_last_alone_is_seen() -> None:
    """A batch that repeats its first sample or its last shows nothing; the others' values in place of the first do."""
    samples = np.linspace(0.9, 0.1, 8)[:, None, None, None] * np.ones((1, 4, 4))

    def brightened(x: np.ndarray) -> np.ndarray:
        return means(x) * np.where(means(x) > 0.2, means(x).max(), 1)

    assert failures(brightened, samples=samples) == ["rows apart"]


def test_a_component_is_not_hidden_by_a_larger_one() -> None:
    def both(x: np.ndarray) -> np.ndarray:
        return np.stack([1000 * means(x), means(x) - 0.1 * x.mean()], axis=1)

    samples = np.random.default_rng(0).random((8, 1, 4, 4)).astype(np.float32)
    assert failures(lambda x: both(x)[:, 0], samples=samples) == []
    assert failures(both, samples=samples) == ["batch size", "rows apart"]


def test_what_follows_from_a_failure_is_not_judged() -> None:
    report = check_statistic(drawing)
    assert [check.law for check in report.checks if check.not_judged] == ["place", "batch size", "rows apart", "precision"]  # fmt: skip
    assert "not judged: values are random" in str(report)
    report = check_statistic(lambda x: means(x).squeeze())
    assert "values: statistic '<lambda>' returned an array of shape () for 1 samples; it must return" in str(report)
    assert str(report).count("not judged: it gives no n values for n samples") == 6


def test_the_report_says_what_to_do() -> None:
    report = check_statistic(lambda x: means(x) - x.mean())
    assert str(report).startswith("<lambda>: 8 laws hold, 2 fail, tried on 8 samples\n")
    assert "batch size: it normalizes over the batch or divides by its size; name the axes of each mean" in str(report)
    with pytest.raises(mcgen.RunError, match="rows apart"):
        report.require()


def test_samples_of_a_generator_and_of_ones_own() -> None:
    generator = mcgen.as_generator(logistic, (3, 8, 8), name="logistic")
    report = check_statistic(s.brightness, generator=generator, n=5, condition=1.0)
    assert report.require().tried_on == "5 samples"
    samples = np.arange(24).reshape(4, 6)
    report = check_statistic(s.pixel_mean, samples).require()
    assert [check.law for check in report.checks if check.not_judged] == ["precision"]
    pair = (np.random.default_rng(SEED).random((4, 6)), samples)
    assert failures(lambda both: both[0].mean(1) + both[1].mean(1), samples=pair) == []
    assert failures(lambda rows: [sum(row) for row in rows], samples=[[1.0, 2.0], [3.0, 5.0], [0.5, 0.1]]) == []


def test_n_is_not_looked_at_where_samples_are_given() -> None:
    assert check_statistic(s.pixel_mean, np.random.default_rng(SEED).random((4, 6)), n=2).passed


def test_a_statistic_that_raises_is_told_without_other_advice() -> None:
    def alone(x: np.ndarray) -> np.ndarray:
        if len(x) == 1:
            raise IndexError("too few")
        return means(x)

    (check,) = check_statistic(alone).failures
    assert check.explanation == "values: it raised IndexError: too few; mend that first"


def test_the_samples_that_are_given_are_left_alone() -> None:
    samples = np.random.default_rng(SEED).random((4, 1, 8, 8))
    before = samples.copy()
    assert failures(normalizing, samples=samples) == ["samples kept"]
    assert np.array_equal(samples, before)


def test_networks_in_training_mode_are_rejected() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)
    network = torch.nn.Sequential(*layers)
    samples = torch.rand(6, 1, 8, 8)
    assert failures(network.eval(), samples=samples) == []
    assert "precision" in [check.law for check in check_statistic(network, samples).checks if check.not_judged]
    # Alone, a batch of one sample is refused.
    assert failures(network.train(), samples=samples) == ["values"]


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="statistic must be a callable"):
        check_statistic(3)
    with pytest.raises(ValueError, match="got both. Leave one out"):
        check_statistic(means, np.zeros((4, 2)), generator=mcgen.as_generator(logistic, (4,)))
    with pytest.raises(ValueError, match="at least 3 samples, to split and to reorder; got n=2"):
        check_statistic(means, n=2)
    with pytest.raises(ValueError, match="at least 3 samples, to split and to reorder; got n_samples=2"):
        check_statistic(means, np.zeros((2, 1, 2, 2)))
    for samples in (5, "abcd", {"a": 1}, (np.zeros((4, 2)), np.zeros((5, 2)))):
        with pytest.raises(TypeError, match="samples must be an array, a list, or a tuple of arrays .*; got"):
            check_statistic(means, samples)
    with pytest.raises(TypeError, match=r"got the class L1. Make one first: L1\(...\)"):
        check_statistic(s.L1)
    with pytest.raises(ValueError, match="a condition is for the generator .*; got 3 without either"):
        check_statistic(means, condition=3)
    with pytest.raises(ZeroDivisionError):
        check_statistic(lambda x: 1 / 0)

"""`mcgen.statistics.nearest`: distances to data against a plain table of distances, and copies of known models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

import mcgen
from mcgen import MonteCarlo
from mcgen.generators import EmpiricalDiffusion
from mcgen.statistics import neighbours
from mcgen.validation import check_statistic

DATA = np.random.default_rng(5).normal(3, 2, (60, 2, 4))


def estimated(model: Any, data: Any = DATA, n: int = 2000) -> mcgen.Estimate:
    return mcgen.estimate(model, mcgen.statistics.nearest(data), design=MonteCarlo(), n_evaluations=n, seed=SEED)


def test_distances_are_those_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(SEED).normal(3, 2, (30, 2, 4)).astype(np.float32)
    table = np.sort(np.sqrt(((samples[:, None] - DATA) ** 2).mean(axis=(2, 3))), axis=1)
    found = mcgen.statistics.nearest(DATA)(samples)
    np.testing.assert_allclose(found[:, :2], table[:, :2], rtol=1e-12)
    assert not found[:, 2].any()
    monkeypatch.setattr(neighbours, "_AT_ONCE", 7 * len(DATA))
    np.testing.assert_array_equal(mcgen.statistics.nearest(DATA)(samples), found)
    assert mcgen.statistics.nearest(DATA)(samples[:0]).shape == (0, 3)


def test_it_keeps_the_laws_of_statistics() -> None:
    check_statistic(mcgen.statistics.nearest(DATA), samples=DATA[:8] + np.linspace(0, 1, 8)[:, None, None]).require()


def test_it_takes_tensors_and_bytes() -> None:
    torch = pytest.importorskip("torch")
    images = (DATA * 20 + 128).clip(0, 255).astype(np.uint8)
    statistic = mcgen.statistics.nearest(torch.from_numpy(images))
    expected = statistic(images[:9])
    np.testing.assert_array_equal(statistic(torch.from_numpy(images[:9])), expected)
    np.testing.assert_array_equal(expected[:, [0, 2]], np.tile([0.0, 1.0], (9, 1)))


def test_a_model_of_the_data_alone_copies() -> None:
    found = estimated(EmpiricalDiffusion(DATA, steps=20))
    assert found.mean[2] == 1
    assert found.mean[0] < 1e-5 < found.mean[1]
    held_out = estimated(EmpiricalDiffusion(DATA[30:], steps=20), DATA[:30])
    assert held_out.mean[2] == 0


def test_distances_of_a_kernel_density_are_known() -> None:
    """Far from other data a sample is a datum and noise: the distance is h times that of N(0, I) from 0."""
    data, h, d = 20 * np.eye(4), 0.5, 4
    found = estimated(EmpiricalDiffusion(data, bandwidth=h, steps=1000, dtype="float64"), data, 500)
    truth = h * math.sqrt(2 / d) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    z = (found.mean[0] - truth) / found.standard_error[0]
    assert abs(z) < Z_LIMIT
    assert abs((found.mean[0] - 1.2 * truth) / found.standard_error[0]) > Z_LIMIT
    assert found.mean[2] < 0.01


def test_the_tolerance_is_a_share_of_the_second_distance() -> None:
    data, samples = np.array([[0.0], [1.0]]), np.array([[0.2], [0.26]])
    for tolerance, copies in ((0.01, [0, 0]), (1 / 3, [1, 0]), (0.5, [1, 1])):
        assert mcgen.statistics.nearest(data, tolerance=tolerance)(samples)[:, 2].tolist() == copies
    repeated = np.array([[0.0], [0.0], [1.0]])
    np.testing.assert_allclose(mcgen.statistics.nearest(repeated)(samples[:1]), [[0.2, 0.8, 0.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mcgen.statistics.nearest([1.0, 2.0]), r"data must have shape \(N, ...\)"),
        (lambda: mcgen.statistics.nearest(["a", "b"]), "array of real numbers"),
        (lambda: mcgen.statistics.nearest([[np.inf], [0.0]]), "must be finite"),
        (lambda: mcgen.statistics.nearest([[1.0], [1.0]]), "at least 2 different rows"),
        (lambda: mcgen.statistics.nearest(DATA, tolerance=1.0), r"tolerance must lie in \[0, 1\)"),
        (lambda: mcgen.statistics.nearest(DATA)(np.zeros((3, 8))), r"shape of the data, \(2, 4\); got \(8,\)"),
        (lambda: mcgen.statistics.nearest(DATA)([1.0]), "takes an array of samples"),
    ],
)
def test_what_it_refuses(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_close_data_are_told_apart_beside_far_ones() -> None:
    """Distances by squares and products would be rounding here."""
    rng = np.random.default_rng(SEED)
    base = rng.normal(size=(1, 64))
    close = base + 1e-9 * rng.normal(size=(6, 64))
    found = mcgen.statistics.nearest(np.vstack([close, rng.normal(size=(20, 64)), np.full((1, 64), 1e9)]))(close)
    np.testing.assert_array_equal(found[:, 0], 0.0)
    np.testing.assert_array_equal(found[:, 2], 1.0)
    with pytest.raises(ValueError, match="distance from a sample to a datum is not finite"):
        mcgen.statistics.nearest(np.eye(3))(np.full((2, 3), 1e200))

"""`path_dimension`, `emergence`, `similarity` and `sensitivity`: against the closed form of normal data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

import mcgen
from mcgen.analysis import emergence, outline, path_dimension, sensitivity, similarity
from mcgen.analysis.outline import PLANE, ROTATION, half_steps, rank_correlation
from mcgen.errors import NonFiniteError
from mcgen.generators import EmpiricalDiffusion, GaussianDiffusion
from mcgen.generators.stepwise import Resumable

VARIANCES = np.array([6.0, 2.0, 0.7, 0.2, 0.05])
U = np.linalg.qr(np.random.default_rng(8).normal(size=(5, 5)))[0]
COVARIANCE = (U * VARIANCES) @ U.T


def normal(mean: Any = 0.3, **options: Any) -> GaussianDiffusion:
    return GaussianDiffusion(np.full(5, mean), COVARIANCE, **{"steps": 20, "dtype": "float64"} | options)


def numbers(found: mcgen.analysis.Profile) -> dict[str, Any]:
    return {number.name: number for number in found.numbers}


def holds(curve: Any, truth: Any) -> bool:
    """Whether a curve lies within Z_LIMIT standard errors of a truth, by its 95 % intervals."""
    error = (curve.high - curve.low) / (2 * 1.96)
    return bool((np.abs(curve.mean - truth) <= Z_LIMIT * error + 1e-9).all())


def test_paths_of_two_variances_lie_in_a_plane() -> None:
    """Each block of equal variances moves along one line from its start, so that two blocks make a plane."""
    model = GaussianDiffusion(np.zeros(6), np.diag([3.0] * 3 + [0.1] * 3), dtype="float64", steps=20)
    found = numbers(path_dimension(model, n_paths=30, seed=SEED))
    assert found["first component"].value < 0.999
    assert found["first 2 components"].value == pytest.approx(1, abs=1e-9)
    assert found[PLANE].value == pytest.approx(1, abs=1e-9)
    line = GaussianDiffusion(np.zeros(6), 2 * np.eye(6), dtype="float64", steps=20)
    assert numbers(path_dimension(line, n_paths=30, seed=SEED))["first component"].value == pytest.approx(1)


def test_shares_are_those_of_many_paths_by_hand() -> None:
    """The path of normal data has a closed form in the basis of its principal directions."""
    model = normal(mean=0.0)
    found = path_dimension(model, n_paths=400, seed=SEED, batch_size=37)
    z = np.random.default_rng(SEED).normal(size=(10_000, 5))
    a = model.signal_shares[:, None]
    paths = z[:, None] * np.sqrt((a * VARIANCES + 1 - a) / (a[0] * VARIANCES + 1 - a[0]))
    turned = np.sqrt(a) * paths[:, -1:] + np.sqrt(1 - a) * paths[:, :1]
    truth = 1 - ((paths - turned) ** 2).sum(axis=2) / (paths**2).sum(axis=2)
    assert holds(found.curve(measure=ROTATION), truth.mean(axis=0))
    assert not holds(found.curve(measure=ROTATION), 1.05 * truth.mean(axis=0))
    values = np.linalg.svd(paths - paths.mean(axis=1, keepdims=True), compute_uv=False) ** 2
    share, number = values[:, 0] / values.sum(axis=1), numbers(found)["first component"]
    assert abs(number.value - share.mean()) < Z_LIMIT / 1.96 * (number.high - number.value)
    plane = found.curve(measure=PLANE)
    np.testing.assert_allclose(plane.mean[[0, -1]], 1)
    assert (plane.mean >= found.curve(measure=ROTATION).mean - 1e-12).all()
    assert path_dimension(model, n_paths=400, seed=SEED).curves[0].mean == pytest.approx(found.curves[0].mean)


def test_paths_with_fresh_noise_have_more_dimensions() -> None:
    smooth, rough = (path_dimension(normal(sampler="ddim", eta=eta), n_paths=50, seed=SEED) for eta in (0.0, 1.0))
    assert numbers(smooth)["first 2 components"].low > numbers(rough)["first 2 components"].high
    assert numbers(smooth)[PLANE].low > numbers(rough)[PLANE].high


def test_gains_are_those_of_the_closed_form() -> None:
    model = normal()
    found = emergence(model, U.T, n_paths=20, seed=SEED)
    a = model.signal_shares[:-1, None]
    # The flow starts from N(0, I), whose directions all have variance 1.
    truth = np.sqrt(a * VARIANCES) / np.sqrt(a * VARIANCES + 1 - a)
    for k in range(5):
        np.testing.assert_allclose(found.curve(measure=f"direction {k}").mean, truth[:, k], atol=1e-9)
    steps = half_steps(truth)
    assert [number.value for number in found.numbers[:-1]] == pytest.approx(steps, abs=1e-6)
    assert (np.diff(steps) > 0).all()
    # a * variance = (1 - a) / 3, on the schedule between steps.
    assert np.interp(steps, range(20), model.signal_shares[:-1]) == pytest.approx(1 / (1 + 3 * VARIANCES), abs=0.03)
    name, value, low, high = found.numbers[-1]
    assert (name, value, low) == ("rank correlation of half gain and variance", -1.0, -1.0)
    assert high is not None
    assert high < -0.5


def _gains_with_fresh_noise(model: Any) -> np.ndarray:
    """Covariances of the predicted and final samples of DDPM over the variance, from its steps; smallest variance first."""
    gains = [model._gains(signal) for signal in model.signal_shares[:-1].tolist()]
    factors = np.array([move.state + move.sample * g for move, g in zip(model._moves, gains, strict=True)])
    variance, covariances = np.ones(5), []
    for i, move in enumerate(model._moves):
        covariances.append(gains[i] * variance * np.prod(factors[i:], axis=0))
        variance = factors[i] ** 2 * variance + move.fresh**2
    return np.array(covariances) / variance


def test_gains_with_fresh_noise_have_intervals() -> None:
    model = normal(sampler="ddim", eta=1.0)
    found = emergence(model, U.T, n_paths=300, seed=SEED)
    truth = _gains_with_fresh_noise(model)[:, ::-1]
    for k in range(5):
        assert holds(found.curve(measure=f"direction {k}"), truth[:, k])
    assert not holds(found.curve(measure="direction 0"), truth[:, 2])
    numbers_of_half = found.numbers[:-1]
    assert all(number.low <= number.value <= number.high for number in numbers_of_half)
    assert sum(n.low <= s <= n.high for n, s in zip(numbers_of_half, half_steps(truth), strict=True)) >= 3


def test_intervals_of_gains_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "BOOTSTRAP_RESAMPLES", 20)
    model = normal(sampler="ddim", eta=1.0, steps=4)
    truth = _gains_with_fresh_noise(model)[2, -1]
    hits = 0
    for k in range(100):
        curve = emergence(model, U.T[:2], n_paths=60, seed=SEED + k).curve(measure="direction 0")
        hits += curve.low[2] <= truth <= curve.high[2]
    # Binomial(100, 0.93) falls below 79 about once in a million times.
    assert hits >= 79


def test_few_paths_have_intervals_too() -> None:
    """Some resamples of five paths have one path alone, without a variance."""
    found = emergence(normal(sampler="ddim", eta=1.0), U.T, n_paths=5, seed=SEED)
    assert all(number.low <= number.value <= number.high for number in found.numbers)


def test_an_order_of_ones_own_is_found() -> None:
    """Directions that mix all variances come at one time; a reversed order has the other sign."""
    steps, variances = np.array([[1.0, 5.0, 9.0, 12.0]]), np.array([[4.0, 3.0, 2.0, 1.0]])
    assert rank_correlation(steps, variances) == -1
    assert rank_correlation(steps, variances[:, ::-1]) == 1
    assert rank_correlation(steps, np.ones((1, 4))) == 0
    assert half_steps(np.array([[0.7], [0.9]])).tolist() == [0.0]
    assert half_steps(np.array([[0.0], [0.25]])).tolist() == [pytest.approx(1 + 1 / 3)]


def test_sensitivities_are_those_of_the_closed_form() -> None:
    model, chosen = normal(), [0, 5, 10, 15, 19]
    found = sensitivity(model, n_paths=2000, seed=SEED, steps=chosen, size=0.5)
    a = model.signal_shares[chosen][:, None]
    truth = ((1 - a) * VARIANCES / (a * VARIANCES + 1 - a)).mean(axis=1)
    assert holds(found.curves[0], truth)
    assert not holds(found.curves[0], 1.2 * truth)
    assert (np.diff(found.curves[0].mean) < 0).all()
    assert sensitivity(model, n_paths=9, seed=SEED).curves[0].steps.tolist() == np.rint(np.linspace(0, 19, 10)).tolist()


def test_perturbed_paths_have_the_fresh_noise_of_their_own() -> None:
    model = normal(sampler="ddim", eta=1.0, steps=8)
    assert isinstance(model, Resumable)
    found = sensitivity(model, n_paths=2000, seed=SEED, steps=[0, 4, 7])
    gains = [model._gains(signal) for signal in model.signal_shares[:-1].tolist()]
    factors = np.array([move.state + move.sample * g for move, g in zip(model._moves, gains, strict=True)])
    truth = [(np.prod(factors[i:], axis=0) ** 2).mean() * (1 - model.signal_shares[i]) for i in (0, 4, 7)]
    assert holds(found.curves[0], np.array(truth))


def test_a_model_is_similar_to_itself_and_to_no_other() -> None:
    points = np.random.default_rng(2).normal(size=(40, 5))
    model = EmpiricalDiffusion(points, steps=20, dtype="float64")
    same = similarity(model, model, n_paths=20, seed=SEED)
    assert (same.curves[0].mean == 0).all()
    fitted, white = GaussianDiffusion.fit(points, steps=20), GaussianDiffusion(np.ones(5), np.eye(5), steps=20)
    near, far = (similarity(model, other, n_paths=60, seed=SEED).curves[0] for other in (fitted, white))
    assert near.high[2] < 0.05 < far.low[2]
    assert near.mean[15] > 5 * near.mean[2]


def test_errors_relative_to_a_known_square() -> None:
    """Normal data against the same data with another mean: both squares have closed forms."""
    model, other = normal(mean=0.3), normal(mean=0.8)
    found = similarity(model, other, n_paths=1000, seed=SEED).curves[0]
    a = model.signal_shares[:-1, None]
    gain = np.sqrt(a) * VARIANCES / (a * VARIANCES + 1 - a)
    shift = (1 - np.sqrt(a) * gain) * (U.T @ np.full(5, 0.5))
    start = math.sqrt(a[0, 0]) * (U.T @ np.full(5, 0.3))
    factor = np.sqrt((a * VARIANCES + 1 - a) / (a[0] * VARIANCES + 1 - a[0]))
    mean = U.T @ np.full(5, 0.3) - gain * factor * start
    square = (mean**2 + (gain * factor) ** 2).sum(axis=1)
    truth = (shift**2).sum(axis=1) / square
    assert holds(found, truth)
    assert not holds(found, 1.2 * truth)


def test_it_looks_at_networks(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import models

    digits = models.load("digits-diffusion", steps=6)
    options: dict[str, Any] = {"n_paths": 10, "seed": SEED}
    closed = GaussianDiffusion(np.zeros((1, 8, 8)), 0.1 * np.eye(64), steps=6)
    for found in (
        path_dimension(digits, **options),
        emergence(digits, np.eye(64)[10:14].reshape(4, 1, 8, 8), **options),
        sensitivity(digits, steps=[0, 5], **options),
        similarity(digits, closed, **options),
    ):
        found.save(tmp_path / "profile.json")
        assert mcgen.load(tmp_path / "profile.json") == found
        assert found.to_frame()["mean"].notna().all()
        assert "10 paths" in str(found)


class _Broken(GaussianDiffusion):
    def posterior_mean(self, x: Any, signal: float) -> Any:
        return super().posterior_mean(x, signal) * np.nan


ASKED: dict[str, Any] = {"n_paths": 5, "seed": 0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: path_dimension(normal(), n_paths=4, seed=0), "n_paths must be at least 5"),
        (lambda: path_dimension(mcgen.as_generator(lambda z: z, noise=(2,)), **ASKED), "must show the steps"),
        (lambda: path_dimension(normal(), condition=[1, 2], **ASKED), "a profile is of one condition"),
        (lambda: emergence(normal(), np.eye(4), **ASKED), r"shape \(k, ...\) with the 5 numbers"),
        (lambda: emergence(normal(), ["a"], **ASKED), "array of real numbers"),
        (lambda: emergence(normal(), np.zeros((1, 5)), **ASKED), "not 0"),
        (lambda: emergence(GaussianDiffusion([0.0, 0.0], np.diag([1.0, 0.0])), np.eye(2), **ASKED), "do not vary"),
        (lambda: sensitivity(normal(), size=0, **ASKED), "size must be above 0"),
        (lambda: sensitivity(normal(), steps=[20], **ASKED), "different steps of the model, 0 to 19"),
        (lambda: similarity(normal(), normal(steps=10), **ASKED), "same signal's shares"),
        (lambda: similarity(normal(), GaussianDiffusion([0.0], [[1.0]], steps=20), **ASKED), "of one shape"),
        (lambda: emergence(_Broken([0.0], [[1.0]]), [[1.0]], **ASKED), "NaN or an infinity"),
    ],
)
def test_what_it_refuses(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError, NonFiniteError), match=message):
        make()


def test_perturbations_below_rounding_are_refused() -> None:
    model = GaussianDiffusion(np.zeros(3), np.eye(3) / 2)
    with pytest.raises(ValueError, match="near the rounding of float32"):
        mcgen.analysis.sensitivity(model, n_paths=10, seed=SEED, steps=[49], size=1e-6)

"""`mcgen.analysis.symmetry`: how nearly odd a sampler's predictions are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from hypothesis import given
from hypothesis import strategies as st
from stepwise_samplers import MEAN, SD, Sampler

import mcgen
from mcgen.analysis import symmetry
from mcgen.analysis.antisymmetry import NORMAL, OWN, SCORE, antisymmetry_score
from mcgen.errors import NonFiniteError

GRID = np.linspace(-1, 1, 201)


@pytest.mark.parametrize(
    ("values", "score"),
    [
        (GRID, 1.0),
        (GRID**3 - 7, 1.0),
        (GRID**2, 0.0),
        (GRID + GRID**2, 15 / 19),
        (np.abs(GRID) + GRID, (2 / 3) / (2 / 3 + 1 / 6)),
        # Odd part -sin(3 x) sin 0.4, even part cos(3 x) cos 0.4, whose mean is sin(3) cos(0.4) / 3.
        (
            np.cos(3 * GRID + 0.4),
            (odd := np.sin(0.4) ** 2 * (1 - np.sin(6) / 6))
            / (odd + np.cos(0.4) ** 2 * (1 + np.sin(6) / 6 - 2 * np.sin(3) ** 2 / 9)),
        ),
    ],
)
def test_scores_of_known_functions(values: Any, score: float) -> None:
    assert antisymmetry_score(values) == pytest.approx(score, abs=2e-4)


def test_the_error_of_the_rule_falls_with_the_square_of_the_points() -> None:
    errors = [abs(float(antisymmetry_score(x + x**2)) - 15 / 19) for x in (np.linspace(-1, 1, n) for n in (21, 201))]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.1)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4), st.floats(0.1, 10), st.floats(-5, 5))
def test_scores_do_not_change_by_scale_shift_and_reflection(powers: list[float], scale: float, shift: float) -> None:
    f = sum(a * GRID ** (k + 1) for k, a in enumerate(powers)) + 0.01 * GRID
    score = antisymmetry_score(f)
    assert 0 <= score <= 1
    for other in (scale * f + shift, -f, f[::-1]):
        assert antisymmetry_score(other) == pytest.approx(float(score), abs=1e-6)


def test_the_score_is_half_of_one_minus_the_correlation_with_the_reflection() -> None:
    f = np.exp(GRID) + np.sin(5 * GRID)
    weights = np.ones(201)
    weights[[0, -1]] = 0.5
    rho = np.cov(f, f[::-1], aweights=weights)[0, 1] / np.cov(f, aweights=weights)
    assert antisymmetry_score(f) == pytest.approx((1 - rho) / 2, abs=1e-12)


def test_constant_functions_have_no_score() -> None:
    assert np.isnan(antisymmetry_score(np.zeros((201, 2)))).all()


def test_an_affine_network_is_odd_everywhere() -> None:
    for of in ("noise", "sample"):
        found = symmetry(Sampler(), n_base=6, seed=SEED, of=of)
        np.testing.assert_allclose(found.to_frame()["mean"], 1, atol=1e-6)
    assert [number.name for number in found.numbers][:2] == ["mean", "least"]
    assert all(number.value == pytest.approx(1, abs=1e-6) for number in found.numbers)
    assert found.scores.shape == (8, 6, 5)
    assert found.slices.values.shape == (8, 6, 5, 201)


def test_an_even_network_is_not_odd() -> None:
    class Even(Sampler):
        def predictions(self, x: Any, i: int, condition: Any = None) -> dict[str, Any]:
            return {"noise": x**2, "sample": x}

    found = symmetry(Even(2), n_base=6, seed=SEED)
    np.testing.assert_allclose(found.curve(measure=SCORE).mean, 0, atol=1e-9)
    np.testing.assert_allclose(found.curve(measure=NORMAL).mean, 0, atol=1e-9)


def test_odd_shares_have_their_closed_forms() -> None:
    """For x + x^2 with x ~ N(0, 1) the odd share is 1 / (1 + Var x^2) = 1/3, and 15/19 is for x uniform on [-1, 1].

    The sampler's own states are N(m, s^2) with the moments of DDIM, x = m + s u, reflected about m: the odd part of
    x + x^2 about m is (1 + 2 m) s u, and its even part s^2 u^2 has the variance 2 s^4.
    """

    class Square(Sampler):
        def observe(self, noise: Any, condition: Any = None) -> Any:
            yield {"state": noise, "noise": noise, "sample": noise}
            yield {"state": MEAN + SD * noise, "noise": noise, "sample": noise}
            yield {"state": noise}

        def predictions(self, x: Any, i: int, condition: Any = None) -> dict[str, Any]:
            return {"noise": x + x**2}

    found = symmetry(Square(2), n_base=4000, seed=SEED, points=5, coordinates=1)
    np.testing.assert_allclose(found.curve(measure=NORMAL).mean, 1 / 3, atol=0.01)
    odd, even = ((1 + 2 * MEAN) ** 2 * SD**2).sum(), (2 * SD**4).sum()
    own = found.curve(measure=OWN)
    assert own.mean[1] == pytest.approx(odd / (odd + even), abs=0.03)
    assert own.band_low[1] < odd / (odd + even) < own.band_high[1]


def test_the_number_of_evaluations_and_the_largest_batch() -> None:
    sampler = Sampler(10)
    found = symmetry(sampler, n_base=7, seed=SEED, steps=[0, 4], points=21, batch_size=6)
    assert max(sampler.rows) <= 6
    assert sum(sampler.rows) == 7 * (2 * 10 + 2 * (21 + 2 + 7))
    assert found.provenance.n_evaluations == np.ceil(sum(sampler.rows) / 10)
    whole = symmetry(Sampler(10), n_base=7, seed=SEED, steps=[0, 4], points=21)
    np.testing.assert_allclose(found.to_frame()["mean"], whole.to_frame()["mean"], atol=1e-6)


@pytest.mark.study
def test_intervals_at_the_samplers_own_states_know_of_the_error_of_the_mean_state() -> None:
    """Conditionally on the mean state they would cover about 0.78 of the time, with any number of bases."""

    def wave(x: Any) -> Any:
        return 0.3 * np.cos(x)

    options: dict[str, Any] = {"steps": [4], "points": 5, "coordinates": 1}
    truth = symmetry(Sampler(added=wave), n_base=4000, seed=SEED + 1000, **options).curve(measure=OWN).mean[0]
    hits = 0
    for i in range(200):
        curve = symmetry(Sampler(added=wave), n_base=25, seed=SEED + i, **options).curve(measure=OWN)
        hits += curve.low[0] <= truth <= curve.high[0]
    assert hits >= 172


def test_undefined_slices_are_counted_and_left_out() -> None:
    class Partly(Sampler):
        def predictions(self, x: Any, i: int, condition: Any = None) -> dict[str, Any]:
            noise = x.copy()
            noise[:, 0] = 0.3
            return {"noise": noise, "sample": x}

    found = symmetry(Partly(3), n_base=5, seed=SEED, coordinates=[0, 1])
    assert found.warnings == (
        "15 of 30 slices are constant, so that they have no score; they are left out of all means and quantiles",
    )
    np.testing.assert_allclose(found.curve(measure=SCORE).mean, 1, atol=1e-6)
    assert "! 15 of 30 slices are constant" in str(found)
    with pytest.raises(ValueError, match="the predicted noise does not change along a line at step 0"):
        symmetry(Partly(3), n_base=5, seed=SEED, coordinates=[0])


def test_intervals_of_numbers_are_over_bases(tmp_path: Path) -> None:
    found = symmetry(Sampler(added=lambda x: np.cos(2 * x[:, ::-1])), n_base=30, seed=SEED, points=41)
    numbers = {number.name: number for number in found.numbers}
    by_base = found.scores.mean(axis=(0, 2))
    mean, error = by_base.mean(), by_base.std(ddof=1) / np.sqrt(30)
    assert numbers["mean"].value == pytest.approx(mean)
    assert 2 < (numbers["mean"].high - numbers["mean"].low) / error / 2 < 3
    assert numbers["median"].value == pytest.approx(np.median(found.scores))
    for name in ("1 % quantile", "10 % quantile", "median"):
        assert numbers[name].low <= numbers[name].value <= numbers[name].high
    assert numbers["least"] == ("least", found.scores.min(), None, None)
    assert found.numbers_frame().columns.tolist() == ["name", "value", "low", "high"]
    assert isinstance(found, mcgen.Result)
    found.save(tmp_path / "profile.json")
    assert mcgen.load(tmp_path / "profile.json") == found
    again = symmetry(Sampler(added=lambda x: np.cos(2 * x[:, ::-1])), n_base=30, seed=SEED, points=41)
    assert again == found


def test_plots() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    found = symmetry(Sampler(), n_base=5, seed=SEED, points=21)
    ax = matplotlib.Figure().subplots()
    assert found.plot(ax) is ax.figure
    assert len(ax.lines) == 3
    slices = found.plot_slices()
    assert [len(panel.lines) for panel in slices.axes] == [5] * 6


class OnlyStates(Sampler):
    shown = ("state",)


class Broken(Sampler):
    def predictions(self, x: Any, i: int, condition: Any = None) -> dict[str, Any]:
        found = super().predictions(x, i, condition)
        return found if len(self.rows) < 12 else {"noise": found["noise"] / 0.0}


@pytest.mark.parametrize(
    ("model", "changes", "error", "message"),
    [
        (lambda z: z, {}, TypeError, "must show the steps of its path"),
        (OnlyStates(), {}, TypeError, "shows only its states"),
        (Sampler(), {"n_base": 4}, ValueError, "n_base must be at least 5, to resample bases; got 4"),
        (Sampler(), {"of": "state"}, ValueError, "of must be among 'noise', 'sample'; got 'state'"),
        (Sampler(), {"of": "velocity"}, ValueError, "of must be among 'noise', 'sample'; got 'velocity'"),
        (Sampler(), {"coordinates": 7}, ValueError, "coordinates must be a number from 1 to 6"),
        (Sampler(), {"coordinates": [0, 6]}, ValueError, "coordinates must be different numbers from 0 to 5"),
        (Sampler(), {"coordinates": [1, 1]}, ValueError, "coordinates must be different numbers"),
        (Sampler(), {"steps": [8]}, ValueError, "steps must be different steps of the model, 0 to 7"),
        (Sampler(), {"steps": 3}, TypeError, "steps must be a list of numbers of steps; got 3"),
        (Sampler(), {"steps": []}, ValueError, "steps must be different steps of the model"),
        (Sampler(), {"points": 20}, ValueError, "points must be an odd number of at least 5"),
        (Sampler(), {"points": 3}, ValueError, "points must be an odd number of at least 5"),
        (Sampler(), {"condition": [1, 2]}, ValueError, "a profile is of one condition"),
        (Broken(), {}, NonFiniteError, "the predicted noise at step . has a NaN or an infinity"),
    ],
)
def test_bad_input_is_refused(model: Any, changes: Any, error: type[Exception], message: str) -> None:
    options: dict[str, Any] = {"n_base": 5, "seed": SEED, "points": 5} | changes
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        symmetry(model, **options)

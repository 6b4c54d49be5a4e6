"""`mcgen.analysis.along_time`: correlations of pairs of trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from stepwise_samplers import Sampler

import mcgen
from mcgen.analysis import along_time
from mcgen.errors import NonFiniteError


def bent(x: Any) -> Any:
    """An even part, by which a state and its negation do not have negated predictions."""
    return 0.8 * np.cos(1.5 * x)


def curve(found: Any, kind: str, measure: str, of: str = "state") -> Any:
    return found.curve(of=of, kind=kind, measure=measure)


def test_pairs_of_an_affine_sampler_stay_opposite() -> None:
    found = along_time(Sampler(), n_pairs=40, seed=SEED)
    assert np.all(curve(found, "negated", "standard").mean[0] == -1)
    for of in ("state", "noise", "sample"):
        np.testing.assert_allclose(curve(found, "negated", "centralized", of).mean, -1, atol=1e-5)
    # The data's mean is no constant image, so that the standard correlation grows.
    assert curve(found, "negated", "standard").mean[-1] > 0
    assert len(curve(found, "negated", "standard").mean) == 9
    assert len(curve(found, "negated", "standard", "noise").mean) == 8


def test_pairs_of_a_bent_sampler_do_not() -> None:
    found = along_time(Sampler(added=bent), n_pairs=40, seed=SEED, of="state")
    centralized = curve(found, "negated", "centralized")
    assert centralized.mean[0] == -1
    assert centralized.band_low[-1] > -0.95


def test_independent_pairs_have_no_centralized_correlation() -> None:
    """Also with few: one mean of all trajectories biases them by about -1 / (2 n), one without the pair by 1 / (2 n)."""
    found = along_time(Sampler(), n_pairs=2000, seed=SEED, kinds="independent", of="state")
    one = curve(found, "independent", "centralized")
    error = (one.high - one.low) / (2 * 1.96)
    assert (np.abs(one.mean) < Z_LIMIT * error).all()
    few = [
        along_time(Sampler(), n_pairs=5, seed=SEED + k, kinds="independent", of="state", measures="centralized")
        for k in range(200)
    ]
    starts = np.array([one.curves[0].mean[0] for one in few])
    error = starts.std() / np.sqrt(200)
    assert abs(starts.mean()) < Z_LIMIT * error
    pairs = np.random.default_rng(SEED).standard_normal((200, 5, 2, 6))
    for centre, bias in ((pairs.mean(axis=(1, 2), keepdims=True), -1 / 9), (_without_pair(pairs), 1 / 9)):
        biased = [np.corrcoef(a, b)[0, 1] for run in pairs - centre for a, b in run]
        assert np.mean(biased) == pytest.approx(bias, abs=0.05)
        assert abs(np.mean(biased)) > Z_LIMIT / 2 * error


def _without_pair(pairs: Any) -> Any:
    """The mean of all trajectories but the pair's own, of runs of n pairs (runs, n, 2, pixels)."""
    total = pairs.sum(axis=(1, 2), keepdims=True)
    return (total - pairs.sum(axis=2, keepdims=True)) / (2 * pairs.shape[1] - 2)


def test_intervals_of_centralized_correlations_know_of_the_error_of_the_mean_state() -> None:
    """With the mean state taken as known they would cover about 0.7 of the time for these skewed states."""

    class Skewed(Sampler):
        def observe(self, noise: Any, condition: Any = None) -> Any:
            yield {"state": noise, "noise": noise, "sample": noise}
            yield {"state": np.exp(noise.astype(np.float64))}

    options: dict[str, Any] = {"of": "state", "kinds": "negated", "measures": "centralized"}
    truth = along_time(Skewed(1), n_pairs=20000, seed=SEED + 999, **options).curves[0].mean[1]
    hits = 0
    for i in range(200):
        found = along_time(Skewed(1), n_pairs=40, seed=SEED + i, **options).curves[0]
        hits += found.low[1] <= truth <= found.high[1]
    assert hits >= 176


@pytest.mark.parametrize("condition", [None, 1.5])
def test_they_are_the_correlations_of_the_samples_of_a_run(condition: float | None) -> None:
    sampler = Sampler(added=bent)
    found = along_time(sampler, n_pairs=30, seed=SEED, of="state", condition=condition, batch_size=8)
    for kind, design in (("negated", mcgen.Antithetic()), ("independent", mcgen.MonteCarlo())):
        pairs = mcgen.sample(sampler, 60, seed=SEED, design=design, condition=condition).reshape(30, 2, 6)
        expected = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
        standard = curve(found, kind, "standard")
        assert standard.mean[-1] == pytest.approx(np.mean(expected), abs=1e-6)
        expected = [np.corrcoef(a, b)[0, 1] for a, b in pairs - pairs.mean(axis=0)]
        assert curve(found, kind, "centralized").mean[-1] == pytest.approx(np.mean(expected), abs=1e-6)


def test_batches_change_nothing_and_no_batch_is_larger() -> None:
    whole, parts = Sampler(added=bent), Sampler(added=bent)
    options: dict[str, Any] = {"n_pairs": 21, "seed": SEED}
    one, other = along_time(whole, batch_size=64, **options), along_time(parts, batch_size=6, **options)
    np.testing.assert_allclose(one.to_frame()["mean"], other.to_frame()["mean"], atol=1e-6)
    assert max(parts.rows) == 6
    # For the mean states, the correlations and their errors by the mean; predictions cost nothing beyond the states.
    assert sum(whole.rows) == 3 * 2 * 42 * 8
    standard = Sampler()
    along_time(standard, measures="standard", kinds="negated", **options)
    assert sum(standard.rows) == 42 * 8


def test_any_design_of_two_points_is_a_kind() -> None:
    half = mcgen.Antithetic(only=[True] * 3 + [False] * 3)
    found = along_time(Sampler(), n_pairs=50, seed=SEED, of="state", kinds=["negated", half])
    partly = found.curve(kind=str(half), measure="centralized")
    assert -0.9 < partly.mean[-1] < 0.9
    assert found.provenance.design == f"Antithetic() and {half}"


def test_bands_hold_for_all_curves_together() -> None:
    """In 95 % of runs; of 100 fewer than 88 are unlikely by 3e-3. The intervals of single steps hold together less."""
    sampler = Sampler(3, bent)
    options: dict[str, Any] = {"kinds": "negated", "measures": "standard"}
    truth = along_time(sampler, n_pairs=6000, seed=SEED, batch_size=4000, **options).to_frame()["mean"]
    inside = {"band_low": 0, "low": 0}
    for k in range(100):
        found = along_time(sampler, n_pairs=30, seed=SEED + 1 + k, **options).to_frame()
        for low, high in (("band_low", "band_high"), ("low", "high")):
            inside[low] += bool(((found[low] - 1e-9 <= truth) & (truth <= found[high] + 1e-9)).all())
    assert inside["band_low"] >= 88
    assert inside["low"] < inside["band_low"]


def test_results_keep_the_protocol(tmp_path: Path) -> None:
    found = along_time(Sampler(), n_pairs=10, seed=SEED, condition=0.5)
    assert isinstance(found, mcgen.Result)
    found.save(tmp_path / "profile.json")
    assert mcgen.load(tmp_path / "profile.json") == found
    assert found != along_time(Sampler(), n_pairs=10, seed=SEED + 1, condition=0.5)
    frame = found.to_frame()
    columns = ["step", "signal", "of", "kind", "measure", "mean", "low", "high", "band_low", "band_high"]
    assert frame.columns.tolist() == columns
    assert len(frame) == 4 * (9 + 8 + 8)
    assert (frame["band_low"] <= frame["low"] + 1e-6).all()
    assert (frame["mean"].between(frame["low"] - 1e-12, frame["high"] + 1e-12)).all()
    text = str(found)
    assert text.startswith("correlation over pixels of gaussian, condition 0.5: 10 pairs of trajectories")
    assert "step 8" in text
    assert "Antithetic() and MonteCarlo()" in found.summary()
    assert found.to_markdown().count("\n") == 13
    assert found.to_latex().startswith(r"\begin{tabular}")
    assert "<table" in found._repr_html_()
    assert hash(found) == hash(mcgen.load(tmp_path / "profile.json"))
    with pytest.raises(KeyError, match="4 curves have the labels"):
        found.curve(of="state")
    with pytest.raises(ValueError, match=r"no slices; those of mcgen\.analysis\.symmetry"):
        found.plot_slices()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    along_time(Sampler(2), n_pairs=4, seed=SEED, of="state", measures="standard").save(path)
    text = path.read_text()
    for old, new in (('"title": "correlation over pixels"', '"title": 3'), ('"mean"', '"means"'), ('"curves"', '"c"')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match="is incomplete, or was changed by hand"):
            mcgen.load(path)


def test_plots_have_a_panel_for_each_quantity() -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")
    found = along_time(Sampler(), n_pairs=10, seed=SEED)
    assert len(found.plot().axes) == 3
    ax = matplotlib.Figure().subplots()
    with pytest.raises(ValueError, match="this figure has 3 panels; got 1 Axes as ax"):
        found.plot(ax)
    one = along_time(Sampler(), n_pairs=10, seed=SEED, of="state")
    assert one.plot(ax) is ax.figure
    assert len(ax.lines) == 4


class Finished:
    """A model of one pass."""

    name, noise = "finished", mcgen.NoiseSpec.normal((6,))

    def __call__(self, noise: Any) -> Any:
        return noise


class Constant(Sampler):
    def observe(self, noise: Any, condition: Any = None) -> Any:
        for shown in super().observe(noise, condition):
            yield shown | {"sample": 0 * noise + 0.1}


class Broken(Sampler):
    def observe(self, noise: Any, condition: Any = None) -> Any:
        for shown in super().observe(noise, condition):
            yield shown | {"state": shown["state"] / 0.0}


@pytest.mark.parametrize(
    ("model", "changes", "error", "message"),
    [
        (Finished(), {}, TypeError, r"must show the steps of its path; got finished \(Finished\)\. Wrap its network"),
        (Sampler, {}, TypeError, "must show the steps of its path"),
        (Sampler(), {"n_pairs": 2}, ValueError, "n_pairs must be at least 3; got 2"),
        (Sampler(), {"n_pairs": 2.0}, TypeError, "n_pairs must be an int"),
        (Sampler(), {"of": "velocity"}, ValueError, "of must be among 'state', 'noise', 'sample'; got 'velocity'"),
        (Sampler(), {"of": 3}, TypeError, "of must be one or several of 'state', 'noise', 'sample'; got 3"),
        (Sampler(), {"measures": 3}, TypeError, "measures must be one or several of 'standard', 'centralized'; got 3"),
        (
            Sampler(),
            {"kinds": 3},
            TypeError,
            "kinds must be names such as negated, independent, or designs of two points",
        ),
        (Sampler(), {"of": []}, ValueError, "of must be among .* got none"),
        (
            Sampler(),
            {"kinds": "positive"},
            ValueError,
            "a kind of pairs is one of negated, independent, or a design of two points; got 'positive'",
        ),
        (Sampler(), {"kinds": []}, ValueError, "kinds must be one or more"),
        (Sampler(), {"measures": "rank"}, ValueError, "measures must be among 'standard', 'centralized'"),
        (Sampler(), {"condition": [1, 2]}, ValueError, r"a profile is of one condition; got the list \[1, 2\]"),
        (Sampler(), {"confidence_level": 95}, ValueError, "confidence_level must lie between 0 and 1"),
        (Sampler(), {"batch_size": 1}, ValueError, "batch_size must be at least 2, a pair; got 1"),
        (Sampler(), {"seed": -1}, ValueError, "seed must be at least 0"),
        (Constant(), {}, ValueError, "10 of 10 pairs have a sample at step 0 that is constant over its pixels"),
        (Broken(), {}, NonFiniteError, "the state at step 0 has a NaN or an infinity"),
    ],
)
def test_bad_input_is_refused(model: Any, changes: Any, error: type[Exception], message: str) -> None:
    options: dict[str, Any] = {"n_pairs": 10, "seed": SEED} | changes
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        along_time(model, **options)


def test_states_of_one_number_are_refused() -> None:
    sampler = Sampler()
    sampler.noise = mcgen.NoiseSpec.normal((1,))
    with pytest.raises(ValueError, match="states of 2 or more numbers"):
        along_time(sampler, n_pairs=10, seed=SEED)

"""`evaluate`: one pass over each model, the numbers of `estimate` and `difference`, and finished samples beside models."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import functionals
from mcgen.designs import Antithetic, MonteCarlo, Sobol
from mcgen.errors import CoverageWarning, RunError, StoreError

WEIGHTS = np.random.default_rng(3).standard_normal((4, 4)) / 2
REAL = np.tanh(np.random.default_rng(4).standard_normal((2000, 4)) @ WEIGHTS + 0.35)


def old(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
    return np.tanh(z @ WEIGHTS + 0.3 * condition)


def new(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
    return np.tanh(z @ WEIGHTS + 0.33 * condition)


def wide(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
    return np.tanh(z[:, :4] @ WEIGHTS + 0.35 * condition)


def model(function: Any, dimension: int = 4) -> Any:
    noise = mcgen.NoiseSpec.normal((dimension,), "float64")
    return mcgen.as_generator(function, noise=noise, name=function.__name__)


first = mcgen.as_statistic(lambda x: x[:, 0], name="first")
second = mcgen.as_statistic(lambda x: x[:, 1], name="second")
both = mcgen.as_statistic(lambda x: x[:, :2], name="both", components=("one", "two"))
SCORES: dict[str, Any] = {
    "FID": functionals.frechet_distance(REAL),
    "KID": functionals.kernel_distance(REAL[:200]),
    "first": first,
    "both": both,
    "large": mcgen.as_statistic(lambda x: x[:, 0] > 0.8, name="large"),
    "median": functionals.quantile(first, 0.5),
    "correlation": functionals.correlation(first, second),
    "spread": functionals.variance(both),
}
HOW: dict[str, Any] = {"n_evaluations": 400, "seed": SEED}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        yield


def same_numbers(a: mcgen.Estimate, b: mcgen.Estimate) -> bool:
    pairs = [(a.mean, b.mean), (a.standard_error, b.standard_error), (a.interval.low, b.interval.low)]
    pairs.append((a.interval.high, b.interval.high))
    # Sums over columns of a wider array may round otherwise in the last bits.
    return a.names == b.names and a.method == b.method and all(np.allclose(x, y, rtol=1e-11, atol=0) for x, y in pairs)


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(16)], ids=str)
def test_numbers_are_those_of_estimate_and_difference(design: Any) -> None:
    card = mcgen.evaluate([model(old), model(new)], SCORES, design=design, **HOW)
    assert (card.models, card.scores) == (("old", "new"), tuple(SCORES))
    for name, score in SCORES.items():
        for function in (old, new):
            alone = mcgen.estimate(model(function), score, design=design, **HOW)
            assert same_numbers(card[function.__name__, name], alone), name
        alone = mcgen.difference(model(old), model(new), score, design=design, **HOW)
        pair = card.pairs[name]["old", "new"]
        assert pair.mean == pytest.approx(alone.mean, rel=1e-9, abs=1e-12)
        assert pair.standard_error == pytest.approx(alone.standard_error, rel=1e-6, abs=1e-12), name
        assert (pair.names, pair.provenance.models_noise) == (alone.names, "same noise")
        assert pair.provenance.functional == alone.provenance.functional
        assert (pair.plug_in is None) == (alone.plug_in is None)


@pytest.mark.parametrize("across", ["average", "mixture"])
def test_conditions(across: Any) -> None:
    how = HOW | {"condition": {"low": 0.5, "high": 1.5}, "weights": [0.3, 0.7], "across": across}
    card = mcgen.evaluate([model(old), model(new)], SCORES, **how)
    for name, score in SCORES.items():
        assert same_numbers(card["old", name], mcgen.estimate(model(old), score, design=Antithetic(), **how)), name
        alone = mcgen.difference(model(old), model(new), score, design=Antithetic(), **how)
        assert card.pairs[name]["old", "new"].mean == pytest.approx(alone.mean, rel=1e-9, abs=1e-12)
        assert card.pairs[name]["old", "new"].half_width == pytest.approx(alone.half_width, rel=1e-6)


def test_a_model_is_called_once_for_all_scores_and_features_once_for_all_distances() -> None:
    rows, seen = [], []

    def counted(z: np.ndarray) -> np.ndarray:
        rows.append(len(z))
        return old(z)

    def features(x: np.ndarray) -> np.ndarray:
        seen.append(len(x))
        return x

    scores = {
        "FID": functionals.frechet_distance(REAL, features),
        "KID": functionals.kernel_distance(REAL, features),
        "energy": functionals.energy_distance(REAL, features),
        "first": first,
    }
    made = mcgen.as_generator(counted, noise=(4,), name="counted")
    # The references have tried the features on two of their rows.
    seen.clear()
    mcgen.evaluate(made, {"FID": scores["FID"]}, **HOW)
    alone = sum(rows), sum(seen)
    rows.clear()
    seen.clear()
    mcgen.evaluate(made, scores, **HOW)
    assert (sum(rows), sum(seen)) == alone
    assert alone[0] < 440


def test_models_of_other_noise_are_independent() -> None:
    card = mcgen.evaluate({"old": model(old), "wide": model(wide, 6), "new": model(new)}, SCORES, **HOW)
    noise = {pair: one.provenance.models_noise for pair, one in card.pairs["first"].items()}
    assert noise == {
        ("old", "wide"): "independent noise",
        ("old", "new"): "same noise",
        ("wide", "new"): "independent noise",
    }
    pair, a, b = card.pairs["first"]["old", "wide"], card["old", "first"], card["wide", "first"]
    assert pair.mean == pytest.approx(a.mean - b.mean)
    assert pair.standard_error == pytest.approx(np.hypot(a.standard_error, b.standard_error))
    # The numbers of `wide` are not those of a run of it alone: these would share digits with the noise of `old`.
    assert card["wide", "first"].mean != mcgen.estimate(model(wide, 6), first, design=Antithetic(), **HOW).mean


def test_finished_samples(tmp_path: Path) -> None:
    samples = old(np.random.default_rng(5).standard_normal((900, 4)))
    np.save(tmp_path / "samples.npy", samples)
    card = mcgen.evaluate({"model": model(new), "array": samples, "file": tmp_path / "samples.npy"}, SCORES, **HOW)
    for name in SCORES:
        assert same_numbers(card["array", name], card["file", name])
    own = card["array", "first"]
    assert own.mean == pytest.approx(samples[:, 0].mean())
    assert own.standard_error == pytest.approx(samples[:, 0].std(ddof=1) / 30)
    assert (own.n_evaluations, own.provenance.noise) == (900, "none: finished samples")
    assert card["array", "FID"].plug_in == pytest.approx(SCORES["FID"].plug_in(samples), rel=1e-9)
    assert card["array", "large"].method == "proportion"
    assert card.pairs["first"]["model", "array"].provenance.models_noise == "independent noise"
    alone = mcgen.evaluate(samples, first, seed=0)
    assert alone.models == ("samples",)
    with pytest.raises(ValueError, match="finished samples have no conditions"):
        mcgen.evaluate({"model": model(new), "array": samples}, first, condition=[1.0, 2.0], **HOW)
    with pytest.raises(ValueError, match="all finished samples are used"):
        mcgen.evaluate(samples, first, seed=0, atol=0.1)
    with pytest.raises(RunError, match="samples are too few"):
        mcgen.evaluate(samples[:4], SCORES["FID"], seed=0)


def test_stores_continue_and_take_more_models(tmp_path: Path) -> None:
    calls: list[str] = []

    def counting(function: Any) -> Any:
        def counted(z: np.ndarray) -> np.ndarray:
            calls.append(function.__name__)
            return function(z)

        noise = mcgen.NoiseSpec.normal((4,), "float64")
        return mcgen.as_generator(counted, noise=noise, name=function.__name__, fingerprint=function.__name__)

    whole = mcgen.evaluate([model(old), model(new)], SCORES, **HOW)
    one = mcgen.evaluate([counting(old)], SCORES, store=tmp_path / "runs", **HOW)
    assert set(calls) == {"old"}
    calls.clear()
    both_models = mcgen.evaluate([counting(old), counting(new)], SCORES, store=tmp_path / "runs", **HOW)
    assert set(calls) == {"new"}
    for name in SCORES:
        assert same_numbers(both_models["old", name], one["old", name])
        assert same_numbers(both_models["new", name], whole["new", name])
        assert same_numbers(both_models.pairs[name]["old", "new"], whole.pairs[name]["old", "new"])
    with ThreadPoolExecutor(2) as executor:
        threaded = mcgen.evaluate([model(old), model(new)], SCORES, executor=executor, **HOW)
    assert all(same_numbers(threaded["new", name], whole["new", name]) for name in SCORES)
    with pytest.raises(StoreError, match="seed"):
        mcgen.evaluate([counting(old)], SCORES, store=tmp_path / "runs", n_evaluations=400, seed=SEED + 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="store must be a folder here"):
        mcgen.evaluate([model(old)], SCORES, store=tmp_path / "file", **HOW)


def test_stopping_on_named_scores() -> None:
    scores = {name: SCORES[name] for name in ("FID", "first", "both")}
    card = mcgen.evaluate([model(old), model(new)], scores, seed=SEED, atol=0.02, components=["first", "FID"])
    for name in card.models:
        assert card[name, "first"].half_width <= 0.02
        assert card[name, "FID"].half_width <= 0.02
        assert card[name, "first"].stopping.reached
    assert card.pairs["FID"]["old", "new"].half_width < card["old", "FID"].half_width
    loose = mcgen.evaluate([model(old)], scores, seed=SEED, atol=0.1, components=["first"])
    assert loose["old", "FID"].n_evaluations < card["old", "FID"].n_evaluations
    with pytest.raises(ValueError, match="components must be names of scores"):
        mcgen.evaluate([model(old)], scores, seed=SEED, atol=0.1, components=["one"])


def test_simultaneous_intervals_are_wider() -> None:
    plain = mcgen.evaluate([model(old), model(new)], SCORES, **HOW)
    together = mcgen.evaluate([model(old), model(new)], SCORES, simultaneous=True, **HOW)
    for name in ("FID", "KID", "first", "both", "correlation"):
        wider = np.ravel(together["old", name].half_width) > np.ravel(plain["old", name].half_width)
        assert wider.all()


def test_curves_and_pictures() -> None:
    card = mcgen.evaluate([model(old)], SCORES, curves=True, **HOW)
    assert set(card.curves) == {"FID", "KID"}
    curve = card.curves["FID"]["old"]
    assert curve["n"].iloc[-1] == 400
    assert curve["estimate"].iloc[-1] == pytest.approx(card["old", "FID"].mean)
    assert curve["plug_in"].iloc[-1] == pytest.approx(card["old", "FID"].plug_in, rel=1e-9)

    def images(z: np.ndarray) -> np.ndarray:
        return z

    shown = mcgen.evaluate(
        mcgen.as_generator(images, noise=(3, 5, 5), name="images"),
        mcgen.statistics.pixel_mean,
        pictures=3,
        n_evaluations=40,
        seed=0,
    )
    assert shown.pictures["images"].shape == (2, 3, 3, 5, 5)
    assert (shown.pictures["images"][0] == -shown.pictures["images"][1]).all()


def test_an_error_keeps_what_is_finished() -> None:
    def broken(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        mcgen.evaluate([model(old), model(broken)], SCORES, **HOW)
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert isinstance(partial, mcgen.Scorecard)
    assert partial.models == ("old",)


@pytest.mark.parametrize(
    ("models", "scores", "options", "message"),
    [
        ([], [first], {}, "one or more models"),
        ([model(old)], [], {}, "one or more scores"),
        ([model(old), model(old)], [first], {}, "models need names that differ"),
        ([model(old)], [first, first], {}, "scores need names that differ"),
        ({1: model(old)}, [first], {}, "names of models must be texts"),
        ([42], [first], {}, "model '42'|model"),
        ([model(old)], ["brightness"], {}, "statistic must be a callable"),
        ([model(old)], [functionals.frechet_distance], {}, "takes"),
        ([model(old)], [first], {"controls": 3}, "takes no controls"),
        ([model(old)], [first], {"common_random_numbers": True}, "takes no common_random_numbers"),
        ([model(old)], [first], {"n_samples": 3}, "did you mean n_evaluations"),
        ([model(old)], [first], {"pictures": -1}, "pictures must be"),
        ([model(old)], [first], {"design": "auto"}, "design"),
        (["no-such-folder"], [first], {}, "no-such-folder"),
    ],
)
def test_refusals(models: Any, scores: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        mcgen.evaluate(models, scores, **(HOW | options))


def test_distances_by_blocks_of_the_same_features_are_kept_apart(tmp_path: Path) -> None:
    real = REAL[:200]
    scores = {
        "KID": functionals.kernel_distance(real, block_size=40),
        "energy": functionals.energy_distance(real, block_size=40),
        "smaller": functionals.energy_distance(real, block_size=20),
        "whole": functionals.energy_distance(real),
    }
    for _ in ("made", "from the store"):
        card = mcgen.evaluate([model(old), model(new)], scores, store=tmp_path, **HOW)
        for name, score in scores.items():
            alone = mcgen.estimate(model(old), score, design=Antithetic(), **HOW)
            assert same_numbers(card["old", name], alone), name
            alone = mcgen.difference(model(old), model(new), score, design=Antithetic(), **HOW)
            assert card.pairs[name]["old", "new"].mean == pytest.approx(alone.mean, rel=1e-9, abs=1e-12), name


def test_scores_of_another_shape_under_another_model_are_refused() -> None:
    narrow = mcgen.as_statistic(lambda x: x[:, :1] if x.shape[1] == 4 else x[:, :2], name="narrow")
    broad = mcgen.as_statistic(lambda x: x[:, :2] if x.shape[1] == 4 else x[:, :1], name="broad")

    def three(z: np.ndarray) -> np.ndarray:
        return z[:, :3]

    with pytest.raises(RunError, match=r"'narrow' gives components of shape \(2,\), and gave \(1,\) before") as caught:
        mcgen.evaluate([model(old), model(three)], [narrow, broad], **HOW)
    assert caught.value.partial.models == ("old",)  # type: ignore[attr-defined]


def test_models_on_independent_noise_share_the_error_of_a_sampled_reference(tmp_path: Path) -> None:
    real = np.random.default_rng(1).standard_normal((300, 1))
    sides = {
        "above": mcgen.as_generator(lambda z: z + 1.0, noise=(1,), name="above"),
        "below": mcgen.as_generator(lambda z: z[:, :1] - 1.0, noise=(2,), name="below"),
        "near": mcgen.as_generator(lambda z: z[:, :1] + 1.0, noise=(3,), name="near"),
    }
    score = functionals.frechet_distance(functionals.reference(real, fixed=False))
    card = mcgen.evaluate(sides, {"FID": score}, n_evaluations=4000, seed=0)
    errors = {pair: float(one.standard_error) for pair, one in card.pairs["FID"].items()}
    apart = np.hypot(card["above", "FID"].standard_error, card["below", "FID"].standard_error)
    # An error y of the mean of the reference changes both distances by -2 y and by 2 y.
    assert errors["above", "below"] == pytest.approx(4 / np.sqrt(300), rel=0.1)
    assert errors["above", "below"] > 1.3 * apart
    assert errors["above", "near"] < 0.3 * apart
    alone = mcgen.difference(sides["above"], sides["below"], score, design=Antithetic(), n_evaluations=4000, seed=0)
    assert float(alone.standard_error) == pytest.approx(errors["above", "below"], rel=0.1)
    alone.save(tmp_path / "difference.json")
    assert mcgen.Estimate.load(tmp_path / "difference.json") == alone


def test_finished_samples_have_distances_by_blocks() -> None:
    samples = old(np.random.default_rng(5).standard_normal((900, 4)))
    score = functionals.kernel_distance(REAL[:200], block_size=30)
    card = mcgen.evaluate({"samples": samples, "model": model(old)}, {"KID": score}, n_evaluations=900, seed=0)
    low, high = card.pairs["KID"]["samples", "model"].interval
    assert low < 0 < high
    assert card["samples", "KID"].n_evaluations == 900


def after(calls: int, function: Any) -> Any:
    """Return a function that is interrupted from the keyboard, once, after so many calls."""
    counts = iter(range(10**9))

    def interrupted(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
        if next(counts) == calls:
            raise KeyboardInterrupt
        return np.asarray(function(z, condition))

    noise = mcgen.NoiseSpec.normal((4,), "float64")
    return mcgen.as_generator(interrupted, noise=noise, name=function.__name__)


LONG: dict[str, Any] = HOW | {"n_evaluations": 1600, "batch_size": 64}


@pytest.mark.parametrize("calls", [0, 20])
def test_an_interruption_ends_all_runs_and_keeps_what_there_is(calls: int) -> None:
    scores = {name: SCORES[name] for name in ("FID", "first")}
    begun = calls == 20
    card = mcgen.evaluate({"old": model(old), "new": after(calls, new), "last": model(old)}, scores, **LONG)
    assert card.models == (("old", "new") if begun else ("old",))
    assert card["old", "FID"].n_evaluations == 1600
    assert not card["old", "FID"].partial
    if begun:
        assert card["new", "FID"].partial
        assert card["new", "FID"].n_evaluations < 1600
        assert card.pairs["FID"]["old", "new"].n_evaluations <= 1600
    with pytest.raises(KeyboardInterrupt):
        mcgen.evaluate({"new": after(0, new), "last": model(old)}, scores, **LONG)


@pytest.mark.parametrize("across", ["average", "mixture"])
def test_an_interruption_under_a_condition(across: Any) -> None:
    scores = {name: SCORES[name] for name in ("FID", "first")}
    how = LONG | {"condition": [0.5, 1.0, 1.5], "across": across}
    models = {"old": model(old), "wide": model(wide, 6), "new": after(45, new), "last": model(old)}
    card = mcgen.evaluate(models, scores, **how)
    assert card.models == ("old", "wide", "new")
    for name in scores:
        assert (len(card["old", name].parts), len(card["new", name].parts)) == (3, 2)
        assert "interrupted" in " ".join(card["new", name].warnings)
        assert set(card.pairs[name]) == {("old", "wide"), ("old", "new")}
        assert len(card.pairs[name]["old", "new"].parts) == 2


def test_a_score_without_a_value_for_one_model_loses_no_other() -> None:
    def constant(z: np.ndarray, condition: float = 1.0) -> np.ndarray:
        return np.zeros((len(z), 4))

    scores = {name: SCORES[name] for name in ("FID", "KID", "first")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RunError, match="features of all samples are the same") as caught:
            mcgen.evaluate([model(constant), model(old), model(new)], scores, **HOW)
    assert "score 'FID' of model 'constant'" in caught.value.__notes__
    card: Any = caught.value.partial  # type: ignore[attr-defined]
    alone = mcgen.evaluate([model(old), model(new)], scores, **HOW)
    assert set(card.estimates["FID"]) == {"old", "new"}
    assert set(card.estimates["KID"]) == {"constant", "old", "new"}
    for name in scores:
        assert same_numbers(card["new", name], alone["new", name])
        assert same_numbers(card.pairs[name]["old", "new"], alone.pairs[name]["old", "new"])


def test_samples_are_kept_where_asked_for() -> None:
    card = mcgen.evaluate([model(old)], {"FID": SCORES["FID"], "first": first}, keep_samples=True, **HOW)
    for name in card.scores:
        kept = card["old", name].samples
        assert kept is not None
        assert kept.shape == (200, 2, 4)


def test_a_design_takes_its_points_from_the_run() -> None:
    card = mcgen.evaluate([model(old)], first, design=Sobol(), **HOW)
    alone = mcgen.estimate(model(old), first, design=Sobol(), **HOW)
    assert same_numbers(card["old", "first"], alone)


def test_names_of_models_that_files_can_not_have(tmp_path: Path) -> None:
    names = ["a/b", "a-b", "\u6a21\u578b", "\u7f51\u7edc", "x" * 300, ".."]
    models = {name: model(old if number % 2 else new) for number, name in enumerate(names)}
    card = mcgen.evaluate(models, first, store=tmp_path / "runs", **HOW)
    again = mcgen.evaluate(models, first, store=tmp_path / "runs", **HOW)
    assert again == card
    assert len(list((tmp_path / "runs").glob("*.sqlite"))) == len(names)


def test_samples_that_are_no_array_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="samples in place of model 'rows' must be an array"):
        mcgen.evaluate({"rows": REAL[:10].tolist()}, first, seed=0)


def test_curves_leave_out_distances_by_blocks() -> None:
    scores = {"KID": functionals.kernel_distance(REAL[:200], block_size=40), "FID": SCORES["FID"]}
    card = mcgen.evaluate([model(old)], scores, curves=True, **HOW)
    assert set(card.curves) == {"FID"}

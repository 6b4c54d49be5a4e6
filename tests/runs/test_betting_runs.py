"""Betting through `mcgen.estimate`: declared bounds, stops, stores, processes, conditions and refusals."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SEED
from helpers import EndsAfter

import mcgen
from mcgen.designs import Antithetic, MonteCarlo, Sobol
from mcgen.inference.betting import bounded_interval
from mcgen.statistics import stack


def identity(z: np.ndarray) -> np.ndarray:
    return z


def moved(z: np.ndarray, shift: float) -> np.ndarray:
    return z + shift


model = mcgen.as_generator(identity, noise=(4,), name="normal")
shifted = mcgen.as_generator(moved, noise=(4,), name="shifted")


def squashed(x: np.ndarray) -> np.ndarray:
    return np.exp(-(x[:, 0] ** 2))


def signed(x: np.ndarray) -> np.ndarray:
    return 2 * np.tanh(x[:, :2] + 1)


def above(x: np.ndarray) -> np.ndarray:
    return x[:, 0] > 2


bounded = mcgen.as_statistic(squashed, name="squashed", bounds=(0, 1))


def silently(statistic: Any, generator: Any = model, **options: Any) -> mcgen.Estimate:
    """Run without any warning: what is proved needs none."""
    asked = {"seed": SEED, "design": Antithetic(), "interval": "betting", **options}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mcgen.estimate(generator, statistic, **asked)


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(64)], ids=str)
@pytest.mark.parametrize("n", [2, 5, 300])
def test_a_fixed_run_has_the_interval_of_its_replicate_means(design: Any, n: int) -> None:
    made = silently(bounded, design=design, n_replicates=n)
    low, high = bounded_interval(made.replicate_means, 1 - 0.95, n)
    assert (made.interval.low, made.interval.high) == pytest.approx((low[0], high[0]))
    assert (made.method, made.bounds) == ("betting", ((0.0, 1.0),))
    assert made.half_width == pytest.approx((high - low)[0] / 2)
    assert "betting" in str(made)
    assert 1 / math.sqrt(3) in made.interval
    assert "waudbysmith2024betting" in mcgen.citation(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = mcgen.estimate(model, bounded, design=design, n_replicates=n, seed=SEED)
    low, high = bounded_interval(made.replicate_means, 1 - 0.95)
    assert tuple(plain.with_interval(interval="betting").interval) == pytest.approx((low[0], high[0]))
    narrow = made.with_interval(confidence_level=0.8)
    assert narrow.method == "betting"
    assert narrow.half_width <= made.half_width


def test_bounds_are_of_components() -> None:
    both = mcgen.as_statistic(signed, bounds=([-2, -3], 2))
    made = silently(both, n_replicates=200)
    assert made.bounds == ((-2.0, 2.0), (-3.0, 2.0))
    one = silently(mcgen.as_statistic(lambda x: signed(x)[:, 0], bounds=(-2, 2)), n_replicates=200)
    assert made.interval.low[0] == pytest.approx(one.interval.low)
    assert made.half_width[1] > made.half_width[0]
    stacked = stack(bounded, above, mcgen.as_statistic(lambda x: signed(x)[:, 1], name="signed", bounds=(-2, 2)))
    made = silently(stacked, n_replicates=400, simultaneous=True)
    assert made.method == "bonferroni-betting"
    assert made.bounds == ((0.0, 1.0), (-math.inf, math.inf), (-2.0, 2.0))
    assert made.interval.low[1] >= 0
    alone = silently(bounded, n_replicates=400, confidence_level=1 - 0.05 / 3)
    assert made.interval.low[0] == pytest.approx(alone.interval.low)


def test_booleans_have_bounds_by_themselves() -> None:
    made = silently(above, n_replicates=400)
    assert made.bounds == ()
    assert 0 < made.interval.low < 0.02275 < made.interval.high < 0.1
    assert silently(lambda x: x[:, 0] > 50, n_replicates=50).interval.high < 0.2


@pytest.mark.parametrize("statistic", [bounded, above, stack(bounded, above)], ids=["bounded", "boolean", "both"])
def test_a_tolerance_is_reached_without_guards(statistic: Any) -> None:
    made = silently(statistic, atol=0.03)
    assert made.stopping.reached
    assert (made.stopping.rule, made.stopping.planned, made.method) == ("betting", None, "betting")
    assert (np.ravel(made.half_width) <= 0.03).all()
    low, high = bounded_interval(made.replicate_means, 1 - 0.95)
    assert np.ravel(made.interval.low) == pytest.approx(low)
    assert np.ravel(made.interval.high) == pytest.approx(high)
    limited = silently(statistic, atol=0.001, max_evaluations=400)
    assert not limited.stopping.reached
    assert limited.stopping.reason.startswith("limit: max_evaluations=400")
    assert limited.n_evaluations == 400


def test_a_constant_is_known_without_a_thousand_replicates() -> None:
    still = mcgen.as_statistic(lambda x: np.full(len(x), 0.25), name="still", bounds=(0, 1))
    made = silently(still, atol=0.02)
    assert made.stopping.reached
    assert made.n_replicates < 1000
    assert 0.22 < made.interval.low < 0.25 < made.interval.high < 0.28


@pytest.mark.parametrize("asked", [{"atol": 0.01}, {"n_replicates": 1500}], ids=str)
def test_a_run_in_a_store_goes_on_to_the_same_end(asked: dict[str, Any], tmp_path: Path) -> None:
    def run(calls: int, store: Path) -> mcgen.Estimate:
        one = mcgen.as_generator(EndsAfter(calls), noise=(4,), name="normal", fingerprint="normal")
        return silently(bounded, one, store=store, batch_size=64, **asked)

    whole = run(10**9, tmp_path / "whole.sqlite")
    part = run(12, tmp_path / "parts.sqlite")
    assert part.partial
    assert part.method == "betting"
    assert 1 / math.sqrt(3) in part.interval
    run(20, tmp_path / "parts.sqlite")
    found = run(10**9, tmp_path / "parts.sqlite")
    assert found == whole
    assert run(0, tmp_path / "parts.sqlite") == whole
    [stored] = mcgen.read_store(tmp_path / "parts.sqlite")
    assert stored.estimate == whole
    whole.save(tmp_path / "whole.json")
    assert mcgen.load(tmp_path / "whole.json") == whole


def test_other_bounds_are_another_run(tmp_path: Path) -> None:
    silently(bounded, n_replicates=50, store=tmp_path / "run.sqlite")
    wider = mcgen.as_statistic(squashed, name="squashed", bounds=(0, 2))
    with pytest.raises(mcgen.errors.StoreError, match="belongs to another run"):
        silently(wider, n_replicates=50, store=tmp_path / "run.sqlite")


def test_processes_give_the_same_numbers() -> None:
    with ProcessPoolExecutor(2) as pool:
        for asked in ({"atol": 0.01}, {"n_replicates": 1500}):
            assert silently(bounded, executor=pool, **asked) == silently(bounded, **asked)


def test_differences_and_conditions_on_common_noise() -> None:
    options = {"seed": SEED, "design": Antithetic(), "interval": "betting", "n_replicates": 300}
    made = mcgen.difference(model, mcgen.as_generator(lambda z: z + 1, noise=(4,)), bounded, **options)
    assert made.bounds == ((-1.0, 1.0),)
    assert made.mean in made.interval
    made = mcgen.estimate(shifted, bounded, condition=[0.0, 1.0], common_random_numbers=True, **options)
    assert made.method == "betting"
    assert all(part.method == "betting" and part.bounds == ((0.0, 1.0),) for part in (made, *made.conditions))
    assert 1 / math.sqrt(3) in made.conditions[0].interval


def test_what_can_not_be_bet_on_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs bounds for the values of every component; got none for 'pixel_mean'"):
        silently(mcgen.statistics.pixel_mean, n_replicates=50)
    with pytest.raises(ValueError, match=r"got none for 'signed', and for 1 of 2 components in all. Declare them by"):
        silently(stack(bounded, mcgen.as_statistic(lambda x: x[:, 0], name="signed")), n_replicates=50)
    for changes in ({"keep_replicates": False}, {"controls": mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 1))}):
        with pytest.raises(ValueError, match="is for the replicate means of the statistic itself, which are kept"):
            silently(bounded, n_replicates=50, **changes)
    with pytest.raises(ValueError, match="the average over independent conditions has no replicate means of its own"):
        silently(bounded, shifted, n_replicates=50, condition=[0.0, 1.0])
    with pytest.raises(ValueError, match="needs the replicate means in their order"):
        mcgen.estimate(
            model, bounded, design=Antithetic(), n_replicates=50, seed=SEED, keep_replicates=False
        ).with_interval(interval="betting")
    with pytest.raises(ValueError, match="by Bonferroni's inequality alone"):
        silently(bounded, n_replicates=50, simultaneous="bootstrap-max-t")


def test_booleans_have_bounds_in_differences_and_averages_too() -> None:
    options = {"seed": SEED, "design": Antithetic(), "interval": "betting", "n_replicates": 300}
    other = mcgen.as_generator(lambda z: z + 1, noise=(4,))
    made = mcgen.difference(model, other, lambda x: x[:, 0] > 1, **options)
    assert (made.method, made.bounds) == ("betting", ((-1.0, 1.0),))
    assert -0.341 in made.interval
    made = mcgen.estimate(shifted, lambda x: x[:, 0] > 0.5, condition=[0.0, 1.0], common_random_numbers=True, **options)
    assert made.bounds == ((0.0, 1.0),)


def test_a_run_that_did_not_ask_for_bets_has_those_of_any_number_of_replicates(tmp_path: Path) -> None:
    """It may have been extended after a look; only bets that were asked for know their number beforehand."""
    options = {"design": Antithetic(), "n_replicates": 400, "seed": SEED}
    asked = mcgen.estimate(model, bounded, interval="betting", **options)
    later = mcgen.estimate(model, bounded, **options).with_interval(interval="betting")
    assert later.half_width > asked.half_width


def test_values_that_an_interval_can_not_be_made_from_are_refused_at_once() -> None:
    rows = []

    def counting(x: np.ndarray) -> np.ndarray:
        rows.append(len(x))
        return x[:, 0]

    options = {"design": Antithetic(), "n_replicates": 20_000, "seed": SEED}
    with pytest.raises(ValueError, match="interval='proportion' is for components whose values are all 0 or 1"):
        mcgen.estimate(model, counting, interval="proportion", **options)
    assert sum(rows) < 200
    with pytest.raises(mcgen.RunError, match="the values of tiny are below 1e-75, where their powers vanish"):
        mcgen.estimate(
            model, mcgen.as_statistic(lambda x: 1e-120 * np.exp(x[:, 0].astype(float)), name="tiny"), **options
        )
    with pytest.raises(ValueError, match=r"bounds must lie within ±1e\+75"):
        mcgen.as_statistic(squashed, bounds=(-1e308, 1e308))

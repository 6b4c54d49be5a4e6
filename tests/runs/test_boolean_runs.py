"""Boolean statistics through `mcgen.estimate`: their intervals, their stops, stores, stacks and conditions."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SEED
from helpers import EndsAfter

import mcgen
from mcgen.designs import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.statistics import stack

DIMENSION = 4


def shifted(z: np.ndarray, shift: float = 0.0) -> np.ndarray:
    return z + shift


model = mcgen.as_generator(shifted, noise=(DIMENSION,), name="normal")


def never(x: np.ndarray) -> np.ndarray:
    return x[:, 0] > 50


def rare(x: np.ndarray) -> np.ndarray:
    """Has the probability 0.00135 without a shift."""
    return x[:, 0] > 3


def even(x: np.ndarray) -> np.ndarray:
    return np.abs(x[:, 0]) > 2


def square(x: np.ndarray) -> np.ndarray:
    return x[:, 0] ** 2


def happens(x: np.ndarray) -> np.ndarray:
    """Is 0 or 1, but not boolean."""
    return rare(x).astype(float)


def silently(statistic: Any, **options: Any) -> mcgen.Estimate:
    """Run without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mcgen.estimate(model, statistic, **({"seed": SEED, "design": Antithetic()} | options))


def test_no_events_have_an_interval_and_no_warning() -> None:
    made = silently(never, n_replicates=500)
    assert (made.mean, made.method, made.interval.low) == (0.0, "proportion", 0.0)
    assert made.interval.high == pytest.approx(3.69 / 500, rel=0.01)
    assert str(made).startswith("0.0000 [0.0000, 0.0074] (95 % proportion, 500 replicates of 2 points")
    made = silently(lambda x: ~never(x), n_replicates=500)
    assert (made.mean, made.interval.high) == (1.0, 1.0)
    assert str(made).startswith("1.0000 [0.9926, 1.0000]")


def test_constants_that_are_not_boolean_are_warned_of() -> None:
    for constant in (lambda x: np.zeros(len(x)), lambda x: never(x).astype(float)):
        with pytest.warns(mcgen.CoverageWarning, match="replicate means of .* are equal but for rounding"):
            made = mcgen.estimate(model, constant, design=Antithetic(), n_replicates=40, seed=0)
        assert made.half_width == 0


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), KAntithetic(8), Sobol(64)], ids=str)
def test_tolerances_are_reached_with_or_without_events(design: Any) -> None:
    made = silently(never, atol=0.002, design=design)
    assert made.stopping.reached
    assert (made.interval.low, made.mean) == (0, 0)
    assert 0 < made.interval.half_width <= 0.002
    made = silently(rare, rtol=0.5, design=design)
    assert made.stopping.reached
    assert made.method == "proportion"
    assert made.interval.half_width <= 0.5 * made.mean
    assert made.interval.half_width == pytest.approx(made.half_width)
    assert 10_000 < made.n_evaluations < 60_000


def test_a_relative_tolerance_without_events_ends_at_the_limit() -> None:
    made = silently(never, rtol=0.5, max_evaluations=5000)
    assert not made.stopping.reached
    assert made.n_evaluations == 5000
    assert 0 < made.interval.high < 0.002
    assert made.stopping.reason.endswith("never was the same for all points of 2,500 replicates")


def test_values_that_only_happen_to_be_0_and_1_have_the_guards() -> None:
    made = mcgen.estimate(model, happens, design=MonteCarlo(), atol=0.1, seed=SEED)
    assert made.method == "two-stage-t"
    assert made.moments.events[0] >= 20


@pytest.mark.parametrize(
    "statistics", [(rare, square), (square, rare), (happens, rare, square)], ids=["first", "last", "two"]
)
def test_stacks_stop_each_component_by_its_own(statistics: Any) -> None:
    made = silently(stack(*statistics), atol=0.05)
    assert made.stopping.reached
    assert set(made.method.split(" and ")) == {"proportion", "two-stage-t"}
    assert (np.ravel(made.interval.high - made.interval.low) <= 0.1 + 1e-12).all()
    assert (made.interval.low[statistics.index(rare)] >= 0).all()
    # The rare event alone counts.
    made = silently(stack(*statistics), rtol=0.4, components=["rare"])
    i = statistics.index(rare)
    assert made.interval.half_width[i] <= 0.4 * made.mean[i]
    assert 15 <= made.moments.events[i] <= 60


@pytest.mark.parametrize("tolerance", [{"rtol": 0.5}, {"atol": 0.0005}, {"n_replicates": 3000}], ids=str)
@pytest.mark.parametrize("keep", [True, False])
def test_a_run_in_a_store_goes_on_to_the_same_end(tolerance: dict[str, Any], keep: bool, tmp_path: Path) -> None:
    options = {"design": Antithetic(), "seed": SEED, "keep_replicates": keep, "batch_size": 64, **tolerance}

    def run(calls: int, store: Path) -> mcgen.Estimate:
        one = mcgen.as_generator(EndsAfter(calls), noise=(DIMENSION,), name="normal", fingerprint="normal")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mcgen.CoverageWarning)
            return mcgen.estimate(one, rare, store=store, **options)

    whole = run(10**9, tmp_path / "whole.sqlite")
    assert whole.method == "proportion"
    part = run(30, tmp_path / "parts.sqlite")
    assert part.partial
    assert part.method == "proportion"
    assert part.interval.high > part.mean
    run(40, tmp_path / "parts.sqlite")
    found = run(10**9, tmp_path / "parts.sqlite")
    assert found == whole
    assert run(0, tmp_path / "parts.sqlite") == whole


def test_averages_over_conditions_are_probabilities() -> None:
    made = silently(rare, condition=[0.0, 1.0], weights=[0.75, 0.25], n_replicates=300)
    assert made.method == "proportion"
    alone = [part.interval for part in made.parts]
    assert made.mean == pytest.approx(0.75 * made.parts[0].mean + 0.25 * made.parts[1].mean)
    assert 0 <= made.interval.low <= made.mean <= made.interval.high <= 1
    assert made.interval.high <= 0.75 * alone[0].high + 0.25 * alone[1].high + 1e-9
    none = silently(never, condition=[0.0, 1.0], n_replicates=300)
    assert none.mean == 0
    assert 0 < none.interval.high < 3.69 / 300
    stopped = silently(rare, condition=[0.0, 1.0], atol=0.002)
    assert stopped.method == "proportion"
    for part in stopped.parts:
        assert part.stopping.reached
        assert part.interval.half_width <= 0.002
    assert stopped.interval.half_width <= 0.002


@pytest.mark.parametrize("simultaneous", [False, True])
def test_simultaneous_probabilities_have_bonferronis_level(simultaneous: bool) -> None:
    made = silently(stack(never, rare), atol=0.004, simultaneous=simultaneous)
    assert made.method == ("bonferroni-proportion" if simultaneous else "proportion")
    assert (made.interval.half_width <= 0.004).all()


def test_a_saved_estimate_has_the_same_interval(tmp_path: Path) -> None:
    made = silently(rare, rtol=0.5)
    made.save(tmp_path / "rare.json")
    found = mcgen.load(tmp_path / "rare.json")
    assert found == made
    assert found.interval == made.interval


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("statistic", [even, stack(even, square), stack(square, even)], ids=["one", "first", "second"])
def test_another_level_keeps_the_interval_of_a_stopped_run(statistic: Any, together: bool) -> None:
    """Both points of a pair have the event: a run that stops has a larger level than one of a fixed number."""
    made = silently(statistic, rtol=0.2, simultaneous=together)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = made.with_interval(confidence_level=0.95)
        wider = made.with_interval(confidence_level=0.99)
        back = wider.with_interval(confidence_level=0.95)
    assert again == made
    assert back == made
    assert set(wider.method.split(" and ")) == set(made.method.split(" and "))
    assert (np.ravel(wider.half_width) > np.ravel(made.half_width)).all()
    if made.method == "proportion":
        with pytest.warns(mcgen.CoverageWarning, match="stopped by its own numbers"):
            fixed = made.with_interval(interval="proportion")
        assert fixed.half_width < made.half_width


def test_conditions_that_stopped_keep_their_intervals_at_another_level() -> None:
    made = silently(stack(rare, square), condition=[0.0, 1.0], atol=0.05)
    again = made.with_interval(confidence_level=0.95)
    for before, after in zip(made.conditions, again.conditions, strict=True):
        assert after == before
        assert set(after.method.split(" and ")) == {"proportion", "two-stage-t"}

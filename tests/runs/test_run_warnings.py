"""Warnings of runs with several parts, one for each kind; and of runs whose tolerance recedes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen.runs.stored import status
from mcgen.statistics import pixel_mean

NAMES = {f"class {number}": number / 10 for number in range(100)}
MODEL = mcgen.as_generator(lambda z, c=0.0: 1 / (1 + np.exp(-z - c)), noise=(4,), name="model")
FEW: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 20, "seed": SEED}


def recorded(make: Any, *args: Any, **options: Any) -> tuple[Any, list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return make(*args, **options), caught


def few(texts: Any) -> list[str]:
    return [str(text) for text in texts if "replicates are few: " in str(text)]


@pytest.mark.parametrize("common", [False, True])
def test_a_hundred_conditions_give_one_warning_of_a_kind(common: bool) -> None:
    result, caught = recorded(mcgen.estimate, MODEL, pixel_mean, condition=NAMES, common_random_numbers=common, **FEW)
    average = " and the average" if common else ""
    start = f"in 100 of 100 conditions (class 0, class 1, ...){average}: 10 replicates are few: "
    (text,) = few(result.warnings)
    assert text.startswith(start)
    assert "numbers are" not in text
    assert [str(one.message) for one in caught] == list(result.warnings)
    # Few, skewed, and a pair mean that is constant where the shift is 0.
    assert len(caught) <= 3
    assert {one.filename for one in caught} == {__file__}
    assert {one.category for one in caught} == {mcgen.CoverageWarning}
    assert len(str(result).splitlines()) == 1 + len(result.warnings)
    # Each condition keeps its own.
    assert all(few(part.warnings)[0].startswith("10 replicates are few: ") for part in result.conditions)
    alone, _ = recorded(mcgen.estimate, MODEL, pixel_mean, condition={"class 3": 0.3}, **FEW)
    assert few(alone.warnings)[0].startswith("10 replicates are few: ")


@pytest.mark.parametrize("common", [False, True])
def test_only_the_conditions_concerned_are_named(common: bool) -> None:
    skewed = mcgen.as_generator(lambda z, c: np.exp(c * z), noise=(1,), name="skewed")
    options = {"design": MonteCarlo(), "n_evaluations": 200, "seed": SEED, "common_random_numbers": common}
    options["interval"] = "student-t"
    names = {"flat": 0.01, "steep": 3.0, "even": 0.02, "steeper": 4.0}
    result, caught = recorded(mcgen.estimate, skewed, lambda x: x[:, 0], condition=names, **options)
    (text,) = result.warnings
    average = " and the average" if common else ""
    assert text.startswith(f"in 2 of 4 conditions (steep, steeper){average}: the replicate means of ")
    assert text.endswith("The numbers are those of condition steep")
    assert [str(one.message) for one in caught] == [text]
    assert result["flat"].warnings == ()
    one, _ = recorded(mcgen.estimate, skewed, lambda x: x[:, 0], condition={"flat": 0.01, "steep": 3.0}, **options)
    if not common:
        assert one.warnings[0].startswith("condition steep: the replicate means of ")


def test_warnings_about_other_components_are_of_one_kind() -> None:
    def columns(z: np.ndarray, c: int) -> np.ndarray:
        return np.exp(3 * z * (np.arange(2) == c))

    statistic = mcgen.as_statistic(lambda x: x, name="columns", components=["left", "right"])
    model = mcgen.as_generator(columns, noise=(2,), name="columns")
    result, _ = recorded(
        mcgen.estimate,
        model,
        statistic,
        condition=[0, 1],
        design=MonteCarlo(),
        n_evaluations=200,
        seed=SEED,
        interval="student-t",
    )
    assert [text.partition(": ")[0] for text in result.warnings if "skewness" in text] == [
        "in 2 of 2 conditions (0, 1)"
    ]
    assert "means of left have" in result.conditions[0].warnings[0]
    assert "means of right have" in result.conditions[1].warnings[0]


def test_levels_give_one_warning_of_a_kind() -> None:
    coarse = mcgen.as_generator(lambda z: 1.02 * MODEL(z), noise=(4,), name="coarse")
    levels = [(coarse, 1), (MODEL, 10)]
    constant = mcgen.as_statistic(lambda x: np.ones(len(x)), name="one")
    result, caught = recorded(mcgen.multilevel, levels, constant, n_evaluations=640, seed=SEED)
    (text,) = [text for text in result.warnings if "equal but for rounding" in text]
    assert text.startswith("in 2 of 2 levels (0, 1): all ")
    assert text in [str(one.message) for one in caught]
    assert len([one for one in caught if "equal but for rounding" in str(one.message)]) == 1
    assert all(part.warnings[0].startswith("all ") for part in result.levels)
    both, caught = recorded(
        mcgen.multilevel,
        [(mcgen.as_generator(lambda z, c: 1.02 * MODEL(z, c), noise=(4,), name="coarse"), 1), (MODEL, 10)],
        constant,
        n_evaluations=640,
        seed=SEED,
        condition=NAMES,
    )
    (text,) = [text for text in both.warnings if "equal but for rounding" in text]
    assert text.startswith("in 100 of 100 conditions (class 0, class 1, ...): in 2 of 2 levels (0, 1): all ")
    assert len([one for one in caught if "equal but for rounding" in str(one.message)]) == 1


def test_a_law_that_breaks_under_every_condition_is_warned_of_once() -> None:
    rng = np.random.default_rng(SEED)
    own = mcgen.as_generator(lambda z, c: z + rng.normal(size=z.shape), noise=(4,), name="own")
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED, "condition": NAMES}
    result, caught = recorded(mcgen.estimate, own, pixel_mean, **options)
    told = [one for one in caught if issubclass(one.category, mcgen.GeneratorWarning)]
    assert len(told) == 1
    assert next(text for text in result.warnings if "same noise" in text).startswith("in 100 of 100 conditions (")


def test_a_run_that_fails_keeps_its_warnings_in_the_partial_result() -> None:
    def fails(z: np.ndarray, c: float) -> np.ndarray:
        return z if c < 0.2 else np.full_like(z, np.nan)

    model = mcgen.as_generator(fails, noise=(4,), name="fails")
    with pytest.raises(mcgen.NonFiniteError) as caught:
        mcgen.estimate(model, pixel_mean, condition=NAMES, **FEW)
    assert few(caught.value.partial.warnings)[0].startswith("in 2 of 2 conditions (class 0, class 1): ")


# Whether one look at a mean of 0 warns is chance, 2 in 3: these runs have a seed of their own.
FIXED = 20260101


class EndsAfter:
    """Normal numbers under a shift; interrupted from the keyboard after so many rows."""

    def __init__(self, n: int, caught: list[Any]) -> None:
        self.left, self.caught, self.told = n, caught, 0

    def __call__(self, z: np.ndarray, c: float = 0.0) -> np.ndarray:
        self.left -= len(z)
        if self.left < 0:
            self.told = len(self.caught)
            raise KeyboardInterrupt
        return z + c


@pytest.mark.parametrize(
    ("interval", "condition"), [("student-t", None), ("anytime", None), ("student-t", {"zero": 0.0, "one": 1.0})]
)
def test_a_target_that_recedes_is_warned_of_once_while_the_run_goes_on(interval: str, condition: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ends = EndsAfter(400_000, caught)
        model = mcgen.as_generator(ends, noise=(1,), name="normal")
        options = {"rtol": 0.1, "seed": FIXED, "interval": interval, "design": MonteCarlo(), "condition": condition}
        result = mcgen.estimate(model, pixel_mean, **options)
    assert result.partial
    assert ends.told == 1
    assert [one.filename for one in caught] == [__file__]
    assert str(caught[0].message).startswith("the mean of pixel_mean may be 0: its interval still contains 0. A half-")
    assert len(few(result.warnings)) == 0
    text = str(caught[0].message)
    assert result.warnings[0] == text
    assert len(result.warnings) == (1 if condition is None else 2)  # and that it was interrupted
    assert str(result).splitlines()[1] == "! the mean of pixel_mean may be 0: its interval still contains 0"


@pytest.mark.parametrize("interval", ["student-t", "anytime"])
@pytest.mark.parametrize("mean", [0.04, 0.1, 1.0])
def test_ordinary_runs_with_a_relative_tolerance_are_silent(interval: str, mean: float) -> None:
    """A mean of 0.04 standard deviations takes some 30,000 replicates at rtol=0.3."""
    model = mcgen.as_generator(lambda z: z + mean, noise=(1,), name="normal")
    for number in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".*the replicate means")
            options = {"rtol": 0.3, "seed": SEED + number, "interval": interval, "design": MonteCarlo()}
            result = mcgen.estimate(model, pixel_mean, **options)
        assert result.stopping.reached
        assert not [text for text in result.warnings if "may be 0" in text]


def test_a_store_goes_on_with_a_run_that_recedes(tmp_path: Path) -> None:
    """A run that is interrupted and goes on has the same warning."""
    options = {"rtol": 0.1, "seed": FIXED, "design": MonteCarlo(), "store": tmp_path / "run.sqlite"}

    def receding(n: int) -> mcgen.Estimate:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = mcgen.as_generator(EndsAfter(n, caught), noise=(1,), name="normal", fingerprint="normal")
            return mcgen.estimate(model, pixel_mean, **options)

    first = receding(60_000)
    second = receding(200_000)
    assert second.n_replicates > first.n_replicates
    assert first.warnings == second.warnings != ()
    [stored] = mcgen.read_store(options["store"])
    assert stored.estimate is not None
    assert stored.estimate.warnings == second.warnings
    assert "! the mean of pixel_mean may be 0" in status(options["store"])


def test_designs_give_one_warning_of_a_kind() -> None:
    designs = [MonteCarlo(), mcgen.Antithetic(), mcgen.Sobol(8)]
    table, caught = recorded(mcgen.compare, MODEL, pixel_mean, designs=designs, n_evaluations=80, seed=SEED)
    (text,) = few(table.warnings)
    assert text.startswith("design Sobol(n_points=8): 10 replicates are few: ")
    table, caught = recorded(mcgen.compare, MODEL, pixel_mean, designs=designs, n_evaluations=40, seed=SEED)
    (text,) = few(table.warnings)
    assert text.startswith("in 2 of 3 designs (Antithetic(), Sobol(n_points=8)): 20 replicates are few: ")
    assert text in [str(one.message) for one in caught]
    assert len(few([one.message for one in caught])) == 1
    assert str(table).count("replicates are few: ") == 1

"""The study of plans: its tables have what they say, and plans of easy functions are what they should be."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import binomial_p_value

import mcgen
from mcgen import Antithetic
from mcgen.validation.measurements import plans
from mcgen.validation.measurements.plans import TABLES, _planned, _planned_over_needed, atol_table, plans_table
from mcgen.validation.measurements.replicates_of_nets import families, measured

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

# The README's example.
EXAMPLE = "mean of 1 / (1 + exp(-z - 1))"


def test_rows_are_functions_with_their_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    some = families()[::2]
    monkeypatch.setattr(plans, "families", lambda: some)
    table = plans_table(1000, runs=3, baseline_runs=20)
    assert [*table.columns] == ["function", "gain", "beside the best", "coverage", "predicted", "chosen most"]
    assert [*table["function"]] == [name for family in some for name in family.functions]
    assert ((table["gain"] > 0.01) & (table["gain"] < 1e6)).all()
    assert ((table["beside the best"] > 0.1) & (table["beside the best"] < 30)).all()
    for column in ("coverage", "predicted"):
        assert set((3 * table[column]).round(9)) <= {0, 1, 2, 3}
    # Nets are far better than pairs for the example.
    example = table[table["function"] == EXAMPLE].iloc[0]
    assert example["gain"] > 4
    assert "sobol" in example["chosen most"]
    assert table.equals(plans_table(1000, runs=3, baseline_runs=20))


def test_plans_of_the_example_cover_and_are_counted_whole() -> None:
    family, name = families()[0], EXAMPLE
    function = family.functions[name]
    found = [_planned(family, name, function, 1000, seed) for seed in range(40)]
    hits = sum(one.covers for one in found)
    # Few misses among 40: by the binomial distribution at 95 %, with a false alarm in a million.
    assert binomial_p_value(hits, 40, 0.95) > 1e-6 or hits == 40
    assert 20 <= sum(one.predicted for one in found) <= 40
    generator = mcgen.as_generator(function.values, noise=family.noise, name=name)
    made = mcgen.plan(generator, lambda x: x, n_evaluations=1000, seed=0)
    assert made.n_evaluations <= 1000
    assert found[0].chosen == made.chosen.name
    assert found[0].half_width == pytest.approx(float(made.estimate().half_width))


def test_a_gain_is_that_of_squared_half_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    family = families()[0]
    monkeypatch.setattr(plans, "families", lambda: (family,))
    row = plans_table(1000, runs=2, baseline_runs=10).iloc[0]
    pairs = (measured(family, Antithetic(), 500, 10).half_widths[:, 0] ** 2).mean()
    own = np.mean([_planned(family, EXAMPLE, family.functions[EXAMPLE], 1000, seed).half_width ** 2 for seed in (0, 1)])
    assert row["gain"] == pytest.approx(pairs / own)


def test_rows_of_tolerances_have_quartiles(monkeypatch: pytest.MonkeyPatch) -> None:
    family = families()[0]
    monkeypatch.setattr(plans, "families", lambda: (family,))
    table = atol_table(runs=2)
    assert [*table.columns] == ["function", "tolerance", "25 %", "50 %", "75 %"]
    assert [*table["function"]] == [EXAMPLE, EXAMPLE]
    # A tolerance from four times as many evaluations of pairs is half as large.
    assert table["tolerance"][0] / table["tolerance"][1] == pytest.approx(2, rel=0.1)
    assert (table["25 %"] <= table["50 %"]).all()
    assert (table["50 %"] <= table["75 %"]).all()
    assert (table["25 %"] > 0.1).all()
    assert (table["75 %"] < 20).all()
    one = _planned_over_needed(family, EXAMPLE, family.functions[EXAMPLE], table["tolerance"][0], 0)
    two = _planned_over_needed(family, EXAMPLE, family.functions[EXAMPLE], table["tolerance"][0], 1)
    assert table["50 %"][0] == pytest.approx((one + two) / 2)


def test_every_budget_has_a_table() -> None:
    assert [*TABLES][:3] == ["Plans, 1,000 evaluations", "Plans, 3,200 evaluations", "Plans, 10,000 evaluations"]
    assert len(TABLES) == 4

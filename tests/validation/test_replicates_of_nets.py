"""The study of how many replicates of nets: its expectations are known, and its intervals are those of `estimate`."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import Z_LIMIT

import mcgen
from mcgen import Antithetic, Design, Sobol
from mcgen.validation.measurements import replicates_of_nets
from mcgen.validation.measurements.replicates_of_nets import (
    BUDGETS,
    Family,
    designs_of,
    families,
    functions_table,
    measured,
    summary_table,
)

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")


def own_estimate(family: Family, design: Design, n_replicates: int) -> mcgen.Estimate:
    task = family.task(design)
    return mcgen.estimate(
        task.generator,
        task.statistic,
        design=design,
        n_replicates=n_replicates,
        seed=task.seed,
        batch_size=task.batch_size,
    )


@pytest.mark.parametrize("family", families(), ids=lambda family: next(iter(family.functions)))
def test_expectations_are_those_that_nets_find(family: Family) -> None:
    made = own_estimate(family, Sobol(2048), 50)
    errors = np.atleast_1d(np.abs(made.mean - family.expectations) / made.standard_error)
    assert errors.max() < Z_LIMIT


@pytest.mark.parametrize(
    ("design", "n_replicates"),
    [(Sobol(512), 5), (Sobol(64), 16), (Sobol(16), 30), (Antithetic(Sobol(32)), 16), (Antithetic(), 200)],
    ids=str,
)
@pytest.mark.parametrize("family", families(), ids=lambda family: next(iter(family.functions)))
def test_intervals_and_warnings_are_those_of_an_estimate(family: Family, design: Design, n_replicates: int) -> None:
    found, made = measured(family, design, n_replicates, runs=3), own_estimate(family, design, n_replicates)
    held = [made.interval.low <= family.expectations, family.expectations <= made.interval.high]
    assert found.half_widths.shape == (3, len(family.functions))
    assert np.array_equal(found.half_widths[0], np.atleast_1d(made.half_width))
    assert np.array_equal(found.held[0], np.atleast_1d(np.logical_and(*held)))
    assert bool(found.warned[0].any()) == bool(made.warnings)
    assert not np.array_equal(found.half_widths[0], found.half_widths[1])


@pytest.mark.parametrize("n_evaluations", BUDGETS)
def test_nets_have_from_5_to_95_replicates(n_evaluations: int) -> None:
    replicates = [n_evaluations // design.n_points for design in designs_of(n_evaluations)]
    assert 4 <= len(replicates) // 2 <= 5
    assert replicates[: len(replicates) // 2] == replicates[len(replicates) // 2 :]
    assert 5 <= min(replicates) < max(replicates) <= 95


def test_tables_have_a_row_for_each_function_and_for_each_division(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicates_of_nets, "BUDGETS", (300,))
    names = [name for family in families() for name in family.functions]
    columns = [f"{300 // design.n_points} x {design}" for design in (Antithetic(), *designs_of(300))]
    table, summary = functions_table(300, runs=2), summary_table(runs=2)
    assert [*table["function"]] == names
    assert [*table.columns] == ["function", *columns]
    assert [f"{row.replicates} x {row.design}" for row in summary.itertuples()] == columns
    assert (summary["least coverage"] <= summary["mean coverage"]).all()
    assert (summary["geometric mean"][1:] > summary["least"][1:]).all()

"""`compare` under several conditions on random numbers of their own: efficiencies of the average, and averages of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.inference.efficiency import LevelMeans, log_variance_of_sum
from mcgen.inference.interval_input import student_t_quantile
from mcgen.statistics import pixel_mean

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

SCALES = {"narrow": 0.5, "middle": 1.0, "wide": 3.0}
LOGNORMAL = mcgen.as_generator(lambda z, scale: scale * np.exp(z / 2), noise=(4,), name="lognormal")
# The variance of a pair's mean of exp(z/2) is (e^(1/4) - 1) e^(1/4) / 2 - (1 - e^(-1/4)) e^(1/4) / 2 per pixel.
_OF_ONE = np.exp(0.5) - np.exp(0.25)
_OF_PAIR = (_OF_ONE + 1 - np.exp(0.25)) / 2
TRUE_EFFICIENCY = _OF_ONE / (2 * _OF_PAIR)
RUN: dict[str, Any] = {"designs": [MonteCarlo(), Antithetic(), Sobol(8)], "n_evaluations": 800, "seed": SEED}
ALL = {**RUN, "condition": SCALES}


@pytest.fixture(scope="module")
def table() -> mcgen.Comparison:
    return mcgen.compare(LOGNORMAL, pixel_mean, **ALL)


def test_each_design_runs_each_condition_as_estimate_does(table: mcgen.Comparison) -> None:
    for one, design in zip(table.estimates, RUN["designs"], strict=True):
        alone = mcgen.estimate(LOGNORMAL, pixel_mean, design=design, n_evaluations=800, seed=SEED, condition=3.0)
        assert np.array_equal(one["wide"].replicate_means, alone.replicate_means)
        assert not one.provenance.common_random_numbers


def test_widths_are_averaged_over_the_conditions(table: mcgen.Comparison) -> None:
    frame = table.to_frame()
    widths = []
    for one in table.estimates:
        t = [student_t_quantile(0.975, part.degrees_of_freedom) * part.standard_error for part in one.conditions]
        widths.append(float(np.mean(t)))
    assert frame["mean_half_width"].tolist() == pytest.approx(widths)
    assert frame["relative_efficiency_mean_width"].tolist() == pytest.approx((widths[0] / np.array(widths)) ** 2)


def test_the_efficiency_of_the_average_is_that_of_summed_variances(table: mcgen.Comparison) -> None:
    logs = []
    for one in table.estimates[:2]:
        runs = [
            LevelMeans(part.replicate_means, part.within, np.full(1, 1 / 3), part.provenance.rounding)
            for part in one.conditions
            if part.replicate_means is not None and part.within is not None
        ]
        logs.append(log_variance_of_sum(runs))
    row = table.to_frame().iloc[1]
    assert row["relative_efficiency"] == pytest.approx(float(np.exp(logs[0].minus(logs[1]).value[0])))
    variances = [sum(part.standard_error**2 for part in one.conditions) for one in table.estimates]
    assert row["relative_efficiency"] == pytest.approx(variances[0] / variances[1], rel=0.05)
    assert row["efficiency_low"] < TRUE_EFFICIENCY < row["efficiency_high"]


def test_the_geometric_mean_is_over_the_conditions(table: mcgen.Comparison) -> None:
    each = table.by_condition()
    own = np.log(each[each["design"] == "Antithetic()"]["relative_efficiency"])
    half = float(student_t_quantile(0.975, 2.0)) * own.std(ddof=1) / np.sqrt(3)
    row = table.to_frame().iloc[1]
    assert row["efficiency_geometric_mean"] == pytest.approx(np.exp(own.mean()))
    assert row["geometric_mean_low"] == pytest.approx(np.exp(own.mean() - half))
    assert row["geometric_mean_high"] == pytest.approx(np.exp(own.mean() + half))
    assert table.to_frame().iloc[0]["geometric_mean_low"] == 1.0


def test_rows_by_condition_are_those_of_comparisons_under_one(table: mcgen.Comparison) -> None:
    each = table.by_condition()
    assert each["condition"].tolist() == [*SCALES] * 3
    alone = mcgen.compare(LOGNORMAL, pixel_mean, **RUN, condition=3.0).to_frame()
    for column in ("mean", "relative_efficiency", "efficiency_low", "efficiency_high", "relative_efficiency_width"):
        assert each[each["condition"] == "wide"][column].tolist() == pytest.approx(alone[column].tolist())
    joint = mcgen.compare(LOGNORMAL, pixel_mean, **ALL, common_random_numbers=True)
    assert "mean_half_width" not in joint.to_frame()
    assert len(joint.by_condition()) == 9
    with pytest.raises(ValueError, match="by_condition needs a comparison under several conditions"):
        mcgen.compare(LOGNORMAL, pixel_mean, **RUN, condition=3.0).by_condition()


def test_weights_count_in_the_average(table: mcgen.Comparison) -> None:
    """Nearly all weight on one condition gives its efficiency."""
    weights = {"narrow": 0.998, "middle": 0.001, "wide": 0.001}
    weighted = mcgen.compare(LOGNORMAL, pixel_mean, **ALL, weights=weights).to_frame()
    each = table.by_condition()
    narrow = each[each["condition"] == "narrow"]["relative_efficiency"].tolist()
    assert weighted["relative_efficiency"].tolist() == pytest.approx(narrow, rel=0.01)


def test_functionals_are_compared() -> None:
    score = mcgen.functionals.variance(pixel_mean)
    frame = mcgen.compare(LOGNORMAL, score, **ALL).to_frame()
    assert np.isfinite(frame["efficiency_geometric_mean"]).all()
    with pytest.raises(ValueError, match="a functional of a mixture of independent conditions has no replicate means"):
        mcgen.compare(LOGNORMAL, score, **ALL, across="mixture")
    joint = mcgen.compare(LOGNORMAL, score, **ALL, across="mixture", common_random_numbers=True)
    assert joint.provenance.across == "mixture"


def test_auto_plans_each_condition() -> None:
    made = mcgen.compare(LOGNORMAL, pixel_mean, **{**ALL, "designs": [MonteCarlo(), "auto"], "n_evaluations": 1200})
    assert made.labels[1].startswith("auto")
    assert made.to_frame()["relative_efficiency"][1] > 1.2
    assert "under condition narrow" in made.summary()
    own = made.estimates[1]
    spent = sum(part.n_evaluations + part.provenance.pilot_evaluations for part in own.conditions)
    assert spent <= 3 * 1200


def test_a_condition_without_variance_is_left_out_and_named() -> None:
    """A linear model that pairs integrate exactly under one condition."""
    bent = mcgen.as_generator(lambda z, c: np.float64(z) + c * np.float64(z) ** 2, noise=(4,), name="bent")
    made = mcgen.compare(bent, pixel_mean, **{**ALL, "condition": [0.0, 1.0, 2.0]})
    row = made.to_frame().iloc[1]
    each = made.by_condition()
    assert np.isnan(
        each[(each["design"] == "Antithetic()") & (each["condition"] == "0.0")]["relative_efficiency"]
    ).all()
    assert np.isfinite(
        row[["relative_efficiency", "efficiency_geometric_mean", "geometric_mean_low"]].astype(float)
    ).all()
    assert any("1 of 3 have no efficiency of some component" in note for note in made.notes())


def test_texts_tables_and_files(table: mcgen.Comparison, tmp_path: Path) -> None:
    text = str(table)
    assert "800 evaluations a design for each of 3 conditions" in text
    assert "mean half-width" in text
    assert "geometric mean" in text
    assert "| over conditions" in table.to_markdown()
    assert "over conditions" in table.to_latex()
    table.save(tmp_path / "table.json")
    loaded = mcgen.load(tmp_path / "table.json")
    assert loaded.estimates == table.estimates
    assert loaded.by_condition().equals(table.by_condition())
    pytest.importorskip("matplotlib")
    assert len(table.plot().axes[0].get_yticklabels()) == 3


def test_an_interrupted_comparison_has_the_finished_designs() -> None:
    calls: list[int] = []

    def ends(z: Any, c: Any) -> Any:
        calls.append(len(z))
        if sum(calls) > 4000:
            raise KeyboardInterrupt
        return z + c

    made = mcgen.compare(mcgen.as_generator(ends, noise=(4,), name="ends"), pixel_mean, **ALL)
    assert made.labels == ("MonteCarlo()",)
    assert made.to_frame()["relative_efficiency"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"across": "population"}, "the spread between conditions is the same for all; got across='population'"),
        ({"clusters": [0, 0, 1]}, "mcgen.compare takes no clusters; got .* mcgen.estimate"),
        ({"n_evaluations": 32}, "5 replicates of each or more; got 32. Use 40"),
    ],
)
def test_what_can_not_be_compared_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mcgen.compare(LOGNORMAL, pixel_mean, **{**ALL, **options})


def test_a_design_that_integrates_exactly_has_no_efficiency_in_mean_width() -> None:
    linear = mcgen.as_generator(lambda z, scale: scale * z + 1, noise=(4,), name="linear")
    table = mcgen.compare(
        linear, pixel_mean, designs=[MonteCarlo(), Antithetic()], n_evaluations=400, seed=SEED, condition=SCALES
    )
    frame = table.to_frame()
    # What is left of the width of pairs is rounding errors.
    assert np.isnan(frame["relative_efficiency"][1])
    assert np.isnan(frame["relative_efficiency_mean_width"][1])
    assert "e+" not in str(table)

"""`compare` with "auto" among its designs: what it spends, its random numbers, its row, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SEED
from helpers import EndsAfter, logistic

import mcgen
from mcgen import Antithetic, Auto, MonteCarlo
from mcgen.inference.efficiency import LevelMeans, log_variance_of_sum
from mcgen.results.provenance import chosen_by
from mcgen.statistics import pixel_mean

MODEL = mcgen.as_generator(logistic, (4,), name="logistic")
FINE = mcgen.as_generator(lambda z: np.exp(z / 4), (16,), name="fine")
COARSE = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, (16,), name="coarse")
LEVELS = Auto(coarse=[(COARSE, 0.05)])
RUN: dict[str, Any] = {"n_evaluations": 1200, "seed": SEED}
# A rule without a pilot chooses pairs here.
SHORT: dict[str, Any] = {"n_evaluations": 200, "seed": SEED}
# With a known correlation the rule chooses two levels without a pilot.
KNOWN = Auto(coarse=[(COARSE, 0.05)], correlation=0.999)


@pytest.fixture(scope="module")
def table() -> mcgen.Comparison:
    return mcgen.compare(FINE, pixel_mean, designs=[MonteCarlo(), "auto", LEVELS], **RUN)


def test_each_row_is_what_estimate_gives_under_its_seed(table: mcgen.Comparison) -> None:
    for design, made in zip(["auto", LEVELS], table.estimates[1:], strict=True):
        seed = made.provenance.seed
        assert mcgen.estimate(FINE, pixel_mean, design=design, n_evaluations=1200, seed=seed) == made
    assert len({one.provenance.seed_text for one in table.estimates}) == 3


def test_pilot_and_run_cost_what_was_given_and_count(table: mcgen.Comparison) -> None:
    frame = table.to_frame()
    base = frame.iloc[0]
    for row in (frame.iloc[1], frame.iloc[2]):
        spent = row["n_evaluations"] + row["pilot_evaluations"]
        assert row["pilot_evaluations"] > 0
        assert spent <= 1200
        plain = base["standard_error"] ** 2 * 1200 / (row["standard_error"] ** 2 * spent)
        # The jackknife differs by its correction for bias alone.
        assert row["relative_efficiency"] == pytest.approx(plain, rel=0.2)
        assert row["efficiency_low"] < row["relative_efficiency"] < row["efficiency_high"]
        assert row["relative_efficiency_width"] == pytest.approx(plain, rel=0.2)
        assert np.isfinite([row["efficiency_per_second"], row["per_second_low"], row["per_second_high"]]).all()


def test_the_row_of_a_sum_of_levels_is_that_of_the_sum(table: mcgen.Comparison) -> None:
    made = table.estimates[2]
    assert len(made.levels) == 2
    assert made.replicate_means is None
    row = table.to_frame().iloc[2]
    assert list(table.to_frame().columns) == list(mcgen.compare(
        FINE, pixel_mean, designs=[MonteCarlo()], **RUN
    ).to_frame().columns)  # fmt: skip
    weights = made.to_frame()["coefficient"].tolist()
    kept = [(part.replicate_means, part.within) for part in made.levels]
    levels = [LevelMeans(*pair, np.array([w]), 2.0**-52) for pair, w in zip(kept, weights, strict=False)]
    base = table.estimates[0]
    log = np.log(base.replicate_means.var(ddof=1)) - log_variance_of_sum(levels).value[0]
    spent = made.n_evaluations + made.provenance.pilot_evaluations
    assert row["relative_efficiency"] == pytest.approx(np.exp(log) / spent, rel=1e-3)
    counts = [f"{part.n_replicates} x {part.provenance.n_points}" for part in made.levels]
    assert table.readable()["replicates"].tolist()[2] == " + ".join(counts)


def test_rows_are_named_by_what_was_chosen(table: mcgen.Comparison) -> None:
    plan = mcgen.plan(FINE, pixel_mean, n_evaluations=1200, seed=table.estimates[1].provenance.seed)
    assert chosen_by(table.estimates[1].provenance) == plan.chosen.name
    named, levels = table.labels[1:]
    assert named == f"auto: {plan.chosen.name}"
    assert levels.startswith("Auto(coarse=[coarse at 0.05]): two levels (0.05): ")
    assert table.to_frame()["design"].tolist() == list(table.labels)
    for text in (str(table), table.summary(), table.to_markdown(), table._repr_html_(), table.to_latex()):
        assert "auto: " in text
    assert f"{named} is {table.estimates[1].provenance.design}; chosen: " in table.summary()
    assert str(table).splitlines()[0].endswith(f"1,200 evaluations a design, seed {SEED}")
    pytest.importorskip("matplotlib")
    from mcgen.results.figures.base import wrapped

    for axes in table.plot().axes:
        assert [text.get_text() for text in axes.get_yticklabels()] == [wrapped(one, lines=3) for one in table.labels]
    assert "jones1974jackknife" in mcgen.citation(table)


def test_a_choice_of_the_rule_has_a_name_too() -> None:
    made = mcgen.compare(FINE, pixel_mean, designs=["auto", KNOWN], **SHORT)
    assert made.labels[0] == "auto: pairs"
    assert made.labels[1] == "Auto(coarse=[coarse at 0.05], correlation=0.999): two levels (0.05): pairs + pairs"


def test_saved_rows_come_back(table: mcgen.Comparison, tmp_path: Path) -> None:
    table.save(tmp_path / "table.json")
    again = mcgen.load(tmp_path / "table.json")
    assert again == table
    assert again.labels == table.labels
    assert again.to_frame().equals(table.to_frame())


@pytest.mark.parametrize("designs", [["auto", Antithetic()], [Antithetic(), "auto"]])
def test_the_chosen_design_has_other_random_numbers_than_the_same_beside_it(designs: list[Any]) -> None:
    made = mcgen.compare(MODEL, pixel_mean, designs=designs, baseline=Antithetic(), **SHORT)
    own = {one.provenance.design: one for one in made.estimates}
    assert list(own) == ["Antithetic()"]
    first, second = made.estimates
    assert not np.isin(np.asarray(first.replicate_means), np.asarray(second.replicate_means)).any()
    # The other designs have the numbers that they have alone, in any order.
    plain = next(one for one in made.estimates if one.provenance.plan is None)
    assert plain == mcgen.estimate(MODEL, pixel_mean, design=Antithetic(), **SHORT)
    assert {one.mean for one in made.estimates} == {
        one.mean for one in mcgen.compare(MODEL, pixel_mean, designs=designs[::-1], **SHORT).estimates
    }


def test_auto_can_be_the_baseline_or_alone() -> None:
    for baseline in ("auto", Auto(), 1):
        made = mcgen.compare(MODEL, pixel_mean, designs=[Antithetic(), "auto"], baseline=baseline, **SHORT)
        assert made.baseline == 1
        assert "evaluations of auto: pairs that one evaluation is worth" in str(made)
        assert str(made).splitlines()[0].endswith(f"200 evaluations a design, seed {SEED}")
    assert mcgen.compare(MODEL, pixel_mean, designs=[Antithetic(), "auto"], **SHORT).baseline == 0
    assert mcgen.compare(MODEL, pixel_mean, designs=["auto", MonteCarlo()], **SHORT).baseline == 1
    for designs in ("auto", ["auto"], Auto()):
        alone = mcgen.compare(MODEL, pixel_mean, designs=designs, **SHORT)
        assert alone.labels == ("auto: pairs",)
        assert alone.to_frame()["relative_efficiency"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"condition": [1.0, 2.0], "common_random_numbers": True}, "'auto' plans each condition alone; with common"),
        ({"designs": ["auto", Auto()]}, r"all different; got \['auto', 'auto'\]"),
        ({"designs": ["antithetic"]}, r"got 'antithetic'. To get one, pass a list such as .*'auto'\]"),
        ({"designs": [Auto]}, "not the class Auto"),
        ({"interval": "anytime"}, "design='auto' runs a fixed number of evaluations; got interval='anytime'"),
        ({"interval": "bootstrap-t"}, "design='auto' may choose a sum of levels"),
        ({"controls": mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 2))}, "'auto' chooses controls itself"),
        ({"n_evaluations": 8, "designs": ["auto"]}, "'auto' needs 10 evaluations or more.* got n_evaluations=8. Use 50"),
        ({"n_evaluations": None, "designs": ["auto"]}, "'auto' takes n_evaluations"),
        ({"designs": ["auto", Auto(coarse=[(3, 0.1)])]}, "Generator"),
        ({"designs": ["auto", Auto(correlation=0.9)]}, "correlation belongs to the first coarse generator"),
        ({"baseline": "auto", "designs": [Antithetic()]}, "baseline must be one of the designs"),
        ({"keep_replicates": False}, "leave out keep_replicates=False"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_before_any_design_runs(arguments: dict[str, Any], message: str) -> None:
    def never(z: np.ndarray, condition: float = 0.0) -> np.ndarray:
        raise AssertionError

    generator = mcgen.as_generator(never, (4,), name="never")
    options = {"designs": [MonteCarlo(), "auto"], **SHORT, **arguments}
    with pytest.raises((TypeError, ValueError), match=message):
        mcgen.compare(generator, pixel_mean, **options)


def test_an_interruption_of_auto_gives_the_designs_before_it() -> None:
    generator = mcgen.as_generator(EndsAfter(8), (4,), name="ends")
    made = mcgen.compare(generator, pixel_mean, designs=["auto", MonteCarlo()], batch_size=40, **SHORT)
    assert made.labels == ("MonteCarlo()",)
    assert made.baseline == 0
    with pytest.raises(KeyboardInterrupt):
        mcgen.compare(mcgen.as_generator(EndsAfter(0), (4,), name="ends"), pixel_mean, designs=["auto"], **SHORT)


def test_an_error_of_auto_carries_the_designs_before_it() -> None:
    def negative_later(samples: np.ndarray) -> np.ndarray:
        calls.append(len(samples))
        if sum(calls) > 240:
            raise OSError("the disk is full")
        return samples.mean(axis=1)

    calls: list[int] = []
    with pytest.raises(OSError, match="disk") as caught:
        mcgen.compare(MODEL, negative_later, designs=[Antithetic(), "auto"], **SHORT)
    assert caught.value.partial.labels == ("Antithetic()",)


def test_warnings_name_the_row() -> None:
    skewed = mcgen.as_generator(lambda z: np.exp(2 * z), (1,), name="skewed")
    with pytest.warns(mcgen.CoverageWarning):
        made = mcgen.compare(skewed, pixel_mean, designs=[Antithetic(), "auto"], n_evaluations=40, seed=SEED)
    assert any("auto: pairs" in text for text in made.warnings)

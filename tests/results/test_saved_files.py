"""Files of results: what is in them is checked field by field, and their names say their format; how levels show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcgen

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:by the pilot")

MODEL = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(4,), name="model")
COARSE = mcgen.as_generator(lambda z: np.exp(z / 5), noise=(4,), name="coarse")
RUN: dict[str, Any] = {"design": mcgen.Antithetic(), "seed": 0}


def two(samples: Any) -> Any:
    return samples[:, :2]


ESTIMATES = {
    "one": lambda: mcgen.estimate(MODEL, mcgen.statistics.pixel_mean, n_evaluations=640, **RUN),
    "two": lambda: mcgen.estimate(MODEL, two, n_evaluations=640, **RUN),
    "stopped": lambda: mcgen.estimate(MODEL, two, atol=0.01, **RUN),
    "levels": lambda: mcgen.multilevel([(COARSE, 1), (MODEL, 10)], two, n_evaluations=1600, seed=0),
}
# Fields that hold texts, and those that may be missing.
TEXTS = {
    "method",
    "generator",
    "statistic",
    "noise",
    "design",
    "condition",
    "plan",
    "controls",
    "level",
    "rule",
    "reason",
}
RECORDS = ("provenance", "moments", "interval", "stopping")


def places(content: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [(name,) for name in content if name not in ("mcgen", "schema", "strata", *RECORDS)]
    return found + [(part, name) for part in RECORDS for name in content[part] or ()]


@pytest.mark.parametrize("name", ESTIMATES)
def test_texts_where_numbers_belong_are_refused(name: str, tmp_path: Path) -> None:
    made, path = ESTIMATES[name](), tmp_path / "run.json"
    made.save(path)
    assert mcgen.Estimate.load(path) == made
    whole = path.read_text()
    for place in places(json.loads(whole)):
        for wrong in (*(() if place[-1] in TEXTS else ("0.5",)), {"a": 1}, [["0.5"]], True, {"array": ["0.5"], "dtype": "<f8", "shape": [1]}):  # fmt: skip
            content = json.loads(whole)
            inner = content if len(place) == 1 else content[place[0]]
            if isinstance(inner[place[-1]], bool) and wrong is True:
                continue
            inner[place[-1]] = wrong
            path.write_text(json.dumps(content))
            with pytest.raises(ValueError, match=r"incomplete, or was changed by hand.*save it again"):
                mcgen.Estimate.load(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("names",), ["a"]),
        (("names",), "ab"),
        (("confidence_level",), 1.0),
        (("interval", "low"), 0.5),
        (("standard_error",), {"array": [1.0], "dtype": "<f8", "shape": [1]}),
        (("mean",), {"array": [1.0, 2.0], "dtype": "<U3", "shape": [2]}),
        (("moments", "m2"), {"array": [1.0], "dtype": "<f8", "shape": [1]}),
        (("replicate_means",), {"array": [1.0], "dtype": "<f8", "shape": [1]}),
        (("provenance", "coefficients"), [1.0]),
        (("provenance", "n_replicates"), -3),
        (("provenance", "versions"), {"mcgen": 1}),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(place: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    ESTIMATES["two"]().save(path)
    content = json.loads(path.read_text())
    (content if len(place) == 1 else content[place[0]])[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"incomplete, or was changed by hand.*save it again"):
        mcgen.load(path)


def test_texts_in_a_saved_plan_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    mcgen.plan(MODEL, two, n_evaluations=3200, seed=0, coarse=[(COARSE, 0.1)]).save(path)
    whole = json.loads(path.read_text())
    number = next(i for i, one in enumerate(whole["candidates"]) if one["coarse"] is not None)
    for change in (lambda c: c["candidates"][number]["coarse"].update(cost="0.1"), lambda c: c.update(names="ab")):
        content = json.loads(json.dumps(whole))
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="the saved plan is incomplete, or was changed by hand"):
            mcgen.Plan.load(path)


@pytest.mark.parametrize("name", ["x.csv", "x.txt", "x.parquet", "x.md", "x.sqlite"])
def test_files_are_named_by_their_format(name: str, tmp_path: Path) -> None:
    made = {
        "estimate": ESTIMATES["one"](),
        "comparison": mcgen.compare(MODEL, two, designs=[mcgen.Antithetic()], n_evaluations=640, seed=0),
        "plan": mcgen.plan(MODEL, two, n_evaluations=640, seed=0),
    }
    for result in made.values():
        with pytest.raises(
            ValueError, match=rf"must be named \*.json, .* got '.*{name}'. For a table use result.to_frame"
        ):
            result.save(tmp_path / name)
    with pytest.raises(ValueError, match=r"must be named \*.npz"):
        mcgen.bases.Basis(np.eye(4)[:, :1]).save(tmp_path / name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.json", "x.JSON", "x", "level-0.95"])
def test_names_without_another_format_are_taken(name: str, tmp_path: Path) -> None:
    made = ESTIMATES["one"]()
    made.save(tmp_path / name)
    assert mcgen.load(tmp_path / name) == made


def test_exports_are_named_by_their_format(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    mcgen.estimate(MODEL, two, n_evaluations=640, store=store, **RUN)
    for kind, name in (("csv", "x.json"), ("json", "x.csv"), ("csv", "x.parquet")):
        with pytest.raises(ValueError, match=rf"must be named \*.{kind}"):
            mcgen.export(store, kind, tmp_path / name)
    mcgen.export(store, "csv", tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("level", "text"),
    [(0.95, "95 %"), (0.9999999999, "99.99999999 %"), (0.99999999999999, "99.999999999999 %"), (1e-12, "1e-10 %")],
)
def test_no_level_prints_as_100_percent(level: float, text: str) -> None:
    made = ESTIMATES["two"]().with_interval(confidence_level=level, interval="student-t", simultaneous=False)
    for shown in (str(made), made.summary(), made.to_markdown(), made._repr_html_()):
        assert f"{text} " in shown or f"{text} interval" in shown
        assert "100 %" not in shown


def test_rows_of_levels_add_up_with_their_coefficients() -> None:
    middle = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(4,), name="middle")
    levels = [(COARSE, 1), (middle, 4), (MODEL, 20)]
    made = mcgen.multilevel(levels, two, n_evaluations=4000, seed=0, coefficients=[0.5, [2.0, -1.0]])
    frame = made.to_frame()
    assert frame["coefficient"].tolist() == [1.0, -0.5, 2.0, -1.0, 1.0, 1.0, 1.0, 1.0]
    for name in made.names:
        rows = frame[frame["component"] == name]
        parts, total = rows.iloc[:-1], rows.iloc[-1]
        assert (parts["coefficient"] * parts["mean"]).sum() == pytest.approx(total["mean"], rel=1e-14)
    for shown in (made.summary(), made._repr_html_()):
        assert "level 0: two[1] (times -0.5)" in shown
        assert "level 1: two[0] (times 2)" in shown
        assert "level 0: two[0]" in shown
        assert "level 0: two[0] (" not in shown
    lines = made.to_markdown().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:3] == ["level", "component", "coefficient"]
    assert [row[2] for row in cells[2:]] == ["1", "-0.5", "2", "-1", "1", "1", "", ""]
    assert r"level 0 & two[1] & $-$0.5 & " in made.to_latex()


def test_levels_that_count_once_say_so_in_the_table_alone() -> None:
    made = mcgen.multilevel([(COARSE, 1), (MODEL, 10)], two, n_evaluations=1600, seed=0, coefficients=1.0)
    assert "(times" not in made.summary()
    assert made.to_frame()["coefficient"].tolist() == [1.0] * 6


def test_fitted_coefficients_and_those_of_a_plan_add_up() -> None:
    fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    coarse = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="coarse")
    one = mcgen.multilevel([(coarse, 0.1), (fine, 1)], two, n_evaluations=1600, seed=3)
    other = mcgen.plan(fine, two, n_evaluations=3200, coarse=[(coarse, 0.1)], seed=3).estimate()
    for made in (one, other):
        assert len(made.levels) == 2
        frame = made.to_frame()
        rows = frame[frame["level"].str.startswith("level")]
        totals = (rows["coefficient"] * rows["mean"]).groupby(rows["component"], sort=False).sum()
        assert totals.tolist() == pytest.approx(made.mean.tolist(), rel=1e-14)
        assert (rows["coefficient"] != 1).any()


def test_levels_of_conditions_have_weights_too() -> None:
    fine = mcgen.as_generator(lambda z, c: np.exp(z / 3) + c, noise=(4,), name="fine")
    coarse = mcgen.as_generator(lambda z, c: np.exp(z / 4), noise=(4,), name="coarse")
    made = mcgen.multilevel(
        [(coarse, 1), (fine, 9)], two, n_evaluations=1600, seed=0, condition=[0, 1], coefficients=0.5
    )
    frame = made.to_frame()
    weights = frame["coefficient"].tolist()
    assert weights[:6] == [0.5, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert np.isnan(weights[-1])

"""Names of conditions in everything that shows a result; conditions without names get short texts that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen.replicates.streams import labels_of, stream_of
from mcgen.runs.export import replicates_frame
from mcgen.runs.stored import status
from mcgen.statistics import as_statistic

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.errors.CoverageWarning")

PICTURES = {"cat": np.zeros(40), "dog": np.ones(40)}
MODEL = mcgen.as_generator(lambda z, picture: picture + z, (40,), name="model")
SQUARES = as_statistic(lambda x, t: ((x - t) ** 2).mean(1), name="squares", uses_condition=True)
RUN: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 640, "seed": SEED}


@pytest.mark.parametrize(
    ("conditions", "texts"),
    [
        ([0, 1.5, "fog"], ("0", "1.5", "'fog'")),
        ([np.zeros(40), np.ones(40)], ("ndarray 0", "ndarray 1")),
        ([np.zeros(40), 3, np.zeros(50), np.ones(40)], ("ndarray 0", "3", "ndarray of shape (50,)", "ndarray 3")),
        ([np.zeros(2), np.ones(2)], ("array([0., 0.])", "array([1., 1.])")),
        (["a" * 70, "a" * 71], ("'" + "a" * 56 + "... 0", "'" + "a" * 56 + "... 1")),
    ],
)
def test_texts_differ(conditions: list[Any], texts: tuple[str, ...]) -> None:
    assert labels_of(conditions, None) == texts
    assert labels_of(conditions, [f"n{i}" for i in range(len(conditions))])[0] == "n0"


def test_names_leave_the_random_numbers_alone() -> None:
    named = mcgen.estimate(MODEL, SQUARES, condition=PICTURES, **RUN)
    listed = mcgen.estimate(MODEL, SQUARES, condition=[*PICTURES.values()], **RUN)
    assert listed["ndarray 1"].interval == named["dog"].interval
    assert stream_of(PICTURES["dog"], 0) == stream_of(PICTURES["dog"].copy(), 5)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_everything_that_shows_a_result_has_the_names(tmp_path: Path, common: bool, named: bool) -> None:
    names = ["cat", "dog"] if named else ["ndarray 0", "ndarray 1"]
    conditions: Any = PICTURES if named else [*PICTURES.values()]
    store = tmp_path / "run.sqlite"
    made = mcgen.estimate(MODEL, SQUARES, condition=conditions, common_random_numbers=common, store=store, **RUN)
    made.save(tmp_path / "made.json")
    loaded = mcgen.load(tmp_path / "made.json")
    assert made.to_frame()["condition"].tolist() == [*names, ", ".join(names)]
    for result in (made, loaded):
        for text in (result.summary(), result.to_markdown(), result.to_latex(), result._repr_html_()):
            assert all(name in text for name in names)
            assert "shape" not in text
        assert [result[name].provenance.condition for name in names] == names
        assert f"condition {names[0]}" in str(result[names[0]])
    shown = status(store)
    assert all(name in shown for name in names)
    assert "float64" not in shown
    frame = replicates_frame(store)
    columns = [f"squares under {name}" for name in names]
    assert set(columns) <= {*frame} if common else [f"condition {name}" for name in names] == [*frame["run"].unique()]


def test_levels_and_conditions_in_a_store(tmp_path: Path) -> None:
    coarse = mcgen.as_generator(lambda z, picture: picture + 0.9 * z, (40,), name="coarse")
    store = tmp_path / "run.sqlite"
    mcgen.multilevel(
        [(coarse, 1), (MODEL, 10)], SQUARES, condition=PICTURES, n_evaluations=1280, seed=SEED, store=store
    )
    assert [run.label for run in mcgen.read_store(store)] == [
        f"level {level} condition {name}" for name in PICTURES for level in (0, 1)
    ]


def test_warnings_plans_and_bars_have_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(mcgen.CoverageWarning, match=r"in 2 of 2 conditions \(cat, dog\)"):
        few = mcgen.estimate(MODEL, SQUARES, condition=PICTURES, **{**RUN, "n_evaluations": 10})
    assert any("(cat, dog)" in text for text in few.warnings)
    pytest.importorskip("tqdm")
    mcgen.estimate(MODEL, SQUARES, condition=PICTURES, progress=True, **RUN)
    mcgen.estimate(MODEL, SQUARES, condition=PICTURES, progress=True, common_random_numbers=True, **RUN)
    bars = capsys.readouterr().err
    assert all(text in bars for text in ("condition cat:", "condition dog:", "condition cat, dog:"))
    stopped = mcgen.estimate(MODEL, SQUARES, condition=PICTURES, design=mcgen.MonteCarlo(), atol=0.05, seed=SEED)
    assert stopped.stopping is not None
    assert "condition cat: reached" in stopped.stopping.reason
    planned = mcgen.estimate(MODEL, SQUARES, condition=PICTURES, design="auto", n_evaluations=200, seed=SEED)
    assert planned["dog"].provenance.condition == "dog"
    table = mcgen.compare(
        MODEL,
        SQUARES,
        designs=[mcgen.MonteCarlo(), mcgen.Antithetic()],
        condition=PICTURES,
        common_random_numbers=True,
        n_evaluations=640,
        seed=SEED,
    )
    assert "cat, dog" in table.summary()


def test_errors_have_the_names() -> None:
    wide = as_statistic(lambda x, t: x[:, : 1 + int(t[0])], name="wide", uses_condition=True)
    with pytest.raises(mcgen.RunError, match="under condition dog, where"):
        mcgen.estimate(MODEL, wide, condition=PICTURES, **RUN)

    def breaks(x: Any, t: Any) -> Any:
        if t[0] == 1:
            raise KeyError("no such picture")
        return x.mean(1)

    with pytest.raises(KeyError, match="no such picture") as caught:
        mcgen.estimate(MODEL, as_statistic(breaks, uses_condition=True), condition=PICTURES, **RUN)
    assert "under condition dog" in caught.value.__notes__
    assert caught.value.partial.conditions[0].provenance.condition == "cat"  # type: ignore[attr-defined]

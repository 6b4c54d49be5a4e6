"""The protocol of all results: every class of them, by one table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import logistic
from stepwise_samplers import Sampler

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen.results.tables import Table
from mcgen.statistics import identity, pixel_mean, stack

pytestmark = [pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")]

MODEL = mcgen.as_generator(logistic, noise=(8,), name="model")
COARSE = mcgen.as_generator(lambda z, c=0: logistic(1.02 * z, c), noise=(8,), name="coarse")
OPTIONS: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 640, "seed": 3}


def spread(x: Any) -> Any:
    return x.std(axis=1)


BOTH = stack(pixel_mean, spread)


def plan(statistic: Any = BOTH, **changes: Any) -> mcgen.Plan:
    options: dict[str, Any] = {"n_evaluations": 3200, "seed": 3, "coarse": [(COARSE, 0.1)]} | changes
    return mcgen.plan(MODEL, statistic, **options)


MAKERS: dict[str, Callable[[], Any]] = {
    "estimate": lambda: mcgen.estimate(MODEL, pixel_mean, **OPTIONS),
    "components": lambda: mcgen.estimate(MODEL, BOTH, **OPTIONS),
    "conditions": lambda: mcgen.estimate(MODEL, BOTH, condition={"low": 0, "high|1": 1}, **OPTIONS),
    "common": lambda: mcgen.estimate(MODEL, BOTH, condition=[0, 1], common_random_numbers=True, **OPTIONS),
    "levels": lambda: mcgen.multilevel([(COARSE, 1), (MODEL, 10)], pixel_mean, n_evaluations=1600, seed=3),
    "comparison": lambda: mcgen.compare(MODEL, BOTH, designs=[MonteCarlo(), Antithetic()], n_evaluations=640, seed=3),
    "plan": plan,
    "plan under a condition": lambda: plan(pixel_mean, condition=1),
    "plan without a pilot": lambda: plan(n_evaluations=200),
    "profile": lambda: mcgen.analysis.along_time(Sampler(name="model"), n_pairs=10, seed=3),
    "profile of symmetry": lambda: mcgen.analysis.symmetry(Sampler(name="model"), n_base=6, seed=3, points=21),
    "difference": lambda: mcgen.difference(MODEL, COARSE, BOTH, common_random_numbers=False, **OPTIONS),
    "population": lambda: mcgen.estimate(MODEL, BOTH, condition=[0, 1, 2], across="population", **OPTIONS),
    "quantile": lambda: mcgen.estimate(MODEL, mcgen.functionals.quantile(pixel_mean, 0.5), **OPTIONS),
    "comparison under conditions": lambda: mcgen.compare(
        MODEL, BOTH, designs=[MonteCarlo(), Antithetic()], n_evaluations=640, seed=3, condition=[0, 1]
    ),
    "scorecard": lambda: mcgen.evaluate({"model": MODEL, "coarse": COARSE}, {"both": BOTH}, **OPTIONS),
    "pairs": lambda: mcgen.analysis.pairs(MODEL, n_pairs=20, seed=3),
    "variance shares": lambda: mcgen.analysis.variance_shares(MODEL, BOTH, n_evaluations=640, seed=3),
    "plan by rule": lambda: plan(n_evaluations=400, correlation=[0.99, 0.98]),
}


@cache
def made(name: str) -> Any:
    return MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
def test_every_result_keeps_the_protocol(name: str, tmp_path: Path) -> None:
    result = made(name)
    assert isinstance(result, mcgen.Result)
    assert isinstance(result.to_frame(), pd.DataFrame)
    assert str(result) == repr(result)
    assert all(isinstance(text, str) for text in result.warnings)
    for text in (str(result), result.summary(), result._repr_html_(), result.to_markdown(), result.to_latex()):
        assert isinstance(text, str)
        assert text
    assert all(warning in result.summary() for warning in result.warnings)
    assert result.provenance.generator == ("model - coarse" if name == "difference" else "model")
    assert result.provenance.seed_text == "3"
    assert result.provenance.n_evaluations > 0
    result.save(tmp_path / "result.json")
    loaded = mcgen.load(tmp_path / "result.json")
    assert type(loaded) is type(result)
    assert loaded == result
    assert isinstance(loaded, mcgen.Result)
    for words in ("__str__", "summary", "_repr_html_", "to_markdown", "to_latex"):
        assert getattr(loaded, words)() == getattr(result, words)()
    pd.testing.assert_frame_equal(loaded.to_frame(), result.to_frame())
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "result.json").read_bytes()


@pytest.mark.parametrize("name", MAKERS)
def test_tables_have_as_many_cells_in_every_row(name: str) -> None:
    lines = made(name).to_markdown().replace(r"\|", "").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len({len(line) for line in made(name).to_markdown().splitlines()}) == 1
    rows = [line for line in made(name).to_latex().splitlines() if line.endswith(r"\\")]
    assert len({row.replace(r"\&", "").count("&") for row in rows}) == 1
    assert len(rows) == len(lines) - 1


@pytest.mark.parametrize("name", ["estimate", "components", "levels", "comparison", "plan", "plan under a condition"])
def test_plots_are_drawn_onto_an_axes_where_there_is_one_panel(name: str) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    result = made(name)
    if name == "levels":
        result = result.levels[1]
    assert isinstance(result.plot(), figures.Figure)
    figure = figures.Figure()
    ax = figure.subfigures(1, 2)[0].subplots()
    if name in ("comparison", "plan"):
        with pytest.raises(
            ValueError, match=r"this figure has 2 panels; got 1 Axes as ax. Give one for each, choose comp"
        ):
            result.plot(ax=ax)
    else:
        assert result.plot(ax=ax) is figure
        assert ax.has_data()
    with pytest.raises(TypeError, match="ax must be one Axes of matplotlib, or a sequence of them; got 3"):
        result.plot(ax=3)


def test_what_has_no_plot_says_so() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="a plan without a pilot predicts no half-widths"):
        made("plan without a pilot").plot()


def test_conditions_are_rows_of_a_plot_by_their_names() -> None:
    pytest.importorskip("matplotlib")
    result = made("conditions")
    labels = [text.get_text() for text in result.plot().axes[0].get_yticklabels()]
    assert labels == [*(part.provenance.condition for part in result.conditions), "average"]


def test_an_estimate_reads_as_a_table() -> None:
    result = made("conditions")
    header, rule, *rows = result.to_markdown().splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        *("condition", "component", "estimate", "95 % interval", "replicates", "evaluations")
    ]
    assert set(rule) == set("|- ")
    assert [row.split("|")[1].strip() for row in rows[:2]] == ["low", "low"]
    assert r"high\|1" in rows[2]
    assert rows[4].startswith("| average")
    assert "| 1,280 " in rows[4]
    assert r"\begin{tabular}{llllll}" in result.to_latex()
    assert r"95 \% interval" in result.to_latex()
    assert r"high\textbar{}1 & pixel\_mean & 0." in result.to_latex()
    assert r"$\pm$" in result.to_latex()
    levels = made("levels").to_markdown().splitlines()
    assert [line.split("|")[1].strip() for line in levels] == ["level", levels[1].split("|")[1].strip(), "level 0", "level 1", "sum of 2 levels"]  # fmt: skip


def test_many_components_are_left_out_of_tables() -> None:
    model = mcgen.as_generator(logistic, noise=(50,))
    made = mcgen.estimate(model, identity, **OPTIONS)
    lines = made.to_markdown().splitlines()
    assert len(lines) == 2 + 21
    assert "| 30 more" in lines[12]
    assert r"... & 30 more & " in made.to_latex()
    plan = mcgen.plan(model, identity, n_evaluations=3200, seed=3)
    assert "<td>...</td><td>30 more</td>" in plan._repr_html_()
    assert plan._repr_html_().count("<td>identity[") == 20
    assert " largest half-width " in plan.to_markdown()
    designs = [MonteCarlo(), Antithetic()]
    table = mcgen.compare(model, identity, designs=designs, n_evaluations=640, seed=3)
    assert "| 38 more components |" in table.to_markdown().splitlines()[-1]
    assert r"... & 38 more components & " in table.to_latex()
    card = mcgen.evaluate({"model": model}, {"all": identity}, **OPTIONS)
    assert [cell.strip() for cell in card.to_markdown().splitlines()[2].split("|")][-3:-1] == ["38 more", "640"]


def latex_cells(text: str) -> list[list[str]]:
    """The cells of a tabular, without the characters that LaTeX may find there; what is left would stop it."""
    rows = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    return [[unescaped(cell) for cell in re.split(r"(?<!\\)&", row)] for row in rows]


def unescaped(cell: str) -> str:
    return re.sub(
        r"\\(text[a-z]+\{\}|[&%$#_{}]|textbf\{|to\b|pm\b|downarrow\b)|\$-\$|\$(\\pm|\\to|\\downarrow)\$", "", cell
    )


def awkward(x: Any) -> Any:
    return np.stack([x.mean(axis=1), x.std(axis=1)], axis=1)


AWKWARD = r"a_b & 50% #1 {c} ~^\$x|y<z"
ODD = mcgen.as_statistic(awkward, name=AWKWARD, components=[AWKWARD, "plain"])


@pytest.mark.parametrize("kind", ["estimate", "conditions", "comparison", "plan", "scorecard", "shares", "difference"])
def test_names_are_escaped_in_every_kind_of_result(kind: str) -> None:
    model = mcgen.as_generator(logistic, noise=(8,), name=AWKWARD)
    other = mcgen.as_generator(lambda z, c=0: logistic(1.02 * z, c), noise=(8,), name="other")
    result = {
        "estimate": lambda: mcgen.estimate(model, ODD, **OPTIONS),
        "conditions": lambda: mcgen.estimate(model, ODD, condition={AWKWARD: 0, "b": 1}, **OPTIONS),
        "comparison": lambda: mcgen.compare(
            model, ODD, designs=[MonteCarlo(), Antithetic()], n_evaluations=640, seed=3
        ),
        "plan": lambda: mcgen.plan(model, ODD, n_evaluations=3200, seed=3),
        "scorecard": lambda: mcgen.evaluate({AWKWARD: model, "b": other}, {AWKWARD: ODD}, **OPTIONS),
        "shares": lambda: mcgen.analysis.variance_shares(model, ODD, n_evaluations=640, seed=3),
        "difference": lambda: mcgen.difference(model, other, ODD, common_random_numbers=False, **OPTIONS),
    }[kind]()
    cells = latex_cells(result.to_latex())
    assert len(cells) > 1
    assert len({len(row) for row in cells}) == 1
    assert not [cell for row in cells for cell in row if re.search(r"[\\&%$#_^~<>|]", cell)]
    assert r"a\_b \& 50\% \#1 \{c\}" in result.to_latex()
    bars = {re.sub(r"\\.", "", line).count("|") for line in result.to_markdown().splitlines()}
    assert len(bars) == 1
    assert r"y\<z" in result.to_markdown()
    assert r"\|y" in result.to_markdown()
    assert "y<z" not in result._repr_html_()


def test_a_plan_shows_predicted_half_widths_in_every_form() -> None:
    made_plan = made("plan")
    row = made_plan.to_frame().query("chosen and component == 'spread'").iloc[0]
    text = f"{row['half_width']:.2g} [{row['low']:.2g}, {row['high']:.2g}]"
    html = made_plan._repr_html_()
    assert "predicted half-width [80 % prediction interval]" in html
    for shown in (html, str(made_plan), made_plan.to_markdown(), made_plan.to_latex()):
        assert text in shown
    assert "half-width of spread" in made_plan.to_markdown()
    assert "half-width" not in made("plan without a pilot").to_markdown()
    assert "half-width" not in made("plan without a pilot")._repr_html_()


def test_special_characters_are_escaped() -> None:
    table = Table(["a|b", "_x_"], [[r"50 % & $3 #1 {y} ~ ^ \ <", "pixel_mean\nof `all` *"]])
    assert table.markdown().splitlines() == [
        r"| a\|b                       | \_x\_                    |",
        r"| -------------------------- | ------------------------ |",
        r"| 50 % & $3 #1 {y} ~ ^ \\ \< | pixel_mean of \`all\` \* |",
    ]
    assert table.latex().splitlines() == [
        r"\begin{tabular}{ll}",
        r"\hline",
        r"a\textbar{}b & \_x\_ \\",
        r"\hline",
        r"50 \% \& \$3 \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{} & pixel\_mean of `all` * \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_latex_has_minus_signs_and_rows_that_begin_with_brackets() -> None:
    table = Table(["", "a"], [["->", "-0.5 ± 1e-09"], ["[x]", "mnist-2"], ["*", "[-1, 2]"]])
    assert table.latex().splitlines()[2:-2] == [
        r" & a \\",
        r"\hline",
        r"$\to$ & $-$0.5 $\pm$ 1e-09 \\",
        r"{}[x] & mnist-2 \\",
        r"{}* & [$-$1, 2] \\",
    ]


def test_a_comparison_warns_once_and_tells_of_its_baseline() -> None:
    model = mcgen.as_generator(lambda z: np.exp(2 * z), noise=(1,), name="skewed")
    with pytest.warns(mcgen.CoverageWarning) as caught:
        table = mcgen.compare(
            model, identity, designs=[Antithetic(), MonteCarlo()], n_evaluations=100, interval="student-t", seed=0
        )
    every = [text for one in table.estimates for text in one.warnings]
    assert len(every) > len(table.warnings) > 0
    assert tuple(str(one.message) for one in caught) == table.warnings
    assert table.provenance is table.estimates[1].provenance
    assert "noise        normal(1) float32" in table.summary()


def test_a_saved_plan_shows_its_parts_but_does_not_run(tmp_path: Path) -> None:
    plans = {name: made(name) for name in ("plan", "plan by rule")}
    assert plans["plan by rule"].chosen.coarse is not None
    for one in plans.values():
        one.save(tmp_path / "plan.json")
        loaded = mcgen.Plan.load(tmp_path / "plan.json")
        assert loaded.n_evaluations == one.n_evaluations
        assert loaded.provenance == one.provenance
        assert [str(design) for design in loaded.chosen.designs] == [str(design) for design in one.chosen.designs]
        assert np.array_equal(loaded.prediction.high, one.prediction.high, equal_nan=True)
        for mine, theirs in zip(loaded.correlations, one.correlations, strict=True):
            assert np.array_equal(mine, theirs, equal_nan=True)
        with pytest.raises(ValueError, match="no model, and can't run; call mcgen.plan again"):
            loaded.estimate()
        with pytest.raises(ValueError, match="no model, and can't run"):
            loaded.chosen.designs[0].draw((8,), 1, 0)
        below = loaded.chosen.coarse
        if below is not None:
            assert below.generator.name == "coarse"
            with pytest.raises(ValueError, match="no model, and can't run"):
                below.generator(np.zeros((2, 8)))


CHANGES: list[dict[str, Any]] = [
    {"chosen": 99},
    {"chosen": True},
    {"candidates": []},
    {"candidates": [{"name": "pairs"}]},
    {"names": ["one"]},
    {"pilot_evaluations": "many"},
    {"correlations": [["high"]]},
    {"correlations": [[True]]},
    {"provenance": {"generator": "model"}},
    {"reasons": None},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_changed_plans_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    made("plan").save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="the saved plan is incomplete, or was changed .* save it again"):
        mcgen.load(path)


@pytest.mark.parametrize("change", [{"baseline": 2}, {"baseline": "first"}, {"baseline": None}, {"estimates": 3}])
def test_changed_comparisons_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    made("comparison").save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="the saved comparison is incomplete, or was changed by hand"):
        mcgen.load(path)


def test_other_files_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    for text, problem in (
        ("{}", "holds something mcgen did not save, which is no result"),
        ("[1, 2]", "holds something mcgen did not save, which is no result"),
        ('{"mcgen": "scores", "schema": 2}', "holds scores, which is no result"),
        ('{"mcgen": ["plan"], "schema": 2}', "which is no result"),
        ("not json", "is not a file that mcgen saved"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"{problem}.*load reads the JSON files .* mcgen.read_store"):
            mcgen.load(path)
    mcgen.estimate(MODEL, pixel_mean, store=tmp_path / "run.sqlite", **OPTIONS)
    with pytest.raises(ValueError, match=r"mcgen\.read_store reads a store"):
        mcgen.load(tmp_path / "run.sqlite")
    with pytest.raises(FileNotFoundError):
        mcgen.load(tmp_path / "nothing.json")

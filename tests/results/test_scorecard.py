"""Scorecards: access, differences that hold together, the best models, tables, words and files."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from score_cards import SCORES, as_distance, curve, model, scorecard

import mcgen
from mcgen.inference.interval_input import Interval
from mcgen.results.scorecard import Scorecard

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")


@cache
def card(kind: str = "three") -> Scorecard:
    makers: dict[str, Any] = {
        "three": scorecard,
        "two": lambda: scorecard(("A", "B"), (1.0, 1.1)),
        "alike": lambda: scorecard(("A", "B"), (1.0, 1.0), common_random_numbers=False),
        "one": lambda: scorecard(("A",), (1.0,)),
        "conditions": lambda: scorecard(condition={"low": 0.0, "high": 1.0}),
        "names": lambda: scorecard(("a|b & 50%", "entropy"), (1.0, 1.1)),
    }
    if kind == "alike":
        return independent()
    return makers[kind]()


def independent() -> Scorecard:
    """Two models of the same law, on independent noise."""
    run: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 400}
    models = {"A": model("A", 1.0), "B": model("B", 1.0)}
    measured = SCORES["frechet_distance"]
    found = {
        name: as_distance(mcgen.estimate(one, measured, seed=i, **run)) for i, (name, one) in enumerate(models.items())
    }
    apart = mcgen.difference(models["A"], models["B"], measured, seed=2, common_random_numbers=False, **run)
    return Scorecard({"fid": found}, {"fid": {("A", "B"): apart}})


KINDS = ["three", "two", "alike", "one", "conditions", "names"]


@pytest.mark.parametrize("kind", KINDS)
def test_scorecards_keep_the_protocol_and_their_files(kind: str, tmp_path: Path) -> None:
    result = card(kind)
    assert isinstance(result, mcgen.Result)
    assert str(result) == repr(result)
    assert all(warning in result.summary() for warning in result.warnings)
    assert result.provenance.generator == result.models[0]
    result.save(tmp_path / "card.json")
    loaded = mcgen.load(tmp_path / "card.json")
    assert isinstance(loaded, Scorecard)
    assert loaded == result
    assert hash(loaded) == hash(result)
    assert not loaded.pictures
    for words in ("__str__", "summary", "_repr_html_", "to_markdown", "to_latex"):
        assert getattr(loaded, words)() == getattr(result, words)()
    pd.testing.assert_frame_equal(loaded.to_frame(), result.to_frame())
    for score in result.scores:
        pd.testing.assert_frame_equal(loaded.differences(score), result.differences(score))
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "card.json").read_bytes()


def test_unequal_scorecards_differ() -> None:
    one = card()
    assert one != card("two")
    assert one != Scorecard(one.estimates, one.pairs)
    assert one == Scorecard(one.estimates, one.pairs, one.curves)
    assert one != 3


def test_an_estimate_is_asked_for_by_model_and_score() -> None:
    one = card()
    assert one.models == ("A", "B", "C")
    assert one.scores == ("frechet_distance", "quality")
    assert one["B", "quality"] is one.estimates["quality"]["B"]
    assert ("B", "quality") in one
    assert ("quality", "B") not in one
    for wrong in (("quality", "B"), "quality", ("D", "quality"), 0):
        with pytest.raises(KeyError, match=r"card\[model, score\]; got .* models are A, B, C; the scores are frechet"):
            one[wrong]
    with pytest.raises(TypeError, match="not iterable"):
        iter(one)


def test_the_frame_has_all_numbers() -> None:
    frame = card("conditions").to_frame()
    assert [*frame.columns[:4]] == ["score", "model", "condition", "component"]
    of_b = frame[(frame["score"] == "quality") & (frame["model"] == "B")]
    assert of_b["condition"].tolist()[:4] == ["low", "low", "high", "high"]
    assert len(of_b) == 6
    assert of_b["plug_in"].isna().all()
    distances = card().to_frame().query("score == 'frechet_distance'")
    assert np.allclose(distances["plug_in"], 1.15 * distances["mean"])


def test_differences_say_what_can_be_told() -> None:
    frame = card().differences("quality")
    assert [*frame.columns] == ["first", "second", "component", "difference", "low", "high", "noise", "verdict"]
    assert [*zip(frame["first"], frame["second"], frame["component"], strict=True)][:3] == [
        ("A", "B", "pixel_mean"),
        ("A", "B", "spread"),
        ("A", "C", "pixel_mean"),
    ]
    assert set(frame["noise"]) == {"same noise"}
    assert set(frame[frame["component"] == "spread"]["verdict"]) == {"lower"}
    alike = card("alike").differences("fid")
    assert alike["verdict"].tolist() == ["cannot be told apart"]
    assert alike["noise"].tolist() == ["independent noise"]
    assert card("one").differences("quality").empty


def test_differences_of_one_pair_have_its_own_interval_and_others_wider_ones() -> None:
    pair = card("two").pairs["frechet_distance"]["A", "B"]
    row = card("two").differences("frechet_distance").iloc[0]
    assert (row["low"], row["high"]) == tuple(pair.interval)
    shared = card().shared("frechet_distance").pairs["A", "B"]
    alone = card().pairs["frechet_distance"]["A", "B"]
    assert shared.interval.low < alone.interval.low < alone.interval.high < shared.interval.high
    assert shared.confidence_level == alone.confidence_level == 0.95


def test_shared_intervals_have_the_level_of_bonferroni() -> None:
    one = scorecard(scores=("quality",), extras=False, simultaneous="bonferroni")
    alone, made = one.pairs["quality"]["A", "C"], one.shared("quality").pairs["A", "C"]
    level = 1 - 0.05 / (3 * 2)
    expected = alone.with_interval(confidence_level=level, interval="student-t")
    assert np.allclose(made.interval, expected.interval, rtol=1e-9)
    assert made.confidence_level == 0.95
    assert made.method == "bonferroni"


def test_an_interval_that_cannot_be_made_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, options: Any) -> Any:
        raise ValueError("too few replicates for this level")

    one = card()
    fresh = Scorecard(one.estimates, one.pairs)
    monkeypatch.setattr(mcgen.Estimate, "_with_options", refuse)
    frame = fresh.differences("quality")
    assert frame["low"].isna().all()
    assert set(frame["verdict"]) == {"no interval"}
    assert fresh.best("quality", component="spread", largest=True) == ("C", "B", "A")
    assert any("A - B has no interval that holds together" in text for text in fresh.warnings)
    assert any("too few replicates for this level" in text for text in fresh.warnings)


def test_methods_without_a_simultaneous_form_have_their_own_at_the_shared_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = mcgen.Estimate._with_options

    def only_alone(self: Any, options: Any) -> Any:
        if options.simultaneous:
            raise ValueError("no simultaneous form")
        return whole(self, options)

    monkeypatch.setattr(mcgen.Estimate, "_with_options", only_alone)
    made = Scorecard(card().estimates, card().pairs).shared("frechet_distance").pairs["A", "B"]
    alone = card().pairs["frechet_distance"]["A", "B"].with_interval(confidence_level=1 - 0.05 / 3)
    assert made.interval == alone.interval
    assert made.confidence_level == 0.95


def test_the_best_are_those_that_no_other_is_shown_to_beat() -> None:
    one = card()
    assert one.best("frechet_distance") == ("A",)
    assert one.best("frechet_distance", largest=True) == ("C",)
    assert one.best("quality", component="spread", largest=True) == ("C",)
    assert one.best("quality", component="spread", largest=False) == ("A",)
    assert set(card("alike").best("fid")) == {"A", "B"}
    assert card("one").best("frechet_distance") == ("A",)


def moved(one: mcgen.Estimate, low: float, high: float) -> mcgen.Estimate:
    """The same difference with another interval; one pair of one component keeps its own."""
    return replace(one, mean=(low + high) / 2, interval=Interval(low, high), half_width=(high - low) / 2)


def test_intervals_that_contradict_each_other_leave_no_model_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one = scorecard(scores=("frechet_distance",), extras=False)
    ends = {("A", "B"): (1.0, 2.0), ("B", "C"): (1.0, 2.0), ("A", "C"): (-2.0, -1.0)}
    pairs = {names: moved(one.pairs["frechet_distance"][names], *ends[names]) for names in ends}
    monkeypatch.setattr(mcgen.Estimate, "_with_options", lambda self, options: self)
    assert set(Scorecard(one.estimates, {"frechet_distance": pairs}).best("frechet_distance")) == {"A", "B", "C"}
    del pairs["A", "C"]
    assert Scorecard(one.estimates, {"frechet_distance": pairs}).best("frechet_distance") == ("C",)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "'quality' is no distance.*largest=True where more is better", {"score": "quality"}),
        (ValueError, "'quality' has 2 components.*pixel_mean, spread, such as", {"score": "quality", "largest": True}),
        (
            KeyError,
            "no component 'x'; its components are pixel_mean",
            {"score": "quality", "largest": True, "component": "x"},
        ),
        (KeyError, "no score 'x'; the scores are frechet_distance, quality", {"score": "x"}),
        (TypeError, "largest must be True, False or None; got 1", {"score": "frechet_distance", "largest": 1}),
    ],
)
def test_best_says_what_it_needs(error: type[Exception], message: str, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        card().best(**options)


def test_tables_have_models_as_rows_and_the_best_distances_in_bold() -> None:
    lines = card().to_markdown().splitlines()
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header == ["model", "frechet_distance ↓", "quality: pixel_mean", "quality: spread", "evaluations"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in cells] == ["A", "B", "C"]
    assert [row[1].startswith("**") for row in cells] == [True, False, False]
    assert not any("**" in cell for row in cells for cell in row[2:])
    assert [row[-1] for row in cells] == ["400"] * 3
    latex = card().to_latex()
    assert r"frechet\_distance $\downarrow$ & quality: pixel\_mean" in latex
    assert latex.count(r"\textbf{") == 1
    assert card("alike").to_latex().count(r"\textbf{") == 2
    assert r"\textbf{" not in card("one").to_latex()
    assert r"a\textbar{}b \& 50\%" in card("names").to_latex()
    assert r"a\|b & 50%" in card("names").to_markdown()
    assert "<td><b>" in card()._repr_html_()
    assert card("conditions").to_markdown().count(" 800 ") == 3


def test_the_headline_is_in_words() -> None:
    def first(kind: str) -> str:
        return card(kind).summary().splitlines()[0]

    numbers = r"\d\.\d+ \[\d\.\d+, \d\.\d+\]"
    for kind, pattern in {
        "two": rf"A has the lower Fréchet distance: {numbers} against {numbers} of B; the difference A - B, -.*, is clear at 95 % confidence\.",
        "three": rf"A has the lowest Fréchet distance of 3 models: {numbers}, before B with {numbers}; this is clear at 95 %",
        "one": rf"The Fréchet distance of A is {numbers} at 95 % confidence\.",
        "alike": rf"A and B cannot be told apart by fid: {numbers} and {numbers}; the 95 % interval of their difference, .*contains 0",
    }.items():
        assert pd.Series([first(kind)]).str.fullmatch(rf"{pattern}.*").all(), first(kind)
    text = card("two").summary()
    assert "B has the higher quality (spread)" in text
    assert "of A; the difference A - B, -0.0" in text


def test_the_headline_tells_those_that_share_the_first_place() -> None:
    same = scorecard(("A", "B", "C"), (1.0, 1.0, 1.2), scores=("frechet_distance",), extras=False)
    assert same.best("frechet_distance") == ("A", "B")
    assert "A and B have the lowest Fréchet distance of 3 models and cannot be told apart" in str(same)
    assert "; C has a higher one at 95 % confidence." in str(same)
    every = scorecard(("A", "B", "C"), (1.0, 1.0, 1.0), scores=("frechet_distance",), extras=False)
    assert "None of the 3 models can be told apart by Fréchet distance at 95 % confidence" in str(every)
    assert "3 of 3 differences are clear" in str(card())


def test_the_summary_tells_what_was_run() -> None:
    text = card().summary()
    for part in (
        "design       Antithetic(), 200 replicates of 2 points",
        "evaluations  400",
        "differences  same noise",
        "the samples as they are, biased and without interval",
        "noise        normal(8) float32",
        "versions     mcgen",
        "whose intervals hold together at 95 % for each score",
    ):
        assert part in text
    one, two = card("one"), card("two")
    mixed = {
        "q": {
            "A": one["A", "quality"],
            "B": replace(two["B", "quality"], provenance=replace(two.provenance, design="Samples()")),
        }
    }
    text = Scorecard(mixed).summary()
    assert "Antithetic(), 200 replicates of 2 points (A); Samples(), 200 replicates of 2 points (B)" in text
    assert "their difference was not run" in text


def test_warnings_are_merged_over_models_and_pairs() -> None:
    one = card("two")
    warned = {
        score: {name: replace(e, warnings=("the values are odd",)) for name, e in by.items()}
        for score, by in one.estimates.items()
    }
    assert Scorecard({"quality": warned["quality"]}).warnings == ("in 2 of 2 models (A, B): the values are odd",)
    merged = Scorecard(warned, one.pairs).warnings[0]
    assert merged.startswith("in 4 of 4 numbers (")
    partial = replace(one["A", "quality"], provenance=replace(one.provenance, partial=True))
    assert "PARTIAL: the run of A ended early" in Scorecard({"quality": {"A": partial}}).summary()


ESTIMATE = "three"
WRONG: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "needs one or more scores", lambda e: ({},)),
    (ValueError, "needs one or more scores", lambda e: ({"q": {}},)),
    (TypeError, "estimates must be a dict of dicts, by score first", lambda e: ({"q": e},)),
    (TypeError, "'q' of 'A' must be an Estimate; got int", lambda e: ({"q": {"A": 3}},)),
    (ValueError, "pairs must be of the scores q; got 'r'", lambda e: ({"q": {"A": e, "B": e}}, {"r": {("A", "B"): e}})),
    (ValueError, "two of the models A, B.*got .'A', 'C'", lambda e: ({"q": {"A": e, "B": e}}, {"q": {("A", "C"): e}})),
    (ValueError, "once in one order", lambda e: ({"q": {"A": e, "B": e}}, {"q": {("A", "B"): e, ("B", "A"): e}})),
    (
        ValueError,
        "curves must be of estimates; got one of 'q' of 'B'",
        lambda e: ({"q": {"A": e}}, {}, {"q": {"B": curve(np.array([5]), 1.0)}}),
    ),
    (
        ValueError,
        "columns n, plug_in, estimate, low, high; got .'n'",
        lambda e: ({"q": {"A": e}}, {}, {"q": {"A": pd.DataFrame({"n": [3]})}}),
    ),
    (
        ValueError,
        r"pictures must be arrays .* got 'A' with shape \(3, 3\)",
        lambda e: ({"q": {"A": e}}, {}, {}, {"A": np.ones((3, 3))}),
    ),
]


@pytest.mark.parametrize(("error", "message", "arguments"), WRONG)
def test_wrong_fields_are_refused(error: type[Exception], message: str, arguments: Any) -> None:
    with pytest.raises(error, match=message):
        Scorecard(*arguments(card()["A", "frechet_distance"]))


def test_models_of_a_score_have_the_same_components() -> None:
    one, two = card()["A", "frechet_distance"], card()["A", "quality"]
    with pytest.raises(ValueError, match="the same components of 'q'"):
        Scorecard({"q": {"A": one, "B": two}})
    with pytest.raises(ValueError, match="a difference must have the components of its score"):
        Scorecard({"q": {"A": one, "B": one}}, {"q": {("A", "B"): two}})


def test_curves_are_taken_as_tuples_too() -> None:
    one = card()["A", "frechet_distance"]
    made = Scorecard({"q": {"A": one}}, {}, {"q": {"A": [(100, 2.0, 1.0, 0.5, 1.5)]}})
    assert made.curves["q"]["A"].to_dict("list") == {
        "n": [100],
        "plug_in": [2.0],
        "estimate": [1.0],
        "low": [0.5],
        "high": [1.5],
    }


@pytest.mark.parametrize(
    "change",
    [
        {"estimates": 3},
        {"estimates": []},
        {"estimates": [{"score": "q", "model": "A", "estimate": {}}]},
        {"estimates": [{"score": 1, "model": "A"}]},
        {"pairs": [{"score": "quality"}]},
        {"curves": [{"score": "quality", "model": "A"}]},
    ],
    ids=str,
)
def test_changed_files_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    card().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="the saved scorecard is incomplete, or was changed by hand .* save it again"):
        mcgen.load(path)

"""Warnings as results show them: marks, short forms, and one for all parts that have a warning of a kind."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import logistic

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen.errors import first_sentence, held_warnings, kind_of, warn_user
from mcgen.results.notes import MARK, marks_html, merged_warnings, short_form, with_marks
from mcgen.statistics import pixel_mean

LONG = "the replicate means of x have skewness up to 3.4, for which 10 replicates are few. " + "More words. " * 50


def quiet(make: Any, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        return make(*args, **options)


SKEWED = mcgen.as_generator(lambda z: np.exp(2 * z), noise=(2,), name="<skewed>")
PLAIN = mcgen.as_generator(logistic, noise=(8,), name="plain")


def test_a_short_form_is_the_first_sentence_on_one_line() -> None:
    assert short_form(LONG) == LONG.split(". ")[0]
    assert short_form("0.5 of x\n  is 3.4. Use more") == "0.5 of x is 3.4"
    assert short_form("no end") == "no end"


@pytest.mark.parametrize("text", ["word " * 100, "w" * 500, "word: " * 100])
def test_a_short_form_is_cut_between_words(text: str) -> None:
    cut = short_form(text)
    assert 100 < len(cut) <= 120
    assert cut.endswith("w ..." if " " not in text else "word ...")


def test_warnings_have_a_mark_and_a_line_each() -> None:
    assert with_marks("1 ± 2", []) == "1 ± 2"
    assert with_marks("1 ± 2", ["one. Two", "three"]) == f"1 ± 2\n{MARK} one\n{MARK} three"
    assert marks_html([]) == ""
    assert marks_html(["a <b> & c", "d"]) == "<p>&#9888; a &lt;b&gt; &amp; c</p><p>&#9888; d</p>"


def test_an_estimate_prints_its_warnings() -> None:
    options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 20, "interval": "student-t", "seed": 1}
    result = quiet(mcgen.estimate, SKEWED, lambda x: x[:, 0], **options)
    first, *others = str(result).splitlines()
    assert first.endswith("10 replicates of 2 points, Antithetic(), seed 1)")
    assert others == [f"{MARK} {short_form(text)}" for text in result.warnings]
    assert others[0] == f"{MARK} 10 replicates are few: they do not show how skewed the replicate means are"
    assert result._repr_html_().count("<p>&#9888; ") == len(result.warnings) == 2
    assert "skewness up to" in result._repr_html_()
    assert all(f"warning: {text}" in result.summary() for text in result.warnings)
    named = quiet(mcgen.estimate, SKEWED, lambda x: x, **options)
    assert "of &lt;lambda&gt;" in named._repr_html_().split("</table>")[1]


def test_results_without_warnings_print_as_before() -> None:
    result = mcgen.estimate(PLAIN, pixel_mean, design=Antithetic(), n_evaluations=640, seed=1)
    assert result.warnings == ()
    assert str(result).count("\n") == 0
    assert result._repr_html_().endswith("</table>")


def test_saved_warnings_print_alike(tmp_path: Path) -> None:
    result = quiet(mcgen.estimate, SKEWED, pixel_mean, design=Antithetic(), n_evaluations=20, condition=None, seed=1)
    result.save(tmp_path / "result.json")
    assert str(mcgen.load(tmp_path / "result.json")) == str(result)


def test_a_comparison_prints_a_kind_of_warning_once() -> None:
    options: dict[str, Any] = {"n_evaluations": 40, "interval": "student-t", "seed": 0}
    table = quiet(mcgen.compare, SKEWED, pixel_mean, designs=[MonteCarlo(), Antithetic()], **options)
    lines = [line for line in str(table).splitlines() if line.startswith(MARK)]
    assert len(table.warnings) == 2
    assert len(lines) == 2
    assert lines[0].startswith(f"{MARK} in 2 of 2 designs (MonteCarlo(), Antithetic()): the replicate means of")
    assert lines[1].startswith(f"{MARK} design Antithetic(): 20 replicates are few")
    assert table._repr_html_().count("<p>&#9888; ") == 2
    assert MARK not in table.summary()
    assert all(f"warning: {text}" in table.summary() for text in table.warnings)
    silent = mcgen.compare(PLAIN, pixel_mean, designs=[MonteCarlo(), Antithetic()], n_evaluations=640, seed=0)
    assert MARK not in str(silent)
    assert "&#9888;" not in silent._repr_html_()


def test_a_plan_prints_its_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = mcgen.plan(PLAIN, pixel_mean, n_evaluations=200, seed=0)
    before, page = str(plan), plan._repr_html_()
    assert MARK not in before
    monkeypatch.setattr(mcgen.Plan, "warnings", ("a <b>. More",))
    assert str(plan) == f"{before}\n{MARK} a <b>"
    assert plan._repr_html_() == f"{page}<p>&#9888; a &lt;b&gt;</p>"


def test_kinds_are_without_numbers_names_and_asides() -> None:
    one = "the means of a (3 of 5 components) have skewness up to 3, for which 1,000 are few. In 5 runs"
    two = "the means of ab have skewness up to 1.2e-05, for which 25 are few. In 10 runs"
    other = "all 25 means of ab are equal"
    assert kind_of(one, ["a", "ab"]) == kind_of(two, ["ab", "a"]) != kind_of(other, ["a", "ab"])
    assert kind_of(one) != kind_of(two)
    assert first_sentence(one).endswith("are few")


def test_parts_share_one_warning_of_a_kind() -> None:
    parts = [(f"c{i}", (f"{i + 10} are few. Use more", "the same")) for i in range(100)]
    few, same = merged_warnings(parts, "condition")
    assert few == "in 100 of 100 conditions (c0, c1, ...): 10 are few. Use more. The numbers are those of condition c0"
    assert same == "in 100 of 100 conditions (c0, c1, ...): the same"
    assert merged_warnings(parts[:1], "condition") == parts[0][1]
    assert merged_warnings([], "condition") == ()
    some = [("cat", ["a"]), ("dog", []), ("a horse with a very long name", ["a", "b"])]
    assert merged_warnings(some, "condition") == (
        "in 2 of 3 conditions (cat, a horse with a ...): a",
        "condition a horse with a ...: b",
    )
    assert merged_warnings(some, "condition", on_average=["a", "c"]) == (
        "in 2 of 3 conditions (cat, a horse with a ...) and the average: a",
        "condition a horse with a ...: b",
        "c",
    )


def test_held_warnings_are_given_later_and_others_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with held_warnings() as outer:
            for number in range(3):
                with held_warnings() as inner:
                    warn_user(f"{number} are few", mcgen.CoverageWarning)
                    warn_user(f"{number} rows differ", mcgen.GeneratorWarning)
                    warn_user(f"{number} may be 0", mcgen.CoverageWarning, at_once=True)
                assert inner.take() == [f"{number} are few"]
                assert inner.take() == []
            assert outer.take() == []
        assert [str(one.message) for one in caught] == ["0 rows differ", "0 may be 0"]
        warn_user("now", mcgen.CoverageWarning)
    assert [str(one.message) for one in caught][2:] == ["now"]

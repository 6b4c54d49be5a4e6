"""Rules that judge: their rates of false alarms and of catches, exactly; and the runner that goes through the promises."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from scipy.stats import binom

import mcgen
from mcgen.cli import main
from mcgen.inference.interval_input import Interval
from mcgen.validation.studies import promises, verdicts
from mcgen.validation.studies.verdicts import FALSE_ALARM, Z_LIMIT, Verdict, acceptance_band, control

PAGE = "before\n<!-- made by -->\n<!-- end -->\n<!-- promises -->\nold\n<!-- end -->\nafter\n"


def rejected(repetitions: int, coverage: float, **options: object) -> float:
    """Probability that a method of this coverage is rejected, from the binomial distribution."""
    low, high = (round(end * repetitions) for end in acceptance_band(repetitions, **options))
    return float(binom.cdf(low - 1, repetitions, coverage) + binom.sf(high, repetitions, coverage))


def test_the_declared_band() -> None:
    assert acceptance_band(12_000) == (0.9405, 0.9590)
    assert rejected(12_000, 0.95) < FALSE_ALARM
    assert rejected(12_000, 0.935) > 0.99
    assert rejected(12_000, 0.965) > 0.99


@pytest.mark.parametrize("repetitions", [50, 400, 2000, 12_000])
@pytest.mark.parametrize("nominal", [0.5, 0.95, 0.99])
def test_false_alarms_are_bounded_at_every_size(repetitions: int, nominal: float) -> None:
    assert rejected(repetitions, nominal, nominal=nominal) <= FALSE_ALARM
    assert rejected(repetitions, nominal, nominal=nominal, false_alarm=0.1) <= 0.1


def test_a_promise_of_at_least_takes_all_above() -> None:
    assert acceptance_band(12_000, at_least=True) == (0.9405, 1.0)
    assert verdicts.share("", 12_000, 12_000, at_least=True).holds
    assert not verdicts.share("", 12_000, 12_000).holds


def test_rules_hold_and_reject() -> None:
    values = np.random.default_rng(0).normal(size=400)
    error = values.std(ddof=1) / 20
    for rule, holds in (
        (verdicts.share("", 950, 1000), True),
        (verdicts.share("", 900, 1000), False),
        (verdicts.mean("", values, values.mean() + 0.99 * Z_LIMIT * error), True),
        (verdicts.mean("", values, values.mean() - 1.01 * Z_LIMIT * error), False),
        (verdicts.mean("", values, values.mean() - 1.01 * Z_LIMIT * error, error), True),
        (verdicts.mean("", np.ones(5), 1.0), True),
        (verdicts.mean("", np.ones(5), 1.1), False),
        (verdicts.inside("", 0.5, 0, 1), True),
        (verdicts.inside("", 1.5, 0, 1), False),
        (verdicts.at_most("", 1e-9, 1e-8), True),
        (verdicts.holding("", Interval(0.0, 1.0), 0.5), True),
        (verdicts.holding("", Interval(0.0, 1.0), 1.5), False),
    ):
        assert rule.holds is holds, rule
        assert control(rule).holds is not holds
        assert control(rule).rule == f"not {rule.rule}"


def test_what_is_no_finite_number_holds_neither_way() -> None:
    with np.errstate(over="ignore"):
        without_error = verdicts.mean("", np.array([-1e200, 1e200]), 5.0)
    for verdict in (
        without_error,
        verdicts.at_most("", np.nan, 1),
        verdicts.at_most("", -np.inf, 1),
        verdicts.at_most("", np.inf, 1),
        verdicts.inside("", np.nan, 0, 1),
        verdicts.mean("", np.array([0.0, np.nan, 1.0]), 0.5),
        verdicts.holding("", Interval(np.nan, np.nan), 0.5),
        verdicts.holding("", Interval(0.0, np.inf), 0.5),
    ):
        assert not verdict.holds, verdict
        assert not control(verdict).holds, verdict
        assert control(verdict).is_control
        assert not verdict.is_control


@pytest.mark.parametrize(
    ("judge", "error", "message"),
    [
        (lambda: acceptance_band(-5), ValueError, "repetitions must be at least 1; got -5"),
        (lambda: acceptance_band(10.0), TypeError, "repetitions must be an int; got 10.0"),
        (lambda: acceptance_band(100, false_alarm=2), ValueError, "false_alarm must be between 0 and 1; got 2"),
        (lambda: verdicts.share("", 5, 10, 95), ValueError, "nominal must be between 0 and 1; got 95: .* as 0.95"),
        (lambda: verdicts.share("", 0, 0), ValueError, "repetitions must be at least 1; got 0"),
        (lambda: verdicts.share("", 20, 10), ValueError, "hits must be from 0 to the 10 repetitions; got 20"),
        (lambda: verdicts.share("", -1, 10), ValueError, "hits must be from 0 to the 10 repetitions; got -1"),
        (lambda: verdicts.mean("", np.ones(0), 1.0), ValueError, r"n at least 2; got shape \(0,\)"),
        (lambda: verdicts.mean("", np.ones(1), 1.0), ValueError, r"n at least 2; got shape \(1,\)"),
        (lambda: verdicts.mean("", np.ones((3, 2)), 1.0), ValueError, r"shape \(n,\) .* got shape \(3, 2\)"),
        (lambda: verdicts.mean("", np.ones(3), np.nan), ValueError, "expected must be finite; got nan"),
        (lambda: verdicts.mean("", np.ones(3), 1.0, -1.0), ValueError, "expected_error must be at least 0; got -1"),
        (lambda: verdicts.inside("", 1.0, 2.0, 0.0), ValueError, "low must be at most high; got 2.0 and 0.0"),
        (lambda: verdicts.at_most("", 1.0, np.nan), ValueError, "limit must be finite; got nan"),
        (lambda: verdicts.holding("", Interval(0.0, 1.0), np.inf), ValueError, "expected must be finite; got inf"),
    ],
)
def test_rules_refuse_what_they_cannot_judge(judge: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        judge()


@functools.cache
def studied(title: str) -> tuple[list[Verdict], list[int]]:
    """Verdicts of a study in its short form, and how many replicates of each mean it judged directly."""
    counts = []
    simulate = promises.simulate

    def counted(problem: object, design: object, n: int, seed: int) -> object:
        counts.append(n)
        return simulate(problem, design, n, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promises, "simulate", counted)
        return promises.STUDIES[title](False, SEED), counts


@pytest.mark.parametrize("title", promises.STUDIES)
@pytest.mark.filterwarnings("ignore:.*the replicate means")
@pytest.mark.study
def test_study_holds_and_has_a_control(title: str) -> None:
    """In its short form; whether few replicates look skewed is chance, and another seed may bring the warning."""
    judged, _ = studied(title)
    assert [verdict for verdict in judged if not verdict.holds] == []
    assert any(verdict.is_control for verdict in judged)
    assert not all(verdict.is_control for verdict in judged)


@pytest.mark.study
def test_means_are_judged_from_thousands_of_replicates_of_every_design() -> None:
    judged, counts = studied("unbiased")
    assert min(counts) >= 4000
    assert any("integrated exactly" in verdict.promise for verdict in judged if not verdict.is_control)


@pytest.mark.study
def test_laws_have_a_control_of_every_kind() -> None:
    judged, _ = studied("laws of designs, statistics and generators")
    controls = [verdict for verdict in judged if verdict.is_control]
    assert [verdict.promise.partition("laws of ")[2] for verdict in controls] == [
        "noise cut off at 2",
        "a statistic of the batch",
        "batch normalization",
    ]


@pytest.mark.parametrize("check", [{"gap": np.nan}, {"gap": np.inf, "not_judged": "it did not repeat"}])
def test_a_law_that_was_not_judged_neither_holds_nor_is_rejected(check: dict[str, Any]) -> None:
    report = promises.check_statistic(mcgen.statistics.pixel_mean)
    unclear = replace(report, checks=(replace(report.checks[0], **check), *report.checks[1:]))
    assert not promises._lawful(unclear).holds
    assert not control(promises._lawful(unclear)).holds


def passing(full: bool, seed: int) -> list[Verdict]:
    return [verdicts.at_most("the error", 0.5, 1), control(verdicts.at_most("the wrong error", 2, 1))]


def failing(full: bool, seed: int) -> list[Verdict]:
    return [verdicts.at_most("the error", 2, 1), *passing(full, seed)[1:]]


def raising(full: bool, seed: int) -> list[Verdict]:
    raise ZeroDivisionError("in two\nlines")


def interrupted(full: bool, seed: int) -> list[Verdict]:
    raise KeyboardInterrupt


def of_studies(monkeypatch: pytest.MonkeyPatch, **studies: verdicts.Study) -> None:
    monkeypatch.setattr(promises, "STUDIES", studies)


def test_one_study_can_be_run_and_failing_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr(promises, "STUDIES", promises.STUDIES | {"a | b": failing})
    assert main(["validate", "--only", "The intervals that studies count"]) == 0
    assert "7 of 7 promises hold" in capsys.readouterr().out
    assert main(["validate", "--only", "a | b", "--page", str(page)]) == 1
    assert "1 of 2 promises hold\nFAILS the error" in capsys.readouterr().out
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| a \\| b | the error | 2 | at most 1 | FAILS |" in written
    assert "\nold\n" not in written
    assert "`mcgen validate --only 'a | b' --seed 0` with seed 0" in written
    assert main(["validate", "--only", "nothing like it"]) == 2
    assert "no study's name contains 'nothing like it'; give part of one of: laws of" in capsys.readouterr().err


def test_a_study_without_a_control_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    of_studies(monkeypatch, bare=lambda full, seed: passing(full, seed)[:1])
    assert main(["validate"]) == 1
    assert "1 of 2 promises hold\nFAILS 'bare' has a negative control\n" in capsys.readouterr().out


def test_a_study_that_raises_fails_and_the_others_are_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    of_studies(monkeypatch, one=passing, two=raising, three=passing)
    assert not promises.validate(page=str(page))
    printed = capsys.readouterr()
    assert "4 of 5 promises hold\nFAILS 'two' comes to its end\n" in printed.out
    assert 'raise ZeroDivisionError("in two' in printed.err
    assert "| raised ZeroDivisionError: in two lines | nothing is raised | FAILS |" in page.read_text()


def test_an_interrupted_run_says_what_had_been_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    of_studies(monkeypatch, one=failing, two=interrupted, three=passing)
    assert main(["validate", "--page", str(page)]) == 130
    printed = capsys.readouterr()
    assert "1 of 2 promises hold\nFAILS the error\n" in printed.out
    assert printed.err == "mcgen: interrupted after 1 of 3 studies\n"
    assert page.read_text() == PAGE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--page", "missing.md"], "mcgen: there is no page missing.md; name a file in Markdown"),
        (["--page", "."], r"mcgen: there is no page \."),
        (["--page", "bare.md"], "mcgen: bare.md has no place for 'made by'; write <!-- made by --> and <!-- end -->"),
        (["--seed", "-1"], "mcgen: --seed must be at least 0; got -1"),
    ],
)
def test_what_can_not_be_used_is_told_before_a_study_runs(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.md").write_text("no marks\n")
    of_studies(monkeypatch, one=passing)
    assert main(["validate", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.match(message, printed.err)
    assert printed.err.count("\n") == 1

"""Rules that judge: their rates of false alarms and of catches, exactly; and the runner that goes through the promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from mcgen.cli import main
from mcgen.intervals import Interval
from mcgen.validation import verdicts
from mcgen.validation.pages import fill_page, markdown_table
from mcgen.validation.verdicts import FALSE_ALARM, Z_LIMIT, acceptance_band, control

pytest.importorskip("statsmodels")

from mcgen.validation import promises


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
        (verdicts.at_most("", np.nan, 1e-8), False),
        (verdicts.holding("", Interval(0.0, 1.0), 0.5), True),
        (verdicts.holding("", Interval(0.0, 1.0), 1.5), False),
    ):
        assert rule.holds is holds, rule
        assert control(rule).holds is not holds
        assert control(rule).rule == f"not {rule.rule}"


def test_one_study_can_be_run_and_failing_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- made by -->\n<!-- end -->\n<!-- promises -->\nold\n<!-- end -->\nafter\n")
    fails = {"a | b": lambda full, seed: [verdicts.at_most("the error", 2.0, 1.0)]}
    monkeypatch.setattr(promises, "STUDIES", promises.STUDIES | fails)
    assert main(["validate", "--only", "averages over conditions"]) == 0
    assert "2 of 2 promises hold" in capsys.readouterr().out
    assert main(["validate", "--only", "a | b", "--page", str(page)]) == 1
    assert "0 of 1 promises hold\nFAILS the error" in capsys.readouterr().out
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| a \\| b | the error | 2 | at most 1 | FAILS |" in written
    assert "old" not in written
    assert "`mcgen validate --seed 0` with seed 0" in written
    assert main(["validate", "--only", "nothing like it"]) == 2
    assert "no study's title contains 'nothing like it'; the titles are " in capsys.readouterr().err


def test_pages_want_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- one -->")
    with pytest.raises(ValueError, match="has no place for 'one'; write <!-- one --> and <!-- end -->"):
        fill_page(page, {"one": markdown_table(["a"], [])})

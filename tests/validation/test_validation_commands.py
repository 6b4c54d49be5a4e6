"""``python -m mcgen.validation`` and the pages that it writes: refused before it measures, or written whole."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mcgen.validation.__main__ import main
from mcgen.validation.writing.markdown import chosen, fill_page, markdown_table, require_marks


def test_parts_are_written_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a <!-- one -->\nold\n<!-- end --> b <!-- two --><!-- end -->\n")
    require_marks(page, ["one", "two"])
    fill_page(page, {"two": "2", "one": markdown_table(["x"], [["1 | 2"]])})
    assert page.read_text() == (
        "a <!-- one -->\n\n| x |\n| --- |\n| 1 \\| 2 |\n\n<!-- end --> b <!-- two -->\n\n2\n\n<!-- end -->\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- one -->", "has no place for 'one'; write <!-- one --> and <!-- end -->"),
        ("text <!-- end -->", "has no place for 'one'; write"),
        (
            "<!-- one -->\nIMPORTANT TEXT\n## Section\n<!-- other -->\nx\n<!-- end -->",
            r"has no place for 'one' \(after <!-- one --> comes <!-- other -->\); write",
        ),
    ],
)
def test_a_page_without_its_own_marks_is_left_alone(text: str, message: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=message):
        require_marks(page, ["one"])
    with pytest.raises(ValueError, match=message):
        fill_page(page, {"one": "NEW"})
    assert page.read_text() == text


@pytest.mark.parametrize("name", ["missing.md", "."])
def test_pages_are_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no page .*; name a file in Markdown"):
        require_marks(tmp_path / name, [])


def test_names_are_chosen_by_a_part_in_capitals_or_not() -> None:
    assert chosen(["Pairs", "nets"], "pAIR", "design") == ["Pairs"]
    assert chosen(["Pairs", "nets"], "", "design") == ["Pairs", "nets"]
    with pytest.raises(ValueError, match="no design's name contains 'x'; give part of one of: Pairs; nets"):
        chosen(["Pairs", "nets"], "x", "design")


NEEDS = dict.fromkeys(("models", "benchmarks", "fid", "fitted", "steps", "editing"), "torch")


def written_pages(folder: Path) -> None:
    """All pages there are, with all marks."""
    for room in ("how-to", "explanation", "reference", "validation"):
        (folder / "docs" / room).mkdir(parents=True)
    titles = {
        "reference/models.md": "quality, correlations, efficiencies, plane, negated noise of DDPM, inverse problems, conformance",
        "explanation/interval.md": "skewed pairs, efficiencies of pairs",
        "how-to/report-an-fid.md": "made by, number of samples, designs, three models",
        "how-to/quantiles.md": "made by, quantiles, shortfalls, sums, stopping, in words",
        "validation/distances.md": "made by, verdicts, coverage, bias and width, limits, gains, references, differences, "
        "kernels, controls, real features, many features",
        "validation/coverage.md": "made by, in words, by replicates, least covered, problems",
    }
    for page, named in titles.items():
        marks = [f"<!-- {title} -->\n<!-- end -->\n" for title in named.split(", ")]
        (folder / "docs" / page).write_text("".join(marks))


@pytest.mark.parametrize(
    "kind",
    [
        "benchmarks",
        "coverage",
        "distances",
        "editing",
        "efficiency-coverage",
        "fid",
        "fitted",
        "journeys",
        "models",
        "quantiles",
        "steps",
        "truths",
    ],
)
def test_unknown_names_are_refused_before_anything_is_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS.get(kind, "numpy"))
    monkeypatch.chdir(tmp_path)
    written_pages(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main([kind, "--only", "nonsense"]) == 2
    error = capsys.readouterr().err
    assert "'s name contains 'nonsense'; give part of one of: " in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "kind", ["coverage", "distances", "editing", "efficiency-coverage", "fid", "fitted", "models", "quantiles", "steps"]
)
def test_missing_pages_are_told_before_anything_is_measured(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS.get(kind, "numpy"))
    (tmp_path / "validation").mkdir()
    assert main([kind, "--folder", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"python -m mcgen.validation: there is no page {tmp_path}")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "validation"]


def test_workers_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--workers", "0"]) == 2
    assert "--workers must be at least 1; got 0" in capsys.readouterr().err


def coverages(names: list[str]) -> pd.DataFrame:
    rows = [{"problem": name, "replicates": n, "own run": 0.8} for name in names for n in (1600, 10)]
    return pd.DataFrame(rows).assign(**{"over Monte Carlo": 0.9, "F interval": 0.5})


def test_coverages_of_the_efficiency_are_written_where_all_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mcgen.validation.studies import efficiency_formulas as efficiency_studies

    monkeypatch.setattr(efficiency_studies, "efficiency_coverage_table", coverages)
    written_pages(tmp_path)
    page = tmp_path / "docs" / "explanation" / "interval.md"
    arguments = ["efficiency-coverage", "--folder", str(tmp_path / "docs")]
    before = page.read_text()
    assert main([*arguments, "--only", "EXP"]) == 0
    assert page.read_text() == before
    printed = capsys.readouterr().out
    assert "0.800" in printed
    assert "odd-and-even" not in printed
    assert main(arguments) == 0
    table = page.read_text().partition("<!-- efficiencies of pairs -->")[2]
    assert (
        "| replicates | w + w²/2, own run | w + w²/2, over Monte Carlo | w + w²/2, F interval | exp(w/2), own" in table
    )
    assert table.index("| 10 | 0.800 | 0.900 | 0.500 | 0.800 |") < table.index("| 1,600 | 0.800 |")


def test_only_chooses_in_every_kind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from mcgen.validation import problems
    from mcgen.validation.measurements import speed as benchmarks

    made = []
    monkeypatch.setattr(benchmarks, "TABLES", {name: lambda: pd.DataFrame([{"s": 1.0}]) for name in ("Loop", "Draw")})
    monkeypatch.setattr(problems, "simulate_truths", made.append)
    assert main(["benchmarks", "--only", "loop"]) == 0
    assert main(["truths", "--only", "Digits"]) == 0
    out = capsys.readouterr().out
    assert "Loop" in out
    assert "Draw" not in out
    assert made == ["digits"]

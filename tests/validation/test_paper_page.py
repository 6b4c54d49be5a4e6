"""The page of the paper's tables: its marks, its numbers, and that it says what the stored numbers say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from mcgen.validation.pages.paper import MODELS, PARTS, TABLES, write_tables

DOCS = Path(__file__).parents[2] / "docs" / "explanation"


def test_the_page_has_a_place_for_each_table_and_numbers_for_each_part() -> None:
    text = (DOCS / "paper.md").read_text()
    assert [title for title in TABLES if f"<!-- {title} -->" not in text] == []
    numbers = json.loads((DOCS / "paper.json").read_text())
    assert sorted(numbers) == sorted(PARTS)


def test_the_page_is_what_the_stored_numbers_make(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "explanation")
    write_tables(tmp_path)
    assert (tmp_path / "explanation" / "paper.md").read_text() == (DOCS / "paper.md").read_text()


def test_the_findings_hold_on_every_model() -> None:
    numbers = json.loads((DOCS / "paper.json").read_text())
    for label in MODELS:
        found = numbers[label]["pairs"]
        for measure in ("standard", "centralized"):
            assert found[f"negated, {measure}"]["high"] < found[f"independent, {measure}"]["low"]
        assert found["negated, centralized"]["high"] < 0
        centred = found["independent, centralized"]
        assert centred["low"] - 0.02 < 0 < centred["high"] + 0.02

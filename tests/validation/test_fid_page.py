"""The measured part of the page about FID: tables and pictures from stored numbers, and what is measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

import mcgen
from mcgen.validation.pages import fid

DOCS = Path(__file__).parents[2] / "docs"
RUN = {"mean": 5.0, "low": 4.0, "high": 6.0, "plug_in": 7.0}
MISSED = {"mean": 8.0, "low": 7.0, "high": 9.0, "plug_in": 10.0}
EFFICIENCIES = {str(design): [2.0, 1.5, 2.5] for design in (mcgen.Antithetic(), mcgen.KAntithetic(8), mcgen.Sobol(64))}
DIFFERENCE = {
    "first": "a",
    "second": "b",
    "component": "FID",
    "difference": 1.23456,
    "low": 1.0,
    "high": 1.5,
    "noise": "same noise",
    "verdict": "higher",
}
NUMBERS = {
    "made by": "Made by a command.",
    "number of samples": {"FID": {"pool": RUN} | {n: [RUN, MISSED] for n in ("64", "128", "256", "512", "1024")}},
    "designs": {"`model`, FID": EFFICIENCIES},
    "three models": {"numbers": "| model |", "differences": {"FID": [DIFFERENCE]}, "best": {"FID": ["b"]}},
}


def test_tables_and_pictures_are_made_from_stored_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, pictures = tmp_path / "how-to" / "report-an-fid.md", tmp_path / "images"
    pictures.mkdir()
    page.parent.mkdir()
    page.write_text("".join(f"<!-- {title} -->\n<!-- end -->\n" for title in fid.TABLES))
    (page.parent / "fid.json").write_text(json.dumps(NUMBERS))
    fid.write_pictures(tmp_path)
    fid.write_tables(tmp_path)
    text = page.read_text()
    assert "| FID, 1,024 | 8.5 | 6.5 | 5.5 | 7.5 | 1 of 2 |" in text
    assert "| `model`, FID | 2 [1.5, 2.5] | 2 [1.5, 2.5] | 2 [1.5, 2.5] |" in text
    assert "| FID | a - b | 1.23 [1, 1.5] | same noise | higher |" in text
    assert "Made by a command." in text
    assert {one.name for one in pictures.iterdir()} == {"fid-against-n.png", "fid-of-many-runs.png"}


def test_the_page_is_what_the_stored_numbers_make(tmp_path: Path) -> None:
    shutil.copytree(DOCS / "how-to", tmp_path / "how-to")
    fid.write_tables(tmp_path)
    assert (tmp_path / "how-to" / "report-an-fid.md").read_text() == (DOCS / "how-to" / "report-an-fid.md").read_text()
    assert {*fid.PARTS, "made by"} == {*json.loads((DOCS / "how-to" / "fid.json").read_text())}


def test_both_distances_share_the_features_of_the_reference() -> None:
    scores = fid.scores_by("mnist-classifier")
    assert scores["FID"].target is scores["KID"].target
    assert len(scores["FID"].target.values) == 1000

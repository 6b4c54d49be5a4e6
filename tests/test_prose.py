"""The pages are written in plain English: sentences are short, and every picture says in words what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PAGES = [page for page in PAGES if "_build" not in page.parts and "generated" not in page.parts]
# Above these a reader has to go back: the most words of a sentence, and the share of those over 25.
LONGEST, LONG, MOST_LONG = 40, 25, 0.12
# Words and turns that the pages once had, and that no reader from the field knows.
DIALECT = (
    "leaves behind",
    "at no place",
    "of these the",
    "is what is",
    "what is what",
    "tells what",
    "that is worth",
    "some eight times in ten",
    "the less where",
)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")


def sentences(text: str) -> list[str]:
    """The sentences of a page, without code, tables, headings and formulas."""
    for pattern, instead in (
        (r"<!--.*?-->", ""),
        (r"(?ms)^(```+|~~~+).*?^\1", "\n\n"),
        (r"(?m)^:{3,}.*$|^:[a-z-]+:.*$", "\n\n"),
        (r"(?s)\$\$.*?\$\$", "formula"),
        (r"\$[^$\n]*\$", "formula"),
        (r"`[^`]*`", "code"),
        (r"!\[[^\]]*\]\([^)]*\)", ""),
        (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
        (r"(?m)^\s*[|#].*$", "\n\n"),
    ):
        text = re.sub(pattern, instead, text)
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*[-*] )|\n(?=\s*\d+\. )", text)
    found = [re.split(r"(?<=[.!?])\s+", " ".join(one.split())) for one in paragraphs]
    return [one for part in found for one in part if one]


def test_sentences_are_found() -> None:
    text = "# A title\n\nOne sentence, `a. b`. Two of\nthem.\n\n```python\ncode. More code.\n```\n\n- a list $x. y$\n\n| a | b. c |\n"
    assert sentences(text) == ["One sentence, code.", "Two of them.", "- a list formula"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_plain(page: Path) -> None:
    text = page.read_text()
    found = sentences(text)
    too_long = [one for one in found if len(one.split()) > LONGEST]
    assert too_long == []
    long = [one for one in found if len(one.split()) > LONG]
    assert len(long) <= max(2, MOST_LONG * len(found)), long
    lower = " ".join(found).lower()
    assert [words for words in DIALECT if words in lower] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_have_alternative_texts(page: Path) -> None:
    texts = [" ".join(text.split()) for text, _ in IMAGE.findall(page.read_text())]
    assert [text for text in texts if len(text.split()) < 4] == []

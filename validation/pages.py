"""Pages of the documentation whose tables are written by a program: tables in Markdown, between marks in the page."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy

import mcgen

_END = "<!-- end -->"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar inside a cell is kept out of the columns."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fill_page(page: Path, parts: Mapping[str, str]) -> None:
    """Write each part between its marks ``<!-- title -->`` and ``<!-- end -->`` in a page.

    Raises
    ------
    ValueError
        If the page lacks a mark.
    """
    text = page.read_text()
    for title, part in parts.items():
        start = f"<!-- {title} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(_END)
        if not (found and closed):
            raise ValueError(f"{page} has no place for {title!r}; write {start} and {_END} where it shall stand")
        text = f"{before}{start}\n\n{part}\n\n{_END}{after}"
    page.write_text(text)


def made_by(command: str, seed: int) -> str:
    """Return what made a page: command, seed and versions."""
    versions = f"mcgen {mcgen.__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    return f"Made by `{command}` with seed {seed}: {versions}, scipy {scipy.__version__}."

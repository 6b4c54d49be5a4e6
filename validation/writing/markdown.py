"""Pages of the documentation whose tables are written by a program: tables in Markdown, between marks in the page.

What takes long checks the marks before it measures, and what it was asked to measure by `chosen`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy

import mcgen

_END = "<!-- end -->"
_MARK = re.compile(r"<!--.*?-->", re.DOTALL)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar inside a cell is kept out of the columns."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def require_marks(page: Path, titles: Iterable[str]) -> None:
    """Refuse a page that `fill_page` could not write these parts into.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PermissionError
        If it can't be written.
    ValueError
        If it lacks a mark, or one has no end of its own.
    """
    text = _text(page)
    for title in titles:
        _around(page, text, title)


def fill_page(page: Path, parts: Mapping[str, str]) -> None:
    """Write each part between its marks ``<!-- title -->`` and ``<!-- end -->`` in a page.

    Raises
    ------
    FileNotFoundError, PermissionError, ValueError
        As `require_marks`; the page then stays as it was.
    """
    text = _text(page)
    for title, part in parts.items():
        before, after = _around(page, text, title)
        text = f"{before}\n\n{part}\n\n{after}"
    page.write_text(text)


def _text(page: Path) -> str:
    if not page.is_file():
        raise FileNotFoundError(f"there is no page {page}; name a file in Markdown that has marks to write between")
    with page.open("r+") as file:
        return file.read()


def _around(page: Path, text: str, title: str) -> tuple[str, str]:
    """Return the text up to a start mark, included, and from its own end mark on."""
    start = f"<!-- {title} -->"
    before, found, rest = text.partition(start)
    # Without its own end, all up to the end of another part would be written over.
    mark = _MARK.search(rest)
    if not found or mark is None or mark[0] != _END:
        between = f" (after {start} comes {mark[0]})" if found and mark is not None else ""
        raise ValueError(f"{page} has no place for {title!r}{between}; write {start} and {_END} where it shall stand")
    return before + start, rest[mark.start() :]


def chosen(names: Iterable[str], only: str, what: str) -> list[str]:
    """Return the names that contain `only`, in capitals or not.

    Parameters
    ----------
    names : iterable of str
        All there are.
    only : str
        Part of the names that are wanted; empty for all.
    what : str
        What has such a name, for the message.

    Raises
    ------
    ValueError
        If no name contains it.
    """
    known = list(names)
    found = [name for name in known if only.casefold() in name.casefold()]
    if not found:
        raise ValueError(f"no {what}'s name contains {only!r}; give part of one of: {'; '.join(known)}")
    return found


def made_by(command: str, seed: int) -> str:
    """Return what made a page: command, seed and versions."""
    versions = f"mcgen {mcgen.__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    return f"Made by `{command}` with seed {seed}: {versions}, scipy {scipy.__version__}."

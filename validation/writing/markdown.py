"""Markdown tables, and pages of the documentation in which programs write them between marks.

A long measurement first checks the marks of its page, and by `chosen` the names that it was asked for.
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
    """Return a table in Markdown; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def require_marks(page: Path, titles: Iterable[str]) -> None:
    """Raise an exception if `fill_page` could not write these parts into a page.

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
        As for `require_marks`; the page then stays as it was.
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
    # Without an end mark of its own, everything up to the end of another part would be overwritten.
    mark = _MARK.search(rest)
    if not found or mark is None or mark[0] != _END:
        between = f" (after {start} comes {mark[0]})" if found and mark is not None else ""
        raise ValueError(f"{page} has no place for {title!r}{between}; write {start} and {_END} where it belongs")
    return before + start, rest[mark.start() :]


def chosen(names: Iterable[str], only: str, what: str) -> list[str]:
    """Return the names that contain `only`, whatever the case of its letters.

    Parameters
    ----------
    names : iterable of str
        All names.
    only : str
        Part of the names that are wanted; empty for all.
    what : str
        What is named, for the message, such as "problem".

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
    """Return a sentence that says what made a page: command, seed and versions."""
    versions = f"mcgen {mcgen.__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    return f"Made by `{command}` with seed {seed}: {versions}, scipy {scipy.__version__}."

"""Files that a command writes at its end, tried before it runs."""

from __future__ import annotations

import os
from pathlib import Path

from mcgen._lib.serialization import require_no_store
from mcgen.results.figures.base import require_matplotlib
from mcgen.results.scorecard import Scorecard

FORMATS = {
    ".html": "the report, with figures",
    ".json": "the scorecard, for mcgen.load",
    ".md": "the table as Markdown",
    ".tex": "the table as LaTeX",
}
"""Endings of the files that a scorecard is written to, with what is in them."""


def require_writable(path: str, option: str) -> None:
    """Raise an exception if a file can't be written. A file that is there stays as it is, and no new one is left.

    Parameters
    ----------
    path : str
        The file.
    option : str
        The flag that named it, for messages.

    Raises
    ------
    ValueError
        If the folder does not exist, or the file is a folder, is a store, or can't be written.
    """
    place = Path(path).resolve()
    if not place.parent.is_dir():
        raise ValueError(f"the folder of {option} {path} does not exist; make it first")
    if place.is_dir():
        raise ValueError(f"{option} {path} is a folder; name a file in it")
    require_no_store(place)
    is_new = not place.exists()
    # Opening a pipe would wait for its reader.
    if not is_new and not place.is_file():
        if not os.access(place, os.W_OK):
            raise ValueError(f"{option} {path} can't be written; choose another file")
        return
    try:
        place.open("ab").close()
        if is_new:
            place.unlink()
    except OSError as error:
        raise ValueError(f"{option} {path} can't be written ({error.strerror}); choose another file") from error


def require_json_name(path: str, option: str) -> None:
    """Refuse a name with the ending of another format for a file of JSON; a name without an ending will do.

    Raises
    ------
    ValueError
        If the name ends as that of another format does.
    """
    ending = Path(path).suffix
    if ending[1:2].isalpha() and ending.lower() != ".json":
        raise ValueError(
            f"{option} {path} would hold JSON; name it {Path(path).with_suffix('.json')}. For a table give "
            "a --store, and export it by mcgen export --csv"
        )


def require_ending(path: str, option: str) -> None:
    """Refuse a name that does not say in which of the formats of a scorecard to write.

    Raises
    ------
    ValueError, ImportError
        If there is no such format, or a report needs matplotlib, which is not installed.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        known = ", ".join(f"{name} ({what})" for name, what in FORMATS.items())
        raise ValueError(f"{option} {path} has no ending of a format; give a file that ends in {known}")
    if ending == ".html":
        require_matplotlib()


def write_scorecard(card: Scorecard, path: str, citation: str) -> None:
    """Write a scorecard in the format that the name of the file ends with."""
    ending = Path(path).suffix.lower()
    if ending == ".html":
        card.report(path, citation=citation)
    elif ending == ".json":
        card.save(path)
    else:
        text = card.to_markdown() if ending == ".md" else card.to_latex()
        Path(path).write_text(f"{text}\n", encoding="utf-8")


def require_folder(path: str, option: str) -> None:
    """Make a folder, and raise an exception if no file can be written into it.

    Raises
    ------
    ValueError
        If the folder can't be made or can't be written.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option} {path} can't be made ({error.strerror}); choose another folder") from error
    require_writable(str(Path(path) / "report.html"), option)

"""The tables of ``docs/how-to/functionals.md``, and the map of coverage in ``docs/validation/functionals.md``.

``python -m mcgen.validation functionals`` measures them again in some ten minutes (``--only NAME`` prints the map of
functionals whose name contains NAME).
"""

from __future__ import annotations

import math
from pathlib import Path

from mcgen.validation.studies.functional_laws import FUNCTIONALS, LAWS
from mcgen.validation.studies.functionals import DESIGNS, PROMISED, Cell, cell
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

_REPLICATES = (25, 50, 200, 1000)
# Nets of 64 points take the time of as many replicates; at 200 of them all intervals are nearly Student's.
_MOST_NETS = 200
_MAP_MARKS, _MARKS = ("made by", "in words", "map"), ("coverage of functionals",)

Cells = dict[tuple[str, str, str, int], Cell]
"""Outcomes by functional, law, design and number of replicates."""


def write_page(folder: Path, only: str = "", seed: int = 0, runs: int = 10_000) -> None:
    """Measure the coverage of functionals, and write the tables of both pages.

    Parameters
    ----------
    folder : path
        Folder of the documentation.
    only : str
        Part of the names of the functionals to measure. If it leaves some out, the map is printed, and the pages are
        left as they were.
    seed : int
        Seed of all runs.
    runs : int
        Runs in each cell; a fifth of them for nets.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no functional of such a name.
    """
    page, whole = folder / "how-to" / "functionals.md", folder / "validation" / "functionals.md"
    require_marks(page, _MARKS)
    require_marks(whole, _MAP_MARKS)
    names = chosen(FUNCTIONALS, only, "functional")
    cells = {key: cell(*key, runs // 5 if "nets" in key[2] else runs, seed) for key in _asked(names)}
    print(_map(cells, names), flush=True)
    if len(names) < len(FUNCTIONALS):
        return
    errors = " and ".join(f"{math.sqrt(0.0475 / n):.4f}" for n in (runs, runs // 5))
    made = (
        f"{made_by('python -m mcgen.validation functionals', seed)} Each cell has {runs:,} runs, and {runs // 5:,} "
        f"for nets. Standard errors of a coverage of 0.95 are {errors}."
    )
    fill_page(whole, {"made by": made, "in words": _in_words(cells, names), "map": _map(cells, names)})
    fill_page(page, {_MARKS[0]: _short(cells, names)})


def _asked(names: list[str]) -> list[tuple[str, str, str, int]]:
    return [
        (name, law, design, n)
        for name in names
        for law in LAWS
        for design in DESIGNS
        for n in _REPLICATES
        if n <= _MOST_NETS or "nets" not in design
    ]


def _share(found: Cell) -> str:
    return f"{found.covered:.3f}" if found.runs else "-"


def _map(cells: Cells, names: list[str]) -> str:
    """Return all coverages, by functional and law, with those of all numbers of replicates in a cell."""
    rows = []
    for name in names:
        for law in LAWS:
            found = [[cells.get((name, law, design, n)) for n in _REPLICATES] for design in DESIGNS]
            rows.append([name, law, *(", ".join(_share(one) for one in each if one is not None) for each in found)])
    return markdown_table(["functional", "values", *DESIGNS], rows)


def _short(cells: Cells, names: list[str]) -> str:
    """Return the coverages with 50 replicates."""
    rows = [
        [name, law, *(_share(cells[name, law, design, 50]) for design in DESIGNS)] for name in names for law in LAWS
    ]
    return markdown_table(["functional", "values", *DESIGNS], rows)


def _in_words(cells: Cells, names: list[str]) -> str:
    """Return the functionals and laws whose coverage falls below the promised one from 50 replicates on."""
    rows: list[list[str]] = []
    for name in names:
        for law in LAWS:
            some = {key: one for key, one in cells.items() if key[:2] == (name, law) and key[3] >= 50 and one.runs}
            below = {key: one for key, one in some.items() if one.covered < PROMISED[0]}
            if below:
                (_, _, design, n), worst = min(below.items(), key=lambda pair: pair[1].covered)
                last = max(key[3] for key in below)
                rows.append([name, law, f"{worst.covered:.3f}", f"{design}, {n:,} replicates", f"{last:,}"])
    fine = [name for name in names if name not in {row[0] for row in rows}]
    text = f"Nowhere below {PROMISED[0]}: {', '.join(fine) if fine else 'none of the functionals'}."
    return f"{markdown_table(['functional', 'values', 'least coverage', 'where', 'below up to R ='], rows)}\n\n{text}"

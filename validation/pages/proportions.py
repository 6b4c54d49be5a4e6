"""The page ``docs/validation/proportions.md``: coverage of intervals for probabilities, as tables and in words.

``python -m mcgen.validation proportions`` measures it again in some ten minutes (``--only NAME`` prints the tables of
laws whose name contains NAME).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcgen.validation.studies.event_laws import ADVERSARY, LAWS, PROBABILITIES
from mcgen.validation.studies.proportions import (
    AVERAGES,
    REPLICATES,
    STOPPED_LAWS,
    TOLERANCES,
    Cell,
    any_dependence,
    averaged,
    fixed,
    stopped,
    student,
)
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

# Upper ends of the classes of cells by the expected number of events, or of non-events where these are fewer.
_CLASSES = {"0 to 1": 1.0, "1 to 5": 5.0, "5 to 20": 20.0, "20 to 100": 100.0, "100 or more": math.inf}
_MARKS = ("made by", "in words", "fixed", "averages", "stopping", "adversary")


def write_page(folder: Path, only: str = "", seed: int = 0, runs: int = 20_000) -> None:
    """Measure coverage with fixed numbers of replicates, of averages and at the stop, and write the page.

    Parameters
    ----------
    folder : path
        Folder of the documentation.
    only : str
        Part of the names of the laws to measure. If it leaves some out, the tables are printed, and the page is left as
        it was.
    seed : int
        Seed of all runs.
    runs : int
        Runs in each cell; half of them in those of runs that stop.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no law of such a name.
    """
    page = folder / "validation" / "proportions.md"
    require_marks(page, _MARKS)
    names = chosen(LAWS, only, "law")
    cells = {
        name: [(fixed(name, p, n, runs, seed), fixed(name, p, n, runs, seed, student)) for p, n in _asked()]
        for name in names
    }
    stops = {
        name: [stopped(name, *asked, runs // 2, seed) for asked in TOLERANCES] for name in STOPPED_LAWS if name in names
    }
    parts = {"fixed": _fixed_table(cells), "stopping": _stopping_table(stops)}
    print("\n\n".join(parts.values()), flush=True)
    if len(names) < len(LAWS):
        return
    means = [averaged(name, runs, seed) for name in AVERAGES]
    rows = [[one.law, f"{one.p:.3g}", f"{one.events:.1f}", f"{one.covered:.3f}"] for one in means]
    parts["averages"] = markdown_table(["average", "probability", "expected events", "coverage"], rows)
    parts["adversary"] = _adversary_table(runs, seed)
    naive = stopped("independent points", *TOLERANCES[0], runs // 2, seed, student)
    parts["in words"] = _in_words(cells, means, stops, naive)
    errors = " and ".join(f"{math.sqrt(0.0475 / n):.4f}" for n in (runs, runs // 2))
    parts["made by"] = (
        f"{made_by('python -m mcgen.validation proportions', seed)} Each cell has {runs:,} runs, and {runs // 2:,} "
        f"where runs stop. Standard errors of a coverage of 0.95 are {errors}."
    )
    fill_page(page, parts)
    print(f"\n{parts['averages']}\n\n{parts['adversary']}\n\n{parts['in words']}", flush=True)


def _asked() -> list[tuple[float, int]]:
    return [(p, n) for p in PROBABILITIES for n in REPLICATES]


def _fixed_table(cells: dict[str, list[tuple[Cell, Cell]]]) -> str:
    """Return the least coverage of both intervals and the median width, by law and expected number of events."""
    rows, lower = [], 0.0
    bands = {}
    for title, upper in _CLASSES.items():
        bands[title] = (lower, upper)
        lower = upper
    for name, found in cells.items():
        row = [name]
        for low, high in bands.values():
            some = [pair for pair in found if low <= pair[0].events < high]
            row.append(_summary(some) if some else "-")
        rows.append(row)
    return markdown_table(["design and event", *bands], rows)


def _summary(cells: Sequence[tuple[Cell, Cell]]) -> str:
    least = [min(pair[i].covered for pair in cells) for i in (1, 0)]
    width = float(np.median([pair[0].cost for pair in cells]))
    return f"{least[0]:.3f}; {least[1]:.3f} ({width:.2f})"


def _stopping_table(stops: dict[str, list[Cell]]) -> str:
    rows = [
        [f"{p:g}", f"{tolerance}", *(f"{cells[i].covered:.3f}, {cells[i].cost:.2f}" for cells in stops.values())]
        for i, (p, tolerance) in enumerate(TOLERANCES)
    ]
    return markdown_table(["p", "tolerance", *stops], rows)


def _adversary_table(runs: int, seed: int) -> str:
    rows = [
        [
            f"{p:g}",
            *(
                f"{fixed(ADVERSARY, p, n, runs, seed).covered:.3f}, "
                f"{fixed(ADVERSARY, p, n, runs, seed, any_dependence).covered:.3f}"
                for n in REPLICATES
            ),
        ]
        for p in PROBABILITIES
    ]
    return markdown_table(["p", *(f"R = {n:,}" for n in REPLICATES)], rows)


def _in_words(
    cells: dict[str, list[tuple[Cell, Cell]]], means: Sequence[Cell], stops: dict[str, list[Cell]], naive: Cell
) -> str:
    groups = {
        "fixed numbers of replicates": [pair[0] for found in cells.values() for pair in found],
        "averages": means,
        "runs that stop": [cell for found in stops.values() for cell in found],
    }
    lines = []
    for what, found in groups.items():
        worst = min(found, key=lambda cell: cell.covered)
        asked = f", {worst.asked}" if worst.asked else ""
        lines.append(f"- {what}: least coverage {worst.covered:.3f} ({worst.law}, p = {worst.p:.3g}{asked}).")
    lines.append(
        f"- a control, Student's t watched until it is narrow enough: {naive.covered:.3f} ({naive.law}, "
        f"p = {naive.p:g}, {naive.asked})."
    )
    return "\n".join(lines)

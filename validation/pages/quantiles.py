"""The tables of the page ``docs/how-to/quantiles.md``: coverage of intervals for quantiles and expected shortfalls.

``python -m mcgen.validation quantiles`` measures them again in about a quarter of an hour (``--only NAME`` prints the
tables of laws whose name contains NAME).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcgen.functionals import expected_shortfall
from mcgen.validation.studies.quantiles import (
    DESIGNS,
    LAWS,
    QUANTILES,
    SUMS,
    TOLERANCES,
    Cell,
    as_if_independent,
    cell_of_sum,
    cells,
    stopped,
    student,
    together,
)
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

_MARKS = ("made by", "quantiles", "shortfalls", "sums", "stopping", "in words")
_SIZES = (400, 2000, 10_000)
_OF_SHORTFALLS = (0.9, 0.95, 0.99)


def write_page(folder: Path, only: str = "", seed: int = 0, runs: int = 1000) -> None:
    """Measure coverage and write the tables of the page.

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
        Runs in each cell; a quarter of them with 10,000 evaluations, and where each is a call of its own.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no law of such a name.
    """
    page = folder / "how-to" / "quantiles.md"
    require_marks(page, _MARKS)
    names = chosen(LAWS, only, "law")
    of_quantiles = _all(names, runs, seed)
    of_shortfalls = _all(names, runs, seed, functional=expected_shortfall, probabilities=_OF_SHORTFALLS)
    parts = {"quantiles": _table(of_quantiles, QUANTILES), "shortfalls": _table(of_shortfalls, _OF_SHORTFALLS)}
    print("\n\n".join(parts.values()), flush=True)
    if len(names) < len(LAWS):
        return
    parts["sums"] = _sums_table(runs, seed)
    parts["stopping"] = _stopping_table(runs // 4, seed)
    parts["in words"] = _in_words(of_quantiles, of_shortfalls, runs, seed)
    errors = " and ".join(f"{np.sqrt(0.0475 / n):.3f}" for n in (runs, runs // 4))
    parts["made by"] = (
        f"{made_by('python -m mcgen.validation quantiles', seed)} Each cell is {runs:,} runs, or {runs // 4:,} "
        f"where a run has 10,000 evaluations, stops by itself or has 8 components. The standard errors of a coverage "
        f"of 0.95 are {errors}."
    )
    fill_page(page, parts)
    print("\n\n".join(parts.values()), flush=True)


def _all(names: Sequence[str], runs: int, seed: int, **options: Any) -> list[Cell]:
    return [
        cell
        for design in DESIGNS
        for n in _SIZES
        for name in names
        for cell in cells(name, design, n, runs if n < 10_000 else runs // 4, seed, **options)
    ]


def _table(found: Sequence[Cell], probabilities: Sequence[float]) -> str:
    """Return the least and the median coverage over the laws, by design, evaluations and probability."""
    rows = []
    for design, n in dict.fromkeys((cell.design, cell.n_evaluations) for cell in found):
        here = [cell for cell in found if (cell.design, cell.n_evaluations) == (design, n)]
        rows.append([f"{design}, {n:,}", *(_summary([cell for cell in here if cell.q == q]) for q in probabilities)])
    return markdown_table(["design, evaluations", *(f"q = {q:g}" for q in probabilities)], rows)


def _summary(found: Sequence[Cell]) -> str:
    if not found:
        return "-"
    covered = [cell.covered for cell in found]
    without = sum(cell.without_end for cell in found) / sum(cell.runs for cell in found)
    note = f" ({100 * without:.0f} % without an end)" if without >= 0.005 else ""
    return f"{min(covered):.3f}; {np.median(covered):.3f}{note}"


def _sums_table(runs: int, seed: int) -> str:
    """Return the least coverage over two statistics and the probabilities 0.5, 0.9 and 0.99."""
    rows = []
    for kind in SUMS:
        row = [kind]
        for design in DESIGNS:
            for n in (400, 2000):
                found = [
                    cell_of_sum(kind, name, design, n, q, runs, seed)
                    for name in ("normal", "even")
                    for q in (0.5, 0.9, 0.99)
                ]
                row.append(f"{min(cell.covered for cell in found):.3f}")
        rows.append(row)
    return markdown_table(["quantile of", *(f"{design}, {n:,}" for design in DESIGNS for n in (400, 2000))], rows)


def _stopping_table(runs: int, seed: int) -> str:
    rows = []
    for name, q, atol in TOLERANCES:
        found = [stopped(name, design, q, atol, runs, seed) for design in DESIGNS]
        rows.append(
            [
                f"{q:g} quantile of {name}, atol = {atol:g}",
                *(f"{one.covered:.3f} ({one.n_evaluations:,})" for one in found),
            ]
        )
    found = [together(design, 2000, 0.9, runs, seed) for design in DESIGNS]
    rows.append(["8 components together, N = 2,000", *(f"{one.covered:.3f}" for one in found)])
    return markdown_table(["runs", *DESIGNS], rows)


def _in_words(of_quantiles: Sequence[Cell], of_shortfalls: Sequence[Cell], runs: int, seed: int) -> str:
    pairs = [cell for n in (400, 2000) for cell in cells("even", "pairs", n, runs, seed, ends=as_if_independent)]
    t = [
        cell
        for name in ("normal", "lognormal", "even")
        for cell in cells(name, "pairs", 400, runs, seed, expected_shortfall, student, (0.99,))
    ]
    lines = []
    for what, found in (("quantiles", of_quantiles), ("expected shortfalls", of_shortfalls)):
        worst = min(found, key=lambda cell: cell.covered)
        lines.append(f"- {what}: lowest coverage {worst.covered:.3f} ({worst}).")
    for what, found in (
        ("order statistics that take pairs of an even statistic as independent", pairs),
        ("Student's t for expected shortfalls of 400 evaluations in pairs, q = 0.99", t),
    ):
        low, high = min(cell.covered for cell in found), max(cell.covered for cell in found)
        lines.append(f"- control, {what}: coverage {low:.2f} to {high:.2f}.")
    return "\n".join(lines)

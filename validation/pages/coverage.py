"""The map of coverage: every problem, design, interval and number of replicates, as a table, a picture and in words.

``python -m mcgen.validation coverage`` measures it again (``--only NAME`` for problems whose name contains NAME). The
cells are in ``docs/validation/coverage.csv``; the picture ``coverage.png`` and the page ``coverage.md`` are beside it.
Cells of one problem and design share their replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mcgen.designs import Antithetic, Design
from mcgen.inference.methods import Method
from mcgen.results.figures.base import new_figure
from mcgen.results.text import method_text
from mcgen.validation.problems import PROBLEMS, RUNS, most_replicates, table
from mcgen.validation.studies.coverage import DEFAULT, Coverage, simulate, studied
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESIGNS: tuple[Design, ...] = RUNS
METHODS: dict[str, Method | None] = {
    DEFAULT: None,
    "student-t": "student-t",
    "normal": "normal",
    "skewness-safe-t": "skewness-safe-t",
    "skewness-adjusted-t": "skewness-adjusted-t",
    "bootstrap-t": "bootstrap-t",
}
"""The methods that are measured, by the names that the table has for them."""
REPLICATES = (5, 10, 25, 50, 200)
# Runs of a cell: the standard error of a coverage of 0.95 is 0.005.
REPETITIONS = 2000
# Coverage below which a cell counts as too low: four standard errors below 0.95.
_LOW = 0.93
# Fewest replicates of the cells that are listed as too low; with fewer, too many are.
_FEW_REPLICATES = 25
# Half-width below which a design integrates exactly, up to rounding.
_ROUNDING = 1e-12
# Cells of indicators with fewer expected events in a run are reported apart: below 4, and from 4 to 20.
_FEW_EVENTS, _FEWER_EVENTS = 20, 4
# Fewest runs without a warning for which a cell's coverage is reported: its standard error at 0.95 is then 0.01.
_SILENT_RUNS = 400
_MARKS = ("made by", "in words", "by replicates", "least covered", "problems")

_CELL = ["problem", "design", "interval", "n_replicates"]


def cells(problem: str, design: Design, seed: int, repetitions: int) -> list[Coverage]:
    """Return the coverage of every interval and number of replicates, for one problem under one design."""
    one = PROBLEMS[problem]
    counts = [n for n in REPLICATES if n <= most_replicates(one)]
    replicates = simulate(one, design, max(counts) * repetitions, seed)
    return [studied(replicates, method, n, repetitions, seed) for n in counts for method in METHODS.values()]


def write_map(
    folder: Path, only: str = "", seed: int = 0, executor: Executor | None = None, repetitions: int = REPETITIONS
) -> None:
    """Measure the cells of problems whose name contains `only`, and write table, picture and page.

    Parameters
    ----------
    folder : path
        Folder of the page ``coverage.md``.
    only : str
        Part of the names of the problems to measure, empty for all; cells of other problems are kept.
    seed : int
        Seed of all studies.
    executor : concurrent.futures.Executor, optional
        Runs one problem under one design as a job.
    repetitions : int
        Runs of a cell.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no problem of such a name.
    """
    from tqdm import tqdm

    pages = {folder / "coverage.md": _MARKS, folder.parent / "explanation" / "interval.md": ("skewed pairs",)}
    for page, marks in pages.items():
        require_marks(page, marks)
    names = chosen(PROBLEMS, only, "problem")
    store = folder / "coverage.csv"
    jobs = [(name, design, seed, repetitions) for name in names for design in DESIGNS]
    found = (map if executor is None else executor.map)(cells, *zip(*jobs, strict=True))
    for (name, design, *_), made in zip(tqdm(jobs), found, strict=True):
        known = stored(store)
        others = known[(known["problem"] != name) | (known["design"] != str(design))]
        fresh = pd.DataFrame([asdict(cell) for cell in made], columns=known.columns)
        _in_order(pd.concat([others, fresh], ignore_index=True)).to_csv(store, index=False, float_format="%.5g")
    frame = stored(store)
    heat_map(frame).savefig(folder / "coverage.png")
    parts = page_parts(frame)
    if len(names) == len(PROBLEMS):
        # This text is about all cells; measuring some of them leaves it as it is.
        command = "python -m mcgen.validation coverage"
        parts["made by"] = f"{made_by(command, seed)} Each cell is {repetitions:,} runs."
    fill_page(folder / "coverage.md", parts)
    if "exponential" in names:
        fill_page(folder.parent / "explanation" / "interval.md", {"skewed pairs": _of_pairs(frame, "exponential")})


def stored(path: Path) -> pd.DataFrame:
    """Return the cells of a table that was written; none if there is no file."""
    columns = [field.name for field in fields(Coverage)]
    return pd.read_csv(path) if path.exists() else pd.DataFrame({name: [] for name in columns})


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of problems that exist, in the order of the lists in this module."""
    places: dict[str, Sequence[Any]] = {
        "problem": [*PROBLEMS],
        "design": [*map(str, DESIGNS)],
        "interval": [*METHODS],
        "n_replicates": REPLICATES,
    }
    ranks = {name: frame[name].map({value: i for i, value in enumerate(order)}) for name, order in places.items()}
    known = pd.DataFrame(ranks).dropna()
    return frame.loc[known.sort_values(_CELL).index]


def heat_map(frame: pd.DataFrame) -> Figure:
    """Return a picture of all cells: panels for intervals, rows for problems, columns for designs and replicates."""
    from matplotlib.colors import TwoSlopeNorm

    names = [*dict.fromkeys(frame["problem"])]
    columns = [(str(design), n) for design in DESIGNS for n in REPLICATES]
    figure, axes = new_figure(3, 2, 15.0, 2.2 + 0.51 * len(names))
    for ax, method in zip(axes.flat, METHODS, strict=True):
        picked = frame[frame["interval"] == method].set_index(["problem", "design", "n_replicates"])["covered"]
        wanted = pd.MultiIndex.from_tuples([(name, *column) for name in names for column in columns])
        values = picked.reindex(wanted).to_numpy(dtype=float).reshape(len(names), len(columns))
        image = ax.imshow(values, cmap="RdBu", norm=TwoSlopeNorm(0.95, 0.8, 1.0), aspect="auto")
        ax.set_title(method_text(method))
        ax.set_yticks(range(len(names)), names, fontsize=7)
        ax.set_xticks(range(len(columns)), [str(n) for _, n in columns], fontsize=6)
        for i, design in enumerate(DESIGNS):
            ax.text((i + 0.5) * len(REPLICATES) - 0.5, len(names) + 0.9, str(design), ha="center", va="top", fontsize=7)
            ax.axvline(i * len(REPLICATES) - 0.5, color="black", linewidth=0.8)
        ax.set_facecolor("0.85")
    figure.colorbar(image, ax=axes, extend="min", shrink=0.5, label="coverage of nominal 95 % intervals")
    return figure


def page_parts(frame: pd.DataFrame) -> dict[str, str]:
    """Return the parts of the page that depend on the cells, by their marks."""
    # Without the cells of designs that integrate exactly, whose half-widths are rounding.
    varying = frame[frame["half_width"] > _ROUNDING].assign(
        cell=lambda cells: cells["problem"] + ", " + cells["design"]
    )
    events = _expected_events(varying)
    common = varying[~(events < _FEW_EVENTS)]
    words = [_below(common), _on_the_default(common), _on_silence(common), _on_rare_events(varying, events)]
    return {
        "in words": "\n\n".join(text for text in words if text),
        "by replicates": _by_replicates(common),
        "least covered": _least_covered(common),
        "problems": _problems(),
    }


def _expected_events(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the mean number of events in a run of each cell; NaN for statistics that are no indicators."""
    probabilities = frame["problem"].map({name: problem.event_probability for name, problem in PROBLEMS.items()})
    return probabilities.astype(float) * frame["n_replicates"] * frame["n_points"]


def _below(frame: pd.DataFrame) -> str:
    """Return a table of how often each interval covers too little, and its worst cell, by number of replicates."""
    rows = []
    for method in METHODS:
        row = [method_text(method)]
        for n in REPLICATES:
            group = frame[(frame["interval"] == method) & (frame["n_replicates"] == n)]
            if group.empty:
                row.append("")
                continue
            worst = group.iloc[int(group["covered"].argmin())]
            low = int((group["covered"] < _LOW).sum())
            row.append(f"{low} of {len(group)}; least {worst['covered']:.3f} ({worst['cell']})")
        rows.append(row)
    text = (
        f"Cells in which an interval covers less than {_LOW}, and its least coverage with the problem and the design:"
    )
    return f"{text}\n\n{markdown_table(['interval', *(f'R = {n}' for n in REPLICATES)], rows)}"


def _on_the_default(frame: pd.DataFrame) -> str:
    """Return sentences on where the default covers more than Student t, and where less."""
    wide = frame.pivot_table(index=["cell", "n_replicates"], columns="interval", values="covered").reset_index()
    wide = wide[wide["n_replicates"] >= _FEW_REPLICATES].assign(gain=wide[DEFAULT] - wide["student-t"])
    low, fine = wide[wide["student-t"] < _LOW], wide[wide["student-t"] >= _LOW]
    if not (len(low) and len(fine)):
        return ""
    lost = fine[fine["gain"] < -0.01]
    points = 100 * low["gain"].median()
    worst = fine.iloc[int(fine["gain"].argmin())]
    return (
        f"With {_FEW_REPLICATES} replicates or more, Student t covers less than {_LOW} in {len(low)} cells. The "
        f"default covers more in {int((low['gain'] > 0).sum())} of these, by {points:.1f} points in the median. In the "
        f"{len(fine)} other cells the default covers less by more than one point {len(lost)} times. The least gain is "
        f"in {worst['cell']} at R = {worst['n_replicates']}: {worst[DEFAULT]:.3f} where Student t has "
        f"{worst['student-t']:.3f}."
    )


def _on_silence(frame: pd.DataFrame) -> str:
    """Return a table of the coverage of the default in runs without a warning, for cells with enough of them."""
    silent = frame[(frame["interval"] == DEFAULT) & (frame["silent"] * frame["repetitions"] >= _SILENT_RUNS)]
    rows = []
    for n, group in silent.groupby("n_replicates"):
        worst = group.iloc[int(group["covered_in_silence"].argmin())]
        shares = [f"{group['covered_in_silence'].median():.3f}", f"{worst['covered_in_silence']:.3f}"]
        rows.append([str(n), *shares, str(worst["cell"]), f"{100 * worst['silent']:.0f} of 100"])
    head = ["R", "median cell", "worst cell", "which cell", "its runs without a warning"]
    text = "A run without a warning can still cover too little. Coverage of the default in such runs:"
    return f"{text}\n\n{markdown_table(head, rows)}" if rows else ""


def _on_rare_events(frame: pd.DataFrame, events: pd.Series[float]) -> str:
    """Return a table of the coverage of all intervals for indicators with few events in a run."""
    ranges = {}
    for low, high in ((0, _FEWER_EVENTS), (_FEWER_EVENTS, _FEW_EVENTS)):
        found = dict(iter(frame[(events >= low) & (events < high)].groupby("interval")["covered"]))
        if found:
            ranges[f"{low} to {high} events"] = {name: f"{x.min():.2f} to {x.max():.2f}" for name, x in found.items()}
    rows = [[method_text(method), *(shown.get(method, "") for shown in ranges.values())] for method in METHODS]
    text = (
        f"Indicators with fewer than {_FEW_EVENTS} events in a run on average are not counted above. Their least and "
        "greatest coverage:"
    )
    return f"{text}\n\n{markdown_table(['interval', *ranges], rows)}" if ranges else ""


def _by_replicates(frame: pd.DataFrame) -> str:
    rows = []
    for method in METHODS:
        for n in REPLICATES:
            picked = frame[(frame["interval"] == method) & (frame["n_replicates"] == n)]
            share = [f"{picked['covered'].quantile(q):.3f}" for q in (0.5, 0.1, 0.0)]
            plain = frame[(frame["interval"] == "student-t") & (frame["n_replicates"] == n)].set_index("cell")
            width = (picked.set_index("cell")["half_width"] / plain["half_width"]).median()
            refused = f"{100 * picked['refused'].mean():.1f} %"
            rows.append([method_text(method), str(n), *share, f"{width:.2f}", refused])
    head = [
        "interval",
        "replicates",
        "median coverage",
        "a tenth are below",
        "least",
        "width over Student t's",
        "refused",
    ]
    return markdown_table(head, rows)


def _of_pairs(frame: pd.DataFrame, problem: str) -> str:
    picked = frame[(frame["problem"] == problem) & (frame["design"] == str(Antithetic()))]
    wide = picked.pivot_table(index="n_replicates", columns="interval", values="covered")
    rows = [[str(n), *(f"{row[method]:.3f}" for method in METHODS)] for n, row in wide.iterrows()]
    return markdown_table(["replicates", *(method_text(method) for method in METHODS)], rows)


def _least_covered(frame: pd.DataFrame) -> str:
    """Return a table of the cells that Student t or the default cover least, with the coverage of other intervals."""
    wide = frame.pivot_table(index=["problem", "design", "n_replicates"], columns="interval", values="covered")
    enough = wide.index.get_level_values("n_replicates") >= _FEW_REPLICATES
    low = wide[enough & ((wide["student-t"] < _LOW) | (wide[DEFAULT] < _LOW))]
    rows = [
        [*map(str, index), *("" if np.isnan(row[method]) else f"{row[method]:.3f}" for method in METHODS)]
        for index, row in zip(low.index, low.to_dict("records"), strict=True)
    ]
    return markdown_table(["problem", "design", "replicates", *(method_text(method) for method in METHODS)], rows)


def _problems() -> str:
    rows = []
    for row in table().to_dict("records"):
        truth = f"{row['truth']:.6g}" + (f" ± {row['truth_error']:.1g}" if row["truth_error"] else "")
        rows.append([str(row["name"]), str(row["dimension"]), truth, str(row["source"]), str(row["hard"])])
    return markdown_table(["problem", "dimension", "truth", "how it is known", "what is hard"], rows)

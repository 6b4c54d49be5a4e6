"""Tables of results as Markdown and LaTeX."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mcgen.results.provenance import weights_of_levels
from mcgen.results.shown import Shown
from mcgen.results.text import (
    component_text,
    counted_evaluations,
    more_text,
    number_pair,
    percent_text,
    shown_components,
)

if TYPE_CHECKING:
    import pandas as pd

_IN_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # Without further packages the fonts of LaTeX show other characters for these three.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    # The sign of a number, and the mark of a plan's choice.
    "-": "$-$",
    "->": r"$\to$",
    # The mark of a score of which less is better.
    "↓": r"$\downarrow$",
}
_TO_LATEX = re.compile(r"->|(?<![\w.])-(?=\d)|[\\&%$#_{}~^<>|±↓]")
# An underscore between two letters or digits is no emphasis in Markdown.
_IN_MARKDOWN = re.compile(r"[\\|`*<]|(?<![^\W_])_|_(?![^\W_])")


class Table(NamedTuple):
    """A table of text.

    Attributes
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        The cells, row by row.
    bold : frozenset of tuple of two int
        Row and column of the cells in bold.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Table:
        """Return the table of a DataFrame of text."""
        return cls([*map(str, frame.columns)], [[*map(str, row)] for row in frame.itertuples(index=False)])

    def markdown(self) -> str:
        """Return the table as GitHub's Markdown, its special characters escaped."""
        cells = [[_markdown(cell) for cell in self.header], *self._marked(_markdown, "**", "**")]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
        lines.insert(1, ["-" * width for width in widths])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def latex(self) -> str:
        """Return the table as a LaTeX ``tabular``, its special characters escaped."""
        # The empty group keeps LaTeX from reading a cell that begins with [ or * as an option of the line before.
        cells = [[_latex(cell) for cell in self.header], *self._marked(_latex, r"\textbf{", "}")]
        rows = [" & ".join(row) + r" \\" for row in cells]
        first, *rest = [f"{{}}{row}" if row.startswith(("[", "*")) else row for row in rows]
        begin = rf"\begin{{tabular}}{{{'l' * len(self.header)}}}"
        return "\n".join([begin, r"\hline", first, r"\hline", *rest, r"\hline", r"\end{tabular}"])

    def html(self) -> str:
        """Return the table as HTML, its special characters escaped."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        rows = ["".join(f"<td>{cell}</td>" for cell in row) for row in self._marked(html.escape, "<b>", "</b>")]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table class='mcgen'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _marked(self, escaped: Callable[[str], str], begin: str, end: str) -> list[list[str]]:
        """Return the escaped cells, those in bold between two marks."""
        return [
            [f"{begin}{escaped(cell)}{end}" if (i, j) in self.bold else escaped(cell) for j, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]


def estimate_table(estimate: Shown) -> Table:
    """Return the table of an estimate: a row for each component, of each condition, level or model before those of all.

    Where there are more than 20 components, the first and the last 10 have rows. Rows of levels have the coefficient
    by which the level's estimate is multiplied in the sum. The row of an average counts the evaluations under all its
    conditions; the row of a sum counts what its levels cost, in evaluations of the finest generator.
    """
    kinds = {"level": estimate.levels, "condition": estimate.conditions, "model": estimate.models}
    kind = next((kind for kind, parts in kinds.items() if parts), None)
    header = ["component", "estimate", f"{percent_text(estimate)} interval", "replicates", "evaluations"]
    k = len(estimate.names)
    columns = _coefficients(estimate) if kind == "level" else [None] * (len(estimate.parts) + 1)
    rows = []
    for part, coefficients in zip((*estimate.parts, estimate), columns, strict=True):
        whole = part is estimate and kind is not None
        label = {
            "level": part.provenance.level,
            "condition": (estimate.provenance.across or "average") if whole else part.provenance.condition,
        }
        label["model"] = part.provenance.generator if whole else part.provenance.model
        counts = ["" if whole else f"{part.n_replicates:,}", f"{counted_evaluations(part):,}"]
        for number, cells in zip(shown_components(k), _cells(part), strict=True):
            if coefficients is not None:
                cells.insert(1, "" if number is None else coefficients[number])
            rows.append(([] if kind is None else [str(label[kind])]) + cells + counts)
    if kind == "level":
        header.insert(1, "coefficient")
    return Table(header if kind is None else [kind, *header], rows)


def _coefficients(estimate: Shown) -> list[list[str]]:
    """Return what each component of each level is multiplied by in the sum, and empty texts for the sum."""
    k = len(estimate.names)
    weights = weights_of_levels([level.provenance for level in estimate.levels], k)
    return [*([f"{one:.6g}" for one in level] for level in weights), [""] * k]


def _cells(part: Shown) -> list[list[str]]:
    """Return name, estimate and interval of the components that are shown."""
    columns = [np.ravel(values).tolist() for values in (part.mean, *part.interval, part.half_width)]
    cells = []
    for number in shown_components(len(part.names)):
        if number is None:
            cells.append(["...", more_text(len(part.names)), ""])
            continue
        mean, low, high, half = (column[number] for column in columns)
        ends = [number_pair(end, half)[0] for end in (low, high)]
        told = component_text(mean, low, high, half)
        cells.append([part.names[number], told, f"[{', '.join(ends)}]"])
    return cells


def _markdown(text: str) -> str:
    return _IN_MARKDOWN.sub(lambda match: f"\\{match[0]}", " ".join(text.split()))


def _latex(text: str) -> str:
    return _TO_LATEX.sub(lambda match: _IN_LATEX[match[0]], " ".join(text.split()))

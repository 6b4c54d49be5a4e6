"""Forest plots: a row for each number, with its interval and its text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mcgen.results.figures.base import COLOURS, WIDTH, few_ticks, keep_ticks_apart, panels_on, spaced, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Rows above which a forest plot is cut.
MOST_ROWS = 45
STRONG, PALE, PLUG_IN = COLOURS[1], COLOURS[0], COLOURS[2]


class Row(NamedTuple):
    """A row of a forest plot.

    Attributes
    ----------
    label : str
        What it shows.
    middle, low, high : float
        A number and the ends of its interval.
    text : str
        The number as text, at the right.
    colour : str
        Its colour.
    plug_in : float or None
        A second number without interval, drawn as a hollow marker.
    """

    label: str
    middle: float
    low: float
    high: float
    text: str
    colour: str
    plug_in: float | None = None


def forests(
    panels: Sequence[tuple[str, Sequence[Row]]], x_label: str, ax: Axes | None, *, zero: bool = False
) -> Figure:
    """Draw forest plots, a panel for each title and its rows, in up to two columns."""
    n_columns = min(2, len(panels))
    n_rows = math.ceil(len(panels) / n_columns)
    heights = [_height(panels[n_columns * row : n_columns * (row + 1)]) for row in range(n_rows)]
    figure, axes = panels_on(ax, n_rows, n_columns, WIDTH * n_columns, sum(heights))
    if ax is None:
        axes[0, 0].get_gridspec().set_height_ratios(heights)
        spaced(figure)
    for place, panel in enumerate(axes.flat):
        panel.set_visible(place < len(panels))
        if place < len(panels):
            _forest(panel, *panels[place], x_label, zero=zero)
    keep_ticks_apart(figure, [*axes.flat][: len(panels)])
    return figure


def _height(panels: Sequence[tuple[str, Sequence[Row]]]) -> float:
    """Return the height of some panels side by side, in inches."""
    lines = [sum(0.12 + 0.17 * (1 + wrapped(row.label).count("\n")) for row in rows) for _, rows in panels]
    return 1.05 + max(max(lines), 0.5)


def _forest(panel: Axes, title: str, rows: Sequence[Row], x_label: str, *, zero: bool) -> None:
    hollow = any(row.plug_in is not None for row in rows)
    limits = _limits(rows, zero)
    for place, row in enumerate(rows):
        # An end that is infinite, or missing, is drawn as far as the panel reaches.
        low = max(row.low, limits[0] - 1) if not math.isnan(row.low) else row.middle
        high = min(row.high, limits[1] + 1) if not math.isnan(row.high) else row.middle
        panel.plot([low, high], [-place, -place], color=row.colour, lw=2, solid_capstyle="butt")
        panel.plot(row.middle, -place, "o", color=row.colour, ms=6)
        if row.plug_in is not None:
            panel.plot(row.plug_in, -place, "o", mfc="white", mec=PLUG_IN, mew=1.5, ms=6.5, zorder=3)
    panel.axvline(0, color="black", lw=0.8, ls="--") if zero else None
    panel.set_xlim(*limits)
    panel.set_ylim(0.6 - len(rows), 0.6)
    panel.set_yticks([-place for place in range(len(rows))], [wrapped(row.label) for row in rows], fontsize=9)
    for place, row in enumerate(rows):
        panel.text(1.02, -place, row.text, transform=panel.get_yaxis_transform(), va="center", fontsize=8)
    panel.set_title(wrapped(title, 44), fontsize=10)
    panel.set_xlabel(f"● {x_label}" + ("\n○ plug-in: the samples as they are" if hollow else ""), fontsize=8)
    few_ticks(panel)


def _limits(rows: Sequence[Row], zero: bool) -> tuple[float, float]:
    """Return the ends of the axis: all finite numbers and some space beside them."""
    numbers = [x for row in rows for x in (row.middle, row.low, row.high, row.plug_in) if x is not None]
    numbers = [x for x in [*numbers, *([0.0] if zero else [])] if math.isfinite(x)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    space = 0.07 * (high - low) or 0.1 * abs(low) or 0.1
    return low - space, high + space

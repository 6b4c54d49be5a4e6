"""Forest plots and bars: a row for each number, with its interval and its text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mcgen.results.figures.base import (
    COLOURS,
    ROW_TEXT,
    WIDTH,
    keep_ticks_apart,
    panels_on,
    rows_of,
    spaced,
    style,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

MOST_ROWS = 45
"""Rows above which a forest plot is cut, and says so."""
STRONG, PALE, SPECIAL = COLOURS[1], COLOURS[0], COLOURS[2]
"""Colours of rows: of most, of those that matter less, and of the one that stands out."""
_PLUG_IN = COLOURS[2]
# Characters in a line of the text below a panel, and of its title.
_CAPTION_WIDTH, _TITLE_WIDTH = 52, 44
# Characters above which the text of a row has two lines.
_TEXT_WIDTH = 30
# Narrower axes would be at the limit of double precision: least length, relative to the numbers on it.
_LEAST_LENGTH = 1e-12
# Logarithms of larger size don't fit a logarithmic axis with space beside them.
_LARGEST_LOG = 600.0


class Row(NamedTuple):
    """A row of a forest plot.

    Attributes
    ----------
    label : str
        What it shows.
    middle, low, high : float
        A number and the ends of its interval. An infinite end is drawn as an arrow at the edge, and NaN not at all.
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
    colour: str = STRONG
    plug_in: float | None = None


class Panel(NamedTuple):
    """A panel of a forest plot.

    Attributes
    ----------
    title : str
        Above it.
    rows : sequence of Row
        From top to bottom.
    caption : str
        What the markers and lines are; it may have several lines.
    line : float or None
        Where a dashed line marks a value, such as 0 for differences.
    log : bool
        Whether the axis is logarithmic.
    bars : bool
        Whether the numbers are bars from 0 in place of markers.
    """

    title: str
    rows: Sequence[Row]
    caption: str
    line: float | None = None
    log: bool = False
    bars: bool = False


@style()
def forests(panels: Sequence[Panel], ax: AxesLike | None = None, *, n_columns: int = 2, width: float = WIDTH) -> Figure:
    """Draw forest plots, in up to `n_columns` columns of some width in inches.

    Raises
    ------
    TypeError, ValueError
        If `ax` is given and is not one Axes for each panel.
    """
    n_columns = min(n_columns, len(panels))
    n_rows = rows_of(len(panels), n_columns)
    heights = [_height(panels[n_columns * row : n_columns * (row + 1)]) for row in range(n_rows)]
    figure, axes = panels_on(ax, len(panels), n_columns, width * n_columns, heights)
    if ax is None:
        spaced(figure)
    for panel, drawn in zip(axes, panels, strict=True):
        _draw(panel, drawn)
    keep_ticks_apart(figure, axes)
    return figure


def _height(panels: Sequence[Panel]) -> float:
    """Return the height of some panels side by side, in inches."""
    rows = max(sum(0.12 + 0.17 * (1 + _label(row).count("\n")) for row in one.rows) for one in panels)
    lines = max(_caption(one).count("\n") for one in panels)
    return 0.95 + 0.14 * lines + max(rows, 0.5)


def _label(row: Row) -> str:
    return wrapped(row.label, lines=3)


def _caption(drawn: Panel) -> str:
    hollow = any(row.plug_in is not None for row in drawn.rows)
    lines = [line.replace(" t)", "\u00a0t)") for line in drawn.caption.split("\n") if line]
    lines = [wrapped(line, _CAPTION_WIDTH, 3) for line in lines]
    marked = lines if drawn.bars or not lines else [f"● {lines[0]}", *lines[1:]]
    return "\n".join([*marked, *(["○ plug-in: the samples as they are"] if hollow else [])])


def _draw(panel: Axes, drawn: Panel) -> None:
    rows = drawn.rows
    if drawn.log:
        panel.set_xscale("log")
        # Numbers without a place on the axis lie beyond its edge.
        rows = [row._replace(low=_placed(row.low), middle=_placed(row.middle), high=_placed(row.high)) for row in rows]
    panel.set_xlim(*_limits(drawn))
    panel.set_ylim(0.6 - len(rows), 0.6)
    for place, row in enumerate(rows):
        _draw_row(panel, -float(place), row, bars=drawn.bars)
    if drawn.line is not None:
        panel.axvline(drawn.line, color="black", lw=0.8, ls="--")
    panel.set_yticks([-float(place) for place in range(len(rows))], [_label(row) for row in rows])
    panel.set_title(wrapped(drawn.title, _TITLE_WIDTH))
    panel.set_xlabel(_caption(drawn))
    panel.grid(axis="x")


def _draw_row(panel: Axes, y: float, row: Row, *, bars: bool) -> None:
    edges = panel.get_xlim()
    if bars and math.isfinite(row.middle):
        panel.barh(y, row.middle, height=0.7, color=row.colour, alpha=0.55)
    if not (math.isnan(row.low) or math.isnan(row.high)):
        ends = [end if math.isfinite(end) else edge for end, edge in zip((row.low, row.high), edges, strict=True)]
        colour = "black" if bars else row.colour
        panel.plot(ends, [y, y], color=colour, lw=2 - 0.8 * bars, solid_capstyle="butt", clip_on=False)
        for end, edge, arrow in ((row.low, edges[0], "<"), (row.high, edges[1], ">")):
            if math.isinf(end):
                panel.plot([edge], [y], arrow, color=colour, ms=6, clip_on=False)
    if math.isfinite(row.middle) and not bars:
        panel.plot([row.middle], [y], "o", color=row.colour, ms=6)
    if row.plug_in is not None:
        panel.plot([row.plug_in], [y], "o", mfc="white", mec=_PLUG_IN, mew=1.5, ms=6.5, zorder=3)
    text = row.text.replace(" [", "\n[") if len(row.text) > _TEXT_WIDTH else row.text
    panel.text(
        1.04, y, text, transform=panel.get_yaxis_transform(), va="center", fontsize=8, linespacing=1.0, label=ROW_TEXT
    )


def _limits(drawn: Panel) -> tuple[float, float]:
    """Return the ends of the axis: all finite numbers and some space beside them."""
    special = [drawn.line, 0.0 if drawn.bars else None]
    each = [x for row in drawn.rows for x in (row.middle, row.low, row.high, row.plug_in)]
    numbers = [x for x in [*each, *special] if x is not None and math.isfinite(x)]
    if drawn.log:
        numbers = [math.log(x) for x in map(_placed, numbers) if math.isfinite(x)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    space = max(0.07 * (high - low), _LEAST_LENGTH * max(abs(low), abs(high))) if high > low else 0.1 * abs(low) or 0.1
    low, high = (0.0 if drawn.bars and low >= 0 else low - space), high + space
    return (math.exp(max(low, -_LARGEST_LOG)), math.exp(min(high, _LARGEST_LOG))) if drawn.log else (low, high)


def _placed(value: float) -> float:
    """Return a number for a logarithmic axis: beyond its edge where it is 0, or nearly the largest or smallest one."""
    if value <= 0 or (math.isfinite(value) and abs(math.log(value)) > _LARGEST_LOG):
        return math.copysign(math.inf, value - 1)
    return value

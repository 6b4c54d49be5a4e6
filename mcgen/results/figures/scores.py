"""Figures of scorecards: intervals as forest plots, and distances against the number of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.results.estimate import Estimate
from mcgen.results.figures.base import (
    LABEL_WIDTH,
    WIDTH,
    colour_of,
    keep_ticks_apart,
    left_out_text,
    legend_below,
    legend_text,
    panels_on,
    rows_of,
    spaced,
    style,
    ticks_of_counts,
    wrapped,
)
from mcgen.results.figures.estimates import row_of
from mcgen.results.figures.forest import MOST_ROWS, PALE, STRONG, Panel, Row, forests
from mcgen.results.provenance import percent_of
from mcgen.results.score_pairs import (
    HIGHER,
    LOWER,
    Pair,
    SharedPairs,
    ShownScorecard,
    best_models,
    difference_text,
    ends_of,
    has_bias,
    is_distance,
    verdict,
)
from mcgen.results.score_tables import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

_MARKERS = "os^DvP"


def plot_scores(card: ShownScorecard, columns: Sequence[Column], ax: AxesLike | None = None) -> Figure:
    """Draw each model's number with its own interval, a panel a column; see `Scorecard.plot`."""
    caption = f"estimate with its {percent_of(card.confidence_level)} interval"
    return forests([Panel(column.header, _rows_of_models(card, column), caption) for column in columns], ax)


def _rows_of_models(card: ShownScorecard, column: Column) -> list[Row]:
    by_model, number = card.estimates[column.score], column.number
    lower = is_distance(by_model)
    best = best_models(by_model, card.shared(column.score), number, False) if lower else tuple(by_model)
    return [row_of(model, one, number, STRONG if model in best else PALE) for model, one in by_model.items()]


def plot_differences(card: ShownScorecard, columns: Sequence[Column], ax: AxesLike | None = None) -> Figure:
    """Draw the differences by one score with the intervals that hold together; see `Scorecard.plot_differences`.

    Raises
    ------
    ValueError
        If the score has no differences.
    """
    score = columns[0].score
    shared = card.shared(score)
    if not shared.pairs:
        raise ValueError(f"there are no differences by {score!r}; a difference needs two models. Use plot()")
    caption = f"difference\nintervals hold together at {percent_of(card.confidence_level)}"
    note = left_out_text(range(min(len(shared.pairs), MOST_ROWS)), len(shared.pairs), "differences")
    panels = [
        Panel(column.header, _rows_of_pairs(shared, column.number), f"{caption}\n{note}", line=0.0)
        for column in columns
    ]
    return forests(panels, ax)


def _rows_of_pairs(shared: SharedPairs, number: int) -> list[Row]:
    return [
        # Plug-ins of differences are left out.
        row_of(
            _pair_label(names),
            one,
            number,
            STRONG if verdict(*ends_of(one, number)) in (LOWER, HIGHER) else PALE,
        )._replace(plug_in=None)
        for names, one in [*shared.pairs.items()][:MOST_ROWS]
    ]


def _pair_label(names: Pair) -> str:
    """Return the name of a difference in one line, or in two where it is long."""
    text = difference_text(names)
    if len(text) <= LABEL_WIDTH:
        return text
    first, second = (name if len(name) < LABEL_WIDTH - 1 else name[:6] + "..." + name[-7:] for name in names)
    return f"{first}\n- {second}"


@style()
def plot_conditions(card: ShownScorecard, columns: Sequence[Column], ax: AxesLike | None = None) -> Figure:
    """Draw components of one score of each model under each condition; see `Scorecard.plot_conditions`."""
    score = columns[0].score
    by_model = {model: one for model, one in card.estimates[score].items() if one.conditions}
    if not by_model:
        raise ValueError(
            f"no model was run under several conditions for {score!r}; evaluate with condition=[...], or use plot()"
        )
    every = [*dict.fromkeys(label for one in by_model.values() for label in _labels(one))]
    labels = every[:MOST_ROWS]
    note = left_out_text(range(len(labels)), len(every), "conditions")
    height = 1.3 + len(labels) * max(0.3, 0.13 + 0.11 * len(by_model)) + 0.2 * math.ceil(len(by_model) / 3)
    n_columns = min(2, len(columns))
    heights = [height] * rows_of(len(columns), n_columns)
    figure, axes = panels_on(ax, len(columns), n_columns, WIDTH * n_columns, heights)
    spaced(figure) if ax is None else None
    caption = "\n".join([f"estimate with its {percent_of(card.confidence_level)} interval", *([note] if note else [])])
    for panel, column in zip(axes, columns, strict=True):
        _by_condition(panel, by_model, labels, column, caption)
    legend_below(figure, axes, ax)
    keep_ticks_apart(figure, axes)
    return figure


def _labels(one: Estimate) -> list[str]:
    """Return the names of the conditions."""
    return [str(part.provenance.condition) for part in one.conditions]


def _by_condition(
    panel: Axes, by_model: Mapping[str, Estimate], labels: Sequence[str], column: Column, caption: str
) -> None:
    """Draw one component of each model under each condition, the models of a condition below each other."""
    open_ends: list[tuple[float, float, Row]] = []
    step, places = 0.7 / len(by_model), {label: -place for place, label in enumerate(labels)}
    for i, (model, one) in enumerate(by_model.items()):
        rows = [row_of("", part, column.number, colour_of(i)) for part in one.conditions]
        shown = [(row, places[label]) for row, label in zip(rows, _labels(one), strict=True) if label in places]
        y = np.array([place for _, place in shown]) - step * (i - (len(by_model) - 1) / 2)
        middle, low, high = np.array([(row.middle, row.low, row.high) for row, _ in shown]).reshape(-1, 3).T
        left, right = (np.where(np.isinf(end), middle, end) for end in (low, high))
        marker, name = _MARKERS[i % len(_MARKERS)], legend_text(model)
        panel.plot(middle, y, marker, color=colour_of(i), ms=4.5, label=name)
        panel.hlines(y, left, right, color=colour_of(i), lw=1.6)
        open_ends += [(height, end, row) for height, (row, _) in zip(y, shown, strict=True) for end in row[2:4]]
    _draw_open_ends(panel, open_ends)
    panel.set_yticks([-float(place) for place in range(len(labels))], [wrapped(label) for label in labels])
    panel.set_ylim(0.55 - len(labels), 0.55)
    panel.set_title(wrapped(column.header, 44))
    panel.set_xlabel(caption)
    panel.grid(axis="x")


def _draw_open_ends(panel: Axes, ends: Sequence[tuple[float, float, Row]]) -> None:
    """Draw the infinite ends of rows at some heights as arrows at the edges of the panel."""
    edges = panel.get_xlim()
    panel.set_xlim(edges)
    for y, end, row in ends:
        if np.isinf(end):
            edge, arrow = (edges[0], "<") if end < 0 else (edges[1], ">")
            panel.plot([row.middle, edge], [y, y], color=row.colour, lw=1.6)
            panel.plot([edge], [y], arrow, color=row.colour, ms=4.5, clip_on=False)


@style()
def plot_curves(card: ShownScorecard, score: str, ax: AxesLike | None = None) -> Figure:
    """Draw a distance against the number of samples; see `Scorecard.plot_curves`."""
    curves = card.curves.get(score)
    if not curves:
        raise ValueError(f"there is no curve of {score!r} against the number of samples; use plot()")
    figure, (panel,) = panels_on(ax, 1, 1, WIDTH, [3.3 + 0.2 * math.ceil(len(curves) / 3)])
    biased = has_bias(card.estimates[score])
    for i, (model, frame) in enumerate(curves.items()):
        n, plug_in, middle, low, high = (frame[name].to_numpy() for name in ("n", "plug_in", "estimate", "low", "high"))
        panel.fill_between(n, low, high, color=colour_of(i), alpha=0.2, lw=0)
        panel.plot(n, middle, color=colour_of(i), marker=_MARKERS[i % len(_MARKERS)], ms=4.5, label=legend_text(model))
        if biased:
            marker = _MARKERS[i % len(_MARKERS)]
            panel.plot(n, plug_in, color=colour_of(i), ls="--", lw=1.2, marker=marker, mfc="white", ms=5)
    ends = _heights_of([*curves.values()], biased)
    panel.set_ylim(*ends) if np.isfinite(ends).all() and ends[0] < ends[1] else None
    panel.set_title(wrapped(score, 44))
    shown = "● corrected, with its interval   ○ dashed: plug-in" if biased else "● estimate, with its interval"
    panel.set_xlabel(f"number of samples\n{shown}")
    ticks_of_counts(panel, np.unique(np.concatenate([frame["n"].to_numpy() for frame in curves.values()])))
    legend_below(figure, [panel], ax)
    return figure


def _heights_of(curves: Sequence[Any], biased: bool) -> tuple[float, float]:
    """Return the ends of the vertical axis: all values, and the bands but for those of the fewest samples."""
    shown = ("plug_in", "estimate") if biased else ("estimate",)
    values = [np.concatenate([*(one[name] for name in shown), *_late_bands(one)]) for one in curves]
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    if not found.size:
        return math.nan, math.nan
    space = 0.06 * (found.max() - found.min())
    return float(found.min() - space), float(found.max() + space)


def _late_bands(curve: Any) -> list[Floats]:
    """Return the ends of the band for the larger half of the numbers of samples: those of few may hide the rest."""
    late = curve["n"] >= curve["n"].median()
    return [curve["low"][late].to_numpy(), curve["high"][late].to_numpy()]

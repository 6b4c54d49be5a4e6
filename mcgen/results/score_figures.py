"""Figures of scorecards: intervals as forest plots, distances against the number of samples, samples of z and -z."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.results.estimate import Estimate
from mcgen.results.figures import COLOURS, as_picture, new_figure, panels_on
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
from mcgen.results.score_tables import Column, ends_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Width of a panel in inches: text keeps its size on a narrow screen, which is as wide.
_WIDTH = 4.2
# Characters in a line of a label, and the most lines.
_LABEL_WIDTH, _LABEL_LINES = 18, 2
# Pixels between the labels of two ticks.
_SPACE_BETWEEN = 6.0
# Rows above which a forest plot is cut.
MOST_ROWS = 45
_MARKERS = "os^DvP"
_STRONG, _PALE, _PLUG_IN = COLOURS[1], COLOURS[0], COLOURS[2]


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


def plot_scores(card: ShownScorecard, columns: Sequence[Column], ax: Axes | None = None) -> Figure:
    """Draw each model's number with its own interval, a panel a column; see `Scorecard.plot`."""
    level = percent_of(card.confidence_level)
    panels = [(column.header, _rows_of_models(card, column)) for column in columns]
    return _forests(panels, f"estimate with its {level} interval", ax)


def _rows_of_models(card: ShownScorecard, column: Column) -> list[Row]:
    by_model, number = card.estimates[column.score], column.number
    lower = is_distance(by_model)
    best = best_models(by_model, card.shared(column.score), number, False) if lower else tuple(by_model)
    return [
        _row(model, one, number, _STRONG if model in best else _PALE, with_plug_in=has_bias(by_model))
        for model, one in by_model.items()
    ]


def _row(label: str, one: Estimate, number: int, colour: str, *, with_plug_in: bool = False) -> Row:
    plug_in = float(np.ravel(one.plug_in)[number]) if with_plug_in and one.plug_in is not None else None
    middle = float(np.ravel(one.mean)[number])
    return Row(label, middle, *ends_of(one, number), ends_text(one, number), colour, plug_in)


def plot_differences(card: ShownScorecard, columns: Sequence[Column], ax: Axes | None = None) -> Figure:
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
    level = percent_of(card.confidence_level)
    panels = [(column.header, _rows_of_pairs(shared, column.number)) for column in columns]
    label = f"difference\nintervals hold together at {level}"
    return _forests(panels, label, ax, zero=True)


def _rows_of_pairs(shared: SharedPairs, number: int) -> list[Row]:
    return [
        _row(
            _pair_label(names),
            one,
            number,
            _STRONG if verdict(*ends_of(one, number)) in (LOWER, HIGHER) else _PALE,
        )
        for names, one in [*shared.pairs.items()][:MOST_ROWS]
    ]


def _pair_label(names: Pair) -> str:
    """Return the name of a difference in one line, or in two where it is long."""
    text = difference_text(names)
    if len(text) <= _LABEL_WIDTH:
        return text
    first, second = (name if len(name) < _LABEL_WIDTH - 1 else name[:6] + "..." + name[-7:] for name in names)
    return f"{first}\n- {second}"


def _forests(
    panels: Sequence[tuple[str, Sequence[Row]]], x_label: str, ax: Axes | None, *, zero: bool = False
) -> Figure:
    """Draw forest plots, a panel for each title and its rows, in up to two columns."""
    n_columns = min(2, len(panels))
    n_rows = math.ceil(len(panels) / n_columns)
    heights = [_height(panels[n_columns * row : n_columns * (row + 1)]) for row in range(n_rows)]
    figure, axes = panels_on(ax, n_rows, n_columns, _WIDTH * n_columns, sum(heights))
    if ax is None:
        axes[0, 0].get_gridspec().set_height_ratios(heights)
        _spaced(figure)
    for place, panel in enumerate(axes.flat):
        panel.set_visible(place < len(panels))
        if place < len(panels):
            _forest(panel, *panels[place], x_label, zero=zero)
    _keep_ticks_apart(figure, [*axes.flat][: len(panels)])
    return figure


def _spaced(figure: Figure) -> None:
    """Keep the numbers at the right of a panel apart from the labels of the next."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.08, wspace=0.03)


def _height(panels: Sequence[tuple[str, Sequence[Row]]]) -> float:
    """Return the height of some panels side by side, in inches."""
    lines = [sum(0.12 + 0.17 * (1 + _wrapped(row.label).count("\n")) for row in rows) for _, rows in panels]
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
            panel.plot(row.plug_in, -place, "o", mfc="white", mec=_PLUG_IN, mew=1.5, ms=6.5, zorder=3)
    panel.axvline(0, color="black", lw=0.8, ls="--") if zero else None
    panel.set_xlim(*limits)
    panel.set_ylim(0.6 - len(rows), 0.6)
    panel.set_yticks([-place for place in range(len(rows))], [_wrapped(row.label) for row in rows], fontsize=9)
    for place, row in enumerate(rows):
        panel.text(1.02, -place, row.text, transform=panel.get_yaxis_transform(), va="center", fontsize=8)
    panel.set_title(_wrapped(title, 44), fontsize=10)
    panel.set_xlabel(f"● {x_label}" + ("\n○ plug-in: the samples as they are" if hollow else ""), fontsize=8)
    _few_ticks(panel)


def _limits(rows: Sequence[Row], zero: bool) -> tuple[float, float]:
    """Return the ends of the axis: all finite numbers and some space beside them."""
    numbers = [x for row in rows for x in (row.middle, row.low, row.high, row.plug_in) if x is not None]
    numbers = [x for x in [*numbers, *([0.0] if zero else [])] if math.isfinite(x)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    space = 0.07 * (high - low) or 0.1 * abs(low) or 0.1
    return low - space, high + space


def _few_ticks(panel: Axes) -> None:
    """Give the horizontal axis small labels, and the panel a light grid."""
    panel.ticklabel_format(axis="x", useOffset=False)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _keep_ticks_apart(figure: Figure, panels: Sequence[Axes]) -> None:
    """Leave so few ticks on the horizontal axes that their labels don't touch, and name their common factor."""
    from matplotlib.ticker import MaxNLocator

    left = panels
    for n in (4, 3, 2, 1):
        for panel in left:
            panel.xaxis.set_major_locator(MaxNLocator(nbins=n, min_n_ticks=min(n, 2)))
        figure.draw_without_rendering()
        left = [panel for panel in left if _touching(panel)]
    for panel in left:
        low, high = panel.get_xlim()
        panel.set_xticks([0.0 if low <= 0 <= high else (low + high) / 2])
    for panel in panels:
        factor = panel.xaxis.get_offset_text()
        if factor.get_text():
            panel.set_xlabel(f"{panel.get_xlabel()}\nin units of {factor.get_text()}")
            factor.set_visible(False)


def _touching(panel: Axes) -> bool:
    """Return whether two labels of the horizontal axis touch."""
    low, high = panel.get_xlim()
    boxes = [tick.label1.get_window_extent() for tick in panel.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes.sort(key=lambda box: box.x0)
    return any(one.x1 + _SPACE_BETWEEN > two.x0 for one, two in itertools.pairwise(boxes))


def _wrapped(text: str, width: int = _LABEL_WIDTH) -> str:
    """Return a label in up to two lines; a longer one ends in dots."""
    text = text.replace("$", r"\$")
    if "\n" in text:
        return text
    lines = textwrap.wrap(text, width) or [""]
    if len(lines) > _LABEL_LINES:
        lines = [*lines[: _LABEL_LINES - 1], lines[_LABEL_LINES - 1][: width - 4].rstrip() + " ..."]
    return "\n".join(lines)


def plot_conditions(card: ShownScorecard, columns: Sequence[Column], ax: Axes | None = None) -> Figure:
    """Draw components of one score of each model under each condition; see `Scorecard.plot_conditions`."""
    score = columns[0].score
    by_model = {model: one for model, one in card.estimates[score].items() if one.conditions}
    if not by_model:
        raise ValueError(
            f"no model was run under several conditions for {score!r}; evaluate with condition=[...], or use plot()"
        )
    labels = [*dict.fromkeys(label for one in by_model.values() for label in _labels(one))][:MOST_ROWS]
    height = 1.3 + len(labels) * max(0.3, 0.13 + 0.11 * len(by_model)) + 0.2 * math.ceil(len(by_model) / 3)
    n_columns = min(2, len(columns))
    n_rows = math.ceil(len(columns) / n_columns)
    figure, axes = panels_on(ax, n_rows, n_columns, _WIDTH * n_columns, height * n_rows)
    _spaced(figure) if ax is None else None
    for place, panel in enumerate(axes.flat):
        panel.set_visible(place < len(columns))
        if place < len(columns):
            _by_condition(panel, by_model, labels, columns[place], percent_of(card.confidence_level))
    _legend(figure, axes, len(by_model), ax)
    _keep_ticks_apart(figure, [*axes.flat][: len(columns)])
    return figure


def _labels(one: Estimate) -> list[str]:
    """Return the names of the conditions."""
    return [str(part.provenance.condition) for part in one.conditions]


def _by_condition(
    panel: Axes, by_model: Mapping[str, Estimate], labels: Sequence[str], column: Column, level: str
) -> None:
    """Draw one component of each model under each condition, the models of a condition below each other."""
    step = 0.7 / len(by_model)
    for i, (model, one) in enumerate(by_model.items()):
        rows = [_row("", part, column.number, "") for part in one.conditions]
        places = {label: -place for place, label in enumerate(labels)}
        shown = [(row, places[label]) for row, label in zip(rows, _labels(one), strict=True) if label in places]
        y = np.array([place for _, place in shown]) - step * (i - (len(by_model) - 1) / 2)
        middle = np.array([row.middle for row, _ in shown])
        ends = np.array([[row.middle - row.low, row.high - row.middle] for row, _ in shown]).T
        ends = np.where(np.isfinite(ends), np.maximum(ends, 0), 0)
        marker, name = _MARKERS[i % len(_MARKERS)], _wrapped(model, 30)
        panel.errorbar(middle, y, xerr=ends, label=name, color=_colour(i), fmt=marker, ms=4.5, lw=1.6)
    panel.set_yticks([-place for place in range(len(labels))], [_wrapped(label) for label in labels], fontsize=9)
    panel.set_ylim(0.55 - len(labels), 0.55)
    panel.set_title(_wrapped(column.header, 44), fontsize=10)
    panel.set_xlabel(f"estimate with its {level} interval", fontsize=8)
    _few_ticks(panel)


def plot_curves(card: ShownScorecard, score: str, ax: Axes | None = None) -> Figure:
    """Draw a distance against the number of samples; see `Scorecard.plot_curves`."""
    curves = card.curves.get(score)
    if not curves:
        raise ValueError(f"there is no curve of {score!r} against the number of samples; use plot()")
    figure, axes = panels_on(ax, 1, 1, _WIDTH, 3.3 + 0.2 * math.ceil(len(curves) / 3))
    panel, biased = axes[0, 0], has_bias(card.estimates[score])
    for i, (model, frame) in enumerate(curves.items()):
        n, plug_in, middle, low, high = (frame[name].to_numpy() for name in ("n", "plug_in", "estimate", "low", "high"))
        panel.fill_between(n, low, high, color=_colour(i), alpha=0.2, lw=0)
        panel.plot(n, middle, color=_colour(i), marker=_MARKERS[i % len(_MARKERS)], ms=4.5, label=_wrapped(model, 30))
        if biased:
            marker = _MARKERS[i % len(_MARKERS)]
            panel.plot(n, plug_in, color=_colour(i), ls="--", lw=1.2, marker=marker, mfc="white", ms=5)
    ends = _heights_of([*curves.values()], biased)
    panel.set_ylim(*ends) if np.isfinite(ends).all() and ends[0] < ends[1] else None
    panel.set_title(_wrapped(score, 44), fontsize=10)
    shown = "● corrected, with its interval   ○ dashed: plug-in" if biased else "● estimate, with its interval"
    panel.set_xlabel(f"number of samples\n{shown}", fontsize=8)
    _ticks_of_counts(panel, np.unique(np.concatenate([frame["n"].to_numpy() for frame in curves.values()])))
    _legend(figure, axes, len(curves), ax)
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


def _ticks_of_counts(panel: Axes, counts: NDArray[np.int64]) -> None:
    """Label a logarithmic axis at numbers of samples that lie so far apart that their labels don't touch."""
    from matplotlib.ticker import NullFormatter, NullLocator

    panel.set_xscale("log")
    span = math.log(counts[-1] / counts[0]) or 1.0
    kept = [int(counts[-1])]
    for count in counts[::-1].tolist():
        if math.log(kept[-1] / count) / span > 0.17:
            kept.append(int(count))
    panel.set_xticks(kept, [f"{count:,}" for count in kept], fontsize=8)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="y", labelsize=8)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _colour(i: int) -> str:
    return COLOURS[1:][i % len(COLOURS[1:])]


def _legend(figure: Figure, axes: Any, n: int, ax: Axes | None) -> None:
    """Name the models below the panels, where there are several."""
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if n > 1 and ax is not None:
        ax.legend(handles, labels, fontsize=8, frameon=False)
    elif n > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def plot_samples(pictures: NDArray[Any], most: int = 8) -> Figure:
    """Draw samples of z above those of -z.

    Parameters
    ----------
    pictures : ndarray of shape (2, k, C, H, W) or (2, k, H, W)
        The samples; values outside [0, 1] are scaled to it.
    most : int
        The most samples in a row.
    """
    shown = _in_range(np.asarray(pictures[:, :most], np.float64))
    k, height, width = shown.shape[1], shown.shape[-2], shown.shape[-1]
    figure, axes = new_figure(1, 1, _WIDTH, 0.25 + (_WIDTH - 0.4) * 2 * (height + 1) / (k * (width + 1)))
    tiles = [[_bordered(as_picture(one)) for one in row] for row in shown]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in tiles], axis=0)
    panel = axes[0, 0]
    panel.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    panel.set_xticks([])
    panel.set_yticks([height / 2, height + 1 + height / 2], ["z", "-z"], fontsize=9)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    return figure


def _bordered(picture: Floats) -> Floats:
    """Return a picture with a white line on its right and below it."""
    return np.pad(picture, [(0, 1), (0, 1), *[(0, 0)] * (picture.ndim - 2)], constant_values=1.0)


def _in_range(pictures: Floats) -> Floats:
    """Return pictures with values in [0, 1]: as they are, from [-1, 1], or scaled to their own range."""
    low, high = float(pictures.min()), float(pictures.max())
    if low >= -0.01 and high <= 1.01:
        return np.clip(pictures, 0, 1)
    if low >= -1.01 and high <= 1.01:
        return np.clip((pictures + 1) / 2, 0, 1)
    return (pictures - low) / ((high - low) or 1.0)

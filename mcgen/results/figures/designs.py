"""Figures of designs: what they were worth in a comparison, and what a plan predicts of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.results.efficiencies import EFFICIENCY
from mcgen.results.figures.base import MOST_PANELS, Components, chosen_components, left_out_text
from mcgen.results.figures.estimates import panels_side_by_side, with_note
from mcgen.results.figures.forest import PALE, SPECIAL, Panel, Row, forests
from mcgen.results.provenance import percent_of
from mcgen.results.shown import ShownComparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

_WIDTH = 4.8


def plot_comparison(
    comparison: ShownComparison, ax: AxesLike | None = None, components: Components | None = None
) -> Figure:
    """Draw each design's interval beside its efficiency; see `Comparison.plot`."""
    first = comparison.estimates[0]
    numbers = chosen_components(first.names, components, MOST_PANELS // 2)
    panels = _efficiencies(comparison, numbers)
    if not _is_one(ax):
        intervals = panels_side_by_side(comparison.labels, comparison.estimates, numbers, first.names)
        panels = [panel for two in zip(intervals, panels, strict=True) for panel in two]
    note = left_out_text(numbers, len(first.names), "components")
    return forests(with_note(panels, note), ax, width=_WIDTH)


def _is_one(ax: AxesLike | None) -> bool:
    """Return whether a single Axes was given."""
    return ax is not None and not isinstance(ax, Sequence | np.ndarray)


def _efficiencies(comparison: ShownComparison, numbers: Sequence[int]) -> list[Panel]:
    """Return a panel of efficiencies for each of some components."""
    first = comparison.estimates[0]
    columns = comparison.to_frame()[[*EFFICIENCY]].to_numpy(np.float64)
    found = columns.reshape(len(comparison.labels), len(first.names), len(EFFICIENCY))
    caption = (
        f"evaluations of {comparison.labels[comparison.baseline]} that one evaluation is worth, with "
        f"{percent_of(first.confidence_level)} interval"
    )
    panels = []
    for number in numbers:
        rows = [
            _row_of_efficiency(label, *found[row, number].tolist(), is_baseline=row == comparison.baseline)
            for row, label in enumerate(comparison.labels)
        ]
        panels.append(Panel(f"{first.names[number]}: efficiency", rows, caption, line=1.0, log=True))
    return panels


def _row_of_efficiency(label: str, value: float, low: float, high: float, *, is_baseline: bool) -> Row:
    if is_baseline:
        return Row(label, 1.0, math.nan, math.nan, "1 (baseline)", PALE)
    if math.isnan(value):
        return Row(label, value, low, high, "not defined", PALE)
    return Row(label, value, low, high, f"{_short(value)} [{_short(low)}, {_short(high)}]")


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.3g}"


def plot_predictions(
    labels: Sequence[str],
    names: Sequence[str],
    predictions: Floats,
    chosen: int,
    ax: AxesLike | None = None,
    components: Components | None = None,
) -> Figure:
    """Draw predicted half-widths as bars with their prediction intervals, a panel a component.

    Parameters
    ----------
    labels : sequence of str
        Names of the candidates.
    names : sequence of str
        Names of the components.
    predictions : ndarray of shape (candidates, 3, k)
        Half-width, and the ends of its 80 % prediction interval.
    chosen : int
        Number of the candidate that has a colour of its own.
    ax : Axes, or sequence or array of Axes, optional
        Where to draw, one for each component that is drawn.
    components : int, str, or sequence of int and str, optional
        Which components to draw; by default all, up to twelve.
    """
    numbers = chosen_components(names, components, MOST_PANELS)
    panels = [
        Panel(
            names[number],
            [
                _row_of_prediction(label, *predictions[row, :, number].tolist(), is_chosen=row == chosen)
                for row, label in enumerate(labels)
            ],
            "predicted half-width with its 80 % prediction interval",
            bars=True,
        )
        for number in numbers
    ]
    note = left_out_text(numbers, len(names), "components")
    return forests(with_note(panels, note), ax, width=_WIDTH)


def _row_of_prediction(label: str, value: float, low: float, high: float, *, is_chosen: bool) -> Row:
    text = f"{value:.2g} [{low:.2g}, {high:.2g}]" if math.isfinite(value) else "not predicted"
    return Row(label, value, low, high, text + (" chosen" if is_chosen else ""), SPECIAL if is_chosen else PALE)

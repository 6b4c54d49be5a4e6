"""Figures of analyses: curves by the steps of a sampler, predictions along lines, and histograms of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.results.figures.base import COLOURS, colour_of, keep_ticks_apart, legend_below, new_figure, panels_on, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# The most panels of slices, so that each stays readable.
_LARGEST_PANELS = 6
_LINES = ("-", "--", ":", "-.")


class DrawnCurve(Protocol):
    """What a figure reads of a curve."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What is shown."""
        ...

    @property
    def steps(self) -> NDArray[np.int64]:
        """Numbers of the steps."""
        ...

    @property
    def mean(self) -> Floats:
        """The value at each step."""
        ...

    @property
    def band_low(self) -> Floats:
        """Lower ends of the band."""
        ...

    @property
    def band_high(self) -> Floats:
        """Upper ends of the band."""
        ...


@style()
def plot_curves(curves: Sequence[DrawnCurve], title: str, ax: AxesLike | None) -> Figure:
    """Draw curves with their bands; a panel for each value of the label "of".

    The label "kind" has colours, and the label "measure" has line styles; without kinds each measure has a colour.

    Raises
    ------
    ValueError
        If `ax` is not one Axes for each panel.
    """
    panels = [*dict.fromkeys(one.labels.get("of", "") for one in curves)]
    kinds = [*dict.fromkeys(one.labels.get("kind", "") for one in curves)]
    measures = [*dict.fromkeys(one.labels.get("measure", "") for one in curves)]
    figure, axes = panels_on(ax, len(panels), len(panels), 3.6 * len(panels) + 2.2, [3.4])
    for panel, of in zip(axes, panels, strict=True):
        for one in curves:
            if one.labels.get("of", "") != of:
                continue
            kind, measure = (one.labels.get(name, "") for name in ("kind", "measure"))
            by_kind = len(kinds) > 1
            colour = COLOURS[(1 + (kinds.index(kind) if by_kind else measures.index(measure))) % len(COLOURS)]
            line = _LINES[measures.index(measure) % len(_LINES)] if by_kind else "-"
            label = ", ".join(text for text in (kind, measure) if text)
            panel.plot(one.steps, one.mean, line, color=colour, label=label)
            panel.fill_between(one.steps, one.band_low, one.band_high, color=colour, alpha=0.2, lw=0)
        panel.set_xlabel("step, from noise to sample")
        panel.set_title(of)
        panel.grid()
    axes[0].set_ylabel(title)
    for panel in axes[1:] if ax is None else ():
        panel.sharey(axes[0])
    # Beside the panels of a new figure, where it covers no curve.
    axes[-1].legend(**({"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if ax is None else {}))
    keep_ticks_apart(figure, axes, whole=True)
    return figure


@style()
def plot_slices(grid: Floats, steps: NDArray[np.int64], values: Floats) -> Figure:
    """Draw one number of a prediction along lines through 0: a panel for each of up to six steps, a line for each base.

    Parameters
    ----------
    grid : ndarray of shape (points,)
        Places on the lines, from -1 to 1.
    steps : ndarray of int of shape (s,)
        Numbers of the steps.
    values : ndarray of shape (s, bases, points)
        The number.
    """
    chosen = np.unique(np.rint(np.linspace(0, len(steps) - 1, _LARGEST_PANELS)).astype(int)).tolist()
    n_rows = math.ceil(len(chosen) / 3)
    n_columns = min(3, len(chosen))
    figure, axes = new_figure(n_rows, n_columns, 2.9 * n_columns, 2.3 * n_rows + 0.2)
    for panel in axes.flat[len(chosen) :]:
        panel.set_visible(False)
    for panel, number in zip(axes.flat, chosen, strict=False):
        for base, line in enumerate(values[number]):
            panel.plot(grid, line, color=COLOURS[base % len(COLOURS)], lw=1)
        panel.set_title(f"step {steps[number]}")
        panel.grid()
    figure.supxlabel("c, the place on the line c z", fontsize=8)
    figure.supylabel("one number of the prediction", fontsize=8)
    keep_ticks_apart(figure, [*axes.flat][: len(chosen)])
    return figure


@style()
def plot_histograms(
    values: Mapping[tuple[str, str], Floats],
    kinds: Sequence[str],
    measures: Sequence[str],
    title: str,
    ax: AxesLike | None,
) -> Figure:
    """Draw the histograms of the measures of pairs, a panel a measure; `PairAnalysis.plot` describes them.

    Parameters
    ----------
    values : mapping of (str, str) to ndarray
        The measure of each pair, by kind and measure; NaN where it is not defined.
    kinds, measures : sequence of str
        Their names. The last kind, which the others are compared with, is grey.
    title : str
        The title of a new figure.
    ax
        As for every plot of a result.
    """
    n = len(measures)
    figure, axes = panels_on(ax, n, n, 3.6 * n, [3.0])
    for panel, measure in zip(axes, measures, strict=True):
        every = [values[kind, measure].ravel() for kind in kinds]
        finite = [one[np.isfinite(one)] for one in every]
        edges = _edges(np.concatenate(finite), min(60, max(10, len(finite[0]) // 8)))
        for number, (kind, own) in enumerate(zip(kinds, finite, strict=True)):
            colour = COLOURS[0] if number == len(finite) - 1 else colour_of(number)
            panel.hist(own, edges.tolist(), density=True, alpha=0.55, color=colour, label=kind)
            panel.axvline(own.mean(), color=colour, linewidth=1.2)
        panel.set_xlabel(f"{measure} correlation" if measure in ("standard", "centralized") else measure)
        panel.set_ylabel("density of pairs")
        panel.set_yticks([])
    legend_below(figure, axes, ax)
    keep_ticks_apart(figure, axes)
    if ax is None:
        figure.suptitle(title)
    return figure


def _edges(values: Floats, bins: int) -> Floats:
    """Return the edges of a histogram; where values differ by rounding alone, of bins around them."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - 0.5, high + 0.5
    return np.histogram_bin_edges(values, bins, (low, high))

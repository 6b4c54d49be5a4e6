"""Figures of estimates and comparisons; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import student_t_quantile
from mcgen.results.figures.base import COLOURS, panels_on
from mcgen.results.figures.maps import is_image, plot_maps
from mcgen.results.provenance import percent_of
from mcgen.results.shown import Shown, ShownComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# The most panels of a figure, so that each stays readable.
_LARGEST_PANELS = 6


def plot_estimate(estimate: Shown, ax: Axes | None = None) -> Figure:
    """Draw an estimate: maps for images, a row for each of several conditions, else the interval against evaluations.

    Parameters
    ----------
    estimate : Estimate
        Components of shape (H, W), (1, H, W) or (3, H, W) are drawn as maps of mean and half-width. Several conditions
        have a row each, by their names, above their average. The interval against evaluations is Student's t from the
        kept replicate means; a functional has its own interval in place of it. Rows and intervals are drawn for up to
        six components. A difference of models on independent noise is drawn with the intervals of both models.
    ax : matplotlib Axes, optional
        Where to draw a single component.

    Raises
    ------
    ValueError
        If there are no replicate means to draw the interval from, or several panels for `ax`.
    """
    if is_image(estimate.shape):
        return plot_maps(estimate, ax)
    if estimate.models:
        return _plot_models(estimate, ax)
    if estimate.conditions:
        return _plot_conditions(estimate, ax)
    if estimate.provenance.functional is not None:
        return plot_rows([estimate.provenance.design], estimate.names, _rows([estimate]), COLOURS[:1], ax)
    if estimate.replicate_means is None:
        raise ValueError(
            "the interval against evaluations is drawn from the replicate means, which this estimate does not have; "
            "run it with keep_replicates=True"
        )
    means = estimate.replicate_means[:, :_LARGEST_PANELS]
    k = means.shape[1]
    figure, axes = panels_on(ax, k, 1, 6.4, 1.2 + 1.8 * k)
    for j, panel in enumerate(axes[:, 0]):
        _plot_running(panel, means[:, j], estimate)
        panel.set_ylabel(estimate.names[j])
    axes[-1, 0].set_xlabel("evaluations")
    title = f"{estimate.provenance.design}: {percent_of(estimate.confidence_level)} Student t interval"
    figure.suptitle(title) if ax is None else ax.set_title(title)
    return figure


def _plot_models(estimate: Shown, ax: Axes | None) -> Figure:
    """Draw the intervals of two models and of their difference, a panel a component (up to six)."""
    shown = (*estimate.models, estimate)
    labels = [part.provenance.model or part.provenance.generator for part in shown]
    return plot_rows(labels, estimate.names, _rows(shown), COLOURS[: len(shown)], ax)


def plot_comparison(comparison: ShownComparison, ax: Axes | None = None) -> Figure:
    """Draw each design's interval, a panel a component (up to six); onto `ax` where there is one component."""
    colours = [COLOURS[row % len(COLOURS)] for row in range(len(comparison.estimates))]
    return plot_rows(comparison.labels, comparison.estimates[0].names, _rows(comparison.estimates), colours, ax)


def _plot_conditions(estimate: Shown, ax: Axes | None) -> Figure:
    joined = estimate.provenance.across or "average"
    labels = [*(str(part.provenance.condition) for part in estimate.conditions), joined]
    colours = [COLOURS[1]] * len(estimate.conditions) + [COLOURS[0]]
    return plot_rows(labels, estimate.names, _rows((*estimate.conditions, estimate)), colours, ax)


def _rows(estimates: Sequence[Shown]) -> Floats:
    """Return middle, lower and upper end of each estimate, shape (estimates, 3, k)."""
    return np.stack([np.stack([np.ravel(one.mean), *map(np.ravel, one.interval)]) for one in estimates])


def plot_rows(
    labels: Sequence[str],
    names: Sequence[str],
    rows: Floats,
    colours: Sequence[str],
    ax: Axes | None = None,
    x_label: str = "",
) -> Figure:
    """Draw points with their intervals, one below the other, a panel a component (up to six).

    Parameters
    ----------
    labels : sequence of str
        Texts of the rows.
    names : sequence of str
        Names of the components.
    rows : ndarray of shape (rows, 3, k)
        Middle, lower and upper end of each row, by component.
    colours : sequence of str
        Colours of the rows.
    ax : matplotlib Axes, optional
        Where to draw a single component.
    x_label : str
        What the points are.

    Raises
    ------
    ValueError
        If `ax` is given for several components.
    """
    k = min(len(names), _LARGEST_PANELS)
    n_rows = math.ceil(k / 2)
    figure, axes = panels_on(ax, n_rows, min(k, 2), 4.6 * min(k, 2), (0.7 + 0.35 * len(labels)) * n_rows + 0.4)
    for j, panel in enumerate(axes.flat):
        panel.set_visible(j < k)
        if j >= k:
            continue
        for row, (middle, low, high) in enumerate(rows[:, :, j]):
            ends = [[middle - low], [high - middle]]
            panel.errorbar(middle, -row, xerr=ends, fmt="o", capsize=4, color=colours[row])
        panel.set_yticks([-row for row in range(len(labels))], labels if j % 2 == 0 else [])
        panel.set_ylim(0.6 - len(labels), 0.4)
        panel.set_title(names[j], fontsize=10)
        panel.set_xlabel(x_label)
        panel.grid(axis="x", alpha=0.3)
    return figure


def _plot_running(ax: Axes, means: Floats, estimate: Shown) -> None:
    n = np.unique(np.geomspace(2, len(means), 200).astype(int))
    # Values are shifted by the final mean, so that the sums of squares lose no digits that a picture shows.
    d = means - means.mean()
    mean = np.cumsum(d)[n - 1] / n
    variance = np.maximum(np.cumsum(d**2)[n - 1] - n * mean**2, 0) / (n - 1)
    half = student_t_quantile((1 + estimate.confidence_level) / 2, n - 1.0) * np.sqrt(variance / n)
    evaluations = n * estimate.provenance.n_points
    centre = mean + means.mean()
    ax.fill_between(evaluations, centre - half, centre + half, color=COLOURS[1], alpha=0.25, lw=0)
    ax.plot(evaluations, centre, color=COLOURS[1])
    ax.set_xscale("log")
    # The intervals of the first replicates are so wide that they would hide the rest.
    spread = 4 * half[len(half) // 3]
    ax.set_ylim(centre[-1] - spread, centre[-1] + spread) if spread > 0 else None
    ax.grid(alpha=0.3)

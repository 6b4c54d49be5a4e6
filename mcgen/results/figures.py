"""Figures of estimates; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import student_t_quantile
from mcgen.results.provenance import percent_of
from mcgen.results.shown import Shown, ShownComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Colours that readers with colour blindness can tell apart, after Okabe and Ito.
COLOURS = ("#4c566a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
# The most panels of a figure, so that each stays readable.
_LARGEST_PANELS = 6


def require_matplotlib() -> None:
    """Raise an ImportError that names the extra if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed; install the extra: pip install 'mcgen-stats[plot]'"
        ) from error


def new_figure(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure that pyplot does not keep, and its axes (n_rows, n_columns).

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def panels_on(ax: Axes | None, n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a new figure and its axes (n_rows, n_columns), or that of `ax` where one panel is to be drawn onto it.

    Raises
    ------
    TypeError
        If `ax` is no Axes of matplotlib.
    ValueError
        If `ax` is given for several panels.
    """
    if ax is None:
        return new_figure(n_rows, n_columns, width, height)
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be one Axes of matplotlib; got {ax!r}. Leave it out for a new figure")
    if n_rows * n_columns > 1:
        raise ValueError(
            f"this figure has {n_rows * n_columns} panels, and ax has room for one; leave ax out for a new figure, and "
            "take its axes from figure.axes"
        )
    # The figure of a subfigure is the whole figure.
    return ax.figure.figure, np.array([[ax]])


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
        return _plot_maps(estimate, ax)
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


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether components of this shape are pixels of an image."""
    return (len(shape) == 2 and min(shape) > 1) or (len(shape) == 3 and shape[0] in (1, 3))


def as_picture(image: Floats) -> Floats:
    """Return an image (H, W), (1, H, W) or (3, H, W) in matplotlib's shape: (H, W) or (H, W, 3)."""
    if image.ndim == 3:
        return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, 2)
    return image


def _plot_maps(estimate: Shown, ax: Axes | None) -> Figure:
    figure, axes = panels_on(ax, 1, 2, 7.2, 3.4)
    mean = np.asarray(estimate.mean)
    half = np.asarray(estimate.half_width)
    half = half.mean(axis=0) if half.ndim == 3 else half
    if mean.min() >= 0 and mean.max() <= 1:
        axes[0, 0].imshow(as_picture(mean), cmap="gray", vmin=0, vmax=1)
    else:
        # Values outside [0, 1] are a difference, or samples of another range: colours show the sign, the bar the scale.
        flat = mean.mean(axis=0) if mean.ndim == 3 else mean
        limit = float(np.abs(flat).max())
        signed = axes[0, 0].imshow(flat, cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(signed, ax=axes[0, 0], shrink=0.85)
    axes[0, 0].set_title("mean")
    shown = axes[0, 1].imshow(half, cmap="magma", vmin=0)
    axes[0, 1].set_title(f"half-width ({percent_of(estimate.confidence_level)})")
    figure.colorbar(shown, ax=axes[0, 1], shrink=0.85)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
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

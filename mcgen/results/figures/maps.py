"""Images: maps of mean and half-width, and samples of z beside those of -z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.results.figures.base import WIDTH, panels_on, style, wrapped
from mcgen.results.shown import Shown
from mcgen.results.text import interval_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# Colour of pixels without a number.
_NO_NUMBER = "#9a9a9a"


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether components of this shape are pixels of an image."""
    return (len(shape) == 2 and min(shape) > 1) or (len(shape) == 3 and shape[0] in (1, 3))


def as_picture(image: Floats) -> Floats:
    """Return an image (H, W), (1, H, W) or (3, H, W) in matplotlib's shape: (H, W) or (H, W, 3)."""
    if image.ndim == 3:
        return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, 2)
    return image


@style()
def plot_maps(estimate: Shown, ax: AxesLike | None = None) -> Figure:
    """Draw maps of the mean and of the half-width of its interval side by side, each with a colour scale.

    A mean of three channels in [0, 1] is drawn in its own colours. Other values have a scale with 0 in the middle, and
    three channels are averaged there, as they are in the map of half-widths. Pixels without a finite number are grey.
    """
    figure, axes = panels_on(ax, 2, 2, 7.4, [3.5])
    mean, half = np.asarray(estimate.mean), np.asarray(estimate.half_width)
    what = estimate.provenance.functional or "mean"
    averaged = "\n(average of the channels)" if mean.ndim == 3 and mean.shape[0] == 3 else ""
    if np.nanmin(mean) >= 0 and np.nanmax(mean) <= 1:
        shown = as_picture(mean)
        if shown.ndim == 3:
            axes[0].imshow(np.nan_to_num(shown))
        else:
            _map(axes[0], shown, "gray", 0.0, 1.0)
        axes[0].set_title(f"{what}\n(red, green and blue)" if shown.ndim == 3 else what)
    else:
        flat = _flat(mean)
        limit = float(np.nanmax(np.abs(flat))) or 1.0
        _map(axes[0], flat, "RdBu_r", -limit, limit)
        axes[0].set_title(what + averaged)
    flat = _flat(half)
    finite = flat[np.isfinite(flat)]
    _map(axes[1], flat, "magma", 0.0, float(finite.max(initial=0.0)) or 1.0)
    axes[1].set_title(wrapped(f"half-width of the {interval_words(estimate)}", 34, 3) + averaged)
    for panel in axes:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    if not np.isfinite(flat).all():
        axes[1].set_xlabel(f"grey: no finite interval, {int((~np.isfinite(flat)).sum()):,} pixels")
    return figure


def _flat(image: Floats) -> Floats:
    """Return an image (H, W), with the average of its channels."""
    return image.mean(axis=0) if image.ndim == 3 else image


def _map(panel: Axes, image: Floats, colours: str, low: float, high: float) -> None:
    """Draw an image with its colour scale, whose labels are few."""
    import matplotlib as mpl

    scheme = mpl.colormaps[colours].with_extremes(bad=_NO_NUMBER)
    shown = panel.imshow(np.ma.masked_invalid(image), cmap=scheme, vmin=low, vmax=high)
    bar = panel.figure.figure.colorbar(shown, ax=panel, shrink=0.85)
    bar.ax.locator_params(nbins=5)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.get_offset_text().set_fontsize(8)


@style()
def plot_samples(pictures: NDArray[Any], most: int = 8, ax: AxesLike | None = None) -> Figure:
    """Draw samples of z above those of -z.

    Parameters
    ----------
    pictures : ndarray of shape (2, k, C, H, W) or (2, k, H, W)
        The samples; values outside [0, 1] are scaled to it.
    most : int
        The most samples in a row.
    ax : Axes, optional
        Where to draw them.
    """
    shown = _in_range(np.asarray(pictures[:, :most], np.float64))
    k, height, width = shown.shape[1], shown.shape[-2], shown.shape[-1]
    figure, (panel,) = panels_on(ax, 1, 1, WIDTH, [0.25 + (WIDTH - 0.4) * 2 * (height + 1) / (k * (width + 1))])
    tiles = [[_bordered(as_picture(one)) for one in row] for row in shown]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in tiles], axis=0)
    panel.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    panel.set_xticks([])
    panel.set_yticks([height / 2, height + 1 + height / 2], ["z", "-z"])
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

"""Images: maps of mean and half-width, and samples of z beside those of -z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.results.figures.base import WIDTH, new_figure, panels_on
from mcgen.results.provenance import percent_of
from mcgen.results.shown import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether components of this shape are pixels of an image."""
    return (len(shape) == 2 and min(shape) > 1) or (len(shape) == 3 and shape[0] in (1, 3))


def as_picture(image: Floats) -> Floats:
    """Return an image (H, W), (1, H, W) or (3, H, W) in matplotlib's shape: (H, W) or (H, W, 3)."""
    if image.ndim == 3:
        return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, 2)
    return image


def plot_maps(estimate: Shown, ax: Axes | None) -> Figure:
    """Draw maps of mean and half-width side by side."""
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
    figure, axes = new_figure(1, 1, WIDTH, 0.25 + (WIDTH - 0.4) * 2 * (height + 1) / (k * (width + 1)))
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

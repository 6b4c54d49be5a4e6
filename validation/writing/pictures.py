"""The pictures of models in the documentation: samples beside real images, and samples of z beside those of -z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import mcgen
from mcgen._lib.arrays import as_numpy
from mcgen.noise import as_rows
from mcgen.results.figures.base import COLOURS, new_figure
from mcgen.results.figures.maps import as_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_COLUMNS = 10


def samples_figure(
    generator: Any, real: Any, real_classes: Any, *, by_class: bool, n_rows: int = 6, n_real: int = 3
) -> Figure:
    """Draw samples above held-out real images; where the model has classes, a column for each.

    Parameters
    ----------
    generator : Generator
        A generator of images.
    real : array of shape (n, channels, side, side)
        Held-out real images.
    real_classes : array of shape (n,)
        Classes of the real images.
    by_class : bool
        Whether the columns show the classes 0 to 9.
    n_rows, n_real : int
        Rows of samples and of real images.
    """
    figure, axes = new_figure(n_rows + n_real, N_COLUMNS, 0.7 * N_COLUMNS, 0.72 * (n_rows + n_real))
    for column in range(N_COLUMNS):
        noise = as_rows(mcgen.MonteCarlo().draw(generator.noise, n_rows, seed=column))
        samples = as_numpy(generator(noise, column if by_class else None))
        chosen = real[real_classes == column] if by_class else real[column::N_COLUMNS]
        for row, image in enumerate([*samples, *as_numpy(chosen[:n_real])]):
            show_image(axes[row, column], image)
    axes[n_rows // 2, 0].set_ylabel("samples")
    axes[n_rows + n_real // 2, 0].set_ylabel("real")
    return figure


def pairs_figure(generator: Any, n_pairs: int, seed: int, condition: Any = None) -> Figure:
    """Draw samples from z above samples from -z."""
    noise = as_rows(mcgen.Antithetic().draw(generator.noise, n_pairs, seed, stream=("pictures",)))
    samples = as_numpy(generator(noise, condition))
    figure, axes = new_figure(2, n_pairs, 0.9 * n_pairs, 1.9)
    for i, image in enumerate(samples):
        show_image(axes[i % 2, i // 2], image)
    axes[0, 0].set_ylabel("z")
    axes[1, 0].set_ylabel("-z")
    return figure


def plane_figure(generator: Any, real: Any, n_points: int = 1000, n_pairs: int = 40) -> Figure:
    """Draw samples of the plane over real points, and pairs of samples from z and -z, joined by lines."""
    figure, ((left, right),) = new_figure(1, 2, 8.0, 3.4)
    samples = as_numpy(generator(as_rows(mcgen.MonteCarlo().draw(generator.noise, n_points, seed=0))))
    for ax, title in ((left, "samples over real points"), (right, "pairs from z and -z")):
        ax.scatter(*as_numpy(real[:n_points]).T, s=4, color="0.8")
        ax.set_title(title, fontsize=9)
        ax.set_aspect("equal")
    left.scatter(*samples.T, s=3, color=COLOURS[1])
    pairs = as_numpy(generator(as_rows(mcgen.Antithetic().draw(generator.noise, n_pairs, seed=0)))).reshape(-1, 2, 2)
    for pair in pairs:
        right.plot(*pair.T, "o-", color=COLOURS[2], markersize=3, linewidth=0.6)
    return figure


def show_image(ax: Any, image: Any) -> None:
    """Draw one image, in grey or in colour, without ticks."""
    ax.imshow(as_picture(np.asarray(image)), cmap="gray", vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])

"""The pictures of the documentation, made again by ``python -m mcgen.validation pictures``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mcgen
from mcgen.adapters import models
from mcgen.arrays import as_numpy
from mcgen.plot import as_picture, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_CLASSES = 10


def write_pictures(folder: Path) -> None:
    """Write ``digits.png`` (samples and real digits, class by class) and ``pairs.png`` (z and -z) into a folder."""
    generator = models.load("digits-diffusion")
    folder.mkdir(parents=True, exist_ok=True)
    samples_figure(generator).savefig(folder / "digits.png")
    pairs_figure(generator, n_pairs=10, seed=0).savefig(folder / "pairs.png")


def samples_figure(generator: Any, n_rows: int = 6, n_real: int = 3) -> Figure:
    """Draw samples of each class above held-out real digits."""
    from mcgen.adapters.models.train_digits import load_digits

    _, _, real, classes = load_digits()
    figure, axes = new_figure(n_rows + n_real, N_CLASSES, 0.7 * N_CLASSES, 0.72 * (n_rows + n_real))
    for c in range(N_CLASSES):
        noise = np.asarray(mcgen.MonteCarlo().draw(generator.noise, n_rows, seed=c))[:, 0]
        column = [*as_numpy(generator(noise, c)), *as_numpy(real[classes == c][:n_real])]
        for row, image in enumerate(column):
            _show(axes[row, c], image)
    axes[n_rows // 2, 0].set_ylabel("samples")
    axes[n_rows + n_real // 2, 0].set_ylabel("real")
    return figure


def pairs_figure(generator: Any, n_pairs: int, seed: int) -> Figure:
    """Draw samples from z above samples from -z."""
    noise = np.asarray(mcgen.Antithetic().draw(generator.noise, n_pairs, seed, stream=("pictures",)))
    samples = as_numpy(generator(noise.reshape(-1, *noise.shape[2:]))).reshape(noise.shape)
    figure, axes = new_figure(2, n_pairs, 0.9 * n_pairs, 1.9)
    for column in range(n_pairs):
        for row in range(2):
            _show(axes[row, column], samples[column, row])
    axes[0, 0].set_ylabel("z")
    axes[1, 0].set_ylabel("-z")
    return figure


def _show(ax: Any, image: Any) -> None:
    ax.imshow(as_picture(np.asarray(image)), cmap="gray", vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])

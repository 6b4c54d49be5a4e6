"""Quality of a model: its samples are compared with held-out real images by a small classifier."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import nn

from mcgen.adapters.models.training.classifier import accuracy, fitted
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.record import Sample

# Number of samples of each class for the accuracy.
_PER_CLASS = 50
# Number of sets of samples over which the distance is averaged.
_SETS = 2


class Judge:
    """A classifier of real images, and measures of quality that it gives for samples.

    Parameters
    ----------
    images : Images
        Real images. The classifier is trained on the training part, and samples are compared with the held-out part.
    """

    def __init__(self, images: Images) -> None:
        self.images = images

    @cached_property
    def classifier(self) -> nn.Sequential:
        """A small convolutional network; the 64 units of its last hidden layer are the features."""
        return fitted(self.images)[0]

    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Return the share of images to which the classifier gives the classes y."""
        return accuracy(self.classifier, x, y)

    def distance(self, a: torch.Tensor, b: torch.Tensor) -> float:
        """Return the squared Fréchet distance of two sets of images in the classifier's features."""
        return frechet_distance(*(self.classifier[:-1](x).double().numpy() for x in (a, b)))

    def nearest(self, x: torch.Tensor) -> float:
        """Return the median over images of the distance to the nearest training image."""
        return float(torch.cdist(x.flatten(1), self.images.x.flatten(1)).min(1).values.median())

    @torch.no_grad()
    def numbers(self, sample: Sample, *, by_class: bool) -> dict[str, float]:
        """Return the measures of quality of a model, with those of real images for comparison.

        Accuracy is the share of samples to which the classifier gives the class of their condition. Distance is the
        squared Fréchet distance between held-out images and as many samples without a class, averaged over 2 sets. The
        same distance for training images is its floor. Nearest is the median distance of samples to the nearest
        training image, divided by that of held-out images. A ratio far below 1 would mean that the model repeats its
        training images.
        """
        real = self.images
        n = len(real.x_new)
        sets = [sample(n, None) for _ in range(_SETS)]
        rng = np.random.default_rng(7)
        parts = [real.x[torch.from_numpy(rng.permutation(len(real.x))[:n])] for _ in range(_SETS)]
        found = {"accuracy_on_held_out_images": self.accuracy(real.x_new, real.y_new)}
        if by_class:
            each = torch.cat([sample(_PER_CLASS, c) for c in range(real.n_classes)])
            classes = torch.arange(real.n_classes).repeat_interleave(_PER_CLASS)
            found["accuracy_on_samples_of_each_class"] = self.accuracy(each, classes)
        found["frechet_distance_of_samples"] = float(np.mean([self.distance(x, real.x_new) for x in sets]))
        found["frechet_distance_of_training_images"] = float(np.mean([self.distance(x, real.x_new) for x in parts]))
        found["nearest_training_image_ratio"] = self.nearest(sets[0]) / self.nearest(real.x_new)
        return {name: round(value, 4) for name, value in found.items()}


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    r"""Return the squared 2-Wasserstein distance of the Gaussians fitted to two sets of features (n, k).

    It is :math:`\lVert m_a - m_b \rVert^2 + \mathrm{tr}(C_a + C_b - 2 (C_a C_b)^{1/2})` for means m and covariances C.
    """
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(cov_a @ cov_b))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))

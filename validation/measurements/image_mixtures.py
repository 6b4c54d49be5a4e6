r"""Diffusions of Gaussian mixtures with image-like spectra and known score, for the efficiency measurements.

The law of images of side s has eight normal components c with weights :math:`w_c`. In the orthonormal cosine basis
(DCT II) the coefficients of a component are independent, with means :math:`\mu_{cf}` and variances :math:`v_{cf}`. With
frequencies f = (i, j), the decay :math:`q_f = 1 / (1 + i^2 + j^2)`, and the scale a = 0.35 s / sqrt(sum q), which gives
a pixel a standard deviation of 0.35,

.. math:: \mu_{cf} = \text{separation} \cdot a \sqrt{q_f}\, g_{cf}, \qquad v_{cf} = a^2 b_c q_f,

where g are standard normal numbers of ``numpy.random.default_rng(21)`` in the order (component, i, j), and b is evenly
spaced from the first to the last of `sizes`. Overlapping mixtures have sizes closer to each other: in many dimensions
the variances alone can identify the component of an image.

At signal share t the coefficients of a state have, under component c, mean :math:`\sqrt t \mu_c` and variance
:math:`s_c = t v_c + 1 - t`. With :math:`p_c(y)` the posterior probability of the component, the posterior mean of the
sample is

.. math:: E[x | y] = \sum_c p_c(y) \Big(\mu_c + \frac{\sqrt t\, v_c}{s_c} (y - \sqrt t \mu_c)\Big),

the denoiser that a network would learn. With it DDIM takes 50 steps of the cosine schedule of 1,000. Its samples do not
follow the mixture exactly; what is estimated is the sampler's own expectation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import torch
from scipy.fft import dct

from mcgen import statistics
from mcgen._lib.arrays import Floats
from mcgen.adapters import DDIM, Schedule
from mcgen.statistics import Stack

WEIGHTS = (0.22, 0.18, 0.15, 0.13, 0.11, 0.09, 0.07, 0.05)
MEANS_SEED = 21
PIXEL_SD = 0.35
N_TRAINING_STEPS = 1000
STEPS = 50
NAMES = ("mean", "brightness", "contrast", "centroid", "maximum", "sd", "class")


@dataclass(frozen=True)
class ImageMixture:
    """A Gaussian mixture of images.

    Attributes
    ----------
    side : int
        Side of an image, in pixels.
    separation : float
        Scale of the means, in standard deviations of a component of size 1.
    sizes : tuple of float
        The smallest and the largest factor b of the components' variances; the others are evenly spaced between them.
    """

    side: int
    separation: float
    sizes: tuple[float, float]

    @property
    def decay(self) -> Floats:
        """The variances of the coefficients of a component of size 1, before scaling, shape (dimension,)."""
        f = np.arange(self.side)
        return np.asarray((1 / (1 + f[:, None] ** 2 + f**2)).ravel())

    @property
    def scale(self) -> float:
        """The factor a, which makes a pixel's standard deviation 0.35 in a component of size 1."""
        return PIXEL_SD * self.side / math.sqrt(float(self.decay.sum()))

    def parameters(self) -> tuple[Floats, Floats, Floats]:
        """Return weights (8,), means and variances of the coefficients, both (8, dimension)."""
        rng = np.random.default_rng(MEANS_SEED)
        normals = rng.standard_normal((len(WEIGHTS), self.side**2))
        means = self.separation * self.scale * normals * np.sqrt(self.decay)
        sizes = np.linspace(*self.sizes, len(WEIGHTS))
        return np.array(WEIGHTS), means, self.scale**2 * sizes[:, None] * self.decay

    def distances(self) -> tuple[float, float]:
        """Return the smallest and largest distance of two means, in standard deviations of a component of size 1."""
        _, means, _ = self.parameters()
        scaled = means / (self.scale * np.sqrt(self.decay))
        found = [float(np.linalg.norm(a - b)) for a, b in combinations(scaled, 2)]
        return min(found), max(found)

    def largest_posterior(self) -> float:
        """Return the mean of the largest posterior probability of a component, over 4,000 samples of the mixture."""
        return _largest_posterior(self)

    def generator(self, steps: int = STEPS) -> DDIM:
        """Return the sampler on its exact denoiser."""
        schedule = Schedule.cosine(N_TRAINING_STEPS)
        denoiser = ExactDenoiser(self, schedule).eval()
        shape = (1, self.side, self.side)
        return DDIM(denoiser, schedule, shape, steps=steps, prediction="sample", name=f"mixture-{self.side**2}")

    def statistic(self) -> Stack:
        """Return the seven statistics; brightness, contrast and centroid are those of sigmoid(2 x), in (0, 1)."""
        denoiser = ExactDenoiser(self, Schedule.cosine(N_TRAINING_STEPS)).eval()
        return statistics.stack(
            statistics.pixel_mean,
            lambda x: statistics.brightness(_image(x)),
            lambda x: statistics.contrast(_image(x)),
            lambda x: statistics.centroid(_image(x)),
            lambda x: x.flatten(1).amax(1),
            lambda x: x.flatten(1).std(1),
            lambda x: denoiser.posterior(x, 1.0)[:, 0],
            names=NAMES,
        )


class ExactDenoiser(torch.nn.Module):
    """The posterior mean of an image given a noised one: a denoiser that predicts the sample.

    Parameters
    ----------
    mixture : ImageMixture
        The law of the images.
    schedule : Schedule
        Gives the share of signal at a fraction of its training steps.
    """

    cosines: torch.Tensor
    log_weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor

    def __init__(self, mixture: ImageMixture, schedule: Schedule) -> None:
        super().__init__()
        weights, means, variances = mixture.parameters()
        line = dct(np.eye(mixture.side), axis=0, norm="ortho")
        named = {"cosines": line, "log_weights": np.log(weights), "means": means, "variances": variances}
        for name, values in named.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        self.schedule = schedule

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the posterior means of images (n, 1, side, side) at a fraction of the training steps."""
        t = self.schedule.alpha_bar[round(float(time[0]) * len(self.schedule.alpha_bar))]
        y, root, spread = self.coefficients(x), math.sqrt(t), t * self.variances + 1 - t
        p = torch.softmax(log_joint(y, self.log_weights, self.means, self.variances, t), 1)
        gain = root * self.variances / spread
        cleaned = p @ ((1 - root * gain) * self.means) + (p @ gain) * y
        return (self.cosines.T @ cleaned.reshape(len(x), *self.cosines.shape) @ self.cosines).reshape(x.shape)

    def coefficients(self, x: torch.Tensor) -> torch.Tensor:
        """Return the coefficients of images in the cosine basis, shape (n, dimension)."""
        return (self.cosines @ x.reshape(len(x), *self.cosines.shape) @ self.cosines.T).flatten(1)

    def posterior(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Return the probability of each component given images at a share of signal, shape (n, 8)."""
        return torch.softmax(log_joint(self.coefficients(x), self.log_weights, self.means, self.variances, t), 1)


def log_joint(
    y: torch.Tensor, log_weights: torch.Tensor, means: torch.Tensor, variances: torch.Tensor, t: float
) -> torch.Tensor:
    """Return log(w_c p_c(y)) up to a constant, for coefficients y (n, d) at a share of signal t, shape (n, 8)."""
    root, spread = math.sqrt(t), t * variances + 1 - t
    squares = y**2 @ (1 / spread).T - 2 * root * y @ (means / spread).T + (t * means**2 / spread).sum(1)
    return log_weights - 0.5 * torch.log(spread).sum(1) - 0.5 * squares


@cache
def _largest_posterior(mixture: ImageMixture, n: int = 4000) -> float:
    weights, means, variances = mixture.parameters()
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(weights), n, p=weights)
    y = means[chosen] + np.sqrt(variances[chosen]) * rng.standard_normal((n, mixture.side**2))
    rows, logs, centres, spreads = (torch.from_numpy(part) for part in (y, np.log(weights), means, variances))
    return float(torch.softmax(log_joint(rows, logs, centres, spreads, 1.0), 1).amax(1).mean())


def _image(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(2 * x)


_SEPARATED, _OVERLAPPING = (0.5, 1.5), (0.9, 1.1)
MIXTURES = {
    "mixture 4 x 4, separated": ImageMixture(4, 1.5, _SEPARATED),
    "mixture 4 x 4, overlapping": ImageMixture(4, 0.6, _OVERLAPPING),
    "mixture 8 x 8, separated": ImageMixture(8, 1.2, _SEPARATED),
    "mixture 8 x 8, overlapping": ImageMixture(8, 0.28, _OVERLAPPING),
    "mixture 16 x 16, separated": ImageMixture(16, 1.2, _SEPARATED),
    "mixture 16 x 16, overlapping": ImageMixture(16, 0.13, _OVERLAPPING),
    "mixture 32 x 32, separated": ImageMixture(32, 1.2, _SEPARATED),
    "mixture 32 x 32, overlapping": ImageMixture(32, 0.055, _OVERLAPPING),
}

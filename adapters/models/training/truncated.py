r"""Training of the start of the truncated diffusion: one pass from noise to states, by the energy distance.

The wanted law is that of :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon` for real
images. For two samples of states, X and Y, the loss is the unbiased estimate of the energy distance [1]_,

.. math:: 2\, E\lVert X - Y \rVert - E\lVert X - X' \rVert - E\lVert Y - Y' \rVert,

which is 0 only if the laws agree. It is added for the states themselves, and for the images that the diffusion model
predicts from them. The states are half noise, and the predictions show the half that the remaining steps use. A GAN in
place of the distance is the choice of H. Zheng, P. He, W. Chen, M. Zhou (2023), ICLR, section 3.

.. [1] G. Szekely, M. Rizzo (2013). Energy statistics: a class of statistics based on distances. Journal of Statistical
   Planning and Inference 143. Equation (2.3).
"""

from __future__ import annotations

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models._composed import TRUNCATED_AT
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Settings, optimize, sampler_of, ship
from mcgen.adapters.samplers.diffusion import DDIM

SETTINGS: Settings = {
    "seed": 0,
    "teacher": "digits-diffusion",
    "training_time": TRUNCATED_AT,
    "steps": 7_000,
    "batch": "256 images of one class, or of any",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "average_decay": 0.999,
    "share_without_class": 0.3,
    "bfloat16": False,
}
_BATCH = 256


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    images = data.digits()
    torch.manual_seed(SETTINGS["seed"])
    network = loading.network(name)
    teacher: DDIM = loading.load("digits-diffusion", steps=2)
    average, log = optimize(network, lambda start: distance_of_states(start, teacher, images), SETTINGS)
    ship(name, average, images, SETTINGS, log, lambda: Judge(images).numbers(sampler_of(name), by_class=True))


def distance_of_states(start: nn.Module, teacher: DDIM, images: Images) -> torch.Tensor:
    """Return the energy distances between states of `start` and noised real images, for one random class or any.

    The teacher is a sampler of two steps, whose second step begins at the training time of the states.
    """
    any_class = float(torch.rand(())) < SETTINGS["share_without_class"]
    condition = None if any_class else int(torch.randint(images.n_classes, ()))
    pool = images.x if condition is None else images.x[images.y == condition]
    x_0 = 2 * pool[torch.randint(len(pool), (_BATCH,))] - 1
    real = teacher.mix(x_0, torch.randn_like(x_0), 1)
    made = start(torch.randn_like(x_0), condition)
    predicted = (teacher.predict(x, 1, condition) for x in (made, real))
    return energy_distance(made, real) + energy_distance(*predicted)


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the unbiased estimate of the energy distance of the laws of two sets of n samples (n, ...)."""
    x, y, n = x.flatten(1), y.flatten(1), len(x)
    within = torch.cdist(x, x).sum() + torch.cdist(y, y).sum()
    distance: torch.Tensor = 2 * torch.cdist(x, y).mean() - within / (n * (n - 1))
    return distance

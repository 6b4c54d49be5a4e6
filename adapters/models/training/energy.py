r"""Training of the energy of 8 x 8 digits: the denoising loss is put on the gradient of the log density.

The predicted noise is :math:`\hat\varepsilon = -\sqrt{1 - \bar\alpha_t}\, \nabla_x \log q_t(x_t)`, and the loss is the
squared error of the velocity that follows from it, :math:`(\hat\varepsilon - \sqrt{1 - \bar\alpha_t}\, x_t) /
\sqrt{\bar\alpha_t}`. Its gradient in the weights passes twice through the network.
"""

from __future__ import annotations

import torch
from torch import nn

from mcgen.adapters.composed.energies import Energy
from mcgen.adapters.models import loading
from mcgen.adapters.models._energies import linear_schedule
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Settings, optimize, sampler_of, ship

SETTINGS: Settings = {
    "seed": 0,
    "steps": 20_000,
    "batch": 128,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "dropout": 0.2,
    "average_decay": 0.9995,
    "share_without_class": 0.3,
    "prediction": "noise, the gradient of an energy",
    "schedule": "betas from 0.0001 to 0.02, 1000 steps",
    "bfloat16": False,
}


def train(name: str) -> None:
    """Train the energy, store it and measure the quality of its DDIM samples."""
    images = data.digits()
    torch.manual_seed(SETTINGS["seed"])
    network = loading.network(name, dropout=SETTINGS["dropout"])
    average, log = optimize(network, lambda net: loss_of(net, images, SETTINGS), SETTINGS)
    ship(name, average, images, SETTINGS, log, lambda: Judge(images).numbers(sampler_of(name), by_class=True))


def loss_of(network: nn.Module, images: Images, settings: Settings) -> torch.Tensor:
    """Return the mean squared error of the velocity on a random batch."""
    alpha_bar = torch.tensor(linear_schedule().alpha_bar, dtype=torch.float32)
    rows = torch.randint(len(images.x), (settings["batch"],))
    x_0, classes = 2 * images.x[rows] - 1, images.y[rows]
    # The last class means any class.
    unknown = torch.rand(len(rows)) < settings["share_without_class"]
    classes = torch.where(unknown, torch.tensor(images.n_classes), classes)
    t = torch.randint(len(alpha_bar), (len(rows),))
    share = alpha_bar[t].reshape(-1, 1, 1, 1)
    a, b = share.sqrt(), (1 - share).sqrt()
    noise = torch.randn_like(x_0)
    x_t = (a * x_0 + b * noise).requires_grad_()
    predicted = -b * Energy(network).score(x_t, t / len(alpha_bar), classes)
    return nn.functional.mse_loss((predicted - b * x_t) / a, a * noise - b * x_0)

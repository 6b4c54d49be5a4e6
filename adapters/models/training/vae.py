r"""Training of the convolutional VAE by its evidence lower bound for Bernoulli pixels.

.. math:: \log p(x) \ge E_{q(z|x)}[\log p(x | z)] - KL(q(z | x) \,\|\, N(0, I)),

D. Kingma, M. Welling (2014), Auto-encoding variational Bayes, ICLR, equation (3) and appendix B.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Settings, optimize, sampler_of, ship

SETTINGS: Settings = {
    "seed": 0,
    "steps": 7_000,
    "batch": 64,
    "learning_rate": 1e-3,
    "weight_decay": 0.02,
    "average_decay": 0.999,
    "dropout": 0.1,
    "bfloat16": True,
}


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    images = data.mnist()
    torch.manual_seed(SETTINGS["seed"])
    network = loading.network(name, dropout=SETTINGS["dropout"])
    average, log = optimize(network, lambda vae: negative_bound(vae, images), SETTINGS)
    ship(name, average, images, SETTINGS, log, lambda: Judge(images).numbers(sampler_of(name), by_class=False))


def negative_bound(vae: Any, images: Images) -> torch.Tensor:
    """Return the negative evidence lower bound of a random batch, in nats per image.

    The VAE is a `ConvolutionalVAE`. A grey value is taken as the probability of white.
    """
    x = images.x[torch.randint(len(images.x), (SETTINGS["batch"],))]
    mean, log_variance = vae.encode(x)
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    divergence = (mean**2 + log_variance.exp() - log_variance - 1).float().sum(1) / 2
    misfit = nn.functional.binary_cross_entropy_with_logits(vae.logits(z).float(), x, reduction="none")
    loss: torch.Tensor = (misfit.flatten(1).sum(1) + divergence).mean()
    return loss

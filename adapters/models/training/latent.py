r"""Training of the latent diffusion: an autoencoder of patches first, then a denoiser of its latents [1]_.

The autoencoder minimizes, over patches x with p numbers and latents z with k numbers,

.. math:: \frac1p \lVert x - D(z) \rVert^2 + \frac{\lambda}{k} KL(q(z | x) \,\|\, N(0, I)), \qquad z \sim q(z | x).

The small weight :math:`\lambda` keeps the latents near the scale of the prior, and costs hardly any detail. The
denoiser learns the velocity on the latents, scaled to mean 0 and variance 1 in each channel. A share of them is given
without its class, which is the photograph.

.. rubric:: References

.. [1] R. Rombach, A. Blattmann, D. Lorenz, P. Esser, B. Ommer (2022). High-resolution image synthesis with latent
   diffusion models. CVPR. Sections 3.1 and 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models._latents import LatentDiffusion
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.diffusion import velocity_error
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Log, Settings, optimize, sampler_of, ship
from mcgen.statistics import PSNR

AUTOENCODER: Settings = {
    "steps": 2_400,
    "batch": 32,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "average_decay": 0.999,
    "divergence_weight": 1e-4,
    "bfloat16": True,
}
DENOISER: Settings = {
    "steps": 6_000,
    "batch": 64,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "average_decay": 0.999,
    "dropout": 0.1,
    "share_without_class": 0.2,
    "prediction": "velocity",
    "schedule": "cosine, 1000 steps",
    "bfloat16": True,
}
SETTINGS: Settings = {"seed": 0, "autoencoder": AUTOENCODER, "denoiser": DENOISER}
# Steps of DDIM for the samples that are judged, as for the tables of the page about models.
QUALITY_STEPS = 25
# Patches that are encoded at once.
_BATCH = 500


def train(name: str) -> None:
    """Train the model, store it and measure its quality. The log has the autoencoder's loss, then the denoiser's."""
    images = data.patches()
    torch.manual_seed(SETTINGS["seed"])
    model: Any = loading.network(name, dropout=DENOISER["dropout"])
    model.autoencoder, log = optimize(model.autoencoder, lambda net: reconstruction_loss(net, images), AUTOENCODER)
    latents = torch.stack([encoded(model, images.x), encoded(model, images.x.flip(3))])
    spread = latents[:, :, 1].exp()
    model.mean = latents[:, :, 0].mean((0, 1, 3, 4))[:, None, None]
    model.scale = (latents[:, :, 0].var((0, 1, 3, 4)) + spread.mean((0, 1, 3, 4))).sqrt()[:, None, None]
    model.denoiser, more = optimize(model.denoiser, lambda net: denoiser_loss(net, model, latents, images.y), DENOISER)
    ship(name, model, images, SETTINGS, joined(log, more), lambda: quality(name, images))


def reconstruction_loss(autoencoder: Any, images: Images) -> torch.Tensor:
    """Return the loss of the autoencoder on a random batch of patches, mirrored at random."""
    x = 2 * images.x[torch.randint(len(images.x), (AUTOENCODER["batch"],))] - 1
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, x.flip(3))
    mean, log_variance = (part.float() for part in autoencoder.encode(x))
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    divergence = (mean**2 + log_variance.exp() - log_variance - 1).mean() / 2
    misfit = nn.functional.mse_loss(autoencoder.decode(z).float(), x)
    loss: torch.Tensor = misfit + AUTOENCODER["divergence_weight"] * divergence
    return loss


@torch.no_grad()
def encoded(model: LatentDiffusion, x: torch.Tensor) -> torch.Tensor:
    """Return mean and log variance (n, 2, 4, 8, 8) of the latents of patches (n, 3, 32, 32), before their scaling."""
    return torch.cat([torch.stack(model.autoencoder.encode(2 * part - 1), dim=1) for part in torch.split(x, _BATCH)])


def denoiser_loss(
    denoiser: nn.Module, model: LatentDiffusion, latents: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Return the error of the velocity on random latents of `latents` (2, n, 2, 4, 8, 8), plain or mirrored."""
    rows = torch.randint(len(classes), (DENOISER["batch"],))
    mean, log_variance = latents[torch.randint(2, (len(rows),)), rows].unbind(1)
    z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    # The last class means any class.
    given = torch.where(torch.rand(len(rows)) < DENOISER["share_without_class"], int(classes.max()) + 1, classes[rows])
    return velocity_error(denoiser, (z - model.mean) / model.scale, given)


def joined(first: Log, second: Log) -> Log:
    """Return the log of two trainings in a row, with steps and seconds counted on."""
    last = first[-1]
    return first + [line | {key: line[key] + last[key] for key in ("step", "core_seconds")} for line in second]


@torch.no_grad()
def quality(name: str, images: Images) -> dict[str, float]:
    """Return the judge's numbers for samples, and the PSNR and distance of reconstructed held-out patches."""
    model: Any = loading.trained(name)
    judge = Judge(images)
    found = judge.numbers(sampler_of(name, steps=QUALITY_STEPS), by_class=True)
    again = torch.cat([model.decode(model.encode(x)) for x in torch.split(images.x_new, _BATCH)])
    psnr = [float(PSNR(x)(y[None])[0]) for x, y in zip(images.x_new, again, strict=True)]
    more = {
        "reconstruction_psnr": float(np.mean(psnr)),
        "reconstruction_frechet_distance": judge.distance(again, images.x_new),
    }
    return found | {key: round(value, 4) for key, value in more.items()}

r"""Training of the class-conditional Glow by maximum likelihood on dequantized images.

.. math:: -\log p(x | y) = -\log p_Z(f(x) | y) - \log |\det \partial f / \partial x|,

D. Kingma, P. Dhariwal (2018), Glow: generative flow with invertible 1 x 1 convolutions, NeurIPS, equations (1) to (6).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from mcgen.adapters.models import loading
from mcgen.adapters.models._decoders import dequantized
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Settings, optimize, sampler_of, ship

SETTINGS: Settings = {
    "seed": 0,
    "steps": 2_200,
    "batch": 64,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "average_decay": 0.995,
    "bfloat16": False,
}
# Number of images that set the scales of the activation normalization.
_FIRST_BATCH = 512


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    images = data.mnist()
    torch.manual_seed(SETTINGS["seed"])
    flow: Any = loading.network(name)
    with torch.no_grad():
        # The first batch that the flow sees sets the scales of its activation normalization.
        bits(flow, images.x[:_FIRST_BATCH], images.y[:_FIRST_BATCH])

    def loss(flow: Any) -> torch.Tensor:
        rows = torch.randint(len(images.x), (SETTINGS["batch"],))
        return bits(flow, images.x[rows], images.y[rows])

    average, log = optimize(flow, loss, SETTINGS)

    def quality() -> dict[str, float]:
        stored: Any = loading.trained(name)
        torch.manual_seed(SETTINGS["seed"])
        fits = {
            "bits_per_pixel_of_held_out_images": bits(stored, images.x_new, images.y_new),
            "bits_per_pixel_of_training_images": bits(stored, images.x[:1000], images.y[:1000]),
        }
        judged = Judge(images).numbers(sampler_of(name), by_class=True)
        return judged | {key: round(value.item(), 4) for key, value in fits.items()}

    ship(name, average, images, SETTINGS, log, quality)


def bits(flow: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean negative log-likelihood of images with fresh dequantization noise, in bits per pixel.

    Pixels are those of the flow, 32 x 32. The density is that of values in (0, 1). If it is above 1, the bits are below
    0.
    """
    u = torch.rand(len(x), 1, 32, 32)
    nats: torch.Tensor = flow.forward_kld(dequantized(x, u), y)
    return nats / (u[0].numel() * math.log(2))

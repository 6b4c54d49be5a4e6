r"""Training of the denoisers: the squared error of the predicted velocity on noised images.

The velocity is :math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0`. A share of the images is
given without its class.
"""

from __future__ import annotations

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Settings, optimize, sampler_of, ship
from mcgen.generators.schedule import Schedule

_COMMON: Settings = {
    "seed": 0,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "share_without_class": 0.2,
    "prediction": "velocity",
    "schedule": "cosine, 1000 steps",
    "bfloat16": True,
}
SETTINGS: dict[str, Settings] = {
    "digits-diffusion": _COMMON
    | {"steps": 24_000, "batch": 256, "dropout": 0.3, "average_decay": 0.9995, "bfloat16": False}
    | {"share_without_class": 0.3},
    "mnist-ddpm": _COMMON | {"steps": 6_000, "batch": 64, "dropout": 0.1, "average_decay": 0.999},
    "mnist-dit": _COMMON | {"steps": 5_000, "batch": 64, "dropout": 0.1, "average_decay": 0.999},
    "patches-diffusion": _COMMON
    | {"steps": 6_000, "batch": 48, "dropout": 0.05, "average_decay": 0.999}
    | {"share_without_class": 1.0},
}
_DATA = {"digits": data.digits, "mnist": data.mnist, "patches": data.patches}


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    images, settings = _DATA[name.partition("-")[0]](), SETTINGS[name]
    torch.manual_seed(settings["seed"])
    network = loading.network(name, dropout=settings["dropout"])
    mirrored = name.startswith("patches")
    average, log = optimize(network, lambda net: velocity_loss(net, images, settings, mirrored), settings)
    by_class = not name.startswith("patches")
    ship(name, average, images, settings, log, lambda: Judge(images).numbers(sampler_of(name), by_class=by_class))


def velocity_loss(network: nn.Module, images: Images, settings: Settings, mirrored: bool) -> torch.Tensor:
    """Return the mean squared error of the velocity on a random batch."""
    rows = torch.randint(len(images.x), (settings["batch"],))
    x_0, classes = 2 * images.x[rows] - 1, images.y[rows]
    if mirrored:
        x_0 = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, x_0, x_0.flip(3))
    # The last class means any class. A network without classes (patches) has this class alone, number 0.
    any_class = torch.tensor(images.n_classes if settings["share_without_class"] < 1 else 0)
    classes = torch.where(torch.rand(len(rows)) < settings["share_without_class"], any_class, classes)
    return velocity_error(network, x_0, classes)


def velocity_error(network: nn.Module, x_0: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the velocity on samples x_0 (n, channels, H, W), noised at random times."""
    alpha_bar = torch.tensor(Schedule.cosine().alpha_bar, dtype=torch.float32)
    t = torch.randint(len(alpha_bar), (len(x_0),))
    share = alpha_bar[t].reshape(-1, 1, 1, 1)
    noise = torch.randn_like(x_0)
    x_t = share.sqrt() * x_0 + (1 - share).sqrt() * noise
    velocity = share.sqrt() * noise - (1 - share).sqrt() * x_0
    return nn.functional.mse_loss(network(x_t, t / len(alpha_bar), classes).float(), velocity)

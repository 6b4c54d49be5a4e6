"""Training of the predictor of ``mnist-storm``: the squared error of images that are restored from measurements.

The measurements have the shipped model's hidden rows and noise. Their noise is new in each batch.
"""

from __future__ import annotations

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models._composed import NOISE_SD, Restoration, hidden_rows, restored
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.classifier import accuracy
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.record import Settings, optimize, ship

SETTINGS: Settings = {
    "seed": 0,
    "steps": 1_800,
    "batch": 32,
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "average_decay": 0.999,
    "dropout": 0.05,
    "noise_sd": NOISE_SD,
    "hidden": "rows 10 to 17 of 28",
    "bfloat16": False,
}


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    images = data.mnist()
    torch.manual_seed(SETTINGS["seed"])
    network = loading.network(name, dropout=SETTINGS["dropout"])

    def loss_of(net: nn.Module) -> torch.Tensor:
        x = images.x[torch.randint(len(images.x), (SETTINGS["batch"],))]
        return nn.functional.mse_loss(restored(net, corrupted(x)), 2 * x - 1)

    average, log = optimize(network, loss_of, SETTINGS)
    ship(name, average, images, SETTINGS, log, lambda: quality(images))


def corrupted(x: torch.Tensor) -> torch.Tensor:
    """Return images (n, 1, 28, 28) as the measurement shows them, with new noise, and black in the hidden rows."""
    operator = hidden_rows()
    y = operator.apply(x)
    return operator.adjoint(y + NOISE_SD * torch.randn_like(y))


@torch.no_grad()
def quality(images: Images) -> dict[str, float]:
    """Return the mean PSNR of predictions for held-out images, and how often a classifier sees their class."""
    truth, classes, operator = images.x_new, images.y_new, hidden_rows()
    y = operator.apply(truth)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    predictor: nn.Module = Restoration(loading.trained("mnist-storm"), operator).eval()
    made = predictor(y + NOISE_SD * noise)
    classifier = loading.trained("mnist-classifier")
    psnr = -10 * (made - truth).square().flatten(1).mean(1).log10()
    return {
        "accuracy_on_held_out_images": round(accuracy(classifier, truth, classes), 4),
        "accuracy_on_predictions": round(accuracy(classifier, made, classes), 4),
        "psnr_of_predictions": round(float(psnr.mean()), 2),
    }

"""Training of a velocity field on the plane by flow matching to two interleaved half circles."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models.training.data import Images, moons
from mcgen.adapters.models.training.record import Settings, optimize, sampler_of, ship

SETTINGS: Settings = {
    "seed": 0,
    "steps": 6_000,
    "batch": 512,
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "average_decay": 0.999,
    "bfloat16": False,
}


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    points = moons()
    torch.manual_seed(SETTINGS["seed"])
    average, log = optimize(loading.network(name), lambda network: matching_loss(network, points.x), SETTINGS)
    ship(name, average, points, SETTINGS, log, lambda: quality(name, points))


def matching_loss(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the velocity at x_t = (1 - t) z + t x_1 for x_1 - z, on a random batch."""
    x_1 = x[torch.randint(len(x), (SETTINGS["batch"],))]
    z, t = torch.randn_like(x_1), torch.rand(len(x_1))
    x_t = (1 - t[:, None]) * z + t[:, None] * x_1
    return nn.functional.mse_loss(network(x_t, t, torch.zeros(len(t), dtype=torch.long)), x_1 - z)


def quality(name: str, points: Images) -> dict[str, float]:
    """Return the 2-Wasserstein distances to held-out points, of samples and of as many training points."""
    n = len(points.x_new)
    return {
        "wasserstein_distance_of_samples": round(wasserstein(sampler_of(name)(n, None), points.x_new), 4),
        "wasserstein_distance_of_training_points": round(wasserstein(points.x[:n], points.x_new), 4),
    }


def wasserstein(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the 2-Wasserstein distance of two sets of equally many points, by the optimal matching."""
    squared = torch.cdist(a.double(), b.double()).numpy() ** 2
    return float(np.sqrt(squared[linear_sum_assignment(squared)].mean()))

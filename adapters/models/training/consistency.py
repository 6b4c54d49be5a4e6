"""Consistency distillation: the model is trained to predict the same sample before and after a step of the teacher.

Y. Song, P. Dhariwal, M. Chen, I. Sutskever (2023). Consistency models. ICML. Algorithm 2; with the loss of Y. Song,
P. Dhariwal (2024). Improved techniques for training consistency models. ICLR. Equation (8).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models.training.data import mnist
from mcgen.adapters.models.training.quality import Judge
from mcgen.adapters.models.training.record import Settings, follow, optimize, sampler_of, ship
from mcgen.adapters.samplers.diffusion import Heun
from mcgen.generators.schedule import Schedule

SETTINGS: Settings = {
    "seed": 0,
    "teacher": "mnist-ddpm",
    "steps": 3_000,
    "batch": "4 times of 16 images",
    "learning_rate": 4e-4,
    "weight_decay": 0.0,
    "average_decay": 0.999,
    "target_decay": 0.95,
    "share_without_class": 0.2,
    "grid": "18 steps of Heun's sampler",
    "bfloat16": True,
}


def train(name: str) -> None:
    """Train the model, store it and measure its quality."""
    images = mnist()
    torch.manual_seed(SETTINGS["seed"])
    network = copy.deepcopy(loading.trained(SETTINGS["teacher"])).requires_grad_(True)
    target = copy.deepcopy(network).requires_grad_(False)
    teacher = _on_grid(loading.trained(SETTINGS["teacher"]), tuple(images.x.shape[1:]))

    def loss_of(student: nn.Module) -> torch.Tensor:
        follow(target, student, SETTINGS["target_decay"])
        losses = []
        for _ in range(4):
            rows = torch.randint(len(images.x), (16,))
            classes = images.y[rows]
            classes = torch.where(torch.rand(16) < SETTINGS["share_without_class"], images.n_classes, classes)
            losses.append(consistency_loss(student, target, teacher, 2 * images.x[rows] - 1, classes))
        return torch.stack(losses).mean()

    average, log = optimize(network, loss_of, SETTINGS)
    ship(name, average, images, SETTINGS, log, lambda: Judge(images).numbers(sampler_of(name), by_class=True))


def consistency_loss(
    student: nn.Module, target: nn.Module, teacher: Heun, x_0: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Return the pseudo-Huber distance of the samples predicted at the two ends of one random step of the teacher."""
    i = int(torch.randint(teacher.steps, ()))
    x_t = teacher.mix(x_0, torch.randn_like(x_0), i)
    with torch.no_grad():
        x_s = teacher.step(x_t, i, x_t, classes)
        last = i + 1 == teacher.steps
        wanted = x_s if last else _on_grid(target, teacher.shape).denoise(x_s, i + 1, classes)[0]
    predicted, _ = _on_grid(student, teacher.shape).denoise(x_t, i, classes)
    squared = (predicted - wanted).float().square().flatten(1).sum(1)
    scale = 0.00054 * math.sqrt(x_0[0].numel())
    return ((squared + scale**2).sqrt() - scale).mean()


def _on_grid(network: nn.Module, shape: tuple[int, ...]) -> Heun:
    return Heun(network, Schedule.cosine(), shape, steps=18, prediction="velocity")

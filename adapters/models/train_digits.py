"""Train the diffusion model of handwritten digits that ships as ``digits-diffusion``.

Run ``python -m mcgen.adapters.models.train_digits`` (scikit-learn needed: the extra ``[train]``) to make
``digits-diffusion.safetensors`` and ``digits-diffusion.json`` again: the data are scikit-learn's 1,797 digits
of 8 x 8 pixels (UCI, Alpaydin and Kaynak 1998), four fifths to train on, the rest to judge by. The log holds
the command's settings, the loss, and how near the samples come to real digits: see `judge`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from mcgen.adapters.diffusion import Schedule
from mcgen.adapters.models import WIDTH_AND_DEPTH, digits_diffusion, digits_network
from mcgen.adapters.models._networks import ResidualMLP

SETTINGS: dict[str, Any] = {
    "seed": 0,
    "steps": 24_000,
    "batch": 256,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "dropout": 0.3,
    "share_without_class": 0.3,
    "average_decay": 0.9995,
    "width_and_depth": WIDTH_AND_DEPTH,
    "prediction": "velocity",
    "schedule": "cosine, 1000 steps",
}


def load_digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images (n, 1, 8, 8) in [0, 1] and classes, of the training and of the held-out part."""
    from sklearn.datasets import load_digits as load

    images, classes = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = torch.tensor(images[order] / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(classes[order], dtype=torch.int64)
    n = 4 * len(x) // 5
    return x[:n], y[:n], x[n:], y[n:]


def train_denoiser(x: torch.Tensor, y: torch.Tensor, log: list[dict[str, float]]) -> ResidualMLP:
    """Return the average of the weights along a run of AdamW on the velocity loss."""
    torch.manual_seed(SETTINGS["seed"])
    network = digits_network(SETTINGS["dropout"])
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=SETTINGS["learning_rate"], weight_decay=SETTINGS["weight_decay"]
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, SETTINGS["learning_rate"], SETTINGS["steps"], pct_start=0.05)
    alpha_bar = torch.tensor(Schedule.cosine().alpha_bar, dtype=torch.float32)
    running, start = 0.0, time.perf_counter()
    for step in range(1, SETTINGS["steps"] + 1):
        loss = velocity_loss(network, x, y, alpha_bar)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        decay = min(SETTINGS["average_decay"], step / (step + 10))
        for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(weight.detach(), 1 - decay)
        running += loss.item()
        if step % 1000 == 0:
            log.append(
                {
                    "step": step,
                    "loss": round(running / 1000, 5),
                    "seconds": round(time.perf_counter() - start),
                }
            )
            print(log[-1], flush=True)
            running = 0.0
    return average.eval()


def velocity_loss(network: nn.Module, x: torch.Tensor, y: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the velocity on a random batch, some of it without its class."""
    rows = torch.randint(len(x), (SETTINGS["batch"],))
    x_0, classes = 2 * x[rows] - 1, y[rows].clone()
    classes[torch.rand(len(rows)) < SETTINGS["share_without_class"]] = 10
    t = torch.randint(len(alpha_bar), (len(rows),))
    share = alpha_bar[t].reshape(-1, 1, 1, 1)
    noise = torch.randn_like(x_0)
    x_t = share.sqrt() * x_0 + (1 - share).sqrt() * noise
    velocity = share.sqrt() * noise - (1 - share).sqrt() * x_0
    return nn.functional.mse_loss(network(x_t, t / len(alpha_bar), classes), velocity)


def train_classifier(x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
    """Return a small classifier of real digits; its last hidden layer (64) gives the features."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 256),
        nn.SiLU(),
        nn.Dropout(0.3),
        nn.Linear(256, 64),
        nn.SiLU(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    for _ in range(3000):
        rows = torch.randint(len(x), (128,))
        loss = nn.functional.cross_entropy(network(x[rows] + 0.05 * torch.randn_like(x[rows])), y[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the squared 2-Wasserstein distance of the Gaussians fitted to two sets of features (n, 64)."""
    from scipy.linalg import sqrtm

    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(cov_a @ cov_b))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))


@torch.no_grad()
def judge(x: torch.Tensor, y: torch.Tensor, x_new: torch.Tensor, y_new: torch.Tensor) -> dict[str, float]:
    """Compare the shipped model's samples with real digits that nothing was trained on.

    Accuracy: how often the classifier sees the class that was asked for, beside its accuracy on held-out real
    digits. Distance: Frechet distance in the classifier's features between held-out digits and as many
    samples without a class, beside that between held-out digits and as many training digits (the floor).
    Nearest: median distance of a sample to the nearest training digit over that of a held-out digit; far
    below 1 would mean that the model repeats its training digits.
    """
    with torch.enable_grad():
        classifier = train_classifier(x, y)
    model = digits_diffusion()
    rng = np.random.default_rng(7)

    def sample(n: int, condition: int | None) -> torch.Tensor:
        out: torch.Tensor = model(rng.standard_normal((n, 1, 8, 8), dtype=np.float32), condition)
        return out

    def features(images: torch.Tensor) -> NDArray[np.float64]:
        return np.asarray(classifier[:-1](images).double().numpy())

    def nearest(images: torch.Tensor) -> float:
        return float(torch.cdist(images.flatten(1), x.flatten(1)).min(1).values.median())

    def accuracy(images: torch.Tensor, classes: torch.Tensor) -> float:
        return float((classifier(images).argmax(1) == classes).double().mean())

    n = len(x_new)
    by_class = torch.cat([sample(100, c) for c in range(10)])
    sets = [sample(n, None) for _ in range(8)]
    halves = [x[torch.from_numpy(rng.permutation(len(x))[:n])] for _ in range(8)]
    real = features(x_new)
    numbers = {
        "accuracy_on_held_out_digits": accuracy(x_new, y_new),
        "accuracy_on_samples_of_each_class": accuracy(by_class, torch.arange(10).repeat_interleave(100)),
        "frechet_distance_of_samples": float(np.mean([frechet_distance(features(s), real) for s in sets])),
        "frechet_distance_of_training_digits": float(np.mean([frechet_distance(features(s), real) for s in halves])),
        "nearest_training_digit_ratio": nearest(sets[0]) / nearest(x_new),
    }
    return {name: round(value, 4) for name, value in numbers.items()}


def main() -> None:
    """Train, store the weights in half precision, judge what was stored, write the log."""
    folder = Path(__file__).parent
    weights, record = folder / "digits-diffusion.safetensors", folder / "digits-diffusion.json"
    x, y, x_new, y_new = load_digits()
    steps: list[dict[str, float]] = []
    network = train_denoiser(x, y, steps)
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, weights)
    log: dict[str, Any] = {
        "file": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "bytes": weights.stat().st_size,
        "licence": "BSD-3-Clause",
        "data": "scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits (CC BY 4.0)",
        "command": "python -m mcgen.adapters.models.train_digits",
        "settings": SETTINGS,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    record.write_text(json.dumps(log, indent=2) + "\n")
    log["quality"] = judge(x, y, x_new, y_new)
    log["log"] = steps
    record.write_text(json.dumps(log, indent=2) + "\n")
    print(json.dumps(log["quality"], indent=2))


if __name__ == "__main__":
    main()

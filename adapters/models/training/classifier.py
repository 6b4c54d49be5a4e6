"""Training of the small classifiers of real images.

Two of them ship as feature networks: ``digits-classifier`` and ``mnist-classifier``, see `mcgen.adapters.features`. The
same training gives the classifier by which `quality.Judge` measures the shipped models.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models._networks import small_classifier
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.data import Images
from mcgen.adapters.models.training.record import Log, Settings, ship

SETTINGS: Settings = {
    "seed": 1,
    "steps": 1_500,
    "batch": 128,
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    # Standard deviation of the normal noise that is added to the images.
    "noise": 0.05,
}
# Training steps for each line in the log of the loss.
_EVERY = 100


def train(name: str) -> None:
    """Train the classifier on the training images, store it, and measure its accuracy on the held-out images."""
    images: Images = getattr(data, name.partition("-")[0])()
    network, log = fitted(images)

    def quality() -> dict[str, float]:
        return {"accuracy_on_held_out_images": round(accuracy(loading.trained(name), images.x_new, images.y_new), 4)}

    ship(name, network, images, SETTINGS, log, quality)


def fitted(images: Images) -> tuple[nn.Sequential, Log]:
    """Return a classifier that was trained on the training images, in evaluation mode, and the log of the loss."""
    torch.manual_seed(SETTINGS["seed"])
    network = small_classifier(images.x.shape[1], images.n_classes)
    peak, steps = SETTINGS["learning_rate"], SETTINGS["steps"]
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=SETTINGS["weight_decay"])
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps)
    log: Log = []
    running, start = 0.0, time.process_time()
    with torch.enable_grad():
        for step in range(1, steps + 1):
            rows = torch.randint(len(images.x), (SETTINGS["batch"],))
            x = images.x[rows] + SETTINGS["noise"] * torch.randn(len(rows), *images.x.shape[1:])
            loss = nn.functional.cross_entropy(network(x), images.y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
            running += loss.item()
            if step % _EVERY == 0:
                seconds = round(time.process_time() - start)
                log.append({"step": step, "loss": round(running / _EVERY, 5), "core_seconds": seconds})
                running = 0.0
    return network.eval(), log


def accuracy(classifier: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the share of the images x to which a classifier gives the classes y."""
    return float((classifier(x).argmax(1) == y).double().mean())

"""The common part of all trainings: optimization with averaged weights, and the files that ship."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from mcgen.adapters.models import loading
from mcgen.adapters.models._weight_files import save_weights
from mcgen.adapters.models.training.data import Images
from mcgen.designs import MonteCarlo
from mcgen.noise import as_rows

Settings = dict[str, Any]
Log = list[dict[str, float]]
Sample = Callable[[int, int | None], torch.Tensor]
"""Maps a number of samples and a class, or None for any, to images (n, channels, side, side) in [0, 1]."""

# Number of lines in the log of the loss.
_LINES = 24
# Samples per batch when the quality is measured; it bounds the memory.
_BATCH = 100
# Packages whose versions the log has.
_PACKAGES = ("torch", "numpy", "normflows")


def optimize(network: nn.Module, loss_of: Callable[[nn.Module], torch.Tensor], settings: Settings) -> tuple[Any, Log]:
    """Return a network with averaged weights of a run of AdamW, in evaluation mode, and the log of the loss.

    Parameters
    ----------
    network : Module
        The network, which is trained in place.
    loss_of : callable
        Maps the network to the loss on a random batch.
    settings : dict
        ``steps``, ``learning_rate``, ``weight_decay``, ``average_decay`` and ``bfloat16`` (whether losses are computed
        in bfloat16).
    """
    average = copy.deepcopy(network).requires_grad_(False)
    peak, steps = settings["learning_rate"], settings["steps"]
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=settings["weight_decay"])
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps, pct_start=0.05)
    log: Log = []
    running, every, start = 0.0, steps // _LINES, time.process_time()
    for step in range(1, steps + 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=settings["bfloat16"]):
            loss = loss_of(network)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        follow(average, network, min(settings["average_decay"], step / (step + 10)))
        running += loss.item()
        if step % every == 0:
            seconds = round(time.process_time() - start)
            log.append({"step": step, "loss": round(running / every, 5), "core_seconds": seconds})
            print(log[-1], flush=True)
            running = 0.0
    return average.eval(), log


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update averaged weights: average = decay * average + (1 - decay) * network."""
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)


def ship(
    name: str, network: nn.Module, images: Images, settings: Settings, log: Log, quality: Callable[[], dict[str, float]]
) -> None:
    """Store the weights in half precision, measure the quality of the stored model, and write its log."""
    weights = loading.weights_path(name)
    save_weights(network.state_dict(), weights)
    # safetensors makes files that only their owner can read, and the wheel would keep this mode.
    weights.chmod(0o644)
    record: dict[str, Any] = {
        "file": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "bytes": weights.stat().st_size,
        "licence": "BSD-3-Clause",
        "data": images.source,
        "licence_of_the_data": images.licence,
        "command": f"python -m mcgen.adapters.models.training {name}",
        "settings": settings,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
    }
    path = weights.with_suffix(".json")
    # A log is needed before the quality is measured: the stored model is loaded, and its hash compared with the log.
    path.write_text(json.dumps(record, indent=2) + "\n")
    record["quality"] = quality()
    record["log"] = log
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["quality"], indent=2))


def sampler_of(name: str, **options: Any) -> Sample:
    """Return a function that samples from the shipped model; each call uses new random noise."""
    model = loading.load(name, **options)
    calls = itertools.count()

    def sample(n: int, condition: int | None) -> torch.Tensor:
        stream = ("quality", next(calls))
        parts = [range(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH)]
        drawn = (MonteCarlo().draw(model.noise, part, seed=0, stream=stream) for part in parts)
        return torch.cat([model(as_rows(noise), condition) for noise in drawn])

    return sample

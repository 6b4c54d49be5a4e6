"""Trained models that ship with the package, each a generator: `load` one of `list()`.

Each comes as a weight file, a log with its hash, size, licence, data and quality, and the script that made it.
"""

from __future__ import annotations

import builtins
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from mcgen.adapters._torch import TorchGenerator
from mcgen.adapters.diffusion import DDIM, Guided, Schedule
from mcgen.adapters.models._networks import ResidualMLP

__all__ = ["digits_diffusion", "list", "load", "log"]

WIDTH_AND_DEPTH = (256, 4)
_FOLDER = Path(__file__).parent


def digits_network(dropout: float = 0.0) -> ResidualMLP:
    """Return the untrained denoiser of 8 x 8 digits."""
    return ResidualMLP(64, *WIDTH_AND_DEPTH, n_classes=10, dropout=dropout)


@lru_cache(maxsize=1)
def _digits_denoiser() -> ResidualMLP:
    network = digits_network()
    state = load_file(checked_weights("digits-diffusion"))
    network.load_state_dict({name: value.float() for name, value in state.items()})
    return network.eval().requires_grad_(False)


def digits_diffusion(*, steps: int = 50, eta: float = 0.0, guidance: float = 0.0) -> DDIM:
    """Return a diffusion model of handwritten digits, 8 x 8 grey images (n, 1, 8, 8) in [0, 1].

    Parameters
    ----------
    steps, eta
        Of the sampler, see `mcgen.adapters.DDIM`.
    guidance : float
        Weight of classifier-free guidance.

    Notes
    -----
    The condition is a class from 0 to 9, or None for any digit.
    """
    denoiser = _digits_denoiser()
    return DDIM(
        Guided(denoiser, guidance) if guidance else denoiser,
        Schedule.cosine(),
        (1, 8, 8),
        steps=steps,
        eta=eta,
        prediction="velocity",
        decode=lambda x: ((x + 1) / 2).clamp(0, 1),
        name=f"digits-diffusion DDIM-{steps}",
    )


_MODELS: dict[str, Callable[..., TorchGenerator]] = {"digits-diffusion": digits_diffusion}


def load(name: str, **options: float) -> TorchGenerator:
    """Return the model of that name, ready to be estimated; options as its own function takes them.

    Raises
    ------
    ValueError
        If there is no such model, or the weight file is not the one that its log describes.
    """
    if name not in _MODELS:
        raise ValueError(f"no model {name!r} ships with mcgen; there are {', '.join(_MODELS)}")
    return _MODELS[name](**options)


def list() -> builtins.list[str]:
    """Return the names that `load` knows."""
    return [*_MODELS]


def log(name: str) -> dict[str, Any]:
    """Return how a model was made and how good it is: command, settings, versions, hash, loss, quality."""
    record: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return record


def checked_weights(name: str) -> Path:
    """Return the path of a model's weight file, once its SHA-256 was compared with the log's."""
    path = _FOLDER / f"{name}.safetensors"
    expected = log(name)["sha256"]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its log says {expected}: the file is damaged or was replaced; "
            "reinstall the package or train the model again"
        )
    return path

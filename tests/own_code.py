"""A module of a user's own, whose code and variables tests change."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import mcgen

SHIFT = 1.0
TABLE = {"shift": 1.0}
CALLS: list[int] = []


def shifted(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z - SHIFT))


def counted(z: np.ndarray) -> np.ndarray:
    CALLS.append(len(z))
    return shifted(z)


def load_array(path: str) -> Any:
    weight = np.load(path)
    return mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - weight)), noise=(4,), name="loaded")


@functools.lru_cache
def cached_load(path: str) -> Any:
    return load_array(path)


class Loader:
    """Loads what it was made with."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self) -> Any:
        return load_array(self.path)


def load_folder(folder: str) -> Any:
    return load_array(f"{folder}/w.npy")


def load_first(paths: list[str]) -> Any:
    return load_array(paths[0])


def above_shift(samples: np.ndarray) -> np.ndarray:
    return (samples > SHIFT / 2).mean(1)


def scaled_module(scale: float) -> Any:
    """A module that torch can script: its source is in a file."""
    import torch

    module = _scaled_class()(scale)
    torch.nn.init.ones_(module.layer.weight)
    torch.nn.init.ones_(module.layer.bias)
    return module


def _scaled_class() -> Any:
    import torch

    class Scaled(torch.nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale, self.layer = scale, torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * self.layer(x)

    return Scaled

"""Samplers of numpy that show their steps: deterministic, of data whose exact noise prediction is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import mcgen

MEAN, SD = np.linspace(-1, 2, 6), np.linspace(0.3, 1.5, 6)


class Sampler:
    """DDIM of the exact denoiser of N(MEAN, SD^2), with something added to the predicted noise."""

    shown: tuple[str, ...] = ("state", "noise", "sample")

    def __init__(self, steps: int = 8, added: Callable[[Any], Any] = lambda x: 0 * x, name: str = "gaussian") -> None:
        self.name, self.noise, self.steps, self.added = name, mcgen.NoiseSpec.normal((6,)), steps, added
        self.signal_shares = np.linspace(0.001, 0.999, steps + 1)
        self.rows: list[int] = []

    def predictions(self, x: Any, i: int, condition: Any = None) -> dict[str, Any]:
        self.rows.append(len(x))
        share, mean = self.signal_shares[i], MEAN + (0 if condition is None else condition)
        noise = np.sqrt(1 - share) * (x - np.sqrt(share) * mean) / (share * SD**2 + 1 - share) + self.added(x)
        return {"noise": noise, "sample": (x - np.sqrt(1 - share) * noise) / np.sqrt(share)}

    def observe(self, noise: Any, condition: Any = None) -> Iterator[dict[str, Any]]:
        x = noise
        for i in range(self.steps):
            found = self.predictions(x, i, condition)
            yield {"state": x, **found}
            after = self.signal_shares[i + 1]
            x = np.sqrt(after) * found["sample"] + np.sqrt(1 - after) * found["noise"]
        yield {"state": x}

    def __call__(self, noise: Any, condition: Any = None) -> Any:
        *_, last = self.observe(noise, condition)
        return last["state"]

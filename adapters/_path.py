"""Generators that go from noise to a sample step by step: what samplers of diffusion models and flows share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from numpy.typing import NDArray

from mcgen.adapters._torch import TensorNoise, TorchGenerator
from mcgen.noise import Noise, Shape


class PathGenerator(TorchGenerator, ABC):
    """A path of states from noise to a sample.

    Attributes
    ----------
    times : ndarray of float
        Of the states, steps + 1 of them.
    decode : callable or None
        From the last state to samples.
    """

    times: NDArray[Any]
    decode: Callable[[torch.Tensor], torch.Tensor] | None

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1

    @property
    def shape(self) -> Shape:
        """Shape of one sample's state."""
        return self.noise.blocks[0][1].shape

    @abstractmethod
    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the states (n, ...) from the noise to the end, steps + 1 in all."""

    @abstractmethod
    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps."""

    def coarse(self, steps: int) -> Self:
        """Return the same model with fewer steps, on the same noise where there is none but that of the start."""
        if not 1 <= steps <= self.steps:
            raise ValueError(f"a coarse model has between 1 and the model's own {self.steps} steps; got {steps}")
        return self.with_steps(steps)

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that start from `noise`."""
        return self.finished(self.states(noise, condition))

    def finished(self, states: Iterator[torch.Tensor]) -> torch.Tensor:
        """Return the last of the states, decoded."""
        x = deque(states, maxlen=1)[0]
        return x if self.decode is None else self.decode(x)

    def trajectory(self, noise: Noise, condition: object = None) -> torch.Tensor:
        """Return all states, shape (n, steps + 1, ...), not decoded: for correlations along the sampler's time."""
        self.require_evaluation_mode()
        with torch.no_grad():
            return torch.stack([*self.states(self.tensors_of(noise), condition)], dim=1)

"""The networks whose trained weights ship with the package."""

from __future__ import annotations

import math

import torch
from torch import nn


class ResidualMLP(nn.Module):
    """A denoiser of small vectors: residual blocks that the time and a class shift and scale.

    Parameters
    ----------
    size : int
        Length of the vector.
    width, depth : int
        Width and number of the residual blocks.
    n_classes : int
        Number of classes; one more embedding stands for "any class".
    dropout : float
        Share of a block's units that training drops, so that few examples are not learnt by heart.
    """

    def __init__(self, size: int, width: int, depth: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.frequencies = 32
        self.enter = nn.Linear(size, width)
        self.embed_time = nn.Sequential(nn.Linear(2 * self.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.embed_class = nn.Embedding(n_classes + 1, width)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, size)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction (n, ...) at x (n, ...) and time (n,).

        The condition is a class, one for all rows (int) or one a row (tensor of shape (n,)); None is any class.
        """
        if isinstance(condition, torch.Tensor):
            classes = condition
        else:
            classes = torch.full((1,), self._class_index(condition), device=x.device)
            # In sampling all rows share time and class: one row of embeddings serves the whole batch.
            if bool((time == time[0]).all()):
                time = time[:1]
        embedding = nn.functional.silu(self.embed_time(self._waves(time).to(x.dtype)) + self.embed_class(classes))
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = block(h, embedding)
        prediction: torch.Tensor = self.leave(nn.functional.silu(self.norm(h)))
        return prediction.reshape(x.shape)

    def _class_index(self, condition: object) -> int:
        if condition is None:
            return self.n_classes
        if not isinstance(condition, int) or not 0 <= condition < self.n_classes:
            raise ValueError(
                f"condition must be a class from 0 to {self.n_classes - 1}, or None for any; got {condition!r}"
            )
        return condition

    def _waves(self, time: torch.Tensor) -> torch.Tensor:
        octaves = torch.arange(self.frequencies, device=time.device, dtype=time.dtype) / self.frequencies
        angles = time[:, None] * torch.exp(octaves * math.log(1000.0))
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.first = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulate(embedding).chunk(2, dim=1)
        inner = nn.functional.silu(self.first(self.norm(h) * (1 + scale) + shift))
        out: torch.Tensor = self.second(self.drop(inner))
        return h + out

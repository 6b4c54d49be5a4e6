"""The denoisers and classifiers whose trained weights ship with the package."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from mcgen.adapters.tensors.torch_generator import checked_class


class _Embedding(nn.Module):
    """One vector for the time and the class, by which the blocks of a denoiser are scaled and shifted.

    The condition is one class for all rows (int), one class for each row (tensor of shape (n,)), or None for any class.
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.frequencies = 32
        self.time = nn.Sequential(nn.Linear(2 * self.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Embedding(n_classes + 1, width)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        if isinstance(condition, torch.Tensor) and condition.ndim > 0:
            classes = condition
            if classes.shape != (len(x),) or not bool(((classes >= 0) & (classes <= self.n_classes)).all()):
                raise ValueError(
                    f"a tensor of classes must have shape ({len(x)},), one a row, from 0 to {self.n_classes}, where "
                    f"{self.n_classes} means any class; got shape {tuple(classes.shape)} from {classes.min()} to "
                    f"{classes.max()}"
                )
        else:
            # The last embedding means any class.
            one = self.n_classes if condition is None else checked_class(condition, self.n_classes)
            classes = torch.full((1,), one, device=x.device)
            # A sampler gives all rows the same time and class, so that one embedding serves the whole batch.
            if bool((time == time[0]).all()):
                time = time[:1]
        return nn.functional.silu(self.time(self._waves(time).to(x.dtype)) + self.classes(classes))

    def _waves(self, time: torch.Tensor) -> torch.Tensor:
        octaves = torch.arange(self.frequencies, device=time.device, dtype=time.dtype) / self.frequencies
        angles = time[:, None] * torch.exp(octaves * math.log(1000.0))
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualMLP(nn.Module):
    """A denoiser of small vectors: residual blocks that are shifted and scaled by the time and the class.

    Parameters
    ----------
    size : int
        Length of the vector.
    width, depth : int
        Width and number of the residual blocks.
    n_classes : int
        Number of classes. A further embedding means "any class".
    dropout : float
        Share of a block's units that training drops, against overfitting to few examples.
    """

    def __init__(self, size: int, width: int, depth: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.enter = nn.Linear(size, width)
        self.embed = _Embedding(width, n_classes)
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, size)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction (n, ...) at x (n, ...) and time (n,).

        The condition is one class for all rows (int), one class for each row (tensor of shape (n,)), or None for any.
        """
        embedding = self.embed(x, time, condition)
        h = self.enter(x.flatten(1))
        for block in self.blocks:
            h = block(h, embedding)
        prediction: torch.Tensor = self.leave(nn.functional.silu(self.norm(h)))
        return prediction.reshape(x.shape)


class ObservedMLP(nn.Module):
    """A denoiser of a small vector, such as an action, given an observation: a `ResidualMLP` of both in a row.

    Parameters
    ----------
    size, n_observed : int
        Lengths of the vector and of the observation.
    width, depth, dropout
        As in `ResidualMLP`.
    """

    def __init__(self, size: int, n_observed: int, width: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.size, self.n_observed = size, n_observed
        self.network = ResidualMLP(size + n_observed, width, depth, n_classes=0, dropout=dropout)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction (n, size) at x (n, size) and time (n,).

        The condition is one observation (n_observed,) for all rows, or one for each row (n, n_observed).
        """
        if not isinstance(condition, torch.Tensor | np.ndarray):
            raise TypeError(
                f"this model needs an observation as its condition, an array of shape ({self.n_observed},) or (n, "
                f"{self.n_observed}); got {condition!r}"
            )
        observed = torch.as_tensor(condition).to(device=x.device, dtype=x.dtype)
        if observed.shape not in ((self.n_observed,), (len(x), self.n_observed)):
            raise ValueError(
                f"the observation must have shape ({self.n_observed},) for all rows, or ({len(x)}, {self.n_observed}) "
                f"for one each; got {tuple(observed.shape)}"
            )
        both = torch.cat([x, observed.expand(len(x), self.n_observed)], dim=1)
        prediction: torch.Tensor = self.network(both, time)
        return prediction[:, : self.size]


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


class UNet(nn.Module):
    """A denoiser of images: residual convolutions at two resolutions, on 2 x 2 blocks of pixels.

    The lower resolution has a layer of attention.

    Parameters
    ----------
    channels : int
        Number of channels of the image.
    width : int
        Number of channels at the upper resolution; the lower one has twice as many.
    depth : int
        Number of residual blocks at each resolution, both on the way down and on the way up.
    n_classes : int
        Number of classes. A further embedding means "any class".
    dropout : float
        As in `ResidualMLP`.
    """

    def __init__(self, channels: int, width: int, depth: int, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = _Embedding(2 * width, n_classes)
        self.enter = nn.Conv2d(4 * channels, width, 3, padding=1)

        def blocks(channels: int, width_out: int) -> nn.ModuleList:
            return nn.ModuleList(_Convolutions(channels, width_out, 2 * width, dropout) for _ in range(depth))

        self.down = blocks(width, width)
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.low_down = blocks(2 * width, 2 * width)
        self.attend = _Attention(2 * width, heads=4)
        self.low_up = blocks(4 * width, 2 * width)
        self.grow = nn.Conv2d(2 * width, width, 3, padding=1)
        self.up = blocks(2 * width, width)
        self.norm = nn.GroupNorm(8, width)
        self.leave = nn.Conv2d(width, 4 * channels, 3, padding=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction (n, channels, side, side); the condition is as in `ResidualMLP`."""
        embedding = self.embed(x, time, condition)
        h = self.enter(nn.functional.pixel_unshuffle(x, 2))
        upper, lower = [], []
        for block in self.down:
            h = block(h, embedding)
            upper.append(h)
        side = h.shape[-2:]
        h = self.shrink(h)
        for block in self.low_down:
            h = block(h, embedding)
            lower.append(h)
        h = self.attend(h)
        for block in self.low_up:
            h = block(torch.cat([h, lower.pop()], dim=1), embedding)
        h = self.grow(nn.functional.interpolate(h, size=side, mode="nearest"))
        for block in self.up:
            h = block(torch.cat([h, upper.pop()], dim=1), embedding)
        return nn.functional.pixel_shuffle(self.leave(nn.functional.silu(self.norm(h))), 2)


class _Convolutions(nn.Module):
    def __init__(self, channels: int, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.second_norm = nn.GroupNorm(8, width, affine=False)
        self.drop = nn.Dropout2d(dropout)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, h: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        inner = self.first(nn.functional.silu(self.first_norm(h)))
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, dim=1)
        inner = nn.functional.silu(self.second_norm(inner) * (1 + scale) + shift)
        out: torch.Tensor = self.skip(h) + self.second(self.drop(inner))
        return out


class _Attention(nn.Module):
    """A residual layer of self-attention over the positions of an image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.attention = _Heads(width, heads)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(h).flatten(2).transpose(1, 2)
        out: torch.Tensor = h + self.attention(tokens).transpose(1, 2).reshape(h.shape)
        return out


class _Heads(nn.Module):
    """Multi-head self-attention of tokens (n, tokens, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        n, length, width = tokens.shape
        q, k, v = self.mix(tokens).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: torch.Tensor = self.leave(mixed.transpose(1, 2).reshape(n, length, width))
        return out


class DiT(nn.Module):
    """A transformer denoiser of square images: its blocks are scaled, shifted and gated by the time and the class.

    W. Peebles, S. Xie (2023). Scalable diffusion models with transformers. ICCV.

    Parameters
    ----------
    channels, side : int
        Number of channels and side of the image.
    patch : int
        Side of the pixel blocks that are the tokens.
    width, depth, heads : int
        Width, number of blocks and number of attention heads of the transformer.
    n_classes : int
        Number of classes. A further embedding means "any class".
    dropout : float
        As in `ResidualMLP`.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        n_classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.embed = _Embedding(width, n_classes)
        self.enter = nn.Linear(channels * patch**2, width)
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2, width))
        self.blocks = nn.ModuleList(_Transformer(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, channels * patch**2)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction (n, channels, side, side); the condition is as in `ResidualMLP`."""
        embedding = self.embed(x, time, condition)[:, None]
        blocks = nn.functional.pixel_unshuffle(x, self.patch)
        h = self.enter(blocks.flatten(2).transpose(1, 2)) + self.places
        for block in self.blocks:
            h = block(h, embedding)
        tokens = self.leave(self.norm(h)).transpose(1, 2)
        return nn.functional.pixel_shuffle(tokens.reshape(blocks.shape), self.patch)


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = _Heads(width, heads)
        self.first = nn.Linear(width, 4 * width)
        self.drop = nn.Dropout(dropout)
        self.second = nn.Linear(4 * width, width)
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift, gate, scale_2, shift_2, gate_2 = self.modulate(embedding).chunk(6, dim=-1)
        h = h + gate * self.drop(self.attention(self.norm(h) * (1 + scale) + shift))
        inner = nn.functional.gelu(self.first(self.norm(h) * (1 + scale_2) + shift_2))
        out: torch.Tensor = h + gate_2 * self.drop(self.second(inner))
        return out


N_CLASSIFIER_FEATURES = 64
"""Number of features of a `small_classifier`: the units of its last hidden layer."""


def small_classifier(channels: int, n_classes: int) -> nn.Sequential:
    """Return an untrained convolutional classifier of small images, from (n, channels, H, W) to (n, n_classes)."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(256, N_CLASSIFIER_FEATURES),
        nn.SiLU(),
        nn.Linear(N_CLASSIFIER_FEATURES, n_classes),
    )

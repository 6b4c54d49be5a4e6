"""The networks of the shipped latent diffusion: an autoencoder of colour patches, and a denoiser of its latents."""

from __future__ import annotations

import torch
from torch import nn

from mcgen.adapters.models._networks import UNet

LATENT_SHAPE = (4, 8, 8)
"""Shape of the latents of one patch of 3 x 32 x 32."""


class Autoencoder(nn.Module):
    """Encoder and decoder of colour images, whose latents have 4 channels at a quarter of the resolution.

    Parameters
    ----------
    width, low : int
        Number of channels at half and at a quarter of the resolution.
    depth : int
        Number of residual blocks at each resolution of the decoder; the encoder has one.
    """

    def __init__(self, width: int, low: int, depth: int) -> None:
        super().__init__()
        channels = LATENT_SHAPE[0]
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, width, 3, padding=1),
            _Residual(width),
            nn.Conv2d(width, low, 3, stride=2, padding=1),
            _Residual(low),
            nn.GroupNorm(8, low),
            nn.SiLU(),
            nn.Conv2d(low, 2 * channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, low, 3, padding=1),
            *(_Residual(low) for _ in range(depth)),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(low, width, 3, padding=1),
            *(_Residual(width) for _ in range(depth)),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance, each (n, 4, H/4, W/4), of the latents of images (n, 3, H, W) in [-1, 1]."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return images (n, 3, H, W), in [-1, 1] up to the error of the network."""
        out: torch.Tensor = self.decoder(z)
        return out


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = h + self.body(h)
        return out


class LatentDiffusion(nn.Module):
    """An autoencoder of images in [0, 1], and a denoiser of its latents scaled to mean 0 and variance 1.

    Parameters
    ----------
    n_classes : int
        Number of classes. A further embedding means "any class".
    dropout : float
        As in `UNet`.

    Attributes
    ----------
    mean, scale : Tensor of shape (4, 1, 1)
        Mean and standard deviation of each channel of the latents, over the training images.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        channels = LATENT_SHAPE[0]
        self.autoencoder = Autoencoder(64, 80, 2)
        self.denoiser = UNet(channels, 48, 2, n_classes=n_classes, dropout=dropout)
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled mean latents (n, 4, 8, 8) of images (n, 3, 32, 32) in [0, 1]."""
        return (self.autoencoder.encode(2 * x - 1)[0] - self.mean) / self.scale

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return images (n, 3, 32, 32) in [0, 1] of scaled latents (n, 4, 8, 8)."""
        return ((self.autoencoder.decode(z * self.scale + self.mean) + 1) / 2).clamp(0, 1)

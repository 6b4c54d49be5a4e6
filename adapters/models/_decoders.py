"""The networks of the shipped models that decode noise in one pass: a convolutional VAE and a multiscale Glow."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn


class ConvolutionalVAE(nn.Module):
    """Encoder and decoder of 28 x 28 grey images, with a standard normal prior of the latent vector.

    Parameters
    ----------
    size : int
        Length of the latent vector.
    width : int
        Number of channels at half the image's resolution. The two lower resolutions have two and three times as many.
    dropout : float
        Share of channels that training drops, against overfitting to few examples.
    """

    def __init__(self, size: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        middle, low = 2 * width, 3 * width
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, middle, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(middle, low, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(16 * low, 2 * size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(size, 49 * low),
            nn.Unflatten(1, (low, 7, 7)),
            nn.SiLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(low, middle, 3, padding=1),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(middle, middle, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(middle, width, 3, padding=1),
            nn.SiLU(),
            nn.PixelShuffle(2),
            nn.Conv2d(width // 4, 1, 3, padding=1),
        )

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance, each (n, size), of the latent vectors of images (n, 1, 28, 28) in [0, 1]."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def logits(self, z: torch.Tensor) -> torch.Tensor:
        """Return the log odds (n, 1, 28, 28) of white at every pixel, for latent vectors (n, size)."""
        out: torch.Tensor = self.decoder(z)
        return out

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return the mean images (n, 1, 28, 28) in [0, 1]."""
        return self.logits(z).sigmoid()


# Width in pixels of the border that extends images of 28 x 28 to 32 x 32, which can be halved often enough.
_BORDER = 2
# Number of grey levels. Dequantization noise is uniform on one level.
_LEVELS = 16


def multiscale_glow(side: int, blocks: tuple[int, ...], widths: tuple[int, ...], n_classes: int) -> Any:
    """Return an untrained class-conditional Glow of square grey images, built by normflows.

    Parameters
    ----------
    side : int
        Side of the image in pixels, divisible by 2 once for each level.
    blocks, widths : tuple of int
        Numbers of Glow blocks and of hidden channels at each level, the lowest resolution first.
    n_classes : int
        Number of classes. Each class has its own Gaussian at every level.

    Returns
    -------
    normflows.MultiscaleFlow
        A flow from latent variables to images in [0, 1], with a logit transform at its end.
    """
    try:
        import normflows
    except ImportError as error:
        raise ImportError("this model is a flow of normflows, which is not installed: pip install normflows") from error

    levels = len(blocks)
    bases, flows, merges = [], [], []
    for level in range(levels):
        channels, resolution = 2 ** (levels + 1 - level), side >> (levels - level)
        with warnings.catch_warnings():
            # normflows initializes its weights by torch.lu, which torch has renamed.
            warnings.filterwarnings("ignore", "torch.lu is deprecated", UserWarning)
            steps = [normflows.flows.GlowBlock(channels, widths[level]) for _ in range(blocks[level])]
        flows.append([*steps, normflows.flows.Squeeze()])
        merges += [normflows.flows.Merge()] if level else []
        # Above the lowest level, half of the channels come from the level below.
        shape = (channels // 2 if level else channels, resolution, resolution)
        bases.append(normflows.distributions.ClassCondDiagGaussian(shape, n_classes))
    return normflows.MultiscaleFlow(bases, flows, merges, normflows.transforms.Logit(0.05))


def dequantized(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return the training data of the flow, (n, 1, 32, 32) in (0, 1), from images (n, 1, 28, 28) and uniform noise u.

    A border is added to the images x, and the data are (15 x + u) / 16. Without the noise the flow would use its
    capacity for the exact black of the background.
    """
    bordered = nn.functional.pad(x, (_BORDER, _BORDER, _BORDER, _BORDER))
    return ((_LEVELS - 1) * bordered + u) / _LEVELS


def cropped(x: torch.Tensor) -> torch.Tensor:
    """Return images (n, 1, 28, 28) in [0, 1] from the flow's, without the border and the mean of the noise."""
    inner = x[..., _BORDER:-_BORDER, _BORDER:-_BORDER]
    return ((_LEVELS * inner - 0.5) / (_LEVELS - 1)).clamp(0, 1)

"""Statistics of the field: what is averaged over the samples; see `mcgen.statistics.images`."""

from mcgen.statistics.base import Statistic
from mcgen.statistics.images import (
    L1,
    LUMA,
    PSNR,
    Combined,
    Stack,
    brightness,
    centroid,
    contrast,
    identity,
    luminance,
    pixel_mean,
    stack,
)

__all__ = [
    "L1",
    "LUMA",
    "PSNR",
    "Combined",
    "Stack",
    "Statistic",
    "brightness",
    "centroid",
    "contrast",
    "identity",
    "luminance",
    "pixel_mean",
    "stack",
]

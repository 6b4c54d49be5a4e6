"""Statistics: functions of samples whose expectation is estimated; see `mcgen.statistics.images`."""

from mcgen.statistics.images import LUMA, brightness, centroid, contrast, identity, luminance, pixel_mean
from mcgen.statistics.references import L1, PSNR
from mcgen.statistics.stacks import Combined, Stack, stack
from mcgen.statistics.values import Statistic

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

"""Statistics: functions of samples whose expectation is estimated; see `images` and `paths` of this package."""

from mcgen.statistics import paths
from mcgen.statistics.images import LUMA, brightness, centroid, contrast, identity, luminance, pixel_mean
from mcgen.statistics.neighbours import Nearest, nearest
from mcgen.statistics.plain import NamedStatistic, as_statistic
from mcgen.statistics.references import L1, PSNR
from mcgen.statistics.stacks import Combined, Stack, stack
from mcgen.statistics.values import Statistic

__all__ = [
    "L1",
    "LUMA",
    "PSNR",
    "Combined",
    "NamedStatistic",
    "Nearest",
    "Stack",
    "Statistic",
    "as_statistic",
    "brightness",
    "centroid",
    "contrast",
    "identity",
    "luminance",
    "nearest",
    "paths",
    "pixel_mean",
    "stack",
]

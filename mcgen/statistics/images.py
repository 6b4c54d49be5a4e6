"""Statistics of the field: what is averaged over the samples.

A statistic is any callable from n samples to an array of shape (n,) or (n, ...), in the samples' own
library: torch samples give a torch tensor with its gradient. Those here are for images in [0, 1] of shape (n, H, W)
or (n, C, H, W) with one channel (grey) or three (red, green, blue).

The brightness of a pixel is its relative luminance, Y = 0.2126 R + 0.7152 G + 0.0722 B, the weights of CIE 1931 for
the primaries of ITU-R BT.709; of a grey pixel it is the value itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy
from mcgen._lib.names import name_of
from mcgen.statistics.base import Statistic

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


LUMA = (0.2126, 0.7152, 0.0722)


def pixel_mean(samples: Any) -> Any:
    """Return the mean over all entries of each sample, shape (n,)."""
    samples = _real(samples)
    return samples.reshape(len(samples), -1).mean(1)


def identity(samples: Any) -> Any:
    """Return the samples themselves, for per-pixel maps of the mean and its half-width."""
    return samples


def brightness(samples: Any) -> Any:
    """Return the mean of the luminance Y over the pixels, shape (n,)."""
    return luminance(samples).reshape(len(samples), -1).mean(1)


def contrast(samples: Any) -> Any:
    """Return the mean luminance of the top half minus that of the bottom half, shape (n,).

    The middle row of an odd number of rows belongs to neither half.
    """
    y = luminance(samples)
    half = y.shape[1] // 2
    if half == 0:
        raise ValueError(f"contrast needs images of at least two rows; got samples of shape {tuple(samples.shape)}")
    n = len(y)
    return y[:, :half].reshape(n, -1).mean(1) - y[:, y.shape[1] - half :].reshape(n, -1).mean(1)


def centroid(samples: Any) -> Any:
    """Return the vertical centre of brightness, sum_h h Y_h / sum_h Y_h in rows from the top (0), shape (n,).

    Raises
    ------
    ValueError
        If an image has no brightness at all, where there is no centre, or negative values.
    """
    y = luminance(samples)
    least = float(as_numpy(y.min()))
    if least < 0:
        raise ValueError(
            f"centroid takes images whose values are at least 0, as weights must be; got {least:.3g}. Map them to "
            "[0, 1] first, such as (x + 1) / 2 from [-1, 1]"
        )
    rows = y.mean(2)
    total = rows.sum(1)
    black = np.flatnonzero(as_numpy(total) == 0)
    if black.size:
        raise ValueError(
            f"centroid: {black.size} of {len(rows)} images are black (the first is number {black[0]} of the batch), "
            "and a black image has no centre of brightness; use a statistic that is defined for it"
        )
    return (rows * _like(rows, np.arange(rows.shape[1], dtype=np.float64))).sum(1) / total


def luminance(samples: Any) -> Any:
    """Return the luminance Y of images, shape (n, H, W).

    Raises
    ------
    ValueError
        If the samples are not images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W).
    """
    samples = _real(samples)
    shape = tuple(samples.shape)
    if len(shape) == 3:
        return samples
    if len(shape) == 4 and shape[1] == 1:
        return samples[:, 0]
    if len(shape) == 4 and shape[1] == 3:
        red, green, blue = LUMA
        return red * samples[:, 0] + green * samples[:, 1] + blue * samples[:, 2]
    raise ValueError(
        f"this statistic takes images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W); got samples of shape {shape}. "
        "Move the channels to the second axis, or use pixel_mean or a statistic of your own"
    )


@dataclass(frozen=True, eq=False)
class L1:
    """The mean absolute difference to a reference, the mean of abs(x - reference), shape (n,).

    Parameters
    ----------
    reference : array of the shape of one sample
        Such as the image that an inverse problem hides.
    """

    reference: Any
    name = "l1"

    def __call__(self, samples: Any) -> Any:
        """Return the distances of n samples, shape (n,)."""
        return abs(_difference(samples, self.reference)).mean(1)


@dataclass(frozen=True, eq=False)
class PSNR:
    """The peak signal-to-noise ratio, 10 log10(data_range^2 / mean (x - reference)^2) in decibels, shape (n,).

    Parameters
    ----------
    reference : array of the shape of one sample
        Such as the image that an inverse problem hides.
    data_range : float
        The largest possible value minus the least: 1 for images in [0, 1].
    """

    reference: Any
    data_range: float = 1.0
    name = "psnr"

    def __call__(self, samples: Any) -> Any:
        """Return the ratios of n samples, shape (n,).

        Raises
        ------
        ValueError
            If a sample equals the reference, where the ratio is infinite.
        """
        squared = (_difference(samples, self.reference) ** 2).mean(1)
        if (as_numpy(squared) == 0).any():
            raise ValueError("PSNR: a sample equals the reference, and the ratio is infinite; use L1 instead")
        # log10 by way of the samples' own library: torch tensors have the method, numpy arrays the function.
        ratio = self.data_range**2 / squared
        return 10 * (ratio.log10() if hasattr(ratio, "log10") else np.log10(ratio))


@dataclass(frozen=True)
class Stack:
    """Several statistics of one number each as one of k components; made by `stack`."""

    statistics: tuple[Statistic, ...]
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The components' names, joined."""
        return ", ".join(self.names)

    def __call__(self, samples: Any) -> Any:
        """Return the values of n samples, shape (n, k), in the library of the first statistic's values."""
        columns = [_column(statistic(samples)) for statistic in self.statistics]
        for name, column in zip(self.names, columns, strict=True):
            if tuple(column.shape) != (len(columns[0]),):
                raise ValueError(
                    f"stack takes statistics of one number a sample; {name!r} gave an array of shape "
                    f"{tuple(column.shape)} for {len(columns[0])} samples"
                )
        if not all(hasattr(column, "new_zeros") for column in columns):
            return np.stack([as_numpy(column) for column in columns], axis=1)
        joined = columns[0].new_zeros((len(columns[0]), len(columns)))
        for j, column in enumerate(columns):
            joined[:, j] = column
        return joined


def stack(*statistics: Statistic, names: tuple[str, ...] | list[str] | None = None) -> Stack:
    """Estimate several statistics in one run, component by component.

    Parameters
    ----------
    *statistics : callables
        Each from n samples to an array of shape (n,).
    names : sequence of str, optional
        How results call the components; by default the statistics' own names.

    Raises
    ------
    ValueError
        If there is none, or not as many different names as statistics.

    Examples
    --------
    >>> from mcgen import statistics
    >>> statistics.stack(statistics.brightness, statistics.contrast).names
    ('brightness', 'contrast')
    """
    for statistic in statistics:
        if not callable(statistic):
            raise TypeError(f"stack takes callables, one after another: stack(brightness, contrast); got {statistic!r}")
    if isinstance(names, str):
        names = (names,)
    chosen = tuple(names) if names is not None else tuple(name_of(statistic) for statistic in statistics)
    if not statistics or len(chosen) != len(statistics) or len(set(chosen)) != len(chosen):
        raise ValueError(
            f"stack needs at least one statistic and a different name for each; got {len(statistics)} statistics "
            f"and the names {chosen}. Name them by names=(...)"
        )
    return Stack(statistics, chosen)


@dataclass(frozen=True, eq=False)
class Combined:
    """Linear combinations of a statistic's components, in the samples' own library.

    Parameters
    ----------
    statistic : callable
        Of k components.
    matrix : ndarray of shape (k, m)
        The combinations.
    """

    statistic: Statistic
    matrix: NDArray[np.float64]

    def __call__(self, samples: Any) -> Any:
        """Return the combinations, shape (n, m)."""
        values = self.statistic(samples)
        return values.reshape(len(values), -1) @ _like(values, self.matrix)


def _real(samples: Any) -> Any:
    """Return samples as floating-point numbers: means and differences of integers and booleans would overflow."""
    if not hasattr(samples, "dtype") or not hasattr(samples, "reshape"):
        raise TypeError(
            f"this statistic takes an array of samples; got a {type(samples).__name__}. Let the generator return an "
            "array (of a tuple or a dictionary, its images), or use a statistic of your own"
        )
    if any(kind in str(samples.dtype) for kind in ("float", "complex")):
        return samples
    return samples.float() if hasattr(samples, "new_tensor") else np.asarray(samples, dtype=np.float64)


def _column(values: Any) -> Any:
    """Return one statistic's values in a type that all can be joined in: double precision, in torch's own."""
    if hasattr(values, "new_tensor"):
        # Apple's devices have no double precision.
        return values.float() if getattr(values.device, "type", "") == "mps" else values.double()
    return as_numpy(values)


def _like(array: Any, values: Any) -> Any:
    """Return values in the library, dtype and device of `array`."""
    if hasattr(array, "new_tensor"):
        return values.to(array) if hasattr(values, "new_tensor") else array.new_tensor(np.asarray(values))
    return as_numpy(values)


def _difference(samples: Any, reference: Any) -> Any:
    samples = _real(samples)
    reference = _like(samples, reference)
    if tuple(samples.shape[1:]) != tuple(reference.shape):
        raise ValueError(
            f"the reference must have the shape of one sample, {tuple(samples.shape[1:])}; got {tuple(reference.shape)}"
        )
    return (samples - reference).reshape(len(samples), -1)

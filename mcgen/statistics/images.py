"""Statistics of images: one number, or one array, for each sample.

A statistic is any callable that takes n samples and returns an array of shape (n,) or (n, ...). The array is in the
samples' own library: torch samples give a torch tensor with its gradient. The statistics here take images in [0, 1],
of shape (n, H, W) or (n, C, H, W), with one channel (grey) or three (red, green, blue).

The brightness of a pixel is its relative luminance, Y = 0.2126 R + 0.7152 G + 0.0722 B. The weights are those of CIE
1931 for the primaries of ITU-R BT.709. The brightness of a grey pixel is its value. `contrast` and `centroid` can take
the mean over the channels instead, as the paper "Antithetic Noise in Diffusion Models" (arXiv:2506.06185) does. This
changes the numbers of colour images alone.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from mcgen._lib.arrays import as_numpy
from mcgen.statistics._libraries import _like, _real

Grey = Literal["luminance", "mean"]
"""How a colour image becomes grey: by luminance, or by the mean over its channels."""

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in the luminance, by ITU-R BT.709."""


def pixel_mean(samples: Any) -> Any:
    """Return the mean over all entries of each sample, shape (n,).

    Use it for samples of any shape, also those that are no images.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen import statistics
    >>> statistics.pixel_mean(np.array([[0.0, 1.0], [2.0, 4.0]])).tolist()
    [0.5, 3.0]
    """
    samples = _real(samples)
    return samples.reshape(len(samples), -1).mean(1)


def identity(samples: Any) -> Any:
    """Return the samples themselves, for maps of the mean of each entry and of its half-width.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 1 / (1 + z**2), noise=(8, 8), name="pixels")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> mcgen.estimate(model, mcgen.statistics.identity, **options).mean.shape
    (8, 8)
    """
    return samples


def brightness(samples: Any) -> Any:
    """Return the mean luminance Y over the pixels of each image, shape (n,).

    Parameters
    ----------
    samples : array
        Images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W), in [0, 1].

    Raises
    ------
    ValueError
        If the samples are no such images.

    Examples
    --------
    A red image, and a white one:

    >>> import numpy as np
    >>> from mcgen import statistics
    >>> images = np.zeros((2, 3, 4, 4))
    >>> images[0, 0] = 1
    >>> images[1] = 1
    >>> statistics.brightness(images).round(4).tolist()
    [0.2126, 1.0]
    """
    return luminance(samples).reshape(len(samples), -1).mean(1)


def contrast(samples: Any, *, grey: Grey = "luminance") -> Any:
    """Return the mean brightness of the top half minus that of the bottom half, shape (n,).

    Where the number of rows is odd, the middle row belongs to neither half.

    Parameters
    ----------
    samples : array
        Images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W), in [0, 1].
    grey : {"luminance", "mean"}
        The brightness of a pixel: its luminance, or the mean over its channels, which the paper takes. As a statistic
        write ``functools.partial(contrast, grey="mean")``.

    Raises
    ------
    ValueError
        If the samples are no such images, have a single row, or `grey` is another word.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen import statistics
    >>> statistics.contrast(np.array([[[1.0, 1.0], [0.5, 0.0]]])).tolist()
    [0.75]
    """
    y = _grey(samples, grey)
    half = y.shape[1] // 2
    if half == 0:
        raise ValueError(f"contrast needs images of at least two rows; got samples of shape {tuple(samples.shape)}")
    n = len(y)
    return y[:, :half].reshape(n, -1).mean(1) - y[:, y.shape[1] - half :].reshape(n, -1).mean(1)


def centroid(samples: Any, *, grey: Grey = "luminance") -> Any:
    """Return the vertical centre of brightness, sum_h h Y_h / sum_h Y_h, shape (n,).

    It is counted in rows from the top row, which is 0.

    Parameters
    ----------
    samples, grey
        As for `contrast`.

    Raises
    ------
    ValueError
        If an image has negative values, or is black: its centre is not defined then.

    Examples
    --------
    The lower of two rows is three times as bright as the upper:

    >>> import numpy as np
    >>> from mcgen import statistics
    >>> statistics.centroid(np.array([[[0.2, 0.2], [0.6, 0.6]]])).round(3).tolist()
    [0.75]
    """
    y = _grey(samples, grey)
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


def _grey(samples: Any, grey: Grey) -> Any:
    """Return the brightness of each pixel, shape (n, H, W)."""
    if grey not in get_args(Grey):
        raise ValueError(f"grey must be one of {', '.join(get_args(Grey))}; got {grey!r}")
    y = luminance(samples)
    return _real(samples).mean(1) if grey == "mean" and len(tuple(samples.shape)) == 4 else y


def luminance(samples: Any) -> Any:
    """Return the luminance Y of each pixel, shape (n, H, W).

    Use it to make statistics of your own for images that may be grey or in colour.

    Raises
    ------
    ValueError
        If the samples are not images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> brightest = mcgen.as_statistic(lambda x: mcgen.statistics.luminance(x).max(axis=(1, 2)), name="brightest")
    >>> brightest(np.full((5, 3, 8, 8), 0.5)).round(3).tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5]
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

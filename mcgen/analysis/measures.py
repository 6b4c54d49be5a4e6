"""Measures of how alike the two samples of a pair are, over many pairs at a time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_values, numbers_of, rounding_of
from mcgen.errors import RunError

Measure = Callable[[Any, Any], Any]

# Bytes of samples that are held in memory; beyond, a temporary file holds them.
_IN_MEMORY = 2**28
_SSIM_WINDOW = 7
# Models overshoot the range of images a little, and in few pixels: 95 % of the values span no more.
_MOST_OF_VALUES, _OVERSHOOT = (2.5, 97.5), 1.25
# Numbers of samples that a measure looks at together: 2 MB in double precision, which fit into a cache.
_AT_ONCE = 2**18
# Deviations below so many rounding errors of a sample are none.
_ROUNDINGS = 4


def correlation(x: Floats, y: Floats, negligible: Floats | float = 0.0) -> Floats:
    """Return Pearson's correlation over the entries of each pair, shape (n,); NaN where a sample is constant.

    Parameters
    ----------
    x, y : ndarray of shape (n, P)
        The samples of each pair.
    negligible : float or ndarray of shape (n,)
        Deviations from a sample's mean that rounding alone may cause: one that has no larger ones is constant.
    """
    a, b = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    sizes = [np.abs(one).max(axis=1) for one in (a, b)]
    # A scale of 1 keeps squares from overflow and underflow.
    a, b = (one / np.where(size > 0, size, 1.0)[:, None] for one, size in zip((a, b), sizes, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.asarray(np.where(np.minimum(*sizes) > negligible, np.clip(found, -1, 1), np.nan))


def wasserstein(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return the Wasserstein-1 distance between the values of the two samples (n, P) of each pair, shape (n,).

    It compares the histograms of the samples' entries, wherever they stand: the mean of abs(x_(i) - y_(i)) over the
    sorted entries. It is no transport between the places of an image.
    """
    # Sorted in their own type, which is faster than in double precision.
    a, b = (np.sort(one, axis=1).astype(np.float64) for one in (x, y))
    return np.asarray(np.abs(a - b).mean(axis=1))


def ssim(x: Any, y: Any, *, data_range: float = 1.0) -> Floats:
    """Return the structural similarity of each pair of images, shape (n,): 1 where they are equal.

    It is `skimage.metrics.structural_similarity` with its defaults (a uniform window of 7 x 7), over all channels.
    Pass it among the `measures` of `mcgen.analysis.pairs`.

    Parameters
    ----------
    x, y : array of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W)
        The images of each pair.
    data_range : float
        Largest possible value minus the smallest: 1 for images in [0, 1].

    Raises
    ------
    ImportError
        If scikit-image is not installed (the extra ``[analysis]``).
    ValueError
        If the images have other shapes, are smaller than the window, or hold NaN, infinities or complex numbers. Also
        if `data_range` is no number above 0, or clearly less than the range of the images.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.analysis import ssim
    >>> images = np.random.default_rng(0).random((2, 16, 16))
    >>> ssim(images, images).tolist(), bool((ssim(images, 1 - images) < 0).all())
    ([1.0, 1.0], True)
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise ImportError(
            "ssim needs scikit-image, which is not installed; install the extra: pip install 'mcgen-stats[analysis]'"
        ) from error
    given = [_numbers_of_images(one) for one in (x, y)]
    first, second = (one.astype(np.float64) for one in given)
    channels = first.shape[1] if first.ndim == 4 else 1
    if (
        first.shape != second.shape
        or first.ndim not in (3, 4)
        or channels not in (1, 3)
        or min(first.shape[-2:]) < _SSIM_WINDOW
    ):
        raise ValueError(
            f"ssim takes two batches of images of {_SSIM_WINDOW} or more pixels a side, of shape (n, H, W), "
            f"(n, 1, H, W) or (n, 3, H, W); got {first.shape} and {second.shape}"
        )
    _require_data_range(given, data_range)
    one: Any = partial(structural_similarity, data_range=data_range, channel_axis=0 if first.ndim == 4 else None)
    return np.array([one(a, b) for a, b in zip(first, second, strict=True)])


def _numbers_of_images(images: Any) -> NDArray[Any]:
    """Return images as an array of finite real numbers, or refuse others."""
    try:
        found = numbers_of(images)
    except (TypeError, ValueError) as error:
        raise ValueError(f"ssim takes batches of images of real numbers; got {error}") from error
    if not np.isfinite(found).all():
        raise ValueError("ssim takes images of finite numbers; got NaN or infinities. Look at the model's samples")
    return found


def _require_data_range(images: list[NDArray[Any]], data_range: Any) -> None:
    """Refuse a range that is no number above 0, or that the values exceed by more than a model's overshoots."""
    if not isinstance(data_range, int | float | np.number) or not 0 < data_range < math.inf:
        raise ValueError(f"data_range must be a number above 0, such as 1 for images in [0, 1]; got {data_range!r}")
    if not images[0].size:
        return
    exact = all(one.dtype.kind in "biu" for one in images)
    both = np.concatenate([one.ravel() for one in images]).astype(np.float64)
    low, high = np.percentile(both, (0, 100) if exact else _MOST_OF_VALUES)
    if high - low > data_range * (1 if exact else _OVERSHOOT):
        raise ValueError(
            f"data_range is the largest possible value minus the smallest; got {data_range:g} for images with values "
            f"from {both.min():.3g} to {both.max():.3g}. Use 255 for bytes and 2 for images in [-1, 1], such as "
            "functools.partial(ssim, data_range=2)"
        )


@dataclass(frozen=True, eq=False)
class Centre:
    """Mean samples to subtract from the first and from the second sample of each pair.

    Attributes
    ----------
    totals : ndarray of shape (2, P)
        What the mean of the first and that of the second samples are made from: sums of samples.
    count : int
        Number of samples in each sum.
    leaves_out : bool
        Whether the pair's own samples are taken out of both sums.
    """

    totals: Floats
    count: int
    leaves_out: bool = False

    def subtracted(self, x: Floats, y: Floats, truth: Floats | None) -> tuple[Floats, Floats]:
        """Return pairs (n, P) less their means; with a truth, x and y are errors to it, and so are the means."""
        totals = self.totals if truth is None else self.totals - self.count * truth
        if not self.leaves_out:
            first, second = totals / self.count
            return x - first, y - second
        mean = (totals[0] - x - y) / (self.count - 2)
        return x - mean, y - mean


class PairsOfSamples:
    """The samples of n pairs, in memory or in a temporary file where they are many.

    Parameters
    ----------
    n : int
        Number of pairs.
    """

    def __init__(self, n: int) -> None:
        self.n, self._filled = n, 0
        self._array: NDArray[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.totals: Floats = np.zeros((2, 0))

    def add(self, samples: NDArray[Any]) -> None:
        """Add samples in order: both of a pair one after the other."""
        if self._array is None:
            self.shape = samples.shape[1:]
            whole = (2 * self.n, *self.shape)
            if samples[:1].nbytes * 2 * self.n <= _IN_MEMORY:
                self._array = np.empty(whole, samples.dtype)
            else:
                # The file goes when the array does.
                with tempfile.TemporaryFile() as file:
                    self._array = np.memmap(file, samples.dtype, "w+", shape=whole)
            self.totals = np.zeros((2, int(np.prod(self.shape))))
        rows = slice(self._filled, self._filled + len(samples))
        self._array[rows] = samples
        flat, odd = samples.reshape(len(samples), -1), self._filled % 2
        for place, own in enumerate((flat[odd::2], flat[1 - odd :: 2])):
            self.totals[place] += own.sum(axis=0, dtype=np.float64)
        self._filled = rows.stop

    def firsts(self, rows: slice) -> NDArray[Any]:
        """Return the first samples of some pairs."""
        assert self._array is not None
        return np.asarray(self._array[2 * rows.start : 2 * rows.stop : 2])

    def batches(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield the first and the second samples of some pairs at a time, shape (m, ...)."""
        assert self._array is not None
        size = max(1, _AT_ONCE // max(1, self.totals.size))
        for at in range(0, self.n, size):
            part = self._array[2 * at : 2 * min(at + size, self.n)]
            yield part[::2], part[1::2]


def influence_of_mean(
    samples: PairsOfSamples, centre: Centre, truth: Floats | None, region: NDArray[np.bool_] | None, values: Floats
) -> Floats:
    r"""Return what each pair adds to the mean centralized correlation by its part in the mean samples, shape (n,).

    The mean samples have errors that all pairs share. With u and v the deviations of a pair about its means, of length
    1, from deviations of lengths :math:`|a|` and :math:`|b|`, the correlation r = u v changes with the mean of the
    first and that of the second samples by

    .. math:: g_1 = -\frac{v - r u}{|a|} , \quad g_2 = -\frac{u - r v}{|b|} ,

    and to first order the pair :math:`x_i, y_i` adds :math:`\bar g_1 (x_i - \bar x) + \bar g_2 (y_i - \bar y)`, with
    the averages of both over all pairs. Where both means are one, that of all samples, each gradient is their average.
    The parts of all pairs sum to 0: they change the standard error, and not the mean.

    Parameters
    ----------
    samples, centre, truth, region
        As for `measured`.
    values : ndarray of shape (n,)
        The correlations; NaN where a pair has none.
    """
    gradient, at = np.zeros((2, samples.totals.shape[1] if region is None else int(region.sum()))), 0
    for first, second in samples.batches():
        x, y = _deviations(first, second, centre, truth, region)
        r = values[at : at + len(x), None]
        at, defined = at + len(x), np.isfinite(r[:, 0])
        x, y, r = x[defined], y[defined], r[defined]
        gradient += [part.sum(axis=0) for part in gradients(x, y, r)]
    gradient /= max(1, int(np.isfinite(values).sum()))
    if centre.count != samples.n:
        gradient[:] = gradient.mean(axis=0)
    found = []
    for pair in samples.batches():
        parts = [one.reshape(len(one), -1) - total / samples.n for one, total in zip(pair, samples.totals, strict=True)]
        inside = parts if region is None else [part[:, region] for part in parts]
        found.append(inside[0] @ gradient[0] + inside[1] @ gradient[1])
    influence = np.concatenate(found)
    return np.asarray(influence - influence[np.isfinite(values)].mean())


def gradients(x: Floats, y: Floats, r: Floats) -> tuple[Floats, Floats]:
    """Return how the correlation of each pair changes with what is subtracted from x, and from y: both parts of g.

    Parameters
    ----------
    x, y : ndarray of shape (n, P)
        Deviations from what is subtracted, and from their own mean over the entries.
    r : ndarray of shape (n, 1)
        Their correlations.
    """
    sizes = [np.abs(one).max(axis=1, keepdims=True) for one in (x, y)]
    a, b = (size * np.linalg.norm(one / size, axis=1, keepdims=True) for one, size in zip((x, y), sizes, strict=True))
    u, v = x / a, y / b
    return (r * u - v) / a, (r * v - u) / b


def _deviations(
    first: NDArray[Any], second: NDArray[Any], centre: Centre, truth: Floats | None, region: NDArray[np.bool_] | None
) -> tuple[Floats, Floats]:
    """Return both samples of some pairs about the mean sample, and about their own mean over the entries that count."""
    x, y = (part.reshape(len(part), -1).astype(np.float64) for part in (first, second))
    if truth is not None:
        x, y = x - truth, y - truth
    x, y = centre.subtracted(x, y, truth)
    if region is not None:
        x, y = x[:, region], y[:, region]
    return x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)


def measured(
    samples: PairsOfSamples,
    measure: str | Measure,
    centre: Centre | None,
    truth: Floats | None,
    region: NDArray[np.bool_] | None,
) -> Floats:
    """Return a measure of each pair, shape (n,).

    Parameters
    ----------
    samples : PairsOfSamples
        The pairs.
    measure : str or callable
        "standard", "centralized" or "wasserstein"; or a function of two batches of samples that returns a number for
        each.
    centre : Centre or None
        The mean samples of "centralized".
    truth : ndarray of shape (P,), or None
        What correlations are taken of the samples' errors against.
    region : ndarray of bool of shape (P,), or None
        The entries that count; all by default.
    """
    found = []
    for first, second in samples.batches():
        if not isinstance(measure, str):
            found.append(_values_of(measure, first, second))
            continue
        flat = [part.reshape(len(part), -1) for part in (first, second)]
        if measure == "wasserstein":
            found.append(wasserstein(*(flat if region is None else [part[:, region] for part in flat])))
            continue
        x, y = (part.astype(np.float64) for part in flat)
        if region is None:
            largest = _largest(x, y, truth)
        else:
            largest = _largest(x[:, region], y[:, region], None if truth is None else truth[region])
        if truth is not None:
            x, y = x - truth, y - truth
        if measure == "centralized":
            assert centre is not None
            x, y = centre.subtracted(x, y, truth)
        if region is not None:
            x, y = x[:, region], y[:, region]
        # A sum of N samples has up to N rounding errors of double precision.
        rounding = max(_ROUNDINGS * rounding_of(first), 2 * samples.n * 2.0**-52)
        found.append(correlation(x, y, rounding * largest))
    return np.concatenate(found)


def _largest(x: Floats, y: Floats, truth: Floats | None) -> Floats:
    """Return the size of the largest number that enters the deviations of each pair, shape (n,)."""
    found = np.maximum(np.abs(x).max(axis=1), np.abs(y).max(axis=1))
    return np.asarray(found if truth is None else np.maximum(found, float(np.abs(truth).max())))


def _values_of(measure: Measure, x: NDArray[Any], y: NDArray[Any]) -> Floats:
    """Return what a user's measure gives for some pairs, or refuse what is no number for each."""
    name = getattr(measure, "name", None) or getattr(measure, "__name__", type(measure).__name__)
    try:
        found = as_values(measure(x, y))
    except (TypeError, ValueError) as error:
        raise RunError(f"measure {name!r} failed for two batches of {len(x)} samples: {error}") from error
    except Exception as error:
        error.add_note(f"raised by measure {name!r} for two batches of {len(x)} samples")
        raise
    if found.shape != (len(x),):
        raise RunError(
            f"measure {name!r} must return one number for each of {len(x)} pairs; got an array of shape {found.shape}"
        )
    if np.isinf(found).any():
        raise RunError(
            f"measure {name!r} returned an infinity for {int(np.isinf(found).sum())} of {len(x)} pairs, which has no "
            "mean; let it return NaN where it is not defined, and leave those pairs out by undefined='drop'"
        )
    return found

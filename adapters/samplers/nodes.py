r"""The steps of a fine sampler at which a fitted sampler evaluates the network: its nodes.

They are chosen by an error that the fine trajectories of a pilot predict, without further evaluations. With a state
:math:`x = s\,x_0 + n\,\varepsilon` of signal scale s and noise scale n, a component of :math:`x_0` of variance P is
predicted from x up to the variance :math:`P n^2 / (s^2 P + n^2)`, and an error of variance r in x adds
:math:`r P / (s^2 P + n^2)` to that of what the network sees. With bands of components the predicted error is

.. math:: E = \sum_{j \le K} \sum_{\text{bands}} w\, r_j \frac{P}{s_{i_j}^2 P + n_{i_j}^2} +
    \sum_{\text{bands}} w\, r_{K+1},

where w is the number of components in a band and :math:`r_j` the residual variance of :math:`x_{i_j}` after regression
on the noise and on the predictions at the nodes before. The predictions are those that two neighbouring states of the
trajectory imply. Bands are radial frequencies of images; the spectrum of images is steep, and with one band the nodes
come too late. Over 25 random choices of 5 nodes of one model, the logs of E and of the measured error correlated by
0.96.

The descent starts from nodes at fixed shares of progress. That is (2 / pi) arctan(s / n), from 0 to 1, and along the
cosine schedule of diffusion models it is linear in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

Floats = NDArray[np.float64]

# Progress at the nodes of 5 evaluations, at the quantiles 0.1, 0.3, ..., 0.9 of the nodes: good on four image models
# with the cosine schedule. Images get their low frequencies early, so that half of the nodes are in the first third.
_QUANTILES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_PROGRESS = (0.0, 0.04, 0.12, 0.32, 0.64, 0.88, 1.0)
# Shares of the steps at the first and the last node of further starts of the descent.
_STARTS = ((0.06, 0.7), (0.15, 0.8))
# Least gain, relative to the error, for which the descent moves a node: below it are rounding errors.
_LEAST_GAIN = 1e-9
# Weight of the ridge of the regressions for E, relative to the diagonal. It is larger than that of the fit, because a
# band has fewer numbers.
_RIDGE = 1e-3
# Upper edges of the radial bands, in half periods over the image, and above them one more band.
_EDGES = (0.5, 1.2, 2.3, 3.7, 5.5, 8.0, 12.0)
# Fewest numbers of a band for each feature of a regression. Smaller bands are joined with the next.
_FEWEST_NUMBERS = 3


def spaced_nodes(scales: Floats, n_nodes: int) -> tuple[int, ...]:
    """Return n_nodes increasing steps from 1 to n - 1, at fixed shares of progress.

    Parameters
    ----------
    scales : ndarray of shape (2, n + 1)
        The scales of signal and noise in the states.
    n_nodes : int
        Number of nodes, at most n - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters.samplers.nodes import spaced_nodes
    >>> angles = np.linspace(0, np.pi / 2, 51)
    >>> spaced_nodes(np.stack([np.sin(angles), np.cos(angles)]), 5)
    (2, 6, 16, 32, 44)
    """
    progress = np.arctan2(*scales) / (np.pi / 2)
    wanted = np.interp((np.arange(n_nodes) + 0.5) / n_nodes, _QUANTILES, _PROGRESS)
    return _apart(np.abs(progress[1:-1, None] - wanted).argmin(axis=0) + 1, 1, len(progress) - 2)


def _apart(numbers: NDArray[Any], first: int, last: int) -> tuple[int, ...]:
    """Return increasing integers from first to last near the given ones, which do not decrease."""
    order = np.arange(len(numbers))
    later = np.maximum.accumulate(np.maximum(numbers, first) - order) + order
    return tuple(int(one) for one in np.minimum(later, last + 1 - len(numbers) + order))


class PredictedError:
    """The predicted error E of nodes, by the second moments of a pilot's features.

    Parameters
    ----------
    n_candidates : int
        Number of steps that may be nodes. Nodes are given as positions among them.
    pilots : sequence of sequence of ndarray
        For each pilot the features (N, ...): the start; if there is fresh noise, that added up to each candidate and to
        the end; the prediction at each candidate; the state at each candidate; the last state.
    scales : ndarray of shape (2, n_candidates)
        The scales of signal and noise at the candidates.
    n_nodes : int
        Number of nodes that are looked for.
    """

    def __init__(
        self, n_candidates: int, pilots: Sequence[Sequence[NDArray[Any]]], scales: Floats, n_nodes: int
    ) -> None:
        self._m, self._scales = n_candidates, scales
        self._has_fresh = len(pilots[0]) > 2 * n_candidates + 2
        self._first = 1 + (n_candidates + 1) * self._has_fresh
        n_rows = sum(len(one[0]) for one in pilots)
        fewest = _FEWEST_NUMBERS * n_nodes * (1 + self._has_fresh)
        bands = joined_bands(bands_of(pilots[0][0].shape[1:]), -(-fewest // n_rows))
        self._moments: Floats = np.sum([_moments(one, bands) for one in pilots], axis=0)
        self._variances = self._moments[:, -1, -1] / (n_rows * np.bincount(bands))
        self._residual = cache(self._residual_of)

    def __call__(self, nodes: Sequence[int]) -> float:
        """Return E for increasing positions among the candidates, in units of the last states' variance."""
        found = sum(self._at(tuple(nodes[:j]), node) for j, node in enumerate(nodes))
        last, total = self._residual(tuple(nodes), self._m).sum(), self._moments[:, -1, -1].sum()
        return float((found + last) / total) if total > 0 else 0.0

    def _at(self, before: tuple[int, ...], node: int) -> float:
        signal, noise = self._scales[:, node] ** 2
        weights = self._variances / (signal * self._variances + noise)
        return float((self._residual(before, node) * weights).sum())

    def _residual_of(self, before: tuple[int, ...], target: int) -> Floats:
        """Return the residual sum of squares in each band, for a target position; m is the end."""
        fresh = [1 + one for one in (*before, target)] if self._has_fresh else []
        features = [0, *fresh, *(self._first + one for one in before)]
        t = self._first + self._m + target
        gram, right = self._moments[:, features][:, :, features], self._moments[:, features, t]
        diagonal = np.einsum("bii->bi", gram)
        ridge = np.where(diagonal > 0, _RIDGE * diagonal, 1.0)
        weights = np.linalg.solve(gram + ridge[:, :, None] * np.eye(len(features)), right[:, :, None])[:, :, 0]
        explained = 2 * (weights * right).sum(axis=1) - np.einsum("bi,bij,bj->b", weights, gram, weights)
        left: Floats = np.maximum(self._moments[:, t, t] - explained, 0.0)
        return left


def best_nodes(error: PredictedError, starts: Sequence[Sequence[int]], n_candidates: int) -> tuple[int, ...]:
    """Return the positions of nodes with the least predicted error, by coordinate descent from several starts."""
    found = [_descent(error, [*start], n_candidates) for start in starts]
    return min(found)[1]


def _descent(error: PredictedError, nodes: list[int], n_candidates: int) -> tuple[float, tuple[int, ...]]:
    """Return the error and the nodes that no move of a single node between its neighbours improves."""
    least, improved = error(nodes), True
    while improved:
        improved = False
        for j in range(len(nodes)):
            low = nodes[j - 1] + 1 if j > 0 else 0
            high = nodes[j + 1] if j + 1 < len(nodes) else n_candidates
            for one in range(low, high):
                moved = [*nodes[:j], one, *nodes[j + 1 :]]
                found = error(moved)
                if found < least * (1 - _LEAST_GAIN):
                    nodes, least, improved = moved, found, True
    return least, tuple(nodes)


def starts_of(spaced: Sequence[int], candidates: Sequence[int]) -> list[tuple[int, ...]]:
    """Return positions among the candidates from which the descent starts: those near the spaced nodes, and others."""
    last, k = len(candidates) - 1, len(spaced)
    near = np.searchsorted(candidates, spaced)
    return [_apart(near, 0, last), *(_apart(np.rint(np.linspace(a, b, k) * last), 0, last) for a, b in _STARTS)]


def bands_of(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the number of the band of each component of a state, flat: radial frequencies of images, 0 for others.

    The bands of the other combinations of an image's channels come after those of the mean over its channels.
    """
    if len(shape) != 3 or min(shape[1:]) < 2:
        return np.zeros(int(np.prod(shape)), dtype=np.int64)
    channels, *sides = (np.arange(n) for n in shape)
    radius = np.hypot(*np.meshgrid(*sides, indexing="ij"))
    bands = np.searchsorted(_EDGES, radius)
    return np.ravel(bands + (channels[:, None, None] > 0) * (bands.max() + 1))


def joined_bands(bands: NDArray[np.int64], fewest: int) -> NDArray[np.int64]:
    """Return bands of at least `fewest` components each, numbered from 0: smaller ones are joined with the next."""
    sizes = np.bincount(bands)
    names, current, filled = np.zeros(len(sizes), dtype=np.int64), 0, 0
    for band, size in enumerate(sizes):
        if filled >= fewest and sizes[band:].sum() >= fewest:
            current, filled = current + 1, 0
        names[band] = current
        filled += int(size)
    return names[bands]


def _moments(features: Sequence[NDArray[Any]], bands: NDArray[np.int64]) -> Floats:
    """Return the second moments of features (N, ...) in each band, less those of the means: (bands, F, F)."""
    n_rows, shape = len(features[0]), features[0].shape[1:]
    order, ends = np.argsort(bands, kind="stable"), np.cumsum(np.bincount(bands))
    # Orthonormal cosines over rows and columns, and over channels, so that the first is the mean over channels.
    is_image = bands.max() > 0
    total = np.zeros((len(features), len(bands)))
    found = np.zeros((len(ends), len(features), len(features)))
    for row in range(n_rows):
        values = np.stack([one[row] for one in features]).astype(np.float64)
        values = dctn(values, axes=range(1, 1 + len(shape)), norm="ortho") if is_image else values
        flat = values.reshape(len(features), -1)[:, order]
        total += flat
        for band, part in enumerate(np.split(flat, ends[:-1], axis=1)):
            found[band] += part @ part.T
    for band, part in enumerate(np.split(total, ends[:-1], axis=1)):
        found[band] -= part @ part.T / n_rows
    return found

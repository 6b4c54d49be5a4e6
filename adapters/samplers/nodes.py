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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of the features of a pilot, less those of their means, in bands of components.

    The features are the start; if there is fresh noise, that added up to each candidate and to the end; the prediction
    at each candidate; the state at each candidate; the last state.

    Attributes
    ----------
    values : ndarray of shape (F, F, bands)
        The moments, summed over the rows and the components of a band.
    sizes : ndarray of shape (bands,)
        Components of each band.
    n_rows : int
        Rows of the pilot.
    """

    values: Floats
    sizes: NDArray[np.int64]
    n_rows: int

    def joined(self, fewest: int) -> Moments:
        """Return the moments in bands of at least `fewest` components each: smaller ones are joined with the next."""
        names, current, filled = np.zeros(len(self.sizes), dtype=np.int64), 0, 0
        for band, size in enumerate(self.sizes):
            if filled >= fewest and self.sizes[band:].sum() >= fewest:
                current, filled = current + 1, 0
            names[band] = current
            filled += int(size)
        firsts = np.searchsorted(names, np.arange(current + 1))
        return Moments(np.add.reduceat(self.values, firsts, axis=2), np.add.reduceat(self.sizes, firsts), self.n_rows)


def moments_of(pilots: Sequence[Sequence[NDArray[Any]]], combinations: Floats) -> Moments:
    """Return the moments of features that are linear combinations of some fields.

    Parameters
    ----------
    pilots : sequence of sequence of ndarray
        For each pilot its fields (N, ...).
    combinations : ndarray of shape (F, fields)
        The features as combinations of the fields. Cosines and products of the fields alone are then enough.
    """
    bands = bands_of(pilots[0][0].shape[1:])
    of_fields: Floats = np.sum([_moments(one, bands) for one in pilots], axis=0)
    values = combinations @ of_fields @ combinations.T
    return Moments(np.moveaxis(values, 0, 2), np.bincount(bands), sum(len(one[0]) for one in pilots))


class PredictedError:
    """The predicted error E of nodes, by the second moments of a pilot's features.

    Parameters
    ----------
    moments : Moments
        The moments.
    scales : ndarray of shape (2, n_candidates)
        The scales of signal and noise at the steps that may be nodes. Nodes are given as positions among these.
    n_nodes : int
        Number of nodes that are looked for.
    """

    def __init__(self, moments: Moments, scales: Floats, n_nodes: int) -> None:
        self._m = scales.shape[1]
        self._has_fresh = len(moments.values) > 2 * self._m + 2
        self._first = 1 + (self._m + 1) * self._has_fresh
        moments = moments.joined(-(-_FEWEST_NUMBERS * n_nodes * (1 + self._has_fresh) // moments.n_rows))
        self._moments, self._total = moments.values, moments.values[-1, -1].sum()
        variances = self._moments[-1, -1] / (moments.n_rows * moments.sizes)
        signal, noise = scales[:, :, None] ** 2
        # The factors of the residuals at each candidate, and at the end.
        self._factors = np.concatenate([variances / (signal * variances + noise), np.ones((1, len(variances)))])

    def __call__(self, nodes: Sequence[int]) -> float:
        """Return E for increasing positions among the candidates, in units of the last states' variance."""
        return float(self.of_several(np.array([nodes]))[0])

    def of_several(self, nodes: NDArray[np.int64]) -> Floats:
        """Return E for several choices of nodes, one a row."""
        if not self._total > 0:
            return np.zeros(len(nodes))
        targets = np.column_stack([nodes, np.full(len(nodes), self._m)])
        # Each target has the features before it: fresh noise up to it, and the predictions at the nodes before.
        columns = [np.zeros((len(nodes), 1), dtype=np.int64)]
        for j in range(targets.shape[1]):
            columns += [1 + targets[:, j : j + 1]] if self._has_fresh else []
            columns += [self._first + targets[:, j : j + 1]] if j + 1 < targets.shape[1] else []
        features, states = np.concatenate(columns, axis=1).T, self._first + self._m + targets.T
        counts = 1 + self._has_fresh + (1 + self._has_fresh) * np.arange(len(states))
        residuals = _residuals(
            self._moments[features[:, None], features],
            self._moments[features[:, None], states],
            self._moments[states, states],
            counts,
        )
        found: Floats = (residuals * self._factors[targets.T]).sum(axis=(0, 2)) / self._total
        return found


def _residuals(gram: Floats, right: Floats, squares: Floats, counts: NDArray[np.int64]) -> Floats:
    r"""Return the residual sums of squares of ridge regressions that share their features, shape (targets, ...).

    With the ridge R and :math:`G + R = L D L'` the residual of a target of square s and products r is
    :math:`s - r' (G + R)^{-1} r - w' R w` for :math:`w = (G + R)^{-1} r`. The leading part of L is that of the leading
    features, so that one elimination serves all targets.

    Parameters
    ----------
    gram : ndarray of shape (p, p, ...)
        Moments of the features.
    right : ndarray of shape (p, targets, ...)
        Their moments with the targets.
    squares : ndarray of shape (targets, ...)
        Those of the targets.
    counts : ndarray of shape (targets,)
        How many of the features each target has.
    """
    p = len(gram)
    diagonal = gram[range(p), range(p)]
    ridge = np.where(diagonal > 0, _RIDGE * diagonal, 1.0)
    gram[range(p), range(p)] += ridge
    for a in range(p - 1):
        ratio = gram[a + 1 :, a] / gram[a, a]
        gram[a + 1 :, a + 1 :] -= ratio[:, None] * gram[a, a + 1 :]
        right[a + 1 :] -= ratio[:, None] * right[a]
        gram[a + 1 :, a] = ratio
    used = (np.arange(p)[:, None] < counts).reshape(p, -1, *(1,) * (gram.ndim - 2))
    weights = np.where(used, right / gram[range(p), range(p)][:, None], 0.0)
    explained = (right * weights).sum(axis=0)
    for a in range(p - 1, 0, -1):
        weights[:a] -= gram[a, :a][:, None] * weights[a]
    left: Floats = squares - explained - (weights**2 * ridge[:, None]).sum(axis=0)
    return np.maximum(left, 0.0)


def best_nodes(error: PredictedError, starts: Sequence[Sequence[int]], n_candidates: int) -> tuple[int, ...]:
    """Return the positions of nodes with the least predicted error, by coordinate descent from several starts."""

    @cache
    def between(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[int, float]]:
        """Return the positions that may be between others, with the error of each."""
        places = range(before[-1] + 1 if before else 0, after[0] if after else n_candidates)
        nodes = np.array([[*before, one, *after] for one in places])
        return [*zip(places, error.of_several(nodes).tolist(), strict=True)]

    return min(_descent(between, error(start), tuple(start)) for start in starts)[1]


def _descent(
    between: Callable[[tuple[int, ...], tuple[int, ...]], list[tuple[int, float]]], least: float, nodes: tuple[int, ...]
) -> tuple[float, tuple[int, ...]]:
    """Return the error and the nodes that no move of a single node between its neighbours improves."""
    j, unmoved = 0, -1
    # A node that was just moved is at its best place until another one moves.
    while unmoved < len(nodes) - 1:
        unmoved += 1
        before, after = nodes[:j], nodes[j + 1 :]
        for one, found in between(before, after):
            if found < least * (1 - _LEAST_GAIN):
                nodes, least, unmoved = (*before, one, *after), found, 0
        j = (j + 1) % len(nodes)
    return least, nodes


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


def _moments(fields: Sequence[NDArray[Any]], bands: NDArray[np.int64]) -> Floats:
    """Return the second moments of fields (N, ...) in each band, less those of the means: (bands, fields, fields)."""
    n_rows, shape = len(fields[0]), fields[0].shape[1:]
    order, ends = np.argsort(bands, kind="stable"), np.cumsum(np.bincount(bands))
    # Orthonormal cosines over rows and columns, and over channels, so that the first is the mean over channels.
    is_image = bands.max() > 0
    total = np.zeros((len(fields), len(bands)))
    found = np.zeros((len(ends), len(fields), len(fields)))
    for row in range(n_rows):
        values = np.stack([one[row] for one in fields])
        # In the type of the fields: cosines of float32 take half the time, and their errors are those of the fields.
        values = dctn(values, axes=range(1, 1 + len(shape)), norm="ortho") if is_image else values
        flat = values.reshape(len(fields), -1)[:, order].astype(np.float64)
        total += flat
        for band, part in enumerate(np.split(flat, ends[:-1], axis=1)):
            found[band] += part @ part.T
    for band, part in enumerate(np.split(total, ends[:-1], axis=1)):
        found[band] -= part @ part.T / n_rows
    return found

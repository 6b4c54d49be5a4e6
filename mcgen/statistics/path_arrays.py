"""Paths of samplers as arrays: their type, their parts in double precision, and what is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mcgen._lib.arrays import Floats, as_numpy


class Path(NamedTuple):
    """Paths of a sampler, one a row: the samples of `mcgen.generators.Paths`.

    Attributes
    ----------
    states : ndarray of shape (n, steps + 1, ...)
        The states, from the noise to the sample.
    noises : ndarray of shape (n, steps, ...)
        The predicted noise at all states but the last; shape (n, 0) where the sampler does not predict it.
    samples : ndarray of shape (n, steps, ...)
        The predicted sample at all states but the last; shape (n, 0) where the sampler does not predict it.
    signals : ndarray of shape (n, steps + 1)
        The signal's share in each state, the same in each row; shape (n, 0) where it is not known.
    variances : ndarray of shape (n, steps)
        The variance of the fresh noise of each step, the same in each row; shape (n, 0) where it is not known.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, steps=10)
    >>> path = mcgen.generators.Paths(model)(np.ones((5, 3), np.float32))
    >>> path.states.shape, path.noises.shape, path.signals.shape
    ((5, 11, 3), (5, 10, 3), (5, 11))
    """

    states: Any
    noises: Any
    samples: Any
    signals: Any
    variances: Any


def path_of(samples: Any, name: str) -> Path:
    """Return samples as paths, or refuse other samples. Parts of a run come as plain tuples."""
    if not isinstance(samples, tuple) or len(samples) != len(Path._fields):
        raise TypeError(
            f"{name} takes paths, and the samples are {type(samples).__name__}; wrap the sampler by "
            "mcgen.generators.Paths(sampler)"
        )
    path = Path(*map(as_numpy, samples))
    if path.states.ndim < 2 or path.states.shape[1] < 2:
        raise ValueError(f"{name}: states must have shape (n, steps + 1, ...); got {path.states.shape}")
    return path


def require_predictions(path: Path, name: str) -> None:
    """Refuse paths of a sampler that does not show its predicted noise and sample."""
    if path.noises.shape[1] == 0 or path.samples.shape[1] == 0:
        raise ValueError(
            f"{name}: the sampler does not show its predicted noise and sample; DDIM, Heun and "
            "mcgen.generators.AnalyticDiffusion do"
        )


def clock_of(path: Path, name: str) -> Floats:
    """Return the noise that each step removes, the integral of g^2 over it, shape (steps,)."""
    if path.signals.shape[1] == 0:
        raise ValueError(f"{name}: the sampler does not know the signal's share in its states; use path_length")
    signals = row_of(path.signals)
    if not ((signals > 0).all() and (np.diff(signals) > 0).all()):
        raise ValueError(f"{name}: the signal's share must be above 0 and increase; got {signals[:3]} at the start")
    return np.diff(np.log(signals))


def row_of(constants: Any) -> Floats:
    """Return numbers that are the same in each row, once."""
    return np.asarray(constants[0], np.float64)


def steps_of(path: Path) -> Floats:
    """Return the steps of each path, shape (n, steps, d)."""
    return np.diff(flat(path.states), axis=1)


def flat(array: Any) -> Floats:
    """Return states (n, steps, ...) in double precision, flattened to (n, steps, d)."""
    return np.asarray(array, np.float64).reshape(*array.shape[:2], -1)


def numbers_in(array: Any) -> Floats:
    """Return states (n, ...) of any library in double precision, flattened to (n, d)."""
    found = as_numpy(array).astype(np.float64, copy=False)
    return found.reshape(len(found), -1)

"""Directions from gradients: the active subspace. The mathematics is in `mcgen.variance_reduction.bases`."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.checks import checked_integer, checked_real
from mcgen._lib.names import name_of
from mcgen.errors import GeneratorWarning, warn_user
from mcgen.generators import Generator
from mcgen.noise.directions import Basis
from mcgen.noise.random import Seed
from mcgen.statistics import Statistic
from mcgen.variance_reduction.bases.pilot import (
    GRADIENT_ERRORS,
    SMALLEST_SINGULAR_RATIO,
    DirectionPilot,
    NoGradientError,
    TooManyGradientsError,
    Values,
    split_by_block,
)
from mcgen.variance_reduction.bases.regression import regression_directions


def active_subspace(
    generator: Generator,
    statistic: Statistic,
    n_directions: int,
    *,
    n_gradients: int = 64,
    seed: Seed,
    condition: Any = None,
    coarse: Generator | None = None,
    cost: float = 1.0,
    winsorize: float = 0.9,
    batch_size: int = 8,
    at_most: bool = False,
) -> Basis:
    """Return the directions of noise along which a statistic of the samples varies most, from gradients.

    Use it for `mcgen.Subspace` and `mcgen.controls.quadratic`. If the generator or the statistic has no gradient, it
    warns and returns the directions of `regression_basis`. These come from values at as many points as the gradients
    would have cost.

    Parameters
    ----------
    generator : Generator
        Has ``gradient(noise, statistic, condition)``, as those of `mcgen.adapters`. With ``jacobian`` all components
        share the samples.
    statistic : callable
        From samples to values, differentiable in the samples' own library.
    n_directions : int
        Number of directions.
    n_gradients : int
        Number of points of noise at which gradients are taken.
    seed : int or SeedSequence
        May be the run's: the pilot has random numbers of its own.
    condition : optional
        Passed to the generator, and to a statistic that takes it.
    coarse : Generator, optional
        A cheaper generator whose gradients are taken instead, such as ``generator.coarse(5)``, on the same noise or
        some of its blocks.
    cost : float
        Cost of an evaluation of the generator whose gradients are taken, in evaluations of `generator`: 0.1 for 5
        steps of 50.
    winsorize : float
        Quantile of the gradient norms; larger norms are scaled down to it. 1 changes none.
    batch_size : int
        Points in a batch. Memory grows with it: backpropagation keeps the results of all steps.
    at_most : bool
        If the gradients span fewer directions, return those instead of raising an error. If there are no gradients,
        raise `NoGradientError` instead of using regression.

    Returns
    -------
    Basis
        Its importances come from the pilot's own gradients, and are too high if these are few. A sample counts as 1
        evaluation and the gradient of each component as 2 more: 3 a point for a statistic of one number.

    Raises
    ------
    ValueError
        If there are more directions than dimensions, or more than the gradients span.

    Examples
    --------
    >>> import torch
    >>> from mcgen.adapters import from_torch
    >>> from mcgen.bases import active_subspace
    >>> ridge = from_torch(lambda z: torch.tanh(z[:, 0] + z[:, 1] / 2), noise=(64,), name="ridge")
    >>> basis = active_subspace(ridge, lambda x: x, 1, n_gradients=16, seed=0)
    >>> abs(basis.matrices["noise"][:3, 0]).round(3).tolist(), basis.n_evaluations
    ([0.894, 0.447, 0.0], 48)
    """
    pilot = DirectionPilot(generator, statistic, coarse, cost, condition, seed)
    r, n = pilot.checked_directions(n_directions), checked_integer("n_gradients", n_gradients)
    quantile = checked_real("winsorize", winsorize)
    if n < 1 or checked_integer("batch_size", batch_size) < 1 or not 0 < quantile <= 1:
        raise ValueError(
            f"n_gradients and batch_size must be at least 1 and winsorize in (0, 1]; got {n}, {batch_size} and "
            f"{winsorize}"
        )
    try:
        components = _pooled(pilot.gradients(n, batch_size), quantile)
    except TooManyGradientsError:
        raise
    except GRADIENT_ERRORS as error:
        text = (
            f"{name_of(statistic)!r} of {name_of(pilot.source)!r} has no gradient ({error}): the statistic breaks it "
            "(a comparison, argmax, .numpy()), or the generator has none"
        )
        if at_most:
            raise NoGradientError(text, pilot.n_evaluations) from error
        warn_user(
            f"{text}; the directions come from regression on values instead, which needs more evaluations: see "
            "mcgen.bases.regression_basis",
            GeneratorWarning,
        )
        return regression_directions(pilot, r, max(2 * r, 3 * n + n % 2), 64)
    missing = [j for j, rows in enumerate(components) if len(rows) == 0]
    if missing:
        warn_user(
            f"components {missing} of {name_of(statistic)!r} have no gradient, or none that is finite; the directions "
            "are those of the others",
            GeneratorWarning,
        )
    return _leading(pilot, np.concatenate(components), r, n, at_most)


def _pooled(gradients: Values, quantile: float) -> list[Values]:
    """Return the gradients of each component with norms cut at a quantile and scaled to sum of squares 1.

    Gradients that are zero or not finite are left out; a component may have none.
    """
    components = []
    for j in range(gradients.shape[1]):
        rows = gradients[:, j]
        rows = rows[np.isfinite(rows).all(axis=1)]
        norms = np.linalg.norm(rows, axis=1)
        rows, norms = rows[norms > 0], norms[norms > 0]
        if len(rows):
            kept = np.minimum(norms, np.quantile(norms, quantile))
            rows = rows * (kept / norms / np.sqrt(np.sum(kept**2)))[:, None]
        components.append(rows)
    if not any(map(len, components)):
        raise ValueError("its gradient is zero, or not finite, at every point of the pilot")
    return components


def _leading(pilot: DirectionPilot, rows: Values, r: int, n: int, at_most: bool) -> Basis:
    """Return the r leading right singular vectors of gradients A as a basis: A'u for eigenvectors u of A A'."""
    eigenvalues, u = np.linalg.eigh(rows @ rows.T)
    eigenvalues, u = eigenvalues[::-1], u[:, ::-1]
    rank = int((eigenvalues > SMALLEST_SINGULAR_RATIO**2 * eigenvalues[0]).sum())
    if at_most:
        r = min(r, rank)
    if rank < r:
        raise ValueError(
            f"gradients at {n} points span {rank} direction{'s' if rank > 1 else ''}, fewer than n_directions={r}; ask "
            f"for n_directions={rank}"
            + (" or more n_gradients" if rank >= len(rows) else ", on which alone the statistic depends")
        )
    return Basis.orthonormal(
        split_by_block(rows.T @ u[:, :r], pilot.blocks),
        importance=tuple(eigenvalues[:r] / np.maximum(eigenvalues, 0).sum()),
        made="active subspace",
        n_evaluations=pilot.n_evaluations,
    )

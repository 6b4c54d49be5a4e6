"""Directions from values alone, by regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.generators import Generator
from mcgen.noise.directions import Basis
from mcgen.noise.random import Seed
from mcgen.statistics import Statistic
from mcgen.variance_reduction.bases.pilot import SMALLEST_SINGULAR_RATIO, DirectionPilot, split_by_block


def regression_basis(
    generator: Generator,
    statistic: Statistic,
    n_directions: int,
    *,
    n_evaluations: int = 400,
    seed: Seed,
    condition: Any = None,
    coarse: Generator | None = None,
    cost: float = 1.0,
    batch_size: int = 64,
) -> Basis:
    """Return directions of a statistic from its values at antithetic pairs alone.

    First the average gradient of each component, then principal Hessian directions. Both are averages over the pairs,
    whose error over all d dimensions is about sqrt(d / pairs) standard deviations of the statistic: with more
    dimensions than pairs the directions are mostly noise (400 evaluations found nothing at 256 dimensions). What is
    neither odd with a mean slope nor even with a mean curvature is not seen. Take `active_subspace` where there are
    gradients; where there are neither gradients nor many evaluations, `dct_basis`.

    Parameters
    ----------
    generator, statistic, n_directions, seed, condition, coarse, cost
        See `active_subspace`.
    n_evaluations : int
        Of what is evaluated, at least two a direction: pairs are half as many.
    batch_size : int
        Samples made at a time.

    Raises
    ------
    ValueError
        If there are more directions than dimensions or pairs, or the values are not finite or all the same.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.bases import regression_basis
    >>> ridge = mcgen.as_generator(lambda z: z[:, 0] + z[:, 1] ** 2, noise=(4,))
    >>> basis = regression_basis(ridge, lambda x: x, 2, n_evaluations=40000, seed=0)
    >>> abs(basis.matrices["noise"].T).round(1).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """
    pilot = DirectionPilot(generator, statistic, coarse, cost, condition, seed)
    return regression_directions(pilot, pilot.checked_directions(n_directions), n_evaluations, batch_size)


def regression_directions(pilot: DirectionPilot, r: int, n_evaluations: int, batch_size: int) -> Basis:
    """Return average gradients, then principal Hessian directions."""
    n_pairs = checked_integer("n_evaluations", n_evaluations) // 2
    if n_pairs < r or checked_integer("batch_size", batch_size) < 2:
        raise ValueError(
            f"a pilot for {r} directions needs n_evaluations of at least {2 * r}, in batches of at least 2; got "
            f"{n_evaluations} and {batch_size}. Ask for fewer directions, or take dct_basis, which needs no pilot"
        )
    z, values = pilot.values(n_pairs, batch_size // 2)
    spread = values.std(axis=(0, 1))
    if not np.isfinite(values).all() or not (spread > 0).any():
        raise ValueError(
            f"the values of {name_of(pilot.statistic)!r} in the pilot are not finite, or all the same; directions are "
            "found from numbers that vary"
        )
    values = values[:, :, spread > 0] / spread[spread > 0]
    odd, even = (values[:, 0] - values[:, 1]) / 2, values.mean(axis=1)
    left, sizes, _ = np.linalg.svd(z.T @ odd / n_pairs, full_matrices=False)
    first = left[:, sizes > SMALLEST_SINGULAR_RATIO * max(1.0, sizes[0])][:, :r]
    # Q R of the points, less what lies along the first directions: R diag(y) R' is the mean Hessian inside their span.
    q, triangle = np.linalg.qr((z - z @ first @ first.T).T)
    # So little that it decides only where there is no curvature at all: for directions that the points span.
    squared = 1e-9 * triangle @ triangle.T / n_pairs
    for y in (even - even.mean(axis=0)).T:
        hessian = (triangle * y) @ triangle.T
        squared += hessian @ hessian
    second = q @ np.linalg.eigh(squared)[1][:, ::-1][:, : r - first.shape[1]]
    return Basis.orthonormal(
        split_by_block(np.concatenate([first, second], axis=1), pilot.blocks),
        made="regression",
        n_evaluations=pilot.n_evaluations,
    )

"""Directions from values alone, by Stein's identity. The mathematics is in `mcgen.variance_reduction.bases`."""

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
    """Return directions along which a statistic varies, from its values at antithetic pairs alone.

    Use it where the model has no gradients; `active_subspace` is better where it has, and `dct_basis` where
    evaluations are few for the dimension.

    The first directions are the average gradients of the components, the others principal Hessian directions. Both are
    averages over the pairs. Their error over all d dimensions is about sqrt(d / pairs) standard deviations of the
    statistic. With more dimensions than pairs the directions are mostly noise: 400 evaluations found nothing at 256
    dimensions. It does not find an odd part without a mean slope, or an even part without a mean curvature.

    Parameters
    ----------
    generator, statistic, n_directions, seed, condition, coarse, cost
        See `active_subspace`.
    n_evaluations : int
        Number of evaluations, of `coarse` if that is given; at least two for each direction. Pairs are half as many.
    batch_size : int
        Samples in a batch.

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
    r"""Return average gradients, then principal Hessian directions, r in all.

    With z_i the first points of n pairs, y_i the odd and e_i the even part of a component, the average gradient is
    :math:`\frac1n \sum_i z_i y_i`. The Hessian is :math:`\frac1n \sum_i z_i (e_i - \bar e) z_i'`. The directions
    are the leading eigenvectors of the sum of its squares over the components, outside the average gradients' span.
    """
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
            f"the values of {name_of(pilot.statistic)!r} in the pilot are not finite, or all the same; a basis needs "
            "values that vary"
        )
    values = values[:, :, spread > 0] / spread[spread > 0]
    odd, even = (values[:, 0] - values[:, 1]) / 2, values.mean(axis=1)
    left, sizes, _ = np.linalg.svd(z.T @ odd / n_pairs, full_matrices=False)
    first = left[:, sizes > SMALLEST_SINGULAR_RATIO * max(1.0, sizes[0])][:, :r]
    # The QR decomposition of the points outside the first directions: n times the Hessian is Q R diag(e) R' Q'.
    q, triangle = np.linalg.qr((z - z @ first @ first.T).T)
    # A term so small that it matters only without curvature: it keeps the directions inside the span of the points.
    squared = 1e-9 * triangle @ triangle.T / n_pairs
    for e in (even - even.mean(axis=0)).T:
        hessian = (triangle * e) @ triangle.T
        squared += hessian @ hessian
    second = q @ np.linalg.eigh(squared)[1][:, ::-1][:, : r - first.shape[1]]
    return Basis.orthonormal(
        split_by_block(np.concatenate([first, second], axis=1), pilot.blocks),
        made="regression",
        n_evaluations=pilot.n_evaluations,
    )

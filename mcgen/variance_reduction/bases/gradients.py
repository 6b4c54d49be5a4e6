r"""Bases for `mcgen.Subspace`: from gradients, from values, and fixed ones.

A statistic S(z) of standard normal noise may owe most of its variance to few directions. They are the leading
eigenvectors of :math:`C = E[\nabla S\, \nabla S']`, the active subspace [1]_: by the Poincaré inequality the part of S
that moves across the first r of them has a variance of at most the sum of the other eigenvalues. With n gradients as
rows of A, C is A'A / n, whose eigenvectors are A'u for those u of the n x n matrix A A'; no d x d matrix is made. A
statistic of k components has k gradients at each z, each component's divided by their root mean square, so that all
components count alike. Few outliers would pull the directions to themselves: norms above a quantile are scaled down to
it.

Without gradients Stein's identity [2]_ has them from values: :math:`E[z\, S(z)] = E[\nabla S]` is one direction a
component, to which only the odd part (S(z) - S(-z)) / 2 counts, and :math:`E[(z z' - I)\, S(z)] = E[\nabla^2 S]`, the
principal Hessian directions [3]_, to which only the even part does.

The pilot's random numbers are those of the stream ("pilot", ...), apart from every run's. Uniform noise u counts by its
normal score :math:`x = \Phi^{-1}(u)`, with :math:`dS/dx = \varphi(x)\, dS/du`. Blocks that are i.i.d. have no
directions.

.. rubric:: References

.. [1] P. G. Constantine, E. Dow, Q. Wang (2014). Active subspace methods in theory and practice: applications to
   kriging surfaces. SIAM J. Sci. Comput. 36(4), A1500-A1524.
.. [2] C. M. Stein (1981). Estimation of the mean of a multivariate normal distribution. Ann. Statist. 9(6), 1135-1151.
.. [3] K.-C. Li (1992). On principal Hessian directions for data visualization and dimension reduction: another
   application of Stein's lemma. J. Amer. Statist. Assoc. 87(420), 1025-1039.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.checks import checked_integer, checked_real
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.errors import GeneratorWarning, warn_user
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import Block, Noise, NoiseSpec, Shape, as_noise_spec, as_rows
from mcgen.noise.directions import Basis, Matrix
from mcgen.noise.random import Seed
from mcgen.replicates.first_batch import tried_values
from mcgen.replicates.streams import stream_of
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, values_of

__all__ = ["Basis", "active_subspace", "dct_basis", "regression_basis"]

# The eigenvectors of an n x n matrix are found; at this n it takes half a minute.
_MOST_GRADIENTS = 4096
# Directions whose singular value is less, relative to the first, are rounding in float32.
_LEAST_SHARE = 1e-6
# What a generator or a statistic may raise where there is no gradient: regression runs both again, without.
_NO_GRADIENT = (ValueError, TypeError, RuntimeError, AttributeError)

Values = NDArray[np.float64]


def dct_basis(noise: NoiseSpec | Shape, n_directions: int, *, blocks: Sequence[str] | None = None) -> Basis:
    r"""Return cosines of the lowest frequencies over all axes of the noise: needs no pilot.

    Entry m of axis i, of length :math:`n_i`, has the factor :math:`\cos(\pi k_i (m + 1/2) / n_i)`, the discrete cosine
    transform II; directions come by their frequency :math:`\sum_i (k_i / n_i)^2`. Good for statistics of images and
    sounds that large structures decide.

    Parameters
    ----------
    noise : NoiseSpec or tuple of int
        Of the generator; a shape such as (3, 32, 32) or (1, 16000) is one block.
    n_directions : int
        How many, over all blocks.
    blocks : sequence of str, optional
        Where the directions lie; by default all blocks that are not i.i.d., the lowest frequencies of each first.

    Examples
    --------
    >>> from mcgen.bases import dct_basis
    >>> dct_basis((1, 28, 28), 32)
    Basis(32 directions of 784, cosines, ...)
    """
    spec = as_noise_spec(noise)
    chosen = _steered(spec)
    if blocks is not None:
        unknown = [name for name in blocks if name not in chosen]
        if unknown:
            raise ValueError(f"blocks must be of {', '.join(map(repr, chosen))}; got {', '.join(map(repr, unknown))}")
        chosen = {name: block for name, block in chosen.items() if name in blocks}
    r = _checked_directions(n_directions, chosen)
    lowest = sorted(
        (frequency, place, index)
        for place, block in enumerate(chosen.values())
        for frequency, index in _lowest_frequencies(block.shape, r)
    )[:r]
    names = [*chosen]
    matrices: dict[str, Matrix] = {}
    for column, (_, place, index) in enumerate(lowest):
        block = chosen[names[place]]
        matrix = matrices.setdefault(names[place], np.zeros((block.size, r)))
        matrix[:, column] = _cosines(block.shape, index)
    return Basis(matrices, made="cosines")


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
    """Return the directions along which a statistic of the samples varies most, from gradients.

    Where the generator or the statistic has no gradient it warns, and the directions are those of `regression_basis`
    from values at as many points as gradients would have cost.

    Parameters
    ----------
    generator : Generator
        With ``gradient(noise, statistic, condition)``, as those of `mcgen.adapters` have; with ``jacobian`` all
        components share the samples.
    statistic : callable
        From samples to values, differentiable in the samples' own library.
    n_directions : int
        How many.
    n_gradients : int
        Points of noise at which gradients are taken.
    seed : int or SeedSequence
        May be the run's: the pilot's numbers are apart from it.
    condition : optional
        Given to the generator.
    coarse : Generator, optional
        What the gradients come from instead, such as ``generator.coarse(5)``: on the same noise, or some of its blocks.
    cost : float
        Of an evaluation of what the gradients come from, in evaluations of the generator: 0.1 for 5 steps of 50.
    winsorize : float
        The quantile of gradient norms above which they are scaled down; 1 leaves them.
    batch_size : int
        Points at a time. Memory grows with it: backpropagation keeps what all steps computed.
    at_most : bool
        Where the gradients span fewer directions, return these instead of an error; where there are none, raise
        `NoGradientError` instead of regression.

    Returns
    -------
    Basis
        Its importances are those of the pilot's own gradients: too good where gradients are few. Samples count as 1
        evaluation and the gradient of each component as 2 more: 3 a point for a statistic of one number.

    Raises
    ------
    ValueError
        If there are more directions than dimensions, or than the gradients span.

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
    pilot = _Pilot(generator, statistic, coarse, cost, condition, seed)
    r, n = pilot.checked_directions(n_directions), checked_integer("n_gradients", n_gradients)
    quantile = checked_real("winsorize", winsorize)
    if n < 1 or checked_integer("batch_size", batch_size) < 1 or not 0 < quantile <= 1:
        raise ValueError(
            f"n_gradients and batch_size must be at least 1 and winsorize in (0, 1]; got {n}, {batch_size} and "
            f"{winsorize}"
        )
    try:
        components = _pooled(pilot.gradients(n, batch_size), quantile)
    except _TooManyError:
        raise
    except _NO_GRADIENT as error:
        told = (
            f"{name_of(statistic)!r} of {name_of(pilot.source)!r} has no gradient ({error}): the statistic cuts it (a "
            "comparison, argmax, .numpy()), or the generator has none"
        )
        if at_most:
            raise NoGradientError(told, pilot.n_evaluations) from error
        warn_user(
            f"{told}; its directions come from regression on values, which finds fewer: see "
            "mcgen.bases.regression_basis",
            GeneratorWarning,
        )
        return _regression(pilot, r, max(2 * r, 3 * n + n % 2), 64)
    missing = [j for j, rows in enumerate(components) if len(rows) == 0]
    if missing:
        warn_user(
            f"components {missing} of {name_of(statistic)!r} have no gradient, or none that is finite; the directions "
            "are those of the others",
            GeneratorWarning,
        )
    return _leading(pilot, np.concatenate(components), r, n, at_most)


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
    pilot = _Pilot(generator, statistic, coarse, cost, condition, seed)
    return _regression(pilot, pilot.checked_directions(n_directions), n_evaluations, batch_size)


class _Pilot:
    """What a pilot evaluates, on which noise, and how many evaluations it has spent."""

    def __init__(
        self,
        generator: Generator,
        statistic: Statistic,
        coarse: Generator | None,
        cost: float,
        condition: Any,
        seed: Seed,
    ) -> None:
        self.source = checked_generator(generator) if coarse is None else checked_generator(coarse, "coarse")
        self.statistic, self.condition, self.seed = checked_callable(statistic), condition, seed
        self.cost, self.spent = checked_real("cost", cost), 0
        if self.cost < 0:
            raise ValueError(f"cost must be at least 0, in evaluations of the generator; got {cost}")
        if not {*self.source.noise.blocks} <= {*checked_generator(generator).noise.blocks}:
            raise ValueError(
                f"coarse must take noise of the generator's own blocks, {generator.noise}; got {self.source.noise}"
            )
        self.blocks = _steered(self.source.noise)

    @property
    def n_evaluations(self) -> int:
        """What was spent, in evaluations of the generator that will be estimated."""
        return math.ceil(self.spent * self.cost)

    def checked_directions(self, n_directions: int) -> int:
        """Return how many directions are asked for."""
        return _checked_directions(n_directions, self.blocks)

    def gradients(self, n: int, at_once: int) -> Values:
        """Return the gradients of k components by the normal scores of n points, shape (n, k, d)."""
        found = []
        for noise, n_rows in self._batches(MonteCarlo(), "gradients", n, at_once):
            slopes = self._jacobian(noise, n_rows)
            flat = [
                np.asarray(part, np.float64).reshape(n_rows, -1, block.size) * _density(noise, name, block)
                for part, (name, block) in zip(slopes, self.blocks.items(), strict=True)
            ]
            found.append(np.concatenate(flat, axis=2))
            if n * found[0].shape[1] > _MOST_GRADIENTS:
                raise _TooManyError(
                    f"{n} gradients of {found[0].shape[1]} components are more than the {_MOST_GRADIENTS} that are "
                    "decomposed; take fewer gradients, or a statistic of fewer components"
                )
        return np.concatenate(found)

    def values(self, n_pairs: int, at_once: int) -> tuple[Values, Values]:
        """Return the first points of some antithetic pairs (n, d) and the values of both points (n, 2, k)."""
        scores: list[Any] = []
        values: list[Any] = []
        for noise, n_rows in self._batches(Antithetic(), "regression", n_pairs, at_once):
            scores.append(np.concatenate([_scores(noise, *item)[::2] for item in self.blocks.items()], axis=1))
            self.spent += n_rows
            found = (values_of if values else tried_values)(self.statistic, self.source(noise, self.condition), n_rows)
            values.append(found.reshape(n_rows // 2, 2, -1))
        return np.concatenate(scores), np.concatenate(values)

    def _batches(self, design: Design, purpose: str, n: int, at_once: int) -> Iterator[tuple[Noise, int]]:
        stream = ("pilot", purpose, *stream_of(self.condition, 0))
        for first in range(0, n, at_once):
            some = range(first, min(first + at_once, n))
            drawn = design.draw(self.source.noise, some, self.seed, stream=stream)
            yield as_rows(drawn), len(some) * design.n_points

    def _jacobian(self, noise: Noise, n_rows: int) -> list[Any]:
        """Return the gradients of all components by each block, shape (n, k, ...)."""
        whole = getattr(self.source, "jacobian", None)
        if whole is not None:
            self.spent += n_rows
            found = self._by_block(whole(noise, self.statistic, self.condition))
            self.spent += 2 * n_rows * found[0].shape[1]
            return found
        if not hasattr(self.source, "gradient"):
            raise TypeError(f"{type(self.source).__name__} has no method gradient(noise, statistic, condition)")
        components: list[list[Any]] = []
        counted = _Component(self.statistic)
        while len(components) < counted.n_components:
            self.spent += n_rows
            components.append(self._by_block(self.source.gradient(noise, counted, self.condition)))
            self.spent += 2 * n_rows
            counted.number += 1
        return [np.stack(parts, axis=1) for parts in zip(*components, strict=True)]

    def _by_block(self, found: Any) -> list[Any]:
        return [found if len(self.source.noise.blocks) == 1 else found[name] for name in self.blocks]


class NoGradientError(ValueError):
    """A statistic of a generator has no gradient; looking for it cost some evaluations."""

    def __init__(self, message: str, n_evaluations: int) -> None:
        super().__init__(message)
        self.n_evaluations = n_evaluations


class _TooManyError(ValueError):
    """More gradients than their Gram matrix could hold."""


class _Component:
    """One component of a statistic, and how many it has."""

    def __init__(self, statistic: Callable[[Any], Any]) -> None:
        self._statistic, self.number, self.n_components = statistic, 0, 1

    def __call__(self, samples: Any) -> Any:
        values = self._statistic(samples)
        if len(getattr(values, "shape", ())) < 2:
            return values
        self.n_components = math.prod(values.shape[1:])
        return values.reshape(len(values), -1)[:, self.number]


def _pooled(gradients: Values, quantile: float) -> list[Values]:
    """Return the gradients of each component, winsorized, of mean square norm 1; none where all vanish."""
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


def _leading(pilot: _Pilot, rows: Values, r: int, n: int, at_most: bool) -> Basis:
    """Return the leading right singular vectors of some gradients as a basis."""
    eigenvalues, u = np.linalg.eigh(rows @ rows.T)
    eigenvalues, u = eigenvalues[::-1], u[:, ::-1]
    rank = int((eigenvalues > _LEAST_SHARE**2 * eigenvalues[0]).sum())
    if at_most:
        r = min(r, rank)
    if rank < r:
        raise ValueError(
            f"gradients at {n} points span {rank} direction{'s' if rank > 1 else ''}, fewer than n_directions={r}; ask "
            f"for n_directions={rank}"
            + (" or more n_gradients" if rank >= len(rows) else ", on which alone it depends")
        )
    return Basis.orthonormal(
        _split(rows.T @ u[:, :r], pilot.blocks),
        importance=tuple(eigenvalues[:r] / np.maximum(eigenvalues, 0).sum()),
        made="active subspace",
        n_evaluations=pilot.n_evaluations,
    )


def _regression(pilot: _Pilot, r: int, n_evaluations: int, batch_size: int) -> Basis:
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
    first = left[:, sizes > _LEAST_SHARE * max(1.0, sizes[0])][:, :r]
    # Q R of the points, less what lies along the first directions: R diag(y) R' is the mean Hessian inside their span.
    q, triangle = np.linalg.qr((z - z @ first @ first.T).T)
    # So little that it decides only where there is no curvature at all: for directions that the points span.
    squared = 1e-9 * triangle @ triangle.T / n_pairs
    for y in (even - even.mean(axis=0)).T:
        hessian = (triangle * y) @ triangle.T
        squared += hessian @ hessian
    second = q @ np.linalg.eigh(squared)[1][:, ::-1][:, : r - first.shape[1]]
    return Basis.orthonormal(
        _split(np.concatenate([first, second], axis=1), pilot.blocks),
        made="regression",
        n_evaluations=pilot.n_evaluations,
    )


def _steered(spec: NoiseSpec) -> dict[str, Block]:
    """Return the blocks that directions can reach."""
    found = {name: block for name, block in spec.blocks if not block.iid}
    if not found:
        raise ValueError(f"all blocks of {spec} are drawn independently for every point; there is nothing to steer")
    return found


def _checked_directions(n_directions: int, blocks: dict[str, Block]) -> int:
    r, dimension = checked_integer("n_directions", n_directions), sum(block.size for block in blocks.values())
    if not 1 <= r <= dimension:
        raise ValueError(f"noise of {dimension} dimensions has from 1 to {dimension} directions; got n_directions={r}")
    return r


def _split(columns: Matrix, blocks: dict[str, Block]) -> dict[str, Matrix]:
    """Return the rows of some columns by blocks, of those blocks that they reach."""
    ends = np.cumsum([block.size for block in blocks.values()])[:-1]
    return {name: rows for name, rows in zip(blocks, np.split(columns, ends), strict=True) if rows.any()}


def _scores(noise: Noise, name: str, block: Block) -> Values:
    """Return a block's normal scores, shape (n, size)."""
    array = np.asarray(noise if isinstance(noise, np.ndarray) else noise[name], np.float64)
    flat = array.reshape(len(array), block.size)
    return flat if block.law == "normal" else ndtri(flat)


def _density(noise: Noise, name: str, block: Block) -> Values | float:
    """Return what takes gradients by noise to those by its normal scores, shape (n, 1, size); 1 for normal noise."""
    if block.law == "normal":
        return 1.0
    return np.exp(-(_scores(noise, name, block)[:, None] ** 2) / 2) / math.sqrt(2 * math.pi)


def _lowest_frequencies(shape: Shape, r: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield the frequency and the numbers of waves of the r slowest cosines, and of those as slow as the last."""
    squares = [np.square(np.arange(n) / n) for n in shape]
    # Rounded, so that equal frequencies of different axes are equal.
    total = np.round(sum(np.meshgrid(*squares, indexing="ij", sparse=True)), 12) if shape else np.zeros(())
    limit = np.partition(total.ravel(), min(r, total.size) - 1)[min(r, total.size) - 1]
    for index in np.argwhere(total <= limit).tolist():
        yield float(total[tuple(index)]), tuple(index)


def _cosines(shape: Shape, index: tuple[int, ...]) -> Values:
    """Return the product of one cosine along each axis, flat, of norm 1."""
    product = np.ones(())
    for n, k in zip(shape, index, strict=True):
        wave = np.cos(np.pi * k * (np.arange(n) + 0.5) / n) * math.sqrt((2 if k else 1) / n)
        product = np.multiply.outer(product, wave)
    return product.ravel()

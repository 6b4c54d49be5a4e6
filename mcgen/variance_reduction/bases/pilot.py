"""Evaluations that find directions: single points with gradients or values, where other pilots have means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import Block, Noise, NoiseSpec, as_rows
from mcgen.noise.directions import Matrix
from mcgen.noise.random import Seed
from mcgen.replicates.first_batch import tried_values
from mcgen.replicates.pilot import pilot_stream
from mcgen.replicates.streams import stream_of
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, values_of, with_condition

# Most gradients, times components, whose n x n Gram matrix is decomposed: at this n it takes half a minute.
_MOST_GRADIENTS = 4096
SMALLEST_SINGULAR_RATIO = 1e-6
"""Least singular value of a direction, relative to the largest: smaller ones are rounding errors of float32."""
GRADIENT_ERRORS = (ValueError, TypeError, RuntimeError, AttributeError)
"""Errors that mean that there is no gradient. Regression then runs generator and statistic without gradients."""

Values = NDArray[np.float64]


class DirectionPilot:
    """A pilot for directions: its generator, its noise and the evaluations it has spent.

    Parameters
    ----------
    generator, statistic, coarse, cost, condition, seed
        As for `mcgen.bases.active_subspace`.
    """

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
        self.statistic = with_condition(checked_callable(statistic), condition)
        self.condition, self.seed = condition, seed
        self.cost, self.spent = checked_real("cost", cost), 0
        if self.cost < 0:
            raise ValueError(f"cost must be at least 0, in evaluations of the generator; got {cost}")
        if not {*self.source.noise.blocks} <= {*checked_generator(generator).noise.blocks}:
            raise ValueError(
                f"coarse must take noise of the generator's own blocks, {generator.noise}; got {self.source.noise}"
            )
        self.blocks = steered_blocks(self.source.noise)

    @property
    def n_evaluations(self) -> int:
        """The cost of the pilot so far, in evaluations of the generator."""
        return math.ceil(self.spent * self.cost)

    def checked_directions(self, n_directions: int) -> int:
        """Return the number of directions, or refuse one outside 1 to the dimension of the noise."""
        return checked_directions(n_directions, self.blocks)

    def gradients(self, n: int, at_once: int) -> Values:
        """Return the gradients of k components with respect to the normal scores of n points, shape (n, k, d)."""
        found = []
        for noise, n_rows in self._batches(MonteCarlo(), "gradients", n, at_once):
            slopes = self._jacobian(noise, n_rows)
            flat = [
                np.asarray(part, np.float64).reshape(n_rows, -1, block.size) * _density(noise, name, block)
                for part, (name, block) in zip(slopes, self.blocks.items(), strict=True)
            ]
            found.append(np.concatenate(flat, axis=2))
            if n * found[0].shape[1] > _MOST_GRADIENTS:
                raise TooManyGradientsError(
                    f"{n} gradients of {found[0].shape[1]} components are more than the {_MOST_GRADIENTS} that can be "
                    "decomposed; take fewer gradients, or a statistic of fewer components"
                )
        return np.concatenate(found)

    def values(self, n_pairs: int, at_once: int) -> tuple[Values, Values]:
        """Return the normal scores of the first points of n antithetic pairs, (n, d), and all values, (n, 2, k)."""
        scores: list[Any] = []
        values: list[Any] = []
        for noise, n_rows in self._batches(Antithetic(), "regression", n_pairs, at_once):
            scores.append(np.concatenate([_scores(noise, *item)[::2] for item in self.blocks.items()], axis=1))
            self.spent += n_rows
            found = (values_of if values else tried_values)(self.statistic, self.source(noise, self.condition), n_rows)
            values.append(found.reshape(n_rows // 2, 2, -1))
        return np.concatenate(scores), np.concatenate(values)

    def _batches(self, design: Design, purpose: str, n: int, at_once: int) -> Iterator[tuple[Noise, int]]:
        """Yield the noise of n replicates of a design in batches, as rows, with the number of rows."""
        stream = pilot_stream(stream_of(self.condition, 0), purpose)
        for first in range(0, n, at_once):
            some = range(first, min(first + at_once, n))
            drawn = design.draw(self.source.noise, some, self.seed, stream=stream)
            yield as_rows(drawn), len(some) * design.n_points

    def _jacobian(self, noise: Noise, n_rows: int) -> list[Any]:
        """Return the gradients of all components with respect to each block, shape (n, k, ...)."""
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
        """Return the gradients with respect to each block that directions can reach."""
        return [found if len(self.source.noise.blocks) == 1 else found[name] for name in self.blocks]


class NoGradientError(ValueError):
    """A statistic of a generator has no gradient.

    Attributes
    ----------
    n_evaluations : int
        Evaluations that the attempt cost.
    """

    def __init__(self, message: str, n_evaluations: int) -> None:
        super().__init__(message)
        self.n_evaluations = n_evaluations


class TooManyGradientsError(ValueError):
    """More gradients than their Gram matrix is decomposed for."""


class _Component:
    """One component of a statistic, by its `number`; after a call `n_components` is known."""

    def __init__(self, statistic: Callable[[Any], Any]) -> None:
        self._statistic, self.number, self.n_components = statistic, 0, 1

    def __call__(self, samples: Any) -> Any:
        values = self._statistic(samples)
        if len(getattr(values, "shape", ())) < 2:
            return values
        self.n_components = math.prod(values.shape[1:])
        return values.reshape(len(values), -1)[:, self.number]


def steered_blocks(spec: NoiseSpec) -> dict[str, Block]:
    """Return the blocks that directions can reach: those that are not i.i.d."""
    found = {name: block for name, block in spec.blocks if not block.iid}
    if not found:
        raise ValueError(f"all blocks of {spec} are drawn independently for every point; there is nothing to steer")
    return found


def checked_directions(n_directions: int, blocks: dict[str, Block]) -> int:
    """Return the number of directions, or refuse one outside 1 to the dimension of the blocks."""
    r, dimension = checked_integer("n_directions", n_directions), sum(block.size for block in blocks.values())
    if not 1 <= r <= dimension:
        raise ValueError(f"noise of {dimension} dimensions has from 1 to {dimension} directions; got n_directions={r}")
    return r


def split_by_block(columns: Matrix, blocks: dict[str, Block]) -> dict[str, Matrix]:
    """Return the rows of columns (d, r) that belong to each block, without blocks where all are 0."""
    ends = np.cumsum([block.size for block in blocks.values()])[:-1]
    return {name: rows for name, rows in zip(blocks, np.split(columns, ends), strict=True) if rows.any()}


def _scores(noise: Noise, name: str, block: Block) -> Values:
    """Return the normal scores of a block, shape (n, size): the noise itself if that is normal."""
    array = np.asarray(noise if isinstance(noise, np.ndarray) else noise[name], np.float64)
    flat = array.reshape(len(array), block.size)
    return flat if block.law == "normal" else ndtri(flat)


def _density(noise: Noise, name: str, block: Block) -> Values | float:
    """Return the factor from gradients by noise to gradients by normal scores, (n, 1, size); 1 for normal noise."""
    if block.law == "normal":
        return 1.0
    return np.exp(-(_scores(noise, name, block)[:, None] ** 2) / 2) / math.sqrt(2 * math.pi)

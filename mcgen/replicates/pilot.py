"""Replicates that are run to find out something, and not used in an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import Design
from mcgen.designs._base import Path, Replicates
from mcgen.generators import Generator
from mcgen.generators.joint import OnSameNoise
from mcgen.inference.moments import varies_by_rounding
from mcgen.noise import Noise, NoiseSpec, Shape, change_noise
from mcgen.noise.random import Seed
from mcgen.replicates.loop import run_all
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.task import Estimand
from mcgen.statistics.joint import EachOf


def pilot_means(
    estimand: Estimand,
    design: Design,
    generators: Sequence[Generator],
    n_replicates: int,
    batch_size: int | None,
    *purpose: str | int,
    tried: bool = False,
) -> list[tuple[Floats, Floats]]:
    """Return a pilot's replicate means of the statistic for several generators on the same noise.

    Parameters
    ----------
    estimand : Estimand
        Gives the statistic, the condition and the seed.
    design : Design
        How the noise is drawn.
    generators : sequence of Generator
        The first one's noise is the common one.
    n_replicates, batch_size
        As for `mcgen.estimate`.
    *purpose : str or int
        Sets the random numbers of this pilot apart from others.
    tried : bool
        Whether another pilot has tried the laws of these generators and of the statistic.

    Returns
    -------
    list of (ndarray, ndarray)
        For each generator, then for the first minus each of the others: the means and the mean squared deviations
        within the replicates, both of shape (n_replicates, k).
    """
    joint = replace(
        estimand,
        generator=OnSameNoise(tuple(generators), generators[0].noise),
        statistic=EachOf(estimand.statistic),
        stream=pilot_stream(estimand.stream, *purpose),
    )
    task = joint.task(design, checked_batch_size(batch_size, design.n_points, n_replicates))
    tally, facts = run_all(task, n_replicates, tried)
    kept = tally.kept()
    assert kept is not None
    means, within = kept[0].copy(), kept[1]
    # What varies by no more than rounding has no variance, and no slope.
    spread = varies_by_rounding(means.mean(axis=0), means.var(axis=0), within.mean(axis=0), facts.rounding)
    means[:, spread] = 0.0
    split = (np.split(part, 2 * len(generators) - 1, axis=1) for part in (means, within))
    return [*zip(*split, strict=True)]


def pilot_values(
    estimand: Estimand,
    design: Design,
    n_replicates: int,
    batch_size: int | None,
    *purpose: str | int,
    tried: bool = False,
) -> tuple[Floats, float]:
    """Return the values at all points of a pilot's replicates, shape (n_replicates, n_points, k), and their rounding.

    The rounding is the relative rounding error of the samples' type. The parameters are those of `pilot_means`.
    """
    own = replace(estimand, stream=pilot_stream(estimand.stream, *purpose))
    rows = n_replicates * design.n_points
    tally, facts = run_all(own.task(_EachPoint(design), checked_batch_size(batch_size, 1, rows)), rows, tried)
    kept = tally.kept()
    assert kept is not None
    return kept[0].reshape(n_replicates, design.n_points, -1), facts.rounding


@dataclass(frozen=True)
class _EachPoint:
    """A design whose replicates are the single points of another one, in order; for values instead of means."""

    base: Design
    n_points: int = 1

    @property
    def n_together(self) -> int:
        """Points of a replicate of the base, which may draw it as a whole for any of them."""
        return self.base.n_points

    def draw(
        self,
        spec: NoiseSpec | Shape,
        replicates: Replicates,
        seed: Seed,
        *,
        stream: Path = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of points replicates.start, ... of the base, counted over its replicates."""
        rows = range(replicates) if isinstance(replicates, int) else replicates
        each = self.base.n_points
        whole = range(rows.start // each, -(-rows.stop // each))
        first, n = rows.start - whole.start * each, len(rows)
        drawn = self.base.draw(spec, whole, seed, stream=stream)
        return change_noise(drawn, lambda block: block.reshape(-1, 1, *block.shape[2:])[first : first + n])


def pilot_stream(stream: tuple[str | int, ...], *purpose: str | int) -> tuple[str | int, ...]:
    """Return the path of the random numbers of a pilot, which no run and no pilot for another purpose uses.

    Parameters
    ----------
    stream : tuple of str or int
        The path of the run.
    *purpose : str or int
        Sets pilots for several purposes apart.
    """
    return ("pilot", *purpose, *stream)

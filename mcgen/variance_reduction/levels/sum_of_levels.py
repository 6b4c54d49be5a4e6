r"""Sums over levels: each its own run, what a coarser generator says of a finer one, and their sum.

With generators G_0, ..., G_L from coarse to fine on the same noise and coefficients b_l, one a component,

.. math:: E\, S(G_L) = E\,[S(G_L) - b_L S(G_{L-1})] + b_L E\,[S(G_{L-1}) - b_{L-1} S(G_{L-2})] + ... ,

whatever the coefficients are: the terms are weighted by w_L = 1 and :math:`w_{l-1} = w_l b_l`. The variance of a
replicate mean of a difference is least for b = Cov(fine, coarse) / Var(coarse) of the replicate means, where it is
:math:`1 - \rho^2` of the fine one's [1]_. With b = 1 a coarse generator that follows the fine one badly does harm; with
the best b it never does, but for what it costs.

.. rubric:: References

.. [1] B. L. Nelson (1990). Control variate remedies. Oper. Res. 38(6), 974-992.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.errors import with_partial
from mcgen.generators import Generator
from mcgen.generators.joint import OnSomeBlocks, pair
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.task import Estimand, Task
from mcgen.results.estimate import Estimate
from mcgen.results.sums import weighted_sum
from mcgen.runs.execution import run_single
from mcgen.runs.options import RunOptions
from mcgen.statistics.joint import Difference


@dataclass(frozen=True)
class Level:
    """One generator of a sum, the next coarser one, and the design of their difference.

    Attributes
    ----------
    number : int
        From 0, the coarsest.
    generator : Generator
        The level's own.
    coarser : Generator or None
        That of the level below, on the noise of this one; None for the coarsest.
    design : Design
        Of its replicates.
    cost : float
        Of one evaluation of both, in evaluations of the finest generator.
    """

    number: int
    generator: Generator
    coarser: Generator | None
    design: Design
    cost: float

    @property
    def name(self) -> str:
        """How results call it."""
        return f"level {self.number}"

    @property
    def replicate_cost(self) -> float:
        """What a replicate costs, in evaluations of the finest generator."""
        return self.design.n_points * self.cost

    def task(self, estimand: Estimand, coefficients: Floats | None, n_replicates: int, batch_size: int | None) -> Task:
        """Return the level's own task, on random numbers of its own."""
        changes: dict[str, Any] = {"generator": self.generator}
        if self.coarser is not None:
            assert coefficients is not None
            changes = {
                "generator": pair(self.generator, self.coarser),
                "statistic": Difference(estimand.statistic, coefficients),
            }
        own = replace(estimand, **changes, stream=("level", self.number, *estimand.stream))
        return own.task(self.design, checked_batch_size(batch_size, self.design.n_points, n_replicates))


def levels_of(generators: Sequence[tuple[Generator, float]], designs: Sequence[Design]) -> list[Level]:
    """Return the levels of generators and their costs, from coarse to fine."""
    (coarsest, least), unit = generators[0], generators[-1][1]
    levels = [Level(0, coarsest, None, designs[0], least / unit)]
    for number, ((coarse, below), (fine, cost)) in enumerate(pairwise(generators), start=1):
        adapted = coarse if coarse.noise == fine.noise else OnSomeBlocks(coarse, fine.noise)
        levels.append(Level(number, fine, adapted, designs[number], (cost + below) / unit))
    return levels


def slopes(fine: Floats, coarse: Floats) -> Floats:
    """Return the coefficients (k,) that take most of the variance of the fine replicate means (R, k) away.

    They are 0 where the coarse means do not vary.
    """
    d_fine, d_coarse = fine - fine.mean(axis=0), coarse - coarse.mean(axis=0)
    squares = (d_coarse**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squares > 0, (d_fine * d_coarse).sum(axis=0) / squares, 0.0)


def weights_of(coefficients: Sequence[Floats]) -> Floats:
    """Return the weights (levels, k) of the levels in their sum, from the coefficients of all but the coarsest."""
    weights = [np.ones_like(coefficients[-1])]
    for b in reversed(coefficients):
        weights.append(weights[-1] * b)
    return np.stack(weights[::-1])


@dataclass(frozen=True)
class SumOfLevels:
    """Levels whose coefficients and numbers of replicates are fixed, which are to run on fresh random numbers.

    Attributes
    ----------
    levels : sequence of Level
        From coarse to fine.
    coefficients : list of ndarray of shape (k,)
        Of the coarser generator in each level but the coarsest.
    counts : sequence of int
        Replicates of each level.
    pilot_cost : int
        What was spent before.
    warnings : tuple of str
        What there was to say then.
    """

    levels: Sequence[Level]
    coefficients: list[Floats]
    counts: Sequence[int]
    pilot_cost: int
    warnings: tuple[str, ...] = ()

    def run(self, estimand: Estimand, options: RunOptions) -> Estimate:
        """Run the levels and return their sum.

        If interrupted while the last level runs, it is of what was finished; an exception carries that as its
        ``partial``. A sum that lacks a level is biased, and not given.
        """
        parts: list[Estimate] = []
        for level, b, count in zip(self.levels, [None, *self.coefficients], self.counts, strict=True):
            last = level is self.levels[-1]
            try:
                made = run_single(level.task(estimand, b, count, options.batch_size), options, count)
            except Exception as error:
                part: Estimate | None = getattr(error, "partial", None)
                # What one level alone has is no estimate of the fine generator.
                with_partial(error, self._sum([*parts, part], estimand, options) if last and part else None)
                raise
            if made.partial and not last:
                raise KeyboardInterrupt(f"interrupted at {level.name}; without the later levels the sum is biased")
            parts.append(made)
        return self._sum(parts, estimand, options)

    def _sum(self, parts: list[Estimate], estimand: Estimand, options: RunOptions) -> Estimate:
        shown: list[tuple[float, ...] | None] = [None, *(tuple(b.tolist()) for b in self.coefficients)]
        parts = [
            replace(part, provenance=replace(part.provenance, level=level.name, cost=level.cost, coefficients=b))
            for part, level, b in zip(parts, self.levels, shown, strict=True)
        ]
        cost = sum(part.n_evaluations * part.provenance.cost for part in parts)
        executed = sum(part.executed_evaluations * part.provenance.cost for part in parts)
        seconds = sum(part.provenance.seconds for part in parts)
        provenance = replace(
            parts[-1].provenance,
            generator=name_of(estimand.generator),
            design=" + ".join(dict.fromkeys(str(level.design) for level in self.levels)),
            n_evaluations=math.ceil(cost - 1e-9),
            pilot_evaluations=self.pilot_cost,
            rounding=max(part.provenance.rounding for part in parts),
            seconds=seconds,
            seconds_per_evaluation=seconds / executed,
            timing_error=0.0,
            level=f"sum of {len(self.levels)} levels",
            cost=1.0,
            coefficients=None,
        )
        notes = tuple(f"{part.provenance.level}: {text}" for part in parts for text in part.warnings)
        weights, notes = weights_of(self.coefficients), self.warnings + notes
        return weighted_sum(tuple(parts), weights, provenance, options.interval, warnings=notes)


def designs_cost(designs: Sequence[Design]) -> int:
    """Return what was spent to make the designs, once for each basis."""
    made = {getattr(design, "basis", design): int(getattr(design, "n_pilot_evaluations", 0)) for design in designs}
    return sum(made.values())

r"""Sums of levels: an estimate of the coarsest generator plus estimates of the differences between neighbours.

With generators G_0, ..., G_L from coarse to fine on the same noise and coefficients b_l, one for each component,

.. math:: E\, S(G_L) = E\,[S(G_L) - b_L S(G_{L-1})] + b_L E\,[S(G_{L-1}) - b_{L-1} S(G_{L-2})] + ... ,

for all values of the coefficients. The terms have the weights w_L = 1 and :math:`w_{l-1} = w_l b_l`. The variance of a
replicate mean of a difference is least for b = Cov(fine, coarse) / Var(coarse) of the replicate means. It is then
:math:`1 - \rho^2` times that of the fine generator [1]_. With b = 1 a coarse generator that is poorly correlated with
the fine one increases the variance; with the best b it does not, and loses only what it costs.

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
from mcgen.errors import CoverageWarning, held_warnings, partial_of, warn_user, with_partial
from mcgen.generators import Generator
from mcgen.generators.joint import OnSomeBlocks, pair, pilot_evaluations_of
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.task import Estimand, Task
from mcgen.results.estimate import Estimate
from mcgen.results.notes import merged_warnings
from mcgen.results.sums import weighted_sum
from mcgen.runs.execution import run
from mcgen.runs.options import RunOptions
from mcgen.statistics.joint import Difference


@dataclass(frozen=True)
class Level:
    """One term of a sum of levels: a generator, the next coarser one, and the design of their difference.

    Attributes
    ----------
    number : int
        Position in the sum, from 0 for the coarsest.
    generator : Generator
        The finer generator of the difference.
    coarser : Generator or None
        The generator of the next coarser level, on the noise of this one; None for the coarsest.
    design : Design
        The design of the level's replicates.
    cost : float
        Cost of one evaluation of both generators, in evaluations of the finest generator.
    """

    number: int
    generator: Generator
    coarser: Generator | None
    design: Design
    cost: float

    @property
    def name(self) -> str:
        """The name of the level in results."""
        return f"level {self.number}"

    @property
    def n_points(self) -> int:
        """Points of a replicate."""
        return self.design.n_points

    @property
    def replicate_cost(self) -> float:
        """The cost of a replicate, in evaluations of the finest generator."""
        return self.design.n_points * self.cost

    def task(self, estimand: Estimand, coefficients: Floats | None, n_replicates: int, batch_size: int | None) -> Task:
        """Return the task that runs the level, on random numbers that no other level uses."""
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
    """Return the levels that generators with their costs form, from coarse to fine."""
    (coarsest, least), unit = generators[0], generators[-1][1]
    levels = [Level(0, coarsest, None, designs[0], least / unit)]
    for number, ((coarse, below), (fine, cost)) in enumerate(pairwise(generators), start=1):
        adapted = coarse if coarse.noise == fine.noise else OnSomeBlocks(coarse, fine.noise)
        levels.append(Level(number, fine, adapted, designs[number], (cost + below) / unit))
    return levels


def slopes(fine: Floats, coarse: Floats) -> Floats:
    r"""Return the least-squares slopes of fine replicate means (R, k) on coarse ones, shape (k,).

    .. math:: b = \frac{\sum_r (f_r - \bar f)(c_r - \bar c)}{\sum_r (c_r - \bar c)^2},

    and 1 where the coarse means do not vary. There the pilot has seen nothing of a rare event. With the slope 1 the
    many replicates of the coarse level look for it; with the slope 0 only the few of the difference would.
    """
    d_fine, d_coarse = fine - fine.mean(axis=0), coarse - coarse.mean(axis=0)
    squares = (d_coarse**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squares > 0, (d_fine * d_coarse).sum(axis=0) / squares, 1.0)


def residual_variance(fine: Floats, coarse: Floats, b: Floats, degrees_of_freedom: int) -> Floats:
    """Return the variance of fine - b coarse over replicate means (R, k), with the given degrees of freedom.

    These are R - 1 for a fixed slope b, and R - 2 for one that was estimated from the same replicates.
    """
    return np.asarray((fine - b * coarse).var(axis=0) * len(fine) / degrees_of_freedom)


def weights_of(coefficients: Sequence[Floats]) -> Floats:
    """Return the weights of the levels in their sum, shape (levels, k), by w_L = 1 and w_{l-1} = w_l b_l.

    The coefficients are those of every level but the coarsest.
    """
    weights = [np.ones_like(coefficients[-1])]
    for b in reversed(coefficients):
        weights.append(weights[-1] * b)
    return np.stack(weights[::-1])


@dataclass(frozen=True)
class SumOfLevels:
    """Levels with fixed coefficients and numbers of replicates, ready to run on fresh random numbers.

    Attributes
    ----------
    levels : sequence of Level
        The levels, from coarse to fine.
    coefficients : list of ndarray of shape (k,)
        The coefficient b_l of the coarser generator in each level but the coarsest.
    counts : sequence of int
        Number of replicates of each level.
    pilot_cost : int
        Evaluations that were spent on the pilot.
    warnings : tuple of str
        Warnings of the pilot.
    plan : str
        What the pilot says of the numbers of replicates, for the provenance.
    """

    levels: Sequence[Level]
    coefficients: list[Floats]
    counts: Sequence[int]
    pilot_cost: int
    warnings: tuple[str, ...] = ()
    plan: str = ""

    def run(self, estimand: Estimand, options: RunOptions) -> Estimate:
        """Run the levels and return their sum.

        If the last level is interrupted from the keyboard, the sum is made from its finished replicates; an exception
        carries that sum as its ``partial``. Before that there is none: a sum without a level is biased.
        """
        parts: list[Estimate] = []
        held_back: list[tuple[str, list[str]]] = []
        with held_warnings() as held:
            for level, b, count in zip(self.levels, [None, *self.coefficients], self.counts, strict=True):
                last = level is self.levels[-1]
                try:
                    made = run(level.task(estimand, b, count, options.batch_size), count, options)
                except Exception as error:
                    part = partial_of(error, Estimate)
                    # A partial level before the last has no use: without the later levels the sum is biased.
                    with_partial(error, self._sum([*parts, part], estimand, options) if last and part else None)
                    raise
                if made.partial and not last:
                    raise KeyboardInterrupt(f"interrupted at {level.name}; without the later levels the sum is biased")
                parts.append(made)
                held_back.append((str(level.number), held.take()))
        for text in merged_warnings(held_back, "level", parts[0].names):
            warn_user(text, CoverageWarning)
        return self._sum(parts, estimand, options)

    def _sum(self, parts: list[Estimate], estimand: Estimand, options: RunOptions) -> Estimate:
        """Return the weighted sum of the levels' estimates, with the cost of all of them in its provenance."""
        shown: list[tuple[float, ...] | None] = [None, *(tuple(b.tolist()) for b in self.coefficients)]
        parts = [
            replace(part, provenance=replace(part.provenance, level=level.name, cost=level.cost, coefficients=b))
            for part, level, b in zip(parts, self.levels, shown, strict=True)
        ]
        cost = sum(part.n_evaluations * part.provenance.cost for part in parts)
        seconds_each, timing_error = _timing(parts)
        provenance = replace(
            parts[-1].provenance,
            generator=name_of(estimand.generator),
            design=" + ".join(dict.fromkeys(str(level.design) for level in self.levels)),
            n_evaluations=math.ceil(cost - 1e-9),
            pilot_evaluations=self.pilot_cost,
            rounding=max(part.provenance.rounding for part in parts),
            seconds=sum(part.provenance.seconds for part in parts),
            seconds_per_evaluation=seconds_each,
            timing_error=timing_error,
            level=f"sum of {len(self.levels)} levels",
            cost=1.0,
            coefficients=None,
            plan=self.plan or None,
        )
        numbered = [(str(level.number), part.warnings) for level, part in zip(self.levels, parts, strict=True)]
        notes = self.warnings + merged_warnings(numbered, "level", parts[0].names)
        weights = weights_of(self.coefficients)
        return weighted_sum(tuple(parts), weights, provenance, options.interval, warnings=notes)


def _timing(levels: Sequence[Estimate]) -> tuple[float, float]:
    """Return the seconds of an evaluation of the finest generator's cost, and their relative standard error.

    Each level counts with the seconds of its own rows, from which the batch in which it warms up is left out.
    """
    executed = sum(level.executed_evaluations * level.provenance.cost for level in levels)
    seconds = [level.executed_evaluations * level.provenance.seconds_per_evaluation for level in levels]
    errors = [one * level.provenance.timing_error for one, level in zip(seconds, levels, strict=True)]
    total = sum(seconds)
    return total / executed, math.hypot(*errors) / total if total else 0.0


def designs_cost(designs: Sequence[Design]) -> int:
    """Return the evaluations that the designs' bases cost, counting each basis once."""
    made = {getattr(design, "basis", design): int(getattr(design, "n_pilot_evaluations", 0)) for design in designs}
    return sum(made.values())


def generators_cost(generators: Sequence[tuple[Generator, float]]) -> int:
    """Return what was spent to make the generators of some levels, in evaluations of the finest."""
    unit = generators[-1][1]
    return math.ceil(sum(pilot_evaluations_of(one) * cost / unit for one, cost in generators) - 1e-9)

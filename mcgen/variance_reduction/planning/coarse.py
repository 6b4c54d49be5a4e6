"""Cheaper generators on the same noise, for the lower of two levels: those that are given, or a sampler's own.

A sampler that shows its steps offers samplers of few network evaluations, fitted to a few of its own trajectories (the
method ``fitted_several`` of `mcgen.adapters.samplers.paths.PathGenerator`). Others offer themselves with fewer steps
(the method ``coarse``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mcgen._lib.checks import checked_real
from mcgen.generators import Generator
from mcgen.generators.joint import OnSomeBlocks
from mcgen.noise import NoiseSpec
from mcgen.replicates.task import Estimand
from mcgen.variance_reduction.levels.multilevel import checked_levels

FIT_PAIRS = 8
"""Antithetic pairs of trajectories that the fitted samplers of a plan are made from."""
# Network evaluations of the fitted samplers that a pilot compares.
_EVALUATIONS = (3, 5, 8)
# Most evaluations of a fitted sampler, as a share of the steps.
_LARGEST_SHARE = 0.2
# Fewest steps of a sampler whose versions with fewer steps are tried.
_FEWEST_STEPS = 4


@dataclass(frozen=True)
class Coarse:
    """A cheaper generator on the same noise, with the cost of one evaluation in evaluations of the generator."""

    generator: Generator
    cost: float

    def on(self, noise: NoiseSpec) -> Generator:
        """Return the generator as one that takes the given noise, of which it may use some blocks only."""
        return self.generator if self.generator.noise == noise else OnSomeBlocks(self.generator, noise)


def cheapest(coarse: Sequence[Coarse]) -> int | None:
    """Return the number of the cheapest coarse generator, on which designs are tried; None where there is none."""
    return min(range(len(coarse)), key=lambda number: coarse[number].cost, default=None)


@dataclass(frozen=True)
class Offered:
    """Coarse generators, what making them has cost in evaluations of the generator, and texts on those left out."""

    coarse: list[Coarse] = field(default_factory=list)
    spent: float = 0.0
    reasons: list[str] = field(default_factory=list)


def evaluations_to_try(generator: Any) -> list[int]:
    """Return the numbers of network evaluations of fitted samplers: 3, 5 and 8, up to a fifth of the steps."""
    return [one for one in _EVALUATIONS if one <= _LARGEST_SHARE * _steps_of(generator)]


def fitted_samplers(estimand: Estimand, numbers: Sequence[int]) -> Offered:
    """Return samplers that are fitted to the generator's own trajectories, from cheap to dear.

    Parameters
    ----------
    estimand : Estimand
        Gives the generator, the condition and the seed; the random numbers are used by no run.
    numbers : sequence of int
        Numbers of network evaluations.

    Returns
    -------
    Offered
        Without any coarse generator where the generator has no ``fitted_several``, or refuses it.
    """
    generator: Any = estimand.generator
    fit = getattr(generator, "fitted_several", None)
    if not numbers or not callable(fit):
        return Offered()
    try:
        made = fit(numbers, pairs=FIT_PAIRS, seed=estimand.seed, condition=estimand.condition)
        found = checked_coarse([(one, one.cost) for one in made], generator)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        return Offered(reasons=[f"no sampler could be fitted to the trajectories: {error}"])
    # All are fitted to the same trajectories, on which each runs once more.
    return Offered(found, 2 * FIT_PAIRS * (1 + sum(one.cost for one in found)))


def with_fewer_steps(generator: Any) -> list[Coarse]:
    """Return the sampler with a tenth and a fifth of its steps, if it has ``coarse(steps)``."""
    steps, coarse = _steps_of(generator), getattr(generator, "coarse", None)
    if not callable(coarse) or steps < _FEWEST_STEPS:
        return []
    own = getattr(generator, "network_evaluations", steps)
    found = []
    for fewer in sorted({max(2, round(steps / 10)), max(2, round(steps / 5))}):
        try:
            made = coarse(fewer)
            found += checked_coarse([(made, getattr(made, "network_evaluations", fewer) / own)], generator)
        except (TypeError, ValueError):
            # `coarse` means something else here, or takes other noise. The user did not ask for levels: skip it.
            continue
    return found


def _steps_of(generator: Any) -> int:
    steps = getattr(generator, "steps", None)
    return steps if isinstance(steps, int) else 0


def checked_coarse(coarse: Any, generator: Generator) -> list[Coarse]:
    """Return the coarse generators with their costs, or refuse those that do not fit the generator."""
    try:
        pairs = [(one, cost) for one, cost in coarse]
    except (TypeError, ValueError):
        raise ValueError(
            f"coarse must be a list of pairs (generator, cost), such as [(model.coarse(10), 0.2)]; got {coarse!r}"
        ) from None
    for number, (one, cost) in enumerate(pairs):
        if not 0 < checked_real(f"the cost of coarse[{number}]", cost) < 1:
            raise ValueError(
                f"the cost of coarse[{number}] must be a share of an evaluation of the generator, above 0 and below 1, "
                f"such as 10 / 50 for 10 of 50 steps, or its seconds over the generator's; got {cost}"
            )
        checked_levels([(one, cost), (generator, 1.0)])
    return [Coarse(one, float(cost)) for one, cost in pairs]

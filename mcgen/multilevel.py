r"""`multilevel`: most evaluations on a coarse generator, few on what it misses of the fine one.

For generators G_0, ..., G_L from coarse to fine, on the same noise [1]_,

.. math:: E\, S(G_L) = E\, S(G_0) + \sum_{l=1}^{L} E\,[S(G_l) - S(G_{l-1})],

so independent estimates of the terms add to an unbiased one of the fine generator's own expectation, however poor the
coarse ones are. With V_l the variance of a replicate mean of level l, C_l its cost and n_l replicates, the sum has
variance sum V_l / n_l at cost sum n_l C_l = B. Their product is least for

.. math:: n_l = B\, \frac{\sqrt{V_l / C_l}}{\sum_m \sqrt{V_m C_m}},
   \qquad \text{where it is } \Big(\sum_m \sqrt{V_m C_m}\Big)^2.

V_l is from a pilot, whose replicates are then thrown away: numbers of replicates that depended on the replicates they
count would bias the estimate. The interval is Student's with degrees of freedom by Welch-Satterthwaite [2]_.

.. rubric:: References

.. [1] M. B. Giles (2008). Multilevel Monte Carlo path simulation. Oper. Res. 56(3), 607-617.
.. [2] B. L. Welch (1947). The generalization of Student's problem when several different population variances are
   involved. Biometrika 34(1-2), 28-35.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mcgen._numbers import checked_integer, checked_real
from mcgen.arguments import checked_batch_size, checked_callable, checked_generator, checked_protocol, stream_of
from mcgen.coverage import FEWEST_WITHOUT_WARNING
from mcgen.designs import Antithetic, Design
from mcgen.errors import CoverageWarning, warn_user
from mcgen.estimates import Estimate, weighted_sum
from mcgen.estimation import Difference, Pair
from mcgen.execution import RunOptions, run_single, with_options
from mcgen.generators import Generator, name_of
from mcgen.intervals import Method, check_interval_options
from mcgen.laws import values_of
from mcgen.moments import Floats, Moments
from mcgen.noise import BlockNoise, Noise, NoiseSpec
from mcgen.random import Seed, as_seed_sequence
from mcgen.reduction import Tally
from mcgen.run import Task
from mcgen.statistics import Statistic


def multilevel(
    levels: Sequence[tuple[Generator, float]],
    statistic: Statistic,
    *,
    designs: Design | Sequence[Design] | None = None,
    n_evaluations: int,
    seed: Seed,
    condition: Any = None,
    confidence_level: float = 0.95,
    interval: Method = "student-t",
    n_pilot: int = 16,
    batch_size: int | None = None,
    keep_replicates: bool | None = None,
    progress: bool = False,
) -> Estimate:
    """Estimate E[statistic(fine(noise))] with the help of cheaper generators that take the same noise.

    Cheaper generators are the same sampler with fewer steps (``generator.coarse(steps)``), a distilled or smaller
    model, half precision, a consistency model. It pays where their samples follow the fine one's closely: the variance
    of the difference, at the cost of both, must be well below that of the fine generator alone.

    Parameters
    ----------
    levels : sequence of (Generator, float)
        From coarse to fine, each with the cost of one evaluation, in any unit: steps, network evaluations, measured
        seconds. A generator's noise is that of the next one, or some of its blocks. (The fresh noise of a sampler with
        fewer steps is not summed from that of more steps.)
    statistic : callable
        As for `estimate`.
    designs : Design or sequence of Design, optional
        One for all levels, or one for each; ``Antithetic()`` by default.
    n_evaluations : int
        What pilot and run cost at most together, in evaluations of the fine generator.
    seed, confidence_level, batch_size, keep_replicates, progress
        As for `estimate`.
    condition : object, optional
        Passed to every generator; one alone, not a list.
    interval : {"student-t", "normal", "skewness-adjusted-t"}
        See `mcgen.intervals`; there are no replicate means of the sum to resample.
    n_pilot : int
        Replicates of each level that are spent to share out the others, 2 or more. Every level gets at least 25 of
        these: Student t needs as many where replicate means are skewed, as those of differences tend to be.

    Returns
    -------
    Estimate
        Its ``strata`` are the levels. If interrupted while the last level ran, from what was finished.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, a noise can't be made from the fine one's, or the budget is too small.
    RunError
        As for `estimate`; there is a ``partial`` only from the last level on, since a sum without it is biased.

    Warns
    -----
    CoverageWarning
        As for `estimate`, for each level; and where by the pilot the fine generator alone would do better.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    >>> coarse = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="coarse")
    >>> mean = mcgen.statistics.pixel_mean
    >>> result = mcgen.multilevel([(coarse, 1), (fine, 20)], mean, n_evaluations=3200, seed=0)
    >>> alone = mcgen.estimate(fine, mean, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)
    >>> result.half_width < alone.half_width / 2, round(np.exp(1 / 32), 4) in result.interval
    (True, True)
    >>> [part.provenance.generator for part in result.strata]
    ['coarse', 'fine - coarse']
    """
    check_interval_options(confidence_level, interval, False)
    options = RunOptions(confidence_level, interval, False, keep_replicates, progress)
    if options.resamples:
        raise ValueError(
            f"a sum of levels has no replicate means to resample; got interval={interval!r}. Use 'student-t' or "
            "'skewness-adjusted-t'"
        )
    if isinstance(condition, list):
        raise ValueError(f"multilevel takes one condition; got the list {condition!r}. Run it for each of them")
    checked = _checked_levels(levels)
    terms = _terms(checked, _checked_designs(designs, len(checked)), checked_callable(statistic))
    budget, pilot_cost = _checked_budget(terms, n_evaluations, n_pilot)
    task = Task(
        generator=checked[-1][0],
        statistic=terms[0].statistic,
        design=terms[-1].design,
        seed=as_seed_sequence(seed),
        stream=stream_of(condition, 0),
        condition=condition,
        batch_size=0,
    )
    variances, alone = _pilot(terms, task, n_pilot, batch_size)
    costs = np.array([term.replicate_cost for term in terms])
    counts = allocation(variances, costs, budget - pilot_cost)
    found = _worse_than_alone(terms[-1], task, variances, counts, alone, budget)
    return _Run(terms, task, options, batch_size, pilot_cost, found).estimate(counts)


def allocation(
    variances: Floats, costs: Floats, budget: float, fewest: int = FEWEST_WITHOUT_WARNING
) -> tuple[int, ...]:
    """Return the numbers of replicates of each level for which the variance of the sum is least.

    Of several components it is the mean of their variances, each in units of the least that it could have alone.

    Parameters
    ----------
    variances : ndarray of shape (levels, k)
        Of a replicate mean.
    costs : ndarray of shape (levels,)
        Of a replicate.
    budget : float
        What all replicates cost at most.
    fewest : int
        Replicates of a level, at least.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.multilevel import allocation
    >>> allocation(np.array([[4.0], [1.0]]), np.array([1.0, 4.0]), 1600.0)
    (800, 200)
    """
    least = np.sqrt(variances * costs[:, None]).sum(axis=0) ** 2
    # What does not vary has no say.
    pooled = (variances[:, least > 0] / least[least > 0]).mean(axis=1) if (least > 0).any() else np.ones(len(costs))
    at_floor = np.zeros(len(costs), dtype=bool)
    while True:
        shares = np.where(at_floor, 0.0, np.sqrt(pooled / costs))
        spent = fewest * costs[at_floor].sum()
        counts = np.where(at_floor, fewest, shares * (budget - spent) / max(float(shares @ costs), 1e-300))
        if (counts[~at_floor] >= fewest).all():
            return tuple(int(n) for n in np.floor(counts * (1 + 1e-12)))
        at_floor |= counts < fewest


@dataclass(frozen=True)
class _Term:
    """One level: what is estimated there, by which design, and its cost in evaluations of the fine generator."""

    number: int
    generator: Generator
    statistic: Statistic
    design: Design
    cost: float

    @property
    def name(self) -> str:
        return f"level {self.number}"

    @property
    def replicate_cost(self) -> float:
        return self.design.n_points * self.cost

    def task(self, task: Task, n_replicates: int, batch_size: int | None, *purpose: str) -> Task:
        """Return the task of this level, on random numbers of its own."""
        return replace(
            task,
            generator=self.generator,
            statistic=self.statistic,
            design=self.design,
            stream=(*purpose, "level", self.number, *task.stream),
            batch_size=checked_batch_size(batch_size, self.design.n_points, n_replicates),
            warnings=[],
        )


def _terms(levels: list[tuple[Generator, float]], designs: list[Design], statistic: Statistic) -> list[_Term]:
    unit = levels[-1][1]
    terms = [_Term(0, levels[0][0], statistic, designs[0], levels[0][1] / unit)]
    for number, ((coarse, below), (fine, cost)) in enumerate(pairwise(levels), start=1):
        pair = Pair(fine, coarse if coarse.noise == fine.noise else _OfSomeBlocks(coarse, fine.noise))
        terms.append(_Term(number, pair, Difference(statistic), designs[number], (cost + below) / unit))
    return terms


def _pilot(terms: list[_Term], task: Task, n_pilot: int, batch_size: int | None) -> tuple[Floats, Floats]:
    """Return variances of replicate means: of each level (levels, k), and of the fine generator alone (k,)."""
    found = [_pilot_moments(term.task(task, n_pilot, batch_size, "pilot"), n_pilot) for term in terms[:-1]]
    last = terms[-1].task(task, n_pilot, batch_size, "pilot")
    joint = _pilot_moments(replace(last, statistic=_DifferenceAndFine(task.statistic)), n_pilot)
    difference, alone = np.split(joint.variance, 2)
    return np.stack([*(moments.variance for moments in found), difference]), alone


def _pilot_moments(task: Task, n_replicates: int) -> Moments:
    tally = Tally(n_replicates, False)
    for rows in task.evaluate(range(n_replicates)):
        tally.add(rows)
    moments = tally.moments()
    assert moments is not None
    return moments


def _worse_than_alone(
    fine: _Term, task: Task, variances: Floats, counts: Sequence[int], alone: Floats, budget: int
) -> tuple[str, ...]:
    """Warn where the fine generator alone, at the same cost, would have had the smaller variance."""
    predicted = (variances / np.array(counts)[:, None]).sum(axis=0)
    single = alone * fine.design.n_points / budget
    vary = (predicted > 0) & (single > 0)
    ratio = float(np.exp(np.log(predicted[vary] / single[vary]).mean())) if vary.any() else 0.0
    if ratio <= 1:
        return ()
    text = (
        f"by the pilot the variance is {ratio:.2g} times that of {name_of(task.generator)!r} alone by {fine.design} at "
        f"the same cost{' (geometric mean over the components)' if len(alone) > 1 else ''}: the coarse levels follow "
        "it too little for what they cost, or the evaluations are few. Use mcgen.estimate, levels that are closer or "
        "cheaper, or more evaluations"
    )
    warn_user(text, CoverageWarning)
    return (text,)


@dataclass(frozen=True)
class _Run:
    """The levels after their pilot, which are to run on fresh random numbers."""

    terms: list[_Term]
    task: Task
    options: RunOptions
    batch_size: int | None
    pilot_cost: int
    warnings: tuple[str, ...]

    def estimate(self, counts: Sequence[int]) -> Estimate:
        parts: list[Estimate] = []
        for term, count in zip(self.terms, counts, strict=True):
            last = term is self.terms[-1]
            try:
                made = run_single(term.task(self.task, count, self.batch_size), count, self.options)
            except Exception as error:
                part: Estimate | None = getattr(error, "partial", None)
                # What one level alone has is no estimate of the fine generator.
                with suppress(AttributeError):
                    error.partial = self._sum([*parts, part]) if last and part else None  # type: ignore[attr-defined]
                raise
            if made.partial and not last:
                raise KeyboardInterrupt(f"interrupted at {term.name}; without the later levels the sum is biased")
            parts.append(made)
        return self._sum(parts)

    def _sum(self, parts: list[Estimate]) -> Estimate:
        terms = self.terms
        levels = tuple(
            replace(part, provenance=replace(part.provenance, level=term.name, cost=term.cost))
            for part, term in zip(parts, terms, strict=True)
        )
        cost = sum(part.n_evaluations * part.provenance.cost for part in levels)
        seconds = sum(part.provenance.seconds for part in levels)
        provenance = replace(
            parts[-1].provenance,
            generator=name_of(self.task.generator),
            design=" + ".join(dict.fromkeys(str(term.design) for term in terms)),
            n_evaluations=math.ceil(cost - 1e-9),
            pilot_evaluations=self.pilot_cost + _spent_on_designs(terms),
            rounding=max(part.provenance.rounding for part in levels),
            seconds=seconds,
            seconds_per_evaluation=seconds / cost,
            timing_error=0.0,
            level=f"sum of {len(terms)} levels",
        )
        notes = tuple(f"{part.provenance.level}: {text}" for part in levels for text in part.warnings)
        made = weighted_sum(levels, np.ones(len(levels)), provenance, self.warnings + notes)
        return with_options(made, self.options)


def _spent_on_designs(terms: list[_Term]) -> int:
    """Return what was spent to make the designs, once for each of them."""
    return sum({term.design: int(getattr(term.design, "n_pilot_evaluations", 0)) for term in terms}.values())


def _checked_levels(levels: Any) -> list[tuple[Generator, float]]:
    """Return generators and costs that go together."""
    try:
        found = [(generator, cost) for generator, cost in levels]
    except (TypeError, ValueError):
        found = []
    if len(found) < 2:
        raise ValueError(
            "levels must be two or more pairs (generator, cost) from coarse to fine, such as [(model.coarse(10), 10), "
            f"(model, 50)]; got {levels!r}. For one generator use mcgen.estimate"
        )
    for number, (generator, cost) in enumerate(found):
        checked_generator(generator, f"the generator of level {number}")
        if checked_real(f"the cost of level {number}", cost) <= 0:
            raise ValueError(f"the cost of level {number} must be above 0; got {cost}. Count steps, or seconds")
    costs = [float(cost) for _, cost in found]
    if any(fine <= coarse for coarse, fine in pairwise(costs)):
        raise ValueError(
            f"levels go from coarse to fine, their costs up; got costs {', '.join(f'{cost:g}' for cost in costs)}. "
            "Sort them, and leave out a coarse generator that costs as much as a finer one"
        )
    for number, ((coarse, _), (fine, _)) in enumerate(pairwise(found)):
        if coarse.noise.dtype != fine.noise.dtype or not {*coarse.noise.blocks} <= {*fine.noise.blocks}:
            raise ValueError(
                f"the generator of level {number}, {name_of(coarse)!r}, must take the noise of level {number + 1}, or "
                f"some of its blocks by the same names, shapes, laws and dtype: {fine.noise}; got {coarse.noise}. "
                "Wrap it in a generator that takes the finer one's noise and makes its own from that"
            )
    return [(generator, cost) for (generator, _), cost in zip(found, costs, strict=True)]


def _checked_designs(designs: Any, n_levels: int) -> list[Design]:
    given = Antithetic() if designs is None else designs
    found = list(given) if isinstance(given, list | tuple) else [given] * n_levels
    if len(found) != n_levels:
        raise ValueError(
            f"designs must be one, or one for each of the {n_levels} levels; got {len(found)}: {designs!r}"
        )
    return [checked_protocol(one, Design, "design", "pass one such as mcgen.Antithetic()") for one in found]


def _checked_budget(terms: list[_Term], n_evaluations: int, n_pilot: int) -> tuple[int, int]:
    """Return the budget and the cost of the pilot, both in evaluations of the fine generator."""
    budget = checked_integer("n_evaluations", n_evaluations)
    if checked_integer("n_pilot", n_pilot) < 2:
        raise ValueError(f"n_pilot must be at least 2 replicates, for a variance; got {n_pilot}. The default is 16")
    round_cost = sum(term.replicate_cost for term in terms)
    pilot_cost = math.ceil(n_pilot * round_cost - 1e-9)
    needed = pilot_cost + math.ceil(FEWEST_WITHOUT_WARNING * round_cost - 1e-9)
    if budget < needed:
        raise ValueError(
            f"{n_pilot} replicates of each of {len(terms)} levels for the pilot and {FEWEST_WITHOUT_WARNING} for the "
            f"interval cost {needed} evaluations of {name_of(_fine(terms))!r}; got n_evaluations={budget}. Use "
            f"{needed} or more, designs of fewer points, or mcgen.estimate"
        )
    return budget, pilot_cost


def _fine(terms: list[_Term]) -> Generator:
    pair = terms[-1].generator
    assert isinstance(pair, Pair)
    return pair.a


@dataclass(frozen=True)
class _OfSomeBlocks:
    """A generator on noise of more blocks than its own."""

    generator: Generator
    noise: NoiseSpec

    @property
    def name(self) -> str:
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        assert not isinstance(noise, np.ndarray)
        names = tuple(name for name, _ in self.generator.noise.blocks)
        own = noise[names[0]] if len(names) == 1 else BlockNoise(noise.__getitem__, names)
        return self.generator(own, condition)


@dataclass(frozen=True)
class _DifferenceAndFine:
    """What the pilot of the last level asks: the differences, and the statistic of the fine samples alone."""

    statistic: Statistic

    @property
    def name(self) -> str:
        return name_of(self.statistic)

    def __call__(self, samples: tuple[Any, Any]) -> Floats:
        difference = Difference(self.statistic)(samples)
        alone = np.asarray(values_of(self.statistic, samples[0], len(difference)))
        return np.stack([difference, alone], axis=1).reshape(len(difference), -1)

r"""`multilevel`: most evaluations on a coarse generator, few on the difference between it and the fine one.

For generators G_0, ..., G_L from coarse to fine, on the same noise [1]_,

.. math:: E\, S(G_L) = E\, S(G_0) + \sum_{l=1}^{L} E\,[S(G_l) - S(G_{l-1})].

Independent estimates of the terms add up to an unbiased estimate for the fine generator, however poor the coarse ones
are. This stays true with coefficients on the coarser generators (`sum_of_levels`). The numbers of replicates minimize
the variance of the sum at a given cost (`levels.allocation`), but for what a search for rare failures of the coarse
generators needs (`levels.unseen_failures`).

Coefficients and variances come from a pilot, whose replicates are then discarded: numbers of replicates that depend on
the replicates they count would bias the estimate. The interval is Student's t, with degrees of freedom by
Welch-Satterthwaite [2]_.

.. rubric:: References

.. [1] M. B. Giles (2008). Multilevel Monte Carlo path simulation. Oper. Res. 56(3), 607-617.
.. [2] B. L. Welch (1947). The generalization of Student's problem when several different population variances are
   involved. Biometrika 34(1-2), 28-35.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.checks import checked_integer, checked_real
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic, Design
from mcgen.designs._base import checked_design
from mcgen.errors import CoverageWarning, warn_user
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.methods import IntervalOptions, Method, SimultaneousMethod
from mcgen.noise import NoiseSpec
from mcgen.noise.random import Seed
from mcgen.replicates.pilot import pilot_means
from mcgen.replicates.sizes import Conditions, conditions_of
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.results.estimate import Estimate
from mcgen.runs.arguments import checked_values
from mcgen.runs.conditions import checked_weights, run_each
from mcgen.runs.header import header_of, opened
from mcgen.runs.options import RunOptions
from mcgen.runs.state import Callback
from mcgen.statistics import Statistic
from mcgen.statistics.values import component_names
from mcgen.variance_reduction.levels.allocation import allocation
from mcgen.variance_reduction.levels.sum_of_levels import (
    Level,
    SumOfLevels,
    designs_cost,
    generators_cost,
    levels_of,
    residual_variance,
    slopes,
    weights_of,
)
from mcgen.variance_reduction.levels.unseen_failures import (
    PASSES,
    failures_text,
    is_heavy,
    is_nearly_zero,
    largest_share,
    least_shares,
    unseen_text,
    wanted_evaluations,
)

# Fewest replicates of a level in the pilot: a slope and a mean leave 2 degrees of freedom for the variance.
_FEWEST_IN_PILOT = 4
# Most blocks of noise that a message lists: they fit on a line.
_MOST_SHOWN = 6


def multilevel(
    levels: Sequence[tuple[Generator, float]],
    statistic: Statistic,
    *,
    designs: Design | Sequence[Design] | None = None,
    n_evaluations: int,
    seed: Seed,
    condition: Any = None,
    confidence_level: float = 0.95,
    interval: Method | None = None,
    simultaneous: bool | SimultaneousMethod = False,
    weights: Sequence[float] | dict[Any, float] | None = None,
    coefficients: float | Sequence[Any] | None = None,
    n_pilot: int = 16,
    batch_size: int | None = None,
    keep_replicates: bool | None = None,
    store: str | Path | None = None,
    executor: Executor | None = None,
    range_timeout: float | None = None,
    progress: bool = False,
    callback: Callback | None = None,
) -> Estimate:
    """Estimate E[statistic(fine(noise))] with the help of cheaper generators that take the same noise.

    A cheaper generator is the same sampler with fewer steps (``generator.coarse(steps)``), a distilled or smaller
    model, one in half precision, or a consistency model. Use `multilevel` where the cheaper samples are close to the
    fine ones. Variance times cost of the difference must be well below that of the fine generator alone.

    Parameters
    ----------
    levels : sequence of (Generator, float)
        From coarse to fine, each with the cost of one evaluation, in any unit: steps, network evaluations, measured
        seconds. A generator's noise is that of the next one, or some of its blocks.
    statistic : callable
        As for `estimate`.
    designs : Design or sequence of Design, optional
        One design for all levels, or one for each; ``Antithetic()`` by default.
    n_evaluations : int
        Upper limit of the cost of pilot and run together, in evaluations of the fine generator. The cost of making
        designs and generators before this call, such as the fit of a `mcgen.adapters.Fitted`, comes on top. It is in
        ``provenance.pilot_evaluations``.
    seed, confidence_level, batch_size, keep_replicates, progress, callback
        As for `estimate`. Each level is a run of its own.
    condition, weights : optional
        Passed to every generator. Several conditions give a sum for each and their average, as for `estimate`.
    interval : str, optional
        As for `estimate`. Bootstrap methods are refused: the sum has no replicate means to resample.
    simultaneous : bool or str
        As for `estimate`.
    coefficients : float or sequence, optional
        The factor of the coarser generator in each level but the first: a number, or one for each component. A single
        number is for all levels. By default the slopes that minimize the variance in the pilot.
    n_pilot : int
        Replicates of each level in the pilot, 4 or more. The pilot gives the coefficients and the numbers of
        replicates of the run, at least 25 for each level. A level whose differences are nearly 0 gets more, in search
        of rare failures of the coarser generator; ``result.summary()`` says so.
    store, executor, range_timeout : optional
        As for `estimate`. The pilot runs in this process, and runs again when a call continues a stored run.

    Returns
    -------
    Estimate
        The sum of the levels, which are its ``levels``. If the last level is interrupted, the estimate is made from
        its finished replicates.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, the budget is too small, or a coarser generator does not take blocks of the
        finer one's noise.
    RunError
        As for `estimate`. It has a ``partial`` only if the last level fails, since a sum without a level is biased.

    Warns
    -----
    CoverageWarning
        As for `estimate`, for each level. Also if the pilot predicts a smaller variance for the fine generator alone.
        Also if the evaluations are too few to see rare failures of a coarse generator.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    >>> coarse = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="coarse")
    >>> mean = mcgen.statistics.pixel_mean
    >>> result = mcgen.multilevel([(coarse, 1), (fine, 20)], mean, n_evaluations=1600, seed=1)
    >>> alone = mcgen.estimate(fine, mean, design=mcgen.Antithetic(), n_evaluations=1600, seed=1)
    >>> result.half_width < alone.half_width / 2, round(np.exp(1 / 32), 4) in result.interval
    (True, True)
    >>> [part.provenance.generator for part in result.levels]
    ['coarse', 'fine - coarse']
    """
    own: dict[str, Any] = {"progress": progress, "keep_replicates": keep_replicates, "simultaneous": simultaneous}
    own = checked_values(own | {"confidence_level": confidence_level, "callback": callback})
    asked = IntervalOptions(own["confidence_level"], interval, own["simultaneous"])
    asked.require_no_resampling("a sum of levels")
    if asked.is_sequential:
        raise ValueError(
            f"a sum of levels has a number of replicates that is fixed before it runs; got interval={interval!r}. Use "
            "'student-t', 'skewness-safe-t' or simultaneous=True"
        )
    options = RunOptions(asked, own["keep_replicates"], own["progress"], batch_size=batch_size, callback=callback)
    generators = checked_levels(levels)
    made = levels_of(generators, _checked_designs(designs, len(generators)))
    given = _checked_coefficients(coefficients, len(made) - 1)
    budget, pilot_cost = _checked_budget(made, n_evaluations, n_pilot)
    condition = conditions_of(condition)
    given_generators = {"generator": tuple(generator for generator, _ in generators)}
    estimand = estimand_of(generators[-1][0], statistic, seed, condition, given_generators)
    if weights is not None and not isinstance(condition, Conditions):
        raise ValueError("weights are for several conditions: pass a list or a dict as condition")
    more = {"costs": [cost for _, cost in generators], "design": [str(level.design) for level in made]}
    more |= {"coefficients": given, "n_pilot": n_pilot, "replicates": None}
    header = partial(header_of, "multilevel", estimand, more)
    with opened(store, header, executor, range_timeout) as resources:
        options = replace(options, resources=resources)

        # What was spent before this call counts once, in the first condition.
        spent = iter([designs_cost([level.design for level in made]) + generators_cost(generators)])

        def run_one(part: Estimand, options: RunOptions) -> Estimate:
            sum_of_levels = _planned(made, part, given, n_pilot, budget - pilot_cost, batch_size, next(spent, 0))
            return sum_of_levels.run(part, options)

        shares = checked_weights(condition, weights) if isinstance(condition, Conditions) else None
        return run_each(estimand, options, shares, run_one)


@dataclass(frozen=True, eq=False)
class _Pilot:
    """What a pilot found, for k components.

    Attributes
    ----------
    coefficients : list of ndarray of shape (k,)
        The factor of the coarser generator in each level but the coarsest.
    variances : ndarray of shape (levels, k)
        Variances of replicate means.
    alone : ndarray of shape (k,)
        Variance of a replicate mean of the finest generator alone.
    sd : ndarray of shape (levels - 1, k)
        Standard deviation of a value of each level's finer generator where its differences are nearly 0, else 0.
    heavy : list of bool
        Whether one replicate makes most of the variance of each level's differences.
    beside : ndarray of shape (k,)
        Variance of the coarsest generator in the pilot of level 1. If that pilot shows no failure, but the pilot of
        level 0 does, the latter's variance is the larger one.
    """

    coefficients: list[Floats]
    variances: Floats
    alone: Floats
    sd: Floats
    heavy: list[bool]
    beside: Floats


def _planned(
    levels: list[Level],
    estimand: Estimand,
    given: list[Floats] | None,
    n_pilot: int,
    budget: float,
    batch_size: int | None,
    spent: int,
) -> SumOfLevels:
    """Run the pilot of one condition and return the sum of levels to run after it.

    `spent` are the evaluations that were spent before this call.
    """
    pilot = _pilot(levels, estimand, given, n_pilot, batch_size)
    weights = weights_of(pilot.coefficients)
    weighted, sd = weights**2 * pilot.variances, np.abs(weights[1:]) * pilot.sd
    costs, points = (np.array([getattr(one, name) for one in levels]) for name in ("replicate_cost", "n_points"))
    optimal = counts = allocation(weighted, costs, budget)
    # Failures of the coarsest generator that only the pilot of level 0 shows make those of level 1 no less important.
    unfailing = np.concatenate([np.minimum(weighted[:1], weights[0] ** 2 * pilot.beside), weighted[1:]])
    over_alone = _over_alone(levels[-1], unfailing, optimal, pilot.alone, budget)
    limits = partial(
        least_shares,
        costs=(costs / points)[1:],
        budget=budget,
        optimal=(np.array(optimal) * costs)[1:] / budget,
        needed=FEWEST_WITHOUT_WARNING * costs / budget,
        heavy=pilot.heavy,
        largest=largest_share(1 / over_alone if over_alone > 0 else math.inf),
    )
    for _ in range(PASSES):
        wanted = wanted_evaluations(sd, np.sqrt((unfailing / np.array(counts)[:, None]).sum(axis=0)))
        least = budget * limits(wanted) / costs[1:]
        counts = allocation(weighted, costs, budget, [max(FEWEST_WITHOUT_WARNING, int(n)) for n in (0, *least)])
    pilot_cost = math.ceil(n_pilot * costs.sum() - 1e-9)
    found = _worse_than_alone(levels[-1], estimand, weighted, counts, pilot.alone, budget + pilot_cost)
    unseen, notes = _failures(levels, estimand, n_pilot, sd, counts, optimal, wanted)
    return SumOfLevels(levels, pilot.coefficients, counts, pilot_cost + spent, found + unseen, notes)


def _failures(
    levels: list[Level],
    estimand: Estimand,
    n_pilot: int,
    sd: Floats,
    counts: Sequence[int],
    optimal: Sequence[int],
    wanted: Floats,
) -> tuple[tuple[str, ...], str]:
    """Return warnings of levels that may miss rare failures, after giving them, and notes on those that look for them.

    The component that is named has the largest standard deviation among those whose differences are nearly 0.
    """
    found, notes, k = [], [], sd.shape[1]
    names = component_names(estimand.statistic, () if k == 1 else (k,))
    for level, n, best, of_values, needed in zip(levels[1:], counts[1:], optimal[1:], sd, wanted, strict=True):
        if not of_values.any():
            continue
        name = names[int(of_values.argmax())]
        text = unseen_text(n_pilot, name, level.name, n * level.n_points, needed)
        if text is not None:
            warn_user(text, CoverageWarning)
            found.append(text)
        if n > best:
            notes.append(failures_text(n_pilot, name, level.name, n))
    return tuple(found), "; ".join(notes)


def _pilot(
    levels: list[Level], estimand: Estimand, given: list[Floats] | None, n_pilot: int, batch_size: int | None
) -> _Pilot:
    """Run a pilot and return what it found."""
    coefficients, variances, sd, heavy, alone, beside = [], [], [], [], np.zeros((0, 0)), np.zeros(0)
    for level in levels:
        pair = [level.generator] if level.coarser is None else [level.generator, level.coarser]
        rows = pilot_means(estimand, level.design, pair, n_pilot, batch_size, "level", level.number)
        alone, *coarse = (means for means, _ in rows[: len(pair)])
        if not coarse:
            variances.append(alone.var(axis=0, ddof=1))
            continue
        b = slopes(alone, coarse[0]) if given is None else _for_components(given[level.number - 1], alone.shape[1])
        coefficients.append(b)
        df = n_pilot - 2 if given is None else n_pilot - 1
        variances.append(residual_variance(alone, coarse[0], b, df))
        of_values = np.sqrt(rows[0][1].mean(axis=0) + alone.var(axis=0, ddof=1))
        differences = alone - b * coarse[0]
        sd.append(np.where(is_nearly_zero(differences, alone), of_values, 0.0))
        heavy.append(is_heavy(differences))
        if level.number == 1:
            same = level.design == levels[0].design
            beside = coarse[0].var(axis=0, ddof=1) if same else variances[0]
    return _Pilot(coefficients, np.stack(variances), alone.var(axis=0, ddof=1), np.stack(sd), heavy, beside)


def _over_alone(fine: Level, variances: Floats, counts: Sequence[int], alone: Floats, budget: float) -> float:
    """Return the predicted variance over that of the fine generator alone, the geometric mean over the components.

    It is 0 where no component varies.
    """
    predicted = (variances / np.array(counts)[:, None]).sum(axis=0)
    single = alone * fine.n_points / budget
    vary = (predicted > 0) & (single > 0)
    return float(np.exp(np.log(predicted[vary] / single[vary]).mean())) if vary.any() else 0.0


def _worse_than_alone(
    fine: Level, estimand: Estimand, variances: Floats, counts: Sequence[int], alone: Floats, budget: float
) -> tuple[str, ...]:
    """Warn if the pilot predicts a smaller variance for the fine generator alone at the same cost.

    The warning is returned as a tuple of one text; the tuple is empty if there is none.
    """
    ratio = _over_alone(fine, variances, counts, alone, budget)
    if ratio <= 1:
        return ()
    name, mean = name_of(estimand.generator), " (geometric mean over the components)" if len(alone) > 1 else ""
    text = (
        f"by the pilot the variance is {ratio:.2g} times that of {name!r} alone by {fine.design} at the same "
        f"cost{mean}: the coarse levels are correlated with it too weakly for their cost, or the evaluations are few. "
        "Use mcgen.estimate, closer or cheaper levels, or more evaluations"
    )
    warn_user(text, CoverageWarning)
    return (text,)


def checked_levels(levels: Any) -> list[tuple[Generator, float]]:
    """Return the levels as a list of (generator, cost), or refuse levels that do not fit together."""
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
            f"levels go from coarse to fine with rising costs; got costs {', '.join(f'{cost:g}' for cost in costs)}. "
            "Sort them, and leave out a coarse generator that costs as much as a finer one"
        )
    for number, ((coarse, _), (fine, _)) in enumerate(pairwise(found)):
        if coarse.noise.dtype != fine.noise.dtype or not {*coarse.noise.blocks} <= {*fine.noise.blocks}:
            raise ValueError(
                f"the generator of level {number}, {name_of(coarse)!r}, must take the noise of level {number + 1}, or "
                f"some of its blocks by the same names, shapes, laws and dtype: {fine.noise}; got "
                f"{_noise_beside(coarse.noise, fine.noise)}. Wrap it in a generator that makes its noise from that of "
                "the finer one"
            )
    return [(generator, cost) for (generator, _), cost in zip(found, costs, strict=True)]


def _noise_beside(coarse: NoiseSpec, fine: NoiseSpec) -> str:
    """Return in words the blocks of a coarse generator's noise that the finer one's lacks."""
    if coarse.dtype != fine.dtype or ({*dict(coarse.blocks)} <= {*dict(fine.blocks)} and len(coarse.blocks) == 1):
        return f"{coarse}"
    lacking = [f"{name}: {block}" for name, block in coarse.blocks if (name, block) not in fine.blocks]
    more = f" and {len(lacking) - _MOST_SHOWN} more blocks" if len(lacking) > _MOST_SHOWN else ""
    return f"{', '.join(lacking[:_MOST_SHOWN])}{more} {coarse.dtype}"


def _checked_designs(designs: Any, n_levels: int) -> list[Design]:
    given = Antithetic() if designs is None else designs
    found = list(given) if isinstance(given, list | tuple) else [given] * n_levels
    if len(found) != n_levels:
        raise ValueError(
            f"designs must be one, or one for each of the {n_levels} levels; got {len(found)}: {designs!r}"
        )
    return [checked_design(one) for one in found]


def _checked_coefficients(coefficients: Any, n: int) -> list[Floats] | None:
    """Return the coefficients of n levels as arrays, or None if the pilot is to find them."""
    if coefficients is None:
        return None
    several = isinstance(coefficients, list | tuple) or np.ndim(coefficients) > 0
    given = list(coefficients) if several else [coefficients] * n
    try:
        found = [np.atleast_1d(numbers_of(one, "iuf")).astype(np.float64) for one in given]
    except (TypeError, ValueError):
        found = []
    if len(found) != n or not all(one.ndim == 1 and np.isfinite(one).all() for one in found):
        raise ValueError(
            f"coefficients must be a finite number, or a list with one entry for each of the {n} levels above the "
            f"coarsest, each a finite number or one for each component; got {coefficients!r}. Leave them out to have "
            "them from the pilot"
        )
    return found


def _for_components(coefficients: Floats, k: int) -> Floats:
    """Return the coefficients of one level with one entry for each of k components, shape (k,)."""
    if len(coefficients) not in (1, k):
        raise ValueError(
            f"coefficients of a level must be a number or one for each of the {k} components; got {len(coefficients)}"
        )
    return np.broadcast_to(coefficients, (k,)).copy()


def _checked_budget(levels: list[Level], n_evaluations: int, n_pilot: int) -> tuple[int, int]:
    """Return the budget and the cost of the pilot, both in evaluations of the fine generator."""
    budget = checked_integer("n_evaluations", n_evaluations)
    if checked_integer("n_pilot", n_pilot) < _FEWEST_IN_PILOT:
        raise ValueError(
            f"n_pilot must be at least {_FEWEST_IN_PILOT} replicates, for variances and slopes; got {n_pilot}. The "
            "default is 16"
        )
    round_cost = sum(level.replicate_cost for level in levels)
    pilot_cost = math.ceil(n_pilot * round_cost - 1e-9)
    needed = pilot_cost + math.ceil(FEWEST_WITHOUT_WARNING * round_cost - 1e-9)
    if budget < needed:
        raise ValueError(
            f"each of {len(levels)} levels needs {n_pilot} replicates for the pilot and {FEWEST_WITHOUT_WARNING} for "
            f"the interval, which cost {needed} evaluations of {name_of(levels[-1].generator)!r}; got n_evaluations="
            f"{budget}. Use {needed} or more, designs of fewer points, or mcgen.estimate"
        )
    return budget, pilot_cost

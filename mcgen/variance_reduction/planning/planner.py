r"""`plan`: a small pilot tells which way of spending the evaluations gives the narrowest intervals.

For each candidate and component the pilot gives (variance of the estimate) x (its cost):

- Monte Carlo and antithetic pairs from the pilot's own pairs;
- the designs of `trials.designs_to_try` from a trial on the cheapest generator there is, since a design that suits a
  coarse sampler suits the fine one;
- control variates from the regression of the pilot's pairs on the squares and products of leading coordinates;
- two levels from the slopes and correlations of pair means, fine on coarse: with :math:`\rho` the correlation and s the
  coarse one's cost, an allocation of least variance x cost has efficiency

.. math:: \Bigl(\sqrt{(1 - \rho^2) (1 + s)} + \rho \sqrt{s / g}\Bigr)^{-2}

over pairs, where g is that of the coarse level's own design [1]_.

One is chosen for all components: that of the greatest geometric mean of the efficiencies among those that leave no
component under 0.9 of the better of pairs and Monte Carlo. The pilot is thrown away, and the run that follows is on
fresh random numbers: its interval knows nothing of the choice.

The half-width is predicted with an 80 % interval, from the errors of the pilot's variances and the scatter of the
run's own on the log scale.

Below 1,000 evaluations a pilot would cost more than it tells: antithetic pairs, or two levels where the correlation is
known beforehand and pays by the formula above, with g = 1.

.. rubric:: References

.. [1] M. B. Giles (2008). Multilevel Monte Carlo path simulation. Oper. Res. 56(3), 607-617.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer, checked_real
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic, Design
from mcgen.generators import Generator
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.methods import IntervalOptions, Method, SimultaneousMethod
from mcgen.noise.random import Seed
from mcgen.replicates.sizes import require_single
from mcgen.replicates.streams import stream_of
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.runs.options import RunOptions
from mcgen.statistics import Statistic
from mcgen.statistics.values import component_names
from mcgen.variance_reduction.levels.allocation import coarse_share
from mcgen.variance_reduction.levels.multilevel import checked_levels
from mcgen.variance_reduction.planning.choice import choose, range_text, rounding_reason, variance_reasons
from mcgen.variance_reduction.planning.plan import Plan
from mcgen.variance_reduction.planning.predictions import (
    Candidate,
    Predictor,
    design_text,
    geometric_mean,
    net_size,
    two_levels_text,
)
from mcgen.variance_reduction.planning.trials import Coarse, affords_pairs, run_pilot

FEWEST_FOR_PILOT = 1000
"""Below so many evaluations there is no pilot."""
PILOT_SHARE = 1 / 13
"""Of the evaluations, that the pilot may cost."""

# The share of the efficiency of pairs that two levels leave every component where there is no pilot to pay for.
_LEAST_BY_RULE = 0.9
# Evaluations by which the pilot is measured where it is to tell how many are needed.
_WITH_ATOL = 3200
_FEWEST_STEPS = 4
_MOST_EVALUATIONS = 1e12


def plan(
    generator: Generator,
    statistic: Statistic,
    *,
    n_evaluations: int | None = None,
    atol: float | None = None,
    seed: Seed,
    coarse: Sequence[tuple[Generator, float]] | None = None,
    correlation: float | Sequence[float] | None = None,
    condition: Any = None,
    confidence_level: float = 0.95,
    interval: Method = "student-t",
    simultaneous: bool | SimultaneousMethod = False,
    batch_size: int | None = None,
    keep_replicates: bool | None = None,
    progress: bool = False,
) -> Plan:
    """Choose a design by a pilot of at most a tenth of the evaluations, and predict the half-width.

    Parameters
    ----------
    generator, statistic, seed, condition, confidence_level, interval, simultaneous, batch_size
        As for `estimate`; one condition alone.
    n_evaluations : int, optional
        What pilot and run may cost together, in evaluations of the generator. Rounded down to whole replicates.
    atol : float, optional
        In place of it: the half-width that every component is to have. The run is as long as the pilot predicts; what
        comes out may be somewhat wider.
    coarse : sequence of (Generator, float), optional
        Cheaper generators on the same noise, or some of its blocks, each with its cost in evaluations of the generator.
        By default the sampler itself with a tenth and a fifth of its steps, where it has ``coarse(steps)``; an empty
        list for none.
    correlation : float or sequence of float, optional
        Of antithetic pair means of the generator and of the first of `coarse`, of all components or each, where it is
        known from before, such as from `Plan.correlations`. For runs below 1,000 evaluations, which have no pilot; it
        is taken as the slope too, so both should vary alike.
    keep_replicates, progress
        Of the run, as for `estimate`.

    Returns
    -------
    Plan
        ``print(plan)`` shows all candidates and why one was chosen; ``plan.estimate()`` runs it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the evaluations are too few.

    Warns
    -----
    GeneratorWarning
        Where a generator with ``gradient`` has none for this statistic; directions are then from values, cosines, or
        none.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    >>> coarse = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="coarse")
    >>> made = mcgen.plan(fine, mcgen.statistics.pixel_mean, n_evaluations=3200, seed=0, coarse=[(coarse, 0.05)])
    >>> made.chosen.coarse.generator.name, made.n_evaluations <= 3200
    ('coarse', True)
    >>> result = made.estimate()
    >>> bool(result.half_width < made.prediction.high[0])
    True
    """
    asked = IntervalOptions(confidence_level, interval, simultaneous)
    require_single(
        condition, "a plan is for one condition; got {}. Use mcgen.estimate with design='auto', which plans each"
    )
    asked.require_no_resampling("a plan may choose a sum of levels, which")
    estimand = replace(estimand_of(generator, statistic, seed, condition), stream=stream_of(condition, 0))
    options = RunOptions(asked, keep_replicates, progress, batch_size=batch_size)
    return planned(estimand, options, n_evaluations, atol, coarse=coarse, correlation=correlation)


def planned(
    estimand: Estimand,
    options: RunOptions,
    n_evaluations: int | None,
    atol: float | None,
    *,
    coarse: Sequence[tuple[Generator, float]] | None,
    correlation: float | Sequence[float] | None,
) -> Plan:
    """Return the plan of an estimand; the arguments are those of `plan`."""
    budget, tolerance = _checked_goal(n_evaluations, atol)
    below = _own_coarse(estimand.generator) if coarse is None else _checked_coarse(coarse, estimand.generator)
    known = _checked_correlation(correlation, below)
    if tolerance is None and budget < FEWEST_FOR_PILOT:
        return _by_rule(estimand, options, budget, below, known)
    return _by_pilot(estimand, options, budget, tolerance, below)


def _by_rule(estimand: Estimand, options: RunOptions, budget: int, coarse: list[Coarse], known: Floats | None) -> Plan:
    """Return pairs, or two levels where the correlation that is known pays for them."""
    pairs = budget // 2
    if pairs < 2:
        raise ValueError(f"an interval needs at least 2 pairs; got n_evaluations={budget}. Use 50 or more")
    candidates = [_unpredicted(design_text(Antithetic()), (Antithetic(),), (pairs,), 0)]
    reasons = [f"below {FEWEST_FOR_PILOT:,} evaluations there is no pilot: antithetic pairs"]
    if known is not None:
        two, reason = _two_levels_by_rule(coarse[0], known, budget)
        candidates, reasons = ([*candidates, two], [reason]) if two is not None else (candidates, [*reasons, reason])
    chosen = candidates[-1]
    counts = " + ".join(f"{n:,}" for n in chosen.n_replicates)
    reasons.append(f"chosen: {chosen.name}, {counts} replicates")
    reasons += rounding_reason(chosen.n_evaluations, budget)
    return Plan(tuple(candidates), chosen, 0, tuple(reasons), (), (), estimand, options)


def _two_levels_by_rule(coarse: Coarse, known: Floats, budget: int) -> tuple[Candidate | None, str]:
    """Return two levels of pairs at correlations that are known, if they pay, and the reason why or why not."""
    costs = np.array([coarse.cost, 1 + coarse.cost])
    least = 2 * FEWEST_WITHOUT_WARNING * costs / budget
    if least.sum() > 1:
        return None, f"two levels need {math.ceil(budget * least.sum() - 1e-9)} evaluations or more"
    works, ones = np.stack([known**2, 1 - known**2]) * costs[:, None], np.ones(len(known))
    below = float(np.clip(coarse_share(works, ones, ones), least[0], 1 - least[1]))
    both = np.array([below, 1 - below])
    gains = 1 / (works / both[:, None]).sum(axis=0)
    told = f"{range_text(gains)} times the efficiency of pairs"
    if gains.min() < _LEAST_BY_RULE or geometric_mean(gains) <= 1:
        return None, f"two levels would have {told} at the correlations that are known: not worth it"
    n_below, n_above = np.floor(budget * both / (2 * costs) * (1 + 1e-12)).astype(int).tolist()
    designs = (Antithetic(), Antithetic())
    made = _unpredicted(two_levels_text(coarse.cost, *designs), designs, (n_below, n_above), len(known))
    return replace(
        made, coarse=coarse, coefficients=known
    ), f"two levels have {told} at the correlations that are known"


def _unpredicted(name: str, designs: tuple[Design, ...], counts: tuple[int, ...], k: int) -> Candidate:
    """Return a candidate of a rule, of whose half-widths nothing is known."""
    unknown = np.full(k, math.nan)
    return Candidate(name, designs, counts, unknown, unknown, unknown, "a rule")


def _by_pilot(
    estimand: Estimand,
    options: RunOptions,
    budget: float,
    atol: float | None,
    coarse: list[Coarse],
) -> Plan:
    share = (_WITH_ATOL if atol is not None else budget) * PILOT_SHARE
    coarse, reasons = _affordable(coarse, share)
    pilot = run_pilot(estimand, coarse, share, net_size((1 - PILOT_SHARE) * budget), options.batch_size)
    spent = math.ceil(pilot.spent - 1e-9)
    k = len(pilot.variance)
    names = component_names(estimand.statistic, () if k == 1 else (k,))
    # Cross-fitting keeps replicate means, and has its own half-widths only by Student's t.
    plain = options.keep_replicates is False or options.interval != IntervalOptions(options.interval.confidence_level)
    predictor = Predictor(pilot, coarse, partial(_quantile, options), not plain)
    if atol is not None:
        budget = _enough_for(predictor, atol, spent, names)
    candidates = predictor.candidates(budget - spent)
    chosen, why = choose(candidates)
    reasons = [
        *why,
        *reasons,
        *variance_reasons(pilot, coarse, names),
        *rounding_reason(spent + chosen.n_evaluations, budget),
    ]
    if 10 * spent > budget:
        reasons.append("the pilot is more than a tenth of it all: how few evaluations are enough was not known before")
    correlations = tuple(pilot.correlation(number) for number in range(len(coarse)))
    return Plan(tuple(candidates), chosen, spent, tuple(reasons), names, correlations, estimand, options)


def _affordable(coarse: list[Coarse], budget: float) -> tuple[list[Coarse], list[str]]:
    """Return as many of the cheapest coarse generators as the pilot has pairs for."""
    kept, left = sorted(coarse, key=lambda one: one.cost), []
    while kept and not affords_pairs(kept, budget):
        left.append(f"{name_of(kept.pop().generator)} was left out: the pilot has too few evaluations to try it")
    return [one for one in coarse if one in kept], left


def _enough_for(predictor: Predictor, atol: float, spent: int, names: tuple[str, ...]) -> float:
    """Return the evaluations, pilot included, at which the predicted half-widths are at most atol."""
    run, enough = float(_WITH_ATOL), math.inf
    for _ in range(20):
        half = choose(predictor.candidates(run))[0].half_width
        if np.isnan(half).any():
            silent = names[int(np.isnan(half).argmax())]
            raise ValueError(
                f"{silent} did not vary in the pilot: it is constant, or too rare an event to be planned for; give "
                "n_evaluations instead of atol, or leave it out"
            )
        ratio = float((half / atol).max()) ** 2
        enough = min(enough, run) if ratio <= 1 else enough
        if 0.98 < ratio <= 1 or (ratio <= 1 and run == FEWEST_FOR_PILOT):
            break
        run = max(run * ratio * 1.005, FEWEST_FOR_PILOT)
    run = min(enough, run)
    if run > _MOST_EVALUATIONS:
        raise ValueError(f"atol={atol:g} would take some {run:.1g} evaluations; ask for a wider half-width")
    return run + spent


def _quantile(options: RunOptions, degrees_of_freedom: Floats) -> Floats:
    asked = options.interval
    tail = (1 - asked.confidence_level) / 2 / (len(degrees_of_freedom) if asked.simultaneous else 1)
    return student_t_quantile(1 - tail, degrees_of_freedom)


def _own_coarse(generator: Generator) -> list[Coarse]:
    """Return the sampler with a tenth and a fifth of its steps, where it can be had."""
    steps, coarse = getattr(generator, "steps", None), getattr(generator, "coarse", None)
    if not callable(coarse) or not isinstance(steps, int) or steps < _FEWEST_STEPS:
        return []
    own = getattr(generator, "network_evaluations", steps)
    found = []
    for fewer in sorted({max(2, round(steps / 10)), max(2, round(steps / 5))}):
        try:
            made = coarse(fewer)
            found += _checked_coarse([(made, getattr(made, "network_evaluations", fewer) / own)], generator)
        except (TypeError, ValueError):
            # A method of another meaning, or noise of its own: nobody asked for levels, so there are none.
            continue
    return found


def _checked_coarse(coarse: Any, generator: Generator) -> list[Coarse]:
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


def _checked_correlation(correlation: Any, coarse: list[Coarse]) -> Floats | None:
    if correlation is None:
        return None
    if not coarse:
        raise ValueError(
            f"correlation is that of the first of coarse; got correlation={correlation!r} without. Pass "
            "coarse=[(generator, cost)] with it"
        )
    try:
        found = np.atleast_1d(np.asarray(correlation, np.float64))
    except (TypeError, ValueError):
        found = np.zeros((0, 0))
    if found.ndim != 1 or not len(found) or not (np.abs(found) <= 1).all():
        raise ValueError(
            f"correlation must be a number in [-1, 1], or one for each component; got {correlation!r}. It is that of "
            "antithetic pair means of both generators, such as the `correlations` of a plan with a pilot"
        )
    return found


def _checked_goal(n_evaluations: Any, atol: Any) -> tuple[int, float | None]:
    """Return the evaluations, or those that the pilot is measured by, and the half-width that is wanted."""
    if (n_evaluations is None) == (atol is None):
        raise ValueError(f"give either n_evaluations or atol; got n_evaluations={n_evaluations}, atol={atol}")
    if atol is None:
        return checked_integer("n_evaluations", n_evaluations), None
    if checked_real("atol", atol) <= 0:
        raise ValueError(f"atol must be above 0, in the units of the statistic; got {atol}")
    return _WITH_ATOL, float(atol)

r"""`plan`: a small pilot finds the design with the narrowest predicted intervals.

For each candidate and component the pilot gives (variance of the estimate) x (cost):

- for Monte Carlo and antithetic pairs, from the pilot's own pairs;
- for the designs of `pilot.designs_to_try`, from a trial on the cheapest generator: a design that suits a coarse
  sampler suits the fine one; these are nets on leading directions, or in all dimensions where these are few and no
  directions were found, Latin hypercubes and orthogonal frames;
- for control variates, from the regression of the pilot's pairs on squares and products of leading coordinates;
- for two levels, from the slopes and correlations of fine and coarse pair means. With :math:`\rho` the correlation and
  s the cost of the coarse generator, the allocation of least variance x cost has the efficiency

.. math:: \Bigl(\sqrt{(1 - \rho^2) (1 + s)} + \rho \sqrt{s / g}\Bigr)^{-2}

over pairs, where g is the efficiency over pairs of the coarse level's own design [1]_.

One candidate is chosen for all components: the one with the greatest geometric mean of the efficiencies, among those
that keep for every component 0.9 of the efficiency of the better of pairs and Monte Carlo. The pilot is discarded and
the run uses fresh random numbers, so that its interval does not depend on the choice.

The half-width is predicted with an 80 % interval, on the log scale, from the errors of the pilot's variances and the
scatter of the variance that the run will estimate.

Below 1,000 evaluations a pilot would cost more than it gains; `rule` has the choice without one.

.. rubric:: References

.. [1] M. B. Giles (2008). Multilevel Monte Carlo path simulation. Oper. Res. 56(3), 607-617.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, Literal, Unpack

import numpy as np

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.checks import checked_integer, checked_real
from mcgen.errors import NonFiniteError
from mcgen.functionals import Functional
from mcgen.generators import Generator
from mcgen.generators.joint import pilot_evaluations_of
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.methods import IntervalOptions
from mcgen.replicates.sizes import require_single
from mcgen.replicates.streams import under_condition
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.runs.arguments import RunArguments, checked_arguments, showing_arguments
from mcgen.runs.options import RunOptions
from mcgen.runs.scores import influence_of, influence_pairs, parts_of_score, with_functional
from mcgen.statistics import Statistic
from mcgen.statistics.values import component_names
from mcgen.variance_reduction.planning.auto import Auto
from mcgen.variance_reduction.planning.choice import choose, rounding_reason, variance_reasons
from mcgen.variance_reduction.planning.coarse import (
    Coarse,
    Offered,
    checked_coarse,
    evaluations_to_try,
    fitted_samplers,
    with_fewer_steps,
)
from mcgen.variance_reduction.planning.pilot import affordable, run_pilot
from mcgen.variance_reduction.planning.plan import Plan
from mcgen.variance_reduction.planning.predictions import Predictor, net_size
from mcgen.variance_reduction.planning.promises import Promises
from mcgen.variance_reduction.planning.rule import FEWEST_FOR_PILOT, plan_by_rule

PILOT_SHARE = 1 / 13
"""The pilot's part of the evaluations: a choice that keeps 0.975 of an efficiency keeps 0.975 x 12/13 = 0.9 of it."""

# Fewest replicates of a functional, whose jackknife covers from so many on.
_FEWEST_FOR_FUNCTIONAL = 50
# Largest share of the evaluations for the pilot that makes a functional's influence values known.
_INFLUENCE_SHARE = 0.1
# Evaluations from which the size of the pilot follows if the number of evaluations is to be found from atol.
_WITH_ATOL = 3200
# Most evaluations that a plan from atol may have; more are never run.
_MOST_EVALUATIONS = 1e12
# A pilot is right for runs of up to so many times the evaluations that its size is for; otherwise there is another one,
# for at most so many times the evaluations of the one before.
_NEAR, _GROWTH = 2.0, 4.0
# Ratio of evaluations that are enough to evaluations that are too few at which the search from atol ends.
_BRACKET = 1.02


_REFUSED = dict.fromkeys(
    ("n_replicates", "rtol", "components", "max_evaluations", "min_replicates", "replicates", "weights", "controls"),
    "A plan shares n_evaluations out itself, or finds how many give half-widths of atol; leave it out",
) | dict.fromkeys(
    ("across", "clusters", "common_random_numbers", "keep_samples", "store", "executor", "range_timeout"),
    "Leave it out, or use mcgen.estimate with design='auto', or with the design that the plan chooses",
)
"""Arguments of a run that do not go with a plan, and why."""


@showing_arguments(without=_REFUSED)
def plan(
    generator: Generator,
    score: Statistic | Functional,
    *,
    coarse: Sequence[tuple[Generator, float]] | None = None,
    correlation: float | Sequence[float] | None = None,
    protect: Literal["all"] | Sequence[str] = "all",
    **run: Unpack[RunArguments],
) -> Plan:
    """Choose a design by a pilot, and predict the half-width that it will reach.

    Use it to see what a run will cost before it begins. The pilot takes at most a tenth of the evaluations.

    Parameters
    ----------
    generator, score, seed, condition, confidence_level, interval, simultaneous, batch_size
        As for `estimate`, for one condition. A functional is planned by its influence values, which a first small
        pilot finds, and is run by one design.
    n_evaluations : int, optional
        Upper limit of the cost of pilot and run together, in evaluations of the generator. It is rounded down to whole
        replicates.
    atol : float, optional
        The half-width that every component is to reach, in place of n_evaluations. The run is as long as the pilot
        predicts; its half-widths may be somewhat greater. If a pilot predicts a much longer run than it was made for,
        a larger pilot follows.
    coarse : sequence of (Generator, float), optional
        Cheaper generators on the same noise, or some of its blocks, each with its cost in evaluations of the
        generator. An empty list stands for none. By default they are made from a sampler that shows its trajectories
        (`mcgen.adapters.DDIM` and others): samplers of 3, 5 and 8 network evaluations that are fitted to them. For
        another sampler with ``coarse(steps)`` they are the sampler with a tenth and a fifth of its steps.
    correlation : float or sequence of float, optional
        Known correlation between antithetic pair means of the generator and of the first of `coarse`: for all
        components, or for each, such as `Plan.correlations` of an earlier plan. It is used below 1,000 evaluations,
        where there is no pilot. It is also taken as the slope, so both generators should have similar variances.
    protect : "all" or sequence of str
        Names of the components that must keep 0.9 of the efficiency of antithetic pairs. By default all, except those
        for which the pilot is unreliable; the plan names them. An empty sequence protects none.
    keep_replicates, progress, callback
        As for `estimate`, for the run.

    Returns
    -------
    Plan
        ``print(plan)`` shows all candidates and the reasons for the choice; ``plan.estimate()`` runs it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the evaluations are too few.

    Warns
    -----
    GeneratorWarning
        If a generator with ``gradient`` has none for this statistic. Directions then come from values, are cosines, or
        are not used.

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
    >>> alone = mcgen.estimate(fine, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)
    >>> bool(result.half_width < alone.half_width / 2)
    True
    """
    asked = checked_arguments("plan", run, _REFUSED, own=("coarse", "correlation", "protect"))
    interval = IntervalOptions(asked["confidence_level"], asked["interval"], asked["simultaneous"])
    require_single(
        asked["condition"],
        "a plan is for one condition; got {}. Use mcgen.estimate with design='auto', which plans each",
    )
    interval.require_no_resampling("a plan may choose a sum of levels, which")
    condition = asked["condition"]
    statistic, functional = parts_of_score(score)
    found = estimand_of(generator, statistic, asked["seed"], condition, {"statistic": score})
    estimand = under_condition(found, condition)
    options = RunOptions(
        interval,
        asked["keep_replicates"],
        asked["progress"],
        batch_size=asked["batch_size"],
        callback=asked["callback"],
    )
    options = with_functional(options, functional, asked)
    goal = asked["n_evaluations"], asked["atol"]
    return planned(estimand, options, *goal, Auto(coarse, correlation, protect))


def planned(
    estimand: Estimand, options: RunOptions, n_evaluations: int | None, atol: float | None, asked: Auto
) -> Plan:
    """Return the plan for an estimand; the arguments are those of `plan`."""
    budget, tolerance = _checked_goal(n_evaluations, atol)
    if options.functional is not None:
        return _of_functional(estimand, options, options.functional, budget, tolerance, asked)
    given, known = checked_request(asked, estimand.generator)
    if tolerance is None and budget < FEWEST_FOR_PILOT:
        return plan_by_rule(estimand, options, budget, given, known, asked.protect)
    return _by_pilot(estimand, options, budget, tolerance, given, asked)


def _of_functional(
    estimand: Estimand, options: RunOptions, functional: Functional, budget: int, atol: float | None, asked: Auto
) -> Plan:
    """Return the plan for a functional: that for the mean of its influence values, without levels and controls."""
    if asked.coarse is not None or asked.correlation is not None:
        raise ValueError(
            "coarse generators and their correlations are for the mean of a statistic; got them for "
            f"{functional.name}, which is run by one design. Leave them out"
        )
    if atol is None and budget < max(FEWEST_FOR_PILOT, 2 * influence_pairs(functional) / _INFLUENCE_SHARE):
        return plan_by_rule(estimand, options, budget, [], None, asked.protect)
    influence, spent = influence_of(estimand, functional)
    linear = replace(estimand, statistic=influence)
    made = _by_pilot(linear, options, budget - spent, atol, [], replace(asked, coarse=()))
    reason = f"planned by influence values of {functional.name} at {spent} evaluations"
    reasons = (*made.reasons, reason)
    return replace(
        made, pilot_evaluations=made.pilot_evaluations + spent, reasons=reasons, _estimand=estimand, _options=options
    )


def checked_request(asked: Auto, generator: Generator) -> tuple[list[Coarse] | None, Floats | None]:
    """Return the coarse generators and the correlations that are given, or refuse what does not suit the generator."""
    given = None if asked.coarse is None else checked_coarse(asked.coarse, generator)
    return given, _checked_correlation(asked.correlation, with_fewer_steps(generator) if given is None else given)


def _spent_before(estimand: Estimand, coarse: Sequence[Coarse]) -> int:
    """Return what pilots of their own have spent on the generators, in evaluations of the estimand's."""
    spent = sum(pilot_evaluations_of(one.generator) * one.cost for one in coarse)
    return math.ceil(pilot_evaluations_of(estimand.generator) + spent - 1e-9)


def _by_pilot(
    estimand: Estimand, options: RunOptions, budget: float, atol: float | None, given: list[Coarse] | None, asked: Auto
) -> Plan:
    """Return the plan that a pilot chooses; with `atol`, that the last of several pilots chooses."""
    offered = Offered(given or [])
    if given is None:
        offered = fitted_samplers(estimand, evaluations_to_try(estimand.generator))
        offered = offered if offered.coarse else replace(offered, coarse=with_fewer_steps(estimand.generator))
    # What made the samplers of `given` was spent before; that of the generator's own is in the pilot.
    before, of_pilots = _spent_before(estimand, given or []), offered.spent
    for number in count():
        before_pilot = of_pilots if number == 0 else 0.0
        try:
            found = _piloted(estimand, options, budget, number, offered, before_pilot, asked)
        except NonFiniteError as error:
            if given is not None or not offered.coarse:
                raise
            # The user asked for no coarse generator: one that leaves the range of the statistic is left out.
            offered = Offered(reasons=[f"no coarse generator is used: {error}"])
            found = _piloted(estimand, options, budget, number, offered, before_pilot, asked)
        of_pilots += found.predictor.pilot.spent
        spent = before + math.ceil(of_pilots - 1e-9)
        if atol is None:
            break
        enough = _enough_for(found.predictor, atol, spent, found.names)
        known_for, budget = budget, enough
        if enough <= _NEAR * known_for:
            break
        budget = min(_GROWTH * known_for, enough)
    return _chosen(found, budget, spent, spent - before, estimand, options)


@dataclass(frozen=True)
class _Found:
    """What a pilot has found: predictions, the names of the components, and texts on what it did not try."""

    predictor: Predictor
    names: tuple[str, ...]
    reasons: list[str]


def _piloted(
    estimand: Estimand,
    options: RunOptions,
    budget: float,
    number: int,
    offered: Offered,
    spent: float,
    asked: Auto,
) -> _Found:
    """Run one pilot for a run of `budget` evaluations, of which `spent` have gone into it already."""
    share = budget * PILOT_SHARE
    coarse, left_out = affordable(offered.coarse, share - spent)
    # The random numbers of each pilot are its own.
    own = replace(estimand, stream=(*(("again", number) if number else ()), *estimand.stream))
    points = net_size((1 - PILOT_SHARE) * budget, FEWEST_WITHOUT_WARNING)
    pilot = run_pilot(own, coarse, share - spent, points, options.batch_size)
    k = len(pilot.variance)
    names = component_names(estimand.statistic, () if k == 1 else (k,))
    promises = Promises.of(pilot.pairs, names, asked.protect)
    # Cross-fitted controls keep replicate means, and have the default interval or Student's alone.
    level = options.interval.confidence_level
    usual = IntervalOptions(level), IntervalOptions(level, "student-t")
    plain = options.functional is not None or options.keep_replicates is False or options.interval not in usual
    noise, quantile = estimand.generator.noise, partial(_quantile, options)
    fewest = _FEWEST_FOR_FUNCTIONAL if options.functional is not None else 0
    predictor = Predictor(pilot, coarse, noise, quantile, promises, not plain, fewest)
    return _Found(predictor, names, [*offered.reasons, *left_out])


def _chosen(found: _Found, budget: float, spent: int, of_pilots: int, estimand: Estimand, options: RunOptions) -> Plan:
    """Return the plan of what is best by the pilot that was the last."""
    predictor, names = found.predictor, found.names
    pilot, coarse = predictor.pilot, predictor.coarse
    candidates = predictor.candidates(budget - spent)
    best, why = choose(candidates, predictor.promises)
    chosen, notes = predictor.with_unseen(best, names)
    reasons = [
        *why,
        *predictor.promises.reasons,
        *notes,
        *found.reasons,
        *variance_reasons(pilot, coarse, names),
        *rounding_reason(spent + chosen.n_evaluations, budget),
    ]
    if 10 * of_pilots > budget:
        reasons.append("the pilot is more than a tenth of all evaluations: it could not know how few would be enough")
    candidates = [chosen if one is best else one for one in candidates]
    correlations = tuple(pilot.correlation(number) for number in range(len(coarse)))
    return Plan(tuple(candidates), chosen, spent, tuple(reasons), names, correlations, estimand, options)


def _enough_for(predictor: Predictor, atol: float, spent: int, names: tuple[str, ...]) -> float:
    """Return the evaluations, pilot included, for which the predicted half-widths are at most atol.

    They are found by bisection, to 2 %: half-widths fall in steps where a net doubles.
    """
    few, enough = 0.0, float(FEWEST_FOR_PILOT)
    while not _is_enough(predictor, enough, atol, names):
        few, enough = enough, 2 * enough
        if few > _MOST_EVALUATIONS:
            raise ValueError(f"atol={atol:g} would take more than {few:.1g} evaluations; choose a larger atol")
    while few and enough / few > _BRACKET:
        middle = math.sqrt(few * enough)
        few, enough = (few, middle) if _is_enough(predictor, middle, atol, names) else (middle, enough)
    return math.ceil(enough) + spent


def _is_enough(predictor: Predictor, evaluations: float, atol: float, names: tuple[str, ...]) -> bool:
    """Return whether all predicted half-widths are at most atol."""
    half = choose(predictor.candidates(evaluations), predictor.promises)[0].half_width
    if np.isnan(half).any():
        constant = names[int(np.isnan(half).argmax())]
        raise ValueError(
            f"{constant} did not vary in the pilot: it is constant, or too rare an event for a plan from atol. "
            "Give n_evaluations instead, or leave this component out"
        )
    return bool((half <= atol).all())


def _quantile(options: RunOptions, degrees_of_freedom: Floats) -> Floats:
    """Return the Student t quantile of the interval's half-width, by Bonferroni for simultaneous intervals."""
    asked = options.interval
    tail = (1 - asked.confidence_level) / 2 / (len(degrees_of_freedom) if asked.simultaneous else 1)
    return student_t_quantile(1 - tail, degrees_of_freedom)


def _checked_correlation(correlation: Any, coarse: list[Coarse]) -> Floats | None:
    """Return the correlations as an array of one entry or one for each component, or None."""
    if correlation is None:
        return None
    if not coarse:
        raise ValueError(
            f"correlation belongs to the first coarse generator, and there is none; got correlation={correlation!r}. "
            "Pass coarse=[(generator, cost)] with it"
        )
    try:
        found = np.atleast_1d(numbers_of(correlation, "iuf")).astype(np.float64)
    except (TypeError, ValueError):
        found = np.zeros((0, 0))
    if found.ndim != 1 or not len(found) or not (np.abs(found) <= 1).all():
        raise ValueError(
            f"correlation must be a number in [-1, 1], or one for each component; got {correlation!r}. Pass the "
            "correlation of antithetic pair means of both generators, such as `correlations` of a plan with a pilot"
        )
    return found


def _checked_goal(n_evaluations: Any, atol: Any) -> tuple[int, float | None]:
    """Return the number of evaluations, which sets the size of the pilot, and atol."""
    if (n_evaluations is None) == (atol is None):
        raise ValueError(f"give either n_evaluations or atol; got n_evaluations={n_evaluations}, atol={atol}")
    if atol is None:
        return checked_integer("n_evaluations", n_evaluations), None
    if checked_real("atol", atol) <= 0:
        raise ValueError(f"atol must be above 0, in the units of the statistic; got {atol}")
    return _WITH_ATOL, float(atol)

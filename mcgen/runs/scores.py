"""Scores: a statistic, whose mean is estimated, or a functional; and what a run of a functional refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from mcgen import functionals
from mcgen.designs import Antithetic
from mcgen.errors import CoverageWarning, warn_user
from mcgen.functionals import Functional
from mcgen.functionals.base import Replicates
from mcgen.inference.jackknife import Units
from mcgen.inference.methods import IntervalOptions
from mcgen.replicates.blocks import InBlocks
from mcgen.replicates.gathering import Features, Values
from mcgen.replicates.loop import run_all
from mcgen.replicates.pilot import pilot_stream
from mcgen.replicates.sizes import Conditions, conditions_of
from mcgen.replicates.tally import ColumnsOfTally, Tally
from mcgen.replicates.task import Estimand, Facts
from mcgen.runs.arguments import RunArguments
from mcgen.runs.options import RunOptions
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, with_condition

# Fewest pairs that make a functional's influence values known, and their batches.
_INFLUENCE_PAIRS, _INFLUENCE_BATCH = 64, 64
_METHODS = ("student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t")


def parts_of_score(score: Any) -> tuple[Statistic, Functional | None]:
    """Return the statistic that is run, and the functional where the score is one.

    Raises
    ------
    TypeError
        If the score is neither.
    """
    if isinstance(score, Functional):
        return score.statistic, score
    if isinstance(score, type) and issubclass(score, Functional):
        raise TypeError(
            f"got the class {score.__name__}; make a functional by mcgen.functionals, such as "
            "mcgen.functionals.variance(statistic)"
        )
    name = getattr(score, "__name__", None)
    if isinstance(name, str) and vars(functionals).get(name) is score:
        raise TypeError(f"{name} takes a statistic first: pass mcgen.functionals.{name}(statistic), not the function")
    return checked_callable(score), None


def statistics_of(score: Any) -> dict[str, Statistic]:
    """Return the statistics of the user that a score is made of, by the places where they stand in it."""
    if not isinstance(score, Functional):
        return {"given": score}
    found: dict[str, Statistic] = {}
    for name, value in vars(score).items():
        if isinstance(value, Functional) or callable(value):
            found |= {f"{name} of {place}": one for place, one in statistics_of(value).items()}
    return found


def replicates_of(tally: Tally | ColumnsOfTally, facts: Facts, n_points: int) -> Replicates:
    """Return replicates as a functional takes them: each by itself, or groups of those that are not kept."""
    rows = tally.rows()
    units = Units.of_groups(tally.whole.groups()) if rows is None else Units.of_rows(rows)
    gathered = {} if rows is None else rows.gathered
    values = next((gathered[name] for name in (Features.name, Values.name, InBlocks.name) if name in gathered), None)
    blocks = tally.whole.blocks()
    return Replicates(units, facts.components, facts.rounding, n_points, values, None, gathered, blocks)


def influence_of(estimand: Estimand, functional: Functional) -> tuple[Statistic, int]:
    """Return the influence values of a functional as a statistic, and the evaluations of the pilot that found them.

    Parameters
    ----------
    estimand : Estimand
        The functional's statistic under one condition.
    functional : Functional
        The functional.
    """
    pairs = influence_pairs(functional)
    own = replace(estimand, stream=pilot_stream(estimand.stream, "influence"))
    task = replace(own.task(Antithetic(), _INFLUENCE_BATCH), gatherers=functional.gatherers)
    found, facts = run_all(task, pairs)
    influence = functional.influence(replicates_of(found, facts, task.design.n_points))
    return with_condition(influence, estimand.condition), 2 * pairs


def influence_pairs(functional: Functional) -> int:
    """Return the number of antithetic pairs that make the influence values of a functional known."""
    return max(_INFLUENCE_PAIRS, math.ceil(functional.fewest_values / 2))


def with_functional(options: RunOptions, functional: Functional | None, asked: RunArguments) -> RunOptions:
    """Return the options of a run of a score: of a functional, and with the samples where they are to be kept.

    Raises
    ------
    ValueError
        If control variates, an interval for means, or dropped values are asked for of a functional; or samples without
        the replicate means.
    """
    options = replace(options, functional=functional, keep_samples=asked["keep_samples"])
    if options.keep_samples and (options.controls is not None or options.keep_replicates is False):
        raise ValueError(
            f"keep_samples=True keeps the replicate means too, and goes with no controls; got keep_replicates="
            f"{options.keep_replicates} and controls={options.controls!r}. Leave them out"
        )
    if functional is None:
        return options
    _check_functional(functional, options)
    if functional.pools:
        _check_distance(functional, options, asked)
    interval: IntervalOptions = options.interval
    if interval.method is not None or interval.simultaneous or options.tolerance is not None:
        return options
    return replace(options, interval=replace(interval, method=functional.default_method))


def require_size(options: RunOptions, n_points: int, count: int | None, asked: RunArguments) -> None:
    """Refuse a run whose number of samples, over all conditions of a mixture, is too small for the functional."""
    if options.functional is None or count is None or asked["replicates"] is not None:
        return
    condition = asked["condition"]
    n = len(conditions_of(condition)) if asked["across"] == "mixture" else 1
    options.functional.require_size(n * count * n_points, count)


def with_fewest_values(options: RunOptions, n_points: int) -> RunOptions:
    """Return options whose first look has as many replicates as the values of the functional take."""
    tolerance, functional = options.tolerance, options.functional
    if tolerance is None or functional is None or not functional.fewest_values:
        return options
    fewest = max(tolerance.min_replicates or 0, math.ceil(functional.fewest_values / n_points))
    return replace(options, tolerance=replace(tolerance, min_replicates=fewest))


def _check_distance(functional: Functional, options: RunOptions, asked: RunArguments) -> None:
    """Refuse what makes no sense for a distance, by name."""
    mixed, several = asked["across"] == "mixture", isinstance(conditions_of(asked["condition"]), Conditions)
    if mixed and (asked["common_random_numbers"] or options.tolerance is not None):
        raise ValueError(
            f"a {functional.label} of a mixture takes conditions on independent noise, and a fixed number of "
            f"evaluations; got common_random_numbers={asked['common_random_numbers']}, atol={asked['atol']} and "
            f"rtol={asked['rtol']}. Leave these out, and say n_evaluations"
        )
    if several and asked["across"] == "average":
        warn_user(
            f"this is the average of the {functional.label} of each condition from the whole reference; for the "
            "distance of all conditions together, such as a class-balanced FID, use across='mixture'",
            CoverageWarning,
        )
    if mixed and functional.why_no_mixture:
        raise ValueError(
            f"this {functional.label} is not for a mixture: {functional.why_no_mixture}; got across='mixture'. Leave "
            "block_size out, or use across='average'"
        )
    if options.tolerance is not None and functional.why_no_tolerance:
        raise ValueError(
            f"a run of this {functional.label} can't stop by a tolerance: {functional.why_no_tolerance}; got "
            f"atol={asked['atol']} and rtol={asked['rtol']}. Say n_evaluations"
        )
    if several and not mixed and functional.shares_an_error:
        raise ValueError(
            "distances of several conditions from one sampled reference share its error, which their average does not "
            "make smaller; got several conditions with fixed=False. Use across='mixture' for the distance of the "
            "pooled law, or a fixed reference"
        )


def _check_functional(functional: Functional, options: RunOptions) -> None:
    """Refuse what makes no sense for a functional, by name."""
    asked: IntervalOptions = options.interval
    if options.controls is not None:
        raise ValueError(
            f"controls are for the mean of a statistic; got the functional {functional.name!r}. Leave them out, or use "
            "a design such as Sobol(64)"
        )
    inverted = functional.fewest_values > 0 and functional.default_method is None
    allowed: tuple[str, ...] = () if inverted else _METHODS
    if asked.method is not None and asked.method not in allowed:
        use = f"one of {', '.join(allowed)}" if allowed else "the interval that it has without"
        raise ValueError(f"interval={asked.method!r} is not for a {functional.label}; use {use}: leave interval out")
    if not allowed and asked.simultaneous not in (True, False, "bonferroni"):
        raise ValueError(
            f"intervals of a {functional.label} cover together by Bonferroni's inequality; got simultaneous="
            f"{asked.simultaneous!r}. Use simultaneous=True"
        )
    if options.tolerance is not None and options.keep_replicates is False:
        raise ValueError(
            f"a run of a {functional.label} that stops by itself looks at its replicate means; got "
            "keep_replicates=False beside atol or rtol. Leave it out, or say how many evaluations"
        )
    if functional.gatherers and options.keep_replicates is False:
        raise ValueError(
            f"a {functional.label} is made from all values, which are kept with the replicate means; got "
            "keep_replicates=False. Leave it out"
        )

"""Several conditions (classes, prompts, measurements): an estimate for each, and their weighted average.

On independent random numbers the average's variance and third central moment are the weighted sums of the conditions',
with degrees of freedom by Welch-Satterthwaite; under common random numbers the average is taken replicate by replicate,
and is an estimate like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.names import name_of
from mcgen.errors import CoverageWarning, RunError, held_warnings, partial_of, warn_user, with_partial
from mcgen.functionals.joint import OnSameNoise, difference_of_mixtures
from mcgen.generators.joint import EachCondition
from mcgen.inference.stopping import Stopping
from mcgen.inference.tolerance import Tolerance
from mcgen.replicates.sizes import Conditions, is_named, named_conditions
from mcgen.replicates.streams import labels_of, under_condition
from mcgen.replicates.task import Estimand, Task
from mcgen.results.estimate import Estimate
from mcgen.results.notes import merged_warnings
from mcgen.results.population import of_population
from mcgen.results.sums import of_mixture, weighted_sum
from mcgen.runs.arguments import Across
from mcgen.runs.execution import run
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, estimate_of_columns, functional_estimate, provenance_of
from mcgen.runs.population import FEWEST, Population
from mcgen.statistics.joint import EachAndAverage
from mcgen.statistics.values import component_names, with_condition

# How far weights in double precision may miss a sum of 1: rounding errors of a million terms, and no typing error.
_OFF_ONE = 1e-9
# Rounding errors of a half-width; one that exceeds its tolerance by less counts as reached.
_ROUNDING = 1e-9

RunOne = Callable[[Estimand, RunOptions], Estimate]
"""Runs an estimand under one condition."""


def run_each(
    estimand: Estimand,
    options: RunOptions,
    weights: Floats | None,
    run_one: RunOne,
    across: Across = "average",
    population: Population | None = None,
) -> Estimate:
    """Estimate one condition by `run_one`, or several and what joins them; weights are None for one."""
    if weights is None:
        return run_one(under_condition(estimand, estimand.condition), options)
    return stratified_average(estimand, options, weights, run_one, across, population)


def stratified_average(
    estimand: Estimand,
    options: RunOptions,
    weights: Floats,
    run_one: RunOne,
    across: Across = "average",
    population: Population | None = None,
) -> Estimate:
    """Estimate each condition on its own random numbers by `run_one`, and return their weighted average.

    Variances add; degrees of freedom are those of Welch and Satterthwaite. If interrupted, the average is over the
    conditions that were finished. A functional across a mixture is that of the pooled law of the conditions. With a
    population the conditions are a sample of it, and the mean is the population's.
    """
    if across == "mixture" and options.functional is not None:
        options = replace(options, collected=[])
    if population is None:
        advice = ", or common_random_numbers=True"
        options.interval.require_no_resampling("the average over independent conditions", advice)
    options = _sharing(options, len(estimand.condition))
    strata: list[Estimate] = []
    held_back: list[list[str]] = []
    try:
        _run_conditions(estimand, _of_parts(options, population), run_one, strata, held_back)
    except KeyboardInterrupt:
        if not strata:
            raise
    except Exception as error:
        # A frozen exception takes no note, and stays as it is.
        with suppress(Exception):
            error.add_note(f"under condition {_labels(estimand.condition)[len(strata)]}")
        last = partial_of(error, Estimate)
        # Where a functional has no value, what is there are means of its statistic, which join nothing.
        of_means = last is not None and options.functional is not None and last.provenance.functional is None
        strata += [] if last is None or of_means else [last]
        if strata:
            with_partial(error, _joined_conditions(strata, estimand, options, weights, population))
        raise
    made = _joined_conditions(strata, estimand, options, weights, population)
    pooled = options.collected is not None and options.functional is not None and options.functional.pools
    own = made.variance_components is not None or pooled
    for text in made.warnings if own else _merged_warnings(strata, held_back):
        warn_user(text, CoverageWarning)
    return made


def _run_conditions(
    estimand: Estimand, options: RunOptions, run_one: RunOne, strata: list[Estimate], held_back: list[list[str]]
) -> None:
    """Run one condition after another, and append their estimates and the coverage warnings that they held back."""
    with held_warnings() as held:
        for number, (condition, label) in enumerate(zip(estimand.condition, _labels(estimand.condition), strict=True)):
            strata.append(run_one(under_condition(estimand, condition, number, label), options))
            _require_same_shape(strata, estimand)
            held_back.append(held.take())
            if strata[-1].partial:
                break


def _merged_warnings(strata: Sequence[Estimate], texts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return one warning for each kind among the warnings of the conditions."""
    names = [str(part.provenance.condition) for part in strata]
    return merged_warnings(list(zip(names, texts, strict=False)), "condition", strata[0].names)


def _require_same_shape(strata: list[Estimate], estimand: Estimand) -> None:
    if strata[-1].shape != strata[0].shape:
        wrong = strata.pop()
        raise RunError(
            f"statistic {name_of(estimand.statistic)!r} gave components of shape {wrong.shape} under condition "
            f"{wrong.provenance.condition}, where {strata[0].shape} as under the first are needed to average; estimate "
            "the conditions one by one"
        )


def _of_parts(options: RunOptions, population: Population | None) -> RunOptions:
    """Return the options of the conditions: a bootstrap resamples those of a population, and not their replicates."""
    if population is None or not options.interval.resamples:
        return options
    return replace(options, interval=options.interval.by_default())


def _joined_conditions(
    strata: list[Estimate], estimand: Estimand, options: RunOptions, weights: Floats, population: Population | None
) -> Estimate:
    """Return the weighted average of the conditions that are there, or the mean of the population they are drawn from.

    The interval of a population does not rest on those of the conditions, so their warnings stay with them.
    """
    average = _average(strata, estimand, _of_parts(options, population), weights)
    if population is None:
        return average
    lost = average.warnings[-1:] if len(strata) < len(estimand.condition) else ()
    if population.n_units(len(strata)) < FEWEST:
        note = (
            "fewer than 2 conditions or clusters are no sample of a population: the interval is that of the finished "
            "conditions alone"
        )
        return replace(average, warnings=(*average.warnings, note))
    clusters = population.clusters(len(strata))
    return of_population(tuple(strata), clusters, average.provenance, options.interval, warnings=lost)


def _average(strata: list[Estimate], estimand: Estimand, options: RunOptions, weights: Floats) -> Estimate:
    """Return the weighted average of the conditions that are there."""
    weights = weights[: len(strata)]
    first = strata[0]
    share = weights / weights.sum() if len(strata) < len(estimand.condition) else weights
    notes = _merged_warnings(strata, [part.warnings for part in strata])
    lost: tuple[str, ...] = ()
    if len(strata) < len(estimand.condition):
        joined = "average" if options.collected is None else "mixture"
        lost = (
            f"interrupted: the {joined} is over the first {len(strata)} of {len(estimand.condition)} conditions only",
        )
    notes += lost
    # Plans and levels have a pilot each condition; designs were made once for all.
    each = first.provenance.level is not None or first.provenance.plan is not None
    provenance = replace(
        first.provenance,
        pilot_evaluations=sum(part.provenance.pilot_evaluations for part in strata if each or part is first),
        condition=", ".join(str(part.provenance.condition) for part in strata),
        partial=len(strata) < len(estimand.condition) or strata[-1].partial,
        n_replicates=min(part.n_replicates for part in strata),
        n_evaluations=min(part.n_evaluations for part in strata),
        seconds=sum(part.provenance.seconds for part in strata),
        design=" or ".join(dict.fromkeys(part.provenance.design for part in strata)),
        level=None,
        plan=None,
    )
    # The average has no stages: its standard errors come from the parts' intervals, which have.
    asked = replace(options.interval, method=None) if options.interval.method == "two-stage-t" else options.interval
    ends = [(str(part.provenance.condition), part.stopping) for part in strata if part.stopping is not None]
    stopping = joint_stopping(ends, "condition")
    if options.collected is not None and options.functional is not None:
        provenance = replace(provenance, across="mixture")
        # The first of two models may have run under one more condition.
        found = options.collected[: len(strata) * max(1, len(first.models))]
        evaluated = difference_of_mixtures(options.functional, found, share)
        functional = options.functional
        if functional.pools:
            provenance = replace(provenance, functional=functional.label, **functional.identity())
            # What is said of the conditions is about means of squared distances, which nobody asked for.
            notes = (*evaluated.warnings, *lost)
        names = functional.component_names((), evaluated.shape) if functional.pools else first.names
        made = of_mixture(tuple(strata), evaluated, share, provenance, names, asked, stopping=stopping, warnings=notes)
        return replace(made, stopping=_end_of_mixture(made, options.tolerance))
    return weighted_sum(tuple(strata), share, provenance, asked, stopping=stopping, warnings=notes)


def _end_of_mixture(made: Estimate, tolerance: Tolerance | None) -> Stopping | None:
    """Return how the runs of a mixture ended; the tolerance is not reached where its own interval is wider."""
    stopping = made.stopping
    if stopping is None or tolerance is None or not stopping.reached:
        return stopping
    half_width, wanted = np.ravel(made.half_width), tolerance.wanted(np.ravel(made.mean))
    wide = np.where(np.isin(made.names, tolerance.components or made.names), half_width - wanted, -np.inf)
    worst = int(wide.argmax())
    if wide[worst] <= _ROUNDING * wanted[worst]:
        return stopping
    reason = f"{stopping.reason}; but {made.names[worst]} of the mixture has half-width {half_width[worst]:.3g}"
    return replace(
        stopping, reached=False, reason=f"{reason}, since each condition stops by itself. Use a smaller atol"
    )


def joint_stopping(ends: Sequence[tuple[str, Stopping]], called: str) -> Stopping | None:
    """Return how all runs of a result ended; None where their numbers of replicates were given.

    Parameters
    ----------
    ends : sequence of (str, Stopping)
        The name of each run that stopped by itself, and how it ended.
    called : str
        What the runs are for, such as "condition".
    """
    if not ends:
        return None
    reason = "; ".join(f"{called} {name}: {end.reason}" for name, end in ends)
    reached = all(end.reached for _, end in ends)
    return replace(ends[0][1], first_count=None, first_standard_deviation=None, reached=reached, reason=reason)


def _labels(conditions: Conditions) -> tuple[str, ...]:
    """Return what results call some conditions."""
    return labels_of(conditions, conditions.names)


def common_noise_average(
    task: Task, n_replicates: int | None, options: RunOptions, weights: Floats, across: Across = "average"
) -> Estimate:
    """Estimate all conditions on the same noise: each and their average are components of one run."""
    labels = _labels(task.condition)
    if options.functional is not None:
        several = OnSameNoise(options.functional, labels, tuple(weights.tolist()), f"each and {across}")
        joint = replace(
            task,
            generator=EachCondition(task.generator),
            statistic=several.statistic_under(task.condition),
            label=", ".join(labels),
        )
        options = replace(_sharing(options, len(task.condition)), functional=several)
        return run(joint, n_replicates, options, _split_functional)
    each = tuple(with_condition(task.statistic, one) for one in task.condition)
    joint = replace(
        task,
        generator=EachCondition(task.generator),
        statistic=EachAndAverage(task.statistic, weights, labels, each),
        label=", ".join(labels),
    )
    if options.controls is not None:
        # The average of the same coefficients is themselves: weights sum to 1.
        options = replace(options, controls=options.controls.for_each(len(task.condition) + 1))
    return run(joint, n_replicates, _sharing(options, len(task.condition)), _split)


def _sharing(options: RunOptions, n_conditions: int) -> RunOptions:
    """Return options whose simultaneous intervals cover all conditions and their average together."""
    shared_with = n_conditions * options.interval.shared_with + 1
    return replace(options, interval=replace(options.interval, shared_with=shared_with))


def _split(joint: Task, outcome: Outcome, options: RunOptions) -> Estimate:
    """Return the average, with the estimate of each condition, out of a run of all on the same noise."""
    assert isinstance(joint.statistic, EachAndAverage)
    shape = outcome.shape[1:]
    names, k = component_names(joint.statistic.statistic, shape), math.prod(shape)
    texts = _labels(joint.condition)
    parts = []
    for number, text in enumerate([*texts, ", ".join(texts)]):
        provenance = provenance_of(joint, outcome, options.first_replicate)
        provenance = replace(provenance, condition=text, common_random_numbers=True)
        columns = slice(number * k, (number + 1) * k)
        parts.append(estimate_of_columns(outcome, columns, shape, names, provenance, options))
    return _joined(parts, texts, outcome)


def _split_functional(joint: Task, outcome: Outcome, options: RunOptions) -> Estimate:
    """Return a functional across all conditions, with that of each, out of a run of all on the same noise."""
    assert outcome.evaluated is not None
    assert isinstance(options.functional, OnSameNoise)
    texts, last = _labels(joint.condition), outcome.evaluated.parts[-1]
    parts, k = [], math.prod(last.shape)
    for number, (found, text) in enumerate(zip(outcome.evaluated.parts, [*texts, ", ".join(texts)], strict=True)):
        provenance = provenance_of(joint, outcome, options.first_replicate)
        across = "mixture" if found is last and options.functional.is_mixture else None
        provenance = replace(provenance, condition=text, common_random_numbers=True, across=across)
        columns = slice(number * k, (number + 1) * k)
        parts.append(functional_estimate(outcome, found, joint, provenance, options, columns))
    return _joined(parts, texts, outcome)


def _joined(parts: list[Estimate], texts: tuple[str, ...], outcome: Outcome) -> Estimate:
    """Return the last estimate, which joins the others, with these as its parts and one warning of a kind."""
    *each, average = parts
    run_notes = outcome.warnings
    own = [[text for text in part.warnings if text not in run_notes] for part in parts]
    notes = merged_warnings(list(zip(texts, own, strict=False)), "condition", average.names, own[-1])
    return replace(average, parts=tuple(each), warnings=(*run_notes, *notes))


def checked_weights(conditions: Conditions, weights: Any) -> Floats:
    """Return the weights of some conditions, which sum to 1; equal ones by default.

    Weights of few bits, such as float32, may miss 1 by the rounding of a sum of their type. They are divided by their
    sum.
    """
    require_different(conditions)
    if weights is None:
        return np.full(len(conditions), 1 / len(conditions))
    try:
        own = numbers_of(_in_order_of(conditions, weights), "iuf")
    except (TypeError, ValueError):
        own = np.empty(0)
    given, total = own.astype(np.float64), float(own.astype(np.float64).sum())
    rounding = len(conditions) * (np.finfo(own.dtype).eps if own.dtype.kind == "f" else 0.0)
    if given.shape != (len(conditions),) or not (given > 0).all() or abs(total - 1) > max(_OFF_ONE, rounding):
        raise ValueError(
            f"weights must be {len(conditions)} numbers above 0 that sum to 1, one for each condition (in their order, "
            f"or by the same names); got {weights!r}. Divide them by their sum"
        )
    return given if abs(total - 1) <= _OFF_ONE else given / total


def require_different(conditions: Conditions, advice: str = "list each once and count it by its weight") -> None:
    """Refuse conditions that repeat: they would share their random numbers, and the interval would be too narrow."""
    # What is not known by its content is at least no other object.
    keys = [key_of_condition(one) or f"object {id(one)}" for one in conditions]
    if len(set(keys)) < len(keys):
        texts = [repr(one) for one in conditions]
        if conditions.names is not None:
            texts = [f"{name}: {text}" for name, text in zip(conditions.names, texts, strict=True)]
        raise ValueError(f"conditions repeat in [{', '.join(texts)}]; {advice}")


def _in_order_of(conditions: Conditions, weights: Any) -> Any:
    """Return weights in the order of the conditions, where both have names."""
    found = named_conditions(weights) if is_named(weights) else None
    if found is None or found.names is None:
        return weights
    by_name = dict(zip(found.names, found, strict=True))
    if conditions.names is None or set(by_name) != set(conditions.names):
        raise ValueError("other names than those of the conditions")
    return [by_name[name] for name in conditions.names]

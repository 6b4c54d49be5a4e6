r"""Two models on independent noise: an estimate of each, and their difference.

For estimates :math:`m_a` and :math:`m_b` with standard errors :math:`s_a` and :math:`s_b`, the difference
:math:`m_a - m_b` has the variance :math:`s_a^2 + s_b^2`. Third central moments subtract, and degrees of freedom are
those of Welch and Satterthwaite (`mcgen.results.sums`). Each model has random numbers of its own, also where both are
the same model.

To reach a half-width of ``atol``, each model runs to half-widths of :math:`0.97\, atol / \sqrt 2`: squares of
half-widths add where the quantiles of both are alike. Skewness of opposite signs adds up, which the factor 0.97 mostly
allows for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcgen._lib.names import name_of
from mcgen.errors import CoverageWarning, RunError, held_warnings, partial_of, warn_user, with_partial
from mcgen.generators import Generator
from mcgen.generators.joint import MINUS, pilot_evaluations_of
from mcgen.inference.stopping import Stopping
from mcgen.inference.tolerance import Tolerance
from mcgen.replicates.task import Estimand
from mcgen.results.estimate import Estimate
from mcgen.results.notes import merged_warnings
from mcgen.results.provenance import INDEPENDENT_NOISE, Provenance
from mcgen.results.sums import weighted_sum
from mcgen.runs.conditions import RunOne, joint_stopping
from mcgen.runs.options import RunOptions

# The models in the paths of their random numbers, and in results where their names are the same.
_SIDES = ("a", "b")
_WEIGHTS = np.array([[1.0], [-1.0]])
# Each model's share of the half-width of the difference. The factor 0.97 takes 6 % more replicates. Without it every
# second difference of skewed models is a little wider than its tolerance: half-widths of up to 1.03 times were common.
_SHARE = 0.97 / math.sqrt(2)
# Intervals of a difference on independent noise: one for each model, and its own.
_INTERVALS = 3
# Rounding errors of a half-width; a half-width that exceeds its tolerance by less counts as reached.
_ROUNDING = 1e-9


def with_models(options: RunOptions) -> RunOptions:
    """Return options whose simultaneous intervals cover both models and their difference together."""
    return replace(options, interval=replace(options.interval, shared_with=_INTERVALS))


def run_models(estimand: Estimand, options: RunOptions, *, models: tuple[Generator, ...], run_one: RunOne) -> Estimate:
    """Estimate two models by `run_one`, each on random numbers of its own, and return their difference.

    If the second model is interrupted from the keyboard, the difference is made from its finished replicates; an
    exception carries that difference as its ``partial``. Before that there is no difference.
    """
    parts: list[Estimate] = []
    held_back: list[tuple[str, list[str]]] = []
    with held_warnings() as held:
        for side, name, generator in zip(_SIDES, names_of_models(models), models, strict=True):
            stream = (*estimand.stream, "model", side)
            own = replace(estimand, generator=generator, stream=stream, model=name, models_noise=None)
            try:
                parts.append(run_one(own, _to_share_of_tolerance(options)))
                _require_same_shape(parts, estimand)
            except Exception as error:
                last = partial_of(error, Estimate)
                both = last is not None and len(parts) == 1 and _are_alike(last, parts[0])
                with_partial(error, _difference([*parts, last], estimand, options, models) if last and both else None)
                raise
            if parts[0].partial:
                raise KeyboardInterrupt(
                    f"interrupted in the run of {name!r}; without the other model there is no difference"
                )
            held_back.append((name, held.take()))
    for text in merged_warnings(held_back, "model", parts[0].names):
        warn_user(text, CoverageWarning)
    return _difference(parts, estimand, options, models)


def names_of_models(models: Sequence[Generator]) -> tuple[str, ...]:
    """Return what results call two models: their names, or "a" and "b" where these are the same."""
    names = tuple(map(name_of, models))
    return names if names[0] != names[1] else _SIDES


def _to_share_of_tolerance(options: RunOptions) -> RunOptions:
    """Return the options of one model's run."""
    tolerance = options.tolerance
    if tolerance is None:
        return options
    assert tolerance.atol is not None
    return replace(options, tolerance=replace(tolerance, atol=tolerance.atol * _SHARE))


def _require_same_shape(parts: list[Estimate], estimand: Estimand) -> None:
    if parts[-1].shape != parts[0].shape:
        raise RunError(
            f"statistic {name_of(estimand.statistic)!r} gave components of shape {parts[0].shape} for "
            f"{parts[0].provenance.model!r} and {parts[1].shape} for {parts[1].provenance.model!r}; a difference needs "
            "the same"
        )


def _are_alike(one: Estimate, other: Estimate) -> bool:
    """Return whether two estimates have a difference: of a functional that has no value there are means at best."""
    return one.shape == other.shape and one.provenance.functional == other.provenance.functional


def _difference(
    parts: Sequence[Estimate], estimand: Estimand, options: RunOptions, models: tuple[Generator, ...]
) -> Estimate:
    """Return the difference of the estimates of both models."""
    records = [part.provenance for part in parts]
    ends = [(str(part.provenance.model), part.stopping) for part in parts if part.stopping is not None]
    stopping = joint_stopping(ends, "model")
    if stopping is not None:
        assert options.tolerance is not None
        stopping = replace(stopping, atol=options.tolerance.atol)
    notes = merged_warnings([(str(part.provenance.model), part.warnings) for part in parts], "model", parts[0].names)
    # The difference has no stages: its standard errors come from the models' intervals, which have.
    asked = replace(options.interval, method=None) if options.interval.method == "two-stage-t" else options.interval
    made = weighted_sum(
        tuple(parts), _WEIGHTS, _provenance(parts, records, models), asked, stopping=stopping, warnings=notes
    )
    return replace(made, stopping=_checked_end(made, stopping, options.tolerance))


def _provenance(parts: Sequence[Estimate], records: Sequence[Provenance], models: tuple[Generator, ...]) -> Provenance:
    """Return what was done for a difference."""
    first, second = records
    seconds = first.seconds + second.seconds
    plans = [f"{record.model}: {record.plan}" for record in records if record.plan is not None]
    # Plans and levels have a pilot each; a design was made once for both models.
    own = second.pilot_evaluations if plans else math.ceil(pilot_evaluations_of(models[1]) - 1e-9)
    return replace(
        first,
        generator=MINUS.join(map(name_of, models)),
        noise="; ".join(f"{record.model}: {record.noise}" for record in records),
        dimension=first.dimension + second.dimension,
        design=" or ".join(dict.fromkeys(record.design for record in records)),
        n_replicates=min(record.n_replicates for record in records),
        n_evaluations=min(record.n_evaluations for record in records),
        pilot_evaluations=first.pilot_evaluations + own,
        partial=first.partial or second.partial,
        rounding=max(first.rounding, second.rounding),
        seconds=seconds,
        seconds_per_evaluation=seconds / sum(part.executed_evaluations for part in parts),
        timing_error=0.0,
        level=None,
        cost=1.0,
        coefficients=None,
        plan="; ".join(plans) or None,
        model=None,
        models_noise=INDEPENDENT_NOISE,
    )


def _checked_end(made: Estimate, stopping: Stopping | None, tolerance: Tolerance | None) -> Stopping | None:
    """Return how both runs ended; the tolerance is not reached where the interval of the difference is wider."""
    if stopping is None or tolerance is None or tolerance.atol is None or not stopping.reached:
        return stopping
    half = np.ravel(made.half_width)
    counting = [name in (tolerance.components or made.names) for name in made.names]
    widest = float(half[counting].max())
    if widest <= tolerance.atol * (1 + _ROUNDING):
        return stopping
    reason = f"{stopping.reason}; but the difference has a half-width of {widest:.3g}. Use a smaller atol"
    return replace(stopping, reached=False, reason=reason)

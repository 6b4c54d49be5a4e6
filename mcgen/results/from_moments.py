"""The estimate, with its interval, from the moments of replicate means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.errors import with_partial
from mcgen.inference.coverage import coverage_warnings
from mcgen.inference.functional_intervals import Lengthened, Scale, interval_of_functional, moments_of
from mcgen.inference.interval_input import LEAST_NET, Interval, IntervalInput, shared_level
from mcgen.inference.intervals import methods_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import FEWEST_FOR_INVERSION, Quantiles
from mcgen.inference.stopping import Stopping
from mcgen.results.estimate import Estimate, shaped, shaped_interval
from mcgen.results.inputs import bets_for, input_of_run
from mcgen.results.provenance import Provenance

_FEW = (
    "{n} replicates are few for the interval of a quantile: the spread of their shares of values below it is known "
    "poorly, and the interval may cover less often than it says. Use at least {fewest}: more evaluations, or fewer "
    "points per replicate"
)


def estimate_from_moments(
    moments: Moments,
    kept: tuple[Floats, Floats] | None,
    provenance: Provenance,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    options: IntervalOptions,
    *,
    stopping: Stopping | None = None,
    boolean: tuple[bool, ...] = (),
    bounds: tuple[tuple[float, float], ...] = (),
    rank: int = 0,
    warnings: tuple[str, ...] = (),
) -> Estimate:
    """Return the estimate of one run.

    Parameters
    ----------
    moments : Moments
        Moments of the replicate means.
    kept : tuple of two ndarray of shape (R, k), or None
        The replicate means and the mean squared deviations within, where they were kept.
    provenance : Provenance
        What was done.
    shape : tuple of int
        Shape of the statistic's components.
    names : tuple of str
        Names of the components.
    options : IntervalOptions
        The interval that is asked for.
    stopping : Stopping, optional
        How a run that stopped by itself ended.
    boolean : tuple of bool
        Which components are boolean; empty where none is.
    bounds : tuple of tuple of two float
        Declared bounds of each component's values; empty where none are.
    rank : int
        Degrees of freedom that the coefficients of control variates use up.
    warnings : tuple of str
        Warnings of the run so far; warnings of the interval's coverage are added.
    """
    means, within = (None, None) if kept is None else kept
    sampled = input_of_run(moments, None if rank else means, provenance, boolean, bounds)
    sampled = replace(
        sampled,
        degrees_of_freedom=sampled.degrees_of_freedom - rank,
        bets_for=bets_for(stopping),
    )
    notes = coverage_warnings(
        moments,
        names,
        provenance.rounding,
        methods_of(sampled, options),
        options.numbers(len(moments.mean)),
        options.confidence_level,
        student_holds=sampled.student_holds,
        net=provenance.net > 0 and provenance.n_points >= LEAST_NET,
    )
    return estimate_from_sampled(
        sampled,
        provenance,
        shape,
        names,
        options,
        moments=moments,
        replicate_means=means,
        within=within,
        stopping=stopping,
        bounds=bounds,
        boolean=boolean,
        warnings=(*warnings, *notes),
    )


def estimate_from_sampled(
    sampled: IntervalInput,
    provenance: Provenance,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    options: IntervalOptions,
    *,
    stopping: Stopping | None = None,
    boolean: tuple[bool, ...] = (),
    warnings: tuple[str, ...] = (),
    **parts: Any,
) -> Estimate:
    """Return an estimate from the input of its interval.

    A run that was interrupted gets an interval that does not resample, or Student's with a warning. Where replicates
    are too few for the interval that was asked for, the error carries the estimate with Student's interval as its
    ``partial``.

    Parameters
    ----------
    sampled : IntervalInput
        Mean, standard error and the other input of the interval.
    provenance, shape, names, options, stopping, boolean, warnings
        As for `estimate_from_moments`.
    **parts
        Further attributes of the estimate.
    """
    level, quantiles = options.confidence_level, parts.pop("quantiles", None)
    if stopping is not None:
        sampled = replace(sampled, first_stage=stopping.first_stage, planned=stopping.planned)
        if stopping.first_stage is not None:
            options = replace(options, method="two-stage-t")
    if provenance.partial:
        options = options.without_resampling()

    def made(chosen: IntervalOptions, notes: tuple[str, ...]) -> Estimate:
        interval, half_width, method = interval_of_functional(sampled, chosen, parts.get("scale"), quantiles)
        notes += _without_ends(interval, quantiles, shared_level(level, chosen.numbers(len(sampled.mean))))
        return Estimate(
            mean=shaped(sampled.mean, shape),
            standard_error=shaped(sampled.standard_error, shape),
            interval=shaped_interval(interval, shape),
            half_width=shaped(half_width, shape),
            degrees_of_freedom=shaped(sampled.degrees_of_freedom, shape),
            confidence_level=level,
            method=method,
            names=names,
            provenance=provenance,
            skewness=None if sampled.skewness is None else shaped(sampled.skewness, shape),
            stopping=stopping,
            boolean=boolean,
            warnings=notes,
            quantiles=None if quantiles is None else quantiles.kept(),
            **parts,
        )

    try:
        return made(options, warnings)
    except ValueError as error:
        if provenance.partial:
            note = f"{error}; the interval is Student's, which does not allow for stopping when one likes"
            return made(replace(options, method="student-t"), (*warnings, note))
        with_partial(error, made(IntervalOptions(level), warnings))
        raise


def _without_ends(interval: Interval, quantiles: Quantiles | QuantileSum | None, level: float) -> tuple[str, ...]:
    """Return a warning where an interval of a quantile, at this level, lacks an end."""
    if quantiles is None or (np.isfinite(interval.low).all() and np.isfinite(interval.high).all()):
        return ()
    need = quantiles.evaluations_for_two_ends(level)
    return (
        f"{quantiles.n_values:,} values do not reach far enough beyond a quantile for an end of the interval, which is "
        f"infinite; about {need:,} evaluations would have two ends",
    )


FEWEST_OF_DISTANCE = 30
"""Fewest replicates of a distance without a warning: with 20 of very skewed features in one dimension, intervals of
95 % covered 0.88, with 40 in two dimensions 0.96."""
_FEW_OF_DISTANCE = (
    "{n} replicates are few for the interval of a distance, which may cover less often than it says. Use at least "
    "{fewest}: more evaluations, or fewer points per replicate"
)
FEWEST_GROUPS = 32
"""Fewest groups of a jackknife without a warning."""


class EvaluatedFunctional(Protocol):
    """A functional at the replicates of a run; see `mcgen.functionals.base.Evaluated`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its components."""
        ...

    @property
    def plug_in(self) -> Floats:
        """The functional of the law of all values, with its bias."""
        ...

    @property
    def strata(self) -> tuple[Floats, ...]:
        """Pseudo-values of each independent run."""
        ...

    @property
    def scale(self) -> Scale | Lengthened | None:
        """The estimate on the scale of its interval, or the interval of a distance."""
        ...

    @property
    def quantiles(self) -> Quantiles | QuantileSum | None:
        """What the interval of a quantile, or a sum of quantiles, is made from."""
        ...


def estimate_from_functional(
    evaluated: EvaluatedFunctional,
    provenance: Provenance,
    names: tuple[str, ...],
    options: IntervalOptions,
    *,
    stopping: Stopping | None = None,
    warnings: tuple[str, ...] = (),
) -> Estimate:
    """Return the estimate of a functional of one run; its pseudo-values stand for replicate means.

    Parameters
    ----------
    evaluated : EvaluatedFunctional
        The functional at the replicates.
    provenance, names, options, stopping, warnings
        As for `estimate_from_moments`.
    """
    (pseudo_values,) = evaluated.strata
    moments, quantiles = moments_of(pseudo_values), evaluated.quantiles
    sampled = replace(input_of_run(moments, pseudo_values, provenance, (), ()), student_holds=None)
    if isinstance(evaluated.scale, Lengthened):
        sampled = replace(sampled, skewness=evaluated.scale.skewness)
        few = moments.count < FEWEST_OF_DISTANCE
        notes = [_FEW_OF_DISTANCE.format(n=moments.count, fewest=FEWEST_OF_DISTANCE)] if few else []
    elif quantiles is None and moments.count < min(provenance.n_replicates, FEWEST_GROUPS):
        notes = [
            f"the interval is made from {moments.count} groups of replicates, since their means were not kept: it is "
            "wider than it need be, and covers less often where they are few. Leave out keep_replicates=False"
        ]
    elif not isinstance(quantiles, Quantiles):
        notes = coverage_warnings(
            moments,
            names,
            provenance.rounding,
            methods_of(sampled, options),
            options.numbers(len(moments.mean)),
            options.confidence_level,
            net=provenance.net > 0 and provenance.n_points >= LEAST_NET,
        )
    else:
        few = moments.count < FEWEST_FOR_INVERSION and not quantiles.independent
        notes = [_FEW.format(n=moments.count, fewest=FEWEST_FOR_INVERSION)] if few else []
    return estimate_from_sampled(
        sampled,
        provenance,
        evaluated.shape,
        names,
        options,
        moments=moments,
        replicate_means=pseudo_values,
        plug_in=shaped(evaluated.plug_in, evaluated.shape),
        scale=evaluated.scale,
        quantiles=quantiles,
        stopping=stopping,
        warnings=(*warnings, *notes),
    )

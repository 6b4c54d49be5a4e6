"""Weighted sums of independent estimates: averages over conditions, and sums of levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.functional_intervals import (
    Lengthened,
    covariance_by_reference,
    stretch_of_stages,
    sum_of_lengthened,
    summed,
)
from mcgen.inference.interval_input import shared_level, student_t_quantile
from mcgen.inference.log_ratios import welch_satterthwaite
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import Quantiles
from mcgen.inference.stopping import Stopping
from mcgen.results.estimate import Estimate, shaped
from mcgen.results.from_moments import EvaluatedFunctional, estimate_from_sampled
from mcgen.results.inputs import input_of_sum
from mcgen.results.provenance import Provenance


def weighted_sum(
    parts: tuple[Estimate, ...],
    weights: Floats,
    provenance: Provenance,
    options: IntervalOptions,
    *,
    stopping: Stopping | None = None,
    warnings: tuple[str, ...] = (),
) -> Estimate:
    r"""Return the weighted sum of independent estimates of the same components.

    With weights :math:`w_i` and standard errors :math:`s_i` the variance is :math:`\sum_i w_i^2 s_i^2`, and the third
    central moment is :math:`\sum_i w_i^3 s_i^3 \lambda_i` for skewnesses :math:`\lambda_i`. Degrees of freedom are
    those of Welch and Satterthwaite. A part that stopped by itself enters with a larger standard error: the one with
    which Student's interval would be as wide as the part's own. So does a probability in a sum that is no average, such
    as a difference: its own interval is not empty where no event was seen.

    Parameters
    ----------
    parts : tuple of Estimate
        The estimates, on independent random numbers.
    weights : ndarray of shape (parts,) or (parts, k)
        A weight for each part, or for each part and component.
    provenance : Provenance
        What was done for the sum.
    options : IntervalOptions
        The interval that is asked for.
    stopping : Stopping, optional
        How the parts ended, where they stopped by themselves.
    warnings : tuple of str
        Warnings of the parts.
    """
    weights = weights.reshape(len(parts), -1)
    is_average = weights.shape[1] == 1 and bool((weights > 0).all())
    as_events = options.by_component and not is_average
    means = np.stack([np.ravel(part.mean) for part in parts])
    variances = (weights * np.stack([_error_in_sums(part, options.shared_with, as_events) for part in parts])) ** 2
    df = np.stack([np.ravel(part.degrees_of_freedom) for part in parts])
    skewnesses = np.stack([np.asarray(part.skewness, np.float64).ravel() for part in parts])
    scales = [part.scale for part in parts if isinstance(part.scale, Lengthened)]
    shared = covariance_by_reference(scales, weights[:, 0].tolist()) if len(scales) == len(parts) else 0.0
    standard_error = np.sqrt(np.maximum(variances.sum(axis=0) + shared, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.nan_to_num((np.sign(weights) * variances**1.5 * skewnesses).sum(axis=0) / standard_error**3)
    mean, df = (weights * means).sum(axis=0), welch_satterthwaite(variances, df)
    shares = tuple(weights[:, 0].tolist()) if is_average else ()
    boolean = _boolean_in_all(parts) if is_average else ()
    sampled = replace(
        input_of_sum([part._sampled() for part in parts], shares, boolean),
        mean=mean,
        standard_error=standard_error,
        degrees_of_freedom=df,
        seed=provenance.seed,
        skewness=skewness,
    )
    shape, names = parts[0].shape, parts[0].names
    own = sum_of_lengthened(scales, weights, skewness) if len(scales) == len(parts) else None
    return estimate_from_sampled(
        sampled,
        provenance,
        shape,
        names,
        options,
        stopping=stopping,
        boolean=boolean,
        warnings=warnings,
        parts=parts,
        weights=shares,
        quantiles=_sum_of_quantiles(parts, weights[:, 0].tolist()),
        scale=own,
    )


def _sum_of_quantiles(parts: tuple[Estimate, ...], weights: Sequence[float]) -> QuantileSum | None:
    """Return the sum of quantiles of independent runs, or of such sums; None for other estimates."""
    terms: list[Quantiles] = []
    factors: list[float] = []
    for weight, part in zip(weights, parts, strict=True):
        found = part.quantiles
        if isinstance(found, Quantiles):
            terms.append(found.stretched(stretch_of_stages(part._sampled(), part.confidence_level)))
            factors.append(weight)
        elif found is not None and not found.same_noise:
            terms += found.terms
            factors += [weight * factor for factor in found.factors]
        else:
            return None
    return QuantileSum(tuple(terms), tuple(factors), same_noise=False)


def of_mixture(
    parts: tuple[Estimate, ...],
    evaluated: EvaluatedFunctional,
    weights: Floats,
    provenance: Provenance,
    names: tuple[str, ...],
    options: IntervalOptions,
    *,
    stopping: Stopping | None = None,
    warnings: tuple[str, ...] = (),
) -> Estimate:
    """Return the estimate of a functional of a mixture of laws, each of which was run independently.

    Parameters
    ----------
    parts : tuple of Estimate
        The functional of each law; for a distance, which is that of all features together, the means of its statistic.
    evaluated : EvaluatedFunctional
        The functional of the mixture, with the pseudo-values of each run.
    weights : ndarray of shape (parts,)
        Weights of the laws.
    names : tuple of str
        The names of the components.
    provenance, options, stopping, warnings
        As for `weighted_sum`.
    """
    found, shares = summed(evaluated.strata), tuple(weights.tolist())
    sampled = replace(
        input_of_sum([part._sampled() for part in parts], shares, ()),
        mean=found.mean,
        standard_error=found.standard_error,
        degrees_of_freedom=found.degrees_of_freedom,
        seed=provenance.seed,
        skewness=evaluated.scale.skewness if isinstance(evaluated.scale, Lengthened) else found.skewness,
        student_holds=None,
    )
    return estimate_from_sampled(
        sampled,
        provenance,
        evaluated.shape,
        names,
        options,
        stopping=stopping,
        warnings=warnings,
        parts=parts,
        weights=shares,
        plug_in=shaped(evaluated.plug_in, evaluated.shape),
        scale=evaluated.scale,
        quantiles=evaluated.quantiles,
    )


def _boolean_in_all(parts: tuple[Estimate, ...]) -> tuple[bool, ...]:
    """Return which components are boolean in all parts; empty where none is."""
    if not all(part.boolean for part in parts):
        return ()
    found = tuple(map(all, zip(*(part.boolean for part in parts), strict=True)))
    return found if any(found) else ()


def _error_in_sums(part: Estimate, shared_with: int, as_events: bool) -> Floats:
    """Return the standard errors of a part, or what stands for them in a sum.

    Where the part stopped by itself, that is its half-width over Student's quantile. With `as_events` it is the longer
    side of the interval over this quantile for boolean components.
    """
    error = np.ravel(part.standard_error)
    boolean = np.array(part.boolean, bool) if as_events and part.boolean else np.zeros(len(error), bool)
    if part.stopping is None and not boolean.any():
        return error
    simultaneous = IntervalOptions.of_result(part.confidence_level, part.method).simultaneous
    level = shared_level(part.confidence_level, len(error) * shared_with) if simultaneous else part.confidence_level
    t = student_t_quantile((1 + level) / 2, np.ravel(part.degrees_of_freedom))
    half = np.ravel(part.half_width) if part.stopping is not None else np.zeros(len(error))
    longer = np.maximum(np.ravel(part.mean - part.interval.low), np.ravel(part.interval.high - part.mean))
    return np.asarray(np.maximum(error, np.where(boolean, longer, half) / t))

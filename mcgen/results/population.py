"""The estimate of the mean of a population, of which the conditions that were run are a sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcgen.inference.functional_intervals import moments_of
from mcgen.inference.intervals import methods_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.population import means_of_clusters, population_warnings, variance_components
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_sampled
from mcgen.results.inputs import input_of_run
from mcgen.results.provenance import Provenance


def of_population(
    parts: tuple[Estimate, ...],
    clusters: NDArray[np.int64] | None,
    provenance: Provenance,
    options: IntervalOptions,
    *,
    warnings: tuple[str, ...] = (),
) -> Estimate:
    """Return the mean of a population from the estimates of a sample of its conditions; see `inference.population`.

    The values of the conditions, or the means of their clusters, stand for replicate means.

    Parameters
    ----------
    parts : tuple of Estimate
        The estimates of the conditions, on independent random numbers.
    clusters : ndarray of int of shape (conditions,), or None
        The cluster of each condition, numbered from 0.
    provenance, options, warnings
        As for `weighted_sum`.
    """
    values = np.stack([np.ravel(part.mean) for part in parts])
    variances = np.stack([np.ravel(part.standard_error) for part in parts]) ** 2
    evaluations = np.array([part.n_evaluations for part in parts], np.float64)
    units = values if clusters is None else means_of_clusters(values, clusters)
    provenance = replace(provenance, across="population", net=0)
    moments = moments_of(units)
    sampled = input_of_run(moments, units, provenance, (), ())
    names, called = parts[0].names, "conditions" if clusters is None else "clusters"
    methods, numbers = methods_of(sampled, options), options.numbers(len(names))
    notes = population_warnings(units, names, called, provenance.rounding, methods, numbers)
    return estimate_from_sampled(
        sampled,
        provenance,
        parts[0].shape,
        names,
        options,
        warnings=(*warnings, *notes),
        parts=parts,
        moments=moments,
        replicate_means=units,
        variance_components=variance_components(values, variances, evaluations, clusters),
    )

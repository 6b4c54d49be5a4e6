"""Arguments of the analyses of steps, and the intervals of what they measure at each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy
from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.errors import NonFiniteError
from mcgen.generators.stepwise import Stepwise
from mcgen.inference.interval_input import Interval, IntervalInput
from mcgen.inference.intervals import interval_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.sizes import checked_batch_size, require_single
from mcgen.replicates.streams import condition_text
from mcgen.results.provenance import Provenance
from mcgen.runs.outcome import library_versions

# Steps that are looked at where the caller chooses none.
_DEFAULT_STEPS = 10


def listed(argument: str, given: Any, wanted: str) -> list[Any]:
    """Return several things as a list, a text as a list of itself; refuse what is no sequence, with what is wanted.

    Raises
    ------
    TypeError
        If it is no sequence.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, Iterable):
        raise TypeError(f"{argument} must be {wanted}; got {given!r}")
    return [*given]


def checked_names(argument: str, given: str | Sequence[str], allowed: Sequence[str], advice: str = "") -> list[str]:
    """Return names without repeats, each of those allowed.

    Raises
    ------
    TypeError, ValueError
        If there is none, or an unknown one.
    """
    names = [*dict.fromkeys(listed(argument, given, f"one or several of {', '.join(map(repr, allowed))}"))]
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        found = ", ".join(map(repr, unknown)) or "none"
        raise ValueError(f"{argument} must be among {', '.join(map(repr, allowed))}; got {found}{advice}")
    return names


def flat_rows(array: Any, where: str) -> Floats:
    """Return an array (n, ...) of any library as (n, pixels) in double precision.

    Raises
    ------
    NonFiniteError
        If it has a NaN or an infinity.
    """
    rows = as_numpy(array)
    rows = rows.reshape(len(rows), -1).astype(np.float64)
    if not np.isfinite(rows).all():
        raise NonFiniteError(f"{where} has a NaN or an infinity; look at the model's states there")
    return np.asarray(rows)


def is_constant(deviations: Floats, values: Floats, rounding: float) -> NDArray[np.bool_]:
    """Return which rows vary by rounding alone.

    Parameters
    ----------
    deviations : ndarray of shape (n, k)
        Deviations from the mean of each row.
    values : ndarray of shape (n, k)
        The values themselves.
    rounding : float
        Relative rounding error of the values' type.
    """
    return np.asarray(np.abs(deviations).max(axis=1) <= 4 * rounding * np.abs(values).max(axis=1))


def intervals_of(
    values: Floats, seed: Seed, confidence_level: float, shared_with: int = 1
) -> tuple[Floats, Interval, Interval]:
    """Return the means of the columns of independent rows (n, k), the interval of each, and a simultaneous band.

    Parameters
    ----------
    values : ndarray of shape (n, k)
        One row for each pair or base.
    seed : int or SeedSequence
        Seed of the band's resampling.
    confidence_level : float
        Level of the intervals, and of the band.
    shared_with : int
        Number of such bands that hold together.
    """
    moments = Moments.of(ReplicateMeans(0, values, np.zeros_like(values), None, 2))
    sampled = IntervalInput.of(moments, values, as_seed_sequence(seed))
    each, _, _ = interval_of(sampled, IntervalOptions(confidence_level))
    band, _, _ = interval_of(sampled, IntervalOptions(confidence_level, None, True, shared_with))
    # With few and very skewed values one end of a band may lie inside that of an interval.
    return moments.mean, each, Interval(np.minimum(each.low, band.low), np.maximum(each.high, band.high))


def checked_rows(batch_size: int | None, n_pairs: int | None = None) -> int:
    """Return the most rows that a model sees at a time: whole pairs, of so many in all where that is known.

    Raises
    ------
    ValueError
        If there is no room for a pair.
    """
    rows = checked_batch_size(batch_size, 2, n_pairs)
    if rows < 2:
        raise ValueError(f"batch_size must be at least 2, a pair; got {batch_size}. Leave it out for about 64")
    return rows


def checked_steps(steps: Any, n: int) -> NDArray[np.int64]:
    """Return different steps of a sampler of n steps in their order; where none are given, ten that are evenly spaced.

    Raises
    ------
    TypeError, ValueError
        If there is none, one twice, or one that the sampler does not have.
    """
    if steps is None:
        return np.unique(np.rint(np.linspace(0, n - 1, _DEFAULT_STEPS)).astype(np.int64))
    given = [checked_integer("each of steps", one) for one in listed("steps", steps, "a list of numbers of steps")]
    if not given or min(given) < 0 or max(given) >= n or len({*given}) < len(given):
        raise ValueError(f"steps must be different steps of the model, 0 to {n - 1}; got {steps}")
    return np.array(sorted(given), np.int64)


def require_one_condition(condition: Any) -> None:
    """Refuse several conditions."""
    require_single(condition, "a profile is of one condition; got {}. Make one for each of them")


def provenance_of_steps(
    model: Stepwise,
    seed: Seed,
    condition: Any,
    *,
    what: str,
    design: str,
    n: int,
    evaluations: int,
    batch_size: int,
    n_points: int = 2,
) -> Provenance:
    """Return what was done: n replicates of some points each, at the work of so many samples."""
    return Provenance(
        generator=name_of(model),
        statistic=what,
        noise=str(model.noise),
        dimension=model.noise.dimension,
        design=design,
        n_points=n_points,
        n_replicates=n,
        n_evaluations=evaluations,
        seed=as_seed_sequence(seed),
        condition=None if condition is None else condition_text(condition),
        batch_size=batch_size,
        versions=library_versions(),
    )

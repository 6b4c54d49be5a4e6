"""`variance_shares`: which noise the variance is due to. The mathematics is in `mcgen.analysis.indices`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_flag, checked_integer
from mcgen.analysis.indices import Index, indices_of, jackknifed
from mcgen.analysis.noise_parts import BLOCKS, COORDINATES, parts_of
from mcgen.analysis.pick_freeze import PickFreeze
from mcgen.analysis.shares import VarianceShares
from mcgen.errors import CoverageWarning, RunError, warn_user
from mcgen.functionals import Functional
from mcgen.generators import Generator
from mcgen.inference.interval_input import Interval, IntervalInput
from mcgen.inference.intervals import interval_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import varies_by_rounding
from mcgen.noise import NoiseSpec
from mcgen.noise.directions import Basis
from mcgen.noise.random import Seed
from mcgen.replicates.clock import Clock
from mcgen.replicates.gathering import Values, require_room
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.sizes import checked_batch_size, require_single
from mcgen.replicates.streams import under_condition
from mcgen.replicates.tally import Tally
from mcgen.replicates.task import Findings, Task, estimand_of
from mcgen.results.provenance import Provenance
from mcgen.runs.outcome import Outcome, provenance_of
from mcgen.runs.scores import influence_of, parts_of_score
from mcgen.statistics import Statistic
from mcgen.statistics.values import component_names

FEWEST_REPLICATES, FEWEST_WITHOUT_WARNING = 20, 100
"""Fewest replicates; and fewest for which 95 % intervals are promised to cover 0.93 to 0.97 of the time."""
# Fewest replicates of equal size that have the sum and the sum of squares of a variance, and of a total index, without
# a warning. Of 100 replicates a linear statistic of normal noise has 51 and 35, and the exponential of a normal number
# with standard deviation 0.75 has 19 and 15; its 95 % intervals covered 0.91 to 0.93.
_FEW_OF_VARIANCE, _FEW_OF_TOTAL = 25, 12
# Components at a time, by the numbers that their indices take in all replicates (32 MB each).
_AT_ONCE = 2**22
# Differences below so many rounding errors are none.
_ROUNDINGS = 8
# Rounding errors of indices, of float32 samples too: differences enter by their squares and products.
_ROUNDING = 1e-12

_Blocks = Literal["each"] | Sequence[str] | Mapping[str, str | Sequence[str]]


def variance_shares(
    generator: Generator,
    score: Statistic | Functional,
    *,
    n_evaluations: int,
    seed: Seed,
    condition: Any = None,
    blocks: _Blocks | None = None,
    basis: Basis | None = None,
    n_directions: int | Sequence[int] | None = None,
    coordinates: int = 2,
    confidence_level: float = 0.95,
    simultaneous: bool = False,
    batch_size: int | None = None,
) -> VarianceShares:
    """Return which noise the variance of a statistic is due to: the share of each part, with an interval.

    Use it to see which noise matters, and why a design gains. Antithetic pairs remove the odd share. Latin hypercubes
    remove the share that is additive in the coordinates. `Subspace` removes most of the share of the directions of its
    basis.

    Parameters
    ----------
    generator, score, seed, condition, batch_size
        As for `mcgen.estimate`, for one condition. A functional is replaced by its influence values, whose mean varies
        as the functional does; a pilot of 128 or more evaluations finds them.
    n_evaluations : int
        Upper limit of the evaluations, a pilot included. A replicate takes 4. It takes 2 more for each part of the
        noise (2 in all for two parts), for each entry of `n_directions`, and for each of `coordinates`.
    blocks : "each", sequence of str, or mapping of str to str or sequence of str, optional
        The parts of the noise: names of blocks, such as "start"; patterns, such as ``"step *"``, for several blocks
        that are one part; or entries along the first axis of a block, such as "steps[3]" and "steps[0:10]". A mapping
        gives the parts names. The rest is one more part. "each" takes each block. By default each of up to 4 blocks is
        a part. Of more blocks, those whose names differ in a number at the end are one part. Noise of one block has no
        parts by default.
    basis : Basis, optional
        Directions of the noise, such as those of `mcgen.bases.active_subspace`; its pilot counts in the provenance.
    n_directions : int or sequence of int, optional
        How many leading directions of the basis form a part together; by default all of them.
    coordinates : int
        How many coordinates of the noise are drawn in each replicate, for the additive share and the mean dimension.
        If the noise has fewer, all of them are. More make both more precise; 0 omits both.
    confidence_level, simultaneous
        As for `mcgen.estimate`; simultaneous intervals cover all numbers of the result together.

    Returns
    -------
    VarianceShares
        Shares of the variance, and mean dimensions.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, a block is drawn independently for every point, or the evaluations are
        fewer than 20 replicates.
    RunError
        If the statistic does not vary, or the generator or the statistic breaks a law.

    Warns
    -----
    CoverageWarning
        If there are fewer than 100 replicates, or a share rests on few of them.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> noise = mcgen.NoiseSpec({"start": mcgen.Block((4,)), "steps": mcgen.Block((10, 4))})
    >>> model = mcgen.as_generator(lambda z: 3 * z["start"] + z["steps"].sum(axis=1) ** 2 / 10, noise, name="walk")
    >>> shares = mcgen.analysis.variance_shares(
    ...     model, mcgen.statistics.pixel_mean, n_evaluations=4000, seed=0, blocks=["start", "steps"]
    ... )
    >>> found = shares.share("start", "first-order")
    >>> 0.7 < found.estimate < 0.9, 9 / 11 in found.interval
    (True, True)
    """
    require_single(condition, "variance shares are of one condition; got {}. Call it for each of them")
    options = IntervalOptions(
        confidence_level, None, "skewness-safe" if checked_flag("simultaneous", simultaneous) else False
    )
    statistic, functional = parts_of_score(score)
    estimand = under_condition(estimand_of(generator, statistic, seed, condition, {"statistic": score}), condition)
    design = _design(estimand.generator.noise, blocks, basis, n_directions, coordinates)
    budget, pilot = checked_integer("n_evaluations", n_evaluations), 0
    if functional is not None:
        _checked_count(budget, design)
        influence, pilot = influence_of(estimand, functional)
        estimand = replace(estimand, statistic=influence)
    count = _checked_count(budget, design, pilot)
    task = estimand.task(design, checked_batch_size(batch_size, design.n_points, count))
    values, outcome = _run(replace(task, gatherers=(Values(),)), count)
    provenance = _provenance(task, outcome, statistic, functional, pilot, basis)
    facts = outcome.facts
    names = component_names(estimand.statistic, facts.components)
    return _result(values, design, names, facts.rounding, options, provenance)


def _design(
    spec: NoiseSpec, blocks: _Blocks | None, basis: Basis | None, n_directions: Any, coordinates: int
) -> PickFreeze:
    """Return the design that has the points for what is asked."""
    hidden = [name for name, block in spec.blocks if block.iid]
    if hidden:
        raise ValueError(
            f"the noise block {hidden[0]!r} is drawn independently for every point (iid=True), so that it can't be "
            "kept while other noise changes. Declare it without iid, or fix it, as by a condition"
        )
    if basis is None and n_directions is not None:
        raise ValueError(
            f"n_directions={n_directions} are directions of a basis; pass one, such as "
            "basis=mcgen.bases.dct_basis(generator.noise, 8)"
        )
    n = checked_integer("coordinates", coordinates)
    if n < 0:
        raise ValueError(f"coordinates must be 0 or more; got {n}. 0 leaves out what is additive in the coordinates")
    # The single coordinate of one-dimensional noise is all of it.
    n = 0 if spec.dimension == 1 else min(n, spec.dimension)
    return PickFreeze(parts_of(spec, blocks), basis, _directions(spec, basis, n_directions), n)


def _directions(spec: NoiseSpec, basis: Basis | None, asked: Any) -> tuple[int, ...]:
    """Return how many leading directions are looked at together."""
    if basis is None:
        return ()
    if not isinstance(basis, Basis):
        raise TypeError(
            f"basis must be an mcgen.bases.Basis; got {type(basis).__name__}. For a matrix write Basis(matrix)"
        )
    basis.by_block(spec)
    given = [basis.n_directions] if asked is None else asked if isinstance(asked, Sequence) else [asked]
    found = tuple(checked_integer("n_directions", one) for one in given)
    if not found or len({*found}) < len(found) or not all(1 <= r <= basis.n_directions for r in found):
        raise ValueError(
            f"n_directions must be different numbers from 1 to the {basis.n_directions} of {basis}; got {asked}"
        )
    return found


def _checked_count(budget: int, design: PickFreeze, pilot: int = 0) -> int:
    """Return the number of replicates, or refuse too few."""
    n, count = design.n_points, (budget - pilot) // design.n_points
    if count < FEWEST_REPLICATES:
        after = f" after a pilot of {pilot}" if pilot else ""
        raise ValueError(
            f"variance shares need at least {FEWEST_REPLICATES} replicates of {n} points ({design}){after}; got "
            f"n_evaluations={budget}. Use {FEWEST_REPLICATES * n + pilot:,} or more; "
            f"{FEWEST_WITHOUT_WARNING * n + pilot:,} are enough for intervals that cover"
        )
    return count


def _run(task: Task, count: int) -> tuple[Floats, Outcome]:
    """Return the values of all replicates, shape (R, points, k), and the outcome of the run."""
    findings, clock, tally = Findings(task), Clock(), Tally(True)
    for rows in replicate_means(task, range(count), findings):
        require_room(rows, count)
        tally.add(rows)
        clock.tick(len(rows) * task.design.n_points)
    kept = tally.rows()
    assert kept is not None
    return kept.gathered[Values.name], Outcome(tally, findings.facts, False, clock)


def _provenance(
    task: Task,
    outcome: Outcome,
    statistic: Statistic,
    functional: Functional | None,
    pilot: int,
    basis: Basis | None,
) -> Provenance:
    made = provenance_of(replace(task, statistic=statistic), outcome, 0)
    spent = made.pilot_evaluations + pilot + (0 if basis is None else basis.n_evaluations)
    return replace(made, pilot_evaluations=spent, functional=None if functional is None else functional.label)


def _result(
    values: Floats,
    design: PickFreeze,
    names: tuple[str, ...],
    rounding: float,
    options: IntervalOptions,
    provenance: Provenance,
) -> VarianceShares:
    """Return the indices of all components, and of all of them together."""
    mean, variance = values.mean(axis=(0, 1)), values.var(axis=(0, 1))
    constant = varies_by_rounding(mean, variance, variance, rounding)
    size = max(1, _AT_ONCE // (len(values) * values.shape[1]))
    together: list[Index] = []
    numbers, few = [], 0
    for start in range(0, len(names), size):
        indices = [*indices_of(values[:, :, start : start + size], design, provenance.dimension)]
        numbers.append(jackknifed(indices))
        few += _n_few(indices)
        own = [one.over_components() for one in indices]
        together = [one.plus(other) for one, other in zip(together, own, strict=True)] if together else own
    undefined = constant | ~np.isfinite(np.concatenate(numbers, axis=2)).all(axis=(0, 1))
    if len(names) > 1:
        numbers.append(jackknifed(together))
        names, undefined = (*names, "all components"), np.append(undefined, False)
        variance = np.append(variance, variance.sum())
    found = np.concatenate(numbers, axis=2)
    found[:, :, undefined] = np.nan
    if not np.isfinite(found[:, :, -1]).all():
        raise RunError(
            f"the statistic {provenance.statistic!r} does not vary over the {provenance.n_evaluations:,} samples, or "
            "varies in a single replicate, so that there is no variance to share out. Use a statistic that varies, or "
            "more evaluations"
        )
    square = float((mean**2).sum() + variance[-1])
    warnings = _warnings(together, len(values), (int(undefined.sum()), few), square * rounding**2)
    for text in warnings:
        warn_user(text, CoverageWarning)
    return _shares(together, found, names, variance, options, provenance, warnings)


def _warnings(together: Sequence[Index], n: int, n_components: tuple[int, int], rounding: float) -> tuple[str, ...]:
    """Return reasons for doubt.

    Parameters
    ----------
    together : sequence of Index
        The indices of all components together.
    n : int
        Number of replicates.
    n_components : tuple of int
        Numbers of components that do not vary, and of those whose variance rests on few replicates.
    rounding : float
        Mean square of the rounding errors of all components.
    """
    found, (n_undefined, n_few) = [], n_components
    if n < FEWEST_WITHOUT_WARNING:
        found.append(
            f"intervals of variance shares from {n} replicates may cover less often than they say; use "
            f"{FEWEST_WITHOUT_WARNING} replicates or more"
        )
    elif n_few:
        whose = "a variance rests" if n_few == 1 else f"the variances of {n_few} components rest"
        found.append(
            f"{whose} on few of {n} replicates, as for values with heavy tails, and intervals of shares may cover less "
            "often than they say; use more evaluations"
        )
    if n_undefined:
        several = "1 component does" if n_undefined == 1 else f"{n_undefined} components do"
        found.append(f"{several} not vary, or in a single replicate alone: the shares are NaN")
    return (*found, *_doubts(together, n, rounding))


def _n_few(indices: Sequence[Index]) -> int:
    """Return how many components vary, and have a variance that rests on few replicates."""
    sizes = np.stack([_effective(one.denominator) for one in indices])
    return int(((sizes < _FEW_OF_VARIANCE) & (sizes > 0)).any(axis=0).sum())


def _doubts(together: Sequence[Index], n: int, rounding: float) -> Iterator[str]:
    """Yield which parts matter in few of n replicates, or in none."""
    enough = n >= FEWEST_WITHOUT_WARNING
    totals = [one for one in together if one.name in ("total", "mean dimension") and one.part != BLOCKS]
    for one in totals:
        if one.numerator.mean() <= _ROUNDINGS**2 * rounding:
            yield (
                f"{one.part!r} changed the statistic in none of {n} replicates: it does not matter, unless it acts in "
                f"fewer than about one of {n // 3} samples"
            )
        elif enough and _effective(one.numerator)[0] < _FEW_OF_TOTAL:
            yield (
                f"the shares of {one.part!r} rest on few of {n} replicates, and their intervals may be too short; use "
                "more evaluations" + (", or more coordinates" if one.part == COORDINATES else "")
            )


def _effective(terms: Floats) -> Floats:
    """Return how many terms of equal size have the sum and the sum of squares of these, for each component."""
    squares = (terms**2).sum(axis=0)
    return np.asarray(np.divide(terms.sum(axis=0) ** 2, squares, out=np.zeros(terms.shape[1]), where=squares > 0))


def _shares(
    indices: Sequence[Index],
    found: Floats,
    names: tuple[str, ...],
    variance: Floats,
    options: IntervalOptions,
    provenance: Provenance,
    warnings: tuple[str, ...],
) -> VarianceShares:
    """Return the result, with all numbers inside the range that an index can have."""
    lowest = np.array([[1.0 if one.name == "mean dimension" else 0.0] for one in indices])
    largest = np.array([[one.largest] for one in indices])
    mean, error, skewness = found
    # Indices that are 0 or 1, or a whole dimension, in every replicate show no rounding errors.
    exact = (error <= _ROUNDING) & (np.abs(mean - np.rint(mean)) <= _ROUNDING)
    mean, error, skewness = np.where(exact, np.stack([np.rint(mean), np.zeros_like(mean), np.zeros_like(mean)]), found)
    defined = np.isfinite(mean)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    df = np.full(int(defined.sum()), provenance.n_replicates - 1.0)
    sampled = IntervalInput(mean[defined], error[defined], df, None, provenance.seed, skewness[defined])
    made, _, method = interval_of(sampled, options)
    low[defined], high[defined] = made.low, made.high
    estimate = np.clip(mean, lowest, largest)
    # An interval that lies outside the range moves with its estimate: cut alone, it would have no width.
    low, high = (np.clip(end + (estimate - mean), lowest, largest) for end in (low, high))
    return VarianceShares(
        parts=tuple(one.part for one in indices),
        indices=tuple(one.name for one in indices),
        names=names,
        estimate=estimate,
        standard_error=error,
        interval=Interval(low, high),
        variance=variance,
        confidence_level=options.confidence_level,
        method=method,
        provenance=provenance,
        warnings=warnings,
    )

"""Arguments of runs, checked: what was got, what is allowed, what to do."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcgen._numbers import checked_integer
from mcgen.arrays import as_numpy
from mcgen.designs import Design
from mcgen.generators import Generator
from mcgen.intervals import FEWEST_FOR_BOOTSTRAP
from mcgen.moments import Floats
from mcgen.noise import NoiseSpec
from mcgen.statistics import Statistic

DEFAULT_BATCH = 64


def checked_replicates(design: Design, n_evaluations: int | None, n_replicates: int | None) -> int:
    """Return the number of replicates that is asked for.

    Raises
    ------
    TypeError, ValueError
        If not exactly one number is given, it is below 2 replicates, or the evaluations are no whole replicates.
    """
    checked_design(design)
    if (n_evaluations is None) == (n_replicates is None):
        raise ValueError(
            f"give either n_evaluations or n_replicates (mcgen.estimate takes atol or rtol in their place); got "
            f"n_evaluations={n_evaluations}, n_replicates={n_replicates}"
        )
    n = design.n_points
    if n_replicates is not None:
        count = checked_integer("n_replicates", n_replicates)
    else:
        evaluations = checked_integer("n_evaluations", n_evaluations)
        count, rest = divmod(evaluations, n)
        if rest:
            below, above = max(2, count) * n, max(2, count + 1) * n
            near = f"{below} or {above}" if below != above else f"{above}"
            raise ValueError(
                f"n_evaluations must be a multiple of the {n} points of a replicate of {design}; got {evaluations}. "
                f"Use {near}"
            )
    if count < 2:
        raise ValueError(
            f"an interval needs at least 2 replicates; got {count} of {n} points ({design}). Use n_evaluations of "
            f"{2 * n} or more (25 replicates are {25 * n}), or fewer points a replicate"
        )
    return count


def checked_protocol(value: Any, protocol: Any, name: str, advice: str) -> Any:
    """Return a value that satisfies a protocol, or refuse it with advice."""
    if not isinstance(value, protocol) or isinstance(value, type):
        raise TypeError(f"{name} must satisfy mcgen.{protocol.__name__}; got {value!r}. To get one, {advice}")
    return value


def checked_design(design: Any) -> Design:
    """Return a design."""
    found: Design = checked_protocol(
        design, Design, "design", "pass one such as mcgen.Antithetic(); mcgen.estimate takes 'auto' too"
    )
    return found


def checked_generator(generator: Any, name: str = "generator") -> Generator:
    """Return a generator whose noise is declared."""
    found: Generator = checked_protocol(
        generator, Generator, name, "wrap a function by mcgen.as_generator(f, noise=shape)"
    )
    if not isinstance(found.noise, NoiseSpec):
        raise TypeError(
            f"{name}.noise must be an mcgen.NoiseSpec; got {found.noise!r}. For one block of normal noise write "
            "NoiseSpec.normal(shape)"
        )
    return found


def checked_callable(statistic: Any) -> Statistic:
    """Return a statistic that can be called."""
    if not callable(statistic):
        raise TypeError(
            f"statistic must be a callable from n samples to n values; got {statistic!r}. For several use "
            "mcgen.statistics.stack(...)"
        )
    found: Statistic = statistic
    return found


def checked_batch_size(batch_size: int | None, n_points: int, n_replicates: int | None) -> int:
    """Return the rows that the model sees at a time; by default about 64, in groups of the same size.

    Of an unknown number of replicates, None, whole replicates of 64 rows at most.
    """
    if batch_size is None:
        if n_points >= DEFAULT_BATCH:
            return DEFAULT_BATCH
        if n_replicates is None:
            return DEFAULT_BATCH - DEFAULT_BATCH % n_points
        # Groups of the same size, so that the last is not half empty.
        n_groups = math.ceil(n_replicates * n_points / DEFAULT_BATCH)
        return math.ceil(n_replicates / n_groups) * n_points
    size = checked_integer("batch_size", batch_size)
    if size < 1:
        raise ValueError(f"batch_size must be at least 1; got {size}. Leave it out for about {DEFAULT_BATCH}")
    return size


def stream_of(condition: Any, number: int) -> tuple[str, ...]:
    """Return what sets a condition's random numbers apart: its own content, the same in every list and alone.

    Numbers, texts, and arrays of any library, alone or in tuples, are known by their content; anything else by its
    place in the list.
    """
    return () if condition is None else ("condition", content_of(condition) or f"number {number}")


def content_of(condition: Any) -> str | None:
    """Return a text that says a condition's content; None for what can't be known by it."""
    if isinstance(condition, np.generic):
        condition = condition.item()
    if condition is None or isinstance(condition, bool | int | float | complex | str | bytes):
        return repr(condition)
    if isinstance(condition, tuple):
        parts = [content_of(part) for part in condition]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    if hasattr(condition, "dtype") and hasattr(condition, "shape"):
        array = np.ascontiguousarray(as_numpy(condition))
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    return None


def checked_weights(conditions: list[Any], weights: Sequence[float] | None) -> Floats:
    """Return the weights of some conditions, which sum to 1; equal ones by default."""
    if not conditions:
        raise ValueError(
            "condition is an empty list; give at least one condition, or leave it out for a generator without"
        )
    keys = [stream_of(condition, number) for number, condition in enumerate(conditions)]
    if len(set(keys)) < len(keys):
        texts = [repr(condition) for condition in conditions]
        raise ValueError(f"conditions repeat in [{', '.join(texts)}]; list each once and count it by its weight")
    if weights is None:
        return np.full(len(conditions), 1 / len(conditions))
    try:
        given = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        given = np.empty(0)
    if given.shape != (len(conditions),) or not (given > 0).all() or abs(given.sum() - 1) > 1e-9:
        raise ValueError(
            f"weights must be {len(conditions)} numbers above 0 that sum to 1, one for each condition; got "
            f"{weights!r}. Divide them by their sum"
        )
    return given


def checked_resampling(n_replicates: int, keep_replicates: bool | None) -> None:
    """Refuse, before anything is run, what could not resample its replicate means in the end."""
    if keep_replicates is False or n_replicates < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(
            f"bootstrap and multiplier intervals need {FEWEST_FOR_BOOTSTRAP} or more replicates and "
            f"keep_replicates=True; got {n_replicates} replicates and keep_replicates={keep_replicates}. Otherwise use "
            "interval='student-t'"
        )

"""Errors and warnings of mcgen.

Each message says what was got, what is allowed, and what to do.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class RunError(ValueError):
    """Raised when a run cannot go on because the generator or the statistic broke one of its laws.

    An example is a statistic that returns a wrong number of values. A kind of ValueError. The replicates that were
    finished before are not lost: `partial` holds their result.

    Attributes
    ----------
    partial : Estimate, Comparison, Scorecard or None
        The result of the finished replicates; for `compare` of the finished designs, for `evaluate` of the finished
        models. None where there are too few.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z, noise=(16,), name="model")
    >>> halves = mcgen.as_statistic(lambda x: x[:, :3], components=["left", "right"], name="halves")
    >>> try:
    ...     mcgen.estimate(model, halves, design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    ... except mcgen.RunError as error:
    ...     print(str(error).split(";")[0])
    ...     print(error.partial)
    statistic 'halves' has 2 component names (left, right) and returned 3 values for each sample
    None
    """

    partial: Any = None


class NonFiniteError(RunError):
    """Raised when a sample, or a value of the statistic, is NaN or infinite.

    A kind of `RunError`. The message names the first such sample by its replicate and point, so that you can draw it
    again. `partial` holds the result of the replicates before.

    Examples
    --------
    The square root has no value for samples below -3.3, which are rare:

    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z[:, 0], noise=(1,), name="model")
    >>> @np.errstate(invalid="ignore")
    ... def root(x):
    ...     return np.sqrt(x + 3.3)
    >>> try:
    ...     mcgen.estimate(model, root, design=mcgen.MonteCarlo(), n_evaluations=20_000, seed=0)
    ... except mcgen.NonFiniteError as error:
    ...     print(error.partial.n_replicates > 64, error.partial.provenance.partial)
    True True
    """


class StoreError(RuntimeError):
    """Raised when a store cannot be used.

    The store is damaged, in use by another process, belongs to another run, or its disk is full. A kind of
    RuntimeError.

    Attributes
    ----------
    partial : Estimate or None
        The result of the finished replicates, where a run had begun.

    Examples
    --------
    A store belongs to one run. Another seed is another run:

    >>> import tempfile
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> path = tempfile.mkdtemp() + "/run.sqlite"
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, store=path)
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, seed=0, **options)
    >>> try:
    ...     mcgen.estimate(model, mcgen.statistics.pixel_mean, seed=1, **options)
    ... except mcgen.StoreError as error:
    ...     print("seed" in str(error))
    True
    """

    partial: Any = None


class WorkerError(RuntimeError):
    """Raised when an executor cannot go on.

    It is shut down, or its workers died, hang, or lack a module or a file. A kind of RuntimeError.

    Attributes
    ----------
    partial : Estimate or None
        The result of the finished replicates, where there are enough.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> executor = ThreadPoolExecutor(2)
    >>> executor.shutdown()
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> try:
    ...     mcgen.estimate(model, mcgen.statistics.pixel_mean, executor=executor, **options)
    ... except mcgen.WorkerError as error:
    ...     print(error.partial)
    None
    """

    partial: Any = None


class CoverageWarning(UserWarning):
    """Warns that an interval may contain the truth less often than its confidence level says.

    Typical reasons are few replicates, or replicate means that are too skewed for their number. The message says
    which, and what to do. The result's ``warnings`` keep it.

    Examples
    --------
    >>> import warnings
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=20, seed=0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> [one.category.__name__ for one in caught], len(result.warnings)
    (['CoverageWarning'], 1)

    In a test or a benchmark, turn it into an error:

    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", mcgen.CoverageWarning)
    ...     mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    Traceback (most recent call last):
    ...
    mcgen.errors.CoverageWarning: ...
    """


class GeneratorWarning(UserWarning):
    """Warns that the generator seems to break a law that the interval needs.

    A generator must make its samples from the noise that it is given. It must draw no random numbers itself, and must
    treat each sample alone. The message says which law is broken, and how to repair the generator.

    Examples
    --------
    This model draws numbers of its own, which no design can control:

    >>> import warnings
    >>> import numpy as np
    >>> import mcgen
    >>> rng = np.random.default_rng(0)
    >>> model = mcgen.as_generator(lambda z: z + rng.standard_normal(z.shape), noise=(16,), name="own numbers")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> {one.category.__name__ for one in caught}
    {'GeneratorWarning'}
    """


def with_partial(error: BaseException, made: Any) -> None:
    """Let an error carry, as its ``partial``, what was made before it; an exception that takes none stays as it is."""
    with suppress(Exception):
        error.partial = made  # type: ignore[attr-defined]


def partial_of(error: BaseException, kind: type[T]) -> T | None:
    """Return what an error carries as its ``partial``, where that is a result of mcgen; others have such a name too."""
    with suppress(Exception):
        found = error.partial  # type: ignore[attr-defined]
        return found if isinstance(found, kind) else None
    return None


class HeldWarnings:
    """Coverage warnings of the parts of a result, held back until those of a kind can be given as one.

    Warnings of other categories, and those that can't wait, are given at once: the first of each kind.

    Parameters
    ----------
    outer : HeldWarnings, optional
        The parts of a larger result, of which this result is one.
    """

    def __init__(self, outer: HeldWarnings | None = None) -> None:
        self._texts: list[str] = []
        self._given: set[str] = set() if outer is None else outer._given

    def take(self) -> list[str]:
        """Return the warnings that were held back since the last call."""
        taken, self._texts = self._texts, []
        return taken

    def passes(self, message: str, category: type[Warning], at_once: bool) -> bool:
        """Return whether a warning is to be given now; a coverage warning that can wait is held back."""
        if issubclass(category, CoverageWarning) and not at_once:
            self._texts.append(message)
            return False
        kind = kind_of(message)
        is_new = kind not in self._given
        self._given.add(kind)
        return is_new


_held: ContextVar[HeldWarnings | None] = ContextVar("_held", default=None)


@contextmanager
def held_warnings() -> Iterator[HeldWarnings]:
    """Hold back the coverage warnings of the parts of a result."""
    held = HeldWarnings(_held.get())
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


# Up to so many components have their names masked in a kind; names of more are numbered, and numbers are masked.
_MOST_NAMES = 1000
_NUMBER = re.compile(r"\d+(,\d{3})*(\.\d+)?(e[-+]?\d+)?|\b(nan|inf)\b")


def kind_of(message: str, names: Sequence[str] = ()) -> str:
    """Return what warnings of one kind share: the first sentence without numbers, names of components and asides."""
    kind = first_sentence(message)
    for name in sorted(names, key=len, reverse=True) if len(names) <= _MOST_NAMES else ():
        kind = kind.replace(name, "#") if name else kind
    return re.sub("#+", "#", _NUMBER.sub("#", re.sub(r" *\([^()]*\)", "", kind)))


def first_sentence(message: str) -> str:
    """Return the first sentence of a message, on one line and without its full stop."""
    return re.split(r"[.!?] (?=[A-Z])", " ".join(message.split()))[0]


def warn_user(message: str, category: type[Warning], at_once: bool = False) -> None:
    """Warn, and report the user's line: the nearest caller outside mcgen.

    Parameters
    ----------
    message, category
        As for `warnings.warn`.
    at_once : bool
        Whether the warning is for a run that is still going on, and must not wait for other parts of its result.
    """
    held = _held.get()
    if held is not None and not held.passes(message, category, at_once):
        return
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mcgen."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

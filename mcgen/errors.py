"""Errors and warnings of mcgen. Each message says what was given, what is allowed, and what to do."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class RunError(ValueError):
    """A run cannot go on because the generator or the statistic broke one of its laws.

    Attributes
    ----------
    partial : Estimate, Comparison or None
        Result of the finished replicates (for `compare`: of the finished designs), where there are enough.
    """

    partial: Any = None


class NonFiniteError(RunError):
    """A NaN or an infinity among the samples or the values of the statistic."""


class StoreError(RuntimeError):
    """A store cannot be used: it is damaged, in use, belongs to another run, or its disk is full.

    Attributes
    ----------
    partial : Estimate or None
        Result of the finished replicates, where a run had begun.
    """

    partial: Any = None


class WorkerError(RuntimeError):
    """An executor cannot go on: it is shut down, or its workers died, hang, or lack a module or a file.

    Attributes
    ----------
    partial : Estimate or None
        Result of the finished replicates, where there are enough.
    """

    partial: Any = None


class CoverageWarning(UserWarning):
    """The interval may cover less often than its confidence level says."""


class GeneratorWarning(UserWarning):
    """The generator seems to break a law that the interval needs; for example, it draws random numbers itself."""


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


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn, and report the user's line: the nearest caller outside mcgen."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mcgen."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

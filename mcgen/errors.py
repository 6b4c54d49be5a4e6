"""What mcgen raises and warns with. Every message says what was got, what is allowed, and what to do."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import Any


class RunError(ValueError):
    """A run that can't go on: the generator or the statistic broke one of its laws.

    Attributes
    ----------
    partial : Estimate, Comparison or None
        What the finished replicates (for `compare`: the finished designs) give, where there are enough.
    """

    partial: Any = None


class NonFiniteError(RunError):
    """A NaN or an infinity among the samples or the values of the statistic."""


class StoreError(RuntimeError):
    """A store that can't be used: damaged, of another run, in use, or on a disk that takes no more.

    Attributes
    ----------
    partial : Estimate or None
        What the finished replicates give, where a run was under way.
    """

    partial: Any = None


class WorkerError(RuntimeError):
    """An executor that can't go on: it is shut down, its workers died, hang, or lack what they need.

    Attributes
    ----------
    partial : Estimate or None
        What the finished replicates give, where there are enough.
    """

    partial: Any = None


class CoverageWarning(UserWarning):
    """The interval may cover less often than its confidence level says."""


class GeneratorWarning(UserWarning):
    """The generator seems to break a law that the interval needs, such as drawing noise of its own."""


def with_partial(error: BaseException, made: Any) -> None:
    """Let an error carry, as its ``partial``, what was made before it; an exception with slots stays as it is."""
    with suppress(AttributeError):
        error.partial = made  # type: ignore[attr-defined]


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the line outside mcgen that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mcgen."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)

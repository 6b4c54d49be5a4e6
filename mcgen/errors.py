"""Errors and warnings of mcgen. Each message says what was given, what is allowed, and what to do."""

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

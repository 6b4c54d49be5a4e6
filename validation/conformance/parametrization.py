"""Laws as tests of pytest: `parametrize_with_checks`."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any
from unittest import SkipTest

import numpy as np

from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.validation.conformance import designs, generators, statistics
from mcgen.validation.conformance.reports import MeasuredLaw, Report

# For each check: its laws, and the function that refuses objects of another kind.
_CHECKS: dict[Callable[..., Report], tuple[tuple[MeasuredLaw[Any], ...], Callable[[Any], object]]] = {
    generators.check_generator: (generators.LAWS, checked_generator),
    designs.check_design: (designs.LAWS, designs.checked_design),
    statistics.check_statistic: (statistics.LAWS, statistics.checked_statistic),
}


@dataclass(frozen=True)
class LawCheck:
    """One law of one object; a call returns if the law holds, and raises if it does not.

    Attributes
    ----------
    name : str
        Name of the object.
    law : str
        Name of the law.
    report : callable
        Returns the report, which all laws of one object share.
    """

    name: str
    law: str
    report: Callable[[], Report] = field(repr=False)

    def __call__(self) -> None:
        """Try the law.

        Raises
        ------
        AssertionError
            If the law does not hold; the message says by how much, and what to do.
        unittest.SkipTest
            If the law is not judged; pytest then skips the test.
        """
        # When a check fails, pytest shows the user's lines, not these.
        __tracebackhide__ = True
        check = next(check for check in self.report().checks if check.law == self.law)
        if check.not_judged:
            raise SkipTest(f"{self}: not judged: {check.not_judged}")
        if not check.passed:
            by = f"; gap {check.gap:.3g}, limit {check.limit:.3g}" if np.isfinite(check.gap) else ""
            raise AssertionError(f"{self.name} breaks a law: {check.meaning}{by}. {check.explanation}")

    def __str__(self) -> str:
        return f"{self.name}: {self.law}"


def law_checks(thing: Any) -> tuple[LawCheck, ...]:
    """Return the laws of a generator, a design or a statistic, as checks to call one by one.

    The first call tries all laws; the other checks read its report, or raise its exception.

    Parameters
    ----------
    thing : Generator, Design, callable or functools.partial
        An object that satisfies `mcgen.Design` or `mcgen.Generator` is taken as one; any other callable is taken as a
        statistic. To pass options, give a partial of one of the checks, such as
        ``partial(check_generator, model, condition=3)``.

    Raises
    ------
    TypeError
        If it is none of these.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation.conformance import law_checks
    >>> for check in law_checks(mcgen.statistics.pixel_mean):
    ...     check()
    >>> str(check)
    'pixel_mean: random states'
    """
    prepared = _prepared(thing)
    subject = prepared.args[0]
    laws, checked = _CHECKS[prepared.func]
    checked(subject)
    name = str(subject) if prepared.func is designs.check_design else name_of(subject)
    report = _once(prepared)
    return tuple(LawCheck(name, law.name, report) for law in laws)


def parametrize_with_checks(things: Iterable[Any]) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator that makes a pytest test of every law of some generators, designs and statistics.

    Use it in the test suite of a package with generators, designs or statistics of its own.

    Parameters
    ----------
    things : iterable
        Generators, designs and statistics, each as `law_checks` takes it.

    Returns
    -------
    decorator
        For a test function with one argument, `check`; the tests are named "name: law".

    Raises
    ------
    ImportError
        If pytest is not installed.
    TypeError, ValueError
        If `things` is not iterable or is empty, or one of them has no laws.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation import parametrize_with_checks
    >>> @parametrize_with_checks([mcgen.Antithetic(), mcgen.statistics.brightness])
    ... def test_laws(check):
    ...     check()
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError("parametrize_with_checks needs pytest; install it with pip install pytest") from error
    if not isinstance(things, Iterable) or callable(things):
        raise TypeError(
            f"things must be a list of generators, designs and statistics; got {reprlib.repr(things)}. Put it in a list"
        )
    checks = [check for thing in things for check in law_checks(thing)]
    if not checks:
        raise ValueError("things must be one or more generators, designs and statistics; got none, which tests nothing")
    return pytest.mark.parametrize("check", checks, ids=str)


def _prepared(thing: Any) -> partial[Report]:
    """Return the check of an object, ready to be called."""
    if isinstance(thing, partial) and thing.func in _CHECKS:
        if thing.args:
            return thing
    elif not isinstance(thing, type):
        if isinstance(thing, Design):
            return partial(designs.check_design, thing)
        if isinstance(thing, Generator):
            return partial(generators.check_generator, thing)
        if callable(thing):
            return partial(statistics.check_statistic, thing)
    raise TypeError(
        "checks are made for generators, designs and statistics, or partials of check_generator, check_design and "
        f"check_statistic with the thing first; got {thing!r}. Wrap a function noise -> samples by mcgen.as_generator"
    )


def _once(check: Callable[[], Report]) -> Callable[[], Report]:
    """Return a function that runs a check once: every call returns its report, or raises its exception."""
    outcome: list[Report | tuple[Exception, TracebackType | None]] = []

    def again() -> Report:
        __tracebackhide__ = True
        if not outcome:
            try:
                outcome.append(check())
            except Exception as error:
                outcome.append((error, error.__traceback__))
        (found,) = outcome
        if isinstance(found, tuple):
            # With its first traceback, without the frames of tests that raised it since.
            raise found[0].with_traceback(found[1])
        return found

    return again

"""Laws as tests of pytest: `parametrize_with_checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from mcgen.designs import Design
from mcgen.generators import Generator, name_of
from mcgen.validation.conformance import designs, generators, statistics
from mcgen.validation.conformance.reports import Law, Report

_LAWS: dict[Callable[..., Report], tuple[Law[Any], ...]] = {
    generators.check_generator: generators.LAWS,
    designs.check_design: designs.LAWS,
    statistics.check_statistic: statistics.LAWS,
}


@dataclass(frozen=True)
class LawCheck:
    """One law of one thing, to be called: it returns where the law holds and raises where it does not.

    Attributes
    ----------
    name : str
        Of the thing.
    law : str
        The law.
    report : callable
        Returns the report, which all the laws of one thing share.
    """

    name: str
    law: str
    report: Callable[[], Report] = field(repr=False)

    def __call__(self) -> None:
        """Try the law.

        Raises
        ------
        AssertionError
            If it does not hold; it says by how much, and what to do. A law that is not judged skips the test.
        """
        check = next(check for check in self.report().checks if check.law == self.law)
        if check.not_judged:
            import pytest

            pytest.skip(f"{self}: not judged: {check.not_judged}")
        if not check.passed:
            raise AssertionError(
                f"{self.name} breaks a law: {check.meaning}; gap {check.gap:.3g}, limit {check.limit:.3g}. "
                f"{check.explanation}"
            )

    def __str__(self) -> str:
        return f"{self.name}: {self.law}"


def law_checks(thing: Any) -> tuple[LawCheck, ...]:
    """Return the laws of a generator, a design or a statistic, to be tried one by one.

    Nothing is run before the first of them is called; that call tries them all, and the others read its report.

    Parameters
    ----------
    thing : Generator, Design, callable or functools.partial
        What satisfies `mcgen.Design` or `mcgen.Generator` is taken as one, another callable as a statistic. For
        options, a partial of one of the checks, such as ``partial(check_generator, model, condition=3)``.

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
    name = str(subject) if prepared.func is designs.check_design else name_of(subject)
    report = cache(prepared)
    return tuple(LawCheck(name, law.name, report) for law in _LAWS[prepared.func])


def parametrize_with_checks(things: Iterable[Any]) -> Callable[[Callable[..., None]], Any]:
    """Make a test of pytest for every law of some generators, designs and statistics.

    Parameters
    ----------
    things : iterable
        Each as `law_checks` takes it.

    Returns
    -------
    decorator
        Of a test function whose argument is called `check`; the tests' names are "name: law".

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation import parametrize_with_checks
    >>> @parametrize_with_checks([mcgen.Antithetic(), mcgen.statistics.brightness])
    ... def test_laws(check):
    ...     check()
    """
    import pytest

    checks = [check for thing in things for check in law_checks(thing)]
    return pytest.mark.parametrize("check", checks, ids=str)


def _prepared(thing: Any) -> partial[Report]:
    """Return the check of a thing, ready to be called."""
    if isinstance(thing, partial) and thing.func in _LAWS:
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

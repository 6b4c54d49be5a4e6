"""The outcome of a check, law by law (`Check`, `Report`), and the code that tries laws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from mcgen.errors import RunError

Trial = TypeVar("Trial")

_RAISED, _AFTER_RAISING = "it raised", "mend that first"


@dataclass(frozen=True)
class Check:
    """The outcome of one law.

    Attributes
    ----------
    law : str
        Name of the law, a word or two.
    gap : float
        The deviation from the law. For generators and statistics it is relative to the largest sample or value. For
        the statistical laws of designs it is in standard errors. A law that either holds or not has 0 or infinity, and
        a law that was not judged has NaN.
    limit : float
        The largest gap that passes; NaN if the law was not judged.
    meaning : str
        The statement of the law.
    advice : str
        Usual causes of a failure, and what to do.
    not_judged : str
        Why the law was not tried; empty if it was. Laws that compare samples of several calls need samples that repeat.
    found : str
        The place of the largest gap, or another observation.
    """

    law: str
    gap: float
    limit: float
    meaning: str
    advice: str
    not_judged: str = ""
    found: str = ""

    @property
    def passed(self) -> bool:
        """Whether the law was tried and holds."""
        return not self.not_judged and self.gap <= self.limit

    @property
    def explanation(self) -> str:
        """The finding, and the advice."""
        return f"{self.law}: {self.found and f'{self.found}; '}{self.advice}"


@dataclass(frozen=True)
class Report:
    """The outcome of a check, law by law. Print it, or call `require`.

    Attributes
    ----------
    name : str
        Name of the generator or statistic, or text form of the design.
    tried_on : str
        The noise or the samples on which the laws were tried.
    checks : tuple of Check
        One for each law.
    """

    name: str
    tried_on: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all laws hold."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The laws that were judged and do not hold."""
        return tuple(check for check in self.checks if not (check.passed or check.not_judged))

    def require(self) -> Report:
        """Return the report itself, if all laws hold.

        Raises
        ------
        RunError
            If a law does not hold; the message says which, and what to do.
        """
        if not self.passed:
            raise RunError(str(self))
        return self

    def __str__(self) -> str:
        width = max(len(check.law) for check in self.checks)
        lines = [f"{self.name}: {self._counts}, tried on {self.tried_on}"]
        for check in self.checks:
            if check.not_judged:
                lines.append(f"-      {check.law:<{width}}  not judged: {check.not_judged}")
                continue
            word = "holds" if check.passed else "FAILS"
            numbers = f"gap {check.gap:<7.2g}  limit {check.limit:<6.3g}"
            lines.append(f"{word}  {check.law:<{width}}  {numbers}  {check.meaning}")
        lines += [check.explanation for check in self.failures]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def _counts(self) -> str:
        n_failed, n_open = len(self.failures), sum(bool(check.not_judged) for check in self.checks)
        failed = [f"{n_failed} fail{'s' if n_failed == 1 else ''}"] if n_failed else []
        open_ = [f"{n_open} not judged"] if n_open else []
        return ", ".join([f"{len(self.checks) - n_failed - n_open} laws hold", *failed, *open_])


@dataclass(frozen=True)
class Finding:
    """The measurement of a law: its gap, the largest gap that passes, and where the gap was found."""

    gap: float
    limit: float = 0.0
    found: str = ""


@dataclass(frozen=True)
class MeasuredLaw(Generic[Trial]):
    """A law: its name, how it is measured on a trial, what it says, and what to do where it fails."""

    name: str
    measure: Callable[[Trial], Finding]
    meaning: str
    advice: str


class NotJudgedError(Exception):
    """A law can't be tried; the text says why."""


class AdvisedError(TypeError):
    """A law fails for a reason of its own; the text takes the place of the law's advice."""


def holds(law: bool, found: str = "") -> Finding:
    """Return the finding of a law that holds or not."""
    return Finding(0.0) if law else Finding(np.inf, 0.0, found)


def broken_by(problems: Iterable[str]) -> Finding:
    """Return the finding of a law that any problem breaks; it has the text of the first."""
    problem = next(iter(problems), "")
    return holds(not problem, problem)


def raised(error: Exception) -> str:
    """Return the text of a finding for an exception; the law's own advice is then left out, as it was not reached."""
    return f"{_RAISED} {type(error).__name__}: {error}"


def judged(laws: Sequence[MeasuredLaw[Trial]], trial: Trial) -> tuple[Check, ...]:
    """Return the outcomes of laws, each tried in turn."""
    return tuple(_checked(law, trial) for law in laws)


def not_judged(laws: Sequence[MeasuredLaw[Trial]], reason: str) -> tuple[Check, ...]:
    """Return the outcomes of laws that were not tried."""
    return tuple(Check(law.name, np.nan, np.nan, law.meaning, law.advice, not_judged=reason) for law in laws)


def _checked(law: MeasuredLaw[Trial], trial: Trial) -> Check:
    try:
        finding = law.measure(trial)
        advice = _AFTER_RAISING if finding.found.startswith(_RAISED) else law.advice
    except NotJudgedError as reason:
        return not_judged([law], str(reason))[0]
    except AdvisedError as error:
        finding, advice = Finding(np.inf), str(error)
    except Exception as error:
        finding, advice = Finding(np.inf, 0.0, raised(error)), _AFTER_RAISING
    return Check(law.name, float(finding.gap), finding.limit, law.meaning, advice, found=finding.found)

"""Checks of what mcgen promises: its laws, its coverage on problems with known truth, its speed.

- `check_generator`, `check_design`, `check_statistic`, `parametrize_with_checks`: check the laws on objects of yours;
- `coverage_study`, `Problem`, `PROBLEMS`: measure how often intervals cover, on a problem of yours or of the package;
- `validate`: run all studies of the package's promises, as ``mcgen validate`` does.

Each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "mcgen.validation":
    raise ImportError(f"this package was imported as {__name__!r}; import it as 'mcgen.validation'")

if TYPE_CHECKING:
    from mcgen.validation.conformance import check_design, check_generator, check_statistic, parametrize_with_checks
    from mcgen.validation.problems import PROBLEMS, Problem
    from mcgen.validation.studies.coverage import coverage_study
    from mcgen.validation.studies.promises import validate

__all__ = [
    "PROBLEMS",
    "Problem",
    "check_design",
    "check_generator",
    "check_statistic",
    "coverage_study",
    "parametrize_with_checks",
    "validate",
]

_MODULES = {
    "PROBLEMS": "problems",
    "Problem": "problems",
    "coverage_study": "studies.coverage",
    "validate": "studies.promises",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mcgen.validation' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"mcgen.validation.{_MODULES.get(name, 'conformance')}"), name)


def __dir__() -> list[str]:
    return __all__

"""What mcgen promises, shown: problems with known truth, coverage, speed; and its laws, to be tried on yours.

The checks of the laws are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "mcgen.validation":
    raise ImportError(f"this package was imported as {__name__!r}; import it as 'mcgen.validation'")

if TYPE_CHECKING:
    from mcgen.validation.conformance import (
        check_design,
        check_generator,
        check_statistic,
        parametrize_with_checks,
    )

__all__ = ["check_design", "check_generator", "check_statistic", "parametrize_with_checks"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mcgen.validation' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module("mcgen.validation.conformance"), name)


def __dir__() -> list[str]:
    return __all__

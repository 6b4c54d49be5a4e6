"""What mcgen raises and warns with. Every message says what was got, what is allowed, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcgen.estimates import Estimate


class RunError(ValueError):
    """A run that can't go on: the generator or the statistic broke one of its laws.

    Attributes
    ----------
    partial : Estimate or None
        What the finished replicates give, where there are two or more.
    """

    partial: Estimate | None = None


class NonFiniteError(RunError):
    """A NaN or an infinity among the samples or the values of the statistic."""


class CoverageWarning(UserWarning):
    """The interval may cover less often than its confidence level says."""


class GeneratorWarning(UserWarning):
    """The generator seems to break a law that the interval needs, such as drawing noise of its own."""

"""The interval methods by name, and the options by which a caller chooses one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from mcgen._lib.checks import checked_level

FixedMethod = Literal["student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t", "proportion"]
SequentialMethod = Literal["two-stage-t", "anytime", "asymptotic-anytime", "betting"]
Method = Literal[FixedMethod, SequentialMethod]
SimultaneousMethod = Literal["skewness-safe", "bonferroni", "bootstrap-max-t", "gaussian-multiplier"]
AND = " and "
"""Joins the names of the methods of a result whose components have several."""


@dataclass(frozen=True)
class IntervalOptions:
    """Which interval is wanted.

    Attributes
    ----------
    confidence_level : float
        In (0, 1).
    method : str or None
        The method for each component alone; see `mcgen.intervals.make_interval`. None chooses one for each component.
    simultaneous : bool or str
        Whether, and by which method, the intervals of all components cover together.
    shared_with : int
        Number of results, this one included, whose simultaneous intervals cover together: one for each of several
        conditions and one for their average. Each gets the level 1 - (1 - confidence_level) / shared_with.

    Raises
    ------
    TypeError, ValueError
        If the level lies outside (0, 1), or the methods are unknown or do not go together.
    """

    confidence_level: float = 0.95
    method: Method | None = None
    simultaneous: bool | SimultaneousMethod = False
    shared_with: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "confidence_level", checked_level(self.confidence_level))
        check_methods(self.method, self.simultaneous)

    @classmethod
    def of_result(cls, confidence_level: float, method: str) -> IntervalOptions:
        """Return the options that lead to a result's `method` again, such as "bonferroni-two-stage-t".

        Methods that were chosen for each component are joined by "and", and are chosen again.
        """
        method, *others = method.split(AND)
        if others and method in get_args(FixedMethod):
            return cls(confidence_level)
        for simultaneous in get_args(SimultaneousMethod):
            if method == simultaneous:
                return cls(confidence_level, None, simultaneous)
        for pointwise in get_args(Method):
            if method == pointwise:
                return cls(confidence_level, pointwise)
            if method == f"bonferroni-{pointwise}":
                return cls(confidence_level, pointwise, "bonferroni")
        # Quantiles have methods that are not asked for by name.
        return cls(confidence_level, None, "bonferroni" if method.startswith("bonferroni-") else False)

    def numbers(self, k: int) -> int:
        """Return how many intervals cover together: of the k components, and of the results that share the level."""
        return k * self.shared_with if self.simultaneous else 1

    @property
    def resamples(self) -> bool:
        """Whether the interval resamples the replicate means."""
        return self.method == "bootstrap-t" or self.simultaneous in ("bootstrap-max-t", "gaussian-multiplier")

    @property
    def needs_means(self) -> bool:
        """Whether the interval is made from the replicate means themselves, in their order or resampled."""
        return self.resamples or self.method == "betting"

    @property
    def by_component(self) -> bool:
        """Whether boolean components have the interval of a probability, whatever the others have."""
        return self.method in (None, "two-stage-t") and self.simultaneous in (
            False,
            True,
            "skewness-safe",
            "bonferroni",
        )

    @property
    def is_sequential(self) -> bool:
        """Whether the interval allows for a number of replicates that depends on what they gave."""
        return self.method in get_args(SequentialMethod)

    @property
    def has_own_simultaneous(self) -> bool:
        """Whether the simultaneous form of the method is Bonferroni's alone."""
        return self.method == "proportion" or self.is_sequential

    def without_resampling(self) -> IntervalOptions:
        """Return the nearest options that need only the moments of the replicate means."""
        if not self.resamples and self.simultaneous is not True:
            return self
        simultaneous: bool | SimultaneousMethod = bool(self.simultaneous)
        if simultaneous and not self.has_own_simultaneous:
            simultaneous = "skewness-safe"
        return replace(self, method=None if self.resamples else self.method, simultaneous=simultaneous)

    def by_default(self) -> IntervalOptions:
        """Return the options with the method that suits each component."""
        return replace(self, method=None, simultaneous=bool(self.simultaneous))

    def require_no_resampling(self, what: str, or_else: str = "") -> None:
        """Refuse intervals from replicate means for an estimate that has none.

        Parameters
        ----------
        what : str
            The estimate, such as "a sum of levels".
        or_else : str
            Further advice.
        """
        if self.needs_means:
            raise ValueError(
                f"{what} has no replicate means of its own; got interval={self.method!r} and "
                f"simultaneous={self.simultaneous!r}. Use 'student-t', 'skewness-safe-t' or simultaneous=True{or_else}"
            )


def check_methods(method: Any, simultaneous: Any) -> None:
    """Refuse unknown methods, and methods that do not go together."""
    if method is not None and method not in get_args(Method):
        raise ValueError(
            f"interval must be one of {', '.join(get_args(FixedMethod))}, or None for the one that suits each "
            f"component; got {method!r}. Runs that stop by themselves have {', '.join(get_args(SequentialMethod))} too"
        )
    if method == "proportion" or method in get_args(SequentialMethod):
        if simultaneous not in (True, False, "bonferroni"):
            raise ValueError(
                f"interval={method!r} covers all components together by Bonferroni's inequality alone; got "
                f"simultaneous={simultaneous!r}. Use simultaneous=True"
            )
    elif simultaneous and method not in (None, "student-t"):
        raise ValueError(
            f"simultaneous intervals have methods of their own; got interval={method!r} beside "
            f"simultaneous={simultaneous!r}. Leave out one of them"
        )
    if not isinstance(simultaneous, bool) and simultaneous not in get_args(SimultaneousMethod):
        raise ValueError(
            f"simultaneous must be True, False or one of {', '.join(get_args(SimultaneousMethod))}; "
            f"got {simultaneous!r}"
        )

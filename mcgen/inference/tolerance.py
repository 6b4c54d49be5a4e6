"""Tolerances: how narrow the intervals of a run shall be, and how many evaluations it may spend on that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer, checked_real

FIRST_STAGE = 32
"""Replicates before the first look.

They estimate a standard deviation to 13 %, and their t quantile is 4 % above the normal one.
"""


@dataclass(frozen=True)
class Tolerance:
    """The half-width that a run shall reach, and the limits of its cost.

    Attributes
    ----------
    atol, rtol : float or None
        Absolute tolerance, and tolerance relative to the absolute mean. The half-width must be at most the larger of
        atol and rtol times the absolute mean.
    max_evaluations, min_replicates : int or None
        Largest number of evaluations, and smallest number of replicates.
    components : tuple of str or None
        Names of the components that count; None for all.
    """

    atol: float | None = None
    rtol: float | None = None
    max_evaluations: int | None = None
    min_replicates: int | None = None
    components: tuple[str, ...] | None = None

    def __str__(self) -> str:
        absolute = None if self.atol is None else f"{self.atol:g}"
        relative = None if self.rtol is None else f"{self.rtol:g} of its mean"
        return " or ".join(text for text in (absolute, relative) if text is not None)

    @property
    def first_count(self) -> int:
        """Number of replicates before the first look: 32, or `min_replicates` where it is larger."""
        return max(FIRST_STAGE, self.min_replicates or 0)

    @property
    def may_recede(self) -> bool:
        """Whether the target is relative alone and the cost has no limit: of a mean of 0 it is never reached."""
        return self.rtol is not None and self.atol is None and self.max_evaluations is None

    def wanted(self, mean: Floats) -> Floats:
        """Return the largest allowed half-width at these means, max(atol, rtol abs(mean)), shape (k,)."""
        return np.maximum(self.atol or 0.0, (self.rtol or 0.0) * np.abs(mean))

    def most_replicates(self, n_points: int) -> int | None:
        """Return how many replicates of `n_points` points `max_evaluations` allows; None for any number.

        Raises
        ------
        ValueError
            If they are fewer than the replicates before the first look.
        """
        if self.max_evaluations is None:
            return None
        first, most = self.first_count, self.max_evaluations // n_points
        if most < first:
            points = "1 point" if n_points == 1 else f"{n_points} points"
            raise ValueError(
                f"max_evaluations must be at least {first * n_points}, for the first {first} replicates of {points}; "
                f"got {self.max_evaluations}. Allow more, or run a fixed number: n_evaluations"
            )
        return most


def checked_tolerance(
    atol: float | None,
    rtol: float | None,
    max_evaluations: int | None,
    min_replicates: int | None,
    components: Sequence[str] | None,
) -> Tolerance | None:
    """Return the tolerance that a user's arguments ask for; None where none of them is given.

    Parameters
    ----------
    atol, rtol : float or None
        Both above 0, and `rtol` below 1.
    max_evaluations : int or None
        At least the evaluations of the first 32 replicates; this is checked when the design's points are known. Only
        whole replicates are run, so a remainder is not used.
    min_replicates : int or None
        At least 1; values below 32 change nothing.
    components : sequence of str or None
        Names of the components that count.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or both tolerances are missing where another argument is given.
    """
    others = {"max_evaluations": max_evaluations, "min_replicates": min_replicates, "components": components}
    if atol is None and rtol is None:
        given = [f"{name}={value!r}" for name, value in others.items() if value is not None]
        if given:
            raise ValueError(
                f"{' and '.join(given)} are for a run that stops by itself, which needs atol (for the "
                "half-width) or rtol (for the half-width over the absolute mean); got neither. Give one, such as "
                "rtol=0.01"
            )
        return None
    for name, value in (("atol", atol), ("rtol", rtol)):
        if value is not None and checked_real(name, value) <= 0:
            raise ValueError(f"{name} must be above 0, such as 0.01; got {value}. No run reaches a half-width of 0")
    if rtol is not None and rtol >= 1:
        hint = f"; for {rtol:g} % write {rtol / 100:g}" if rtol < 100 else ""
        raise ValueError(f"rtol must be below 1, such as 0.05; got {rtol}{hint}")
    for name, count in (("max_evaluations", max_evaluations), ("min_replicates", min_replicates)):
        if count is not None and checked_integer(name, count) < 1:
            raise ValueError(f"{name} must be at least 1; got {count}. Leave it out to have no such limit")
    return Tolerance(
        None if atol is None else float(atol),
        None if rtol is None else float(rtol),
        None if max_evaluations is None else checked_integer("max_evaluations", max_evaluations),
        None if min_replicates is None else checked_integer("min_replicates", min_replicates),
        _checked_components(components),
    )


def _checked_components(components: Sequence[str] | None) -> tuple[str, ...] | None:
    if components is None:
        return None
    named = None if isinstance(components, str) or not isinstance(components, Iterable) else tuple(components)
    if named is None or not all(isinstance(name, str) for name in named):
        raise TypeError(f"components must be a list of names such as ['brightness']; got {components!r}")
    if not named:
        raise ValueError("components is empty; name at least one, or leave it out for all")
    return named

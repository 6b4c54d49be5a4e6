"""Arguments that the checks share: what was got, what is allowed, what to do."""

from __future__ import annotations

from mcgen._lib.checks import checked_integer, checked_real

_FEWEST = 3


def checked_tolerance(tolerance: float | None) -> float | None:
    """Return the gap that is allowed, where it is given.

    Raises
    ------
    TypeError, ValueError
        If it is no finite number of at least 0: any other lets every law pass, or none.
    """
    if tolerance is None:
        return None
    found = checked_real("tolerance", tolerance)
    if found < 0:
        raise ValueError(f"tolerance must be at least 0; got {found:g}. Leave it out for what rounding may do")
    return found


def checked_size(check: str, n: int, name: str = "n") -> int:
    """Return how many samples a check works on.

    Raises
    ------
    TypeError, ValueError
        If it is no int, or too small.
    """
    if checked_integer(name, n) < _FEWEST:
        raise ValueError(
            f"{check} needs at least {_FEWEST} samples, to split and to reorder; got {name}={n}. Give {_FEWEST} or more"
        )
    return n

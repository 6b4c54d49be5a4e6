"""Arguments that `check_generator`, `check_design` and `check_statistic` share, checked."""

from __future__ import annotations

from mcgen._lib.checks import checked_integer, checked_real

# Fewest samples that can be split into unequal batches and moved on by one row.
_FEWEST = 3


def checked_tolerance(tolerance: float | None) -> float | None:
    """Return the largest gap that passes; None where none is given.

    Raises
    ------
    TypeError, ValueError
        If it is not a finite number of at least 0; another one would let every law pass, or none.
    """
    if tolerance is None:
        return None
    found = checked_real("tolerance", tolerance)
    if found < 0:
        raise ValueError(f"tolerance must be at least 0; got {found:g}. Leave it out to allow what rounding explains")
    return found


def checked_size(check: str, n: int, name: str = "n") -> int:
    """Return n, the number of samples that a check works on.

    Raises
    ------
    TypeError, ValueError
        If it is not an int, or less than 3.
    """
    if checked_integer(name, n) < _FEWEST:
        raise ValueError(
            f"{check} needs at least {_FEWEST} samples, to split and to reorder; got {name}={n}. Give {_FEWEST} or more"
        )
    return n

"""When an interval may cover less than it says, with what simulations measured. Silence does not mean safe.

The skewness rule is from the expansion of the Student t interval's coverage: at 95 % and R replicate means of skewness
g it falls short by about 2 phi(1.96) 2.117 g^2 / R, half a point at R = 50 g^2 (P. Hall (1988), Ann. Statist. 16(3),
927-953). Few replicates of a skewed statistic seldom look skewed, so below 25 the warning comes always.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcgen.moments import Floats, Moments

FEWEST_WITHOUT_WARNING = 25

# What nominal 95 % intervals cover by Student t, and adjusted for skewness, on R antithetic pairs of exp(w/2) with
# w ~ N(0, 1); `python -m mcgen.validation coverage --only exponential` makes the figures again.
_SKEWED_COVERAGE = {5: (0.82, 0.91), 10: (0.84, 0.93), 25: (0.89, 0.94), 50: (0.92, 0.95), 200: (0.94, 0.95)}


def coverage_warnings(moments: Moments, names: Sequence[str], rounding: float) -> list[str]:
    """Return what there is to warn of in an interval from these replicate means, of values with that rounding."""
    n, found = moments.count, []
    constant, skewness = moments.constant(rounding), _skewness(moments, rounding)
    skewed, worst = _too_few(n, skewness), int(skewness.argmax())
    if n < FEWEST_WITHOUT_WARNING:
        found.append(
            f"{n} replicates are few: {_measured(n)} (Student t 0.95 when they were normal), which so few can't show. "
            "Use at least 25: more evaluations, or fewer points a replicate"
        )
    if skewed.any():
        found.append(
            f"the replicate means of {names[worst]}{_and_others(skewed)} have skewness up to {skewness[worst]:.2g}, "
            f"for which {n} replicates are few (below 25 x skewness^2 = {25 * skewness[worst] ** 2:.0f}): "
            f"{_measured(n)}. Use interval='skewness-adjusted-t', or more replicates"
        )
    if constant.any():
        found.append(
            f"all {n} replicate means of {names[int(constant.argmax())]}{_and_others(constant)} are equal but for "
            "rounding: their interval has no width. The statistic is constant, the design integrates it exactly, or a "
            "rare event was never seen"
        )
    return found


def warned_of(moments: Moments, rounding: float) -> NDArray[np.bool_]:
    """Return which components `coverage_warnings` warns of, shape (k,)."""
    few = moments.count < FEWEST_WITHOUT_WARNING
    return few | moments.constant(rounding) | _too_few(moments.count, _skewness(moments, rounding))


def _skewness(moments: Moments, rounding: float) -> Floats:
    return np.where(moments.constant(rounding), 0.0, np.abs(moments.skewness))


def _too_few(n: int, skewness: Floats) -> NDArray[np.bool_]:
    return np.asarray(n < 25 * skewness**2)


def _measured(n: int) -> str:
    """Return what was measured at the next smaller number of replicates."""
    counts = [*_SKEWED_COVERAGE]
    near = counts[max(0, bisect.bisect_right(counts, n) - 1)]
    plain, adjusted = _SKEWED_COVERAGE[near]
    return (
        f"in simulations of skewed replicate means 95 % intervals covered {plain:.2f} at {near} of them by Student t, "
        f"{adjusted:.2f} by skewness-adjusted t"
    )


def _and_others(concerned: NDArray[np.bool_]) -> str:
    """Return how many components a warning about one of them is about."""
    others = int(concerned.sum()) - 1
    return f" ({others + 1} of {len(concerned)} components)" if others else ""

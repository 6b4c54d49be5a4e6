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

from mcgen._lib.arrays import Floats
from mcgen.inference.methods import Method
from mcgen.inference.moments import Moments

FEWEST_WITHOUT_WARNING = 25

# What nominal 95 % intervals cover by Student t, and adjusted for skewness, on R antithetic pairs of exp(w/2) with
# w ~ N(0, 1), whose means have skewness 3.4: 50,000 runs each, `tests/inference/test_coverage.py` has the simulation.
EXAMPLE_SKEWNESS = 3.4
EXAMPLE_COVERAGE = {5: (0.81, 0.90), 10: (0.85, 0.94), 25: (0.89, 0.94), 50: (0.91, 0.94), 200: (0.94, 0.95)}


def coverage_warnings(
    moments: Moments, names: Sequence[str], rounding: float, interval: Method | None = "student-t"
) -> list[str]:
    """Return what there is to warn of in an interval from these replicate means.

    Parameters
    ----------
    moments : Moments
        Of the replicate means.
    names : sequence of str
        Of the components.
    rounding : float
        Relative rounding error of the values.
    interval : {"student-t", "normal", "skewness-adjusted-t", "bootstrap-t"} or None
        The one in use, which the advice goes by; None for simultaneous ones.
    """
    n, found = moments.count, []
    constant, skewness = moments.constant(rounding), absolute_skewness(moments, rounding)
    skewed, worst = too_few_for(n, skewness), int(skewness.argmax())
    if n < FEWEST_WITHOUT_WARNING:
        near = _at_most(n, [*EXAMPLE_COVERAGE])
        plain, _ = EXAMPLE_COVERAGE[near]
        found.append(
            f"{n} replicates are few: at {near} of them 95 % Student t intervals covered {plain:.2f} in simulations of "
            f"replicate means with skewness {EXAMPLE_SKEWNESS} (0.95 of normal ones; of more skewed ones less), and so "
            "few can't show theirs. Use at least 25: more evaluations, or fewer points a replicate"
        )
    if skewed.any():
        found.append(
            f"the replicate means of {names[worst]}{_and_others(skewed)} have skewness up to {skewness[worst]:.2g}, "
            f"for which {n} replicates are few (below 25 x skewness^2 = {25 * skewness[worst] ** 2:.0f}): "
            f"{_measured_at(n / skewness[worst] ** 2)}. {_advice(interval)}"
        )
    if constant.any():
        found.append(
            f"all {n} replicate means of {names[int(constant.argmax())]}{_and_others(constant)} are equal but for "
            "rounding: their interval has no width. The statistic is constant, the design integrates it exactly, or a "
            "rare event was never seen"
        )
    return found


def absolute_skewness(moments: Moments, rounding: float) -> Floats:
    """Return the absolute skewness of the replicate means, shape (k,); 0 where they differ by rounding alone."""
    return np.where(moments.constant(rounding), 0.0, np.abs(moments.skewness))


def too_few_for(n: int, skewness: Floats) -> NDArray[np.bool_]:
    """Return whether n replicates are too few for means of this skewness: n < 25 skewness^2."""
    return np.asarray(n < 25 * skewness**2)


def _measured_at(replicates_by_skewness: float) -> str:
    """Return what was measured at as few replicates for their squared skewness."""
    near = _at_most(replicates_by_skewness * EXAMPLE_SKEWNESS**2, [*EXAMPLE_COVERAGE])
    plain, adjusted = EXAMPLE_COVERAGE[near]
    return (
        f"with as few for their skewness ({near} where it was {EXAMPLE_SKEWNESS}) 95 % intervals covered {plain:.2f} "
        f"by Student t and {adjusted:.2f} by skewness-adjusted t in simulations"
    )


def _advice(interval: Method | None) -> str:
    more = "Use more replicates"
    if interval not in ("student-t", "normal"):
        return more
    return (
        f"{more}; or interval='skewness-adjusted-t', unless a few replicates far out on both sides make this skewness "
        "(of such means it covers less than Student t)"
    )


def _at_most(value: float, counts: Sequence[int]) -> int:
    """Return the largest of some increasing counts that is at most a value, or the first."""
    return counts[max(0, bisect.bisect_right(counts, value) - 1)]


def _and_others(concerned: NDArray[np.bool_]) -> str:
    """Return how many components a warning about one of them is about."""
    others = int(concerned.sum()) - 1
    return f" ({others + 1} of {len(concerned)} components)" if others else ""

"""Warnings of intervals that may cover less often than their level says, with the coverage that simulations measured.

No warning is no proof of coverage: few replicates of a skewed statistic seldom look skewed. So below 25 replicates
there is always a warning.

The rule for skewness follows from the expansion of the Student t interval's coverage (P. Hall (1988), Ann. Statist.
16(3), 927-953). At level 95 %, with R replicate means of skewness g, the coverage is too small by about
2 phi(1.96) 2.117 g^2 / R: half a percentage point at R = 50 g^2, one at R = 25 g^2.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments

FEWEST_WITHOUT_WARNING = 25
"""Fewest replicates whose intervals come without a warning: with fewer, estimated skewness says next to nothing."""

FEWEST_OF_NETS = 32
"""Fewest replicates that are nets of 64 points or more: these integrate the smooth part of a statistic away, and leave
its tail."""
FEWEST_WHERE_SAFE = 8
"""Fewest replicates where the interval is known to cover from few on: that of a probability, and Student's t for nets
of bounded or little skewed values."""

EXAMPLE_SKEWNESS = 3.4
"""Skewness of the means of antithetic pairs of exp(w/2), w ~ N(0, 1): the example whose coverage was simulated."""
# Measured coverage of 95 % intervals in that example, by the number of replicates: of Student t intervals and of
# skewness-safe ones, in 50,000 simulated runs each. `tests/inference/test_coverage.py` repeats the simulation.
EXAMPLE_COVERAGE = {5: (0.81, 0.91), 10: (0.85, 0.94), 25: (0.89, 0.95), 50: (0.91, 0.96), 200: (0.94, 0.96)}

REPLICATES_BY_SKEWNESS = {"skewness-safe-t": 1.5, "skewness-safe": 1.5}
"""Replicates that an interval needs for each unit of squared skewness, 25 where it is not named here. Skewness-safe
intervals covered 0.94 and more of means of skewness up to 3.4 from 16 replicates on, and of skewness 6.2 from 50 on."""


def coverage_warnings(
    moments: Moments,
    names: Sequence[str],
    rounding: float,
    methods: NDArray[np.str_] | str = "student-t",
    numbers: int = 1,
    confidence_level: float = 0.95,
    *,
    student_holds: NDArray[np.bool_] | None = None,
    net: bool = False,
) -> list[str]:
    """Return the warnings about an interval from these replicate means: few replicates, skewness, no variation.

    Parameters
    ----------
    moments : Moments
        Moments of the replicate means.
    names : sequence of str
        Names of the components.
    rounding : float
        Relative rounding error of the values.
    methods : ndarray of str of shape (k,), or str
        Name of the method of each component, on which thresholds and advice depend; or of all of them.
    numbers : int
        Number of intervals that cover together.
    confidence_level : float
        In (0, 1).
    student_holds : ndarray of bool of shape (k,), optional
        Where Student's t is known to cover; see `mcgen.inference.interval_input.student_holds`.
    net : bool
        Whether the replicates are randomized nets of 64 points or more.
    """
    n, found = moments.count, []
    methods = np.broadcast_to(np.asarray(methods), len(names))
    events = np.char.endswith(methods, "proportion")
    constant, skewness = moments.constant(rounding) & ~events, absolute_skewness(moments, rounding)
    safe = events if student_holds is None else events | student_holds
    alone = np.where(safe, FEWEST_WHERE_SAFE, FEWEST_OF_NETS if net else FEWEST_WITHOUT_WARNING)
    together = FEWEST_WITHOUT_WARNING if "bootstrap-max-t" in methods else fewest_for(numbers, confidence_level)
    if n < alone.max():
        found.append(_few_text(n, int(alone.max())))
    elif numbers > 1 and n < together:
        found.append(
            f"{n} replicates are few for {numbers:,} intervals that are to cover together: far tails show only in "
            f"more replicates. Use at least {together}, or keep_replicates=True for a bootstrap"
        )
    factors = np.array([REPLICATES_BY_SKEWNESS.get(method, 25.0) for method in methods.tolist()])
    needed = np.where(safe, 0.0, factors * skewness**2)
    if (skewed := n < needed).any():
        worst = int(needed.argmax())
        found.append(
            f"the replicate means of {names[worst]}{_and_others(skewed)} have skewness up to {skewness[worst]:.2g}, "
            f"for which {n} replicates are few (below {factors[worst]:g} x skewness^2 = {needed[worst]:.0f}). "
            f"{_measured_at(n / skewness[worst] ** 2)}. {_advice(str(methods[worst]))}"
        )
    if constant.any():
        found.append(
            f"all {n} replicate means of {names[int(constant.argmax())]}{_and_others(constant)} are equal but for "
            "rounding: their interval has no width. The statistic is constant, the design integrates it exactly, or a "
            "rare event was never seen"
        )
    return found


def _few_text(n: int, fewest: int) -> str:
    """Return the warning that n replicates are few, where there should be `fewest`."""
    near = _at_most(n, [*EXAMPLE_COVERAGE])
    plain, safe = EXAMPLE_COVERAGE[near]
    return (
        f"{n} replicates are few: they do not show how skewed the replicate means are. In simulations with {near} "
        f"replicate means of skewness {EXAMPLE_SKEWNESS}, 95 % Student t intervals covered the truth {100 * plain:.0f} "
        f"% of the time, and skewness-safe ones {100 * safe:.0f} %. Use at least {fewest}: more evaluations, or fewer "
        "points per replicate"
    )


def fewest_for(numbers: int, confidence_level: float) -> int:
    """Return the fewest replicates for so many intervals that cover together, when only moments are kept.

    It is 6 z^2 for the normal quantile z at 1 - (1 - c) / (2 numbers), and at least 25: 45, 68 and 99 for 8, 64 and
    1,024 intervals at 95 %. Below it skewness-safe intervals of skewed means covered together less than they say.
    """
    return max(FEWEST_WITHOUT_WARNING, math.ceil(6 * ndtri(1 - (1 - confidence_level) / (2 * numbers)) ** 2))


def absolute_skewness(moments: Moments, rounding: float) -> Floats:
    """Return the absolute skewness of the replicate means, shape (k,); 0 where they differ only by rounding."""
    return np.where(moments.constant(rounding), 0.0, np.abs(moments.skewness))


def too_few_for(n: int, skewness: Floats, factor: float = 25.0) -> NDArray[np.bool_]:
    """Return whether n replicates are too few for means of this skewness: n < factor skewness^2."""
    return np.asarray(n < factor * skewness**2)


def _measured_at(replicates_by_skewness: float) -> str:
    """Return, in words, the coverage measured at the same ratio of replicates to squared skewness."""
    near = _at_most(replicates_by_skewness * EXAMPLE_SKEWNESS**2, [*EXAMPLE_COVERAGE])
    plain, safe = EXAMPLE_COVERAGE[near]
    return (
        f"In simulations with as few replicates for their skewness ({near} of skewness {EXAMPLE_SKEWNESS}), 95 % "
        f"Student t intervals covered the truth {100 * plain:.0f} % of the time, and skewness-safe ones "
        f"{100 * safe:.0f} %"
    )


def _advice(method: str) -> str:
    more = "Use more replicates"
    return (
        f"{more}, or interval='skewness-safe-t'" if method in ("student-t", "normal", "skewness-adjusted-t") else more
    )


def _at_most(value: float, counts: Sequence[int]) -> int:
    """Return the largest of the increasing counts that is at most the value, or the first where none is."""
    return counts[max(0, bisect.bisect_right(counts, value) - 1)]


def _and_others(concerned: NDArray[np.bool_]) -> str:
    """Return, in words, how many components a warning that names one of them concerns."""
    others = int(concerned.sum()) - 1
    return f" ({others + 1} of {len(concerned)} components)" if others else ""

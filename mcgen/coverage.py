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

from mcgen.moments import Moments

FEWEST_WITHOUT_WARNING = 25

# Student t at nominal 0.95 on antithetic pairs of exp(w/2), w ~ N(0, 1), by R; `python -m mcgen.validation coverage`
# makes the table again.
_SKEWED_COVERAGE = {5: 0.82, 10: 0.84}


def coverage_warnings(moments: Moments, names: Sequence[str], rounding: float) -> list[str]:
    """Return what there is to warn of in an interval from these replicate means, of values with that rounding."""
    n, found = moments.count, []
    constant = moments.constant(rounding)
    skewness = np.where(constant, 0.0, np.abs(moments.skewness))
    needed = 25 * skewness**2
    worst = int(skewness.argmax())
    if n < FEWEST_WITHOUT_WARNING:
        counts = [*_SKEWED_COVERAGE]
        near = counts[max(0, bisect.bisect_right(counts, n) - 1)]
        found.append(
            f"{n} replicates are few: in simulations 95 % Student t intervals covered {_SKEWED_COVERAGE[near]:.2f} at "
            f"{near} replicates when the replicate means were skewed (0.95 when they were normal), which so few can't "
            "show. Use at least 25: more evaluations, or fewer points a replicate"
        )
    if n < needed[worst]:
        found.append(
            f"the replicate means of {names[worst]}{_and_others(n < needed)} have skewness up to "
            f"{skewness[worst]:.2g}, for which {n} replicates are few (below 25 x skewness^2 = {needed[worst]:.0f}): "
            "the interval may cover less than it says. Use more replicates, or interval='bootstrap-t'"
        )
    if constant.any():
        found.append(
            f"all {n} replicate means of {names[int(constant.argmax())]}{_and_others(constant)} are equal but for "
            "rounding: their interval has no width. The statistic is constant, the design integrates it exactly, or a "
            "rare event was never seen"
        )
    return found


def _and_others(concerned: NDArray[np.bool_]) -> str:
    """Return how many components a warning about one of them is about."""
    others = int(concerned.sum()) - 1
    return f" ({others + 1} of {len(concerned)} components)" if others else ""

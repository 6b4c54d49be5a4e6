"""When an interval may cover less than it says, with what simulations measured. Silence does not mean safe.

The skewness rule is from the expansion of the Student t interval's coverage: at 95 % and R replicate means of skewness
g it falls short by about 2 phi(1.96) 2.117 g^2 / R, half a point at R = 50 g^2 (P. Hall (1988), Ann. Statist. 16(3),
927-953). Few replicates of a skewed statistic seldom look skewed, so below 25 the warning comes always.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np

from mcgen.moments import Moments

FEWEST_WITHOUT_WARNING = 25

# Student t at nominal 0.95 on antithetic pairs of exp(w/2), w ~ N(0, 1), by R; `python -m mcgen.validation coverage`
# makes the table again.
_SKEWED_COVERAGE = {5: 0.81, 10: 0.84, 25: 0.89}


def coverage_warnings(moments: Moments, names: Sequence[str], method: str) -> list[str]:
    """Return what there is to warn of in an interval from these replicate means."""
    found = []
    n, worst = moments.count, int(np.abs(moments.skewness).argmax())
    skewness = float(abs(moments.skewness[worst]))
    if n < FEWEST_WITHOUT_WARNING:
        counts = [*_SKEWED_COVERAGE]
        near = counts[max(0, bisect.bisect_right(counts, n) - 1)]
        found.append(
            f"{n} replicates are few: in simulations 95 % Student t intervals covered {_SKEWED_COVERAGE[near]:.2f} at "
            f"{near} replicates when the replicate means were skewed (0.95 when they were normal), which so few can't "
            "show. Use at least 25: more evaluations, or fewer points a replicate"
        )
    if n < 25 * skewness**2:
        found.append(
            f"the replicate means of {names[worst]} have skewness {skewness:.2g}, for which {n} replicates are few (below "
            f"25 x skewness^2 = {25 * skewness**2:.0f}): the interval may cover less than it says. Use more replicates"
            + ("" if method == "bootstrap-t" else ", or interval='bootstrap-t'")
        )
    if (moments.m2 == 0).any():
        n_constant = int((moments.m2 == 0).sum())
        found.append(
            f"all {n} replicate means of {n_constant} of {len(moments.m2)} components are equal, and their interval "
            "has no width: the statistic is constant, the design integrates it exactly, or a rare event was never seen"
        )
    return found

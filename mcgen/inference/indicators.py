r"""Runs of indicators that stop at a tolerance: the half-width that counts, and the next look at it.

An indicator is an event, whose mean is a probability p. A run with S events among N points stops when half the length
of its matched beta interval (see `proportions`) is within the tolerance. It looks at numbers of replicates that grow
geometrically. So the run needs no fewest number of events, and no fewest number of replicates without any.

Why looking is allowed: for rare events and a relative tolerance, the width depends on the number of events alone. The
run then stops at its k-th event, which is inverse binomial sampling. Its exact interval has the ends Beta(k, N - k + 1)
and Beta(k, N - k) [1]_; the interval of Clopper and Pearson has the second one at Beta(k + 1, N - k), farther out. For
an absolute tolerance too few events by chance stop a run early. The event that the upper end adds allows for that, and
simulations show that it is enough (``docs/validation/proportions.md``).

While no event has come, the interval is [0, u], and u falls as 1 / n with the number n of replicates. A run with `atol`
stops where u / 2 is within it. A run with `rtol` alone goes on until events come.

The next look is at n h / (wanted half-width), at least 10 % more: with no further event the half-width h falls as
1 / n, and with any it falls more slowly. So no look before that number would stop the run.

.. rubric:: References

.. [1] J. B. S. Haldane (1945). On a method of estimating frequencies. Biometrika 33(3), 222-225.
"""

from __future__ import annotations

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import EventCounts
from mcgen.inference.proportions import proportion_interval

LEAST_GROWTH = 1.1
"""Least factor by which replicates grow from one look to the next. In simulations, 1.05 covered half a point less."""
MOST_GROWTH_WITHOUT_EVENT = 2.0
"""Factor to the next look while a relative tolerance has no event to be relative to."""


def half_widths(counts: EventCounts, confidence_level: float) -> Floats:
    """Return half the lengths of the matched beta intervals of one run, shape (k,)."""
    df = np.broadcast_to(np.asarray(counts.n_replicates - 1.0), counts.events.shape)
    low, high = proportion_interval([counts], df, confidence_level)
    return np.asarray((high - low) / 2)


def next_look(n: int | Floats, half_width: Floats, wanted: Floats) -> Floats:
    """Return the number of replicates at the next look, n max(h / wanted, 1.1); 0 where the half-width is small enough.

    Parameters
    ----------
    n : int or ndarray of shape (k,)
        Number of replicates.
    half_width, wanted : ndarray of shape (k,)
        The half-widths after n replicates, and the largest ones that the tolerance allows; 0 for a relative tolerance
        of a mean of 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(wanted > 0, half_width / wanted, MOST_GROWTH_WITHOUT_EVENT)
    return np.where(half_width <= wanted, 0.0, np.ceil(n * np.maximum(ratio, LEAST_GROWTH)))

r"""Runs of indicators that stop at a tolerance: their intervals, and the next look at them.

An indicator is an event, whose mean is a probability p. A run with S events among N points stops when half the length
of its matched beta interval (see `proportions`) is within the tolerance. It looks at numbers of replicates that grow
geometrically. The run needs no fewest number of events, and no fewest number of replicates without any.

Why looking is allowed: for rare events and a relative tolerance, the width depends on the number of events alone. The
run then stops at its k-th event, which is inverse binomial sampling [1]_. The exact interval there has the ends
Beta(k, N - k + 1) and Beta(k, N - k). That of Clopper and Pearson has its upper end at Beta(k + 1, N - k), farther out.
For an absolute tolerance a run stops early where too few events came by chance. The event that the upper end adds
allows for this. That it is enough was found by simulation (``docs/validation/proportions.md``).

Where events come in clusters, a run also stops early where their sizes vary too little by chance. So the interval has
the level :math:`1 - \alpha (1 - 0.2 (d - 1))`. The design effect d is the dispersion of the replicates over that of
independent points, taken from 1 to 2. Without this, clusters in 8 points of correlation 0.2 covered 0.935 to 0.939,
with it 0.943 to 0.947. For independent points and nets it changes nothing.

While no event has come, the interval is [0, u], and u falls as 1 / n with the number n of replicates. A run with `atol`
stops where u / 2 is within it. A run with `rtol` alone goes on until events come.

The next look is at n h / (wanted half-width), at least 10 % more: with no further event the half-width h falls as
1 / n, and with any it falls more slowly. So hardly any look before that number would end the run.

.. rubric:: References

.. [1] J. B. S. Haldane (1945). On a method of estimating frequencies. Biometrika 33(3), 222-225.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import EventCounts
from mcgen.inference.proportions import proportion_interval

LEAST_GROWTH = 1.1
"""Least factor by which replicates grow from one look to the next: runs are some 5 % longer than needed."""
GROWTH_WITHOUT_EVENT = 2.0
"""Factor to the next look while a relative tolerance has no event to be relative to."""
SHARE_FOR_CLUSTERS = 0.2
"""Part of alpha that is given up where the dispersion is twice that of independent points, or more."""


def stopped_interval(counts: EventCounts, confidence_level: float) -> tuple[Floats, Floats]:
    """Return the ends of the intervals of a run that stops by their lengths, shape (k,).

    Parameters
    ----------
    counts : EventCounts
        Numbers of events of the run.
    confidence_level : float
        In (0, 1).
    """
    binomial = counts.events * counts.non_events / (counts.n_replicates * counts.n_points)
    excess = np.clip((counts.dispersion + 1) / (binomial + 1) - 1, 0, 1)
    level = 1 - (1 - confidence_level) * (1 - SHARE_FOR_CLUSTERS * excess)
    df = np.broadcast_to(np.asarray(counts.n_replicates - 1.0), excess.shape)
    return proportion_interval([counts], df, level)


def half_widths(counts: EventCounts, confidence_level: float) -> Floats:
    """Return half the lengths of `stopped_interval`, shape (k,)."""
    low, high = stopped_interval(counts, confidence_level)
    return np.asarray((high - low) / 2)


def next_look(n: int | NDArray[np.int64], half_width: Floats, wanted: Floats) -> Floats:
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
        ratio = np.where(wanted > 0, half_width / wanted, GROWTH_WITHOUT_EVENT)
    return np.where(half_width <= wanted, 0.0, np.ceil(n * np.maximum(ratio, LEAST_GROWTH)))


def likely_end(n: int, events: Floats, half_width: Floats, wanted: Floats) -> Floats:
    """Return the number of replicates at which a run is likely to end, for progress displays.

    With S events, or non-events where these are fewer, the half-width after b n replicates is taken to be that after n
    times sqrt((b S + 1) / (S + 1)) / b. So it falls as 1 / b without events, and as 1 / sqrt(b) with many.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = np.where(wanted > 0, half_width / wanted, GROWTH_WITHOUT_EVENT) ** 2
    b = (squared * events + np.sqrt((squared * events) ** 2 + 4 * squared * (events + 1))) / (2 * (events + 1))
    return np.asarray(n * b)

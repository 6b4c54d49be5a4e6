"""How far a run has come towards its tolerance, and what the guards of stopping rules ask for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.indicators import likely_end, next_look

FEWEST_EVENTS = 20
"""Fewest events, and non-events, of an indicator: with fewer its replicate means are far from normal."""
NO_VARIATION = 1000
"""Replicates after which a component that never varied no longer keeps the run going."""


@dataclass(frozen=True, eq=False)
class ToleranceProgress:
    """How far a run has come towards its tolerance after n replicates, for each of the c components that count.

    Attributes
    ----------
    n : int
        Number of replicates.
    columns : ndarray of int of shape (c,)
        Indices of the components that count among all k.
    half_width, wanted : ndarray of shape (c,)
        The half-widths after n replicates, and the largest ones that the tolerance allows.
    symmetric : ndarray of shape (c,)
        The half-widths if the replicate means were not skewed.
    constant : ndarray of bool of shape (c,)
        Where the replicate means do not vary.
    unseen : ndarray of bool of shape (c,)
        Where the values inside replicates do not vary either: a constant, or an event too rare to be seen.
    rare : ndarray of bool of shape (c,)
        Where an indicator has fewer than 20 events or non-events.
    events : ndarray of shape (c,)
        The smaller number of events and non-events of indicators; 0 for other statistics.
    fewest : ndarray of shape (c,)
        Replicates below which the skewness of the replicate means leaves the interval without an end; 0 where none are.
    matched : ndarray of bool of shape (c,)
        Where the half-width needs no guard: that of a probability (see `indicators`), and by bets (see `betting`).
    alike : ndarray of bool of shape (c,)
        Where an indicator had the same value for all points.
    """

    n: int
    columns: NDArray[np.int64]
    half_width: Floats
    symmetric: Floats
    wanted: Floats
    constant: NDArray[np.bool_]
    unseen: NDArray[np.bool_]
    rare: NDArray[np.bool_]
    events: Floats
    fewest: Floats
    matched: NDArray[np.bool_]
    alike: NDArray[np.bool_]

    @property
    def wide(self) -> NDArray[np.bool_]:
        """Where the half-width is larger than the tolerance allows, or NaN."""
        return ~(self.half_width <= self.wanted)

    @property
    def skewed(self) -> NDArray[np.bool_]:
        """Where the interval has no end yet, since the replicates are few for their skewness."""
        return self.fewest > self.n

    @property
    def guarded(self) -> NDArray[np.bool_]:
        """Where a guard asks for more replicates. A component that never varied is guarded up to 1,000 only."""
        return self.constant & (self.n < NO_VARIATION) | ~self.constant & (self.rare | self.skewed)

    def guard_target(self) -> float:
        """Return the number of replicates that the guards ask for, at most 2 n.

        The limit is there because the guards estimate events and skewness anew at each look.
        """
        for_variation = np.where(self.constant & (self.n < NO_VARIATION), min(2 * self.n, NO_VARIATION), 0)
        for_events = np.where(self.rare & ~self.constant, 1.1 * self.n * FEWEST_EVENTS / np.maximum(self.events, 1), 0)
        for_skewness = np.where(self.constant, 0, self.fewest)
        return min(2.0 * self.n, float(np.max([for_variation, for_events, for_skewness])))

    def next_look_at_events(self) -> float:
        """Return the number of replicates at the next look at probabilities, 0 where all are known well enough."""
        i = self.matched
        return float(next_look(self.n, self.half_width[i], self.wanted[i]).max(initial=0))

    def likely_end_of_events(self) -> float:
        """Return the number of replicates at which probabilities are likely to be known well enough."""
        i = self.matched
        return float(likely_end(self.n, self.events[i], self.half_width[i], self.wanted[i]).max(initial=0))

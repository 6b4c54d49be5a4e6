"""The stopping rules: two stages, confidence sequences, and betting; see `mcgen.inference.stopping`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.betting import betting_interval
from mcgen.inference.indicators import half_widths as half_widths_of_events
from mcgen.inference.interval_input import EventCounts, IntervalInput
from mcgen.inference.intervals import studentized_ends
from mcgen.inference.moments import Moments
from mcgen.inference.progress import ToleranceProgress
from mcgen.inference.sequences import FEWEST_REPLICATES, REPLICATES_BY_SKEWNESS, sequence_ends
from mcgen.inference.stopping import Rule, Stopping
from mcgen.inference.tolerance import Tolerance

SKEWED_FIRST_STAGE = 64
"""Replicates of the first stage where 32 look skewed: twice as many, since s_0 of few skewed means is often small."""
REPLICATES_IF_NOT_SKEWED = 50
"""Replicates per squared skewness below which a first stage looks skewed: Student's t covers half a point too little.
"""
PLANNED = 256
"""Replicates at which a confidence sequence is narrowest by default.

From a tenth of the planned number to any larger one, it is at most 27 % wider than the narrowest possible sequence.
"""
# Least factor by which replicates grow from one look to the next, so that no run ends in many tiny steps.
_LEAST_STEP = {"two-stage": 1.02, "anytime": 1.05}

Kind = Literal["anytime", "asymptotic-anytime"]


@dataclass(frozen=True, eq=False)
class FirstStage:
    """Moments of the replicates of the first stage.

    Attributes
    ----------
    count : int
        Number of replicates, R_0.
    mean, standard_deviation, skewness : ndarray of shape (k,)
        Mean, standard deviation s_0 and skewness of the replicate means.
    """

    count: int
    mean: Floats
    standard_deviation: Floats
    skewness: Floats

    @classmethod
    def of(cls, moments: Moments) -> FirstStage:
        """Return the first stage that has these moments."""
        return cls(moments.count, moments.mean, np.sqrt(moments.variance), moments.skewness)


class TwoStage(Rule):
    """Stein's rule: a first stage tells how many replicates are needed; more follow where these turn out too few."""

    name = "two-stage"

    def __init__(
        self, tolerance: Tolerance, confidence_level: float, simultaneous: bool = False, n_points: int = 1
    ) -> None:
        super().__init__(tolerance, confidence_level, simultaneous, n_points)
        self.first_stage: FirstStage | None = None

    def half_widths(self, moments: Moments) -> Floats:
        """Return half the lengths of the intervals; while the first stage is not over, those of skewness-safe t."""
        first = self.first_stage or FirstStage.of(moments)
        sampled = replace(self._sampled(moments), first_stage=(first.count, first.standard_deviation))
        level, matched = self._level(len(moments.mean)), self._matched(moments)
        low, high = studentized_ends(sampled, level, "two-stage-t")
        half_widths = np.asarray((high - low) / 2 * sampled.standard_error)
        if not matched.any():
            return half_widths
        return np.where(matched, half_widths_of_events(EventCounts.of(moments, self._n_points), level), half_widths)

    def _matched(self, moments: Moments) -> NDArray[np.bool_]:
        """Return which components are boolean."""
        return self._boolean & moments.counted if len(self._boolean) else super()._matched(moments)

    def outcome(self, moments: Moments, rounding: float) -> Stopping:
        """Return how the run ended; the moments of a run that ended in its first stage are those of both stages."""
        first = self.first_stage or FirstStage.of(moments)
        ended = super().outcome(moments, rounding)
        return replace(ended, first_count=first.count, first_standard_deviation=first.standard_deviation)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` takes."""
        first = self.first_stage
        return super().state() | {"first_stage": None if first is None else vars(first).copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state of another rule that has the same arguments."""
        super().restore(state)
        first = state["first_stage"]
        self.first_stage = None if first is None else FirstStage(**first)

    def _wanted_count(self, at: ToleranceProgress, moments: Moments) -> float:
        if self.first_stage is None:
            if at.n < SKEWED_FIRST_STAGE and self._looks_skewed(at, moments) and self.capped(SKEWED_FIRST_STAGE) > at.n:
                return SKEWED_FIRST_STAGE
            self.first_stage = FirstStage.of(moments)
        target = self._width_target(at)
        if target:
            target = max(target, _LEAST_STEP["two-stage"] * at.n)
        return max(target, at.next_look_at_events(), at.guard_target() if at.guarded.any() else 0.0)

    @staticmethod
    def _looks_skewed(at: ToleranceProgress, moments: Moments) -> bool:
        """Return whether replicate means that count look skewed, other than those of indicators."""
        judged = ~moments.counted[at.columns] & ~at.constant
        needed = REPLICATES_IF_NOT_SKEWED * moments.skewness[at.columns] ** 2
        return bool((judged & (needed > at.n)).any())


class Anytime(Rule):
    """A rule that looks at a confidence sequence whenever it may be narrow enough.

    Parameters
    ----------
    tolerance, confidence_level, simultaneous, n_points
        As for `Rule`.
    kind : {"anytime", "asymptotic-anytime"}
        The sequence: exact for normal replicate means, or valid in the limit of many replicates for any law.
    planned : int
        Number of replicates at which the sequence is narrowest, chosen before the run.
    """

    half_width_if_constant = np.inf

    def __init__(
        self,
        tolerance: Tolerance,
        confidence_level: float,
        simultaneous: bool = False,
        n_points: int = 1,
        kind: Kind = "anytime",
        planned: int = PLANNED,
    ) -> None:
        super().__init__(tolerance, confidence_level, simultaneous, n_points)
        self.planned, self.name = planned, kind

    def half_widths(self, moments: Moments) -> Floats:
        """Return half the lengths of the confidence sequence's intervals; infinite where there is no end yet."""
        sampled, level = self._sampled(moments), self._level(len(moments.mean))
        assert sampled.skewness is not None
        low, high = sequence_ends(self.name, float(moments.count), self.planned, level, sampled.skewness)
        error = np.where(np.isinf(high), 1.0, moments.standard_error)
        return np.where(moments.m2 > 0, (high - low) / 2 * error, np.inf)

    def _fewest(self, moments: Moments) -> Floats:
        """Return max(30, 10 g^2) for the skewness g of the replicate means."""
        skewness = self._sampled(moments).skewness
        assert skewness is not None
        return np.maximum(FEWEST_REPLICATES, REPLICATES_BY_SKEWNESS * moments.count * skewness**2)

    def outcome(self, moments: Moments, rounding: float) -> Stopping:
        """Return how the run ended."""
        return replace(super().outcome(moments, rounding), planned=self.planned)

    def _wanted_count(self, at: ToleranceProgress, moments: Moments) -> float:
        target = self._width_target(at)
        if target:
            target = min(max(target, _LEAST_STEP["anytime"] * at.n), 2.0 * at.n)
        return max(target, at.guard_target() if at.guarded.any() else 0.0)


class Betting(Rule):
    """A rule that looks at a betting interval, which needs no guard and no fewest number of replicates.

    It needs the replicate means and the bounds of their values: call `note_means` before each look.
    """

    name = "betting"

    def __init__(
        self, tolerance: Tolerance, confidence_level: float, simultaneous: bool = False, n_points: int = 1
    ) -> None:
        super().__init__(tolerance, confidence_level, simultaneous, n_points)
        self._means: Floats | None = None
        self._bounds: Floats | None = None

    def note_means(self, means: Floats | None, bounds: Floats | None) -> None:
        """Take note of the replicate means, shape (R, k), and of the bounds of their values, shape (2, k)."""
        self._means, self._bounds = means, bounds

    def half_widths(self, moments: Moments) -> Floats:
        """Return half the lengths of the intervals, from the replicate means that were noted last."""
        sampled = replace(IntervalInput.of(moments, self._means, 0), bounds=self._bounds)
        low, high = betting_interval(sampled, self._level(len(moments.mean)))
        return np.asarray((high - low) / 2)

    def _matched(self, moments: Moments) -> NDArray[np.bool_]:
        return np.ones(len(moments.mean), dtype=bool)

    def _wanted_count(self, at: ToleranceProgress, moments: Moments) -> float:
        # Half-widths fall as 1 / n at first, so hardly any look before this number would end the run.
        return min(at.next_look_at_events(), 2.0 * at.n)

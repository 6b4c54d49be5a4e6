"""Measurement of the seconds that a run and an evaluation take."""

from __future__ import annotations

import math
import time


class Clock:
    """Stopwatch of a run: total seconds, and seconds per evaluation.

    The first group is left out of the seconds per evaluation, because models warm up in it. Evaluations are all rows
    that the model ran, including those that fill up a group.
    """

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds = 0.0
        self._first: float | None = None
        self._before = 0.0
        # Count, mean and sum of squared deviations of the groups after the first.
        self._count, self._mean, self._m2 = 0, 0.0, 0.0

    def tick(self, n_evaluations: int, seconds: float | None = None) -> None:
        """Add a finished group; `seconds` is given for a range of replicates that another process has run."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        self.seconds += passed
        each = (passed if seconds is None else seconds) / n_evaluations
        if self._first is None:
            self._first = each
            return
        step = each - self._mean
        self._count += 1
        self._mean += step / self._count
        self._m2 += step * (each - self._mean)

    def leave_out(self, seconds: float) -> None:
        """Leave out seconds since the last group that the run has not spent on replicates."""
        self._last += seconds

    def add_stored(self, seconds: float, n_evaluations: int) -> None:
        """Add the seconds of earlier calls of the same run, which its store has kept."""
        self.seconds += seconds
        self._before = seconds / n_evaluations

    def seconds_per_evaluation(self) -> tuple[float, float]:
        """Return the seconds per evaluation and their relative standard error (0 if it is not known)."""
        if self._count == 0:
            return self._first or self._before, 0.0
        if self._count == 1:
            return self._mean, 0.0
        return self._mean, math.sqrt(self._m2 / (self._count - 1) / self._count) / self._mean

"""What a run shows of itself while it goes on: records of `logging`, and calls of the user's `callback`."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from mcgen._lib.names import name_of
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.streams import label_of
from mcgen.replicates.tally import Segment
from mcgen.replicates.task import Task
from mcgen.results.estimate import Estimate
from mcgen.results.provenance import text_of_seed
from mcgen.runs.options import RunOptions
from mcgen.runs.state import Callback, Make, Reading, RunState

_logger = logging.getLogger(__name__)

_SECONDS_BETWEEN = 1.0
"""Seconds between the end of one call and the next one: often enough for a curve, and no load for cheap models."""


class Watch:
    """Logs a run, and calls its callback.

    The callback is called first at two replicates, then at most once a second, and once when the run is finished.

    Parameters
    ----------
    task : Task
        What is run.
    target : int or None
        The replicates that were asked for.
    options : RunOptions
        The callback, and what else is asked for.
    """

    def __init__(self, task: Task, target: int | None, options: RunOptions) -> None:
        self._task, self._target, self._options = task, target, options
        self._since, self._last = time.monotonic(), -float("inf")

    @property
    def score(self) -> str:
        """The name of what is estimated; conditions of a mixture give means of the statistic alone."""
        functional = self._options.functional
        if functional is None or (functional.pools and self._options.collected is not None):
            return name_of(self._task.statistic)
        return functional.label

    def __str__(self) -> str:
        condition = label_of(self._task)
        under = "" if condition is None else f", condition {condition}"
        return f"{self._model}, {self.score}, {self._task.design}{under}"

    @property
    def _model(self) -> str:
        return self._options.bar or name_of(self._task.generator)

    def began(self, n_stored: int) -> None:
        """Log what is run, and how many replicates its store has."""
        if not _logger.isEnabledFor(logging.INFO):
            return
        asked, n = self._options.tolerance, self._target
        wanted = f"half-widths of at most {asked}" if n is None else f"{n:,} replicates"
        seed = text_of_seed(as_seed_sequence(self._task.seed))
        _logger.info("%s: started; wanted %s, seed %s", self, wanted, seed)
        if n_stored:
            _logger.info("%s: the store has %s replicates", self, f"{n_stored:,}")

    def tallied(self, replicates: Segment) -> None:
        """Log some replicates in replicate order, of this process, an executor or a store."""
        _logger.debug("%s: has replicates %d to %d", self, replicates.start, replicates.start + len(replicates) - 1)

    def failed(self, count: int, error: Exception) -> None:
        """Log an error that ends the run."""
        _logger.info("%s: ended after %d replicates by %r", self, count, error)

    def ended(self, made: Estimate) -> None:
        """Log the end of the run."""
        how, seconds = "interrupted" if made.partial else "finished", made.provenance.seconds
        n, evaluations = f"{made.n_replicates:,}", f"{made.n_evaluations:,}"
        _logger.info("%s: %s after %s replicates, %s evaluations, %.3g s", self, how, n, evaluations, seconds)

    def update(self, count: int, make: Make) -> float:
        """Call back where it is time, and return the seconds that this took."""
        callback = self._options.callback
        if callback is None or count < 2 or time.monotonic() - self._last < _SECONDS_BETWEEN:
            return 0.0
        began = time.monotonic()
        self._call(callback, count, make, finished=False)
        self._last = time.monotonic()
        return self._last - began

    def finish(self, count: int, make: Make) -> None:
        """Call back with the finished estimate."""
        if self._options.callback is not None:
            self._call(self._options.callback, count, make, finished=True)

    def _call(self, callback: Callback, count: int, make: Make, finished: bool) -> None:
        reading = Reading(make)
        state = RunState(
            model=self._model,
            score=self.score,
            design=str(self._task.design),
            condition=label_of(self._task),
            n_replicates=count,
            n_evaluations=count * self._task.design.n_points,
            target=self._target,
            seconds=time.monotonic() - self._since,
            finished=finished,
            _reading=reading,
        )
        try:
            callback(state)
        except Exception as error:
            if error is reading.error:
                _logger.debug("no value for the callback at %d replicates: %s", count, error)
                return
            # A frozen exception takes no note, and stays as it is.
            with suppress(Exception):
                error.add_note(f"raised by the callback {name_of(callback)!r} at {count:,} replicates")
            raise
        finally:
            reading.close()

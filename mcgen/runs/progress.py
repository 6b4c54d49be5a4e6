"""A bar of evaluations done, with the estimate and its half-width so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mcgen._lib.arrays import Floats
from mcgen.inference.moments import Moments
from mcgen.replicates.tally import Tally
from mcgen.results.text import number_pair

_SECONDS_BETWEEN = 0.3
"""Seconds between two updates of the numbers beside the bar: faster than that nobody reads them."""


class Progress:
    """A tqdm bar with the estimate so far; where it isn't wanted it does nothing, and imports nothing.

    Parameters
    ----------
    label : str
        Text before the bar.
    shown : bool
        Whether the bar is wanted.
    half_width : callable
        From the moments of the replicates so far to the half-widths of the components. The first one is shown. None
        for no numbers: those of a functional would take too long.
    """

    def __init__(self, label: str, shown: bool, half_width: Callable[[Moments], Floats] | None) -> None:
        self._half_width = half_width
        self._last = 0.0
        self._bar: Any = None
        self._tally: Tally | None = None
        if shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(desc=label, unit=" evaluations", unit_scale=True)

    def expect(self, total: int) -> None:
        """Set the number of evaluations that are expected in all."""
        if self._bar is not None and self._bar.total != total:
            self._bar.total = total
            self._bar.refresh()

    def update(self, n_evaluations: int, tally: Tally) -> None:
        """Move the bar on, and show the estimate so far a few times a second."""
        if self._bar is None:
            return
        self._tally = tally
        self._bar.update(n_evaluations)
        now = time.monotonic()
        if now - self._last > _SECONDS_BETWEEN:
            self._last = now
            self._bar.set_postfix_str(self._so_far(tally), refresh=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if self._tally is not None:
                self._bar.set_postfix_str(self._so_far(self._tally))
            self._bar.close()

    def _so_far(self, tally: Tally) -> str:
        moments = tally.moments()
        if self._half_width is None or moments is None or moments.count < 2:
            return ""
        middle, half = number_pair(float(moments.mean[0]), float(self._half_width(moments)[0]))
        return f"{middle} ± {half}"

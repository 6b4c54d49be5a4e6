"""How replicates are put into batches of the model, and rows into slices that fit a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers in a slice: 256 KiB in float64, so that a core's second-level cache holds it with some intermediate results.
_IN_CACHE = 2**15


def group_of(batch_size: int, n_points: int) -> int:
    """Return the number of replicates that share a batch."""
    return max(1, batch_size // n_points)


def executed_rows(replicates: range, batch_size: int, n_points: int) -> int:
    """Return the number of rows that the model runs for a range of replicates, which is run in whole groups.

    Examples
    --------
    >>> from mcgen._lib.batches import executed_rows
    >>> executed_rows(range(100), 64, 2), executed_rows(range(30, 70), 64, 2)
    (256, 192)
    """
    group = group_of(batch_size, n_points)
    return (-(-replicates.stop // group) - replicates.start // group) * group * n_points


def by_slices(function: Callable[[NDArray[Any]], NDArray[Any]], rows: NDArray[Any]) -> NDArray[Any]:
    """Return function(rows) for a function that acts on each row alone, by slices that stay in a core's cache."""
    size = max(1, _IN_CACHE * len(rows) // max(1, rows.size))
    if len(rows) <= size:
        return function(rows)
    return np.concatenate([function(rows[start : start + size]) for start in range(0, len(rows), size)])

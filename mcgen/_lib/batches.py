"""How replicates are put into batches of the model."""

from __future__ import annotations


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

"""Replicates that are run to find out something, and not used in an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.generators import Generator
from mcgen.generators.joint import OnSameNoise
from mcgen.inference.moments import varies_by_rounding
from mcgen.replicates.loop import Task
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.tally import Tally
from mcgen.statistics.joint import EachOf


def pilot_rows(
    task: Task, generators: Sequence[Generator], n_replicates: int, batch_size: int | None, *purpose: str | int
) -> list[tuple[Floats, Floats]]:
    """Return a pilot's replicate means of the task's statistic for several generators on the same noise.

    For each generator, and then for the first minus each of the others, the means and the mean squared deviations
    within the replicates, both (n_replicates, k).
    """
    joint = replace(
        task,
        generator=OnSameNoise(tuple(generators), generators[0].noise),
        statistic=EachOf(task.statistic),
        stream=("pilot", *purpose, *task.stream),
        batch_size=checked_batch_size(batch_size, task.design.n_points, n_replicates),
        warnings=[],
    )
    kept = tallied(joint, n_replicates).kept()
    assert kept is not None
    means, within = kept[0].copy(), kept[1]
    # What varies by no more than rounding has no variance, and no slope.
    spread = varies_by_rounding(means.mean(axis=0), means.var(axis=0), within.mean(axis=0), joint.rounding)
    means[:, spread] = 0.0
    split = (np.split(part, 2 * len(generators) - 1, axis=1) for part in (means, within))
    return [*zip(*split, strict=True)]


def tallied(task: Task, n_replicates: int) -> Tally:
    """Return all replicate means of a task."""
    tally = Tally(True)
    for rows in task.evaluate(range(n_replicates)):
        tally.add(rows)
    return tally

"""What tests of stores put in, in a module of its own: processes that are killed import it faster than the tests."""

from __future__ import annotations

import os

import numpy as np

from mcgen.inference.moments import ReplicateMeans
from mcgen.replicates.ranges import FinishedRange
from mcgen.replicates.tally import segments_of
from mcgen.replicates.task import Facts

SEED = int(os.environ.get("MCGEN_TEST_SEED", "20260101"))
HEADER = {"design": "Antithetic()", "seed": 0, "versions": {"mcgen": "0.1.0", "numpy": "2.0"}}
FACTS = Facts((3,), 1e-7, ())


def truth(n: int, k: int = 3, counts: bool = True, start: int = 0) -> ReplicateMeans:
    """Rows of n replicates, the same in every process."""
    numbers = np.random.default_rng(SEED)
    means = numbers.normal(size=(n, k)) * 10.0 ** numbers.integers(-30, 20, size=(n, k))
    ones = numbers.integers(0, 3, size=(n, k)) if counts else None
    return ReplicateMeans(start, means, numbers.exponential(size=(n, k)), ones, 2)


def finished(rows: ReplicateMeans, first: int, last: int, keep: bool = False, facts: Facts = FACTS) -> FinishedRange:
    return FinishedRange(segments_of([rows[first:last]], keep), facts, float(last - first))

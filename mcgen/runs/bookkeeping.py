"""What a run in a store was begun with, which a call that goes on has to share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcgen._lib.fingerprints import content_of
from mcgen.errors import StoreError
from mcgen.replicates.loop import Task
from mcgen.replicates.stores.merging import PLANNED
from mcgen.replicates.stores.store import StoredRun
from mcgen.replicates.summation import LEAF
from mcgen.runs.options import RunOptions

_BEGUN = "begun"


@dataclass(frozen=True)
class Begun:
    """How a run was begun.

    Attributes
    ----------
    batch_size : int
        Rows that the model sees at a time: other batches give other last bits.
    planned : int
        The number of replicates that was asked for first, at which a confidence sequence is narrowest: one chosen after
        a look would not do. 0 where a tolerance was asked for.
    """

    batch_size: int
    planned: int


def begin(stored: StoredRun, task: Task, n_replicates: int | None, options: RunOptions) -> Begun:
    """Return how a run was begun; it begins here where nothing of it is stored.

    Raises
    ------
    StoreError
        If the store has replicates of another design or of other coefficients, or with other batches; or their sums
        alone, where replicate means are asked for.
    """
    given = task.given.things.get("statistic", task.statistic)
    own: dict[str, Any] = {
        "design": str(task.design),
        # Coefficients of levels and controls are part of it.
        "content of the statistic": content_of(task.statistic, known={"given": given}).fingerprint,
        "batch_size": task.batch_size,
    }
    asked: dict[str, Any] = {"planned": n_replicates or 0, "batch_size": options.batch_size}
    found, first = stored.recall(_BEGUN), stored.recall(PLANNED)
    if found is None or not stored.covered():
        stored.remember(_BEGUN, own)
        found, first = own, None
    if first is None:
        stored.remember(PLANNED, asked)
        first = asked
    for name in ("design", "content of the statistic"):
        if found[name] != own[name]:
            raise StoreError(
                f"store {stored.store.path}: {name} is {found[name]!r} in the store{stored.of_run} and {own[name]!r} "
                "here; a pilot that chose it gave something else this time, on another machine or by other options. "
                "Give another path, or call as the store was called"
            )
    if options.batch_size not in (None, found["batch_size"], first["batch_size"]):
        raise StoreError(
            f"store {stored.store.path}: batch_size is {found['batch_size']} in the store and {options.batch_size} "
            "here, and other batches give other last bits; leave it out, or give another path"
        )
    there = sum(map(len, stored.covered()))
    if n_replicates is not None and n_replicates < there and n_replicates % LEAF and not stored.keeps_rows:
        raise StoreError(
            f"store {stored.store.path} has {there:,} replicates, as sums of {LEAF}; got {n_replicates:,}, of which "
            f"the last can't be had alone. Ask for {there:,} or more, for a multiple of {LEAF}, or give another path"
        )
    if options.keeps and not stored.keeps_rows:
        raise StoreError(
            f"store {stored.store.path} has sums of replicate means alone, since they were many or keep_replicates was "
            "False, and this call asks for the means (by keep_replicates=True, a bootstrap or cross-fitted controls); "
            "leave that out, or give another path"
        )
    return Begun(int(found["batch_size"]), int(first["planned"]))

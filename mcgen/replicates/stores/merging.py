"""Merging the stores of the parts of one run into the store of the whole: no replicate twice, none left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from mcgen._lib.fingerprints import EXCLUDE, Given
from mcgen.errors import StoreError
from mcgen.replicates.ranges import FinishedRange, gaps_between, range_text
from mcgen.replicates.stores.database import put_in_place
from mcgen.replicates.stores.headers import differences_of_headers, differing
from mcgen.replicates.stores.states import About, Asked
from mcgen.replicates.stores.store import Store, StoredRun, of_run

PART = "replicates"
"""Field of a header that says which part of a run the store is for, [start, stop]; None for the whole."""


def merge_stores(paths: Sequence[str | Path], output: str | Path) -> None:
    """Write the store of a whole run from the stores of its parts.

    Use it after several machines have each run a part, by ``mcgen.estimate(..., replicates=range(...), store=...)``.
    The whole store is written, or nothing. Replicate means are kept where every part has kept them.

    Parameters
    ----------
    paths : sequence of str or Path
        Stores of finished parts, in any order.
    output : str or Path
        The new store. It is the same, to the last bit, as the store of one run of all replicates.

    Raises
    ------
    TypeError
        If `paths` is a single path.
    StoreError
        If the parts are of different runs, overlap, have a gap between them or are not finished, or the output exists.

    Examples
    --------
    >>> import tempfile
    >>> import mcgen
    >>> folder = tempfile.mkdtemp()
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), seed=0)
    >>> for number, part in enumerate([range(0, 100), range(100, 320)]):
    ...     store = f"{folder}/{number}.sqlite"
    ...     _ = mcgen.estimate(model, mcgen.statistics.pixel_mean, replicates=part, store=store, **options)
    >>> mcgen.merge_stores([f"{folder}/0.sqlite", f"{folder}/1.sqlite"], f"{folder}/all.sqlite")
    >>> [run] = mcgen.read_store(f"{folder}/all.sqlite")
    >>> run.estimate == mcgen.estimate(model, mcgen.statistics.pixel_mean, n_replicates=320, **options)
    True
    """
    if isinstance(paths, str | os.PathLike):
        raise TypeError(f"paths must be a list of the stores of all parts; got the one path {str(paths)!r}")
    if not paths:
        raise StoreError("no stores to merge; give the path of one or more")
    place = Path(output).resolve()
    with ExitStack() as stack:
        parts = [stack.enter_context(Store.open_read(path)) for path in paths]
        header = _merged_header(parts)
        names = list(dict.fromkeys(name for part in parts for name in part.run_names()))
        if not names:
            raise StoreError(
                f"stores {', '.join(str(part.path) for part in parts)} hold no replicates; run the parts first"
            )
        runs = {name: _in_order(parts, name) for name in names}
        _require_absent(place)
        _write(runs, header, place)


def _merged_header(parts: Sequence[Store]) -> dict[str, Any]:
    """Return the header of the whole, after checking that those of the parts differ in `PART` alone."""

    def shared(part: Store) -> dict[str, Any]:
        return {name: value for name, value in part.header.items() if name != PART}

    first = parts[0]
    noted = Given()
    for part in parts:
        noted.note(part.changes)
    for part in parts[1:]:
        apart, inside = differences_of_headers(shared(first), shared(part), noted.changes, ("", ""))
        if apart:
            raise StoreError(
                f"stores {first.path} and {part.path} are of different runs: {'; '.join(apart)}; merge parts of one run"
                + (f". {EXCLUDE}" if inside else "")
            )
    return first.header | {PART: None}


def _in_order(parts: Sequence[Store], name: str) -> list[tuple[range, StoredRun]]:
    """Return the finished ranges of a run in order, each with its part, after checking for gaps and overlaps."""
    found = []
    for part in parts:
        run = part.run(name) if name in part.run_names() else None
        covered = [] if run is None else run.covered()
        _require_finished(part, name, covered)
        if run is not None:
            found += [(replicates, run) for replicates in covered]
    found.sort(key=lambda entry: entry[0].start)
    if found and found[0][0].start:
        raise _gap(range(found[0][0].start), name)
    for (one, first), (other, second) in pairwise(found):
        if other.start < one.stop:
            twice = range(other.start, min(one.stop, other.stop))
            raise StoreError(
                f"stores {first.store.path} and {second.store.path} both hold {range_text(twice)}{of_run(name)}; a "
                "replicate can be counted once only: leave one of the stores out"
            )
        if other.start > one.stop:
            raise _gap(range(one.stop, other.start), name)
        _require_same_shape(first, second)
    return found


def _require_finished(part: Store, name: str, covered: list[range]) -> None:
    own = part.header.get(PART)
    if own is None:
        own = [0, covered[-1].stop if covered else 0]
    missing = gaps_between(covered, range(*own))
    if missing or not covered:
        left = ", ".join(map(range_text, missing)) or "all replicates"
        raise StoreError(
            f"store {part.path} is not finished: {left}{of_run(name)} are missing; run its part again with the same "
            "store, then merge"
        )


def _require_same_shape(first: StoredRun, second: StoredRun) -> None:
    shapes = [(run.facts.components, run.facts.own_shape) for run in (first, second) if run.facts is not None]
    if shapes[0] != shapes[1]:
        raise StoreError(
            f"stores {first.store.path} and {second.store.path} have components of shape {shapes[0][0]} and "
            f"{shapes[1][0]}{first.of_run}; merge parts of one run"
        )


def _gap(missing: range, name: str) -> StoreError:
    return StoreError(
        f"{range_text(missing)}{of_run(name)} are in none of the stores; give the store that has them too"
    )


def _require_absent(place: Path) -> None:
    if place.exists():
        raise StoreError(f"{place} exists already; give the merged store another path, or delete it first")


def _write(runs: dict[str, list[tuple[range, StoredRun]]], header: dict[str, Any], place: Path) -> None:
    new = place.with_name(f"{place.name}-merged-{os.getpid()}")
    try:
        with Store(new, header) as store:
            for name, found in runs.items():
                _fill(store.run(name), found)
        _require_absent(place)
        put_in_place(new, place)
    finally:
        for rest in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                new.with_name(new.name + rest).unlink(missing_ok=True)


def _fill(run: StoredRun, found: list[tuple[range, StoredRun]]) -> None:
    keep = all(part.keeps_rows for _, part in found)
    for replicates, part in found:
        facts = part.facts
        assert facts is not None
        for segment, seconds in part.timed_segments(replicates):
            run.add(FinishedRange([segment], facts, seconds), keep)
    for name, value in _merged_states(found).items():
        run.remember(name, value)


def _merged_states(found: list[tuple[range, StoredRun]]) -> dict[str, dict[str, Any]]:
    """Return the states of the whole run, after checking that the parts agree where they must."""
    states: dict[str, dict[str, Any]] = {}
    for _, part in found:
        for name in part.remembered():
            value = part.recall(name)
            assert value is not None
            apart = differing({name: states.setdefault(name, value)}, {name: value})
            if apart and name not in (Asked.key, About.key):
                raise StoreError(
                    f"store {part.store.path} and one before it know different things{part.of_run}: "
                    f"{'; '.join(f'{what} is {a} and {b}' for what, a, b in apart)}; merge parts of one run"
                )
    states.pop(Asked.key, None)
    if About.key in states:
        states[About.key]["target"] = found[-1][0].stop
    return states

"""A store: one SQLite file that keeps the finished ranges of a run, so that a run goes on where it stopped.

Laws: what a store returns has the bits that it was given. Each finished range is stored whole or not at all, whenever
the process is killed. Damage, another run's store or a second writer is an error, never another number and never a
silent restart.

Every row has a checksum. Its key is made of the header, and so of all that determines the run's numbers: a row of
another run never passes for one of this run. Opening a store verifies all checksums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from mcgen._lib.fingerprints import EXCLUDE, Change, Changes, Given
from mcgen.errors import StoreError
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.ranges import FinishedRange, joined_ranges, range_text
from mcgen.replicates.stores.database import Database, damaged, is_unwritable
from mcgen.replicates.stores.encoding import MOMENTS, checksum, kind_of, pack, text_of, unpack, value_of
from mcgen.replicates.stores.headers import key_of, require_same_run
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import Leaf, Segment, joined
from mcgen.replicates.task import Facts

# Bytes up to which the kept replicate means of a leaf are joined into one row; SQLite's own limit is 1e9 bytes a row.
_LARGEST_ROW = 2**26


class Store:
    """A file with the finished ranges of one or several runs; used from one thread.

    Opening makes the file where there is none. While it is open, no other `Store` of the same file can be made, in any
    process. `open_read` works at any time.

    Parameters
    ----------
    path : str or Path
        The file.
    header : dict
        All that determines the numbers of the run, by name; values that `mcgen._lib.serialization.to_plain` takes.

    Attributes
    ----------
    path : Path
        The file, with links followed.
    header : dict
        The header in the store, with lists in place of tuples.
    changes : dict
        The parts that running changed, among those that the header describes.

    Raises
    ------
    StoreError
        If the store belongs to another run, is damaged, is of a newer version, is in use, or can't be written.
    """

    path: Path
    header: dict[str, Any]

    def __init__(self, path: str | Path, header: dict[str, Any]) -> None:
        self._open(path, {name: text_of(value) for name, value in header.items()}, writable=True)

    @classmethod
    def open_to_run(cls, path: str | Path, header: dict[str, Any]) -> Store:
        """Return the store of a call: to write, or, where an existing one can't be written, to read.

        So a call whose run is finished returns from a read-only folder. A call that has still something to run meets
        the error in `require_writable`.

        Raises
        ------
        StoreError
            As for `Store`, but for an existing store that can't be written.
        """
        try:
            return cls(path, header)
        except StoreError as error:
            if not (is_unwritable(error) and Path(path).exists()):
                raise
            store = cls.__new__(cls)
            store._open(path, {name: text_of(value) for name, value in header.items()}, writable=False)
            store._refusal = error
            return store

    @classmethod
    def open_read(cls, path: str | Path) -> Store:
        """Return an existing store to read, as it is now; it does not show what a run adds later.

        Raises
        ------
        StoreError
            If there is no store, or it is damaged or of a newer version.
        """
        store = cls.__new__(cls)
        store._open(path, None, writable=False)
        return store

    def _open(self, path: str | Path, expected: dict[str, str] | None, writable: bool) -> None:
        self.path = Path(path).resolve()
        self._refusal: StoreError | None = None
        with ExitStack() as stack:
            self.database = stack.enter_context(Database(self.path, expected if writable else None))
            self.header = {name: value_of(text) for name, text in self._verified().items()}
            if expected is not None:
                given = {name: value_of(text) for name, text in expected.items()}
                require_same_run(self.path, self.header, given, self.changes)
            if writable:
                self.database.prepare_writing()
            self._closing = stack.pop_all()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. One file remains, which can be copied and read anywhere."""
        self._closing.close()

    @property
    def is_writable(self) -> bool:
        """Whether the store is open to write."""
        return self.database.writable

    def require_writable(self) -> None:
        """Raise `StoreError` where a call needs to write the store and could only read it."""
        if self._refusal is not None:
            raise StoreError(f"the run is not finished, and {self._refusal}") from self._refusal

    def run_names(self) -> list[str]:
        """Return the names of the runs, in the order in which they were made."""
        return [name for (name,) in self.database.rows("SELECT name FROM runs ORDER BY run")]

    def run(self, name: str) -> StoredRun:
        """Return a run of the store; a store that is open to write makes a run that it lacks.

        Raises
        ------
        StoreError
            If a store that is only read lacks the run.
        """
        found = self.database.row("SELECT run FROM runs WHERE name = ?", name)
        if found is not None:
            return StoredRun(self, name, found[0])
        self.require_writable()
        if not self.database.writable:
            raise StoreError(f"store {self.path} has no run {name!r}; it has {self.run_names()}")
        with self.database.transaction():
            number = self.database.value("SELECT 1 + coalesce(max(run), -1) FROM runs")
            row = (name, number, None)
            self.database.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", *row, self.checksum("runs", *row))
        return StoredRun(self, name, number)

    def checksum(self, table: str, *fields: Any) -> bytes:
        """Return the checksum of a row of this store."""
        return checksum(self._key, table, *fields)

    def require_checksum(self, found: Any, what: str, table: str, *fields: Any) -> None:
        """Raise `StoreError` where a row is not what was stored."""
        if found != self.checksum(table, *fields):
            raise damaged(self.path, f"the checksum of {what} is wrong")

    def _verified(self) -> dict[str, str]:
        """Return the header after verifying the whole file."""
        database = self.database
        database.require_schema()
        rows = list(database.rows("SELECT name, value, checksum FROM header ORDER BY name"))
        texts = {name: text for name, text, _ in rows}
        self._key = key_of(texts)
        for name, text, found in rows:
            self.require_checksum(found, f"field {name!r} of the header", "header", name, text)
        if not texts:
            raise damaged(self.path, "its header is empty")
        names = {}
        noted = Given()
        for name, run, facts, found in database.rows("SELECT name, run, facts, checksum FROM runs"):
            self.require_checksum(found, f"run {name!r}", "runs", name, run, facts)
            names[run] = name
            if facts is not None:
                noted.note(_facts_of(value_of(facts)).changes)
        self.changes = noted.changes
        for run, name, text, found in database.rows("SELECT run, name, value, checksum FROM state"):
            self.require_checksum(found, f"state {name!r}", "state", run, name, text)
        last = (-1, 0)
        for run, start, stop, *rest in database.rows(
            "SELECT run, start, stop, kind, seconds, data, checksum FROM segments ORDER BY run, start"
        ):
            what = f"replicates from {start} on{of_run(names.get(run))}"
            self.require_checksum(rest.pop(), what, "segments", run, start, stop, *rest)
            if run not in names or (run, start) < last:
                raise damaged(self.path, f"{what} are there twice, or without their run")
            last = (run, stop)
        return texts


class StoredRun:
    """One run of a store: its finished ranges, its facts, and states by name.

    Parameters
    ----------
    store : Store
        The store; `Store.run` makes this.
    name : str
        The name of the run.
    number : int
        The number of the run in the file.

    Attributes
    ----------
    name : str
        The name of the run.
    of_run : str
        The name as messages give it, such as " of run 'low'"; empty where the run has no name.
    """

    def __init__(self, store: Store, name: str, number: int) -> None:
        self.store = store
        self.name = name
        self.of_run = of_run(name)
        self._run = number
        # The first replicates of leaves that were stored in part when this was made. Such a part is read again after
        # the leaf is whole, so that its rows stay in memory (`_rows`) where the file keeps moments only.
        self._begun = {at - at % LEAF for part in self.covered() for at in (part.start, part.stop) if at % LEAF}
        self._rows: dict[int, ReplicateMeans] = {}

    @property
    def facts(self) -> Facts | None:
        """The facts that the first batch gave; None where nothing is stored."""
        row = self._database.row("SELECT facts, checksum FROM runs WHERE name = ?", self.name)
        assert row is not None
        text, found = row
        self.store.require_checksum(found, f"run {self.name!r}", "runs", self.name, self._run, text)
        return None if text is None else _facts_of(value_of(text))

    @property
    def seconds(self) -> float:
        """The seconds that all stored replicates took."""
        return float(self._sum("total(seconds)"))

    @property
    def keeps_rows(self) -> bool:
        """Whether the replicate means of all stored replicates are there."""
        return not self._sum(f"coalesce(sum(kind = '{MOMENTS}'), 0)")

    def covered(self) -> list[range]:
        """Return the stored replicates as ascending ranges, adjacent ones joined."""
        found = self._database.rows("SELECT start, stop FROM segments WHERE run = ? ORDER BY start", self._run)
        return joined_ranges(range(start, stop) for start, stop in found)

    def segments(self, replicates: range) -> Iterator[Segment]:
        """Yield the stored segments of a range of replicates in order; rows are cut at its ends.

        Raises
        ------
        StoreError
            If some replicates are not stored, or if only moments are stored of a leaf that goes beyond the range.
        """
        return (segment for segment, _ in self.timed_segments(replicates))

    def timed_segments(self, replicates: range) -> Iterator[tuple[Segment, float]]:
        """Yield the segments with the seconds they took; see `segments`."""
        at = replicates.start
        while at < replicates.stop:
            row = self._database.row(
                "SELECT start, stop, kind, seconds, data, checksum FROM segments "
                "WHERE run = ? AND start <= ? ORDER BY start DESC LIMIT 1",
                self._run,
                at,
            )
            segment, seconds = (None, 0.0) if row is None else self._read(*row)
            if segment is None or row is None or row[1] <= at:
                raise StoreError(
                    f"store {self.store.path} lacks replicate {at}{self.of_run}; it has "
                    f"{', '.join(map(range_text, self.covered())) or 'none'}: run again with the same store"
                )
            stop = min(row[1], replicates.stop)
            if row[0] < at or row[1] > stop:
                segment = self._cut(segment, range(at, stop))
            yield segment, seconds * (stop - at) / (row[1] - row[0])
            at = stop

    def add(self, finished: FinishedRange, keep: bool) -> None:
        """Store a finished range, whole or not at all; rows that make up a whole leaf become one row of the file.

        Parameters
        ----------
        finished : FinishedRange
            Its replicates may be any that are not stored yet.
        keep : bool
            Whether the replicate means of whole leaves are kept; otherwise moments replace them.

        Raises
        ------
        StoreError
            If some of its replicates are stored already, its facts differ from the run's, or the file can't be written.
        """
        replicates = finished.replicates
        with self._database.transaction():
            self._learn(finished.facts)
            self._require_absent(replicates)
            leaves = set()
            for segment in finished.segments:
                self._insert(segment, finished.seconds * len(segment) / len(replicates))
                if isinstance(segment, ReplicateMeans):
                    leaves.add(segment.start - segment.start % LEAF)
            for first in sorted(leaves):
                self._compact(first, keep)

    def remember(self, name: str, value: dict[str, Any]) -> None:
        """Store a state of the run under a name, in place of the state that had it."""
        row = (self._run, name, text_of(value))
        with self._database.transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)", *row, self.store.checksum("state", *row)
            )

    def recall(self, name: str) -> dict[str, Any] | None:
        """Return the state of a name, with lists in place of tuples; None where there is none."""
        row = self._database.row("SELECT value, checksum FROM state WHERE run = ? AND name = ?", self._run, name)
        if row is None:
            return None
        self.store.require_checksum(row[1], f"state {name!r}", "state", self._run, name, row[0])
        value: dict[str, Any] = value_of(row[0])
        return value

    def remembered(self) -> list[str]:
        """Return the names of the states."""
        rows = self._database.rows("SELECT name FROM state WHERE run = ? ORDER BY name", self._run)
        return [name for (name,) in rows]

    @property
    def _database(self) -> Database:
        return self.store.database

    def _sum(self, expression: str) -> Any:
        return self._database.value(f"SELECT {expression} FROM segments WHERE run = ?", self._run)

    def _read(
        self, start: int, stop: int, kind: str, seconds: float, data: bytes, found: bytes
    ) -> tuple[Segment, float]:
        what = f"replicates from {start} on{self.of_run}"
        self.store.require_checksum(found, what, "segments", self._run, start, stop, kind, seconds, data)
        return unpack(kind, range(start, stop), data), seconds

    def _cut(self, segment: Segment, replicates: range) -> ReplicateMeans:
        if isinstance(segment, ReplicateMeans):
            return segment[replicates.start - segment.start : replicates.stop - segment.start]
        if segment.start in self._rows:
            return self._cut(self._rows[segment.start], replicates)
        leaf = range(segment.start, segment.start + LEAF)
        raise StoreError(
            f"store {self.store.path} keeps only the moments over all of {range_text(leaf)}{self.of_run}, and "
            f"{range_text(replicates)} alone are needed; ask for a multiple of {LEAF} replicates or for all that "
            "are stored, or give another path"
        )

    def _learn(self, facts: Facts) -> None:
        known = self.facts
        if known is not None:
            for what in ("components", "own_shape"):
                if getattr(known, what) != getattr(facts, what):
                    raise StoreError(
                        f"store {self.store.path} has {what} {getattr(known, what)}{self.of_run} and now "
                        f"{getattr(facts, what)} came; the statistic is another one: give another path"
                    )
            new = tuple(text for text in facts.warnings if text not in known.warnings)
            rounding = max(known.rounding, facts.rounding)
            self._require_same_filled(known.changes, facts.changes)
            noted = Given()
            noted.note(known.changes)
            noted.note(facts.changes)
            facts = replace(
                known,
                rounding=rounding,
                warnings=known.warnings + new,
                changes=noted.changes,
                boolean=known.boolean or facts.boolean,
                bounds=known.bounds or facts.bounds,
            )
        if facts != known:
            row = (self.name, self._run, text_of(vars(facts)))
            self._database.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", *row, self.store.checksum("runs", *row)
            )

    def _require_same_filled(self, stored: Changes, now: Changes) -> None:
        """Raise `StoreError` where the model loaded, while running, something else than the one in the store."""
        for place, change in now.items():
            known = stored.get(place, change)
            if known.keeps is False and change.keeps is False and known.after != change.after:
                raise StoreError(
                    f"store {self.store.path}: running filled {place} with {known.after or 'nothing'} in the store"
                    f"{self.of_run} and with {change.after or 'nothing'} here: another model was loaded. Give another "
                    f"path, or load what the store was made with. {EXCLUDE}"
                )

    def _require_absent(self, replicates: range) -> None:
        # A segment that reaches into the range begins less than a leaf before it.
        found = self._database.rows(
            "SELECT start, stop FROM segments WHERE run = ? AND start > ? AND start < ? AND stop > ? ORDER BY start",
            self._run,
            replicates.start - LEAF,
            replicates.stop,
            replicates.start,
        )
        twice = joined_ranges(range(max(start, replicates.start), min(stop, replicates.stop)) for start, stop in found)
        if twice:
            raise StoreError(
                f"store {self.store.path} has {', '.join(map(range_text, twice))}{self.of_run} already; a replicate "
                "can be counted once only: add what is not covered"
            )

    def _insert(self, segment: Segment, seconds: float) -> None:
        start, stop = segment.start, segment.start + len(segment)
        if (start % LEAF) + len(segment) > LEAF:
            raise ValueError(f"{range_text(range(start, stop))} go over the end of a leaf of {LEAF}; cut them there")
        row = (self._run, start, stop, kind_of(segment), float(seconds))
        data = pack(segment)
        self._database.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
            *row,
            self.store.checksum("segments", *row, data),
            data,
        )

    def _compact(self, first: int, keep: bool) -> None:
        place = (self._run, first, first + LEAF)
        where = "WHERE run = ? AND start >= ? AND start < ?"
        sizes = self._database.row(
            f"SELECT count(*), sum(stop - start), sum(length(data)) FROM segments {where}", *place
        )
        assert sizes is not None
        count, total, size = sizes
        if total < LEAF or (keep and (count == 1 or size > _LARGEST_ROW)):
            return
        rows = self._database.rows(
            f"SELECT start, stop, kind, seconds, data, checksum FROM segments {where} ORDER BY start", *place
        )
        found = [self._read(*row) for row in rows]
        whole = joined([part for part, _ in found if isinstance(part, ReplicateMeans)])
        self._database.execute(f"DELETE FROM segments {where}", *place)
        self._insert(whole if keep else Leaf(first, Moments.of(whole)), sum(seconds for _, seconds in found))
        if first in self._begun and not keep:
            self._rows[first] = whole


def _facts_of(value: dict[str, Any]) -> Facts:
    own_shape = value["own_shape"]
    return Facts(
        tuple(value["components"]),
        value["rounding"],
        tuple(value["warnings"]),
        None if own_shape is None else tuple(own_shape),
        {place: Change(*change) for place, change in value.get("changes", {}).items()},
        # Stores of older versions do not have these.
        tuple(value.get("boolean", ())),
        tuple((low, high) for low, high in value.get("bounds", ())),
        _shapes_of(value.get("shapes")),
    )


def _shapes_of(value: Any) -> Any:
    """Return shapes as tuples; JSON has lists."""
    return tuple(map(_shapes_of, value)) if isinstance(value, list) else value


def of_run(name: str | None) -> str:
    """Return the name of a run in a message."""
    return f" of run {name!r}" if name else ""

"""The SQLite file of a store: made whole, locked against a second writer, its errors in plain words."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mcgen.errors import StoreError
from mcgen.replicates.stores.encoding import checksum
from mcgen.replicates.stores.headers import key_of
from mcgen.replicates.stores.locks import Lock, uri

SCHEMA = 2
"""Version of the tables and the header; since 2 a header has the content of the generator and the statistic."""
# SQLite's number of the program that a file belongs to: the bytes of "mcgn".
_APPLICATION = int.from_bytes(b"mcgn", "big")
# A table without rowids is one B-tree; with them its primary key would be a second one, and damage could make the two
# differ.
_TABLES = (
    "CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT, checksum BLOB) WITHOUT ROWID",
    "CREATE TABLE runs (name TEXT PRIMARY KEY, run INTEGER, facts TEXT, checksum BLOB) WITHOUT ROWID",
    "CREATE TABLE segments (run INTEGER, start INTEGER, stop INTEGER, kind TEXT, seconds REAL, checksum BLOB, "
    "data BLOB, PRIMARY KEY (run, start)) WITHOUT ROWID",
    "CREATE TABLE state (run INTEGER, name TEXT, value TEXT, checksum BLOB, PRIMARY KEY (run, name)) WITHOUT ROWID",
)
# Seconds to wait for a reader or the writer where the file system has no WAL; a transaction takes far less.
_PATIENCE = 30.0

_IN_USE = (
    "store {path} is in use by another run, of this process or of another one; wait until it has ended, or give "
    "another path (parts of one run may have a store each, to be merged)"
)
_RESTORE = "restore a copy of it, or delete it to start again"
_MESSAGES = {
    sqlite3.SQLITE_CORRUPT: "store {path} is damaged: {error}; " + _RESTORE,
    sqlite3.SQLITE_NOTADB: "{path} is not a store, or is damaged: {error}; give another path, or restore a copy of the "
    "store",
    sqlite3.SQLITE_FULL: "store {path} can't grow: {error}; the ranges that it holds are safe: free space and run "
    "again with the same store",
    sqlite3.SQLITE_IOERR: "store {path} can't be read or written: {error}; the disk may be full, over its quota or "
    "failing; the ranges that were stored before are kept: run again with the same store once it works",
    sqlite3.SQLITE_READONLY: "store {path} can't be written: {error}; make the file and its folder writable, or copy "
    "it to where they are",
    sqlite3.SQLITE_CANTOPEN: "store {path} can't be opened: {error}; the file must be readable, and to run, the file "
    "and its folder must be writable",
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_TOOBIG: "store {path} can't take a range of that size: {error}; use a smaller batch_size, or a "
    "statistic with fewer components",
}
_OTHER = "store {path} can't be used, it may be damaged: {error}; " + _RESTORE


def damaged(path: Path, what: str) -> StoreError:
    """Return the error for a store whose content is not what was stored."""
    return StoreError(_MESSAGES[sqlite3.SQLITE_CORRUPT].format(path=path, error=what))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and of the system as a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        # The lowest byte is the kind of error; the other bytes are its details.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise StoreError(_MESSAGES.get(code, _OTHER).format(path=path, error=error)) from error
    except UnicodeDecodeError as error:
        # SQLite's messages quote names in the file, which damage can make invalid UTF-8.
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise StoreError(
            f"store {path} can't be opened or written: {error}; make its folder readable and writable, or give "
            "another path"
        ) from error


class Database:
    """The SQLite file of a store, open. A context manager; errors of SQLite and the system come as `StoreError`.

    With a header it is open to write, under the store's `Lock`, and made where there is none. Without one it is open
    to read, and shows one state of the file whatever a running writer does.

    Parameters
    ----------
    path : Path
        The file.
    header : dict or None
        JSON texts by name, for a new file.

    Attributes
    ----------
    path : Path
        The file.
    writable : bool
        Whether it is open to write.

    Raises
    ------
    StoreError
        If the path can't be a store's, the file is in use, empty, missing, or can't be opened.
    """

    def __init__(self, path: Path, header: dict[str, str] | None) -> None:
        self.path, self.writable = path, header is not None
        with _explained(path), ExitStack() as stack:
            if path.is_dir():
                raise StoreError(
                    f"store {path} is a folder; give the path of a file in it, such as {path / 'run.sqlite'}"
                )
            if header is None:
                self._connection = stack.enter_context(closing(_connected(path, "ro")))
                # A reader sees one state of the file, whatever a running writer does.
                self._connection.execute("BEGIN")
            else:
                if not path.parent.is_dir():
                    raise StoreError(f"store {path} is to be in a folder that does not exist; make {path.parent} first")
                stack.enter_context(Lock(path))
                if not path.exists():
                    _create(path, header)
                self._connection = stack.enter_context(closing(_connected(path, "rw")))
            self._closing = stack.pop_all()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file. A log beside it is written into it, unless an error ends the block."""
        with self._closing:
            if self.writable and kind is None:
                # One file remains, which can be read where nothing can be written. Where that fails (a reader is
                # there, the disk is full) the log stays beside it, and the next opening takes it up.
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a query finds."""
        with _explained(self.path):
            yield from self._connection.execute(query, values)

    def row(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        """Return the first row that a query finds, None where it finds none."""
        with _explained(self.path):
            found: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return found

    def value(self, query: str, *values: Any) -> Any:
        """Return the first value of the first row that a query finds."""
        found = self.row(query, *values)
        assert found is not None
        return found[0]

    def execute(self, statement: str, *values: Any) -> None:
        """Execute a statement that returns no rows."""
        with _explained(self.path):
            self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes in the block one transaction: all of them are stored, or none."""
        if not self.writable:
            raise StoreError(f"store {self.path} was opened to be read; open it as a Store to write")
        with _explained(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def prepare_writing(self) -> None:
        """Set the journal for short transactions, and raise `StoreError` where the file can't be written."""
        connection = self._connection
        with _explained(self.path):
            # Where the file system knows no WAL, SQLite stays with the journal it has, which is as safe and slower.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            # In a WAL, NORMAL waits for the disk at checkpoints only: a power cut may take the last ranges, which are
            # then run again, and leaves the rest consistent. Without a WAL, only FULL survives a power cut.
            wal = self.value("PRAGMA journal_mode") == "wal"
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")
            # On a read-only file a transaction can begin; it fails once it writes.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("ROLLBACK")

    def require_schema(self) -> None:
        """Raise `StoreError` for files of other programs or newer versions, and for those that SQLite finds damaged."""
        application, schema = self.value("PRAGMA application_id"), self.value("PRAGMA user_version")
        if application != _APPLICATION:
            raise StoreError(f"{self.path} is an SQLite database, but not a store of mcgen's; give another path")
        if schema > SCHEMA:
            raise StoreError(
                f"store {self.path} was written by a newer version of mcgen (schema {schema}; this version reads up "
                f"to {SCHEMA}); upgrade mcgen to use it"
            )
        if schema < 1:
            raise damaged(self.path, f"it says schema {schema}")
        found = list(self.rows("PRAGMA quick_check(1)"))
        if found != [("ok",)]:
            raise damaged(self.path, str(found[0][0]))
        tables = {text for (text,) in self.rows("SELECT sql FROM sqlite_master")}
        if tables != set(_TABLES):
            raise damaged(self.path, "its tables are not those of a store")


def is_unwritable(error: StoreError) -> bool:
    """Tell whether a store could not be opened because its file, its folder or its lock can't be written."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def put_in_place(new: Path, path: Path) -> None:
    """Give a closed store its final path."""
    with _explained(path):
        os.replace(new, path)


def _create(path: Path, header: dict[str, str]) -> None:
    """Make an empty store; a process that is killed leaves a whole store or none."""
    for suffix in ("-wal", "-journal"):
        rest = path.with_name(path.name + suffix)
        if rest.exists():
            # SQLite would write the pages of this old log into the new file.
            raise StoreError(
                f"store {path} is missing, while {rest.name} of it is there; restore the store, or delete {rest} to "
                "start again"
            )
    new = path.with_name(path.name + "-new")
    try:
        # A killed process may have left these files. No other process makes this store: the lock is held.
        for rest in (new, new.with_name(new.name + "-journal")):
            rest.unlink(missing_ok=True)
        with closing(sqlite3.connect(uri(new, "rwc"), uri=True, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute("BEGIN")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            for table in _TABLES:
                connection.execute(table)
            key = key_of(header)
            rows = ((name, text, checksum(key, "header", name, text)) for name, text in header.items())
            connection.executemany("INSERT INTO header VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        os.replace(new, path)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    _write_folder(path.parent)


def _write_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    """Return a connection to an existing file, in the mode "ro" or "rw"."""
    if not path.exists():
        raise StoreError(f"store {path} does not exist; a run with store= makes it")
    # SQLite takes an empty file for a new database.
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    connection = sqlite3.connect(uri(path, mode), uri=True, timeout=_PATIENCE, isolation_level=None)
    with ExitStack() as stack:
        stack.callback(connection.close)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        stack.pop_all()
    return connection

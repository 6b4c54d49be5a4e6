"""The SQLite file below a store: made whole, locked against a second writer, its errors in plain words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from mcgen._lib.fingerprints import EXCLUDE, Changes, Sides, differences, shown
from mcgen.errors import StoreError
from mcgen.replicates.stores.encoding import checksum, text_of

SCHEMA = 2
"""Since 2 a header has the content of what is run, part by part."""
CONTENT = "content of the "
"""How fields of a header begin that hold the content of a generator, a statistic or controls."""
_APPLICATION = int.from_bytes(b"mcgn", "big")
# Without rowids a table is one tree, so that no index can tell another story than its table.
_TABLES = (
    "CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT, checksum BLOB) WITHOUT ROWID",
    "CREATE TABLE runs (name TEXT PRIMARY KEY, run INTEGER, facts TEXT, checksum BLOB) WITHOUT ROWID",
    "CREATE TABLE segments (run INTEGER, start INTEGER, stop INTEGER, kind TEXT, seconds REAL, checksum BLOB, "
    "data BLOB, PRIMARY KEY (run, start)) WITHOUT ROWID",
    "CREATE TABLE state (run INTEGER, name TEXT, value TEXT, checksum BLOB, PRIMARY KEY (run, name)) WITHOUT ROWID",
)
# Seconds to wait where the file system knows no WAL, so that readers and the writer take turns.
_PATIENCE = 30.0
_SHOWN = 100

_IN_USE = (
    "store {path} is in use by another run, of this process or of another one; wait until it has ended, or give "
    "another path (parts of one run may have a store each, to be merged)"
)
_RESTORE = "restore a copy of it, or delete it to start again"
_MESSAGES = {
    sqlite3.SQLITE_CORRUPT: "store {path} is damaged: {error}; " + _RESTORE,
    sqlite3.SQLITE_NOTADB: "{path} is no store, or a damaged one: {error}; give another path, or restore a copy of the "
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
    """Return the error for a store that is not what was stored."""
    return StoreError(_MESSAGES[sqlite3.SQLITE_CORRUPT].format(path=path, error=what))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise what SQLite or the system says of a store as a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        # The lowest byte is the kind of error, the others tell it more precisely.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise StoreError(_MESSAGES.get(code, _OTHER).format(path=path, error=error)) from error
    except UnicodeDecodeError as error:
        # SQLite's own words quote the names that it found.
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise StoreError(
            f"store {path} can't be opened or written: {error}; make its folder readable and writable, or give "
            "another path"
        ) from error


@contextmanager
def opened(path: Path, header: dict[str, str] | None) -> Iterator[sqlite3.Connection]:
    """Open the file of a store: to write where a header is given, which makes one where there is none; else to read.

    Parameters
    ----------
    path : Path
        The file.
    header : dict or None
        JSON texts by name, for a new file.

    Raises
    ------
    StoreError
        If the path can't be a store's, the file is in use, damaged, from a newer version or of another program.
    """
    if path.is_dir():
        raise StoreError(f"store {path} is a folder; give the path of a file in it, such as {path / 'run.sqlite'}")
    if header is None:
        with _connected(path) as connection:
            # A reader sees one state of the file, whatever a running writer does.
            connection.execute("BEGIN")
            yield connection
        return
    if not path.parent.is_dir():
        raise StoreError(f"store {path} is to be in a folder that does not exist; make {path.parent} first")
    with _locked(path):
        if not path.exists():
            _create(path, header)
        with _connected(path, "rw") as connection:
            yield connection
            # One file remains, which can be read where nothing can be written. Where that fails (a reader is there,
            # the disk is full) the log stays beside it, and the next opening takes it up.
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA journal_mode = DELETE")


def begin_writing(connection: sqlite3.Connection) -> None:
    """Make transactions short, and find out whether any is possible."""
    # Where the file system knows no WAL, SQLite stays with the journal it has, which is as safe and slower.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
    # In a WAL, NORMAL waits for the disk at checkpoints only: a power cut may take the last ranges, which are then
    # run again, and leaves the rest consistent. Without one, FULL is what a power cut asks for.
    wal = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")
    # Begun on a read-only file, a transaction fails only once it writes.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("ROLLBACK")


def key_of(header: dict[str, str]) -> bytes:
    """Return what a header contributes to every checksum of its store."""
    return checksum(b"mcgen store", *(part for field in sorted(header.items()) for part in field))


def require_same_run(path: Path, stored: dict[str, Any], given: dict[str, Any], changes: Changes) -> None:
    """Refuse the store of another run, naming the differences but for parts that change by running."""
    if any(map(_is_content, given)) and not any(map(_is_content, stored)):
        raise StoreError(
            f"store {path} was written by an older mcgen, which did not store what the generator and the statistic "
            "are; it can be read, exported and merged with others of its kind, but not gone on with. Give another path"
        )
    told, parts = differences_of_headers(stored, given, changes, (" in the store", " here"))
    if told:
        raise StoreError(
            f"store {path} belongs to another run: {'; '.join(told)}. Give another path, or ask for what the store has"
            + (f". {EXCLUDE}" if parts else "")
        )


def differences_of_headers(
    stored: dict[str, Any], given: dict[str, Any], changes: Changes, sides: Sides
) -> tuple[list[str], bool]:
    """Return what differs between two headers in words, and whether parts of functions or objects do.

    Parameters
    ----------
    stored, given : dict
        The headers.
    changes : dict
        What running was seen to change, by places such as "generator: global `calls`".
    sides : tuple of two str
        Where the headers are from, for the text.
    """
    plain = [{name: value for name, value in one.items() if not _is_content(name)} for one in (stored, given)]
    told = [f"{name} is {a}{sides[0]} and {b}{sides[1]}" for name, a, b in differing(plain[0], plain[1])]
    parts = []
    for name in sorted(filter(_is_content, {*stored, *given})):
        what = name.removeprefix(CONTENT)
        start = f"{what}: "
        own = {place.removeprefix(start): one for place, one in changes.items() if place.startswith(start)}
        found = differences(stored.get(name, {}), given.get(name, {}), own)
        parts += [shown(found, what, sides)] if found else []
    return told + parts, bool(parts)


def _is_content(name: str) -> bool:
    return name.startswith(CONTENT)


def differing(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    """Return the fields in which two headers differ, inner ones by their path, and both values in short."""
    found = []
    for name in sorted({*one, *other}):
        if name not in one or name not in other:
            sides = [_shown(repr(part[name]), 0) if name in part else "absent" for part in (one, other)]
            found.append((prefix + name, sides[0], sides[1]))
        elif text_of(one[name]) != text_of(other[name]):
            a, b = one[name], other[name]
            if isinstance(a, dict) and isinstance(b, dict):
                found += differing(a, b, f"{prefix}{name}.")
                continue
            a, b = repr(a), repr(b)
            same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            found.append((prefix + name, _shown(a, same), _shown(b, same)))
    return found


def _shown(text: str, same: int) -> str:
    """Return a text, of a long one the part around the first difference."""
    if len(text) <= _SHOWN:
        return text
    first = max(0, same - _SHOWN // 3)
    last = first + _SHOWN
    return f"{'...' if first else ''}{text[first:last]}{'...' if last < len(text) else ''}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store.

    It is SQLite's own lock on an empty database beside the store. The system drops it with the process, however that
    ends; a forked worker does not inherit it, as it would that of `flock`; readers of the store do not meet it; and it
    is the same on every system.
    """
    lock = path.with_name(path.name + "-lock")
    while True:
        before = _identity(lock)
        with closing(sqlite3.connect(_uri(lock, "rwc"), uri=True, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("PRAGMA journal_mode = MEMORY")
                connection.execute("BEGIN EXCLUSIVE")
                # A lock file that can't be written is not locked, and SQLite says so only now; nothing is written.
                connection.execute("PRAGMA user_version = 1")
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                raise StoreError(f"{lock} is no lock of a store: {error}; delete it") from error
            # The last holder may have deleted the file between its opening here and the lock.
            if before is None or before != _identity(lock):
                continue
            try:
                yield
            finally:
                # Still locked, so that whoever waits finds it gone. Not every system deletes an open file.
                with suppress(OSError):
                    lock.unlink()
            return


def in_use(path: Path) -> bool:
    """Tell whether a run has a store open, in any process."""
    lock = path.with_name(path.name + "-lock")
    if not lock.exists():
        return False
    try:
        with closing(sqlite3.connect(_uri(lock, "ro"), uri=True, timeout=0)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        return True
    return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _create(path: Path, header: dict[str, str]) -> None:
    """Make an empty store whole, or not at all."""
    for suffix in ("-wal", "-journal"):
        rest = path.with_name(path.name + suffix)
        if rest.exists():
            # SQLite would write its pages into the new file.
            raise StoreError(
                f"store {path} is missing, while {rest.name} of it is there; restore the store, or delete {rest} to "
                "start again"
            )
    new = path.with_name(path.name + "-new")
    try:
        # What a killed process left; nobody else makes this store, since the lock is held.
        for rest in (new, new.with_name(new.name + "-journal")):
            rest.unlink(missing_ok=True)
        with closing(sqlite3.connect(_uri(new, "rwc"), uri=True, isolation_level=None)) as connection:
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
    """Have the names in a folder on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _connected(path: Path, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise StoreError(f"store {path} does not exist; a run with store= makes it")
    # SQLite takes an empty file for a new database.
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    with closing(sqlite3.connect(_uri(path, mode), uri=True, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        yield connection


def require_schema(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse files of other programs and newer versions, and what SQLite itself finds damaged."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise StoreError(f"{path} is an SQLite database, but not a store of mcgen's; give another path")
    if schema > SCHEMA:
        raise StoreError(
            f"store {path} was written by a newer version of mcgen (schema {schema}; this version reads up to "
            f"{SCHEMA}); upgrade mcgen to use it"
        )
    if schema < 1:
        raise damaged(path, f"it says schema {schema}")
    found = connection.execute("PRAGMA quick_check(1)").fetchall()
    if found != [("ok",)]:
        raise damaged(path, str(found[0][0]))
    tables = {text for (text,) in connection.execute("SELECT sql FROM sqlite_master")}
    if tables != set(_TABLES):
        raise damaged(path, "its tables are not those of a store")


def _uri(path: Path, mode: str) -> str:
    return f"{path.as_uri()}?mode={mode}"

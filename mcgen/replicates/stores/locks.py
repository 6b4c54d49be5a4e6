"""The lock of a store: an empty database beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from mcgen.errors import StoreError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store.

    It is SQLite's own lock on an empty database beside the store. The system drops it with the process, however that
    ends; a forked worker does not inherit it, as it would that of `flock`; readers of the store do not meet it; and it
    is the same on every system.
    """
    lock = path.with_name(path.name + "-lock")
    while True:
        before = _identity(lock)
        with closing(sqlite3.connect(uri(lock, "rwc"), uri=True, timeout=0, isolation_level=None)) as connection:
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
        with closing(sqlite3.connect(uri(lock, "ro"), uri=True, timeout=0)) as connection:
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


def uri(path: Path, mode: str) -> str:
    """Return the URI by which SQLite opens a file in a mode: "ro", "rw" or "rwc"."""
    return f"{path.as_uri()}?mode={mode}"

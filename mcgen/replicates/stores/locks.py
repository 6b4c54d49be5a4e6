"""The lock of a store: an empty database beside it."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType

from mcgen.errors import StoreError


class Lock:
    """The right to write a store; one `Lock` at a time holds it, in one process. A context manager.

    It is SQLite's exclusive lock on an empty database beside the store. Laws:

    - The system drops the lock with the process that holds it, however that ends.
    - A forked worker does not inherit the lock.
    - Readers of the store never wait for the lock.
    - It is the same on every system. Its file is deleted when the lock is dropped, where the system can.

    No library keeps all of these. `portalocker` calls ``flock``, whose locks forked workers inherit; `filelock`
    prevents that since version 4, but leaves its file beside every store.

    Parameters
    ----------
    store : Path
        The store's file, which need not exist.
    """

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + "-lock")

    def __enter__(self) -> Lock:
        """Take the lock.

        Raises
        ------
        StoreError
            If the lock's file is not a database.
        sqlite3.OperationalError
            If the lock is held, or its file can't be written.
        """
        while True:
            before = _identity(self._path)
            with ExitStack() as stack:
                connection = sqlite3.connect(uri(self._path, "rwc"), uri=True, timeout=0, isolation_level=None)
                stack.enter_context(closing(connection))
                self._take(connection)
                # The last holder may have deleted the file after it was opened here and before it was locked.
                if before is not None and before == _identity(self._path):
                    self._closing = stack.pop_all()
                    return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file is deleted under the lock, so that a process that opened it sees that it is gone. Not every system
        # deletes an open file.
        with suppress(OSError):
            self._path.unlink()
        self._closing.close()

    @property
    def is_held(self) -> bool:
        """Whether a run has the store open for writing, in any process."""
        if not self._path.exists():
            return False
        try:
            with closing(sqlite3.connect(uri(self._path, "ro"), uri=True, timeout=0)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            return True
        return False

    def _take(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("BEGIN EXCLUSIVE")
            # SQLite does not lock a file that it can't write, and says so only at this statement; nothing is written.
            connection.execute("PRAGMA user_version = 1")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self._path} is not the lock of a store: {error}; delete it") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, None where it does not exist."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def uri(path: Path, mode: str) -> str:
    """Return the URI by which SQLite opens a file in a mode: "ro", "rw" or "rwc"."""
    return f"{path.as_uri()}?mode={mode}"

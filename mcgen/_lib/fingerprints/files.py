"""Hashes of files. A file is read again only when its size, its times or its inode have changed."""

from __future__ import annotations

import hashlib
import os
import time

# Age of a file, in seconds, from which its hash is kept: a younger file may change again within the resolution of its
# times, which is 2 s on FAT file systems.
_SETTLED_SECONDS = 2.0

# Most files in a folder that are hashed: models have fewer, data sets often more.
_MOST_FILES = 2000

# State and hash of each file that was read, by its real path.
_known: dict[str, tuple[str, str]] = {}


def files_of(path: str) -> list[str]:
    """Return the sorted paths of all regular files in a folder; for a file, its own path.

    Raises
    ------
    OSError
        If the folder has more than 2,000 files, which would take too long to read.
    """
    if not os.path.isdir(path):
        return [path]
    found: list[str] = []
    for folder, _, names in os.walk(path):
        found += [file for file in (os.path.join(folder, name) for name in names) if os.path.isfile(file)]
        if len(found) > _MOST_FILES:
            raise OSError(f"a folder of more than {_MOST_FILES:,} files")
    return sorted(found)


def content_of_file(path: str) -> str:
    """Return a text with a hash of a file's content.

    Raises
    ------
    OSError
        If the file can't be read.
    """
    name, state = os.path.realpath(path), state_of_file(path)
    known = _known.get(name)
    if known is not None and known[0] == state:
        return known[1]
    since = time.time() - max(os.stat(path).st_mtime, os.stat(path).st_ctime)
    with open(path, "rb") as file:
        content = f"file {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    if since > _SETTLED_SECONDS:
        _known[name] = state, content
    return content


def state_of_file(path: str) -> str:
    """Return a text with a file's size, times, inode and device."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev}"

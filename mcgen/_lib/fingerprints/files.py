"""Hashes of files. A file is read again only when its size, its times or its place on the disk change."""

from __future__ import annotations

import hashlib
import os
import time

# A file that changed this recently may change again without another time, by the resolution of clocks.
_SETTLED_SECONDS = 2.0

# More than models have, and fewer than data sets.
_MOST_FILES = 2000

_known: dict[str, tuple[str, str]] = {}


def files_of(path: str) -> list[str]:
    """Return the paths of all regular files in a folder, sorted, or that of the one file.

    Raises
    ------
    OSError
        If they are too many to be read whenever the model has to be known.
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
    """Return a hash of the content of a file.

    Raises
    ------
    OSError
        If it can't be read.
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
    """Return the size, the times and the place on the disk of a file."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev}"

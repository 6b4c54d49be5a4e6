"""Headers of stores: the key of a store's checksums, and the differences between two headers in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcgen._lib.fingerprints import EXCLUDE, Changes, Sides, differences, shown
from mcgen.errors import StoreError
from mcgen.replicates.stores.encoding import checksum, text_of

CONTENT = "content of the "
"""First words of the fields that hold the content of a generator, a statistic, conditions or controls."""
# Characters of a value in a message: enough for most values, and two fit in a paragraph.
_SHOWN = 100


def key_of(header: dict[str, str]) -> bytes:
    """Return the key that a header gives every checksum of its store."""
    return checksum(b"mcgen store", *(part for field in sorted(header.items()) for part in field))


def require_same_run(path: Path, stored: dict[str, Any], given: dict[str, Any], changes: Changes) -> None:
    """Raise `StoreError` for the store of another run, with the differences; parts that running changes may differ."""
    if any(map(_is_content, given)) and not any(map(_is_content, stored)):
        raise StoreError(
            f"store {path} was written by an older mcgen, which did not store what the generator and the statistic "
            "are; it can be read, exported and merged with stores of its age, but not continued. Give another path"
        )
    apart, inside = differences_of_headers(stored, given, changes, (" in the store", " here"))
    if apart:
        raise StoreError(
            f"store {path} belongs to another run: {'; '.join(apart)}. Give another path, or ask for what the store has"
            + (f". {EXCLUDE}" if inside else "")
        )


def differences_of_headers(
    stored: dict[str, Any], given: dict[str, Any], changes: Changes, sides: Sides
) -> tuple[list[str], bool]:
    """Return the differences between two headers in words, and whether parts of functions or objects are among them.

    Parameters
    ----------
    stored, given : dict
        The headers.
    changes : dict
        The parts that running changed, by places such as "generator: global `calls`".
    sides : tuple of two str
        Words for where the headers are from, such as " in the store" and " here".
    """
    plain = [{name: value for name, value in one.items() if not _is_content(name)} for one in (stored, given)]
    fields = [f"{name} is {a}{sides[0]} and {b}{sides[1]}" for name, a, b in differing(plain[0], plain[1])]
    parts = []
    for name in sorted(filter(_is_content, {*stored, *given})):
        what = name.removeprefix(CONTENT)
        start = f"{what}: "
        own = {place.removeprefix(start): one for place, one in changes.items() if place.startswith(start)}
        found = differences(stored.get(name, {}), given.get(name, {}), own)
        parts += [shown(found, what, sides)] if found else []
    return fields + parts, bool(parts)


def _is_content(name: str) -> bool:
    return name.startswith(CONTENT)


def differing(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    """Return the fields in which two headers differ, with both values in short; inner fields by their path."""
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
    """Return a text, or the part around the first difference where it is long."""
    if len(text) <= _SHOWN:
        return text
    first = max(0, same - _SHOWN // 3)
    last = first + _SHOWN
    return f"{'...' if first else ''}{text[first:last]}{'...' if last < len(text) else ''}"

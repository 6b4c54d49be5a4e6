"""Headers of stores: the key that one gives its store's checksums, and the differences between two in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcgen._lib.fingerprints import EXCLUDE, Changes, Sides, differences, shown
from mcgen.errors import StoreError
from mcgen.replicates.stores.encoding import checksum, text_of

CONTENT = "content of the "
"""How fields of a header begin that hold the content of a generator, a statistic or controls."""
_SHOWN = 100


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
    apart, inside = differences_of_headers(stored, given, changes, (" in the store", " here"))
    if apart:
        raise StoreError(
            f"store {path} belongs to another run: {'; '.join(apart)}. Give another path, or ask for what the store has"
            + (f". {EXCLUDE}" if inside else "")
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

"""Places of parts in a value, in words, and the short texts that stand for parts."""

from __future__ import annotations

import hashlib

from mcgen._lib.fingerprints.origins import MAIN, OWN, origin_of_class

# Longest text, in characters, that is kept as it is; longer ones are shortened to a beginning and a hash.
_LONGEST_TEXT = 40
INEXACT = "~"
"""First character of a text that a quick look makes instead of a hash."""
SAME = "the same as "
"""Start of the text of an object that has occurred before; its first place follows."""


def part_of(path: str, what: str) -> str:
    """Return the place of a part of the value at a path.

    Examples
    --------
    >>> from mcgen._lib.fingerprints.places import part_of
    >>> part_of("method", "closure variable `scale`")
    'method: closure variable `scale`'
    """
    return f"{path}: {what}" if path else what


def inside(path: str, step: str) -> str:
    """Return the place of an attribute or an element of the value at a path.

    Examples
    --------
    >>> from mcgen._lib.fingerprints.places import inside
    >>> inside("closure variable `model`", ".sampler"), inside("", "[0]")
    ('closure variable `model.sampler`', 'element `[0]`')
    """
    if path.endswith("`"):
        return f"{path[:-1]}{step}`"
    return part_of(path, f"attribute `{step[1:]}`" if step.startswith(".") else f"element `{step}`")


def is_inside(path: str, container: str) -> bool:
    """Tell whether a place is that of an attribute or an element of the value at another place.

    Examples
    --------
    >>> from mcgen._lib.fingerprints.places import is_inside
    >>> is_inside("global `cache[64]`", "global `cache`"), is_inside("global `cached`", "global `cache`")
    (True, False)
    """
    start = container.removesuffix("`")
    return container.endswith("`") and path.startswith((f"{start}[", f"{start}."))


def file_place(path: str, text: str) -> str:
    """Return the place of the file that a text names."""
    return part_of(path, f"file `{text}`")


def is_file(place: str) -> bool:
    """Tell whether a place is that of a file.

    Examples
    --------
    >>> from mcgen._lib.fingerprints.places import is_file
    >>> is_file("argument `0`: file `last.pt`"), is_file("argument `file`")
    (True, False)
    """
    return place.rpartition(": ")[2].startswith("file `")


def qualified(module: str | None, name: str) -> str:
    """Return a name with its module; in a script without, since its module has other names in other processes."""
    return name if module in (None, "builtins", *MAIN) else f"{module}.{name}"


def name_of_class(cls: type) -> str:
    """Return the name of a class with its module; for mcgen's own classes, only the package."""
    own = origin_of_class(cls) == OWN
    return f"{OWN}.{cls.__qualname__}" if own else qualified(cls.__module__, cls.__qualname__)


def shortened(text: str) -> str:
    """Return the text, or the beginning of a long text with a hash."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:12]}... {digest(text)}"


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]

"""Parts of the noise by name: whole blocks, several together, and slices of a block along its first axis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen.noise import NoiseSpec

ALL, BLOCKS, COORDINATES = "all noise", "blocks", "coordinates"
"""Names in results that no part can have: all noise, and what is added up over the parts or over coordinates."""
_REST = "the rest"
# Up to so many blocks are parts of their own by default: two further evaluations in a replicate for each.
_MOST_BY_DEFAULT = 4
# More parts than this make a run of the default size too rough: the first block then stands against all others.
_MOST_FAMILIES = 8
_SLICE = re.compile(r"(?P<block>.+)\[(?P<first>\d*)(?P<colon>:?)(?P<last>\d*)\]")
_WRITTEN = "Name blocks, such as ['start', 'step *', 'steps[3]', 'steps[0:10]'], or {'early': ['step 1', 'step 2']}"


@dataclass(frozen=True)
class Stretch:
    """A block, or entries of its first axis.

    Attributes
    ----------
    block : str
        Name of the block.
    first, last : int
        The entries, `last` excluded; a block without axes has one.
    """

    block: str
    first: int
    last: int


@dataclass(frozen=True)
class Part:
    """A part of the noise.

    Attributes
    ----------
    name : str
        Its name in results.
    stretches : tuple of Stretch
        What it is made of.
    """

    name: str
    stretches: tuple[Stretch, ...]

    def mask(self, block: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return which entries of a block belong to the part, in a shape that broadcasts to that of the block."""
        found = np.zeros(shape[:1] or (1,), bool)
        for one in self.stretches:
            if one.block == block:
                found[one.first : one.last] = True
        return found.reshape((-1, *(1 for _ in shape[1:]))) if shape else found[0]


def parts_of(spec: NoiseSpec, blocks: Any = None) -> tuple[Part, ...]:
    """Return the parts that `blocks` asks for, and the rest of the noise as one more; none where there is one part.

    Parameters
    ----------
    spec : NoiseSpec
        The noise.
    blocks : None, "each", sequence of str, or mapping of str to str or sequence of str
        By default each of up to 4 blocks; of more, blocks whose names differ in a number at the end are one part, as
        the steps of a sampler are. "each" is each block. A text names a block, blocks by a pattern with ``*``, or
        entries of the first axis of a block, as in ``steps[3]`` and ``steps[0:10]``. A mapping gives parts names.

    Raises
    ------
    TypeError, ValueError
        If a text names nothing, parts overlap, or one part has all the noise.
    """
    if blocks is None or isinstance(blocks, str):
        if blocks not in (None, "each"):
            raise TypeError(f"blocks must be 'each', a list or a dict of names; got {blocks!r}. {_WRITTEN}")
        found = _each(spec) if blocks or len(spec.blocks) <= _MOST_BY_DEFAULT else _families(spec)
        return found if len(found) > 1 else ()
    if not isinstance(blocks, Mapping | Sequence) or not len(blocks):
        raise TypeError(f"blocks must be a list or a dict of one or more names; got {blocks!r}. {_WRITTEN}")
    if not isinstance(blocks, Mapping) and not all(isinstance(text, str) for text in blocks):
        raise TypeError(f"a list of blocks holds texts; got {blocks!r}. {_WRITTEN}")
    named = blocks if isinstance(blocks, Mapping) else {text: text for text in blocks}
    if len(named) < len(blocks):
        raise ValueError(f"blocks must differ; got {[*blocks]}")
    parts = tuple(Part(_checked_name(name), _stretches(spec, texts)) for name, texts in named.items())
    parts += _left(spec, _owners(spec, parts))
    if len(parts) < 2:
        raise ValueError(
            f"{parts[0].name!r} is all the noise ({spec}), so that its share is 1. Leave blocks out, split the block, "
            f"such as ['{spec.blocks[0][0]}[0]'], or pass a basis of directions"
        )
    return parts


def _each(spec: NoiseSpec) -> tuple[Part, ...]:
    return tuple(Part(name, _stretches(spec, [name])) for name, _ in spec.blocks)


def _families(spec: NoiseSpec) -> tuple[Part, ...]:
    """Return consecutive blocks whose names differ in a number at the end as one part each."""
    names = [name for name, _ in spec.blocks]
    runs = [[*run] for _, run in groupby(names, key=lambda name: name.rstrip("0123456789"))]
    if len(runs) > _MOST_FAMILIES:
        runs = [names[:1], names[1:]]
    return tuple(Part(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}", _stretches(spec, run)) for run in runs)


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or name in (ALL, BLOCKS, COORDINATES, _REST):
        raise ValueError(
            f"a part can't be named {name!r}; give it another text as its name, such as {{'first half': 'noise[0:8]'}}"
        )
    return name


def _stretches(spec: NoiseSpec, texts: Any) -> tuple[Stretch, ...]:
    """Return what one or several texts name."""
    given = [texts] if isinstance(texts, str) else texts
    if not isinstance(given, Sequence) or not given or not all(isinstance(text, str) for text in given):
        raise TypeError(f"a part is a name of blocks or a list of names; got {texts!r}. {_WRITTEN}")
    return tuple(one for text in given for one in _named(spec, text))


def _named(spec: NoiseSpec, text: str) -> list[Stretch]:
    lengths = _lengths(spec)
    if text in lengths:
        return [Stretch(text, 0, lengths[text])]
    sliced = _SLICE.fullmatch(text)
    if sliced is not None and sliced["block"] in lengths and (sliced["colon"] or sliced["first"]):
        return [_sliced(spec, text, sliced)]
    found = [Stretch(name, 0, n) for name, n in lengths.items() if "[" not in text and fnmatchcase(name, text)]
    if not found:
        raise ValueError(f"there is no noise block {text!r}; the noise is {spec}. {_WRITTEN}")
    return found


def _sliced(spec: NoiseSpec, text: str, match: re.Match[str]) -> Stretch:
    """Return the entries of a block's first axis that a text names."""
    block = dict(spec.blocks)[match["block"]]
    length = block.shape[0] if block.shape else 0
    first = int(match["first"] or 0)
    last = int(match["last"] or length) if match["colon"] else first + 1
    if not 0 <= first < last <= length:
        raise ValueError(
            f"{text!r} must name entries of the first axis of {match['block']!r}, which has shape {block.shape}: "
            f"numbers from 0 to {max(length - 1, 0)}"
            + ("" if length else "; it is a single number, and can't be split")
        )
    return Stretch(match["block"], first, last)


def _lengths(spec: NoiseSpec) -> dict[str, int]:
    """Return the length of each block's first axis, 1 for a single number."""
    return {name: block.shape[0] if block.shape else 1 for name, block in spec.blocks}


def _owners(spec: NoiseSpec, parts: Sequence[Part]) -> dict[str, NDArray[np.intp]]:
    """Return the number of the part that each entry of each block's first axis belongs to, -1 for none."""
    owners = {name: np.full(length, -1) for name, length in _lengths(spec).items()}
    for number, part in enumerate(parts):
        for one in part.stretches:
            place = owners[one.block][one.first : one.last]
            if (place >= 0).any():
                other = parts[int(place.max())].name
                raise ValueError(
                    f"parts must not overlap; {part.name!r} and {other!r} both have entries {one.first} to "
                    f"{one.last - 1} of {one.block!r}, or some of them"
                )
            place[:] = number
    return owners


def _left(spec: NoiseSpec, owners: Mapping[str, NDArray[np.intp]]) -> tuple[Part, ...]:
    """Return the noise that belongs to no part, as a part; none where there is none."""
    found: list[Stretch] = []
    for name, _ in spec.blocks:
        ends = [0, *(np.flatnonzero(np.diff(owners[name])) + 1).tolist(), len(owners[name])]
        found += [Stretch(name, first, last) for first, last in pairwise(ends) if owners[name][first] < 0]
    return (Part(_REST, tuple(found)),) if found else ()

"""Segments as bytes and back, bit for bit, and checksums of what is stored.

The bytes of a segment are three int64 (k, n_points, which optional arrays there are) and then its arrays, all
little-endian float64 or int64 in C order. Products of pairs begin with the number of pairs. What was gathered of each
sample comes last: the length of a text, the text (JSON: the name, type and shape of each array), and the arrays.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.serialization import from_plain, to_plain
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import Leaf, Segment

ROWS = "rows"
"""Kind of a segment that is `ReplicateMeans`."""
MOMENTS = "moments"
"""Kind of a segment that is the moments of a whole leaf."""
# k, n_points, and which optional arrays there are: the sum of the constants below.
_HEAD = struct.Struct("<qqq")
_COUNTS = 1
_COMOMENT = 2
_THIRD = 4
_PRODUCTS = 8
_GATHERED = 16
_NUMBER = struct.Struct("<q")


def kind_of(segment: Segment) -> str:
    """Return the kind of a segment: `ROWS` or `MOMENTS`."""
    return MOMENTS if isinstance(segment, Leaf) else ROWS


def pack(segment: Segment) -> bytes:
    """Return the bytes of a segment; its start, length and kind are kept beside them."""
    if isinstance(segment, ReplicateMeans):
        has = _COUNTS if segment.ones is not None else 0
        counts = [] if segment.ones is None else [segment.ones]
        floats = [segment.means, segment.within]
        if segment.third is not None:
            has, floats = has | _THIRD, [*floats, segment.third]
        rest = _packed_products(segment.pairs, segment.products) + _packed_gathered(segment.gathered)
        has |= (_PRODUCTS if segment.products is not None else 0) | (_GATHERED if segment.gathered else 0)
        return _packed(segment.means.shape[1], segment.n_points, has, floats, counts) + rest
    m = segment.moments
    floats = [m.mean, m.m2, m.m3, m.m4, m.within]
    has = 0
    counts = []
    if m.events is not None and m.non_events is not None:
        has, counts = _COUNTS, [m.events, m.non_events]
    if m.comoment is not None:
        has, floats = has | _COMOMENT, [*floats, m.comoment]
    if m.third is not None:
        has, floats = has | _THIRD, [*floats, m.third]
    has |= _PRODUCTS if m.product is not None else 0
    return _packed(len(m.mean), 0, has, floats, counts) + _packed_products(m.pairs, m.product)


def unpack(kind: str, replicates: range, data: bytes) -> Segment:
    """Return the segment that `pack` turned into these bytes."""
    k, n_points, has = _HEAD.unpack_from(data)
    arrays = _Arrays(data)
    if kind == ROWS:
        shape = (len(replicates), k)
        means, within = arrays.floats(shape), arrays.floats(shape)
        third = arrays.floats(shape) if has & _THIRD else None
        ones = arrays.counts(shape) if has & _COUNTS else None
        pairs, products = arrays.products(shape[:1]) if has & _PRODUCTS else (None, None)
        gathered = arrays.gathered() if has & _GATHERED else {}
        return ReplicateMeans(replicates.start, means, within, ones, n_points, third, pairs, products, gathered)
    mean, m2, m3, m4, within = (arrays.floats((k,)) for _ in range(5))
    comoment = arrays.floats((k, k)) if has & _COMOMENT else None
    third = arrays.floats((k,)) if has & _THIRD else None
    events, non_events = (arrays.counts((k,)), arrays.counts((k,))) if has & _COUNTS else (None, None)
    pairs, product = arrays.products(()) if has & _PRODUCTS else (None, None)
    both = events, non_events
    return Leaf(replicates.start, Moments(LEAF, mean, m2, m3, m4, within, *both, comoment, third, pairs, product))


def _packed(k: int, n_points: int, has: int, floats: Sequence[Floats], counts: Sequence[NDArray[np.int64]]) -> bytes:
    parts = [np.ascontiguousarray(array, "<f8").tobytes() for array in floats]
    parts += [np.ascontiguousarray(array, "<i8").tobytes() for array in counts]
    return b"".join([_HEAD.pack(k, n_points, has), *parts])


def _packed_products(pairs: NDArray[np.int64] | None, products: Floats | None) -> bytes:
    if pairs is None or products is None:
        return b""
    arrays = np.ascontiguousarray(pairs, "<i8"), np.ascontiguousarray(products, "<f8")
    return b"".join([_NUMBER.pack(len(pairs)), *(array.tobytes() for array in arrays)])


def _packed_gathered(gathered: Mapping[str, NDArray[Any]]) -> bytes:
    if not gathered:
        return b""
    arrays = [np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for array in gathered.values()]
    fields = [[name, a.dtype.str, list(a.shape)] for name, a in zip(gathered, arrays, strict=True)]
    head = json.dumps(fields).encode()
    return b"".join([_NUMBER.pack(len(head)), head, *(array.tobytes() for array in arrays)])


class _Arrays:
    """Reads the arrays after the head, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = _HEAD.size

    def floats(self, shape: tuple[int, ...]) -> Floats:
        return self._next("<f8", shape).astype(np.float64)

    def counts(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        return self._next("<i8", shape).astype(np.int64)

    def products(self, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], Floats]:
        """Return pairs, and their products with leading axes of this shape."""
        n = self._number()
        return self.counts((n, 2)), self.floats((*shape, n))

    def gathered(self) -> dict[str, NDArray[Any]]:
        """Return what was gathered, in the machine's own byte order."""
        n = self._number()
        fields = json.loads(self._data[self._at : self._at + n])
        self._at += n
        found = {name: self._next(kind, tuple(shape)) for name, kind, shape in fields}
        return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in found.items()}

    def _number(self) -> int:
        (number,) = _NUMBER.unpack_from(self._data, self._at)
        self._at += _NUMBER.size
        return int(number)

    def _next(self, kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
        size = int(np.prod(shape))
        array = np.frombuffer(self._data, kind, size, self._at).reshape(shape)
        self._at += array.nbytes
        return array


def text_of(value: Any) -> str:
    """Return a value as JSON text. Equal values have equal texts, whatever the order of their names."""
    return json.dumps(to_plain(value), sort_keys=True)


def value_of(text: str) -> Any:
    """Return the value of a text by `text_of`, with lists in place of tuples."""
    return from_plain(json.loads(text))


def checksum(key: bytes, *fields: Any) -> bytes:
    """Return a checksum of 16 bytes, which changes with any of the fields and with the key."""
    digest = hashlib.blake2b(key=key, digest_size=16)
    for field in fields:
        part = field if isinstance(field, bytes) else repr(field).encode("utf-8", "surrogatepass")
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()

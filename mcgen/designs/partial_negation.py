"""Which entries of the noise a pair negates, where it keeps the others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy
from mcgen.noise import Array, NoiseSpec


@dataclass(frozen=True)
class Mask:
    """The entries of a block that are negated, as a value that can be compared and hashed.

    Attributes
    ----------
    shape : tuple of int
        Shape of the block.
    bits : bytes
        Its entries, eight in a byte.
    """

    shape: tuple[int, ...]
    bits: bytes

    @classmethod
    def of(cls, values: Any) -> Mask:
        """Return the mask of a boolean array, or refuse anything else."""
        array = as_numpy(values)
        if array.dtype != np.bool_:
            raise TypeError(
                f"a mask is an array of booleans, True where noise is negated; got dtype {array.dtype} and shape "
                f"{array.shape}. Compare it, such as mask > 0.5"
            )
        if not array.any():
            raise ValueError(f"the mask of shape {array.shape} negates nothing; it needs an entry that is True")
        return cls(array.shape, np.packbits(array).tobytes())

    @property
    def array(self) -> NDArray[np.bool_]:
        """The mask as an array."""
        size = int(np.prod(self.shape))
        return np.unpackbits(np.frombuffer(self.bits, np.uint8), count=size).astype(bool).reshape(self.shape)

    def __str__(self) -> str:
        digest = hashlib.blake2b(self.bits + repr(self.shape).encode(), digest_size=4).hexdigest()
        return f"{int(self.array.sum())} of {self.array.size} entries, {digest}"


@dataclass(frozen=True)
class Negated:
    """The blocks that are negated, whole or in part.

    Attributes
    ----------
    blocks : tuple of (str or None, Mask or None)
        Name of each block, None for all that have the shape of the mask; and its mask, None for all of it.
    """

    blocks: tuple[tuple[str | None, Mask | None], ...]

    @classmethod
    def of(cls, only: Any) -> Negated:
        """Return what `only` says: a name, names, a mask, or masks by the names of blocks."""
        if isinstance(only, Negated):
            return only
        if isinstance(only, str):
            only = (only,)
        found: tuple[tuple[str | None, Mask | None], ...]
        if isinstance(only, Mapping):
            found = tuple((str(name), None if mask is True else Mask.of(mask)) for name, mask in only.items())
        elif isinstance(only, Sequence) and all(isinstance(name, str) for name in only):
            found = tuple((name, None) for name in only)
        else:
            found = ((None, Mask.of(only)),)
        if not found or len({name for name, _ in found}) < len(found):
            raise ValueError(
                f"only must name one or more different blocks, or be a mask; got {only!r}. Leave it out to negate all"
            )
        return cls(found)

    def __str__(self) -> str:
        texts = [
            str(mask) if name is None else repr(name) if mask is None else f"{name!r}: {mask}"
            for name, mask in self.blocks
        ]
        return f"[{'; '.join(texts)}]"

    def masks(self, spec: NoiseSpec) -> dict[str, NDArray[np.bool_]]:
        """Return the mask of each block of a spec, or refuse names and shapes that it does not have.

        Raises
        ------
        ValueError
            If a block is not there, or no block has the shape of a mask.
        """
        there = dict(spec.blocks)
        found = {name: np.zeros(block.shape, bool) for name, block in there.items()}
        for name, mask in self.blocks:
            own = [name] if name is not None else [other for other, block in there.items() if _fits(mask, block.shape)]
            if not own or own[0] not in there:
                what = f"the block {name!r}" if name is not None else f"a mask of shape {mask.shape if mask else ()}"
                blocks = ", ".join(f"{other} of shape {block.shape}" for other, block in there.items())
                raise ValueError(f"only negates {what}, and the noise has {blocks}")
            for block in own:
                if not _fits(mask, there[block].shape):
                    raise ValueError(
                        f"a mask has the shape of its block; got {mask.shape if mask else ()} for {block!r}, which has "
                        f"{there[block].shape}"
                    )
                found[block] = np.ones(there[block].shape, bool) if mask is None else mask.array
        return found


def _fits(mask: Mask | None, shape: tuple[int, ...]) -> bool:
    return mask is None or mask.shape == shape


def with_kept(pairs: Array, mask: NDArray[np.bool_]) -> Array:
    """Return pairs (R, 2 n, ...) whose second points keep the first one's entries where the mask is False."""
    found = pairs.copy()
    found[:, 1::2] = np.where(mask, pairs[:, 1::2], pairs[:, ::2])
    return found

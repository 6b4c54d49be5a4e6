"""Where finished samples come from: the protocol of a source, and arrays in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import numbers_of
from mcgen._lib.fingerprints.arrays import content_of_array

# Bytes that are looked at together for NaN, which bounds the memory of the check.
_CHUNK = 2**24


class Source(Protocol):
    """Samples in a fixed order, each of the same shape."""

    @property
    def where(self) -> str:
        """What the samples are, as messages begin: a path, or "an array"."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return consecutive samples in a new array, shape (stop - start, *shape)."""
        ...

    def content(self) -> str:
        """Return a text that changes with the samples."""
        ...


class ArraySource:
    """The rows of an array in memory, which is not copied."""

    def __init__(self, array: NDArray[Any], where: str = "the array") -> None:
        self._array, self.where = array, where

    @classmethod
    def of(cls, source: Any, where: str = "the array") -> ArraySource:
        """Return the rows of an array of any library, or refuse what has no finite real numbers or no rows."""
        array = checked_numbers(source, where)
        if array.ndim == 0:
            raise ValueError(f"{where} is a single number; samples are the rows of an array of shape (n, ...)")
        require_content(array.shape, where)
        step = max(1, _CHUNK // max(1, array[:1].nbytes))
        for start in range(0, len(array), step):
            require_finite(array[start : start + step], f"{where}, row", start)
        return cls(array, where)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._array.shape[1:]

    def __len__(self) -> int:
        return len(self._array)

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return consecutive samples in a new array."""
        return np.array(self._array[start:stop])

    def content(self) -> str:
        """Return a text that changes with the array."""
        return content_of_array(self._array, False, str)


def checked_numbers(source: Any, where: str) -> NDArray[Any]:
    """Return an array of any library as a numpy array of real numbers, or refuse what is none."""
    try:
        return numbers_of(source)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"samples are a path or an array of real numbers, shape (n, ...); {where} is a {type(source).__name__} "
            f"that can't be one: {error}"
        ) from error


def require_content(shape: tuple[int, ...], where: str) -> None:
    """Refuse samples that have no numbers."""
    if shape and shape[0] and 0 in shape[1:]:
        raise ValueError(f"{where} has shape {shape}, so its samples are empty; give samples that have numbers")


def require_finite(rows: NDArray[Any], what: str, first: int) -> None:
    """Refuse NaN and infinity; the message names the row, with numbers from `first`."""
    if rows.dtype.kind != "f":
        return
    finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise ValueError(
            f"{what} {row} has a NaN or an infinity; no distance of such samples exists. Find out where it comes from, "
            "or leave the sample out and say so"
        )


def unreadable(path: Path, error: Exception) -> ValueError:
    """Return the error of a file that can't be read, which says why."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ValueError(f"{path} can't be read: {said}. Replace the file, or take it out and give the samples without it")

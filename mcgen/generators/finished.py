"""Samples that exist already, as a source of independent samples: an array, a file of one, or a folder of files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcgen._lib.checks import checked_integer
from mcgen.generators.sample_files import source_at
from mcgen.generators.sample_sources import ArraySource, Source


class FinishedSamples:
    """n independent samples that exist already, such as images that another program wrote.

    `mcgen.evaluate` and `mcgen.functionals.reference` take arrays and paths directly. Make this object to give them a
    name, or to use samples of shape (d,) as a reference.

    Parameters
    ----------
    source : array_like or path
        - An array or tensor of any library, shape (n, ...): one sample a row.
        - A path of a ``.npy`` file with such an array, or of a ``.npz`` file with one array.
        - A path of a folder of images (png, jpg, jpeg, bmp, webp), also in subfolders, sorted by name. They need Pillow
          (the extra ``[images]``) and are read when they are needed.
        - A path of a folder of ``.npy`` files of one sample each.
    name : str, optional
        The name in results. By default that of the file or folder, or ``"samples"`` for an array.

    Raises
    ------
    TypeError
        If the source is neither numbers nor a path, such as an array of Python objects.
    ValueError
        If there are fewer than 2 samples, they differ in shape or type, or a number is NaN or infinite. Also if a file
        is damaged, or of a kind that is not read. The message names the file or the row. Errors that only show when a
        file is read are raised by `batches`.
    FileNotFoundError
        If there is no such path.
    ImportError
        If there are images and Pillow is not installed.

    Notes
    -----
    Images become float32 arrays of shape (channels, height, width) with values in [0, 1]: one channel for grey images
    and three for all others. Colour images of other modes, such as palettes or CMYK, are converted to RGB by Pillow;
    transparency is dropped. All images of a folder must have one size and as many channels. In a folder, hidden files
    and files of other kinds, such as texts, are ignored. Images and arrays of formats that are not read are refused.
    Arrays keep their type and range, so that an array of bytes stays one of bytes from 0 to 255.

    The samples must be independent, which mcgen cannot check. Rows made from pairs z and -z are not.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.generators import FinishedSamples
    >>> samples = FinishedSamples(np.linspace(0, 1, 10).reshape(5, 2))
    >>> samples
    FinishedSamples('samples', 5 samples of shape (2,))
    >>> [len(batch) for batch in samples.batches(2)]
    [2, 2, 1]
    """

    def __init__(self, source: Any, *, name: str | None = None) -> None:
        if name is not None and not (isinstance(name, str) and name):
            raise TypeError(f"name must be a text that is not empty; got {name!r}. Leave it out for the source's own")
        found: Source
        if isinstance(source, str | os.PathLike):
            path = _checked_path(source)
            found, own_name = source_at(path), path.name
        else:
            found, own_name = ArraySource.of(source), "samples"
        if len(found) < 2:
            raise ValueError(
                f"{found.where} has {len(found)} sample{'' if len(found) == 1 else 's'}; an interval needs at least 2, "
                "and a useful one some hundreds. Give more samples, one a row or one a file"
            )
        self._source = found
        # Functions of tensors, such as networks, get tensors.
        self._tensors = hasattr(source, "detach")
        self.name = name or own_name or "samples"

    def __repr__(self) -> str:
        return f"FinishedSamples({self.name!r}, {len(self):,} samples of shape {self.shape})"

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._source)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._source.shape

    @property
    def fingerprint(self) -> str:
        """A text that changes with the samples: with an array's numbers, or with the names and content of the files."""
        return f"{type(self).__name__} {self._source.content()}"

    def batches(self, size: int) -> Iterator[Any]:
        """Return an iterator over all samples in their order, in new arrays of `size` rows; the last may have fewer.

        They are numpy arrays, and tensors on the CPU where the source is a tensor.

        Raises
        ------
        TypeError, ValueError
            If the size is no positive integer. While it runs: if a file is damaged, has gone, or differs from the
            others in shape or type, or if a number is NaN or infinite.
        """
        if checked_integer("size", size) < 1:
            raise ValueError(f"size must be at least 1 sample a batch; got {size}")
        return self._batches(int(size))

    def _batches(self, size: int) -> Iterator[Any]:
        for start in range(0, len(self), size):
            rows = self._source.rows(start, min(start + size, len(self)))
            # Torch takes no array of another byte order than the machine's.
            own = rows.astype(rows.dtype.newbyteorder("="), copy=False)
            # Where there is a tensor, torch is imported.
            yield sys.modules["torch"].as_tensor(own) if self._tensors else own


def _checked_path(source: str | os.PathLike[str]) -> Path:
    """Return an absolute path; an empty text is refused, since it would mean the current folder."""
    text = os.fsdecode(source)
    if not text:
        raise ValueError("the source is an empty path; give a file, a folder, or an array of samples")
    return Path(os.path.abspath(text))

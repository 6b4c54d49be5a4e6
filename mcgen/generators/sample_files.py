"""Finished samples in files: arrays in ``.npy`` and ``.npz``, and folders of images or of arrays."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.fingerprints.files import content_of_file, state_of_file
from mcgen.generators.image_files import IMAGES, NOT_READ, ImageReader
from mcgen.generators.sample_sources import (
    ArraySource,
    Source,
    checked_numbers,
    require_content,
    require_finite,
    unreadable,
)

# Endings of files of samples that are not read, and that a folder must not lose in silence.
_NOT_READ = (*NOT_READ, ".npz", ".pt", ".pth", ".safetensors", ".pkl", ".mat", ".h5", ".hdf5")


def source_at(path: Path) -> Source:
    """Return the samples at a path, or refuse a path that has none."""
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file or folder {path}; give a .npy or .npz file, a folder of images or of .npy files, or an "
            "array"
        )
    ending = path.suffix.lower()
    if ending == ".npy":
        return _npy(path)
    if ending == ".npz":
        return ArraySource.of(_only_array(path), str(path))
    if ending in IMAGES:
        raise ValueError(f"{path} is one image; give the folder that has all of them")
    raise ValueError(
        f"{path} is a file of a kind that is not read; give a .npy or .npz file, a folder of images "
        f"({', '.join(IMAGES)}) or of .npy files, or load it and give the array"
    )


def _npy(path: Path) -> Source:
    """Return the rows of a file of one array; only those that are asked for are read, where they lie in order."""
    shape, in_order, dtype, start = _header(path)
    if not shape:
        raise ValueError(f"{path} has a single number; samples are the rows of an array of shape (n, ...)")
    if not in_order:
        return ArraySource.of(_loaded(path), str(path))
    return _RowsOfFile(path, shape, dtype, start)


def _only_array(path: Path) -> NDArray[Any]:
    """Return the array of an ``.npz`` file, or refuse a file that has none or several."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [*file.files]
            array = file[names[0]] if len(names) == 1 else None
    except Exception as error:
        raise unreadable(path, error) from error
    if array is None:
        raise ValueError(
            f"{path} must have one array; it has {len(names)}{': ' if names else ''}{', '.join(names[:8])}. "
            f"Give one of them, such as np.load(path)[{(names or ['name'])[0]!r}]"
        )
    return np.asarray(array)


def _loaded(path: Path) -> NDArray[Any]:
    """Return the array of an ``.npy`` file, or refuse a damaged file, naming it."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:
        raise unreadable(path, error) from error


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether rows lie one after the other, type, and start of the numbers of an ``.npy`` file."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(file)
            start = file.tell()
        expected = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if not dtype.hasobject and path.stat().st_size < expected:
            raise ValueError(f"it ends after {path.stat().st_size:,} of {expected:,} bytes")
    except Exception as error:
        raise unreadable(path, error) from error
    if dtype.kind not in "biuf":
        raise TypeError(
            f"{path} has values of type {dtype}, which are no real numbers; save an array of numbers by np.save"
        )
    return shape, len(shape) < 2 or not by_columns, dtype, start


class _RowsOfFile:
    """The rows of an ``.npy`` file. Reading, and not mapping, turns a file that is cut short into an error."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], start: int) -> None:
        require_content(shape, str(path))
        self.where, self.shape = str(path), shape[1:]
        self._path, self._n, self._dtype, self._start = path, shape[0], dtype, start
        self._state = state_of_file(str(path))

    def __len__(self) -> int:
        return self._n

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return consecutive samples in a new array."""
        size = int(np.prod(self.shape, dtype=object))
        try:
            if state_of_file(self.where) != self._state:
                raise ValueError("it was changed after it was opened")
            with self._path.open("rb") as file:
                offset = self._start + start * size * self._dtype.itemsize
                found = np.fromfile(file, self._dtype, (stop - start) * size, offset=offset)
            if len(found) < (stop - start) * size:
                raise ValueError("it was cut short after it was opened")
        except Exception as error:
            raise unreadable(self._path, error) from error
        rows = found.reshape(stop - start, *self.shape)
        require_finite(rows, f"{self._path}, row", start)
        return rows

    def content(self) -> str:
        """Return a text that changes with the file's content."""
        return content_of_file(self.where)


def _folder(path: Path) -> Source:
    """Return the samples of a folder of images or of arrays, or refuse a folder that has none or both."""
    kinds = defaultdict(list)
    files = _visible_files(path)
    for file in files:
        kinds[file.suffix.lower()].append(file)
    arrays, images = kinds[".npy"], sorted(file for ending in IMAGES for file in kinds[ending])
    others = [file for ending in _NOT_READ for file in kinds[ending]]
    if images and arrays:
        raise ValueError(
            f"{path} has images, such as {images[0].relative_to(path)}, and arrays, such as "
            f"{arrays[0].relative_to(path)}; give a folder of one kind"
        )
    if others:
        raise ValueError(
            f"{path} has {len(others):,} file{'' if len(others) == 1 else 's'} of kinds that are not read, such as "
            f"{others[0].relative_to(path)}. Folders have images ({', '.join(IMAGES)}) or .npy files of one sample "
            "each; convert the others or move them elsewhere"
        )
    if images:
        return _Files(path, images, ImageReader())
    if arrays:
        return _Files(path, arrays, _ArrayReader())
    raise ValueError(
        f"{path} has no samples: none of its {len(files):,} files is an image ({', '.join(IMAGES)}) or an .npy file. "
        "Give the folder that has them"
    )


def _visible_files(path: Path) -> list[Path]:
    """Return the sorted paths of the files of a folder and its subfolders, linked ones too, without hidden ones."""

    def refuse(error: OSError) -> None:
        raise unreadable(Path(error.filename), error) from error

    found, seen = [], set()
    for folder, below, names in os.walk(path, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            raise ValueError(f"{folder} is a link to {real}, whose files would be counted twice; remove the link")
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


class _ArrayReader:
    """Reads files of one array each."""

    def shape_of(self, path: Path) -> tuple[tuple[int, ...], str]:
        """Return the shape and the type of a sample, from the head of its file."""
        shape, _, dtype, _ = _header(path)
        return shape, str(dtype)

    def read(self, path: Path) -> NDArray[Any]:
        """Return a sample."""
        sample = checked_numbers(_loaded(path), str(path))
        require_finite(sample[None], f"{path}, sample", 0)
        return sample


class _Files:
    """Files of one sample each, in the order of their names."""

    def __init__(self, folder: Path, files: list[Path], reader: ImageReader | _ArrayReader) -> None:
        self.where, self._folder, self._files, self._reader = str(folder), folder, files, reader
        self._form = reader.shape_of(files[0])
        for file in files[1:]:
            self._require_form(file, reader.shape_of(file))
        require_content((1, *self.shape), str(files[0]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._form[0]

    def __len__(self) -> int:
        return len(self._files)

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return consecutive samples in a new array."""
        samples = []
        for file in self._files[start:stop]:
            sample = self._reader.read(file)
            self._require_form(file, (sample.shape, str(sample.dtype)))
            samples.append(sample)
        return np.stack(samples)

    def content(self) -> str:
        """Return a text that changes with the names of the files in the folder and their content."""
        found = hashlib.sha256()
        for file in self._files:
            try:
                content = content_of_file(str(file))
            except OSError as error:
                raise unreadable(file, error) from error
            found.update(f"{file.relative_to(self._folder).as_posix()}\0{content}\n".encode())
        return f"{len(self)} files {found.hexdigest()[:16]}"

    def _require_form(self, file: Path, form: tuple[tuple[int, ...], str]) -> None:
        """Refuse a sample of another shape or type than the first."""
        if form != self._form:
            first = self._files[0].relative_to(self._folder)
            raise ValueError(
                f"{file} is a sample of {_form_text(*form)}, and {first} in the same folder one of "
                f"{_form_text(*self._form)}; samples must have one shape and one type. Convert or resize them first, "
                "or give each kind a folder of its own"
            )


def _form_text(shape: tuple[int, ...], kind: str) -> str:
    return f"shape {shape} and type {kind}"

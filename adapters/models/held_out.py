"""Held-out real images of the data that the shipped models were trained on. Reading them needs numpy alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FOLDER = Path(__file__).parent
LOG = "real-images"
"""Name of the log of the files, and of the command that makes them again."""

# The data of each model of images.
_DATA = {
    "digits-diffusion": "digits",
    "digits-energy": "digits",
    "mnist-ddpm": "mnist",
    "mnist-dit": "mnist",
    "patches-diffusion": "patches",
    "mnist-consistency": "mnist",
    "digits-truncated": "digits",
    "mnist-storm": "mnist",
    "patches-latent": "patches",
    "mnist-vae": "mnist",
    "mnist-glow": "mnist",
}


def real_images(name: str) -> NDArray[np.float32]:
    """Return real images that were held out of the training of a shipped model, in the layout of its samples.

    Use them as truths of inverse problems, and as the reference of a distance.

    No shipped model or classifier was trained on any of these images. ``real-images.json``, which `log` returns for
    ``"real-images"``, has the source and the licence.

    Parameters
    ----------
    name : str
        The name of a model of images. Each model of digits has the same 360 images of 8 x 8 pixels, and each model of
        MNIST the same 1,000 images of 28 x 28. The models of patches have the same 1,978 patches of 32 x 32, which
        overlap.

    Returns
    -------
    images : ndarray of float32, shape (n, channels, side, side)
        Values in [0, 1]; the patches are rounded to bytes.

    Raises
    ------
    ValueError
        If no real images belong to this name, or the hash of the file is not that in the log.

    Examples
    --------
    >>> from mcgen.adapters.models import real_images
    >>> real_images("mnist-ddpm").shape
    (1000, 1, 28, 28)
    """
    if name == "moons-flow":
        raise ValueError(
            "moons-flow makes points of the plane, so there are no real images for it. Its held-out points are "
            "sklearn.datasets.make_moons(10_000, noise=0.05, random_state=0)[0][8000:]"
        )
    if name == "reaching-policy":
        raise ValueError("reaching-policy makes actions of a policy, so there are no real images for it")
    if name not in _DATA:
        raise ValueError(f"there are real images for {', '.join(_DATA)}; got {name!r}. Give the name of one of these")
    with np.load(_checked_path(_DATA[name])) as file:
        images, highest = file["images"], file["highest"]
    return np.asarray(images / np.float64(highest), np.float32)


def path_of(data: str) -> Path:
    """Return the path of the file with the held-out images of the data named "digits", "mnist" or "patches"."""
    return _FOLDER / f"{data}-held-out.npz"


def _checked_path(data: str) -> Path:
    """Return the path of a file of images, or refuse a file whose SHA-256 is not that in the log."""
    path = path_of(data)
    expected = json.loads((_FOLDER / f"{LOG}.json").read_text())["files"][path.name]["sha256"]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its log says {expected}: the file is damaged or was replaced; "
            f"reinstall the package or run python -m mcgen.adapters.models.training {LOG}"
        )
    return path

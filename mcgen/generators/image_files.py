"""Image files as arrays, by Pillow, which is imported when the first image is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcgen.generators.sample_sources import unreadable

if TYPE_CHECKING:
    from PIL import Image

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Endings of the image files that are read."""
NOT_READ = (".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif", ".heic", ".jp2", ".jxl", ".exr")
"""Endings of other image files."""

# Pillow's modes of images of one channel of bytes; all but the last have transparency or single bits besides.
_GREY = ("1", "LA", "La", "L")
# Modes of more than 8 bits a number, which Pillow's conversion to bytes would clip.
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class ImageReader:
    """Reads images as arrays of shape (channels, height, width), with one or three channels in [0, 1]."""

    def shape_of(self, path: Path) -> tuple[tuple[int, ...], str]:
        """Return the shape and the type of an image, from the head of its file."""
        pillow = _pillow()
        try:
            with pillow.open(path) as image:
                return (_channels(image), image.height, image.width), "float32"
        except Exception as error:
            raise unreadable(path, error) from error

    def read(self, path: Path) -> NDArray[np.float32]:
        """Return an image."""
        pillow = _pillow()
        try:
            with pillow.open(path) as image:
                levels = np.asarray(_plain(image))
        except Exception as error:
            raise unreadable(path, error) from error
        places = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
        return np.ascontiguousarray(places, np.float32) / np.float32(255)


def _plain(image: Image.Image) -> Image.Image:
    """Return an image of bytes without transparency, grey (L) or RGB."""
    if _channels(image) == 1:
        return image.convert("L")
    # Pillow warns where it converts a palette with transparency in one step.
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def _channels(image: Image.Image) -> int:
    """Return the number of channels that an image is read with, or refuse what conversion would spoil."""
    if image.mode in _DEEP:
        raise ValueError(
            f"it has Pillow's mode {image.mode}, more than 8 bits a channel, which conversion would cut off; save such "
            "samples as .npy files of numbers in [0, 1]"
        )
    # MPO is what some cameras write: a picture and its previews.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise ValueError(f"it has {getattr(image, 'n_frames', 1)} frames; save each as an image of its own")
    return 1 if image.mode in _GREY else 3


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "image files need Pillow, which is not installed; install the extra: pip install 'mcgen-stats[images]'",
            name="PIL",
        ) from error
    return Image

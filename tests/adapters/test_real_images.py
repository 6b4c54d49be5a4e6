"""The real images that ship: what they are, that they are those held out of training, and that damage is seen."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mcgen.adapters.models import held_out, real_images

SHAPES = {
    "digits-diffusion": (360, 1, 8, 8),
    "digits-energy": (360, 1, 8, 8),
    "mnist-ddpm": (1000, 1, 28, 28),
    "mnist-dit": (1000, 1, 28, 28),
    "mnist-consistency": (1000, 1, 28, 28),
    "digits-truncated": (360, 1, 8, 8),
    "mnist-storm": (1000, 1, 28, 28),
    "mnist-vae": (1000, 1, 28, 28),
    "mnist-glow": (1000, 1, 28, 28),
    "patches-diffusion": (1978, 3, 32, 32),
    "patches-latent": (1978, 3, 32, 32),
}
DATA = {"digits": "digits-diffusion", "mnist": "mnist-ddpm", "patches": "patches-diffusion"}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_types_and_range(name: str) -> None:
    images = real_images(name)
    assert images.shape == SHAPES[name]
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    images[:] = 0.5
    assert real_images(name).max() == 1


def test_every_model_of_images_has_some() -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import models

    assert {*SHAPES, "moons-flow", "reaching-policy"} == {*models.list()}


@pytest.mark.parametrize("data", DATA)
def test_they_are_the_rows_that_training_leaves_out(data: str) -> None:
    pytest.importorskip("torch")
    for library in ("sklearn", "skimage", "mlxtend"):
        pytest.importorskip(library)
    from mcgen.adapters.models.training import data as training

    images = getattr(training, data)()
    real, expected = real_images(DATA[data]), images.x_new.numpy()
    assert real.shape == expected.shape
    # Shrunk photographs have levels between bytes; all others are kept exactly.
    gap = np.abs(real - expected).max()
    assert gap <= (0.5 / 255 + 1e-6 if data == "patches" else 0)
    # No held-out image is among the training images, except that black sky looks the same everywhere.
    kept = {row.tobytes() for row in np.rint(images.x.numpy() * 255).astype(np.uint8)}
    held = np.rint(expected * 255).astype(np.uint8)
    assert not [row for row in held if row.any() and row.tobytes() in kept]


def test_they_are_made_again_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    for library in ("sklearn", "skimage", "mlxtend"):
        pytest.importorskip(library)
    from mcgen.adapters.models.training import __main__ as command

    shipped = held_out._FOLDER
    monkeypatch.setattr(held_out, "_FOLDER", tmp_path)
    command.main(["real-images"])
    for data in DATA:
        name = f"{data}-held-out.npz"
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()
    made, log = (json.loads((folder / "real-images.json").read_text()) for folder in (tmp_path, shipped))
    assert made["files"] == log["files"]


def test_the_log_has_source_licence_and_hash() -> None:
    log = json.loads((held_out._FOLDER / "real-images.json").read_text())
    assert log["command"] == "python -m mcgen.adapters.models.training real-images"
    assert {*log["files"]} == {f"{data}-held-out.npz" for data in DATA}
    for name, file in log["files"].items():
        content = (held_out._FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["bytes"] < 2_000_000
        assert file["data"]
        assert file["licence_of_the_data"]


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="moons-flow makes points of the plane, .*make_moons"):
        real_images("moons-flow")
    with pytest.raises(ValueError, match="reaching-policy makes actions of a policy, so there are no real images"):
        real_images("reaching-policy")
    with pytest.raises(ValueError, match="there are real images for digits-diffusion, .*; got 'mnist'. Give the name"):
        real_images("mnist")


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("digits-held-out.npz", "real-images.json"):
        shutil.copy(held_out._FOLDER / name, tmp_path / name)
    path = tmp_path / "digits-held-out.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    monkeypatch.setattr(held_out, "_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="has SHA-256 .*: the file is damaged or was replaced; reinstall"):
        real_images("digits-diffusion")


def test_they_are_read_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import mcgen; models = mcgen.adapters.models\n"
        "assert models.real_images('digits-diffusion').shape == (360, 1, 8, 8)\n"
        "try: models.load('digits-diffusion')\n"
        "except ImportError as error: assert 'mcgen-stats[torch]' in str(error), error\n"
        "else: raise AssertionError('loaded without torch')\n"
        "assert not hasattr(models, 'nothing') and 'load' in dir(models)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

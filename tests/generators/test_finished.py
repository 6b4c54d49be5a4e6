"""Finished samples: arrays, files of arrays, and folders of images or arrays."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

from mcgen.generators import FinishedSamples


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).random(shape, dtype=np.float32)


def all_rows(samples: FinishedSamples, size: int) -> np.ndarray:
    return np.concatenate([*samples.batches(size)])


@pytest.fixture(scope="module")
def pillow() -> Any:
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


def bytes_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, shape, dtype=np.uint8)


def write_images(folder: Path, pillow: Any, n: int = 5, *shape: int) -> np.ndarray:
    images = bytes_of(n, *(shape or (6, 4, 3)))
    for number, image in enumerate(images):
        pillow.fromarray(image).save(folder / f"{number:03}.png")
    return images


# Arrays.


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64", "bool"])
def test_rows_of_an_array_come_back_in_order_and_in_their_type(size: int, dtype: str) -> None:
    array = (255 * numbers(7, 3, 2)).astype(dtype)
    samples = FinishedSamples(array)
    parts = [*samples.batches(size)]
    assert [len(part) for part in parts] == [size] * (7 // size) + ([7 % size] if 7 % size else [])
    assert np.array_equal(np.concatenate(parts), array)
    assert parts[0].dtype == array.dtype
    assert (len(samples), samples.shape, samples.name) == (7, (3, 2), "samples")


def test_batches_are_copies_and_can_be_asked_for_again() -> None:
    array = numbers(4, 2)
    before = array.copy()
    samples = FinishedSamples(array, name="mine")
    for part in samples.batches(2):
        part[:] = 7
    assert np.array_equal(array, before)
    assert np.array_equal(all_rows(samples, 3), before)
    assert samples.name == "mine"
    assert repr(samples) == "FinishedSamples('mine', 4 samples of shape (2,))"


def test_numbers_alone_lists_and_other_byte_orders() -> None:
    assert all_rows(FinishedSamples([1.0, 2.0, 4.0]), 2).tolist() == [1, 2, 4]
    assert FinishedSamples([[1, 2], [3, 4]]).shape == (2,)
    swapped = numbers(4, 2).astype(">f4")
    found = all_rows(FinishedSamples(swapped), 3)
    assert np.array_equal(found, swapped)
    assert found.dtype.isnative


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.rand(5, 3, 4, 4, requires_grad=True)
    assert np.array_equal(all_rows(FinishedSamples(tensor), 2), tensor.detach().numpy())
    assert all_rows(FinishedSamples(tensor.bfloat16()), 2).dtype == np.float32
    with pytest.raises(TypeError, match="the array is a Tensor that can't be one: a tensor of layout"):
        FinishedSamples(torch.rand(3, 3).to_sparse())


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (
            np.array([{}, {}]),
            TypeError,
            "shape \\(n, ...\\); the array is a ndarray that can't be one: values of type object",
        ),
        (None, TypeError, "samples are a path or an array of real numbers, .* is a NoneType"),
        ({"a": 1}, TypeError, "is a dict that can't be one"),
        (lambda z: z, TypeError, "is a function that can't be one"),
        (["a", "b"], TypeError, "values of type <U1, which are no real numbers"),
        ([[1, 2], [3]], TypeError, "is a list that can't be one"),
        (np.ones(3) * 1j, TypeError, "values of type complex128, which are no real numbers"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), TypeError, "a masked array, whose mask would be lost"),
        (3.0, ValueError, "the array is a single number; samples are the rows of an array of shape"),
        (np.ones((1, 4)), ValueError, "the array has 1 sample; an interval needs at least 2, .* Give more samples"),
        (np.ones((0, 4)), ValueError, "the array has 0 samples"),
        ([], ValueError, "the array has 0 samples"),
        (np.ones((4, 0)), ValueError, r"the array has shape \(4, 0\), so its samples are empty"),
        (
            np.array([[1.0, 2.0], [np.nan, 0.0]]),
            ValueError,
            "the array, row 1 has a NaN or an infinity; .* leave the sample",
        ),
        (np.array([1.0, 2.0, np.inf]), ValueError, "the array, row 2 has a NaN or an infinity"),
        ("", ValueError, "the source is an empty path; give a file, a folder, or an array"),
    ],
)
def test_what_is_no_array_of_samples_is_refused(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FinishedSamples(source)


def test_a_nan_far_inside_a_large_array_is_found() -> None:
    array = np.zeros((5000, 2000), np.float32)
    array[4321, 7] = np.nan
    with pytest.raises(ValueError, match="row 4321 has a NaN"):
        FinishedSamples(array)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3"])
def test_sizes_of_batches_are_refused_before_the_first_batch(size: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="size must be"):
        FinishedSamples(numbers(3, 2)).batches(size)


@pytest.mark.parametrize("name", ["", 3, b"a"])
def test_names_are_texts(name: Any) -> None:
    with pytest.raises(TypeError, match="name must be a text that is not empty"):
        FinishedSamples(numbers(3, 2), name=name)


def test_the_fingerprint_of_an_array_is_that_of_its_numbers() -> None:
    array = numbers(6, 2)
    one, same = FinishedSamples(array), FinishedSamples(array.copy(), name="other")
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint != FinishedSamples(array[::-1]).fingerprint
    assert one.fingerprint != FinishedSamples(array.astype(np.float64)).fingerprint
    array[5, 1] += 1
    assert one.fingerprint != same.fingerprint


# Files of arrays.


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(9,), (9, 5), (9, 2, 3, 4)])
def test_a_file_of_one_array(tmp_path: Path, order: Any, shape: tuple[int, ...]) -> None:
    array = np.array(numbers(*shape), order=order)
    for path in (tmp_path / "a.npy", tmp_path / "b.npz"):
        (np.save if path.suffix == ".npy" else np.savez)(path, array)
        samples = FinishedSamples(path)
        assert samples.name == path.name
        assert np.array_equal(all_rows(samples, 4), array)
        assert np.array_equal(all_rows(FinishedSamples(str(path)), 20), array)
        assert np.array_equal(all_rows(pickle.loads(pickle.dumps(samples)), 4), array)


def test_a_file_with_the_longer_head_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, numbers(4, 3), version=(2, 0))
    assert np.array_equal(all_rows(FinishedSamples(path), 3), numbers(4, 3))


def test_only_the_rows_that_are_asked_for_are_read(tmp_path: Path) -> None:
    """A sparse file of 40 GB."""
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**4)})
        file.truncate(file.tell() + 4 * 10**10)
    if os.stat(path).st_blocks * 512 > 10**9:
        pytest.skip("the file system has no sparse files")
    samples = FinishedSamples(path)
    assert len(samples) == 10**6
    assert next(samples.batches(3)).tolist() == [[0] * 10**4] * 3


def test_files_that_are_refused(tmp_path: Path) -> None:
    array = numbers(4, 3)

    def refused(name: str, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            FinishedSamples(tmp_path / name)

    refused("none.npy", FileNotFoundError, r"there is no file or folder .*none.npy; give a .npy or .npz file, a folder")
    np.savez(tmp_path / "two.npz", mu=array, sigma=array)
    refused("two.npz", ValueError, r"two.npz must have one array; it has 2: mu, sigma. Give .* np.load\(path\)\['mu'\]")
    np.savez(tmp_path / "no.npz")
    refused("no.npz", ValueError, "no.npz must have one array; it has 0")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    refused("objects.npy", TypeError, "objects.npy has values of type object, which are no real numbers")
    np.savez(tmp_path / "objects.npz", np.array([{}, {}]))
    refused("objects.npz", ValueError, "objects.npz can't be read: Object arrays cannot be loaded")
    np.save(tmp_path / "complex.npy", 1j * array)
    refused("complex.npy", TypeError, "values of type complex64")
    np.save(tmp_path / "one.npy", array[:1])
    refused("one.npy", ValueError, "one.npy has 1 sample; an interval needs at least 2")
    np.save(tmp_path / "single.npy", np.float64(3))
    refused("single.npy", ValueError, "single.npy has a single number")
    np.save(tmp_path / "empty.npy", np.ones((4, 0)))
    refused("empty.npy", ValueError, r"has shape \(4, 0\), so its samples are empty")
    (tmp_path / "text.npy").write_text("text")
    refused("text.npy", ValueError, "text.npy can't be read: .*Replace the file")
    (tmp_path / "text.npz").write_text("text")
    refused("text.npz", ValueError, "text.npz can't be read")
    (tmp_path / "model.pt").write_bytes(b"")
    refused("model.pt", ValueError, "model.pt is a file of a kind that is not read; .* or load it and give the array")
    (tmp_path / "one.png").write_bytes(b"")
    refused("one.png", ValueError, "one.png is one image; give the folder that has all of them")
    np.save(tmp_path / "short.npy", array)
    with (tmp_path / "short.npy").open("r+b") as file:
        file.truncate(150)
    refused("short.npy", ValueError, "short.npy can't be read: it ends after 150 of 176 bytes")


def test_a_damaged_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, numbers(50, 20))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a.npz can't be read"):
        FinishedSamples(path)


def test_nan_in_a_file_is_found_where_it_is(tmp_path: Path) -> None:
    array = numbers(9, 5)
    array[7, 2] = np.nan
    np.save(tmp_path / "a.npy", array)
    batches = FinishedSamples(tmp_path / "a.npy").batches(4)
    assert np.array_equal(next(batches), array[:4])
    with pytest.raises(ValueError, match="a.npy, row 7 has a NaN"):
        next(batches)


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, numbers(2000, 50))
    batches = FinishedSamples(path).batches(4)
    next(batches)
    if damage == "cut":
        with path.open("r+b") as file:
            file.truncate(1000)
    elif damage == "other":
        np.save(path, numbers(2000, 60))
    else:
        path.unlink()
    with pytest.raises(ValueError, match=r"a.npy can't be read: (it was changed after it was opened|No such file)"):
        for _ in batches:
            pass


def test_the_fingerprint_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers(6, 2))
    first = FinishedSamples(tmp_path / "a.npy").fingerprint
    shutil.copy(tmp_path / "a.npy", tmp_path / "b.npy")
    assert FinishedSamples(tmp_path / "b.npy").fingerprint == first
    np.save(tmp_path / "a.npy", numbers(6, 3))
    assert FinishedSamples(tmp_path / "a.npy").fingerprint != first


# Folders.


@pytest.mark.parametrize("ending", [".png", ".bmp", ".webp", ".PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_images(folder: Path, pillow: Any, ending: str, channels: int) -> None:
    images = bytes_of(5, 6, 4, 3) if channels == 3 else bytes_of(5, 6, 4)
    if ending == ".webp":
        pytest.importorskip("PIL._webp")
        # WebP has no grey images.
        images = np.repeat(images[..., None], 3, 3) if channels == 1 else images
    for number, image in enumerate(images):
        options = {"lossless": True} if ending == ".webp" else {}
        pillow.fromarray(image).save(folder / f"{number}{ending}", **options)
    samples = FinishedSamples(folder)
    expected = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    found = all_rows(samples, 2)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.astype(np.float32) / np.float32(255))
    assert (len(samples), samples.shape, samples.name) == (5, expected.shape[1:], "images")
    assert np.array_equal(all_rows(pickle.loads(pickle.dumps(samples)), 5), found)


def test_jpeg_files_are_as_pillow_reads_them(folder: Path, pillow: Any) -> None:
    for number, ending in enumerate(("jpg", "jpeg", "JPG")):
        pillow.fromarray(bytes_of(8, 8, 3)).save(folder / f"{number}.{ending}", format="JPEG")
    found = all_rows(FinishedSamples(folder), 3)
    expected = np.asarray(pillow.open(folder / "0.jpg"), np.float32).transpose(2, 0, 1) / np.float32(255)
    assert found.shape == (3, 3, 8, 8)
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "1", "LA", "P with transparency"])
def test_images_of_other_modes_are_those_of_pillow(folder: Path, pillow: Any, mode: str) -> None:
    for number, levels in enumerate(bytes_of(3, 6, 4, 3)):
        image = pillow.fromarray(levels).convert(mode.split()[0])
        options: dict[str, Any] = {"transparency": bytes(range(256))[: len(image.getcolors())]} if " " in mode else {}
        image.save(folder / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}", **options)
    found = all_rows(FinishedSamples(folder), 2)
    grey = mode in ("1", "LA")
    assert found.shape == (3, 1 if grey else 3, 6, 4)
    first = pillow.open(next(iter(sorted(folder.iterdir()))))
    first = first.convert("RGBA") if mode == "P with transparency" else first
    expected = np.asarray(first.convert("L" if grey else "RGB"), np.float32) / np.float32(255)
    assert np.array_equal(found[0], expected[None] if grey else expected.transpose(2, 0, 1))


def test_order_subfolders_hidden_files_and_texts(folder: Path, pillow: Any) -> None:
    images = write_images(folder, pillow, 3)
    for name in ("b", ".hidden"):
        (folder / name).mkdir()
        pillow.fromarray(images[0]).save(folder / name / "000.png")
    (folder / "._000.png").write_bytes(b"of a file system")
    (folder / "README.txt").write_text("text")
    (folder / "000.json").write_text("{}")
    found = all_rows(FinishedSamples(folder), 10)
    assert np.array_equal(found, images[[0, 1, 2, 0]].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))


def test_links_are_followed_once(folder: Path, pillow: Any, tmp_path: Path) -> None:
    write_images(folder, pillow, 3)
    other = tmp_path / "other"
    other.mkdir()
    write_images(other, pillow, 2)
    (folder / "linked").symlink_to(other)
    assert len(FinishedSamples(folder)) == 5
    (folder / "self").symlink_to(folder)
    with pytest.raises(ValueError, match="self is a link to .* counted twice; remove the link"):
        FinishedSamples(folder)


def test_images_of_several_sizes_or_modes_are_refused_by_name(folder: Path, pillow: Any) -> None:
    write_images(folder, pillow, 3)
    pillow.fromarray(bytes_of(4, 6, 3)).save(folder / "wide.png")
    with pytest.raises(
        ValueError, match=r"wide.png is a sample of shape \(3, 4, 6\) .*, and 000.png .* shape \(3, 6, 4\)"
    ):
        FinishedSamples(folder)
    pillow.fromarray(bytes_of(6, 4)).save(folder / "wide.png")
    with pytest.raises(ValueError, match=r"wide.png is a sample of shape \(1, 6, 4\).*Convert or resize them first"):
        FinishedSamples(folder)


def test_images_that_are_not_what_they_were_are_refused_while_they_are_read(folder: Path, pillow: Any) -> None:
    write_images(folder, pillow, 4)
    batches = FinishedSamples(folder).batches(2)
    next(batches)
    pillow.fromarray(bytes_of(9, 9, 3)).save(folder / "003.png")
    with pytest.raises(ValueError, match=r"003.png is a sample of shape \(3, 9, 9\)"):
        next(batches)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def damaged_head(path: Path) -> None:
    path.write_bytes(b"no image")


def damaged_numbers(path: Path) -> None:
    """A PNG whose head is right, and whose numbers end too early."""
    head = struct.pack(">IIBBBBB", 4, 6, 8, 2, 0, 0, 0)
    short = zlib.compress(b"\0" * 20)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", short) + chunk(b"IEND", b""))


def cut_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("damage", [damaged_head, damaged_numbers, cut_file, Path.unlink])
def test_a_damaged_image_is_named_and_those_before_it_are_given(folder: Path, pillow: Any, damage: Any) -> None:
    images = write_images(folder, pillow, 5)
    samples = FinishedSamples(folder)
    damage(folder / "003.png")
    batches = samples.batches(2)
    assert np.array_equal(next(batches)[1], images[1].transpose(2, 0, 1) / np.float32(255))
    with pytest.raises(ValueError, match=r"003.png can't be read: .* Replace the file, or take it out"):
        next(batches)


def test_a_file_that_is_no_image_is_named_at_once(folder: Path, pillow: Any) -> None:
    write_images(folder, pillow, 3)
    damaged_head(folder / "001.png")
    with pytest.raises(ValueError, match="001.png can't be read: cannot identify image file"):
        FinishedSamples(folder)
    (folder / "001.png").unlink()
    (folder / "001.png").symlink_to(folder / "nothing.png")
    with pytest.raises(ValueError, match="001.png can't be read: No such file"):
        FinishedSamples(folder)


def test_deep_and_moving_images_are_refused(folder: Path, pillow: Any) -> None:
    write_images(folder, pillow, 2)
    pillow.fromarray(bytes_of(6, 4).astype(np.uint16) * 200).save(folder / "deep.png")
    with pytest.raises(
        ValueError, match="deep.png can't be read: it has Pillow's mode I;16, more than 8 bits a channel"
    ):
        FinishedSamples(folder)
    frames = [pillow.fromarray(one) for one in bytes_of(2, 6, 4, 3)]
    frames[0].save(folder / "deep.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="deep.png can't be read: it has 2 frames; save each"):
        FinishedSamples(folder)


def test_folders_that_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"images has no samples: none of its 0 files is an image \(.png, .jpg"):
        FinishedSamples(folder)
    (folder / "readme.txt").write_text("text")
    with pytest.raises(ValueError, match="none of its 1 files is an image .* Give the folder that has them"):
        FinishedSamples(folder)
    (folder / "a.png").write_bytes(b"")
    (folder / "b.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="images, such as a.png, and arrays, such as b.npy; give a folder of one kind"):
        FinishedSamples(folder)
    (folder / "b.npy").rename(folder / "b.tif")
    with pytest.raises(ValueError, match="has 1 file of kinds that are not read, such as b.tif. .* convert the others"):
        FinishedSamples(folder)
    with pytest.raises(FileNotFoundError, match="there is no file or folder .*nowhere"):
        FinishedSamples(folder / "nowhere")


def test_a_subfolder_that_may_not_be_read_is_an_error(
    folder: Path, pillow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(folder, pillow, 2)
    (folder / "closed").mkdir()
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    # Root may read all folders, so that modes of folders test nothing.
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match="closed can't be read: Permission denied"):
        FinishedSamples(folder)


def test_one_image_is_too_few(folder: Path, pillow: Any) -> None:
    write_images(folder, pillow, 1)
    with pytest.raises(ValueError, match="images has 1 sample; an interval needs at least 2"):
        FinishedSamples(folder)


def test_without_pillow_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"Pillow, which is not installed; .* pip install 'mcgen-stats\[images\]'"):
        FinishedSamples(folder)


def test_a_folder_of_arrays(folder: Path) -> None:
    array = numbers(5, 3, 4)
    for number, sample in enumerate(array):
        np.save(folder / f"{number}.npy", sample)
    samples = FinishedSamples(folder)
    assert samples.shape == (3, 4)
    assert np.array_equal(all_rows(samples, 2), array)
    np.save(folder / "4.npy", array[4, :2])
    with pytest.raises(ValueError, match=r"4.npy is a sample of shape \(2, 4\) and type float32, and 0.npy"):
        next(samples.batches(5))
    with pytest.raises(ValueError, match=r"4.npy is a sample of shape \(2, 4\)"):
        FinishedSamples(folder)
    np.save(folder / "4.npy", array[4].astype(np.float64))
    with pytest.raises(ValueError, match="type float64, and 0.npy in the same folder one of .* type float32"):
        FinishedSamples(folder)
    np.save(folder / "4.npy", array[4] * np.inf)
    with pytest.raises(ValueError, match=r"4.npy, sample 0 has a NaN or an infinity"):
        all_rows(FinishedSamples(folder), 2)
    np.save(folder / "4.npy", np.array({}), allow_pickle=True)
    with pytest.raises(TypeError, match="4.npy has values of type object"):
        FinishedSamples(folder)


def test_the_fingerprint_of_a_folder_is_that_of_names_and_content(folder: Path, pillow: Any, tmp_path: Path) -> None:
    write_images(folder, pillow, 3)
    first = FinishedSamples(folder).fingerprint
    shutil.copytree(folder, tmp_path / "moved")
    assert FinishedSamples(tmp_path / "moved").fingerprint == first
    (tmp_path / "moved" / "000.png").rename(tmp_path / "moved" / "009.png")
    assert FinishedSamples(tmp_path / "moved").fingerprint != first
    pillow.fromarray(bytes_of(6, 4, 3) // 2).save(folder / "001.png")
    assert FinishedSamples(folder).fingerprint != first
    samples = FinishedSamples(folder)
    (folder / "002.png").unlink()
    with pytest.raises(ValueError, match="002.png can't be read: No such file"):
        _ = samples.fingerprint


def test_a_relative_path_is_found_after_the_folder_was_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(folder / "0.npy", numbers(3))
    np.save(folder / "1.npy", numbers(3))
    monkeypatch.chdir(folder)
    samples = FinishedSamples(".")
    assert samples.name == "images"
    monkeypatch.chdir("/")
    assert len(all_rows(samples, 2)) == 2

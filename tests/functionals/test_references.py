"""References of distances: arrays, images, folders and files of moments; and every way in which they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

from mcgen import functionals
from mcgen.errors import CoverageWarning, RunError
from mcgen.functionals.references import features_of_reference
from mcgen.generators.finished import FinishedSamples

RNG = np.random.default_rng(SEED)
FEATURES = RNG.standard_normal((500, 4)) @ RNG.standard_normal((4, 4))
IMAGES = RNG.random((120, 1, 4, 4)).astype(np.float32)


def means_and_corners(images: Any) -> np.ndarray:
    return np.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0], images[:, 0, -1, -1]], axis=1)


def written(path: Path, **content: Any) -> Path:
    np.savez(path, **content)
    return path


def test_features_images_and_files_give_the_same_moments(tmp_path: Path) -> None:
    from_array = features_of_reference(FEATURES, None)
    path = written(tmp_path / "stats.npz", mu=FEATURES.mean(0), sigma=np.cov(FEATURES, rowvar=False))
    from_file = features_of_reference(functionals.reference(path, n_images=500), None)
    np.save(tmp_path / "features.npy", FEATURES)
    for other in (from_file, features_of_reference(str(tmp_path / "features.npy"), None)):
        assert other.moments.mean == pytest.approx(from_array.moments.mean)
        assert other.moments.covariance == pytest.approx(from_array.moments.covariance)
    assert from_file.text == "stats.npz, 500 images, fixed"
    assert features_of_reference(path, None).text == "stats.npz, an unknown number of images, fixed"
    of_images = features_of_reference(IMAGES, means_and_corners)
    assert of_images.moments.mean == pytest.approx(means_and_corners(IMAGES).mean(0))
    for i, image in enumerate(IMAGES):
        np.save(tmp_path / f"{i:03d}-image.npy", image)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, image in enumerate(IMAGES):
        np.save(folder / f"{i:03d}.npy", image)
    for source in (str(folder), folder, FinishedSamples(folder)):
        again = features_of_reference(source, means_and_corners)
        assert again.moments.covariance == pytest.approx(of_images.moments.covariance, rel=1e-6)


def test_a_saved_reference_knows_its_features(tmp_path: Path) -> None:
    target = features_of_reference(IMAGES, means_and_corners)
    target.save(tmp_path / "own.npz")
    again = features_of_reference(tmp_path / "own.npz", means_and_corners)
    assert (again.features, again.text) == (target.features, "own.npz, 120 images, fixed")
    with pytest.raises(ValueError, match=r"made with other features: means_and_corners, 3 features.*got <lambda>"):
        features_of_reference(tmp_path / "own.npz", lambda x: means_and_corners(x) + 0)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    mu, sigma = FEATURES.mean(0), np.cov(FEATURES, rowvar=False)
    (folder / "text.npz").write_text("no zip file")
    return {
        "no sigma": (written(folder / "a.npz", mu=mu), "has no sigma"),
        "sizes": (written(folder / "b.npz", mu=mu[:3], sigma=sigma), r"mu of float64 and shape \(3,\)"),
        "nan": (written(folder / "c.npz", mu=mu, sigma=sigma * np.nan), "NaN or infinity in mu or sigma"),
        "asymmetric": (written(folder / "d.npz", mu=mu, sigma=sigma + np.triu(np.ones((4, 4)), 1)), "not symmetric"),
        "negative": (written(folder / "e.npz", mu=mu, sigma=-sigma), "eigenvalue"),
        "constant": (written(folder / "f.npz", mu=mu, sigma=0 * sigma), "the same in all images"),
        "text": (folder / "text.npz", "can't be read as a file of numpy arrays"),
        "words": (written(folder / "g.npz", mu=np.array(["a"] * 4), sigma=sigma), "mu of <U1"),
    }


@pytest.mark.parametrize("name", ["no sigma", "sizes", "nan", "asymmetric", "negative", "constant", "text", "words"])
def test_bad_files(name: str, tmp_path: Path) -> None:
    path, message = bad_files(tmp_path)[name]
    with pytest.raises(ValueError, match=message):
        functionals.frechet_distance(path)


@pytest.mark.parametrize(
    ("source", "features", "message"),
    [
        (np.where(FEATURES > 3, np.nan, FEATURES), None, "NaN or infinite in"),
        (np.ones((500, 4)), None, "the same in all images"),
        (FEATURES[:1], None, "2 or more rows"),
        (FEATURES.astype(complex), None, "complex128"),
        (np.zeros((0, 4)), None, "2 or more rows"),
        (RNG.standard_normal((30, 40)), None, "has 30 images, too few for the covariance of 40 features"),
        (IMAGES, lambda x: x, "must return an array of shape"),
        (IMAGES, lambda x: means_and_corners(x) * np.inf, "NaN or infinite"),
        ("no-such-folder", None, "no-such-folder"),
    ],
)
def test_bad_sources(source: Any, features: Any, message: str) -> None:
    with pytest.raises((ValueError, RunError, FileNotFoundError), match=message):
        functionals.frechet_distance(source, features)


def test_features_of_a_known_number_are_compared_with_the_reference(tmp_path: Path) -> None:
    class Network:
        n_features = 3
        name = "three"

        def __call__(self, images: Any) -> np.ndarray:
            return means_and_corners(images)

    path = written(tmp_path / "four.npz", mu=FEATURES.mean(0), sigma=np.cov(FEATURES, rowvar=False))
    for source in (FEATURES, path):
        with pytest.raises(ValueError, match="has 4 features for each image, and three gives 3"):
            functionals.frechet_distance(source, Network())


def test_moments_alone_are_no_sample_and_have_no_kernel(tmp_path: Path) -> None:
    path = written(tmp_path / "stats.npz", mu=FEATURES.mean(0), sigma=np.cov(FEATURES, rowvar=False))
    with pytest.raises(ValueError, match="by which their own error can't be found"):
        functionals.frechet_distance(functionals.reference(path, fixed=False))
    with pytest.raises(ValueError, match="a kernel distance needs the features of the reference"):
        functionals.kernel_distance(path)
    with pytest.raises(ValueError, match="stands for 3 images, too few"):
        functionals.frechet_distance(functionals.reference(path, n_images=3))
    with pytest.raises(ValueError, match="n_images must be"):
        functionals.reference(path, n_images=1)
    with pytest.raises(TypeError, match="fixed must be True or False"):
        functionals.reference(path, fixed="no")  # type: ignore[arg-type]


def test_masked_features_and_moments_in_files_of_other_spelling(tmp_path: Path) -> None:
    real = np.random.default_rng(0).standard_normal((500, 3))
    with pytest.raises(TypeError, match="masked array, whose mask would be lost"):
        functionals.frechet_distance(np.ma.masked_array(real, mask=real > 1))
    path = tmp_path / "moments.NPZ"
    with path.open("wb") as file:
        np.savez(file, mu=real.mean(axis=0), sigma=np.cov(real.T), n_images=np.array("many"))
    assert "an unknown number of images" in functionals.frechet_distance(path).target.text


def test_rows_that_may_be_samples_are_warned_of(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 3))
    np.save(tmp_path / "rows.npy", rows)

    def scaled(x: Any) -> Any:
        return 5 * x

    for source in (rows, tmp_path / "rows.npy"):
        with pytest.warns(CoverageWarning, match="is taken for features, and 'scaled' takes its rows too"):
            found = features_of_reference(source, scaled)
        assert np.array_equal(found.moments.mean, features_of_reference(rows, None).moments.mean)
        # Features of another number, and a network that leaves rows as they are, are no doubt.
        features_of_reference(source, lambda x: x[:, :1])
        features_of_reference(source, lambda x: x)
    of_samples = features_of_reference(FinishedSamples(tmp_path / "rows.npy"), scaled)
    assert of_samples.moments.mean == pytest.approx(5 * rows.mean(axis=0))
    assert features_of_reference(of_samples, scaled) is of_samples
    with pytest.raises(ValueError, match="made with other features: scaled"):
        features_of_reference(of_samples, None)

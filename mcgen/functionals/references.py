"""What distances compare a model with: real features, real images, or their mean and covariance in a file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy, single_if_exact, unreadable_text
from mcgen._lib.checks import checked_integer
from mcgen._lib.fingerprints import fingerprint_of
from mcgen._lib.names import name_of
from mcgen.errors import CoverageWarning, warn_user
from mcgen.generators.finished import FinishedSamples
from mcgen.inference.distances.feature_moments import FeatureMoments
from mcgen.statistics.features import features_of

# Images that a network of features sees at a time.
_BATCH = 64
# Largest asymmetry, and largest negative eigenvalue, of a covariance that comes from a file in single precision, in
# shares of its largest entry or eigenvalue.
_ROUNDING = 1e-4
# Features that vary by less than this share of their size vary by rounding alone.
_CONSTANT = 1e-13

Network = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Reference:
    """What a model is compared with; made by `reference`.

    Attributes
    ----------
    source : object
        An array, a path, or `FinishedSamples`.
    n_images : int or None
        The number of images behind a file of moments.
    fixed : bool
        Whether the reference is exact: a distance to these very images. Otherwise they are a sample.
    """

    source: Any
    n_images: int | None = None
    fixed: bool = True
    _known: dict[int, tuple[Network | None, ReferenceFeatures]] = field(default_factory=dict, repr=False)

    def features_by(self, network: Network | None) -> ReferenceFeatures:
        """Return the features by a network; they are computed once, and all distances that take this share them."""
        known = self._known.get(id(network))
        if known is None or known[0] is not network:
            known = self._known[id(network)] = network, _computed(self, network)
        return known[1]

    def __repr__(self) -> str:
        shape = getattr(self.source, "shape", None)
        text = repr(self.source) if shape is None else f"array of shape {tuple(shape)}"
        return f"reference({text}{'' if self.fixed else ', fixed=False'})"


@dataclass(frozen=True, eq=False)
class ReferenceFeatures:
    """The features of a reference.

    Attributes
    ----------
    moments : FeatureMoments
        Their mean and covariance.
    values : ndarray of shape (N, d), or None
        The features, where they are known and not only their moments.
    fixed : bool
        Whether the reference is exact.
    text : str
        What it is, in words.
    features : str
        The identity of the features, in words.
    """

    moments: FeatureMoments = field(repr=False)
    values: NDArray[Any] | None = field(repr=False)
    fixed: bool
    text: str
    features: str

    def save(self, path: str | Path) -> None:
        """Write mean and covariance as pytorch-fid and clean-fid do, with the identity of the features beside them."""
        n = 0 if self.values is None else len(self.values)
        np.savez(path, mu=self.moments.mean, sigma=self.moments.covariance, n_images=n, features=self.features)

    def require_enough(self) -> None:
        """Refuse a reference of so few images that its covariance is not known."""
        n, fewest = 0 if self.values is None else len(self.values), self.moments.fewest_samples
        if self.values is not None and n < fewest:
            raise ValueError(
                f"the reference has {n:,} images, too few for the covariance of {len(self.moments.mean):,} features "
                f"of effective rank {self.moments.effective_rank:.0f}; a Fréchet distance needs {fewest:,} or more. "
                "Use more images, features of fewer numbers, or kernel_distance, which needs no covariance"
            )


def reference(source: Any, *, n_images: int | None = None, fixed: bool = True) -> Reference:
    """Return a reference for distances: real features, real images, or a file.

    Give several distances the same reference: those with the same network then share its features, which are computed
    once.

    Parameters
    ----------
    source : array_like, str, Path or FinishedSamples
        One of these:

        - an array of shape (N, d): features;
        - an array of more axes, a folder of images, or `FinishedSamples`: images, whose features the distance computes;
        - a file ``.npz`` with ``mu`` and ``sigma``, mean and covariance of features, as pytorch-fid and clean-fid write
          them, or with one array;
        - a file ``.npy`` with one array, which is taken as it would be without the file.

        For samples of shape (d,) pass `FinishedSamples`.
    n_images : int, optional
        The number of images behind ``mu`` and ``sigma``, which such a file does not hold; only results show it.
    fixed : bool
        True for the distance to exactly these images; their own sampling error is then outside the interval. False
        where they are a sample from the law of interest. The bias that they add is then removed, and the interval is
        wider by their error. This needs the features themselves.

    Raises
    ------
    TypeError, ValueError
        If `n_images` is no number of images, or `fixed` is False for a reference by its moments.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> mcgen.functionals.reference(np.zeros((1000, 64)), fixed=False)
    reference(array of shape (1000, 64), fixed=False)
    """
    if not isinstance(fixed, bool | np.bool_):
        raise TypeError(f"fixed must be True or False; got {fixed!r}")
    if n_images is not None and checked_integer("n_images", n_images) < 2:
        raise ValueError(f"n_images must be the number of images of the reference, 2 or more; got {n_images}")
    return Reference(source, n_images, bool(fixed))


def identity_of(network: Network | None, d: int) -> str:
    """Return what features are: their name, how many they are, and a text that changes with the network."""
    if network is None:
        return f"the samples themselves, {d:,} numbers"
    return f"{name_of(network)}, {d:,} features, {fingerprint_of(network)[:8]}"


def features_of_reference(given: Any, network: Network | None) -> ReferenceFeatures:
    """Return the features of a reference by a network; None takes the images themselves for their features.

    Parameters
    ----------
    given : Reference, array_like, str, Path or FinishedSamples
        The reference.
    network : callable or None
        The features.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError, RunError
        If there is no such file, or it has no features; the message says what is there and what to do.
    """
    return (given if isinstance(given, Reference) else Reference(given)).features_by(network)


def _computed(asked: Reference, network: Network | None) -> ReferenceFeatures:
    """Return the features of a reference by a network."""
    source = asked.source
    if isinstance(source, ReferenceFeatures):
        return _of_same_features(source, network)
    if isinstance(source, str | Path) and str(source).lower().endswith(".npz"):
        found = _from_moments(Path(source), asked, network)
        if found is not None:
            return found
    if _is_features(source):
        values, text = _checked_features(_numbers(source)), "features"
        _warn_if_samples(values, network, "an array")
    else:
        samples = source if isinstance(source, FinishedSamples) else FinishedSamples(source)
        # A file with rows of numbers is read as the array that it holds would be.
        own = None if samples is not source and len(samples.shape) == 1 else network
        values, text = _of_images(samples, own), samples.name
        if own is not network:
            _warn_if_samples(values, network, "a file with an array")
    values = _checked_features(values)
    _require_same_number(values.shape[1], network)
    moments = FeatureMoments(values.mean(axis=0, dtype=np.float64), _covariance(values))
    _require_varying(moments)
    what = f"{len(values):,} {text}, {'fixed' if asked.fixed else 'a sample'}"
    return ReferenceFeatures(moments, values, asked.fixed, what, identity_of(network, values.shape[1]))


def _of_same_features(source: ReferenceFeatures, network: Network | None) -> ReferenceFeatures:
    """Return features that were found before, or refuse those of another network."""
    wanted = identity_of(network, len(source.moments.mean))
    if source.features != wanted:
        raise ValueError(
            f"this reference was made with other features: {source.features}; got {wanted}. Distances of different "
            "features can't be compared; pass the images"
        )
    return source


def _warn_if_samples(values: NDArray[Any], network: Network | None, what: str) -> None:
    """Warn where rows that are taken for features may be samples: the network takes them, and gives other numbers."""
    if network is None or hasattr(network, "n_features") or len(values) < 2:
        return
    rows = values[:2]
    try:
        found = features_of(network, rows.copy())
    except Exception:
        return
    if found.shape == rows.shape and not np.allclose(found, rows, rtol=1e-4):
        warn_user(
            f"the reference, {what} of shape {values.shape}, is taken for features, and {name_of(network)!r} takes its "
            "rows too and gives other numbers: if they are samples, the distance is a wrong one. Pass samples as "
            "mcgen.generators.FinishedSamples(rows)",
            CoverageWarning,
        )


def _is_features(source: Any) -> bool:
    """Tell whether a source is an array of features itself, and no images."""
    if isinstance(source, str | Path | FinishedSamples):
        return False
    try:
        return int(getattr(source, "ndim", None) or np.ndim(source)) == 2
    except ValueError:
        # A list or a tuple of arrays of several shapes.
        return False


def _numbers(source: Any) -> NDArray[Any]:
    """Return an array of any library, or refuse one whose numbers can't be read, such as a masked one."""
    problem = unreadable_text(source)
    if problem is not None:
        raise TypeError(f"features of a reference must be an array of real numbers; got {problem}")
    return as_numpy(source)


def _of_images(samples: FinishedSamples, network: Network | None) -> NDArray[Any]:
    """Return the features of images, batch by batch."""
    return np.concatenate([single_if_exact(features_of(network, batch)) for batch in samples.batches(_BATCH)])


def _covariance(values: NDArray[Any]) -> Floats:
    """Return the covariance of features with the divisor N - 1, part by part, in double precision."""
    mean = values.mean(axis=0, dtype=np.float64)
    found = np.zeros((values.shape[1],) * 2)
    for start in range(0, len(values), 1024):
        x = values[start : start + 1024].astype(np.float64) - mean
        found += x.T @ x
    return found / (len(values) - 1)


def _checked_features(values: NDArray[Any]) -> NDArray[Any]:
    """Return features as floats, or refuse what is none."""
    if values.dtype.kind not in "biuf" or values.ndim != 2 or len(values) < 2 or not values.shape[1]:
        raise ValueError(
            "features of a reference must be an array of real numbers of shape (N, d), with 2 or more rows; got "
            f"{values.dtype} of shape {values.shape}. For images pass an array of more axes, or a folder"
        )
    found = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    wrong = ~np.isfinite(found).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"features of the reference are NaN or infinite in {int(wrong.sum())} of {len(found)} rows, the first is "
            f"row {int(wrong.argmax())}; every feature must be finite. Look at these images"
        )
    return found


def _require_varying(moments: FeatureMoments) -> None:
    if moments.trace <= _CONSTANT * float(moments.mean @ moments.mean):
        raise ValueError(
            "the features of the reference are the same in all images, or vary by less than 3e-7 of their size, so "
            "that they have no covariance; look at the images and at the network of the features, or subtract a "
            "constant from both"
        )


def _require_same_number(d: int, network: Network | None) -> None:
    """Refuse features of another number than a network gives, where it says how many that is."""
    wanted = getattr(network, "n_features", None)
    if wanted is not None and d != wanted:
        raise ValueError(
            f"the reference has {d:,} features for each image, and {name_of(network)} gives {wanted:,}; both must have "
            "the same features. Make the reference with the same network, or pass its images"
        )


def _from_moments(path: Path, asked: Reference, network: Network | None) -> ReferenceFeatures | None:
    """Return a reference from a file with mean and covariance; None where the file has neither."""
    try:
        with np.load(path, allow_pickle=False) as content:
            held = {name: content[name] for name in content.files if name in ("mu", "sigma", "n_images", "features")}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ValueError(
            f"{path} can't be read as a file of numpy arrays ({error}); a reference is an .npz with mu and sigma, as "
            "pytorch-fid and clean-fid write it, or with one array"
        ) from error
    if "mu" not in held and "sigma" not in held:
        return None
    mean, covariance = _checked_moments(path, held)
    if not asked.fixed:
        raise ValueError(
            f"{path} holds the mean and the covariance of features alone, by which their own error can't be found; got "
            "fixed=False. Pass the features or the images themselves, or leave fixed out"
        )
    d = len(mean)
    _require_same_number(d, network)
    own, wanted = str(held.get("features", "")), identity_of(network, d)
    if own and network is not None and own != wanted:
        raise ValueError(
            f"{path} was made with other features: {own}; got {wanted}. Distances of different features can't be "
            "compared; make the file again with these features"
        )
    moments = FeatureMoments(mean, covariance)
    _require_varying(moments)
    n = asked.n_images or _number_of_images(held)
    if n and n < moments.fewest_samples:
        raise ValueError(
            f"{path} stands for {n:,} images, too few for the covariance of {d:,} features of effective rank "
            f"{moments.effective_rank:.0f}; a Fréchet distance needs {moments.fewest_samples:,} or more"
        )
    count = f"{n:,} images" if n else "an unknown number of images"
    return ReferenceFeatures(moments, None, True, f"{path.name}, {count}, fixed", own or wanted)


def _number_of_images(held: dict[str, NDArray[Any]]) -> int:
    """Return the number of images that a file names, 0 where it is unknown."""
    given = held.get("n_images")
    return int(given) if given is not None and given.ndim == 0 and given.dtype.kind in "iu" and given > 0 else 0


def _checked_moments(path: Path, held: dict[str, NDArray[Any]]) -> tuple[Floats, Floats]:
    """Return mean and covariance of a file in double precision, or refuse what is none."""
    missing = [name for name in ("mu", "sigma") if name not in held]
    if missing:
        raise ValueError(f"{path} has no {missing[0]}; a file of moments has both mu, shape (d,), and sigma, (d, d)")
    mean, covariance = held["mu"], held["sigma"]
    if mean.dtype.kind != "f" or covariance.dtype.kind != "f" or covariance.shape != (len(np.ravel(mean)),) * 2:
        raise ValueError(
            f"{path} has mu of {mean.dtype} and shape {mean.shape} and sigma of {covariance.dtype} and shape "
            f"{covariance.shape}; they must be the mean, (d,), and the covariance, (d, d), of the same d features"
        )
    mean, covariance = np.ravel(mean).astype(np.float64), covariance.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError(f"{path} has NaN or infinity in mu or sigma; make it again from images with finite features")
    size = float(np.abs(covariance).max())
    if not np.allclose(covariance, covariance.T, rtol=0, atol=_ROUNDING * size):
        raise ValueError(f"{path} has a sigma that is not symmetric, and so is no covariance; make it again")
    covariance = (covariance + covariance.T) / 2
    values = np.linalg.eigvalsh(covariance)
    if values[0] < -_ROUNDING * values[-1]:
        raise ValueError(
            f"{path} has a sigma with the eigenvalue {values[0]:.3g} beside {values[-1]:.3g}, and so is no covariance; "
            "make it again"
        )
    return mean, covariance

"""What `mcgen evaluate` names: models and finished samples, scores, references of distances and their features."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mcgen import statistics
from mcgen._lib.names import name_of
from mcgen.cli.objects import STATISTICS, generator_named, load, load_own, model_names
from mcgen.cli.values import names_in
from mcgen.functionals import energy_distance, frechet_distance, kernel_distance, reference
from mcgen.generators.finished import FinishedSamples

DISTANCES: Mapping[str, Callable[..., Any]] = {
    "frechet_distance": frechet_distance,
    "kernel_distance": kernel_distance,
    "energy_distance": energy_distance,
}
"""The distances that the command line knows by name; they need a reference."""
REAL_IMAGES = "real-images"
"""The reference that stands for the held-out real images of the first shipped model."""

# Named as a user names a generator, so that the core imports no adapter.
_FEATURES = "mcgen.adapters:features", "the shipped feature networks need", "torch"
_REAL_IMAGES = "mcgen.adapters.models:real_images", "the held-out real images need", "torch"
_ARRAYS = (".npy", ".npz")


class NamedModel(NamedTuple):
    """A model of the command line.

    Attributes
    ----------
    name : str
        The name in results.
    text : str
        What was given, without the name.
    model : Generator or FinishedSamples
        The model, or samples that exist already.
    """

    name: str
    text: str
    model: Any


class Against(NamedTuple):
    """What distances compare models with, as the flags of the command line give it; None where they do not."""

    reference: str | None = None
    features: str | None = None
    n_images: int | None = None
    sampled: bool | None = None

    @property
    def flags(self) -> list[str]:
        """The flags that were given."""
        flags = ("--reference", "--features", "--n-images", "--sampled-reference")
        return [flag for flag, value in zip(flags, self, strict=True) if value is not None]


def models_named(texts: Sequence[str]) -> list[NamedModel]:
    """Return the models that texts name, each ``MODEL`` or ``NAME=MODEL``.

    Raises
    ------
    ValueError, TypeError, ImportError, FileNotFoundError
        If there is no such model, or two have the same name.
    """
    found = [_model_named(text) for text in texts]
    names = [one.name for one in found]
    twice = next((one for one in found if names.count(one.name) > 1), None)
    if twice is not None:
        raise ValueError(
            f"models need names that differ; {names.count(twice.name)} of them are named {twice.name!r}. Give names "
            f"of yours, such as first={twice.text}"
        )
    return found


def _model_named(given: str) -> NamedModel:
    """Return the model of a text, with the name before an equals sign if there is one."""
    name, equals, text = given.partition("=")
    # An option, as in mnist-ddpm:steps=10, and a path have a colon or a separator before the equals sign.
    if not equals or any(mark in name for mark in (":", "/", "\\")) or os.path.exists(given):
        name, text = "", given
    elif not name.strip() or not text.strip():
        raise ValueError(f"a model is MODEL or NAME=MODEL, such as new=mymodel.py:generator; got {given!r}")
    model = _model_of(text.strip())
    return NamedModel(name.strip() or name_of(model), text.strip(), model)


def _model_of(text: str) -> Any:
    """Return a generator, or the finished samples of a folder or a file."""
    path = os.path.expanduser(text)
    is_path = text.endswith(_ARRAYS) or (os.path.exists(path) and not text.endswith(".py"))
    is_path = is_path or (":" not in text and any(mark in text for mark in ("/", "\\")) and not text.endswith(".py"))
    if not is_path or (os.path.isdir(path) and text in _shipped()):
        try:
            return generator_named(text)
        except ValueError as error:
            if ":" in text or text.endswith(".py"):
                raise
            raise ValueError(f"{error}. There is no folder or file of samples {text} either") from error
    return FinishedSamples(path)


def _shipped() -> list[str]:
    """Return the names of the shipped models; none where they can't be loaded."""
    try:
        return model_names()
    except ImportError:
        return []


def scores_named(texts: Sequence[str], against: Against, models: Sequence[NamedModel]) -> dict[str, Any]:
    """Return scores by their names: statistics and functionals, and distances from a reference.

    Raises
    ------
    ValueError, TypeError, ImportError, FileNotFoundError
        If there is no such score, a distance has no reference, or there is a reference and no distance.
    """
    names = names_in(texts)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"--scores names {twice!r} twice; leave one out")
    distances = [name for name in names if name in DISTANCES]
    if against.flags and not distances:
        raise ValueError(
            f"{' and '.join(against.flags)} {'is' if len(against.flags) == 1 else 'are'} for distances, and none is "
            f"among --scores; name {', '.join(DISTANCES)}, or leave it out"
        )
    if distances and against.reference is None:
        raise ValueError(
            f"{distances[0]} compares the models with real data: give --reference, a folder of real images, an .npz "
            f"file with mu and sigma, or {REAL_IMAGES} for the held-out images of a shipped model"
        )
    made = dict(zip(distances, _distances(distances, against, models), strict=True)) if distances else {}
    found: dict[str, Any] = {}
    for name in names:
        score = made[name] if name in made else _score_named(name)
        label = name if name in made or ":" not in name else name_of(score)
        if label in found:
            raise ValueError(f"two of the --scores have the name {label!r}; give one of them another name in its file")
        found[label] = score
    return found


def _score_named(text: str) -> Any:
    """Return the statistic or functional that a text names."""
    if ":" in text:
        return load(text)
    if text not in STATISTICS:
        known = (*STATISTICS, *DISTANCES)
        near = difflib.get_close_matches(text, known, 1)
        raise ValueError(
            f"a score is one of {', '.join(known)}, package.module:name or file.py:name; got {text!r}"
            + (f". Did you mean {near[0]}?" if near else "")
        )
    return getattr(statistics, text)


def _distances(names: Sequence[str], against: Against, models: Sequence[NamedModel]) -> list[Any]:
    """Return distances from the same reference, whose features are computed once."""
    assert against.reference is not None
    if against.n_images is not None and not against.reference.endswith(".npz"):
        raise ValueError(
            f"--n-images says how many images are behind the mean and the covariance in an .npz file; got it beside "
            f"--reference {against.reference}. Leave it out"
        )
    network = None if against.features is None else features_named(against.features)
    target = reference(_source(against.reference, models), n_images=against.n_images, fixed=not against.sampled)
    found = []
    for name in names:
        made = DISTANCES[name](target, network)
        target = reference(made.target)
        found.append(made)
    return found


def _source(text: str, models: Sequence[NamedModel]) -> Any:
    """Return what a reference is made of: the real images of a shipped model, or a path."""
    shipped = [one.text.partition(":")[0] for one in models if one.text.partition(":")[0] in _shipped()]
    if text == REAL_IMAGES and not shipped:
        raise ValueError(
            f"--reference {REAL_IMAGES} stands for the held-out images of the first shipped model, and none is among "
            f"the models; give the name of a shipped model, such as --reference mnist-ddpm, a folder or a file"
        )
    name = shipped[0] if text == REAL_IMAGES else text
    path = Path(os.path.expanduser(text))
    if name not in _shipped() and path.exists():
        return path
    try:
        images = load_own(*_REAL_IMAGES)(name)
    except ValueError as error:
        if name in _shipped():
            raise
        near = difflib.get_close_matches(text, [REAL_IMAGES, *_shipped()], 1)
        raise FileNotFoundError(
            f"there is no file or folder --reference {text}; give a folder of real images, an .npz or .npy file, "
            f"{REAL_IMAGES}, or the name of a shipped model" + (f". Did you mean {near[0]}?" if near else "")
        ) from error
    return FinishedSamples(images, name=f"held-out real images of {name}")


def features_named(text: str) -> Callable[[Any], Any]:
    """Return the features that a text names: a shipped network, or a callable of a module or a file.

    Raises
    ------
    ValueError, TypeError, ImportError
        If there are no such features, or they can't be called.
    """
    if ":" not in text:
        try:
            network: Callable[[Any], Any] = load_own(*_FEATURES)(text)
        except ValueError as error:
            raise ValueError(f"{error}: --features package.module:name or file.py:name") from error
        return network
    found: Callable[[Any], Any] = load(text)
    if not callable(found):
        raise TypeError(
            f"--features must be a function from n samples to features of shape (n, d); {text} is a "
            f"{type(found).__name__}"
        )
    return found

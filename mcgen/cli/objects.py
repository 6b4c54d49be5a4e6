"""Objects that a text names: generators, shipped models, designs and statistics."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from mcgen import statistics
from mcgen.cli.files import UnusableFileError, module_of_file
from mcgen.cli.values import condition_value, names_in, whole_number
from mcgen.designs import Antithetic, Design, KAntithetic, LatinHypercube, MonteCarlo, OrthogonalAntithetic, Sobol

# Named as a user names a generator, so that the core imports no adapter.
_MODELS = "mcgen.adapters.models:list"
_MODEL = "mcgen.adapters.models:load"
_LOG = "mcgen.adapters.models:log"
_NEEDS = "the shipped models need", "torch"
# Options of a shipped model, as in mnist-ddpm:steps=10,sampler=heun.
_OPTIONS = re.compile(r"[A-Za-z_]\w*=[^,=]*(,[A-Za-z_]\w*=[^,=]*)*")

# Each design that needs a number of points, with an example of the number, and with what the number must be.
_DESIGNS: dict[str, tuple[Callable[[int], Design], int, str]] = {
    "k-antithetic": (KAntithetic, 8, "2 or more"),
    "sobol": (Sobol, 64, "a power of two"),
    "latin-hypercube": (LatinHypercube, 64, "2 or more"),
    "orthogonal": (OrthogonalAntithetic, 16, "an even number"),
}
_FIXED_DESIGNS: dict[str, Design] = {"monte-carlo": MonteCarlo(), "antithetic": Antithetic()}
STATISTICS = ("pixel_mean", "brightness", "contrast", "centroid", "identity")
"""Names of the statistics that the command line knows."""

_FORMS = "name an object as package.module:name or file.py:name, such as mymodel:generator"


def load_own(target: str, what: str, extras: str) -> Any:
    """Return an object of mcgen's adapters or validation, or say which extras it needs.

    Parameters
    ----------
    target : str
        The object, as for `load`.
    what : str
        What needs it, as the message begins, such as "the shipped models need".
    extras : str
        The extras of the distribution that have all that it needs.

    Raises
    ------
    ImportError
        If a library is not installed.
    """
    try:
        return load(target)
    except ImportError as error:
        if "pip install" in str(error):
            raise ImportError(str(error)) from error
        raise ImportError(
            f"{what} {error.name}, which is not installed; install the extra: pip install 'mcgen-stats[{extras}]'",
            name=error.name,
        ) from error


def generator_named(text: str) -> Any:
    """Return the generator that a text names: an object, or a shipped model with its options.

    ``mnist-ddpm:steps=10`` is the shipped model ``mnist-ddpm`` with 10 steps.

    Raises
    ------
    ValueError, TypeError, ImportError
        If there is no such object or model, or the model needs a library or takes no such options.
    """
    name, colon, options = text.partition(":")
    if colon and not _OPTIONS.fullmatch(options):
        return load(text)
    if name.endswith(".py") or os.path.isfile(name):
        raise ValueError(f"say which object of the file: {name}:generator; got {text!r}")
    try:
        models = model_names()
    except ImportError as error:
        raise ImportError(f"{error}. For a generator of your own {_FORMS}; got {text!r}", name=error.name) from error
    if name not in models:
        near = difflib.get_close_matches(name, models, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(
            f"no model {name!r} ships with mcgen{hint} There are {', '.join(models)}. "
            f"For a generator of your own {_FORMS}"
        )
    pairs = [part.partition("=") for part in options.split(",") if part]
    return load_own(_MODEL, *_NEEDS)(name, **{key: condition_value(value) for key, _, value in pairs})


def load(target: str) -> Any:
    """Return the object that ``package.module:name`` or ``file.py:name`` names.

    Raises
    ------
    ValueError, ImportError
        If the text has another form, or there is no such module, file or name.
    """
    # The last colon: a path on Windows has one after the letter of its drive.
    place, colon, name = target.rpartition(":")
    if target.endswith(".py"):
        raise ValueError(f"say which object of the file: {target}:generator; got {target!r}")
    if not (place and colon and all(part.isidentifier() for part in name.split("."))):
        raise ValueError(f"{_FORMS}; got {target!r}")
    found: Any = _module(place, name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{place} has no {name!r}; it has {', '.join(_public(found)) or 'nothing public'}")
        found = getattr(found, part)
    return found


def _module(place: str, name: str) -> ModuleType:
    """Return the module that a name or a path names, imported once."""
    is_file = place.endswith(".py")
    if not is_file and re.search(r"[/\\]", place):
        as_module = re.sub(r"[/\\]+", ".", place).strip(".")
        raise ValueError(f"name a file as {place}.py:{name}, or a module as {as_module}:{name}; got {place}:{name}")
    try:
        return module_of_file(place) if is_file else importlib.import_module(place)
    except ModuleNotFoundError as error:
        if not is_file and error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise ImportError(_not_found(error.name)) from None
        error.add_note(f"raised while importing {place!r}")
        raise
    except SystemExit as error:
        raise ValueError(
            f"{place} ended Python while it was imported; put what it runs below if __name__ == '__main__'"
        ) from error
    except UnusableFileError:
        raise
    except Exception as error:
        error.add_note(f"raised while importing {place!r}")
        raise


def _not_found(name: str) -> str:
    """Return the message for a module that is not found, with the places where Python looked."""
    above, _, last = name.rpartition(".")
    if above:
        package = sys.modules[above]
        where = ", ".join(getattr(package, "__path__", [])) or f"{above}, which is no package"
        return f"No module named {name!r}: looked for {last} in {where}"
    given = [os.path.abspath(one) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    places = [f"{os.getcwd()} (the current folder)", *(f"{one} (PYTHONPATH)" for one in dict.fromkeys(given))]
    return (
        f"No module named {name!r}: looked in {', '.join(places)} and the packages of {sys.executable}. "
        f"Go to its folder, or name its file: path/to/{name}.py:generator"
    )


def model_names() -> list[str]:
    """Return the names of the shipped models."""
    names: list[str] = load_own(_MODELS, *_NEEDS)()
    return names


def model_log(name: str) -> dict[str, Any]:
    """Return the log of a shipped model."""
    log: dict[str, Any] = load_own(_LOG, *_NEEDS)(name)
    return log


def _public(module: Any) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")][:12]


def design_named(text: str, n_points: int | None, flag: str = "--design") -> Design:
    """Return the design that a text names: ``antithetic``, ``sobol:64``, or ``sobol`` with ``n_points=64``.

    ``sobol`` without points takes them from the run. ``antithetic:sobol:32`` is `Antithetic` of what follows.

    Raises
    ------
    ValueError
        If there is no such design, or its number of points is missing or can't be used.
    """
    name, colon, number = text.strip().partition(":")
    name = name.strip().lower().replace("_", "-")
    if name == "antithetic" and number and not number.strip().isdigit():
        return Antithetic(design_named(number, n_points, flag))
    points = _points(name, number, flag) if colon else n_points
    if colon and n_points not in (None, points):
        raise ValueError(f"the design {text!r} and --n-points {n_points} disagree; leave out one of them")
    if name in _FIXED_DESIGNS:
        fixed = _FIXED_DESIGNS[name]
        if points not in (None, fixed.n_points):
            raise ValueError(f"{flag} {name} has {fixed.n_points} point(s) always; got {points}. Leave the number out")
        return fixed
    if name in _DESIGNS:
        make, example, rule = _DESIGNS[name]
        if points is None and name == "sobol":
            return Sobol()
        if points is None:
            other = f" or --n-points {example}" if flag == "--design" else ""
            raise ValueError(
                f"{flag} {name} lacks its number of points ({rule}); write {flag} {name}:{example}{other}; got {text!r}"
            )
        return make(points)
    raise ValueError(_no_design(text, name, n_points))


def _points(name: str, number: str, flag: str) -> int:
    """Return the number of points in a design's text."""
    try:
        return whole_number(number)
    except ArgumentTypeError as error:
        example = _DESIGNS[name][1] if name in _DESIGNS else 64
        raise ValueError(f"the number of points in {flag} {name}:{example} {error}") from error


def _no_design(text: str, name: str, n_points: int | None) -> str:
    """Return the message for a text that names no design."""
    if name == "subspace":
        return (
            "make a Subspace in Python from a basis: mcgen.Subspace(mcgen.bases.dct_basis(generator.noise, 32)); on "
            "the command line mcgen estimate --design auto finds directions itself"
        )
    near = difflib.get_close_matches(name, [*_FIXED_DESIGNS, *_DESIGNS], 1)
    return (
        f"a design is one of {', '.join(_FIXED_DESIGNS)}, antithetic:sobol:N, k-antithetic:K, sobol:N (N a power of "
        f"two), latin-hypercube:N or orthogonal:N (N even), or auto, which a pilot chooses; got {text!r}"
        + (f" with --n-points {n_points}" if n_points is not None else "")
        + (f". Did you mean {near[0]}?" if near else "")
    )


def statistic_named(text: str | Sequence[str]) -> statistics.Statistic:
    """Return the statistic that a text names, a stack of several for names separated by commas, or for several texts.

    Raises
    ------
    ValueError, ImportError
        If there is no such statistic.
    """
    chosen = [_one_statistic(part) for part in names_in([text] if isinstance(text, str) else text)]
    return chosen[0] if len(chosen) == 1 else statistics.stack(*chosen)


def _one_statistic(text: str) -> statistics.Statistic:
    if ":" in text:
        found: statistics.Statistic = load(text)
        return found
    if text not in STATISTICS:
        near = difflib.get_close_matches(text, STATISTICS, 1)
        raise ValueError(
            f"a statistic is one of {', '.join(STATISTICS)}, package.module:name or file.py:name; got {text!r}"
            + (f". Did you mean {near[0]}?" if near else "")
        )
    chosen: statistics.Statistic = getattr(statistics, text)
    return chosen

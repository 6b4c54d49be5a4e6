"""Objects that a text names: generators, designs and statistics."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from mcgen import statistics
from mcgen.designs import Antithetic, Design, KAntithetic, LatinHypercube, MonteCarlo, OrthogonalAntithetic, Sobol

_DESIGNS: dict[str, Callable[[int], Design]] = {
    "k-antithetic": KAntithetic,
    "sobol": Sobol,
    "latin-hypercube": LatinHypercube,
    "orthogonal": OrthogonalAntithetic,
}
_FIXED_DESIGNS: dict[str, Design] = {"monte-carlo": MonteCarlo(), "antithetic": Antithetic()}
STATISTICS = ("pixel_mean", "brightness", "contrast", "centroid", "identity")
"""Names of the statistics that the command line knows."""


def load(target: str) -> Any:
    """Return the object that ``package.module:name`` names.

    Raises
    ------
    ValueError, ImportError
        If the text has another form, or there is no such module or name.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"name an object as package.module:name, such as mymodel:generator; got {target!r}")
    if module_name.endswith(".py"):
        raise ValueError(f"name the module, not its file: {module_name[:-3].replace('/', '.')}:{name}; got {target!r}")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not module_name.startswith(error.name or "\0"):
            error.add_note(f"raised while importing {module_name!r}")
        raise
    except Exception as error:
        error.add_note(f"raised while importing {module_name!r}")
        raise
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name} has no {name!r}; it has {', '.join(_public(found)) or 'nothing public'}")
        found = getattr(found, part)
    return found


def _public(module: Any) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")][:12]


def design_named(text: str, n_points: int | None) -> Design:
    """Return the design that a text names: ``antithetic``, ``sobol:64``, or ``sobol`` with ``n_points=64``."""
    name, _, number = text.strip().partition(":")
    if number.isdigit() and n_points not in (None, int(number)):
        raise ValueError(f"the design {text!r} and --n-points {n_points} disagree; leave out one of them")
    points = int(number) if number.isdigit() else n_points
    if name in _FIXED_DESIGNS and (points is None or points == _FIXED_DESIGNS[name].n_points):
        return _FIXED_DESIGNS[name]
    if name in _DESIGNS and points is not None:
        return _DESIGNS[name](points)
    if name == "subspace":
        raise ValueError(
            "make a Subspace in Python from a basis: mcgen.Subspace(mcgen.bases.dct_basis(generator.noise, 32)); on "
            "the command line mcgen estimate --design auto finds directions itself"
        )
    raise ValueError(
        f"a design is one of {', '.join(_FIXED_DESIGNS)}, k-antithetic:K, sobol:N (N a power of two), "
        f"latin-hypercube:N or orthogonal:N (N even), and auto for mcgen estimate; got {text!r}"
        + (f" with --n-points {n_points}" if n_points is not None else "")
    )


def statistic_named(text: str) -> statistics.Statistic:
    """Return the statistic that a text names, a stack of several for names separated by commas."""
    chosen = [_one_statistic(part.strip()) for part in text.split(",")]
    return chosen[0] if len(chosen) == 1 else statistics.stack(*chosen)


def _one_statistic(text: str) -> statistics.Statistic:
    if ":" in text:
        found: statistics.Statistic = load(text)
        return found
    if text not in STATISTICS:
        raise ValueError(f"a statistic is one of {', '.join(STATISTICS)} or package.module:name; got {text!r}")
    chosen: statistics.Statistic = getattr(statistics, text)
    return chosen

"""The header of a store: all that the numbers of a run depend on; and the resources of a call."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mcgen._lib.checks import checked_real
from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.fingerprints import content_of, unknown_text
from mcgen._lib.names import name_of
from mcgen._version import __version__
from mcgen.errors import StoreError
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.executors.coordinator import checked_executor
from mcgen.replicates.source import Resources
from mcgen.replicates.stores.headers import CONTENT
from mcgen.replicates.stores.store import Store
from mcgen.replicates.task import Estimand

_LIBRARIES = ("numpy", "scipy", "torch")


@contextmanager
def opened(
    store: str | Path | None, header: Callable[[], dict[str, Any]], executor: Any, timeout: Any
) -> Iterator[Resources]:
    """Open the store of a call, check its executor, and hand both on for the time of the call.

    Raises
    ------
    TypeError, ValueError
        If the executor is not one, or the timeout is not a positive number of seconds.
    StoreError
        If the store can't be used.
    """
    if executor is not None:
        executor = checked_executor(executor)
    if timeout is not None and (executor is None or checked_real("range_timeout", timeout) <= 0):
        raise ValueError(
            f"range_timeout must be a number of seconds above 0, beside an executor; got {timeout} and "
            f"executor={executor!r}"
        )
    if store is None:
        yield Resources(None, executor, timeout)
        return
    if not isinstance(store, str | os.PathLike):
        raise TypeError(f"store must be the path of a file, such as 'run.sqlite'; got {store!r}")
    with Store.open_to_run(store, header()) as there:
        yield Resources(there, executor, timeout)


def header_of(kind: str, estimand: Estimand, more: dict[str, Any]) -> dict[str, Any]:
    """Return the header of the store of a call: all that its replicate means depend on, without the batch size.

    Parameters
    ----------
    kind : str
        Name of the verb, such as "estimate".
    estimand : Estimand
        What is estimated, with the seed, the conditions and the objects that the user gave.
    more : dict
        The other arguments of the call that matter.

    Raises
    ------
    StoreError
        If the content of the generator, the statistic or the controls can't be known.
    """
    generators = estimand.given.things["generator"]
    generators = generators if isinstance(generators, tuple) else (generators,)
    names = getattr(estimand.statistic, "names", None)
    several = estimand.condition if isinstance(estimand.condition, list) else [estimand.condition]
    return {
        "call": kind,
        "generator": ", ".join(map(name_of, generators)),
        "noise": repr(estimand.generator.noise),
        "statistic": name_of(estimand.given.things["statistic"]),
        **{CONTENT + name: _known_parts(name, part) for name, part in estimand.given.things.items()},
        "components": None if names is None else [str(name) for name in names],
        "condition": [_known(condition) for condition in several],
        CONTENT + "conditions": _known_parts("conditions", [*several], "condition"),
        "seed": _seed_text(estimand.seed),
        **more,
        "mcgen": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{library: _version(library) for library in _LIBRARIES},
    }


def _known_parts(name: str, thing: Any, place: str = "") -> dict[str, str]:
    """Return the parts of an object with their fingerprints, or refuse an object that can't be known again."""
    content = content_of(thing, place)
    if content.unknown:
        raise StoreError(
            f"a store must know the {name} again, and can't know {unknown_text(content)}. Give the {name}, or the "
            "object that holds this, an attribute `fingerprint`: a text that changes with what the results depend on, "
            'such as "decoder, epoch 3" (mcgen.as_generator takes it as fingerprint=); or run without a store'
        )
    return content.parts


def _seed_text(seed: Seed) -> str:
    """Return a seed as text: its entropy, and its spawn key where it has one."""
    whole = as_seed_sequence(seed)
    return f"{whole.entropy}" + (f", spawn_key={whole.spawn_key}" if whole.spawn_key else "")


def _known(condition: Any) -> str | None:
    """Return the text by which a later call knows a condition again."""
    if condition is None:
        return None
    content = key_of_condition(condition)
    if content is None:
        raise ValueError(
            "a store must know conditions again: numbers, texts, arrays, dates, and tuples, lists and dicts of these; "
            f"got {condition!r}. Pass one of these, and let the generator look up what it stands for"
        )
    return content


@cache
def _version(library: str) -> str | None:
    """Return the version that was installed when a store was first used, of a library that is imported or not.

    A resumed run may import torch later. An upgrade during the process does not change what it has imported.
    """
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None

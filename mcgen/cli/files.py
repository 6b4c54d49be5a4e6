"""Modules of files: ``models/mine.py`` as Python itself would run it, with its neighbours on the path."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import PathFinder
from itertools import count
from pathlib import Path
from types import ModuleType

from mcgen._lib.fingerprints.origins import origin_of


class UnusableFileError(ValueError):
    """A file can't be imported as a module, and none of it was run."""


def module_of_file(text: str) -> ModuleType:
    """Return the module that a file makes; each file is run once in a process.

    The file can import its neighbours. In a package, which is a folder with an ``__init__.py``, it is a module of the
    package. A second file of the same name gets a number, as in ``model_2``, so that both can be compared.

    Raises
    ------
    UnusableFileError
        If there is no such file, or its name or that of a neighbour is the name of another module.
    """
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if not path.is_file():
        raise UnusableFileError(f"there is no file {text}; looked for {path}")
    folder, names = path.parent, [path.stem]
    # A folder with a point in its name can't be imported as a package.
    while (folder / "__init__.py").is_file() and "." not in folder.name:
        folder, names = folder.parent, [folder.name, *names]
    return _in_package(path, folder, names) if len(names) > 1 else _alone(path)


def _in_package(path: Path, root: Path, names: Sequence[str]) -> ModuleType:
    """Return a module of a package whose folder lies in `root`."""
    _add_to_path(root, first=True)
    # After all others: neighbours are found by their bare names too, as they are when the file is run.
    _add_to_path(path.parent, first=False)
    name = ".".join(names[:-1] if names[-1] == "__init__" else names)
    other = f"{path} is in the package {names[0]}, and Python finds another one of that name; rename its folder"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UnusableFileError(other) from error
        raise
    if not _is_of(module, path):
        raise UnusableFileError(other)
    return module


def _alone(path: Path) -> ModuleType:
    """Return the module of a file that is in no package."""
    # A point would make it a module of a package, which pickle could not find.
    stem = path.stem.replace(".", "_")
    for number in count(1):
        name = stem if number == 1 else f"{stem}_{number}"
        there = sys.modules.get(name)
        if there is not None and _is_of(there, path):
            return there
        if there is None:
            break
    _require_own_names(path)
    _add_to_path(path.parent, first=True)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _add_to_path(folder: Path, first: bool) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(folder))


def _is_of(module: ModuleType, path: Path) -> bool:
    """Tell whether a module was made by a file."""
    source = getattr(module, "__file__", None)
    return source is not None and os.path.exists(source) and os.path.samefile(source, path)


def _require_own_names(path: Path) -> None:
    """Refuse a file that hides an installed module, and neighbours that were imported from another folder."""
    places = [*map(sysconfig.get_path, ("purelib", "platlib")), *site.getsitepackages(), site.getusersitepackages()]
    installed = None if str(path.parent) in places else PathFinder.find_spec(path.stem, places)
    hidden = path.stem == "mcgen" or (installed is not None and installed.origin is not None)
    if hidden or path.stem in sys.stdlib_module_names:
        raise UnusableFileError(
            f"{path} has the name of the module {path.stem}, which Python could then not find; rename it"
        )
    for name, module in [*sys.modules.items()]:
        source = getattr(module, "__file__", None)
        if "." in name or not source or name == path.stem:
            continue
        for near in (path.parent / f"{name}.py", path.parent / name / "__init__.py"):
            if near.is_file() and not _is_of(module, near) and origin_of(name) is None:
                raise UnusableFileError(
                    f"{source} and {near} have the same name, and Python imports only one of them; rename one"
                )

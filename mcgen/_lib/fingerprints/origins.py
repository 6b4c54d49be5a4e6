"""Origins of code: an installed distribution, with its name and version, or the user's own files."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

OWN = "mcgen"
"""Origin of the code of this package."""
MAIN = ("__main__", "__mp_main__")
"""Names of a module that is run as a script, in the first process and in processes that it starts."""
# CPython's flag of classes that are made by Python code, Py_TPFLAGS_HEAPTYPE.
_HEAP_TYPE = 1 << 9


@cache
def origin_of(module: str | None) -> str | None:
    """Return the name and version of the distribution that installed a module; None for the user's own code.

    Code of an editable installation counts as the user's own, since it changes while its version stays; so does code
    without a module. The origin of mcgen's modules is "mcgen", and that of the standard library is "python".

    Examples
    --------
    >>> from mcgen._lib.fingerprints.origins import origin_of
    >>> origin_of("mcgen.statistics"), origin_of("json.decoder"), origin_of("__main__")
    ('mcgen', 'python', None)
    """
    top = (module or "__main__").partition(".")[0]
    if top == OWN:
        return OWN
    if top in MAIN:
        return None
    return "python" if top in sys.stdlib_module_names and _is_standard(top) else _installed(top)


def origin_of_class(cls: type) -> str | None:
    """Return the origin of a class, as `origin_of` does for modules."""
    # A class that was made in a program without a module name has the module "builtins".
    made_in_python = bool(cls.__flags__ & _HEAP_TYPE)
    return None if cls.__module__ == "builtins" and made_in_python else origin_of(cls.__module__)


def _is_standard(top: str) -> bool:
    """Tell whether a module belongs to the standard library, and is no user's file with the same name."""
    folder = _folder_of(top)
    places = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    return folder is None or any(folder in (place, place / "lib-dynload") for place in places)


def _installed(top: str) -> str | None:
    """Return the distributions that installed a top-level module; None where there are none."""
    folder = _folder_of(top)
    if folder is None:
        return None
    with suppress(importlib.metadata.PackageNotFoundError):
        # Most distributions have the name of their module. Searching all of them takes a quarter of a second.
        distribution = importlib.metadata.distribution(top)
        if _installs(distribution, top, folder):
            return f"{top} {distribution.version}"
    found = map(importlib.metadata.distribution, sorted(set(_owners().get(top, ()))))
    return ", ".join(f"{one.name} {one.version}" for one in found if _installs(one, top, folder)) or None


@cache
def _owners() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _folder_of(top: str) -> Path | None:
    """Return the folder that contains a top-level module or package; None where there is no file."""
    try:
        spec = getattr(sys.modules.get(top), "__spec__", None) or importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    in_no_file = spec.origin in (None, "built-in", "frozen")
    return None if in_no_file else Path(str(spec.origin)).resolve().parent


def _installs(distribution: importlib.metadata.Distribution, top: str, folder: Path) -> bool:
    """Tell whether a distribution installed a module: it is in site-packages, or in the distribution's list of files.

    A checkout with metadata beside its sources has no such list.
    """
    if folder != Path(str(distribution.locate_file(""))).resolve():
        return False
    packages = [*map(sysconfig.get_path, ("purelib", "platlib")), *site.getsitepackages(), site.getusersitepackages()]
    if folder in {Path(path).resolve() for path in packages}:
        return True
    files = distribution.read_text("RECORD") or ""
    return any(line.startswith((f"{top}/", f"{top}.")) for line in files.splitlines())

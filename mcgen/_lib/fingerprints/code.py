"""Functions, classes and modules as parts of a value.

Installed code is identified by the name and version of its distribution. For the user's own code, the parts are its
bytecode and the global variables that it reads.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
import types
from collections.abc import Collection
from functools import cache
from importlib.machinery import PathFinder
from typing import Any, Protocol

from mcgen._lib.fingerprints.bytecode import Import, names_of, text_of_code
from mcgen._lib.fingerprints.files import content_of_file, state_of_file
from mcgen._lib.fingerprints.origins import OWN, origin_of, origin_of_class
from mcgen._lib.fingerprints.places import digest, name_of_class, part_of, qualified

BUILTIN = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
"""Types of functions and attributes that are written in C."""

SCALARS = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), type(NotImplemented))
"""Types of values that have no parts."""

# Attributes that Python itself adds to a class: names, docstrings, and the registries of abstract and data classes.
_OF_EVERY_CLASS = {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "_abc_impl"}
_OF_EVERY_CLASS |= {"__firstlineno__", "__static_attributes__", "__abstractmethods__", "__parameters__", "__slots__"}
_OF_EVERY_CLASS |= {"__orig_bases__", "__match_args__", "__dataclass_fields__", "__dataclass_params__", "__slotnames__"}


class Walk(Protocol):
    """The methods of a walk through a value that the functions of this module, and of `modules`, call."""

    parts: dict[str, str]
    training: dict[str, str]
    modules: dict[str, types.ModuleType]
    attributes: set[str]
    quick: bool
    exact: Collection[str]

    def visit(self, thing: Any, path: str) -> None:
        """Add the parts of the value at a place."""
        ...

    def add(self, path: str, text: str) -> None:
        """Add one part and its text."""
        ...

    def add_file(self, text: str, path: str) -> None:
        """Add the file that a text names, if there is one."""
        ...

    def add_state(self, state: Any, path: str) -> None:
        """Add the attributes of an object, by name."""
        ...

    def apart(self, thing: Any, path: str) -> str:
        """Return one text for a whole element, without adding its parts to those of the walk."""
        ...

    def label(self, name: str, owner: Any) -> str:
        """Return a name for the places in an object; no other object gets the same name."""
        ...


def add_function(walk: Walk, function: types.FunctionType, path: str) -> None:
    """Add a function: its code, defaults, closure and attributes, and the global variables that it reads."""
    # The module's name is read from the globals, since functools.wraps copies `__module__`.
    origin = origin_of(function.__globals__.get("__name__"))
    code = function.__code__
    text = digest(text_of_code(code))
    if origin is not None:
        # Inner functions, lambdas and wrapped functions share a name with others, so their code is compared too.
        shared = "<" in function.__qualname__ or function.__qualname__ != code.co_qualname
        text = f"{title_of(origin, function)} {text}" if shared else title_of(origin, function)
    walk.add(part_of(path, "code"), text)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        _add_cell(walk, cell, part_of(path, f"closure variable `{name}`"))
    defaults = function.__defaults__ or ()
    named = zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
    for name, value in (*named, *(function.__kwdefaults__ or {}).items()):
        walk.visit(value, part_of(path, f"default of `{name}`"))
    for name, value in vars(function).items():
        if name != "__wrapped__":
            walk.visit(value, part_of(path, f"attribute `{name}`"))
    if origin is None:
        _add_globals(walk, function, path)


def _add_cell(walk: Walk, cell: types.CellType, path: str) -> None:
    try:
        value = cell.cell_contents
    except ValueError:
        walk.add(path, "empty")
    else:
        walk.visit(value, path)


def _add_globals(walk: Walk, function: types.FunctionType, path: str) -> None:
    """Add the global variables that the code of a function reads, and the modules and files that it names."""
    names, space = names_of(function.__code__), function.__globals__
    walk.attributes |= names.attributes
    module = walk.label(qualified(space.get("__name__"), ""), space)
    for name in names.read:
        place = f"global `{module}{name}`"
        if place in walk.parts:
            continue
        if name in space:
            walk.visit(space[name], place)
        elif not hasattr(builtins, name):
            walk.add(place, "absent")
    for one in names.imports:
        _add_import(walk, one, str(space.get("__package__") or ""))
    for text in names.texts:
        walk.add_file(text, path)


def _add_import(walk: Walk, one: Import, package: str) -> None:
    """Add the modules that a function imports when it runs, and those that they import; none need be imported yet."""
    try:
        name = importlib.util.resolve_name("." * one.level + one.name, package) if one.level else one.name
    except ImportError:
        return
    for full in (name, *(f"{name}.{part}" for part in one.parts if part != "*")):
        place, origin = f"import `{full}`", origin_of(full)
        if place in walk.parts:
            continue
        if origin is not None:
            walk.add(place, f"module {origin}")
            return
        if full in sys.modules:
            walk.modules[full] = sys.modules[full]
        source = _source_of(full)
        if source is None:
            if full == name:
                walk.add(place, "absent")
            continue
        walk.add(place, content_of_file(source))
        inside = full if os.path.basename(source) == "__init__.py" else full.rpartition(".")[0]
        for deeper in _imports_of(source, state_of_file(source)):
            _add_import(walk, deeper, inside)


def _source_of(name: str) -> str | None:
    """Return the source file of a module without importing it; None where it has no Python source."""
    path: Any = None
    source = ""
    for end in range(1, name.count(".") + 2):
        spec = PathFinder.find_spec(".".join(name.split(".")[:end]), path)
        if spec is None:
            return None
        path, source = spec.submodule_search_locations or [], spec.origin or ""
    return source if source.endswith(".py") and os.path.isfile(source) else None


@cache
def _imports_of(source: str, state: str) -> tuple[Import, ...]:
    """Return the imports in a source file; the file's state is part of the cache's key."""
    try:
        with open(source, "rb") as file:
            return names_of(compile(file.read(), source, "exec")).imports
    except (SyntaxError, ValueError, OSError):
        return ()


def add_module(walk: Walk, module: types.ModuleType, path: str) -> None:
    """Add a module: an installed one by its version; for others `add_variables` adds the variables that are used."""
    origin = origin_of(module.__name__)
    walk.add(path, f"module {module.__name__ if origin is None else origin}")
    if origin is None:
        walk.modules[module.__name__] = module


def add_variables(walk: Walk) -> None:
    """Add the variables of the user's modules that any visited code may read as attributes, by their names."""
    seen: set[tuple[str, str]] = set()
    while True:
        used = {(module, name) for module, one in walk.modules.items() for name in _used(one, walk.attributes)} - seen
        if not used:
            return
        seen |= used
        for module, name in sorted(used):
            space = vars(walk.modules[module])
            place = f"global `{walk.label(qualified(module, ''), space)}{name}`"
            if place not in walk.parts and name in space:
                walk.visit(space[name], place)


def _used(module: types.ModuleType, attributes: set[str]) -> set[str]:
    # A module's function `__getattr__` makes attributes that are not there.
    return (attributes & vars(module).keys()) | ({"__getattr__"} & vars(module).keys())


def add_class(walk: Walk, cls: type, path: str) -> None:
    """Add a class of the user's: its bases, methods and attributes, and its metaclass."""
    place = f"class `{walk.label(name_of_class(cls), cls)}`"
    walk.add(path, place.removeprefix("class ").strip("`"))
    if origin_of_class(type(cls)) is None:
        walk.visit(type(cls), part_of(place, "class"))
    for number, base in enumerate(cls.__bases__):
        walk.visit(base, part_of(place, f"base {number}"))
    for name, value in vars(cls).items():
        if name not in _OF_EVERY_CLASS:
            walk.visit(value, part_of(place, f"attribute `{name}`"))


def add_builtin(walk: Walk, function: Any, path: str) -> None:
    """Add a function that is written in C; for a method, also the object that it belongs to."""
    owner = getattr(function, "__self__", None)
    title = getattr(function, "__qualname__", function.__name__)
    kind = getattr(function, "__objclass__", function)
    walk.add(part_of(path, "code"), f"{origin_of(getattr(kind, '__module__', None) or 'builtins')}: {title}")
    if owner is not None and not isinstance(owner, types.ModuleType):
        walk.visit(owner, path)


def title_of(origin: str, thing: Any) -> str:
    """Return the full name of installed code with its origin; for mcgen's own code, without the module."""
    return f"{origin}.{thing.__qualname__}" if origin == OWN else f"{origin}: {thing.__module__}.{thing.__qualname__}"

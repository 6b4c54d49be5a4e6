"""Functions, classes and modules as parts of a value.

Installed code is known by the name and version of its distribution. The user's own is looked into: what it says, and
the global variables that it reads.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
import types
from collections.abc import Iterable
from typing import Any, Protocol

from mcgen.fingerprints.bytecode import names_of, text_of_code
from mcgen.fingerprints.files import content_of_file
from mcgen.fingerprints.origins import OWN, origin_of
from mcgen.fingerprints.places import digest, global_place, name_of_class, part_of

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

# What Python itself adds to a class: names, documentation, and the registries of abstract and data classes.
_OF_EVERY_CLASS = {"__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "_abc_impl"}
_OF_EVERY_CLASS |= {"__firstlineno__", "__static_attributes__", "__abstractmethods__", "__parameters__", "__slots__"}
_OF_EVERY_CLASS |= {"__orig_bases__", "__match_args__", "__dataclass_fields__", "__dataclass_params__", "__slotnames__"}


class Walk(Protocol):
    """What a walk through a value offers to those that add parts of one kind."""

    parts: dict[str, str]

    def visit(self, thing: Any, path: str) -> None:
        """Add the parts of a value that is found at a place."""
        ...

    def add(self, path: str, text: str) -> None:
        """Add one part."""
        ...

    def add_file(self, text: str, path: str) -> None:
        """Add the file that a text names, if it names one."""
        ...


def add_function(walk: Walk, function: types.FunctionType, path: str) -> None:
    """Add a function: its code, defaults, closure and attributes, and the global variables that it reads."""
    # Its globals, since functools.wraps copies the module's name.
    origin = origin_of(function.__globals__.get("__name__"))
    code, names = function.__code__, names_of(function.__code__)
    text = digest(text_of_code(code, function.__doc__))
    if origin is not None:
        # Several functions that are made inside others, or have no name, share one.
        text = f"{title_of(origin, function)} {text}" if "<" in function.__qualname__ else title_of(origin, function)
    walk.add(part_of(path, "code"), text)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        # A counter that the function keeps is no part of what it is.
        if name not in names.written:
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
    names, module = names_of(function.__code__), function.__globals__
    for name in names.read:
        place = global_place(module.get("__name__"), name)
        if name in names.written or place in walk.parts:
            continue
        if name not in module:
            if not hasattr(builtins, name):
                walk.add(place, "absent")
        elif isinstance(module[name], types.ModuleType):
            add_module(walk, module[name], place, names.attributes)
        else:
            walk.visit(module[name], place)
    for name in names.modules:
        _add_import(walk, name, part_of(path, f"import `{name}`"), names.attributes)
    for text in names.texts:
        walk.add_file(text, path)


def _add_import(walk: Walk, name: str, path: str, used: Iterable[str]) -> None:
    """Add a module that a function imports when it runs, which may not have happened yet."""
    origin = origin_of(name)
    if origin is not None:
        walk.add(path, f"module {origin}")
        return
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    source = "" if spec is None else spec.origin or ""
    walk.add(path, content_of_file(source) if os.path.isfile(source) else "absent")
    if name in sys.modules:
        add_module(walk, sys.modules[name], path, used)


def add_module(walk: Walk, module: types.ModuleType, path: str, used: Iterable[str] | None) -> None:
    """Add a module: an installed one by its version, another by those of its variables that are used."""
    origin = origin_of(module.__name__)
    if origin is not None:
        walk.add(path, f"module {origin}")
        return
    walk.parts.setdefault(path, f"module {module.__name__}")
    for name in sorted(vars(module) if used is None else set(used) & vars(module).keys()):
        value, place = vars(module)[name], global_place(module.__name__, name)
        if place in walk.parts or name.startswith("__"):
            continue
        if isinstance(value, types.ModuleType):
            add_module(walk, value, place, used)
        else:
            walk.visit(value, place)


def add_class(walk: Walk, cls: type, path: str) -> None:
    """Add a class of the user's own: its bases, methods and attributes."""
    walk.add(path, name_of_class(cls))
    place = f"class `{name_of_class(cls)}`"
    for number, base in enumerate(cls.__bases__):
        walk.visit(base, part_of(place, f"base {number}"))
    for name, value in vars(cls).items():
        if name not in _OF_EVERY_CLASS:
            walk.visit(value, part_of(place, f"attribute `{name}`"))


def add_builtin(walk: Walk, function: Any, path: str) -> None:
    """Add a function that is written in C, or a method of one with the object that it belongs to."""
    owner = getattr(function, "__self__", None)
    title = getattr(function, "__qualname__", function.__name__)
    kind = getattr(function, "__objclass__", function)
    walk.add(part_of(path, "code"), f"{origin_of(getattr(kind, '__module__', None) or 'builtins')}: {title}")
    if owner is not None and not isinstance(owner, types.ModuleType):
        walk.visit(owner, path)


def title_of(origin: str, thing: Any) -> str:
    """Return the name of installed code. That of mcgen's own does not say where in the package it lies."""
    return f"{origin}.{thing.__qualname__}" if origin == OWN else f"{origin}: {thing.__module__}.{thing.__qualname__}"

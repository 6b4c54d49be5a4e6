"""Walk through a value, which lists its parts with a text for each."""

from __future__ import annotations

import copyreg
import enum
import functools
import os
import sys
import types
import weakref
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from mcgen._lib.fingerprints.arrays import content_of_array, is_array
from mcgen._lib.fingerprints.code import (
    BUILTIN,
    SCALARS,
    add_builtin,
    add_class,
    add_function,
    add_module,
    add_variables,
    title_of,
)
from mcgen._lib.fingerprints.files import content_of_file, files_of, state_of_file
from mcgen._lib.fingerprints.modules import add_scripted, add_torch_module, is_torch_module
from mcgen._lib.fingerprints.origins import origin_of, origin_of_class
from mcgen._lib.fingerprints.places import INEXACT, SAME, digest, file_place, inside, name_of_class, part_of, shortened

# Longest list of numbers and texts with a part for each element. A longer one has parts of 32, 32, 64, 128, ...
# elements, so that only the last parts change when it grows.
_LONGEST_LIST = 32
# Longest list of other objects with a part for each element; longer ones are divided in the same way.
_MOST_ELEMENTS = 1000
# Most objects, and most numbers and texts, of a container that a quick look visits. Running a model seldom changes
# larger containers, and a quick look must be fast.
_MOST_LOOKED_AT, _MOST_PLAIN_LOOKED_AT = 1000, 100_000
# Deepest nesting that is visited: far deeper than models, and far from Python's limit of recursion.
_DEEPEST = 100
FINGERPRINT = "fingerprint"
"""Name of the attribute whose text identifies an object, and place of this part."""
# Number of classes in the cache of `_has_fingerprint`; programs use fewer.
_CLASSES = 1024
# Longest text, in characters, that may be the path of a file.
_LONGEST_PATH = 1000
# Packages whose objects never change a result: progress bars, loggers and locks.
_NO_PART_OF_A_RESULT = ("tqdm", "logging", "threading", "_thread")
_CACHES = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
# Item in which configurations of diffusers list the names of their default values. It is left out, because its order is
# that of a set, which differs from process to process.
_OF_A_SET = "_use_default_values"


@dataclass(frozen=True)
class Content:
    """The content of a value: its parts, and the parts that could not be found out.

    Attributes
    ----------
    parts : dict
        For the place of each part, such as "closure variable `scale`", a short text that changes with the part.
    unknown : dict
        For the place of each part whose content can't be found out, its type.
    """

    parts: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are the same for equal parts."""
        return digest(repr(sorted(self.parts.items())))


def content_of(
    thing: Any,
    place: str = "",
    *,
    quick: bool = False,
    known: Mapping[str, Any] | None = None,
    folders: bool = False,
    load: bool = True,
    exact: Collection[str] = (),
) -> Content:
    """Return the content of a value: the same in every process of one version of Python.

    Parameters
    ----------
    thing : object
        Generator, statistic, or any other value.
    place : str
        Start of the places of its parts.
    quick : bool
        Compare large arrays by their address, and files by size and time; for comparisons within one process.
    known : mapping of str to object, optional
        Objects that are listed by these names, without their parts.
    folders : bool
        Whether texts and paths that name a folder stand for all the files in it.
    load : bool
        Whether a factory without declared noise loads its generator, to list that; otherwise its call is listed.
    exact : collection of str
        Places whose arrays are hashed even in a quick look.
    """
    walk = _Walk(quick, known or {}, folders, load, exact)
    walk.visit(thing, place)
    add_variables(walk)
    return Content(walk.parts, walk.unknown)


def networks_in_training(thing: Any) -> dict[str, str]:
    """Return the torch modules in training mode that behave differently there: their classes by their places.

    The search visits all parts of a value, including objects that have a fingerprint. Modules whose code does not read
    `training`, such as losses and linear layers, don't count. Objects that supply the draws of their networks, such as
    captured samplers, may have networks in training mode.
    """
    walk = _Walk(quick=True, known={}, folders=False, load=True, exact=())
    walk.knows_fingerprints = False
    walk.visit(thing, "")
    add_variables(walk)
    return walk.training


def fingerprint_of(thing: Any) -> str:
    """Return 16 digits that are the same for equal content, in every process of one version of Python.

    Examples
    --------
    >>> from mcgen._lib.fingerprints import fingerprint_of
    >>> fingerprint_of(lambda x: x + 1) == fingerprint_of(lambda x: x + 1)
    True
    >>> fingerprint_of(lambda x: x + 1) == fingerprint_of(lambda x: x + 2)
    False
    """
    return content_of(thing).fingerprint


class _Walk:
    """One walk through a value and everything that it contains."""

    def __init__(
        self, quick: bool, known: Mapping[str, Any], folders: bool, load: bool, exact: Collection[str]
    ) -> None:
        self.parts: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.training: dict[str, str] = {}
        self.knows_fingerprints = True
        self.modules: dict[str, types.ModuleType] = {}
        self.attributes: set[str] = set()
        self.quick, self._folders, self._load, self.exact = quick, folders, load, exact
        # Objects that share a name for their places, by the name; `label` numbers them.
        self._owners: dict[str, list[Any]] = {}
        # First place of each visited object, by its id. The objects are kept, so that no new object gets the same id.
        self._seen = {id(thing): name for name, thing in known.items()}
        self._kept: list[Any] = []
        self._depth = 0

    def visit(self, thing: Any, path: str) -> None:
        """Add the parts of the value at a place."""
        self._depth += 1
        try:
            self._visit(thing, path)
        except Exception:
            # Some objects raise errors when their state is read.
            self.unknown[path] = name_of_class(type(thing))
        finally:
            self._depth -= 1

    def _visit(self, thing: Any, path: str) -> None:
        if type(thing) in SCALARS:
            self.add(path, shortened(repr(thing)))
            if isinstance(thing, str):
                self.add_file(thing, path)
        elif _is_no_part(thing):
            if getattr(thing, "iterable", None) is not None:
                # A progress bar contains the iterable that it shows.
                self.visit(thing.iterable, inside(path, ".iterable"))
        elif is_array(thing):
            self._array(thing, path)
        elif isinstance(thing, type) and origin_of_class(thing) is not None:
            self.add(path, title_of(str(origin_of_class(thing)), thing))
        elif type(thing) is tuple and all(type(one) in SCALARS for one in thing) and not self._names_files(thing):
            self.add(path, shortened(repr(thing)))
        elif isinstance(thing, enum.Enum) and type(thing.value) in SCALARS:
            self.add(path, f"{thing.name}, {shortened(repr(thing.value))}")
            self.visit(type(thing), part_of(path, "class"))
        elif id(thing) in self._seen:
            self.add(path, f"{SAME}{self._seen[id(thing)] or 'the whole'}")
        elif self._depth > _DEEPEST:
            self.unknown[path] = f"{name_of_class(type(thing))}, nested deeper than {_DEEPEST}"
        else:
            self._seen[id(thing)] = path
            self._kept.append(thing)
            self._compound(thing, path)

    def label(self, name: str, owner: Any) -> str:
        """Return a name for the places in an object; no other object gets the same name."""
        owners = self._owners.setdefault(name, [])
        number = next((i for i, one in enumerate(owners) if one is owner), len(owners))
        if number == len(owners):
            owners.append(owner)
        return f"{name}({number + 1})" if number else name

    def add(self, path: str, text: str) -> None:
        """Add one part and its text."""
        self.parts[path or "value"] = text

    def _names_files(self, elements: Iterable[Any]) -> bool:
        return any(isinstance(one, str) and self._is_file(one) for one in elements)

    def add_file(self, text: str, path: str) -> None:
        """Add the file that a text names, if there is one."""
        if self._is_file(text):
            self._file(text, path)

    def _file(self, text: str, path: str) -> None:
        place = file_place(path, text)
        try:
            for name in files_of(text):
                place = file_place(path, name)
                self.add(place, state_of_file(name) if self.quick else content_of_file(name))
        except OSError as error:
            self.unknown[place] = f"file that can't be read ({error})"

    def _is_file(self, text: str) -> bool:
        if len(text) > _LONGEST_PATH or "\n" in text or "\0" in text:
            return False
        # A text without a suffix is seldom meant as the name of a file.
        meant = self._folders or bool(os.path.splitext(text)[1])
        return meant and (os.path.isfile(text) or (self._folders and os.path.isdir(text)))

    def _compound(self, thing: Any, path: str) -> None:
        """Add a value that has parts."""
        own = _given_fingerprint(thing) if self.knows_fingerprints else None
        if not self.knows_fingerprints and getattr(type(thing), "steers_its_networks", False):
            return
        if isinstance(thing, Content):
            self.parts |= {part_of(path, place): text for place, text in thing.parts.items()}
            self.unknown |= {part_of(path, place): text for place, text in thing.unknown.items()}
        elif own is not None:
            self.add(part_of(path, FINGERPRINT), repr(own))
        elif isinstance(thing, types.FunctionType):
            # torch.compile keeps the original function in this attribute.
            original = vars(thing).get("_torchdynamo_orig_callable")
            if original is None:
                add_function(self, thing, path)
            else:
                self.visit(original, path)
        elif isinstance(thing, type):
            add_class(self, thing, path)
        elif isinstance(thing, types.ModuleType):
            add_module(self, thing, path)
        elif type(thing) in (list, tuple):
            self._elements(thing, path)
        elif type(thing) in (dict, OrderedDict, types.MappingProxyType):
            self._items(thing, path)
        elif isinstance(thing, set | frozenset):
            if self.quick and len(thing) > _MOST_LOOKED_AT:
                self.add(path, f"{INEXACT}{type(thing).__name__} of {len(thing)}")
                return
            # Sorted, since the order of a set differs from process to process.
            parts = sorted(self.apart(one, path) for one in thing)
            self.add(path, f"{type(thing).__name__} of {len(thing)}, {digest(repr(parts))}")
            if type(thing) not in (set, frozenset):
                self.visit(type(thing), part_of(path, "class"))
                self.add_state(vars(thing), path)
        elif isinstance(thing, functools.partial):
            self._partial(thing, path)
        elif isinstance(thing, types.MethodType):
            self.visit(thing.__func__, part_of(path, "method"))
            self.visit(thing.__self__, path)
        elif isinstance(thing, BUILTIN):
            add_builtin(self, thing, path)
        else:
            self._object(thing, path)

    def _object(self, thing: Any, path: str) -> None:
        """Add an object: the object that it wraps, or its class and its state."""
        wrapped = _wrapped(thing)
        if wrapped is not None:
            self.visit(wrapped, path)
        elif isinstance(thing, enum.Enum):
            self.add(path, thing.name)
            self.visit(thing.value, inside(path, ".value"))
            self.visit(type(thing), part_of(path, "class"))
        elif isinstance(thing, PurePath):
            self.add(path, shortened(str(thing)))
            if os.path.isfile(thing) or (self._folders and os.path.isdir(thing)):
                self._file(str(thing), path)
        elif isinstance(thing, property):
            self.visit((thing.fget, thing.fset), path)
        elif isinstance(thing, staticmethod | classmethod | functools.cached_property):
            self.visit(thing.func if isinstance(thing, functools.cached_property) else thing.__func__, path)
        elif hasattr(type(thing), "__mcgen_content__"):
            # Classes of mcgen give their own content; a user's subclass may have more.
            if origin_of_class(type(thing)) is None:
                self.visit(type(thing), part_of(path, "class"))
            self.visit(thing.__mcgen_content__(self._load), path)
        elif type(thing).__module__.startswith("torch.jit") and hasattr(thing, "inlined_graph"):
            add_scripted(self, thing, path)
        elif is_torch_module(thing):
            add_torch_module(self, thing, path)
        else:
            self._instance(thing, path)

    def _elements(self, elements: list[Any] | tuple[Any, ...], path: str) -> None:
        self.add(path, f"{type(elements).__name__} of {len(elements)}")
        if self.quick and len(elements) > _MOST_PLAIN_LOOKED_AT:
            return
        plain = all(type(one) in SCALARS for one in elements)
        if self.quick and len(elements) > _MOST_LOOKED_AT and not plain:
            return
        plain = plain and (len(elements) > _MOST_ELEMENTS or not self._names_files(elements))
        if len(elements) <= (_LONGEST_LIST if plain else _MOST_ELEMENTS):
            for number, one in enumerate(elements):
                self.visit(one, inside(path, f"[{number}]"))
            return
        first, last = 0, _LONGEST_LIST
        while first < len(elements):
            some = elements[first:last]
            texts = some if plain else [self.apart(one, path) for one in some]
            self.add(inside(path, f"[{first}:{last}]"), digest(repr(texts)))
            first, last = last, 2 * last

    def _items(self, items: Mapping[Any, Any], path: str) -> None:
        kind = type(items).__name__
        if self.quick and len(items) > _MOST_LOOKED_AT:
            self.add(path, f"{INEXACT}{kind} of {len(items)}")
            return
        keys = [repr(key) if type(key) in SCALARS else self.apart(key, path) for key in items]
        # Different keys may have equal texts, which are numbered.
        counts: Counter[str] = Counter()
        for number, key in enumerate(keys):
            counts[key] += 1
            keys[number] = key if counts[key] == 1 else f"{key} {counts[key]}"
        self.add(path, f"{kind} of {shortened(', '.join(keys))}" if keys else f"empty {kind}")
        for key, value in zip(keys, items.values(), strict=True):
            self.visit(value, inside(path, f"[{key}]"))

    def _partial(self, call: functools.partial[Any], path: str) -> None:
        self.visit(call.func, part_of(path, "function of partial"))
        for name, value in (*enumerate(call.args), *call.keywords.items()):
            self.visit(value, part_of(path, f"partial argument `{name}`"))

    def _instance(self, thing: Any, path: str) -> None:
        """Add an instance by its class and its state, as `pickle` would save it."""
        kind = type(thing)
        if kind.__module__ == "itertools" or (isinstance(thing, np.ufunc) and not _is_public(thing)):
            # Iterators that newer versions of Python don't pickle, and ufuncs made from functions that can't be read.
            self.unknown[path] = name_of_class(kind)
            return
        by_table: Any = copyreg.dispatch_table.get(kind)
        # Some libraries add exceptions to the table when they are imported, so it is not used for exceptions.
        plain = by_table is None or isinstance(thing, BaseException)
        reduced = thing.__reduce_ex__(4) if plain else by_table(thing)
        if isinstance(reduced, str):
            self.add(path, f"{origin_of(getattr(thing, '__module__', kind.__module__))}: {reduced}")
            return
        make, arguments, state, elements, items = (*reduced, None, None, None)[:5]
        self.visit(kind, part_of(path, "class"))
        if make.__module__ != "copyreg":
            self.visit(make, part_of(path, "made by"))
        for number, value in enumerate(arguments):
            if value is not kind:
                self.visit(value, part_of(path, f"part {number}"))
        if isinstance(state, dict) and origin_of_class(kind) is not None:
            # What a class of a library computes when it is first asked for follows from the rest.
            cached = {name for name in state if isinstance(getattr(kind, name, None), functools.cached_property)}
            state = {name: value for name, value in state.items() if name not in cached}
        self.add_state(state, path)
        if elements is not None:
            self._elements(list(elements), part_of(path, "elements"))
        if items is not None:
            self._items({key: value for key, value in items if key != _OF_A_SET}, part_of(path, "items"))

    def add_state(self, state: Any, path: str) -> None:
        """Add the attributes of an object, by name."""
        # The state of a class with slots is a pair.
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if isinstance(part, dict):
                for name, value in part.items():
                    if name != _OF_A_SET:
                        self.visit(value, inside(path, f".{name}"))
            elif part is not None:
                self.visit(part, part_of(path, "state"))

    def _array(self, array: Any, path: str) -> None:
        self._kept.append(array)
        kind = type(array)
        if origin_of_class(kind) is None:
            # A user's subclass of an array may have more than its numbers.
            self.visit(kind, part_of(path, "class"))
        if kind is not np.ndarray and isinstance(array, np.ndarray):
            self.add(part_of(path, "type"), kind.__qualname__)
        own = {name: value for name, value in getattr(array, "__dict__", {}).items() if not name.startswith("_")}
        self.add_state(own, path)

        def content_of_elements(elements: list[Any]) -> str:
            return digest(repr([self.apart(one, path) for one in elements]))

        self.add(path, content_of_array(array, self.quick and path not in self.exact, content_of_elements))

    def apart(self, thing: Any, path: str) -> str:
        """Return one text for a whole element, without adding its parts, or the objects in it, to those of the walk."""
        outer, self.parts = self.parts, {}
        seen, owners = dict(self._seen), {name: list(one) for name, one in self._owners.items()}
        try:
            self.visit(thing, inside(path, "[...]"))
            return digest(repr(list(self.parts.items())))
        finally:
            self.parts, self._seen, self._owners = outer, seen, owners


def _is_no_part(thing: Any) -> bool:
    """Tell whether a value can't change a result: a progress bar, logger, lock, output stream, device or weak cache."""
    kind = type(thing)
    top = kind.__module__.partition(".")[0]
    if top in _NO_PART_OF_A_RESULT and kind.__name__ not in ("local", "_local"):
        return origin_of_class(kind) is not None
    if (top == "torch" and kind.__name__ == "device") or isinstance(thing, _CACHES):
        return True
    if any(thing is stream for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return True
    if top != "_io" or not hasattr(thing, "writable") or thing.closed:
        return False
    # A file that can be read may be part of the result.
    return bool(thing.writable() and not thing.readable())


def _given_fingerprint(thing: Any) -> str | None:
    """Return the fingerprint of an object, if it has one."""
    kind: Any = type(thing)
    own = FINGERPRINT in getattr(thing, "__dict__", ())
    if isinstance(thing, type | types.ModuleType) or not (own or _has_fingerprint(kind)):
        return None
    found = getattr(thing, FINGERPRINT, None)
    if own and found is getattr(getattr(thing, "__wrapped__", None), FINGERPRINT, None):
        # functools.wraps has copied the attribute from the inner function.
        return None
    return found if isinstance(found, str) else None


@functools.lru_cache(_CLASSES)
def _has_fingerprint(cls: Any) -> bool:
    return any(FINGERPRINT in vars(base) for base in cls.__mro__)


def _wrapped(thing: Any) -> Any:
    """Return the function or module inside a compiled or cached one or a weak reference; None for other values."""
    if isinstance(thing, weakref.ref):
        return thing()
    if not callable(thing) or origin_of_class(type(thing)) is None:
        return None
    parts = getattr(thing, "__dict__", {})
    if "_modules" in parts:
        return dict(parts["_modules"].items()).get("_orig_mod")
    found = parts.get("py_func") or (hasattr(type(thing), "__get__") and getattr(thing, "__wrapped__", None))
    return found if isinstance(found, types.FunctionType | types.MethodType) else None


def _is_public(function: np.ufunc) -> bool:
    modules: Iterable[Any] = (np, sys.modules.get("scipy.special"))
    return any(getattr(module, function.__name__, None) is function for module in modules)

"""What functions and values are, as short texts: by these a store knows a statistic, controls or a model again.

Known by their content are numbers, texts, arrays of any library, tuples, functions (their code, defaults, and what they
close over), partial calls and dataclasses, with all of these inside them. Anything else is known by its type, or by the
``fingerprint`` that it gives.
"""

from __future__ import annotations

import dataclasses
import dis
import hashlib
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from mcgen.arrays import as_numpy

_DEEPEST = 20


def fingerprint_of(thing: Any) -> str:
    """Return 16 digits that are the same for equal content, in every process of one version of Python.

    Examples
    --------
    >>> from mcgen.fingerprints import fingerprint_of
    >>> fingerprint_of(lambda x: x + 1) == fingerprint_of(lambda x: x + 1)
    True
    >>> fingerprint_of(lambda x: x + 1) == fingerprint_of(lambda x: x + 2)
    False
    """
    return hashlib.sha256(repr(_content(thing, 0)).encode()).hexdigest()[:16]


def _content(thing: Any, depth: int) -> Any:
    """Return what is known of a thing, made of texts and tuples."""
    if depth > _DEEPEST:
        return "..."
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes | range):
        return type(thing).__name__, repr(thing)
    if isinstance(thing, tuple | frozenset):
        parts = [_content(part, depth + 1) for part in thing]
        return type(thing).__name__, sorted(parts, key=repr) if isinstance(thing, frozenset) else parts
    if isinstance(thing, CodeType):
        return _code(thing, depth)
    if isinstance(thing, partial):
        return "partial", [
            _content(part, depth + 1) for part in (thing.func, thing.args, *sorted(thing.keywords.items()))
        ]
    if isinstance(thing, FunctionType):
        return _function(thing, depth)
    if isinstance(thing, MethodType):
        return _content(thing.__func__, depth + 1), _content(thing.__self__, depth + 1)
    if isinstance(thing, BuiltinFunctionType | np.ufunc | type):
        return f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', thing.__name__)}"
    return _object(thing, depth)


def _object(thing: Any, depth: int) -> Any:
    name = f"{type(thing).__module__}.{type(thing).__qualname__}"
    own = getattr(thing, "fingerprint", None)
    if isinstance(own, str):
        return name, own
    if dataclasses.is_dataclass(thing):
        values = [(field.name, getattr(thing, field.name, None)) for field in dataclasses.fields(thing)]
        return name, [(field, _content(value, depth + 1)) for field, value in values]
    if hasattr(thing, "dtype") and hasattr(thing, "shape"):
        array = np.ascontiguousarray(as_numpy(thing))
        return f"{array.dtype} {array.shape}", hashlib.sha256(array.tobytes()).hexdigest()
    return name


def _function(function: FunctionType, depth: int) -> Any:
    code, cells = function.__code__, function.__closure__ or ()
    # A counter that the function keeps is no part of what it is.
    written = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_DEREF"}
    closed = []
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            closed.append((name, None if name in written else _content(cell.cell_contents, depth + 1)))
        except ValueError:
            closed.append((name, "empty"))
    return _code(code, depth), _content(function.__defaults__, depth + 1), closed


def _code(code: CodeType, depth: int) -> Any:
    constants = [_content(one, depth + 1) for one in code.co_consts]
    return code.co_code.hex(), constants, code.co_names, code.co_varnames

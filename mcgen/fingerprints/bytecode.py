"""What the code of a function reads and writes, seen in its bytecode, and its content as a text."""

from __future__ import annotations

import dis
from functools import cache
from types import CodeType
from typing import Any, NamedTuple


class Names(NamedTuple):
    """Names that some code uses.

    Attributes
    ----------
    read : tuple of str
        Global variables that it reads, sorted.
    attributes : frozenset of str
        Attributes that it reads of anything.
    modules : tuple of str
        Modules that it imports, sorted.
    written : frozenset of str
        Global variables and variables of an enclosing function that it sets.
    texts : tuple of str
        Its constants that are texts.
    """

    read: tuple[str, ...]
    attributes: frozenset[str]
    modules: tuple[str, ...]
    written: frozenset[str]
    texts: tuple[str, ...]


@cache
def names_of(code: CodeType) -> Names:
    """Return the names that some code, and the functions defined in it, use.

    Examples
    --------
    >>> from mcgen.fingerprints.bytecode import names_of
    >>> names = names_of((lambda z: scale * np.exp(z)).__code__)
    >>> names.read, sorted(names.attributes)
    (('np', 'scale'), ['exp'])
    """
    read, attributes, modules, written, texts = set(), set(), set(), set(), []
    for inner in _all_codes(code):
        texts += [one for one in inner.co_consts if isinstance(one, str)]
        for instruction in dis.get_instructions(inner):
            name, operation = instruction.argval, instruction.opname
            if operation in ("LOAD_GLOBAL", "LOAD_NAME"):
                read.add(name)
            elif operation.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM")):
                attributes.add(name)
            elif operation == "IMPORT_NAME":
                modules.add(name)
            elif operation in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"):
                written.add(name)
    return Names(tuple(sorted(read)), frozenset(attributes), tuple(sorted(modules)), frozenset(written), tuple(texts))


def text_of_code(code: CodeType, documentation: str | None) -> str:
    """Return all that decides what some code does: no line numbers, file names or documentation."""
    constants = [one for one in code.co_consts if documentation is None or one != documentation]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return repr((code.co_code.hex(), list(map(_constant, constants)), names, counts))


def _all_codes(code: CodeType) -> list[CodeType]:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return [code, *(deeper for one in inner for deeper in _all_codes(one))]


def _constant(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return text_of_code(constant, None)
    if isinstance(constant, tuple):
        return f"({', '.join(map(_constant, constant))})"
    if isinstance(constant, frozenset):
        # The order of its elements differs from process to process.
        return f"{{{', '.join(sorted(map(_constant, constant)))}}}"
    return f"{type(constant).__name__} {constant!r}"

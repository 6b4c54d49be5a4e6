"""Names that a function reads and imports, found in its bytecode, and a text of the bytecode."""

from __future__ import annotations

import dis
from functools import cache
from types import CodeType
from typing import Any, NamedTuple


class Import(NamedTuple):
    """An import statement; ``from ..name import parts`` has level 2.

    Attributes
    ----------
    name : str
        Name of the module as written.
    level : int
        Number of dots before the name.
    parts : tuple of str
        Names that are imported from the module.
    """

    name: str
    level: int
    parts: tuple[str, ...]


class Names(NamedTuple):
    """Names that a piece of code uses.

    Attributes
    ----------
    read : tuple of str
        Global variables that the code reads, sorted.
    attributes : frozenset of str
        Attributes that the code reads, of any object.
    imports : tuple of Import
        Imports that happen when the code runs.
    texts : tuple of str
        Constants that are texts.
    """

    read: tuple[str, ...]
    attributes: frozenset[str]
    imports: tuple[Import, ...]
    texts: tuple[str, ...]


@cache
def names_of(code: CodeType) -> Names:
    """Return the names that a piece of code uses, including those in functions that it defines.

    Examples
    --------
    >>> from mcgen._lib.fingerprints.bytecode import names_of
    >>> names = names_of((lambda z: scale * np.exp(z)).__code__)
    >>> names.read, sorted(names.attributes)
    (('np', 'scale'), ['exp'])
    """
    read: set[str] = set()
    attributes: set[str] = set()
    imports: list[Import] = []
    texts: list[str] = []
    for inner in _all_codes(code):
        texts += [one for one in inner.co_consts if isinstance(one, str)]
        constants: list[Any] = [0, None]
        for instruction in dis.get_instructions(inner):
            name, operation = instruction.argval, instruction.opname
            if operation in ("LOAD_GLOBAL", "LOAD_NAME"):
                read.add(name)
            elif operation.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM")):
                attributes.add(name)
            elif operation == "IMPORT_NAME":
                # The two constants loaded before are the level and the imported names.
                imports.append(Import(name, constants[-2], tuple(constants[-1] or ())))
            elif operation in ("LOAD_CONST", "LOAD_SMALL_INT"):
                constants.append(name)
    return Names(tuple(sorted(read)), frozenset(attributes), tuple(imports), tuple(texts))


@cache
def text_of_code(code: CodeType) -> str:
    """Return a text of everything that decides what the code does, without line numbers, file names or docstrings."""
    steps = [f"{one.opname} {_argument(one)}" for one in dis.get_instructions(code)]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], code.co_freevars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return repr((steps, names, counts, code.co_exceptiontable.hex()))


def _argument(instruction: dis.Instruction) -> str:
    """Return the argument of an instruction; for constants their value, since a docstring shifts their numbers."""
    if instruction.opcode in dis.hasconst:
        return _constant(instruction.argval)
    return repr(instruction.argval)


def _all_codes(code: CodeType) -> list[CodeType]:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return [code, *(deeper for one in inner for deeper in _all_codes(one))]


def _constant(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return text_of_code(constant)
    if isinstance(constant, tuple):
        return f"({', '.join(map(_constant, constant))})"
    if isinstance(constant, frozenset):
        # Sorted, since the order of a set differs from process to process.
        return f"{{{', '.join(sorted(map(_constant, constant)))}}}"
    return f"{type(constant).__name__} {constant!r}"

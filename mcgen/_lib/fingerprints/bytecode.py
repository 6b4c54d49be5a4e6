"""What the code of a function reads and imports, seen in its bytecode, and its content as a text."""

from __future__ import annotations

import dis
from functools import cache
from types import CodeType
from typing import Any, NamedTuple


class Import(NamedTuple):
    """An import in some code: ``from ..name import parts`` has level 2.

    Attributes
    ----------
    name : str
        The module's name as it is written.
    level : int
        The number of dots before it.
    parts : tuple of str
        What is imported from it.
    """

    name: str
    level: int
    parts: tuple[str, ...]


class Names(NamedTuple):
    """Names that some code uses.

    Attributes
    ----------
    read : tuple of str
        Global variables that it reads, sorted.
    attributes : frozenset of str
        Attributes that it reads of anything.
    imports : tuple of Import
        Modules that it imports when it runs.
    texts : tuple of str
        Its constants that are texts.
    """

    read: tuple[str, ...]
    attributes: frozenset[str]
    imports: tuple[Import, ...]
    texts: tuple[str, ...]


@cache
def names_of(code: CodeType) -> Names:
    """Return the names that some code, and the functions defined in it, use.

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
                # The level and the names to import are loaded before.
                imports.append(Import(name, constants[-2], tuple(constants[-1] or ())))
            elif operation in ("LOAD_CONST", "LOAD_SMALL_INT"):
                constants.append(name)
    return Names(tuple(sorted(read)), frozenset(attributes), tuple(imports), tuple(texts))


@cache
def text_of_code(code: CodeType) -> str:
    """Return all that decides what some code does: no line numbers, file names or documentation."""
    steps = [f"{one.opname} {_argument(one)}" for one in dis.get_instructions(code)]
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], code.co_freevars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return repr((steps, names, counts, code.co_exceptiontable.hex()))


def _argument(instruction: dis.Instruction) -> str:
    """Return what an instruction acts on; constants by their value, since documentation moves their numbers."""
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
        # The order of its elements differs from process to process.
        return f"{{{', '.join(sorted(map(_constant, constant)))}}}"
    return f"{type(constant).__name__} {constant!r}"

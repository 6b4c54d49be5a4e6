"""Keys of conditions: texts that are equal for equal content, in every process.

The key is part of the path of the condition's random numbers, and a store finds the condition's replicates by it. It
contains no memory address and does not depend on the order of a set. Otherwise the same seed and condition would give
other random numbers in another process.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy, plain, without_padding

# Deepest nesting that gets a key; a list that contains itself would have no end.
_DEEPEST = 20
_NUMBERS_AND_TEXTS = (bool, int, float, complex, str, bytes)
# Further types whose repr is the same in every process.
_WITH_STABLE_TEXT = (bytearray, range, Decimal, Fraction, UUID, timedelta)


def key_of_condition(condition: Any) -> str | None:
    """Return the key of a condition; None where its content can't be compared between processes.

    There are keys for numbers, texts, dates, paths, enumerations, arrays of any library, and for tuples, lists,
    dictionaries, sets and dataclasses of these. A condition with any other part has no key.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen._lib.condition_keys import key_of_condition
    >>> key_of_condition((1, "fog")), key_of_condition({"b": 2, "a": [1.5]}), key_of_condition(object())
    ("(1, 'fog')", "{'a': [1.5], 'b': 2}", None)
    >>> texts = np.array(["a", "a dog"], dtype=object)
    >>> key_of_condition(texts) == key_of_condition(np.array(["a", "a " + "dog"], dtype=object))
    True
    """
    return _content(condition, 0)


def _content(thing: Any, depth: int) -> str | None:
    """Return the key of a part of the condition; depth is the number of containers around it."""
    if depth > _DEEPEST:
        return None
    if isinstance(thing, np.generic):
        thing = thing.item()
    if thing is None or isinstance(thing, _NUMBERS_AND_TEXTS):
        return _stable_text(thing)
    if isinstance(thing, Enum):
        return _joined(f"{type(thing).__qualname__}.{thing.name} {{}}", [_content(thing.value, depth + 1)])
    if isinstance(thing, PurePath):
        return f"Path({thing.as_posix()!r})"
    if isinstance(thing, date | time | datetime):
        return _of_date(thing)
    if isinstance(thing, _WITH_STABLE_TEXT):
        return repr(thing)
    if isinstance(thing, tuple):
        return _joined("({})", (_content(part, depth + 1) for part in thing))
    if isinstance(thing, list):
        return _joined("[{}]", (_content(part, depth + 1) for part in thing))
    if isinstance(thing, set | frozenset):
        name = "set" if isinstance(thing, set) else "frozenset"
        return _joined(name + "({{{}}})", (_content(part, depth + 1) for part in thing), in_order=False)
    if isinstance(thing, dict):
        return _of_dict(thing, depth)
    if type(thing).__module__.startswith("pandas.") and hasattr(thing, "index") and hasattr(thing, "array"):
        values = _of_array(thing, depth)
        return _joined("Series({})", (_content([*thing.index], depth + 1), values))
    if hasattr(thing, "dtype") and hasattr(thing, "shape"):
        return _of_array(thing, depth)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return _of_dataclass(thing, depth)
    return _missing(thing)


def _stable_text(thing: Any) -> str:
    """Return the repr of a number or a text; that of its base type where a subclass shows its address."""
    text = repr(thing)
    if f"{id(thing):x}" not in text.lower():
        return text
    base = next(one for one in _NUMBERS_AND_TEXTS if isinstance(thing, one))
    return f"{type(thing).__qualname__} {base.__repr__(thing)}"


def _of_date(thing: date | time | datetime) -> str:
    # The ISO form has the offset of the time zone. The repr of a zone's class may show an address.
    return f"{type(thing).__name__} {thing.isoformat()} {getattr(thing, 'fold', 0)}"


def _of_dict(thing: dict[Any, Any], depth: int) -> str | None:
    items: list[str | None] = []
    for name, value in thing.items():
        key, content = _content(name, depth + 1), _content(value, depth + 1)
        items.append(None if key is None or content is None else f"{key}: {content}")
    return _joined("{{{}}}", items, in_order=False)


def _of_dataclass(thing: Any, depth: int) -> str | None:
    fields = [field.name for field in dataclasses.fields(thing)]
    # A dataclass without equality is equal by identity alone; one with other attributes has more than its fields.
    own = vars(type(thing)).get("__dataclass_params__")
    if own is None or not own.eq or not set(getattr(thing, "__dict__", ())) <= set(fields):
        return None
    parts = [_content(getattr(thing, name, None), depth + 1) for name in fields]
    return _joined(type(thing).__qualname__ + "({})", parts)


def _missing(thing: Any) -> str | None:
    """Return the key of pandas' missing value, NA; None for other values."""
    of_pandas = type(thing).__module__.startswith("pandas.") and type(thing).__name__ == "NAType"
    return "NA" if of_pandas else None


def _joined(form: str, parts: Iterable[str | None], in_order: bool = True) -> str | None:
    """Return the joined parts inside the form; None if a part has no key."""
    found = [*parts]
    known = [part for part in found if part is not None]
    if len(known) < len(found):
        return None
    return form.format(", ".join(known if in_order else sorted(known)))


def _of_array(thing: Any, depth: int) -> str | None:
    """Return an array's type, shape and a hash of its bytes, or of its elements' keys for arrays of objects.

    The bytes of such arrays are addresses.
    """
    try:
        masked = isinstance(thing, np.ma.MaskedArray) and bool(np.ma.getmaskarray(thing).any())
        array = np.ma.getdata(thing) if masked else _values(thing)
    except Exception:
        # Arrays without values on the CPU, such as torch's meta tensors and JAX's random keys.
        return None
    label = f"{array.dtype} {array.shape}"
    if masked:
        mask = np.ma.getmaskarray(thing)
        if mask.dtype.names:
            return None
        # Masked numbers are no part of the content.
        array = np.where(mask, np.zeros((), array.dtype), array)
        label = f"masked {_hash(np.packbits(mask).tobytes())} {label}"
    if array.dtype.hasobject or array.dtype.kind == "T":
        elements = _joined("[{}]", (_content(one, depth + 1) for one in array.ravel().tolist()))
        return None if elements is None else f"{label} {_hash(elements.encode())}"
    return f"{label} {_hash(_value_bytes(array))}"


def _values(thing: Any) -> NDArray[Any]:
    """Return an array of any library as a numpy array; a quantized tensor counts by the numbers that it stands for."""
    thing = thing.dequantize() if getattr(thing, "is_quantized", False) else thing
    return np.ascontiguousarray(as_numpy(plain(thing)))


def _value_bytes(array: NDArray[Any]) -> bytes:
    """Return the bytes of an array's values, without padding bytes, whose content is random."""
    if array.dtype.names:
        fields: Any = array.dtype.fields
        if sum(fields[name][0].itemsize for name in array.dtype.names) < array.dtype.itemsize:
            return b"".join(_value_bytes(np.ascontiguousarray(array[name])) for name in array.dtype.names)
    return without_padding(array).tobytes()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

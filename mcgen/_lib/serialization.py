"""JSON files of results that keep every bit: floats as their shortest exact decimal, large arrays as their bytes."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import SeedSequence

SCHEMA = 2
"""Version of the file format; raised when the format changes."""
# Most numbers of an array that is written as a readable list; larger ones are written as base64.
_LARGEST_LIST = 256
# The types of arrays in files: little-endian double precision and 64-bit integers.
_DTYPES = ("<f8", "<i8")


def to_plain(value: Any) -> Any:
    """Return the value in types that JSON has; `from_plain` is the inverse.

    Arrays of more than 256 numbers, and those with infinities or NaN, become base64 of their little-endian bytes.

    Raises
    ------
    TypeError
        If the value has a type that `from_plain` could not restore.
    """
    if isinstance(value, np.ndarray):
        kind = {"f": "<f8", "i": "<i8"}[value.dtype.kind]
        if value.size <= _LARGEST_LIST and np.isfinite(value).all():
            return {"array": value.tolist(), "dtype": kind, "shape": [*value.shape]}
        data = base64.b64encode(np.ascontiguousarray(value, dtype=kind).tobytes()).decode()
        return {"base64": data, "dtype": kind, "shape": [*value.shape]}
    if isinstance(value, SeedSequence):
        entropy: Any = value.entropy
        if entropy is not None:
            entropy = int(entropy) if np.ndim(entropy) == 0 else [int(word) for word in entropy]
        return {"entropy": entropy, "spawn_key": [int(word) for word in value.spawn_key], "pool_size": value.pool_size}
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, float) and math.isinf(value):
        # JSON has no infinity.
        return {"infinity": 1 if value > 0 else -1}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} can't be written as JSON: {value!r}")


def from_plain(value: Any) -> Any:
    """Return the value that `to_plain` was given, with lists in place of tuples.

    Raises
    ------
    KeyError, TypeError, ValueError
        If an array or a seed is not as `to_plain` wrote it; texts in place of numbers are refused, not converted.
    """
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if ("array" in value or "base64" in value) and value["dtype"] not in _DTYPES:
        raise TypeError(f"the type of an array must be one of {', '.join(_DTYPES)}; got {value['dtype']!r}")
    if "array" in value:
        numbers = np.array(value["array"])
        if numbers.dtype.kind not in "iuf":
            raise TypeError(f"an array must hold numbers; got {value['array']!r}")
        return numbers.astype(value["dtype"]).reshape(value["shape"])
    if "base64" in value:
        data = np.frombuffer(base64.b64decode(value["base64"]), dtype=value["dtype"])
        return data.reshape(value["shape"]).copy()
    if set(value) == {"infinity"}:
        return math.inf if value["infinity"] > 0 else -math.inf
    if "entropy" in value:
        return SeedSequence(value["entropy"], spawn_key=tuple(value["spawn_key"]), pool_size=value["pool_size"])
    return {name: from_plain(item) for name, item in value.items()}


def require_no_store(path: str | Path) -> None:
    """Refuse to overwrite a store, whose results cannot be restored.

    Raises
    ------
    ValueError
        If the file is an SQLite database.
    """
    if Path(path).is_file():
        with Path(path).open("rb") as file:
            if file.read(16) == b"SQLite format 3\0":
                raise ValueError(
                    f"{path} is a store, or another SQLite database, and is not written over; give another path"
                )


def require_ending(path: str | Path, ending: str, instead: str) -> None:
    """Refuse to write a file whose name has the ending of another format.

    Parameters
    ----------
    path : str or Path
        The file. A name without an ending is allowed, and so is one such as ``run-0.95`` whose last part is a number.
    ending : str
        The ending of the format that is written, such as ``.json``.
    instead : str
        What to do for other formats.

    Raises
    ------
    ValueError
        If the name has another ending.
    """
    found = Path(path).suffix
    if found[1:2].isalpha() and found.lower() != ending:
        raise ValueError(f"the file must be named *{ending}, whose format is written; got {str(path)!r}. {instead}")


def write_json(kind: str, content: dict[str, Any], path: str | Path) -> None:
    """Write content as JSON, with its kind and the number of the schema."""
    require_no_store(path)
    require_ending(path, ".json", "For a table use result.to_frame().to_csv(...), for text to_markdown() or to_latex()")
    text = json.dumps({"mcgen": kind, "schema": SCHEMA, **to_plain(content)}, indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def kind_of(path: str | Path) -> Any:
    """Return the kind of what a file holds; None where mcgen did not write it.

    Raises
    ------
    ValueError
        If the file is no JSON.
    """
    return _content(path).get("mcgen")


def read_json(kind: str, path: str | Path) -> dict[str, Any]:
    """Return the content of a file that `write_json` wrote.

    Raises
    ------
    ValueError
        If the file is no JSON, has content of another kind, or was written with a newer schema.
    """
    content = _content(path)
    found = content.get("mcgen")
    if found != kind:
        raise ValueError(f"{path} holds {found or 'something mcgen did not save'}; an mcgen {kind} is needed")
    if not isinstance(content.get("schema"), int):
        raise ValueError(f"{path} has no schema number; it is incomplete or was changed by hand")
    if content["schema"] > SCHEMA:
        raise ValueError(
            f"{path} was saved with schema {content['schema']}, this version of mcgen reads up to {SCHEMA}; "
            "upgrade mcgen to read it"
        )
    try:
        plain: dict[str, Any] = from_plain({k: v for k, v in content.items() if k not in ("mcgen", "schema")})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is incomplete, or was changed by hand ({error!r}); save it again") from error
    return plain


def _content(path: str | Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where that is no object."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a file that mcgen saved: {error}") from error
    return content if isinstance(content, dict) else {}

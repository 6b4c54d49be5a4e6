"""Operations on samples of any library: numpy, torch, jax or a plain list.

Samples stay in the library that made them until a statistic has turned them into a few numbers. Only these numbers
become numpy arrays. No library but numpy is imported; the attributes of an object show what it is.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray


def as_numpy(array: Any) -> NDArray[Any]:
    """Return an array of any library as a numpy array, without gradient and on the CPU.

    Half-precision types that numpy lacks become float32.

    Raises
    ------
    TypeError
        If it is a torch tensor that has no plain numbers: sparse, quantized, nested, or on the meta device.
    """
    if isinstance(array, list) and array and hasattr(array[0], "detach"):
        array = [as_numpy(item) for item in array]
    if hasattr(array, "detach"):
        problem = unreadable_text(array)
        if problem is not None:
            raise TypeError(problem)
        array = _resolved(array.detach().cpu())
        if "bfloat16" in str(array.dtype):
            array = array.float()
    return np.asarray(array)


def unreadable_text(array: Any) -> str | None:
    """Return what an array is, and what to do, where its numbers can't be read as they stand; None where they can.

    These are masked arrays, whose mask numpy drops, and torch tensors that are sparse, quantized, nested, or on the
    meta device.
    """
    if isinstance(array, np.ma.MaskedArray) or type(array).__name__ == "MaskedTensor":
        return "a masked array, whose mask would be lost; fill it or average what is not masked"
    if isinstance(array, list | tuple):
        return next((text for text in map(unreadable_text, array) if text is not None), None)
    if not (hasattr(array, "detach") and hasattr(array, "layout")):
        return None
    if getattr(array, "is_nested", False):
        return "a nested tensor, whose parts differ in shape; pad it by .to_padded_tensor(0.0)"
    if "strided" not in str(array.layout):
        return f"a tensor of layout {array.layout}; make it dense by .to_dense()"
    if getattr(array, "is_quantized", False):
        return f"a quantized tensor ({array.dtype}); make it a tensor of floats by .dequantize()"
    if getattr(array, "is_meta", False):
        return "a tensor on the meta device, which has no numbers; load the model's weights onto a device first"
    return None


def plain(array: Any) -> Any:
    """Return a torch tensor as numpy can read it: dense, with conjugates and negatives computed; others as they are."""
    if "strided" not in str(getattr(array, "layout", "strided")) and hasattr(array, "to_dense"):
        array = array.to_dense()
    return _resolved(array)


def _resolved(array: Any) -> Any:
    """Return a torch tensor with conjugates and negatives computed, which torch may have left for later."""
    for name in ("resolve_conj", "resolve_neg"):
        array = getattr(array, name)() if hasattr(array, name) else array
    return array


def without_padding(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of 80-bit numbers with zeros in the padding bytes, whose content is random; others unchanged."""
    if array.dtype.type not in (np.longdouble, np.clongdouble) or np.finfo(array.dtype).nmant != 63:
        return array
    octets = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, 16).copy()
    octets[:, 10:] = 0
    return octets.reshape(-1).view(array.dtype).reshape(array.shape)


def as_values(result: Any) -> NDArray[np.float64]:
    """Return the values of a statistic as float64.

    Raises
    ------
    TypeError
        If they are not real numbers, but complex, masked, text, dates or ragged.
    """
    return numbers_of(result).astype(np.float64)


def numbers_of(values: Any, kinds: str = "biuf") -> NDArray[Any]:
    """Return numbers of any library as a numpy array of their own type; those that numpy lacks become float32.

    Parameters
    ----------
    values : array_like
        The numbers.
    kinds : str
        Kinds of types that are allowed, by numpy's letters: b for booleans, i and u for integers, f and c.

    Raises
    ------
    TypeError
        If they are other things: texts and dates are refused, and never converted, and so are masked arrays.
    """
    problem = unreadable_text(values)
    if problem is not None:
        raise TypeError(problem)
    array = as_numpy(values)
    if array.dtype.name.startswith(("bfloat16", "float8")):
        # Types that JAX adds to numpy; to numpy they have the kind of raw bytes.
        array = array.astype(np.float32)
    if array.dtype.kind not in kinds:
        raise TypeError(f"values of type {array.dtype}, which are no {'' if 'c' in kinds else 'real '}numbers")
    return array


def single_if_exact(values: NDArray[np.float64]) -> NDArray[Any]:
    """Return values in single precision where this changes none of them, else themselves."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(single, values) else values


def holds_real_numbers(array: NDArray[Any]) -> bool:
    """Tell whether an array of Python objects holds real numbers alone."""
    return array.dtype.kind == "O" and all(isinstance(one, Real) for one in array.flat)


def rounding_of(array: Any) -> float:
    """Return the relative rounding error of an array's type; that of float64 where it is no floating-point array."""
    if isinstance(array, tuple):
        return max(map(rounding_of, array), default=0.0)
    text = str(getattr(array, "dtype", "float64")).rpartition(".")[2]
    return {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(text, 2.0**-52)


def tuple_like(example: tuple[Any, ...], parts: Iterable[Any]) -> tuple[Any, ...]:
    """Return the parts as a tuple; where `example` is a named tuple, they keep its names."""
    return type(example)(*parts) if hasattr(example, "_fields") else tuple(parts)


def take_rows(samples: Any, rows: slice) -> Any:
    """Return some rows of the samples; where samples are a tuple, the rows of each array."""
    if isinstance(samples, tuple):
        return tuple_like(samples, (take_rows(part, rows) for part in samples))
    return samples[rows]


def concatenated(parts: list[Any]) -> Any:
    """Return samples, or tuples of samples, one after the other along their leading axis, in their own library."""
    first = parts[0]
    if isinstance(first, tuple):
        return tuple_like(first, (concatenated([*column]) for column in zip(*parts, strict=True)))
    if isinstance(first, list):
        return [item for part in parts for item in part]
    library = type(first).__module__.partition(".")[0]
    if hasattr(first, "detach"):
        return sys.modules["torch"].cat(parts)
    if library in ("jax", "jaxlib"):
        return sys.modules["jax"].numpy.concatenate(parts)
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        # The function for plain arrays drops masks.
        return np.ma.concatenate(parts)  # type: ignore[no-untyped-call]
    return np.concatenate(parts)


def leading_length(samples: Any) -> int:
    """Return the length of the leading axis, which the arrays of a tuple must share.

    Raises
    ------
    TypeError
        If there is no leading axis, or the arrays of a tuple have different ones.
    """
    if isinstance(samples, dict | str):
        raise TypeError(f"a {type(samples).__name__} has none; return the array itself, or a tuple of arrays")
    if not isinstance(samples, tuple):
        return len(samples)
    lengths = {leading_length(part) for part in samples}
    if len(lengths) != 1:
        raise TypeError(f"a tuple of arrays with leading axes of different lengths {sorted(lengths)}")
    return lengths.pop()


def non_finite_rows(samples: Any, n_rows: int) -> NDArray[np.intp]:
    """Return which of the first `n_rows` rows have a NaN or an infinity; samples other than numbers are finite."""
    if isinstance(samples, tuple):
        found = [rows for part in samples if len(rows := non_finite_rows(part, n_rows))]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.intp)
    samples = samples.detach() if hasattr(samples, "detach") else samples
    # If the sum is finite, so are all its terms; it takes a single pass in the samples' own library.
    with np.errstate(invalid="ignore", over="ignore"):
        try:
            if np.isfinite(complex(samples[:n_rows].sum())):
                return np.empty(0, np.intp)
            rows = as_numpy(samples[:n_rows]).reshape(n_rows, -1)
            return np.flatnonzero(~np.isfinite(rows).all(axis=1))
        except NotImplementedError:
            # Torch has no sum of 8-bit floating-point numbers.
            return non_finite_rows(samples.float(), n_rows)
        except (AttributeError, TypeError, ValueError):
            return np.empty(0, np.intp)


Floats = NDArray[np.float64]
"""Arrays of double precision numbers."""

# Allowed difference between the same samples from batches of different sizes, relative to the largest sample, by the
# bytes of the type. Matrix products round differently; the limits are far above what deep networks were seen to do.
_TOLERANCE = {2: 2e-2, 4: 1e-4, 8: 1e-8}


def tolerance_of(array: NDArray[Any]) -> float:
    """Return the allowed difference of samples between batch sizes, relative to the largest; 0 for integers."""
    return _TOLERANCE.get(np.finfo(array.dtype).dtype.itemsize, 0.0) if array.dtype.kind in "fc" else 0.0


def gap_between(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest difference relative to the largest entry of `a`; infinite where they can't be compared."""
    if a.shape != b.shape:
        return np.inf
    if a.dtype.kind not in "biufc":
        return 0.0 if bool((a == b).all()) else np.inf
    wide = np.result_type(a, np.float64)
    x, y = a.astype(wide), b.astype(wide)
    # Entries that are infinite or NaN in both are refused elsewhere, and not compared here.
    one_finite = np.isfinite(x) | np.isfinite(y)
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(x - y)[one_finite].max(initial=0.0))
    largest = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    if difference == 0:
        return 0.0
    return difference / largest if largest and np.isfinite(difference) else np.inf


_T = TypeVar("_T")


def read_only(value: _T) -> _T:
    """Return a dataclass, tuple or dict with read-only views of its arrays, at any depth; nothing is copied.

    The arrays of the value itself stay writable.
    """
    made: Any = value
    if isinstance(value, np.ndarray):
        made = value.view()
        made.flags.writeable = False
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
        made = dataclasses.replace(value, **{name: read_only(one) for name, one in named.items()})
    elif isinstance(value, tuple):
        made = tuple_like(value, (read_only(one) for one in value))
    elif isinstance(value, dict):
        made = {key: read_only(one) for key, one in value.items()}
    return cast(_T, made)

"""Texts for arrays of any library: type, shape, and a hash of the numbers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy, plain, without_padding

_LIBRARIES = ("torch", "jax", "jaxlib", "cupy", "tensorflow", "mlx")
# Largest array, in bytes, whose numbers are all hashed in a quick look: that takes some ten microseconds.
_SMALL = 2**14
# How many numbers of a larger numpy array a quick look hashes, beside its address.
_SAMPLED = 64


def is_array(thing: Any) -> bool:
    """Tell whether a value is an array of numpy, torch, JAX or a similar library."""
    if isinstance(thing, np.ndarray | np.generic):
        return True
    # Only the class is looked at, since some objects load a model when an attribute is read.
    kind = type(thing)
    known = kind.__module__.partition(".")[0] in _LIBRARIES or hasattr(kind, "detach")
    return known and hasattr(kind, "dtype") and hasattr(kind, "shape") and not isinstance(thing, type)


def content_of_array(array: Any, quick: bool, content_of_elements: Callable[[list[Any]], str]) -> str:
    """Return a text that changes with an array's type, shape and numbers.

    Parameters
    ----------
    array : array
        Array of any library, on any device.
    quick : bool
        Whether the text of a large array is made from its address instead of all its numbers, with the count of its
        changes where the library has one.
    content_of_elements : callable
        Function from a list of Python objects to a text, for arrays of objects.

    Raises
    ------
    Exception
        Any error of the array's library where its numbers can't be read.
    """
    if isinstance(array, np.generic) and array.dtype.kind in "biufcSU":
        return f"{array.dtype} {array.item()!r}"
    if hasattr(array, "detach"):
        return _of_tensor(array, quick)
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        return f"masked {_of_numpy(array.filled(), quick, content_of_elements)} {_hash(mask)}"
    return _of_numpy(as_numpy(array), quick, content_of_elements)


def _of_numpy(array: NDArray[Any], quick: bool, content_of_elements: Callable[[list[Any]], str]) -> str:
    kind = f"{array.dtype} {array.shape}"
    if array.dtype.hasobject or array.dtype.kind == "T":
        # The bytes of an object array are addresses.
        return f"{kind} {content_of_elements(array.ravel().tolist())}"
    if array.dtype.names:
        # The padding between fields has random content, so fields are hashed one by one.
        return f"{kind} {[_of_numpy(array[name], quick, content_of_elements) for name in array.dtype.names]}"
    if quick and array.nbytes > _SMALL:
        step = max(1, array.size // _SAMPLED)
        return f"~{kind} at {array.__array_interface__['data'][0]} {_hash(array.ravel(order='K')[::step])}"
    return f"{kind} {_hash(array)}"


def _of_tensor(tensor: Any, quick: bool) -> str:
    torch = sys.modules["torch"]
    kind = f"{tensor.dtype} {tuple(tensor.shape)}"
    if quick:
        # Tensors made in inference mode have no count of their changes.
        changes = 0 if tensor.is_inference() else tensor._version
        if tensor.numel() * tensor.element_size() > _SMALL or tensor.device.type == "meta":
            return f"~{kind} at {id(tensor)} {changes}"
    tensor = tensor.detach()
    if tensor.is_quantized:
        kind, tensor = f"{kind} {tensor.qscheme()} {tensor.dequantize()}", tensor.int_repr()
    if tensor.layout != torch.strided:
        kind = f"{kind} {tensor.layout}"
    numbers = plain(tensor).cpu().contiguous().reshape(-1)
    # Torch views the numbers as bytes, since numpy has no bfloat16.
    return f"{kind} {_hash(numbers.view(torch.uint8).numpy() if numbers.numel() else np.empty(0))}"


def _hash(array: NDArray[Any]) -> str:
    plain = without_padding(np.ascontiguousarray(array)).reshape(-1).view(np.uint8)
    return hashlib.sha256(plain.data).hexdigest()[:16]

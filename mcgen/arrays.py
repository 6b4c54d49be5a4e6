"""Looking at samples without knowing their library: numpy, torch, jax or a plain list.

Samples stay in the library that made them until the statistic has turned them into a few numbers; only those
become numpy arrays here. Nothing is imported: an object says by its methods what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_numpy(array: Any) -> NDArray[Any]:
    """Return an array of any library as a numpy array, without gradient and on the CPU.

    Half-precision types that numpy lacks become float32.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if "bfloat16" in str(array.dtype):
            array = array.float()
    return np.asarray(array)


def leading_length(samples: Any) -> int:
    """Return the length of the leading axis; a tuple stands for several arrays that share it.

    Raises
    ------
    TypeError
        If there is no such axis, or the arrays of a tuple disagree.
    """
    if not isinstance(samples, tuple):
        return len(samples)
    lengths = {len(part) for part in samples}
    if len(lengths) != 1:
        raise TypeError(f"a tuple of arrays with leading axes of different lengths {sorted(lengths)}")
    return lengths.pop()


def non_finite_rows(samples: Any, n_rows: int) -> NDArray[np.intp]:
    """Return which of the first `n_rows` rows hold a NaN or an infinity; what isn't numeric is taken as finite."""
    if isinstance(samples, tuple):
        found = [non_finite_rows(part, n_rows) for part in samples]
        return np.unique(np.concatenate(found))
    samples = samples.detach() if hasattr(samples, "detach") else samples
    # A sum is finite only if all its terms are, and costs a single pass in the samples' own library.
    with np.errstate(invalid="ignore", over="ignore"):
        try:
            if np.isfinite(float(samples[:n_rows].sum())):
                return np.empty(0, np.intp)
            rows = as_numpy(samples[:n_rows]).reshape(n_rows, -1)
            return np.flatnonzero(~np.isfinite(rows).all(axis=1))
        except (AttributeError, TypeError, ValueError):
            return np.empty(0, np.intp)

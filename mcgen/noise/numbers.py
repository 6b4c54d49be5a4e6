"""From random digits to uniform and normal numbers: the one place where a cell of the grid becomes a number.

A 32-bit integer m stands for the cell [m, m + 1) / 2^32 of (0, 1). Its middle (m + 1/2) / 2^32 is never 0 or 1, so
that the inverse of the normal distribution is finite, and lies in every dyadic interval that the cell lies in, so
that no point of a net leaves its interval. In float32, where 1 - 2^-33 would round to 1, uniform numbers keep 23 of
the digits, and 1 - u of such a middle is again one, exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mcgen.noise import Array, DType, Law

_FLOAT32_DIGITS = 23
# A float64 has 53; the other three keep a middle inside its stratum through rounding.
_FLOAT64_DIGITS = 50


def number_from_digits(digits: NDArray[np.uint32], law: Law, dtype: DType, out: Array | None = None) -> Array:
    """Return the numbers of the law that 32-bit digits stand for, in `out` where it is given.

    Parameters
    ----------
    digits : ndarray of uint32
        Any shape.
    law : {"normal", "uniform"}
        N(0, 1), computed in float64 whatever the dtype, or U(0, 1).
    dtype : {"float32", "float64"}
        Type of the result.
    out : ndarray, optional
        Of the same shape and of type `dtype`.
    """
    shift = 32 - _FLOAT32_DIGITS if law == "uniform" and dtype == "float32" else 0
    middles = np.add(digits >> np.uint32(shift) if shift else digits, 0.5, dtype=np.float64)
    middles *= 2.0 ** (shift - 32)
    if law == "normal":
        ndtri(middles, out=middles)
    if out is None:
        return middles.astype(dtype, copy=False)
    out[...] = middles
    return out


def number_in_stratum(
    strata: NDArray[np.uint64], n_strata: int, digits: NDArray[np.uint32], law: Law, dtype: DType, out: Array
) -> None:
    """Store the numbers of the law that 32-bit digits stand for, inside strata [p, p + 1) / n of (0, 1).

    A cell of 2^-32 may lie across the border of two strata where n is no power of two, and its middle then in the
    wrong one. Therefore each stratum has 2^b cells of its own, of the same size in all: the middles
    (p + (m + 1/2) / 2^b) / n are uniform on n 2^b cells, each of which lies in one stratum. n 2^b is at most 2^50, or
    2^23 for uniform numbers in float32, so that rounding leaves them there.

    Parameters
    ----------
    strata : ndarray of uint64
        p, any shape.
    n_strata : int
        n, at most 2^22.
    digits : ndarray of uint32
        Of the same shape; the first b digits count.
    law : {"normal", "uniform"}
        As in `number_from_digits`.
    dtype : {"float32", "float64"}
        Type of the result.
    out : ndarray
        Of the same shape and of type `dtype`.
    """
    in_all = _FLOAT32_DIGITS if law == "uniform" and dtype == "float32" else _FLOAT64_DIGITS
    b = min(32, in_all - (n_strata - 1).bit_length())
    middles = np.add(digits >> np.uint32(32 - b), 0.5, dtype=np.float64)
    middles *= 2.0**-b
    middles += strata
    middles /= n_strata
    if law == "normal":
        ndtri(middles, out=middles)
    out[...] = middles


def uniform_from_normal(z: NDArray[np.float64], dtype: DType) -> Array:
    """Return the middles of the cells that Phi(z) falls in: U(0, 1) for z ~ N(0, 1), inside (0, 1) for every z."""
    n_cells = 2.0 ** (_FLOAT32_DIGITS if dtype == "float32" else 32)
    cells = np.minimum(np.floor(ndtr(z) * n_cells), n_cells - 1)
    return ((cells + 0.5) / n_cells).astype(dtype, copy=False)

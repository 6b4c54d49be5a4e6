"""Conversion of random 32-bit digits to uniform and normal numbers.

A 32-bit integer m stands for the cell [m, m + 1) / 2^32 of (0, 1), and becomes the cell's middle (m + 1/2) / 2^32. The
middle is never 0 or 1, so the inverse normal distribution function is finite. It lies in every dyadic interval that
contains the cell, so no point of a net leaves its interval. In float32, where 1 - 2^-33 would round to 1, uniform
numbers keep 23 of the 32 digits. Then 1 - u is also the middle of a cell, exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mcgen.noise import Array, DType, Law

# Binary digits of a uniform float32: with 24 the last middle, 1 - 2^-25, would round to 1.
_FLOAT32_DIGITS = 23
# Binary digits of a float64 inside strata: three fewer than its 53, so that rounding keeps a middle in its stratum.
_FLOAT64_DIGITS = 50


def number_from_digits(digits: NDArray[np.uint32], law: Law, dtype: DType, out: Array | None = None) -> Array:
    """Return uniform numbers u = (m + 1/2) / 2^32 for 32-bit digits m, or normal numbers Phi^-1(u).

    Parameters
    ----------
    digits : ndarray of uint32
        The digits m, in any shape.
    law : {"normal", "uniform"}
        N(0, 1), computed in float64 whatever the dtype, or U(0, 1).
    dtype : {"float32", "float64"}
        Type of the result.
    out : ndarray, optional
        Array of the same shape and of type `dtype` to store the result in.
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
    """Store numbers of the law, made from 32-bit digits, that lie inside given strata [p, p + 1) / n of (0, 1).

    Where n is no power of two, a cell of length 2^-32 may lie across the border of two strata, with its middle in the
    wrong one. So each stratum is divided into 2^b cells of its own. The middles (p + (m + 1/2) / 2^b) / n are uniform
    on n 2^b cells of equal size, and each cell lies in one stratum. n 2^b is at most 2^50, or 2^23 for uniform numbers
    in float32, so that rounding does not move a middle out of its cell.

    Parameters
    ----------
    strata : ndarray of uint64
        Indices p of the strata, in any shape.
    n_strata : int
        Number of strata n, at most 2^22.
    digits : ndarray of uint32
        Random digits, in the shape of `strata`; m is made of their first b binary digits.
    law : {"normal", "uniform"}
        As in `number_from_digits`.
    dtype : {"float32", "float64"}
        Type of the result.
    out : ndarray
        Array of the same shape and of type `dtype` to store the result in.
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
    """Return Phi(z), rounded to the middle of its cell: U(0, 1) for z ~ N(0, 1), and inside (0, 1) for every z."""
    n_cells = 2.0 ** (_FLOAT32_DIGITS if dtype == "float32" else 32)
    cells = np.minimum(np.floor(ndtr(z) * n_cells), n_cells - 1)
    return ((cells + 0.5) / n_cells).astype(dtype, copy=False)

r"""The generator matrices of the Sobol' sequence, from the direction numbers that scipy ships [1]_.

Dimension i > 1 belongs to a primitive polynomial :math:`x^s + a_1 x^{s-1} + \ldots + a_{s-1} x + 1` and has s initial
numbers :math:`m_1, \ldots, m_s`. The others follow by

.. math:: m_j = 2 a_1 m_{j-1} \oplus 4 a_2 m_{j-2} \oplus \ldots \oplus 2^s m_{j-s} \oplus m_{j-s},

and column j of the matrix is the binary fraction :math:`m_j / 2^j`. All numbers of dimension 1 are 1.

.. rubric:: References

.. [1] S. Joe, F. Y. Kuo (2008). Constructing Sobol sequences with better two-dimensional projections. SIAM J. Sci.
   Comput. 30(5), 2635-2654.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Integers = NDArray[np.int64]

# Scipy's direction numbers. Its interface to them, `scipy.stats`, takes most of a second to import.
_FILE = Path(scipy.__file__).parent / "stats" / "_sobol_direction_numbers.npz"


@lru_cache(maxsize=8)
def generator_columns(d: int, k: int) -> Words:
    """Return the first k columns of the Sobol' generator matrices of d dimensions as words, shape (k, d)."""
    known = _direction_numbers()
    columns = _by_interface(d, k) if known is None else _by_recurrence(known[0][:d], known[1][:d], k)
    columns.setflags(write=False)
    return columns


@cache
def _direction_numbers() -> tuple[Integers, Integers] | None:
    """Return the polynomials (D,) and the initial numbers (D, S) of scipy's file, or None where it has no such file."""
    try:
        with np.load(_FILE) as file:
            polynomials, initial = file["poly"].astype(np.int64), file["vinit"].astype(np.int64)
    except (OSError, KeyError, ValueError):
        return None
    used = np.arange(initial.shape[1]) < _degrees(polynomials)[:, None]
    fits = (initial % 2 == 1) & (initial < 2 << np.arange(initial.shape[1]))
    return (polynomials, initial) if polynomials[0] == 1 and fits[used].all() else None


def _degrees(polynomials: Integers) -> Integers:
    """Return the degrees s of polynomials, whose binary digits are their coefficients."""
    return np.frexp(polynomials.astype(np.float64))[1].astype(np.int64) - 1


def _by_recurrence(polynomials: Integers, initial: Integers, k: int) -> Words:
    degrees, d = _degrees(polynomials), np.arange(len(polynomials))
    m = np.ones((k, len(d)), np.int64)
    for j in range(k):
        found = m[np.maximum(j - degrees, 0), d]
        for i in range(min(j, int(degrees.max()))):
            has_term = (i < degrees) & (polynomials >> np.maximum(degrees - 1 - i, 0) & 1 == 1)
            found = np.where(has_term, found ^ m[j - 1 - i] << (i + 1), found)
        given = initial[:, j] if j < initial.shape[1] else found
        m[j] = np.where(j < degrees, given, np.where(degrees > 0, found, 1))
    return (m << (31 - np.arange(k))[:, None]).astype(np.uint32)


def _by_interface(d: int, k: int) -> Words:
    """Return the columns from scipy's unscrambled sequence.

    Its points come in Gray code order, in which point 2^j is point 2^j - 1 XOR column j.
    """
    from scipy.stats import qmc

    engine = qmc.Sobol(d, scramble=False, bits=32)
    columns = np.empty((k, d), np.uint32)
    for j in range(k):
        engine.reset()
        if j > 0:
            engine.fast_forward((1 << j) - 1)
        before, after = (engine.random(2) * 2.0**32).astype(np.uint32)
        columns[j] = before ^ after
    return columns

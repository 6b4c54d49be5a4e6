r"""Which components a plan promises something for.

A pilot says nothing reliable of a component that nearly always has the same value, or whose variance is made by one
pair: a rare event, or the maximum of an image that is nearly always white. Such a component is not promised anything,
and has no say in the choice unless it is protected by name.

With n pair means that are normal, the largest squared deviation is a share :math:`(n - 1) / n` times a variable of the
law Beta(1/2, (n - 2)/2) of their sum at the most [1]_. One pair counts as making the variance where its share is above
a fifth, and above what normal pair means exceed once in a hundred pilots.

.. rubric:: References

.. [1] W. R. Thompson (1935). On a criterion for the rejection of observations and the distribution of the ratio of
   deviation to sample standard deviation. Ann. Math. Statist. 6(4), 214-219.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from mcgen._lib.arrays import Floats

# Fewest pair means, or half of a few pairs, that differ from a component's most frequent one.
_FEWEST_OTHER = 10
# Share of the variance that one pair may make, and how often normal pair means exceed it.
_LARGEST_SHARE, _ERROR_RATE = 0.2, 0.01
# Most components that are named.
_NAMED = 4


@dataclass(frozen=True, eq=False)
class Promises:
    """The components that count in a choice, and those that must keep 0.9 of the efficiency of pairs.

    Attributes
    ----------
    counted : ndarray of bool, shape (k,)
        Which components count in the geometric mean.
    protected : ndarray of bool, shape (k,)
        Which components must keep their efficiency.
    reasons : tuple of str
        Texts that name the components which are not promised anything.
    doubtful : ndarray of bool, shape (k,), or None
        Which components are not protected only because the pilot says nothing reliable of them.
    """

    counted: NDArray[np.bool_]
    protected: NDArray[np.bool_]
    reasons: tuple[str, ...] = ()
    doubtful: NDArray[np.bool_] | None = None

    @property
    def watched(self) -> NDArray[np.bool_]:
        """Which components a choice must not ruin, even if it does not know how they fare: shape (k,)."""
        return self.protected if self.doubtful is None else self.protected | self.doubtful

    @classmethod
    def of(cls, pairs: Floats, names: Sequence[str], protect: Literal["all"] | Sequence[str] = "all") -> Promises:
        """Return what pair means of a pilot, shape (n, k), allow to promise.

        Parameters
        ----------
        pairs : ndarray of shape (n, k)
            Pair means.
        names : sequence of str
            The names of the components.
        protect : "all" or sequence of str
            Names of the components that must keep their efficiency; by default all that the pilot says something of.

        Raises
        ------
        ValueError
            If a name is none of the components'.
        """
        others = np.array([len(column) - np.unique(column, return_counts=True)[1].max() for column in pairs.T])
        doubtful = (others < min(_FEWEST_OTHER, len(pairs) // 2)) | _made_by_one(pairs)
        text = "not promised anything, since nearly all pairs of the pilot are equal or one makes most of the variance"
        if doubtful.all():
            # With no other component, those that are doubtful decide.
            doubtful = np.zeros(len(names), dtype=bool)
        if protect == "all":
            return cls(~doubtful, ~doubtful, _named(text, names, doubtful), doubtful)
        chosen = _chosen(names, protect)
        left = _named("not protected", names, ~chosen & ~doubtful)
        return cls(~doubtful | chosen, chosen, left + _named(text, names, doubtful & ~chosen))


def checked_protect(protect: Any) -> Literal["all"] | tuple[str, ...]:
    """Return "all", or the names of protected components as a tuple; refuse what is neither."""
    if isinstance(protect, str):
        return "all" if protect == "all" else (protect,)
    try:
        names = tuple(protect)
    except TypeError:
        names = (None,)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"protect must be 'all', or names of components such as protect=['mean'], or () for none; got {protect!r}"
        )
    return names


def _chosen(names: Sequence[str], protect: Sequence[str]) -> NDArray[np.bool_]:
    unknown = [name for name in protect if name not in names]
    if unknown:
        raise ValueError(
            f"protect names {', '.join(map(repr, unknown))}, which is no component of the statistic; its components "
            f"are {', '.join(map(repr, names))}"
        )
    return np.array([name in protect for name in names])


def _made_by_one(pairs: Floats) -> NDArray[np.bool_]:
    """Return whether one pair mean makes most of the variance of each component, shape (k,)."""
    n = len(pairs)
    if n < 4:
        return np.zeros(pairs.shape[1], dtype=bool)
    squares = (pairs - pairs.mean(axis=0)) ** 2
    usual = (n - 1) / n * float(betaincinv(0.5, (n - 2) / 2, 1 - _ERROR_RATE / n))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.nan_to_num(squares.max(axis=0) / squares.sum(axis=0))
    return np.asarray(share > max(_LARGEST_SHARE, usual))


def _named(text: str, names: Sequence[str], which: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return a text with the names of some components; none where there are none."""
    found = [name for name, one in zip(names, which, strict=True) if one]
    if not found:
        return ()
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (f"{text}: {', '.join(found[:_NAMED])}{more}",)

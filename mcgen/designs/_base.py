"""The protocol of designs, and the base class of the designs of this package.

A design is a frozen value that draws the noise of any range of replicates. Laws, for every design and every replicate
r:

- each point alone has exactly the declared law, N(0, I) or U(0, 1); it is finite, and uniform noise is never 0 or 1;
- the noise of replicate r is a pure function of (design, seed, stream, r, block), bit for bit;
- different replicates are independent, and so is the noise of different designs, streams and seeds.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

from mcgen._lib.checks import checked_integer, checked_protocol
from mcgen.noise import Array, Block, BlockNoise, DType, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.numbers import number_from_digits
from mcgen.noise.random import Seed, Stream

# How the designs of the package are written, for messages on texts that name them.
_WRITTEN = (
    "MonteCarlo()",
    "Antithetic()",
    "KAntithetic(8)",
    "Sobol(64)",
    "LatinHypercube(64)",
    "OrthogonalAntithetic(16)",
)

Path = tuple[str | int, ...]
Replicates = int | range


@runtime_checkable
class Design(Protocol):
    """A way to draw independent replicates of `n_points` noise vectors each.

    Any object with the two members below is a design; it need not be a subclass. It must be a frozen value that can be
    hashed and pickled. `mcgen.validation.check_design` tests a design of your own. `PointsDesign` does most of the
    work for designs that draw one block at a time.

    Laws: each point alone has exactly the declared law. Different replicates are independent. The noise of replicate r
    follows from (design, seed, stream, r) alone, to the last bit.

    Examples
    --------
    >>> import mcgen
    >>> isinstance(mcgen.Antithetic(), mcgen.Design), mcgen.Antithetic().n_points
    (True, 2)
    """

    @property
    def n_points(self) -> int:
        """Number of noise vectors in a replicate."""
        ...

    def draw(
        self,
        spec: NoiseSpec | Shape,
        replicates: Replicates,
        seed: Seed,
        *,
        stream: Path = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of some replicates; see `PointsDesign.draw`."""
        ...


class PointsDesign(ABC):
    """Base class of the designs of this package: it checks arguments, and draws the noise block by block.

    Use it for a design of your own. A subclass is a frozen dataclass with `n_points` and a method ``_draw_block``.
    That method returns one block of noise, shape (replicates, points, size). I.i.d. blocks never reach it. Your own
    design need not be a subclass: `estimate` needs only the `Design` protocol.

    Examples
    --------
    Two pairs z, -z of the same noise; it shows the form, and gains nothing over one pair:

    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> import mcgen
    >>> @dataclass(frozen=True)
    ... class Signs(mcgen.designs.PointsDesign):
    ...     n_points: int = 4
    ...
    ...     def _draw_block(self, pieces, replicates, points):
    ...         signs = np.array([1, -1, 1, -1], pieces.dtype)[points.start : points.stop]
    ...         return pieces.independent(replicates, 1) * signs[:, None]
    >>> noise = Signs().draw((3,), replicates=10, seed=0)
    >>> noise.shape, bool((noise[:, 0] == -noise[:, 1]).all())
    ((10, 4, 3), True)
    """

    n_points: int

    @abstractmethod
    def _draw_block(self, pieces: _Pieces, replicates: range, points: range) -> Array:
        """Return one block of noise for these points, shape (len(replicates), len(points), size)."""

    def draw(
        self,
        spec: NoiseSpec | Shape,
        replicates: Replicates,
        seed: Seed,
        *,
        stream: Path = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of a range of replicates.

        Parameters
        ----------
        spec : NoiseSpec or tuple of int
            Noise of one sample; a shape means one block of standard normal noise.
        replicates : int or range
            Indices of the replicates; an int n means the first n, range(n).
        seed : int or SeedSequence
            The same seed gives the same noise.
        stream : tuple of str and int, optional
            Name of the purpose. Different streams are independent under one seed. `estimate` uses the empty stream for
            a run without conditions.
        points : range, optional
            Points to draw of each replicate, for replicates too large to draw at once; by default all.

        Returns
        -------
        ndarray of shape (n_replicates, n_points, ...)
            The noise. For a spec of several blocks, a mapping that draws each block's array when it is asked for.

        Raises
        ------
        TypeError, ValueError
            If the seed, the range of replicates or points, or the spec can't be used.

        Examples
        --------
        >>> from mcgen import Antithetic
        >>> noise = Antithetic().draw((3, 8, 8), replicates=100, seed=0)
        >>> noise.shape, bool((noise[:, 0] == -noise[:, 1]).all())
        ((100, 2, 3, 8, 8), True)
        """
        require_points(self)
        if type(self).__repr__ is object.__repr__:
            raise TypeError(
                f"{type(self).__name__} has no text form of its own, from which its random numbers are made; make it a "
                "frozen dataclass"
            )
        spec = as_noise_spec(spec)
        rows = _checked_range("replicates", replicates, None)
        columns = _checked_range("points", self.n_points if points is None else points, self.n_points)
        several = len(spec.blocks) > 1
        pieces = {
            name: _Pieces(block, spec.dtype, several, seed, (str(self), *stream, number))
            for number, (name, block) in enumerate(spec.blocks)
        }
        draw = partial(self._draw_named, pieces, rows, columns)
        return BlockNoise(draw, tuple(pieces)) if several else draw(spec.blocks[0][0])

    def _draw_named(self, blocks: dict[str, _Pieces], replicates: range, points: range, name: str) -> Array:
        pieces = blocks[name]
        if pieces.iid:
            noise = pieces.independent(replicates, self.n_points)[:, points.start : points.stop]
        else:
            noise = self._draw_block(pieces, replicates, points)
        return noise.reshape(len(replicates), len(points), *pieces.shape)


class _Pieces:
    """The size, law and dtype of one block of noise, with its random numbers."""

    def __init__(self, block: Block, dtype: DType, several: bool, seed: Seed, path: Path) -> None:
        self.size, self.shape, self.law, self.iid = block.size, block.shape, block.law, block.iid
        self.dtype, self.several_blocks = dtype, several
        self._seed, self._path = seed, path

    def stream(self, *purpose: str | int) -> Stream:
        """Return the random numbers of one purpose inside the block."""
        return Stream(self._seed, *self._path, *purpose)

    def independent(self, replicates: range, n_points: int) -> Array:
        """Return i.i.d. numbers of the block's law, shape (len(replicates), n_points, size)."""
        size = n_points * self.size
        if self.law == "normal":
            flat = self.stream().normals(replicates, size, self.dtype)
        else:
            flat = number_from_digits(self.stream().digits(replicates, size), "uniform", self.dtype)
        return flat.reshape(len(replicates), n_points, self.size)

    def tiles(self, replicates: range) -> Iterator[tuple[slice, Array]]:
        """Yield (rows, numbers of shape (rows, size)): one i.i.d. point per replicate, in parts that fit a cache."""
        if self.law == "normal":
            yield from self.stream().normal_tiles(replicates, self.size, self.dtype)
        else:
            yield slice(0, len(replicates)), self.independent(replicates, 1)[:, 0]


def _checked_range(name: str, value: Replicates, limit: int | None) -> range:
    if not isinstance(value, range):
        value = range(checked_integer(name, value))
    checked_integer(f"the end of {name}", value.stop)
    if value.step != 1 or value.start < 0 or len(value) == 0 or (limit is not None and value.stop > limit):
        allowed = f"inside range(0, {limit})" if limit is not None else "from 0 or later"
        raise ValueError(f"{name} must be a non-empty range of step 1, {allowed}; got {value}")
    return value


def net_dimension(design: Design, spec: NoiseSpec) -> int:
    """Return the dimension of the randomized net that each replicate of a design is; 0 for designs that are no nets.

    A design of nets says it by a method of this name, which takes the noise spec.
    """
    own = getattr(design, "net_dimension", None)
    return 0 if own is None else int(own(spec))


def require_points(design: Any) -> None:
    """Refuse a design whose number of points is not known."""
    if design.n_points is None:
        raise ValueError(
            f"{design} takes its number of points from the n_evaluations of mcgen.estimate, mcgen.difference or "
            f"mcgen.compare, and there is none here; give it one, a power of two, such as {type(design).__name__}(64)"
        )


def refuse_class(design: Any) -> None:
    """Refuse a class in place of a design."""
    if isinstance(design, type):
        raise TypeError(
            f"design must be a design, not the class {design.__name__}; add parentheses: mcgen.{design.__name__}(), "
            "with its arguments if it has any"
        )


def checked_design(design: Any) -> Design:
    """Return the design, or refuse what does not satisfy the protocol, or has no number of points."""
    refuse_class(design)
    named = _of_name(design)
    found: Design = checked_protocol(
        design, Design, "design", f"pass one such as mcgen.{named or 'Antithetic()'}; mcgen.estimate takes 'auto' too"
    )
    require_points(found)
    return found


def _of_name(design: Any) -> str:
    """Return how to write the design that a text names, such as ``Antithetic()``; nothing where it names none."""
    if not isinstance(design, str):
        return ""
    wanted = re.sub(r"[\W_]", "", design.partition(":")[0]).lower()
    return next((text for text in _WRITTEN if text.partition("(")[0].lower() == wanted), "")

r"""Orthonormal bases of the directions of noise that matter most to a statistic.

The noise z has dimension d, with all blocks one after the other. The r directions are the columns of B, with B'B = I.
B is kept block by block: its rows for block b are a matrix B_b of shape (size, r), so that
:math:`B'z = \sum_b B_b' z_b` and no array is larger than a block. A direction may extend over several blocks. In a
sampler that draws noise at every step, the most important direction often extends over all steps. If each direction lay
in a single block, one for each step would be needed instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import numbers_of
from mcgen._lib.checks import checked_integer
from mcgen._lib.serialization import require_ending
from mcgen.noise import Array, NoiseSpec

Matrix = NDArray[np.float64]

LARGEST_DEVIATION = 1e-9
"""Largest allowed deviation of an entry of B'B from I: far below the resolution of float32 noise, 6e-8."""
# Version of the format of saved bases; raised when the format changes.
_SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False)
class Basis:
    """r orthonormal directions of noise, with the way in which they were found.

    `mcgen.bases` finds them; `Subspace` and `mcgen.controls` use them. Two bases are equal when all their numbers, to
    nine decimals, and their texts are equal.

    Attributes
    ----------
    matrices : mapping of str to ndarray of shape (size, r), or such an array
        The matrix B_b for the name of each block, with the block's entries in C order. Blocks that are zero in all
        directions may be omitted. One matrix fits a single block of its size, whatever the block's name.
    importance : tuple of float or None
        Share of each direction in the mean squared gradient, measured in the pilot; None where it is not known.
    made : str
        Method by which the basis was found, in a few words.
    n_evaluations : int
        Cost of finding the basis, in evaluations of the generator.

    Raises
    ------
    TypeError, ValueError
        If the matrices have different numbers of columns, the columns are not orthonormal or more than their
        dimensions, or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.bases import Basis
    >>> Basis(np.eye(16)[:, :2])
    Basis(2 directions of 16, given, eb554112)
    """

    matrices: Mapping[str, Matrix]
    importance: tuple[float, ...] | None = field(default=None, kw_only=True)
    made: str = field(default="given", kw_only=True)
    n_evaluations: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        matrices = _checked_matrices(self.matrices)
        gram = sum(matrix.T @ matrix for matrix in matrices.values())
        deviation = float(np.abs(gram - np.eye(len(cast(Matrix, gram)))).max())
        if deviation > LARGEST_DEVIATION:
            raise ValueError(
                f"the columns of a basis must be orthonormal; an entry of B'B is off by {deviation:.2g}, where "
                f"{LARGEST_DEVIATION:g} is allowed. Basis.orthonormal(matrices) makes them so, in double precision"
            )
        for matrix in matrices.values():
            matrix.setflags(write=False)
        object.__setattr__(self, "matrices", MappingProxyType(matrices))
        if self.importance is not None:
            importance = tuple(float(share) for share in self.importance)
            if len(importance) != self.n_directions or not np.isfinite(importance).all():
                raise ValueError(
                    f"importance is a finite number for each of {self.n_directions} directions; got {self.importance}"
                )
            object.__setattr__(self, "importance", importance)
        if checked_integer("n_evaluations", self.n_evaluations) < 0:
            raise ValueError(f"n_evaluations must be at least 0; got {self.n_evaluations}")
        object.__setattr__(self, "n_evaluations", int(self.n_evaluations))

    @classmethod
    def orthonormal(cls, matrices: Mapping[str, Array] | Array, **options: Any) -> Self:
        """Return an orthonormal basis of the span of linearly independent columns, made from left to right by QR.

        Parameters
        ----------
        matrices, **options
            Attributes of the basis, with columns that need not be orthonormal.

        Raises
        ------
        ValueError
            If a column is a combination of earlier ones.
        """
        given = _checked_matrices(matrices)
        q, r = np.linalg.qr(np.concatenate([*given.values()]))
        own = np.abs(np.diag(r)) / np.maximum(np.linalg.norm(r, axis=0), np.finfo(float).tiny)
        if own.min() < LARGEST_DEVIATION:
            raise ValueError(
                f"column {int(own.argmin())} is a combination of those before it; give linearly independent directions"
            )
        ends = np.cumsum([len(matrix) for matrix in given.values()])[:-1]
        # A second decomposition removes the error of the first: its input is orthonormal up to rounding.
        again, s = np.linalg.qr(q)
        parts = np.split(again * (np.sign(np.diag(s)) * np.sign(np.diag(r))), ends)
        return cls(dict(zip(given, parts, strict=True)), **options)

    def leading(self, n_directions: int) -> Self:
        """Return the basis of the first directions; its cost stays that of finding all of them."""
        if not 1 <= checked_integer("n_directions", n_directions) <= self.n_directions:
            raise ValueError(f"n_directions must be from 1 to the {self.n_directions} of {self}; got {n_directions}")
        importance = None if self.importance is None else self.importance[:n_directions]
        matrices = {name: matrix[:, :n_directions] for name, matrix in self.matrices.items()}
        return type(self)(matrices, importance=importance, made=self.made, n_evaluations=self.n_evaluations)

    @property
    def n_directions(self) -> int:
        """Number of directions, r."""
        return int(next(iter(self.matrices.values())).shape[1])

    @property
    def dimension(self) -> int:
        """Total size of the blocks that have a matrix."""
        return sum(map(len, self.matrices.values()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the numbers, to nine decimals, and of the texts; bases are compared by it."""
        importance = None if self.importance is None else [f"{share:.9f}" for share in self.importance]
        digest = hashlib.sha256(repr((self.made, self.n_evaluations, importance)).encode())
        for name, matrix in self.matrices.items():
            digest.update(repr((name, matrix.shape)).encode())
            # Rounded: the last bits of cosines differ between processors, and all must give the same random numbers.
            digest.update(np.rint(matrix * 2.0**30).astype("<i8").tobytes())
        return digest.hexdigest()

    def by_block(self, spec: NoiseSpec) -> dict[str, Matrix]:
        """Return the matrices by the names of a spec's blocks, or refuse noise that they do not fit.

        A design does not control i.i.d. blocks: where the basis has only such blocks, there is no matrix to return.
        """
        blocks = dict(spec.blocks)
        found = dict(self.matrices)
        if len(found) == len(blocks) == 1:
            found = dict(zip(blocks, found.values(), strict=True))
        sizes = {name: blocks[name].size if name in blocks else None for name in found}
        if any(sizes[name] != len(matrix) for name, matrix in found.items()):
            own = ", ".join(f"{name!r} of {len(matrix)}" for name, matrix in self.matrices.items())
            other = ", ".join(f"{name!r} of {block.size}" for name, block in spec.blocks)
            raise ValueError(
                f"{self} is for noise with the blocks {own} numbers; got {other} ({spec}). Make the basis from the "
                "generator that is estimated, or from its noise"
            )
        hidden = [name for name in found if blocks[name].iid]
        if len(hidden) == len(found):
            return {}
        if hidden:
            raise ValueError(
                f"directions of {self} reach into {', '.join(map(repr, hidden))}, drawn independently for every point "
                "as the noise spec asks; make the basis without these blocks"
            )
        return found

    def save(self, path: str | Path) -> None:
        """Write the basis as an npz file, from which `load` makes an equal one."""
        require_ending(path, ".npz", "A basis is written in numpy's format alone")
        arrays: dict[str, Any] = {f"matrix {i}": matrix for i, matrix in enumerate(self.matrices.values())}
        if self.importance is not None:
            arrays["importance"] = np.array(self.importance)
        with Path(path).open("wb") as file:
            np.savez(
                file,
                schema=_SCHEMA,
                names=np.array([*self.matrices]),
                made=self.made,
                n_evaluations=self.n_evaluations,
                digest=self.digest,
                **arrays,
            )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a basis that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, was changed, or was written by a newer schema.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = dict(file)
            schema, digest = int(content["schema"]), str(content["digest"])
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise ValueError(f"{path} is not a file that mcgen.bases.Basis saved: {error!r}") from error
        if schema > _SCHEMA:
            raise ValueError(
                f"{path} was saved with schema {schema}, this version of mcgen reads up to {_SCHEMA}; upgrade mcgen"
            )
        shares = content.get("importance")
        found = cls(
            {str(name): content[f"matrix {i}"] for i, name in enumerate(content["names"])},
            importance=None if shares is None else tuple(shares.tolist()),
            made=str(content["made"]),
            n_evaluations=int(content["n_evaluations"]),
        )
        if found.digest != digest:
            raise ValueError(
                f"the content of {path} does not match its SHA-256: it was changed or damaged; save the basis again"
            )
        return found

    def __str__(self) -> str:
        several = "direction" if self.n_directions == 1 else "directions"
        return f"Basis({self.n_directions} {several} of {self.dimension}, {self.made}, {self.digest[:8]})"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Basis) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only view of a mapping has no pickle of its own.
        return _restored, (type(self), dict(self.matrices), self.importance, self.made, self.n_evaluations)


def _restored(
    kind: type[Basis], matrices: dict[str, Matrix], importance: tuple[float, ...] | None, made: str, n: int
) -> Basis:
    return kind(matrices, importance=importance, made=made, n_evaluations=n)


def _checked_matrices(given: Any) -> dict[str, Matrix]:
    """Return copies of the matrices in double precision, or refuse input that is no basis."""
    items = given if isinstance(given, Mapping) else {"noise": given}
    try:
        matrices = {str(name): np.array(numbers_of(matrix), np.float64, order="C") for name, matrix in items.items()}
    except (TypeError, ValueError):
        matrices = {}
    columns = {matrix.shape[1] for matrix in matrices.values() if matrix.ndim == 2}
    if len(columns) != 1 or not all(matrix.ndim == 2 for matrix in matrices.values()):
        found = ", ".join(_described(items))
        raise ValueError(
            f"a basis is a matrix of shape (size, n_directions), or one such matrix per block; got {found or 'none'}. "
            "A direction of shape (3, 32, 32) is a column of 3072 numbers: direction.reshape(-1, 1)"
        )
    (r,), dimension = columns, sum(map(len, matrices.values()))
    if not 1 <= r <= dimension:
        raise ValueError(f"a basis of {dimension} dimensions has from 1 to {dimension} directions; got {r}")
    if not all(np.isfinite(matrix).all() for matrix in matrices.values()):
        raise ValueError("a basis has finite numbers; there is a NaN or an infinity among them")
    return matrices


def _described(items: Mapping[str, Any]) -> Iterator[str]:
    for name, matrix in items.items():
        yield f"{name!r}: {getattr(matrix, 'shape', type(matrix).__name__)}"

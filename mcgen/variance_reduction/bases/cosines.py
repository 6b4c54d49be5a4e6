"""Cosines of the lowest frequencies as directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mcgen.noise import NoiseSpec, Shape, as_noise_spec
from mcgen.noise.directions import Basis, Matrix
from mcgen.variance_reduction.bases.pilot import Values, checked_directions, steered_blocks


def dct_basis(noise: NoiseSpec | Shape, n_directions: int, *, blocks: Sequence[str] | None = None) -> Basis:
    r"""Return cosines of the lowest frequencies over all axes of the noise as a basis.

    Use it for statistics of images and sounds that depend on large structures; it needs no pilot. The directions are
    in order of their frequency :math:`\sum_i (k_i / n_i)^2`. Entry m of axis i, of length :math:`n_i`, has the factor
    :math:`\cos(\pi k_i (m + 1/2) / n_i)` of the discrete cosine transform II.

    Parameters
    ----------
    noise : NoiseSpec or tuple of int
        The noise of the generator; a shape such as (3, 32, 32) or (1, 16000) is one block.
    n_directions : int
        Number of directions over all blocks.
    blocks : sequence of str, optional
        Blocks in which the directions lie, the lowest frequencies of each first. By default all that are not i.i.d.

    Examples
    --------
    >>> from mcgen.bases import dct_basis
    >>> dct_basis((1, 28, 28), 32)
    Basis(32 directions of 784, cosines, ...)
    """
    spec = as_noise_spec(noise)
    chosen = steered_blocks(spec)
    if blocks is not None:
        unknown = [name for name in blocks if name not in chosen]
        if unknown:
            raise ValueError(f"blocks must be of {', '.join(map(repr, chosen))}; got {', '.join(map(repr, unknown))}")
        chosen = {name: block for name, block in chosen.items() if name in blocks}
    r = checked_directions(n_directions, chosen)
    lowest = sorted(
        (frequency, place, index)
        for place, block in enumerate(chosen.values())
        for frequency, index in _lowest_frequencies(block.shape, r)
    )[:r]
    names = [*chosen]
    matrices: dict[str, Matrix] = {}
    for column, (_, place, index) in enumerate(lowest):
        block = chosen[names[place]]
        matrix = matrices.setdefault(names[place], np.zeros((block.size, r)))
        matrix[:, column] = _cosines(block.shape, index)
    return Basis(matrices, made="cosines")


def _lowest_frequencies(shape: Shape, r: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield the frequency and the indices k of the r cosines of lowest frequency, and of all that tie with the last."""
    squares = [np.square(np.arange(n) / n) for n in shape]
    # Rounded, so that equal frequencies of different axes are equal.
    total = np.round(sum(np.meshgrid(*squares, indexing="ij", sparse=True)), 12) if shape else np.zeros(())
    limit = np.partition(total.ravel(), min(r, total.size) - 1)[min(r, total.size) - 1]
    for index in np.argwhere(total <= limit).tolist():
        yield float(total[tuple(index)]), tuple(index)


def _cosines(shape: Shape, index: tuple[int, ...]) -> Values:
    """Return the product of one cosine along each axis, as a flat array of norm 1."""
    product = np.ones(())
    for n, k in zip(shape, index, strict=True):
        wave = np.cos(np.pi * k * (np.arange(n) + 0.5) / n) * math.sqrt((2 if k else 1) / n)
        product = np.multiply.outer(product, wave)
    return product.ravel()

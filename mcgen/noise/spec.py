"""Declaration of the noise that a generator needs: named blocks, each with a shape and a law.

Most generators need one block of standard normal noise. A sampler that adds noise at every step needs one more block
for each step. Hidden draws, such as a dropout mask or a random integer, become uniform blocks. A design draws the
blocks of a spec for its points. With several blocks the noise is a mapping that draws each block when it is asked for.
So the noise of a thousand steps of large images is never in memory at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.checks import LARGEST_INTEGER, checked_flag

Array = NDArray[Any]
Shape = tuple[int, ...]
Law = Literal["normal", "uniform"]
DType = Literal["float32", "float64"]
# Most blocks that the text of a spec, or of a difference of two, lists one by one: they fit on a line or two.
_MOST_SHOWN = 6
Noise = Array | Mapping[str, Array]
"""Noise: an array for one block, a mapping from block names to arrays for several."""


@dataclass(frozen=True)
class Block:
    """One array of noise that a sample needs.

    Use blocks where a model takes several arrays of noise, uniform noise, or noise that a design must not touch. A
    `NoiseSpec` gives them names. A shape such as ``(3, 32, 32)`` is short for one block of normal noise.

    Attributes
    ----------
    shape : tuple of int
        The shape for one sample; ``()`` is a single number.
    law : {"normal", "uniform"}
        N(0, 1) or U(0, 1), independently for every entry.
    iid : bool
        True if this block is drawn independently for every point, whatever the design. Use it for noise that a design
        must not control.

    Raises
    ------
    TypeError, ValueError
        If the shape is no tuple of positive integers, the law is another one, or `iid` is no flag.

    Examples
    --------
    >>> import mcgen
    >>> block = mcgen.Block((10, 4), law="uniform")
    >>> print(block, block.size)
    uniform(10x4) 40
    """

    shape: Shape
    law: Law = "normal"
    iid: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "iid", checked_flag("iid of a noise block", self.iid))
        if self.law not in get_args(Law):
            raise ValueError(f"the law of a noise block must be one of {get_args(Law)}; got {self.law!r}")

    @property
    def size(self) -> int:
        """Number of entries for one sample: the dimension of the block."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        sides = "x".join(map(str, self.shape)) or "scalar"
        return f"{self.law}({sides}{', iid' if self.iid else ''})"


@dataclass(frozen=True)
class NoiseSpec:
    """The noise that one sample needs: named blocks, and the floating-point type that they are drawn in.

    Use it for models that take more than one array of normal noise. `NoiseSpec.normal` and `NoiseSpec.uniform` make a
    spec of one block.

    Attributes
    ----------
    blocks : tuple of (str, Block)
        The blocks, in the order in which the generator uses them. A mapping is accepted too. The generator gets one
        block as an array, and several as a mapping from names to arrays.
    dtype : {"float32", "float64"}
        The type of all blocks.

    Raises
    ------
    TypeError, ValueError
        If there is no block, two have the same name, or the type is another one.

    Examples
    --------
    >>> from mcgen import Block, NoiseSpec
    >>> print(NoiseSpec.normal((3, 32, 32)))
    normal(3x32x32) float32
    >>> print(NoiseSpec({"start": Block((4,)), "mask": Block((4,), law="uniform", iid=True)}))
    start: normal(4), mask: uniform(4, iid) float32
    """

    blocks: tuple[tuple[str, Block], ...]
    dtype: DType = "float32"

    if TYPE_CHECKING:
        # The field is a tuple; a call may give a mapping too, which its annotation would refuse.
        def __init__(
            self, blocks: Mapping[str, Block] | Iterable[tuple[str, Block]], dtype: DType = "float32"
        ) -> None: ...

    def __post_init__(self) -> None:
        try:
            items = self.blocks.items() if isinstance(self.blocks, Mapping) else self.blocks
            blocks = tuple((str(name), block) for name, block in items)
        except (TypeError, ValueError):
            blocks = (("", None),)
        if not all(isinstance(block, Block) for _, block in blocks):
            raise TypeError(
                'a noise spec is made from named blocks, such as NoiseSpec({"start": Block((4,)), "steps": Block((10, '
                f"4))}}), or by NoiseSpec.normal(shape); got {self.blocks!r}"
            )
        if not blocks or len(dict(blocks)) != len(blocks):
            raise ValueError(f"a noise spec needs at least one block and distinct names; got {[n for n, _ in blocks]}")
        dtype = getattr(self.dtype, "__name__", None) or getattr(self.dtype, "name", None) or self.dtype
        if dtype not in get_args(DType):
            raise ValueError(f"the dtype of noise must be one of {get_args(DType)}; got {self.dtype!r}")
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "blocks", blocks)

    @classmethod
    def normal(cls, shape: Shape, dtype: DType = "float32") -> NoiseSpec:
        """Return the spec of one block of standard normal noise."""
        return cls((("noise", Block(shape)),), dtype)

    @classmethod
    def uniform(cls, shape: Shape, dtype: DType = "float32") -> NoiseSpec:
        """Return the spec of one block of uniform noise."""
        return cls((("noise", Block(shape, "uniform")),), dtype)

    @property
    def dimension(self) -> int:
        """Number of entries over all blocks."""
        return sum(block.size for _, block in self.blocks)

    def __str__(self) -> str:
        if len(self.blocks) == 1:
            return f"{self.blocks[0][1]} {self.dtype}"
        texts = [f"{name}: {block}" for name, block in self.blocks]
        if len(texts) > _MOST_SHOWN:
            # Samplers of many steps have a block for every step.
            texts = [*texts[:2], f"... ({len(texts) - 3} more)", texts[-1]]
        return ", ".join(texts) + f" {self.dtype}"


def agree_in_order(a: NoiseSpec, b: NoiseSpec) -> bool:
    """Tell whether two specs have the same type and, in order, the same blocks, by whatever names."""
    return a.dtype == b.dtype and [block for _, block in a.blocks] == [block for _, block in b.blocks]


def differences_of(a: NoiseSpec, b: NoiseSpec, names: tuple[str, str] = ("the first", "the second")) -> str:
    """Return in words what two specs differ in: their type, their number of blocks, and each block that differs.

    Examples
    --------
    >>> from mcgen import NoiseSpec
    >>> from mcgen.noise.spec import differences_of
    >>> differences_of(NoiseSpec.normal((4,)), NoiseSpec.normal((5,)))
    'block 0 is noise: normal(4) in the first and noise: normal(5) in the second'
    """
    first, second = names
    found = [] if a.dtype == b.dtype else [f"the dtype is {a.dtype} in {first} and {b.dtype} in {second}"]
    counts = len(a.blocks), len(b.blocks)
    if counts[0] != counts[1]:
        found.append(f"{first} has {counts[0]} blocks and {second} has {counts[1]}")
    apart = [
        f"block {number} is {x[0]}: {x[1]} in {first} and {y[0]}: {y[1]} in {second}"
        for number, (x, y) in enumerate(zip(a.blocks, b.blocks, strict=False))
        if x[1] != y[1]
    ]
    if not (found or apart):
        apart = [
            f"block {number} is named {x!r} in {first} and {y!r} in {second}"
            for number, ((x, _), (y, _)) in enumerate(zip(a.blocks, b.blocks, strict=True))
            if x != y
        ]
    more = [f"{len(apart) - _MOST_SHOWN} more blocks differ"] if len(apart) > _MOST_SHOWN else []
    return "; ".join(found + apart[:_MOST_SHOWN] + more)


def as_noise_spec(noise: Shape | NoiseSpec | Block | Mapping[str, Block]) -> NoiseSpec:
    """Return the spec that `noise` stands for; a shape stands for one block of standard normal noise."""
    if isinstance(noise, NoiseSpec):
        return noise
    if isinstance(noise, Block):
        return NoiseSpec((("noise", noise),))
    if isinstance(noise, Mapping):
        return NoiseSpec(tuple(noise.items()))
    return NoiseSpec.normal(noise)


class BlockNoise(Mapping[str, Array]):
    """Noise of several blocks; each block is drawn when it is asked for, and not kept.

    Parameters
    ----------
    draw : callable
        ``draw(name)`` returns the block's array; a pure function.
    names : tuple of str
        Names of the blocks.
    """

    def __init__(self, draw: Callable[[str], Array], names: tuple[str, ...]) -> None:
        self._draw, self._names = draw, names

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(f"no noise block {name!r}; there are {', '.join(self._names)}")
        return self._draw(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def map(self, change: Callable[[Array], Array]) -> BlockNoise:
        """Return the same noise with `change` applied to every block as it is drawn."""
        return BlockNoise(lambda name: change(self._draw(name)), self._names)


def change_noise(noise: Noise, change: Callable[[Array], Array]) -> Noise:
    """Return the noise with `change` applied to the array, or to every block when it is drawn."""
    return noise.map(change) if isinstance(noise, BlockNoise) else change(np.asarray(noise))


def as_rows(noise: Noise) -> Noise:
    """Return noise of shape (replicates, points, ...) in the shape (replicates * points, ...) that generators take.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.noise import as_rows
    >>> as_rows(mcgen.Antithetic().draw((3,), 5, seed=0)).shape
    (10, 3)
    """
    return change_noise(noise, lambda block: block.reshape(-1, *block.shape[2:]))


def _checked_shape(shape: Shape) -> Shape:
    try:
        # A single number means a shape with one axis, as in numpy.
        given = (shape,) if isinstance(shape, int | np.integer) and not isinstance(shape, bool) else shape
        sides = tuple(operator.index(side) for side in given)
    except TypeError:
        raise TypeError(f"a noise shape is a tuple of positive integers such as (3, 32, 32); got {shape!r}") from None
    if any(side < 1 for side in sides):
        raise ValueError(f"every side of a noise shape must be at least 1; got {sides}")
    if math.prod(sides) > LARGEST_INTEGER:
        raise ValueError(f"a noise block has at most 2**63 - 1 entries; got the shape {sides}. Give a smaller shape")
    return sides


def noise_of(spec: NoiseSpec, noise: Noise) -> Noise:
    """Return the blocks of a spec, taken from noise that has more blocks; an array where the spec has one block."""
    assert not isinstance(noise, np.ndarray)
    names = tuple(name for name, _ in spec.blocks)
    return noise[names[0]] if len(names) == 1 else BlockNoise(noise.__getitem__, names)

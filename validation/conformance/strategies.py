"""Hypothesis strategies for noise specs, designs, generators and statistics, for property-based tests.

Each object that is drawn keeps the laws of its kind, is cheap to run, and prints as the code that makes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer
from mcgen.designs import (
    Antithetic,
    Design,
    KAntithetic,
    LatinHypercube,
    MonteCarlo,
    OrthogonalAntithetic,
    Sobol,
    Subspace,
)
from mcgen.noise import Array, Block, DType, Law, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.statistics import Statistic, identity, pixel_mean
from mcgen.variance_reduction.bases.cosines import dct_basis

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError as error:
    raise ImportError(
        "the strategies of mcgen.validation need hypothesis, which is not installed; install the extra: pip install "
        "'mcgen-stats[validation]'"
    ) from error

_NAMES = ("start", "steps", "levels", "mask", "hidden", "last")

_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "square": np.square,
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "positive part": lambda z: np.maximum(z, 0),
}


def blocks(
    *, laws: Sequence[Law] = get_args(Law), max_sides: int = 3, max_side: int = 4, iid: bool = False
) -> SearchStrategy[Block]:
    """Return a strategy for blocks of noise.

    Parameters
    ----------
    laws : sequence of {"normal", "uniform"}
        The laws to choose from.
    max_sides, max_side : int
        Largest number of axes, and largest length of one.
    iid : bool
        Whether blocks may be marked i.i.d.
    """
    sides = st.lists(st.integers(1, max_side), max_size=max_sides).map(tuple)
    return st.builds(Block, sides, st.sampled_from([*laws]), st.booleans() if iid else st.just(False))


def noise_specs(
    *,
    max_blocks: int = 3,
    laws: Sequence[Law] = get_args(Law),
    dtypes: Sequence[DType] = get_args(DType),
    max_sides: int = 3,
    max_side: int = 4,
    iid: bool = True,
) -> SearchStrategy[NoiseSpec]:
    """Return a strategy for noise specs of one block or several.

    Parameters
    ----------
    max_blocks : int
        Largest number of blocks, from 1 to 6.
    laws, max_sides, max_side, iid
        As for `blocks`.
    dtypes : sequence of {"float32", "float64"}
        The types to choose from.

    Raises
    ------
    TypeError, ValueError
        If `max_blocks` is not an int from 1 to 6.

    Examples
    --------
    >>> from hypothesis import given
    >>> import mcgen
    >>> from mcgen.validation.conformance.strategies import designs, noise_specs
    >>> @given(design=designs(), spec=noise_specs(max_blocks=1))
    ... def test_first_replicate(design: mcgen.Design, spec: mcgen.NoiseSpec) -> None:
    ...     assert (design.draw(spec, 1, seed=0)[0] == design.draw(spec, 3, seed=0)[0]).all()
    >>> test_first_replicate()
    """
    if not 1 <= checked_integer("max_blocks", max_blocks) <= len(_NAMES):
        raise ValueError(f"max_blocks must be from 1 to {len(_NAMES)}; got {max_blocks}")
    one = blocks(laws=laws, max_sides=max_sides, max_side=max_side, iid=iid)

    def spec(found: list[Block], dtype: DType) -> NoiseSpec:
        return NoiseSpec(tuple(zip(_NAMES, found, strict=False)), dtype)

    return st.builds(spec, st.lists(one, min_size=1, max_size=max_blocks), st.sampled_from([*dtypes]))


def designs(*, max_points: int = 64, noise: NoiseSpec | Shape | None = None) -> SearchStrategy[Design]:
    """Return a strategy for the designs of this package, with at most `max_points` points in a replicate.

    Parameters
    ----------
    max_points : int
        Largest number of points.
    noise : NoiseSpec or tuple of int, optional
        Noise that the designs must be able to draw; by default any noise.

    Raises
    ------
    TypeError, ValueError
        If `max_points` is not an int of at least 1, or `noise` is no noise spec.
    """
    if checked_integer("max_points", max_points) < 1:
        raise ValueError(f"max_points must be at least 1; got {max_points}")
    spec = None if noise is None else as_noise_spec(noise)
    found: list[SearchStrategy[Any]] = [st.just(MonteCarlo())]
    if max_points >= 2:
        sobol = st.integers(1, max_points.bit_length() - 1).map(lambda k: Sobol(1 << k))
        counts = st.integers(2, max_points)
        # Orthogonal points need a block as large as half their number; noise that is not known has at least one number.
        sizes = [1] if spec is None else [block.size for _, block in spec.blocks if not block.iid]
        halves = st.integers(1, min([max_points // 2, *sizes]))
        found += [st.just(Antithetic()), counts.map(KAntithetic), sobol, counts.map(LatinHypercube)]
        found += [halves.map(lambda half: OrthogonalAntithetic(2 * half))]
        if spec is not None and sizes:
            basis = st.builds(dct_basis, st.just(spec), st.integers(1, min(4, sum(sizes))))
            found += [st.builds(Subspace, basis, sobol, st.sampled_from([Antithetic(), MonteCarlo()]))]
    return st.one_of(found)


@dataclass(frozen=True)
class ElementwiseGenerator:
    """A generator that keeps all laws to the last bit: functions of each number of the noise, summed block by block.

    Attributes
    ----------
    noise : NoiseSpec
        Noise of any blocks.
    functions : tuple of str
        Name of the function of each block.
    shift : float
        Added to the samples, multiplied by the condition if there is one.
    """

    noise: NoiseSpec
    functions: tuple[str, ...]
    shift: float = 0.0

    def __call__(self, noise: Noise, condition: Any = None) -> Array:
        """Return n samples of as many numbers as the largest block has, in the noise's type."""
        arrays = [noise] if isinstance(noise, np.ndarray) else [noise[name] for name, _ in self.noise.blocks]
        samples = np.zeros((len(arrays[0]), max(block.size for _, block in self.noise.blocks)), self.noise.dtype)
        for array, function, (_, block) in zip(arrays, self.functions, self.noise.blocks, strict=True):
            samples[:, : block.size] += _FUNCTIONS[function](array).reshape(len(array), block.size)
        samples += np.asarray(self.shift * (1 if condition is None else condition), samples.dtype)
        return samples


def generators(
    noise: NoiseSpec | Shape | SearchStrategy[NoiseSpec] | None = None,
) -> SearchStrategy[ElementwiseGenerator]:
    """Return a strategy for cheap generators that keep their laws.

    Parameters
    ----------
    noise : NoiseSpec, tuple of int or strategy, optional
        Noise of the generators; by default drawn from `noise_specs()`.
    """
    if noise is None:
        noise = noise_specs()
    specs = noise if isinstance(noise, SearchStrategy) else st.just(as_noise_spec(noise))

    def of_spec(spec: NoiseSpec) -> SearchStrategy[ElementwiseGenerator]:
        functions = st.tuples(*itertools.repeat(st.sampled_from([*_FUNCTIONS]), len(spec.blocks)))
        return st.builds(partial(ElementwiseGenerator, spec), functions, st.sampled_from([0.0, 1.0, -0.5]))

    return specs.flatmap(of_spec)


@dataclass(frozen=True)
class Share:
    """The share of a sample's entries above a threshold."""

    threshold: float

    @property
    def name(self) -> str:
        """The name in results."""
        return f"share above {self.threshold}"

    def __call__(self, samples: Any) -> Floats:
        """Return the shares of n samples, shape (n,)."""
        found: Floats = (np.asarray(samples) > self.threshold).reshape(len(samples), -1).mean(1)
        return found


def statistics() -> SearchStrategy[Statistic]:
    """Return a strategy for statistics of samples of any shape, in numpy."""
    found: list[SearchStrategy[Any]] = [
        st.sampled_from([pixel_mean, identity]),
        st.sampled_from([-1.0, 0.0, 0.5]).map(Share),
    ]
    return st.one_of(found)

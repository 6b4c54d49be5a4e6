"""Generators that run several things on the same noise: other generators, other conditions, control variates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.generators import Generator
from mcgen.generators.factories import Factory
from mcgen.noise import BlockNoise, Noise, NoiseSpec, noise_of

MINUS = " - "
"""Stands between the names of two generators whose difference is taken."""


def samples_apart(generator: Any, samples: Any) -> list[Any]:
    """Return the samples of each of the user's generators as a list; a plain generator has one entry."""
    apart = getattr(generator, "samples_apart", None)
    return [samples] if apart is None else apart(samples)


@dataclass(frozen=True)
class OnSameNoise:
    """Several generators on the same noise: a tuple of their samples.

    Attributes
    ----------
    generators : tuple of Generator
        Each takes noise of the declared spec.
    noise : NoiseSpec
        The common noise.
    separator : str
        Joins their names.
    """

    generators: tuple[Generator, ...]
    noise: NoiseSpec
    separator: str = ", "

    def __mcgen_content__(self, load: bool) -> Any:
        return self.generators

    @property
    def name(self) -> str:
        """The names of all generators."""
        return self.separator.join(map(name_of, self.generators))

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, ...]:
        """Return a tuple of samples, one entry for each generator."""
        return tuple(generator(noise, condition) for generator in self.generators)

    def samples_apart(self, samples: tuple[Any, ...]) -> list[Any]:
        """Return the samples of each of the user's generators."""
        found = (samples_apart(*both) for both in zip(self.generators, samples, strict=True))
        return [part for parts in found for part in parts]


def pair(a: Generator, b: Generator) -> OnSameNoise:
    """Return two generators on the noise of the first, of which a statistic takes the difference.

    The blocks of the second may have other names; they must agree in order.
    """
    adapted = b if b.noise == a.noise else OnNamedBlocks(b, a.noise, tuple(name for name, _ in a.noise.blocks))
    return OnSameNoise((a, adapted), a.noise, MINUS)


def pair_on_shared_blocks(a: Generator, b: Generator, shared: Mapping[str, str]) -> OnSameNoise:
    """Return two generators that share some blocks of their noise, of which a statistic takes the difference.

    The joint noise has the shared blocks by their names in `a`, then the other blocks of each generator, such as
    "a/start" and "b/start".

    Parameters
    ----------
    a, b : Generator
        Two generators of one dtype.
    shared : mapping of str to str
        Names of the shared blocks in `a`, and those of the same blocks in `b`. Shapes and laws agree.
    """
    in_b = {name: joint for joint, name in shared.items()}
    blocks = [(name, block) for name, block in a.noise.blocks if name in shared]
    adapted = []
    for side, generator, joint in (("a", a, {name: name for name in shared}), ("b", b, in_b)):
        own = [name for name, _ in generator.noise.blocks]
        # A shared block may itself have a name such as "a/start".
        while any(f"{side}/{name}" in shared for name in own):
            side += "'"
        names = {name: joint.get(name, f"{side}/{name}") for name in own}
        blocks += [(names[name], block) for name, block in generator.noise.blocks if name not in joint]
        adapted.append((generator, tuple(names.values())))
    noise = NoiseSpec(tuple(blocks), a.noise.dtype)
    return OnSameNoise(tuple(OnNamedBlocks(one, noise, names) for one, names in adapted), noise, MINUS)


@dataclass(frozen=True)
class OnNamedBlocks:
    """A generator fed with some blocks of another noise, which may have other names there.

    Attributes
    ----------
    generator : Generator
        The generator.
    noise : NoiseSpec
        The other noise.
    names : tuple of str
        Names in the other noise of the generator's own blocks, in their order.
    """

    generator: Generator
    noise: NoiseSpec
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The generator's name."""
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return the generator's samples."""
        if len(self.noise.blocks) == 1:
            return self.generator(noise, condition)
        assert not isinstance(noise, np.ndarray)
        own = [name for name, _ in self.generator.noise.blocks]
        there = dict(zip(own, self.names, strict=True))
        renamed = BlockNoise(lambda name: noise[there[name]], tuple(own))
        return self.generator(renamed[own[0]] if len(own) == 1 else renamed, condition)

    def samples_apart(self, samples: Any) -> list[Any]:
        """Return the samples of each of the user's generators."""
        return samples_apart(self.generator, samples)


@dataclass(frozen=True)
class OnSomeBlocks:
    """A generator fed with some blocks of a larger noise."""

    generator: Generator
    noise: NoiseSpec

    @property
    def name(self) -> str:
        """The generator's name."""
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return the generator's samples."""
        return self.generator(noise_of(self.generator.noise, noise), condition)


@dataclass(frozen=True)
class EachCondition:
    """A generator under a list of conditions on the same noise: a tuple of samples, one entry for each condition."""

    generator: Generator

    @property
    def noise(self) -> NoiseSpec:
        """The generator's noise."""
        return self.generator.noise

    @property
    def name(self) -> str:
        """The generator's name."""
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, ...]:
        """Return a tuple of samples, one entry for each condition in the list."""
        return tuple(self.generator(noise, one) for one in condition)

    def samples_apart(self, samples: tuple[Any, ...]) -> list[Any]:
        """Return the samples under each condition."""
        return [part for one in samples for part in samples_apart(self.generator, one)]


class NoiseFunctions(Protocol):
    """Functions of the noise with known expectations, as a generator needs to know them."""

    @property
    def mean(self) -> tuple[float, ...]:
        """The expectations."""
        ...

    @property
    def name(self) -> str:
        """The name in results."""
        ...

    def on(self, spec: NoiseSpec) -> Callable[[Noise], Floats]:
        """Return the function from noise of a spec to values less their expectations, shape (n, q)."""
        ...


@dataclass(frozen=True)
class WithControls:
    """A generator that returns its samples and the values of some controls at the same noise."""

    generator: Generator
    controls: NoiseFunctions
    values: Callable[[Noise], Floats] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", self.controls.on(self.noise))

    @property
    def noise(self) -> NoiseSpec:
        """The generator's."""
        return self.generator.noise

    @property
    def name(self) -> str:
        """The generator's."""
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, Floats]:
        """Return the samples and the controls, shape (n, q)."""
        return self.generator(noise, condition), self.values(noise)

    def samples_apart(self, samples: tuple[Any, Floats]) -> list[Any]:
        """Return the samples of the generator, without the controls."""
        return samples_apart(self.generator, samples[0])


@dataclass(frozen=True)
class ControlValues:
    """A generator whose samples are the values of some controls; it needs no model."""

    controls: NoiseFunctions
    noise: NoiseSpec

    @property
    def name(self) -> str:
        """The name of the controls."""
        return self.controls.name

    def __call__(self, noise: Noise, condition: Any = None) -> Floats:
        """Return the values less their expectations, shape (n, q)."""
        return self.controls.on(self.noise)(noise)


def pilot_evaluations_of(generator: Any) -> float:
    """Return what was spent to make a generator, in evaluations of this generator; 0 for most.

    A generator that a pilot made has the attributes ``pilot_evaluations``, what the pilot cost in evaluations of a
    reference generator, and ``cost``, the cost of one of its own evaluations in the same unit. The other generators of
    a joint one count as the reference. A factory that is not loaded in this process does not say what it cost.
    """
    spent, cost = _pilot_and_cost(generator)
    return spent / cost


def _pilot_and_cost(generator: Any) -> tuple[float, float]:
    """Return both in evaluations of the reference generator: what a pilot cost, and what an evaluation costs."""
    if isinstance(generator, OnSameNoise):
        each = [_pilot_and_cost(one) for one in generator.generators]
        return sum(spent for spent, _ in each), sum(cost for _, cost in each)
    if isinstance(generator, OnNamedBlocks | OnSomeBlocks | EachCondition | WithControls):
        return _pilot_and_cost(generator.generator)
    if isinstance(generator, Factory) and not generator.is_loaded:
        return 0.0, 1.0
    spent = getattr(generator, "pilot_evaluations", None)
    return (0.0, 1.0) if spent is None else (float(spent), float(getattr(generator, "cost", 1.0)))

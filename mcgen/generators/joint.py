"""Generators made of generators that run on the same noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.generators import Generator
from mcgen.noise import Noise, NoiseSpec, noise_of


def samples_apart(generator: Any, samples: Any) -> list[Any]:
    """Return the samples of each of a user's generators, where mcgen runs several on the same noise."""
    apart = getattr(generator, "samples_apart", None)
    return [samples] if apart is None else apart(samples)


@dataclass(frozen=True)
class Pair:
    """Two generators fed with the same noise."""

    a: Generator
    b: Generator

    @property
    def noise(self) -> NoiseSpec:
        """The noise of both."""
        return self.a.noise

    @property
    def name(self) -> str:
        """Their names."""
        return f"{name_of(self.a)} - {name_of(self.b)}"

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, Any]:
        """Return the samples of both."""
        return self.a(noise, condition), self.b(noise, condition)

    def samples_apart(self, samples: tuple[Any, Any]) -> list[Any]:
        """Return the samples of each generator."""
        return [*samples_apart(self.a, samples[0]), *samples_apart(self.b, samples[1])]


@dataclass(frozen=True)
class OfSomeBlocks:
    """A generator on noise of more blocks than its own."""

    generator: Generator
    noise: NoiseSpec

    @property
    def name(self) -> str:
        """The generator's."""
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return its samples."""
        return self.generator(noise_of(self.generator.noise, noise), condition)


@dataclass(frozen=True)
class _SideBySide:
    """Several generators on the same noise."""

    generators: tuple[Generator, ...]
    noise: NoiseSpec

    @property
    def name(self) -> str:
        return ", ".join(map(name_of, self.generators))

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, ...]:
        return tuple(generator(noise, condition) for generator in self.generators)

    def samples_apart(self, samples: tuple[Any, ...]) -> list[Any]:
        found = (samples_apart(*both) for both in zip(self.generators, samples, strict=True))
        return [part for parts in found for part in parts]


@dataclass(frozen=True)
class _EachCondition:
    """A generator under a list of conditions: a tuple of samples, one for each, from the same noise."""

    generator: Generator

    @property
    def noise(self) -> NoiseSpec:
        return self.generator.noise

    @property
    def name(self) -> str:
        return name_of(self.generator)

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, ...]:
        return tuple(self.generator(noise, one) for one in condition)

    def samples_apart(self, samples: tuple[Any, ...]) -> list[Any]:
        return [part for one in samples for part in samples_apart(self.generator, one)]


class NoiseFunctions(Protocol):
    """What a run needs to know of controls."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Their expectations."""
        ...

    @property
    def name(self) -> str:
        """How results call them."""
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
        """Return the samples of each generator."""
        return samples_apart(self.generator, samples[0])


@dataclass(frozen=True)
class _Alone:
    """The values of the controls as samples."""

    controls: NoiseFunctions
    noise: NoiseSpec

    @property
    def name(self) -> str:
        return self.controls.name

    def __call__(self, noise: Noise, condition: Any = None) -> Floats:
        return self.controls.on(self.noise)(noise)

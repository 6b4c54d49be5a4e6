"""`DesignTrial`: a design, and the noise that its laws are tried on, drawn once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer
from mcgen.designs import Design
from mcgen.noise import Block, BlockNoise, Law, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.random import Seed
from mcgen.validation.conformance.random_states import changed_since, read_states
from mcgen.validation.conformance.reports import NotJudgedError, raised
from mcgen.validation.conformance.scores import Scores

# Numbers of each noise spec in the statistical tests, 8 MB, as far as the limits below allow it.
_NUMBERS = {"float32": 2**21, "float64": 2**20}
# Fewest and most replicates in the statistical tests.
_FEWEST, _MOST = 1024, 2**15
# Most points of a replicate and coordinates of a point in the statistical tests.
_MOST_POINTS, _MOST_COORDINATES = 64, 16
# Noise of several blocks: normal and uniform ones, and one that is marked iid.
_SEVERAL = as_noise_spec(
    {
        "start": Block((2, 2)),
        "steps": Block((2, 2)),
        "levels": Block((3,), "uniform"),
        "hidden": Block((2,), "uniform", iid=True),
    }
)

Arrays = NDArray[Any]
Draw = Callable[..., Arrays]


class DesignTrial:
    """A design, the noise specs that it is tried on, and the noise drawn so far."""

    def __init__(self, design: Design, noise: NoiseSpec | Shape | None, seed: Seed) -> None:
        self.design, self.seed, self.states = design, seed, read_states()
        self.n = checked_integer("n_points", design.n_points)
        if self.n < 1:
            raise ValueError(
                f"n_points of {design} must be at least 1; got {self.n}. It is how many noise vectors a replicate has"
            )
        self.type_errors: list[str] = []
        self.specs, self.refused, self.several = self._specs(noise)
        largest = self.n * max(spec.dimension for spec in self.specs)
        self.m = 6 if largest < 2**14 else 3
        half, whole = _MOST_POINTS // 2, range(self.n)
        self.slices = [whole] if self.n <= _MOST_POINTS else [whole[:half], whole[-half:]]
        self.points = [point for part in self.slices for point in part]
        self._scores: dict[NoiseSpec, Scores] = {}

    def _specs(self, noise: NoiseSpec | Shape | None) -> tuple[list[NoiseSpec], list[str], NoiseSpec]:
        if noise is not None:
            given = as_noise_spec(noise)
            blocks = {Block(block.shape, block.law) for _, block in given.blocks}
            block = given.blocks[0][1]
            hidden = Block(block.shape, block.law, iid=True)
            several = NoiseSpec((("first", block), ("second", block), ("hidden", hidden)), given.dtype)
            lone = sorted((NoiseSpec((("noise", block),), given.dtype) for block in blocks), key=str)
            for spec in lone:
                self.array(spec, 1)
            return lone, [], given if len(given.blocks) > 1 else several
        specs, refused = [], []
        errors: list[Exception] = []
        for spec in (f((2, 2), d) for f in (NoiseSpec.normal, NoiseSpec.uniform) for d in ("float32", "float64")):
            try:
                self.array(spec, 1)
                specs.append(spec)
            except (ValueError, NotImplementedError) as error:
                refused.append(f"{spec} ({error})")
                errors.append(error)
            except TypeError as error:
                self.type_errors.append(f"of {spec} {raised(error)}")
                errors.append(error)
        if not specs:
            raise errors[0]
        return specs, refused, _SEVERAL

    @property
    def text(self) -> str:
        """What the laws were tried on."""
        sizes = [f"{self.n_replicates(spec)} replicates of {spec}" for spec in self.specs]
        refused = f"; it refuses {', '.join(self.refused)}" if self.refused else ""
        return f"{self.n} point{'s' if self.n > 1 else ''}: {', '.join(sizes)}{refused}"

    @property
    def main(self) -> NoiseSpec:
        """The noise spec whose numbers hardly repeat by chance: float64 if the design draws it."""
        return next((spec for spec in self.specs if spec.dtype == "float64"), self.specs[0])

    def array(self, spec: NoiseSpec, replicates: int | range, **options: Any) -> Arrays:
        """Return the noise of a spec of one block."""
        drawn = self.design.draw(spec, replicates, self.seed, **options)
        if isinstance(drawn, BlockNoise):
            raise TypeError(f"a lone block must come as an array; got a mapping for {spec}")
        return np.asarray(drawn)

    @cached_property
    def signature_problem(self) -> str:
        """The exception of a call with all arguments by name; empty if there is none."""
        try:
            self.design.draw(self.main, replicates=1, seed=self.seed, stream=("conformance",), points=range(1))
        except Exception as error:
            return f"with replicates, seed, stream and points by name {raised(error)}"
        return ""

    @property
    def changed_states(self) -> list[str]:
        """The libraries whose global random state has changed since the trial began."""
        return changed_since(self.states)

    @cached_property
    def shape_problem(self) -> str:
        """What is wrong with the shape or the type of the noise."""
        for spec in self.specs:
            noise = self.array(spec, range(2, 5))
            wanted = (3, self.n, *spec.blocks[0][1].shape)
            if noise.shape != wanted or noise.dtype != spec.dtype:
                return (
                    f"3 replicates of {spec} have shape {noise.shape} and type {noise.dtype}; "
                    f"wanted {wanted} and {spec.dtype}"
                )
        return ""

    @property
    def kinds(self) -> dict[str, Draw]:
        """Functions that draw noise, by kind: each spec of one block, and each block of the spec of several."""
        # Not cached: the functions refer to the trial, and such a cycle would keep its noise in memory.

        def lone(spec: NoiseSpec, replicates: int | range, points: range | None = None) -> Arrays:
            return self.array(spec, replicates, points=points)

        def one_of_several(name: str, replicates: int | range, points: range | None = None) -> Arrays:
            return np.asarray(self.blocks(replicates, points)[name])

        kinds: dict[str, Draw] = {str(spec): partial(lone, spec) for spec in self.specs}
        if not self.several_problem:
            kinds |= {f"block {name!r}": partial(one_of_several, name) for name, _ in self.several.blocks}
        return kinds

    @cached_property
    def several_problem(self) -> str:
        """What is wrong with the noise of several blocks, or why they are refused."""
        names = [name for name, _ in self.several.blocks]
        try:
            noise = self.blocks(range(2, 5))
        except NotJudgedError as error:
            return str(error)
        except Exception as error:
            return raised(error)
        if not isinstance(noise, BlockNoise) or [*noise] != names:
            return f"the noise of several blocks is a {type(noise).__name__}"
        for name, block in self.several.blocks:
            found, wanted = noise[name], (3, self.n, *block.shape)
            if found.shape != wanted or found.dtype != self.several.dtype:
                return f"block {name!r} has shape {found.shape} and type {found.dtype}; wanted {wanted}"
        return ""

    @cached_property
    def repeat_problem(self) -> str:
        """The kind of noise that differs when it is drawn again; empty if none does."""
        replicates = range(2, 2 + self.m)
        for kind, draw in self.kinds.items():
            if not same_bits(draw(replicates), draw(replicates)):
                return f"{replicates} of {kind} drawn twice differ"
        return ""

    def require_repeating(self) -> None:
        """Raise NotJudgedError if noise has another shape or does not repeat: comparisons would say nothing."""
        if self.shape_problem:
            raise NotJudgedError("noise has another shape")
        if self.repeat_problem:
            raise NotJudgedError("noise does not repeat")

    @property
    def n_some(self) -> int:
        """The number of replicates drawn for each of several seeds, streams and blocks."""
        return min(max(2**16 // self.n, _FEWEST), 2**12)

    def n_replicates(self, spec: NoiseSpec) -> int:
        """Return how many replicates of a spec the statistical tests use."""
        coordinates = min(_MOST_COORDINATES, spec.dimension)
        wanted = _NUMBERS[spec.dtype] // (self.n * coordinates)
        return min(max(wanted, _FEWEST), _MOST)

    def kept(self, noise: Arrays, points: bool = True) -> Arrays:
        """Return the points and coordinates that the statistical tests use, shape (replicates, points, size)."""
        flat = noise.reshape(len(noise), noise.shape[1], -1)
        size = flat.shape[2]
        chosen = np.unique(np.linspace(0, size - 1, min(size, _MOST_COORDINATES)).astype(int))
        return (flat[:, self.points] if points and self.n > _MOST_POINTS else flat)[:, :, chosen]

    def drawn(self, draw: Callable[[range, range], Arrays], n_replicates: int, size: int) -> Arrays:
        """Return those points and coordinates of many replicates, drawn in pieces that fit memory."""
        at_once = max(1, 2**22 // (len(self.points) * size))
        rows = [range(a, min(a + at_once, n_replicates)) for a in range(0, n_replicates, at_once)]
        pieces = [[self.kept(draw(some, part), points=False) for part in self.slices] for some in rows]
        return np.concatenate([np.concatenate(parts, axis=1) for parts in pieces])

    def scores(self, spec: NoiseSpec) -> Scores:
        """Return the scores of many replicates of a spec."""
        if self.shape_problem:
            raise NotJudgedError("noise has another shape")
        if spec not in self._scores:
            noise = self.drawn(lambda r, p: self.array(spec, r, points=p), self.n_replicates(spec), spec.dimension)
            self._scores[spec] = Scores(noise, spec.blocks[0][1].law, self.points)
        return self._scores[spec]

    def some(self, spec: NoiseSpec, design: Design, seed: Seed, stream: tuple[str | int, ...]) -> Arrays:
        """Return those points and coordinates of `n_some` replicates of any design, seed and stream."""
        if self.shape_problem:
            raise NotJudgedError("noise has another shape")

        def draw(replicates: range, points: range) -> Arrays:
            inside = points if design is self.design else None
            return np.asarray(design.draw(spec, replicates, seed, stream=stream, points=inside))

        return self.drawn(draw, self.n_some, spec.dimension)

    def some_of_block(self, name: str) -> Arrays:
        """Return those points and coordinates of `n_some` replicates of one of several blocks."""
        size = dict(self.several.blocks)[name].size
        return self.drawn(lambda r, p: np.asarray(self.blocks(r, p)[name]), self.n_some, size)

    def scores_of(self, noise: Arrays, law: Law) -> Scores:
        """Return the scores of noise that `some` or `some_of_block` returned."""
        return Scores(noise, law, self.points if noise.shape[1] == len(self.points) else range(noise.shape[1]))

    def blocks(self, replicates: int | range, points: range | None = None) -> Any:
        """Return the noise of several blocks.

        Raises
        ------
        NotJudgedError
            If the design refuses several blocks, which is allowed.
        """
        try:
            return self.design.draw(self.several, replicates, self.seed, points=points)
        except NotImplementedError as error:
            raise NotJudgedError(f"it refuses several blocks ({error})") from None


def same_bits(a: Arrays, b: Arrays) -> bool:
    """Return whether arrays agree in shape, type and every bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def shared_replicate(noises: dict[str, Arrays], *, inside: bool = False) -> str:
    """Return which replicate two kinds of noise share, or with `inside` one kind has twice; empty if there is none.

    The noise of each kind has shape (n_replicates, n_points, n_coordinates).
    """
    seen: dict[bytes, tuple[str, int]] = {}
    for name, noise in noises.items():
        if noise.shape[2] < 4:
            # Replicates of fewer than four coordinates can repeat by chance.
            continue
        for r, replicate in enumerate(noise):
            before, first = seen.setdefault(replicate.tobytes(), (name, r))
            if before != name or (inside and first != r):
                return f"replicate {r}{name} is replicate {first}{before} again"
    return ""

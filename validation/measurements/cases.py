"""The cases of the efficiency measurements: mixture diffusions with exact score, and every model that ships with mcgen.

A statistic that equals another one on the samples of a case counts once in geometric means: on grey images brightness
is the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen import bases, statistics
from mcgen.adapters import models
from mcgen.adapters.models.training import data
from mcgen.adapters.models.training.quality import Judge
from mcgen.noise.directions import Basis
from mcgen.statistics import Stack
from mcgen.validation.measurements.image_mixtures import MIXTURES, NAMES

PILOT_SEED = 1
# Gradients for an active subspace: of a sampler with a tenth of the steps, or, if there is none, of the generator.
N_GRADIENTS, N_DEAR_GRADIENTS = 64, 16
# Most directions of a subspace that Sobol' points are on.
MOST_DIRECTIONS = 32
# The class that is asked for, and whose probability is a statistic.
_CLASS = 3
PLANE_NAMES = ("x", "y", "x² + y²", "class")


@dataclass(frozen=True, eq=False)
class Case:
    """A generator, a statistic of several components, and how much is measured on them.

    Attributes
    ----------
    name : str
        The name on the page.
    load : callable
        Returns the generator.
    state : callable
        Returns the statistic.
    names : tuple of str
        Names of the statistic's components.
    evaluations : int
        Evaluations, at least, of the run that gives the variance of a design.
    runs : mapping of int to int
        The number of whole runs by their evaluations n, for contenders that are measured by whole runs.
    condition : object
        Condition of the generator.
    batch_size : int
        Rows that the generator sees at a time.
    repeated : tuple of str
        Components that equal another one.
    """

    name: str
    load: Callable[[], Any]
    state: Callable[[], Stack]
    names: tuple[str, ...]
    evaluations: int
    runs: Mapping[int, int]
    condition: Any = None
    batch_size: int = 64
    repeated: tuple[str, ...] = ()

    @cached_property
    def generator(self) -> Any:
        """The generator, loaded at the first access."""
        return self.load()

    @cached_property
    def statistic(self) -> Stack:
        """The statistic, made at the first access."""
        return self.state()

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which components count in geometric means."""
        return np.array([name not in self.repeated for name in self.names])

    @property
    def dimension(self) -> int:
        """Dimension of the noise without blocks marked iid, which directions don't reach."""
        return sum(self._sizes)

    @property
    def smallest_block(self) -> int:
        """Size of the smallest block that is not marked iid."""
        return min(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [block.size for _, block in self.generator.noise.blocks if not block.iid]

    def coarse(self, part: int) -> tuple[Any, int, int] | None:
        """Return the sampler with 1 / part of its steps, their number and the number of all; None if there is none."""
        steps = getattr(self.generator, "steps", 1)
        if not hasattr(self.generator, "coarse") or steps < 2 * part:
            return None
        return self.generator.coarse(steps // part), steps // part, steps

    def active_subspace(self, n_directions: int) -> Basis:
        """Return the leading directions, from 64 gradients with a tenth of the steps or 16 of the generator itself."""
        coarse = self.coarse(10)
        options: dict[str, Any] = {"n_gradients": N_DEAR_GRADIENTS}
        if coarse is not None:
            options = {"n_gradients": N_GRADIENTS, "coarse": coarse[0], "cost": coarse[1] / coarse[2]}
        r = min(n_directions, self.dimension)
        if (self.name, r) not in _FOUND:
            _FOUND[self.name, r] = bases.active_subspace(
                self.generator,
                self.statistic,
                r,
                seed=PILOT_SEED,
                condition=self.condition,
                at_most=True,
                **options,
            )
        return _FOUND[self.name, r]

    def cosines(self) -> Basis:
        """Return the basis of the lowest frequencies, up to 32."""
        return bases.dct_basis(self.generator.noise, min(MOST_DIRECTIONS, self.dimension))


_FOUND: dict[tuple[str, int], Basis] = {}


@cache
def classifier(images: str) -> Callable[[Any], Any]:
    """Return the probability of class 3 (photograph 0 for patches), by a small classifier trained on real images."""
    network = Judge(getattr(data, images)()).classifier.requires_grad_(False)
    number = 0 if images == "patches" else _CLASS
    return lambda x: torch.softmax(network(x), 1)[:, number]


def image_statistic(images: str) -> Stack:
    """Return the seven statistics of images in [0, 1]."""
    return statistics.stack(
        statistics.pixel_mean,
        statistics.brightness,
        statistics.contrast,
        statistics.centroid,
        lambda x: x.flatten(1).amax(1),
        lambda x: x.flatten(1).std(1),
        classifier(images),
        names=NAMES,
    )


def plane_statistic() -> Stack:
    """Return the four statistics of points of the plane; the class is a soft half plane."""
    return statistics.stack(
        lambda x: x[:, 0],
        lambda x: x[:, 1],
        lambda x: (x**2).sum(1),
        lambda x: torch.sigmoid(10 * (x[:, 1] - 0.5)),
        names=PLANE_NAMES,
    )


def _loaded(model: str, options: dict[str, Any]) -> Any:
    generator = models.load(model, **options)
    if model != "moons-flow":
        for module in generator.modules:
            # This memory format is 10 to 25 % faster on processors.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return generator


def _model(model: str, evaluations: int, runs: Mapping[int, int], **options: Any) -> Case:
    """Return the case of a shipped model; its statistics are seven of images or four of points in the plane."""
    condition, batch_size = options.pop("condition", None), options.pop("batch_size", 64)
    images, plane = model.partition("-")[0], model == "moons-flow"
    words = [model, *(f"{value} step{'s' * (value > 1)}" for value in options.values())]
    if condition is not None:
        words.append(f"class {condition}")
    return Case(
        ", ".join(words),
        partial(_loaded, model, options),
        plane_statistic if plane else partial(image_statistic, images),
        PLANE_NAMES if plane else NAMES,
        evaluations,
        runs,
        condition,
        batch_size,
        () if plane or images == "patches" else ("brightness",),
    )


def _mixture(name: str) -> Case:
    mixture = MIXTURES[name]
    small = mixture.side <= 8
    return Case(
        name,
        mixture.generator,
        mixture.statistic,
        NAMES,
        102_400 if small else 25_600,
        {3200: 40, 200: 200} if small else {3200: 10, 200: 100},
        batch_size=2048 if small else 512,
    )


# Whole runs by their evaluations, for models whose evaluation costs up to 0.13 s.
_FEW = {3200: 1, 200: 8}
CASES = {
    case.name: case
    for case in (
        *map(_mixture, MIXTURES),
        _model("digits-diffusion", 12_800, {3200: 8, 200: 40}, steps=50),
        _model("mnist-consistency", 12_800, {3200: 4, 200: 40}, steps=1),
        _model("mnist-vae", 25_600, {3200: 10, 200: 40}, batch_size=512),
        _model("mnist-glow", 12_800, {3200: 4, 200: 40}, condition=_CLASS),
        _model("moons-flow", 102_400, {3200: 40, 200: 200}, steps=20, batch_size=2048),
        _model("mnist-ddpm", 1600, _FEW, steps=50),
        _model("mnist-dit", 800, _FEW, steps=25, condition=_CLASS),
        _model("patches-diffusion", 1600, _FEW, steps=25),
    )
}

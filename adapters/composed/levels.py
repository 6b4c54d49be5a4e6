r"""The composed density at one noise level: scores and log densities of the parts, put together by the operator.

The score of a denoiser is :math:`s = -\hat\varepsilon / \sqrt{1 - \bar\alpha}`. Where the parts of a product have
scores only, the difference of log densities can be estimated along a segment,

.. math:: \log q(y) - \log q(x) = \int_0^1 s(x + \lambda (y - x))^\top (y - x)\, d\lambda,

by two Gauss points. It is exact for Gaussian densities. For a network whose output is no gradient the integral depends
on the path, and no density is known to be kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from mcgen.adapters.composed.energies import Energy, EnergyDenoiser
from mcgen.adapters.composed.moves import Point
from mcgen.adapters.composed.operators import Linear, Nonlinear
from mcgen.adapters.samplers.diffusion import DDIM, Heun
from mcgen.adapters.samplers.paths import OUTPUT_ADVICE, Network, times_of
from mcgen.adapters.samplers.predictions import Prediction, split_prediction
from mcgen.adapters.tensors.torch_generator import TorchGenerator
from mcgen.generators.schedule import Schedule, require_own_schedule

# Gauss points of the unit interval; both have the weight 1/2.
_GAUSS = (0.5 - math.sqrt(3) / 6, 0.5 + math.sqrt(3) / 6)
# Evaluations of the score that estimate one difference of log densities.
PATH_EVALUATIONS = len(_GAUSS)


class Asking(Protocol):
    """The generator, which converts states to the type of the networks and checks their outputs."""

    def narrowed(self, x: torch.Tensor) -> torch.Tensor:
        """Return states in the type of the networks."""
        ...

    def ask(
        self, role: str, network: Network, x: torch.Tensor, t: float, condition: object, advice: str = ""
    ) -> torch.Tensor:
        """Return a network's output, checked."""
        ...


def energy_of(part: Any) -> Energy | None:
    """Return the energy of a part, or None for a denoiser that has a score only."""
    found = part.energy if isinstance(part, EnergyDenoiser) else part
    return found if isinstance(found, Energy) else None


def denoiser_of(part: Any, schedule: Schedule, prediction: str) -> Any:
    """Return the denoiser of a `DDIM` or `Heun` that fits; functions and energies are returned as they are."""
    if not isinstance(part, TorchGenerator):
        require_own_schedule(part, schedule)
        return part
    if not isinstance(part, DDIM | Heun) or part.clip is not None:
        what = "it clips its predictions" if isinstance(part, DDIM | Heun) else "it is a generator"
        raise TypeError(f"parts are denoisers, energies, DDIM or Heun; got {part!r}: {what}. Give the denoiser itself")
    if part.prediction != prediction or part.schedule != schedule:
        raise ValueError(
            f"{part.name!r} predicts the {part.prediction} and has the {part.schedule}; got {prediction=} and "
            f"{schedule!r}. Give prediction={part.prediction!r} and the schedule of the model"
        )
    return part.denoiser


@dataclass(frozen=True)
class Level:
    """The composed density at one noise level.

    Attributes
    ----------
    asking : Compose
        The generator.
    parts : tuple
        Denoisers and energies.
    operator : Linear or Nonlinear
        What combines them.
    prediction : {"noise", "sample", "velocity"}
        What the denoisers predict.
    time, signal : float
        The time that the parts receive, and the signal's share.
    conditions : tuple
        The condition of each part.
    with_densities, along_path : bool
        Whether log densities are computed, and whether their differences are estimated along a segment instead.
    """

    asking: Asking
    parts: tuple[Any, ...]
    operator: Linear | Nonlinear
    prediction: Prediction
    time: float
    signal: float
    conditions: Sequence[Any]
    with_densities: bool
    along_path: bool

    def at(self, x: torch.Tensor) -> Point:
        """Return states with their scores, and their log densities where these are computed."""
        found = [self._part(i, x) for i in range(len(self.parts))]
        densities = torch.stack([one for _, one in found if one is not None]) if self.with_densities else None
        slopes = self.operator.slopes(densities)
        score = sum(_rows(slope, x) * s for slope, (s, _) in zip(slopes, found, strict=True))
        assert isinstance(score, torch.Tensor)
        return Point(x, score, None if densities is None else self.operator.combined(densities))

    def rise(self, here: Point, there: Point) -> torch.Tensor:
        """Return log q(there) - log q(here), shape (n,)."""
        if self.along_path:
            way = there.x - here.x
            slopes = [(self.at(here.x + part * way).score * way).flatten(1).sum(1) for part in _GAUSS]
            return torch.stack(slopes).mean(0)
        assert there.density is not None
        assert here.density is not None
        return there.density - here.density

    def _part(self, i: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the scores of a part, and its log densities where they are needed."""
        part, condition = self.parts[i], self.conditions[i]
        energy = energy_of(part)
        if energy is not None:
            given = self.asking.narrowed(x)
            density, score = energy.both(given, times_of(given, self.time), condition)
            return score.to(x.dtype), density.to(x.dtype) if self.with_densities else None
        output = self.asking.ask(f"part {i + 1}", part, x, self.time, condition, OUTPUT_ADVICE)
        _, epsilon = split_prediction(self.prediction, x, output, self.signal)
        return -epsilon / math.sqrt(1 - self.signal), None


def _rows(slope: Any, x: torch.Tensor) -> Any:
    """Return a weight of all rows, or one weight for each row as a factor of states (n, ...)."""
    return slope.reshape(-1, *[1] * (x.ndim - 1)) if isinstance(slope, torch.Tensor) else slope

r"""The moves of an annealed chain at one noise level: which kind, how many, and how long.

The local width of a density at the signal's share :math:`\bar\alpha` is about
:math:`r = \sqrt{\bar\alpha\, r_0^2 + 1 - \bar\alpha}` for data of the local width :math:`r_0`. A Langevin move has the
step :math:`c\, r^2`, a leapfrog step the length :math:`c\, r`. So proposals are accepted about as often at all levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from mcgen._lib.checks import checked_flag, checked_integer, checked_real
from mcgen.adapters.composed.moves import Point, Target, hamiltonian, langevin
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.noise import Block, Shape

Sampler = Literal["reverse", "ula", "mala", "uhmc", "hmc"]
ADJUSTED = ("mala", "hmc")
"""The samplers with accept steps."""
_HAMILTONIAN = ("uhmc", "hmc")
# Steps at which nine in ten proposals are accepted, for the product of two models in a few dimensions.
_STEP_SIZES = {"reverse": 0.0, "ula": 0.15, "mala": 0.25, "uhmc": 0.5, "hmc": 0.5}


@dataclass(frozen=True)
class Moves:
    """The moves at each noise level; `Compose` has the meaning of the options.

    Raises
    ------
    TypeError, ValueError
        If an option is of another type or out of range.
    """

    sampler: Sampler
    n_moves: int
    step_size: float
    width: float
    leapfrog: int
    damping: float
    accept_iid: bool

    def __post_init__(self) -> None:
        if self.sampler not in get_args(Sampler):
            raise ValueError(f"sampler must be one of {get_args(Sampler)}; got {self.sampler!r}")
        for name in ("n_moves", "leapfrog"):
            if checked_integer(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if checked_real("step_size", self.step_size) <= 0 and self.sampler != "reverse":
            raise ValueError(f"step_size must be above 0; got {self.step_size}")
        if checked_real("width", self.width) < 0:
            raise ValueError(f"width must be at least 0; got {self.width}")
        if not 0 <= checked_real("damping", self.damping) < 1:
            raise ValueError(f"damping must lie in [0, 1), where 0 renews the velocity; got {self.damping}")
        checked_flag("accept_iid", self.accept_iid)

    @property
    def evaluations(self) -> int:
        """Evaluations of the score in one move."""
        return self.leapfrog if self.sampler in _HAMILTONIAN else 1

    def blocks(self, shape: Shape, i: int) -> dict[str, Block]:
        """Return the blocks of noise of level i, in the order of their use."""
        found = {}
        for j in range(self.n_moves):
            found[f"move {i}.{j}"] = Block(shape)
            if self.sampler in ADJUSTED:
                found[f"accept {i}.{j}"] = Block((), "uniform", iid=self.accept_iid)
        return found

    def run(
        self, target: Target, x: torch.Tensor, signal: float, noise: TensorNoise, i: int
    ) -> tuple[Point, torch.Tensor]:
        """Return the states after the moves of level i, and the share of accepted proposals (n,).

        Parameters
        ----------
        target : Target
            The density of the level.
        x : Tensor of shape (n, ...)
            The states before.
        signal : float
            The signal's share at the level.
        noise : mapping
            The blocks of the generator.
        i : int
            Number of the level.
        """
        assert not isinstance(noise, torch.Tensor)
        here, width = target.at(x), math.sqrt(signal * self.width**2 + 1 - signal)
        share = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        v: torch.Tensor | None = None
        for j in range(self.n_moves):
            xi = noise[f"move {i}.{j}"]
            u = noise[f"accept {i}.{j}"] if self.sampler in ADJUSTED else None
            if self.sampler in _HAMILTONIAN:
                v = xi if v is None else self.damping * v + math.sqrt(1 - self.damping**2) * xi
                here, v, accepted = hamiltonian(target, here, v, u, self.step_size * width, self.leapfrog)
            else:
                here, accepted = langevin(target, here, xi, u, self.step_size * width**2)
            share = share + (1 if accepted is None else accepted.to(share.dtype)) / self.n_moves
        return here, share


def default_step_size(sampler: str) -> float:
    """Return the step size of a sampler where the user gives none."""
    return _STEP_SIZES.get(sampler, 0.0)

r"""The shipped models of two parts: a truncated diffusion, and a predictor whose predictions a sampler regenerates.

The start of the truncated diffusion makes states in one pass, from standard normal noise z and a class c,

.. math:: x_t = \sqrt{\bar\alpha_t}\, f(z, c) + \sqrt{1 - \bar\alpha_t}\, z.

The network f may depend on z in any way, so that this is a law of its own. With f independent of z the states would be
a noised mean digit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from mcgen._lib.checks import checked_integer
from mcgen.adapters.composed.regeneration import StoRM
from mcgen.adapters.composed.truncation import Truncate
from mcgen.adapters.inverse.operators import Inpainting, Operator
from mcgen.adapters.inverse.posterior import DDS
from mcgen.adapters.models._networks import ResidualMLP
from mcgen.adapters.samplers.diffusion import DDIM
from mcgen.adapters.tensors.torch_generator import from_torch
from mcgen.generators.schedule import Schedule

TRUNCATED_AT = 499
"""Training time of the states that the start of `truncated` makes: half of the schedule's."""
# Training time at which `regenerating` starts, a fifth of the schedule's.
_REGENERATED_AT = 199
# Rows of 28 that are hidden in the measurements of `regenerating`.
_HIDDEN_ROWS = slice(10, 18)
NOISE_SD = 0.3
"""Standard deviation of the noise in the measurements of `regenerating`."""


class OnePassStates(nn.Module):
    """States of a diffusion model in one pass from noise, see the module.

    Parameters
    ----------
    size, width, depth, n_classes, dropout
        See `ResidualMLP`.
    time : int
        Training time of the states, in the cosine schedule.
    """

    def __init__(self, size: int, width: int, depth: int, n_classes: int, time: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.network = ResidualMLP(size, width, depth, n_classes, dropout)
        self.signal = Schedule.cosine().signal(time)

    def forward(self, z: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the states (n, ...) for noise z (n, ...); the condition is as in `ResidualMLP`."""
        digits = self.network(z, z.new_zeros(len(z)), condition)
        states: torch.Tensor = math.sqrt(self.signal) * digits + math.sqrt(1 - self.signal) * z
        return states


class Restoration(nn.Module):
    """A predictor of images from measurements. Its network receives images with black in their hidden pixels.

    Parameters
    ----------
    network : Module
        Maps images (n, ...) and times (n,), all 0, to restored images, all on the scale [-1, 1].
    operator : Operator
        The measurement.
    """

    def __init__(self, network: nn.Module, operator: Operator) -> None:
        super().__init__()
        self.network, self.operator = network, operator

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return the restored images in [0, 1], (n, ...) for n measurements and (1, ...) for one."""
        rows = y.reshape(-1, *self.operator.measurement_shape)
        return ((restored(self.network, self.operator.adjoint(rows)) + 1) / 2).clamp(0, 1)


def restored(network: nn.Module, filled: torch.Tensor) -> torch.Tensor:
    """Return the network's images on the scale [-1, 1], for measurements (n, ...) that are filled with black."""
    images: torch.Tensor = network(2 * filled - 1, filled.new_zeros(len(filled)))
    return images


def hidden_rows() -> Inpainting:
    """Return the operator of `regenerating`: rows 10 to 17 of a digit of MNIST are hidden."""
    mask = np.ones((28, 28), bool)
    mask[_HIDDEN_ROWS] = False
    return Inpainting((1, 28, 28), mask)


def to_states(x: torch.Tensor) -> torch.Tensor:
    """Return states in [-1, 1] from images in [0, 1]."""
    return 2 * x - 1


def truncated(network: nn.Module, diffusion: DDIM, steps: int, name: str) -> Truncate:
    """Return a diffusion model that goes back from the states of a network, in a number of steps."""
    step = _step_at(diffusion, TRUNCATED_AT, 2, steps, name)
    start = from_torch(network, diffusion.shape, name=f"{name} start")
    return Truncate(start, diffusion.with_steps(2 * steps), step, mix=False, name=f"{name}-{steps}")


def regenerating(network: nn.Module, prior: DDIM, steps: int, name: str) -> StoRM:
    """Return a sampler that regenerates the restorations of a network, in a number of steps."""
    step = _step_at(prior, _REGENERATED_AT, 5, steps, name)
    operator = hidden_rows()
    sampler = DDS(prior.with_steps(5 * steps), operator, noise_sd=NOISE_SD)
    predictor: Any = Restoration(network, operator).eval()
    return StoRM(predictor, sampler, step, encode=to_states, name=f"{name}-{steps}")


def _step_at(diffusion: DDIM, time: int, share: int, steps: int, name: str) -> int:
    """Return the step that starts at a training time, in a sampler whose last 1 / `share` of steps are `steps`.

    Any such sampler reaches this time exactly, since its steps are spaced evenly.
    """
    largest = len(diffusion.schedule.alpha_bar) // share
    if not 1 <= checked_integer("steps", steps) <= largest:
        raise ValueError(
            f"{name} starts at training time {time} and takes steps from 1 to {largest} after it; got steps={steps}"
        )
    return int(np.flatnonzero(diffusion.schedule.times(share * steps) == time)[0])

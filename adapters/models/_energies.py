r"""The energy network that ships: half the squared length of a predicted noise.

A denoiser with the velocity prediction :math:`v_\theta` predicts the noise
:math:`\varepsilon_\theta(x, t) = \sqrt{1 - \bar\alpha_t}\, x + \sqrt{\bar\alpha_t}\, v_\theta(x, t)`. The energy is

.. math:: \log q_t(x) = -\tfrac12 \lVert \varepsilon_\theta(x, t) \rVert^2.

For data at one point it is exact if the noise prediction is. At the highest noise levels it is
:math:`-\lVert x \rVert^2 / 2` whatever the network predicts. Section 4 of the paper has energies of this kind.

.. rubric:: References

.. [1] Y. Du, C. Durkan, R. Strudel, J. B. Tenenbaum, S. Dieleman, R. Fergus, J. Sohl-Dickstein, A. Doucet,
   W. Grathwohl (2023). Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC.
   ICML. Section 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from mcgen.adapters.composed.energies import signals_at
from mcgen.generators.schedule import Schedule


def linear_schedule() -> Schedule:
    """Return the schedule of the energies: betas from 0.0001 to 0.02 in 1,000 steps.

    Its last signal share is 4e-5. The cosine schedule goes to 2e-9, where a noise prediction in float32 cannot give the
    predicted sample.
    """
    return Schedule.from_betas(np.linspace(1e-4, 0.02, 1000))


class NoiseEnergy(nn.Module):
    """The log density -|predicted noise|^2 / 2 of a network that predicts the velocity.

    Parameters
    ----------
    network : Module
        ``network(x, time, condition)`` returns a tensor of the shape of x. It must be smooth in x.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.schedule = network, linear_schedule()

    @property
    def embed(self) -> Any:
        """The embedding of times and classes, as denoisers have it."""
        return self.network.embed

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the log densities (n,) of states x (n, ...); the condition is that of the network."""
        share = signals_at(self.schedule, time).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        noise = (1 - share).sqrt() * x + share.sqrt() * self.network(x, time, condition)
        squares: torch.Tensor = noise.flatten(1).square().sum(1)
        return -squares / 2

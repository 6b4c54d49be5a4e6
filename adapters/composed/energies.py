r"""Energies: models that give a log density at every noise level, and whose score is its gradient.

At the signal's share :math:`\bar\alpha_t` a model has the density :math:`q_t(x)` of noised samples. An energy returns
:math:`\log q_t(x)` up to a constant of t. Its gradient is the score, and the predicted noise follows from it [1]_,

.. math:: s_t(x) = \nabla_x \log q_t(x), \qquad \hat\varepsilon_t(x) = -\sqrt{1 - \bar\alpha_t}\; s_t(x).

A network that predicts the noise directly is no gradient of any function. So it has a score but no log density, and no
accept step can be computed from it without approximation [1]_.

.. rubric:: References

.. [1] Y. Du, C. Durkan, R. Strudel, J. B. Tenenbaum, S. Dieleman, R. Fergus, J. Sohl-Dickstein, A. Doucet,
   W. Grathwohl (2023). Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC.
   ICML. Section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mcgen._lib.names import name_of
from mcgen.adapters.samplers.paths import Modules
from mcgen.adapters.tensors.torch_generator import modules_of, owners_of
from mcgen.generators.schedule import Schedule, checked_schedule

LogDensity = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
"""Maps states (n, ...), their time (n,) and the condition to log densities (n,)."""


class Energy(torch.nn.Module):
    """A log density at every noise level, whose score is computed by backpropagation.

    Use it as a part of `Compose` where the sampler compares densities ("mala", "hmc"), or in mixtures.

    Parameters
    ----------
    function : callable
        ``function(x, time, condition)`` returns log q (n,), up to a constant of the time, for states x (n, ...). The
        time (n,) is as for the denoiser of `Diffusion`. Row i of the result depends on row i of x only.
    modules : torch.nn.Module or iterable of them
        The networks that `function` runs, where it is neither a module nor the method of one.

    Raises
    ------
    TypeError
        If the function can't be called.
    ValueError
        In a call, if it does not return one number for each state, or the number carries no gradient.

    Examples
    --------
    The energy of data N(0, I), which is the same at every noise level:

    >>> import torch
    >>> from mcgen.adapters import Energy
    >>> energy = Energy(lambda x, time, condition: -(x**2).sum(1) / 2)
    >>> energy.score(torch.tensor([[1.0, -2.0]]), torch.zeros(1))
    tensor([[-1.,  2.]])
    """

    def __init__(self, function: LogDensity, *, modules: Modules = ()) -> None:
        super().__init__()
        if not callable(function):
            raise TypeError(f"an energy is made from a function (x, time, condition) -> log q; got {function!r}")
        self.name = name_of(function)
        # In a tuple, so that a module among the owners is registered once.
        self._function = (function,)
        self.owners = torch.nn.ModuleList(dict.fromkeys([*owners_of(function), *modules_of(modules)]))
        self.train(any(owner.training for owner in self.owners))

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the log densities (n,) of states x (n, ...)."""
        found = self._function[0](x, time, condition)
        if not isinstance(found, torch.Tensor) or found.shape != (len(x),):
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ValueError(
                f"the energy {self.name!r} must return one log density for each state, shape ({len(x)},); got {got}. "
                "Sum over all axes but the first: terms.flatten(1).sum(1)"
            )
        return found

    def both(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log densities (n,) and the scores (n, ...). They carry a graph where x requires a gradient."""
        differentiable = x.requires_grad
        with torch.enable_grad():
            x = x if differentiable else x.detach().requires_grad_()
            density = self(x, time, condition)
            if not density.requires_grad:
                raise ValueError(
                    f"the log density of the energy {self.name!r} carries no gradient: it is constant, or computed "
                    "under torch.no_grad, torch.inference_mode or outside torch. Compute it from x by torch operations"
                )
            (score,) = torch.autograd.grad(density.sum(), x, create_graph=differentiable)
        return (density, score) if differentiable else (density.detach(), score)

    def score(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the scores (n, ...) of states x (n, ...), the gradients of the log densities."""
        return self.both(x, time, condition)[1]

    def denoiser(self, schedule: Schedule) -> EnergyDenoiser:
        """Return a module that predicts the noise, for `DDIM` and `Heun`; its ``energy`` is this one."""
        return EnergyDenoiser(self, schedule)


class EnergyDenoiser(torch.nn.Module):
    r"""The noise prediction :math:`-\sqrt{1 - \bar\alpha_t}\,\nabla \log q_t(x)` of an energy; see `Energy.denoiser`.

    `Compose` takes it as a part, and finds its energy.

    Parameters
    ----------
    energy : Energy
        The energy.
    schedule : Schedule
        The schedule of its noise levels.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import DDIM, Energy, Schedule
    >>> schedule = Schedule.cosine()
    >>> denoiser = Energy(lambda x, time, condition: -(x**2).sum(1) / 2).denoiser(schedule)
    >>> DDIM(denoiser, schedule, (2,), steps=100)(np.array([[1.0, -2.0]], np.float32)).round(decimals=1)
    tensor([[ 1., -2.]])
    """

    def __init__(self, energy: Energy, schedule: Schedule) -> None:
        super().__init__()
        self.energy, self.schedule, self.name = energy, checked_schedule(schedule), energy.name
        self.train(energy.training)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the predicted noise (n, ...) of states x (n, ...)."""
        noise = (1 - signals_at(self.schedule, time)).sqrt().to(x.dtype)
        return -noise.reshape(-1, *[1] * (x.ndim - 1)) * self.energy.score(x, time, condition)


def signals_at(schedule: Schedule, time: torch.Tensor) -> torch.Tensor:
    """Return the signal's shares (n,) in float64 at times (n,), which are fractions of the training steps.

    Between training steps the logarithm of the noise-to-signal ratio is interpolated, as `Heun` does.
    """
    ratios = np.log(schedule.sigmas())
    steps = time.detach().to("cpu", torch.float64).numpy() * len(ratios)
    squares = np.exp(2 * np.interp(steps, np.arange(len(ratios)), ratios))
    return torch.from_numpy(1 / (1 + squares)).to(time.device)

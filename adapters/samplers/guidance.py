"""Classifier-free guidance of a conditional denoiser [1]_.

.. rubric:: References

.. [1] J. Ho, T. Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598. Equation (6).
"""

from __future__ import annotations

import torch

from mcgen._lib.checks import checked_real
from mcgen.adapters.samplers.paths import OUTPUT_ADVICE, Network
from mcgen.adapters.tensors.torch_generator import checked_output, owners_of


class Guided(torch.nn.Module):
    """A conditional denoiser under classifier-free guidance, reference 1 of the module.

    The prediction is (1 + w) times that under the condition minus w times that without; two evaluations a step.

    Parameters
    ----------
    denoiser : callable
        For which the condition None means "any": a module, its method, or a function.
    weight : float
        The guidance weight w; 0 is the conditional model itself.
    """

    def __init__(self, denoiser: Network, weight: float) -> None:
        super().__init__()
        if not callable(denoiser):
            raise TypeError(f"denoiser must be callable: a torch module, its method or a function; got {denoiser!r}")
        self.denoiser, self.weight = denoiser, checked_real("weight", weight)
        owners = owners_of(denoiser)
        # Where the denoiser is a method, its module would not be known as a part otherwise.
        self.owners = torch.nn.ModuleList(owner for owner in owners if owner is not denoiser)
        self.train(any(owner.training for owner in owners))

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the guided prediction.

        Raises
        ------
        ValueError
            If the condition is None.
        """
        if condition is None:
            raise ValueError(
                "guidance needs a condition; with None there is nothing to guide: give a class, or take the denoiser "
                "itself, without Guided"
            )
        free, there = (
            checked_output(self.denoiser(x, time, c), x, "the guided denoiser", OUTPUT_ADVICE)
            for c in (None, condition)
        )
        return free + (1 + self.weight) * (there - free)

r"""Classifier-free guidance of a conditional denoiser, by the scale that diffusers calls ``guidance_scale``.

With the prediction :math:`\varepsilon(x, c)` under a condition and :math:`\varepsilon(x)` without one, the guided
prediction at the scale g is

.. math:: \hat\varepsilon = \varepsilon(x) + g\,(\varepsilon(x, c) - \varepsilon(x)).

This is equation (6) of [1]_ with :math:`g = 1 + w`, where w is the guidance weight of the paper. A scale of 1 means no
guidance.

.. rubric:: References

.. [1] J. Ho, T. Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598. Equation (6).
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from mcgen._lib.checks import checked_real
from mcgen.adapters.samplers.paths import OUTPUT_ADVICE, Network
from mcgen.adapters.tensors.torch_generator import checked_output, owners_of


class Guided(torch.nn.Module):
    r"""A conditional denoiser under classifier-free guidance.

    Use it as the denoiser of `DDIM` or `Heun`. With the guidance scale g the prediction is
    :math:`\hat\varepsilon = \varepsilon(x) + g\,(\varepsilon(x, c) - \varepsilon(x))`. This is equation (6) of
    reference 1 of the module, with :math:`g = 1 + w`. Each step evaluates the denoiser twice.

    Parameters
    ----------
    denoiser : callable
        A module, its method, or a function. It takes the condition None as "any condition".
    guidance_scale : float
        The guidance scale g, at least 1. At 1 the prediction is that of the denoiser under the condition.
    weight : float
        Deprecated. The guidance weight w; write ``guidance_scale=1 + w`` instead.

    Raises
    ------
    TypeError
        If the denoiser is not callable, or the scale is missing, not a number, or given without its name.
    ValueError
        If the scale is below 1 or not finite.

    Examples
    --------
    The denoiser predicts 0 without a condition and 1 with this one:

    >>> import torch
    >>> from mcgen.adapters import Guided
    >>> def denoiser(x, time, condition):
    ...     return torch.full_like(x, 0.0 if condition is None else condition)
    >>> guided = Guided(denoiser, guidance_scale=3.0)
    >>> guided(torch.zeros(1, 2), torch.zeros(1), 1.0)
    tensor([[3., 3.]])
    """

    def __init__(
        self, denoiser: Network, *unnamed: Any, guidance_scale: float | None = None, weight: float | None = None
    ) -> None:
        super().__init__()
        if not callable(denoiser):
            raise TypeError(f"denoiser must be callable: a torch module, its method or a function; got {denoiser!r}")
        if unnamed:
            raise TypeError(
                f"Guided takes the guidance scale by its name; got Guided(denoiser, {', '.join(map(repr, unnamed))}). "
                "Write guidance_scale=g, where g = 1 means no guidance; for the guidance weight w of earlier releases "
                "write guidance_scale=1 + w"
            )
        if weight is not None:
            guidance_scale = scale_of_old_word("weight", weight, 1 + checked_real("weight", weight), guidance_scale)
        self.denoiser, self.guidance_scale = denoiser, checked_guidance_scale(guidance_scale)
        owners = owners_of(denoiser)
        # Registers the module of a denoiser that is a method, so that its mode and its parameters are known.
        self.owners = torch.nn.ModuleList(owner for owner in owners if owner is not denoiser)
        self.train(any(owner.training for owner in owners))

    @property
    def weight(self) -> float:
        """The guidance weight w, deprecated; `guidance_scale` is 1 + w."""
        warnings.warn(
            "weight is deprecated; read guidance_scale, which is 1 + weight", DeprecationWarning, stacklevel=2
        )
        return self.guidance_scale - 1

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
        unconditional, conditional = (
            checked_output(self.denoiser(x, time, c), x, "the guided denoiser", OUTPUT_ADVICE)
            for c in (None, condition)
        )
        return unconditional + self.guidance_scale * (conditional - unconditional)


def checked_guidance_scale(scale: Any) -> float:
    """Return a guidance scale: a finite number of at least 1, where 1 means no guidance.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is below 1 or not finite.
    """
    value = checked_real("guidance_scale", scale)
    if value < 1:
        raise ValueError(
            f"guidance_scale must be at least 1, where 1 means no guidance; got {scale}. For a guidance weight w write "
            "guidance_scale=1 + w"
        )
    return value


def scale_of_old_word(word: str, value: float, scale: float, guidance_scale: float | None) -> float:
    """Return the guidance scale for a deprecated argument, with a warning that points at the line of the user's call.

    Parameters
    ----------
    word, value
        The deprecated argument.
    scale : float
        The guidance scale that has the same effect.
    guidance_scale : float, optional
        The new argument, which must not be given too.
    """
    if guidance_scale is not None:
        raise TypeError(
            f"guidance_scale={guidance_scale} and {word}={value} say the same thing; got both. Leave {word} out, which "
            "is deprecated"
        )
    scale = checked_guidance_scale(scale)
    warnings.warn(
        f"{word}={value} is deprecated and will be removed in the next release; write guidance_scale={scale!r}",
        DeprecationWarning,
        stacklevel=3,
    )
    return scale

r"""Diffusion models as generators: a denoiser, a schedule and a sampler whose noise is an argument.

The forward process mixes a sample :math:`x_0` with standard normal noise :math:`\varepsilon`,

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,

and a network predicts the noise, the sample, or the velocity [3]_
:math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0` from :math:`x_t`. The deterministic
sampler DDIM [1]_ goes back from :math:`x_T \sim N(0, I)` to a sample,

.. math:: x_s = \sqrt{\bar\alpha_s}\, \hat x_0(x_t, t) + \sqrt{1 - \bar\alpha_s}\, \hat\varepsilon(x_t, t),

so that all its randomness is the noise it starts from. The schedule is the cosine one [2]_.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equation (12), sigma = 0.
.. [2] A. Nichol, P. Dhariwal (2021). Improved denoising diffusion probabilistic models. ICML. Equation (17).
.. [3] T. Salimans, J. Ho (2022). Progressive distillation for fast sampling of diffusion models. ICLR. Appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen.adapters._torch import TorchGenerator
from mcgen.noise import NoiseSpec

Prediction = Literal["noise", "sample", "velocity"]
Denoiser = Callable[[torch.Tensor, torch.Tensor, object], torch.Tensor]
"""``denoiser(x, time, condition)``: x (n, ...), time (n,) in [0, 1], to a prediction (n, ...)."""


@dataclass(frozen=True)
class Schedule:
    r"""The signal's share :math:`\bar\alpha` at each of the training steps t = 0, ..., T-1.

    Attributes
    ----------
    alpha_bar : tuple of float
        Decreasing, in (0, 1).
    """

    alpha_bar: tuple[float, ...]

    def __post_init__(self) -> None:
        values = np.asarray(self.alpha_bar)
        if values.size == 0 or not ((values > 0) & (values < 1)).all() or (np.diff(values) >= 0).any():
            raise ValueError(
                f"alpha_bar must be a decreasing sequence inside (0, 1); got {values.size} values "
                f"from {values[:1]} to {values[-1:]}"
            )

    @classmethod
    def cosine(cls, n_steps: int = 1000) -> Schedule:
        """Return the cosine schedule, reference 2 of the module, whose steps' beta is at most 0.999."""
        edges = np.cos((np.arange(n_steps + 1) / n_steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls(tuple(np.cumprod(np.maximum(edges[1:] / edges[:-1], 1e-3)).tolist()))

    def times(self, n_steps: int) -> NDArray[np.int64]:
        """Return n_steps + 1 training steps from T - 1 down to -1, which stands for the finished sample."""
        n_training = len(self.alpha_bar)
        if not 1 <= n_steps <= n_training:
            raise ValueError(f"steps must be between 1 and the schedule's {n_training}; got {n_steps}")
        return np.rint(np.linspace(n_training - 1, -1, n_steps + 1)).astype(np.int64)


class DDIM(TorchGenerator):
    """Deterministic DDIM sampling of a denoiser from one block of standard normal noise.

    Parameters
    ----------
    denoiser : torch.nn.Module
        ``denoiser(x, time, condition)`` with x of shape (n, ...) and time of shape (n,), the training step
        over their number, in [0, 1).
    schedule : Schedule
        The one that the denoiser was trained with.
    shape : tuple of int
        Shape of one sample, hence of its noise.
    steps : int
        Number of denoiser evaluations a sample costs.
    prediction : {"noise", "sample", "velocity"}
        What the denoiser predicts.
    decode : callable, optional
        From the sampler's last state to samples, such as from [-1, 1] to images in [0, 1].
    name : str, optional
        How results call the generator.
    """

    def __init__(
        self,
        denoiser: torch.nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        steps: int = 50,
        prediction: Prediction = "noise",
        decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {get_args(Prediction)}; got {prediction!r}")
        self.denoiser, self.schedule, self.prediction = denoiser, schedule, prediction
        self.times = schedule.times(steps)
        self.decode = decode
        super().__init__(
            self.sample,
            NoiseSpec.normal(shape),
            modules=[denoiser],
            name=name or f"{type(denoiser).__name__} DDIM-{steps}",
        )

    def sample(self, noise: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that start from `noise` (n, ...)."""
        x = noise
        for t, s in zip(self.times[:-1].tolist(), self.times[1:].tolist(), strict=True):
            alpha_t = self.schedule.alpha_bar[t]
            alpha_s = self.schedule.alpha_bar[s] if s >= 0 else 1.0
            time = torch.full((len(x),), t / len(self.schedule.alpha_bar), dtype=x.dtype, device=x.device)
            output = self.denoiser(x, time, condition)
            x_0, epsilon = split_prediction(self.prediction, x, output, alpha_t)
            x = math.sqrt(alpha_s) * x_0 + math.sqrt(1 - alpha_s) * epsilon
        return x if self.decode is None else self.decode(x)


def split_prediction(
    prediction: Prediction, x: torch.Tensor, output: torch.Tensor, alpha_bar: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the predicted sample and noise that a network's output stands for, reference 3 of the module."""
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction == "noise":
        return (x - noise * output) / signal, output
    if prediction == "sample":
        return output, (x - signal * output) / noise
    return signal * x - noise * output, noise * x + signal * output

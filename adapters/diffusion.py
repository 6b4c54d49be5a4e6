r"""Diffusion models as generators: a denoiser, a schedule and a sampler whose noise is an argument.

The forward process mixes a sample :math:`x_0` with standard normal noise :math:`\varepsilon`,

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,

and a network predicts the noise, the sample, or the velocity [3]_
:math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0` from :math:`x_t`. The sampler DDIM [1]_ goes
back from :math:`x_T \sim N(0, I)` to a sample, with fresh noise :math:`z` at every step t to s but the last,

.. math::

    x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \hat\varepsilon + \sigma z,
    \qquad \sigma = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}:

deterministic for eta = 0, and the ancestral sampler DDPM [4]_ for eta = 1. The schedule is the cosine one
[2]_, guidance that of [5]_.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equations (12) and (16).
.. [2] A. Nichol, P. Dhariwal (2021). Improved denoising diffusion probabilistic models. ICML. Equation (17).
.. [3] T. Salimans, J. Ho (2022). Progressive distillation for fast sampling of diffusion models. ICLR. Appendix D.
.. [4] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS. Algorithm 2.
.. [5] J. Ho, T. Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598. Equation (6).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen.adapters._torch import TensorNoise, TorchGenerator, to_tensors
from mcgen.noise import Block, Noise, NoiseSpec

Prediction = Literal["noise", "sample", "velocity"]


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

    def signal(self, t: int) -> float:
        """Return the signal's share at a training step; 1 for -1, the finished sample."""
        return self.alpha_bar[t] if t >= 0 else 1.0

    def times(self, n_steps: int) -> NDArray[np.int64]:
        """Return n_steps + 1 training steps from T - 1 down to -1, which stands for the finished sample."""
        n_training = len(self.alpha_bar)
        if not 1 <= n_steps <= n_training:
            raise ValueError(f"steps must be between 1 and the schedule's {n_training}; got {n_steps}")
        return np.rint(np.linspace(n_training - 1, -1, n_steps + 1)).astype(np.int64)


class DDIM(TorchGenerator):
    """DDIM sampling of a denoiser: deterministic for eta = 0, the ancestral sampler DDPM for eta = 1.

    Parameters
    ----------
    denoiser : torch.nn.Module
        ``denoiser(x, time, condition)`` with x of shape (n, ...) and time of shape (n,), the training step over
        their number, in [0, 1).
    schedule : Schedule
        The one that the denoiser was trained with.
    shape : tuple of int
        Shape of one sample, hence of its noise.
    steps : int
        Denoiser evaluations a sample costs, at most the steps of the schedule.
    eta : float
        Share of fresh noise, in [0, 1]. For eta > 0 the noise has a block for every step but the last beside that of
        the start, and designs act on all of them.
    prediction : {"noise", "sample", "velocity"}
        What the denoiser predicts.
    decode : callable, optional
        From the sampler's last state to samples, such as from [-1, 1] to images in [0, 1], or a decoder of latents.
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
        eta: float = 0.0,
        prediction: Prediction = "noise",
        decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {get_args(Prediction)}; got {prediction!r}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie between 0 (deterministic) and 1 (ancestral); got {eta}")
        self.denoiser, self.schedule, self.prediction, self.eta = denoiser, schedule, prediction, eta
        self.times = schedule.times(steps)
        self.decode = decode
        noise = NoiseSpec.normal(shape)
        if eta > 0 and steps > 1:
            names = ["start", *(f"step {i}" for i in range(1, steps))]
            noise = NoiseSpec(tuple((block, Block(shape)) for block in names))
        super().__init__(self.sample, noise, modules=[denoiser], name=name or f"{type(denoiser).__name__} DDIM-{steps}")

    @property
    def steps(self) -> int:
        """Steps of the sampler."""
        return len(self.times) - 1

    def coarse(self, steps: int) -> DDIM:
        """Return the same model with fewer steps, on the same noise where eta = 0."""
        shape = self.noise.blocks[0][1].shape
        options = {"eta": self.eta, "prediction": self.prediction, "decode": self.decode}
        return DDIM(self.denoiser, self.schedule, shape, steps=steps, **options)  # type: ignore[arg-type]

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that start from `noise`."""
        x = deque(self.states(noise, condition), maxlen=1)[0]
        return x if self.decode is None else self.decode(x)

    def trajectory(self, noise: Noise, condition: object = None) -> torch.Tensor:
        """Return all states, shape (n, steps + 1, ...), not decoded: for correlations along the sampler's time."""
        tensors = to_tensors(noise, device=self.device, dtype=self.dtype)
        with torch.no_grad():
            return torch.stack([*self.states(tensors, condition)], dim=1)

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the sampler's states (n, ...) from its noise to its end, steps + 1 in all."""
        x = noise if isinstance(noise, torch.Tensor) else noise["start"]
        yield x
        for i, (t, s) in enumerate(zip(self.times[:-1].tolist(), self.times[1:].tolist(), strict=True), start=1):
            alpha_t, alpha_s = self.schedule.signal(t), self.schedule.signal(s)
            time = torch.full((len(x),), t / len(self.schedule.alpha_bar), dtype=x.dtype, device=x.device)
            output = self.denoiser(x, time, condition)
            x_0, epsilon = split_prediction(self.prediction, x, output, alpha_t)
            variance = self.eta**2 * (1 - alpha_s) / (1 - alpha_t) * (1 - alpha_t / alpha_s)
            x = math.sqrt(alpha_s) * x_0 + math.sqrt(max(0.0, 1 - alpha_s - variance)) * epsilon
            if variance > 0 and not isinstance(noise, torch.Tensor):
                x = x + math.sqrt(variance) * noise[f"step {i}"]
            yield x


class Guided(torch.nn.Module):
    """A conditional denoiser under classifier-free guidance, reference 5 of the module.

    The prediction is (1 + w) times that under the condition minus w times that without; two evaluations a step.

    Parameters
    ----------
    denoiser : torch.nn.Module
        For which the condition None means "any".
    weight : float
        The guidance weight w; 0 is the conditional model itself.
    """

    def __init__(self, denoiser: torch.nn.Module, weight: float) -> None:
        super().__init__()
        self.denoiser, self.weight = denoiser, weight
        self.train(denoiser.training)

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the guided prediction; without a condition there is nothing to guide."""
        free: torch.Tensor = self.denoiser(x, time, None)
        if condition is None:
            return free
        there: torch.Tensor = self.denoiser(x, time, condition)
        return free + (1 + self.weight) * (there - free)


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

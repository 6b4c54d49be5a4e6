r"""Diffusion models as generators: a denoiser, a schedule and a sampler whose noise is an argument.

The forward process mixes a sample :math:`x_0` with standard normal noise :math:`\varepsilon`,

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,

and a network predicts the noise, the sample, or the velocity [3]_
:math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0` from :math:`x_t`. The sampler DDIM [1]_ goes
back from :math:`x_T \sim N(0, I)` to a sample, with fresh noise :math:`z` at every step t to s,

.. math::

    x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \hat\varepsilon + \sigma z,
    \qquad \sigma = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}:

deterministic for eta = 0, and the ancestral sampler DDPM [4]_ for eta = 1; a last step to :math:`\bar\alpha_s = 1` has
no fresh noise. With :math:`y = x / \sqrt{\bar\alpha}` and
:math:`\sigma^2 = (1 - \bar\alpha) / \bar\alpha` the deterministic limit is the probability flow
:math:`dy / d\sigma = \hat\varepsilon`, which Heun's second-order steps follow in few evaluations [6]_. The cosine
schedule is that of [2]_, guidance that of [5]_.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equations (12) and (16).
.. [2] A. Nichol, P. Dhariwal (2021). Improved denoising diffusion probabilistic models. ICML. Equation (17).
.. [3] T. Salimans, J. Ho (2022). Progressive distillation for fast sampling of diffusion models. ICLR. Appendix D.
.. [4] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS. Algorithm 2.
.. [5] J. Ho, T. Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598. Equation (6).
.. [6] T. Karras, M. Aittala, T. Aila, S. Laine (2022). Elucidating the design space of diffusion-based generative
   models. NeurIPS. Algorithm 1 and equation (5).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen.adapters._path import PathGenerator
from mcgen.adapters._torch import TensorNoise
from mcgen.noise import Block, NoiseSpec

Prediction = Literal["noise", "sample", "velocity"]

# Beyond this the noise drowns all signal, reference 6; the cosine schedule goes on to 20,000.
_LARGEST_SIGMA = 80.0
_RHO = 7.0


@dataclass(frozen=True)
class Schedule:
    r"""The signal's share :math:`\bar\alpha` at each of the training steps t = 0, ..., T-1.

    Attributes
    ----------
    alpha_bar : tuple of float
        Decreasing, in (0, 1).
    end : float
        The signal's share of a finished sample; below 1 in models that leave a trace of noise.
    """

    alpha_bar: tuple[float, ...]
    end: float = 1.0

    def __post_init__(self) -> None:
        values = np.asarray(self.alpha_bar)
        if values.size == 0 or not ((values > 0) & (values < 1)).all() or (np.diff(values) >= 0).any():
            raise ValueError(
                f"alpha_bar must be a decreasing sequence inside (0, 1); got {values.size} values "
                f"from {values[:1]} to {values[-1:]}"
            )
        if not values[0] <= self.end <= 1:
            raise ValueError(f"end must lie between the first alpha_bar, {values[0]}, and 1; got {self.end}")

    @classmethod
    def cosine(cls, n_steps: int = 1000) -> Schedule:
        """Return the cosine schedule, reference 2 of the module, whose steps' beta is at most 0.999."""
        edges = np.cos((np.arange(n_steps + 1) / n_steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls(tuple(np.cumprod(np.maximum(edges[1:] / edges[:-1], 1e-3)).tolist()))

    def signal(self, t: int) -> float:
        """Return the signal's share at a training step; that of the finished sample for -1."""
        return self.alpha_bar[t] if t >= 0 else self.end

    def times(self, steps: int | Sequence[int]) -> NDArray[np.int64]:
        """Return training steps from T - 1 down to -1, which stands for the finished sample: steps + 1 of them.

        Training steps that are given as a decreasing sequence are taken as they are, with -1 at their end.
        """
        n_training = len(self.alpha_bar)
        if not isinstance(steps, int):
            times = np.asarray([*steps, -1])
            if len(times) < 2 or (np.diff(times) >= 0).any() or times[0] >= n_training:
                raise ValueError(
                    f"steps given one by one must decrease, from at most {n_training - 1} to at least 0; got {steps}"
                )
            return times.astype(np.int64)
        if not 1 <= steps <= n_training:
            raise ValueError(f"steps must be between 1 and the schedule's {n_training}; got {steps}")
        return np.rint(np.linspace(n_training - 1, -1, steps + 1)).astype(np.int64)

    def sigmas(self) -> NDArray[np.float64]:
        r"""Return the noise-to-signal ratio :math:`\sqrt{(1 - \bar\alpha) / \bar\alpha}` of each training step."""
        values = np.asarray(self.alpha_bar)
        sigmas: NDArray[np.float64] = np.sqrt((1 - values) / values)
        return sigmas


class Diffusion(PathGenerator):
    """A denoiser and the grid of times along which a sampler goes back from noise to a sample; base of the samplers.

    Parameters
    ----------
    denoiser : torch.nn.Module
        ``denoiser(x, time, condition)`` with x of shape (n, ...) and time of shape (n,), the training step over
        their number, in [0, 1).
    schedule : Schedule
        The one that the denoiser was trained with.
    shape : tuple of int
        Shape of one sample's state, hence of its noise.
    prediction : {"noise", "sample", "velocity"}
        What the denoiser predicts.
    clip : float, optional
        Keep each predicted sample within [-clip, clip], and take the predicted noise that belongs to it.
    keep_noise : bool
        Keep the noise that was predicted where the sample is clipped, as the DDIM of diffusers does.
    decode : callable, optional
        From the sampler's last state to samples, such as from [-1, 1] to images in [0, 1], or a decoder of latents.
    modules : iterable of torch.nn.Module
        Networks beside the denoiser that must be in evaluation mode, such as the decoder.
    name : str, optional
        How results call the generator.

    Attributes
    ----------
    times : ndarray of float
        From the start down to -1, steps + 1 of them.
    signals : ndarray of float
        The signal's share at each.
    """

    _label = "diffusion"

    def __init__(
        self,
        denoiser: torch.nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        times: NDArray[Any],
        signals: NDArray[np.float64],
        *,
        injected: bool = False,
        prediction: Prediction = "noise",
        clip: float | None = None,
        keep_noise: bool = False,
        decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
        modules: Sequence[torch.nn.Module] = (),
        name: str | None = None,
    ) -> None:
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {get_args(Prediction)}; got {prediction!r}")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be a positive bound, or None; got {clip}")
        self.denoiser, self.schedule, self.prediction = denoiser, schedule, prediction
        self.clip, self.keep_noise, self.decode = clip, keep_noise, decode
        self.times, self.signals = times, signals
        noise = NoiseSpec.normal(shape)
        # A finished sample has noise of its own only where the schedule ends below 1.
        n_injected = np.count_nonzero(signals[1:] < 1) if injected else 0
        if n_injected:
            names = ["start", *(f"step {i + 1}" for i in range(n_injected))]
            noise = NoiseSpec(tuple((block, Block(shape)) for block in names))
        name = name or f"{type(denoiser).__name__} {self._label}-{self.steps}"
        super().__init__(self.sample, noise, modules=[denoiser, *modules], name=name)

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the sampler's states (n, ...) from its noise to its end, steps + 1 in all."""
        x = noise if isinstance(noise, torch.Tensor) else noise["start"]
        yield from self.reverse(x, noise, condition)

    def reverse(
        self, x: torch.Tensor, noise: TensorNoise, condition: object = None, *, first: int = 0
    ) -> Iterator[torch.Tensor]:
        """Yield the states from `x`, taken as that at step number `first`, to the end.

        Of `noise` only the blocks "step i" are used, for i > first.
        """
        yield x
        for i in range(first, self.steps):
            x = self.step(x, i, noise, condition)
            yield x

    @abstractmethod
    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: object) -> torch.Tensor:
        """Return the state at step i + 1 from that at step i."""

    def denoise(self, x: torch.Tensor, i: int, condition: object = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the predicted sample and the predicted noise for states `x` (n, ...) at step i."""
        fraction = float(self.times[i]) / len(self.schedule.alpha_bar)
        time = torch.full((len(x),), fraction, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        signal = float(self.signals[i])
        x_0, epsilon = split_prediction(self.prediction, x, self.denoiser(x, time, condition), signal)
        if self.clip is not None:
            x_0 = x_0.clamp(-self.clip, self.clip)
        if self.clip is not None and not self.keep_noise:
            epsilon = (x - math.sqrt(signal) * x_0) / math.sqrt(1 - signal)
        return x_0, epsilon

    def mix(self, x_0: torch.Tensor, noise: torch.Tensor, i: int) -> torch.Tensor:
        """Return the forward process at step i: samples (n, ...) mixed with standard normal noise."""
        signal = float(self.signals[i])
        return math.sqrt(signal) * x_0 + math.sqrt(1 - signal) * noise

    def _options(self) -> dict[str, Any]:
        others = [module for module in self.modules if module is not self.denoiser]
        own = {"prediction": self.prediction, "clip": self.clip, "keep_noise": self.keep_noise, "decode": self.decode}
        return own | {"modules": others}


class DDIM(Diffusion):
    """DDIM sampling of a denoiser: deterministic for eta = 0, the ancestral sampler DDPM for eta = 1.

    Parameters
    ----------
    denoiser, schedule, shape, **options
        See `Diffusion`.
    steps : int or sequence of int
        Denoiser evaluations a sample costs, at most the steps of the schedule; or the training steps themselves.
    eta : float
        Share of fresh noise, in [0, 1]. For eta > 0 the noise has a block for every step (but the last, where the
        schedule ends at 1) beside that of the start, and designs act on all of them.
    """

    _label = "DDIM"

    def __init__(
        self,
        denoiser: torch.nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        steps: int | Sequence[int] = 50,
        eta: float = 0.0,
        **options: Any,
    ) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie between 0 (deterministic) and 1 (ancestral); got {eta}")
        self.eta = eta
        times = schedule.times(steps)
        signals = np.asarray([schedule.signal(t) for t in times.tolist()])
        super().__init__(denoiser, schedule, shape, times, signals, injected=eta > 0, **options)

    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps; for eta > 0 its noise has as many blocks."""
        return type(self)(self.denoiser, self.schedule, self.shape, steps=steps, eta=self.eta, **self._options())

    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: object) -> torch.Tensor:
        """Return the state at step i + 1 from that at step i, equation (12) of reference 1."""
        x_0, epsilon = self.denoise(x, i, condition)
        return self.advance(x_0, epsilon, i, noise)

    def advance(self, x_0: torch.Tensor, epsilon: torch.Tensor, i: int, noise: TensorNoise) -> torch.Tensor:
        """Return the state at step i + 1 for a predicted sample and predicted noise at step i."""
        signal_t, signal_s = float(self.signals[i]), float(self.signals[i + 1])
        variance = self.eta**2 * (1 - signal_s) / (1 - signal_t) * (1 - signal_t / signal_s)
        x = math.sqrt(signal_s) * x_0 + math.sqrt(max(0.0, 1 - signal_s - variance)) * epsilon
        if variance > 0 and not isinstance(noise, torch.Tensor):
            x = x + math.sqrt(variance) * noise[f"step {i + 1}"]
        return x


class Heun(Diffusion):
    """Heun's second-order steps along the probability flow: deterministic, accurate with few steps.

    A sample costs 2 steps - 1 evaluations of the denoiser. The steps are spaced as in equation (5) of reference 6, from
    a noise-to-signal ratio of at most 80 down to that of the schedule's first training step, then 0; the denoiser is
    asked at fractions of training steps.

    Parameters
    ----------
    denoiser, schedule, shape, **options
        See `Diffusion`.
    steps : int
        At least 2.
    """

    _label = "Heun"

    def __init__(
        self,
        denoiser: torch.nn.Module,
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        steps: int = 18,
        **options: Any,
    ) -> None:
        if not isinstance(steps, int) or steps < 2:
            raise ValueError(f"Heun's sampler takes at least 2 steps; got {steps}")
        known = schedule.sigmas()
        largest, smallest = min(known[-1], _LARGEST_SIGMA), known[0]
        edges = np.linspace(largest ** (1 / _RHO), smallest ** (1 / _RHO), steps) ** _RHO
        times = np.append(np.interp(np.log(edges), np.log(known), np.arange(len(known))), -1.0)
        super().__init__(denoiser, schedule, shape, times, np.append(1 / (1 + edges**2), 1.0), **options)

    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps, on the same noise."""
        return type(self)(self.denoiser, self.schedule, self.shape, steps=steps, **self._options())

    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: object) -> torch.Tensor:
        """Return the state at step i + 1 from that at step i: Algorithm 1 of reference 6 without its churn."""
        signal_t, signal_s = float(self.signals[i]), float(self.signals[i + 1])
        step = math.sqrt((1 - signal_s) / signal_s) - math.sqrt((1 - signal_t) / signal_t)
        y = x / math.sqrt(signal_t)
        _, slope = self.denoise(x, i, condition)
        if i + 1 < self.steps:
            _, slope_there = self.denoise(math.sqrt(signal_s) * (y + step * slope), i + 1, condition)
            slope = (slope + slope_there) / 2
        return math.sqrt(signal_s) * (y + step * slope)


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

r"""Consistency models as generators: they sample in one step, or in a few steps with fresh noise before each.

A consistency function :math:`f(x_t, t)` maps any point of a probability flow's path to its end, the sample [1]_.
Multistep sampling, Algorithm 1 of [1]_, starts from noise and mixes fresh noise into the sample at decreasing levels,

.. math:: x \leftarrow f(s_0 z_0, t_0), \qquad x \leftarrow f(\alpha_n x + s_n z_n, t_n), \quad n = 1, 2, \ldots

A level has a time :math:`t_n`, a scale :math:`\alpha_n` of the signal and a scale :math:`s_n` of the noise. There are
two forms:

- Variance-exploding [1]_: the time is :math:`\sigma_n`, :math:`\alpha_n = 1`, :math:`s_0 = \sigma_{\max}` and
  :math:`s_n = \sqrt{\sigma_n^2 - \sigma_{\min}^2}`, since the samples of f keep noise of :math:`\sigma_{\min}`.
- Variance-preserving, for models distilled from a diffusion model [2]_: :math:`\alpha_n = \sqrt{\bar\alpha}`,
  :math:`s_n = \sqrt{1 - \bar\alpha}` and :math:`s_0 = 1`.

If the model uses guidance, it is part of f.

.. rubric:: References

.. [1] Y. Song, P. Dhariwal, M. Chen, I. Sutskever (2023). Consistency models. ICML.
.. [2] S. Luo, Y. Tan, L. Huang, J. Li, H. Zhao (2023). Latent consistency models: synthesizing high-resolution images
   with few-step inference. arXiv:2310.04378.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np
import torch

from mcgen._lib.checks import checked_real
from mcgen.adapters.samplers.paths import Decode, Modules, Network, PathGenerator, checked_clip, start_of
from mcgen.adapters.samplers.predictions import Prediction, split_prediction
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.generators.schedule import Schedule, checked_schedule
from mcgen.noise import Block, NoiseSpec


@dataclass(frozen=True)
class Level:
    """A level of a `Consistency` model: a time, and the scales at which signal and noise are mixed for it.

    `Consistency.from_sigmas` and `Consistency.from_schedule` make the levels of the usual models.

    Attributes
    ----------
    time : float
        The time that the function receives.
    signal, noise : float
        The scales of the sample and of the standard normal noise that are mixed. The first level has noise alone.

    Raises
    ------
    TypeError
        If one of them is not a number.
    ValueError
        If one of them is not finite.

    Examples
    --------
    >>> from mcgen.adapters import Consistency, Level
    >>> first = Level(time=80.0, signal=1.0, noise=80.0)
    >>> second = Level(time=0.66, signal=1.0, noise=0.66)
    >>> def function(x, time, condition):
    ...     return x / (1 + time[:, None] ** 2).sqrt()
    >>> Consistency(function, [first, second], (3,)).steps
    2
    """

    time: float
    signal: float
    noise: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            checked_real(f"a level's {name}", value)


class Consistency(PathGenerator):
    """A consistency model as a generator: a consistency function, evaluated once at each of its levels.

    Make one by `from_sigmas` (variance-exploding) or by `from_schedule` (variance-preserving, for models distilled from
    a diffusion model).

    Parameters
    ----------
    function : callable
        ``function(x, time, condition)`` returns the predicted samples, for x of shape (n, ...) and time of shape (n,).
    levels : sequence of Level
        The levels, from the start on. With several levels the noise has a block for every step, "start", "step 1", ...,
        and designs act on all of them.
    shape : tuple of int
        Shape of one sample's state, which is also the shape of its noise.
    prediction : {"sample", "noise", "velocity"}
        The output of the function. A noise or a velocity is for the variance-preserving form alone; the sample is
        computed from it.
    clip : float, optional
        Keep each predicted sample within [-clip, clip].
    decode : callable, optional
        Maps the last state to samples: from [-1, 1] to images in [0, 1], or a decoder of latents.
    modules : torch.nn.Module or iterable of them
        Networks that `decode` runs, and `function` if it is not a module itself. They must be in evaluation mode.
    name : str, optional
        The generator's name in results.
    device : torch.device or str, optional
        The device of the noise, by default the device of the modules.
    dtype : torch.dtype, optional
        The type that the function receives, by default the type of the modules. States are in float32 or better.

    Raises
    ------
    TypeError
        If the levels are not of type `Level`, or the function can't be called.
    ValueError
        If there is no level, or the prediction is a noise or a velocity in the variance-exploding form.

    Examples
    --------
    The consistency function of data N(0, 1), sampled in two steps:

    >>> from mcgen.adapters import Consistency
    >>> def function(x, sigma, condition):
    ...     return x / (1 + sigma[:, None] ** 2).sqrt()
    >>> Consistency.from_sigmas(function, [80.0, 0.66], (3,), name="normal")
    Consistency(normal, noise=start: normal(3), step 1: normal(3) float32)
    """

    def __init__(
        self,
        function: Network,
        levels: Iterable[Level],
        shape: tuple[int, ...],
        *,
        prediction: Prediction = "sample",
        clip: float | None = None,
        decode: Decode | None = None,
        modules: Modules = (),
        name: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {get_args(Prediction)}; got {prediction!r}")
        self.levels = _checked_levels(levels)
        if prediction != "sample" and any(level.signal >= 1 for level in self.levels):
            raise ValueError(
                f"prediction={prediction!r} is defined where signal and noise are mixed with preserved variance, not "
                "for a function of sigma; let the function return the sample and leave prediction out"
            )
        self.consistency, self.prediction, self.clip = function, prediction, checked_clip(clip)
        self.steps = len(self.levels)
        blocks = ["start", *(f"step {i}" for i in range(1, self.steps))] if self.steps > 1 else ["noise"]
        noise = NoiseSpec(tuple((block, Block(shape)) for block in blocks))
        super().__init__(
            {"function": function},
            noise,
            label=f"consistency-{self.steps}",
            decode=decode,
            device=device,
            dtype=dtype,
            modules=modules,
            name=name,
        )

    @classmethod
    def from_sigmas(
        cls,
        function: Network,
        sigmas: Sequence[float],
        shape: tuple[int, ...],
        *,
        sigma_min: float = 0.002,
        **options: Any,
    ) -> Self:
        """Return the model that is evaluated at noise levels sigma: the variance-exploding form of reference 1.

        Parameters
        ----------
        function : callable
            ``function(x, sigma, condition)``.
        sigmas : sequence of float
            Decreasing noise levels, each at least `sigma_min`. The first one is the start, 80 in reference 1.
        shape, **options
            See the class.
        sigma_min : float
            The noise level of the function's samples.
        """
        sigmas = [checked_real("each sigma", sigma) for sigma in np.ravel(sigmas).tolist()]
        checked_real("sigma_min", sigma_min)
        if len(sigmas) == 0 or (np.diff(sigmas) >= 0).any() or not sigmas[-1] >= sigma_min >= 0:
            raise ValueError(f"sigmas must decrease, from the start to at least sigma_min = {sigma_min}; got {sigmas}")
        scales = [sigmas[0], *(math.sqrt(sigma**2 - sigma_min**2) for sigma in sigmas[1:])]
        return cls(
            function, [Level(sigma, 1.0, scale) for sigma, scale in zip(sigmas, scales, strict=True)], shape, **options
        )

    @classmethod
    def from_schedule(
        cls,
        function: Network,
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        steps: int | Sequence[int] = 1,
        **options: Any,
    ) -> Self:
        """Return the model that is evaluated at training steps of a diffusion model: the variance-preserving form.

        Parameters
        ----------
        function : callable
            ``function(x, time, condition)``. The time is that of a denoiser of `Diffusion`: the training step divided
            by the number of training steps.
        schedule : Schedule
            The schedule of the diffusion model.
        shape, **options
            See the class.
        steps : int or sequence of int
            A number of evenly spaced training steps, or a decreasing sequence of training steps.
        """
        times = [int(t) for t in checked_schedule(schedule).times(steps)[:-1]]
        signals = [schedule.signal(t) for t in times]
        # The start is noise of scale 1, as in the samplers of diffusion models.
        scales = [1.0, *(math.sqrt(1 - signal) for signal in signals[1:])]
        levels = [
            Level(t / len(schedule.alpha_bar), math.sqrt(signal), scale)
            for t, signal, scale in zip(times, signals, scales, strict=True)
        ]
        return cls(function, levels, shape, **options)

    def with_steps(self, steps: int) -> Self:
        """Return the same model, stopped after the given number of its steps."""
        own = {"prediction": self.prediction, "clip": self.clip, "name": self._name_with(steps)}
        levels = self.levels[: self._fewer(steps)]
        return type(self)(self.consistency, levels, self.shape, **(self._options() | own))

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the noise of the first level and the predicted samples (n, ...) of each level, steps + 1 in all."""
        x = self.levels[0].noise * start_of(noise)
        yield x
        for i, level in enumerate(self.levels):
            if i > 0:
                assert not isinstance(noise, torch.Tensor)
                x = level.signal * x + level.noise * noise[f"step {i}"]
            x = self._denoised(x, level, condition)
            yield x

    def _denoised(self, x: torch.Tensor, level: Level, condition: object) -> torch.Tensor:
        output = self.ask("function", self.consistency, x, level.time, condition)
        if self.prediction != "sample":
            output, _ = split_prediction(self.prediction, x, output, level.signal**2)
        return output if self.clip is None else output.clamp(-self.clip, self.clip)


def _checked_levels(levels: Iterable[Level]) -> tuple[Level, ...]:
    found = tuple(levels) if isinstance(levels, Iterable) else (levels,)
    if not found:
        raise ValueError("a consistency model takes at least 1 level; got none")
    for level in found:
        if not isinstance(level, Level):
            raise TypeError(
                f"levels must be of type Level(time, signal, noise); got {level!r}. For noise levels sigma write "
                "Consistency.from_sigmas(function, sigmas, shape)"
            )
    return found

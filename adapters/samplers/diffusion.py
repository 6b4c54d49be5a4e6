r"""Diffusion models as generators: a denoiser and its schedule, sampled by DDIM, DDPM or Heun's method.

The forward process mixes a sample :math:`x_0` with standard normal noise :math:`\varepsilon`,

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,

and a network predicts the noise, the sample, or the velocity [2]_
:math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0` from :math:`x_t`. The sampler DDIM [1]_ goes
back from :math:`x_T \sim N(0, I)` to a sample. Each step from t to s adds fresh noise :math:`z`,

.. math::

    x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \hat\varepsilon + \sigma z,
    \qquad \sigma = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}.

For eta = 0 the sampler is deterministic, for eta = 1 it is the ancestral sampler DDPM [3]_. A last step to
:math:`\bar\alpha_s = 1` has no fresh noise.

A coarse sampler uses the noise of the fine one. With the predicted sample held fixed, a step multiplies the noise in
the state by :math:`k = \sqrt{(1 - \bar\alpha_s - \sigma^2) / (1 - \bar\alpha_t)}`. So over several steps the fresh
noises add up to :math:`\sum_j \sigma_j (\prod_{l > j} k_l) z_j`. The fresh noise of a coarse step is this sum over the
fine steps inside it, divided by the root of its variance. For eta = 1 that variance is the coarse step's own
:math:`\sigma^2`.

With :math:`y = x / \sqrt{\bar\alpha}` and :math:`\sigma^2 = (1 - \bar\alpha) / \bar\alpha` the deterministic limit is
the probability flow :math:`dy / d\sigma = \hat\varepsilon`. Heun's method, of second order, follows it in few
evaluations [4]_.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equations (12) and (16).
.. [2] T. Salimans, J. Ho (2022). Progressive distillation for fast sampling of diffusion models. ICLR. Appendix D.
.. [3] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS. Algorithm 2.
.. [4] T. Karras, M. Aittala, T. Aila, S. Laine (2022). Elucidating the design space of diffusion-based generative
   models. NeurIPS. Algorithm 1 and equation (5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer, checked_real
from mcgen._lib.names import name_of
from mcgen.adapters.samplers.guidance import Guided
from mcgen.adapters.samplers.paths import (
    OUTPUT_ADVICE,
    Decode,
    Encode,
    Modules,
    Network,
    PathGenerator,
    checked_clip,
    fresh_shares,
    start_of,
)
from mcgen.adapters.samplers.predictions import Prediction, split_prediction
from mcgen.adapters.tensors.torch_generator import TensorNoise, modules_of, owners_of
from mcgen.generators.reverse_steps import fresh_variance
from mcgen.generators.schedule import Schedule, checked_schedule, require_own_schedule
from mcgen.noise import Block, NoiseSpec

# Largest noise-to-signal ratio at which Heun's method starts, from reference 4. There the noise hides the signal; the
# cosine schedule goes up to 20,000.
_LARGEST_SIGMA = 80.0
# Exponent rho of the spacing of Heun's steps, from reference 4.
_RHO = 7.0

_OPTION_ADVICE = {
    **dict.fromkeys(
        ("guidance", "guidance_scale"), "; for guidance give Guided(denoiser, guidance_scale=...) as the denoiser"
    ),
    "eta": "; fresh noise at every step is DDIM's, DDIM(denoiser, schedule, shape, eta=...)",
}


class Diffusion(PathGenerator):
    """Base class of the diffusion samplers: a denoiser, and the times at which it is evaluated.

    Make a `DDIM` or a `Heun`, or load a shipped model. This page describes what all of them take and have.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(x, time, condition)`` returns a tensor of the shape of x. x has shape (n, ...) and time has shape
        (n,). The time is the training step divided by the number of training steps, in [0, 1). A module, or a function
        with its `modules`.
    schedule : Schedule
        The schedule with which the denoiser was trained.
    shape : tuple of int
        Shape of one sample's state, which is also the shape of its noise.
    prediction : {"noise", "sample", "velocity"}
        The quantity that the denoiser predicts.
    clip : float, optional
        Keep each predicted sample within [-clip, clip], and compute the predicted noise from the clipped sample.
    keep_noise : bool
        Where the sample is clipped, keep the predicted noise unchanged, as the DDIM of diffusers does.
    decode : callable, optional
        Maps the sampler's last state to samples: from [-1, 1] to images in [0, 1], or a decoder of latents.
    encode : callable, optional
        Maps samples (n, ...) back to states, the inverse of `decode`. `Partial` and `Truncate` start from it.
    modules : torch.nn.Module or iterable of them
        Further networks that the denoiser, `decode` or `encode` run. They must be in evaluation mode.
    name : str, optional
        The generator's name in results.
    device : torch.device or str, optional
        The device of the noise, by default the device of the modules.
    dtype : torch.dtype, optional
        The type that the denoiser receives, by default the type of the modules. States are in float32 or better.

    Attributes
    ----------
    times : ndarray of float
        Training steps from the start down to -1, steps + 1 of them.
    signals : ndarray of float
        The signal's share at each of these times, from near 0 to 1.

    Examples
    --------
    >>> import torch
    >>> from mcgen.adapters import Diffusion, models
    >>> model = models.load("digits-diffusion", steps=4)
    >>> isinstance(model, Diffusion), model.steps, model.network_evaluations
    (True, 4, 4)
    >>> model.times.tolist(), model.signals.round(2).tolist()
    ([999, 749, 499, 249, -1], [0.0, 0.14, 0.49, 0.85, 1.0])

    The denoiser's prediction from states at the second step, the sample and the noise:

    >>> sample, noise = model.denoise(torch.zeros(2, 1, 8, 8), 1)
    >>> sample.shape, noise.shape
    (torch.Size([2, 1, 8, 8]), torch.Size([2, 1, 8, 8]))
    """

    _label = "diffusion"
    shows_predictions = True
    prediction_names: ClassVar[tuple[str, ...]] = ("noise", "sample")

    def __init__(
        self,
        denoiser: Network,
        schedule: Schedule,
        shape: tuple[int, ...],
        times: NDArray[Any],
        signals: NDArray[np.float64],
        *,
        noise: NoiseSpec | None = None,
        prediction: Prediction = "noise",
        clip: float | None = None,
        keep_noise: bool = False,
        decode: Decode | None = None,
        encode: Encode | None = None,
        modules: Modules = (),
        name: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **unknown: Any,
    ) -> None:
        for option in unknown:
            raise TypeError(f"{type(self).__name__} takes no option {option!r}{_OPTION_ADVICE.get(option, '')}")
        if prediction not in get_args(Prediction):
            raise ValueError(f"prediction must be one of {get_args(Prediction)}; got {prediction!r}")
        require_own_schedule(getattr(denoiser, "denoiser", denoiser), schedule)
        self.denoiser, self.schedule, self.prediction = denoiser, schedule, prediction
        if not (encode is None or callable(encode)):
            raise TypeError(f"encode must be a callable from samples to states, or None; got {encode!r}")
        self.clip, self.keep_noise, self.encode = checked_clip(clip), keep_noise, encode
        self.times, self.signals, self.steps = times, signals, len(times) - 1
        label = f"{name_of(denoiser)} {self._label}-{self.steps}"
        super().__init__(
            {"denoiser": denoiser},
            noise or NoiseSpec.normal(shape),
            label=label,
            decode=decode,
            device=device,
            dtype=dtype,
            modules=[*owners_of(encode), *modules_of(modules)],
            name=name,
        )

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network per sample: one for each step, two under guidance."""
        return self.steps * self.prediction_evaluations

    @property
    def prediction_evaluations(self) -> int:
        """Evaluations of the network per prediction: one, two under guidance."""
        return 2 if isinstance(self.denoiser, Guided) else 1

    @property
    def scales(self) -> NDArray[np.float64]:
        """Scales of the signal and of the noise in each state, shape (2, steps + 1)."""
        return np.sqrt(np.stack([self.signals, 1 - self.signals]))

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the sampler's states (n, ...) from the noise to the last one, steps + 1 in all."""
        yield from self.reverse(start_of(noise), noise, condition)

    def reverse(
        self, x: torch.Tensor, noise: TensorNoise, condition: object = None, *, first: int = 0
    ) -> Iterator[torch.Tensor]:
        """Yield the states from `x`, the state at step number `first`, to the last one.

        Only the blocks of fresh noise of these steps are read from `noise`.
        """
        yield x
        for i in range(first, self.steps):
            x = self.step(x, i, noise, condition)
            yield x

    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: object) -> torch.Tensor:
        """Return the state at step i + 1 from the state `x` at step i."""
        return self.follow(x, *self.denoise(x, i, condition), i, noise, condition)

    def follow(
        self, x: torch.Tensor, x_0: torch.Tensor, epsilon: torch.Tensor, i: int, noise: TensorNoise, condition: object
    ) -> torch.Tensor:
        """Return the state at step i + 1 from the state `x` at step i, and its predicted sample and noise."""
        raise NotImplementedError

    def denoise(self, x: torch.Tensor, i: int, condition: object = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the predicted sample and the predicted noise for states `x` (n, ...) at step i."""
        fraction = float(self.times[i]) / len(self.schedule.alpha_bar)
        return self.denoise_at(x, fraction, float(self.signals[i]), condition)

    def denoise_at(
        self, x: torch.Tensor, fraction: float, signal: float, condition: object = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the predicted sample and noise for states `x` (n, ...) with this share of the signal.

        `fraction` is the time that the denoiser receives.
        """
        output = self.ask("denoiser", self.denoiser, x, fraction, condition, OUTPUT_ADVICE)
        x_0, epsilon = split_prediction(self.prediction, x, output, signal)
        if self.clip is not None:
            x_0 = x_0.clamp(-self.clip, self.clip)
        if self.clip is not None and not self.keep_noise:
            epsilon = (x - math.sqrt(signal) * x_0) / math.sqrt(1 - signal)
        return x_0, epsilon

    def predict(self, x: torch.Tensor, i: int, condition: object = None) -> torch.Tensor:
        """Return the predicted sample (n, ...) for states `x` (n, ...) at step i."""
        return self.denoise(x, i, condition)[0]

    def mix(self, x_0: torch.Tensor, noise: torch.Tensor, i: int) -> torch.Tensor:
        r"""Return :math:`\sqrt{\bar\alpha} x_0 + \sqrt{1 - \bar\alpha}\, \varepsilon` at step i, the noised samples."""
        signal = float(self.signals[i])
        return math.sqrt(signal) * x_0 + math.sqrt(1 - signal) * noise

    @property
    def signal_shares(self) -> NDArray[np.float64]:
        """The signal's share of the squared scales of each state, shape (steps + 1,)."""
        return self.signals

    def _observed(self, noise: TensorNoise, condition: object) -> Iterator[dict[str, torch.Tensor]]:
        x = start_of(noise)
        for i in range(self.steps):
            x_0, epsilon = self.denoise(x, i, condition)
            yield {"state": x, "noise": epsilon, "sample": x_0}
            x = self.follow(x, x_0, epsilon, i, noise, condition)
        yield {"state": x}

    def _predictions(self, x: torch.Tensor, i: int, condition: object) -> dict[str, torch.Tensor]:
        x_0, epsilon = self.denoise(x, i, condition)
        return {"noise": epsilon, "sample": x_0}

    def _options(self) -> dict[str, Any]:
        own = {"prediction": self.prediction, "clip": self.clip, "keep_noise": self.keep_noise}
        return super()._options() | own | {"encode": self.encode}


class DDIM(Diffusion):
    """A denoiser sampled by DDIM: deterministic for eta = 0, the ancestral sampler DDPM for eta = 1.

    Use it for a network of your own with the schedule that it was trained with. `from_pipeline` reads both from a
    diffusers pipeline.

    Parameters
    ----------
    denoiser, schedule, shape, **options
        See `Diffusion`.
    steps : int or sequence of int
        The number of steps, at most the training steps of the schedule, or a decreasing sequence of training steps.
        Each step evaluates the denoiser once.
    eta : float
        Share of fresh noise, in [0, 1]. For eta > 0 the noise has a block for the start and a block for every step, and
        designs act on all of them. Where the schedule ends at 1, the last step has no block.

    Attributes
    ----------
    fresh : list of dict
        For each step the weights of the blocks of noise whose sum is its fresh noise. A step has a block of its own,
        except in a sampler made by `coarse`.

    Raises
    ------
    TypeError
        If the schedule is not a `Schedule`, the denoiser can't be called, or there is no such option.
    ValueError
        If eta is outside [0, 1], or the steps do not fit the schedule.

    Examples
    --------
    A denoiser that is exact for data N(0, I), whose velocity is 0 everywhere:

    >>> import torch
    >>> from mcgen.adapters import DDIM, Schedule
    >>> def denoiser(x, time, condition):
    ...     return torch.zeros_like(x)
    >>> options = dict(prediction="velocity", name="toy")
    >>> model = DDIM(denoiser, Schedule.cosine(), (3,), steps=3, eta=1.0, **options)
    >>> model
    DDIM(toy, noise=start: normal(3), step 1: normal(3), step 2: normal(3) float32)

    `coarse` gives a sampler of fewer steps on the same noise, for `mcgen.multilevel`:

    >>> model.coarse(2).noise == model.noise
    True
    """

    _label = "DDIM"

    def __init__(
        self,
        denoiser: Network,
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        steps: int | Sequence[int] = 50,
        eta: float = 0.0,
        **options: Any,
    ) -> None:
        if not 0 <= checked_real("eta", eta) <= 1:
            raise ValueError(f"eta must lie between 0 (deterministic) and 1 (ancestral); got {eta}")
        self.eta = eta
        times = checked_schedule(schedule).times(steps)
        signals = np.asarray([schedule.signal(t) for t in times.tolist()])
        # The last step has fresh noise only if the schedule ends below 1, and above the step's own signal share.
        has_noise = (eta > 0) & (signals[1:] < 1) & (signals[1:] > signals[:-1])
        self.fresh = [{f"step {i + 1}": 1.0} if has else {} for i, has in enumerate(has_noise)]
        names = ["start", *(name for blocks in self.fresh for name in blocks)]
        noise = NoiseSpec(tuple((block, Block(shape)) for block in names)) if has_noise.any() else None
        super().__init__(denoiser, schedule, shape, times, signals, noise=noise, **options)

    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps; for eta > 0 its noise has as many blocks."""
        options = self._options() | {"eta": self.eta, "name": self._name_with(steps)}
        return type(self)(self.denoiser, self.schedule, self.shape, steps=steps, **options)

    def coarse(self, steps: int) -> Self:
        """Return the same model with fewer steps on the same noise: its fresh noises are sums of this sampler's."""
        made = self.with_steps(self._fewer(steps))
        own, wanted = (sum(map(bool, sampler.fresh)) for sampler in (self, made))
        if wanted > own:
            raise ValueError(
                f"{steps} steps need fresh noise {wanted} times, of which {self.name!r} has only {own} to share out; "
                "use fewer steps, or with_steps, on other noise"
            )
        fine, coarse = self.signals[: own + 1], made.signals[: wanted + 1]
        for i, shares in enumerate(fresh_shares(fine, self.step_variances[:own], coarse)):
            made.fresh[i] = {name: w * v for j, w in shares.items() for name, v in self.fresh[j].items()}
        made.noise = self.noise
        return made

    def fresh_weights(self, first: int, last: int) -> dict[str, float]:
        r"""Return the weights of the blocks of fresh noise of steps `first` to `last` - 1 in state `last`.

        The predictions are held fixed: the weights are :math:`\sigma_j \prod_{l > j} k_l` of the module.
        """
        found: dict[str, float] = {}
        for i in range(first, last):
            variance, rest = self._variance(i), 1 - float(self.signals[i])
            keep = math.sqrt(max(0.0, 1 - float(self.signals[i + 1]) - variance) / rest)
            own = {name: math.sqrt(variance) * weight for name, weight in self.fresh[i].items()}
            found = {name: keep * weight for name, weight in found.items()} | own
        return found

    def follow(
        self, x: torch.Tensor, x_0: torch.Tensor, epsilon: torch.Tensor, i: int, noise: TensorNoise, condition: object
    ) -> torch.Tensor:
        """Return the state at step i + 1 from that at step i and its predictions, equation (12) of reference 1."""
        return self.advance(x_0, epsilon, i, noise)

    def advance(self, x_0: torch.Tensor, epsilon: torch.Tensor, i: int, noise: TensorNoise) -> torch.Tensor:
        """Return the state at step i + 1 for a predicted sample and predicted noise at step i."""
        signal_s, variance = float(self.signals[i + 1]), self._variance(i)
        x = math.sqrt(signal_s) * x_0 + math.sqrt(max(0.0, 1 - signal_s - variance)) * epsilon
        for name, weight in self.fresh[i].items():
            assert not isinstance(noise, torch.Tensor)
            x = x + math.sqrt(variance) * weight * noise[name]
        return x

    @property
    def step_variances(self) -> NDArray[np.float64]:
        r"""The variance :math:`\sigma^2` of the fresh noise of each step, shape (steps,)."""
        return np.array([self._variance(i) for i in range(self.steps)])

    def _variance(self, i: int) -> float:
        r"""Return the variance :math:`\sigma^2` of the fresh noise of step i."""
        return fresh_variance(float(self.signals[i]), float(self.signals[i + 1]), self.eta)


class Heun(Diffusion):
    """A denoiser sampled by Heun's second-order steps along the probability flow, without fresh noise.

    Use it when you want a deterministic sampler that is accurate with few steps. A step costs two evaluations of the
    denoiser, the last one costs one.

    The steps are spaced as in equation (5) of reference 4. They go from a noise-to-signal ratio of at most 80 down to
    the ratio at the schedule's first training step, and then to 0. The denoiser is evaluated at fractions of training
    steps.

    Parameters
    ----------
    denoiser, schedule, shape, **options
        See `Diffusion`.
    steps : int
        Number of steps, at least 2.

    Raises
    ------
    TypeError
        If the schedule is not a `Schedule`, the denoiser can't be called, or there is no such option.
    ValueError
        If there are fewer than 2 steps.

    Examples
    --------
    For data N(0, I) the velocity is 0, and the exact probability flow returns its noise:

    >>> import numpy as np
    >>> import torch
    >>> from mcgen.adapters import Heun, Schedule
    >>> def denoiser(x, time, condition):
    ...     return torch.zeros_like(x)
    >>> model = Heun(denoiser, Schedule.cosine(), (3,), steps=18, prediction="velocity")
    >>> model.network_evaluations
    35
    >>> model(np.array([[-1.0, 0.0, 1.0]], np.float32)).round(decimals=1)
    tensor([[-1.,  0.,  1.]])
    """

    _label = "Heun"

    def __init__(
        self,
        denoiser: Network,
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        steps: int = 18,
        **options: Any,
    ) -> None:
        if checked_integer("steps", steps) < 2:
            raise ValueError(f"Heun's sampler takes at least 2 steps; got {steps}")
        known = checked_schedule(schedule).sigmas()
        largest, smallest = min(known[-1], _LARGEST_SIGMA), known[0]
        edges = np.linspace(largest ** (1 / _RHO), smallest ** (1 / _RHO), steps) ** _RHO
        times = np.append(np.interp(np.log(edges), np.log(known), np.arange(len(known))), -1.0)
        super().__init__(denoiser, schedule, shape, times, np.append(1 / (1 + edges**2), 1.0), **options)

    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps, on the same noise."""
        options = self._options() | {"name": self._name_with(steps)}
        return type(self)(self.denoiser, self.schedule, self.shape, steps=steps, **options)

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network per sample: 2 steps - 1, and twice as many under guidance."""
        return super().network_evaluations * (2 * self.steps - 1) // self.steps

    def follow(
        self, x: torch.Tensor, x_0: torch.Tensor, epsilon: torch.Tensor, i: int, noise: TensorNoise, condition: object
    ) -> torch.Tensor:
        """Return the state at step i + 1 from that at step i: Algorithm 1 of reference 4 without its churn."""
        signal_t, signal_s = float(self.signals[i]), float(self.signals[i + 1])
        step = math.sqrt((1 - signal_s) / signal_s) - math.sqrt((1 - signal_t) / signal_t)
        y, slope = x / math.sqrt(signal_t), epsilon
        if i + 1 < self.steps:
            _, slope_there = self.denoise(math.sqrt(signal_s) * (y + step * slope), i + 1, condition)
            slope = (slope + slope_there) / 2
        return math.sqrt(signal_s) * (y + step * slope)

r"""Diffusers pipelines as `DDIM` or `Heun` samplers: their network, scheduler and decoder are read.

`mcgen.adapters.capture` runs any pipeline as it is and replaces the noise that it draws. If the loop of a pipeline is
DDIM [1]_ or DDPM [2]_, its network, scheduler and decoder are enough for a sampler of this package. The samples are the
same up to rounding. The sampler needs no dispatch mode, has `coarse`, `trajectory` and gradients, and makes no draws
that are thrown away. Conventions of diffusers and of this package:

- The guidance scale is that of diffusers, :math:`g = 1 + w` for the weight w of reference [3]_. `Guided` has the
  formula. Diffusers takes a scale below 1 as no guidance; here it is refused.
- The ancestral step of DDPM with its smaller variance, :math:`\tilde\beta_t` of reference [2]_ (section 3.2), is the
  step of DDIM for eta = 1 (reference [1]_, section 4.1).
- Where a predicted sample is clipped, the DDPM scheduler computes the noise from the clipped sample. The DDIM scheduler
  keeps the predicted noise.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR.
.. [2] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS.
.. [3] J. Ho, T. Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598. Equation (6).
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.adapters.capturing.captured import PIPELINE_ADVICE
from mcgen.adapters.samplers.diffusion import DDIM, Heun
from mcgen.adapters.samplers.guidance import Guided, checked_guidance_scale, scale_of_old_word
from mcgen.adapters.samplers.predictions import Prediction
from mcgen.adapters.tensors.torch_generator import checked_class
from mcgen.generators.schedule import Schedule

Sampler = Literal["ddim", "heun"]
Predict = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]

_LABELS = {"ddim": "DDIM", "heun": "Heun"}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "noise", "sample": "sample", "v_prediction": "velocity"}
# Variance types of the DDPM scheduler that are DDIM's for eta = 1, up to rounding. The others differ from it.
_ANCESTRAL_VARIANCES = ("fixed_small", "fixed_small_log")
# Most prompts whose embeddings are kept in memory. An embedding of Stable Diffusion takes about 0.2 MB.
_PROMPTS_KEPT = 64


class PipelineDenoiser(torch.nn.Module):
    """The network of a pipeline as a denoiser of `Diffusion`.

    Parameters
    ----------
    network : torch.nn.Module
        The network that predicts. The denoiser is in training mode if the network is.
    n_training : int
        The number of training steps of the scheduler.
    predict : callable
        ``predict(x, t, condition)`` returns the prediction, for x of shape (n, ...) and training steps t of shape (n,).
    """

    def __init__(self, network: torch.nn.Module, n_training: int, predict: Predict) -> None:
        super().__init__()
        self.network, self.n_training, self.predict = network, n_training, predict
        self.training = network.training

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction for states x (n, ...) at a time (n,) in [0, 1)."""
        t = time * self.n_training
        # A time in float32 has a relative error of about 1e-7. A step this close to a whole number is that number.
        whole = t.round()
        t = torch.where((t - whole).abs() < 1e-6 * self.n_training, whole, t)
        return self.predict(x, t, condition)


class _Parts(NamedTuple):
    network: torch.nn.Module
    predict: Predict
    shape: tuple[int, ...]
    decode: Callable[[torch.Tensor], torch.Tensor]
    others: tuple[torch.nn.Module, ...] = ()


def from_pipeline(
    pipe: Any,
    *,
    steps: int = 50,
    eta: float | None = None,
    guidance_scale: float | None = None,
    sampler: Sampler = "ddim",
    name: str | None = None,
    guidance: float | None = None,
) -> DDIM | Heun:
    """Return a diffusers pipeline as a `DDIM` or `Heun` sampler whose images are in [0, 1].

    Use it for the pipelines named below. It is faster than `capture`, and its result has `coarse`, `trajectory` and
    gradients. For any other pipeline use `capture`.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline, str or path
        A DDIM, DDPM, DiT or StableDiffusion pipeline with a DDIM or DDPM scheduler; or its name on the hub, or its
        folder.
    steps : int
        Number of steps of the sampler. The pipeline's scheduler places them at training steps.
    eta : float, optional
        Share of fresh noise. By default that of the scheduler: 0 for DDIM, 1 for DDPM.
    guidance_scale : float, optional
        The pipeline's ``guidance_scale``, at least 1; 1 means no guidance. By default the pipeline's own.
    sampler : {"ddim", "heun"}
        The pipeline's own sampler, or Heun's second-order steps with the same network. Heun's steps have a spacing of
        their own.
    name : str, optional
        The generator's name in results.
    guidance : float, optional
        Deprecated; write `guidance_scale`.

    Returns
    -------
    DDIM or Heun
        The condition is a class (DiT) or a prompt (StableDiffusion). Without guidance it may be None, for any. The
        other pipelines take no condition.

    Raises
    ------
    ValueError
        If the pipeline, its scheduler or one of their options is not supported here; use `capture` then. If a network
        of the pipeline is in training mode, or a number is out of range.
    TypeError
        If `steps` is not a whole number, or `eta` or `guidance_scale` is not a number.
    OSError
        If there is no pipeline of that name on this machine, and the hub can't be reached.

    Notes
    -----
    The safety checker of a pipeline is not run. `coarse` spaces its steps evenly; for the spacing of the scheduler call
    `from_pipeline` again with other steps.

    Examples
    --------
    A pipeline with a tiny network that is not trained:

    >>> import diffusers
    >>> from mcgen.adapters import from_pipeline
    >>> network = diffusers.UNet2DModel(
    ...     sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
    ...     block_out_channels=(8,), norm_num_groups=4,
    ...     down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ... )
    >>> pipe = diffusers.DDPMPipeline(network.eval(), diffusers.DDPMScheduler())
    >>> from_pipeline(pipe, steps=3)
    DDIM(DDPMPipeline DDIM-3, noise=start: normal(1x8x8), step 1: normal(1x8x8), step 2: normal(1x8x8) float32)
    """
    if sampler not in get_args(Sampler):
        raise ValueError(f"sampler must be one of {get_args(Sampler)}; got {sampler!r}")
    if sampler == "heun" and eta is not None:
        raise ValueError(f'Heun\'s steps are deterministic and take no eta; got eta={eta}. Use sampler="ddim"')
    if guidance is not None:
        # As in diffusers, a scale below 1 was no guidance.
        scale = max(1.0, checked_real("guidance", guidance))
        guidance_scale = scale_of_old_word("guidance", guidance, scale, guidance_scale)
    steps = checked_integer("steps", steps)
    eta = None if eta is None else checked_real("eta", eta)
    pipe = _loaded(os.fspath(pipe)) if isinstance(pipe, str | os.PathLike) else pipe
    kind = type(pipe).__name__
    if kind not in _READERS:
        raise ValueError(f"from_pipeline reads {', '.join(_READERS)}; got {kind}. {PIPELINE_ADVICE}")
    scheduler = pipe.scheduler
    schedule, ancestral = _schedule(scheduler)
    _require_steps(steps, len(schedule.alpha_bar))
    parts = _READERS[kind](pipe)
    _require_evaluation_mode(pipe, (parts.network, *parts.others))
    denoiser: torch.nn.Module = PipelineDenoiser(parts.network, len(schedule.alpha_bar), parts.predict)
    scale = _guidance_scale(pipe, guidance_scale)
    if scale > 1:
        denoiser = Guided(denoiser, guidance_scale=scale)
    options = {
        "prediction": _PREDICTIONS[scheduler.config.prediction_type],
        "clip": scheduler.config.clip_sample_range if scheduler.config.clip_sample else None,
        "decode": parts.decode,
        "modules": [parts.network, *parts.others],
        "name": name or f"{kind} {_LABELS[sampler]}-{steps}",
    }
    if sampler == "heun":
        return Heun(denoiser, schedule, parts.shape, steps=steps, **options)
    eta = float(ancestral) if eta is None else eta
    times = _times(scheduler, steps, ancestral)
    return DDIM(denoiser, schedule, parts.shape, steps=times, eta=eta, keep_noise=not ancestral, **options)


def _loaded(name: str) -> Any:
    try:
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise ImportError("reading a pipeline by its name needs diffusers: pip install diffusers") from error
    folder = Path(name)
    if folder.is_dir() and not (folder / "model_index.json").exists():
        raise FileNotFoundError(
            f"the folder {name!r} has no model_index.json, so it is no diffusers pipeline; give the folder that "
            "pipe.save_pretrained(folder) wrote, not that of one of its networks"
        )
    try:
        return DiffusionPipeline.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise OSError(
            f"no pipeline {name!r} was found on this machine or on the hub. Check the name and the connection to the "
            "hub. Without a connection, download the pipeline on another machine (hf download NAME --local-dir "
            "FOLDER), copy the folder here and give the folder instead of the name. Or copy the cache of the hub here, "
            "and set HF_HOME to it and HF_HUB_OFFLINE=1"
        ) from error


def _require_steps(steps: int, n_training: int) -> None:
    if not 1 <= steps <= n_training:
        raise ValueError(f"steps must be between 1 and the scheduler's {n_training} training steps; got {steps}")


def _require_evaluation_mode(pipe: Any, networks: tuple[torch.nn.Module, ...]) -> None:
    training = [
        f"{type(part).__name__}: pipe.{name}.eval()"
        for name, part in pipe.components.items()
        if any(part is network for network in networks) and any(module.training for module in part.modules())
    ]
    if training:
        raise ValueError(f"networks of a pipeline are run in evaluation mode; set it first, for {', '.join(training)}")


def _schedule(scheduler: Any) -> tuple[Schedule, bool]:
    """Return the schedule of a scheduler, and whether the scheduler is DDPM's, the ancestral one."""
    kind, config = type(scheduler).__name__, scheduler.config
    if kind not in ("DDIMScheduler", "DDPMScheduler"):
        raise ValueError(
            f"from_pipeline knows the schedulers DDIMScheduler and DDPMScheduler; got {kind}. If DDIM is enough, set "
            f"pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config). {PIPELINE_ADVICE}"
        )
    ancestral = kind == "DDPMScheduler"
    wanted: dict[str, tuple[Any, ...]] = {
        "thresholding": (False,),
        "rescale_betas_zero_snr": (False,),
        "prediction_type": tuple(_PREDICTIONS),
    }
    wanted |= {"variance_type": _ANCESTRAL_VARIANCES} if ancestral else {}
    for option, allowed in wanted.items():
        if config[option] not in allowed:
            raise ValueError(
                f"from_pipeline reads a {kind} whose {option} is {' or '.join(map(repr, allowed))}; got "
                f"{config[option]!r}. {PIPELINE_ADVICE}"
            )
    end = 1.0 if ancestral else float(scheduler.final_alpha_cumprod)
    return Schedule(tuple(scheduler.alphas_cumprod.double().tolist()), end), ancestral


def _times(scheduler: Any, steps: int, ancestral: bool) -> list[int]:
    """Return the training steps at which a scheduler places its steps, or refuse steps that do not meet."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    times: list[int] = scheduler.timesteps.tolist()
    stride = scheduler.config.num_train_timesteps // steps
    # A step of the DDIM scheduler ends at t - stride, even if the next step starts elsewhere.
    arrivals = np.maximum(np.asarray(times) - stride, -1)
    if not ancestral and not np.array_equal(arrivals, [*times[1:], -1]):
        raise ValueError(
            f"a DDIMScheduler with timestep_spacing={scheduler.config.timestep_spacing!r} and {steps} steps arrives at "
            'other training steps than its next step starts from. Use timestep_spacing="leading", or "trailing" with '
            f"steps that divide {scheduler.config.num_train_timesteps}. {PIPELINE_ADVICE}"
        )
    return times


def _guidance_scale(pipe: Any, given: float | None) -> float:
    """Return the guidance scale that is given, or else the pipeline's default; 1 where it has none."""
    own = inspect.signature(type(pipe).__call__).parameters.get("guidance_scale")
    if own is None and given is not None:
        raise ValueError(
            f"a {type(pipe).__name__} has no condition to be guided by; got guidance_scale={given}. Leave it out"
        )
    if given is not None:
        return checked_guidance_scale(given)
    return max(1.0, float(own.default)) if own else 1.0


@dataclass(frozen=True, eq=False)
class _Unconditional:
    unet: Any
    owner: str

    def __call__(self, x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        if condition is not None:
            raise ValueError(f"a {self.owner} is unconditional; got the condition {condition!r}, give None")
        return self.unet(x, t).sample  # type: ignore[no-any-return]


def _image_parts(pipe: Any) -> _Parts:
    return _Parts(pipe.unet, _Unconditional(pipe.unet, type(pipe).__name__), _shape(pipe.unet), _pictures)


@dataclass(frozen=True, eq=False)
class _OfClass:
    transformer: Any
    n_channels: int

    def __call__(self, x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        n_classes = self.transformer.config.num_embeds_ada_norm
        label = n_classes if condition is None else checked_class(condition, n_classes)
        labels = torch.full((len(x),), label, device=x.device)
        # Such a network may predict variances too, which DDIM does not use.
        return self.transformer(x, timestep=t, class_labels=labels).sample[:, : self.n_channels]  # type: ignore[no-any-return]


def _class_parts(pipe: Any) -> _Parts:
    shape = _shape(pipe.transformer)
    return _Parts(pipe.transformer, _OfClass(pipe.transformer, shape[0]), shape, _Decoder(pipe.vae), (pipe.vae,))


@dataclass(frozen=True, eq=False)
class _OfPrompt:
    pipe: Any
    unet: Any
    kept: dict[tuple[Any, ...], torch.Tensor]

    def __call__(self, x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        if not isinstance(condition, str | None):
            raise ValueError(f"condition must be a prompt, or None for any image; got {condition!r}")
        states = self.embedding(condition or "").expand(len(x), -1, -1)
        return self.unet(x, t, encoder_hidden_states=states).sample  # type: ignore[no-any-return]

    @torch.no_grad()
    def embedding(self, prompt: str) -> torch.Tensor:
        """Return the embedding of a prompt; those of the latest prompts are kept."""
        key = (prompt, self.unet.device, self.unet.dtype)
        if key not in self.kept:
            if len(self.kept) >= _PROMPTS_KEPT:
                self.kept.pop(next(iter(self.kept)))
            self.kept[key] = self.pipe.encode_prompt([prompt], self.unet.device, 1, False)[0]
        return self.kept[key]


def _text_parts(pipe: Any) -> _Parts:
    unet = pipe.unet
    if unet.config.time_cond_proj_dim is not None:
        raise ValueError(f"from_pipeline reads no network that takes the guidance scale as an input. {PIPELINE_ADVICE}")
    return _Parts(unet, _OfPrompt(pipe, unet, {}), _shape(unet), _Decoder(pipe.vae), (pipe.vae, pipe.text_encoder))


_READERS: dict[str, Callable[[Any], _Parts]] = {
    "DDIMPipeline": _image_parts,
    "DDPMPipeline": _image_parts,
    "DiTPipeline": _class_parts,
    "StableDiffusionPipeline": _text_parts,
}


def _shape(network: Any) -> tuple[int, ...]:
    size = network.config.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return (network.config.in_channels, *sides)


def _pictures(x: torch.Tensor) -> torch.Tensor:
    return (x / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class _Decoder:
    vae: Any

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        return _pictures(self.vae.decode(latents / self.vae.config.scaling_factor).sample)

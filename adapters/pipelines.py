r"""A diffusers pipeline read into our own sampler: its network, scheduler and decoder, and the noise as an argument.

`mcgen.adapters.capture` runs any pipeline as it is and takes the noise from inside. Where the pipeline's loop is DDIM
[1]_ or DDPM [2]_ its parts are enough: the same samples to rounding, without a dispatch mode, with `coarse`,
`trajectory` and gradients, and without the draws that a pipeline throws away. Three things differ between the two:

- The guidance scale g of diffusers is :math:`1 + w` in reference [3]_, whose formula `Guided` uses:
  :math:`\hat\varepsilon = \varepsilon(x) + g\,(\varepsilon(x, c) - \varepsilon(x))`.
- The ancestral step of DDPM with its smaller variance, :math:`\tilde\beta_t` of reference [2]_ (section 3.2), is
  DDIM's for eta = 1 (reference [1]_, section 4.1).
- Where a predicted sample is clipped, the DDPM scheduler takes the noise that belongs to the clipped sample, the DDIM
  scheduler keeps what was predicted.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR.
.. [2] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS.
.. [3] J. Ho, T. Salimans (2022). Classifier-free diffusion guidance. arXiv:2207.12598. Equation (6).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from mcgen.adapters.diffusion import DDIM, Guided, Heun, Prediction, Schedule

Sampler = Literal["ddim", "heun"]
Predict = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]

_LABELS = {"ddim": "DDIM", "heun": "Heun"}
_PREDICTIONS: dict[str, Prediction] = {"epsilon": "noise", "sample": "sample", "v_prediction": "velocity"}
# The same up to rounding; the others have another variance than DDIM's for eta = 1.
_ANCESTRAL_VARIANCES = ("fixed_small", "fixed_small_log")
_PROMPTS_KEPT = 64


class PipelineDenoiser(torch.nn.Module):
    """A pipeline's network behind the call that our samplers make.

    Parameters
    ----------
    network : torch.nn.Module
        The one that predicts; the wrapper is in its mode.
    n_training : int
        Training steps of its scheduler.
    predict : callable
        ``predict(x, t, condition)`` with x of shape (n, ...) and training steps t of shape (n,) to the prediction.
    """

    def __init__(self, network: torch.nn.Module, n_training: int, predict: Predict) -> None:
        super().__init__()
        self.network, self.n_training, self.predict = network, n_training, predict
        self.training = network.training

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the prediction for states x (n, ...) at a time (n,) in [0, 1)."""
        t = time * self.n_training
        # A fraction in float32 is off by some 1e-7: whole training steps are meant whole.
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
    guidance: float | None = None,
    sampler: Sampler = "ddim",
    name: str | None = None,
) -> DDIM | Heun:
    """Read a diffusers pipeline into a sampler of ours, whose noise is an argument and whose images lie in [0, 1].

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline or str
        A DDIM, DDPM, DiT or StableDiffusion pipeline with a DDIM or DDPM scheduler; or its name on the hub, or its
        folder.
    steps : int
        Steps of the sampler, at the training steps at which the pipeline's scheduler puts them.
    eta : float, optional
        Share of fresh noise. By default the scheduler's own: 0 (DDIM), 1 (DDPM).
    guidance : float, optional
        The pipeline's ``guidance_scale``, by default its own; no guidance up to 1.
    sampler : {"ddim", "heun"}
        The pipeline's own, or Heun's second-order steps on the same network, which space their steps themselves.
    name : str, optional
        How results call it.

    Returns
    -------
    DDIM or Heun
        The condition is a class (DiT) or a prompt (StableDiffusion), None for any; the others take none.

    Raises
    ------
    ValueError
        If the pipeline, its scheduler or an option of theirs is none that is known here: `capture` takes them.
    OSError
        If there is no pipeline of that name on this machine, and the hub can't be reached.

    Notes
    -----
    A safety checker is not run. `coarse` spaces its steps evenly; for the scheduler's spacing read the pipeline again.
    """
    if sampler not in get_args(Sampler):
        raise ValueError(f"sampler must be one of {get_args(Sampler)}; got {sampler!r}")
    if sampler == "heun" and eta is not None:
        raise ValueError(f'Heun\'s steps are deterministic and take no eta; got eta={eta}. Use sampler="ddim"')
    pipe = _loaded(pipe) if isinstance(pipe, str) else pipe
    kind = type(pipe).__name__
    if kind not in _READERS:
        raise ValueError(f"from_pipeline reads {', '.join(_READERS)}; got {kind}. {_CAPTURE}")
    scheduler = pipe.scheduler
    schedule, ancestral = _schedule(scheduler)
    parts = _READERS[kind](pipe)
    denoiser: torch.nn.Module = PipelineDenoiser(parts.network, len(schedule.alpha_bar), parts.predict)
    scale = _guidance_scale(pipe, guidance)
    if scale > 1:
        denoiser = Guided(denoiser, scale - 1)
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


_CAPTURE = (
    "mcgen.adapters.capture takes any pipeline as it is: capture(lambda n, condition: pipe(batch_size=n, "
    'output_type="pt").images, modules=pipe.unet)'
)


def _loaded(name: str) -> Any:
    try:
        from diffusers import DiffusionPipeline
    except ImportError as error:
        raise ImportError("reading a pipeline by its name needs diffusers: pip install diffusers") from error
    try:
        return DiffusionPipeline.from_pretrained(name)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise OSError(
            f"no pipeline {name!r} was found on this machine or on the hub. See that the name is right and that the "
            "hub can be reached; without a network, download it where there is one (hf download NAME --local-dir "
            "FOLDER) and give the folder, copied here, in the name's place; or copy the hub's cache, and say where it "
            "lies by HF_HOME, with HF_HUB_OFFLINE=1"
        ) from error


def _schedule(scheduler: Any) -> tuple[Schedule, bool]:
    """Return a scheduler's schedule, and whether it is the ancestral one."""
    kind, config = type(scheduler).__name__, scheduler.config
    if kind not in ("DDIMScheduler", "DDPMScheduler"):
        raise ValueError(
            f"from_pipeline knows the schedulers DDIMScheduler and DDPMScheduler; got {kind}. Where DDIM will do, set "
            f"pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config). {_CAPTURE}"
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
                f"{config[option]!r}. {_CAPTURE}"
            )
    end = 1.0 if ancestral else float(scheduler.final_alpha_cumprod)
    return Schedule(tuple(scheduler.alphas_cumprod.double().tolist()), end), ancestral


def _times(scheduler: Any, steps: int, ancestral: bool) -> list[int]:
    """Return the training steps at which a scheduler puts its steps, and that its own `step` goes through."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(steps)
    times: list[int] = scheduler.timesteps.tolist()
    stride = scheduler.config.num_train_timesteps // steps
    # The DDIM scheduler goes to t - stride, wherever its next step starts.
    arrivals = np.maximum(np.asarray(times) - stride, -1)
    if not ancestral and not np.array_equal(arrivals, [*times[1:], -1]):
        raise ValueError(
            f"a DDIMScheduler with timestep_spacing={scheduler.config.timestep_spacing!r} and {steps} steps arrives at "
            'other training steps than its next step starts from. Use timestep_spacing="leading", or "trailing" with '
            f"steps that divide {scheduler.config.num_train_timesteps}. {_CAPTURE}"
        )
    return times


def _guidance_scale(pipe: Any, guidance: float | None) -> float:
    own = inspect.signature(type(pipe).__call__).parameters.get("guidance_scale")
    if own is None and guidance is not None:
        raise ValueError(f"a {type(pipe).__name__} has no condition to be guided by; got guidance={guidance}")
    if guidance is not None:
        return guidance
    return float(own.default) if own else 1.0


def _image_parts(pipe: Any) -> _Parts:
    unet = pipe.unet

    def predict(x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        if condition is not None:
            raise ValueError(f"a {type(pipe).__name__} is unconditional; got the condition {condition!r}, give None")
        return unet(x, t).sample  # type: ignore[no-any-return]

    return _Parts(unet, predict, _shape(unet), _pictures)


def _class_parts(pipe: Any) -> _Parts:
    transformer, shape = pipe.transformer, _shape(pipe.transformer)
    n_classes = transformer.config.num_embeds_ada_norm

    def predict(x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        if condition is not None and not 0 <= int(condition) < n_classes:
            raise ValueError(f"condition must be a class from 0 to {n_classes - 1}, or None for any; got {condition}")
        label = n_classes if condition is None else int(condition)
        labels = torch.full((len(x),), label, device=x.device)
        # Beside the noise such a network may predict variances, which DDIM has no use for.
        return transformer(x, timestep=t, class_labels=labels).sample[:, : shape[0]]  # type: ignore[no-any-return]

    return _Parts(transformer, predict, shape, _decoder(pipe.vae), (pipe.vae,))


def _text_parts(pipe: Any) -> _Parts:
    unet = pipe.unet
    if unet.config.time_cond_proj_dim is not None:
        raise ValueError(f"from_pipeline reads no network that takes the guidance scale as an input. {_CAPTURE}")

    @lru_cache(maxsize=_PROMPTS_KEPT)
    @torch.no_grad()
    def embedding(prompt: str) -> torch.Tensor:
        return pipe.encode_prompt([prompt], unet.device, 1, False)[0]  # type: ignore[no-any-return]

    def predict(x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        if not isinstance(condition, str | None):
            raise ValueError(f"condition must be a prompt, or None for any image; got {condition!r}")
        states = embedding(condition or "").expand(len(x), -1, -1)
        return unet(x, t, encoder_hidden_states=states).sample  # type: ignore[no-any-return]

    return _Parts(unet, predict, _shape(unet), _decoder(pipe.vae), (pipe.vae, pipe.text_encoder))


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


def _decoder(vae: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda latents: _pictures(vae.decode(latents / vae.config.scaling_factor).sample)

"""Loading of the models that ship with the package: their networks, weights and logs."""

from __future__ import annotations

import builtins
import hashlib
import inspect
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import nn

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.adapters.composed.energies import Energy
from mcgen.adapters.composed.regeneration import StoRM
from mcgen.adapters.composed.truncation import Truncate
from mcgen.adapters.decoders.glow import Glow
from mcgen.adapters.decoders.vae import VAE
from mcgen.adapters.models import held_out
from mcgen.adapters.models._composed import TRUNCATED_AT, OnePassStates, regenerating, truncated
from mcgen.adapters.models._decoders import ConvolutionalVAE, cropped, multiscale_glow
from mcgen.adapters.models._energies import NoiseEnergy
from mcgen.adapters.models._latents import LATENT_SHAPE, LatentDiffusion
from mcgen.adapters.models._networks import DiT, ObservedMLP, ResidualMLP, UNet, small_classifier
from mcgen.adapters.models._weight_files import read_weights
from mcgen.adapters.samplers.consistency import Consistency
from mcgen.adapters.samplers.diffusion import DDIM, Diffusion, Heun
from mcgen.adapters.samplers.flow import Flow
from mcgen.adapters.samplers.guidance import Guided, checked_guidance_scale, scale_of_old_word
from mcgen.adapters.tensors.torch_generator import TorchGenerator
from mcgen.generators.schedule import Schedule

_FOLDER = Path(__file__).parent

_NETWORKS: dict[str, Callable[[float], nn.Module]] = {
    "digits-diffusion": lambda dropout: ResidualMLP(64, 256, 4, n_classes=10, dropout=dropout),
    "digits-energy": lambda dropout: NoiseEnergy(ResidualMLP(64, 192, 3, n_classes=10, dropout=dropout)),
    "mnist-ddpm": lambda dropout: UNet(1, 48, 2, n_classes=10, dropout=dropout),
    "mnist-dit": lambda dropout: DiT(1, 28, 4, 128, 6, 4, n_classes=10, dropout=dropout),
    "patches-diffusion": lambda dropout: UNet(3, 64, 2, n_classes=0, dropout=dropout),
    "patches-latent": lambda dropout: LatentDiffusion(n_classes=6, dropout=dropout),
    "mnist-consistency": lambda dropout: UNet(1, 48, 2, n_classes=10, dropout=dropout),
    "digits-truncated": lambda dropout: OnePassStates(64, 160, 3, n_classes=10, time=TRUNCATED_AT, dropout=dropout),
    "mnist-storm": lambda dropout: UNet(1, 24, 1, n_classes=0, dropout=dropout),
    "moons-flow": lambda dropout: ResidualMLP(2, 64, 3, n_classes=0, dropout=dropout),
    "reaching-policy": lambda dropout: ObservedMLP(2, 2, 64, 3, dropout),
    "mnist-vae": lambda dropout: ConvolutionalVAE(16, 32, dropout),
    "mnist-glow": lambda dropout: multiscale_glow(32, (16, 12, 6), (128, 96, 48), n_classes=10),
    "digits-classifier": lambda dropout: small_classifier(1, 10),
    "mnist-classifier": lambda dropout: small_classifier(1, 10),
}
# The shape (channels, height, width) of the images that each classifier takes. Classifiers are no generators:
# `mcgen.adapters.features` loads them.
CLASSIFIERS = {"digits-classifier": (1, 8, 8), "mnist-classifier": (1, 28, 28)}
# Training steps at which the consistency model is evaluated, by number of steps. Their noise-to-signal ratios are 80,
# where its training starts, and 0.84 (0.82 in section 6.1 of the paper).
_CONSISTENCY_STEPS = {1: [991], 2: [991, 438]}
_SHAPES = {
    "digits-diffusion": (1, 8, 8),
    "mnist-ddpm": (1, 28, 28),
    "mnist-dit": (1, 28, 28),
    "patches-diffusion": (3, 32, 32),
    "patches-latent": LATENT_SHAPE,
    "digits-energy": (1, 8, 8),
}


def _diffusion(
    name: str, *, steps: int = 50, eta: float = 0.0, guidance_scale: float = 1.0, sampler: str = "ddim"
) -> Diffusion:
    """Return a diffusion model.

    Parameters
    ----------
    name : str
        The name of the model.
    steps, eta
        Options of the sampler, see `mcgen.adapters.DDIM`.
    guidance_scale : float
        Scale of classifier-free guidance, at least 1; 1 means no guidance. See `mcgen.adapters.Guided`.
    sampler : {"ddim", "heun"}
        See `mcgen.adapters.DDIM` and `mcgen.adapters.Heun`.
    """
    if sampler not in ("ddim", "heun"):
        raise ValueError(f"sampler must be 'ddim' (DDPM for eta=1) or 'heun'; got {sampler!r}")
    if sampler == "heun" and eta != 0:
        raise ValueError(f"Heun's sampler is deterministic and takes no eta; got eta={eta}. Use sampler='ddim'")
    network: Any = trained(name)
    denoiser, schedule, options = _diffusion_parts(network)
    guided = checked_guidance_scale(guidance_scale) > 1
    if guided and not denoiser.embed.n_classes:
        raise ValueError(
            f"{name} was trained without classes, and guidance_scale={guidance_scale} has nothing to act on. Leave it "
            "out, or take a model with classes"
        )
    words = [name, f"{sampler}-{steps}", *([f"eta {eta}"] if eta else [])]
    words += [f"guidance_scale {guidance_scale:g}"] if guided else []
    options |= {"steps": steps, "name": " ".join(words)}
    denoiser = Guided(denoiser, guidance_scale=guidance_scale) if guided else denoiser
    if sampler == "heun":
        return Heun(denoiser, schedule, _SHAPES[name], **options)
    return DDIM(denoiser, schedule, _SHAPES[name], eta=eta, **options)


def _diffusion_parts(network: Any) -> tuple[Any, Schedule, dict[str, Any]]:
    """Return the denoiser of a trained network, its schedule, and the options of its samplers."""
    images = {"decode": to_images, "encode": to_states}
    if isinstance(network, NoiseEnergy):
        return Energy(network).denoiser(network.schedule), network.schedule, {"prediction": "noise"} | images
    if isinstance(network, LatentDiffusion):
        latents = {"decode": network.decode, "encode": network.encode}
        return network.denoiser, Schedule.cosine(), {"prediction": "velocity"} | latents
    return network, Schedule.cosine(), {"prediction": "velocity"} | images


def _consistency(name: str, *, steps: int = 1) -> Consistency:
    """Return the consistency model with one or two steps."""
    if checked_integer("steps", steps) not in _CONSISTENCY_STEPS:
        raise ValueError(f"{name} takes steps=1 or 2; got {steps!r}")
    return Consistency.from_schedule(
        trained(name),
        Schedule.cosine(),
        (1, 28, 28),
        steps=_CONSISTENCY_STEPS[steps],
        prediction="velocity",
        decode=to_images,
        name=f"{name}-{steps}",
    )


def _truncated(name: str, *, steps: int = 25) -> Truncate:
    """Return the diffusion of digits that starts at half of the training time, with a number of steps after it."""
    return truncated(trained(name), load("digits-diffusion"), steps, name)


def _storm(name: str, *, steps: int = 10) -> StoRM:
    """Return the predictor of MNIST digits and the sampler that improves its predictions in a number of steps."""
    return regenerating(trained(name), load("mnist-ddpm"), steps, name)


def _flow(name: str, *, steps: int = 20) -> Flow:
    """Return the flow on the plane, integrated by a number of midpoint steps."""
    return Flow(trained(name), (2,), steps=steps, name=f"{name}-{steps}")


def _policy(name: str, *, steps: int = 10, eta: float = 0.0) -> DDIM:
    """Return the diffusion of actions, given an observation.

    It computes in double precision. In single precision matrix products of another batch size round differently, and
    an episode can amplify such errors until it ends elsewhere.
    """
    network, words = trained(name).double(), f"{name} ddim-{steps}" + (f" eta {eta}" if eta else "")
    return DDIM(network, Schedule.cosine(), (2,), steps=steps, eta=eta, prediction="velocity", name=words)


def _vae(name: str) -> VAE:
    """Return a VAE."""
    network: Any = trained(name)
    return VAE(network.decode, (16,), encoder=network.encode, name=name)


def _glow(name: str, *, temperature: float = 0.7) -> Glow:
    """Return a Glow whose standard normal noise is multiplied by `temperature`."""
    return Glow(trained(name), temperature=temperature, decode=cropped, name=name)


_MODELS: dict[str, Callable[..., TorchGenerator]] = {
    **dict.fromkeys(_SHAPES, _diffusion),
    "mnist-consistency": _consistency,
    "digits-truncated": _truncated,
    "mnist-storm": _storm,
    "moons-flow": _flow,
    "reaching-policy": _policy,
    "mnist-vae": _vae,
    "mnist-glow": _glow,
}


DiffusionName = Literal[
    "digits-diffusion", "digits-energy", "mnist-ddpm", "mnist-dit", "patches-diffusion", "patches-latent"
]


# One overload for each type of model, so that a type checker knows what a name written in the code gives.
@overload
def load(
    name: DiffusionName,
    *,
    sampler: Literal["heun"],
    steps: int | None = None,
    guidance_scale: float | None = None,
    device: torch.device | str | None = None,
) -> Heun: ...
@overload
def load(
    name: DiffusionName,
    *,
    steps: int | None = None,
    eta: float | None = None,
    guidance_scale: float | None = None,
    sampler: Literal["ddim"] | None = None,
    device: torch.device | str | None = None,
) -> DDIM: ...
@overload
def load(
    name: Literal["mnist-consistency"], *, steps: int | None = None, device: torch.device | str | None = None
) -> Consistency: ...
@overload
def load(
    name: Literal["digits-truncated"], *, steps: int | None = None, device: torch.device | str | None = None
) -> Truncate: ...
@overload
def load(
    name: Literal["mnist-storm"], *, steps: int | None = None, device: torch.device | str | None = None
) -> StoRM: ...
@overload
def load(
    name: Literal["moons-flow"], *, steps: int | None = None, device: torch.device | str | None = None
) -> Flow: ...
@overload
def load(
    name: Literal["reaching-policy"],
    *,
    steps: int | None = None,
    eta: float | None = None,
    device: torch.device | str | None = None,
) -> DDIM: ...
@overload
def load(name: Literal["mnist-vae"], *, device: torch.device | str | None = None) -> VAE: ...
@overload
def load(
    name: Literal["mnist-glow"], *, temperature: float | None = None, device: torch.device | str | None = None
) -> Glow: ...
@overload
def load(
    name: str,
    *,
    steps: int | None = None,
    eta: float | None = None,
    guidance_scale: float | None = None,
    sampler: Literal["ddim", "heun"] | None = None,
    temperature: float | None = None,
    device: torch.device | str | None = None,
    **others: Any,
) -> TorchGenerator: ...
def load(
    name: str,
    *,
    steps: int | None = None,
    eta: float | None = None,
    guidance_scale: float | None = None,
    sampler: Literal["ddim", "heun"] | None = None,
    temperature: float | None = None,
    device: torch.device | str | None = None,
    **others: Any,
) -> TorchGenerator:
    """Return a shipped model as a generator. Options that are None are the model's own defaults.

    A type checker knows the type of each model: a `DDIM` or a `Heun`, a `Consistency`, a `Truncate`, a `StoRM`, a
    `Flow`, a `VAE`, or a `Glow`.

    Parameters
    ----------
    name : str
        One of the names in `list()`.
    steps : int, optional
        Steps of the sampler: 50 for diffusion models, 1 (or 2) for ``"mnist-consistency"``, 20 for ``"moons-flow"``,
        10 for ``"reaching-policy"``. For models that start later it is the number of steps after the start: 25 for
        ``"digits-truncated"``, at most 500, and 10 for ``"mnist-storm"``, at most 200.
    eta : float, optional
        Diffusion models only: the share of fresh noise in each step of DDIM, by default 0. With 1 the sampler is DDPM.
    guidance_scale : float, optional
        Diffusion models with classes only: the scale of classifier-free guidance, at least 1. By default 1, which means
        no guidance.
    sampler : {"ddim", "heun"}, optional
        Diffusion models only: the sampler, by default ``"ddim"``.
    temperature : float, optional
        ``"mnist-glow"`` only: the factor of its standard normal noise, by default 0.7.
    device : torch.device or str, optional
        The device of the model, such as ``"cuda"``; by default the CPU. A seed gives the same noise on every device,
        since noise is drawn on the CPU and moved.
    **others
        Other options are refused, except for the deprecated ``guidance=w``; write ``guidance_scale=1 + w``.

    Notes
    -----
    The condition of a model with classes is a class, or None for any class. With guidance it must be a class. Classes
    are the digits 0 to 9. Those of ``"patches-latent"`` are six photographs, 0 to 5: china, flower, astronaut, chelsea,
    coffee, rocket.

    Diffusion models have ``decode`` and ``encode``, from states to images and back. The states of ``"patches-latent"``
    are latents of 4 x 8 x 8. A sampler of latents is
    ``DDIM(model.denoiser, model.schedule, model.shape, prediction=model.prediction)``.

    The condition of ``"reaching-policy"``, which makes actions, is an observation of shape (2,), or (n, 2) for n rows.
    The condition of ``"mnist-storm"`` is a measurement; see `mcgen.adapters.StoRM`. Its ``operator`` simulates one with
    the noise that the model expects: ``model.operator.measure(image, model.sampler.noise_sd, noise)``.

    The denoiser of ``"digits-energy"`` is the gradient of a log density, its ``energy``. `mcgen.adapters.Compose` takes
    it as a part that has log densities.

    Raises
    ------
    ValueError
        If there is no model or device of this name, or an option is out of range. If the hash of the weight file
        differs from that in its log.
    TypeError
        If the model does not take an option, or an option is of another type.
    ImportError
        If the model needs another library that is not installed.

    Examples
    --------
    >>> from mcgen.adapters import models
    >>> models.load("digits-diffusion", steps=10, sampler="heun")
    Heun(digits-diffusion heun-10, noise=normal(1x8x8) float32)
    >>> models.load("mnist-vae", steps=10)
    Traceback (most recent call last):
        ...
    TypeError: mnist-vae takes no options but device; got steps=10
    """
    if _checked_name(name) in CLASSIFIERS:
        raise ValueError(
            f"{name} is a feature network and no generator; use mcgen.adapters.features({name!r}). Generators are "
            f"{', '.join(_MODELS)}"
        )
    make = _MODELS[name]
    asked = {
        "steps": steps,
        "eta": eta,
        "guidance_scale": guidance_scale,
        "sampler": sampler,
        "temperature": temperature,
    }
    # An option of another name is refused even where it is None.
    options = {key: value for key, value in asked.items() if value is not None} | others
    known = {key: one.default for key, one in inspect.signature(make).parameters.items() if key != "name"}
    if "guidance" in options and "guidance_scale" in known:
        weight = options.pop("guidance")
        scale = 1 + checked_real("guidance", weight)
        options["guidance_scale"] = scale_of_old_word("guidance", weight, scale, guidance_scale)
    unknown = ", ".join(f"{key}={value!r}" for key, value in options.items() if key not in known)
    if unknown:
        taken = ", ".join(f"{key}={default!r}" for key, default in known.items())
        raise TypeError(f"{name} takes {f'{taken} and device' if known else 'no options but device'}; got {unknown}")
    made = make(name, **options)
    return made if device is None else made.to(device)


def list() -> builtins.list[str]:
    """Return the names of the shipped models, for `load`.

    Examples
    --------
    >>> from mcgen.adapters import models
    >>> models.list()[:2]
    ['digits-diffusion', 'mnist-ddpm']
    """
    return [*_MODELS]


def log(name: str) -> dict[str, Any]:
    """Return the log of a model's training: its command, settings, versions, hash, loss and quality.

    Parameters
    ----------
    name : str
        One of the names in `list()`, a classifier such as ``"mnist-classifier"``, or ``"real-images"`` for the files
        that `real_images` reads.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such model.

    Examples
    --------
    >>> from mcgen.adapters import models
    >>> record = models.log("mnist-vae")
    >>> record["command"]
    'python -m mcgen.adapters.models.training mnist-vae'
    """
    path = weights_path(name if name == held_out.LOG else _checked_name(name)).with_suffix(".json")
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or name not in _NETWORKS:
        raise ValueError(f"no model {name!r} ships with mcgen; there are {', '.join(_MODELS)}")
    return name


def network(name: str, dropout: float = 0.0) -> nn.Module:
    """Return the untrained network of a model, or a classifier."""
    return _NETWORKS[name](dropout)


def trained(name: str) -> nn.Module:
    """Return the trained network of a model in evaluation mode; each call returns a new one."""
    found = network(name)
    found.load_state_dict(_weights(name))
    return found.eval().requires_grad_(False)


@lru_cache(maxsize=8)
def _weights(name: str) -> dict[str, torch.Tensor]:
    return read_weights(checked_weights(name))


def to_images(x: torch.Tensor) -> torch.Tensor:
    """Return images in [0, 1] from states in [-1, 1]."""
    return ((x + 1) / 2).clamp(0, 1)


def to_states(x: torch.Tensor) -> torch.Tensor:
    """Return states in [-1, 1] from images in [0, 1]."""
    return 2 * x - 1


def weights_path(name: str) -> Path:
    """Return the path of a model's weight file; the log is next to it."""
    return _FOLDER / f"{name}.safetensors"


def checked_weights(name: str) -> Path:
    """Return the path of a model's weight file, or refuse a file whose SHA-256 is not that in its log."""
    path = weights_path(name)
    expected = log(name)["sha256"]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its log says {expected}: the file is damaged or was replaced; "
            "reinstall the package or train the model again"
        )
    return path


# Stores and pickled factories refer to `load` by the package.
load.__module__ = "mcgen.adapters.models"

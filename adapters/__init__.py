"""Models of every kind as generators. Each folder holds one family, and no other part of mcgen imports torch.

A family is imported when it is used, so that ONNX graphs (`mcgen.adapters.onnx`) work without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "mcgen.adapters":
    raise ImportError(f"this package was imported as {__name__!r}; import it as 'mcgen.adapters'")

if TYPE_CHECKING:
    from mcgen.adapters.capturing.captured import CapturedGenerator, capture
    from mcgen.adapters.composed.combinators import Chain
    from mcgen.adapters.composed.compose import Compose
    from mcgen.adapters.composed.editing import Edit, FlowEdit
    from mcgen.adapters.composed.energies import Energy, EnergyDenoiser
    from mcgen.adapters.composed.environments import Environment
    from mcgen.adapters.composed.episodes import Episode, Rollout, Situation
    from mcgen.adapters.composed.regeneration import StoRM
    from mcgen.adapters.composed.truncation import Partial, Start, Truncate
    from mcgen.adapters.decoders.glow import Glow
    from mcgen.adapters.decoders.vae import VAE
    from mcgen.adapters.feature_networks import ClassifierScore, FeatureDistance, FeatureNetwork, features
    from mcgen.adapters.inverse.operators import GaussianBlur, Inpainting, MaskedFourier, Operator, SuperResolution
    from mcgen.adapters.inverse.posterior import DDS, DPS, PosteriorSampler
    from mcgen.adapters.onnx import from_onnx, noise_inputs
    from mcgen.adapters.samplers.consistency import Consistency, Level
    from mcgen.adapters.samplers.diffusion import DDIM, Diffusion, Heun
    from mcgen.adapters.samplers.fitted import Fitted
    from mcgen.adapters.samplers.flow import Flow, from_zuko
    from mcgen.adapters.samplers.guidance import Guided
    from mcgen.adapters.samplers.pipelines import from_pipeline
    from mcgen.adapters.samplers.velocity import velocity_of
    from mcgen.adapters.tensors.torch_generator import TorchGenerator, from_torch
    from mcgen.generators.schedule import Schedule

_FAMILIES = {
    "tensors.torch_generator": ("TorchGenerator", "from_torch"),
    "capturing.captured": ("CapturedGenerator", "capture"),
    "composed.combinators": ("Chain",),
    "samplers.consistency": ("Consistency", "Level"),
    "samplers.diffusion": ("DDIM", "Diffusion", "Heun", "Schedule"),
    "samplers.fitted": ("Fitted",),
    "samplers.guidance": ("Guided",),
    "samplers.velocity": ("velocity_of",),
    "composed.compose": ("Compose",),
    "composed.editing": ("Edit", "FlowEdit"),
    "composed.environments": ("Environment",),
    "composed.episodes": ("Episode", "Rollout", "Situation"),
    "composed.regeneration": ("StoRM",),
    "composed.truncation": ("Partial", "Start", "Truncate"),
    "composed.energies": ("Energy", "EnergyDenoiser"),
    "samplers.flow": ("Flow", "from_zuko"),
    "decoders.glow": ("Glow",),
    "feature_networks": ("ClassifierScore", "FeatureDistance", "FeatureNetwork", "features"),
    "onnx": ("from_onnx", "noise_inputs"),
    "inverse.operators": ("GaussianBlur", "Inpainting", "MaskedFourier", "Operator", "SuperResolution"),
    "samplers.pipelines": ("from_pipeline",),
    "inverse.posterior": ("DDS", "DPS", "PosteriorSampler"),
    "decoders.vae": ("VAE",),
}
_HOME = {name: family for family, names in _FAMILIES.items() for name in names}

__all__ = [
    "DDIM",
    "DDS",
    "DPS",
    "VAE",
    "CapturedGenerator",
    "Chain",
    "ClassifierScore",
    "Compose",
    "Consistency",
    "Diffusion",
    "Edit",
    "Energy",
    "EnergyDenoiser",
    "Environment",
    "Episode",
    "FeatureDistance",
    "FeatureNetwork",
    "Fitted",
    "Flow",
    "FlowEdit",
    "GaussianBlur",
    "Glow",
    "Guided",
    "Heun",
    "Inpainting",
    "Level",
    "MaskedFourier",
    "Operator",
    "Partial",
    "PosteriorSampler",
    "Rollout",
    "Schedule",
    "Situation",
    "Start",
    "StoRM",
    "SuperResolution",
    "TorchGenerator",
    "Truncate",
    "capture",
    "features",
    "from_onnx",
    "from_pipeline",
    "from_torch",
    "from_zuko",
    "noise_inputs",
    "velocity_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME and name != "models":
        raise AttributeError(f"module 'mcgen.adapters' has no attribute {name!r}; it has {', '.join(__all__)}")
    family = _HOME.get(name, name)
    if family not in ("onnx", "models"):
        # Imported first, since its error says what to install where torch is missing.
        import_module("mcgen.adapters.tensors.torch_generator")
    module = import_module(f"mcgen.adapters.{family}")
    return module if name == family else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "models"]

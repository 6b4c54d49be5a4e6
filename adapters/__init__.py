"""From a model to a generator: thin, one family a file, and the only part of mcgen that knows torch.

Families are imported when they are used, so that those without torch (`mcgen.adapters.onnx`) need none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ != "mcgen.adapters":
    raise ImportError(f"this package was imported as {__name__!r}; import it as 'mcgen.adapters'")

if TYPE_CHECKING:
    from mcgen.adapters._torch import TorchGenerator, from_torch
    from mcgen.adapters.captured import CapturedGenerator, capture
    from mcgen.adapters.combinators import Chain, Partial, Start, Truncate
    from mcgen.adapters.consistency import Consistency, Level
    from mcgen.adapters.diffusion import DDIM, Diffusion, Guided, Heun, Schedule
    from mcgen.adapters.editing import Edit, FlowEdit
    from mcgen.adapters.flow import Flow, from_zuko
    from mcgen.adapters.glow import Glow
    from mcgen.adapters.onnx import from_onnx, noise_inputs
    from mcgen.adapters.operators import GaussianBlur, Inpainting, MaskedFourier, Operator, SuperResolution
    from mcgen.adapters.pipelines import from_pipeline
    from mcgen.adapters.posterior import DDS, DPS, PosteriorSampler
    from mcgen.adapters.vae import VAE

_FAMILIES = {
    "_torch": ("TorchGenerator", "from_torch"),
    "captured": ("CapturedGenerator", "capture"),
    "combinators": ("Chain", "Partial", "Start", "Truncate"),
    "consistency": ("Consistency", "Level"),
    "diffusion": ("DDIM", "Diffusion", "Guided", "Heun", "Schedule"),
    "editing": ("Edit", "FlowEdit"),
    "flow": ("Flow", "from_zuko"),
    "glow": ("Glow",),
    "onnx": ("from_onnx", "noise_inputs"),
    "operators": ("GaussianBlur", "Inpainting", "MaskedFourier", "Operator", "SuperResolution"),
    "pipelines": ("from_pipeline",),
    "posterior": ("DDS", "DPS", "PosteriorSampler"),
    "vae": ("VAE",),
}
_HOME = {name: family for family, names in _FAMILIES.items() for name in names}

__all__ = [
    "DDIM",
    "DDS",
    "DPS",
    "VAE",
    "CapturedGenerator",
    "Chain",
    "Consistency",
    "Diffusion",
    "Edit",
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
    "Schedule",
    "Start",
    "SuperResolution",
    "TorchGenerator",
    "Truncate",
    "capture",
    "from_onnx",
    "from_pipeline",
    "from_torch",
    "from_zuko",
    "noise_inputs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME and name != "models":
        raise AttributeError(f"module 'mcgen.adapters' has no attribute {name!r}; it has {', '.join(__all__)}")
    family = _HOME.get(name, name)
    if family != "onnx":
        # First, since its error says what to install where torch is missing.
        import_module("mcgen.adapters._torch")
    module = import_module(f"mcgen.adapters.{family}")
    return module if name == family else getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "models"]

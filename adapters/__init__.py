"""From a model to a generator: thin, one family a file, and the only part of mcgen that knows torch."""

from __future__ import annotations

if __name__ != "mcgen.adapters":
    raise ImportError(f"this package was imported as {__name__!r}; import it as 'mcgen.adapters'")

from mcgen.adapters._torch import TorchGenerator, from_torch
from mcgen.adapters.capture import CapturedGenerator, capture
from mcgen.adapters.diffusion import DDIM, Guided, Heun, Schedule

__all__ = ["DDIM", "CapturedGenerator", "Guided", "Heun", "Schedule", "TorchGenerator", "capture", "from_torch"]

"""The protocol of samplers that go step by step and show their states: what analyses of paths need of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.names import name_of
from mcgen.noise import Noise, NoiseSpec


@runtime_checkable
class Stepwise(Protocol):
    """A sampler that shows its states and predictions; all samplers of `mcgen.adapters` that go step by step do.

    Arrays are those of any library. The methods draw no random numbers.
    """

    @property
    def noise(self) -> NoiseSpec:
        """The noise of one sample. A path starts from the first block, whose shape is that of the states."""
        ...

    @property
    def steps(self) -> int:
        """Number of steps; there are steps + 1 states."""
        ...

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of what it shows: "state", and predictions such as "noise" and "sample"."""
        ...

    @property
    def signal_shares(self) -> NDArray[np.float64] | None:
        """The signal's share in each state, shape (steps + 1,); None where it is not known."""
        ...

    def observe(self, noise: Noise, condition: Any = None) -> Iterator[Mapping[str, Any]]:
        """Yield each of steps + 1 states (n, ...) by the name "state", with the predictions at all but the last."""
        ...

    def predictions(self, x: NDArray[Any], i: int, condition: Any = None) -> Mapping[str, Any]:
        """Return the predictions at step i for any states (n, ...), by name."""
        ...


@runtime_checkable
class Resumable(Stepwise, Protocol):
    """A sampler whose paths can also go on from any state, such as one that was changed on the way."""

    def resume(self, x: NDArray[Any], i: int, noise: Noise, condition: Any = None) -> Any:
        """Return the last states (n, ...) of the paths that go on from states x (n, ...) at step i.

        Fresh noise of the steps that remain is read from the noise of whole paths.
        """
        ...


def checked_stepwise(model: Any) -> Stepwise:
    """Return a sampler that shows its steps, or refuse another model with what to wrap it by.

    Raises
    ------
    TypeError
        If the model does not show its steps.
    """
    if isinstance(model, Stepwise) and not isinstance(model, type):
        return model
    if hasattr(model, "fine") and hasattr(model, "nodes"):
        advice = "It was fitted to a sampler that does: give model.fine"
    else:
        advice = (
            "Wrap its network by a sampler of mcgen.adapters: DDIM(denoiser, schedule, shape) or Heun for a diffusion "
            "model, Flow(velocity, shape) for a flow, Consistency.from_sigmas for a consistency model, from_pipeline "
            "for a pipeline of diffusers. A model of one pass has no steps; see mcgen.analysis.pairs"
        )
    raise TypeError(f"model must show the steps of its path; got {name_of(model)} ({type(model).__name__}). {advice}")

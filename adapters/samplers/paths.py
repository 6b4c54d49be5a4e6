"""Loops around networks that go from noise to a sample step by step: what samplers of diffusion models and flows share.

A state that were rounded to half precision at every step would lose steps shorter than its rounding, and bias the
samples. So states and noise are in float32 or better, whatever the networks compute in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator, checked_output, modules_of, owners_of
from mcgen.noise import Noise, NoiseSpec, Shape

Network = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
"""From states (n, ...), their time (n,) and the condition to a tensor (n, ...): a module, its method, or a function."""
Decode = Callable[[torch.Tensor], torch.Tensor]
"""From last states (n, ...) to samples."""
Modules = torch.nn.Module | Iterable[torch.nn.Module]

OUTPUT_ADVICE = (
    ". Of a diffusers network return network(x, t).sample; of one that predicts a variance too, the first half of the "
    "channels"
)


class LoopGenerator(TorchGenerator, ABC):
    """A loop of steps, each of which asks networks.

    Parameters
    ----------
    networks : mapping of str to callable
        By the names that messages call them.
    noise : NoiseSpec
        What the loop wants for one sample.
    label : str
        How results call the generator where the user gave no `name`.
    decode : callable, optional
        From the last state to samples.
    device, name
        See `TorchGenerator`.
    dtype : torch.dtype, optional
        What the networks receive, by default the type of their parameters; states are in this or float32, whichever
        is wider.
    modules : torch.nn.Module or iterable of them
        Beside those that the networks and `decode` are, or are methods of.

    Attributes
    ----------
    network_dtype : torch.dtype or None
        What the networks and `decode` receive; None for that of the states.
    """

    def __init__(
        self,
        networks: Mapping[str, Network],
        noise: NoiseSpec,
        *,
        label: str,
        decode: Decode | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        modules: Modules = (),
        name: str | None = None,
    ) -> None:
        for role, function in (*networks.items(), *([] if decode is None else [("decode", decode)])):
            if not callable(function):
                raise TypeError(f"{role} must be callable: a torch module, its method or a function; got {function!r}")
        found = dict.fromkeys([*owners_of(*networks.values(), decode), *modules_of(modules)])
        self._decode, self._given_name = decode, name
        super().__init__(self.sample, noise, device=device, dtype=dtype, modules=[*found], name=name or label)
        self.network_dtype = self.dtype
        if self.dtype is not None:
            self.dtype = torch.promote_types(self.dtype, torch.float32)

    @abstractmethod
    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that `noise` makes."""

    @property
    def decode(self) -> Decode | None:
        """From the last state to samples, or None."""
        return None if self._decode is None else self._decoded

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Return last states (n, ...), decoded."""
        return x if self._decode is None else self._decoded(x)

    def narrowed(self, x: torch.Tensor) -> torch.Tensor:
        """Return states in the type that the networks receive."""
        return x if self.network_dtype is None else x.to(self.network_dtype)

    def ask(
        self, role: str, network: Network, x: torch.Tensor, t: float, condition: object, advice: str = ""
    ) -> torch.Tensor:
        """Return what a network gives for states (n, ...), all at time t: of their shape and dtype, or an error."""
        given = self.narrowed(x)
        output = network(given, times_of(given, t), condition)
        return checked_output(output, x, f"the {role} of {self.name!r}", advice).to(x.dtype)

    def _options(self) -> dict[str, Any]:
        """Return what the same loop with other steps is made with."""
        dtype = self.network_dtype or self.dtype
        return {"decode": self._decode, "device": self.device, "dtype": dtype, "modules": self.modules}

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        assert self._decode is not None
        return self._decode(self.narrowed(x))


class PathGenerator(LoopGenerator):
    """A path of states from noise to a sample.

    Attributes
    ----------
    steps : int
        Number of steps.
    """

    steps: int

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network that a sample costs: what it is worth among the levels of `mcgen.multilevel`."""
        return self.steps

    @property
    def shape(self) -> Shape:
        """Shape of one sample's state."""
        return self.noise.blocks[0][1].shape

    @abstractmethod
    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the states (n, ...) from the noise to the end, steps + 1 in all."""

    @abstractmethod
    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps."""

    def coarse(self, steps: int) -> Self:
        """Return the same model with fewer steps, on the same noise or some of its blocks."""
        return self.with_steps(self._fewer(steps))

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that start from `noise`."""
        return self.finished(self.states(noise, condition))

    def finished(self, states: Iterator[torch.Tensor]) -> torch.Tensor:
        """Return the last of the states, decoded."""
        return self.finish(deque(states, maxlen=1)[0])

    def trajectory(self, noise: Noise, condition: object = None) -> torch.Tensor:
        """Return all states, shape (n, steps + 1, ...), not decoded: for correlations along the sampler's time."""
        self.require_evaluation_mode()
        with torch.no_grad():
            path = torch.stack([*self.states(self.tensors_of(noise), condition)], dim=1)
        return path.to(torch.promote_types(path.dtype, torch.float32))

    def _fewer(self, steps: int) -> int:
        if not 1 <= checked_integer("steps", steps) <= self.steps:
            raise ValueError(f"a coarse model has between 1 and the model's own {self.steps} steps; got {steps}")
        return steps

    def _name_with(self, steps: int) -> str | None:
        """Return the name that the user gave, if any, with another number of steps at its end."""
        return self._given_name and f"{self._given_name.removesuffix(f'-{self.steps}')}-{steps}"


def start_of(noise: TensorNoise) -> torch.Tensor:
    """Return the block that a path starts from, of noise that may have one for each step too."""
    return noise if isinstance(noise, torch.Tensor) else noise["start"]


def fresh_shares(
    signals: NDArray[np.float64], variances: NDArray[np.float64], coarse: NDArray[np.float64]
) -> list[dict[int, float]]:
    """Return, for each coarse step, the weights of the fine steps whose fresh noises add up to its own, of variance 1.

    Weights are as what each fine noise is in the state at the coarse step's end, with the predicted sample held fixed.
    A fine step belongs to the coarse one in which it starts; but each coarse step has one at least.

    Parameters
    ----------
    signals : ndarray of shape (n + 1,)
        The signal's shares at the n fine steps that have fresh noise, and after them.
    variances : ndarray of shape (n,)
        Of their fresh noises.
    coarse : ndarray
        The shares at the coarse steps that have fresh noise, at most n, and after them.
    """
    n, numbers = len(variances), np.arange(len(coarse))
    firsts = np.minimum(np.searchsorted(signals[:n], coarse), n + 1 - len(coarse) + numbers)
    firsts = np.maximum.accumulate(firsts - numbers) + numbers
    keep = np.sqrt(np.maximum(0, 1 - signals[1:] - variances) / (1 - signals[:n]))
    shares = []
    for first, last in pairwise(firsts.tolist()):
        later = np.append(np.cumprod(keep[first + 1 : last][::-1])[::-1], 1.0)
        weights = np.sqrt(variances[first:last]) * later
        weights /= np.linalg.norm(weights)
        shares.append(dict(zip(range(first, last), weights.tolist(), strict=True)))
    return shares


def times_of(x: torch.Tensor, t: float) -> torch.Tensor:
    """Return the time t once for each row of `x`, in float32 or better."""
    return torch.full((len(x),), t, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


def time_grid(steps: int | Sequence[float]) -> NDArray[np.float64]:
    """Return times from 0 to 1: so many steps of the same length, or those that are given."""
    if np.ndim(steps) == 0:
        n_steps = checked_integer("steps", steps)
        if n_steps < 1:
            raise ValueError(f"a flow takes at least 1 step; got {n_steps}")
        return np.linspace(0, 1, n_steps + 1)
    times = np.asarray([checked_real("each time", t) for t in np.asarray(steps).tolist()])
    if len(times) < 2 or times[0] != 0 or times[-1] != 1 or (np.diff(times) <= 0).any():
        raise ValueError(f"times given one by one must increase from 0, the noise, to 1, the sample; got {steps}")
    return times


def checked_clip(clip: float | None) -> float | None:
    """Return a bound of predicted samples, or None for none."""
    if clip is not None and checked_real("clip", clip) <= 0:
        raise ValueError(f"clip must be a positive bound, or None; got {clip}")
    return clip

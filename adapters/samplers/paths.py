"""Base classes of samplers that go from noise to a sample step by step, by a network: diffusion models and flows.

States and noise are in float32 or better, whatever type the networks compute in. Rounding a state to half precision at
every step would lose steps shorter than the rounding error, and bias the samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.adapters.samplers.fitted import Fitted
from mcgen.adapters.samplers.fitting import fit, fit_several
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator, checked_output, modules_of, owners_of
from mcgen.noise import Noise, NoiseSpec, Shape
from mcgen.noise.random import Seed

Network = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
"""Maps states (n, ...), their time (n,) and the condition to a tensor (n, ...): a module, its method, or a function."""
Decode = Callable[[torch.Tensor], torch.Tensor]
"""Maps last states (n, ...) to samples."""
Encode = Callable[[torch.Tensor], torch.Tensor]
"""Maps samples (n, ...) to states, the inverse of a `Decode`."""
Modules = torch.nn.Module | Iterable[torch.nn.Module]

OUTPUT_ADVICE = (
    ". For a network of diffusers return network(x, t).sample; if it predicts a variance too, return the first half of "
    "the channels"
)


class LoopGenerator(TorchGenerator, ABC):
    """A loop of steps that evaluate networks.

    Parameters
    ----------
    networks : mapping of str to callable
        The networks by the names that messages use.
    noise : NoiseSpec
        The noise of one sample.
    label : str
        The generator's name in results where the user gave no `name`.
    decode : callable, optional
        Maps the last state to samples.
    device, name
        See `TorchGenerator`.
    dtype : torch.dtype, optional
        The type that the networks receive, by default the type of their parameters. States are in this type or float32,
        whichever is wider.
    modules : torch.nn.Module or iterable of them
        Further modules that the networks and `decode` run. Those that are modules themselves, or methods of modules,
        are found without it.

    Attributes
    ----------
    network_dtype : torch.dtype or None
        The type that the networks and `decode` receive; None for the type of the states.
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
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise TypeError(f"dtype must be a torch type of floats, such as torch.float64; got {dtype!r}")
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
        """The function from the last state to samples, or None."""
        return None if self._decode is None else self._decoded

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Return last states (n, ...), decoded."""
        return x if self._decode is None else self._decoded(x)

    def narrowed(self, x: torch.Tensor) -> torch.Tensor:
        """Return states converted to the type that the networks receive."""
        return x if self.network_dtype is None else x.to(self.network_dtype)

    def ask(
        self, role: str, network: Network, x: torch.Tensor, t: float, condition: object, advice: str = ""
    ) -> torch.Tensor:
        """Return a network's output for states (n, ...) at time t, in their dtype; refuse one of another shape."""
        given = self.narrowed(x)
        output = network(given, times_of(given, t), condition)
        return checked_output(output, x, f"the {role} of {self.name!r}", advice).to(x.dtype)

    def _options(self) -> dict[str, Any]:
        """Return the arguments for the same loop with another number of steps."""
        dtype = self.network_dtype or self.dtype
        return {"decode": self._decode, "device": self.device, "dtype": dtype, "modules": self.modules}

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        assert self._decode is not None
        return self._decode(self.narrowed(x))


class PathGenerator(LoopGenerator):
    """A sampler that makes a path of states from noise to a sample.

    Attributes
    ----------
    steps : int
        Number of steps.
    """

    steps: int
    shows_predictions: ClassVar[bool] = False
    """Whether `predict` has predictions that decide the steps, so that `fitted` can use them."""
    prediction_names: ClassVar[tuple[str, ...]] = ()
    """The names of the predictions that `observe` shows at each step."""

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network per sample: the cost of a sample in `mcgen.multilevel`."""
        return self.steps

    @property
    def shape(self) -> Shape:
        """Shape of one sample's state."""
        return self.noise.blocks[0][1].shape

    @abstractmethod
    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the states (n, ...) from the noise to the last one, steps + 1 in all."""

    @abstractmethod
    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps."""

    def coarse(self, steps: int) -> Self:
        """Return the same model with fewer steps, on the same noise or some of its blocks."""
        return self.with_steps(self._fewer(steps))

    def fitted(
        self,
        evaluations: int = 5,
        *,
        pairs: int = 8,
        seed: Seed,
        condition: Any = None,
        nodes: Sequence[int] | None = None,
        folder: str | Path | None = None,
    ) -> Fitted:
        """Return a sampler of few network evaluations on the same noise, fitted to this sampler's trajectories.

        It follows this sampler far more closely than `coarse` with as many evaluations, and is made for the lower level
        of `mcgen.multilevel`. `mcgen.adapters.samplers.fitted` has the method.

        Parameters
        ----------
        evaluations : int
            Number of predictions by the network for a sample, fewer than the steps. 5 are enough for 25 steps, 5 to 8
            for 50.
        pairs : int
            Antithetic pairs of trajectories that the fit is made from, for each condition, at least 2. For images more
            than 8 bring little, and 2 or 4 are enough where there are many conditions. Take 32 with fresh noise at each
            step, and 64 for samples of a few numbers.
        seed : int or SeedSequence
            Seed of their noise. It may be that of a run, which has other random numbers.
        condition : object, optional
            The condition of the fit, or a list of conditions; the sampler takes no others. All conditions share the
            weights, and each has a mean image of its own.
        nodes : sequence of int, optional
            The steps at which the network is evaluated; by default they are chosen by the pilot.
        folder : str or Path, optional
            A folder that keeps fits: the same call for the same sampler reads its fit from there. The evaluations of a
            fit that was read count in runs as if it had been made.

        Returns
        -------
        Fitted
            The generator. Its ``pilot_evaluations`` is the cost of the fit in evaluations of this sampler, and is in
            the provenance of each run that uses it.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, the sampler has no predictions at its steps that a fit could use, or a
            trajectory is not finite.
        """
        self._require_predictions()
        return fit(self, evaluations, pairs=pairs, seed=seed, condition=condition, nodes=nodes, folder=folder)

    def fitted_several(
        self, evaluations: Sequence[int], *, pairs: int = 8, seed: Seed, condition: Any = None
    ) -> tuple[Fitted, ...]:
        """Return a sampler for each number of evaluations, all fitted to the same trajectories; see `fitted`.

        Each one's ``pilot_evaluations`` includes the trajectories, so that it is right for that sampler alone.
        """
        self._require_predictions()
        return fit_several(self, evaluations, pairs=pairs, seed=seed, condition=condition)

    def _require_predictions(self) -> None:
        if not self.shows_predictions:
            raise TypeError(
                f"a fitted sampler needs the network's prediction at each step, which {type(self).__name__} does not "
                "have; DDIM, Heun and Flow do. Use coarse(steps)"
            )

    @property
    def prediction_evaluations(self) -> int:
        """Evaluations of the network per prediction."""
        return 1

    @property
    def scales(self) -> NDArray[np.float64]:
        """Scales of the signal and of the noise in each state, shape (2, steps + 1)."""
        raise NotImplementedError

    def predict(self, x: torch.Tensor, i: int, condition: object = None) -> torch.Tensor:
        """Return the network's prediction (n, ...) for states `x` (n, ...) at step i, where the sampler shows them."""
        raise NotImplementedError

    def fresh_weights(self, first: int, last: int) -> dict[str, float]:
        """Return the weights of the blocks of fresh noise of steps `first` to `last` - 1 in state `last`.

        The predictions are held fixed. Deterministic samplers have none.
        """
        return {}

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that start from `noise`."""
        return self.finished(self.states(noise, condition))

    def finished(self, states: Iterator[torch.Tensor]) -> torch.Tensor:
        """Return the samples: the last of the states, decoded."""
        return self.finish(deque(states, maxlen=1)[0])

    def trajectory(self, noise: Noise, condition: object = None) -> torch.Tensor:
        """Return all states, shape (n, steps + 1, ...), without decoding. They show correlations along time."""
        self.require_evaluation_mode()
        with torch.no_grad():
            path = torch.stack([*self.states(self.tensors_of(noise), condition)], dim=1)
        return path.to(torch.promote_types(path.dtype, torch.float32))

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of what `observe` shows: "state", and the predictions of the network."""
        return ("state", *self.prediction_names)

    @property
    def signal_shares(self) -> NDArray[np.float64] | None:
        """The signal's share of the squared scales of each state, shape (steps + 1,); None where it is not known."""
        return None

    @torch.no_grad()
    def observe(self, noise: Noise, condition: object = None) -> Iterator[dict[str, torch.Tensor]]:
        """Yield what the sampler shows at each of its steps + 1 states, from the noise to the last one.

        Each is a mapping from names to tensors (n, ...): "state", and at all states but the last one the predictions
        that lead to the next. They cost no evaluations of the network beyond those of the sample.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        condition : object, optional
            As in a call.
        """
        self.require_evaluation_mode()
        yield from self._observed(self.tensors_of(noise), condition)

    @torch.no_grad()
    def predictions(self, x: NDArray[Any], i: int, condition: object = None) -> dict[str, torch.Tensor]:
        """Return what the network predicts at step i for any states (n, ...), by the names in `prediction_names`.

        Raises
        ------
        ValueError
            If the states do not have the sampler's shape, or there is no such step.
        """
        return self._predictions(self.checked_states(x, i), i, condition)

    def checked_states(self, x: NDArray[Any], i: int) -> torch.Tensor:
        """Return states (n, ...) at step i as a tensor of the sampler, or refuse another shape or step."""
        if x.shape[1:] != self.shape or x.ndim != 1 + len(self.shape):
            raise ValueError(f"states of {self.name!r} must have shape (n, {str(self.shape)[1:]}; got {x.shape}")
        if not 0 <= i < self.steps:
            raise ValueError(f"i must be a step of the sampler, 0 to {self.steps - 1}; got {i}")
        self.require_evaluation_mode()
        return torch.as_tensor(x).to(device=self.device, dtype=self.dtype)

    @torch.no_grad()
    def resume(self, x: NDArray[Any], i: int, noise: Noise, condition: object = None) -> torch.Tensor:
        """Return the last states (n, ...) of the paths that go on from states `x` (n, ...) at step i, not decoded.

        Fresh noise of the steps that remain is read from `noise`, that of whole paths as designs draw it.

        Raises
        ------
        TypeError
            If the sampler can't start in the middle.
        ValueError
            If the states do not have the sampler's shape, or there is no such step.
        """
        path = self.reverse(self.checked_states(x, i), self.tensors_of(noise), condition, first=i)
        return deque(path, maxlen=1)[0]

    def reverse(
        self, x: torch.Tensor, noise: TensorNoise, condition: object = None, *, first: int = 0
    ) -> Iterator[torch.Tensor]:
        """Yield the states from `x`, the state at step number `first`, to the last one."""
        raise TypeError(f"{type(self).__name__} can't start in the middle of a path; DDIM, Heun and Flow can")

    def _observed(self, noise: TensorNoise, condition: object) -> Iterator[dict[str, torch.Tensor]]:
        for x in self.states(noise, condition):
            yield {"state": x}

    def _predictions(self, x: torch.Tensor, i: int, condition: object) -> dict[str, torch.Tensor]:
        """Return the predictions for states (n, ...) at step i, by name."""
        return {}

    def _fewer(self, steps: int) -> int:
        if not 1 <= checked_integer("steps", steps) <= self.steps:
            raise ValueError(f"a coarse model has between 1 and the model's own {self.steps} steps; got {steps}")
        return steps

    def _name_with(self, steps: int) -> str | None:
        """Return the user's name with another number of steps at its end; None if the user gave no name."""
        return self._given_name and f"{self._given_name.removesuffix(f'-{self.steps}')}-{steps}"


def start_of(noise: TensorNoise) -> torch.Tensor:
    """Return the block of noise that a path starts from; the noise may have a block for each step too."""
    return noise if isinstance(noise, torch.Tensor) else noise["start"]


def fresh_shares(
    signals: NDArray[np.float64], variances: NDArray[np.float64], coarse: NDArray[np.float64]
) -> list[dict[int, float]]:
    r"""Return, for each coarse step, the weights of the fine steps whose fresh noises add up to its fresh noise.

    With the predicted sample held fixed, the fine noises :math:`z_j` of one coarse step add up to
    :math:`\sum_j \sigma_j (\prod_{l > j} k_l) z_j` at its end, where
    :math:`k_l = \sqrt{(1 - \bar\alpha_{l+1} - \sigma_l^2) / (1 - \bar\alpha_l)}`. The weights are these factors,
    divided by the root of their sum of squares so that the sum has variance 1. A fine step belongs to the coarse step
    in which it starts, and each coarse step has at least one.

    Parameters
    ----------
    signals : ndarray of shape (n + 1,)
        The signal's shares at the n fine steps that have fresh noise, and after the last of them.
    variances : ndarray of shape (n,)
        The variances :math:`\sigma_j^2` of their fresh noises.
    coarse : ndarray
        The signal's shares at the coarse steps that have fresh noise, at most n, and after the last of them.
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
    """Return times from 0 to 1: a number of steps of equal length, or the given times."""
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
    """Return a bound of predicted samples that is positive, or None for no bound."""
    if clip is not None and checked_real("clip", clip) <= 0:
        raise ValueError(f"clip must be a positive bound, or None; got {clip}")
    return clip

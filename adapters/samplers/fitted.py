r"""Samplers of few network evaluations that are fitted by least squares to a fine sampler on the same noise.

Let the fine sampler have the states :math:`x_0 = z, x_1, \ldots, x_n`. The fitted sampler evaluates the network at K of
these steps only, its nodes :math:`i_1 < \ldots < i_K`, and ends at :math:`i_{K+1} = n`. Its states are linear
combinations of the noise and of its own earlier predictions,

.. math:: y_j = b_j + \sum_m a_{jm} z_m + \sum_{m < j} c_{jm} h_m, \qquad h_j = h(y_j, i_j), \quad j = 1, \ldots, K + 1,

where h is the network's prediction: the predicted sample of a diffusion model [1]_, the velocity of a flow. The noises
:math:`z_m` are the start and, for samplers with fresh noise, the noise of the steps before the node. The weights a and
c are numbers shared by all entries of a state, and :math:`b_j` has the shape of a state. They are least-squares fits of
:math:`y_j` to :math:`x_{i_j}` on a pilot of antithetic pairs of fine trajectories: with F the features less their means
over the pilot, all entries of all states stacked, and :math:`G = F'F`,

.. math:: (a_j, c_j) = (G + \lambda \operatorname{diag} G)^{-1} F'(x_{i_j} - \bar x_{i_j}), \qquad \lambda = 10^{-6}.

The features of the fit are the predictions on the fitted states, so each state corrects the errors of those before it.

The fit does not depend on a statistic, and it need not be accurate. The weights come from random numbers of their own.
So a sum of two levels, with a fitted sampler as the lower one, is unbiased for the fine sampler with any weights.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equation (9).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from numpy.typing import NDArray

from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.fingerprints import fingerprint_of
from mcgen.adapters.samplers.weights import Floats, Weights
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator
from mcgen.noise import Noise, NoiseSpec


class FineSampler(Protocol):
    """The attributes and methods of a fine sampler that a fit uses. `DDIM`, `Heun` and `Flow` have them."""

    name: str
    noise: NoiseSpec
    modules: tuple[torch.nn.Module, ...]
    device: torch.device
    dtype: torch.dtype | None
    steps: int

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network per sample."""
        ...

    @property
    def prediction_evaluations(self) -> int:
        """Evaluations of the network per prediction."""
        ...

    @property
    def scales(self) -> Floats:
        """Scales of the signal and of the noise in each state, shape (2, steps + 1)."""
        ...

    def require_evaluation_mode(self) -> None:
        """Refuse modules in training mode."""
        ...

    def tensors_of(self, noise: Noise) -> TensorNoise:
        """Return noise as `states` receives it."""
        ...

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the states (n, ...) from the noise to the last one, steps + 1 in all."""
        ...

    def predict(self, x: torch.Tensor, i: int, condition: object = None) -> torch.Tensor:
        """Return the network's prediction (n, ...) for states `x` (n, ...) at step i."""
        ...

    def fresh_weights(self, first: int, last: int) -> dict[str, float]:
        """Return the weights of the blocks of fresh noise of steps `first` to `last` - 1 in state `last`."""
        ...

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Return last states (n, ...), decoded."""
        ...


class Fitted(TorchGenerator):
    """A sampler of K network evaluations, fitted to a fine sampler on the same noise. ``fine.fitted(...)`` makes it.

    Use it as the lower level of `mcgen.multilevel`, with the costs ``(fitted, fitted.cost), (fine, 1)``. You can also
    use it by itself, as a sampler of few steps that needs no training.

    Parameters
    ----------
    fine : DDIM, Heun or Flow
        The fine sampler.
    weights : Weights
        The fitted weights.
    ends : mapping, optional
        For each condition, by its key, the last states of the fine sampler and of this one in the fit's pilot; a
        sampler that was loaded has none.

    Attributes
    ----------
    nodes : tuple of int
        The steps of the fine sampler at which the network is evaluated.
    pilot_evaluations : int
        Cost of the fit, in evaluations of the fine sampler. It counts in the provenance of each run that uses the
        sampler.

    Notes
    -----
    A condition that the sampler was not fitted for is refused. On digits, the fit of another class had a two to three
    times larger squared distance from the fine samples.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import models
    >>> fine = models.load("digits-diffusion")
    >>> fitted = fine.fitted(evaluations=5, pairs=8, seed=0)
    >>> fitted
    Fitted(digits-diffusion ddim-50 fitted-5, nodes ... of 50, noise=normal(1x8x8) float32)
    >>> fitted.cost, fitted.pilot_evaluations
    (0.1, 18)
    """

    def __init__(
        self,
        fine: FineSampler,
        weights: Weights,
        ends: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        self.fine, self.weights, self._ends = fine, weights, dict(ends or {})
        name = f"{fine.name} fitted-{len(weights.nodes)}"
        super().__init__(self.sample, fine.noise, device=fine.device, dtype=fine.dtype, modules=fine.modules, name=name)

    def __getstate__(self) -> dict[str, Any]:
        # The pilot's states are no part of what the sampler does, and no file has them.
        return self.__dict__ | {"_ends": {}}

    @property
    def nodes(self) -> tuple[int, ...]:
        """The steps of the fine sampler at which the network is evaluated."""
        return self.weights.nodes

    @property
    def pilot_evaluations(self) -> int:
        """Cost of the fit, in evaluations of the fine sampler."""
        return self.weights.pilot_evaluations

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the network per sample: one for each node, two under guidance."""
        return len(self.nodes) * self.fine.prediction_evaluations

    @property
    def cost(self) -> float:
        """The cost of a sample, in evaluations of the fine sampler. A decoder of latents is not in it."""
        return self.network_evaluations / self.fine.network_evaluations

    @property
    def residual(self) -> float:
        """Share of the variance of the fine last states that the fit leaves in its own pilot.

        If it is above 0.1, take more evaluations.
        """
        return self.weights.residual

    def pilot_samples(self, condition: object = None) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the samples (2 pairs, ...) of the fine sampler and of this one in the fit's pilot, on the same noise.

        Each first point of an antithetic pair is followed by the second. They show, without a run, how closely this
        sampler follows a statistic. None for a sampler that was loaded, or for another condition.
        """
        found = self._ends.get(str(key_of_condition(condition)))
        if found is None:
            return None
        with torch.no_grad():
            fine, own = (self.fine.finish(x.to(self.device)) for x in found)
        return fine, own

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that `noise` makes.

        Raises
        ------
        ValueError
            If the sampler was not fitted for the condition.
        """
        states = self._of_noise(noise, self._intercepts(condition))
        for j, node in enumerate(self.nodes):
            prediction = self.fine.predict(states[j], node, condition)
            for k in range(j + 1, len(states)):
                states[k] = states[k] + float(self.weights.predictions[k, j]) * prediction
        return self.fine.finish(in_range(self.fine, states[-1]))

    def _of_noise(self, noise: TensorNoise, intercepts: NDArray[Any]) -> list[torch.Tensor]:
        """Return the part of each state that the noise and the intercepts make; each block is read once."""
        states: list[Any] = [*torch.tensor(intercepts, device=self.device)]
        for (name, _), weights in zip(self.noise.blocks, self.weights.noise.T.tolist(), strict=True):
            block = block_of(noise, name)
            states = [x.to(block.dtype) + a * block if a else x for x, a in zip(states, weights, strict=True)]
        return states

    def _intercepts(self, condition: object) -> NDArray[Any]:
        key, known = key_of_condition(condition), self.weights.intercepts
        if key is None or key not in known:
            raise ValueError(
                f"{self.name!r} was fitted for {condition_words(known)}; got the condition {condition!r}. Fit it for "
                "this one, fine.fitted(condition=...), which takes a list of conditions too"
            )
        return known[key]

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and of the fine sampler's content."""
        return self.weights.digest(fingerprint_of(self.fine))

    def save(self, path: str | Path) -> None:
        """Write an npz file, from which `load` makes the same sampler for the same fine one."""
        self.weights.save(path, fingerprint_of(self.fine))

    @classmethod
    def load(cls, path: str | Path, fine: FineSampler) -> Self:
        """Read a sampler that `save` wrote.

        Parameters
        ----------
        path : str or Path
            The file.
        fine : DDIM, Heun or Flow
            The sampler that it was fitted to, with the same networks and settings.

        Raises
        ------
        ValueError
            If the file holds something else, was changed, was written by a newer schema, or belongs to another sampler.
        """
        weights, sampler = Weights.load(path)
        if sampler != fingerprint_of(fine):
            raise ValueError(
                f"{path} belongs to another sampler than {fine.name!r}: its networks, its settings, or the version of "
                "Python differ. Load it with the sampler that it was fitted to, or fit this one by fine.fitted(...)"
            )
        return cls(fine, weights)

    def __repr__(self) -> str:
        nodes = ", ".join(map(str, self.nodes))
        return f"Fitted({self.name}, nodes {nodes} of {self.fine.steps}, noise={self.noise})"


def in_range(fine: FineSampler, x: torch.Tensor) -> torch.Tensor:
    """Return fitted last states, within the range of the fine sampler's where it clips its predicted samples.

    A combination of states may leave that range, in which a statistic may have no value.
    """
    clip = getattr(fine, "clip", None)
    ends_clean = bool(fine.scales[1, -1] == 0)
    return x.clamp(-clip, clip) if clip is not None and ends_clean else x


def condition_words(keys: Iterable[str]) -> str:
    """Return the conditions of a fit in words."""
    found = [*keys]
    return "no condition" if found == ["None"] else f"the condition{'s' * (len(found) > 1)} {', '.join(found)}"


def block_of(noise: TensorNoise, name: str) -> torch.Tensor:
    """Return a block of noise by its name; noise of one block is that block itself."""
    return noise if isinstance(noise, torch.Tensor) else noise[name]

r"""`Fitted`: a sampler of few network evaluations that follows a fine sampler on the same noise, by least squares.

Let the fine sampler have the states :math:`x_0 = z, x_1, \ldots, x_n`. The fitted sampler evaluates the network at K of
these steps only, its nodes :math:`i_1 < \ldots < i_K`, and ends at :math:`i_{K+1} = n`. Its states are linear
combinations of the noise and of its own earlier predictions,

.. math:: y_j = b_j + \sum_m a_{jm} z_m + \sum_{m < j} c_{jm} h_m, \qquad h_j = h(y_j, i_j), \quad j = 1, \ldots, K + 1,

where h is the network's prediction: the predicted sample of a diffusion model [1]_, the velocity of a flow. The noises
:math:`z_m` are the start and, for samplers with fresh noise, the noise of each step before the node. The weights a and
c are numbers shared by all entries of a state, and :math:`b_j` has the shape of a state. They are least-squares fits of
:math:`y_j` to :math:`x_{i_j}` on a pilot of antithetic pairs of fine trajectories: with F the features less their means
over the pilot, all entries of all states stacked, and :math:`G = F'F`,

.. math:: (a_j, c_j) = (G + \lambda \operatorname{diag} G)^{-1} F'(x_{i_j} - \bar x_{i_j}), \qquad \lambda = 10^{-6}.

The features of the fit are the predictions on the fitted states, so each state corrects the errors of those before it.

Nothing here depends on a statistic, and nothing has to be accurate: a sum of two levels with a fitted sampler below is
unbiased for the fine one, whatever the weights are, since they come from random numbers of their own.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equation (9).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.fingerprints import fingerprint_of
from mcgen._lib.serialization import require_ending
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator
from mcgen.noise import Noise, NoiseSpec

Floats = NDArray[np.float64]

# Version of the format of saved fits; raised when the format changes.
_SCHEMA = 1


class FineSampler(Protocol):
    """What a fit needs of the fine sampler; `mcgen.adapters.samplers.paths.PathGenerator` has it."""

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
    def progress(self) -> Floats:
        """How far each state is on the way from noise, 0, to a sample, 1; shape (steps + 1,)."""
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

    def blocks_before(self, i: int) -> tuple[str, ...]:
        """Return the names of the blocks of noise that state i depends on."""
        ...

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Return last states (n, ...), decoded."""
        ...


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a fitted sampler under one condition, for K nodes and m blocks of noise.

    Attributes
    ----------
    noise : ndarray of shape (K + 1, m)
        The weights a of the blocks of noise.
    predictions : ndarray of shape (K + 1, K)
        The weights c of the predictions, 0 from the diagonal on.
    intercepts : ndarray of shape (K + 1, ...)
        The intercepts b, each of the shape of a state.
    residual : float
        Share of the variance of the fine sampler's last states in the pilot that the fit leaves.
    """

    noise: Floats
    predictions: Floats
    intercepts: NDArray[Any]
    residual: float


class Fitted(TorchGenerator):
    """A sampler of K network evaluations that follows a fine sampler on the same noise; made by ``fine.fitted(...)``.

    Parameters
    ----------
    fine : DDIM, Heun or Flow
        The fine sampler.
    nodes : sequence of int
        The steps of the fine sampler at which the network is evaluated, increasing.
    weights : mapping of str to Weights
        The weights under each condition, by the key of the condition.
    pilot_evaluations : int
        Cost of the fit, in evaluations of the fine sampler.

    Attributes
    ----------
    network_evaluations : int
        Evaluations of the network per sample: its cost in `mcgen.multilevel`, beside that of the fine sampler.
    cost : float
        The same as a share of the fine sampler's.
    pilot_evaluations : int
        See the parameter. It is in the provenance of each run that uses the sampler.

    Notes
    -----
    A sample under a condition that the sampler was not fitted for is refused: it would follow the fine sampler less
    well, by five times the squared distance in one model.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import models
    >>> fine = models.load("digits-diffusion")
    >>> fitted = fine.fitted(evaluations=5, pairs=8, seed=0)
    >>> fitted
    Fitted(digits-diffusion ddim-50 fitted-5, nodes 2, 6, 16, 32, 44 of 50, noise=normal(1, 8, 8) float32)
    >>> fitted.cost, fitted.pilot_evaluations
    (0.1, 18)
    """

    def __init__(
        self, fine: FineSampler, nodes: Sequence[int], weights: Mapping[str, Weights], pilot_evaluations: int
    ) -> None:
        self.fine, self.nodes, self.weights = fine, tuple(nodes), dict(weights)
        self.pilot_evaluations = pilot_evaluations
        name = f"{fine.name} fitted-{len(self.nodes)}"
        super().__init__(self.sample, fine.noise, device=fine.device, dtype=fine.dtype, modules=fine.modules, name=name)

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
        """Share of the variance of the fine last states that the fit leaves in its pilot, the largest by condition.

        Above 0.1, more evaluations are worth their cost.
        """
        return max(one.residual for one in self.weights.values())

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that `noise` makes.

        Raises
        ------
        ValueError
            If the sampler was not fitted for the condition.
        """
        weights = self._weights_for(condition)
        states = self._of_noise(noise, weights)
        for j, node in enumerate(self.nodes):
            prediction = self.fine.predict(states[j], node, condition)
            for k in range(j + 1, len(states)):
                states[k] = states[k] + float(weights.predictions[k, j]) * prediction
        return self.fine.finish(states[-1])

    def _of_noise(self, noise: TensorNoise, weights: Weights) -> list[torch.Tensor]:
        """Return the intercept and the noises' part of each state, reading each block of noise once."""
        names = [name for name, _ in self.noise.blocks]
        states: list[torch.Tensor] = []
        for m, name in enumerate(names):
            block = block_of(noise, name)
            if not states:
                intercepts = torch.as_tensor(weights.intercepts).to(device=block.device, dtype=block.dtype)
                states = [one.expand(block.shape) for one in intercepts]
            states = [
                x + float(weights.noise[k, m]) * block if weights.noise[k, m] else x for k, x in enumerate(states)
            ]
        return states

    def _weights_for(self, condition: object) -> Weights:
        key = key_of_condition(condition)
        if key is None or key not in self.weights:
            known = ", ".join(self.weights)
            raise ValueError(
                f"{self.name!r} was fitted for the condition {known}; got {condition!r}. Fit it for this one: "
                "fine.fitted(condition=...), which takes a list of conditions too"
            )
        return self.weights[key]

    @property
    def digest(self) -> str:
        """SHA-256 of the fine sampler's content, the nodes and all weights."""
        return _digest(fingerprint_of(self.fine), self.nodes, self.pilot_evaluations, self.weights)

    def save(self, path: str | Path) -> None:
        """Write nodes and weights as an npz file, from which `load` makes the same sampler beside the same fine one."""
        require_ending(path, ".npz", "A fitted sampler is written in numpy's format alone")
        arrays = {
            f"{part} {number}": np.asarray(getattr(one, part))
            for number, one in enumerate(self.weights.values())
            for part in ("noise", "predictions", "intercepts", "residual")
        }
        header = {
            "schema": _SCHEMA,
            "fine": fingerprint_of(self.fine),
            "name": self.fine.name,
            "nodes": self.nodes,
            "conditions": [*self.weights],
            "pilot_evaluations": self.pilot_evaluations,
            "digest": self.digest,
        }
        with Path(path).open("wb") as file:
            np.savez(file, allow_pickle=False, header=json.dumps(header), **arrays)

    @classmethod
    def load(cls, path: str | Path, fine: FineSampler) -> Self:
        """Read a sampler that `save` wrote.

        Parameters
        ----------
        path : str or Path
            The file.
        fine : DDIM, Heun or Flow
            The fine sampler that it was fitted to: the same networks and settings.

        Raises
        ------
        ValueError
            If the file holds something else, was changed, was fitted to another sampler, or was written by a newer
            schema.
        """
        header, arrays = _read(path)
        if header["schema"] > _SCHEMA:
            raise ValueError(
                f"{path} was saved with schema {header['schema']}, this version of mcgen reads up to {_SCHEMA}; "
                "upgrade mcgen"
            )
        found = {
            str(key): Weights(
                arrays[f"noise {i}"],
                arrays[f"predictions {i}"],
                arrays[f"intercepts {i}"],
                float(arrays[f"residual {i}"]),
            )
            for i, key in enumerate(header["conditions"])
        }
        nodes, pilot = tuple(header["nodes"]), int(header["pilot_evaluations"])
        if _digest(header["fine"], nodes, pilot, found) != header["digest"]:
            raise ValueError(
                f"the content of {path} does not match its SHA-256: it was changed or damaged; fit the sampler again"
            )
        if header["fine"] != fingerprint_of(fine):
            raise ValueError(
                f"{path} was fitted to another sampler, {header['name']!r}; got {fine.name!r}, whose networks or "
                "settings differ (or whose code was read by another version of Python). Fit this one by "
                "fine.fitted(...)"
            )
        return cls(fine, nodes, found, pilot)

    def __repr__(self) -> str:
        nodes = ", ".join(map(str, self.nodes))
        return f"Fitted({self.name}, nodes {nodes} of {self.fine.steps}, noise={self.noise})"


def block_of(noise: TensorNoise, name: str) -> torch.Tensor:
    """Return a block of noise by its name; noise of one block is that block itself."""
    return noise if isinstance(noise, torch.Tensor) else noise[name]


def _digest(fine: str, nodes: tuple[int, ...], pilot_evaluations: int, weights: Mapping[str, Weights]) -> str:
    digest = hashlib.sha256(repr((fine, nodes, pilot_evaluations)).encode())
    for key, one in weights.items():
        digest.update(repr((key, one.intercepts.shape, one.intercepts.dtype.str, one.residual)).encode())
        for array in (one.noise, one.predictions, one.intercepts):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the arrays of a saved sampler, or refuse another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        header = json.loads(str(arrays.pop("header")))
        if not {"schema", "fine", "name", "nodes", "conditions", "pilot_evaluations", "digest"} <= {*header}:
            raise KeyError("header")
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{path} is not a file that mcgen.adapters.Fitted saved: {error!r}") from error
    return header, arrays

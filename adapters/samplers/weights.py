"""The numbers of a fitted sampler, and the files that keep them; `mcgen.adapters.samplers.fitted` has the formula."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.serialization import require_ending

Floats = NDArray[np.float64]

# Version of the format of files; raised when the format changes.
_SCHEMA = 1
_HEADER = ("schema", "digest", "sampler", "nodes", "conditions", "residual", "pilot_evaluations")


@dataclass(frozen=True, eq=False)
class Weights:
    """The nodes and weights of a fitted sampler, for K nodes and m blocks of noise.

    Attributes
    ----------
    nodes : tuple of int
        The steps of the fine sampler at which the network is evaluated, increasing.
    noise : ndarray of shape (K + 1, m)
        The weights a of the blocks of noise in each state, in the order of the blocks.
    predictions : ndarray of shape (K + 1, K)
        The weights c of the predictions in each state; 0 on and above the diagonal.
    intercepts : mapping of str to ndarray of shape (K + 1, ...)
        The intercepts b for each condition, by its key; each has the shape of a state.
    residual : float
        Share of the variance of the fine last states that the fit leaves in its own pilot.
    pilot_evaluations : int
        Cost of the fit, in evaluations of the fine sampler.
    """

    nodes: tuple[int, ...]
    noise: Floats
    predictions: Floats
    intercepts: Mapping[str, NDArray[Any]]
    residual: float
    pilot_evaluations: int

    def __post_init__(self) -> None:
        for array in (self.noise, self.predictions, *self.intercepts.values()):
            array.setflags(write=False)

    def digest(self, sampler: str) -> str:
        """Return a SHA-256 of all numbers and of a text that identifies the fine sampler."""
        header = (sampler, self.nodes, self.residual, self.pilot_evaluations, [*self.intercepts])
        digest = hashlib.sha256(repr(header).encode())
        for array in (self.noise, self.predictions, *self.intercepts.values()):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path, sampler: str) -> None:
        """Write an npz file, with a text that identifies the fine sampler."""
        require_ending(path, ".npz", "A fitted sampler is written in numpy's format alone")
        header = {
            "schema": _SCHEMA,
            "digest": self.digest(sampler),
            "sampler": sampler,
            "nodes": self.nodes,
            "conditions": [*self.intercepts],
            "residual": self.residual,
            "pilot_evaluations": self.pilot_evaluations,
        }
        intercepts: dict[str, Any] = {f"intercepts {i}": b for i, b in enumerate(self.intercepts.values())}
        with Path(path).open("wb") as file:
            np.savez(file, header=json.dumps(header), noise=self.noise, predictions=self.predictions, **intercepts)

    @classmethod
    def load(cls, path: str | Path) -> tuple[Self, str]:
        """Return the weights that a file holds, and the text that identifies the fine sampler.

        Raises
        ------
        ValueError
            If the file holds something else, was changed, or was written by a newer schema.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            header = json.loads(str(arrays["header"]))
            schema, digest, sampler, nodes, conditions, residual, pilot = (header[name] for name in _HEADER)
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise ValueError(f"{path} is not a file that mcgen.adapters.Fitted saved: {error!r}") from error
        if schema > _SCHEMA:
            raise ValueError(
                f"{path} was saved with schema {schema}, this version of mcgen reads up to {_SCHEMA}; upgrade mcgen"
            )
        intercepts = {key: arrays[f"intercepts {i}"] for i, key in enumerate(conditions)}
        found = cls(tuple(nodes), arrays["noise"], arrays["predictions"], intercepts, residual, pilot)
        if found.digest(sampler) != digest:
            raise ValueError(
                f"the content of {path} does not match its SHA-256: it was changed or damaged; fit the sampler again"
            )
        return found, sampler

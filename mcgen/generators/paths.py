"""Whole paths of a sampler as samples, for the functionals of `mcgen.statistics.paths`."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.arrays import as_numpy
from mcgen._lib.names import name_of
from mcgen.generators.stepwise import Stepwise, checked_stepwise
from mcgen.noise import Array, Noise, NoiseSpec
from mcgen.statistics.paths import Path


class Paths:
    """The paths of a sampler from noise to sample, on the sampler's own noise, so that every design draws them.

    Use it with the functionals of `mcgen.statistics.paths`, or with a statistic of your own.

    Parameters
    ----------
    model : sampler
        A sampler that shows its steps: `DDIM`, `Heun` or `Flow` of `mcgen.adapters`, or a diffusion of
        `mcgen.generators`.
    name : str, optional
        The name in results.

    Attributes
    ----------
    model : sampler
        The sampler.
    noise : NoiseSpec
        The sampler's own.

    Raises
    ------
    TypeError
        If the model does not show its steps.

    Notes
    -----
    Samples are a `mcgen.statistics.paths.Path`, numpy arrays also for models of torch. States are not decoded. A batch
    of n paths holds three times n x steps states; make `batch_size` smaller for large images.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.statistics.paths import path_length
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, steps=10)
    >>> paths = mcgen.generators.Paths(model)
    >>> result = mcgen.estimate(paths, path_length, design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> bool(0.5 < result.mean < 2.0)
    True
    """

    def __init__(self, model: Stepwise, *, name: str | None = None) -> None:
        self.model = checked_stepwise(model)
        self.name = name or f"paths of {name_of(model)}"

    @property
    def noise(self) -> NoiseSpec:
        """The sampler's noise."""
        return self.model.noise

    def __repr__(self) -> str:
        return f"{type(self).__name__}({name_of(self.model)}, noise={self.noise})"

    def __call__(self, noise: Noise, condition: Any = None) -> Path:
        """Return the paths of n samples."""
        seen: dict[str, list[Array]] = {"state": [], "noise": [], "sample": []}
        for shown in self.model.observe(noise, condition):
            for name in seen.keys() & shown.keys():
                seen[name].append(as_numpy(shown[name]))
        n = len(seen["state"][0])
        states, noises, samples = (
            np.stack(parts, axis=1) if parts else np.zeros((n, 0), np.float32) for parts in seen.values()
        )
        constants = self.model.signal_shares, getattr(self.model, "step_variances", None)
        signals, variances = (
            np.repeat(np.asarray([] if known is None else known, np.float64)[None], n, axis=0) for known in constants
        )
        return Path(states, noises, samples, signals, variances)

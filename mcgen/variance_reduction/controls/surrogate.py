"""A cheap generator with a known expectation as a control variate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import Noise, NoiseSpec, noise_of
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, values_of, with_condition
from mcgen.variance_reduction.controls.control_variates import Controls, NoiseSpecFunction
from mcgen.variance_reduction.controls.coordinates import n_points_of


def surrogate(
    generator: Generator, statistic: Statistic, mean: float | Sequence[float] | Floats, *, condition: Any = None
) -> Controls:
    """Return a statistic of a cheap generator's samples, with known expectation, as control variates.

    Use `mcgen.multilevel` where the expectation is not known. Evaluations of the surrogate are not counted; its
    seconds are.

    Parameters
    ----------
    generator : Generator
        The surrogate. Its noise is that of the generator that is estimated, or some of its blocks.
    statistic : callable
        As for `mcgen.estimate`. Each component becomes a control.
    mean : float or array
        Expectation of the statistic under the surrogate, in the shape of the components.
    condition : object, optional
        Passed to the surrogate, and to a statistic that takes it.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    >>> cheap = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="cheap")
    >>> mean = mcgen.statistics.pixel_mean
    >>> controls = mcgen.controls.surrogate(cheap, mean, 1 + 1 / 32)
    >>> mcgen.estimate(fine, mean, design=mcgen.Antithetic(), n_evaluations=640, seed=0, controls=controls)
    1.031729 [1.031709, 1.031752] (95 % skewness-safe t, 320 replicates of 2 points, Antithetic(), seed 0, controls)
    """
    text = f"surrogate({name_of(statistic)} of {name_of(checked_generator(generator))})"
    own = with_condition(checked_callable(statistic), condition)
    function = _Surrogate(generator, own, np.shape(mean), condition)
    try:
        expected = tuple(numbers_of(mean, "iuf").astype(np.float64).ravel().tolist())
    except (TypeError, ValueError):
        expected = ()
    return Controls(function, expected, (), text)


@dataclass(frozen=True, eq=False)
class _Surrogate(NoiseSpecFunction):
    """The values of a statistic of a cheap generator's samples from the same noise, or from some of its blocks."""

    generator: Generator
    statistic: Statistic
    shape: tuple[int, ...]
    condition: Any

    def check(self, spec: NoiseSpec) -> None:
        own = self.generator.noise
        fits = own == spec if len(spec.blocks) == 1 else {*own.blocks} <= {*spec.blocks}
        if own.dtype != spec.dtype or not fits:
            raise ValueError(
                f"the surrogate {name_of(self.generator)!r} must take the noise of the generator that is estimated, or "
                f"some of its blocks by the same names, shapes, laws and dtype: {spec}; got {own}"
            )

    def __call__(self, noise: Noise, spec: NoiseSpec) -> Floats:
        n = n_points_of(noise)
        own = noise_of(self.generator.noise, noise) if len(self.generator.noise.blocks) < len(spec.blocks) else noise
        values = values_of(self.statistic, self.generator(own, self.condition), n)
        if values.shape[1:] != self.shape:
            raise RunError(
                f"statistic {name_of(self.statistic)!r} of the surrogate {name_of(self.generator)!r} returned "
                f"components of shape {values.shape[1:]}; the given expectation has shape {self.shape}"
            )
        flat: Floats = values.reshape(n, -1)
        return flat

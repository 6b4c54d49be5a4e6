r"""Sensitivity of samples to perturbations on the way: which states decide what becomes of a path.

The state at a step is moved by :math:`\delta = s \sqrt{1 - a_t}\, \xi` with :math:`\xi \sim N(0, I)`, a share s of the
noise that the state has, and the path goes on from there. Where the last state as a function of the state is G_t, the
sensitivity is

.. math:: \frac{E \lVert G_t(x_t + \delta) - G_t(x_t) \rVert^2}{d\, s^2}.

For small s it does not depend on s. For normal data with variances :math:`\lambda_k` the probability flow has [1]_

.. math:: \frac{1}{d} \sum_k \frac{(1 - a_t)\, \lambda_k}{a_t \lambda_k + 1 - a_t},

the mean of the variances in pure noise, and 0 at the end: early perturbations matter more.

.. rubric:: References

.. [1] B. Wang, J. J. Vastola (2023). Diffusion models generate images like painters: an analytical theory of outline
   first, details later. arXiv:2303.02490. Section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcgen._lib.arrays import rounding_of
from mcgen._lib.checks import checked_real
from mcgen._lib.names import name_of
from mcgen.analysis.single_paths import SinglePaths, states_of
from mcgen.analysis.stepwise import checked_steps, flat_rows
from mcgen.designs import MonteCarlo
from mcgen.generators import Generator
from mcgen.generators.stepwise import Resumable, Stepwise
from mcgen.noise import NoiseSpec, as_rows
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.results.profile import Profile

# Smallest perturbation in units of the states' rounding error. There rounding adds a thousandth to the mean square.
_ROUNDINGS = 30


def sensitivity(
    model: Stepwise | Generator,
    *,
    n_paths: int,
    seed: Seed,
    condition: Any = None,
    steps: Sequence[int] | None = None,
    size: float = 0.1,
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> Profile:
    """Return how much a small change of the state at each step changes the sample, with intervals.

    Use it to see which steps decide the sample: where the sensitivity is small, a coarser sampler does little harm.

    Parameters
    ----------
    model : sampler
        A sampler that can go on from any state (`mcgen.generators.stepwise.Resumable`): a diffusion model or a flow of
        `mcgen.adapters`, or a model of `mcgen.generators` in closed form.
    n_paths : int
        Number of independent paths, 5 or more. Each has one perturbation, scaled for each step.
    seed : int or SeedSequence
        Seed of the noise and of the perturbations.
    condition : object, optional
        One condition of the model.
    steps : sequence of int, optional
        The steps whose states are perturbed, by default ten of them.
    size : float
        Standard deviation s of a perturbation, as a share of that of the noise in the state, above 0.
    confidence_level : float
        Level of the interval of each step, and of the band for all steps together.
    batch_size : int, optional
        The most rows that the model sees at a time; about 64 by default.

    Returns
    -------
    Profile
        One curve: the mean square of the change of the last state's numbers, over the square of `size`. Perturbed paths
        have the fresh noise of the original ones.

    Raises
    ------
    TypeError, ValueError
        If the model can't go on from a state, or an argument is not as described.
    NonFiniteError
        If a state has a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.generators import GaussianDiffusion
    >>> model = GaussianDiffusion(np.zeros(2), np.diag([4.0, 1.0]))
    >>> found = mcgen.analysis.sensitivity(model, n_paths=1000, seed=0, steps=[0, 49])
    >>> found.curves[0].mean.round(1).tolist()
    [2.5, 0.0]
    """
    paths = SinglePaths.of(model, n_paths, seed, condition, confidence_level, batch_size)
    sampler = paths.model
    if not isinstance(sampler, Resumable):
        raise TypeError(
            f"the paths of {name_of(sampler)} can't go on from a changed state, since it has no method resume(x, i, "
            "noise, condition); give a diffusion model or a flow"
        )
    if checked_real("size", size) <= 0:
        raise ValueError(f"size must be above 0, a share of the noise in a state; got {size}. Take 0.1")
    chosen = checked_steps(steps, sampler.steps).tolist()
    signals = paths.signals("a perturbation is scaled by it")
    values = np.empty((paths.n, len(chosen)))
    for rows, noise, shown in paths.batches():
        states, last = states_of(shown, chosen)
        xi = _perturbations(paths, rows)
        for column, (i, x) in enumerate(zip(chosen, states, strict=True)):
            scale = size * np.sqrt(1 - signals[i])
            _require_above_rounding(scale, x, size, i)
            moved = (x + scale * xi).astype(x.dtype)
            changed = flat_rows(sampler.resume(moved, i, noise, condition), f"the last state after step {i}")
            values[rows.start : rows.stop, column] = ((changed - last) ** 2).mean(axis=1) / size**2
    runs = 1 + sum(sampler.steps - i for i in chosen) / sampler.steps
    curves = {"change of the sample": (np.asarray(chosen), values)}
    return paths.profile("mean square", curves, limits=(0.0, np.inf), runs=runs)


def _require_above_rounding(scale: float, x: Any, size: float, i: int) -> None:
    """Refuse perturbations that the type of the states would round away."""
    rounding = rounding_of(x)
    if scale < _ROUNDINGS * rounding:
        raise ValueError(
            f"size={size} changes states at step {i} by {scale:.2g}, near the rounding of {x.dtype}, {rounding:.1g}; "
            f"take at least {size * _ROUNDINGS * rounding / scale:.2g}, or leave late steps out by steps="
        )


def _perturbations(paths: SinglePaths, rows: range) -> Any:
    """Return N(0, I) numbers (n, ...) of some paths, whatever the batch that they are in."""
    spec = NoiseSpec.normal(paths.model.noise.blocks[0][1].shape, "float64")
    return as_rows(MonteCarlo().draw(spec, rows, as_seed_sequence(paths.seed), stream=("sensitivity",)))

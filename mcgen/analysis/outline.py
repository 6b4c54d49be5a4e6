r"""Outline first, details later: how the paths of a diffusion model go from noise to a sample.

A diffusion model with normal data has a linear score, and its probability flow has a closed form
(`mcgen.generators.GaussianDiffusion`). From it [1]_ predicts of all diffusion models that

1. a path stays near the plane of its start :math:`x_T` and its sample :math:`x_0`, in which it turns from start to
   sample, :math:`x_t \approx \sqrt{a_t}\, x_0 + \sqrt{1 - a_t}\, x_T` with the signal's share :math:`a_t`;
2. the predicted sample :math:`\hat x_0(x_t)` shows directions of large variance first: the outline before the details;
3. perturbations of early states change the sample most.

`path_dimension` and `emergence` measure the first two for any sampler, and `mcgen.analysis.perturbations` the third.
`similarity` compares the predicted samples of two models, such as a network and the normal law of its data.

The gain of a direction u is the slope of the regression of the predicted on the final sample,

.. math:: g_u(t) = \frac{\mathrm{Cov}(u^\top \hat x_0(x_t),\; u^\top x_0)}{\mathrm{Var}(u^\top x_0)}.

It goes from 0 in pure noise to 1. For normal data and the probability flow, a principal direction of variance
:math:`\lambda` has

.. math:: g(t) = \frac{\sqrt{a_t \lambda}}{\sqrt{a_t \lambda + 1 - a_t}},

which passes 1/2 where :math:`a_t \lambda = (1 - a_t) / 3`: earlier for larger :math:`\lambda`.

.. rubric:: References

.. [1] B. Wang, J. J. Vastola (2023). Diffusion models generate images like painters: an analytical theory of outline
   first, details later. arXiv:2303.02490. Sections 3 to 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, as_numpy, as_values
from mcgen._lib.names import name_of
from mcgen.analysis.single_paths import SinglePaths, path_of, ratio_of_means
from mcgen.analysis.stepwise import flat_rows, require_one_condition
from mcgen.generators import Generator
from mcgen.generators.stepwise import Stepwise, checked_stepwise
from mcgen.inference.resampling import BOOTSTRAP_RESAMPLES
from mcgen.noise.random import Seed, Stream, as_seed_sequence
from mcgen.results.profile import Number, Profile

PLANE, ROTATION = "plane of start and sample", "rotation from start to sample"
"""The measures of `path_dimension` at each step."""
# Principal components of a path whose shares are told, as in reference 1.
_COMPONENTS = 3
# Fewest directions with a rank correlation.
_FEWEST_DIRECTIONS = 3
# Relative difference of signal shares of two models at the same step that rounding explains.
_ROUNDING = 1e-6
# Most numbers that are held at once while paths are resampled: 32 MB in double precision.
_RESAMPLED_VALUES = 2**22


def path_dimension(
    model: Stepwise | Generator,
    *,
    n_paths: int,
    seed: Seed,
    condition: Any = None,
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> Profile:
    r"""Return how much of a sampler's paths lies in few dimensions: principal components, and the plane of its ends.

    Use it to see whether a sampler could take larger steps: a path in a plane is almost known from its ends.

    Parameters
    ----------
    model : sampler
        A sampler that shows its steps, such as `mcgen.adapters.DDIM` or `mcgen.generators.GaussianDiffusion`.
    n_paths : int
        Number of independent paths, 5 or more.
    seed : int or SeedSequence
        Seed of the noise.
    condition : object, optional
        One condition of the model.
    confidence_level : float
        Level of the interval of each step, and of the band for all curves and steps together.
    batch_size : int, optional
        The most rows that the model sees at a time; about 64 by default.

    Returns
    -------
    Profile
        Its curves have the label ``measure``: the share of the square of a state that lies in the plane of start and
        sample, and the share that :math:`\sqrt{a_t} x_0 + \sqrt{1 - a_t} x_T` explains, where the signal's share is
        known. ``numbers`` has both over whole paths, and the shares of a path's variance about its mean that are in its
        first one, two and three principal components. All are means over paths. What the rotation explains is below 0
        where a state is farther from the rotation than from 0. It is relative to the squared length of the state: in a
        few dimensions a state can come near 0, and the mean is then unstable.

    Raises
    ------
    TypeError, ValueError
        If the model does not show its steps, an argument is not as described, or paths do not move.
    NonFiniteError
        If a state has a NaN or an infinity.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.generators import GaussianDiffusion
    >>> model = GaussianDiffusion([0.0, 0.0, 0.0], [[4.0, 0, 0], [0, 1, 0], [0, 0, 0.1]])
    >>> found = mcgen.analysis.path_dimension(model, n_paths=100, seed=0)
    >>> {number.name: round(number.value, 2) for number in found.numbers}["first 2 components"]
    1.0
    """
    paths = SinglePaths.of(model, n_paths, seed, condition, confidence_level, batch_size)
    signals = paths.model.signal_shares
    found = [_shape_of(path_of(shown), signals) for _, _, shown in paths.batches()]
    components, plane, rotation, whole = (np.concatenate(part) for part in zip(*found, strict=True))
    steps = np.arange(plane.shape[1])
    curves = {PLANE: (steps, plane)} | ({} if signals is None else {ROTATION: (steps, rotation)})
    names = ["first component", *(f"first {k} components" for k in range(2, components.shape[1] + 1))]
    numbers = paths.numbers([*names, *curves], np.column_stack([components, whole[:, : len(curves)]]), (-math.inf, 1.0))
    return paths.profile("share of a path", curves, limits=(-math.inf, 1.0), numbers=numbers)


def emergence(
    model: Stepwise | Generator,
    directions: Any,
    *,
    n_paths: int,
    seed: Seed,
    condition: Any = None,
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> Profile:
    r"""Return at which step the predicted sample shows each of some directions, and its correlation with the variance.

    Use it with the principal directions of the data: those of large variance, the outline, should come first.

    Parameters
    ----------
    model, n_paths, seed, condition, confidence_level, batch_size
        As for `path_dimension`. The model shows its predicted samples.
    directions : array_like of shape (k, ...)
        The directions, in the shape of a state or flat. They are scaled to length 1.

    Returns
    -------
    Profile
        A curve for each direction, with the label ``measure`` ("direction 0", ...): its gain, the slope of the
        regression of the predicted on the final sample. ``numbers`` has the step at which each gain passes 1/2, by a
        straight line between two steps. With three directions or more it has Spearman's rank correlation of these steps
        with the variances of the samples in these directions, -1 where larger variances always come first. Intervals of
        numbers hold both the percentile and the basic bootstrap interval over paths.

    Raises
    ------
    TypeError, ValueError
        If the model does not show its predicted samples, an argument is not as described, or samples do not vary in a
        direction.
    NonFiniteError
        If a prediction has a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.generators import GaussianDiffusion
    >>> model = GaussianDiffusion(np.zeros(3), np.diag([4.0, 1.0, 0.1]))
    >>> found = mcgen.analysis.emergence(model, np.eye(3), n_paths=50, seed=0)
    >>> [round(number.value, 1) for number in found.numbers]
    [9.0, 16.8, 34.3, -1.0]
    """
    paths = SinglePaths.of(model, n_paths, seed, condition, confidence_level, batch_size)
    paths.require_samples(paths.model)
    u = _checked_directions(directions, paths.size)
    predicted, final = _projected(paths, u)
    a, b = predicted - predicted.mean(axis=0), final - final.mean(axis=0)
    flat = np.abs(b).max(axis=0) <= _ROUNDING * np.abs(final).max()
    if flat.any():
        raise ValueError(f"samples do not vary in direction {int(np.argmax(flat))}; leave it out of the directions")
    gains = ratio_of_means(a * b[:, None], np.broadcast_to((b**2)[:, None], a.shape), paths.n / (paths.n - 1))
    steps = np.arange(paths.model.steps)
    curves = {f"direction {k}": (steps, gains[:, :, k]) for k in range(len(u))}
    return paths.profile("gain", curves, numbers=_half_gains(paths, a, b))


def similarity(
    model: Stepwise | Generator,
    other: Stepwise | Generator,
    *,
    n_paths: int,
    seed: Seed,
    condition: Any = None,
    other_condition: Any = None,
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> Profile:
    r"""Return how far the predicted samples of another model are from a model's own, on the model's own states.

    Use it with ``GaussianDiffusion.fit`` of the model's samples: where the error is small, the network acts as a linear
    score would, and the closed form may replace it.

    Parameters
    ----------
    model, n_paths, seed, condition, confidence_level, batch_size
        As for `path_dimension`. The model shows its predicted samples.
    other : sampler
        A sampler with states of the same shape and the same signal's shares at its steps.
    other_condition : object, optional
        The condition of the other model.

    Returns
    -------
    Profile
        One curve: the relative squared error
        :math:`E \lVert \hat x_0^{other} - \hat x_0 \rVert^2 / E \lVert \hat x_0 \rVert^2` at each step.

    Raises
    ------
    TypeError, ValueError
        If the models do not show predicted samples, differ in steps or shapes, or an argument is not as described.
    NonFiniteError
        If a prediction has a NaN or an infinity.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.generators import EmpiricalDiffusion, GaussianDiffusion
    >>> points = np.random.default_rng(0).normal(size=(50, 4))
    >>> model, normal = EmpiricalDiffusion(points), GaussianDiffusion.fit(points)
    >>> found = mcgen.analysis.similarity(model, normal, n_paths=50, seed=0)
    >>> bool(found.curves[0].mean[5] < 0.01 < found.curves[0].mean[-10])
    True
    """
    paths = SinglePaths.of(model, n_paths, seed, condition, confidence_level, batch_size)
    second = checked_stepwise(other)
    require_one_condition(other_condition)
    for sampler in (paths.model, second):
        paths.require_samples(sampler)
    _require_alike(paths, second)
    error, square = np.empty((2, paths.n, paths.model.steps))
    for rows, _, shown in paths.batches():
        own = slice(rows.start, rows.stop)
        for i, one in enumerate(shown):
            if "sample" in one:
                mine = flat_rows(one["sample"], f"the predicted sample at step {i}")
                theirs = second.predictions(as_numpy(one["state"]), i, other_condition)["sample"]
                gap = flat_rows(theirs, f"the other model's predicted sample at step {i}") - mine
                error[own, i], square[own, i] = (gap**2).sum(axis=1), (mine**2).sum(axis=1)
    values = {f"relative error of {name_of(second)}": (np.arange(paths.model.steps), ratio_of_means(error, square))}
    return paths.profile("squared error of predicted samples", values, limits=(0.0, math.inf))


def _shape_of(path: Floats, signals: Floats | None) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the shares of components (n, k), of plane and rotation (n, steps + 1), and of whole paths (n, 2)."""
    q = path - path.mean(axis=1, keepdims=True)
    spectrum = np.linalg.eigvalsh(q @ q.transpose(0, 2, 1))[:, ::-1]
    total = spectrum.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise ValueError(f"{int((total <= 0).sum())} of {len(path)} paths do not move, so that they have no dimension")
    k = min(_COMPONENTS, path.shape[1] - 1, path.shape[2])
    squares = (path**2).sum(axis=2)
    basis = np.linalg.qr(path[:, [0, -1]].transpose(0, 2, 1))[0]
    inside = ((path @ basis) ** 2).sum(axis=2)
    a = np.zeros(path.shape[1]) if signals is None else signals
    turned = np.sqrt(a)[:, None] * path[:, -1:] + np.sqrt(1 - a)[:, None] * path[:, :1]
    explained = squares - ((path - turned) ** 2).sum(axis=2)
    whole = np.stack([inside.sum(axis=1), explained.sum(axis=1)], axis=1) / squares.sum(axis=1, keepdims=True)
    return (np.cumsum(spectrum, axis=1) / total)[:, :k], inside / squares, explained / squares, whole


def _projected(paths: SinglePaths, u: Floats) -> tuple[Floats, Floats]:
    """Return predicted samples (n, steps, k) and final samples (n, k) in the directions u (k, d)."""
    predicted, final = np.empty((paths.n, paths.model.steps, len(u))), np.empty((paths.n, len(u)))
    for rows, _, shown in paths.batches():
        own = slice(rows.start, rows.stop)
        for i, one in enumerate(shown):
            if "sample" in one:
                predicted[own, i] = flat_rows(one["sample"], f"the predicted sample at step {i}") @ u.T
            else:
                final[own] = flat_rows(one["state"], "the last state") @ u.T
    return predicted, final


def _half_gains(paths: SinglePaths, a: Floats, b: Floats) -> list[Number]:
    """Return the steps of half gain and their rank correlation with the variance, from deviations of predictions."""
    n, k = b.shape
    rng = Stream(as_seed_sequence(paths.seed), "emergence", "bootstrap").generator(0)
    products, squares, flat = (a * b[:, None]).reshape(n, -1), b**2, a.reshape(n, -1)

    def numbers(weights: Floats) -> Floats:
        covariance = weights @ products - (weights @ flat) * np.tile(weights @ b, a.shape[1])
        variance = weights @ squares - (weights @ b) ** 2
        # A resample of few different paths may have no variance, and then no gain.
        variance = np.where(variance > _ROUNDING * squares.mean(axis=0), variance, np.nan)
        steps = half_steps(covariance.reshape(-1, *a.shape[1:]) / variance[:, None])
        return np.column_stack([steps, rank_correlation(steps, variance)] if k >= _FEWEST_DIRECTIONS else [steps])

    values = numbers(np.full((1, n), 1 / n))[0]
    chunk = max(1, _RESAMPLED_VALUES // max(n, flat.shape[1]))
    sizes = [min(chunk, BOOTSTRAP_RESAMPLES - start) for start in range(0, BOOTSTRAP_RESAMPLES, chunk)]
    resampled = np.concatenate([numbers(rng.multinomial(n, np.full(n, 1 / n), size) / n) for size in sizes])
    # Noise moves ranks towards no correlation, and resamples have more noise: neither kind of interval alone is safe.
    ends_of_resamples = np.nanquantile(resampled, [(1 - paths.level) / 2, (1 + paths.level) / 2], axis=0)
    both = np.concatenate([ends_of_resamples, 2 * values - ends_of_resamples])
    low, high = both.min(axis=0), both.max(axis=0)
    names = [f"half gain, direction {j}" for j in range(k)]
    ends = [(0.0, float(paths.model.steps))] * k
    if k >= _FEWEST_DIRECTIONS:
        names, ends = [*names, "rank correlation of half gain and variance"], [*ends, (-1.0, 1.0)]
    return [
        Number(name, float(value), float(np.clip(one, *limits)), float(np.clip(other, *limits)))
        for name, value, one, other, limits in zip(names, values, low, high, ends, strict=True)
    ]


def half_steps(gains: Floats) -> Floats:
    """Return the step at which gains (..., steps, k) first reach 1/2, by straight lines between steps, (..., k).

    The last state has gain 1, so that each gain comes to 1/2.
    """
    whole = np.concatenate([gains, np.ones_like(gains[..., :1, :])], axis=-2)
    after = (whole >= 0.5).argmax(axis=-2)[..., None, :]
    before = np.maximum(after - 1, 0)
    high, low = (np.take_along_axis(whole, place, axis=-2) for place in (after, before))
    part = np.where(after > 0, (0.5 - low) / np.where(high > low, high - low, 1.0), 0.0)
    return np.asarray((before + part)[..., 0, :])


def rank_correlation(x: Floats, y: Floats) -> Floats:
    """Return Spearman's rank correlation of each row of x and y (n, k); 0 where all entries of a row are the same."""
    # Imported here: it takes longer than all of mcgen.
    from scipy.stats import rankdata

    a, b = (rankdata(one, axis=1) - (x.shape[1] + 1) / 2 for one in (x, y))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray((a * b).sum(axis=1) / np.where(scale > 0, scale, 1.0))


def _checked_directions(directions: Any, size: int) -> Floats:
    """Return directions of length 1, shape (k, d)."""
    try:
        found = as_values(directions)
    except (TypeError, ValueError) as error:
        raise TypeError(f"directions must be an array of real numbers, one direction a row; got {error}") from error
    if found.ndim < 2 or not len(found) or math.prod(found.shape[1:]) != size:
        raise ValueError(f"directions must have shape (k, ...) with the {size} numbers of a state; got {found.shape}")
    rows = found.reshape(len(found), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("directions must be finite and not 0; got one that has no length")
    return np.asarray(rows / lengths)


def _require_alike(paths: SinglePaths, other: Stepwise) -> None:
    """Refuse another model whose states or steps differ."""
    shapes: Sequence[Any] = [one.noise.blocks[0][1].shape for one in (paths.model, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"both models must have states of one shape; got {shapes[0]} and {shapes[1]}")
    mine, theirs = paths.model.signal_shares, other.signal_shares
    if mine is None or theirs is None or mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=_ROUNDING):
        raise ValueError(
            f"both models must have the same signal's shares at their steps; got {paths.model.steps} steps of "
            f"{name_of(paths.model)} and {other.steps} of {name_of(other)}. Make the other one with these steps and "
            "this schedule"
        )

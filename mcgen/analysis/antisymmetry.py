r"""How nearly odd the predictions of a network are: the reason why noise and its negation give unlike samples.

The conjecture of [1]_: for each step there is a vector c with :math:`f(x) + f(-x) \approx 2 c`, where f is the
network's prediction. Then a step of the sampler maps states that are opposite to each other to such states.

A slice is the function :math:`f_j(c) = f(c z)_j` of c in [-1, 1], for noise z and a coordinate j of the prediction. Its
affine antisymmetry score [1]_ is

.. math:: AS(f) = 1 - \frac{\int_{-1}^1 \bigl[\frac{f(c) + f(-c)}{2} - \bar f\bigr]^2 dc}
    {\int_{-1}^1 [f(c) - \bar f]^2 dc}, \qquad \bar f = \frac12 \int_{-1}^1 f.

With the odd part o and the centred even part e of f it is :math:`\int o^2 / (\int o^2 + \int e^2)`: the share of the
variance of f that is odd. It lies in [0, 1]; 1 means that f is odd up to a constant, and 0 that it is even. It equals
:math:`(1 - \rho) / 2` with the correlation :math:`\rho` of f(U) and f(-U), U uniform on [-1, 1], and does not change
where f is scaled, shifted or reflected. Integrals are by the trapezoidal rule.

The odd share looks at all coordinates at once: for random states x, with :math:`o = (f(x) - f(x')) / 2` and
:math:`e = (f(x) + f(x')) / 2`, summed over coordinates,

.. math:: \frac{E |o|^2}{E |o|^2 + \sum_j \mathrm{Var}\, e_j}.

For "normal states" x is N(0, I) and :math:`x' = -x`. For the "sampler's own states" x is the state of the sampler at
the step, reflected about the mean state m, :math:`x' = 2 m - x`: at low noise the states of a sampler lie far from
those of N(0, I), and data are not symmetric about 0. The mean m is over trajectories of pairs z, -z. Its error is a
part of that of the share, to first order and whatever n is, where states are skewed. So the pseudo-values of the share
hold the jackknife's for m: the share is found again about the mean without some bases, each in turn, or each of 100
groups of them where there are more.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185. Figures 4 and 9 to 18, table 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, rounding_of
from mcgen._lib.checks import checked_integer, checked_level
from mcgen._lib.names import name_of
from mcgen.analysis.stepwise import (
    checked_names,
    checked_rows,
    checked_steps,
    flat_rows,
    intervals_of,
    is_constant,
    listed,
    provenance_of_steps,
    require_one_condition,
)
from mcgen.designs import Antithetic
from mcgen.generators import Generator
from mcgen.generators.stepwise import Stepwise, checked_stepwise
from mcgen.inference.interval_input import Interval
from mcgen.inference.resampling import BOOTSTRAP_RESAMPLES, FEWEST_FOR_BOOTSTRAP
from mcgen.noise import as_rows
from mcgen.noise.random import Seed, Stream, as_seed_sequence
from mcgen.replicates.streams import stream_of
from mcgen.results.profile import Curve, Number, Profile, Slices

SCORE, NORMAL, OWN = "antisymmetry score of slices", "odd share, normal states", "odd share, sampler's own states"
"""The measures of the three curves."""
QUANTILES = {"1 % quantile": 0.01, "2 % quantile": 0.02, "5 % quantile": 0.05, "10 % quantile": 0.1, "median": 0.5}
"""The quantiles of the scores that are shown, as in table 10 of reference 1."""
# Most groups of bases that are left out of the mean state in turn.
_GROUPS = 100
# The bases and the coordinates whose slices are kept for pictures.
_DRAWN = 10


def antisymmetry_score(values: Floats) -> Floats:
    """Return the affine antisymmetry score of functions on [-1, 1].

    Parameters
    ----------
    values : ndarray of shape (points, ...)
        The functions on a grid of evenly spaced points from -1 to 1.

    Returns
    -------
    ndarray of shape (...)
        The scores, in [0, 1]; NaN for functions whose values are all the same.

    Examples
    --------
    The odd share of x + x^2 is 15/19:

    >>> import numpy as np
    >>> from mcgen.analysis.antisymmetry import antisymmetry_score
    >>> x = np.linspace(-1, 1, 201)
    >>> [round(float(antisymmetry_score(f)), 3) for f in (x, x**2, x + x**2)]
    [1.0, 0.0, 0.789]
    """
    weights = np.ones(len(values))
    weights[[0, -1]] = 0.5
    weights /= weights.sum()
    d = values - np.tensordot(weights, values, axes=1)
    odd, even = (d - d[::-1]) / 2, (d + d[::-1]) / 2
    odd_part, even_part = (np.tensordot(weights, part**2, axes=1) for part in (odd, even))
    with np.errstate(invalid="ignore"):
        return np.asarray(odd_part / (odd_part + even_part))


def symmetry(
    model: Stepwise | Generator,
    *,
    n_base: int,
    seed: Seed,
    coordinates: int | Sequence[int] = 5,
    steps: Sequence[int] | None = None,
    condition: Any = None,
    of: str = "noise",
    points: int = 201,
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> Profile:
    """Return how nearly odd a sampler's network is at some of its steps, with intervals.

    Use it to see why z and -z give unlike samples, and at which noise levels the network is not odd. Scores near 1
    mean that a negated state has the negated prediction, up to a constant.

    Parameters
    ----------
    model : sampler
        A sampler that shows predictions at its steps, such as `mcgen.adapters.DDIM`, ``Heun`` or ``Flow``.
    n_base : int
        Number of bases, at least 5; bands are narrower from 25 on. A basis is a noise vector z. Predictions are taken
        along the line c z, and its trajectory gives the sampler's own states.
    seed : int or SeedSequence
        Seed of the noise, the coordinates and the bootstrap.
    coordinates : int or sequence of int
        The coordinates of the prediction that have slices: their number, drawn by the seed, or themselves, counted in
        C order.
    steps : sequence of int, optional
        Numbers of the steps; by default 10 of them, evenly spaced.
    condition : object, optional
        One condition of the model.
    of : str
        The prediction: "noise" or "sample" of diffusion models, "velocity" of flows.
    points : int
        Points of a slice, an odd number of at least 5. The error of the trapezoidal rule is of order points^-2.
    confidence_level : float
        Level of the intervals of each step, and of the band for all curves and steps together.
    batch_size : int, optional
        The most rows that the model sees at a time, 2 or more; about 64 by default.

    Returns
    -------
    Profile
        Its curves have the label ``measure``. They are the antisymmetry score of slices, averaged over coordinates;
        the odd share at normal states; and the odd share at the sampler's own states. ``numbers`` has the mean, the
        least score, some quantiles and the median over all slices. The mean has an interval over bases, quantiles the
        percentile bootstrap over bases. The least score has none, since a bootstrap of a minimum does not cover.
        ``scores`` has all scores, and ``slices`` the slices of up to 10 bases and coordinates.

    Raises
    ------
    TypeError
        If the model does not show its steps, or an argument has another type.
    ValueError
        If an argument is not as described, or a prediction does not depend on the state at some step.
    NonFiniteError
        If a prediction has a NaN or an infinity.

    Warns
    -----
    A slice of values that are all the same has no score. The profile's ``warnings`` say how many such slices there
    were.

    Notes
    -----
    The network is evaluated ``points`` + 2 + min(`n_base`, 100) times for each base and step, and along 2 `n_base`
    trajectories. The states of the chosen steps, one for each base, are held in memory.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import models
    >>> digits = models.load("digits-diffusion", steps=10)
    >>> found = mcgen.analysis.symmetry(digits, n_base=5, steps=[0, 9], points=21, seed=0)
    >>> score = found.curve(measure="antisymmetry score of slices")
    >>> bool(score.mean[0] > 0.99), bool(score.mean[1] < 0.95)
    (True, True)
    """
    sampler, level = checked_stepwise(model), checked_level(confidence_level)
    require_one_condition(condition)
    name = _checked_prediction(sampler, of)
    n_bases = _checked_bases(n_base)
    rows = checked_rows(batch_size)
    look = _Look(
        sampler,
        name,
        condition,
        checked_steps(steps, sampler.steps),
        _checked_coordinates(coordinates, math.prod(sampler.noise.blocks[0][1].shape), seed),
        np.linspace(-1, 1, _checked_points(points)),
        rows,
    )
    z, own, sums = look.states(n_bases, as_seed_sequence(seed))
    found = [look.at(number, z, own[number], sums[number]) for number in range(len(look.steps))]
    scores = np.stack([one.scores for one in found])
    steps_of_work = n_bases * (2 * sampler.steps + len(look.steps) * (len(look.grid) + 2 + len(sums[0])))
    done = provenance_of_steps(
        sampler,
        seed,
        condition,
        what="bases",
        design=str(Antithetic()),
        n=n_bases,
        evaluations=math.ceil(steps_of_work / sampler.steps),
        batch_size=rows,
    )
    return Profile(
        f"odd share of the predicted {name}",
        _curves(look.steps, found, seed, level),
        sampler.signal_shares,
        level,
        done,
        _numbers(scores, seed, level),
        Slices(look.grid, look.steps, look.coordinates[:_DRAWN], np.stack([one.slices for one in found])),
        scores,
        _warnings(scores),
    )


@dataclass(frozen=True)
class _AtStep:
    """What was found at one step, for each of n bases.

    Attributes
    ----------
    scores : ndarray of shape (n, j)
        Scores of the slices.
    slices : ndarray of shape (up to 10, up to 10, points)
        The slices of some bases and coordinates.
    normal, own : ndarray of shape (n,)
        Pseudo-values of the odd shares at normal states and at the sampler's own states.
    through_mean : ndarray of shape (groups,)
        What each group of bases adds to the sum of the pseudo-values `own` by its part in the mean state.
    """

    scores: Floats
    slices: Floats
    normal: Floats
    own: Floats
    through_mean: Floats


@dataclass(frozen=True)
class _Look:
    """A prediction of a sampler at some steps, coordinates and points of a line.

    Attributes
    ----------
    model, name, condition
        The sampler, the name of the prediction, and the condition.
    steps, coordinates : ndarray of int
        Where the prediction is looked at.
    grid : ndarray of shape (points,)
        The points of a slice.
    rows : int
        The most rows that the model sees at a time.
    """

    model: Stepwise
    name: str
    condition: Any
    steps: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    grid: Floats
    rows: int

    def states(self, n: int, seed: Any) -> tuple[Floats, Floats, Floats]:
        """Return n bases z (n, ...), their own states (steps, n, ...), and sums of states (steps, groups, ...).

        The sums are over the trajectories of both z and -z of a group of bases, and show the mean state.
        """
        place = {int(step): number for number, step in enumerate(self.steps)}
        z, own, sums, groups = [], [], np.zeros(0), _groups(n)
        for first in range(0, n, self.rows // 2):
            replicates = range(first, min(first + self.rows // 2, n))
            noise = as_rows(Antithetic().draw(self.model.noise, replicates, seed, stream=stream_of(self.condition, 0)))
            start = noise if isinstance(noise, np.ndarray) else noise[self.model.noise.blocks[0][0]]
            z.append(start[::2])
            kept: list[Any] = [None] * len(place)
            for i, shown in enumerate(self.model.observe(noise, self.condition)):
                if i in place:
                    flat = flat_rows(shown["state"], f"the state at step {i}")
                    kept[place[i]] = flat.reshape(len(flat), *start.shape[1:]).astype(start.dtype)
            states = np.stack(kept)
            own.append(states[:, ::2])
            if not sums.size:
                sums = np.zeros((len(place), groups[-1] + 1, *start.shape[1:]))
            both = states[:, ::2].astype(np.float64) + states[:, 1::2]
            for row, base in enumerate(replicates):
                sums[:, groups[base]] += both[:, row]
        return np.concatenate(z), np.concatenate(own, axis=1), sums

    def at(self, number: int, z: Floats, own: Floats, sums: Floats) -> _AtStep:
        """Return what is found at one of the steps."""
        i = int(self.steps[number])
        scores: list[Floats] = []
        slices: list[Floats] = []
        opposite: list[Floats] = []
        for base in z:
            line = self.grid.reshape(-1, *[1] * base.ndim) * base
            values, rounding = self._predicted(line.astype(z.dtype), i)
            opposite.append(values[[-1, 0]])
            part = values[:, self.coordinates]
            deviations = part - part.mean(axis=0)
            constant = is_constant(deviations.T, part.T, rounding)
            scores.append(np.where(constant, np.nan, antisymmetry_score(part)))
            if len(slices) < _DRAWN:
                slices.append(part[:, :_DRAWN].T)
        if np.isnan(scores).all(axis=1).any():
            raise ValueError(
                f"the predicted {self.name} does not change along a line at step {i}, so that it has no symmetry; "
                "leave the step out by steps=..., or take more coordinates"
            )
        first, second = np.stack(opposite, axis=1)
        return _AtStep(np.stack(scores), np.stack(slices), _odd_shares(first, second), *self._reflected(own, sums, i))

    def _reflected(self, own: Floats, sums: Floats, i: int) -> tuple[Floats, Floats]:
        """Return pseudo-values (n,) of the odd share at the sampler's own states, and what groups add by the mean."""
        n, direct = len(own), self._predicted(own, i)[0]
        sizes, total = np.bincount(_groups(n)), sums.sum(axis=0)

        def about(mean: Floats) -> Floats:
            return _odd_shares(direct, self._predicted((2 * mean - own).astype(own.dtype), i)[0])

        pseudo_values = about(total / (2 * n))
        without = [
            about((total - part) / (2 * (n - size))).mean() for part, size in zip(sums, sizes.tolist(), strict=True)
        ]
        return pseudo_values, (n - sizes) * (pseudo_values.mean() - np.array(without))

    def _predicted(self, x: NDArray[Any], i: int) -> tuple[Floats, float]:
        """Return the prediction for states (n, ...) at step i, (n, pixels), and its rounding error."""
        parts, rounding = [], 0.0
        for first in range(0, len(x), self.rows):
            found = self.model.predictions(x[first : first + self.rows], i, self.condition)[self.name]
            parts.append(flat_rows(found, f"the predicted {self.name} at step {i}"))
            rounding = rounding_of(found)
        return np.concatenate(parts), rounding


def _groups(n: int) -> NDArray[np.int64]:
    """Return the group of each of n bases, numbered from 0: each is one of its own where there are few."""
    return np.arange(n) * min(n, _GROUPS) // n


def _odd_shares(first: Floats, second: Floats) -> Floats:
    """Return the jackknife's pseudo-values (n,) of the odd share, from predictions (n, k) at x and at x'.

    Their mean is the estimate. A single one may lie outside [0, 1].
    """
    n = len(first)
    even = (first + second) / 2
    odd = (((first - second) / 2) ** 2).sum(axis=1)
    squares = ((even - even.mean(axis=0)) ** 2).sum(axis=1)
    if odd.sum() + squares.sum() == 0:
        raise ValueError("the prediction does not depend on the state, so that it has no symmetry; choose other steps")
    whole = odd.mean() / (odd.mean() + squares.sum() / (n - 1))
    # The sum of squares without one row, from that of all rows and the row's own square.
    left = (squares.sum() - squares * n / (n - 1)) / (n - 2)
    rest = (odd.sum() - odd) / (n - 1)
    return np.asarray(n * whole - (n - 1) * rest / (rest + left))


def _curves(steps: NDArray[np.int64], found: Sequence[_AtStep], seed: Seed, level: float) -> tuple[Curve, ...]:
    """Return the three curves, with a band that holds for all of them."""
    by_measure = {
        SCORE: _by_group([np.nanmean(one.scores, axis=1) for one in found]),
        NORMAL: _by_group([one.normal for one in found]),
        OWN: _by_group([one.own for one in found], [one.through_mean for one in found]),
    }
    mean, each, band = intervals_of(np.concatenate([*by_measure.values()], axis=1), seed, level)
    curves = []
    for number, measure in enumerate(by_measure):
        own = slice(number * len(steps), (number + 1) * len(steps))
        ends = [np.clip(np.asarray(end)[own], 0.0, 1.0) for end in (*each, *band)]
        curves.append(Curve({"measure": measure}, steps, np.clip(mean[own], 0.0, 1.0), *ends))
    return tuple(curves)


def _by_group(columns: Sequence[Floats], added: Sequence[Floats] | None = None) -> Floats:
    """Return the values of bases (n,) of each step, with what is added to the sums of groups, as (groups, steps).

    They have the mean of the values of all bases.
    """
    groups = _groups(len(columns[0]))
    sums = np.stack([np.bincount(groups, column) for column in columns], axis=1)
    if added is not None:
        sums = sums + np.stack(added, axis=1)
    return np.asarray(sums * (len(sums) / len(groups)))


def _numbers(scores: Floats, seed: Seed, level: float) -> tuple[Number, ...]:
    """Return mean, least score, quantiles and median of scores (steps, n, coordinates), with intervals over bases."""
    by_base = np.moveaxis(scores, 1, 0).reshape(scores.shape[1], -1)
    mean, each, _ = intervals_of(np.nanmean(by_base, axis=1)[:, None], seed, level)
    interval = Interval(np.asarray(each.low).item(), np.asarray(each.high).item())
    rng = Stream(as_seed_sequence(seed), "symmetry", "bootstrap").generator(0)
    n, wanted = len(by_base), [*QUANTILES.values()]
    resampled = np.stack([np.nanquantile(by_base[rng.integers(n, size=n)], wanted) for _ in range(BOOTSTRAP_RESAMPLES)])
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0).tolist()
    values = np.nanquantile(by_base, wanted).tolist()
    quantiles = [Number(name, *ends) for name, *ends in zip(QUANTILES, values, low, high, strict=True)]
    least = Number("least", float(np.nanmin(by_base)))
    ends = max(0.0, float(interval.low)), min(1.0, float(interval.high))
    return (Number("mean", mean.item(), *ends), least, *quantiles)


def _warnings(scores: Floats) -> tuple[str, ...]:
    undefined = int(np.isnan(scores).sum())
    if not undefined:
        return ()
    return (
        f"{undefined} of {scores.size} slices are constant, so that they have no score; they are left out of all means "
        "and quantiles",
    )


def _checked_prediction(model: Stepwise, of: str) -> str:
    allowed = [one for one in model.shown if one != "state"]
    if not allowed:
        raise TypeError(
            f"the network's symmetry needs its predictions, and {name_of(model)} shows only its states; give a sampler "
            "with predictions, such as DDIM, Heun or Flow"
        )
    if not isinstance(of, str):
        raise TypeError(f"of must be the name of one prediction, such as {allowed[0]!r}; got {of!r}")
    return checked_names("of", of, allowed, ", which is no prediction of this model")[0]


def _checked_bases(n_base: int) -> int:
    if checked_integer("n_base", n_base) < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(f"n_base must be at least {FEWEST_FOR_BOOTSTRAP}, to resample bases; got {n_base}. Use 25")
    return int(n_base)


def _checked_coordinates(coordinates: Any, size: int, seed: Seed) -> NDArray[np.int64]:
    if np.ndim(coordinates) == 0:
        count = checked_integer("coordinates", coordinates)
        if not 1 <= count <= size:
            raise ValueError(f"coordinates must be a number from 1 to {size}, those of a prediction; got {count}")
        rng = Stream(as_seed_sequence(seed), "symmetry", "coordinates").generator(0)
        return np.sort(rng.choice(size, count, replace=False)).astype(np.int64)
    given = [
        checked_integer("each of coordinates", one)
        for one in listed("coordinates", coordinates, "a number or a list of numbers")
    ]
    if not given or min(given) < 0 or max(given) >= size or len({*given}) < len(given):
        raise ValueError(f"coordinates must be different numbers from 0 to {size - 1}; got {coordinates}")
    return np.array(given, np.int64)


def _checked_points(points: int) -> int:
    if checked_integer("points", points) < 5 or points % 2 == 0:
        raise ValueError(f"points must be an odd number of at least 5, for a grid with 0 in it; got {points}")
    return points

r"""Correlations of pairs of trajectories, step by step: where on the way the effect of negated noise is lost.

Let :math:`x_i, y_i` be the states of the two trajectories of a pair at step i, as vectors of pixels. The standard
correlation is Pearson's over pixels,

.. math:: r(x, y) = \frac{\sum_p (x_p - \bar x)(y_p - \bar y)}
    {\sqrt{\sum_p (x_p - \bar x)^2 \sum_p (y_p - \bar y)^2}},

and the centralized one is :math:`r(x - m, y - m)` with the mean state m of the step [1]_. Here the mean over n first
trajectories is subtracted from the first one of each pair, and that over the second ones from the second. As in a
sample covariance, products and squares then shrink by the same factor 1 - 1/n, so that the correlation has no bias of
order 1/n. One mean of all 2 n trajectories would bias the correlations of independent pairs by about -1/(2n), and one
that leaves the pair out by 1/(2n). Both are larger than the standard errors for images of many pixels. Without the
pair itself, x and y would differ from their means by a factor n / (n - 1) more, which no correlation shows.

All pairs share the error of m. To first order a pair changes the mean correlation by its part in m as
`mcgen.analysis.measures.influence_of_mean` says, and the standard errors hold this.

Trajectories are run three times where m is needed: for the mean states, for the correlations and how they change with
m, and for what each pair adds by its part in m. So no more is held in memory than three states of each step, and one
correlation for each pair and step.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185. Figure 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, rounding_of
from mcgen._lib.checks import checked_integer, checked_level
from mcgen.analysis.measures import correlation, gradients
from mcgen.analysis.pair_arguments import checked_kinds
from mcgen.analysis.stepwise import (
    checked_names,
    checked_rows,
    flat_rows,
    intervals_of,
    is_constant,
    provenance_of_steps,
    require_one_condition,
)
from mcgen.designs import Design
from mcgen.generators import Generator
from mcgen.generators.stepwise import Stepwise, checked_stepwise
from mcgen.inference.interval_input import Interval
from mcgen.noise import as_rows
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.streams import stream_of
from mcgen.results.profile import Curve, Profile

MEASURES = ("standard", "centralized")
# Fewest pairs: with two, the deviations of one from the means are minus those of the other.
_FEWEST_PAIRS = 3


def along_time(
    model: Stepwise | Generator,
    *,
    n_pairs: int,
    seed: Seed,
    condition: Any = None,
    of: str | Sequence[str] | None = None,
    kinds: str | Design | Sequence[str | Design] = ("negated", "independent"),
    measures: str | Sequence[str] = MEASURES,
    confidence_level: float = 0.95,
    batch_size: int | None = None,
) -> Profile:
    """Return the correlation of pairs of trajectories at each step of a sampler, with intervals.

    Use it to see where on the way from noise to sample the negative correlation of z and -z is lost: in the network's
    predictions, in the states, or at the end. At step 0 it is -1, and it stays there as long as the network is affine
    in the state.

    Parameters
    ----------
    model : sampler
        A sampler that shows its steps, such as `mcgen.adapters.DDIM`, ``Heun``, ``Flow`` or ``Consistency``.
    n_pairs : int
        Pairs of each kind, 3 or more. Bands are narrower from 25 on.
    seed : int or SeedSequence
        Seed of the noise. The trajectories end at the samples that `mcgen.estimate` uses with this seed.
    condition : object, optional
        One condition of the model.
    of : str or sequence of str, optional
        The quantities whose correlation is computed: "state" and the predictions that the model shows, "noise" and
        "sample" of diffusion models or "velocity" of flows. By default all of them. Predictions end a step before the
        states.
    kinds : str, Design, or sequence of them
        "negated" pairs z, -z; "independent" pairs; or any design of two points, such as ``Antithetic(only=mask)``.
    measures : str or sequence of str
        "standard" and "centralized" correlations.
    confidence_level : float
        Level of the interval of each step, and of the band for all curves and steps together.
    batch_size : int, optional
        The most rows that the model sees at a time, 2 or more; about 64 by default.

    Returns
    -------
    Profile
        Its curves have the labels ``of``, ``kind`` and ``measure``. Intervals end at -1 and 1.

    Raises
    ------
    TypeError
        If the model does not show its steps, or an argument has another type.
    ValueError
        If an argument is not as described, or states have a single number. Also if a state or prediction is constant
        over its pixels, so that it has no correlation.
    NonFiniteError
        If a state or a prediction has a NaN or an infinity.

    Notes
    -----
    The model is run once, and for centralized correlations three times.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import models
    >>> digits = models.load("digits-diffusion", steps=10)
    >>> found = mcgen.analysis.along_time(digits, n_pairs=20, seed=0, of="state")
    >>> curve = found.curve(kind="negated", measure="centralized")
    >>> float(curve.mean[0]), bool(curve.mean[-1] > -0.8)
    (-1.0, True)
    """
    sampler = checked_stepwise(model)
    require_one_condition(condition)
    pairs, level = checked_integer("n_pairs", n_pairs), checked_level(confidence_level)
    if pairs < _FEWEST_PAIRS:
        raise ValueError(f"n_pairs must be at least {_FEWEST_PAIRS}; got {n_pairs}. Take 100 for a picture")
    if math.prod(sampler.noise.blocks[0][1].shape) < 2:
        raise ValueError("a correlation over pixels needs states of 2 or more numbers; got states of one")
    wanted = sampler.shown if of is None else checked_names("of", of, sampler.shown, ", which this model does not show")
    asked = checked_names("measures", measures, MEASURES)
    designs = {kind.name: kind.design for kind in checked_kinds(kinds, share_first=False)}
    rows = checked_rows(batch_size, pairs)
    curves: list[Curve] = []
    for kind, design in designs.items():
        walks = _Walks(sampler, design, pairs, as_seed_sequence(seed), condition, tuple(wanted), rows)
        values = walks.correlations(asked)
        columns = np.concatenate([*values.values()], axis=1)
        mean, each, band = intervals_of(columns, seed, level, shared_with=len(designs))
        curves += _curves(kind, values, mean, _clipped(each), _clipped(band))
    runs = 3 if "centralized" in asked else 1
    done = provenance_of_steps(
        sampler,
        seed,
        condition,
        what="pairs of trajectories",
        design=" and ".join(map(str, designs.values())),
        n=pairs,
        evaluations=2 * pairs * len(designs) * runs,
        batch_size=rows,
    )
    return Profile("correlation over pixels", tuple(curves), sampler.signal_shares, level, done)


@dataclass(frozen=True)
class _Walks:
    """Pairs of trajectories of one kind.

    Attributes
    ----------
    model, condition
        The sampler and its condition.
    design : Design
        How the noise of a pair is drawn.
    n_pairs : int
        Number of pairs.
    seed : SeedSequence
        Seed of the noise.
    of : tuple of str
        What is looked at.
    rows : int
        The most rows that the model sees at a time.
    """

    model: Stepwise
    design: Design
    n_pairs: int
    seed: Any
    condition: Any
    of: tuple[str, ...]
    rows: int

    def steps(self, name: str) -> int:
        """Return the number of steps at which something is shown."""
        return self.model.steps + (name == "state")

    def shown(self) -> Iterator[tuple[slice, int, str, Floats, float]]:
        """Yield (pairs, step, name, values (pairs, 2, pixels), rounding) for all batches, steps and names."""
        per_batch = self.rows // 2
        for first in range(0, self.n_pairs, per_batch):
            pairs = slice(first, min(first + per_batch, self.n_pairs))
            points = self.design.n_points
            replicates = range(2 * pairs.start // points, 2 * pairs.stop // points)
            noise = self.design.draw(self.model.noise, replicates, self.seed, stream=stream_of(self.condition, 0))
            for i, shown in enumerate(self.model.observe(as_rows(noise), self.condition)):
                for name in self.of:
                    if name in shown:
                        flat = flat_rows(shown[name], f"the {name} at step {i}")
                        yield pairs, i, name, flat.reshape(-1, 2, flat.shape[1]), rounding_of(shown[name])

    def sums(self) -> dict[tuple[str, int], Floats]:
        """Return the sums of first and of second values of pairs by name and step, shape (2, pixels)."""
        total: dict[tuple[str, int], Any] = {}
        for _, i, name, values, _ in self.shown():
            total[name, i] = total.get((name, i), 0.0) + values.sum(axis=0)
        return total

    def correlations(self, measures: Sequence[str]) -> dict[tuple[str, str], Floats]:
        """Return terms of each pair at each step, (pairs, steps), by name and measure, with the mean correlation.

        They are the correlations, and with centralized ones what the pair adds by its part in the mean states.
        """
        found = {
            (name, measure): np.empty((self.n_pairs, self.steps(name))) for name in self.of for measure in measures
        }
        sums = self.sums() if "centralized" in measures else {}
        gradient: dict[tuple[str, int], Any] = {}
        for pairs, i, name, values, rounding in self.shown():
            # A sum of n values has up to n rounding errors of double precision.
            error = max(rounding, self.n_pairs * 2.0**-52)
            for measure in measures:
                around = values if measure == "standard" else values - sums[name, i] / self.n_pairs
                r = _pearson(around, values, error, f"{name} at step {i}")
                found[name, measure][pairs, i] = r
                if measure == "centralized":
                    d = around - around.mean(axis=2, keepdims=True)
                    parts = [part.mean(axis=0) for part in gradients(d[:, 0], d[:, 1], r[:, None])]
                    gradient[name, i] = gradient.get((name, i), 0.0) + np.stack(parts) * (len(r) / self.n_pairs)
        if sums:
            for pairs, i, name, values, _ in self.shown():
                influence = (values - sums[name, i] / self.n_pairs) * gradient[name, i]
                found[name, "centralized"][pairs, i] += influence.sum(axis=(1, 2))
        return found


def _pearson(around: Floats, values: Floats, rounding: float, where: str) -> Floats:
    """Return the correlation over pixels of each pair (n, 2, pixels), or refuse pairs with a constant image.

    `around` are the values less what is subtracted; `values` give the scale on which they are rounded.
    """
    d = around - around.mean(axis=2, keepdims=True)
    n, _, k = d.shape
    constant = is_constant(d.reshape(-1, k), values.reshape(-1, k), rounding).reshape(n, 2).any(axis=1)
    if constant.any():
        raise ValueError(
            f"{int(constant.sum())} of {n} pairs have a {where} that is constant over its pixels, so that it has no "
            "correlation; leave that quantity out by of=..., or the measure by measures=..."
        )
    return correlation(d[:, 0], d[:, 1])


def _clipped(interval: Interval) -> Interval:
    """Return an interval of correlations, which lie from -1 to 1."""
    return Interval(np.maximum(interval.low, -1.0), np.minimum(interval.high, 1.0))


def _curves(
    kind: str, values: dict[tuple[str, str], Floats], mean: Floats, each: Interval, band: Interval
) -> Iterator[Curve]:
    """Yield the curves of one kind; the columns of all of them follow one another in `mean` and the intervals."""
    first = 0
    for (name, measure), part in values.items():
        own = slice(first, first + part.shape[1])
        first = own.stop
        ends = [np.asarray(end)[own] for end in (*each, *band)]
        labels = {"of": name, "kind": kind, "measure": measure}
        yield Curve(labels, np.arange(part.shape[1]), mean[own], *ends)

"""Independent paths of a sampler, batch by batch, and the profiles of what is measured along them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy
from mcgen._lib.checks import checked_integer, checked_level
from mcgen._lib.names import name_of
from mcgen.analysis.stepwise import flat_rows, intervals_of, provenance_of_steps, require_one_condition
from mcgen.designs import MonteCarlo
from mcgen.generators.stepwise import Stepwise, checked_stepwise
from mcgen.inference.interval_input import Interval
from mcgen.inference.resampling import FEWEST_FOR_BOOTSTRAP
from mcgen.noise import Noise, as_rows
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.streams import stream_of
from mcgen.results.profile import Curve, Number, Profile


@dataclass(frozen=True)
class SinglePaths:
    """Independent paths of a sampler.

    Attributes
    ----------
    model, condition
        The sampler and its condition.
    n : int
        Number of paths.
    seed : int or SeedSequence
        Seed of their noise. They end at the samples of `mcgen.estimate` with this seed and ``MonteCarlo()``.
    level : float
        Level of the intervals.
    rows : int
        The most rows that the model sees at a time.
    """

    model: Stepwise
    condition: Any
    n: int
    seed: Seed
    level: float
    rows: int

    @classmethod
    def of(
        cls, model: Any, n_paths: int, seed: Seed, condition: Any, confidence_level: float, batch_size: int | None
    ) -> SinglePaths:
        """Return the paths that a user asks for, once the arguments are checked.

        Raises
        ------
        TypeError, ValueError
            If the model does not show its steps, or an argument can't be used.
        """
        sampler, level = checked_stepwise(model), checked_level(confidence_level)
        require_one_condition(condition)
        if checked_integer("n_paths", n_paths) < FEWEST_FOR_BOOTSTRAP:
            raise ValueError(f"n_paths must be at least {FEWEST_FOR_BOOTSTRAP}; got {n_paths}. Take 100 or more")
        as_seed_sequence(seed)
        return cls(sampler, condition, n_paths, seed, level, checked_batch_size(batch_size, 1, n_paths))

    @property
    def size(self) -> int:
        """The numbers in a state."""
        return math.prod(self.model.noise.blocks[0][1].shape)

    def signals(self, why: str) -> Floats:
        """Return the signal's shares (steps + 1,), or refuse a sampler where they are not known.

        Raises
        ------
        TypeError
            If they are not known.
        """
        if self.model.signal_shares is None:
            raise TypeError(f"{name_of(self.model)} has no signal_shares, the signal's share in each state; {why}")
        return self.model.signal_shares

    def batches(self) -> Iterator[tuple[range, Noise, Iterator[Mapping[str, Any]]]]:
        """Yield, for each batch, the numbers of its paths, their noise, and what the sampler shows step by step."""
        seed = as_seed_sequence(self.seed)
        for first in range(0, self.n, self.rows):
            numbers = range(first, min(first + self.rows, self.n))
            noise = as_rows(MonteCarlo().draw(self.model.noise, numbers, seed, stream=stream_of(self.condition, 0)))
            yield numbers, noise, iter(self.model.observe(noise, self.condition))

    def require_samples(self, model: Stepwise) -> None:
        """Refuse a sampler that does not show its predicted samples.

        Raises
        ------
        TypeError
            If it shows other things only.
        """
        if "sample" not in model.shown:
            shown = ", ".join(model.shown)
            raise TypeError(
                f"predicted samples are needed, and {name_of(model)} shows {shown}; give a diffusion model, such as "
                "DDIM, Heun or mcgen.generators.GaussianDiffusion"
            )

    def profile(
        self,
        title: str,
        columns: Mapping[str, tuple[NDArray[np.int64], Floats]],
        *,
        limits: tuple[float, float] = (-math.inf, math.inf),
        numbers: Iterable[Number] = (),
        runs: float = 1.0,
    ) -> Profile:
        """Return the profile of independent values of each path.

        Parameters
        ----------
        title : str
            What was measured.
        columns : mapping of str to (steps, values)
            For each curve, by its label "measure", the numbers of k steps and values (n, k).
        limits : tuple of float
            Ends of the possible values; intervals end there.
        numbers : iterable of Number
            Numbers over all steps.
        runs : float
            Work in runs of the sampler along all paths.
        """
        values = np.concatenate([found for _, found in columns.values()], axis=1)
        mean, each, band = intervals_of(values, self.seed, self.level)
        curves, first = [], 0
        for name, (steps, found) in columns.items():
            own = slice(first, first + found.shape[1])
            first = own.stop
            ends = [np.clip(np.asarray(end)[own], *limits) for end in (*each, *band)]
            curves.append(Curve({"measure": name}, steps, np.clip(mean[own], *limits), *ends))
        done = provenance_of_steps(
            self.model,
            self.seed,
            self.condition,
            what="paths",
            design=str(MonteCarlo()),
            n=self.n,
            evaluations=math.ceil(self.n * runs),
            batch_size=self.rows,
            n_points=1,
        )
        return Profile(title, tuple(curves), self.model.signal_shares, self.level, done, tuple(numbers))

    def numbers(self, names: Sequence[str], values: Floats, limits: tuple[float, float]) -> list[Number]:
        """Return the means of values (n, k) of each path with their intervals, by name."""
        mean, each, _ = intervals_of(values, self.seed, self.level)
        ends = Interval(np.clip(each.low, *limits), np.clip(each.high, *limits))
        low, high = np.atleast_1d(ends.low), np.atleast_1d(ends.high)
        return [Number(name, float(mean[k]), float(low[k]), float(high[k])) for k, name in enumerate(names)]


def path_of(shown: Iterable[Mapping[str, Any]]) -> Floats:
    """Return the states of a batch of paths, flattened, shape (n, steps + 1, d)."""
    return np.stack([flat_rows(one["state"], f"the state at step {i}") for i, one in enumerate(shown)], axis=1)


def states_of(shown: Iterable[Mapping[str, Any]], steps: Sequence[int]) -> tuple[list[NDArray[Any]], Floats]:
    """Return the states (n, ...) at some steps, in their own type, and the last states, flattened to (n, d)."""
    kept: dict[int, NDArray[Any]] = {}
    last: Any = None
    for i, one in enumerate(shown):
        last = one["state"]
        if i in steps:
            kept[i] = as_numpy(last).copy()
    return [kept[i] for i in steps], flat_rows(last, "the last state")


def ratio_of_means(top: Floats, bottom: Floats, factor: float = 1.0) -> Floats:
    """Return the jackknife's pseudo-values of sum(top) / sum(bottom), for terms (n, ...) of independent paths.

    Their mean is the estimate, without its bias of order 1/n.

    Parameters
    ----------
    top, bottom : ndarray of shape (n, ...)
        The terms.
    factor : float
        How much a sum changes when a path is left out, in terms of that path. It is n / (n - 1) for products of
        deviations from sample means.
    """
    n, whole_top, whole_bottom = len(top), top.sum(axis=0), bottom.sum(axis=0)
    left = (whole_top - factor * top) / (whole_bottom - factor * bottom)
    return np.asarray(n * whole_top / whole_bottom - (n - 1) * left)

"""Simulated runs of distances: the coverage and the width of their intervals, and the bias of the estimates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, KAntithetic, LatinHypercube, MonteCarlo, Sobol
from mcgen.functionals.distances import Distance
from mcgen.functionals.references import ReferenceFeatures, features_of_reference, reference
from mcgen.inference.distances.terms import Points
from mcgen.inference.interval_input import student_t_quantile
from mcgen.validation.problems.feature_laws import FeatureLaw
from mcgen.validation.studies.verdicts import Verdict, least

PROMISED = 0.93
"""Least coverage that is promised to intervals of nominally 95 %, from 20 replicates on."""
LEVEL = 0.95
FEWEST = 20
"""Replicates from which on a coverage is promised: one for each group of the jackknife."""
DESIGNS: dict[str, Design] = {
    "Monte Carlo": MonteCarlo(),
    "pairs": Antithetic(),
    "k = 8": KAntithetic(8),
    "nets of 64": Sobol(64),
    "Latin 16": LatinHypercube(16),
}
"""Designs by the names that tables have."""
# Half-width of a 95 % interval of normal values, in standard deviations.
_NORMAL = 1.96

Run = Callable[[np.random.SeedSequence], "mcgen.Estimate"]
"""Makes the estimate of one run."""
Ends = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of simulated runs.

    Attributes
    ----------
    what : str
        What was estimated, and how.
    truth : float
        The true distance.
    means, plug_ins, low, high : ndarray of shape (runs,)
        Estimates, usual values, and ends of the intervals.
    warned : int
        How many runs warn.
    """

    what: str
    truth: float
    means: Floats
    plug_ins: Floats
    low: Floats
    high: Floats
    warned: int = 0

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self.means)

    @property
    def hits(self) -> int:
        """How many intervals hold the truth."""
        # An estimate of 0 that has no error may miss it by rounding.
        slack = 1e-12 * max(abs(self.truth), float(np.abs(self.means).max()))
        return int(((self.low - slack <= self.truth) & (self.truth <= self.high + slack)).sum())

    @property
    def covered(self) -> float:
        """The share of the intervals that hold the truth."""
        return self.hits / self.runs

    @property
    def sd(self) -> float:
        """Standard deviation of the estimates."""
        return float(self.means.std(ddof=1))

    @property
    def width(self) -> float:
        """Mean half-width of the intervals, relative to 1.96 standard deviations of the estimates."""
        return float((self.high - self.low).mean()) / 2 / (_NORMAL * self.sd)

    @property
    def bias(self) -> float:
        """Mean error of the estimates, in standard deviations; its standard error is 1 / sqrt(runs)."""
        return (float(self.means.mean()) - self.truth) / self.sd

    @property
    def plug_in_bias(self) -> float:
        """Mean error of the usual values, in standard deviations of the estimates."""
        return (float(self.plug_ins.mean()) - self.truth) / self.sd


def seeds(what: str, seed: int, runs: int) -> list[np.random.SeedSequence]:
    """Return a seed for each run of a cell, different for each text."""
    return [np.random.SeedSequence(seed, spawn_key=(crc32(what.encode()), run)) for run in range(runs)]


def repeated(what: str, run: Run, truth: float, runs: int, seed: int) -> Outcome:
    """Return the outcome of runs with different seeds."""
    found, warned = np.empty((4, runs)), 0
    for number, own in enumerate(seeds(what, seed, runs)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = run(own)
        # Differences on independent noise have no plug-in value.
        plain = np.nan if result.plug_in is None else float(result.plug_in)
        found[:, number] = float(result.mean), plain, *map(float, result.interval)
        warned += bool(result.warnings)
    return Outcome(what, truth, found[0], found[1], found[2], found[3], warned)


def replicates_for(design: Design, n: int) -> int:
    """Return how many replicates have n points or more: 20 at least."""
    return max(FEWEST, math.ceil(n / design.n_points))


def estimated(
    law: FeatureLaw, score: Distance, design: Design, n_replicates: int, seed: np.random.SeedSequence
) -> mcgen.Estimate:
    """Return the estimate of a distance of a law."""
    size = design.n_points * n_replicates
    return mcgen.estimate(law.generator, score, design=design, n_replicates=n_replicates, seed=seed, batch_size=size)


def points_of(law: FeatureLaw, design: Design, n_replicates: int, seed: np.random.SeedSequence) -> Points:
    """Return the features of a run's replicates, for controls that make intervals in another way."""
    noise = np.asarray(design.draw(law.generator.noise, n_replicates, seed))
    flat = law.map(noise.reshape(-1, law.noise))
    p = design.n_points
    return Points(flat.reshape(n_replicates, p, -1), np.full(p, 1 / p))


def by_student(estimate: float, error: float, n_replicates: int) -> Ends:
    """Return Student's t interval."""
    t = float(np.ravel(student_t_quantile((1 + LEVEL) / 2, np.array([n_replicates - 1.0])))[0])
    return estimate - t * error, estimate + t * error


def controlled(
    what: str, ends: Callable[[np.random.SeedSequence], Ends], truth: float, runs: int, seed: int
) -> Outcome:
    """Return the outcome of intervals that are made in another way, with their middles as estimates."""
    low, high = np.array([ends(own) for own in seeds(what, seed, runs)]).T
    middle = (low + high) / 2
    return Outcome(what, truth, middle, middle, low, high)


def covering(what: str, found: Sequence[Outcome], nominal: float = PROMISED) -> Verdict:
    """Return the verdict that each of some cells covers `nominal` or more, by the one that covers least."""
    return least(what, {one.what: one.hits for one in found}, {one.what: one.runs for one in found}, nominal)


def pooled(what: str, found: Mapping[str, Sequence[Outcome]]) -> Verdict:
    """Return the verdict that cells cover `PROMISED` together, in the worst of some groups."""
    hits = {name: sum(one.hits for one in cells) for name, cells in found.items()}
    return least(what, hits, {name: sum(one.runs for one in cells) for name, cells in found.items()}, PROMISED)


def sampled(values: Floats, fixed: bool) -> ReferenceFeatures:
    """Return features as a reference: exactly these, or a sample."""
    return features_of_reference(reference(values, fixed=fixed), None)

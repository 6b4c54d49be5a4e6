"""Laws of the number of events in a replicate, for studies of intervals for probabilities.

A run of R replicates is one multinomial draw: the numbers of replicates with 0, 1, ..., n events. So thousands of runs
of 10,000 replicates take a moment. The laws of pairs and of clusters are exact. The laws of designs draw, with
replacement, from replicates that the designs of this package gave; the mean of these replicates is the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import default_rng
from numpy.typing import NDArray
from scipy.special import ndtri

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, KAntithetic, LatinHypercube, Sobol
from mcgen.inference.interval_input import EventCounts
from mcgen.noise import NoiseSpec
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.task import Estimand

PROBABILITIES = (1e-4, 0.001, 0.004, 0.02, 0.1, 0.3, 0.5)
"""Probabilities of the events under designs, nearly."""
DIMENSION = 8
"""Dimension of the noise of the events under designs."""
# Number of simulated points of each design. It gives a few hundred of the rarest events.
_POOL_POINTS = 2**20


@dataclass(frozen=True, eq=False)
class EventLaw:
    """The law of the number of events among the n points of a replicate.

    Attributes
    ----------
    probabilities : ndarray of shape (n + 1,)
        Probabilities of 0, 1, ..., n events.
    """

    probabilities: Floats

    @property
    def n_points(self) -> int:
        """Number of points in a replicate, n."""
        return len(self.probabilities) - 1

    @property
    def p(self) -> float:
        """Probability of the event."""
        return float(self.probabilities @ np.arange(self.n_points + 1)) / self.n_points

    def draw(self, rng: NumpyGenerator, n_replicates: int | NDArray[np.int64], runs: int) -> tuple[Floats, Floats]:
        """Return the sums over each run's replicates of the numbers of events and of their squares, shape (runs,)."""
        numbers = np.flatnonzero(self.probabilities)
        shares = self.probabilities[numbers]
        found = rng.multinomial(n_replicates, shares / shares.sum(), runs).astype(np.float64)
        return found @ numbers, found @ numbers.astype(np.float64) ** 2

    def counts(
        self, sums: tuple[Floats, Floats], n_replicates: int | NDArray[np.int64], weight: float = 1.0
    ) -> EventCounts:
        """Return the counts of runs with these sums: one component for each run, with its own number of replicates."""
        first, second = sums
        dispersion = np.maximum(second - first**2 / n_replicates, 0)
        return EventCounts(n_replicates, self.n_points, first, n_replicates * self.n_points - first, dispersion, weight)


def independent(p: float, n: int = 1) -> EventLaw:
    """Return the law of n independent points."""
    from scipy.stats import binom

    return EventLaw(binom.pmf(np.arange(n + 1), n, p))


def pairs(p: float, correlation: float) -> EventLaw:
    """Return the law of two correlated standard normal numbers, with the event that one is large."""
    from scipy.stats import multivariate_normal

    c = float(ndtri(p))
    if correlation > -1:
        both = float(multivariate_normal.cdf([c, c], cov=[[1, correlation], [correlation, 1]], abseps=1e-12))
    else:
        both = max(0.0, 2 * p - 1)
    return EventLaw(np.array([1 - 2 * p + both, 2 * (p - both), both]))


def even_pairs(p: float) -> EventLaw:
    """Return the law of antithetic pairs and an even event, such as abs(w) > c: both points have it, or none."""
    return EventLaw(np.array([1 - p, 0.0, p]))


def clusters(p: float, n: int, correlation: float) -> EventLaw:
    """Return the law of n points that share a random probability, so that two of them have this correlation."""
    from scipy.stats import betabinom

    size = 1 / correlation - 1
    return EventLaw(betabinom.pmf(np.arange(n + 1), n, p * size, (1 - p) * size))


def nearly_exact(p: float, n: int) -> EventLaw:
    """Return the law of replicates that have n / 2 events, and one more with probability p.

    The probability of the event is 1 / 2 + p / n then.
    """
    probabilities = np.zeros(n + 1)
    probabilities[[n // 2, n // 2 + 1]] = 1 - p, p
    return EventLaw(probabilities)


def under(p: float, design: Design, event: str) -> EventLaw:
    """Return the law of an event with probability near p under a design, from simulated replicates."""
    # Designs are frozen values, and so have a hash.
    return EventLaw(_pool(design)[[*EVENTS].index(event), PROBABILITIES.index(p)])  # type: ignore[arg-type]


EVENTS: dict[str, Callable[[Floats], Floats]] = {
    "half-space": lambda w: w.sum(axis=1),
    "ball": lambda w: (w**2).sum(axis=1),
    "box": lambda w: np.abs(w).max(axis=1),
    "product": lambda w: w[:, 0] * w[:, 1],
}
"""What is large at an event, by its name."""


@cache
def _thresholds() -> Floats:
    """Return what the events exceed, shape (events, probabilities), from quantiles of a sample."""
    w = default_rng(0).standard_normal((2**20, DIMENSION))
    return np.array([np.quantile(large(w), 1 - np.array(PROBABILITIES)) for large in EVENTS.values()])


def _indicators(w: Floats) -> NDArray[np.bool_]:
    """Return whether each row has each event at each probability, shape (rows, events x probabilities)."""
    large = np.stack([one(w) for one in EVENTS.values()], axis=1)
    return (large[:, :, None] > _thresholds()).reshape(len(w), -1)


@cache
def _pool(design: Design) -> Floats:
    """Return the shares of replicates with 0, ..., n events, shape (events, probabilities, n + 1)."""
    generator = mcgen.as_generator(lambda w: w, NoiseSpec.normal((DIMENSION,), "float64"), name="noise")
    n = design.n_points
    task = Estimand(generator, _indicators, as_seed_sequence(0)).task(design, 2**14)
    means = np.concatenate([rows.means for rows in replicate_means(task, range(_POOL_POINTS // n))])
    numbers = np.rint(means * n).astype(np.int64)
    shares = np.stack([np.bincount(column, minlength=n + 1) for column in numbers.T]) / len(numbers)
    return shares.reshape(len(EVENTS), len(PROBABILITIES), n + 1)


LAWS: dict[str, Callable[[float], EventLaw]] = {
    "independent points": independent,
    "independent pairs": partial(independent, n=2),
    "pairs, antithetic": partial(pairs, correlation=-1.0),
    "pairs, correlation -0.6": partial(pairs, correlation=-0.6),
    "pairs, correlation 0.5": partial(pairs, correlation=0.5),
    "pairs, correlation 0.9": partial(pairs, correlation=0.9),
    "pairs, even event": even_pairs,
    "8 points, correlation 0.2": partial(clusters, n=8, correlation=0.2),
    "KAntithetic(8), half-space": partial(under, design=KAntithetic(8), event="half-space"),
    "KAntithetic(8), ball": partial(under, design=KAntithetic(8), event="ball"),
    "Antithetic(), product": partial(under, design=Antithetic(), event="product"),
    "LatinHypercube(16), half-space": partial(under, design=LatinHypercube(16), event="half-space"),
    "LatinHypercube(16), box": partial(under, design=LatinHypercube(16), event="box"),
    **{f"Sobol({n}), {event}": partial(under, design=Sobol(n), event=event) for n in (16, 64, 256) for event in EVENTS},
    "nearly exact pairs": partial(nearly_exact, n=2),
    "nearly exact nets of 64": partial(nearly_exact, n=64),
}
"""Laws of events by the names of their designs, as functions of the probability p."""
ADVERSARY = "64 points, correlation 0.1"
"""Name of the law that the default interval is not made for: a random probability that 64 points share."""
ALL_LAWS: dict[str, Callable[[float], EventLaw]] = {**LAWS, ADVERSARY: partial(clusters, n=64, correlation=0.1)}
"""The laws and the adversary's."""

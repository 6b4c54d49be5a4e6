"""Studies of intervals for probabilities: with fixed numbers of replicates, averaged, and of runs that stop.

All runs are drawn from laws of the number of events in a replicate (see `event_laws`). Intervals and looks are those of
`mcgen.inference.proportions` and `mcgen.inference.indicators`. ``python -m mcgen.validation proportions`` writes the
page.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betaincinv

from mcgen._lib.arrays import Floats
from mcgen.inference.indicators import half_widths, next_look
from mcgen.inference.interval_input import EventCounts, student_t_quantile
from mcgen.inference.proportions import proportion_interval
from mcgen.inference.tolerance import FIRST_STAGE, Tolerance
from mcgen.validation.studies.event_laws import ADVERSARY, ALL_LAWS, LAWS, PROBABILITIES, EventLaw
from mcgen.validation.studies.verdicts import FALSE_ALARM, Study, Verdict, acceptance_band, at_most, control
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

REPLICATES = (20, 32, 75, 250, 1600, 10_000)
"""Numbers of replicates of the studies with fixed ones."""
PROMISED = 0.94
"""Coverage that is promised to intervals of nominally 95 %."""
# Upper ends of the classes of cells by the expected number of events, or of non-events where these are fewer.
_CLASSES = (1.0, 5.0, 20.0, 100.0, math.inf)
_CLASS_NAMES = ("0 to 1", "1 to 5", "5 to 20", "20 to 100", "100 or more")
_MARKS = ("made by", "in words", "fixed", "averages", "stopping", "adversary")
Ends = Callable[[EventCounts], tuple[Floats, Floats]]
"""Makes the ends of 95 % intervals of counts, one component for each run."""


def matched(counts: EventCounts, cluster: int | None = None) -> tuple[Floats, Floats]:
    """Return the matched beta interval."""
    df = np.broadcast_to(np.asarray(counts.n_replicates - 1.0), counts.events.shape)
    return proportion_interval([counts], df, 0.95, cluster)


def student(counts: EventCounts) -> tuple[Floats, Floats]:
    """Return Student's t interval of the replicate means, the control."""
    r, mean = counts.n_replicates, counts.events * counts.per_event
    error = np.sqrt(counts.dispersion / (r - 1) / r) / counts.n_points
    t = student_t_quantile(0.975, np.asarray(r - 1.0))
    return mean - t * error, mean + t * error


@dataclass(frozen=True)
class Cell:
    """The outcome of simulated runs of one law.

    Attributes
    ----------
    law : str
        Name of the law.
    asked : str
        The number of replicates, or the tolerance.
    p : float
        The probability.
    events : float
        Expected number of events, or of non-events where these are fewer.
    hits, runs : int
        How many intervals hold the probability, and how many runs there are.
    cost : float
        Mean width over that of independent points' intervals, or evaluations over those of a fixed plan.
    """

    law: str
    asked: str
    p: float
    events: float
    hits: int
    runs: int
    cost: float

    @property
    def covered(self) -> float:
        """Share of the intervals that hold the probability."""
        return self.hits / self.runs


def _generator(seed: int, *key: object) -> NumpyGenerator:
    return default_rng(SeedSequence(seed, spawn_key=(zlib.crc32(repr(key).encode()),)))


def fixed(name: str, p: float, n_replicates: int, runs: int, seed: int, ends: Ends = matched) -> Cell:
    """Return the coverage of runs of so many replicates."""
    law = ALL_LAWS[name](p)
    rng = _generator(seed, name, p, n_replicates)
    counts = law.counts(law.draw(rng, n_replicates, runs), n_replicates)
    low, high = ends(counts)
    n_values = n_replicates * law.n_points
    plain = n_values * law.p
    usual = _clopper_pearson(plain, n_values - plain)
    hits = int(((low <= law.p) & (law.p <= high)).sum())
    events = min(plain, n_values - plain)
    return Cell(name, f"R = {n_replicates:,}", law.p, events, hits, runs, float((high - low).mean()) / usual / 2)


def _clopper_pearson(events: float, others: float) -> float:
    """Return half the length of Clopper and Pearson's interval; numbers need not be whole."""
    high = betaincinv(events + 1, others, 0.975)
    return float(high - betaincinv(events, others + 1, 0.025)) / 2


AVERAGES: dict[str, tuple[tuple[str, float, int, float], ...]] = {
    "4 conditions, independent points": tuple(("independent points", p, 100, 0.25) for p in (0.001, 0.004, 0.02, 0.1)),
    "the rarest weighs most": tuple(
        ("independent pairs", p, 60, h) for p, h in ((0.001, 0.6), (0.02, 0.3), (0.3, 0.1))
    ),
    "one of few replicates": (("pairs, even event", 0.02, 20, 0.5), ("pairs, even event", 0.02, 500, 0.5)),
    "nets and pairs": (("Sobol(64), ball", 0.004, 32, 0.3), ("pairs, correlation 0.5", 0.1, 75, 0.7)),
}
"""Averages over conditions: law, probability, number of replicates and weight of each."""


def averaged(name: str, runs: int, seed: int) -> Cell:
    """Return the coverage of the average over conditions."""
    rng, strata, truth, events = _generator(seed, name), [], 0.0, 0.0
    for which, p, n_replicates, weight in AVERAGES[name]:
        law = ALL_LAWS[which](p)
        strata.append(law.counts(law.draw(rng, n_replicates, runs), n_replicates, weight))
        truth += weight * law.p
        events += n_replicates * law.n_points * law.p
    variances = [
        (one.weight / one.n_points) ** 2 * one.dispersion / (one.n_replicates - 1) / one.n_replicates for one in strata
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = sum(variances) ** 2 / sum(v**2 / (one.n_replicates - 1) for v, one in zip(variances, strata, strict=True))
    low, high = proportion_interval(strata, np.where(np.isnan(df), np.inf, df), 0.95)
    hits = int(((low <= truth) & (truth <= high)).sum())
    return Cell(name, "", truth, events, hits, runs, math.nan)


def stopped(name: str, p: float, tolerance: Tolerance, runs: int, seed: int, ends: Ends | None = None) -> Cell:
    """Return the coverage and the cost of runs that stop by the tolerance.

    Parameters
    ----------
    name, p
        The law and its probability.
    tolerance : Tolerance
        With `atol` or `rtol`.
    runs, seed : int
        Number of runs, and their seed.
    ends : callable, optional
        Makes the interval that is watched; by default the matched beta interval.
    """
    law = ALL_LAWS[name](p)
    counts = run_to(law, tolerance, runs, _generator(seed, name, p, str(tolerance)), ends)
    low, high = (ends or matched)(counts)
    hits = int(((low <= law.p) & (law.p <= high)).sum())
    evaluations = float(np.mean(counts.n_replicates * law.n_points))
    cost = evaluations / plan(law.p, float(tolerance.wanted(np.array(law.p))))
    return Cell(name, str(tolerance), law.p, evaluations * min(law.p, 1 - law.p), hits, runs, cost)


def plan(p: float, half_width: float) -> float:
    """Return the number of independent points whose Clopper-Pearson interval has this half-width, if p is known."""

    def beyond(log_n: float) -> float:
        n = math.exp(log_n)
        return math.log(_clopper_pearson(n * p, n * (1 - p)) / half_width)

    return math.exp(brentq(beyond, math.log(1.0), math.log(1e13)))


def run_to(
    law: EventLaw, tolerance: Tolerance, runs: int, rng: NumpyGenerator, ends: Ends | None = None
) -> EventCounts:
    """Return the counts at which runs stop, one component for each run."""
    n = np.full(runs, FIRST_STAGE, dtype=np.int64)
    first, second = law.draw(rng, n, runs)
    running = np.arange(runs)
    while len(running):
        counts = law.counts((first[running], second[running]), n[running])
        if ends is None:
            half = half_widths(counts, 0.95)
        else:
            low, high = ends(counts)
            half = (high - low) / 2
        target = next_look(n[running], half, tolerance.wanted(counts.events * counts.per_event))
        more = target > 0
        running, target = running[more], target[more].astype(np.int64)
        fresh = law.draw(rng, target - n[running], len(running))
        first[running] += fresh[0]
        second[running] += fresh[1]
        n[running] = target
    return law.counts((first, second), n)


_STOPPING: tuple[tuple[float, Tolerance], ...] = (
    (0.001, Tolerance(rtol=0.5)),
    (0.02, Tolerance(rtol=0.2)),
    (0.3, Tolerance(rtol=0.1)),
    *((p, Tolerance(atol=float(f"{share * p:.3g}"))) for p in (1e-4, 0.02, 0.1) for share in (3, 1, 0.3)),
    (0.3, Tolerance(atol=0.03)),
    (0.5, Tolerance(atol=0.02)),
)
# Laws of runs that stop; p = 1 / 2 + p / n is not what tolerances here are for, so nearly exact designs are left out.
_STOPPED_LAWS = (
    "independent points",
    "independent pairs",
    "pairs, antithetic",
    "pairs, correlation 0.5",
    "pairs, even event",
    "8 points, correlation 0.2",
    "KAntithetic(8), ball",
    "LatinHypercube(16), half-space",
    "Sobol(16), ball",
    "Sobol(64), half-space",
    "Sobol(64), product",
    "Sobol(256), ball",
)

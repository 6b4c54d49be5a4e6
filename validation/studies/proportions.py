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

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import SeedSequence, default_rng
from scipy.optimize import brentq
from scipy.special import betaincinv

from mcgen._lib.arrays import Floats
from mcgen.inference.indicators import next_look, stopped_interval
from mcgen.inference.interval_input import EventCounts, student_t_quantile
from mcgen.inference.proportions import proportion_interval
from mcgen.inference.tolerance import FIRST_STAGE, Tolerance
from mcgen.validation.studies.event_laws import ADVERSARY, ALL_LAWS, LAWS, PROBABILITIES, EventLaw
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, least

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
    """Return the matched beta interval of runs with fixed numbers of replicates."""
    df = np.broadcast_to(np.asarray(counts.n_replicates - 1.0), counts.events.shape)
    return proportion_interval([counts], df, 0.95, cluster)


def any_dependence(counts: EventCounts) -> tuple[Floats, Floats]:
    """Return the matched beta interval that supposes clusters of all points of a replicate, w_0 = n."""
    return matched(counts, counts.n_points)


def no_clusters(counts: EventCounts) -> tuple[Floats, Floats]:
    """Return the matched beta interval that supposes no clusters, w_0 = 1: a control."""
    return matched(counts, 1)


def watched(counts: EventCounts) -> tuple[Floats, Floats]:
    """Return the interval of runs that stop by its length."""
    return stopped_interval(counts, 0.95)


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


def stopped(name: str, p: float, tolerance: Tolerance, runs: int, seed: int, ends: Ends = watched) -> Cell:
    """Return the coverage and the cost of runs that stop where half the length of their interval is small enough."""
    law = ALL_LAWS[name](p)
    counts = run_to(law, tolerance, runs, _generator(seed, name, p, str(tolerance)), ends)
    low, high = ends(counts)
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


def run_to(law: EventLaw, tolerance: Tolerance, runs: int, rng: NumpyGenerator, ends: Ends = watched) -> EventCounts:
    """Return the counts at which runs stop, one component for each run."""
    n = np.full(runs, FIRST_STAGE, dtype=np.int64)
    first, second = law.draw(rng, n, runs)
    running = np.arange(runs)
    while len(running):
        counts = law.counts((first[running], second[running]), n[running])
        low, high = ends(counts)
        half_width = (high - low) / 2
        target = next_look(n[running], half_width, tolerance.wanted(counts.events * counts.per_event))
        running, more = running[target > 0], target[target > 0].astype(np.int64)
        fresh = law.draw(rng, more - n[running], len(running))
        first[running] += fresh[0]
        second[running] += fresh[1]
        n[running] = more
    return law.counts((first, second), n)


TOLERANCES: tuple[tuple[float, Tolerance], ...] = (
    (0.001, Tolerance(rtol=0.5)),
    (0.02, Tolerance(rtol=0.2)),
    (0.3, Tolerance(rtol=0.1)),
    *((p, Tolerance(atol=float(f"{share * p:.3g}"))) for p in (1e-4, 0.02, 0.1) for share in (3, 1, 0.3)),
    (0.3, Tolerance(atol=0.03)),
    (0.5, Tolerance(atol=0.02)),
)
"""Probabilities and the tolerances that runs stop at."""
STOPPED_LAWS = (
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
"""Names of the laws of runs that stop."""


def fixed_replicates(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that the interval covers at least 0.94 with fixed numbers of replicates, and lies in [0, 1].

    Each verdict is on the least of the cells of a law. The controls are Student's t at few events, even events of pairs
    whose clusters are not supposed, and the default for the law that needs w_0 = n.
    """
    names = [*LAWS] if full else ["independent points", "pairs, even event", "Sobol(64), ball", "nearly exact pairs"]
    ps, counts, runs = (PROBABILITIES, REPLICATES, 20_000) if full else ((1e-4, 0.004, 0.1), (20, 250, 10_000), 3000)
    found = [_least(name, [fixed(name, p, n, runs, seed) for p in ps for n in counts]) for name in names]
    found.append(
        _least(
            f"{ADVERSARY}, w_0 = n,",
            [fixed(ADVERSARY, p, n, runs, seed, any_dependence) for p in ps for n in counts],
        )
    )
    few = fixed("independent points", 0.001, 250, 20_000, seed, student)
    even = fixed("pairs, even event", 0.02, 100, 20_000, seed, no_clusters)
    shared = fixed(ADVERSARY, 0.02, 20, 20_000, seed)
    return [
        *found,
        at_most("ends beyond [0, 1] by", _beyond(seed), 0.0),
        control(_least("Student's t on independent points,", [few])),
        control(_least("w_0 = 1 on pairs, even event,", [even])),
        control(_least(f"the default on {ADVERSARY},", [shared])),
    ]


def _beyond(seed: int) -> float:
    """Return by how much the ends of some intervals lie outside [0, 1] or on the wrong side of the estimate."""
    worst = 0.0
    for name, p in (("independent points", 1e-4), ("pairs, even event", 0.5), ("nearly exact pairs", 0.1)):
        law = ALL_LAWS[name](p)
        counts = law.counts(law.draw(_generator(seed, name), 20, 5000), 20)
        low, high = matched(counts)
        mean = counts.events * counts.per_event
        worst = max(worst, *(float(gap.max()) for gap in (-low, high - 1, low - mean, mean - high)))
    return worst


def averages(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that averages over conditions cover at least 0.94; the control has Student's t of one of them."""
    runs = 20_000 if full else 3000
    names = [*AVERAGES] if full else [*AVERAGES][:3]
    few = fixed("independent points", 0.004, 100, 20_000, seed, student)
    return [
        *(_least(f"the average, {name},", [averaged(name, runs, seed)]) for name in names),
        control(_least("Student's t on one condition", [few])),
    ]


def stopping(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that runs of boolean statistics cover at least 0.94 where they stop.

    The control looks at Student's interval, and stops where that is narrow enough.
    """
    names = STOPPED_LAWS if full else ("independent points", "pairs, even event", "Sobol(64), half-space")
    cells, runs = (TOLERANCES, 10_000) if full else ((TOLERANCES[0], TOLERANCES[4], TOLERANCES[8]), 2000)
    found = [_least(f"stopping on {name}", [stopped(name, *cell, runs, seed) for cell in cells]) for name in names]
    naive = stopped("independent points", 0.001, Tolerance(rtol=0.5), 10_000, seed, student)
    return [*found, control(_least("stopping by Student's t on independent points", [naive]))]


def _least(what: str, cells: Sequence[Cell]) -> Verdict:
    """Return the verdict on the least covered of some cells."""
    names = {f"p = {cell.p:.3g}{', ' if cell.asked else ''}{cell.asked}": cell for cell in cells}
    hits = {name: cell.hits for name, cell in names.items()}
    return least(what, hits, {name: cell.runs for name, cell in names.items()}, PROMISED)


STUDIES: dict[str, Study] = {
    "probabilities, fixed numbers of replicates": fixed_replicates,
    "probabilities, averages": averages,
    "probabilities, stopping at a tolerance": stopping,
}

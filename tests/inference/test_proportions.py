"""Intervals for probabilities: exact for independent points, inside [0, 1], symmetric, and how often they cover."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED
from numpy.random import default_rng
from scipy import stats

from mcgen.designs import LatinHypercube, Sobol
from mcgen.inference.interval_input import EventCounts
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.proportions import proportion_interval
from mcgen.validation.pages import proportions as page
from mcgen.validation.studies import event_laws
from mcgen.validation.studies.event_laws import EventLaw, clusters, even_pairs, independent, nearly_exact, pairs, under
from mcgen.validation.studies.proportions import REPLICATES, any_dependence, fixed, matched, no_clusters, student
from mcgen.validation.studies.verdicts import acceptance_band

LEVELS = (0.9, 0.95, 0.99, 0.999)


def counts_of(events, n_replicates: int, n: int = 1, dispersion=None, weight: float = 1.0) -> EventCounts:
    """Counts of runs with these numbers of events, of independent points where no dispersion is given."""
    events = np.atleast_1d(np.asarray(events, dtype=float))
    others = n_replicates * n - events
    spread = (
        events * others / (n_replicates * n) if dispersion is None else np.atleast_1d(np.asarray(dispersion, float))
    )
    return EventCounts(n_replicates, n, events, others, spread, weight)


def ends(counts: EventCounts, level: float = 0.95, cluster: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    df = np.full(counts.events.shape, counts.n_replicates - 1.0)
    return proportion_interval([counts], df, level, cluster)


def clopper_pearson(events: np.ndarray, n: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Clopper and Pearson's interval, by the quantiles of scipy's beta distribution."""
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(events == 0, 0.0, stats.beta.ppf(tail, events, n - events + 1))
        high = np.where(events == n, 1.0, stats.beta.isf(tail, events + 1, n - events))
    return low, high


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [2, 5, 32, 1000, 123_457])
def test_independent_points_have_clopper_and_pearsons_interval(n: int, level: float) -> None:
    events = np.unique(np.concatenate([np.arange(min(n, 30) + 1), n - np.arange(min(n, 30) + 1), [n // 2, n // 3]]))
    low, high = ends(counts_of(events, n), level)
    expected_low, expected_high = clopper_pearson(events.astype(float), n, level)
    assert low == pytest.approx(expected_low, rel=1e-9, abs=1e-300)
    assert high == pytest.approx(expected_high, rel=1e-9)
    assert 1 - high == pytest.approx(1 - expected_high, rel=1e-6, abs=1e-15)


def test_counts_are_those_of_the_replicates() -> None:
    numbers = np.array([[0, 4], [1, 4], [3, 2], [0, 4]])
    moments = Moments.of(ReplicateMeans(0, numbers / 4, np.zeros((4, 2)), numbers, 4))
    counts = EventCounts.of(moments, 4)
    assert counts.events.tolist() == [4, 14]
    assert counts.non_events.tolist() == [12, 2]
    assert counts.dispersion == pytest.approx([6.0, 3.0])
    assert counts.reflected().events.tolist() == [12, 2]


@pytest.mark.parametrize("n", [1, 2, 16, 256])
def test_no_events_are_bounded_whatever_the_dependence(n: int) -> None:
    """With w_0 = n and many replicates, no events give 1 - (alpha / 2)^(1 / R), the bound of replicates with an event."""
    low, high = ends(counts_of(0, 10_000_000, n), cluster=n)
    assert low[0] == 0
    assert high[0] == pytest.approx(-np.expm1(np.log(0.025) / 10_000_000), rel=1e-5)
    # With few replicates, f enlarges the variance.
    for n_replicates in (5, 20, 100):
        assert ends(counts_of(0, n_replicates, n), cluster=n)[1][0] >= -np.expm1(np.log(0.025) / n_replicates) - 1e-12


@pytest.mark.parametrize("cluster", [None, 1, 64])
@pytest.mark.parametrize("level", LEVELS)
def test_intervals_lie_in_the_unit_interval_around_the_estimate(level: float, cluster: int | None) -> None:
    rng = default_rng(SEED)
    for n in (1, 2, 8, 64):
        for n_replicates in (2, 5, 33, 1000):
            shares = rng.beta(0.3, 0.3, size=(400, 1)) ** rng.integers(1, 4, size=(400, 1))
            numbers = rng.binomial(n, shares, size=(400, n_replicates)).astype(float)
            numbers[:3] = [[0.0], [n], [n // 2]]
            dispersion = ((numbers - numbers.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
            counts = counts_of(numbers.sum(axis=1), n_replicates, n, dispersion)
            low, high = ends(counts, level, cluster)
            mean = counts.events / (n * n_replicates)
            assert (low >= 0).all()
            assert (high <= 1).all()
            assert (low <= mean).all()
            assert (mean <= high).all()
            assert (low[counts.events == 0] == 0).all()
            assert (high[counts.non_events == 0] == 1).all()
            # Events and non-events change places.
            other_low, other_high = ends(counts.reflected(), level, cluster)
            assert other_low == pytest.approx(1 - high, abs=1e-12)
            assert other_high == pytest.approx(1 - low, abs=1e-12)


def test_more_events_and_higher_levels_move_the_ends() -> None:
    for n in (1, 2, 64):
        events = np.arange(20 * n + 1)
        low, high = ends(counts_of(events, 20, n))
        if n == 1:
            assert (np.diff(low) > 0).all()
            assert (np.diff(high) > 0).all()
        for narrow, wide in pairwise(LEVELS):
            inner, outer = ends(counts_of(events, 20, n), narrow), ends(counts_of(events, 20, n), wide)
            assert (outer[0] <= inner[0]).all()
            assert (outer[1] >= inner[1]).all()
        clustered = ends(counts_of(events, 20, n), cluster=n)
        assert (clustered[1] - clustered[0] >= high - low - 1e-12).all()


@pytest.mark.parametrize("n", [1, 16])
def test_large_numbers_do_not_cancel(n: int) -> None:
    """For N up to 1e12 the ends are as far from the estimate as those of the Poisson distribution."""
    for total in (10**6, 10**9, 10**12):
        for events in (1, 3, 40):
            few = counts_of(events, total // n, n)
            low, high = ends(few, cluster=1)
            assert low[0] * total == pytest.approx(stats.gamma.ppf(0.025, events), rel=1e-3)
            assert high[0] * total == pytest.approx(stats.gamma.ppf(0.975, events + 1), rel=1e-3)
            # Near 1 the distances from it are differences of near numbers, and right to their last digits.
            low, high = ends(few.reflected(), cluster=1)
            assert (1 - high[0]) * total == pytest.approx(stats.gamma.ppf(0.025, events), rel=1e-3, abs=total * 2e-16)
            assert (1 - low[0]) * total == pytest.approx(stats.gamma.ppf(0.975, events + 1), rel=1e-3)


def test_strata_of_one_run_are_nearly_the_run() -> None:
    """Two halves of a run count their events together; each half supposes clusters, so the interval is a bit wider."""
    for n in (1, 2, 16):
        events = np.array([4, 20, 60])
        whole = ends(counts_of(events, 200, n))
        half = counts_of(events / 2, 100, n, weight=0.5)
        low, high = proportion_interval([half, half], np.full(3, 198.0), 0.95)
        ratio = (high - low) / (whole[1] - whole[0])
        assert (ratio > 0.99).all()
        assert (ratio < 1.3).all()
        assert (ratio[-1], high[-1]) == (pytest.approx(1, abs=0.03), pytest.approx(whole[1][-1], rel=0.03))
    # A stratum without weight does not count, and one without events adds what it may hide.
    some, none = counts_of(5, 100, weight=0.5), counts_of(0, 100, weight=0.5)
    alone = ends(counts_of(5, 100))
    low, high = proportion_interval([some, none], np.array([99.0]), 0.95)
    assert 0 < low[0] < 2.5 / 100 < high[0] < alone[1][0]
    lone_low, lone_high = proportion_interval(
        [counts_of(5, 100, weight=1.0), counts_of(0, 100, weight=0.0)], np.array([99.0]), 0.95
    )
    assert (lone_low[0], lone_high[0]) == (pytest.approx(alone[0][0]), pytest.approx(alone[1][0]))


def test_many_events_give_students_interval() -> None:
    rng = default_rng(SEED)
    numbers = rng.binomial(64, 0.3, size=(1, 5000)).astype(float)
    counts = counts_of(numbers.sum(), 5000, 64, 4999 * numbers.var(ddof=1))
    for interval, expected in zip(ends(counts), student(counts), strict=True):
        assert interval == pytest.approx(expected, abs=0.02 * (student(counts)[1] - student(counts)[0])[0])


def test_replicates_that_never_vary_may_deviate_by_one_event() -> None:
    """All of 32 nets have half of their points in the event: one more in one of them may have been missed."""
    counts = counts_of(32 * 32, 32, 64, 0.0)
    low, high = ends(counts)
    assert 2.9 <= (high[0] - 0.5) * 32 * 64 <= 3.2
    assert high[0] - 0.5 == pytest.approx(0.5 - low[0])
    # Clusters that are believed in make it more.
    assert 8 * 2.9 <= (ends(counts, cluster=8)[1][0] - 0.5) * 32 * 64 <= 8 * 3.2


# Declared before they were measured: laws, probabilities and numbers of replicates of the studies are others.
_CORRELATIONS = default_rng(20260101).uniform(-0.95, 0.95, 3).round(2).tolist()
LAWS: dict[str, list[EventLaw]] = {
    "independent": [independent(p) for p in (2e-4, 0.0025, 0.015, 0.12, 0.4, 0.93)],
    **{f"pairs of {r}": [pairs(p, r) for p in (2e-4, 0.0025, 0.015, 0.12, 0.4, 0.93)] for r in _CORRELATIONS},
    "even pairs": [even_pairs(p) for p in (2e-4, 0.0025, 0.015, 0.12, 0.4, 0.93)],
    "antithetic near a half": [pairs(p, -1.0) for p in (0.47, 0.495, 0.502, 0.52)],
    "nearly exact of 16": [nearly_exact(p, 16) for p in (0.002, 0.01, 0.05, 0.4)],
    "clusters in 4": [clusters(p, 4, 0.15) for p in (2e-4, 0.0025, 0.015, 0.12, 0.4)],
}
DESIGNS = {
    "nets of 16": (Sobol(16), "box"),
    "nets of 64": (Sobol(64), "half-space"),
    "nets of 256": (Sobol(256), "product"),
    "Latin hypercubes": (LatinHypercube(25), "ball"),
}
COUNTS = (20, 45, 130, 700, 10_000)
RUNS = 4000
ADVERSARY = clusters(0.03, 64, 0.1)


def covered(law: EventLaw, n_replicates: int, interval=matched) -> float:
    rng = default_rng([SEED, n_replicates, law.n_points, int(1e7 * law.p)])
    low, high = interval(law.counts(law.draw(rng, n_replicates, RUNS), n_replicates))
    return float(((low <= law.p) & (law.p <= high)).mean())


def least_accepted(n_cells: int) -> float:
    """Least share that is accepted for 0.94: with one false alarm in a million for all cells together."""
    return acceptance_band(RUNS, 0.94, 1e-6 / n_cells, at_least=True)[0]


@pytest.mark.study
def test_probabilities_are_covered() -> None:
    cells = [(name, law, n) for name, laws in LAWS.items() for law in laws for n in COUNTS]
    limit = least_accepted(len(cells))
    found = {(name, law.p, n): covered(law, n) for name, law, n in cells}
    assert {key: share for key, share in found.items() if share < limit} == {}


@pytest.mark.study
def test_probabilities_under_designs_are_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_laws, "_POOL_POINTS", 2**18)
    event_laws._pool.cache_clear()
    limit = least_accepted(len(DESIGNS) * 5 * len(COUNTS))
    found = {}
    for name, (design, event) in DESIGNS.items():
        for law in (under(p, design, event) for p in event_laws.PROBABILITIES[1:6]):
            found |= {(name, law.p, n): covered(law, n) for n in COUNTS}
    event_laws._pool.cache_clear()
    assert {key: share for key, share in found.items() if share < limit} == {}


@pytest.mark.study
def test_controls_cover_too_rarely() -> None:
    limit = least_accepted(1)
    assert covered(independent(0.0025), 130, student) < limit
    assert covered(even_pairs(0.015), 130, no_clusters) < limit
    # Points that share a random effect are named in the documentation: the default is not enough, n is.
    assert covered(ADVERSARY, 20) < limit
    assert covered(ADVERSARY, 20, any_dependence) >= limit
    # Without the event by which replicates may deviate.
    assert covered(nearly_exact(0.013, 16), 130, _without_deviations) < limit


def _without_deviations(counts: EventCounts) -> tuple[np.ndarray, np.ndarray]:
    class Plain(EventCounts):
        def least_shift(self, prior: float) -> np.ndarray:
            return np.zeros_like(self.dispersion)

        def reflected(self) -> EventCounts:
            return Plain(*vars(super().reflected()).values())

    return matched(Plain(*vars(counts).values()))


@pytest.mark.study
def test_weighted_averages_are_covered() -> None:
    """Conditions of unequal weights, probabilities and designs; a control forgets the rarest condition."""
    parts = [(independent(0.001), 90, 0.5), (even_pairs(0.02), 40, 0.3), (clusters(0.2, 8, 0.1), 25, 0.2)]
    rng = default_rng(SEED)
    counts = [law.counts(law.draw(rng, n, RUNS), n, weight) for law, n, weight in parts]
    truth = sum(weight * law.p for law, _, weight in parts)
    errors = [(c.weight / c.n_points) ** 2 * c.dispersion / (c.n_replicates - 1) / c.n_replicates for c in counts]
    with np.errstate(invalid="ignore"):
        df = sum(errors) ** 2 / sum(v**2 / (c.n_replicates - 1) for v, c in zip(errors, counts, strict=True))
    low, high = proportion_interval(counts, np.nan_to_num(df, nan=np.inf), 0.95)
    assert ((low <= truth) & (truth <= high)).mean() >= least_accepted(1)
    assert (low >= 0).all()
    assert (high <= 1).all()


def test_cells_of_studies_are_their_own() -> None:
    cell = fixed("independent points", 0.02, REPLICATES[1], 500, 1)
    assert cell == fixed("independent points", 0.02, REPLICATES[1], 500, 1)
    assert (cell.events, cell.runs) == (pytest.approx(0.64), 500)
    assert cell.cost == pytest.approx(1, abs=0.1)


def test_the_page_is_written_where_all_laws_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "LAWS", {"independent points": independent, "pairs, even event": even_pairs})
    monkeypatch.setattr(page, "STOPPED_LAWS", ("independent points",))
    monkeypatch.setattr(page, "AVERAGES", ("the rarest weighs most",))
    monkeypatch.setattr(page, "averaged", lambda name, runs, seed: fixed("independent points", 0.1, 20, runs, seed))
    (tmp_path / "validation").mkdir()
    path = tmp_path / "validation" / "proportions.md"
    path.write_text("".join(f"<!-- {mark} -->\n<!-- end -->\n" for mark in page._MARKS))
    empty = path.read_text()
    page.write_page(tmp_path, only="even", runs=40)
    assert path.read_text() == empty
    assert "| pairs, even event | 0." in capsys.readouterr().out
    page.write_page(tmp_path, runs=40)
    text = path.read_text()
    assert text.count("| independent points | 0.") == 2
    assert "- runs that stop: least coverage" in text
    assert "Each cell has 40 runs, and 20 where runs stop." in text

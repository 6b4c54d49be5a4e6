"""Statistical promises, simulated: coverage, efficiencies known in closed form, and controls that must fail."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import FALSE_ALARM, SEED, Z_LIMIT, z_score
from scipy.special import ndtr

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, NoiseSpec, Sobol
from mcgen.coverage import EXAMPLE_COVERAGE, EXAMPLE_SKEWNESS, coverage_warnings, warned_of
from mcgen.moments import Moments, ReplicateMeans

pytest.importorskip("statsmodels")

from mcgen.validation import coverage_map, interval_studies
from mcgen.validation.coverage import coverage_study, replicate_means, simulate, studied
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.verdicts import acceptance_band

LOW, HIGH = acceptance_band(12000, false_alarm=FALSE_ALARM)


# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:the replicate means")


@pytest.mark.parametrize("n_replicates", [5, 25])
def test_student_t_covers_on_normal_replicate_means(n_replicates: int) -> None:
    """The means of antithetic pairs are exactly N(0, 1): the nominal level is the true one, also for 5 of them."""
    study = coverage_study(
        PROBLEMS["normal-pairs"], Antithetic(), "student-t", n_replicates=n_replicates, repetitions=12000, seed=SEED
    )
    assert LOW <= study.covered <= HIGH
    assert study.low <= study.covered <= study.high
    assert abs(study.bias) < Z_LIMIT


def test_the_coverage_check_rejects_points_taken_as_independent() -> None:
    """Negative control: pairs z, +z taken as 2 R independent points cover P(|t| sqrt 2 <= 1.98), about 0.83."""
    means = replicate_means(PROBLEMS["linear"], MonteCarlo(), 12000 * 25, SEED).reshape(12000, 25)
    twice = np.repeat(means, 2, axis=1)
    half = 2.0096 * twice.std(axis=1, ddof=1) / np.sqrt(50)
    assert (np.abs(twice.mean(axis=1)) <= half).mean() < LOW


@pytest.mark.parametrize("n_replicates", [*EXAMPLE_COVERAGE])
def test_skewed_pairs_cover_as_the_warning_says(n_replicates: int) -> None:
    """The warning's figures, to a point or so: of Student t, and of the interval that it recommends."""
    runs = 40_000 if n_replicates < 200 else 10_000
    for method, told in zip(("student-t", "skewness-adjusted-t"), EXAMPLE_COVERAGE[n_replicates], strict=True):
        study = coverage_study(
            PROBLEMS["exponential"], Antithetic(), method, n_replicates=n_replicates, repetitions=runs, seed=SEED
        )
        assert abs(study.covered - told) < 0.005 + Z_LIMIT * np.sqrt(told * (1 - told) / runs)


def test_the_example_of_the_warning_has_the_skewness_that_it_says() -> None:
    """Of cosh(w/2), from E cosh^k(w/2) in closed form."""
    e = [np.exp(k**2 / 8) for k in range(4)]
    m1, m2, m3 = e[1], (1 + e[2]) / 2, (3 * e[1] + e[3]) / 4
    variance = m2 - m1**2
    assert round((m3 - 3 * m1 * m2 + 2 * m1**3) / variance**1.5, 1) == EXAMPLE_SKEWNESS


def test_advice_goes_by_the_interval_in_use() -> None:
    """And the figures by the replicates for their skewness: 200 of skewness 9.8 are as few as 25 of skewness 3.4."""
    means = np.zeros((200, 1))
    means[:2] = 1.0
    moments = Moments.of(ReplicateMeans(0, means, np.zeros_like(means), None, 1))
    told = {method: coverage_warnings(moments, ["x"], 0.0, method)[0] for method in ("student-t", "bootstrap-t", None)}
    assert all("covered 0.89 by Student t and 0.94 by skewness-adjusted t" in text for text in told.values())
    assert "or interval='skewness-adjusted-t', unless" in told["student-t"]
    for method in ("bootstrap-t", None):
        assert told[method].endswith("Use more replicates")


def test_a_study_says_all_that_it_measured() -> None:
    study = coverage_study(
        PROBLEMS["exponential"], Antithetic(), "student-t", n_replicates=30, repetitions=3000, seed=SEED
    )
    assert (study.problem, study.design, study.interval) == ("exponential", "Antithetic()", "student-t")
    assert study.covered + study.missed_below + study.missed_above == pytest.approx(1)
    assert study.missed_below > 5 * study.missed_above  # means of long upper tails lie low
    assert (study.intervals, study.hits) == (3000, round(3000 * study.covered))
    assert abs(study.bias) < Z_LIMIT * study.bias_error
    # Runs that do not look skewed miss the more often.
    assert 0 < study.silent < 0.2
    assert study.covered_in_silence < study.covered - 0.03


def test_runs_warn_in_a_study_as_in_an_estimate() -> None:
    problem, n = PROBLEMS["exponential"], 30
    found = simulate(problem, Antithetic(), 200 * n, SEED)
    means, within = found.runs(n, 200)
    for run in range(0, 200, 9):
        moments = Moments.of(ReplicateMeans(0, means[:, run, None], within[:, run, None], None, 2))
        told = coverage_warnings(moments, ["x"], found.rounding)
        assert bool(told) == warned_of(moments, found.rounding)[0]
    study = studied(found, "student-t", n, 200, SEED)
    assert study.silent == pytest.approx(
        1 - warned_of(Moments.of(ReplicateMeans(0, means, within, None, 2)), found.rounding).mean()
    )


def test_bootstraps_that_find_no_end_are_counted_apart() -> None:
    """Of a rare event: in few of the runs enough replicates vary."""
    rare = replace(PROBLEMS["square"], statistic=lambda x: (x[:, 0] > 4).astype(float), truth=float(2 * ndtr(-2)))
    options = {"n_replicates": 8, "repetitions": 500, "seed": SEED}
    study = coverage_study(rare, MonteCarlo(), "bootstrap-t", **options)
    # A run without any event gets an interval of no width; with one, an eighth to the eighth of its resamples is all events.
    assert 0.2 < study.refused < 0.5
    assert study.intervals == round(500 * (1 - study.refused))
    assert coverage_study(rare, MonteCarlo(), "student-t", **options).refused == 0


def test_integrated_exactly_is_covered() -> None:
    """Pairs of a linear statistic have no variance: the interval is a point, at the truth but for rounding."""
    study = coverage_study(PROBLEMS["linear"], Antithetic(), "student-t", n_replicates=5, repetitions=100, seed=SEED)
    assert (study.covered, study.silent) == (1.0, 0.0)
    shifted = replace(PROBLEMS["linear"], truth=1e-9)
    study = coverage_study(shifted, Antithetic(), "student-t", n_replicates=5, repetitions=100, seed=SEED)
    assert study.covered == 0


def test_an_executor_changes_no_bit() -> None:
    options = {"n_replicates": 10, "repetitions": 2500, "seed": SEED}
    alone = coverage_study(PROBLEMS["exponential"], Sobol(8), "bootstrap-t", **options)
    with ThreadPoolExecutor(2) as threads:
        assert coverage_study(PROBLEMS["exponential"], Sobol(8), "bootstrap-t", executor=threads, **options) == alone
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        found = simulate(PROBLEMS["exponential"], Sobol(8), 3000, SEED, executor=processes)
    assert (found.means == simulate(PROBLEMS["exponential"], Sobol(8), 3000, SEED).means).all()


@pytest.mark.parametrize("wrong", [{"n_replicates": 1}, {"repetitions": 1}])
def test_studies_refuse_too_little(wrong: dict[str, int]) -> None:
    options = {"n_replicates": 5, "repetitions": 10} | wrong
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least 2; got 1"):
        coverage_study(PROBLEMS["square"], MonteCarlo(), "student-t", seed=0, **options)


@pytest.mark.parametrize("title", [*interval_studies.STUDIES])
def test_the_studies_of_intervals_hold(title: str) -> None:
    """In their short form; each has a negative control among its verdicts."""
    verdicts = interval_studies.STUDIES[title](False, SEED)
    assert [verdict for verdict in verdicts if not verdict.holds] == []


def test_the_map_of_coverage_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one: two problems, one measured again into the table that is there."""
    small = {name: PROBLEMS[name] for name in ("normal-pairs", "exponential")}
    monkeypatch.setattr(coverage_map, "PROBLEMS", small)
    monkeypatch.setattr(coverage_map, "REPETITIONS", 100)
    monkeypatch.setattr(coverage_map, "DESIGNS", (Antithetic(), Sobol(16)))
    monkeypatch.setattr(coverage_map.cells, "__defaults__", (100,))
    folder = tmp_path / "validation"
    folder.mkdir()
    page = folder / "coverage.md"
    (tmp_path / "interval.md").write_text("<!-- skewed pairs -->\n<!-- end -->")
    marks = ("made by", "in words", "by replicates", "least covered", "problems")
    page.write_text("\n".join(f"<!-- {mark} -->\n<!-- end -->" for mark in marks))
    coverage_map.write_map(folder)
    first = coverage_map.stored(folder / "coverage.csv")
    assert len(first) == 2 * 2 * 5 * 4
    assert [*first["problem"].unique()] == [*small]
    coverage_map.write_map(folder, only="exponential", seed=1)
    second = coverage_map.stored(folder / "coverage.csv")
    kept, again = (second["problem"] == name for name in small)
    assert second[kept].equals(first[kept])
    assert not second[again].equals(first[again])
    assert (folder / "coverage.png").stat().st_size > 10_000
    text = page.read_text()
    assert "**Student t** covers less than 0.93 in" in text
    assert "`python -m mcgen.validation coverage` with seed 1" in text
    assert "| exponential | Antithetic() | 25 |" in text
    assert (tmp_path / "interval.md").read_text().count("\n| ") == 7


def test_antithetic_efficiency_is_one_over_one_plus_rho() -> None:
    """S = w + c w^2: odd variance 1, even variance 2 c^2, so rho = (2 c^2 - 1) / (2 c^2 + 1) exactly."""
    c = 0.5
    rho = (2 * c**2 - 1) / (2 * c**2 + 1)
    generator = mcgen.as_generator(lambda z: z + c * z**2, NoiseSpec.normal((1,), "float64"))
    result = mcgen.estimate(
        generator,
        lambda x: x[:, 0],
        design=Antithetic(),
        n_replicates=40000,
        seed=SEED,
        confidence_level=1 - FALSE_ALARM,
    )
    value, interval = result.relative_efficiency()
    assert interval.low < 1 / (1 + rho) < interval.high
    assert value == pytest.approx(1 / (1 + rho), rel=0.06)
    assert not interval.low < 1 / (1 - rho) < interval.high  # negative control: the sign of rho matters


class SamePoints(Antithetic):
    """A broken design: pairs z, +z."""

    def _draw_block(self, pieces, replicates: range, points: range) -> np.ndarray:
        return np.repeat(super()._draw_block(pieces, replicates, range(1)), 2, axis=1)[:, points.start : points.stop]


def test_the_efficiency_check_rejects_pairs_of_the_same_point() -> None:
    """Negative control: z, +z is half as good as Monte Carlo, far from 1 / (1 + rho)."""
    generator = mcgen.as_generator(lambda z: z + 0.5 * z**2, NoiseSpec.normal((1,), "float64"))
    result = mcgen.estimate(generator, lambda x: x[:, 0], design=SamePoints(), n_replicates=40000, seed=SEED)
    value, interval = result.relative_efficiency(confidence_level=1 - FALSE_ALARM)
    assert value == pytest.approx(0.5)
    assert interval.high < 1


@pytest.mark.parametrize("k", [3, 8])
def test_k_antithetic_variance_is_the_hermite_sum(k: int) -> None:
    """S = He_1 + He_2 / sqrt(2) + He_3 / sqrt(6), a third of the variance each:
    k Var(mean) / sigma^2 = sum_j w_j (1 + (-1)^j (k - 1)^(1 - j))."""

    def hermite(z: np.ndarray) -> np.ndarray:
        return z + (z**2 - 1) / np.sqrt(2) + (z**3 - 3 * z) / np.sqrt(6)

    expected = sum((1 + (-1) ** j * (k - 1.0) ** (1 - j)) / 3 for j in (1, 2, 3)) * 3 / k
    z = np.asarray(KAntithetic(k).draw(NoiseSpec.normal((1,), "float64"), 40000, SEED))
    means = hermite(z[..., 0]).mean(axis=1)
    assert abs(z_score(means**2, expected)) < Z_LIMIT
    assert abs(z_score(means, 0.0)) < Z_LIMIT


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), KAntithetic(4), Sobol(8)], ids=str)
@pytest.mark.parametrize("name", ["linear", "normal-pairs", "exponential", "square"])
def test_means_are_unbiased(design: mcgen.Design, name: str) -> None:
    means = replicate_means(PROBLEMS[name], design, 40000, SEED)
    if means.std() < 1e-9:
        assert np.allclose(means, PROBLEMS[name].truth)
    else:
        assert abs(z_score(means, PROBLEMS[name].truth)) < Z_LIMIT


def test_hidden_noise_is_caught_while_it_widens_nothing() -> None:
    """Negative control for the generator's law: hidden noise of a tenth of the signal is seen by the check."""
    rng = np.random.default_rng(SEED)
    generator = mcgen.as_generator(lambda z: z + 0.1 * rng.standard_normal(z.shape), (4,))
    with pytest.warns(mcgen.GeneratorWarning):
        mcgen.estimate(generator, lambda x: x.mean(axis=1), design=MonteCarlo(), n_evaluations=640, seed=SEED)

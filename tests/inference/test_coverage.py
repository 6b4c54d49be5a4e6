"""Studies of coverage: what they count, what they refuse, the figures in warnings, and the map."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from scipy.special import ndtr

import mcgen
from mcgen import Antithetic, Design, MonteCarlo, Sobol
from mcgen.inference.coverage import EXAMPLE_COVERAGE, EXAMPLE_SKEWNESS, coverage_warnings
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.validation.pages import coverage as coverage_map
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies.coverage import coverage_study, simulate, studied

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


@pytest.mark.parametrize("n_replicates", [*EXAMPLE_COVERAGE])
@pytest.mark.study
def test_skewed_pairs_cover_as_the_warning_says(n_replicates: int) -> None:
    """The warning's figures, to a point or so: of Student t, and of the interval that it recommends."""
    runs = 40_000 if n_replicates < 200 else 10_000
    for method, told in zip(("student-t", "skewness-safe-t"), EXAMPLE_COVERAGE[n_replicates], strict=True):
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
    """And the figures by the replicates for their skewness: 200 of skewness 8 are as few as 36 of skewness 3.4."""
    means = np.zeros((200, 1))
    means[:3] = 1.0
    moments = Moments.of(ReplicateMeans(0, means, np.zeros_like(means), None, 1))
    methods = ("student-t", "skewness-adjusted-t", "bootstrap-t", "skewness-safe-t", "bootstrap-max-t")
    told = {method: coverage_warnings(moments, ["x"], 0.0, method) for method in methods}
    # A skewness-safe interval needs 1.5 replicates for each unit of squared skewness, the others 25.
    assert told.pop("skewness-safe-t") == []
    figures = (
        "In simulations with as few replicates for their skewness (25 of skewness 3.4), 95 % Student t intervals covered "
        "the truth 89 % of the time, and skewness-safe ones 95 %."
    )
    assert all(figures in text for [text] in told.values())
    for method in ("student-t", "skewness-adjusted-t"):
        assert told[method][0].endswith("Use more replicates, or interval='skewness-safe-t'")
    for method in ("bootstrap-t", "bootstrap-max-t"):
        assert told[method][0].endswith("Use more replicates")


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
    runs, rounding = found.runs(n, 200), found.facts.rounding
    for method in ("student-t", "skewness-safe-t"):
        warned = []
        for run in range(200):
            means, within = runs.means[:, run, None], runs.within[:, run, None]
            moments = Moments.of(ReplicateMeans(0, means, within, None, 2))
            warned.append(bool(coverage_warnings(moments, ["x"], rounding, method)))
        assert studied(found, method, n, 200, SEED).silent == pytest.approx(1 - np.mean(warned))


@pytest.mark.parametrize(
    ("name", "design"), [("bernoulli-0.02", Sobol(64)), ("square", Sobol(64)), ("square", Sobol(16))]
)
def test_a_study_of_the_default_has_the_intervals_of_estimates(name: str, design: Design) -> None:
    problem, n = PROBLEMS[name], 12
    study = coverage_study(problem, design, None, n_replicates=n, repetitions=2, seed=SEED)
    assert study.interval == "default"
    options = {"design": design, "seed": SEED, "keep_replicates": True}
    whole = mcgen.estimate(problem.generator, problem.statistic, n_replicates=2 * n, **options)
    part = mcgen.estimate(problem.generator, problem.statistic, replicates=range(n, 2 * n), **options)
    first = mcgen.estimate(problem.generator, problem.statistic, n_replicates=n, **options)
    assert whole.replicate_means[n:] == pytest.approx(part.replicate_means, rel=1e-5)
    assert study.half_width == pytest.approx((first.half_width + part.half_width) / 2, rel=1e-5)


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


EXPONENTIAL = PROBLEMS["exponential"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_replicates": 1}, "n_replicates must be at least 2; got 1"),
        ({"n_replicates": 2.5}, "n_replicates must be an int; got 2.5"),
        ({"repetitions": 1}, "repetitions must be at least 2; got 1"),
        ({"confidence_level": 95}, "for 95 % write 0.95"),
        ({"confidence_level": 0}, "must lie between 0 and 1"),
        ({"confidence_level": "a"}, "confidence_level must be a number"),
        (
            {"interval": "t"},
            "interval must be one of student-t, .*, or None for the one that suits each component; got 't'",
        ),
        ({"interval": "bonferroni"}, "got 'bonferroni'"),
        (
            {"problem": "exponential"},
            "problem must be an mcgen.validation.Problem; got 'exponential'. Take one of PROBLEMS",
        ),
        ({"problem": replace(EXPONENTIAL, truth=np.nan)}, "truth must be finite, .* 'exponential' has nan"),
        (
            {"problem": replace(EXPONENTIAL, truth_error=-1.0)},
            "truth must be finite, and its error finite and at least 0",
        ),
        (
            {"problem": replace(EXPONENTIAL, statistic=lambda x: np.hstack([x, x]))},
            "one number a sample; .* gives 2. Study",
        ),
        ({"design": Antithetic}, "design must satisfy mcgen.Design; got"),
        ({"design": "antithetic"}, "pass one such as mcgen.Antithetic"),
        ({"executor": 3}, "executor must be a concurrent.futures.Executor or None; got 3"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"interval": "bootstrap-t", "n_replicates": 3}, "bootstrap-t needs at least 5 replicates; got 3"),
    ],
)
def test_studies_refuse(wrong: dict[str, object], message: str) -> None:
    options = {"problem": EXPONENTIAL, "design": Antithetic(), "interval": "student-t", "n_replicates": 5} | wrong
    options = {"repetitions": 10, "seed": 0} | options
    with pytest.raises((TypeError, ValueError), match=message):
        coverage_study(options.pop("problem"), options.pop("design"), options.pop("interval"), **options)


def test_simulated_replicates_refuse_what_they_are_too_few_for() -> None:
    found = simulate(EXPONENTIAL, Antithetic(), 20, SEED)
    with pytest.raises(ValueError, match="3 runs of 10 take 30 replicates; there are 20"):
        studied(found, "student-t", 10, 3, SEED)
    for n, message in ((1, "n_replicates must be at least 2"), (20, "repetitions must be at least 2")):
        with pytest.raises(ValueError, match=message):
            studied(found, "student-t", n, 1, SEED)
    with pytest.raises(ValueError, match="n, the number of replicates, must be at least 1; got 0"):
        simulate(EXPONENTIAL, Antithetic(), 0, SEED)


def test_a_truths_own_error_is_part_of_the_bias() -> None:
    options = {"n_replicates": 5, "repetitions": 100, "seed": SEED}
    exact = coverage_study(EXPONENTIAL, Antithetic(), "student-t", **options)
    simulated = coverage_study(replace(EXPONENTIAL, truth_error=0.1), Antithetic(), "student-t", **options)
    assert simulated.bias_error == pytest.approx(np.hypot(exact.bias_error, 0.1))


def small_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> Path:
    """A folder with the pages, and a map of few problems and designs."""
    monkeypatch.setattr(coverage_map, "PROBLEMS", {name: PROBLEMS[name] for name in names})
    monkeypatch.setattr(coverage_map, "DESIGNS", (Antithetic(), Sobol(16)))
    folder = tmp_path / "validation"
    folder.mkdir()
    marks = ("made by", "in words", "by replicates", "least covered", "problems")
    (folder / "coverage.md").write_text("\n".join(f"<!-- {mark} -->\n<!-- end -->" for mark in marks))
    (tmp_path / "explanation").mkdir()
    (tmp_path / "explanation" / "interval.md").write_text("<!-- skewed pairs -->\n<!-- end -->")
    return folder


def test_the_map_of_coverage_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("normal-pairs", "exponential", "bernoulli-0.02", "line-256-clipped", "affine-mean")
    pytest.importorskip("matplotlib")
    folder = small_map(tmp_path, monkeypatch, names)
    coverage_map.write_map(folder, repetitions=100)
    first = coverage_map.stored(folder / "coverage.csv")
    # The largest problem has no runs of 200 replicates.
    assert len(first) == (len(names) * 5 - 1) * 2 * 6
    assert [*first["problem"].unique()] == [*names]
    text = (folder / "coverage.md").read_text()
    assert "`python -m mcgen.validation coverage` with seed 0" in text
    assert "Each cell is 100 runs." in text
    # Pairs integrate an affine mean exactly, and 25 replicates of 2 points hold a rare event once: neither is counted.
    assert "Cells in which an interval covers less than 0.93" in text
    below = text.partition("| interval | R = 5 |")[2]
    assert " of 7; least " in below.partition("| Student t | ")[2].splitlines()[0]
    assert "| interval | 0 to 4 events |" in text
    assert "| exponential | Antithetic() | 25 |" in text
    assert "| bernoulli-0.02 | Antithetic() |" not in text
    pairs = (tmp_path / "explanation" / "interval.md").read_text()
    assert pairs.count("\n| ") == 7
    of_pairs = first[(first["problem"] == "exponential") & (first["design"] == "Antithetic()")]
    covered = of_pairs.set_index(["interval", "n_replicates"])["covered"]
    assert f"| 25 | {covered['default', 25]:.3f} | {covered['student-t', 25]:.3f} |" in pairs
    assert (folder / "coverage.png").stat().st_size > 10_000


def test_a_part_of_the_map_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What made the others stays as it was said."""
    pytest.importorskip("matplotlib")
    folder = small_map(tmp_path, monkeypatch, ("normal-pairs", "exponential"))
    coverage_map.write_map(folder, repetitions=50)
    first = coverage_map.stored(folder / "coverage.csv")
    coverage_map.write_map(folder, only="exponential", seed=1, repetitions=50)
    second = coverage_map.stored(folder / "coverage.csv")
    kept, again = (second["problem"] == name for name in ("normal-pairs", "exponential"))
    assert second[kept].equals(first[kept])
    assert not second[again].equals(first[again])
    assert "with seed 0" in (folder / "coverage.md").read_text()


def test_the_map_refuses_before_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_map(tmp_path, monkeypatch, ("normal-pairs", "exponential"))
    monkeypatch.setattr(coverage_map, "cells", lambda *arguments: pytest.fail("measured"))
    with pytest.raises(ValueError, match="contains .nonsense.; give part of one of: normal-pairs; exponential"):
        coverage_map.write_map(folder, only="nonsense")
    (tmp_path / "explanation" / "interval.md").unlink()
    with pytest.raises(FileNotFoundError, match="interval.md"):
        coverage_map.write_map(folder)


def test_hidden_noise_is_caught_while_it_widens_nothing() -> None:
    """Negative control for the generator's law: hidden noise of a tenth of the signal is seen by the check."""
    rng = np.random.default_rng(SEED)
    generator = mcgen.as_generator(lambda z: z + 0.1 * rng.standard_normal(z.shape), (4,))
    with pytest.warns(mcgen.GeneratorWarning):
        mcgen.estimate(generator, lambda x: x.mean(axis=1), design=MonteCarlo(), n_evaluations=640, seed=SEED)

"""The skewness-safe t interval: its ends, its coverage on laws of its own, and its simultaneous form.

The laws below were declared before they were run, and were not used to choose the interval's constants.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import SEED

import mcgen
from mcgen.inference.coverage import coverage_warnings, fewest_for
from mcgen.inference.interval_input import IntervalInput, shared_level, student_t_quantile
from mcgen.inference.intervals import interval_of, make_interval, studentized_ends
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.validation.studies.verdicts import share

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
LAWS: dict[str, Draw] = {
    "gamma of shape 0.6, skewness 2.6": lambda rng, shape: rng.gamma(0.6, size=shape) - 0.6,
    "Weibull of shape 0.8, skewness 2.8": lambda rng, shape: rng.weibull(0.8, size=shape) - 1.1330030963193472,
    "inverse Gaussian, skewness 3": lambda rng, shape: rng.wald(1, 1, size=shape) - 1,
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "beta of 2 and 6": lambda rng, shape: rng.beta(2, 6, size=shape) - 0.25,
    "normal mixture": lambda rng, shape: rng.normal(size=shape) * np.where(rng.random(shape) < 0.1, 4, 1),
    "normal": lambda rng, shape: rng.normal(size=shape),
}


def sampled(means: np.ndarray, kept: bool = False) -> IntervalInput:
    rows = ReplicateMeans(0, means, np.zeros_like(means), None, 1)
    return IntervalInput.of(Moments.of(rows), means if kept else None, SEED)


def hits(law: Draw, n: int, runs: int, method: str) -> int:
    """Return how many of so many runs have an interval that holds the truth, 0; a run a column."""
    s = sampled(law(np.random.default_rng(SEED), (n, runs)))
    low, high = studentized_ends(s, 0.95, method)
    return int(((s.mean + low * s.standard_error <= 0) & (s.mean + high * s.standard_error >= 0)).sum())


def test_each_end_is_the_farther_one_of_students_and_the_adjusted() -> None:
    s = sampled(np.random.default_rng(1).gamma(0.5, size=(20, 30)))
    student, adjusted, safe = (
        studentized_ends(s, 0.9, f"{name}-t") for name in ("student", "skewness-adjusted", "skewness-safe")
    )
    assert safe[0] == pytest.approx(np.minimum(student[0], adjusted[0]))
    assert safe[1] == pytest.approx(np.maximum(student[1], adjusted[1]))
    assert (safe[1] > student[1]).all()


def test_means_without_skewness_have_students_interval() -> None:
    s = sampled(np.array([[-3.0], [-1.0], [1.0], [3.0]]))
    assert studentized_ends(s, 0.95, "skewness-safe-t")[1] == pytest.approx(studentized_ends(s, 0.95, "student-t")[1])


def test_it_needs_no_replicate_means_and_is_named_by_results() -> None:
    model = mcgen.as_generator(lambda z: np.exp(z / 2), noise=(1,), name="lognormal")
    options = {"design": mcgen.Antithetic(), "n_evaluations": 200, "seed": 0, "keep_replicates": False}
    made = mcgen.estimate(model, mcgen.statistics.pixel_mean, interval="skewness-safe-t", **options)
    assert made.method == "skewness-safe-t"
    assert "skewness-safe t" in str(made)
    plain = mcgen.estimate(model, mcgen.statistics.pixel_mean, interval="student-t", **options)
    assert made.interval.high > plain.interval.high
    assert made.interval.low <= plain.interval.low
    assert plain.with_interval(interval="skewness-safe-t").interval == made.interval
    assert "hall1992removal" in mcgen.citation(made)


@pytest.mark.study
@pytest.mark.parametrize("law", LAWS)
def test_it_covers_from_16_replicates_on(law: str) -> None:
    """At least 0.94 at 16 replicates and 0.95 from 25 on, to the rounding of 0.005 that tables have."""
    for n, nominal in ((16, 0.935), (25, 0.945), (50, 0.945), (200, 0.945)):
        runs = 20_000 if n < 200 else 8_000
        verdict = share(f"{law}, R = {n}", hits(LAWS[law], n, runs, "skewness-safe-t"), runs, nominal, at_least=True)
        assert verdict.holds, verdict


@pytest.mark.study
@pytest.mark.parametrize("law", ["gamma of shape 0.6, skewness 2.6", "inverse Gaussian, skewness 3"])
def test_students_interval_fails_the_same_rule(law: str) -> None:
    """The negative control; and the adjusted interval fails it on heavy tails."""
    assert not share("student", hits(LAWS[law], 25, 20_000, "student-t"), 20_000, 0.945, at_least=True).holds
    adjusted = hits(LAWS["normal mixture"], 25, 20_000, "skewness-adjusted-t")
    assert not share("adjusted", adjusted, 20_000, 0.945, at_least=True).holds


def test_on_normal_means_it_costs_little_width() -> None:
    s = sampled(np.random.default_rng(SEED).normal(size=(25, 4000)))
    safe, student = (studentized_ends(s, 0.95, f"{name}-t") for name in ("skewness-safe", "student"))
    assert np.mean(safe[1] - safe[0]) / np.mean(student[1] - student[0]) < 1.04


# Several components.


def together(law: Draw, n: int, k: int, runs: int, simultaneous: str | bool, kept: bool) -> int:
    """Return in how many of so many runs all k intervals hold the truth."""
    rng, options = np.random.default_rng(SEED), IntervalOptions(0.95, "student-t", simultaneous)
    found = (interval_of(sampled(law(rng, (n, k)), kept), options)[0] for _ in range(runs))
    return sum(np.zeros(k) in interval for interval in found)


def pairs(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Means of antithetic pairs of exp(w/2), less their expectation; skewness 3.4."""
    return np.cosh(rng.normal(size=shape) / 2) - np.exp(1 / 8)


@pytest.mark.study
@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("k", [8, 64, 1024])
@pytest.mark.parametrize(
    "law",
    [pairs, lambda rng, shape: rng.chisquare(1, size=shape) - 1, LAWS["normal"]],
    ids=["pairs of exp(w/2)", "chi-squared", "normal"],
)
def test_streaming_intervals_cover_together(law: Draw, k: int, n: int) -> None:
    runs = 400 if k < 1024 else 150
    assert share(f"k = {k}", together(law, n, k, runs, True, kept=False), runs, 0.95, at_least=True).holds


@pytest.mark.study
def test_bonferronis_students_intervals_do_not() -> None:
    """The negative control: 64 skewed components, 50 replicates."""
    assert not share(
        "bonferroni", together(pairs, 50, 64, 400, "bonferroni", kept=False), 400, 0.95, at_least=True
    ).holds


@pytest.mark.study
@pytest.mark.parametrize(("k", "n"), [(8, 25), (64, 50)])
def test_kept_means_cover_together_by_separate_quantiles(k: int, n: int) -> None:
    assert share("max-t", together(pairs, n, k, 150, True, kept=True), 150, 0.95, at_least=True).holds


def test_the_choice_of_true() -> None:
    rng = np.random.default_rng(0)
    for n, kept, name in ((24, True, "skewness-safe"), (25, True, "bootstrap-max-t"), (25, False, "skewness-safe")):
        s = sampled(rng.gamma(0.5, size=(n, 4)), kept)
        assert make_interval(s, 0.95, "student-t", True)[1] == name
        assert make_interval(s, 0.95, "skewness-safe-t", False)[1] == "skewness-safe-t"


def test_the_bootstrap_has_separate_quantiles() -> None:
    means = np.random.default_rng(0).gamma(0.5, size=(60, 4))
    made, _ = make_interval(sampled(means, kept=True), 0.95, "student-t", "bootstrap-max-t")
    above, below = made.high - means.mean(axis=0), means.mean(axis=0) - made.low
    assert (above > 1.2 * below).all()


def test_more_numbers_take_more_replicates_without_a_warning() -> None:
    assert [fewest_for(k, 0.95) for k in (1, 8, 64, 1024)] == [25, 45, 68, 99]
    means = np.random.default_rng(0).normal(size=(30, 8))
    moments = sampled(means), Moments.of(ReplicateMeans(0, means, np.zeros_like(means), None, 1))
    names = [str(j) for j in range(8)]
    [told] = coverage_warnings(moments[1], names, 0.0, "skewness-safe", 8, 0.95)
    assert "30 replicates are few for 8 intervals" in told
    assert "at least 45" in told
    assert coverage_warnings(moments[1], names, 0.0, "student-t", 1, 0.95) == []


# Several conditions.


def shifted(z: np.ndarray, condition: float = 0.0) -> np.ndarray:
    return np.tanh(z + condition)


model = mcgen.as_generator(shifted, noise=(4,), name="model")


@pytest.mark.parametrize("common", [False, True])
def test_all_numbers_of_a_result_hold_together(common: bool) -> None:
    """Three conditions and their average share the level; so it is after a change of level, and in a saved file."""
    options = {"design": mcgen.Antithetic(), "n_evaluations": 40, "seed": 0, "common_random_numbers": common}
    several = {"condition": [0.25, 0.5, 1.0], "keep_replicates": False}
    mean = mcgen.statistics.pixel_mean
    alone = mcgen.estimate(model, mean, **options, **several)
    made = mcgen.estimate(model, mean, simultaneous=True, **options, **several)
    assert made.method == "skewness-safe"
    for one, own in zip((*made.conditions, made), (*alone.conditions, alone), strict=True):
        level = shared_level(0.95, 4)
        least = student_t_quantile((1 + level) / 2, np.float64(own.degrees_of_freedom)) * own.standard_error
        assert one.interval.high - one.mean >= least * (1 - 1e-12)
        assert one.half_width > 1.2 * own.half_width
    again = alone.with_interval(simultaneous=True)
    assert [one.interval for one in (*again.conditions, again)] == [one.interval for one in (*made.conditions, made)]
    assert made.with_interval(confidence_level=0.9).half_width < made.half_width


def test_the_average_of_runs_that_stop_shares_the_level_too() -> None:
    options = {"design": mcgen.Antithetic(), "atol": 0.05, "seed": 0, "condition": [0.25, 1.0]}
    mean = mcgen.statistics.pixel_mean
    made = mcgen.estimate(model, mean, simultaneous=True, **options)
    plain = mcgen.estimate(model, mean, **options)
    assert made.stopping is not None
    assert made.half_width > plain.half_width or made.n_evaluations > plain.n_evaluations

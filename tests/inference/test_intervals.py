"""Intervals: the formulas, the choice of a simultaneous method, and what can't be made."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from helpers import SEED
from scipy import stats

import mcgen
from mcgen.inference.interval_input import Interval, IntervalInput
from mcgen.inference.intervals import interval_of, make_interval
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.sequences import asymptotic_half_width, mixture_t_half_width


def sampled(r: int, k: int = 1, keep: bool = True, skewed: bool = False) -> IntervalInput:
    rng = np.random.default_rng(20260101)  # what is tested is arithmetic, on data that show it
    x = rng.exponential(size=(r, k)) if skewed else rng.normal(size=(r, k))
    se = x.std(axis=0, ddof=1) / np.sqrt(r)
    return IntervalInput(x.mean(axis=0), se, np.full(k, r - 1.0), x if keep else None, SEED)


@pytest.mark.parametrize(("method", "law"), [("student-t", stats.t(9)), ("normal", stats.norm())])
def test_closed_forms(method: str, law) -> None:
    s = sampled(10)
    made, name = make_interval(s, 0.9, method, False)
    assert name == method
    assert made.half_width == pytest.approx(law.ppf(0.95) * s.standard_error)
    assert s.mean in made


def test_student_t_is_scipys() -> None:
    s = sampled(12)
    made, _ = make_interval(s, 0.95, "student-t", False)
    theirs = stats.ttest_1samp(s.replicate_means[:, 0], 0.0).confidence_interval(0.95)
    assert (made.low[0], made.high[0]) == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_t_follows_skewness_and_repeats() -> None:
    s = sampled(40, skewed=True)
    made, _ = make_interval(s, 0.95, "bootstrap-t", False)
    again, _ = make_interval(s, 0.95, "bootstrap-t", False)
    assert (made.low, made.high) == (again.low, again.high)
    assert made.high - s.mean > 1.2 * (s.mean - made.low)


def adjusted(x: np.ndarray, level: float = 0.95) -> tuple[Interval, IntervalInput]:
    rows = ReplicateMeans(0, x[:, None], np.zeros((len(x), 1)), None, 1)
    moments = Moments.of(rows)
    s = IntervalInput(
        moments.mean, moments.standard_error, np.array([len(x) - 1.0]), None, SEED, moments.skewness_of_mean
    )
    return make_interval(s, level, "skewness-adjusted-t", False)[0], s


@pytest.mark.parametrize("sign", [1, -1])
def test_skewness_adjusted_t_solves_halls_equation(sign: int) -> None:
    """At the ends the transformed studentized mean is the t quantile; and the skewness is scipy's."""
    x = sign * np.random.default_rng(1).exponential(size=20)
    made, s = adjusted(x)
    skewness = s.skewness[0]
    assert skewness == pytest.approx(stats.skew(x, bias=False) / np.sqrt(20))
    for end, quantile in ((made.high, stats.t(19).ppf(0.025)), (made.low, stats.t(19).ppf(0.975))):
        t = (s.mean - end) / s.standard_error
        transformed = t + skewness / 3 * t**2 + skewness**2 / 27 * t**3 + skewness / 6
        assert transformed == pytest.approx(quantile)
    assert sign * ((made.high - s.mean) - (s.mean - made.low)) > 0.2 * made.half_width


def test_skewness_adjusted_t_is_student_t_without_skewness() -> None:
    x = np.random.default_rng(2).normal(size=12)
    for values in (np.concatenate([x, -x]), x[:2]):
        made, s = adjusted(values)
        plain, _ = make_interval(s, 0.95, "student-t", False)
        assert [*made.low, *made.high] == pytest.approx([*plain.low, *plain.high])
    constant, _ = adjusted(np.ones(9))
    assert (constant.low, constant.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("r", "keep", "chosen"),
    [
        (20, True, "skewness-safe"),
        (24, True, "skewness-safe"),
        (25, True, "bootstrap-max-t"),
        (1000, True, "bootstrap-max-t"),
        (1000, False, "skewness-safe"),
    ],
)
def test_simultaneous_method_by_number_of_replicates(r: int, keep: bool, chosen: str) -> None:
    s = replace(sampled(r, k=4, keep=keep), skewness=np.zeros(4))
    made, name = make_interval(s, 0.95, "student-t", True)
    alone, _ = make_interval(s, 0.95, "student-t", False)
    assert name == chosen
    assert (made.half_width > alone.half_width).all()


def test_bonferroni_is_the_t_quantile_of_the_level_shared_out() -> None:
    s = sampled(15, k=8)
    made, _ = make_interval(s, 0.95, "student-t", "bonferroni")
    expected = stats.t(14).ppf(1 - 0.05 / 16) * s.standard_error
    assert made.half_width == pytest.approx(expected)


@pytest.mark.parametrize("method", ["bootstrap-max-t", "gaussian-multiplier"])
def test_dependence_narrows_resampled_simultaneous_intervals(method: str) -> None:
    """Eight copies of one component need no more than one; eight independent ones do."""
    s = sampled(1200, k=8)
    copies = IntervalInput(
        np.repeat(s.mean[:1], 8),
        np.repeat(s.standard_error[:1], 8),
        s.degrees_of_freedom,
        np.repeat(s.replicate_means[:, :1], 8, 1),
        SEED,
    )
    apart, _ = make_interval(s, 0.95, "student-t", method)
    together, _ = make_interval(copies, 0.95, "student-t", method)
    alone, _ = make_interval(copies, 0.95, "student-t", False)
    assert together.half_width == pytest.approx(alone.half_width, rel=0.08)
    assert (apart.half_width / s.standard_error).mean() > 1.2 * (together.half_width / copies.standard_error).mean()


def test_constant_components_have_no_width() -> None:
    s = IntervalInput(np.array([1.0]), np.array([0.0]), np.array([9.0]), np.ones((10, 1)), SEED)
    for method in ("student-t", "normal", "bootstrap-t"):
        made, _ = make_interval(s, 0.95, method, False)
        assert (made.low, made.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("s", "options", "message"),
    [
        (
            sampled(10),
            (95, "student-t", False),
            r"confidence_level must lie between 0 and 1, such as 0.95; got 95; for 95 % write 0.95",
        ),
        (sampled(10), (1.0, "student-t", False), "confidence_level must lie between 0 and 1"),
        (
            sampled(10),
            (0.95, "percentile", False),
            "interval must be one of student-t, normal, skewness-safe-t, skewness-adjusted-t, bootstrap-t, proportion, or None .*; got 'percentile'",
        ),
        (
            sampled(10),
            (0.95, "student-t", "scheffe"),
            "simultaneous must be True, False or one of skewness-safe, bonferroni",
        ),
        (sampled(4), (0.95, "bootstrap-t", False), "bootstrap-t needs at least 5 replicates; got 4. Use student-t"),
        (sampled(10, keep=False), (0.95, "bootstrap-t", False), "keep_replicates=True"),
        (sampled(60, 2, keep=False), (0.95, "student-t", "bootstrap-max-t"), "keep_replicates=True"),
        (sampled(5), (0.9999, "bootstrap-t", False), "no finite interval from 5 replicates"),
    ],
)
def test_refusals(s: IntervalInput, options: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_interval(s, *options)


def test_interval_holds_values() -> None:
    assert 1.5 in Interval(1.0, 2.0)
    assert 2.5 not in Interval(1.0, 2.0)
    assert Interval(1.0, 2.0).half_width == 0.5
    assert np.ones(2) in Interval(np.zeros(2), np.full(2, 2.0))
    assert np.array([1.0, 3.0]) not in Interval(np.zeros(2), np.full(2, 2.0))


def test_interval_is_the_tuple_of_its_ends() -> None:
    low, high = interval = Interval(1.0, 2.0)
    assert (low, high) == (1.0, 2.0) == interval
    assert hash(interval) == hash((1.0, 2.0))
    assert pickle.loads(pickle.dumps(interval)) == interval
    arrays = Interval(np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="ambiguous"):
        arrays == Interval(np.zeros(2), np.ones(2))  # noqa: B015
    with pytest.raises(TypeError, match="unhashable"):
        hash(arrays)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 1.1, 1e9 / 7])
@pytest.mark.parametrize("r", [10, 60, 300, 1200])
def test_constants_that_binary_cannot_hold_have_no_width(value: float, r: int) -> None:
    s = sampled(r, 2)
    means = np.stack([s.replicate_means[:, 0], np.full(r, value)], axis=1)
    mixed = IntervalInput(means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(r), np.full(2, r - 1.0), means, SEED)
    for method, simultaneous in (("bootstrap-t", False), ("student-t", "bootstrap-max-t"), ("student-t", True)):
        made, _ = make_interval(mixed, 0.95, method, simultaneous)
        assert made.half_width[1] <= 1e-12 * value
        assert 0 < made.half_width[0] < 3


def test_a_component_that_varies_in_few_replicates_falls_back_to_moments() -> None:
    means = np.zeros((100, 3))
    means[:2, 0] = 1
    means[:, 1:] = np.random.default_rng(0).normal(size=(100, 2))
    rare = IntervalInput(means.mean(axis=0), means.std(axis=0, ddof=1) / 10, np.full(3, 99.0), means, SEED)
    _, name = make_interval(rare, 0.95, "student-t", True)
    assert name == "bonferroni"
    _, name = make_interval(replace(rare, skewness=np.zeros(3)), 0.95, "student-t", True)
    assert name == "skewness-safe"
    with pytest.raises(ValueError, match="no finite interval from 100 replicates"):
        make_interval(rare, 0.95, "student-t", "bootstrap-max-t")


def stopped(r: int, k: int = 1, first: int = 32, planned: int | None = 100) -> IntervalInput:
    s = sampled(r, k)
    assert s.replicate_means is not None
    return replace(s, first_stage=(first, s.replicate_means[:first].std(axis=0, ddof=1)), planned=planned)


def test_two_stages_take_the_larger_term() -> None:
    s = stopped(100, k=12)
    made, name = make_interval(s, 0.95, "two-stage-t", False)
    first = stats.t(31).ppf(0.975) * s.first_stage[1] / 10
    last = stats.t(99).ppf(0.975) * s.standard_error
    assert name == "two-stage-t"
    assert made.half_width == pytest.approx(np.maximum(first, last))
    # Both cases are there.
    assert (first > last).any()
    assert (first < last).any()


def test_a_single_stage_is_student_t() -> None:
    s = stopped(32)
    made, _ = make_interval(s, 0.95, "two-stage-t", False)
    plain, _ = make_interval(s, 0.95, "student-t", False)
    assert made.half_width == pytest.approx(plain.half_width)
    constant = replace(s, standard_error=np.zeros(1), first_stage=(32, np.zeros(1)))
    made, _ = make_interval(constant, 0.95, "two-stage-t", False)
    assert made.half_width == 0


@pytest.mark.parametrize(
    ("method", "formula"), [("anytime", mixture_t_half_width), ("asymptotic-anytime", asymptotic_half_width)]
)
def test_sequences_are_in_standard_errors(method: str, formula) -> None:
    s = stopped(60, k=2)
    made, name = make_interval(s, 0.9, method, False)
    assert name == method
    assert made.half_width == pytest.approx(formula(60, 100, 0.9) * s.standard_error)


@pytest.mark.parametrize("method", ["two-stage-t", "anytime", "asymptotic-anytime"])
@pytest.mark.parametrize("simultaneous", [True, "bonferroni"])
def test_simultaneous_forms_share_the_level_out(method: str, simultaneous: bool | str) -> None:
    s = stopped(100, k=5)
    made, name = make_interval(s, 0.95, method, simultaneous)
    each, _ = make_interval(s, 0.99, method, False)
    assert name == f"bonferroni-{method}"
    assert IntervalOptions.of_result(0.95, name) == IntervalOptions(0.95, method, "bonferroni")
    assert IntervalOptions.of_result(0.95, method) == IntervalOptions(0.95, method, False)
    assert interval_of(s, IntervalOptions.of_result(0.95, name))[1] == pytest.approx(each.half_width)
    assert made.half_width == pytest.approx(each.half_width)
    _, alone = make_interval(stopped(100), 0.95, method, simultaneous)
    assert alone == method


@pytest.mark.parametrize(
    ("s", "options", "message"),
    [
        (
            sampled(10),
            (0.95, "two-stage-t", False),
            r"only a run in two stages has \(atol=... or rtol=...\); use student-t",
        ),
        (
            sampled(10),
            (0.95, "anytime", False),
            r"anytime needs the number of replicates that was planned .* use student",
        ),
        (stopped(20), (0.95, "asymptotic-anytime", False), "no end yet for 20 replicates, with 100 planned; run more"),
        (stopped(9), (0.95, "anytime", False), "no end yet for 9 replicates"),
        (
            stopped(60, 2),
            (0.95, "two-stage-t", "bootstrap-max-t"),
            "Bonferroni's inequality alone; got .*'bootstrap-max-t'",
        ),
        (stopped(60, 2), (0.95, "anytime", "scheffe"), "Use simultaneous=True"),
    ],
)
def test_intervals_of_runs_that_stop_refuse(s: IntervalInput, options: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_interval(s, *options)


def test_the_old_name_of_the_input_works_and_names_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="Sampled is now mcgen.intervals.IntervalInput") as caught:
        old = mcgen.intervals.Sampled
    assert old is IntervalInput
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match="no attribute 'Sample'"):
        mcgen.intervals.Sample  # noqa: B018

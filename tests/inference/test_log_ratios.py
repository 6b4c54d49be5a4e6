"""Log ratios: degrees of freedom of differences, and what has no ratio."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from scipy import stats

from mcgen.inference.log_ratios import LogRatio, kurtosis, log_variance_of, log_variance_of_sample


def test_a_known_error_adds_no_degrees_of_freedom_of_its_own() -> None:
    known = LogRatio.of((0.5, 0.2), 2)
    both = known.minus(known)
    assert np.isinf(both.degrees_of_freedom).all()
    estimated = LogRatio(np.ones(2), np.array([0.1, 0.0]), np.full(2, 9.0))
    assert estimated.minus(known).degrees_of_freedom == pytest.approx([(0.1 + 0.04) ** 2 / (0.1**2 / 9), np.inf])


def test_where_no_error_is_left_the_least_degrees_of_freedom_count() -> None:
    zero = LogRatio(np.zeros(1), np.zeros(1), np.array([4.0])).minus(LogRatio(np.zeros(1), np.zeros(1)))
    assert zero.degrees_of_freedom == pytest.approx([4.0])


def test_of_two_logarithms_of_zero_there_is_no_ratio() -> None:
    nothing = LogRatio(np.array([-np.inf, 0.0]), np.ones(2))
    assert np.isnan(nothing.minus(nothing).value[0])


def test_intervals_are_made_on_the_log_scale() -> None:
    ratio, interval = LogRatio(np.log([2.0]), np.array([0.01]), np.array([5.0])).exp(0.9)
    assert ratio == pytest.approx([2.0])
    assert interval.high == pytest.approx([2 * np.exp(stats.t(5).ppf(0.95) * 0.1)])
    assert interval.low == pytest.approx([2 / np.exp(stats.t(5).ppf(0.95) * 0.1)])


def test_what_is_left_above_a_limit_has_the_moments_of_a_truncated_normal_law() -> None:
    value, variance, limit = (
        np.array([1.0, -2.0, 0.0, -30.0]),
        np.array([0.25, 4.0, 1.0, 1.0]),
        np.array([0.9, -1, -9, 0]),
    )
    found = LogRatio(value, variance).above(limit)
    error = np.sqrt(variance)
    law = stats.truncnorm((limit - value) / error, np.inf, loc=value, scale=error)
    assert found.value == pytest.approx(law.mean(), rel=1e-6, abs=1e-9)
    assert found.variance[:3] == pytest.approx(law.var()[:3], rel=1e-6)
    assert (found.value > limit).all()
    assert (found.variance >= 0).all()
    # What is exact, lost or known to be above stays.
    kept = LogRatio(np.array([-np.inf, np.inf, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0])).above(
        np.array([0.0, 0.0, 0.0, -np.inf])
    )
    assert kept.value.tolist() == [-np.inf, np.inf, 2.0, 1.0]
    assert kept.variance.tolist() == [1.0, 1.0, 0.0, 1.0]


def samples(name: str, n: int, k: int) -> Any:
    rng = np.random.default_rng(SEED)
    draws = {"normal": rng.standard_normal, "laplace": rng.laplace, "t": lambda size: rng.standard_t(6, size)}
    return draws[name](size=(n, k))


@pytest.mark.parametrize(("name", "variance"), [("t", 1.5), ("laplace", 2.0)])
def test_errors_of_log_variances_allow_for_heavy_tails(name: str, variance: float) -> None:
    """The error stated for normal values is too small by half; the bias is smaller too."""
    n, k = 100, 20_000
    x = samples(name, n, k)
    true = float(np.log(x.var(axis=0, ddof=1)).var())
    allowing, normal = log_variance_of_sample(x), log_variance_of(x.var(axis=0, ddof=1), n - 1)
    assert normal.variance[0] < 0.6 * true
    # The kurtosis of a sample is below that of its law in the mean: 0.9 of the variance here.
    assert 0.75 * true < allowing.variance.mean() < 1.1 * true
    assert abs(np.log(allowing.variance.mean() / true)) < abs(np.log(normal.variance[0] / true)) / 3
    bias = [abs(one.value.mean() - np.log(variance)) for one in (allowing, normal)]
    assert bias[0] < 0.75 * bias[1]
    assert bias[1] > Z_LIMIT * np.sqrt(true / k)
    # With few values too, though less: an outlier is rarely among them.
    few = samples(name, 40, 8000)
    true = float(np.log(few.var(axis=0, ddof=1)).var())
    stated, normal = log_variance_of_sample(few).variance.mean(), log_variance_of(np.ones(1), 39)
    assert abs(np.log(stated / true)) < abs(np.log(normal.variance[0] / true)) / 2


def test_normal_values_have_the_error_of_normal_values() -> None:
    """But for what the kurtosis of the sample exceeds 3 by chance: at 1,000 values 3 % on average."""
    n = 1000
    x = samples("normal", n, 1000)
    found, normal = log_variance_of_sample(x), log_variance_of(x.var(axis=0, ddof=1), n - 1)
    assert (found.variance >= normal.variance * (1 - 1e-12)).all()
    assert found.variance.mean() == pytest.approx(normal.variance[0], rel=0.05)
    assert found.value == pytest.approx(normal.value, abs=1e-3)


def test_kurtosis_is_at_least_that_of_normal_values() -> None:
    x = np.stack([np.linspace(-1, 1, 50), np.repeat([-1.0, 1.0], 25), np.full(50, 0.1), np.eye(50)[0]], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, logs = kurtosis(x), log_variance_of_sample(x)
    assert found[:3] == pytest.approx([3, 3, 3])
    # One of n is away from the others: (n - 1) - 1 + 1 / (n - 1).
    assert found[3] == pytest.approx(48 + 1 / 49)
    assert np.isneginf(logs.value[2]) or logs.value[2] < -70
    assert np.isfinite(logs.variance).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = log_variance_of_sample(np.zeros((5, 2)))
    assert np.isneginf(constant.value).all()
    assert constant.variance == pytest.approx(log_variance_of(np.zeros(2), 4).variance)
    x = samples("laplace", 50_000, 1)
    assert kurtosis(x)[0] == pytest.approx(stats.kurtosis(x[:, 0], fisher=False))
    assert kurtosis(7 - 3 * x) == pytest.approx(kurtosis(x))

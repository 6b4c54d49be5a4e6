"""Log ratios: degrees of freedom of differences, and what has no ratio."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mcgen.inference.log_ratios import LogRatio


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

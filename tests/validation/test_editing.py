"""The editing study: shares of wins and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED

pytest.importorskip("torch")
pytest.importorskip("statsmodels")

from scipy.stats import mannwhitneyu

from mcgen.validation.measurements.editing import (
    Study,
    edits_of,
    mean_and_half_width,
    rows_of,
    share_of_wins,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_shares_are_those_of_all_comparisons() -> None:
    rng = np.random.default_rng(SEED)
    a, b = rng.normal(0.5, 1, 10).round(1), rng.normal(0, 1, 12).round(1)
    wins = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    assert share_of_wins(a, b).value == pytest.approx(wins, abs=1e-12)
    assert share_of_wins(a, b).value == pytest.approx(mannwhitneyu(a, b).statistic / 120, abs=1e-12)
    assert share_of_wins(b, a).value == pytest.approx(1 - wins, abs=1e-12)


def test_their_interval_covers_where_a_binomial_one_of_all_comparisons_does_not() -> None:
    """95 % of 400 runs, less four standard errors; the comparisons share their edits, so that they are no 100 trials."""
    rng = np.random.default_rng(SEED)
    covered = binomial = 0
    for _ in range(400):
        share = share_of_wins(rng.standard_normal(10), rng.standard_normal(10))
        covered += share.low <= 0.5 <= share.high
        half = 1.96 * np.sqrt(share.value * (1 - share.value) / 100)
        binomial += abs(share.value - 0.5) <= half
    assert covered / 400 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400)
    assert binomial / 400 < 0.7


def test_samples_that_do_not_overlap_have_a_share_without_an_interval() -> None:
    share = share_of_wins(np.arange(5.0), np.arange(5.0) + 10)
    assert (share.value, share.decided) == (0, 0)
    assert np.isnan([share.low, share.high]).all()
    assert share_of_wins(np.arange(5.0) + 10, np.arange(5.0)).decided == 1
    assert share_of_wins(np.ones(5), np.ones(5)).decided is None
    assert share_of_wins(np.arange(10.0), np.arange(10.0) + 0.5).decided is None
    assert share_of_wins(np.arange(10.0) + 7.5, np.arange(10.0)).decided == 1


def test_means_have_student_intervals() -> None:
    mean, half = mean_and_half_width(np.array([1.0, 2.0, 3.0]))
    assert (mean, half) == (2.0, pytest.approx(4.302653 / np.sqrt(3), rel=1e-6))


def test_edits_by_pairs_vary_less() -> None:
    rows = rows_of("digits", edits_of(Study("digits-diffusion", 4, n_edits=6, steps=8, skip=2)))
    assert [row[1] for row in rows] == ["target's probability", "L1 to the source", "spread over the noise"]
    spread, independent = float(rows[2][2]), float(rows[2][3])
    assert spread < 0.7 * independent

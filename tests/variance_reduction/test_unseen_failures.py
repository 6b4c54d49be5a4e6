"""Levels whose pilot says little of rare failures of the coarse generator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen.statistics import pixel_mean
from mcgen.variance_reduction.levels.unseen_failures import (
    FAILURE_SIZE,
    is_heavy,
    is_nearly_zero,
    largest_share,
    least_shares,
    unseen_text,
    wanted_evaluations,
)

SD = float(np.sqrt((np.exp(0.5) - np.exp(0.25)) / 4))
TRUTH = float(np.exp(1 / 8))


def fine_values(z: np.ndarray) -> np.ndarray:
    return np.exp(z / 2).mean(axis=1, keepdims=True)


FINE = mcgen.as_generator(fine_values, noise=(4,), name="fine")


def failing(size: float = 3.0, threshold: float = 2.5) -> mcgen.Generator:
    """The fine generator, but for failures where the first entry of the noise is large."""
    return mcgen.as_generator(
        lambda z: fine_values(z) - size * SD * (z[:, :1] > threshold), noise=(4,), name=f"failing-{size:g}"
    )


def run(coarse: mcgen.Generator, n_evaluations: int = 1000, seed: int = SEED, **options: Any) -> mcgen.Estimate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mcgen.multilevel(
            [(coarse, 1), (FINE, 20)], pixel_mean, n_evaluations=n_evaluations, seed=seed, **options
        )


def test_differences_that_are_nearly_zero_or_made_by_one_replicate() -> None:
    rng = np.random.default_rng(SEED)
    fine = rng.standard_normal((16, 1))
    assert is_nearly_zero(np.zeros((16, 1)), fine).all()
    assert is_nearly_zero(1e-4 * fine, fine).all()
    assert not is_nearly_zero(0.01 * fine, fine).any()
    assert not is_nearly_zero(np.zeros((16, 1)), np.zeros((16, 1))).any()
    one = np.zeros((16, 1))
    one[3] = 1e-200
    assert is_heavy(one)
    assert is_heavy(np.hstack([fine, one]))
    assert not is_heavy(np.zeros((16, 1)))
    assert sum(is_heavy(rng.standard_normal((16, 1))) for _ in range(1000)) < 10


def test_wanted_evaluations_are_those_of_the_formula() -> None:
    """Failures of c sd with N p = 3 shift the estimate by 2 standard errors."""
    (n,) = wanted_evaluations(np.array([[2.0, 0.0]]), np.array([0.01, 0.5]))
    p = 3 / n
    assert p * FAILURE_SIZE * 2.0 == pytest.approx(2 * 0.01)
    assert wanted_evaluations(np.array([[2.0]]), np.array([0.0]))[0] == np.inf
    assert wanted_evaluations(np.array([[0.0]]), np.array([0.0]))[0] == 0.0


@pytest.mark.parametrize("optimal", [0.001, 0.05, 0.2, 0.45])
@pytest.mark.parametrize("heavy", [False, True])
def test_least_shares_cost_what_they_say(optimal: float, heavy: bool) -> None:
    costs, needed = np.array([1.05]), np.array([0.001, 0.001])
    limits: dict[str, Any] = {"optimal": np.array([optimal]), "needed": needed, "heavy": [heavy], "largest": 0.5}
    (share,) = least_shares(np.zeros(1), costs, 1000.0, **limits)
    loss = (share - optimal) ** 2 / (share * (1 - share))
    assert loss <= (0.2 if heavy else 0.03) + 1e-9
    assert share > optimal
    (most,) = least_shares(np.array([np.inf]), costs, 1000.0, **limits)
    assert most == pytest.approx(0.5, abs=0.001)


def test_the_largest_share_keeps_the_root_of_the_gain() -> None:
    assert largest_share(0.5) == largest_share(1.0) == 0.0
    assert largest_share(np.inf) == 0.5
    assert 1 / (1 - largest_share(2.0)) == pytest.approx(np.sqrt(2.0))


def test_warned_of_where_less_than_half_is_affordable() -> None:
    assert unseen_text(16, "mean", "level 1", 50, 100.0) is None
    text = unseen_text(16, "mean", "level 1", 25, 100.0)
    assert text is not None
    assert "show only failures of up to 1 standard deviations" in text
    assert "about 100 evaluations of it" in text


def test_a_result_says_that_a_level_searches_for_failures() -> None:
    result = run(failing(threshold=9.0), n_evaluations=10_000)
    assert result.levels[1].n_replicates > 1000
    assert "level 1 has" in (result.provenance.plan or "")
    assert "in search of rare failures of the coarse generator" in result.summary()
    assert not [text for text in result.warnings if "may miss rare failures" in text]
    short = run(failing(threshold=9.0), n_evaluations=200)
    assert [text for text in short.warnings if "may miss rare failures" in text]
    assert short.n_evaluations <= 200


def test_smooth_differences_are_left_near_their_optimum() -> None:
    coarse = mcgen.as_generator(
        lambda z: fine_values(z) + 0.02 * SD * np.sin(2 * z[:, :1] + 1), noise=(4,), name="sine"
    )
    result = run(coarse, n_evaluations=3200)
    assert result.provenance.plan is None
    assert not [text for text in result.warnings if "may miss" in text]
    assert result.levels[1].n_replicates < 500


def test_a_plan_says_that_failures_may_go_unseen() -> None:
    options: dict[str, Any] = {"n_evaluations": 3200, "seed": SEED, "coarse": [(failing(threshold=9.0), 0.05)]}
    # Without kept replicate means there are no controls, which serve the fine generator alone.
    made = mcgen.plan(FINE, pixel_mean, keep_replicates=False, **options)
    assert made.chosen.coarse is not None
    assert "in search of rare failures" in str(made)
    count = made.chosen.n_replicates[1] * made.chosen.designs[1].n_points
    assert count > 300
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = made.estimate()
    assert set(made.warnings) <= set(result.warnings)


@pytest.mark.study
def test_coverage_beside_rare_failures() -> None:
    """With 25 fine replicates, as before, 37 % of the intervals cover; 60 runs tell that from 93 %."""
    hits = sum(TRUTH in run(failing(), seed=SEED + n, interval="skewness-safe-t").interval for n in range(60))
    # P(at most 44 of 60) is 3e-6 at coverage 0.93; P(45 or more of 60) is 3e-9 at 0.37.
    assert hits >= 45

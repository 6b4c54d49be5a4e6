"""Confidence sequences through `mcgen.estimate`: ends that are not there yet, and what results say of them."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SEED

import mcgen
from mcgen.designs import Antithetic
from mcgen.statistics import stack

model = mcgen.as_generator(lambda z: z, noise=(4,), name="normal")
SEQUENCES = ("anytime", "asymptotic-anytime")


def tail(x: np.ndarray) -> np.ndarray:
    return np.exp(2.5 * x[:, 0])


def square(x: np.ndarray) -> np.ndarray:
    return x[:, 0] ** 2


def one(x: np.ndarray) -> np.ndarray:
    return np.ones(len(x))


def estimate(statistic: Any, **options: Any) -> mcgen.Estimate:
    return mcgen.estimate(model, statistic, **({"seed": SEED, "design": Antithetic()} | options))


@pytest.mark.parametrize("interval", SEQUENCES)
def test_skewed_means_have_no_end_yet_and_the_result_says_so(interval: str, tmp_path: Path) -> None:
    with pytest.warns(mcgen.CoverageWarning) as found:
        made = estimate(stack(tail, square), n_replicates=100, interval=interval)
    [text] = [str(one.message) for one in found]
    assert text.startswith("the replicate means of tail (1 of 2 components) have skewness up to") or text.startswith(
        "the replicate means of tail have skewness up to"
    )
    assert "their confidence sequence has no end before 10 x skewness^2 = " in text
    assert text.endswith("replicates, and there are 100. Use more replicates")
    assert (made.interval.low[0], made.interval.high[0], made.half_width[0]) == (-math.inf, math.inf, math.inf)
    assert 1.0 in mcgen.Interval(made.interval.low[1], made.interval.high[1])
    assert math.isfinite(made.half_width[1])
    assert f"tail {made.mean[0]:.6g} [-inf, inf], square " in str(made)
    assert made.to_frame()["high"][0] == math.inf
    made.save(tmp_path / "made.json")
    again = mcgen.load(tmp_path / "made.json")
    assert again == made
    # With more replicates there is an end.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longer = estimate(square, n_replicates=2000, interval=interval)
    assert longer.interval.high - longer.mean > longer.mean - longer.interval.low > 0


@pytest.mark.parametrize("interval", SEQUENCES)
def test_what_does_not_vary_has_no_end(interval: str) -> None:
    with pytest.warns(mcgen.CoverageWarning, match="of one.* their confidence sequence has no end. The statistic is"):
        made = estimate(stack(one, square), n_replicates=400, interval=interval)
    assert made.interval.high[0] == math.inf
    assert math.isfinite(made.half_width[1])
    with pytest.warns(mcgen.CoverageWarning, match="confidence sequence has no end"):
        made = estimate(one, atol=0.1, interval=interval)
    assert not made.stopping.reached
    assert made.n_replicates >= 1000
    assert made.interval.high == math.inf


@pytest.mark.parametrize("interval", SEQUENCES)
def test_tolerances_wait_for_an_end(interval: str) -> None:
    made = estimate(square, atol=3.0, interval=interval)
    assert made.stopping.reached
    assert math.isfinite(made.half_width)
    assert made.n_replicates >= 10 * made.n_replicates * made.skewness**2
    with pytest.warns(mcgen.CoverageWarning, match="has no end before"):
        short = estimate(tail, atol=3.0, interval=interval, max_evaluations=128)
    assert not short.stopping.reached
    assert "tail is too skewed for so few replicates" in short.stopping.reason
    assert short.half_width == math.inf


def test_fewer_than_thirty_replicates_are_refused_before_the_run() -> None:
    for interval in SEQUENCES:
        with pytest.raises(ValueError, match=r"has no end yet at 29 replicates; ask for more, of which 30 are enough"):
            estimate(square, n_replicates=29, interval=interval)


def test_simultaneous_sequences_enlarge_the_skewness() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = estimate(stack(square, tail, one), n_replicates=4000, interval="anytime", simultaneous=True)
        alone = estimate(square, n_replicates=4000, interval="anytime", confidence_level=1 - 0.05 / 3)
    assert made.method == "bonferroni-anytime"
    upper, lower = made.interval.high[0] - made.mean[0], made.mean[0] - made.interval.low[0]
    assert upper > alone.interval.high - alone.mean > 0
    assert lower == pytest.approx(alone.mean - alone.interval.low)

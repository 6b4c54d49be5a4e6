"""Relative tolerances that recede: runs of a mean of 0 are warned of, ordinary runs are not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED

from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.receding import FAR_BEYOND, FEWEST_REPLICATES, first_look
from mcgen.inference.rules import Anytime, TwoStage
from mcgen.inference.stopping import Rule
from mcgen.inference.tolerance import Tolerance

ROUNDING = 2.0**-52


def moments_of(values: np.ndarray, events: bool = False) -> Moments:
    x = values.reshape(len(values), -1)
    return Moments.of(ReplicateMeans(0, x, np.zeros_like(x), x.astype(np.int64) if events else None, 1))


def warning_of(
    values: np.ndarray, tolerance: Tolerance, kind: type[Rule] = TwoStage, events: bool = False
) -> str | None:
    """What a rule says of a run after these replicates, of which it has looked at the first 32."""
    x = values.reshape(len(values), -1)
    rule = kind(tolerance, 0.95)
    rule.name_components([f"x{i}" for i in range(x.shape[1])])
    rule.next_target(moments_of(x[:32], events), ROUNDING)
    rule.note_receding(moments_of(x, events), ROUNDING)
    return rule.receding


def normal(n: int, mean: float, number: int) -> np.ndarray:
    return mean + np.random.default_rng([SEED, number]).normal(size=n)


def test_the_first_look_is_where_the_target_is_far_beyond_ordinary_runs() -> None:
    assert first_look(Tolerance(rtol=0.01)) == FEWEST_REPLICATES
    assert first_look(Tolerance(rtol=0.1)) == FAR_BEYOND / 100


@pytest.mark.parametrize("kind", [TwoStage, Anytime])
@pytest.mark.parametrize(("rtol", "n"), [(0.1, 10_000), (0.01, 1000)])
def test_a_mean_of_zero_recedes_and_ordinary_means_do_not(kind: type[Rule], rtol: float, n: int) -> None:
    """About 2 of 3 looks at a mean of 0 warn; none at a mean for which 50,000 replicates are enough."""
    told = [warning_of(normal(n, 0.0, number), Tolerance(rtol=rtol), kind) for number in range(60)]
    assert sum(text is not None for text in told) >= 15
    text = next(text for text in told if text is not None)
    assert text.startswith("the mean of x0 may be 0: its interval still contains 0. A half-width of rtol=")
    assert text.endswith("Give atol beside rtol, or max_evaluations")
    ordinary = 1.96 / (rtol * np.sqrt(50_000))
    assert not any(warning_of(normal(n, ordinary, number), Tolerance(rtol=rtol), kind) for number in range(60))


def test_no_look_before_the_target_is_far() -> None:
    assert not any(warning_of(normal(9999, 0.0, number), Tolerance(rtol=0.1)) for number in range(20))


@pytest.mark.parametrize("limit", [{"atol": 1e-6}, {"max_evaluations": 10**9}])
def test_other_limits_end_a_run(limit: dict[str, float]) -> None:
    tolerance = Tolerance(rtol=0.1, **limit)
    assert not any(warning_of(normal(10_000, 0.0, number), tolerance) for number in range(20))


def test_rare_events_are_no_means_of_zero() -> None:
    """The interval of two events in 100,000 contains 0; the mean of an indicator with an event is not 0."""
    x = np.zeros(100_000)
    x[[7, 50_000]] = 1
    assert warning_of(x, Tolerance(rtol=0.1), events=True) is None
    assert warning_of(np.zeros(100_000), Tolerance(rtol=0.1)) is None


def test_the_first_component_that_counts_and_recedes_is_named() -> None:
    number = next(i for i in range(100) if warning_of(normal(10_000, 0.0, i), Tolerance(rtol=0.1)))
    zero, one = normal(10_000, 0.0, number), normal(10_000, 1.0, number)
    told = warning_of(np.stack([one, zero, zero], axis=1), Tolerance(rtol=0.1))
    assert told is not None
    assert told.startswith("the mean of x1 may be 0: ")
    assert warning_of(np.stack([one, zero], axis=1), Tolerance(rtol=0.1, components=("x0",))) is None
    assert warning_of(np.stack([one, zero], axis=1), Tolerance(rtol=0.1, components=("x1",))) is not None


@pytest.mark.parametrize("kind", [TwoStage, Anytime])
def test_what_receded_is_kept_in_the_state(kind: type[Rule]) -> None:
    looks = (moments_of(normal(10_000, 0.0, number)) for number in range(100))
    rule, other, old = (kind(Tolerance(rtol=0.1), 0.95) for _ in range(3))
    rule.name_components(["x0"])
    while rule.receding is None:
        rule.note_receding(next(looks), ROUNDING)
    told = rule.receding
    rule.note_receding(moments_of(normal(10_000, 1.0, 0)), ROUNDING)
    other.restore(rule.state())
    assert other.receding == rule.receding == told
    old.restore({name: value for name, value in rule.state().items() if name != "receding"})
    assert old.receding is None

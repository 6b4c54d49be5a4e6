"""Statistics of samples and their condition: `as_statistic(f, uses_condition=True)` alone, and inside other statistics."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import mcgen
from mcgen._lib.fingerprints import content_of, fingerprint_of
from mcgen.errors import RunError
from mcgen.statistics import Combined, as_statistic, pixel_mean, stack
from mcgen.statistics.joint import Difference
from mcgen.statistics.values import boolean_components, component_bounds, component_names, with_condition
from mcgen.validation.conformance import check_statistic

SAMPLES = np.arange(12.0).reshape(4, 3)


def distance(samples: Any, truth: Any) -> Any:
    """Return the mean distance to a truth: of module level, so that it can be pickled."""
    return abs(samples - truth).mean(1)


DISTANCE = as_statistic(distance, uses_condition=True)
OTHER = as_statistic(lambda x, truth: (x - truth).max(1), name="largest", uses_condition=True)


@pytest.mark.parametrize("truth", [2.0, np.array([1.0, 5.0, 2.0]), np.float32(3)])
def test_a_statistic_under_a_condition_is_the_function_of_both(truth: Any) -> None:
    bound = with_condition(DISTANCE, truth)
    np.testing.assert_array_equal(bound(SAMPLES), distance(SAMPLES, truth))
    np.testing.assert_array_equal(DISTANCE(SAMPLES, truth), distance(SAMPLES, truth))
    # Negative control: the truth of another condition gives other values.
    assert not np.array_equal(with_condition(DISTANCE, 9.0)(SAMPLES), distance(SAMPLES, truth))


def test_the_condition_comes_as_the_same_object() -> None:
    seen: list[Any] = []
    truth = {"image": np.ones(3)}
    statistic = as_statistic(lambda x, c: (seen.append(c), x.mean(1))[1], name="kept", uses_condition=True)
    with_condition(statistic, truth)(SAMPLES)
    assert seen[0] is truth


def test_a_statistic_of_samples_alone_is_returned_itself() -> None:
    for statistic in (
        pixel_mean,
        as_statistic(pixel_mean, name="mean"),
        stack(pixel_mean, np.max),
        Combined(pixel_mean, np.ones((1, 1))),
        Difference(pixel_mean),
    ):
        assert with_condition(statistic, 3) is statistic
        assert with_condition(statistic, None) is statistic


def test_a_bound_statistic_keeps_its_condition() -> None:
    bound = with_condition(DISTANCE, 1.0)
    assert with_condition(bound, 2.0) is bound
    assert with_condition(bound, None) is bound


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda s: stack(s, pixel_mean),
        lambda s: Combined(stack(s, OTHER), np.array([[1.0, 2.0], [0.5, -1.0]])),
        lambda s: as_statistic(stack(pixel_mean, s), name="two", components=["a", "b"]),
        lambda s: as_statistic(s, name="renamed"),
    ],
    ids=["stack", "combined", "named stack", "renamed"],
)
def test_statistics_made_of_others_hand_the_condition_on(wrapped: Any) -> None:
    by_hand = wrapped(as_statistic(lambda x: distance(x, 2.0), name="distance"))
    if "Combined" in repr(by_hand):
        by_hand = Combined(
            stack(lambda x: distance(x, 2.0), lambda x: (x - 2.0).max(1), names=("d", "l")), by_hand.matrix
        )
    statistic = wrapped(DISTANCE)
    np.testing.assert_array_equal(with_condition(statistic, 2.0)(SAMPLES), by_hand(SAMPLES))
    assert not np.array_equal(with_condition(statistic, 3.0)(SAMPLES), by_hand(SAMPLES))
    with pytest.raises(ValueError, match=r"takes \(samples, condition\), and no condition was given"):
        with_condition(statistic, None)


def test_a_difference_hands_the_condition_on() -> None:
    found = with_condition(Difference(DISTANCE), 2.0)((SAMPLES, SAMPLES + 1))
    np.testing.assert_array_equal(found, distance(SAMPLES, 2.0) - distance(SAMPLES + 1, 2.0))


def test_names_bounds_and_booleans_hold_under_a_condition() -> None:
    both = as_statistic(
        lambda x, c: x[:, :2] > c, name="above", components=["left", "right"], bounds=(0, 1), uses_condition=True
    )
    bound = with_condition(both, 4.0)
    assert bound.name == both.name == "above"
    assert component_names(bound, (2,)) == ("left", "right")
    assert boolean_components(bound, SAMPLES).all()
    assert component_bounds(bound, 2, SAMPLES).tolist() == [[0, 0], [1, 1]]
    narrow = as_statistic(distance, bounds=(0, 1), uses_condition=True)
    with pytest.raises(RunError, match="outside its bounds"):
        with_condition(narrow, -5.0)(SAMPLES)


def test_without_a_condition_it_is_refused_by_name() -> None:
    for call in (lambda: with_condition(DISTANCE, None), lambda: DISTANCE(SAMPLES)):
        with pytest.raises(
            ValueError, match=r"statistic 'distance' takes \(samples, condition\), and no condition was given; pass"
        ):
            call()
    with pytest.raises(TypeError, match="takes the samples alone; got a condition too"):
        as_statistic(pixel_mean)(SAMPLES, 3.0)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_uses_condition_is_true_or_false(value: Any) -> None:
    with pytest.raises(TypeError, match="uses_condition must be True"):
        as_statistic(distance, uses_condition=value)


def test_content_has_the_function_and_whether_it_takes_the_condition() -> None:
    assert fingerprint_of(as_statistic(distance)) == fingerprint_of(distance)
    assert fingerprint_of(DISTANCE) != fingerprint_of(distance)
    assert fingerprint_of(DISTANCE) == fingerprint_of(as_statistic(distance, uses_condition=True))
    truth = np.arange(3.0)
    bound = with_condition(DISTANCE, truth)
    assert fingerprint_of(bound) == fingerprint_of(with_condition(DISTANCE, truth.copy()))
    assert fingerprint_of(bound) != fingerprint_of(with_condition(DISTANCE, truth + 1))
    assert content_of(with_condition(DISTANCE, {"a": [truth, "b"]})).unknown == {}


def test_a_bound_statistic_is_pickled_and_hashed() -> None:
    bound = with_condition(stack(DISTANCE, pixel_mean), np.arange(3.0))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(bound))(SAMPLES), bound(SAMPLES))
    assert hash(with_condition(DISTANCE, np.arange(3.0))) != hash(DISTANCE)


def test_conformance_tries_it_under_a_condition() -> None:
    truth = np.full((1, 8, 8), 0.25)
    good = as_statistic(lambda x, t: abs(x - t).mean((1, 2, 3)), name="good", uses_condition=True)
    assert check_statistic(good, condition=truth).passed
    # Negative control: a statistic of the batch breaks the same laws as without a condition.
    bad = as_statistic(lambda x, t: abs(x - t).mean((1, 2, 3)) - x.mean(), name="bad", uses_condition=True)
    assert {"batch size", "rows apart"} <= {check.law for check in check_statistic(bad, condition=truth).failures}
    with pytest.raises(ValueError, match="no condition was given"):
        check_statistic(good)
    with pytest.raises(ValueError, match="a condition is for the generator that makes the samples, or for a statistic"):
        check_statistic(pixel_mean, condition=truth)


def test_psnr_takes_the_truth_of_each_condition() -> None:
    psnr = as_statistic(lambda x, t: mcgen.statistics.PSNR(t, data_range=20)(x), name="psnr", uses_condition=True)
    found = with_condition(psnr, np.zeros(3))(SAMPLES)
    np.testing.assert_allclose(found, 10 * np.log10(400 / (SAMPLES**2).mean(1)))

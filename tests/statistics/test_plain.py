"""`as_statistic`: names for plain functions and their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mcgen

model = mcgen.as_generator(lambda z: z, noise=(3,), name="model")
OPTIONS: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 640, "seed": 0}


def above(x: Any) -> Any:
    return x > 0.5


def test_names_reach_results_and_numbers_stay() -> None:
    named = mcgen.as_statistic(above, name="above", components=["a", "b", "c"])
    made, plain = (mcgen.estimate(model, one, **OPTIONS) for one in (named, above))
    assert made.names == ("a", "b", "c")
    assert made.provenance.statistic == "above"
    assert np.array_equal(made.mean, plain.mean)
    # Boolean values are an indicator, whose events are counted.
    assert made.moments is not None
    assert made.moments.events is not None


def test_a_function_keeps_its_own_name() -> None:
    assert mcgen.estimate(model, mcgen.as_statistic(above), **OPTIONS).names == ("above[0]", "above[1]", "above[2]")


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(mcgen.RunError, match=r"has 2 component names \(a, b\) and returned 3 values for each sample"):
        mcgen.estimate(model, mcgen.as_statistic(above, components=["a", "b"]), **OPTIONS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"components": "a"}, TypeError, r"list of names such as \['left', 'right'\]; got 'a'"),
        ({"components": []}, TypeError, "list of names"),
        ({"components": ["a", 1]}, TypeError, "list of names"),
        ({"components": ["a", "a"]}, ValueError, "components repeat in a, a"),
        ({"name": 3}, TypeError, "name must be a text"),
        ({"bounds": 3}, TypeError, r"bounds must be \(low, high\), two numbers or two lists of numbers; got 3"),
        ({"bounds": "01"}, TypeError, "bounds must be"),
        ({"bounds": (0, 1, 2)}, TypeError, "bounds must be"),
        ({"bounds": ([0, 1], [2, 3, 4])}, TypeError, "bounds must be"),
        ({"bounds": (1, 0)}, ValueError, r"finite, and each low below its high; got \(1, 0\)"),
        ({"bounds": ([0, 1], [1, 1])}, ValueError, "each low below its high"),
        ({"bounds": (0, float("inf"))}, ValueError, "finite.* Without known bounds leave them out"),
        ({"bounds": (float("nan"), 1)}, ValueError, "finite"),
    ],
)
def test_what_names_nothing_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mcgen.as_statistic(above, **options)


def test_what_can_not_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="statistic must be a callable"):
        mcgen.as_statistic(3)  # type: ignore[arg-type]


def test_a_store_knows_the_function_behind_the_name(tmp_path: Any) -> None:
    path = tmp_path / "run.sqlite"
    mcgen.estimate(model, mcgen.as_statistic(above, name="s"), store=path, **OPTIONS)
    with pytest.raises(mcgen.StoreError, match="content of the statistic|statistic"):
        mcgen.estimate(model, mcgen.as_statistic(lambda x: x > 0.6, name="s"), store=path, **OPTIONS)


def values(x: Any) -> Any:
    return x[:, :2] ** 2


@pytest.mark.parametrize("bounds", [(0.5, 99), (-9, [99, 0.5])])
def test_values_outside_their_bounds_are_refused(bounds: Any) -> None:
    named = mcgen.as_statistic(values, name="values", bounds=bounds)
    with pytest.raises(mcgen.RunError, match=r"'values' returned -?\d.* for component \d, outside its bounds \(.*\)"):
        mcgen.estimate(model, named, **OPTIONS)
    # Inside other statistics too.
    first = mcgen.as_statistic(lambda x: x[:, 0], name="first", bounds=(-0.5, 99))
    for outer in (mcgen.statistics.stack(first, mcgen.statistics.pixel_mean), mcgen.as_statistic(first, name="again")):
        with pytest.raises(mcgen.RunError, match="'first' returned"):
            mcgen.estimate(model, outer, **OPTIONS)


def test_bounds_change_no_number() -> None:
    bounded = mcgen.as_statistic(values, name="values", bounds=([-50, -60], 50))
    made, plain = (mcgen.estimate(model, one, **OPTIONS) for one in (bounded, mcgen.as_statistic(values)))
    assert made.bounds == ((-50.0, 50.0), (-60.0, 50.0))
    assert plain.bounds == ()
    assert np.array_equal(made.mean, plain.mean)
    assert made.interval.low == pytest.approx(plain.interval.low)
    # A name for a statistic with bounds keeps them.
    assert mcgen.estimate(model, mcgen.as_statistic(bounded, name="again"), **OPTIONS).bounds == made.bounds


def test_bounds_of_another_number_of_values_are_refused() -> None:
    with pytest.raises(
        mcgen.RunError, match="has bounds for 3 values and returned 2 for each sample; give one pair of"
    ):
        mcgen.estimate(model, mcgen.as_statistic(values, name="values", bounds=([-50] * 3, 50)), **OPTIONS)


def test_tensors_have_bounds() -> None:
    torch = pytest.importorskip("torch")
    tensors = mcgen.as_generator(lambda z: torch.as_tensor(z), noise=(3,), name="tensors")
    assert mcgen.estimate(tensors, mcgen.as_statistic(values, bounds=(-50, 50)), **OPTIONS).bounds[0] == (-50.0, 50.0)
    with pytest.raises(mcgen.RunError, match="outside its bounds"):
        mcgen.estimate(tensors, mcgen.as_statistic(values, bounds=(0, 0.5)), **OPTIONS)

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

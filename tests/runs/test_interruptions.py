"""Interrupted runs: what is finished is given back."""

from __future__ import annotations

from http.client import IncompleteRead
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic, logistic_until

import mcgen
from mcgen import Antithetic
from mcgen.statistics import pixel_mean

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


def test_common_noise_that_breaks_keeps_every_condition() -> None:
    with pytest.raises(RuntimeError) as caught:
        mcgen.estimate(
            mcgen.as_generator(logistic_until(20, RuntimeError("out of memory")), (8,)), pixel_mean, design=Antithetic(), n_evaluations=1280, seed=SEED,
            condition=[0, 1], common_random_numbers=True,
        )  # fmt: skip
    partial = caught.value.partial
    assert [part.provenance.condition for part in partial.conditions] == ["0", "1"]
    assert partial.shape == ()


def test_interruption_gives_back_what_is_finished() -> None:
    # Four batches, and two calls that try the first: whether it repeats, and whether it changes with the noise.
    result = mcgen.estimate(
        mcgen.as_generator(logistic_until(6, KeyboardInterrupt()), (8,), name="interrupted"),
        pixel_mean,
        design=Antithetic(),
        n_evaluations=640,
        seed=SEED,
        batch_size=64,
    )
    assert result.partial
    assert result.n_replicates == 128
    assert "PARTIAL" in str(result)
    whole = mcgen.estimate(
        mcgen.as_generator(logistic, (8,), name="interrupted"),
        pixel_mean,
        design=Antithetic(),
        n_replicates=128,
        seed=SEED,
        batch_size=64,
    )
    assert result.mean == whole.mean
    assert result != whole


def test_interruption_before_two_replicates_is_an_interruption() -> None:
    def interrupted(z: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mcgen.estimate(mcgen.as_generator(interrupted, (8,)), pixel_mean, design=Antithetic(), n_evaluations=64, seed=0)


def test_interrupted_conditions_keep_the_finished_ones() -> None:
    def interrupted(z: np.ndarray, condition: int) -> np.ndarray:
        if condition == 2:
            raise KeyboardInterrupt
        return logistic(z, condition)

    generator = mcgen.as_generator(interrupted, (8,))
    result = mcgen.estimate(
        generator, pixel_mean, design=Antithetic(), n_evaluations=640, seed=SEED, condition=[0, 1, 2]
    )
    assert result.partial
    assert len(result.conditions) == 2
    assert "the average is over the first 2 of 3 conditions only" in result.summary()


def test_an_endless_run_takes_no_memory_before_it_starts() -> None:
    result = mcgen.estimate(
        mcgen.as_generator(logistic_until(20, KeyboardInterrupt()), (8,)),
        pixel_mean,
        design=Antithetic(),
        n_evaluations=2 * 10**13,
        seed=0,
    )
    assert result.partial


@pytest.mark.parametrize("options", [{}, {"condition": [0.5, 1.0]}], ids=["one condition", "two conditions"])
def test_an_exception_with_a_partial_of_its_own_comes_out_as_it_is(options: dict[str, Any]) -> None:
    error = IncompleteRead(b"abc", 10)

    def broken(z: np.ndarray, condition: float = 0.0) -> np.ndarray:
        raise error

    model = mcgen.as_generator(broken, noise=(4,), name="broken")
    run: dict[str, Any] = {"n_evaluations": 640, "seed": 0, **options}
    with pytest.raises(IncompleteRead) as caught:
        mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), **run)
    assert caught.value is error
    if not options:
        with pytest.raises(IncompleteRead):
            mcgen.plan(model, mcgen.statistics.pixel_mean, n_evaluations=640, seed=0).estimate()

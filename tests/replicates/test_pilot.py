"""Pilots: the values at the points of a design are those of its own draw, in order, whatever the batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import Antithetic, Block, LatinHypercube, NoiseSpec, Sobol, Subspace
from mcgen.noise import as_rows
from mcgen.replicates.pilot import _EachPoint, pilot_means, pilot_stream, pilot_values
from mcgen.replicates.task import Estimand, estimand_of
from mcgen.statistics import stack

STATISTIC = stack(mcgen.statistics.pixel_mean, lambda x: x[:, 0] ** 2, names=("mean", "square"))
ONE = NoiseSpec.normal((4,), "float64")
SEVERAL = NoiseSpec({"start": Block((4,)), "share": Block((2,), law="uniform"), "rest": Block((3,), iid=True)})
BASIS = mcgen.bases.Basis(np.eye(4)[:, :2])


def joined(z: Any) -> Any:
    return logistic(np.concatenate([z["start"] + z["rest"][:, :1], z["share"]], axis=1))


def estimand(noise: NoiseSpec) -> Estimand:
    function = logistic if noise is ONE else joined
    return estimand_of(mcgen.as_generator(function, noise=noise, name="model"), STATISTIC, SEED, None)


CASES = [
    (ONE, Sobol(8)),
    (ONE, Antithetic(Sobol(4))),
    (ONE, LatinHypercube(6)),
    (ONE, Subspace(BASIS, Antithetic(Sobol(4)))),
    (SEVERAL, Sobol(8)),
    (SEVERAL, Antithetic(Sobol(4))),
]


@pytest.mark.parametrize(("noise", "design"), CASES, ids=[f"{len(n.blocks)} {d.n_points} {d}"[:40] for n, d in CASES])
def test_values_are_those_of_the_drawn_points_in_order(noise: NoiseSpec, design: mcgen.Design) -> None:
    asked = estimand(noise)
    drawn = as_rows(design.draw(noise, 5, asked.seed, stream=pilot_stream((), "plan", "trial")))
    expected = np.asarray(STATISTIC(asked.generator(drawn, None))).reshape(5, design.n_points, 2)
    for batch_size in (None, 1, 3, design.n_points, 17, 1000):
        found, rounding = pilot_values(asked, design, 5, batch_size, "plan", "trial")
        assert found.shape == (5, design.n_points, 2)
        assert np.array_equal(found, expected)
        assert rounding == np.finfo("float64" if noise is ONE else "float32").eps
    # A control: another purpose has other random numbers.
    other, _ = pilot_values(asked, design, 5, None, "plan", "another")
    assert not (np.isin(other[..., 0], expected[..., 0])).any()


@pytest.mark.parametrize(("noise", "design"), CASES, ids=[f"{len(n.blocks)} {d.n_points} {d}"[:40] for n, d in CASES])
def test_their_means_are_those_of_a_pilot_of_the_design(noise: NoiseSpec, design: mcgen.Design) -> None:
    asked = estimand(noise)
    found, _ = pilot_values(asked, design, 7, 5, "plan", "trial")
    ((means, within),) = pilot_means(asked, design, [asked.generator], 7, None, "plan", "trial")
    assert found.mean(axis=1) == pytest.approx(means, rel=1e-6)
    assert found.var(axis=1) == pytest.approx(within, rel=1e-4)


def test_conditions_have_random_numbers_of_their_own() -> None:
    asked = estimand(ONE)
    own, _ = pilot_values(asked, Sobol(8), 4, None, "plan")
    other, _ = pilot_values(replace(asked, stream=("again", 1)), Sobol(8), 4, None, "plan")
    assert not np.isin(own, other).any()


@pytest.mark.parametrize("noise", [ONE, SEVERAL], ids=["one block", "several blocks"])
def test_any_range_of_single_points_can_be_drawn(noise: NoiseSpec) -> None:
    base = Sobol(8)
    each, whole = _EachPoint(base), base.draw(noise, 4, SEED, stream=("a",))
    assert (each.n_points, each.n_together) == (1, 8)
    for rows in (range(32), range(3, 4), range(7, 9), range(8, 16), range(5, 30)):
        some = each.draw(noise, rows, SEED, stream=("a",))
        for name, block in noise.blocks:
            parts: list[Any] = [x if isinstance(x, np.ndarray) else x[name] for x in (some, whole)]
            assert parts[0].shape == (len(rows), 1, *block.shape)
            assert np.array_equal(parts[0][:, 0], parts[1].reshape(32, *block.shape)[rows.start : rows.stop])
    first = each.draw(noise, 3, SEED, stream=("a",))
    assert len(first if isinstance(first, np.ndarray) else first["start"]) == 3

"""`Antithetic(only=...)`: a part of the noise is negated, and the rest of a pair is the same."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

import mcgen
from mcgen.designs import Antithetic, Sobol
from mcgen.noise import Block, NoiseSpec
from mcgen.validation.conformance import check_design

MASK = np.zeros((3, 4), bool)
MASK[:2] = True
BLOCKS = NoiseSpec(
    {"start": Block((3,)), "steps": Block((2, 3)), "level": Block((2,), "uniform"), "own": Block((2,), iid=True)}
)


@pytest.mark.parametrize("base", [None, Sobol(8)], ids=str)
def test_a_mask_negates_its_entries_and_keeps_the_others(base: Any) -> None:
    design = Antithetic(base, only=MASK)
    noise = design.draw((3, 4), 50, SEED)
    assert isinstance(noise, np.ndarray)
    np.testing.assert_array_equal(noise[:, 1::2][..., MASK], -noise[:, ::2][..., MASK])
    np.testing.assert_array_equal(noise[:, 1::2][..., ~MASK], noise[:, ::2][..., ~MASK])
    # Slices of points are those of the whole.
    for points in (range(1), range(1, 2), range(1, design.n_points)):
        np.testing.assert_array_equal(
            design.draw((3, 4), 50, SEED, points=points), noise[:, points.start : points.stop]
        )
    np.testing.assert_array_equal(design.draw((3, 4), range(20, 50), SEED), noise[20:])


@pytest.mark.parametrize("only", ["start", ["start"], {"start": True}, {"start": np.ones(3, bool)}], ids=repr)
def test_blocks_are_negated_by_name(only: Any) -> None:
    noise = Antithetic(only=only).draw(BLOCKS, 30, SEED)
    assert not isinstance(noise, np.ndarray)
    np.testing.assert_array_equal(noise["start"][:, 1], -noise["start"][:, 0])
    for name in ("steps", "level"):
        np.testing.assert_array_equal(noise[name][:, 1], noise[name][:, 0])
    assert not (noise["own"][:, 1] == noise["own"][:, 0]).any()


def test_uniform_blocks_are_reflected() -> None:
    noise = Antithetic(only={"level": [True, False], "steps": True}).draw(BLOCKS, 30, SEED)
    assert not isinstance(noise, np.ndarray)
    np.testing.assert_allclose(noise["level"][:, 1, 0], 1 - noise["level"][:, 0, 0])
    np.testing.assert_array_equal(noise["level"][:, 1, 1], noise["level"][:, 0, 1])
    np.testing.assert_array_equal(noise["steps"][:, 1], -noise["steps"][:, 0])
    np.testing.assert_array_equal(noise["start"][:, 1], noise["start"][:, 0])


@pytest.mark.parametrize(
    ("design", "spec"),
    [
        (Antithetic(only=MASK), NoiseSpec.normal((3, 4))),
        (Antithetic(Sobol(8), only=MASK), NoiseSpec.normal((3, 4))),
    ],
    ids=["mask", "mask of nets"],
)
def test_it_keeps_the_laws_of_designs(design: Any, spec: NoiseSpec) -> None:
    report = check_design(design, noise=spec, seed=SEED)
    assert report.passed, str(report)


def test_it_is_a_value() -> None:
    one, other = Antithetic(only=MASK), Antithetic(only=MASK.copy())
    assert one == other
    assert hash(one) == hash(other)
    assert str(one) == str(other)
    assert pickle.loads(pickle.dumps(one)) == one
    for different in (~MASK, MASK.reshape(4, 3), MASK.ravel()):
        assert Antithetic(only=different) != one
        assert str(Antithetic(only=different)) != str(one)
    assert str(Antithetic(only="start")) == "Antithetic(only=['start'])"


def test_the_correlation_of_a_part_is_that_of_its_noise() -> None:
    model = mcgen.as_generator(lambda z: z, noise=(3, 4), name="model")
    both = mcgen.as_statistic(
        lambda x: np.stack([x[:, :2].sum((1, 2)) + 1e-3 * x[:, 0, 0] ** 2, x[:, 2].sum(1) ** 3], axis=1), name="both"
    )
    result = mcgen.estimate(model, both, design=Antithetic(only=MASK), n_evaluations=4000, seed=SEED)
    assert result.replicate_means is not None
    negated, kept = result.replicate_means.T
    assert np.abs(negated).max() < 0.05
    # A kept part has the variance of one point: pairs count once.
    points = mcgen.estimate(model, both, design=mcgen.MonteCarlo(), n_evaluations=4000, seed=SEED).replicate_means
    assert points is not None
    square = (kept**2 - (points[:, 1] ** 2).mean()) / np.sqrt(1 + len(kept) / len(points))
    assert abs(z_score(square, 0.0)) < Z_LIMIT


@pytest.mark.parametrize(
    ("only", "error", "message"),
    [
        (np.zeros((3, 4), bool), ValueError, "negates nothing"),
        (MASK.astype(float), TypeError, "an array of booleans"),
        ([], ValueError, "name one or more"),
        (["start", "start"], ValueError, "different blocks"),
        (3, TypeError, "an array of booleans"),
    ],
    ids=["nothing", "floats", "no names", "twice", "a number"],
)
def test_refusals_when_made(only: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Antithetic(only=only)


def test_refusals_when_drawn() -> None:
    with pytest.raises(ValueError, match=r"a mask of shape \(3, 4\), and the noise has noise of shape \(4, 3\)"):
        Antithetic(only=MASK).draw((4, 3), 2, SEED)
    with pytest.raises(ValueError, match="the block 'end', and the noise has start of shape"):
        Antithetic(only="end").draw(BLOCKS, 2, SEED)
    with pytest.raises(ValueError, match=r"got \(3, 4\) for 'steps', which has \(2, 3\)"):
        Antithetic(only={"steps": MASK}).draw(BLOCKS, 2, SEED)

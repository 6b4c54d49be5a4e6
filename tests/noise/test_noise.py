"""Noise before any design: seeds, shapes, several blocks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score
from numpy.random import SeedSequence

from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec, Sobol


def test_spawned_seeds_differ() -> None:
    root = SeedSequence(SEED)
    a, b = root.spawn(2)
    draws = [MonteCarlo().draw((4,), 1, seed).tobytes() for seed in (root, a, b, SEED)]
    assert len(set(draws)) == 3
    assert draws[0] == draws[3]


def test_several_blocks_are_lazy_and_independent() -> None:
    spec = NoiseSpec({"start": Block((2, 2)), "steps": Block((7,)), "mask": Block((3,), "uniform", iid=True)})
    for design in (Antithetic(), Sobol(8)):
        noise = design.draw(spec, 500, SEED)
        assert list(noise) == ["start", "steps", "mask"]
        assert noise["start"].shape == (500, design.n_points, 2, 2)
        assert np.array_equal(noise["start"], noise["start"])
        a, b = noise["start"][:, 0, 0, 0].astype(float), noise["steps"][:, 0, 0].astype(float)
        assert abs(z_score(a * b, 0.0)) < Z_LIMIT
        with pytest.raises(KeyError, match="no noise block 'other'"):
            noise["other"]


@pytest.mark.parametrize("seed", ["0", 1.0, None, True])
def test_seed_must_be_an_int_or_a_seed_sequence(seed: object) -> None:
    with pytest.raises(
        TypeError, match=r"seed must be an int or a numpy.random.SeedSequence; got .* Pass a fixed number"
    ):
        MonteCarlo().draw((3,), 2, seed)


def test_a_shape_must_be_a_tuple_of_numbers() -> None:
    with pytest.raises(TypeError, match=r"a noise shape is a tuple of positive integers such as \(3, 32, 32\)"):
        MonteCarlo().draw((3.5,), 2, 0)


@pytest.mark.parametrize(
    "noise", [3, np.int64(3), (3,), Block((3,)), {"noise": Block((3,))}, NoiseSpec.normal((3,), np.float32)]
)
def test_ways_to_say_the_same_noise(noise) -> None:
    assert np.array_equal(MonteCarlo().draw(noise, 4, SEED), MonteCarlo().draw((3,), 4, SEED))

"""Noise before any design: seeds, shapes, several blocks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score
from numpy.random import SeedSequence

from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec, Sobol
from mcgen.noise.spec import agree_in_order, differences_of


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


def spec(dtype: str = "float32", **blocks: Block) -> NoiseSpec:
    return NoiseSpec(blocks, dtype)


A, B = Block((4,)), Block((2, 2), "uniform")


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (spec(a=A), spec(a=A, dtype="float64"), "the dtype is float32 in the first and float64 in the second"),
        (spec(a=A), spec(a=B), "block 0 is a: normal(4) in the first and a: uniform(2x2) in the second"),
        (spec(a=A), spec(c=Block((4,), iid=True)), "block 0 is a: normal(4) in the first and c: normal(4, iid) in the second"),
        (spec(a=A, b=B), spec(a=A), "the first has 2 blocks and the second has 1"),
        (spec(a=A), spec(b=A), "block 0 is named 'a' in the first and 'b' in the second"),
        (spec(a=A), spec(a=A), ""),
    ],
)  # fmt: skip
def test_differences_of_specs_in_words(first: NoiseSpec, second: NoiseSpec, text: str) -> None:
    assert differences_of(first, second) == text
    assert agree_in_order(first, second) == (not text or "named" in text)


def test_many_differences_are_counted() -> None:
    one, two = (spec(**{f"b{i}": block for i in range(10)}) for block in (A, B))
    assert differences_of(one, two).count("in the first and") == 6
    assert differences_of(one, two).endswith("; 4 more blocks differ")

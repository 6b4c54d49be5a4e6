"""The strategies draw what keeps all laws, of every kind; without hypothesis they say what to install."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from helpers import SEED
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import mcgen
from mcgen import (
    Antithetic,
    Block,
    KAntithetic,
    LatinHypercube,
    MonteCarlo,
    NoiseSpec,
    OrthogonalAntithetic,
    Sobol,
    Subspace,
)
from mcgen.noise import BlockNoise, as_rows
from mcgen.validation.conformance import check_generator, check_statistic
from mcgen.validation.conformance.strategies import designs, generators, noise_specs, statistics


def arrays(noise: mcgen.noise.Noise) -> list[np.ndarray]:
    return [noise[name] for name in noise] if isinstance(noise, BlockNoise) else [np.asarray(noise)]


fitting = noise_specs().flatmap(lambda spec: st.tuples(st.just(spec), designs(max_points=16, noise=spec)))


@given(pair=fitting, first=st.integers(0, 300), seed=st.integers(0, 2**70))
def test_replicates_of_any_noise_are_pure_functions(pair, first: int, seed: int) -> None:
    spec, design = pair
    together = arrays(design.draw(spec, range(first, first + 3), seed))
    alone = arrays(design.draw(spec, range(first + 1, first + 2), seed))
    for whole, one, (_, block) in zip(together, alone, spec.blocks, strict=True):
        assert whole.shape == (3, design.n_points, *block.shape)
        assert whole.dtype == spec.dtype
        assert np.array_equal(whole[1:2], one)


@settings(max_examples=25)
@given(generators())
def test_generators_keep_their_laws(generator) -> None:
    check_generator(generator, n=4, seed=SEED, tolerance=0).require()
    assert generator == eval(repr(generator), vars(mcgen.validation.conformance.strategies) | {"NoiseSpec": NoiseSpec})


@settings(max_examples=25)
@given(statistic=statistics(), generator=generators(noise_specs(max_blocks=2, dtypes=["float64"])))
def test_statistics_keep_their_laws(statistic, generator) -> None:
    check_statistic(statistic, generator=generator, n=4, seed=SEED).require()


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
@settings(max_examples=25)
@given(design=designs(max_points=8, noise=(3,)), generator=generators(NoiseSpec.normal((3,))), statistic=statistics())
def test_estimates_are_the_means_of_what_is_drawn(design, generator, statistic) -> None:
    result = mcgen.estimate(generator, statistic, design=design, n_replicates=30, seed=SEED)
    values = statistic(generator(as_rows(design.draw(generator.noise, 30, SEED))))
    assert np.allclose(result.mean, values.mean(axis=0), rtol=1e-5, atol=1e-6)


def drawn(strategy: st.SearchStrategy, condition: Callable[[object], bool]) -> object:
    """Something that the strategy draws, not shrunk."""
    return find(strategy, condition, settings=settings(phases=[Phase.generate]))


ANY_NOISE = [MonteCarlo, Antithetic, KAntithetic, Sobol, LatinHypercube, OrthogonalAntithetic]


@pytest.mark.parametrize("kind", ANY_NOISE)
def test_every_design_is_drawn(kind: type) -> None:
    assert isinstance(drawn(designs(), lambda design: isinstance(design, kind)), kind)


def test_designs_that_fit_some_noise_are_drawn() -> None:
    two = NoiseSpec({"start": Block((4,)), "steps": Block((3,))})
    over_both = drawn(
        designs(noise=two), lambda design: isinstance(design, Subspace) and len(design.basis.matrices) > 1
    )
    assert [*over_both.basis.matrices] == ["start", "steps"]
    largest = drawn(designs(noise=two), lambda design: isinstance(design, OrthogonalAntithetic) and design.n_points > 4)
    assert largest.n_points == 6


def test_all_kinds_of_noise_are_drawn() -> None:
    assert drawn(noise_specs(), lambda spec: len(spec.blocks) == 3 and spec.dtype == "float32")
    assert drawn(noise_specs(), lambda spec: any(block.iid and len(block.shape) == 3 for _, block in spec.blocks))
    assert drawn(noise_specs(laws=["uniform"]), lambda spec: True).blocks[0][1].law == "uniform"


def test_conditions_change_the_samples() -> None:
    generator = drawn(generators(), lambda generator: generator.shift == 1.0)
    noise = as_rows(MonteCarlo().draw(generator.noise, 3, SEED))
    assert np.allclose(generator(noise, 3.0) - generator(noise), 2.0)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="max_blocks must be from 1 to 6; got 7"):
        noise_specs(max_blocks=7)
    with pytest.raises(ValueError, match="max_points must be at least 1; got 0"):
        designs(max_points=0)
    with pytest.raises(TypeError, match="max_points must be an int; got 2.5"):
        designs(max_points=2.5)
    with pytest.raises(TypeError, match="max_blocks must be an int; got 1.5"):
        noise_specs(max_blocks=1.5)
    with pytest.raises(TypeError, match="a noise shape is a tuple"):
        generators("4")


def test_generators_take_a_shape() -> None:
    assert drawn(generators((4,)), lambda generator: True).noise == NoiseSpec.normal((4,))


def test_without_hypothesis_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None; import mcgen.validation.conformance\n"
        "try: import mcgen.validation.conformance.strategies\n"
        "except ImportError as error: assert 'mcgen-stats[validation]' in str(error)\n"
        "else: raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

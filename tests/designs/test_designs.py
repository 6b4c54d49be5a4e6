"""The laws of designs, for all of them: exact margins, pure replicates, independence, refusal."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT, binomial_p_value, z_score
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

import mcgen
from mcgen import Antithetic, Block, KAntithetic, LatinHypercube, MonteCarlo, NoiseSpec, OrthogonalAntithetic, Sobol

DESIGNS = [
    MonteCarlo(),
    Antithetic(),
    KAntithetic(2),
    KAntithetic(5),
    LatinHypercube(6),
    OrthogonalAntithetic(6),
    Sobol(2),
    Sobol(16),
    Sobol(256),
]
SPECS = [
    NoiseSpec.normal((3, 2)),
    NoiseSpec.normal((3, 2), "float64"),
    NoiseSpec.uniform((5,)),
    NoiseSpec.uniform((5,), "float64"),
]

designs = st.sampled_from(DESIGNS)
specs = st.sampled_from(SPECS)


def array(design: mcgen.Design, spec: NoiseSpec, replicates: int | range, seed: int = SEED, **options: object):
    return np.asarray(design.draw(spec, replicates, seed, **options))


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_shape_dtype_and_range(design: mcgen.Design, spec: NoiseSpec) -> None:
    noise = array(design, spec, 40)
    assert noise.shape == (40, design.n_points, *spec.blocks[0][1].shape)
    assert noise.dtype == spec.dtype
    assert np.isfinite(noise).all()
    if spec.blocks[0][1].law == "uniform":
        assert noise.min() > 0
        assert noise.max() < 1


@given(design=designs, spec=specs, first=st.integers(0, 600), n=st.integers(1, 5), seed=st.integers(0, 2**70))
def test_replicate_is_a_pure_function_of_its_number(design, spec, first: int, n: int, seed: int) -> None:
    together = array(design, spec, range(first, first + n), seed)
    alone = [array(design, spec, range(r, r + 1), seed)[0] for r in reversed(range(first, first + n))]
    assert np.array_equal(together, np.stack(alone[::-1]))


@given(design=designs, spec=specs, data=st.data())
def test_slices_of_points_are_slices(design, spec, data: st.DataObject) -> None:
    a = data.draw(st.integers(0, design.n_points - 1))
    b = data.draw(st.integers(a + 1, design.n_points))
    whole = array(design, spec, range(3, 6))
    assert np.array_equal(array(design, spec, range(3, 6), points=range(a, b)), whole[:, a:b])


@given(design=designs, spec=specs)
def test_seeds_streams_designs_and_replicates_differ(design, spec) -> None:
    noise = array(design, spec, 2)
    assert not np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise, array(design, spec, 2, SEED + 1))
    assert not np.array_equal(noise, array(design, spec, 2, stream=("condition", 1)))
    other = KAntithetic(design.n_points + 1)
    assert not np.array_equal(noise[0, 0], array(other, spec, 1)[0, 0])


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_designs_are_values(design: mcgen.Design) -> None:
    copy = pickle.loads(pickle.dumps(design))
    assert copy == design
    assert hash(copy) == hash(design)
    assert str(copy) == str(design)
    assert isinstance(design, mcgen.Design)
    with pytest.raises(AttributeError):
        design.n_points = 3


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_point_has_the_declared_law(design: mcgen.Design, spec: NoiseSpec) -> None:
    """First four moments and a tail of each point of a replicate, each within the limit of its standard error."""
    n = 4000
    noise = array(design, spec, n).reshape(n, design.n_points, -1).astype(np.float64)
    u = noise if spec.blocks[0][1].law == "uniform" else ndtr(noise)
    for point in {0, design.n_points // 2, design.n_points - 1}:
        centred = u[:, point] - 0.5
        # Coordinates of one point are independent; so are replicates: all entries count.
        for values, truth in (
            (centred, 0.0),
            (centred**2, 1 / 12),
            (centred**3, 0.0),
            (centred**4, 1 / 80),
        ):
            assert abs(z_score(values.ravel(), truth)) < Z_LIMIT
        in_tails = int((np.abs(centred) > 0.49).sum())
        assert binomial_p_value(in_tails, centred.size, 0.02) > FALSE_ALARM


def test_the_count_of_statistical_checks_holds() -> None:
    """The checks of the declared law are the most numerous; with those of the other tests they stay under 700."""
    points = sum(len({0, design.n_points // 2, design.n_points - 1}) for design in DESIGNS)
    assert points * len(SPECS) * 5 <= 440


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_different_replicates_and_coordinates_are_uncorrelated(design: mcgen.Design) -> None:
    n = 4000
    noise = array(design, NoiseSpec.normal((3,)), n).astype(np.float64)
    assert abs(z_score((noise[:-1, 0, 0] * noise[1:, 0, 0])[::2], 0.0)) < Z_LIMIT
    assert abs(z_score(noise[:, 0, 0] * noise[:, 0, 1], 0.0)) < Z_LIMIT


def test_antithetic_pairs_are_exact_negations() -> None:
    normal = array(Antithetic(), NoiseSpec.normal((4,)), 100)
    uniform = array(Antithetic(), NoiseSpec.uniform((4,)), 100)
    assert np.array_equal(normal[:, 1], -normal[:, 0])
    assert np.array_equal(uniform[:, 1], 1 - uniform[:, 0])
    assert np.array_equal(uniform[:, 0], 1 - uniform[:, 1])


@pytest.mark.parametrize("k", [2, 3, 8])
def test_k_antithetic_correlation_and_margins(k: int) -> None:
    """Z sums to zero, each z_i has variance 1, every pair correlation -1/(k-1)."""
    n = 20000
    z = array(KAntithetic(k), NoiseSpec.normal((2,), "float64"), n)
    assert np.abs(z.sum(axis=1)).max() < 1e-12
    for i in range(min(k, 3)):
        assert abs(z_score(z[:, i].ravel() ** 2, 1.0)) < Z_LIMIT
        j = (i + 1) % k
        assert abs(z_score((z[:, i] * z[:, j]).ravel(), -1 / (k - 1))) < Z_LIMIT


@pytest.mark.parametrize("scale", [1.0, np.sqrt(7 / 8)])
def test_the_margin_check_rejects_wrong_scales(scale: float) -> None:
    """Negative control: the right points of k = 8, rescaled as two plausible mistakes would."""
    z = array(KAntithetic(8), NoiseSpec.normal((2,), "float64"), 20000) * scale * np.sqrt(7 / 8)
    assert abs(z_score(z[:, 0].ravel() ** 2, 1.0)) > Z_LIMIT


def test_the_margin_check_rejects_a_biased_point() -> None:
    """Negative control: a uniform point that is never shifted from the grid's corner."""
    u = np.floor(array(MonteCarlo(), NoiseSpec.uniform((5,)), 4000).astype(float) * 16) / 16
    assert abs(z_score(u.ravel() - 0.5, 0.0)) > Z_LIMIT


def test_antithetic_negates_every_block_but_iid_ones() -> None:
    spec = NoiseSpec({"start": Block((2,)), "steps": Block((7,)), "mask": Block((3,), "uniform", iid=True)})
    noise = Antithetic().draw(spec, 50, SEED)
    for name in ("start", "steps"):
        assert np.array_equal(noise[name][:, 1], -noise[name][:, 0])
    assert not np.allclose(noise["mask"][:, 1], 1 - noise["mask"][:, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KAntithetic(1), "at least k = 2 points; got k = 1. For one point use MonteCarlo"),
        (lambda: LatinHypercube(1), "n_points from 2 to 4194304; got 1. For one point use MonteCarlo"),
        (lambda: LatinHypercube(2**23), "n_points from 2 to 4194304; got 8388608. Take more replicates"),
        (lambda: OrthogonalAntithetic(7), "an even n_points, at least 2; got 7. Near it: 6 and 8"),
        (lambda: OrthogonalAntithetic(0), "an even n_points, at least 2; got 0. Near it: 2"),
        (
            lambda: OrthogonalAntithetic(8).draw((3,), 2, 0),
            "a block of 3 numbers has 3; got n_points = 8. Take at most 6",
        ),
        (lambda: Sobol(48), "a power of two from 2 to 16777216 as n_points; got 48. Near it: 32 and 64"),
        (lambda: Sobol(0), "a power of two from 2"),
        (lambda: Sobol(2**30), "a power of two from 2"),
        (lambda: MonteCarlo().draw((3, 0), 2, 0), "every side of a noise shape must be at least 1; got \\(3, 0\\)"),
        (lambda: MonteCarlo().draw((-3,), 2, 0), "every side of a noise shape must be at least 1; got \\(-3,\\)"),
        (lambda: MonteCarlo().draw((3,), 0, 0), "replicates must be a non-empty range of step 1, from 0 or later"),
        (lambda: MonteCarlo().draw((3,), range(-1, 4), 0), "replicates must be a non-empty range"),
        (lambda: Antithetic().draw((3,), 2, 0, points=range(1, 3)), "points must be .* inside range\\(0, 2\\)"),
        (lambda: MonteCarlo().draw((3,), 2, -1), "seed must be at least 0; got -1"),
        (lambda: NoiseSpec({}), "at least one block and distinct names"),
        (lambda: Block((3,), law="cauchy"), "one of \\('normal', 'uniform'\\); got 'cauchy'"),
        (lambda: NoiseSpec.normal((3,), dtype="float16"), "one of \\('float32', 'float64'\\); got 'float16'"),
    ],
)
def test_refusals_say_what_to_do(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_designs_are_independent_of_each_other_under_one_seed() -> None:
    """What the interval of a relative efficiency in `compare` rests on."""
    spec, n = NoiseSpec.normal((1,), "float64"), 20000
    first = [array(design, spec, n)[:, 0, 0] for design in (MonteCarlo(), Antithetic(), KAntithetic(4), Sobol(8))]
    for i, a in enumerate(first):
        for b in first[:i]:
            assert abs(z_score(a * b, 0.0)) < Z_LIMIT
            assert abs(z_score(a**2 * b**2, 1.0)) < Z_LIMIT

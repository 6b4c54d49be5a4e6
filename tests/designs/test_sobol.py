"""Sobol' points: the net keeps its structure under the scramble, and its law is scipy's."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score
from scipy.stats import qmc

import mcgen
from mcgen import Block, NoiseSpec, Sobol
from mcgen.designs import sobol_matrices
from mcgen.designs.sobol import MAX_DIMENSION, scramble
from mcgen.designs.sobol_matrices import generator_columns


def points(n: int, d: int, replicates: int, seed: int = SEED, first: int = 0) -> np.ndarray:
    return np.asarray(Sobol(n).draw(NoiseSpec.uniform((d,), "float64"), range(first, first + replicates), seed))


def quality_parameter(x: np.ndarray) -> int:
    """The least t for which 2^k points in [0, 1)^2 are a (t, k, 2)-net: every elementary interval of volume
    2^(t - k) holds 2^t points."""
    k = len(x).bit_length() - 1
    for t in range(k + 1):
        if all(
            (
                np.bincount(
                    (x[:, 0] * 2**q).astype(int) << (k - t - q) | (x[:, 1] * 2 ** (k - t - q)).astype(int),
                    minlength=1 << (k - t),
                )
                == 2**t
            ).all()
            for q in range(k - t + 1)
        ):
            return t
    raise AssertionError("every point set has t = k at most")


def test_unscrambled_net_is_scipys() -> None:
    n, d = 128, 40
    columns = generator_columns(d, 7)
    digits = np.zeros((n, d), np.uint32)
    for i in range(n):
        for j in range(7):
            if i >> j & 1:
                digits[i] ^= columns[j]
    theirs = qmc.Sobol(d, scramble=False, bits=32).random(n)
    assert {tuple(row) for row in digits / 2.0**32} == {tuple(row) for row in theirs}


@pytest.mark.parametrize("n", [2, 16, 256, 4096])
def test_every_coordinate_has_one_point_in_each_interval(n: int) -> None:
    x = points(n, 9, 4)
    for replicate, coordinate in itertools.product(range(4), range(9)):
        assert np.array_equal(np.sort((x[replicate, :, coordinate] * n).astype(int)), np.arange(n))


def test_float32_uniforms_and_normals_stay_in_their_intervals() -> None:
    from scipy.special import ndtr

    n = 1024
    for spec in (NoiseSpec.uniform((6,)), NoiseSpec.normal((6,), "float64")):
        x = np.asarray(Sobol(n).draw(spec, 3, SEED)).astype(float)
        u = x if spec.blocks[0][1].law == "uniform" else ndtr(x)
        assert np.array_equal(np.sort((u * n).astype(int), axis=1), np.broadcast_to(np.arange(n)[:, None], (3, n, 6)))


def test_every_pair_of_coordinates_keeps_its_quality_parameter() -> None:
    n, d = 64, 12
    plain = qmc.Sobol(d, scramble=False).random(n)
    scrambled = points(n, d, 3)
    pairs = list(itertools.combinations(range(d), 2))
    expected = [quality_parameter(plain[:, pair]) for pair in pairs]
    assert max(expected) > 0  # most pairs of Sobol' coordinates are no perfect nets
    for x in scrambled:
        assert [quality_parameter(x[:, pair]) for pair in pairs] == expected


def test_the_net_check_rejects_a_broken_scramble() -> None:
    """Negative control: a scramble whose matrix is not lower triangular, and one without ones on its diagonal."""
    columns = generator_columns(2, 6)
    rng = np.random.default_rng(SEED)
    random = rng.integers(0, 2**32, (1, 6, 2), dtype=np.uint32)
    assert quality_parameter(net(scramble(columns, random)[0])) == quality_parameter(net(columns))
    assert quality_parameter(net(random[0])) > quality_parameter(net(columns))
    flat = scramble(columns, random)[0] & ~np.uint32(1 << 31)
    assert quality_parameter(net(flat)) > quality_parameter(net(columns))


def net(columns: np.ndarray) -> np.ndarray:
    digits = np.zeros((1, columns.shape[1]), np.uint32)
    for column in columns:
        digits = np.concatenate([digits, digits ^ column])
    return digits / 2.0**32


def test_mean_over_replicates_is_unbiased() -> None:
    """E f = prod E f_j for f = prod (1 + (x_j^3 - 1/4)) - 1 is 0: an exact truth that a biased scramble misses."""
    x = points(8, 3, 40000)
    values = (np.prod(1 + x**3 - 0.25, axis=2) - 1).mean(axis=1)
    assert abs(z_score(values, 0.0)) < Z_LIMIT


def test_the_bias_check_rejects_a_scramble_without_shift() -> None:
    """Negative control: without the digital shift the point 0 stays where it is."""
    columns = generator_columns(3, 3)
    rng = np.random.default_rng(SEED)
    random = rng.integers(0, 2**32, (40000, 3, 3), dtype=np.uint32)
    values = np.array([(np.prod(1 + net(s) ** 3 - 0.25, axis=1) - 1).mean() for s in scramble(columns, random)])
    assert abs(z_score(values, 0.0)) > Z_LIMIT


@pytest.mark.parametrize("d", [1, 5])
def test_variance_is_that_of_scipys_scramble(d: int) -> None:
    """The variance of a replicate mean under our k words a coordinate and under scipy's full matrices."""
    n, replicates = 16, 4000

    def f(x: np.ndarray) -> np.ndarray:
        return np.exp(x.sum(axis=-1) / d).mean(axis=-1)

    ours = f(points(n, d, replicates))
    engines = (qmc.Sobol(d, rng=np.random.default_rng([SEED, r])) for r in range(replicates))
    theirs = np.array([f(engine.random(n)) for engine in engines])
    squares = [(values - values.mean()) ** 2 for values in (ours, theirs)]
    gap = squares[0].mean() - squares[1].mean()
    error = np.sqrt(sum(s.var(ddof=1) / replicates for s in squares))
    assert abs(gap / error) < Z_LIMIT


def test_more_dimensions_than_a_sequence_has_by_latin_supercube() -> None:
    """Pieces past 21,201 dimensions: each coordinate is stratified, and pieces are independent of each other."""
    n, d = 8, MAX_DIMENSION + 3
    x = points(n, d, 2)
    strata = np.sort((x * n).astype(int), axis=1)
    assert (strata == np.arange(n)[None, :, None]).all()
    spec = NoiseSpec({"a": Block((1,), "uniform"), "b": Block((1,), "uniform")}, "float64")
    noise = Sobol(2).draw(spec, 20000, SEED)
    same_half = ((noise["a"] < 0.5) == (noise["b"] < 0.5))[:, 0, 0]
    assert abs(z_score(same_half.astype(float), 0.5)) < Z_LIMIT


def test_large_replicates_can_be_drawn_in_slices() -> None:
    design = Sobol(2**16)
    whole = np.asarray(design.draw((3,), 1, SEED))
    for start in (0, 1000, 65000):
        part = np.asarray(design.draw((3,), 1, SEED, points=range(start, start + 500)))
        assert np.array_equal(part, whole[:, start : start + 500])


def test_scramble_is_the_matrix_product() -> None:
    """Explicitly: L lower triangular with ones on its diagonal, C's first columns, L C modulo 2."""
    d, k = 3, 7
    columns = generator_columns(d, k)
    random = np.random.default_rng(SEED).integers(0, 2**32, (1, k, d), dtype=np.uint32)
    ours = scramble(columns, random)[0]

    def bits(words: np.ndarray) -> np.ndarray:
        return (words[..., None] >> np.arange(31, -1, -1, dtype=np.uint32) & 1).astype(int)

    for j in range(d):
        c = bits(columns[:, j]).T  # (32, k), row 0 the most significant
        lower = np.tril(np.ones((32, 32), int), -1) * 0
        lower[:, :k] = bits(random[0, :, j]).T
        lower = np.tril(lower, -1) + np.eye(32, dtype=int)
        assert np.array_equal(bits(ours[:, j]).T, lower @ c % 2)


def cube(z: np.ndarray) -> np.ndarray:
    return z**3 + z


CUBE = mcgen.as_generator(cube, noise=(2,), name="cube")
MEAN = mcgen.statistics.pixel_mean


@pytest.mark.parametrize(
    ("evaluations", "points"), [(4, 2), (20, 2), (64, 4), (1000, 32), (1024, 64), (10_000, 512), (2**29, 2**24)]
)
def test_points_from_evaluations(evaluations: int, points: int) -> None:
    assert Sobol().for_evaluations(evaluations) == Sobol(points)
    assert evaluations < 32 or evaluations // points >= 16
    assert evaluations > 2**24 or 2 * points * 16 > evaluations
    assert Sobol(8).for_evaluations(evaluations) == Sobol(8)


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_runs_without_a_number_of_points() -> None:
    """A run is that of the design with the number of points, on the evaluations that are whole replicates of it."""
    asked = {"seed": SEED, "n_evaluations": 1000}
    made = mcgen.estimate(CUBE, MEAN, design=Sobol(), **asked)
    assert made.provenance.design == "Sobol(n_points=32)"
    assert (made.n_replicates, made.n_evaluations) == (31, 992)
    assert made == mcgen.estimate(CUBE, MEAN, design=Sobol(32), seed=SEED, n_evaluations=992)
    paired = mcgen.difference(CUBE, CUBE, MEAN, design=Sobol(), **asked)
    assert paired.provenance.design == "Sobol(n_points=32)"
    narrow = mcgen.estimate(CUBE, MEAN, design=Sobol(), seed=SEED, atol=0.5)
    assert narrow.provenance.design == "Sobol(n_points=64)"


def test_compared_without_a_number_of_points() -> None:
    designs = [mcgen.MonteCarlo(), Sobol(), mcgen.LatinHypercube(10)]
    table = mcgen.compare(CUBE, MEAN, designs=designs, n_evaluations=1000, seed=SEED, baseline=Sobol())
    assert [one.n_evaluations for one in table.estimates] == [960, 960, 960]
    assert table.baseline == 1
    with pytest.raises(ValueError, match="all different"):
        mcgen.compare(CUBE, MEAN, designs=[Sobol(), Sobol(32)], n_evaluations=1000, seed=SEED)


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_stored_without_a_number_of_points(tmp_path: Path) -> None:
    """More evaluations extend a stored run while the number of points stays the same."""
    store = tmp_path / "run.sqlite"
    first = mcgen.estimate(CUBE, MEAN, design=Sobol(), seed=SEED, n_evaluations=1000, store=store)
    assert mcgen.estimate(CUBE, MEAN, design=Sobol(), seed=SEED, n_evaluations=1000, store=store) == first
    longer = mcgen.estimate(CUBE, MEAN, design=Sobol(32), seed=SEED, n_evaluations=2000 // 32 * 32, store=store)
    assert longer.n_replicates == 62
    with pytest.raises(mcgen.StoreError, match="n_points=64"):
        mcgen.estimate(CUBE, MEAN, design=Sobol(), seed=SEED, n_evaluations=2000, store=store)


def test_no_points_where_there_are_no_evaluations() -> None:
    message = r"Sobol\(\) takes its number of points from the n_evaluations .* such as Sobol\(64\)"
    with pytest.raises(ValueError, match=message):
        Sobol().draw((2,), 4, SEED)
    with pytest.raises(ValueError, match=message):
        mcgen.estimate(CUBE, MEAN, design=Sobol(), seed=SEED, n_replicates=100)
    with pytest.raises(ValueError, match=message):
        mcgen.estimate(CUBE, MEAN, design=Sobol(), seed=SEED, replicates=range(100))
    with pytest.raises(ValueError, match=message):
        mcgen.sample(CUBE, 64, design=Sobol(), seed=SEED)
    with pytest.raises(ValueError, match=message):
        mcgen.Subspace(mcgen.bases.dct_basis((2, 2), 1), Sobol())
    with pytest.raises(ValueError, match=message):
        mcgen.multilevel([(CUBE, 1), (CUBE, 2)], MEAN, designs=Sobol(), n_evaluations=1000, seed=SEED)
    assert repr(Sobol()) == "Sobol()"


@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 5), (7, 12), (300, 14), (MAX_DIMENSION, 10)])
def test_generator_matrices_are_those_of_scipys_points(d: int, k: int) -> None:
    assert np.array_equal(generator_columns(d, k), sobol_matrices._by_interface(d, k))


def test_without_scipys_file_the_matrices_come_from_its_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = generator_columns.__wrapped__(40, 6)
    (tmp_path / "other").write_bytes(b"no numbers")
    for name in ("absent", "other"):
        monkeypatch.setattr(sobol_matrices, "_FILE", tmp_path / name)
        monkeypatch.setattr(sobol_matrices, "_direction_numbers", sobol_matrices._direction_numbers.__wrapped__)
        assert sobol_matrices._direction_numbers() is None
        assert np.array_equal(generator_columns.__wrapped__(40, 6), expected)
        monkeypatch.undo()


def test_drawing_imports_no_scipy_stats() -> None:
    code = "import sys, mcgen; mcgen.Sobol(8).draw((3,), 2, 0); assert 'scipy.stats' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

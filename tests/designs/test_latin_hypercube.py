"""Latin hypercube samples: each stratum once, uniform permutations, and the variances that follow."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT, binomial_p_value, z_score
from scipy.special import ndtr

import mcgen
from mcgen import Block, LatinHypercube, NoiseSpec
from mcgen.designs.latin_hypercube import MAX_POINTS, permutations
from mcgen.noise.numbers import number_in_stratum
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies.coverage import simulate


def points(n: int, d: int, replicates: int | range, dtype: str = "float64") -> np.ndarray:
    return np.asarray(LatinHypercube(n).draw(NoiseSpec.uniform((d,), dtype), replicates, SEED))


def is_hypercube(u: np.ndarray) -> bool:
    """Every n-th of every coordinate has one point; u has shape (replicates, n, d)."""
    n = u.shape[1]
    return bool((np.sort(np.floor(u.astype(float) * n), axis=1) == np.arange(n)[:, None]).all())


# The third is cut into slabs of coordinates, of which the last is narrower; the last two into runs of points.
@pytest.mark.parametrize(("n", "d"), [(2, 5), (6, 3), (50, 2001), (64, 700), (1000, 40), (2**16, 3), (70001, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_stratum_of_every_coordinate_has_one_point(n: int, d: int, dtype: str) -> None:
    u = points(n, d, 3, dtype)
    assert is_hypercube(u)
    assert u.min() > 0
    assert u.max() < 1


@pytest.mark.parametrize(("n", "d"), [(6, 3), (50, 2001), (1000, 40)])
def test_normal_points_stay_in_their_strata(n: int, d: int) -> None:
    z = np.asarray(LatinHypercube(n).draw(NoiseSpec.normal((d,), "float64"), 3, SEED))
    assert is_hypercube(ndtr(z))
    single = np.asarray(LatinHypercube(n).draw((d,), 3, SEED))
    assert np.array_equal(single, z.astype(np.float32))


def test_the_stratum_check_rejects_independent_points_and_shared_strata() -> None:
    """Negative controls: no strata, and one stratum taken twice."""
    u = points(6, 3, 3)
    assert not is_hypercube(np.random.default_rng(SEED).random((3, 6, 3)))
    u[0, 0, 0] = u[0, 1, 0]
    assert not is_hypercube(u)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 3, 7, 48, 1000, 2**16, 2**20 + 7, 2**22 - 1, MAX_POINTS])
def test_the_ends_of_strata_are_inside(n: int, dtype: str) -> None:
    strata = np.unique(np.linspace(0, n - 1, 1000).astype(np.uint64))
    for word in (0, 2**32 - 1):
        u = np.empty(len(strata), dtype)
        number_in_stratum(strata, n, np.full(len(strata), word, np.uint32), "uniform", dtype, u)
        assert np.array_equal(np.floor(u.astype(float) * n), strata)
        assert u[0] > 0
        assert u[-1] < 1
        number_in_stratum(strata, n, np.full(len(strata), word, np.uint32), "normal", dtype, u)
        assert np.isfinite(u).all()


def test_cells_of_all_32_digits_would_cross_strata() -> None:
    """Why strata have cells of their own: the cell that 2/3 falls in has its middle below 2/3."""
    cell = (2 * 2**32) // 3
    assert np.floor((cell + 0.5) / 2**32 * 3) == 1


def test_permutations_are_uniform_and_independent() -> None:
    """All 6 orders of 3 points alike, and those of two coordinates independent: 36 pairs of orders alike."""
    replicates = 40000
    order = np.floor(points(3, 2, replicates) * 3).astype(int)
    numbers = order[:, 0] * 9 + order[:, 1] * 3 + order[:, 2]
    kinds = [a * 9 + b * 3 + c for a, b, c in itertools.permutations(range(3))]
    for kind in kinds:
        assert binomial_p_value(int((numbers[:, 0] == kind).sum()), replicates, 1 / 6) > FALSE_ALARM
    same = int((numbers[:, 0] == numbers[:, 1]).sum())
    assert binomial_p_value(same, replicates, 1 / 6) > FALSE_ALARM


def test_words_that_tie_are_ordered_by_their_number() -> None:
    words = np.zeros(2 * 5, np.uint32).reshape(1, 10)
    assert np.array_equal(permutations(words, 5)[0, 0], np.arange(5))
    # The most significant half decides: that of number 0 is the largest.
    words = np.zeros((1, 5), np.uint64)
    words[0, 0] = 2**63
    assert np.array_equal(permutations(words.view(np.uint32), 5)[0, 0], [1, 2, 3, 4, 0])


@pytest.mark.parametrize("n", [2, 5, 64])
def test_variance_of_a_linear_statistic_is_exact(n: int) -> None:
    """Sum_j a_j^2 / (12 n^3) for the mean of sum_j a_j u_j."""
    a = np.array([1.0, -2.0, 0.5])
    errors = (points(n, 3, 20000) @ a).mean(axis=1) - a.sum() / 2
    exact = (a**2).sum() / (12 * n**3)
    assert abs(z_score(errors**2 / exact, 1.0)) < Z_LIMIT
    # Negative control: independent points have n^2 times as much.
    independent = np.random.default_rng(SEED).random((20000, n, 3)) @ a
    assert abs(z_score((independent.mean(axis=1) - a.sum() / 2) ** 2 / exact, 1.0)) > Z_LIMIT


@pytest.mark.parametrize("n", [2, 6])
def test_variance_of_a_product_is_exact(n: int) -> None:
    r"""((1 - n^-3)^2 / (n - 1) + n^-6) / 144 for (u_1 - 1/2)(u_2 - 1/2): an interaction loses up to n / (n - 1).

    Given its values g_p and h_p in the strata, with means g and h, the mean over permuted points has mean g h and variance
    SS_g SS_h / (n^2 (n - 1)), where E SS_g = n (1 - n^-3) / 12 and E g^2 = 1 / (12 n^3).
    """
    u = points(n, 2, 40000) - 0.5
    exact = ((1 - n**-3.0) ** 2 / (n - 1) + n**-6.0) / 144
    assert abs(z_score(np.prod(u, axis=2).mean(axis=1) ** 2 / exact, 1.0)) < Z_LIMIT
    # Negative control: one permutation for both coordinates.
    order = np.argsort(np.argsort(u[:, :, 0], axis=1), axis=1)
    shared = np.take_along_axis(np.sort(u[:, :, 1], axis=1), order, axis=1)
    assert abs(z_score((u[:, :, 0] * shared).mean(axis=1), 0.0)) > Z_LIMIT


def test_additive_functions_of_normal_noise_are_integrated_far_better() -> None:
    """Stein's theorem: what is left of the variance is of the part that is not additive, here none."""
    n, d = 64, 8
    z = np.asarray(LatinHypercube(n).draw(NoiseSpec.normal((d,), "float64"), 2000, SEED))
    values = (z**2 + np.exp(z / 2)).sum(axis=2)
    truth = d * (1 + np.exp(1 / 8))
    assert abs(z_score(values.mean(axis=1), truth)) < Z_LIMIT
    assert n * values.mean(axis=1).var() < 0.15 * values.var()
    product = np.prod(z, axis=2)
    assert n * product.mean(axis=1).var() > 0.5 * product.var()


@pytest.mark.parametrize("name", ["exponential", "genz-continuous", "keister", "digits-class"])
def test_means_over_problems_are_unbiased(name: str) -> None:
    problem = PROBLEMS[name]
    means = simulate(problem, LatinHypercube(12), 2000, SEED).means
    error = np.hypot(means.std(ddof=1) / np.sqrt(len(means)), problem.truth_error)
    assert abs((means.mean() - problem.truth) / error) < Z_LIMIT


@pytest.mark.parametrize(("n", "d"), [(6, 11), (50, 2001), (70001, 2)])
def test_any_range_and_slice_has_the_same_bits(n: int, d: int) -> None:
    whole = points(n, d, range(5, 9), "float32")
    assert np.array_equal(points(n, d, range(7, 9), "float32"), whole[2:])
    for start, stop in ((0, 1), (n // 3, n - 1), (n - 1, n)):
        part = LatinHypercube(n).draw(NoiseSpec.uniform((d,)), range(6, 8), SEED, points=range(start, stop))
        assert np.array_equal(part, whole[1:3, start:stop])


def test_blocks_side_by_side_are_one_hypercube() -> None:
    """Coordinates of different blocks have independent permutations, as those of one block do."""
    spec = NoiseSpec({"a": Block((1,), "uniform"), "b": Block((1,), "uniform")}, "float64")
    noise = LatinHypercube(2).draw(spec, 20000, SEED)
    assert is_hypercube(np.concatenate([noise["a"], noise["b"]], axis=2))
    same_half = ((noise["a"] < 0.5) == (noise["b"] < 0.5))[:, 0, 0]
    assert abs(z_score(same_half.astype(float), 0.5)) < Z_LIMIT


@pytest.mark.parametrize(("n", "d", "replicates"), [(64, 3072, 20), (16, 8, 10000), (2**20, 2, 1)])
def test_memory_is_at_most_three_times_the_noise(n: int, d: int, replicates: int) -> None:
    LatinHypercube(2).draw((1,), 1, 0)
    tracemalloc.start()
    noise = LatinHypercube(n).draw((d,), replicates, SEED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * np.asarray(noise).nbytes


def test_its_sources_are_cited(estimate) -> None:
    assert "stein1987large" in mcgen.citation(estimate(design=mcgen.LatinHypercube(8)))

"""Orthogonal antithetic points: orthogonal, Haar-distributed, at independent chi lengths; and variances that follow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT, z_score
from scipy import stats
from scipy.special import ndtri

import mcgen
from mcgen import Antithetic, Block, NoiseSpec, OrthogonalAntithetic
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies.coverage import simulate

# Dimensions and points: Householder's way, the Gram matrix's, and that in pieces.
SMALL, LARGE, PIECES = (6, 6), (40, 16), (5001, 24)


def points(d: int, n: int, replicates: int | range, dtype: str = "float64", **options: object) -> np.ndarray:
    return np.asarray(OrthogonalAntithetic(n).draw(NoiseSpec.normal((d,), dtype), replicates, SEED, **options))


def directions(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (replicates, m) and directions (replicates, m, d) of the first of each pair, in double precision."""
    first = z[:, ::2].astype(float)
    lengths = np.linalg.norm(first, axis=2)
    return lengths, first / lengths[:, :, None]


def largest_cosine(q: np.ndarray) -> float:
    return float(np.abs(q @ q.swapaxes(1, 2) - np.eye(q.shape[1])).max())


@pytest.mark.parametrize(("d", "n"), [(1, 2), (3, 4), SMALL, (37, 16), LARGE, PIECES, (64, 128), (144, 128)])
@pytest.mark.parametrize(("dtype", "error"), [("float32", 2e-6), ("float64", 1e-13)])
def test_directions_are_orthonormal_and_pairs_negations(d: int, n: int, dtype: str, error: float) -> None:
    z = points(d, n, 50, dtype)
    assert np.array_equal(z[:, 1::2], -z[:, ::2])
    assert largest_cosine(directions(z)[1]) < error


def test_uniform_points_are_the_distribution_function_of_such_points() -> None:
    for dtype in ("float32", "float64"):
        u = np.asarray(OrthogonalAntithetic(16).draw(NoiseSpec.uniform((40,), dtype), 50, SEED))
        # The cells that numbers are rounded to are wide far out in the tails.
        assert np.array_equal(u[:, 1::2], 1 - u[:, ::2])
        assert largest_cosine(directions(ndtri(u))[1]) < (1e-3 if dtype == "float32" else 1e-6)


@pytest.mark.parametrize(("d", "n"), [SMALL, LARGE])
def test_lengths_are_independent_and_chi(d: int, n: int) -> None:
    lengths, q = directions(points(d, n, 20000))
    for i in (0, n // 4, n // 2 - 1):
        assert stats.kstest(lengths[:, i], stats.chi(d).cdf).pvalue > FALSE_ALARM
        j = (i + 1) % (n // 2)
        centred = lengths**2 - d
        assert abs(z_score(centred[:, i] * centred[:, j], 0.0)) < Z_LIMIT
        # Independent of the directions, its own and another's.
        assert abs(z_score(centred[:, i] * (q[:, i, 0] ** 2 - 1 / d), 0.0)) < Z_LIMIT
        assert abs(z_score(centred[:, i] * (q[:, j, 0] ** 2 - 1 / d), 0.0)) < Z_LIMIT
    # Negative controls: the lengths of another dimension, and one length for all.
    assert stats.kstest(lengths[:, 0], stats.chi(d + 1).cdf).pvalue < FALSE_ALARM
    assert abs(z_score(centred[:, 0] * centred[:, 0], 0.0)) > Z_LIMIT


@pytest.mark.parametrize(("d", "n"), [SMALL, LARGE])
def test_points_are_normal_in_every_direction(d: int, n: int) -> None:
    z = points(d, n, 20000)
    oblique = np.arange(1.0, d + 1)
    oblique /= np.linalg.norm(oblique)
    for i in (0, n // 2, n - 1):
        assert stats.kstest(z[:, i] @ oblique, stats.norm.cdf).pvalue > FALSE_ALARM
        assert stats.kstest(z[:, i, -1], stats.norm.cdf).pvalue > FALSE_ALARM


def test_frames_are_haar_distributed() -> None:
    """Under the Haar law of d = 3 a frame of three has a determinant of either sign, and E trace^2 = 1."""
    q = directions(points(3, 6, 20000))[1]
    assert abs(z_score(np.linalg.det(q), 0.0)) < Z_LIMIT
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(z_score(trace, 0.0)) < Z_LIMIT
    assert abs(z_score(trace**2, 1.0)) < Z_LIMIT
    # Negative control: Householder's own signs, which are no random ones.
    theirs = np.linalg.qr(np.random.default_rng(SEED).standard_normal((20000, 3, 3)))[0]
    assert abs(z_score(np.trace(theirs, axis1=1, axis2=2) ** 2, 1.0)) > Z_LIMIT


def quadratic_variance(form: np.ndarray, m: int) -> float:
    """Var of the mean of z'Bz over the points: that of the module's docstring."""
    d = len(form)
    rest = form - np.trace(form) / d * np.eye(d)
    left = np.trace(form @ form) - (m - 1) * d / ((d - 1) * (d + 2)) * np.trace(rest @ rest)
    return 2 / m * float(left)


@pytest.mark.parametrize(("d", "n"), [SMALL, (6, 12), LARGE])
@pytest.mark.parametrize("trace", [0.0, 3.0])
def test_variance_of_a_quadratic_form_is_exact(d: int, n: int, trace: float) -> None:
    form = np.random.default_rng(1).standard_normal((d, d))
    form += form.T
    form += (trace - np.trace(form)) / d * np.eye(d)
    z = points(d, n, 20000)
    means = np.einsum("rni,ij,rnj->rn", z, form, z, optimize=True).mean(axis=1)
    squares = (means - trace) ** 2
    assert abs(z_score(means, trace)) < Z_LIMIT
    assert abs(z_score(squares / quadratic_variance(form, n // 2), 1.0)) < Z_LIMIT
    # Negative control: as many antithetic pairs.
    assert z_score(squares / (4 / n * np.trace(form @ form)), 1.0) < -Z_LIMIT


def test_of_a_form_without_trace_a_whole_frame_leaves_little() -> None:
    form = np.diag([1.0, 2.0, 3.0, -6.0])
    assert quadratic_variance(form, 4) == pytest.approx(2 / (4 + 2) * 2 / 4 * np.trace(form @ form))


@pytest.mark.parametrize(("d", "n"), [SMALL, LARGE])
def test_squared_lengths_vary_as_those_of_pairs(d: int, n: int) -> None:
    z = points(d, n, 20000)
    means = (z**2).sum(axis=2).mean(axis=1)
    exact = 2 * d / (n / 2)
    assert quadratic_variance(np.eye(d), n // 2) == pytest.approx(exact)
    assert abs(z_score((means - d) ** 2 / exact, 1.0)) < Z_LIMIT
    # Negative control: one length for all points of a replicate.
    common = (z[:, 0] ** 2).sum(axis=1)
    assert abs(z_score((common - d) ** 2 / exact, 1.0)) > Z_LIMIT


def test_degree_four_has_the_correlation_of_funk_and_hecke() -> None:
    """P_4(0) = 3/8 in three dimensions, of Legendre's polynomial of one coordinate, whose mean square is 1/9."""
    x = directions(points(3, 4, 20000))[1][:, :, 0]
    values = (35 * x**4 - 30 * x**2 + 3) / 8
    assert abs(z_score(values[:, 0] * values[:, 1], 3 / 8 / 9)) < Z_LIMIT
    independent = directions(np.asarray(Antithetic().draw(NoiseSpec.normal((3,), "float64"), 40000, SEED)))[1][:, 0, 0]
    values = (35 * independent**4 - 30 * independent**2 + 3) / 8
    assert abs(z_score(values[::2] * values[1::2], 3 / 8 / 9)) > Z_LIMIT


@pytest.mark.parametrize(
    ("name", "n"), [("exponential", 2), ("genz-continuous", 8), ("keister", 4), ("digits-class", 16)]
)
def test_means_over_problems_are_unbiased(name: str, n: int) -> None:
    problem = PROBLEMS[name]
    means = simulate(problem, OrthogonalAntithetic(n), 2000, SEED).means
    error = np.hypot(means.std(ddof=1) / np.sqrt(len(means)), problem.truth_error)
    assert abs((means.mean() - problem.truth) / error) < Z_LIMIT


@pytest.mark.parametrize("d", [1, 5, 33, 37, 101, 257, 5001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_range_and_slice_has_the_same_bits(d: int, dtype: str) -> None:
    """Odd dimensions, so that the rows of a stack of matrices lie anywhere in memory."""
    for n in (2, 4, 6, 16, 24):
        if n > 2 * d:
            continue
        replicates = range(3, 3 + (300 if d < 200 else 5))
        whole = points(d, n, replicates, dtype)
        for r in (3, 4, replicates[-1]):
            assert np.array_equal(points(d, n, range(r, r + 1), dtype)[0], whole[r - 3])
        assert np.array_equal(points(d, n, replicates[1:4], dtype), whole[1:4])
        for start, stop in ((0, 1), (1, 2), (n // 2, n), (n - 1, n), (1, n - 1)):
            if start < stop:
                part = points(d, n, replicates[1:3], dtype, points=range(start, stop))
                assert np.array_equal(part, whole[1:3, start:stop])


def test_large_noise_fits() -> None:
    d, n = 196_608, 64
    points(1, 2, 1)
    tracemalloc.start()
    z = np.asarray(OrthogonalAntithetic(n).draw((3, 256, 256), 1, SEED)).reshape(1, n, d)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * z.nbytes
    assert largest_cosine(directions(z)[1]) < 1e-6


def test_every_block_has_directions_of_its_own() -> None:
    spec = NoiseSpec(
        {"a": Block((4,)), "b": Block((9,), "uniform"), "hidden": Block((1,), "uniform", iid=True)}, "float64"
    )
    noise = OrthogonalAntithetic(8).draw(spec, 500, SEED)
    assert largest_cosine(directions(noise["a"])[1]) < 1e-12
    assert largest_cosine(directions(ndtri(noise["b"]))[1]) < 1e-6
    assert abs(z_score(noise["a"][:, 0, 0] * ndtri(noise["b"][:, 0, 0]), 0.0)) < Z_LIMIT
    assert noise["hidden"].shape == (500, 8, 1)
    with pytest.raises(ValueError, match="a block of 4 numbers has 4; got n_points = 10. Take at most 8"):
        OrthogonalAntithetic(10).draw(spec, 2, SEED)["a"]


def test_its_sources_are_cited(estimate) -> None:
    assert "rowland2018geometrically" in mcgen.citation(estimate(design=mcgen.OrthogonalAntithetic(8)))

"""The squared Fréchet distance from replicates: exact values, its bias and variance by theory, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from numpy.typing import NDArray

from mcgen.errors import RunError
from mcgen.inference.distances.feature_moments import FeatureMoments
from mcgen.inference.distances.frechet import _without_bias, frechet_terms, influence_matrix, plug_in
from mcgen.inference.distances.terms import DistanceTerms, Points

Floats = NDArray[np.float64]


def usual(a: Floats, b: Floats) -> float:
    """The formula of pytorch-fid, by the eigenvalues of the product of the covariances."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0.0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second) - 2 * roots)


def moments(features: Floats) -> FeatureMoments:
    return FeatureMoments(features.mean(0), np.cov(features, rowvar=False))


def law(features: Floats, n_points: int = 1) -> list[Points]:
    return [Points(features.reshape(-1, n_points, features.shape[1]), np.full(n_points, 1 / n_points))]


def terms(features: Floats, reference: FeatureMoments, n_points: int = 1, **more: Floats) -> DistanceTerms:
    return frechet_terms([law(features, n_points)], np.ones((1, 1)), reference, **more)[0]


def gaussian(d: int) -> tuple[FeatureMoments, Floats]:
    """A reference of independent features with variances 1 / j, and their standard deviations."""
    s = 1 / np.arange(1, d + 1.0)
    return FeatureMoments(np.zeros(d), np.diag(s)), np.sqrt(s)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_plug_in_is_the_usual_formula(d: int) -> None:
    rng = np.random.default_rng(SEED)
    a, b = rng.standard_normal((300, d)) @ rng.standard_normal((d, d)) + 1, rng.standard_normal((500, d))
    wanted = usual(a, b) if d > 1 else (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert plug_in(a, moments(b) if d > 1 else FeatureMoments(b.mean(0), np.cov(b.T).reshape(1, 1))) == pytest.approx(
        wanted, rel=1e-9
    )
    assert terms(a, FeatureMoments(b.mean(0), np.cov(b.T).reshape(d, d)), 3).plug_in == pytest.approx(wanted, rel=1e-9)


def test_commuting_covariances_and_a_full_matrix_of_two_have_closed_forms() -> None:
    rng = np.random.default_rng(SEED)
    a, b, shift = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0]), np.array([0.1, -0.2, 0.3])
    x = rng.standard_normal((4000, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    reference = FeatureMoments(np.zeros(3), np.diag(b))
    wanted = (shift**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert plug_in(x * np.sqrt(a) + shift, reference) == pytest.approx(wanted, rel=1e-9)
    first, second = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 0.7]])
    z = x[:, :2] @ np.linalg.inv(np.linalg.cholesky(np.cov(x[:, :2], rowvar=False))).T
    product = first @ second
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    found = plug_in(z @ np.linalg.cholesky(first).T, FeatureMoments(z.mean(0) @ np.linalg.cholesky(first).T, second))
    assert found == pytest.approx(np.trace(first + second) - 2 * root, rel=1e-9)


def test_bias_and_degenerate_variance_are_those_of_gaussian_theory() -> None:
    d, n, repetitions = 8, 800, 300
    reference, sd = gaussian(d)
    s = sd**2
    rng = np.random.default_rng(SEED)
    found = [terms(rng.standard_normal((n, d)) * sd, reference) for _ in range(repetitions)]
    pairs = np.outer(s, s) / np.add.outer(s, s)
    bias = (s.sum() + 0.5 * (pairs * (1 + np.eye(d))).sum()) / n
    spread = np.sqrt(2 * (np.concatenate([s, pairs[np.tril_indices(d, -1)], s / 2]) ** 2).sum()) / n
    plug_ins, estimates = np.array([one.plug_in for one in found]), np.array([one.estimate for one in found])
    error = spread / np.sqrt(repetitions)
    assert abs(plug_ins.mean() - bias) < Z_LIMIT * error + 0.03 * bias
    assert abs(estimates.mean()) < Z_LIMIT * error
    # The spread of a sum of squares has a standard error of about 1 / sqrt(repetitions) of itself.
    assert estimates.std() == pytest.approx(spread, rel=Z_LIMIT / np.sqrt(repetitions))
    assert np.mean([one.second_variance for one in found]) == pytest.approx(spread**2, rel=0.1)
    assert np.mean([one.first_variance for one in found]) == pytest.approx(2 * spread**2, rel=0.2)


def test_first_order_variance_is_that_of_gaussian_theory() -> None:
    d, n = 6, 20_000
    reference, sd = gaussian(d)
    rng = np.random.default_rng(SEED)
    scale, shift = np.linspace(0.7, 1.4, d), np.linspace(-0.2, 0.3, d)
    x = rng.standard_normal((n, d)) * sd * scale + shift
    cov, transport = np.diag((sd * scale) ** 2), np.diag(1 / scale)
    a = (np.eye(d) - transport) @ cov
    wanted = (4 * shift @ cov @ shift + 2 * np.trace(a @ a)) / n
    assert terms(x, reference).first_variance == pytest.approx(wanted, rel=0.1)


def test_influence_matrix_gives_the_influence_of_each_point() -> None:
    rng = np.random.default_rng(SEED)
    x, reference = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 4)), moments(rng.standard_normal((900, 4)))
    matrix, (mean, centre) = influence_matrix(law(x), reference)
    own = ((x - mean) ** 2).sum(1) - np.einsum("ni,ij,nj->n", x - centre, matrix, x - centre)
    assert terms(x, reference).influence[0] == pytest.approx(own - own.mean(), rel=1e-7, abs=1e-9)
    # The derivative of the formula in the direction of one point.
    step = 1e-4
    weights = np.full(400, 1 / 400) * (1 - step)
    weights[7] += step

    def at(w: Floats) -> float:
        m, c = w @ x, np.cov(x, rowvar=False, aweights=w, ddof=0)
        roots = np.sqrt(np.maximum(np.linalg.eigvals(c @ reference.covariance).real, 0)).sum()
        return float(((m - mean) ** 2).sum() + np.trace(c + reference.covariance) - 2 * roots)

    slope = (at(weights) - at(np.full(400, 1 / 400))) / step
    assert slope == pytest.approx(own[7] - own.mean(), rel=1e-2)


def test_rotation_shift_and_scale() -> None:
    rng = np.random.default_rng(SEED)
    x, y = rng.standard_normal((200, 5)) * [1, 2, 3, 1, 1], rng.standard_normal((300, 5))
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    one, other = terms(x, moments(y), 2), terms(3 * x @ rotation + 7, moments(3 * y @ rotation + 7), 2)
    assert other.estimate == pytest.approx(9 * one.estimate, rel=1e-9)
    assert other.second_variance == pytest.approx(81 * one.second_variance, rel=1e-7)
    assert other.influence[0] == pytest.approx(9 * one.influence[0], rel=1e-6, abs=1e-9)


def test_groups_of_unequal_size_take_away_the_bias_exactly() -> None:
    counts = np.array([3.0, 3.0, 2.0, 2.0, 2.0])
    n, limit, c = counts.sum(), 2.5, 0.7
    distances = np.array([limit + c / n, *(limit + c / (n - counts)), limit + 2 * c / n, limit + 2 * c / n])
    value, jackknife, by_halves = _without_bias(distances, counts / n)
    assert (value, jackknife, by_halves) == pytest.approx((limit + c / n, limit, limit))


@pytest.mark.parametrize("sizes", [(200, 200), (160, 250)])
def test_mixture_is_the_distance_of_the_pooled_features(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(SEED)
    parts = [rng.standard_normal((n, 3)) * (1 + c) + c for c, n in enumerate(sizes)]
    weights = [n / sum(sizes) for n in sizes]
    reference = moments(rng.standard_normal((800, 3)))
    mixed = [Points(x[:, None, :], np.ones(1), w) for x, w in zip(parts, weights, strict=True)]
    found = frechet_terms([mixed], np.ones((1, 1)), reference)[0]
    assert found.plug_in == pytest.approx(plug_in(np.concatenate(parts), reference), rel=1e-9)
    assert [len(one) for one in found.influence] == [*sizes]
    assert [abs(float(one.sum())) < 1e-9 for one in found.influence] == [True, True]


def test_mixture_of_strata_has_no_bias_and_the_variance_that_is_said() -> None:
    rng = np.random.default_rng(SEED)
    d, n, repetitions = 3, 150, 200
    reference = FeatureMoments(np.full(d, 1.0), np.eye(d) * 2.5)
    # The mixture of N(0, I) and N(2, I) has mean 1 and covariance I + 1 1^T.
    truth = float(((np.sqrt([1.0, 1.0, 1.0 + d]) - np.sqrt(2.5)) ** 2).sum())
    found = []
    for _ in range(repetitions):
        strata = [Points((rng.standard_normal((n, d)) + 2 * c)[:, None, :], np.ones(1), 0.5) for c in (0, 1)]
        found.append(frechet_terms([strata], np.ones((1, 1)), reference)[0])
    estimates = np.array([one.estimate for one in found])
    error = estimates.std() / np.sqrt(repetitions)
    assert abs(estimates.mean() - truth) < Z_LIMIT * error
    assert np.mean([one.variance for one in found]) == pytest.approx(estimates.var(), rel=0.5)


def test_difference_of_a_law_and_itself_is_zero_and_of_two_is_that_of_their_terms() -> None:
    rng = np.random.default_rng(SEED)
    x, y = rng.standard_normal((240, 4)), rng.standard_normal((900, 4))
    near = 1.02 * x + 0.01
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    a, b, both = frechet_terms([law(x, 2), law(near, 2)], rows, moments(y))
    assert both.estimate == pytest.approx(a.estimate - b.estimate, rel=1e-12)
    assert both.influence[0] == pytest.approx(a.influence[0] - b.influence[0], abs=1e-12)
    assert both.second_variance < 0.01 * (a.second_variance + b.second_variance)
    nothing = frechet_terms([law(x, 2), law(x, 2)], np.array([[1.0, -1.0]]), moments(y))[0]
    assert (nothing.estimate, nothing.variance, nothing.plug_in) == (0, 0, 0)


def test_sampled_reference_adds_its_bias_and_its_variance() -> None:
    sd = gaussian(5)[1]
    rng = np.random.default_rng(SEED)
    n, m, repetitions = 400, 300, 200
    found = []
    for _ in range(repetitions):
        x, y = (rng.standard_normal((size, 5)) * sd for size in (n, m))
        found.append(terms(1.3 * x + 0.1, moments(y), sample=y))
    truth = 5 * 0.01 + 0.09 * (sd**2).sum()
    estimates = np.array([one.estimate for one in found])
    assert abs(estimates.mean() - truth) < Z_LIMIT * estimates.std() / np.sqrt(repetitions)
    # The negative control: the usual value is far too large.
    plug_ins = np.array([one.plug_in for one in found])
    assert plug_ins.mean() - truth > Z_LIMIT * plug_ins.std() / np.sqrt(repetitions)
    variance = np.mean([one.first_variance + one.reference_variance for one in found])
    assert variance == pytest.approx(estimates.var(), rel=0.4)
    assert np.mean([one.reference_variance for one in found]) > 0.3 * variance


def test_antithetic_pairs_are_without_bias_where_the_usual_value_is_far_off() -> None:
    d, n, repetitions = 8, 256, 200
    reference, sd = gaussian(d)
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(repetitions):
        z = rng.standard_normal((n // 2, d))
        x = np.stack([z, -z], axis=1).reshape(-1, d) * sd * 1.1
        found.append(terms(x, reference, 2))
    truth, estimates = 0.01 * (sd**2).sum(), np.array([one.estimate for one in found])
    error = estimates.std() / np.sqrt(repetitions)
    assert abs(estimates.mean() - truth) < Z_LIMIT * error
    assert np.mean([one.plug_in for one in found]) - truth > 3 * Z_LIMIT * error


def test_low_rank_reference_and_features_of_a_large_offset() -> None:
    rng = np.random.default_rng(SEED)
    base = rng.standard_normal((600, 3)) @ rng.standard_normal((3, 10))
    reference = moments(base + 1e4)
    assert reference.rank == 3
    x = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 10)) + 1e4
    assert terms(x, reference).plug_in == pytest.approx(usual(x - 1e4, base), rel=1e-5)


def test_too_few_samples_or_replicates_are_refused_with_the_numbers_needed() -> None:
    reference, sd = gaussian(20)
    rng = np.random.default_rng(SEED)
    fewest = reference.fewest_samples
    with pytest.raises(RunError, match=rf"{fewest - 2} samples are too few .* Use {fewest} samples or more"):
        terms(rng.standard_normal((fewest - 2, 20)) * sd, reference)
    with pytest.raises(RunError, match="needs 8 or more replicates .* got 7"):
        terms(rng.standard_normal((70, 20)) * sd, reference, 10)
    with pytest.raises(RunError, match="the features of all samples are the same"):
        terms(np.ones((70, 20)), reference)
    few = terms(rng.standard_normal((fewest, 20)) * sd, reference)
    assert few.margin > 0
    assert f"Use {reference.enough_samples:,} independent samples or more" in few.warnings[0]

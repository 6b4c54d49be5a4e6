"""Distances by kernels: closed forms, the definitions of all terms by brute force, unbiasedness, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score
from scipy import stats

from mcgen.errors import NonFiniteError, RunError
from mcgen.inference.distances import kernel_distances, kernel_sums
from mcgen.inference.distances.kernel_blocks import numbers_of_block, terms_of_blocks
from mcgen.inference.distances.kernel_distances import (
    constants_of,
    cubic_kernel,
    energy_kernel,
    kernel_terms,
    sample_of_reference,
    sums_of_reference,
)
from mcgen.inference.distances.terms import DistanceTerms, Law, Points
from mcgen.replicates.blocks import Blocks

KERNELS = [cubic_kernel, energy_kernel]
SINGLE = np.ones((1, 1))


def gaussian_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-((x[:, None] - y[None]) ** 2).sum(axis=2) / 2)


def run_of(values: np.ndarray, weight: float = 1.0) -> Points:
    p = values.shape[1]
    return Points(values, np.full(p, 1 / p), weight)


def single(values: np.ndarray, reference: np.ndarray, kernel: Any = cubic_kernel, **how: Any) -> DistanceTerms:
    """The terms of one law of one stratum; a fixed reference unless told otherwise."""
    return kernel_terms([[run_of(values)]], SINGLE, reference, kernel, **{"fixed": True} | how)[0]


def direct(law: Law, reference: np.ndarray, kernel: Any, fixed: bool) -> float:
    """The distance by its definition, replicate by replicate."""
    total = 0.0
    for a, one in enumerate(law):
        for r, x in enumerate(one.values):
            share = one.weight / len(one)
            total -= 2 * share * float((one.point_weights @ kernel(x, reference)).mean())
            for b, other in enumerate(law):
                for s, y in enumerate(other.values):
                    if (a, r) != (b, s):
                        n = len(other) - 1 if a == b else len(other)
                        total += (
                            share * other.weight / n * float(one.point_weights @ kernel(x, y) @ other.point_weights)
                        )
    k, n = kernel(reference, reference), len(reference)
    return total + float(k.mean() if fixed else (k.sum() - np.trace(k)) / (n * (n - 1)))


def left_out(law: Law, c: int, r: int) -> list[Points]:
    """The law without one replicate."""
    return [
        Points(np.delete(one.values, r, axis=0), one.point_weights, one.weight) if a == c else one
        for a, one in enumerate(law)
    ]


def mixture(rng: np.random.Generator) -> list[Points]:
    return [
        Points(rng.normal(size=(9, 2, 3)), np.array([0.3, 0.7]), 0.4),
        Points(rng.normal(0.5, 1.2, size=(8, 3, 3)), np.array([0.5, 0.25, 0.25]), 0.6),
    ]


def moments(mean: float, sd: float) -> np.ndarray:
    """The first three moments of a normal law."""
    return np.array([mean, mean**2 + sd**2, mean**3 + 3 * mean * sd**2])


@pytest.mark.parametrize("fixed", [True, False])
def test_the_cubic_kernel_has_its_closed_form_in_one_dimension(fixed: bool) -> None:
    rng = np.random.default_rng(SEED)
    reference = rng.normal(0.2, 1.5, size=(30, 1))
    x, weights = moments(0.5, 0.8), np.array([3, 3, 1])
    y = np.array([(reference**power).mean() for power in (1, 2, 3)]) if fixed else moments(0.2, 1.5)
    found = [
        single(
            rng.normal(0.5, 0.8, size=(20, 1, 1)),
            reference if fixed else rng.normal(0.2, 1.5, size=(30, 1)),
            fixed=fixed,
        ).estimate
        for _ in range(400)
    ]
    assert abs(z_score(np.array(found), float(weights @ (x - y) ** 2))) < Z_LIMIT


def test_the_energy_distance_has_its_closed_form_in_one_dimension() -> None:
    rng = np.random.default_rng(SEED)

    def absolute(mean: float, sd: float) -> float:
        return float(stats.foldnorm(abs(mean) / sd, scale=sd).mean())

    truth = 2 * absolute(0.7, np.hypot(1, 0.5)) - absolute(0, np.sqrt(2)) - absolute(0, np.sqrt(0.5))
    found = [
        single(rng.normal(size=(20, 1, 1)), rng.normal(0.7, 0.5, size=(25, 1)), energy_kernel, fixed=False).estimate
        for _ in range(400)
    ]
    assert abs(z_score(np.array(found), truth)) < Z_LIMIT


def test_independent_points_give_the_number_of_clean_fid() -> None:
    rng = np.random.default_rng(SEED)
    x, y = rng.gamma(1.0, size=(60, 16)), rng.gamma(1.2, size=(60, 16))
    # clean-fid's kernel_distance with one subset of all points.
    n, m = x.shape[1], len(x)
    a = (x @ x.T / n + 1) ** 3 + (y @ y.T / n + 1) ** 3
    b = (x @ y.T / n + 1) ** 3
    printed = (a.sum() - np.diag(a).sum()) / (m - 1) - b.sum() * 2 / m
    found = single(x[:, None], y, fixed=False)
    assert found.estimate == pytest.approx(printed / m, rel=1e-9)
    assert found.plug_in == pytest.approx(printed / m, rel=1e-9)
    # The same points in replicates of 4: what is printed does not change.
    assert single(x.reshape(15, 4, 16), y, fixed=False).plug_in == pytest.approx(printed / m, rel=1e-9)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kernel", [*KERNELS, gaussian_kernel])
def test_estimate_and_influence_are_those_of_the_jackknife_by_brute_force(kernel: Any, fixed: bool) -> None:
    rng = np.random.default_rng(SEED)
    law, reference = mixture(rng), rng.normal(0.3, 1.0, size=(8, 3))
    (found,) = kernel_terms([law], SINGLE, reference, kernel, fixed=fixed)
    assert found.estimate == pytest.approx(direct(law, reference, kernel, fixed), rel=1e-12)
    for c, influence in enumerate(found.influence):
        changes = np.array([direct(left_out(law, c, r), reference, kernel, fixed) for r in range(len(law[c]))])
        assert influence == pytest.approx(-(len(law[c]) - 1) * (changes - changes.mean()), abs=1e-11)
    points = [direct(law, np.delete(reference, j, axis=0), kernel, fixed) for j in range(8)]
    jackknife = 7 / 8 * ((np.array(points) - np.mean(points)) ** 2).sum()
    assert found.reference_variance == (0.0 if fixed else pytest.approx(jackknife, rel=1e-9))


@pytest.mark.parametrize("fixed", [True, False])
def test_terms_of_second_order_follow_their_definition(fixed: bool) -> None:
    rng = np.random.default_rng(SEED)
    n, m = 12, 10
    x, y = rng.normal(size=(n, 3)), rng.normal(0.3, 1.0, size=(m, 3))
    found = single(x[:, None], y, fixed=fixed)

    def u_centred(h: np.ndarray) -> np.ndarray:
        k = len(h)
        rows = np.array([sum(h[r, s] for s in range(k) if s != r) for r in range(k)])
        q = h - (rows[:, None] + rows) / (k - 2) + rows.sum() / ((k - 1) * (k - 2))
        return q * ~np.eye(k, dtype=bool) / np.sqrt(k * (k - 1) * k * (k - 3))

    q, linear, cubes = u_centred(cubic_kernel(x, x)), found.influence[0] / n, 0.0
    if not fixed:
        g = cubic_kernel(x, y)
        g = (g - g.mean(axis=0) - g.mean(axis=1)[:, None] + g.mean()) / np.sqrt(n * (n - 1) * m * (m - 1))
        q = np.block([[q, -g], [-g.T, u_centred(cubic_kernel(y, y))]])
        law = [run_of(x[:, None])]
        changes = np.array([direct(law, np.delete(y, j, axis=0), cubic_kernel, fixed) for j in range(m)])
        mirrored = -(m - 1) * (changes - changes.mean())
        linear, cubes = np.append(linear, mirrored / m), (mirrored**3).mean() / m**2
    assert found.second_variance == pytest.approx(2 * (q**2).sum(), rel=1e-10)
    assert found.second_third == pytest.approx(cubes + 6 * linear @ q @ linear + 8 * np.trace(q @ q @ q), rel=1e-9)


def test_the_second_variance_is_unbiased_where_laws_are_equal() -> None:
    rng = np.random.default_rng(SEED)
    law = [
        kernel_terms(
            [[run_of(rng.normal(size=(8, 1, 2)), 0.3), run_of(rng.normal(size=(9, 1, 2)), 0.7)]],
            SINGLE,
            rng.normal(size=(10, 2)),
            energy_kernel,
            fixed=False,
        )[0]
        for _ in range(1500)
    ]
    excess = np.array([one.estimate**2 - one.second_variance for one in law])
    assert abs(z_score(excess, 0.0)) < Z_LIMIT
    assert excess.std() / np.sqrt(1500) < 0.1 * np.mean([one.second_variance for one in law])


def test_a_sampled_reference_adds_its_own_variance() -> None:
    rng = np.random.default_rng(SEED)
    laws = [single(rng.normal(size=(30, 1, 2)), rng.normal(1.0, 1.0, size=(30, 2)), fixed=False) for _ in range(800)]
    true = np.var([one.estimate for one in laws], ddof=1)
    found, without = (np.mean([getattr(one, name) for one in laws]) for name in ("variance", "first_variance"))
    # The relative error of the variance of 800 estimates is about 5 %; the jackknife counts the second order twice.
    assert 0.8 < found / true < 1.6
    assert without / true < 0.6


def test_pairs_are_unbiased_since_their_own_products_do_not_enter() -> None:
    rng = np.random.default_rng(SEED)
    reference = rng.normal(size=(40, 2))
    truth = single(rng.normal(size=(3000, 1, 2)), reference)
    found, naive = [], []
    for _ in range(400):
        z = rng.normal(size=(20, 1, 2))
        one = single(np.concatenate([z, -z], axis=1), reference)
        found.append(one.estimate)
        naive.append(one.plug_in - one.estimate)
    error = np.hypot(np.std(found) / 20, np.sqrt(truth.variance))
    assert abs(np.mean(found) - truth.estimate) < Z_LIMIT * error
    # Up to the constant by which the diagonal of the reference changes the plug-in.
    shift = float(np.mean(cubic_kernel(reference, reference)))
    k = cubic_kernel(reference, reference)
    shift -= float((k.sum() - np.trace(k)) / (40 * 39))
    assert z_score(np.array(naive) + shift, 0.0) < -Z_LIMIT


def test_a_difference_is_that_of_the_distances_and_exactly_zero_for_equal_laws() -> None:
    rng = np.random.default_rng(SEED)
    z, reference = rng.normal(size=(30, 2, 3)), rng.normal(size=(20, 3))
    one, other = [run_of(z)], [run_of(np.tanh(z))]
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0], [0.25, 0.75]])
    a, b, difference, average = kernel_terms([one, other], rows, reference, cubic_kernel, fixed=False)
    assert a.estimate == single(z, reference, fixed=False).estimate
    for name in ("estimate", "plug_in"):
        assert getattr(difference, name) == pytest.approx(getattr(a, name) - getattr(b, name), abs=1e-12)
        assert getattr(average, name) == pytest.approx(getattr(a, name) / 4 + getattr(b, name) * 0.75, abs=1e-12)
    assert difference.influence[0] == pytest.approx(a.influence[0] - b.influence[0], abs=1e-12)
    assert difference.second_variance < a.second_variance + b.second_variance

    rows = np.array([[0.3, -0.3]])
    (nothing,) = kernel_terms([one, [run_of(z.copy())]], rows, reference, energy_kernel, fixed=False)
    assert (nothing.estimate, nothing.plug_in, nothing.variance, nothing.second_third) == (0.0, 0.0, 0.0, 0.0)
    assert not nothing.influence[0].any()


def test_the_plug_in_of_a_mixture_is_that_of_its_weighted_points() -> None:
    rng = np.random.default_rng(SEED)
    law, reference = mixture(rng), rng.normal(size=(8, 3))
    (found,) = kernel_terms([law], SINGLE, reference, cubic_kernel, fixed=True)
    x = np.concatenate([one.values.reshape(-1, 3) for one in law])
    w = np.concatenate([np.tile(one.point_weights * one.weight / len(one), len(one)) for one in law])
    pairs, k = np.outer(w, w) * ~np.eye(len(w), dtype=bool), cubic_kernel(reference, reference)
    expected = (pairs * cubic_kernel(x, x)).sum() / pairs.sum() - 2 * (w @ cubic_kernel(x, reference)).mean()
    assert found.plug_in == pytest.approx(expected + (k.sum() - np.trace(k)) / 56, rel=1e-12)


def test_blocks_average_their_own_distances() -> None:
    rng = np.random.default_rng(SEED)
    x, reference = rng.normal(size=(86, 2, 3)), rng.normal(0.5, 1.0, size=(12, 3))
    laws = [x, x + 0.1]
    target = sample_of_reference(reference, True)
    blocks = Blocks(20, lambda values: numbers_of_block(values, 2, target, cubic_kernel))
    both = np.concatenate(laws, axis=2)
    for start in range(0, 86, 7):
        blocks.add(both[start : start + 7])
    numbers, sizes = blocks.found()
    assert sizes.tolist() == [10] * 7 + [16]
    rows, constants = (
        np.array([[1.0, 0.0], [1.0, -1.0]]),
        constants_of(sums_of_reference(reference, cubic_kernel, True)),
    )
    one, difference = terms_of_blocks(numbers, sizes, rows, constants)
    cuts = [slice(10 * b, 10 * b + 10 if b < 7 else 86) for b in range(8)]
    parts = np.array([[single(law[cut], reference).estimate for cut in cuts] for law in laws])
    share = sizes / 86
    assert one.estimate == pytest.approx(share @ parts[0], rel=1e-12)
    assert one.influence[0] == pytest.approx(8 * share * (parts[0] - share @ parts[0]), abs=1e-12)
    assert difference.estimate == pytest.approx(share @ (parts[0] - parts[1]), rel=1e-12)
    assert one.plug_in == pytest.approx(share @ [single(x[cut], reference).plug_in for cut in cuts], rel=1e-12)
    with pytest.raises(RunError, match="needs 8 or more blocks for its interval; got 7"):
        terms_of_blocks(numbers[:7], sizes[:7], rows, constants)


def test_neither_the_size_of_blocks_nor_the_type_of_numbers_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(SEED)
    x, y = rng.normal(size=(29, 5, 3)).astype(np.float32), rng.normal(size=(17, 3)).astype(np.float32)
    expected = single(x.astype(float), y.astype(float), fixed=False)
    monkeypatch.setattr(kernel_sums, "_BLOCK", 4)
    found = single(x, y, fixed=False)
    for name in ("estimate", "plug_in", "second_variance", "second_third", "reference_variance"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)
    assert found.influence[0] == pytest.approx(expected.influence[0], abs=1e-11)


def test_many_replicates_have_terms_of_second_order_from_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(SEED)
    law = [run_of(rng.normal(size=(400, 1, 3)), 0.5), run_of(rng.normal(0.3, 1, size=(300, 2, 3)), 0.5)]
    reference = rng.normal(0.1, 1.0, size=(300, 3))
    (whole,) = kernel_terms([law], SINGLE, reference, energy_kernel, fixed=False)
    monkeypatch.setattr(kernel_distances, "_MOST_REPLICATES", 250)
    monkeypatch.setattr(kernel_distances, "_MOST_REFERENCE", 100)
    (found,) = kernel_terms([law], SINGLE, reference, energy_kernel, fixed=False)
    assert found.second_variance == pytest.approx(whole.second_variance, rel=0.3)
    assert found.second_variance != whole.second_variance
    assert found.second_third == pytest.approx(whole.second_third, rel=0.6)
    assert found.estimate == whole.estimate
    assert found.variance == pytest.approx(whole.variance, rel=0.1)


def test_distances_of_near_points_keep_their_digits() -> None:
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(6, 4))
    y = np.concatenate([x + 1e-9 * rng.normal(size=x.shape), x])
    expected = np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))
    assert -energy_kernel(x, y) == pytest.approx(expected, rel=1e-8)
    assert (energy_kernel(x, x).diagonal() == 0).all()
    other = rng.normal(size=(5, 4))
    expected = np.sqrt(((x[:, None] - other[None]) ** 2).sum(axis=2))
    assert -energy_kernel(x + 2.0**10, other + 2.0**10) == pytest.approx(expected, rel=1e-12)


def _law(replicates: int = 20, d: int = 3) -> list[Points]:
    return [run_of(np.random.default_rng(SEED).normal(size=(replicates, 2, d)))]


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "few replicates": (lambda: kernel_terms([_law(7)], SINGLE, np.ones((9, 3)), cubic_kernel, fixed=True), RunError, "at least 8 replicates in each stratum; got 7"),
    "few reference points": (lambda: single(np.ones((9, 1, 3)), np.ones((1, 3))), RunError, "fixed reference needs at least 2 points; got 1"),
    "small sample": (lambda: single(np.ones((9, 1, 3)), np.ones((7, 3)), fixed=False), RunError, "sampled reference needs at least 8 points; got 7"),
    "features": (lambda: single(np.ones((9, 1, 3)), np.ones((9, 4))), RunError, r"\[3, 4\] features"),
    "other noise": (lambda: kernel_terms([_law(), _law(21)], np.ones((1, 2)), np.ones((9, 3)), cubic_kernel, fixed=True), ValueError, "same strata"),
    "coefficients": (lambda: kernel_terms([_law()], np.ones((1, 2)), np.ones((9, 3)), cubic_kernel, fixed=True), ValueError, r"shape \(m, 1\) for 1 laws; got \(1, 2\)"),
    "shape": (lambda: single(np.ones((9, 1, 3)), np.ones((9, 3)), lambda x, y: (x * y).sum(axis=1)), RunError, r"returned shape \(9,\) of float64 .* shape \(9, 9\)"),
    "complex": (lambda: single(np.ones((9, 1, 3)), np.ones((9, 3)), lambda x, y: x @ y.T + 1j), RunError, "real numbers"),
    "not finite": (lambda: single(np.full((9, 1, 3), np.nan), np.ones((9, 3))), NonFiniteError, "'cubic_kernel' returned 81 values that are not finite, of 81"),
    "not symmetric": (lambda: single(np.arange(27.0).reshape(9, 1, 3), np.ones((9, 3)), lambda x, y: x[:, :1] - y[:, 0]), RunError, "not symmetric"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_advice(case: str) -> None:
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()

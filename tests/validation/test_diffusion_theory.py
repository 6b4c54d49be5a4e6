"""The theory of diffusion models: its formulas on whatever hypothesis finds, and broken formulas that the checks reject.

The studies themselves run in their short form in `test_verdicts`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from helpers import SEED
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from mcgen.validation.problems.samplers import Mixture
from mcgen.validation.studies import diffusion_theory as diffusion
from mcgen.validation.studies import monotone_samplers as monotone
from mcgen.validation.studies.antithetic_theory import ROUNDING, Nodes, fisher_information, random_mixture
from mcgen.validation.studies.monotone_samplers import (
    Step,
    ddim,
    hessian,
    noised,
    ordered_mixture,
    posterior_covariance,
)

NODES = Nodes.normal(10, 2)

shares = (
    st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)).map(sorted).filter(lambda pair: pair[1] - pair[0] > 1e-6)
)
planes = st.integers(0, 2**32).map(lambda seed: random_mixture(np.random.default_rng(seed), 2))
ordered = st.integers(0, 2**32).map(lambda seed: ordered_mixture(np.random.default_rng(seed)))
lines = st.integers(0, 2**32).map(lambda seed: random_mixture(np.random.default_rng(seed)))


def semigroup(family: diffusion.Family) -> float:
    return diffusion.semigroup_gap(family, np.random.default_rng(SEED), 2)


GAPS = [
    diffusion.recurrence_gap,
    diffusion.derivative_gap,
    diffusion.orthogonality_gap,
    diffusion.generator_gap,
    semigroup,
]


@pytest.mark.parametrize("gap", GAPS)
def test_a_polynomial_with_one_wrong_coefficient_is_caught(gap: object) -> None:
    family = [*diffusion.PROBABILISTS]
    assert gap(family) <= ROUNDING
    family[4] = Polynomial([3, 0, -6.001, 0, 1])
    assert gap(family) > ROUNDING


def test_polynomials_are_those_of_the_tables() -> None:
    """He_8 = x^8 - 28 x^6 + 210 x^4 - 420 x^2 + 105; H_3 = 8 x^3 - 12 x."""
    assert diffusion.PROBABILISTS[8].coef.tolist() == [105, 0, -420, 0, 210, 0, -28, 0, 1]
    assert diffusion.PHYSICISTS[3].coef.tolist() == [0, -12, 0, 8]


@given(st.floats(0, 3), st.floats(-3, 3))
def test_semigroup_shrinks_the_polynomial_of_degree_n_by_n_times_the_time(t: float, x: float) -> None:
    """E He_3(e^{-t} x + sigma Z) = e^{-3t} He_3(x), and e^{-2t} is wrong."""
    he, line = diffusion.PROBABILISTS[3], Nodes.normal(8)
    found = line.weights @ he(math.exp(-t) * x + math.sqrt(-math.expm1(-2 * t)) * line.z[:, 0])
    assert found == pytest.approx(math.exp(-3 * t) * he(x), abs=ROUNDING)
    if t > 0.1 and abs(he(x)) > 0.1:
        assert found != pytest.approx(math.exp(-2 * t) * he(x), abs=ROUNDING)


@settings(max_examples=25)
@given(lines, st.floats(0, 2), st.floats(0, 2))
def test_score_error_falls_from_any_time_on(mixture: Mixture, t: float, d: float) -> None:
    before, after = (fisher_information(mixture.at(u)) for u in (t, t + d))
    assert after * math.exp(2 * d) <= before * (1 + ROUNDING)


def test_score_error_rises_without_drift() -> None:
    normal = Mixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1)))
    errors = [fisher_information(diffusion.heat_flow(normal, t)) for t in (0.0, 0.5, 1.0)]
    assert errors == pytest.approx([0, 2 - 2 + 1 / 2, 3 - 2 + 1 / 3], abs=ROUNDING)


def test_largest_rise_compares_all_pairs() -> None:
    assert diffusion.largest_rise(np.array([4.0, 1.0, 2.0, 3.0])) == 3
    assert diffusion.largest_rise(np.array([4.0, 2.0, 1.0])) == 0.5


@given(planes, st.floats(0.01, 0.99))
def test_hessian_is_the_derivative_of_the_score(data: Mixture, t: float) -> None:
    p, x, h = noised(data, t), np.random.default_rng(SEED).normal(0, 2, (5, 2)), 1e-5
    columns = [(p.score(x + h * e) - p.score(x - h * e)) / (2 * h) for e in np.eye(2)]
    assert hessian(p, x) == pytest.approx(np.stack(columns, axis=2), abs=1e-4, rel=1e-4)


@given(planes, st.floats(0.01, 0.99))
def test_hessian_is_tweedies(data: Mixture, t: float) -> None:
    """And without the factor t, which is easily forgotten, it is not."""
    x = np.random.default_rng(SEED).normal(0, 2, (5, 2))
    covariance = posterior_covariance(data, t, x) / (1 - t) ** 2
    found = hessian(noised(data, t), x)
    scale = float(np.abs(found).max())
    assert t * covariance - np.eye(2) / (1 - t) == pytest.approx(found, abs=1e-9 * max(scale, 1 / (1 - t)))
    assert covariance - np.eye(2) / (1 - t) != pytest.approx(found, abs=1e-9 * max(scale, 1 / (1 - t)))


def test_posterior_covariance_is_that_of_the_samples_of_a_grid() -> None:
    """By sums over x_0 in place of the closed form."""
    data, t, x = ordered_mixture(np.random.default_rng(SEED)), 0.3, np.array([[0.4, -0.2]])
    axis = np.linspace(-8, 8, 321)
    y = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    logs = data.log_density(y) - ((x - math.sqrt(t) * y) ** 2).sum(axis=1) / (2 * (1 - t))
    weights = np.exp(logs - logs.max())
    assert np.cov(y.T, aweights=weights, ddof=0) == pytest.approx(posterior_covariance(data, t, x)[0], abs=1e-8)


@given(shares)
def test_condition_on_the_step_holds_by_itself(pair: list[float]) -> None:
    """A - B / (1 - t) = sqrt((1 - s) / (1 - t)); with a curvature bound twice as large it can be negative."""
    step = Step(*pair)
    least = math.sqrt((1 - step.s) / (1 - step.t))
    assert step.least_slope(1 / (1 - step.t)) == pytest.approx(least, abs=1e-9 * step.state)
    assert step.score > 0
    assert Step(0.01, 0.99).least_slope(2 / 0.99) < 0


@settings(max_examples=20)
@given(ordered, st.sampled_from([1, 2, 5]))
def test_ddim_is_monotone_on_mixtures_with_ordered_means(data: Mixture, steps: int) -> None:
    x, jacobian = ddim(data, monotone.signals(steps), NODES.z)
    assert jacobian.min() >= -ROUNDING
    for c in np.random.default_rng(SEED).uniform(0, 1, (3, 2)):
        assert NODES.pair_covariance(x @ c) <= ROUNDING
        assert NODES.pair_covariance(x @ -c) <= ROUNDING
    assert ddim(monotone.mirrored(data), monotone.signals(steps), NODES.z)[1].min() < -ROUNDING


def test_two_components_have_the_samples_of_their_closed_form() -> None:
    """The score of N(m + c, v I) and N(-m + c, v I) is -y / w + k m tanh(k m'y); the covariances are negative."""
    m, c, v, nodes = np.array([1.2, 0.6]), np.array([0.4, -0.2]), 0.3, Nodes.normal(24, 2)
    data = Mixture(np.array([0.5, 0.5]), np.stack([c + m, c - m]), np.full((1, 2), v))
    covariances = []
    for steps in monotone.STEPS:
        x, path = nodes.z, monotone.signals(steps)
        for t, s in pairwise(path):
            y, w = x - math.sqrt(t) * c, t * v + 1 - t
            k = math.sqrt(t) / w
            score = -y / w + k * m * np.tanh(k * y @ m)[:, None]
            a = math.sqrt(s / t)
            x = a * x + (a * (1 - t) - math.sqrt((1 - s) * (1 - t))) * score
        assert ddim(data, path, nodes.z)[0] == pytest.approx(x, abs=ROUNDING)
        covariances.append(nodes.covariance(x.sum(axis=1), x[::-1].sum(axis=1)))
    assert np.round(covariances, 3).tolist() == [-0.018, -1.529, -2.261, -2.834, -3.573, -3.797]


def test_jacobian_is_the_derivative_of_the_samples() -> None:
    data, path, h = ordered_mixture(np.random.default_rng(SEED)), monotone.signals(5), 1e-6
    columns = [
        (ddim(data, path, NODES.z + h * e)[0] - ddim(data, path, NODES.z - h * e)[0]) / (2 * h) for e in np.eye(2)
    ]
    assert ddim(data, path, NODES.z)[1] == pytest.approx(np.stack(columns, axis=2), rel=1e-4, abs=1e-4)


def test_pairs_lose_for_coefficients_of_both_signs_on_data_of_a_bent_chain() -> None:
    """By independent noise too, not on nodes alone: the correlation of 5,000 pairs is over 0.3, and below -0.8."""
    z = np.random.default_rng(SEED).normal(size=(5_000, 2))
    x, jacobian = ddim(monotone.bent_chain(), monotone.signals(20), np.concatenate([z, -z]))
    assert jacobian.min() >= -ROUNDING
    apart, both = (np.corrcoef(*np.split(x @ np.array(c), 2))[0, 1] for c in ([1.0, -1.0], [1.0, 1.0]))
    assert apart > 0.3
    assert both < -0.8

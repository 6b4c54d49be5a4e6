"""The theory of antithetic noise: the studies in their short form, and its inequalities on whatever hypothesis finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mcgen.validation.problems.samplers import Mixture
from mcgen.validation.studies.antithetic_theory import (
    ACTIVATIONS,
    ROUNDING,
    Layer,
    Nodes,
    chain,
    chi_square,
    fisher_information,
    monotone_network,
    random_mixture,
)

LINE, CUBE = Nodes.normal(32), Nodes.normal(6, 3)

coefficients = st.floats(-3, 3)
chains = st.lists(st.tuples(st.sampled_from([*ACTIVATIONS]), coefficients, coefficients), min_size=1, max_size=8)
mixtures = st.integers(0, 2**32).map(lambda seed: random_mixture(np.random.default_rng(seed)))
times = st.floats(0.01, 5)


@given(chains)
def test_chains_of_monotone_functions_have_no_positive_covariance(layers: list[Layer]) -> None:
    assert LINE.pair_covariance(chain(layers, LINE.z[:, 0])) <= ROUNDING


@given(arrays(np.float64, 32, elements=st.floats(-10, 10)))
def test_sorted_values_have_no_positive_covariance(values: np.ndarray) -> None:
    """Every monotone function, network or not; and unsorted values can have one (negative control)."""
    assert LINE.pair_covariance(np.sort(values)) <= ROUNDING
    assert LINE.pair_covariance(np.abs(LINE.z[:, 0])) > ROUNDING


@given(st.integers(0, 2**32))
def test_networks_monotone_in_each_coordinate_have_no_positive_covariance(seed: int) -> None:
    assert CUBE.pair_covariance(monotone_network(np.random.default_rng(seed), CUBE.z)) <= ROUNDING


@given(arrays(np.float64, 32, elements=st.floats(-10, 10)), st.floats(-10, 10))
def test_correlation_is_minus_one_only_for_affine_antisymmetric_values(f: np.ndarray, c: float) -> None:
    """1 + rho = 2 Var e / Var f with e the even part."""
    odd, even = (f - f[::-1]) / 2, (f + f[::-1]) / 2
    if LINE.covariance(odd, odd) > 1e-3:
        assert LINE.pair_correlation(odd + c) == pytest.approx(-1, abs=ROUNDING)
        share = LINE.covariance(even, even) / LINE.covariance(f, f)
        assert 1 + LINE.pair_correlation(f) == pytest.approx(2 * share, abs=ROUNDING)


def test_nodes_have_the_moments_of_the_normal_law() -> None:
    moments = [float(LINE.weights @ LINE.z[:, 0] ** p) for p in range(9)]
    assert moments == pytest.approx([1, 0, 1, 0, 3, 0, 15, 0, 105], abs=1e-10)
    assert (CUBE.z == -CUBE.z[::-1]).all()
    assert CUBE.weights.sum() == pytest.approx(1)


@given(mixtures, times)
def test_score_is_the_gradient_of_the_log_density(mixture: Mixture, t: float) -> None:
    x, h = np.linspace(-4, 4, 9)[:, None], 1e-5
    p = mixture.at(t)
    slope = (p.log_density(x + h) - p.log_density(x - h)) / (2 * h)
    assert p.score(x)[:, 0] == pytest.approx(slope, abs=1e-3)


@given(mixtures, times, times)
def test_process_is_a_semigroup_that_forgets(mixture: Mixture, s: float, t: float) -> None:
    """p_{s + t} is (p_s)_t; both distances from N(0, 1) fall by e^{-2t} at least."""
    once, twice = mixture.at(s + t), mixture.at(s).at(t)
    assert once.means == pytest.approx(twice.means)
    assert once.variances == pytest.approx(twice.variances)
    assert chi_square(twice) <= chi_square(mixture.at(s)) * math.exp(-2 * t) * (1 + 1e-6) + 1e-12
    assert fisher_information(twice) <= fisher_information(mixture.at(s)) * math.exp(-2 * t) * (1 + 1e-6) + 1e-12


@given(st.floats(0.05, 3), st.floats(-2, 2))
def test_divergence_is_finite_for_variances_under_two_only(v: float, m: float) -> None:
    """Of one component in closed form: exp(m^2 / (2 - v)) / sqrt(v (2 - v)) - 1."""
    # Beyond, it is finite but no double.
    assume(v >= 2 or m**2 / (2 - v) < 700)
    found = chi_square(Mixture(np.ones(1), np.array([[m]]), np.array([[v]])))
    if v < 2:
        assert np.log1p(found) == pytest.approx(m**2 / (2 - v) - math.log(v * (2 - v)) / 2)
    else:
        assert found == math.inf

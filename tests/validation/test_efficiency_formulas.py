"""The formulas of efficiency: the studies in their short form, and what holds of the formulas themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED
from hypothesis import given
from hypothesis import strategies as st

from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies.efficiency_formulas import (
    Wave,
    efficiency_coverage,
    net_variance,
    pair_efficiencies,
    supercube_variance,
    variance_factor,
    within_intervals,
)
from mcgen.validation.studies.verdicts import share

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")

shares_of_variance = st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda w: sum(w[1::2]) > 1e-6)


@given(shares_of_variance, st.integers(2, 1000))
def test_k_antithetic_is_at_most_twice_as_good_as_pairs(w: list[float], k: int) -> None:
    """RE_k <= 2 RE_2, whatever the shares; and RE_k >= RE_2 for even functions."""
    shares = np.array(w) / sum(w)
    pairs, many = variance_factor(shares, 2), variance_factor(shares, k)
    assert 1 / many <= 2 / pairs * (1 + 1e-12)
    assert variance_factor(shares * (np.arange(len(w)) % 2), k) <= pairs * (1 + 1e-12)


@given(st.floats(0.2, 2.5), st.floats(0, math.pi), st.integers(2, 50))
def test_hermite_sum_of_a_wave_has_a_closed_form(a: float, phase: float, k: int) -> None:
    """With r = -1 / (k - 1), sum_j w_j r^j is a ratio of cosh and sinh of r a^2 and a^2."""
    r = -1 / (k - 1)
    even, odd = math.cos(phase) ** 2, math.sin(phase) ** 2
    variance = even * (math.cosh(a**2) - 1) + odd * math.sinh(a**2)
    rho = (even * (math.cosh(r * a**2) - 1) + odd * math.sinh(r * a**2)) / variance
    assert Wave(a, phase).factor(k) == pytest.approx(1 + (k - 1) * rho, abs=1e-9)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(2, 4096))
def test_supercube_variance_at_its_ends(variances: list[float], n: int) -> None:
    """Independent points have Monte Carlo's variance; one block has its own; exact nets leave 1 + (-1)^m (n-1)^(1-m)."""
    m, product = len(variances), math.prod(variances)
    assert supercube_variance(n, variances, [v / n for v in variances]) == pytest.approx(product / n)
    assert supercube_variance(n, variances[:1], [0.3]) == pytest.approx(0.3)
    exact = supercube_variance(n, variances, [0.0] * m)
    assert exact == pytest.approx(product / n * (1 + (-1) ** m * (n - 1.0) ** (1 - m)), abs=1e-12 * product)


def test_net_variance_of_two_points_by_hand() -> None:
    """Two points lie in opposite halves of each coordinate: E B^2 = (E S^2 + E S_1 S_2) / 2."""
    w_0, w_1 = within_intervals(0), within_intervals(1)
    assert w_0 == pytest.approx((math.e**2 - 1) / 2 / (math.e - 1) ** 2 - 1)
    assert net_variance(2, 1) == pytest.approx(w_1 / 2)
    low, high = 2 * math.expm1(0.5) / math.expm1(1), 2 * (math.e - math.exp(0.5)) / math.expm1(1)
    assert net_variance(2, 2) == pytest.approx(((1 + w_0) ** 2 + (low * high) ** 2) / 2 - 1)


@pytest.mark.study
def test_few_replicates_cover_the_efficiency_as_documented() -> None:
    """10 pairs cover it; the F interval, which supposes normal means, is the negative control."""
    made = efficiency_coverage(
        PROBLEMS["odd-and-even"],
        pair_efficiencies()["odd-and-even"],
        n_replicates=10,
        repetitions=2000,
        seed=SEED,
    )
    for hits in (made.own_run, made.over_monte_carlo):
        assert share("", hits, made.repetitions, 0.93, at_least=True).holds
    assert not share("", made.by_f, made.repetitions, 0.93, at_least=True).holds

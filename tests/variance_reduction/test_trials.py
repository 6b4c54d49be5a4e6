"""Trials of nets: what blocks of a net say of smaller and larger nets, and how designs are shrunk to what is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from scipy.special import polygamma

import mcgen
from mcgen import Antithetic, KAntithetic, LatinHypercube, MonteCarlo, NoiseSpec, OrthogonalAntithetic, Sobol, Subspace
from mcgen.inference.log_ratios import LogRatio, log_variance_of_sample
from mcgen.variance_reduction.planning.shrinkage import (
    LEAST_SCATTER,
    PRIOR_OF_DOUBLING,
    PRIOR_OF_DOUBLING_IN_ALL,
    PRIOR_OVER_POINTS,
    PRIORS,
)
from mcgen.variance_reduction.planning.trials import (
    Curve,
    Reference,
    Trial,
    curve_of,
    curves_of,
    is_net,
    known_trial,
    resized,
    trial_of,
)

SPEC = NoiseSpec.normal((4,), "float64")
ROUNDING = 2.0**-52
# Of 8 normal numbers, in a basis of 4 directions.
BASIS = mcgen.bases.Basis(np.eye(8)[:, :4])


def smooth(z: Any) -> Any:
    """Two smooth functions of four numbers, shape (..., 2)."""
    return np.stack([np.exp(0.15 * z.sum(axis=-1)), np.tanh(z + 0.2).mean(axis=-1)], axis=-1)


def values(design: mcgen.Design, n: int, function: Any = smooth, seed: int = SEED) -> Any:
    return function(np.asarray(design.draw(SPEC, n, seed)))


def measured(design: mcgen.Design, n: int = 400) -> LogRatio:
    """Log w of a design, from replicates that no trial has."""
    return log_variance_of_sample(math.sqrt(design.n_points) * values(design, n, seed=SEED + 1).mean(axis=1))


def test_the_line_through_blocks_leads_to_larger_nets() -> None:
    """A flat line does not."""
    curve = curve_of(values(Sobol(64), 200), 1, ROUNDING, PRIOR_OF_DOUBLING_IN_ALL)
    own = measured(Sobol(64))
    assert (np.abs(curve.level - own.value) < Z_LIMIT * np.sqrt(curve.covariance[0, 0] + own.variance)).all()
    larger = measured(Sobol(256))
    gained, variance = curve.growth(256)
    error = np.sqrt(curve.covariance[0, 0] + variance + larger.variance)
    # The error is mostly that of a slope that may change beyond the trial, so that few of these are enough.
    missed, flat = np.abs(curve.level - gained - larger.value), np.abs(curve.level - larger.value)
    assert (missed < 3 * error).all()
    assert (flat > Z_LIMIT * np.sqrt(curve.covariance[0, 0] + larger.variance)).any()
    assert missed.sum() < flat.sum() / 2


def test_independent_points_have_a_flat_line() -> None:
    """A prior that says nothing leaves the slope to the points, of which blocks of all sizes have the same w."""
    curve = curve_of(values(MonteCarlo(), 64 * 300).reshape(300, 64, 2), 1, ROUNDING, (0.0, 100.0))
    assert (np.abs(curve.slope) < Z_LIMIT * np.sqrt(curve.covariance[1, 1])).all()
    net = curve_of(values(Sobol(64), 300), 1, ROUNDING, (0.0, 100.0))
    assert (net.slope > Z_LIMIT * np.sqrt(net.covariance[1, 1])).any()
    assert (net.slope > 0.5).all()


def test_points_with_their_negations_tell_of_the_points_alone() -> None:
    design = Antithetic(Sobol(32))
    (both, with_negations), (alone, points) = curves_of(design, values(design, 200), True, ROUNDING)
    assert (both, alone) == (design, Sobol(32))
    assert (with_negations.n_points, points.n_points) == (64, 32)
    direct = measured(Sobol(32))
    error = np.sqrt(points.covariance[0, 0] + direct.variance)
    assert (np.abs(points.level - direct.value) < Z_LIMIT * error).all()
    direct = measured(design)
    assert (np.abs(with_negations.level - direct.value) < Z_LIMIT * error).all()
    # A control: odd and even parts behave otherwise with negations.
    assert (np.abs(with_negations.level - measured(Sobol(32)).value) > Z_LIMIT * error).any()
    assert [one for one, _ in curves_of(Sobol(64), values(Sobol(64), 5), True, ROUNDING)] == [Sobol(64)]


def test_both_nets_of_an_even_function_count_as_one() -> None:
    """Each column is a trial of normal means: their log variances scatter as they say, with 5 degrees of freedom."""
    n, n_trials = 6, 5000
    one = np.random.default_rng(SEED).standard_normal((n, 8, n_trials))
    even = np.repeat(one, 2, axis=1)
    _, (_, found) = curves_of(Antithetic(Sobol(8)), even, False, ROUNDING)
    exact = float(polygamma(1, (n - 1) / 2))
    assert found.covariance[0, 0] == pytest.approx(np.full(n_trials, exact))
    assert abs(found.level.mean()) < Z_LIMIT * math.sqrt(exact / n_trials)
    # The relative standard error of a variance of such logarithms is 0.026: the control is off by half.
    assert found.level.var() == pytest.approx(exact, rel=0.17)
    twice = curve_of(np.concatenate([one, one]), 8, ROUNDING, PRIOR_OF_DOUBLING)
    assert twice.covariance[0, 0] == pytest.approx(np.full(n_trials, polygamma(1, (2 * n - 1) / 2)))
    assert abs(found.level.var() / twice.covariance[0, 0][0] - 1) > 0.5
    # So too where blocks are used.
    _, (_, blocks) = curves_of(Antithetic(Sobol(8)), even, True, ROUNDING)
    assert (blocks.covariance[0, 0] > curve_of(np.concatenate([one, one]), 1, ROUNDING, (0, 1)).covariance[0, 0]).all()


def test_rounding_is_no_variance() -> None:
    """A component is exact where it varies by rounding alone, and only there."""
    rng = np.random.default_rng(SEED)
    noise = rng.standard_normal((10, 16, 1))
    x = np.concatenate([1 + 1e-9 * noise, np.ones_like(noise), 1 + 1e-3 * noise], axis=2)
    for smallest in (1, 16):
        curve = curve_of(x, smallest, 2.0**-24, PRIOR_OF_DOUBLING)
        assert np.isneginf(curve.level).tolist() == [True, True, False]
        assert (curve.slope[:2] == 0).all()
        assert (curve.covariance[:, :, :2] == 0).all()
        gained, variance = curve.growth(64)
        assert (gained[:2] == 0).all()
        assert np.isfinite(variance).all()
    assert np.isfinite(curve_of(x, 1, ROUNDING, PRIOR_OF_DOUBLING).level).tolist() == [True, False, True]


def test_what_whole_nets_integrate_exactly_is_exact_though_their_blocks_do_not() -> None:
    rng = np.random.default_rng(SEED)
    half = rng.standard_normal((10, 4, 1))
    assert np.isneginf(curve_of(np.concatenate([half, -half], axis=1), 1, ROUNDING, PRIOR_OF_DOUBLING).level).all()


def test_points_out_of_order_are_used_as_whole_nets_only() -> None:
    design, rng = Antithetic(Sobol(32)), np.random.default_rng(SEED)
    x = values(design, 40)
    pairs = rng.permuted(x.reshape(40, 32, 2, 2), axis=1).reshape(40, 64, 2)
    for (_, kept), (_, mixed) in zip(
        curves_of(design, x, False, ROUNDING), curves_of(design, pairs, False, ROUNDING), strict=True
    ):
        assert mixed.level == pytest.approx(kept.level, abs=1e-6)
        assert kept.slope == pytest.approx(np.full(2, PRIOR_OF_DOUBLING[0]))
        assert kept.covariance[1, 1] == pytest.approx(np.full(2, PRIOR_OF_DOUBLING[1] ** 2))
    (_, whole), _ = curves_of(design, x, False, ROUNDING)
    assert whole.level == pytest.approx(log_variance_of_sample(8 * x.mean(axis=1)).value, abs=0.1)
    # A control: with blocks the order matters.
    ordered, mixed = (next(curves_of(design, one, True, ROUNDING))[1] for one in (x, pairs))
    assert (np.abs(ordered.slope - mixed.slope) > 0.1).any()


def test_nets_on_directions_have_a_prior_of_their_own() -> None:
    """A trial of 4 nets says little of the slope, of which more is known for nets in all dimensions."""
    x = np.random.default_rng(SEED).standard_normal((4, 8, 1))
    on_directions, in_all = (
        next(curves_of(one, x, True, ROUNDING))[1] for one in (Subspace(BASIS, Sobol(8)), Sobol(8))
    )
    assert on_directions.slope < in_all.slope
    assert on_directions.covariance[1, 1] < min(PRIOR_OF_DOUBLING[1] ** 2, in_all.covariance[1, 1][0])
    # So have several nets side by side, in random order.
    for design in (Subspace(BASIS, Sobol(8)), Sobol(8)):
        _, curve = next(curves_of(design, x, False, ROUNDING))
        assert curve.slope == pytest.approx([PRIOR_OF_DOUBLING[0]])
    assert len([*curves_of(Subspace(BASIS, Antithetic(Sobol(4))), x, True, ROUNDING)]) == 1


def test_the_error_of_growth_grows_with_the_distance() -> None:
    curve = curve_of(values(Sobol(64), 20), 1, ROUNDING, PRIOR_OF_DOUBLING_IN_ALL)
    assert [curve.doublings(n) for n in (16, 64, 512)] == [-2, 0, 3]
    gained, variance = curve.growth(64)
    assert (gained == 0).all()
    assert (variance == 0).all()
    for sizes in ([64, 128, 256, 512, 4096], [64, 32, 16, 8]):
        found = np.array([curve.growth(n)[1] for n in sizes])
        assert (np.diff(found, axis=0) > 0).all()
    assert curve.growth(512)[0] == pytest.approx(3 * curve.slope)
    # A longer trial knows the slope better, and nothing of how it changes beyond.
    longer = curve_of(values(Sobol(64), 400), 1, ROUNDING, PRIOR_OF_DOUBLING_IN_ALL)
    assert (longer.growth(512)[1] < curve.growth(512)[1]).all()
    assert (longer.growth(512)[1] > 3 * 0.25**2).all()


NETS = [Sobol(8), Antithetic(Sobol(4)), Subspace(BASIS, Sobol(8)), Subspace(BASIS, Antithetic(Sobol(4)))]


@pytest.mark.parametrize("design", NETS, ids=lambda design: f"{type(design).__name__} {design.n_points}")
def test_nets_have_other_sizes(design: mcgen.Design) -> None:
    assert is_net(design)
    larger = resized(design, 32)
    assert larger.n_points == 32
    assert type(larger) is type(design)
    assert resized(larger, 8) == design


@pytest.mark.parametrize(
    "design",
    [
        MonteCarlo(),
        Antithetic(),
        LatinHypercube(8),
        Antithetic(LatinHypercube(8)),
        KAntithetic(4),
        OrthogonalAntithetic(8),
        Subspace(BASIS, LatinHypercube(8)),
    ],
    ids=str,
)
def test_other_designs_are_no_nets(design: mcgen.Design) -> None:
    assert not is_net(design)


def ratio(*numbers: float, variance: float = 0.01) -> LogRatio:
    return LogRatio(np.array(numbers), np.full(len(numbers), variance))


def test_what_pairs_integrate_exactly_and_the_design_does_not_is_lost() -> None:
    exact = np.array([True, False])
    reference = Reference(ratio(-np.inf, -1.0), None, exact)
    with np.errstate(invalid="ignore"):
        found = trial_of(OrthogonalAntithetic(8), ratio(-3.0, -2.0), reference, 10)
        kept = trial_of(OrthogonalAntithetic(8), ratio(-np.inf, -2.0), reference, 10)
    assert np.isneginf(found.gain.value).tolist() == [True, False]
    # Exact with the design too: nothing is lost.
    assert np.isfinite(kept.gain.value).all()
    not_exact = trial_of(OrthogonalAntithetic(8), ratio(-3.0, -2.0), Reference(ratio(-2, -1), None, exact), 10)
    assert np.isfinite(not_exact.gain.value).all()


def test_a_trial_that_says_much_of_many_components_is_believed() -> None:
    k, gains = 50, np.linspace(1.9, 2.1, 50)
    nothing = np.zeros(k, bool)
    reference = Reference(ratio(*[-1.0] * k, variance=1e-6), ratio(*[0.0] * k, variance=1e-6), nothing)
    for design in (Sobol(16), Antithetic(Sobol(8)), LatinHypercube(8)):
        found = trial_of(design, ratio(*(-1 - gains), variance=1e-6), reference, 50)
        assert found.gain.value == pytest.approx(gains, abs=0.03)
        assert found.work_variance == pytest.approx(np.full(k, 1e-6), rel=0.01)
        assert found.n_replicates == 50
        assert found.curve is None


def test_points_alone_are_shrunk_to_what_they_gain_over_independent_points() -> None:
    """A trial that says nothing leaves the priors, of which that over pairs knows nothing of how odd a statistic is."""
    pairs, points, unsure = ratio(-3.0, variance=1e-4), ratio(0.0, variance=1e-4), ratio(1.0, variance=1e6)
    over = trial_of(Sobol(16), unsure, Reference(pairs, points, np.zeros(1, bool)), 4)
    assert over.gain.value == pytest.approx([PRIOR_OVER_POINTS[0] - 3.0], abs=1e-3)
    unknown = trial_of(Sobol(16), unsure, Reference(pairs, None, np.zeros(1, bool)), 4)
    assert unknown.gain.value == pytest.approx([PRIORS["Sobol"][0]], abs=1e-3)
    negated = trial_of(Antithetic(Sobol(8)), unsure, Reference(pairs, points, np.zeros(1, bool)), 4)
    assert negated.gain.value == pytest.approx([PRIORS["Antithetic"][0]], abs=1e-3)
    assert over.work_variance == pytest.approx([1e-4 + PRIOR_OVER_POINTS[1] ** 2 + LEAST_SCATTER], rel=1e-3)


def test_trials_at_other_sizes() -> None:
    curve = curve_of(values(Sobol(64), 50), 1, ROUNDING, PRIOR_OF_DOUBLING_IN_ALL)
    reference = Reference(ratio(-1.0, -1.0), ratio(0.0, 0.0), np.zeros(2, bool))
    trial = trial_of(Sobol(64), curve, reference, 50)
    assert trial.curve is curve
    own, variance = trial.at(64)
    assert own.value == pytest.approx(trial.gain.value)
    assert variance == pytest.approx(trial.work_variance)
    larger, more = trial.at(256)
    assert larger.value == pytest.approx(own.value + 2 * curve.slope)
    assert (more - variance) == pytest.approx(curve.growth(256)[1])
    assert (larger.variance - own.variance) == pytest.approx(curve.growth(256)[1])
    # Without a curve nothing is known of sizes.
    fixed = known_trial(OrthogonalAntithetic(8), 2)
    assert (fixed.n_replicates, fixed.at(64)[0]) == (0, fixed.gain)
    assert fixed.gain.value == pytest.approx(np.full(2, PRIORS["OrthogonalAntithetic"][0]))


def test_an_exact_curve_stays_exact() -> None:
    nothing = np.zeros(1)
    curve = Curve(8, np.array([-np.inf]), nothing, np.zeros((2, 2, 1)))
    found = Trial(ratio(-np.inf), nothing, 4, curve).at(64)[0]
    assert np.isneginf(found.value).all()

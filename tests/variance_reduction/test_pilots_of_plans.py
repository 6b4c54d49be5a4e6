"""What pilots of plans spend and find: several pilots for a tolerance, and directions from gradients alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, NoiseSpec, Subspace
from mcgen.statistics import pixel_mean

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore::mcgen.CoverageWarning")

# Evaluations of the pilot for 3,200 evaluations, which is the first pilot of a plan from a tolerance.
FIRST = 246


def kink(z: Any) -> Any:
    return np.maximum(z.sum(axis=1) / np.sqrt(8) - 0.5, 0.0)


def itself(x: Any) -> Any:
    return x


KINK = mcgen.as_generator(kink, noise=NoiseSpec.normal((8,), "float64"), name="kink")


def half_width_of_pairs(n: int) -> float:
    return float(mcgen.estimate(KINK, itself, design=Antithetic(), n_evaluations=n, seed=1).half_width)


def needed(plan: mcgen.Plan, made: mcgen.Estimate, atol: float) -> float:
    """Evaluations that the plan's design needed for the tolerance."""
    return plan.pilot_evaluations + made.n_evaluations * (float(made.half_width) / atol) ** 2


@pytest.mark.parametrize("n", [3200, 12_800])
def test_evaluations_planned_from_a_tolerance_are_about_those_needed(n: int) -> None:
    """Within a factor of 3 in 9 of 12 plans; a factor of 10 more or less is never right."""
    atol = half_width_of_pairs(n) / 4
    ratios = []
    for seed in range(12):
        plan = mcgen.plan(KINK, itself, atol=atol, seed=seed)
        assert float(plan.half_width[0]) <= atol * 1.0001
        ratios.append(plan.n_evaluations / needed(plan, plan.estimate(), atol))
    within = (np.array(ratios) > 1 / 3) & (np.array(ratios) < 3)
    assert within.sum() >= 9
    assert 1 / 2 < np.median(ratios) < 2
    # A control: pairs, whose number is known, would take 16 times n.
    assert plan.n_evaluations < 16 * n / 2


def test_small_tolerances_bring_further_pilots_with_noise_of_their_own() -> None:
    seen: list[list[bytes]] = []

    def watched(z: Any) -> Any:
        seen.append([row.tobytes() for row in np.ascontiguousarray(z)])
        return kink(z)

    model = mcgen.as_generator(watched, noise=NoiseSpec.normal((8,), "float64"), name="watched")

    def rows_of_pilots(**goal: Any) -> tuple[mcgen.Plan, list[bytes]]:
        seen.clear()
        plan = mcgen.plan(model, itself, seed=SEED, batch_size=1 << 16, **goal)
        return plan, [row for batch in seen for row in batch]

    large, first = rows_of_pilots(atol=half_width_of_pairs(3200))
    assert large.pilot_evaluations <= FIRST
    small, rows = rows_of_pilots(atol=half_width_of_pairs(12_800) / 8)
    assert small.pilot_evaluations > FIRST
    assert small.pilot_evaluations <= len(rows)
    # The first pilot is the same, and no row of the others is one of its rows or repeats another.
    assert set(first) <= set(rows)
    assert len(set(rows)) == small.pilot_evaluations
    assert len(set(first)) == large.pilot_evaluations
    # Nor does the run use any.
    seen.clear()
    made = small.estimate()
    run = {row for batch in seen for row in batch}
    assert len(run) == made.n_evaluations
    assert not run & set(rows)
    # Larger pilots are still a small part.
    assert small.pilot_evaluations < small.n_evaluations / 3


def test_a_tolerance_that_takes_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="would take more than"):
        mcgen.plan(KINK, itself, atol=1e-12, seed=SEED)


D = 64
WEIGHTS = np.random.default_rng(1).standard_normal((4, D)) / 8


class Curved:
    """Of 64 numbers four combinations matter."""

    noise, name = NoiseSpec.normal((D,), "float64"), "curved"

    def __call__(self, z: Any, condition: Any = None) -> Any:
        y = z @ WEIGHTS.T
        return np.tanh(y + 0.3) + 0.5 * y**2


class WithGradient(Curved):
    """The same with the gradient of a statistic of one component, in numpy."""

    def gradient(self, z: Any, statistic: Any, condition: Any = None) -> Any:
        h = 1e-4
        sides = [np.stack([np.asarray(statistic(self(z + s * h * e))) for e in np.eye(D)], axis=-1) for s in (1, -1)]
        return (sides[0] - sides[1]).reshape(len(z), D) / (2 * h)


def subspaces(plan: mcgen.Plan) -> list[Subspace]:
    return [design for one in plan.candidates for design in one.designs if isinstance(design, Subspace)]


def test_gradients_without_a_jacobian_give_directions() -> None:
    options: dict[str, Any] = {"n_evaluations": 3200, "seed": SEED}
    assert not hasattr(WithGradient(), "jacobian")
    plan = mcgen.plan(WithGradient(), pixel_mean, **options)
    found = subspaces(plan)
    assert found
    basis = found[0].basis
    assert "active subspace" in str(basis)
    # The directions span the four combinations, to which the statistic reacts.
    (directions,) = basis.matrices.values()
    outside = WEIGHTS - WEIGHTS @ directions @ directions.T
    assert np.abs(outside).max() < 1e-3
    assert any("leading directions have" in text for text in plan.reasons)
    # 3 evaluations for each gradient are in the pilot.
    assert plan.pilot_evaluations <= 320
    # A control: without gradients there are none.
    assert not subspaces(mcgen.plan(Curved(), pixel_mean, **options))


def test_components_have_gradients_one_by_one() -> None:
    asked: list[int] = []

    class Counting(WithGradient):
        def gradient(self, z: Any, statistic: Any, condition: Any = None) -> Any:
            asked.append(len(z))
            return super().gradient(z, statistic, condition)

    two = mcgen.statistics.stack(pixel_mean, lambda x: x[:, 0], names=("mean", "first"))
    plan = mcgen.plan(Counting(), two, n_evaluations=3200, seed=SEED)
    assert subspaces(plan)
    # Each point has a gradient of each component; a fifth of the pilot's evaluations pays for 3 a gradient.
    assert sum(asked) % 2 == 0
    assert 0 < 3 * sum(asked) <= 3200 / 13 * 0.2
    assert plan.pilot_evaluations <= 320
    with warnings.catch_warnings():
        warnings.simplefilter("error", mcgen.GeneratorWarning)
        assert plan.estimate().mean.shape == (2,)

"""Plans without a pilot: two levels with a fitted sampler below, or pairs."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic  # noqa: E402
from mcgen.adapters import DDIM, Fitted, Schedule  # noqa: E402
from mcgen.adapters.samplers.fitting import run_pilot  # noqa: E402
from mcgen.noise import as_rows  # noqa: E402
from mcgen.variance_reduction.planning.rule import FEWEST_FOR_FIT, FEWEST_FOR_PILOT  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means"),
    pytest.mark.usefixtures("one_torch_thread"),
]


def denoiser(x: torch.Tensor, time: torch.Tensor, condition: float | None = None) -> torch.Tensor:
    """As a noise: that of two points, roughly; neither linear nor odd, and cheap."""
    shift = 0.2 if condition is None else condition
    return x - 0.8 * torch.tanh(2 * (x - shift)) * (1 - time[:, None])


def small(steps: int = 25) -> DDIM:
    return DDIM(denoiser, Schedule.cosine(100), (6,), steps=steps, name="small")


def square(x: torch.Tensor) -> torch.Tensor:
    return (x**2 + x).mean(dim=1)


def hashed(x: torch.Tensor) -> torch.Tensor:
    """Digits of the samples that no fit follows."""
    return torch.sin(1e6 * x).mean(dim=1)


def ripples(x: torch.Tensor) -> torch.Tensor:
    return torch.sign(torch.sin(300 * x)).mean(dim=1)


def planned(n: int, statistic: Any = square, **changes: Any) -> mcgen.Plan:
    options: dict[str, Any] = {"n_evaluations": n, "seed": SEED} | changes
    return mcgen.plan(options.pop("generator", None) or small(), statistic, **options)


def test_a_fitted_sampler_is_the_lower_of_two_levels() -> None:
    plan = planned(200)
    assert plan.chosen.coarse is not None
    assert isinstance(plan.chosen.coarse.generator, Fitted)
    assert plan.chosen.designs == (Antithetic(), Antithetic())
    assert min(plan.chosen.n_replicates) >= 25
    # 16 trajectories of 25 evaluations, and 5 more on each, in evaluations of the generator.
    assert plan.pilot_evaluations == math.ceil(16 * (1 + 5 / 25))
    made = plan.estimate()
    assert made.provenance.pilot_evaluations == plan.pilot_evaluations
    assert made.n_evaluations + plan.pilot_evaluations == plan.n_evaluations
    assert made.provenance.level == "sum of 2 levels"
    assert "leaves 0.0" in str(plan)
    assert planned(FEWEST_FOR_PILOT - 1).chosen.coarse is not None


@pytest.mark.parametrize("n", [150, 151, 160, 200, 333, 400, 777, 999])
@pytest.mark.parametrize("steps", [15, 25, 40, 50])
def test_pilot_and_run_keep_to_the_evaluations(n: int, steps: int) -> None:
    plan = planned(n, generator=small(steps))
    assert plan.n_evaluations <= n
    assert plan.n_evaluations > n - 3
    assert (plan.n_evaluations < n) == any("rounded down" in text for text in plan.reasons)
    known = planned(n, generator=small(steps), coarse=[(small(steps).fitted(3, seed=1), 3 / steps)], correlation=0.999)
    assert known.chosen.coarse is not None
    assert known.n_evaluations <= n


def test_too_few_evaluations_have_no_fit() -> None:
    for n in (60, FEWEST_FOR_FIT - 1):
        plan = planned(n)
        assert (plan.pilot_evaluations, plan.chosen.designs) == (0, (Antithetic(),))
    assert planned(FEWEST_FOR_FIT).pilot_evaluations > 0
    # Nor have samplers of few steps: the fifth of them would be fewer than three.
    assert planned(400, generator=small(12)).pilot_evaluations == 0


def test_the_mean_is_that_of_the_fine_sampler() -> None:
    """Over 150 plans, each with a fit of its own; a control: as few steps without the fine level are off."""
    fine = small()
    options: dict[str, Any] = {"seed": SEED, "batch_size": 4096, "design": Antithetic(), "n_evaluations": 100_000}
    truth = mcgen.estimate(fine, square, **options)
    runs = [
        mcgen.estimate(fine, square, design="auto", n_evaluations=200, seed=SEED + 1 + i, batch_size=512)
        for i in range(150)
    ]
    assert all(one.provenance.level == "sum of 2 levels" for one in runs)
    means = np.array([one.mean for one in runs])
    error = np.hypot(means.std(ddof=1) / np.sqrt(len(means)), truth.standard_error)
    assert abs(means.mean() - truth.mean) < Z_LIMIT * error
    below = mcgen.estimate(fine.coarse(5), square, **options)
    assert abs(below.mean - truth.mean) > Z_LIMIT * np.hypot(below.standard_error, truth.standard_error)


def test_it_is_better_than_pairs() -> None:
    squares = []
    for seed in range(20):
        options: dict[str, Any] = {"n_evaluations": 200, "seed": seed, "batch_size": 512}
        auto = mcgen.estimate(small(), square, design="auto", **options)
        squares.append(
            [auto.half_width**2, mcgen.estimate(small(), square, design=Antithetic(), **options).half_width ** 2]
        )
    auto_square, pairs = np.mean(squares, axis=0)
    assert pairs / auto_square > 1.5


@pytest.mark.parametrize("statistic", [hashed, ripples])
def test_where_the_fit_does_not_follow_pairs_stay(statistic: Any) -> None:
    """In most of 20 plans: a fit that has nothing in common with a statistic may look good on 8 pairs."""
    for n in (200, 900):
        plans = [planned(n, statistic, seed=seed) for seed in range(20)]
        stay = [plan for plan in plans if plan.chosen.coarse is None]
        assert len(stay) >= 15
        plan = stay[0]
        assert plan.chosen.designs == (Antithetic(),)
        assert "not worth it" in str(plan)
        # What the fit has cost is spent.
        assert plan.pilot_evaluations == 20
        assert plan.n_evaluations <= n
        assert plan.estimate().provenance.pilot_evaluations == 20


def test_one_component_that_would_lose_keeps_pairs() -> None:
    """In most of 12 plans: on 8 pairs the component may look doubtful, or better than it is."""
    both = mcgen.statistics.stack(square, hashed, names=("square", "hashed"))
    plans = [planned(400, both, seed=seed) for seed in range(12)]
    assert sum(one.chosen.coarse is None for one in plans) >= 10
    # Where it is not protected it has no veto: the mean over both decides.
    free = [planned(400, both, seed=seed, protect=()) for seed in range(12)]
    assert sum(one.chosen.coarse is None for one in free) < sum(one.chosen.coarse is None for one in plans)
    assert all("not protected: square" in str(one) for one in free)
    guarded = [planned(400, both, seed=seed, protect=["hashed"]) for seed in range(12)]
    assert all(one.chosen.coarse is None for one in guarded)
    twice = mcgen.statistics.stack(square, mcgen.statistics.pixel_mean, names=("square", "mean"))
    assert planned(400, twice).chosen.coarse is not None


def test_levels_that_vary_far_more_than_the_fit_says_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Fitted.pilot_samples

    def too_good(self: Fitted, condition: object = None) -> Any:
        found = honest(self, condition)
        assert found is not None
        return found[0], found[0]

    monkeypatch.setattr(Fitted, "pilot_samples", too_good)
    plan = planned(400, ripples, seed=0)
    assert plan.chosen.coarse is not None
    with pytest.warns(mcgen.CoverageWarning, match="varies far more than"):
        made = plan.estimate()
    assert any("varies far more than" in text for text in made.warnings)
    # A control: where the fit follows the check is silent.
    monkeypatch.setattr(Fitted, "pilot_samples", honest)
    with warnings.catch_warnings():
        warnings.simplefilter("error", mcgen.CoverageWarning)
        for seed in range(20):
            assert not planned(400, seed=seed).estimate().warnings


class Refusing:
    """A sampler of many steps that shows no trajectories."""

    steps, name, noise = 50, "refusing", mcgen.NoiseSpec.normal((6,), "float64")

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def fitted_several(self, evaluations: Any, **options: Any) -> Any:
        raise self.error("no predictions at its steps")

    def __call__(self, z: Any, condition: Any = None) -> Any:
        return np.tanh(z + 0.2)


@pytest.mark.parametrize("error", [TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError])
def test_a_sampler_that_can_not_be_fitted_has_pairs_and_the_reason(error: type[BaseException]) -> None:
    for n in (200, 2000):
        plan = planned(n, mcgen.statistics.pixel_mean, generator=Refusing(error))
        assert plan.chosen.coarse is None
        assert any("no sampler could be fitted" in text and "no predictions at" in text for text in plan.reasons)
    short = planned(200, mcgen.statistics.pixel_mean, generator=Refusing(error))
    assert (short.chosen.designs, short.pilot_evaluations) == ((Antithetic(),), 0)
    with pytest.raises(KeyboardInterrupt):
        planned(200, mcgen.statistics.pixel_mean, generator=Refusing(KeyboardInterrupt))


class WithoutSamples:
    """What `fitted_several` of another library may return: a generator with its cost alone."""

    cost, name, noise, pilot_evaluations = 0.1, "without samples", mcgen.NoiseSpec.normal((6,), "float64"), 18

    def __call__(self, z: Any, condition: Any = None) -> Any:
        return np.tanh(z + 0.2)


def test_fits_that_show_no_samples_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusing, "fitted_several", lambda self, evaluations, **options: [WithoutSamples()])
    plan = planned(200, mcgen.statistics.pixel_mean, generator=Refusing(TypeError))
    assert plan.chosen.designs == (Antithetic(),)
    assert any("no values for the fit's samples" in text for text in plan.reasons)
    assert plan.pilot_evaluations == math.ceil(16 * 1.1)
    monkeypatch.setattr(Fitted, "pilot_samples", lambda self, condition=None: None)
    assert planned(200).chosen.designs == (Antithetic(),)


def test_no_run_uses_the_noise_of_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    called = DDIM.__call__, Fitted.__call__

    def watching(original: Any) -> Any:
        def call(self: Any, noise: Any, condition: Any = None) -> Any:
            seen.extend(np.asarray(row, np.float32).tobytes() for row in np.asarray(noise))
            return original(self, noise, condition)

        return call

    monkeypatch.setattr(DDIM, "__call__", watching(called[0]))
    monkeypatch.setattr(Fitted, "__call__", watching(called[1]))
    fine = small()
    with torch.no_grad():
        (fit_noise,) = run_pilot(fine, 8, SEED, None, [0]).noise.values()
    rows = {row.tobytes() for row in fit_noise.numpy()}
    assert len(rows) == 16
    planned(200, generator=fine).estimate()
    assert len(set(seen)) == 2 * sum(planned(200, generator=fine).chosen.n_replicates)
    assert not rows & set(seen)
    # A control: the rows are recognized where they are used.
    fine(as_rows(Antithetic().draw(fine.noise, 8, SEED, stream=("fitted",))))
    assert rows <= set(seen)

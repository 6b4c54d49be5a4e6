"""What samplers show at their steps, and `mcgen.analysis` on networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen.adapters import DDIM, DPS, Consistency, Flow, Heun, Inpainting, Schedule, from_torch, models  # noqa: E402
from mcgen.generators.stepwise import Resumable, Stepwise  # noqa: E402
from mcgen.noise import as_rows  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCHEDULE = Schedule.cosine(100)
CALLS: list[int] = []


def denoiser(x: Any, time: Any, condition: Any = None) -> Any:
    CALLS.append(len(x))
    return x - 0.8 * torch.tanh(2 * (x - 0.2)) * (1 - time[:, None])


def function(x: Any, sigma: Any, condition: Any) -> Any:
    return x / (1 + sigma[:, None] ** 2).sqrt()


SAMPLERS: dict[str, Any] = {
    "DDIM": DDIM(denoiser, SCHEDULE, (6,), steps=7),
    "DDPM": DDIM(denoiser, SCHEDULE, (6,), steps=7, eta=1.0),
    "Heun": Heun(denoiser, SCHEDULE, (6,), steps=7),
    "clipped": DDIM(denoiser, SCHEDULE, (6,), steps=7, clip=0.5),
    **{
        f"flow {method}": Flow(denoiser, (6,), steps=7, method=method)
        for method in ("euler", "midpoint", "heun", "rk4")
    },
    "consistency": Consistency.from_sigmas(function, [80.0, 5.0, 0.66], (6,)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_show_their_trajectory_and_predictions(name: str) -> None:
    sampler = SAMPLERS[name]
    assert isinstance(sampler, Stepwise)
    noise = as_rows(mcgen.MonteCarlo().draw(sampler.noise, 5, SEED))
    CALLS.clear()
    sampler(noise)
    n_calls = len(CALLS)
    CALLS.clear()
    shown = [*sampler.observe(noise)]
    assert len(CALLS) == n_calls
    assert len(shown) == sampler.steps + 1
    path = sampler.trajectory(noise)
    for i, found in enumerate(shown):
        assert torch.equal(found["state"], path[:, i])
        assert set(found) == (set(sampler.shown) if i < sampler.steps else {"state"})
        if i < sampler.steps and len(sampler.shown) > 1:
            again = sampler.predictions(found["state"].numpy(), i)
            assert set(again) == set(sampler.prediction_names)
            assert all(torch.equal(again[one], found[one]) for one in again)
    if sampler.signal_shares is not None:
        assert len(sampler.signal_shares) == sampler.steps + 1
        assert (np.diff(sampler.signal_shares) > 0).all()
    assert torch.is_grad_enabled()
    next(sampler.observe(noise))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "consistency"])
def test_paths_go_on_from_any_of_their_states(name: str) -> None:
    sampler = SAMPLERS[name]
    assert isinstance(sampler, Resumable)
    noise = as_rows(mcgen.MonteCarlo().draw(sampler.noise, 5, SEED))
    path = sampler.trajectory(noise)
    for i in (0, 4, 6):
        assert torch.equal(sampler.resume(path[:, i].numpy(), i, noise), path[:, -1])
        assert not torch.equal(sampler.resume(path[:, i].numpy() + 1, i, noise), path[:, -1])
    with pytest.raises(ValueError, match="i must be a step of the sampler, 0 to 6; got 7"):
        sampler.resume(path[:, 0].numpy(), 7, noise)


def test_a_sampler_that_does_not_start_in_the_middle_says_so() -> None:
    sampler = SAMPLERS["consistency"]
    noise = as_rows(mcgen.MonteCarlo().draw(sampler.noise, 5, SEED))
    with pytest.raises(TypeError, match="Consistency can't start in the middle of a path; DDIM, Heun and Flow can"):
        sampler.resume(np.zeros((5, 6), np.float32), 1, noise)


def test_what_is_no_state_is_refused() -> None:
    sampler = SAMPLERS["DDIM"]
    for x in (np.zeros((2, 5)), np.zeros(6), np.zeros((2, 1, 6))):
        with pytest.raises(ValueError, match=r"states of .* must have shape \(n, 6,\); got"):
            sampler.predictions(x, 0)
    for i in (-1, 7):
        with pytest.raises(ValueError, match=f"i must be a step of the sampler, 0 to 6; got {i}"):
            sampler.predictions(np.zeros((2, 6)), i)


def test_posterior_samplers_show_their_states() -> None:
    prior = models.load("mnist-ddpm", steps=4)
    operator = Inpainting.random((1, 28, 28), hidden=0.5, seed=0)
    sampler = DPS(prior, operator)
    y = operator.measure(torch.zeros(1, 28, 28), 0.0, np.zeros(operator.measurement_shape, np.float32))
    noise = np.random.default_rng(SEED).standard_normal((2, 1, 28, 28)).astype(np.float32)
    shown = [*sampler.observe(noise, y)]
    assert sampler.shown == ("state",)
    assert torch.equal(torch.stack([one["state"] for one in shown], dim=1), sampler.trajectory(noise, y))


def test_models_without_steps_are_refused_with_what_to_wrap_them_by() -> None:
    plain = from_torch(lambda z: z, (3,), name="plain")
    with pytest.raises(TypeError, match=r"got plain \(TorchGenerator\)\. Wrap its network .* DDIM\(denoiser"):
        mcgen.analysis.along_time(plain, n_pairs=5, seed=SEED)
    fitted = SAMPLERS["DDIM"].fitted(3, pairs=4, seed=SEED)
    with pytest.raises(TypeError, match=r"It was fitted to a sampler that does: give model\.fine"):
        mcgen.analysis.symmetry(fitted, n_base=5, seed=SEED)


def test_numbers_of_digits_as_measured_before() -> None:
    """50 steps; from 100 pairs: states every 10th step, predicted noise at its last."""
    digits = models.load("digits-diffusion")
    found = mcgen.analysis.along_time(digits, n_pairs=30, seed=SEED, of=("state", "noise"), kinds="negated")
    standard, centralized, noise = (
        found.curve(of=of, measure=measure).mean
        for of, measure in (("state", "standard"), ("state", "centralized"), ("noise", "centralized"))
    )
    np.testing.assert_allclose(standard[::10], [-1, -0.94, -0.77, -0.46, -0.05, 0.24], atol=0.08)
    np.testing.assert_allclose(centralized[::10], [-1, -1, -1, -0.96, -0.83, -0.60], atol=0.08)
    assert noise[45] == pytest.approx(-0.89, abs=0.05)
    ancestral = models.load("digits-diffusion", eta=1.0)
    found = mcgen.analysis.along_time(ancestral, n_pairs=30, seed=SEED, of="state", kinds="negated")
    assert found.curve(measure="centralized").mean[-1] == pytest.approx(-0.49, abs=0.1)


def test_the_symmetry_of_digits_as_measured_before() -> None:
    digits = models.load("digits-diffusion")
    found = mcgen.analysis.symmetry(digits, n_base=10, seed=SEED, points=41)
    numbers = {number.name: number.value for number in found.numbers}
    assert numbers["mean"] == pytest.approx(0.865, abs=0.06)
    assert numbers["median"] == pytest.approx(0.984, abs=0.02)
    score = found.curve(measure="antisymmetry score of slices")
    assert score.mean[0] > 0.99
    assert score.mean[-1] < 0.85


def test_the_flow_shows_velocities() -> None:
    flow = models.load("moons-flow")
    found = mcgen.analysis.along_time(flow, n_pairs=10, seed=SEED, of="velocity", measures="standard")
    assert len(found.curve(kind="negated").mean) == flow.steps
    assert mcgen.analysis.symmetry(flow, n_base=5, seed=SEED, of="velocity", coordinates=2, points=11).scores.shape == (
        10,
        5,
        2,
    )
    with pytest.raises(ValueError, match="of must be among 'velocity'; got 'noise'"):
        mcgen.analysis.symmetry(flow, n_base=5, seed=SEED)

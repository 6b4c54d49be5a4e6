"""`velocity_of`: a diffusion model as a rectified flow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

from mcgen.adapters import (  # noqa: E402
    DDIM,
    DPS,
    Edit,
    Flow,
    FlowEdit,
    Heun,
    Inpainting,
    Schedule,
    models,
    velocity_of,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCHEDULE = Schedule.cosine()
MEAN, SD = 0.7, 0.5


class Gaussian(torch.nn.Module):
    """The exact prediction for data N(mean, SD^2), at any time between training steps; the condition is the mean."""

    def __init__(self, prediction: str = "noise") -> None:
        super().__init__()
        self.prediction = prediction
        self.asked: list[float] = []
        shares = np.array(SCHEDULE.alpha_bar)
        self.log_ratios = np.log(shares / (1 - shares))

    def forward(self, x: Any, time: Any, condition: Any = None) -> Any:
        step = float(time[0]) * len(self.log_ratios)
        self.asked.append(step)
        share = 1 / (1 + math.exp(-float(np.interp(step, np.arange(len(self.log_ratios)), self.log_ratios))))
        mean = MEAN if condition is None else condition
        noise = math.sqrt(1 - share) / (share * SD**2 + 1 - share) * (x - math.sqrt(share) * mean)
        sample = (x - math.sqrt(1 - share) * noise) / math.sqrt(share)
        found = {"noise": noise, "sample": sample}
        return found.get(self.prediction, math.sqrt(share) * noise - math.sqrt(1 - share) * sample)


def model(prediction: Any = "noise", sampler: type = DDIM, **options: Any) -> Any:
    made = sampler(Gaussian(prediction).eval(), SCHEDULE, (2,), steps=20, prediction=prediction, **options)
    made.dtype = torch.float64
    return made


def closed_form(y: Any, t: float, mean: float = MEAN) -> Any:
    """E[x_1 - z | y] for y = t x_1 + (1 - t) z, x_1 ~ N(mean, SD^2)."""
    variance = t**2 * SD**2 + (1 - t) ** 2
    return mean + (t * SD**2 - (1 - t)) / variance * (y - t * mean)


@pytest.mark.parametrize("prediction", ["noise", "sample", "velocity"])
def test_the_velocity_of_a_gaussian_has_its_closed_form(prediction: str) -> None:
    velocity = velocity_of(model(prediction))
    y = torch.linspace(-2, 2, 10, dtype=torch.float64).reshape(5, 2)
    for t in (0.02, 0.3, 0.5, 0.77, 0.98):
        found = velocity(y, torch.full((5,), t), None)
        assert torch.allclose(found, closed_form(y, float(torch.tensor(t))), atol=1e-4)
        assert torch.allclose(
            velocity(y, torch.full((5,), t), 1.5), closed_form(y, float(torch.tensor(t)), 1.5), atol=1e-4
        )


def test_the_nearest_training_step_is_close() -> None:
    made = model()
    y = torch.linspace(-2, 2, 10, dtype=torch.float64).reshape(5, 2)
    found = velocity_of(made, between_steps=False)(y, torch.full((5,), 0.4), None)
    assert made.denoiser.asked[-1] == pytest.approx(round(made.denoiser.asked[-1]), abs=1e-4)
    assert torch.allclose(found, closed_form(y, 0.4), atol=0.01)
    velocity_of(made)(y, torch.full((5,), 0.4), None)
    assert abs(made.denoiser.asked[-1] - round(made.denoiser.asked[-1])) > 1e-3


@pytest.mark.parametrize("sampler", [DDIM, Heun])
def test_its_flow_has_the_data_as_samples(sampler: type) -> None:
    flow = Flow(velocity_of(model(sampler=sampler)), (2,), steps=200, method="rk4", dtype=torch.float64)
    z = np.linspace(-2, 2, 10).reshape(5, 2)
    np.testing.assert_allclose(flow(z), MEAN + SD * z, atol=1e-3)
    z = np.random.default_rng(SEED).standard_normal((4, 2))
    np.testing.assert_allclose(flow(z, 2.0), 2.0 + SD * z, atol=2e-3)


def test_at_the_ends_of_the_schedule_its_own_ends_are_used() -> None:
    made = model()
    velocity = velocity_of(made)
    y = torch.ones(3, 2, dtype=torch.float64)
    for t, step in ((0.0, 999), (1.0, 0), (1e-9, 999), (1 - 1e-12, 0)):
        assert torch.allclose(velocity(y, torch.full((3,), t, dtype=torch.float64)), closed_form(y, t), atol=0.05)
        assert made.denoiser.asked[-1] == pytest.approx(step, abs=1e-3)


def test_clip_and_kind_of_prediction_are_those_of_the_sampler() -> None:
    y = torch.full((1, 2), 4.0, dtype=torch.float64)
    clipped = velocity_of(model(clip=0.1))(y, torch.full((1,), 0.5))
    scale = math.sqrt(0.5)
    state = y / scale
    assert torch.allclose(clipped, 0.1 - (state - scale * 0.1) / scale, atol=1e-3)


def test_it_follows_the_probability_flow_of_a_network() -> None:
    heun = models.load("mnist-ddpm", sampler="heun", steps=50)
    flow = Flow(velocity_of(heun), heun.shape, steps=50, decode=heun.decode)
    z = np.random.default_rng(SEED).standard_normal((6, 1, 28, 28)).astype(np.float32)
    # A sample near the border between two forms may go either way, so that single ones have been seen at 0.96.
    assert np.corrcoef(flow(z, 3).flatten(), heun(z, 3).flatten())[0, 1] > 0.99


def test_it_edits_with_the_networks_of_the_model() -> None:
    digits = models.load("digits-diffusion", steps=10)
    velocity = velocity_of(digits)
    assert [*velocity.owners] == [*digits.modules]
    assert not velocity.training
    editor = FlowEdit(velocity, digits.shape, steps=4, skip=1, decode=digits.decode)
    noise = {
        name: np.random.default_rng(SEED).standard_normal((2, *b.shape)).astype("f4") for name, b in editor.noise.blocks
    }
    edits = editor(noise, Edit(np.zeros((1, 8, 8), np.float32), 3, 8))
    assert edits.shape == (2, 1, 8, 8)
    assert bool(((edits >= 0) & (edits <= 1)).all())
    digits.denoiser.train()
    with pytest.raises(ValueError, match="training mode"):
        Flow(velocity_of(digits), digits.shape)


def test_bad_input_is_refused() -> None:
    prior = model()
    for wrong in (Flow(lambda x, t, c: x, (2,)), lambda x: x, None):
        with pytest.raises(TypeError, match=r"velocity_of takes a diffusion model such as DDIM"):
            velocity_of(wrong)
    posterior = DPS(models.load("mnist-ddpm", steps=10), Inpainting.random((1, 28, 28), hidden=0.5, seed=0))
    with pytest.raises(TypeError, match="got DPS"):
        velocity_of(posterior)
    with pytest.raises(TypeError, match="between_steps must be True or False"):
        velocity_of(prior, between_steps="no")
    velocity, y = velocity_of(prior), torch.zeros(2, 2, dtype=torch.float64)
    for times in ([0.1, 0.2], [1.1, 1.1], [-0.1, -0.1], [math.nan, math.nan]):
        with pytest.raises(ValueError, match="all rows must have the same time, from 0 to 1; got"):
            velocity(y, torch.tensor(times))

"""Consistency models: exact laws for Gaussian data, both forms, and the pipeline of diffusers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic, MonteCarlo  # noqa: E402
from mcgen.adapters import Schedule, capture  # noqa: E402
from mcgen.adapters.samplers.consistency import Consistency, Level  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

# Pairs under an affine map are equal but for rounding, which is warned of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:all .* replicate means"),
    pytest.mark.usefixtures("one_torch_thread"),
]

MEAN, SD, SIGMA_MIN = 0.7, 0.5, 0.002
SCHEDULE = Schedule.cosine()


def exploding(x: torch.Tensor, sigma: torch.Tensor, condition: object = None) -> torch.Tensor:
    """The exact function for data N(MEAN, SD^2): (x - MEAN) / sqrt(SD^2 + sigma^2) is the same along a path."""
    ratio = torch.sqrt((SD**2 + SIGMA_MIN**2) / (SD**2 + sigma**2))
    return MEAN + ratio[:, None] * (x - MEAN)


def preserving(x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
    signal = torch.tensor(SCHEDULE.alpha_bar)[(time * len(SCHEDULE.alpha_bar)).round().long()][:, None]
    return MEAN + SD * (x - signal.sqrt() * MEAN) / torch.sqrt(signal * SD**2 + 1 - signal)


def models(steps: int) -> dict[str, Consistency]:
    return {
        "exploding": Consistency.from_sigmas(exploding, [80.0, 0.8, 0.3][:steps], (1,), sigma_min=SIGMA_MIN),
        "preserving": Consistency.from_schedule(preserving, SCHEDULE, (1,), steps=[999, 600, 200][:steps]),
    }


def samples(model: Consistency, n: int = 20_000) -> np.ndarray:
    noise = MonteCarlo().draw(model.noise, n, SEED)
    return model(noise[:, 0] if model.steps == 1 else {name: block[:, 0] for name, block in noise.items()}).numpy()[
        :, 0
    ]


@pytest.mark.parametrize("form", ["exploding", "preserving"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_exact_function_gives_the_exact_law(form: str, steps: int) -> None:
    model = models(steps)[form]
    x = samples(model)
    assert abs(z_score(x, MEAN)) < Z_LIMIT
    assert abs(z_score((x - MEAN) ** 2, SD**2)) < Z_LIMIT
    assert [name for name, _ in model.noise.blocks] == [["noise"], ["start", "step 1"], ["start", "step 1", "step 2"]][
        steps - 1
    ]


def test_a_forgotten_scale_is_told_apart() -> None:
    """Noise of scale 1 where 0.8 or sqrt(1 - alpha_bar) is right: the variance comes out wrong."""
    for model in models(2).values():
        first, second = model.levels
        wrong = Consistency(model.consistency, [first, Level(second.time, second.signal, 1.2 * second.noise)], (1,))
        assert abs(z_score((samples(wrong) - MEAN) ** 2, SD**2)) > Z_LIMIT


def test_pairs_are_exact_and_rows_apart() -> None:
    for model in models(2).values():
        result = mcgen.estimate(model, lambda s: s[:, 0], design=Antithetic(), n_evaluations=64, seed=SEED)
        assert result.half_width < 1e-5
        noise = {name: block[:, 0] for name, block in MonteCarlo().draw(model.noise, 8, SEED).items()}
        assert torch.equal(model(noise)[2:4], model({name: block[2:4] for name, block in noise.items()}))


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_predictions_of_a_distilled_network_are_turned_into_samples(prediction: str) -> None:
    def network(x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        signal = torch.tensor(SCHEDULE.alpha_bar)[(time * len(SCHEDULE.alpha_bar)).round().long()][:, None]
        x_0 = preserving(x, time)
        noise = (x - signal.sqrt() * x_0) / (1 - signal).sqrt()
        return noise if prediction == "noise" else signal.sqrt() * noise - (1 - signal).sqrt() * x_0

    levels = {"steps": [800, 300]}
    model = Consistency.from_schedule(network, SCHEDULE, (1,), prediction=prediction, **levels)
    plain = Consistency.from_schedule(preserving, SCHEDULE, (1,), **levels)
    assert np.allclose(samples(model, 50), samples(plain, 50), atol=1e-4)


def test_coarse_clip_and_decode() -> None:
    model = Consistency.from_sigmas(exploding, [80.0, 0.8], (1,), clip=0.9, decode=lambda x: 10 * x)
    x = samples(model, 500)
    assert x.max() == pytest.approx(9.0)
    start = MonteCarlo().draw((1,), 50, SEED)[:, 0]
    one = Consistency.from_sigmas(exploding, [80.0], (1,), clip=0.9, decode=lambda x: 10 * x)
    assert torch.equal(model.coarse(1)(start), one(start))
    even = Consistency.from_schedule(preserving, SCHEDULE, (1,), steps=4)
    assert [level.time for level in even.levels] == [0.999, 0.749, 0.499, 0.249]


def test_consistency_refuses() -> None:
    with pytest.raises(ValueError, match=r"sigmas must decrease, .* sigma_min = 0.002; got \[1.0, 2.0\]"):
        Consistency.from_sigmas(exploding, [1.0, 2.0], (1,))
    with pytest.raises(ValueError, match="prediction='noise' is defined where signal and noise are mixed with"):
        Consistency.from_sigmas(exploding, [80.0], (1,), prediction="noise")
    with pytest.raises(ValueError, match="prediction must be one of .*; got 'x'"):
        Consistency.from_sigmas(exploding, [80.0], (1,), prediction="x")
    with pytest.raises(ValueError, match="between 1 and the model's own 2 steps; got 3"):
        models(2)["exploding"].coarse(3)
    with pytest.raises(ValueError, match="a consistency model takes at least 1 level"):
        Consistency(exploding, [], (1,))
    with pytest.raises(ValueError, match="BatchNorm1d is in training mode"):
        Consistency.from_sigmas(torch.nn.BatchNorm1d(1), [80.0], (1,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Consistency.from_sigmas(exploding, [80.0], (1,), clip=-1), "clip must be a positive bound, or None"),
        (lambda: Consistency.from_sigmas(exploding, [80.0], (1,), clip="1"), "clip must be a number; got '1'"),
        (lambda: Consistency.from_sigmas(exploding, [math.inf, 1.0], (1,)), "each sigma must be finite; got inf"),
        (lambda: Level(1.0, math.nan, 1.0), "a level's signal must be finite; got nan"),
        (lambda: Consistency(exploding, [80.0], (1,)), r"levels must be of type Level\(.*; got 80.0. For noise levels"),
        (lambda: Consistency.from_sigmas(3, [80.0], (1,)), "function must be callable: a torch module, its method"),
        (lambda: Consistency.from_schedule(preserving, [0.9], (1,)), "schedule must be a mcgen.adapters.Schedule"),
        (lambda: Consistency.from_schedule(preserving, SCHEDULE, (1,), steps="1"), "steps must be an int; got '1'"),
    ],
)
def test_settings_of_consistency_models_are_checked(make, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_states_and_fewer_steps() -> None:
    for model in models(3).values():
        assert model.steps == 3
        noise = {name: block[:, 0] for name, block in MonteCarlo().draw(model.noise, 8, SEED).items()}
        path = model.trajectory(noise)
        assert path.shape == (8, 4, 1)
        assert torch.equal(path[:, -1], model(noise))
        two = {name: noise[name] for name in ("start", "step 1")}
        assert torch.equal(path[:, 2], model.with_steps(2)(two))
        assert torch.equal(path[:, 1], model.coarse(1)(noise["start"]))
    named = Consistency.from_sigmas(exploding, [80.0, 0.8], (1,), name="mine", device="meta", dtype=torch.float64)
    coarse = named.coarse(1)
    assert (coarse.name, coarse.device.type, coarse.dtype) == ("mine-1", "meta", torch.float64)


def test_states_are_kept_in_single_precision() -> None:
    """A network in half precision receives it; noise and mixing are in float32, where no rounding shows."""
    seen = []

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

        def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: object = None) -> torch.Tensor:
            seen.append((x.dtype, sigma.dtype))
            return torch.zeros_like(x)

    model = Consistency.from_sigmas(Half().eval(), [80.0, 0.8], (1,), decode=lambda x: seen.append(x.dtype) or x)
    noise = {name: block[:, 0] for name, block in MonteCarlo().draw(model.noise, 50, SEED).items()}
    assert model(noise).dtype == torch.float32
    assert seen == [(torch.bfloat16, torch.float32)] * 2 + [torch.bfloat16]
    start = model.trajectory(noise)[:, 0]
    assert torch.equal(start, 80 * torch.from_numpy(noise["start"]))
    assert not torch.equal(start, start.bfloat16().float())


def test_functions_that_would_broadcast_are_refused() -> None:
    z = np.ones((3, 4), np.float32)
    for wrong, found in ((lambda x, t, c: x[:, :1], r"\(3, 1\)"), (lambda x, t, c: x.numpy(), "ndarray")):
        with pytest.raises(ValueError, match=rf"the function of 'c' must return a tensor .*, \(3, 4\); got {found}"):
            Consistency.from_sigmas(wrong, [80.0], (4,), name="c")(z)


@pytest.mark.parametrize("steps", [1, 3])
def test_consistency_models_obey_the_laws_of_a_generator(steps: int) -> None:
    for model in models(steps).values():
        check_generator(model, seed=SEED).require()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("timesteps", [[0], [22, 0]])
def test_the_pipeline_of_diffusers_is_the_same_map(timesteps: list[int]) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=40)
    pipe = diffusers.ConsistencyModelPipeline(unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    captured = capture(
        lambda n, c: torch.from_numpy(
            pipe(batch_size=n, num_inference_steps=None, timesteps=timesteps, output_type="np").images
        ),
        modules=unet,
    )

    def function(x: torch.Tensor, sigma: torch.Tensor, condition: object = None) -> torch.Tensor:
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition(sigma[0])
        c_in = 1 / math.sqrt(float(sigma[0]) ** 2 + 0.5**2)
        return c_out * unet(c_in * x, 250 * torch.log(sigma[0])).sample + c_skip * x

    scheduler.set_timesteps(timesteps=timesteps)
    direct = Consistency.from_sigmas(
        function,
        scheduler.sigmas.tolist()[:-1],
        (3, 8, 8),
        clip=1.0,
        decode=lambda x: (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1),
        modules=[unet],
    )
    noise = np.random.default_rng(SEED).standard_normal((2, 4, 3, 8, 8), dtype=np.float32)
    blocks = {name: noise[min(i, 1)] for i, (name, _) in enumerate(captured.noise.blocks)}
    pictures = captured(noise[0] if len(blocks) == 1 else blocks)
    mine = direct(noise[0] if direct.steps == 1 else {"start": noise[0], "step 1": noise[1]})
    assert torch.allclose(pictures, mine, atol=1e-5)
    assert float(pictures.std()) > 0.05

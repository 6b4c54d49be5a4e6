"""Samplers that draw their own noise, unmodified: toys that show each law, and the pipelines of diffusers."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SEED

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic, Sobol  # noqa: E402
from mcgen.adapters import capture  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def walk(n: int, condition: object) -> torch.Tensor:
    x = torch.randn(n, 4)
    for _ in range(3):
        x = 0.9 * x + 0.1 * torch.randn_like(x) + 0.05 * x**2
    return x


def rows(generator: mcgen.Generator, design: mcgen.Design, replicates: int = 5) -> dict[str, np.ndarray]:
    """Noise as a run passes it: a mapping of blocks (rows, ...)."""
    noise = design.draw(generator.noise, replicates, SEED)
    return {name: block.reshape(-1, *block.shape[2:]) for name, block in noise.items()}


def test_every_draw_is_replaced_in_order() -> None:
    noise = rows(capture(walk), Antithetic())
    x = torch.from_numpy(noise["0 randn"])
    for i in (1, 2, 3):
        x = 0.9 * x + 0.1 * torch.from_numpy(noise[f"{i} randn_like"]) + 0.05 * x**2
    assert torch.equal(capture(walk)(noise), x)


def test_negation_and_nets_reach_every_step() -> None:
    """For a linear sampler a pair's mean is exact, whatever is drawn along the way."""

    def linear(n: int, condition: object) -> torch.Tensor:
        x = torch.empty(n, 4).normal_(1.0, 2.0)
        return x + torch.normal(torch.zeros(n, 4), 0.5) + torch.empty(n, 4).uniform_(-1, 1)

    generator = capture(linear)
    samples = generator(rows(generator, Antithetic())).reshape(5, 2, 4)
    assert torch.allclose(samples.mean(dim=1), torch.ones(5, 4), atol=1e-6)
    result = mcgen.estimate(capture(walk), mcgen.statistics.pixel_mean, design=Sobol(16), n_evaluations=1600, seed=0)
    assert result.provenance.noise.startswith("0 randn: normal(4), 1 randn_like: normal(4)")


def test_integers_and_masks_are_replayed() -> None:
    def hidden(n: int, condition: object) -> torch.Tensor:
        x = torch.randn(n, 6) + torch.randint(0, 3, (n, 1)) + torch.randint(5, (n, 6))
        return torch.nn.functional.dropout(x, 0.5, training=True) * torch.bernoulli(torch.full((n, 6), 0.9))

    generator = capture(hidden)
    assert [draw.kind.iid for draw in generator.draws] == [False, True, True, True, True]
    noise = rows(generator, Antithetic())
    assert torch.equal(generator(noise), generator(noise))
    x = (
        torch.from_numpy(noise["0 randn"])
        + torch.floor(3 * torch.from_numpy(noise["1 randint"]))
        + torch.floor(5 * torch.from_numpy(noise["2 randint"]))
    )
    x = x * torch.from_numpy((noise["3 bernoulli_"] < 0.5) * 2 * (noise["4 bernoulli"] < 0.9))
    assert torch.allclose(generator(noise), x.float())


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    generator = capture(walk)
    generator(rows(generator, Antithetic()))
    assert torch.equal(torch.get_rng_state(), before)


def test_describe_tells_rows_and_effects() -> None:
    def guided(n: int, condition: object) -> torch.Tensor:
        x = torch.randn(n, 3)
        both = torch.cat([x, x]) + 0.1 * torch.randn(2 * n, 3)
        torch.randn(n, 3)  # drawn and thrown away
        return 2 * both[:n] - both[n:]

    text = capture(guided).describe(effects=True).splitlines()
    assert text[0] == "guided: 3 draws, 12 numbers a sample"
    assert "normal(2x3), 2 rows a sample" in text[2]
    assert "no effect on the samples" in text[3]
    assert "no effect" not in text[1] + text[2]


def test_attention_without_dropout_is_no_draw() -> None:
    def attentive(n: int, condition: object) -> torch.Tensor:
        x = torch.randn(n, 1, 5, 8)
        return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    assert len(capture(attentive).draws) == 1


calls = 0


def _changing(n: int, condition: object) -> torch.Tensor:
    global calls
    calls += 1
    return sum(torch.randn(n, 2) for _ in range(1 + calls // 5))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda n, c: torch.zeros(n, 2), "draws no random numbers by torch: there is nothing to steer; use from_torch"),
        (
            lambda n, c: torch.randn(n, 2)[torch.randperm(n)],
            r"draws randperm \(as number 1\), which is no fixed function",
        ),
        (
            lambda n, c: torch.randn(n, 4) * torch.randn(4),
            r"draws randn of shape \(4,\) for 2 samples and \(4,\) for 3 .*Draw it for each sample",
        ),
        (lambda n, c: torch.randn(n, 4) - torch.randn(n, 4).mean(dim=0), "the noise of one sample reaches others"),
        (lambda n, c: sum(torch.randn(n, 4) for _ in range(n)), "made 2 draws for 2 samples and 3 for 3"),
        (lambda n, c: torch.randn(n + 1, 4), "returned 3 samples where 2 were asked for"),
    ],
)
def test_what_cannot_be_steered_is_refused_by_name(sampler, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        capture(sampler)


def test_draws_that_change_from_call_to_call_stop_the_run() -> None:
    global calls
    calls = 0
    generator = capture(_changing)
    with pytest.raises(ValueError, match="what it draws changes from call to call"):
        mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=640, seed=0)


diffusers_warnings = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)


@pytest.fixture
def unet(request: pytest.FixtureRequest):
    channels = getattr(request, "param", 1)
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=channels, out_channels=channels, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip


def pictures(samples) -> torch.Tensor:
    """A pipeline's pictures (n, H, W, C) as it makes them of its last state."""
    return torch.as_tensor(np.asarray(samples))


@diffusers_warnings
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_diffusers_ddim_is_the_direct_route(unet, eta: float) -> None:
    import diffusers

    pipe = diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler(num_train_timesteps=100))
    pipe.set_progress_bar_config(disable=True)
    generator = capture(
        lambda n, c: pipe(batch_size=n, num_inference_steps=5, eta=eta, output_type="np").images,
        modules=pipe.unet,
        name="ddim",
    )
    assert len(generator.draws) == (1 if eta == 0 else 6)
    noise = Antithetic().draw(generator.noise, 3, SEED)
    blocks = [noise] if eta == 0 else list(noise.values())
    blocks = [torch.from_numpy(block.reshape(-1, 1, 8, 8)) for block in blocks]
    x, scheduler = blocks[0], diffusers.DDIMScheduler(num_train_timesteps=100)
    scheduler.set_timesteps(5)
    with torch.no_grad():
        for i, t in enumerate(scheduler.timesteps):
            step_noise = blocks[i + 1] if eta > 0 else None
            x = scheduler.step(
                unet(x, t).sample, t, x, eta=eta, use_clipped_model_output=None, variance_noise=step_noise
            ).prev_sample
    direct = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    captured = generator(
        blocks[0].numpy()
        if eta == 0
        else {name: b.numpy() for (name, _), b in zip(generator.noise.blocks, blocks, strict=True)}
    )
    assert torch.equal(pictures(captured), direct)


@diffusers_warnings
def test_diffusers_ddpm_is_steered_at_every_step(unet) -> None:
    import diffusers

    pipe = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(num_train_timesteps=20))
    pipe.set_progress_bar_config(disable=True)
    generator = capture(
        lambda n, c: pipe(batch_size=n, num_inference_steps=6, output_type="np").images, modules=pipe.unet, name="ddpm"
    )
    assert len(generator.draws) == 6  # the start and five steps; the last step draws nothing
    assert "no effect" not in generator.describe(effects=True)
    result = mcgen.estimate(
        generator,
        lambda x: x.reshape(len(x), -1).mean(axis=1),
        design=Antithetic(),
        n_evaluations=64,
        seed=0,
        batch_size=16,
    )
    efficiency, _ = result.relative_efficiency()
    assert efficiency > 2


@diffusers_warnings
@pytest.mark.parametrize("unet", [3], indirect=True)
@pytest.mark.parametrize("steps", [1, 2])
def test_diffusers_consistency_model(unet, steps: int) -> None:
    import diffusers

    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=40)
    pipe = diffusers.ConsistencyModelPipeline(unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": None, "timesteps": [39, 0][:steps], "output_type": "np"}
    generator = capture(lambda n, c: pipe(batch_size=n, **options).images, modules=pipe.unet, name="consistency")
    noise = np.random.default_rng(SEED).standard_normal((4, 3, 8, 8), dtype=np.float32)
    blocks = {name: noise for name, _ in generator.noise.blocks}
    captured = generator(noise if len(blocks) == 1 else blocks)
    assert torch.isfinite(pictures(captured)).all()
    if steps == 1:
        direct = pipe(batch_size=4, latents=torch.from_numpy(noise), **options).images
        assert np.array_equal(captured, direct)


@diffusers_warnings
def test_diffusers_dit_with_guidance_draws_two_rows_a_sample() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=4, in_channels=4, out_channels=8, num_layers=1, num_attention_heads=2, attention_head_dim=8,
        num_embeds_ada_norm=1000, patch_size=2,
    ).eval()  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4).eval()
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=20)
    pipe = diffusers.DiTPipeline(transformer, vae, scheduler)
    pipe.set_progress_bar_config(disable=True)

    def sampler(n: int, condition: object):
        return pipe(class_labels=[condition] * n, num_inference_steps=3, output_type="np").images

    generator = capture(sampler, condition=1, modules=[transformer, vae], name="dit")
    assert [draw.rows for draw in generator.draws] == [1, 2, 2]
    noise = {name: block[:, 0] for name, block in mcgen.MonteCarlo().draw(generator.noise, 3, SEED).items()}
    assert np.array_equal(generator(noise, 1), generator(noise, 1))

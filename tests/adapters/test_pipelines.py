"""Pipelines of diffusers with tiny networks, unmodified: captured, read into our own samplers, compared with each other."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

import mcgen  # noqa: E402
from mcgen import Antithetic  # noqa: E402
from mcgen.adapters import capture  # noqa: E402
from mcgen.adapters.capturing.captured import PIPELINE_ADVICE  # noqa: E402
from mcgen.adapters.samplers.pipelines import from_pipeline  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    # What diffusers and transformers warn of themselves.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

N_TRAINING = 100


class Case(NamedTuple):
    """A pipeline, the call that makes n pictures of it, and the options under which it is read."""

    pipe: Any
    run: Callable[[int, object], torch.Tensor]
    options: dict[str, Any]
    condition: object = None

    @property
    def modules(self) -> list[torch.nn.Module]:
        return [part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module)]

    def captured(self) -> mcgen.adapters.CapturedGenerator:
        return capture(self.run, condition=self.condition, modules=self.modules, name="captured")


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_unet(channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=channels, out_channels=channels, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip


def tiny_vae() -> torch.nn.Module:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, scaling_factor=0.5,
    ).eval()  # fmt: skip


def ddim(eta: float = 0.0, *, steps: int = 5, **config: Any) -> Case:
    pipe = quiet(diffusers.DDIMPipeline(tiny_unet(), diffusers.DDIMScheduler(num_train_timesteps=N_TRAINING, **config)))

    def run(n: int, condition: object) -> torch.Tensor:
        return pipe(batch_size=n, num_inference_steps=steps, eta=eta, output_type="pt").images

    return Case(pipe, run, {"steps": steps, "eta": eta})


def ddpm(**config: Any) -> Case:
    pipe = quiet(diffusers.DDPMPipeline(tiny_unet(), diffusers.DDPMScheduler(num_train_timesteps=N_TRAINING, **config)))

    def run(n: int, condition: object) -> torch.Tensor:
        return pipe(batch_size=n, num_inference_steps=6, output_type="pt").images

    return Case(pipe, run, {"steps": 6})


def dit(scheduler: Any = None, guidance: float = 4.0) -> Case:
    torch.manual_seed(0)
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=4, in_channels=4, out_channels=8, num_layers=1, num_attention_heads=2, attention_head_dim=8,
        num_embeds_ada_norm=1000, patch_size=2,
    ).eval()  # fmt: skip
    scheduler = scheduler or diffusers.DDPMScheduler(num_train_timesteps=N_TRAINING)
    pipe = quiet(diffusers.DiTPipeline(transformer, tiny_vae(), scheduler))

    def run(n: int, condition: Any) -> torch.Tensor:
        return pipe([condition] * n, guidance_scale=guidance, num_inference_steps=3, output_type="pt").images

    return Case(pipe, run, {"steps": 3, "guidance_scale": guidance}, 7)


def stable_diffusion(folder: Path, eta: float = 0.0, guidance: float = 5.0) -> Case:
    transformers = pytest.importorskip("transformers")
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    torch.manual_seed(0)
    start, end = len(words) - 2, len(words) - 1
    text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=16, bos_token_id=start, eos_token_id=end, pad_token_id=end,
        )
    ).eval()  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, cross_attention_dim=8, attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    # The settings of the published checkpoints.
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1, set_alpha_to_one=False,
        clip_sample=False,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        tiny_vae(), text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    quiet(pipe)

    def run(n: int, condition: Any) -> torch.Tensor:
        options = {"num_inference_steps": 4, "guidance_scale": guidance, "eta": eta, "output_type": "pt"}
        return pipe([condition] * n, **options).images

    return Case(pipe, run, {"steps": 4, "guidance_scale": guidance, "eta": eta}, "a cat")


CASES: dict[str, Callable[[Path], Case]] = {
    "ddim": lambda folder: ddim(),
    "ddim eta 1": lambda folder: ddim(1.0),
    "ddim unclipped": lambda folder: ddim(0.5, clip_sample=False, timestep_spacing="trailing"),
    "ddim sample": lambda folder: ddim(0.0, prediction_type="sample"),
    "ddim velocity": lambda folder: ddim(1.0, prediction_type="v_prediction", set_alpha_to_one=False, steps_offset=1),
    "ddpm": lambda folder: ddpm(),
    "ddpm linspace": lambda folder: ddpm(timestep_spacing="linspace", variance_type="fixed_small_log"),
    "dit": lambda folder: dit(),
    "dit ddim": lambda folder: dit(diffusers.DDIMScheduler(num_train_timesteps=N_TRAINING), guidance=1.0),
    "stable diffusion": stable_diffusion,
    "stable diffusion eta 0.5": lambda folder: stable_diffusion(folder, eta=0.5),
    "stable diffusion unguided": lambda folder: stable_diffusion(folder, guidance=1.0),
}


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_captured_and_read_pipelines_are_the_pipeline(case: Case) -> None:
    """Captured to the last bit, on the noise that torch draws in its order; read to rounding."""
    captured = case.captured()
    torch.manual_seed(SEED)
    expected = case.run(3, case.condition)
    torch.manual_seed(SEED)
    noise = {}
    for draw, (name, _) in zip(captured.draws, captured.noise.blocks, strict=True):
        drawn = torch.randn(draw.rows, 3, *draw.shape)
        noise[name] = (drawn[0] if draw.rows == 1 else drawn.transpose(0, 1)).numpy()

    def given(generator: mcgen.Generator, blocks: list[np.ndarray]) -> torch.Tensor:
        names = [name for name, _ in generator.noise.blocks]
        lone = len(names) == 1
        return generator(blocks[0] if lone else dict(zip(names, blocks, strict=False)), case.condition)

    assert torch.equal(given(captured, [*noise.values()]), expected)
    # Guidance draws two rows, and a pipeline throws away the second.
    once = [noise[n][:, 0] if d.rows > 1 else noise[n] for d, n in zip(captured.draws, noise, strict=True)]
    read = from_pipeline(case.pipe, **case.options)
    pictures = given(read, once)
    assert pictures.shape == expected.shape
    assert torch.allclose(pictures, expected, atol=1e-5)
    assert float(expected.std()) > 0.01
    assert not torch.allclose(given(read, once[::-1] if len(once) > 1 else [-once[0]]), expected, atol=1e-3)


def test_stable_diffusion_captured_is_the_route_by_latents(tmp_path: Path) -> None:
    case = stable_diffusion(tmp_path)
    z = np.random.default_rng(SEED).standard_normal((3, 4, 4, 4), dtype=np.float32)
    direct = case.pipe(
        ["a cat"] * 3, num_inference_steps=4, guidance_scale=5.0, latents=torch.from_numpy(z), output_type="pt"
    ).images
    assert torch.equal(case.captured()(z, "a cat"), direct)
    read = from_pipeline(case.pipe, steps=4, guidance_scale=5.0)
    assert torch.allclose(read(z, "a cat"), direct, atol=1e-5)
    assert not torch.allclose(read(z, "a dog"), direct, atol=1e-3)
    unguided = from_pipeline(case.pipe, steps=4, guidance_scale=1.0)
    assert torch.allclose(read(z, ""), unguided(z), atol=1e-5)
    for old, scale, same in ((5.0, "5.0", read), (0.5, "1.0", unguided)):
        with pytest.warns(DeprecationWarning, match=f"guidance={old} is deprecated .*; write guidance_scale={scale}"):
            before = from_pipeline(case.pipe, steps=4, guidance=old)
        assert torch.equal(before(z, "a cat"), same(z, "a cat"))
    with pytest.raises(ValueError, match="guidance needs a condition"):
        read(z)
    with pytest.raises(ValueError, match="condition must be a prompt, or None for any image; got 3"):
        read(z, 3)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_captured_is_the_route_by_variance_noise(eta: float) -> None:
    case = ddim(eta)
    captured = case.captured()
    assert len(captured.draws) == (1 if eta == 0 else 6)
    rng = np.random.default_rng(SEED)
    noise = {name: rng.standard_normal((4, 1, 8, 8), dtype=np.float32) for name, _ in captured.noise.blocks}
    blocks = [torch.from_numpy(block) for block in noise.values()]
    x, scheduler = blocks[0], diffusers.DDIMScheduler(num_train_timesteps=N_TRAINING)
    scheduler.set_timesteps(5)
    with torch.no_grad():
        for i, t in enumerate(scheduler.timesteps):
            step_noise = blocks[i + 1] if eta > 0 else None
            output = case.pipe.unet(x, t).sample
            x = scheduler.step(output, t, x, eta, variance_noise=step_noise).prev_sample
    direct = (x / 2 + 0.5).clamp(0, 1)
    assert torch.equal(captured(noise if eta > 0 else noise["0 randn"]), direct)


def test_ddpm_is_steered_at_every_step() -> None:
    generator = ddpm().captured()
    assert len(generator.draws) == 6  # the start and five steps; the last step draws nothing
    assert "no effect" not in generator.describe(effects=True)
    result = mcgen.estimate(
        generator, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=64, seed=0, batch_size=16
    )
    efficiency, _ = result.relative_efficiency()
    assert efficiency > 2


@pytest.mark.parametrize("steps", [1, 2])
def test_consistency_model_is_the_route_by_latents(steps: int) -> None:
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=40)
    pipe = quiet(diffusers.ConsistencyModelPipeline(tiny_unet(3), scheduler))
    options = {"num_inference_steps": None, "timesteps": [39, 0][:steps], "output_type": "pt"}
    generator = capture(lambda n, c: pipe(batch_size=n, **options).images, modules=pipe.unet, name="consistency")
    z = np.random.default_rng(SEED).standard_normal((4, 3, 8, 8), dtype=np.float32)
    names = [name for name, _ in generator.noise.blocks]
    captured = generator(z if steps == 1 else dict.fromkeys(names, z))
    assert torch.isfinite(captured).all()
    if steps == 1:
        assert torch.equal(captured, pipe(batch_size=4, latents=torch.from_numpy(z), **options).images)


def test_half_precision_pipelines_take_their_noise_in_it_and_give_single() -> None:
    case = ddim(1.0)
    case.pipe.to(torch.bfloat16)
    seen = []
    case.pipe.unet.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].dtype))
    captured, read = case.captured(), from_pipeline(case.pipe, **case.options)
    rng = np.random.default_rng(SEED)
    noise = {name: rng.standard_normal((4, 1, 8, 8), dtype=np.float32) for name, _ in captured.noise.blocks}
    pictures = captured(noise), read(dict(zip([name for name, _ in read.noise.blocks], noise.values(), strict=False)))
    assert set(seen) == {torch.bfloat16}
    assert pictures[0].dtype == pictures[1].dtype == torch.float32
    # bfloat16 keeps eight bits; five steps add their rounding.
    assert (pictures[0] - pictures[1]).abs().max() < 0.1


def test_gradients_of_a_pipeline_go_through_its_unwrapped_call() -> None:
    case = ddim()
    z = np.random.default_rng(SEED).standard_normal((2, 1, 8, 8), dtype=np.float32)

    def energy(x: torch.Tensor) -> torch.Tensor:
        return (x**2).flatten(1).sum(1)

    with pytest.raises(ValueError, match=r"under torch.no_grad, .* type\(pipe\).__call__.__wrapped__"):
        case.captured().gradient(z, energy)
    call = type(case.pipe).__call__.__wrapped__
    shown = capture(
        lambda n, c: call(case.pipe, batch_size=n, num_inference_steps=5, output_type="pt").images,
        modules=case.pipe.unet,
    )
    gradient = shown.gradient(z, energy)
    assert np.abs(gradient).max() > 0
    assert np.allclose(gradient, from_pipeline(case.pipe, steps=5).gradient(z, energy), atol=1e-4)


def test_heun_runs_on_a_pipelines_network() -> None:
    case = ddpm(clip_sample=False)
    z = np.random.default_rng(SEED).standard_normal((2, 1, 8, 8), dtype=np.float32)
    fine = from_pipeline(case.pipe, steps=N_TRAINING, eta=0.0)
    few, more = (from_pipeline(case.pipe, steps=steps, sampler="heun") for steps in (5, 40))
    errors = [float((model(z) - fine(z)).abs().mean()) for model in (few, more)]
    assert errors[1] < min(errors[0], 0.02)
    assert few.name == "DDPMPipeline Heun-5"
    assert fine.coarse(4).noise == fine.noise


def test_whole_training_steps_are_asked_for_exactly() -> None:
    asked = []
    case = ddim()
    case.pipe.unet.register_forward_pre_hook(lambda module, arguments: asked.extend(arguments[1].tolist()))
    from_pipeline(case.pipe, steps=N_TRAINING)(np.zeros((1, 1, 8, 8), np.float32))
    assert asked == [float(t) for t in range(N_TRAINING - 1, -1, -1)]
    asked.clear()
    from_pipeline(case.pipe, steps=3, sampler="heun")(np.zeros((1, 1, 8, 8), np.float32))
    assert any(t != math.floor(t) for t in asked)


def with_scheduler(case: Case, scheduler: Any) -> Case:
    case.pipe.scheduler = scheduler
    return case


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            lambda: ddpm(variance_type="fixed_large"),
            {},
            "variance_type is 'fixed_small' or .*; got 'fixed_large'.*capture",
        ),
        (lambda: ddim(thresholding=True), {}, "DDIMScheduler whose thresholding is False; got True"),
        (lambda: ddim(rescale_betas_zero_snr=True), {}, "whose rescale_betas_zero_snr is False"),
        (lambda: ddim(timestep_spacing="linspace"), {"steps": 5}, "timestep_spacing='linspace' and 5 steps arrives at"),
        (lambda: ddim(timestep_spacing="trailing"), {"steps": 7}, "timestep_spacing='trailing' and 7 steps arrives at"),
        (
            lambda: with_scheduler(ddpm(), diffusers.EulerDiscreteScheduler(num_train_timesteps=N_TRAINING)),
            {},
            r"knows the schedulers DDIMScheduler and DDPMScheduler; got EulerDiscreteScheduler.*from_config",
        ),
        (ddim, {"guidance_scale": 3.0}, "DDIMPipeline has no condition to be guided by; got guidance_scale=3.0"),
        (dit, {"guidance_scale": 0.5, "eta": 0.0}, "guidance_scale must be at least 1, .*; got 0.5"),
        (ddim, {"steps": 0}, "steps must be between 1 and the scheduler's 100 training steps; got 0"),
        (ddim, {"steps": 101}, "training steps; got 101"),
        (ddim, {"sampler": "euler"}, r"sampler must be one of \('ddim', 'heun'\); got 'euler'"),
        (ddim, {"sampler": "heun", "eta": 1.0}, "Heun's steps are deterministic and take no eta"),
    ],
)
def test_what_is_not_known_is_refused_by_name(make: Callable[[], Case], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_pipeline(make().pipe, **options)


def test_conditions_and_pipelines_that_do_not_fit() -> None:
    z = np.zeros((2, 1, 8, 8), np.float32)
    with pytest.raises(ValueError, match="a DDIMPipeline is unconditional; got the condition 3, give None"):
        from_pipeline(ddim().pipe, steps=2)(z, 3)
    with pytest.raises(ValueError, match="condition must be a class from 0 to 999, or None for any; got 1000"):
        from_pipeline(dit().pipe, steps=2, eta=0.0)(np.zeros((2, 4, 4, 4), np.float32), 1000)
    with pytest.raises(
        ValueError, match="from_pipeline reads DDIMPipeline, .*; got object.*capture takes any pipeline"
    ):
        from_pipeline(object())
    for condition in ("7", 7.9, True, -1):
        with pytest.raises(ValueError, match="condition must be a class from 0 to 999"):
            from_pipeline(dit().pipe, steps=2, eta=0.0)(np.zeros((2, 4, 4, 4), np.float32), condition)
    for steps in ("3", 3.0, True):
        with pytest.raises(TypeError, match="steps must be an int; got"):
            from_pipeline(ddim().pipe, steps=steps)
    training = ddim()
    read = from_pipeline(training.pipe, steps=2)
    training.pipe.unet.train()
    with pytest.raises(ValueError, match="UNet2DModel is in training mode"):
        read(z)
    with pytest.raises(ValueError, match=r"evaluation mode; set it first, for UNet2DModel: pipe.unet.eval\(\)"):
        from_pipeline(training.pipe, steps=2)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda generator: pickle.loads(pickle.dumps(generator))])
@pytest.mark.parametrize("case", ["ddim", "dit", "stable diffusion"], indirect=True)
def test_copies_run_their_own_network(case: Case, how: Callable[[Any], Any]) -> None:
    read = from_pipeline(case.pipe, **case.options | ({"eta": 0.0} if case.condition else {}))
    z = np.random.default_rng(SEED).standard_normal((2, *read.shape), dtype=np.float32)
    expected = read(z, case.condition)
    copied = how(read)
    assert torch.equal(copied(z, case.condition), expected)
    for parameter in copied.modules[0].parameters():
        parameter.data.mul_(1.5)
    assert not torch.equal(copied(z, case.condition), expected)
    assert torch.equal(read(z, case.condition), expected)


def test_the_advice_for_pipelines_captures_them(tmp_path: Path) -> None:
    """With batch_size=n, as it once said, StableDiffusion makes one picture whatever n."""
    pipe = stable_diffusion(tmp_path).pipe
    assert "pipe([prompt] * n, num_inference_steps=50" in PIPELINE_ADVICE
    generator = capture(
        lambda n, prompt: pipe([prompt] * n, num_inference_steps=2, output_type="pt").images,
        condition="a cat",
        modules=[pipe.unet, pipe.vae],
    )
    assert len(generator.draws) == 1
    with pytest.raises(TypeError, match="not the pipeline itself; got a StableDiffusionPipeline"):
        capture(pipe)


def test_pipelines_are_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ddim()
    case.pipe.save_pretrained(tmp_path / "pipe")
    z = np.random.default_rng(SEED).standard_normal((2, 1, 8, 8), dtype=np.float32)
    for folder in (tmp_path / "pipe", str(tmp_path / "pipe")):
        read = from_pipeline(folder, steps=5)
        assert torch.equal(read(z), from_pipeline(case.pipe, steps=5)(z))
    with pytest.raises(OSError, match=r"unet' has no model_index.json, .*pipe.save_pretrained"):
        from_pipeline(tmp_path / "pipe" / "unet")

    def offline(name: str) -> None:
        raise OSError("cannot connect to the hub")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", offline)
    with pytest.raises(
        OSError, match=r"no pipeline 'google/ddpm-cat-256' was found .*give the folder.*HF_HUB_OFFLINE=1"
    ):
        from_pipeline("google/ddpm-cat-256")


def test_the_lines_for_the_papers_own_models_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of ``docs/explanation/paper.md``, on tiny networks in place of the weights, and with few pairs."""
    latent = stable_diffusion(tmp_path).pipe
    # The scheduler of the published checkpoint, which keeps former steps and which the lines replace.
    latent.scheduler = diffusers.PNDMScheduler.from_config(latent.scheduler.config, skip_prk_steps=True)
    classes = quiet(dit(diffusers.DDIMScheduler(num_train_timesteps=N_TRAINING)).pipe)
    asked: list[str] = []

    def from_pretrained(name: str) -> Any:
        asked.append(name)
        known = {"stable-diffusion-v1-5/stable-diffusion-v1-5": latent, "facebook/DiT-XL-2-256": classes}
        return known[name] if name in known else ddpm().pipe

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", from_pretrained)
    page = (
        (Path(__file__).parents[2] / "docs" / "explanation" / "paper.md")
        .read_text()
        .partition("## Where the weights are")[2]
    )
    blocks = page.split("```")[1::2]
    assert len(blocks) == 2
    namespace: dict[str, Any] = {}
    fewer = {"cuda": "cpu", "n_pairs=1600": "n_pairs=3", "n_pairs=100": "n_pairs=3", "n_base=10": "n_base=5"}
    fewer |= {"steps=50": "steps=4", "steps=20": "steps=3", "n_evaluations=200": "n_evaluations=48"}
    for block in blocks:
        for name, small in fewer.items():
            block = block.replace(name, small)
        exec(block, namespace)
    assert len(asked) == 5

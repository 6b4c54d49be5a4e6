"""The shipped latent diffusion: its autoencoder, its classes and guidance, and its samples before and after decoding."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import mcgen  # noqa: E402
from mcgen.adapters import DDIM, Heun, Partial, Start, Truncate, models  # noqa: E402
from mcgen.adapters.models import loading  # noqa: E402
from mcgen.adapters.models.training.diffusion import velocity_error  # noqa: E402
from mcgen.adapters.models.training.latent import joined  # noqa: E402
from mcgen.statistics import PSNR  # noqa: E402
from mcgen.validation import check_generator  # noqa: E402
from mcgen.validation.systems import latents  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

NAME = "patches-latent"
# Mean colours of the training patches of the six photographs.
COLOURS = [
    (0.57, 0.57, 0.55),
    (0.29, 0.31, 0.23),
    (0.61, 0.43, 0.38),
    (0.58, 0.42, 0.30),
    (0.61, 0.32, 0.19),
    (0.22, 0.27, 0.36),
]


def noise_of(n: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((n, 4, 8, 8), dtype=np.float32)


def real(every: int = 10) -> torch.Tensor:
    return torch.as_tensor(models.real_images(NAME)[::every])


def psnr(images: torch.Tensor, reconstructed: torch.Tensor) -> np.ndarray:
    return np.array([float(PSNR(x)(y[None])[0]) for x, y in zip(images, reconstructed, strict=True)])


@pytest.mark.parametrize(
    ("options", "condition"),
    [({}, None), ({}, 5), ({"guidance_scale": 3.0}, 2), ({"sampler": "heun", "guidance_scale": 2.0}, 0)],
)
def test_it_keeps_the_laws_of_generators(options: dict, condition: int | None) -> None:
    model = models.load(NAME, steps=2, **options)
    assert isinstance(model, Heun if options.get("sampler") else DDIM)
    assert (model.shape, model.noise.dimension) == ((4, 8, 8), 256)
    assert model.network_evaluations == {None: 2, 5: 2, 2: 4, 0: 6}[condition]
    check_generator(model, condition=condition).require()


def test_reconstructions_of_held_out_patches_are_as_good_as_the_log_says() -> None:
    """The PSNR of some patches against the log's mean over all; without the scales of the latents it is far lower."""
    model, images = models.load(NAME, steps=2), real()
    with torch.no_grad():
        z = model.encode(images)
        found = psnr(images, model.decode(z))
        broken = psnr(images, model.decode(0.5 * z))
    floor = models.log(NAME)["quality"]["reconstruction_psnr"] - Z_LIMIT * found.std(ddof=1) / np.sqrt(len(found))
    assert z.shape == (len(images), 4, 8, 8)
    assert found.mean() > floor > broken.mean()


def test_the_denoiser_knows_held_out_latents() -> None:
    """The error of its velocity is well below 1, that of predicting 0; without the scales it is larger."""
    model = models.load(NAME, steps=2)
    torch.manual_seed(SEED)
    with torch.no_grad():
        z = model.encode(real())
        errors = [velocity_error(model.denoiser, scale * z, torch.full((len(z),), 6)).item() for scale in (1.0, 3.0)]
    assert errors[0] < 0.6 < errors[1]


def test_classes_are_the_photographs() -> None:
    """Samples under a class are nearer to the mean colour of its photograph than to those of the other five."""
    model, z = models.load(NAME, steps=8, guidance_scale=2.0), noise_of(16)
    samples = torch.stack([model(z, c).mean((0, 2, 3)) for c in range(6)])
    distances = torch.cdist(samples, torch.tensor(COLOURS))
    own = distances.diagonal()
    others = (distances.sum(1) - own) / 5
    assert bool((own < 0.8 * others).all())
    assert not bool((distances.roll(1, 0).diagonal() < 0.8 * others).all())


def test_what_is_refused() -> None:
    guided = models.load(NAME, steps=2, guidance_scale=2.0)
    with pytest.raises(ValueError, match="guidance needs a condition; with None there is nothing to guide"):
        guided(noise_of(2))
    with pytest.raises(ValueError, match="condition must be a class from 0 to 5, or None for any; got 6"):
        models.load(NAME, steps=2)(noise_of(2), 6)
    with pytest.raises(TypeError, match="encode must be a callable from samples to states, or None; got 3"):
        DDIM(guided.denoiser, guided.schedule, guided.shape, encode=3)


def test_latents_decode_to_the_images() -> None:
    model = models.load(NAME, steps=3)
    z = noise_of(3)
    sampler = latents.sampler_of_latents(model)
    with torch.no_grad():
        assert torch.equal(model.decode(sampler(z, 1)), model(z, 1))
    assert torch.equal(model.trajectory(z, 1)[:, -1], sampler(z, 1))
    both = latents.LatentsAndImages(model)
    assert [tuple(part.shape) for part in both(z, 1)] == [(3, 4, 8, 8), (3, 3, 32, 32)]
    check_generator(both, condition=1).require()


@pytest.mark.parametrize("name", loading._SHAPES)
def test_encode_undoes_decode(name: str) -> None:
    """In all diffusion models that ship, and after a change of the steps. `Partial` and `Truncate` take it from there."""
    model = models.load(name, steps=4).with_steps(3)
    assert model.encode is not None
    images = torch.as_tensor(models.real_images(name)[:3])
    with torch.no_grad():
        states = model.encode(images)
        again = model.encode(model.decode(states))
    assert states.shape == (3, *model.shape)
    assert float((again - states).abs().mean()) < 0.15
    partial = Partial(model, 2)
    noise = np.random.default_rng(SEED).standard_normal((3, *model.shape), dtype=np.float32)
    own = Partial(model, 2, encode=model.encode)
    assert torch.equal(partial(noise, images), own(noise, images))
    assert Truncate(model, model, 2).second.encode == model.encode


def test_late_starts_stay_near_the_given_patch() -> None:
    model, patch = models.load(NAME, steps=10), real(400)[2]
    near, far = (Partial(model, step)(noise_of(4), Start(patch, 3)) for step in (8, 2))
    assert float((near - patch).square().mean()) < 0.5 * float((far - patch).square().mean())


def test_the_log_of_two_trainings_counts_on() -> None:
    lines = [{"step": 10, "loss": 1.0, "core_seconds": 4}, {"step": 20, "loss": 0.5, "core_seconds": 8}]
    counted = joined(lines, lines)
    assert [line["step"] for line in counted] == [10, 20, 30, 40]
    assert [line["core_seconds"] for line in counted] == [4, 8, 12, 16]
    assert [line["loss"] for line in counted] == [1.0, 0.5, 1.0, 0.5]


def test_the_tables_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 2, "CLASSES": (0, 3), "_PAIRS": 4, "_GUIDED_PAIRS": 3, "_SCALES": (3.0,)}.items():
        monkeypatch.setattr(latents, name, value)
    latents.measured_pairs.cache_clear()
    plain, guided = latents.correlations(), latents.guidance()
    latents.measured_pairs.cache_clear()
    assert [row[0] for row in plain.rows] == ["latents", "images", "paper: Stable Diffusion, images"]
    assert [row[:2] for row in guided.rows] == [[scale, space] for scale in "13" for space in latents.SPACES]
    assert plain.rows[0][2:] == guided.rows[0][2:-1]
    assert {len(row) for row in plain.rows} == {len(plain.head)}
    assert {len(row) for row in guided.rows} == {len(guided.head)}
    (case,) = latents.cases()
    samples = mcgen.sample(case.generator, 4, seed=SEED, condition=case.condition)
    assert case.statistic(samples).shape == (4, 6)

"""Inverse problems: adjoints, conjugate gradients, and posterior samplers against closed forms for Gaussian data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic, MonteCarlo  # noqa: E402
from mcgen.adapters import DDIM, Heun, Schedule, models  # noqa: E402
from mcgen.adapters.inverse import posterior  # noqa: E402
from mcgen.adapters.inverse.operators import (  # noqa: E402
    GaussianBlur,
    Inpainting,
    MaskedFourier,
    Operator,
    SuperResolution,
)
from mcgen.adapters.inverse.posterior import DDS, DPS, conjugate_gradients  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = [pytest.mark.filterwarnings("ignore:.*the replicate means"), pytest.mark.usefixtures("one_torch_thread")]

SHAPE = (2, 6, 8)
OPERATORS = [
    Inpainting.random(SHAPE, hidden=0.5, seed=1),
    GaussianBlur(SHAPE, 1.0),
    SuperResolution(SHAPE, 2),
    MaskedFourier.random_lines(SHAPE, measured=0.5, centre=0.25, seed=1),
]
each_operator = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: type(operator).__name__)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def normal(rng: np.random.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape)).to(dtype)


def matrix_of(operator: Operator) -> torch.Tensor:
    """The operator as a matrix (numbers of a measurement, numbers of an image)."""
    size = math.prod(operator.shape)
    return operator.apply(torch.eye(size, dtype=torch.float64).reshape(size, *operator.shape)).flatten(1).T


@each_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adjoints_are_adjoint_in_the_dtype_that_they_are_given(
    operator: Operator, dtype: torch.dtype, rng: np.random.Generator
) -> None:
    x, y = normal(rng, 5, *SHAPE, dtype=dtype), normal(rng, 5, *operator.measurement_shape, dtype=dtype)
    there, back = operator.apply(x), operator.adjoint(y)
    assert (there.shape, back.shape) == (y.shape, x.shape)
    assert (there.dtype, back.dtype) == (dtype, dtype)
    left, right = (there * y).flatten(1).sum(1), (x * back).flatten(1).sum(1)
    assert torch.allclose(left, right, atol=1e-4 if dtype == torch.float32 else 1e-12)
    assert not torch.allclose(left, (x * 1.01 * back).flatten(1).sum(1), atol=1e-4)


@each_operator
def test_operators_run_where_their_input_lies(operator: Operator) -> None:
    x = torch.empty(3, *SHAPE, device="meta")
    y = operator.apply(x)
    assert (y.device.type, tuple(y.shape)) == ("meta", (3, *operator.measurement_shape))
    assert tuple(operator.adjoint(y).shape) == (3, *SHAPE)


def test_operators_are_what_they_are_called(rng: np.random.Generator) -> None:
    x = normal(rng, 1, *SHAPE)
    inpainting, blur, small, fourier = OPERATORS
    assert inpainting.mask.mean() == 0.5
    assert torch.equal(inpainting.apply(x)[0], x[0][torch.from_numpy(inpainting.mask.copy())])
    assert (inpainting.mask[0] == inpainting.mask[1]).all()
    assert torch.allclose(blur.apply(torch.ones(1, *SHAPE)), torch.ones(1, *SHAPE))
    smooth, share = (gaussian_filter(a, (0, 1, 1), mode="constant", truncate=5) for a in (x[0], np.ones(SHAPE)))
    assert np.allclose(blur.apply(x)[0], smooth / share)
    assert torch.allclose(small.apply(x), torch.nn.functional.avg_pool2d(x, 2))
    lines = fourier.mask[0]
    assert (lines.sum(), lines[3], lines[4]) == (4, True, True)
    assert (fourier.mask == lines).all()
    plane = np.fft.fftshift(np.fft.fft2(x[0].numpy()), axes=(-2, -1)) * fourier.mask
    filled = np.fft.ifft2(np.fft.ifftshift(plane, axes=(-2, -1))).real
    assert np.allclose(fourier.adjoint(fourier.apply(x))[0], filled)
    everything = MaskedFourier(SHAPE, np.ones((6, 8), bool))
    assert torch.allclose(everything.adjoint(everything.apply(x)), x)


def test_masks_are_fixed_by_their_seed() -> None:
    for make in (Inpainting.random, MaskedFourier.random_lines):
        masks = [make((1, 16, 16), seed=seed).mask for seed in (1, 1, 2)]
        assert (masks[0] == masks[1]).all()
        assert (masks[0] != masks[2]).any()
        with pytest.raises(ValueError, match="read-only"):
            masks[0][0] = False


def test_measurements_are_simulated_from_given_noise() -> None:
    operator = GaussianBlur((1, 4, 4), 1.0)
    image, noise = np.ones((1, 4, 4), np.float32), np.full((1, 4, 4), 2.0)
    y = operator.measure(image, 0.1, noise)
    assert (type(y), y.dtype) == (np.ndarray, np.float32)
    assert np.allclose(y, 1.2)
    with pytest.raises(TypeError, match="image must be an array of floats; got uint8. Give floats on the scale"):
        operator.measure(np.ones((1, 4, 4), np.uint8))
    for noise_sd, kind, found in [(np.inf, ValueError, "finite; got inf"), ("1", TypeError, "a number; got '1'")]:
        with pytest.raises(kind, match=f"noise_sd must be {found}"):
            operator.measure(image, noise_sd, noise)
    with pytest.raises(TypeError, match="noise must be an array of real numbers; got complex128"):
        operator.measure(image, 0.1, noise * 1j)
    with pytest.raises(ValueError, match="noise must be finite; got a NaN or an infinity"):
        operator.measure(image, 0.1, noise * np.nan)
    with pytest.raises(ValueError, match=r"noise_sd must be at least 0; got -0.1"):
        operator.measure(image, -0.1, noise)
    with pytest.raises(ValueError, match=r"measures one image of shape \(1, 4, 4\); got shape \(4, 4\)"):
        operator.measure(image[0])
    with pytest.raises(ValueError, match=r"needs standard normal numbers of shape \(1, 4, 4\) as noise; got none"):
        operator.measure(image, 0.1)
    with pytest.raises(ValueError, match=r"as noise; got shape \(3,\)"):
        operator.measure(image, 0.1, noise[0, 0, :3])
    with pytest.raises(TypeError, match="an array of real numbers; got complex64"):
        operator.measure(image.astype(np.complex64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Inpainting.random(SHAPE, hidden=0.8), "hidden must be a share of the pixels from 0.3 to 0.7; got 0.8"),
        (lambda: Inpainting(SHAPE, np.ones((8, 6), bool)), r"of the last axes of \(2, 6, 8\); got shape \(8, 6\)"),
        (lambda: Inpainting(SHAPE, np.ones((6, 8))), "got shape .* and type float64"),
        (lambda: Inpainting(SHAPE, np.zeros((6, 8), bool)), "the mask hides everything"),
        (lambda: MaskedFourier(SHAPE, np.ones(SHAPE, bool)), r"got shape \(2, 6, 8\) and type bool"),
        (lambda: MaskedFourier((8,), np.ones(8, bool)), r"the last two axes of an image; got shape \(8,\)"),
        (lambda: MaskedFourier.random_lines(SHAPE, measured=1.5), "measured must be a share of the 8 columns"),
        (lambda: MaskedFourier.random_lines(SHAPE, measured=0.2, centre=0.5), "got measured=0.2 and centre=0.5"),
        (lambda: GaussianBlur(SHAPE, 0.0), "sd must be a number of pixels above 0; got 0.0"),
        (lambda: SuperResolution(SHAPE, 4), r"divide the rows and columns, \(6, 8\); got 4"),
    ],
)
def test_operators_refuse(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("n_iterations", [1, 2, 5, 20])
def test_a_gradient_goes_through_rows_that_have_converged(rng: np.random.Generator, n_iterations: int) -> None:
    """For hidden pixels one iteration is exact, and further residuals are rounding."""
    scale = torch.where(torch.arange(64) < 48, 1 + 10.3, 1.0)
    b = torch.tensor(rng.standard_normal((8, 64)), dtype=torch.float32, requires_grad=True)
    found = conjugate_gradients(lambda x: x * scale, b, b.detach() * (scale == 1), n_iterations)
    torch.testing.assert_close(found, b / scale)
    (slope,) = torch.autograd.grad(found[:, 0].sum(), b)
    torch.testing.assert_close(slope[:, 0], torch.full((8,), 1 / 11.3), rtol=1e-3, atol=0)


def test_conjugate_gradients_solve_each_row_by_itself(rng: np.random.Generator) -> None:
    half = normal(rng, 6, 6)
    a = half @ half.T + torch.eye(6, dtype=torch.float64)
    b = normal(rng, 4, 6)
    b[2] = 0  # solved at the start: its row must stay as it is, not become NaN
    truth = torch.linalg.solve(a, b.T).T

    def error(n_iterations: int) -> torch.Tensor:
        gap = conjugate_gradients(lambda x: x @ a, b, torch.zeros_like(b), n_iterations) - truth
        return ((gap @ a) * gap).sum(1)

    errors = torch.stack([error(n) for n in range(7)])
    assert (errors.diff(dim=0) <= 1e-12).all()  # in the norm of the matrix every iteration comes nearer
    assert errors[-1].max() < 1e-16
    assert errors[2, 0] > 1e-6
    alone = conjugate_gradients(lambda x: x @ a, b[:1], torch.zeros_like(b[:1]), 2)
    company = conjugate_gradients(lambda x: x @ a, b, torch.zeros_like(b), 2)
    assert torch.allclose(alone, company[:1], atol=1e-12)


class GaussianDenoiser(torch.nn.Module):
    """The exact noise prediction for data N(mean, diag(sd^2)) of any shape."""

    def __init__(self, schedule: Schedule, mean: torch.Tensor, sd: torch.Tensor | float) -> None:
        super().__init__()
        self.share = torch.tensor(schedule.alpha_bar, dtype=torch.float64)
        self.mean, self.sd = mean, sd

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        share = self.share[(time[0] * len(self.share)).round().long()]
        return (1 - share).sqrt() / (share * self.sd**2 + 1 - share) * (x - share.sqrt() * self.mean)


MEAN = torch.linspace(-1, 1, math.prod(SHAPE), dtype=torch.float64).reshape(SHAPE)


def gaussian(sd: torch.Tensor | float = 1.0, **options: object) -> DDIM:
    schedule = Schedule.cosine()
    prior = DDIM(GaussianDenoiser(schedule, MEAN, sd).eval(), schedule, SHAPE, **options)
    prior.dtype = torch.float64
    return prior


def noise_for(rng: np.random.Generator, sampler: DDIM, n: int, scale: float = 1.0):
    noise = {name: scale * rng.standard_normal((n, *block.shape)) for name, block in sampler.noise.blocks}
    return noise if len(noise) > 1 else noise["noise"]


@each_operator
def test_dds_with_known_noise_has_the_posterior_mean_for_gaussian_data(
    operator: Operator, rng: np.random.Generator
) -> None:
    """For data N(m, I) the ancestral sampler's mean is the posterior's at any number of steps, and it is affine in its
    noise, so that zero noise gives the mean."""
    noise_sd = 0.3
    y = operator.measure(MEAN + normal(rng, *SHAPE), noise_sd, normal(rng, *operator.measurement_shape))
    a = matrix_of(operator)
    precision = torch.eye(a.shape[1], dtype=torch.float64) + a.T @ a / noise_sd**2
    shift = a.T @ (torch.from_numpy(y).flatten() - a @ MEAN.flatten()) / noise_sd**2
    truth = MEAN + torch.linalg.solve(precision, shift).reshape(SHAPE)

    def gap(**options: object) -> float:
        sampler = DDS(gaussian(steps=10, eta=1.0), operator, n_iterations=40, **options)
        return float((sampler(noise_for(rng, sampler, 1, scale=0.0), y)[0] - truth).abs().max())

    assert gap(noise_sd=noise_sd) < 1e-7  # the schedule leaves 2e-9 of the data at its start
    assert gap(noise_sd=2 * noise_sd) > 0.02


def test_dds_with_known_noise_has_the_posterior_covariance_for_gaussian_data() -> None:
    """With a thousand deterministic steps the sampler is the posterior's probability flow, affine in its noise."""
    operator, noise_sd = GaussianBlur((1, 3, 3), 0.8), 0.5
    schedule = Schedule.cosine()
    prior = DDIM(GaussianDenoiser(schedule, torch.zeros(1, 3, 3), 1.0).eval(), schedule, (1, 3, 3), steps=1000)
    prior.dtype = torch.float64
    sampler = DDS(prior, operator, noise_sd=noise_sd, n_iterations=12)
    slopes = sampler(np.eye(9).reshape(9, 1, 3, 3), np.zeros((1, 3, 3))).reshape(9, 9)
    a = matrix_of(operator)
    covariance = torch.linalg.inv(torch.eye(9, dtype=torch.float64) + a.T @ a / noise_sd**2)
    assert torch.allclose(slopes.T @ slopes, covariance, atol=0.02)
    assert covariance.diagonal().max() < 0.9


def test_dds_by_sampling(rng: np.random.Generator) -> None:
    operator, noise_sd = OPERATORS[0], 0.3
    y = operator.measure(MEAN)
    sampler = DDS(gaussian(steps=10, eta=1.0), operator, noise_sd=noise_sd)
    truth = float(MEAN.mean())
    assert abs(z_score(sampler(noise_for(rng, sampler, 400), y).mean((1, 2, 3)).numpy(), truth)) < Z_LIMIT
    assert abs(z_score(sampler(noise_for(rng, sampler, 400), y + 0.1).mean((1, 2, 3)).numpy(), truth)) > Z_LIMIT


@pytest.mark.parametrize("make", [lambda p, o: DDS(p, o, weight=1e4), lambda p, o: DPS(p, o)], ids=["DDS", "DPS"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_inpainting_without_noise_keeps_what_is_seen_and_leaves_the_rest_to_the_prior(
    make, eta: float, rng: np.random.Generator
) -> None:
    """For independent pixels the posterior is that exactly: the seen ones fixed, the hidden ones as in the prior, here
    on the same noise."""
    prior = gaussian(0.5 + 0.1 * MEAN.abs(), steps=200, eta=eta)
    operator = OPERATORS[0]
    sampler = make(prior, operator)
    truth, noise = MEAN + 0.5 * normal(rng, *SHAPE), noise_for(rng, prior, 6)
    free, bent = prior(noise), sampler(noise, operator.measure(truth))
    seen = torch.from_numpy(operator.mask.copy())
    limit = 1e-3 if isinstance(sampler, DDS) else 0.2  # a step of DPS has a fixed length, and ends in a zigzag
    assert (bent - truth)[:, seen].abs().max() < limit
    assert torch.allclose(bent[:, ~seen], free[:, ~seen], atol=1e-9)
    assert (free - truth)[:, seen].abs().max() > 0.5


def test_a_step_of_dps_is_its_formula(rng: np.random.Generator) -> None:
    """For N(m, s^2) data the prediction is affine with slope k, and the misfit's gradient -k A'r / |r|."""
    prior, operator = gaussian(0.5, steps=20), OPERATORS[1]
    sampler = DPS(prior, operator, strength=1.5)
    x, y, i = normal(rng, 3, *SHAPE), normal(rng, *operator.measurement_shape), 12
    with torch.no_grad():
        x_0, epsilon = prior.denoise(x, i)
        residual = y - operator.apply(x_0)
        share = float(prior.signals[i])
        k = math.sqrt(share) * 0.25 / (share * 0.25 + 1 - share)
        norms = residual.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        zeta = 1.5 * math.sqrt(math.prod(SHAPE)) / 20
        expected = prior.advance(x_0, epsilon, i, x) + zeta * k * operator.adjoint(residual) / norms
        assert torch.allclose(sampler.step(x, i, x, y), expected, atol=1e-10)
    free = DPS(prior, operator, strength=0.0)
    z = noise_for(rng, prior, 3)
    assert torch.equal(free(z, y.numpy()), prior(z))


def decoded(steps: int = 10, eta: float = 0.0) -> DDIM:
    schedule = Schedule.cosine()
    denoiser = GaussianDenoiser(schedule, torch.zeros(SHAPE), 0.5).eval()
    return DDIM(denoiser, schedule, SHAPE, steps=steps, eta=eta, decode=lambda x: ((x + 1) / 2).clamp(0, 1))


@each_operator
@pytest.mark.parametrize(
    "make", [lambda p, o: DPS(p, o), lambda p, o: DDS(p, o), lambda p, o: DDS(p, o, noise_sd=0.1, n_iterations=20)]
)
def test_the_measurement_is_on_the_scale_of_the_decoded_samples(
    make, operator: Operator, rng: np.random.Generator
) -> None:
    """Measuring images (x + 1) / 2 with noise s is measuring states x with noise 2 s: the same samples, decoded."""
    plain, image = decoded(), np.clip(0.5 + 0.1 * rng.standard_normal(SHAPE), 0, 1)
    states = DDIM(plain.denoiser, plain.schedule, SHAPE, steps=10)
    z = rng.standard_normal((3, *SHAPE))
    plain.dtype = states.dtype = torch.float64
    left, right = make(plain, operator), make(states, operator)
    if isinstance(right, DDS) and right.noise_sd:
        right.noise_sd *= 2
    x = right(z, operator.measure(2 * image - 1))
    assert torch.allclose(left(z, operator.measure(image)), ((x + 1) / 2).clamp(0, 1), atol=1e-7)


SAMPLERS = [
    lambda p, o: DPS(p, o),
    lambda p, o: DDS(p, o, n_iterations=2),
    lambda p, o: DDS(p, o, noise_sd=0.05, n_iterations=2),
]
each_sampler = pytest.mark.parametrize("make", SAMPLERS, ids=["DPS", "DDS", "DDS-noise"])


def coupling(rng: np.random.Generator, sampler, y: np.ndarray) -> float:
    """How far samples move when other rows share their batch."""
    z = rng.standard_normal((8, *SHAPE)).astype(np.float32)
    return float((sampler(z, y)[:2] - sampler(z[:2], y)).abs().max())


def estimate_pixels(sampler, y: np.ndarray) -> mcgen.Estimate:
    """A short run, whose first batch is checked."""
    return mcgen.estimate(
        sampler,
        mcgen.statistics.pixel_mean,
        design=MonteCarlo(),
        condition=y,
        n_evaluations=64,
        batch_size=32,
        seed=SEED,
    )


@each_sampler
@each_operator
def test_samples_do_not_depend_on_their_company(make, operator: Operator, rng: np.random.Generator) -> None:
    sampler, y = make(decoded(), operator), operator.measure(np.full(SHAPE, 0.7, np.float32))
    assert coupling(rng, sampler, y) < 1e-5
    estimate_pixels(sampler, y)


class WholeBatchDPS(DPS):
    """What public code does: one norm for the batch."""

    def misfit(self, image: torch.Tensor, measurement: torch.Tensor) -> torch.Tensor:
        return super().misfit(image, measurement).square().sum().sqrt()


def whole_batch_inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum().expand(len(a), *[1] * (a.ndim - 1))


@each_sampler
def test_the_laws_of_generators_hold(make) -> None:
    y = OPERATORS[1].measure(np.full(SHAPE, 0.7, np.float32))
    check_generator(make(decoded(5, eta=1.0), OPERATORS[1]), condition=y, seed=SEED).require()
    report = check_generator(WholeBatchDPS(decoded(5), OPERATORS[1]), condition=y, seed=SEED)
    assert "rows apart" in {check.law for check in report.failures}


@pytest.mark.parametrize("broken", ["DPS", "DDS"])
def test_samplers_that_couple_the_batch_are_caught(
    broken: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    operator = OPERATORS[1]
    y = operator.measure(np.full(SHAPE, 0.7, np.float32))
    if broken == "DPS":
        sampler = WholeBatchDPS(decoded(), operator)
    else:
        sampler = DDS(decoded(), operator, weight=30.0, n_iterations=2)
        monkeypatch.setattr(posterior, "_inner", whole_batch_inner)
    assert coupling(rng, sampler, y) > 1e-3
    with pytest.warns(mcgen.GeneratorWarning, match="when other rows share its batch"):
        estimate_pixels(sampler, y)


@each_sampler
def test_gradients_go_through_the_guidance(make, rng: np.random.Generator) -> None:
    sampler = make(gaussian(0.5, steps=5, eta=0.7), OPERATORS[1])
    y, noise = OPERATORS[1].measure(MEAN), noise_for(rng, sampler, 2)

    def statistic(x: torch.Tensor) -> torch.Tensor:
        return (x**2).flatten(1).mean(1)

    slopes = sampler.gradient(noise, statistic, y)
    for block in ("start", "step 2"):
        step = 1e-5 * rng.standard_normal(noise[block].shape)
        up, down = (statistic(sampler(noise | {block: noise[block] + s * step}, y)) for s in (1, -1))
        expected = (slopes[block] * step).reshape(2, -1).sum(1)
        assert np.allclose((up - down).numpy() / 2, expected, rtol=1e-4, atol=1e-12)


@each_sampler
def test_noise_steps_and_trajectories_are_the_priors(make, rng: np.random.Generator) -> None:
    prior, operator = decoded(6, eta=1.0), OPERATORS[2]
    sampler, y = make(prior, operator), OPERATORS[2].measure(np.full(SHAPE, 0.7, np.float32))
    assert (sampler.noise, sampler.steps) == (prior.noise, 6)
    noise = {name: block.astype(np.float32) for name, block in noise_for(rng, sampler, 2).items()}
    path = sampler.trajectory(noise, y)
    assert path.shape == (2, 7, *SHAPE)
    assert torch.equal(path[:, 0], torch.from_numpy(noise["start"]))
    assert torch.equal(prior.decode(path[:, -1]), sampler(noise, y))
    coarse = sampler.coarse(3)
    assert (type(coarse), coarse.prior.steps) == (type(sampler), 3)
    assert coarse.name == f"{type(sampler).__name__} {type(operator).__name__} {prior.with_steps(3).name}"
    assert type(sampler)(prior, operator, name="mine").coarse(3).name == "mine-3"
    for option in {"strength", "noise_sd", "weight", "n_iterations", "prior_condition"} & set(vars(sampler)):
        assert getattr(coarse, option) == getattr(sampler, option)
    result = mcgen.estimate(
        sampler, mcgen.statistics.pixel_mean, design=Antithetic(), condition=y, n_evaluations=64, seed=SEED
    )
    assert type(operator).__name__ in result.provenance.generator


def test_half_precision_priors_keep_their_misfit(rng: np.random.Generator) -> None:
    operator = OPERATORS[3]
    z, y = rng.standard_normal((2, *SHAPE)), operator.measure(np.full(SHAPE, 0.7, np.float32))
    for make in SAMPLERS:
        whole, half = decoded(), decoded()
        half.dtype = torch.bfloat16
        x = make(half, operator)(z, y)
        assert x.dtype == torch.float32
        assert torch.allclose(x, make(whole, operator)(z.astype(np.float32), y), atol=0.1)


def test_a_priors_condition_is_fixed_by_an_option(rng: np.random.Generator) -> None:
    prior = models.load("digits-diffusion", steps=5)
    operator = Inpainting.random((1, 8, 8))
    z = rng.standard_normal((4, 1, 8, 8)).astype(np.float32)
    y = operator.measure(np.zeros((1, 8, 8), np.float32))
    free = DPS(prior, operator, strength=0, prior_condition=3)
    assert torch.equal(free(z, y), prior(z, 3))
    assert not torch.equal(DDS(prior, operator, prior_condition=3)(z, y), DDS(prior, operator)(z, y))


def test_samplers_refuse() -> None:
    prior, operator = decoded(), OPERATORS[0]
    with pytest.raises(TypeError, match="the prior must be a mcgen.adapters.DDIM; got Heun. Make one from the model's"):
        DPS(Heun(prior.denoiser, prior.schedule, SHAPE), operator)
    with pytest.raises(TypeError, match="must be a mcgen.adapters.Operator, such as Inpainting; got function"):
        DDS(prior, lambda x: x)
    with pytest.raises(ValueError, match=r"images of shape \(1, 8, 8\), the prior's states have shape \(2, 6, 8\)"):
        DPS(prior, GaussianBlur((1, 8, 8), 1.0))
    latent = DDIM(prior.denoiser, prior.schedule, SHAPE, decode=lambda x: x.repeat(1, 1, 2, 2))
    with pytest.raises(ValueError, match="decodes its states by more than a scale and a shift"):
        DPS(latent, operator)
    with pytest.raises(ValueError, match="decodes its states by more than a scale and a shift"):
        DPS(DDIM(prior.denoiser, prior.schedule, SHAPE, decode=torch.tanh), operator)
    with pytest.raises(ValueError, match="strength must be a number of at least 0; got -1"):
        DPS(prior, operator, strength=-1)
    with pytest.raises(ValueError, match="noise_sd must be above 0; got -0.1. For a measurement without noise leave"):
        DDS(prior, operator, noise_sd=-0.1)
    with pytest.raises(ValueError, match="n_iterations at least 1; got weight=1.0, n_iterations=0"):
        DDS(prior, operator, n_iterations=0)
    for make in (
        lambda: DPS(prior, operator, strength="1"),
        lambda: DDS(prior, operator, noise_sd=True),
        lambda: DDS(prior, operator, weight="1"),
    ):
        with pytest.raises(TypeError, match="must be a number; got"):
            make()
    with pytest.raises(ValueError, match="weight must be finite; got nan"):
        DDS(prior, operator, weight=math.nan)
    with pytest.raises(TypeError, match=r"DDS.__init__\(\) got an unexpected keyword argument 'sigma'"):
        DDS(prior, operator, sigma=1)


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (None, r"one measurement of shape \(48,\), must be an array of floats; got none"),
        (3, "got int"),
        ([0.0] * 48, "got list. A list is a list of conditions; give an array"),
        (np.zeros(48, np.uint8), "got uint8. Give floats on the scale of the model's samples"),
        (np.zeros(48, np.complex64), "real numbers; got complex64"),
        (np.zeros((2, 48)), r"of shape \(48,\); got shape \(2, 48\)"),
        (np.full(48, np.nan), "got a NaN or an infinity in it"),
        ("seven", "got str"),
        ((np.zeros(48), np.zeros(SHAPE), 3), "got tuple\nA tuple must be a pair: the measurement, and then"),
        ((np.zeros(SHAPE), np.zeros(48)), r"of shape \(48,\); got shape \(2, 6, 8\)"),
        ((np.zeros(24), np.zeros(24)), r"of shape \(48,\); got shape \(24,\)"),
    ],
)
def test_measurements_that_do_not_fit_are_refused(condition: object, found: str) -> None:
    with pytest.raises((TypeError, ValueError), match=found):
        DPS(decoded(), OPERATORS[0])(np.zeros((2, *SHAPE), np.float32), condition)


@pytest.mark.parametrize("make", [DPS, DDS])
def test_a_pair_is_a_measurement_and_its_truth(make, rng: np.random.Generator) -> None:
    operator = OPERATORS[0]
    sampler, truths = make(decoded(), operator), rng.random((2, *SHAPE))
    pairs = {f"image {k}": (operator.measure(truth), truth) for k, truth in enumerate(truths)}
    z = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    for pair in pairs.values():
        assert torch.equal(sampler(z, pair), sampler(z, pair[0]))
    psnr = mcgen.as_statistic(lambda x, pair: mcgen.statistics.PSNR(pair[1])(x), uses_condition=True)
    options = {"design": Antithetic(), "n_evaluations": 64, "seed": SEED}
    found = mcgen.estimate(sampler, psnr, condition=pairs, **options)
    for part, truth in zip(found.conditions, truths, strict=True):
        noise = rng.standard_normal((200, *SHAPE)).astype(np.float32)
        scores = mcgen.statistics.PSNR(truth)(sampler(noise, operator.measure(truth)))
        assert abs(part.mean - float(scores.mean())) < Z_LIMIT * (
            part.standard_error + float(scores.std()) / math.sqrt(len(noise))
        )


def reconstructions(operator: Operator, y: np.ndarray) -> np.ndarray:
    """What can be had without a prior: zeros for what was not measured, pixels repeated, the blurred image."""
    back = operator.adjoint(torch.from_numpy(y)[None])[0].numpy()
    return {GaussianBlur: y, SuperResolution: 4 * back}.get(type(operator), back)


@pytest.mark.parametrize("make", [lambda p, o: DPS(p, o), lambda p, o: DDS(p, o, noise_sd=0.05)], ids=["DPS", "DDS"])
@pytest.mark.parametrize("kind", [0, 1, 2, 3], ids=["inpainting", "blur", "small", "fourier"])
def test_digits_are_restored_better_than_without_a_prior(make, kind: int, rng: np.random.Generator) -> None:
    shape = (1, 8, 8)
    operator = [
        Inpainting.random(shape, hidden=0.5, seed=1),
        GaussianBlur(shape, 1.0),
        SuperResolution(shape, 2),
        MaskedFourier.random_lines(shape, measured=0.5, centre=0.25, seed=1),
    ][kind]
    images = pytest.importorskip("sklearn.datasets").load_digits().images.reshape(-1, *shape) / 16
    sampler = make(models.load("digits-diffusion", steps=20, eta=1.0), operator)
    gains = []
    for image in images[rng.choice(len(images), 10, replace=False)].astype(np.float32):
        y = operator.measure(image, 0.05, rng.standard_normal(operator.measurement_shape))
        noise = {name: block.astype(np.float32) for name, block in noise_for(rng, sampler, 12).items()}
        mean = sampler(noise, y).numpy().mean(0)
        squared = [((guess - image) ** 2).mean() for guess in (reconstructions(operator, y), mean)]
        gains.append(10 * math.log10(squared[0] / squared[1]))
    assert np.mean(gains) > 1.5

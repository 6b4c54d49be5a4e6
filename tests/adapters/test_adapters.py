"""Torch models as generators: the border to numpy, DDIM against a closed form, the shipped model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

from half_precision import HalfNetwork  # noqa: E402

import mcgen  # noqa: E402
from mcgen import Antithetic, Block, NoiseSpec  # noqa: E402
from mcgen.adapters import DDIM, Guided, Heun, Schedule, from_torch, models  # noqa: E402
from mcgen.adapters.samplers.predictions import split_prediction  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = [pytest.mark.filterwarnings("ignore:.*the replicate means"), pytest.mark.usefixtures("one_torch_thread")]


def test_noise_arrives_as_tensors_and_samples_stay_tensors() -> None:
    seen = {}

    def model(noise: torch.Tensor, condition: int = 0) -> torch.Tensor:
        seen.update(dtype=noise.dtype, gradients=torch.is_grad_enabled(), condition=condition)
        return torch.sigmoid(noise + condition + 1)

    generator = from_torch(model, (4,), dtype=torch.float64, name="sigmoid")
    samples = generator(np.zeros((3, 4), np.float32), 1)
    assert isinstance(samples, torch.Tensor)
    assert seen == {"dtype": torch.float64, "gradients": False, "condition": 1}
    assert isinstance(generator, mcgen.Generator)
    result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=640, seed=SEED)
    assert result.provenance.versions["torch"] == torch.__version__


def test_several_blocks_arrive_lazily() -> None:
    spec = NoiseSpec({"a": Block((4,)), "b": Block((4,))})
    generator = from_torch(lambda noise: noise["a"] + noise["b"] ** 2, spec)
    result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=6400, seed=SEED)
    assert abs(result.mean - 1.0) < 6 * result.standard_error


def test_training_mode_is_refused_with_the_module_named() -> None:
    layer = torch.nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match=r"BatchNorm1d is in training mode, .*: call its .eval\(\) first"):
        from_torch(layer, (4,))
    generator = from_torch(layer.eval(), (4,))
    layer.train()
    with pytest.raises(ValueError, match="training mode"):
        generator(np.zeros((2, 4), np.float32))


def test_writing_into_the_noise_is_seen_through_the_border() -> None:
    generator = from_torch(lambda z: z.mul_(2), (4,))
    with pytest.raises(mcgen.RunError, match="changed its input in place"):
        mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=64, seed=0)


@pytest.mark.parametrize("prediction", ["noise", "sample", "velocity"])
def test_predictions_agree(prediction: str) -> None:
    x_0, noise, share = torch.tensor([0.3]), torch.tensor([-1.2]), 0.36
    x_t = 0.6 * x_0 + 0.8 * noise
    outputs = {"noise": noise, "sample": x_0, "velocity": 0.6 * noise - 0.8 * x_0}
    back = split_prediction(prediction, x_t, outputs[prediction], share)
    assert torch.allclose(back[0], x_0)
    assert torch.allclose(back[1], noise)


class GaussianDenoiser(torch.nn.Module):
    """The exact noise prediction for data N(mean, sd^2): E[noise | x_t]."""

    def __init__(self, schedule: Schedule, mean: float, sd: float) -> None:
        super().__init__()
        self.share = torch.tensor(schedule.alpha_bar, dtype=torch.float64)
        self.mean, self.sd = mean, sd

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        share = self.share[(time * len(self.share)).round().long()][:, None]
        variance = share * self.sd**2 + 1 - share
        return (1 - share).sqrt() / variance * (x - share.sqrt() * self.mean)


def test_ddim_is_the_affine_map_it_must_be_for_gaussian_data() -> None:
    """For Gaussian data DDIM is affine in its noise, so antithetic pairs estimate its mean exactly; with many steps it
    reaches the data's mean and standard deviation."""
    schedule = Schedule.cosine()
    model = DDIM(GaussianDenoiser(schedule, 0.7, 0.5).eval(), schedule, (1,), steps=1000)
    model.dtype = torch.float64
    z = np.linspace(-2, 2, 9)[:, None]
    samples = model(z).numpy()[:, 0]
    assert np.allclose(np.diff(samples, 2), 0, atol=1e-10)
    slope, middle = samples[-1] - samples[-2], samples[4]
    assert middle == pytest.approx(0.7, abs=0.01)
    assert slope / 0.5 == pytest.approx(0.5, abs=0.02)


def gaussian(sampler: type, steps: int, **options: object):
    schedule = Schedule.cosine()
    model = sampler(GaussianDenoiser(schedule, 0.7, 0.5).eval(), schedule, (1,), steps=steps, **options)
    model.dtype = torch.float64
    return model


def test_ancestral_sampling_has_the_datas_mean_and_variance() -> None:
    model = gaussian(DDIM, 200, eta=1.0)
    assert [name for name, _ in model.noise.blocks][:2] == ["start", "step 1"]
    assert len(model.noise.blocks) == 200
    noise = mcgen.MonteCarlo().draw(model.noise, 4000, SEED)
    x = model({name: block[:, 0] for name, block in noise.items()}).numpy()[:, 0]
    assert abs(x.mean() - 0.7) < 6 * 0.5 / math.sqrt(4000) + 0.01
    assert x.std() == pytest.approx(0.5, abs=0.05)
    result = mcgen.estimate(model, lambda s: s[:, 0], design=Antithetic(), n_evaluations=64, seed=SEED, batch_size=64)
    assert result.half_width < 1e-5  # affine in all its noise, of every step: pairs are exact


def test_trajectories_start_at_the_noise_and_end_at_the_sample() -> None:
    model = gaussian(DDIM, 10)
    z = np.linspace(-2, 2, 5)[:, None]
    path = model.trajectory(z)
    assert path.shape == (5, 11, 1)
    assert np.array_equal(path[:, 0].numpy(), z)
    assert torch.equal(path[:, -1], model(z))
    assert torch.equal(gaussian(DDIM, 40).trajectory(z)[:, 0], path[:, 0])


def test_coarse_models_take_the_same_noise() -> None:
    model = models.load("digits-diffusion")
    coarse = model.coarse(10)
    assert coarse.noise == model.noise
    assert coarse.steps == 10
    z = np.random.default_rng(SEED).standard_normal((200, 1, 8, 8), dtype=np.float32)
    a, b = (m(z).flatten(1).mean(1) for m in (model, coarse))
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_guidance_is_the_formula() -> None:
    class Plain(torch.nn.Module):
        def forward(self, x, time, condition=None):
            return x * (0.0 if condition is None else condition)

    guided = Guided(Plain().eval(), guidance_scale=3.0)
    x = torch.ones(2, 3)
    assert torch.equal(guided(x, x[:, 0], 1.0), 3.0 * x)
    assert not guided.training
    assert torch.equal(Guided(Plain().eval().forward, guidance_scale=3.0)(x, x[:, 0], 1.0), 3.0 * x)
    for lone in (guided, Guided(lambda x, time, condition: x, guidance_scale=1.5)):
        with pytest.raises(ValueError, match="guidance needs a condition; with None there is nothing to guide"):
            lone(x, x[:, 0])
    with pytest.raises(ValueError, match=r"the guided denoiser must return a tensor .*, \(2, 3\); got \(2, 1\)"):
        Guided(lambda x, time, condition: x if condition is None else x[:, :1], guidance_scale=2.0)(x, x[:, 0], 1.0)
    training = Plain()
    with pytest.raises(ValueError, match="is in training mode"):
        DDIM(Guided(training.forward, guidance_scale=2.0), Schedule.cosine(), (3,))
    for wrong in (math.nan, "2", None, 0.5, -1):
        with pytest.raises((TypeError, ValueError), match="guidance_scale must be"):
            Guided(Plain(), guidance_scale=wrong)
    with pytest.raises(TypeError, match=r"takes the guidance scale by its name; got Guided\(denoiser, 2.0\). Write"):
        Guided(Plain(), 2.0)
    model = models.load("digits-diffusion", guidance_scale=2.0)
    z = np.random.default_rng(SEED).standard_normal((4, 1, 8, 8), dtype=np.float32)
    assert not torch.allclose(model(z, 3), models.load("digits-diffusion")(z, 3))
    with pytest.raises(ValueError, match="guidance needs a condition"):
        model(z)


def test_old_words_of_guidance_give_the_same_samples_and_name_the_scale() -> None:
    z = np.random.default_rng(SEED).standard_normal((2, 1, 28, 28), dtype=np.float32)
    model = models.load("mnist-dit", guidance_scale=2.0, steps=5)
    with pytest.warns(DeprecationWarning, match=r"guidance=1.0 is deprecated .*; write guidance_scale=2.0") as warned:
        old = models.load("mnist-dit", guidance=1.0, steps=5)
    assert warned[0].filename == __file__
    assert old.name == model.name == "mnist-dit ddim-5 guidance_scale 2"
    assert torch.equal(old(z, 3), model(z, 3))
    assert torch.equal(models.load("mnist-dit", guidance_scale=1.0, steps=5)(z), models.load("mnist-dit", steps=5)(z))
    with pytest.warns(DeprecationWarning, match=r"weight=0.7 is deprecated .*; write guidance_scale=1.7") as warned:
        guided = Guided(lambda x, time, condition: x, weight=0.7)
    assert warned[0].filename == __file__
    assert guided.guidance_scale == 1.7
    with pytest.warns(DeprecationWarning, match="weight is deprecated; read guidance_scale"):
        assert guided.weight == pytest.approx(0.7)
    with pytest.raises(TypeError, match=r"guidance_scale=2.0 and weight=1.0 say the same thing; got both"):
        Guided(lambda x, time, condition: x, guidance_scale=2.0, weight=1.0)
    with pytest.raises(ValueError, match="guidance_scale must be at least 1, .*; got 0.5"):
        Guided(lambda x, time, condition: x, weight=-0.5)
    for wrong in ({"guidance": "1"}, {"guidance": 1.0, "guidance_scale": 2.0}):
        with pytest.raises(TypeError, match="guidance must be a number|say the same thing"):
            models.load("mnist-dit", **wrong)


def test_schedule_and_sampler_refuse() -> None:
    schedule = Schedule.cosine(100)
    assert schedule.times(100).tolist() == list(range(99, -2, -1))
    assert schedule.times(1).tolist() == [99, -1]
    with pytest.raises(ValueError, match="steps must be between 1 and the schedule's 100; got 101"):
        schedule.times(101)
    with pytest.raises(ValueError, match=r"eta must lie between 0 \(deterministic\) and 1 \(ancestral\); got 2"):
        DDIM(torch.nn.Identity().eval(), schedule, (1,), eta=2)
    with pytest.raises(ValueError, match="alpha_bar must be a decreasing sequence inside"):
        Schedule((0.5, 0.9))
    with pytest.raises(ValueError, match="prediction must be one of .*; got 'epsilon'"):
        DDIM(torch.nn.Identity().eval(), schedule, (1,), prediction="epsilon")


def test_what_from_torch_takes() -> None:
    module = torch.nn.Linear(4, 4)
    with pytest.raises(ValueError, match="Linear is in training mode"):
        from_torch(module.forward, (4,))
    assert from_torch(lambda z: module(z), (4,), modules=module.eval()).modules == (module,)
    with pytest.raises(TypeError, match="from_torch takes a callable and a dtype such as torch.float32"):
        from_torch(module, (4,), dtype="float32")
    with pytest.raises(TypeError, match="Linear is a torch module, which takes tensors; use mcgen.adapters.from_torch"):
        mcgen.as_generator(module, (4,))


def test_a_spec_that_does_not_fit_is_told_with_the_noise_that_was_given() -> None:
    generator = from_torch(torch.nn.Linear(4, 2).eval(), (5,), name="decoder")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised:
        generator(np.zeros((3, 5), np.float32))
    assert "'decoder' was given noise of normal(5) float32, as its spec says, on cpu" in str(raised.value.__notes__)


def test_modules_on_several_devices_are_refused() -> None:
    there = torch.nn.Linear(4, 4, device="meta").eval()
    here = torch.nn.Linear(4, 4).eval()
    with pytest.raises(ValueError, match="the modules lie on several devices, cpu, meta; move them to one, or say"):
        from_torch(lambda z: here(z), (4,), modules=[here, there])
    assert from_torch(lambda z: here(z), (4,), modules=[here, there], device="cpu").device.type == "cpu"
    assert from_torch(there, (4,))(np.zeros((2, 4), np.float32)).device.type == "meta"
    with pytest.raises(ValueError, match=r"noise in float64 can't go to mps, .* pass dtype=torch.float32"):
        from_torch(lambda z: z, NoiseSpec.normal((4,), "float64"), device="mps")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models_get_their_noise_and_give_single_precision(dtype: torch.dtype) -> None:
    """A mean over pixels in half precision would be off by its rounding; the samples come back in float32."""
    layer = torch.nn.Linear(64, 64).eval().to(dtype)
    generator = from_torch(lambda z: torch.sigmoid(layer(z)), (64,), modules=layer)
    z = np.random.default_rng(SEED).standard_normal((4, 64), dtype=np.float32)
    samples = generator(z)
    assert samples.dtype == torch.float32
    assert torch.equal(samples, torch.sigmoid(layer(torch.from_numpy(z).to(dtype))).float())
    assert from_torch(torch.nn.Linear(4, 4).double().eval(), (4,))(np.zeros((1, 4), np.float32)).dtype == torch.float64
    pairs = from_torch(lambda z: (layer(z), z.half()), (64,), modules=layer)(z)
    assert [part.dtype for part in pairs] == [torch.float32, torch.float32]


def test_gradients_are_those_of_each_samples_own_noise() -> None:
    spec = NoiseSpec({"a": Block((3,)), "b": Block((3,)), "unused": Block((2,))}, "float64")
    generator = from_torch(lambda noise, c=1.0: c * noise["a"] ** 2 + noise["b"].sin(), spec)
    rng = np.random.default_rng(SEED)
    noise = {name: rng.standard_normal((4, *block.shape)) for name, block in spec.blocks}
    found = generator.gradient(noise, lambda x: x.sum(1), 2.0)
    assert np.allclose(found["a"], 4 * noise["a"])
    assert np.allclose(found["b"], np.cos(noise["b"]))
    assert not found["unused"].any()
    lone = from_torch(lambda z: z**3, (3,))
    z = noise["a"].astype(np.float32)
    assert np.allclose(lone.gradient(z, lambda x: x[:, 0]), np.stack([3 * z[:, 0] ** 2, 0 * z[:, 0], 0 * z[:, 0]], 1))


def test_gradients_refuse() -> None:
    z = np.zeros((3, 2), np.float32)
    with pytest.raises(
        ValueError, match=r"a gradient needs a statistic that returns a tensor of 3 values; got \(3, 2\)"
    ):
        from_torch(lambda z: z, (2,)).gradient(z, lambda x: x)
    with pytest.raises(ValueError, match="a gradient needs a statistic that returns a tensor of 3 values; got ndarray"):
        from_torch(lambda z: z, (2,)).gradient(z, lambda x: x.detach().numpy())
    with pytest.raises(ValueError, match=r"the samples of 'frozen' carry no gradient: .* \(function.__wrapped__\)"):
        from_torch(torch.no_grad()(lambda z: 1 * z), (2,), name="frozen").gradient(z, lambda x: x.sum(1))


def test_every_name_of_the_package_is_there() -> None:
    import mcgen.adapters

    for name in mcgen.adapters.__all__:
        assert getattr(mcgen.adapters, name).__name__ == name
    assert set(mcgen.adapters.__all__) == set(mcgen.adapters._HOME)
    with pytest.raises(AttributeError, match="module 'mcgen.adapters' has no attribute 'from_keras'; it has DDIM, "):
        mcgen.adapters.from_keras()


class FractionalDenoiser(GaussianDenoiser):
    """The same between training steps, where log sigma is interpolated."""

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        steps = np.arange(len(self.share))
        log_sigma = np.interp(time.numpy() * len(steps), steps, 0.5 * np.log(1 / self.share.numpy() - 1))
        share = torch.from_numpy(1 / (1 + np.exp(2 * log_sigma)))[:, None]
        variance = share * self.sd**2 + 1 - share
        return (1 - share).sqrt() / variance * (x - share.sqrt() * self.mean)


def heun_error(steps: int) -> tuple[float, float]:
    """Mean and standard deviation that Heun's sampler gives Gaussian data N(0.7, 0.5^2), less the truth."""
    schedule = Schedule.cosine()
    model = Heun(FractionalDenoiser(schedule, 0.7, 0.5).eval(), schedule, (1,), steps=steps)
    model.dtype = torch.float64
    x = model(np.array([[-1.0], [0.0], [1.0]])).numpy()[:, 0]
    return float(x[1]) - 0.7, float(x[2] - x[0]) / 2 - 0.5


def test_heun_follows_the_probability_flow_to_second_order() -> None:
    """For Gaussian data the flow is known: its end is mean + sd z but for the start at a ratio of 80, not infinity."""
    errors = {steps: np.abs(heun_error(steps)[1]) for steps in (16, 32, 64)}
    assert errors[64] < 2e-3
    assert errors[16] / errors[32] > 3.5
    assert errors[32] / errors[64] > 3.5
    ddim = gaussian(DDIM, 127)(np.array([[-1.0], [1.0]])).numpy()[:, 0]
    assert errors[64] < abs((ddim[1] - ddim[0]) / 2 - 0.5) / 3  # both ask the denoiser 127 times
    assert abs(heun_error(64)[0]) < 0.7 * 0.0125 + 1e-3  # the start has no signal, where 1/80 is due
    with pytest.raises(ValueError, match="Heun's sampler takes at least 2 steps; got 1"):
        gaussian(Heun, 1)


def test_clipped_predictions_and_their_noise() -> None:
    schedule = Schedule.cosine()
    x = torch.full((1, 1), 3.0)
    for keep in (False, True):
        model = DDIM(torch.nn.Identity().eval(), schedule, (1,), steps=4, clip=1.0, keep_noise=keep)
        model.denoiser.forward = lambda x, time, condition: 0 * x  # no noise predicted: the sample is x / sqrt(signal)
        x_0, epsilon = model.denoise(x, 2)
        signal = model.signals[2]
        assert x_0.item() == 1.0
        expected = 0.0 if keep else (3.0 - math.sqrt(signal)) / math.sqrt(1 - signal)
        assert epsilon.item() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="clip must be a positive bound, or None; got 0"):
        DDIM(torch.nn.Identity().eval(), schedule, (1,), clip=0)


def test_steps_one_by_one_and_schedules_that_end_below_one() -> None:
    schedule = Schedule(Schedule.cosine(100).alpha_bar, end=Schedule.cosine(100).alpha_bar[0])
    assert schedule.times([80, 40, 0]).tolist() == [80, 40, 0, -1]
    for wrong in ([], [40, 80], [100, 0]):
        with pytest.raises(ValueError, match="steps given one by one must decrease, from at most 99 to at least 0"):
            schedule.times(wrong)
    with pytest.raises(ValueError, match="end must lie between the first alpha_bar, .* and 1; got 1.5"):
        Schedule((0.9, 0.5), end=1.5)
    model = DDIM(torch.nn.Identity().eval(), schedule, (1,), steps=[80, 40, 10], eta=1.0)
    assert [name for name, _ in model.noise.blocks] == ["start", "step 1", "step 2", "step 3"]
    with pytest.raises(ValueError, match="a coarse model has between 1 and the model's own 3 steps; got 4"):
        model.coarse(4)
    whole = DDIM(torch.nn.Identity().eval(), schedule, (1,), steps=[80, 40, 0], eta=1.0)
    # Its last step ends where it starts, and adds nothing: a block would be declared without an effect.
    assert [name for name, _ in whole.noise.blocks] == ["start", "step 1", "step 2"]
    assert DDIM(torch.nn.Identity().eval(), schedule, (1,), steps=np.int64(3)).steps == 3


@pytest.mark.parametrize(("sampler", "options"), [(DDIM, {"eta": 1.0, "steps": 1000}), (Heun, {"steps": 40})])
def test_states_are_kept_in_single_precision(sampler: type, options: dict) -> None:
    """Networks in half precision hardly move the mean; a state in it does."""
    schedule, errors = Schedule.cosine(), []
    exact = FractionalDenoiser(schedule, 0.7, 0.5).eval()
    for narrow in (None, torch.bfloat16):
        model = sampler(HalfNetwork(exact).eval(), schedule, (1,), decode=lambda x: x + x.new_zeros(1), **options)
        assert (model.dtype, model.network_dtype) == (torch.float32, torch.bfloat16)
        model.dtype = narrow or model.dtype
        whole = sampler(exact, schedule, (1,), dtype=torch.float64, **options)
        noise = mcgen.MonteCarlo().draw(model.noise, 500, SEED)
        lone = isinstance(noise, np.ndarray)
        given = noise[:, 0] if lone else {name: block[:, 0] for name, block in noise.items()}
        path = model.trajectory(given)
        assert path.dtype == torch.float32
        errors.append(abs(float((path[:, -1] - whole.trajectory(given)[:, -1]).mean())))
    assert errors[0] < 0.005
    assert errors[1] > 2 * errors[0]


def test_outputs_that_would_broadcast_are_refused() -> None:
    schedule, z = Schedule.cosine(), np.ones((3, 4), np.float32)
    for wrong, found in (
        (lambda x, t, c: x[:, :1], r"\(3, 1\)"),
        (lambda x, t, c: x.mean(0, keepdim=True), r"\(1, 4\)"),
        (lambda x, t, c: x.numpy(), "ndarray"),
        (lambda x, t, c: {"sample": x}, "dict"),
    ):
        message = (
            rf"the denoiser of 'net' must return a tensor .*, \(3, 4\); got {found}. For a network of diffusers return"
        )
        for sampler in (DDIM, Heun):
            with pytest.raises(ValueError, match=message):
                sampler(wrong, schedule, (4,), steps=3, name="net")(z)


def test_denoisers_are_modules_methods_or_functions() -> None:
    schedule, z = Schedule.cosine(), np.ones((3, 1), np.float32)
    module = GaussianDenoiser(schedule, 0.7, 0.5).eval()
    plain = DDIM(module, schedule, (1,), steps=5)
    assert plain.name == "GaussianDenoiser DDIM-5"
    function = DDIM(lambda x, t, c: module(x, t), schedule, (1,), steps=5, modules=module)
    assert function.modules == DDIM(module.forward, schedule, (1,), steps=5).modules == (module,)
    assert torch.equal(function(z), plain(z))
    check_generator(function).require()
    module.train()
    with pytest.raises(ValueError, match="GaussianDenoiser is in training mode"):
        function.coarse(2)
    for wrong in ({"denoiser": 3}, {"decode": "x"}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be callable: a torch module, its method or a"):
            DDIM(**({"denoiser": module.eval(), "schedule": schedule, "shape": (1,)} | wrong))


def test_other_steps_keep_device_type_and_name() -> None:
    schedule = Schedule.cosine()
    for sampler in (DDIM, Heun):
        model = sampler(lambda x, t, c: x, schedule, (1,), steps=9, device="meta", dtype=torch.float64, name="mine")
        coarse = model.coarse(5).coarse(3)
        assert (coarse.device.type, coarse.dtype, coarse.name) == ("meta", torch.float64, "mine-3")
        assert sampler(lambda x, t, c: x, schedule, (1,), steps=9).coarse(3).name.endswith("-3")
    half = DDIM(lambda x, t, c: x, schedule, (1,), steps=9, dtype=torch.float16).coarse(3)
    assert (half.dtype, half.network_dtype) == (torch.float32, torch.float16)


def test_schedules_are_values() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    schedule = Schedule(np.cumprod(1 - betas))
    assert schedule == Schedule(np.cumprod(1 - betas).tolist()) == Schedule.from_betas(betas)
    assert hash(schedule) == hash(Schedule.from_betas(torch.from_numpy(betas)))
    assert repr(schedule) == "Schedule(1000 steps, alpha_bar from 0.9999 to 4e-05)"
    assert repr(Schedule.cosine()) == "Schedule(1000 steps, alpha_bar from 1 to 2.4e-09)"
    assert repr(Schedule((0.9, 0.1), end=0.95)) == "Schedule(2 steps, alpha_bar from 0.9 to 0.1, end 0.95)"
    with pytest.raises(ValueError, match=r"alpha_bar must end below 0.5, .*; got 0.98 at the end. For alphas write"):
        Schedule(1 - betas)
    with pytest.raises(ValueError, match=r"inside \(0, 1\); got nan after 0.9 at step 1"):
        Schedule((0.9, math.nan, 0.1))
    with pytest.raises(ValueError, match=r"betas must lie inside \(0, 1\); got values from 0.0 to 0.5"):
        Schedule.from_betas([0.0, 0.5])
    for sampler in (DDIM, Heun):
        with pytest.raises(TypeError, match="schedule must be a mcgen.adapters.Schedule; got ndarray. For a scheduler"):
            sampler(torch.nn.Identity().eval(), betas, (1,))


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (DDIM, {"steps": "50"}, "steps must be an int; got '50' of type str"),
        (DDIM, {"steps": True}, "steps must be an int; got True of type bool"),
        (DDIM, {"steps": [9.5, 0]}, "each of steps must be an int; got 9.5"),
        (Heun, {"steps": "5"}, "steps must be an int; got '5' of type str"),
        (DDIM, {"eta": math.nan}, "eta must be finite; got nan"),
        (DDIM, {"eta": "1"}, "eta must be a number; got '1'"),
        (DDIM, {"clip": math.inf}, "clip must be finite; got inf"),
        (Heun, {"eta": 1}, "Heun takes no option 'eta'; fresh noise at every step is DDIM's"),
        (
            DDIM,
            {"guidance": 3},
            r"DDIM takes no option 'guidance'; for guidance give Guided\(denoiser, guidance_scale=...\)",
        ),
    ],
)
def test_settings_that_are_no_numbers_are_refused(sampler: type, options: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        sampler(torch.nn.Identity().eval(), Schedule.cosine(), (1,), **options)

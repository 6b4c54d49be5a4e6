"""Samplers that draw their own noise, unmodified: toys that show each law, and the samplers of azula."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import _get_current_dispatch_mode  # noqa: E402

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


def test_numbers_and_masks_are_replayed() -> None:
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


def test_one_draw_of_one_number_is_singular() -> None:
    text = capture(lambda n, condition: torch.randn(n), name="single").describe()
    assert text.splitlines()[0] == "single: 1 draw, 1 number a sample"


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


def test_operations_give_what_torch_says_of_their_noise() -> None:
    """Each law on its own arguments; `bernoulli` once took those of its first one for its probability."""

    def laws(n: int, condition: object) -> tuple[torch.Tensor, ...]:
        x = torch.full((n, 4), 0.9)
        values, mask = torch.native_dropout(x, 0.25, True)
        return (
            torch.bernoulli(x, 0.2),
            torch.empty(n, 4).log_normal_(0.5, 0.3),
            torch.empty(n, 4).cauchy_(1.0, 2.0),
            torch.empty(n, 4).geometric_(0.3),
            values,
            mask,
        )

    generator = capture(laws)
    noise = rows(generator, Antithetic(), replicates=500)
    u = [torch.from_numpy(block) for block in noise.values()]
    kept, share, log_normal, cauchy, geometric = u
    bernoulli, first, second, third, values, mask = generator(noise)
    assert torch.equal(bernoulli, (share < 0.2).float())
    assert torch.allclose(first, torch.exp(0.5 + 0.3 * log_normal))
    assert torch.allclose(second, torch.distributions.Cauchy(1.0, 2.0).icdf(cauchy), rtol=1e-3, atol=1e-4)
    assert abs(float((third == 1).float().mean()) - 0.3) < 0.05
    assert float(third.min()) == 1
    assert torch.equal(third, torch.ceil(torch.log(geometric) / np.log(0.7)))
    assert torch.equal(mask, kept < 0.75)
    assert torch.allclose(values, 0.9 * mask / 0.75)


def test_complex_noise_has_both_parts() -> None:
    generator = capture(lambda n, c: 2 * torch.randn(n, 3, dtype=torch.complex64))
    z = np.random.default_rng(SEED).standard_normal((4, 3, 2), dtype=np.float32)
    assert np.allclose(generator(z).numpy(), np.sqrt(2) * (z[..., 0] + 1j * z[..., 1]))
    twice = capture(lambda n, c: (lambda x: x[:n] + 2 * x[n:])(torch.randn(2 * n, 3, dtype=torch.complex128)))
    assert (str(twice.noise.blocks[0][1]), twice.noise.dtype) == ("normal(2x3x2)", "float64")
    z = np.random.default_rng(SEED).standard_normal((4, 2, 3, 2))
    expected = (z[..., 0] + 1j * z[..., 1]) / np.sqrt(2)
    assert np.allclose(twice(z).numpy(), expected[:, 0] + 2 * expected[:, 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_uniform_noise_in_half_precision_stays_below_one(dtype: torch.dtype) -> None:
    generator = capture(lambda n, c: torch.rand(n, 2, dtype=dtype) + torch.empty(n, 2, dtype=dtype).uniform_(0, 1) * 0)
    u = np.full((1, 2), 1 - 2.0**-24, np.float32)
    assert torch.from_numpy(u).to(dtype).max() == 1
    assert generator({name: u for name, _ in generator.noise.blocks}).max() < 1


def test_rrelu_in_evaluation_draws_nothing() -> None:
    layer = torch.nn.RReLU()
    assert len(capture(lambda n, c: layer.eval()(torch.randn(n, 4))).draws) == 1
    with pytest.raises(ValueError, match="draws rrelu_with_noise"):
        capture(lambda n, c: layer.train()(torch.randn(n, 4)))


def test_effects_are_seen_in_every_output() -> None:
    text = capture(lambda n, c: (torch.randn(n, 2), torch.randn(n, 2))).describe(effects=True)
    assert "no effect" not in text


def test_generators_of_the_user_are_set_back() -> None:
    own = torch.Generator().manual_seed(3)
    before = own.get_state()
    capture(lambda n, c: torch.randn(n, 4, generator=own))
    assert torch.equal(own.get_state(), before)


class Pipeline:
    scheduler = None

    def __call__(self, batch_size: int, steps: int = 50) -> None:
        """Takes long."""


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda n: torch.randn(n, 4), r"'<lambda>' takes \(n\): write lambda n, condition"),
        (Pipeline(), "a sampler, not the pipeline itself; got a Pipeline. .*capture takes any pipeline"),
        (3, "capture takes a callable sampler"),
        (lambda n, c: None, "returned NoneType, which has no leading axis of 2 samples; return one tensor"),
        (lambda n, c: {"x": torch.randn(n, 2)}, "returned dict, which has no leading axis"),
        (lambda n, c: (torch.randn(n, 2), 0), "returned tuple, which has no leading axis"),
        (lambda n, c: type("Output", (dict,), {"images": 1})(), r"returned Output, .*return its images: pipe"),
    ],
)
def test_what_is_no_sampler_is_refused(sampler, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        capture(sampler)


def test_modules_and_conditions_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="modules must be torch modules; got 'unet'"):
        capture(walk, modules="unet")
    with pytest.raises(TypeError) as caught:
        capture(lambda n, c: c * torch.randn(n, 4))
    assert "tried with condition None; give one: capture(..., condition=...)" in caught.value.__notes__[0]
    pictures = pytest.importorskip("PIL.Image")
    with pytest.raises(TypeError, match="list of pictures of PIL; .*output_type="):
        capture(lambda n, c: [pictures.new("L", (2, 2)) for _ in torch.randn(n)])


calls = 0


def _changing(n: int, condition: object) -> torch.Tensor:
    global calls
    calls += 1
    return sum(torch.randn(n, 2) for _ in range(1 + calls // 7))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda n, c: torch.zeros(n, 2), "draws no random numbers by torch, .*nothing to act on; use from_torch"),
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
        (lambda n, c: sum(torch.randn(n, 4) for _ in range(n)), "once a sample in a loop, draw for the batch"),
        (lambda n, c: torch.randn(n, 4) * torch.randn(1, 4), "all samples of a batch would share it"),
        (lambda n, c: torch.randn(n + 1, 4), "returned 3 samples where 2 were asked for; make n of them"),
        (lambda n, c: torch.zeros(n, 2), "Draws of numpy and jax are not seen: .*mcgen.as_generator"),
        (lambda n, c: torch.randn(n, 1).random_(), "at most 65,536 apart; got the bounds 0 and None"),
        (lambda n, c: torch.randn(n, 1).random_(5, None), "got the bounds 5 and None. Give both"),
        (lambda n, c: torch.randint(0, 2**17, (n, 2)), "got the bounds 0 and 131072"),
        (lambda n, c: (lambda x: x + 0.1 * x[-1:])(torch.randn(n, 4)), "the noise of one sample reaches others"),
        (lambda n, c: (lambda x: x / x.abs().max().clamp(min=3))(torch.randn(n, 9)), "reaches others .*call a network"),
        (
            lambda n, c: (lambda x: (x, x + 1e-3 * x.mean()))(torch.randn(n, 4)),
            "the noise of one sample reaches others",
        ),
        (lambda n, c: torch.randn(n, 4, dtype=torch.complex64) / n, "depends on its place in the batch or on the numb"),
        (
            lambda n, c: torch.randn(n, 4) + torch.arange(n)[:, None],
            "by their place, such as those of numpy by a fixed",
        ),
        (lambda n, c: torch.randn(n, 4) + float(np.random.rand()), "of its own outside torch"),  # noqa: NPY002
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


class Layers(torch.nn.Module):
    """A network that tells under which mode it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.modes: list[object] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(_get_current_dispatch_mode())
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def network() -> Layers:
    torch.manual_seed(0)
    return Layers().eval()


def steps_of(network: torch.nn.Module):
    def sampler(n: int, condition: object) -> torch.Tensor:
        x = torch.randn(n, 4)
        for _ in range(3):
            x = x + 0.1 * network(x) + 0.1 * torch.randn_like(x)
        return x

    return sampler


def test_networks_that_draw_nothing_run_outside_the_mode(network: Layers) -> None:
    watched, quiet = capture(steps_of(network)), capture(steps_of(network), modules=network)
    noise = rows(watched, Antithetic())
    network.modes.clear()
    expected = watched(noise)
    assert None not in network.modes
    network.modes.clear()
    assert torch.equal(quiet(noise), expected)
    assert network.modes == [None] * 3
    assert "forward" not in vars(network)


def test_a_network_is_as_it_was_after_an_error(network: Layers) -> None:
    generator = capture(steps_of(network), modules=network)
    network.forward = own = lambda x: x[:, :3]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="size of tensor"):
            generator(rows(generator, Antithetic()))
        assert vars(network)["forward"] is own
        assert _get_current_dispatch_mode() is None
    del network.forward
    assert torch.isfinite(generator(rows(generator, Antithetic()))).all()


def test_a_network_that_begins_to_draw_is_refused(network: Layers) -> None:
    generator = capture(steps_of(network), modules=network)
    network.second.forward = lambda x: x + torch.randn_like(x)
    with pytest.raises(ValueError, match="Layers drew random numbers inside 'sampler', and none when it was captured"):
        generator(rows(generator, Antithetic()))


def test_draws_of_another_thread_are_not_the_networks(network: Layers) -> None:
    generator = capture(steps_of(network), modules=network)
    noise = rows(generator, Antithetic())
    expected = generator(noise)

    def elsewhere(x: torch.Tensor) -> torch.Tensor:
        thread = threading.Thread(target=torch.randn, args=(3,))
        thread.start()
        thread.join()
        return second(x)

    second, network.second.forward = network.second.forward, elsewhere
    assert torch.equal(generator(noise), expected)


def test_of_a_network_that_draws_the_quiet_parts_run_outside_the_mode(network: Layers) -> None:
    inner = torch.nn.Sequential(network, torch.nn.Dropout(0.5)).eval()
    inner[1].forward = lambda x: torch.nn.functional.dropout(x, 0.5, training=True)
    generator = capture(steps_of(inner), modules=inner)
    assert [draw.operation for draw in generator.draws] == ["randn", *["bernoulli_", "randn_like"] * 3]
    network.modes.clear()
    noise = rows(generator, Antithetic())
    assert torch.equal(generator(noise), generator(noise))
    assert network.modes == [None] * 6


def test_noise_comes_in_the_type_of_each_draw() -> None:
    network = torch.nn.Linear(4, 4).eval().bfloat16()
    seen = []

    def sampler(n: int, condition: object) -> torch.Tensor:
        seen.append(torch.randn(n, 4))
        return network(seen[-1].bfloat16())

    generator = capture(sampler, modules=network)
    z = np.random.default_rng(SEED).standard_normal((5, 4), dtype=np.float32)
    assert generator(z).dtype == torch.float32
    assert np.array_equal(seen[-1].numpy(), z)
    assert capture(lambda n, c: torch.randn(n, 4, dtype=torch.float64)).noise.dtype == "float64"


def test_modules_on_several_devices_are_refused() -> None:
    modules = [torch.nn.Linear(4, 4).eval(), torch.nn.Linear(4, 4, device="meta").eval()]
    with pytest.raises(ValueError, match="lie on several devices, cpu, meta; move them to one, or say by device="):
        capture(walk, modules=modules)
    assert capture(walk, modules=modules, device="cpu").device == torch.device("cpu")


def adaptive(n: int, condition: float) -> torch.Tensor:
    """A flow by Heun's steps, whose size follows the error over the whole batch, or is fixed by the condition."""
    x, t, step = torch.randn(n, 4), 0.0, 0.25
    while t < 1:
        step = min(step, 1 - t)
        slope = torch.sin(3 * x)
        ahead = x + step / 2 * (slope + torch.sin(3 * (x + step * slope)))
        error = float((ahead - x - step * slope).norm())
        if condition or error < 0.1:
            x, t = ahead, t + step
        step = condition or step * 0.9 * (0.1 / error) ** 0.5
    return x


def test_steps_that_adapt_to_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="the noise of one sample reaches others .*adapts its steps to it"):
        capture(adaptive)
    assert len(capture(adaptive, condition=0.25).draws) == 1


def every_law(n: int, condition: object) -> torch.Tensor:
    x = torch.randn(n, 3, dtype=torch.float64)
    x = x + 0.3 * torch.randn_like(x) ** 2 + torch.empty_like(x).normal_(0.5, 2.0) * torch.sin(x)
    x = torch.nn.functional.dropout(x, 0.3, training=True) * torch.rand(n, 3, dtype=torch.float64)
    return x + torch.normal(torch.zeros(n, 3).double(), 0.3) ** 3 + torch.empty_like(x).exponential_(2.0)


def energy(x: torch.Tensor) -> torch.Tensor:
    return (x**2).flatten(1).sum(1)


def test_gradients_reach_every_steered_draw() -> None:
    """Compared with central differences, whose error in float64 is some 1e-8 at this step."""
    generator, step = capture(every_law), 1e-6
    noise = rows(generator, Antithetic(), replicates=2)
    gradients = generator.gradient(noise, energy)
    for draw, (name, _) in zip(generator.draws, generator.noise.blocks, strict=True):
        if draw.kind.iid:
            assert not gradients[name].any()
            continue
        for j in range(3):
            ends = []
            for sign in (1, -1):
                moved = {**noise, name: noise[name].copy()}
                moved[name][:, j] += sign * step
                ends.append(energy(generator(moved)).numpy())
            assert np.allclose(gradients[name][:, j], (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-6), name


def test_gradients_say_where_they_cannot_follow() -> None:
    hidden = torch.no_grad()(every_law)
    generator = capture(hidden)
    noise = rows(generator, Antithetic(), replicates=2)
    with pytest.raises(ValueError, match=r"draws randn \(as number 0\) under torch.no_grad, .* undecorated function"):
        generator.gradient(noise, energy)
    shown = capture(hidden.__wrapped__)
    assert np.abs(shown.gradient(noise, energy)["0 randn"]).max() > 0
    inside = capture(lambda n, c: torch.nn.functional.gumbel_softmax(torch.randn(n, 3)))
    with pytest.raises(ValueError, match="gumbel_softmax draws noise inside, where gradients can't follow"):
        inside.gradient(rows(inside, Antithetic()), energy)


@pytest.fixture
def denoiser():
    azula = pytest.importorskip("azula.denoise")
    from azula.noise import CosineSchedule

    class Backbone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.layer(x) + log_sigma / 10)

    torch.manual_seed(0)
    return azula.KarrasDenoiser(Backbone(), CosineSchedule()).eval()


def run_by(sampler):
    return lambda n, condition: sampler(sampler.init((n, 4)))


azula_warnings = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@azula_warnings
@pytest.mark.parametrize(("kind", "options"), [("DDPM", {}), ("DDIM", {}), ("DDIM", {"eta": 1.0})])
def test_azula_samplers_are_the_direct_route(denoiser, kind: str, options: dict[str, float]) -> None:
    """To the last bit: on the noise that torch draws, in order, the captured sampler is the sampler."""
    from azula import sample

    sampler = run_by(getattr(sample, f"{kind}Sampler")(denoiser, steps=5, silent=True, **options))
    generator = capture(sampler, modules=denoiser, name=kind)
    assert [draw.operation for draw in generator.draws] == ["randn_like"] * 6
    torch.manual_seed(SEED)
    expected = sampler(32, None)
    torch.manual_seed(SEED)
    noise = {name: torch.randn(32, 4).numpy() for name, _ in generator.noise.blocks}
    assert torch.equal(generator(noise), expected)
    inert = [i for i, line in enumerate(generator.describe(effects=True).splitlines()[1:]) if "no effect" in line]
    assert inert == ([1, 2, 3, 4, 5] if (kind, options) == ("DDIM", {}) else [])


@azula_warnings
def test_azula_posterior_samplers_are_taken_unless_they_couple_the_batch(denoiser) -> None:
    """DPS divides by a norm over the whole batch; PGDM and MMPS keep the samples apart."""
    guidance = pytest.importorskip("azula.guidance")
    from azula.linalg.covariance import IsotropicCovariance
    from azula.sample import DDIMSampler

    y, steps = torch.tensor([0.5, -0.5]), {"steps": 5, "silent": True}

    def observe(x: torch.Tensor) -> torch.Tensor:
        return x[..., :2]

    def back(y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(y, (0, 2))

    mmps = guidance.MMPSDenoiser(denoiser, y, observe, IsotropicCovariance(0.01)).eval()
    for sampler in (
        guidance.PGDMSampler(denoiser, y, observe, back, eta=1.0, **steps),
        DDIMSampler(mmps, eta=1.0, **steps),
    ):
        generator = capture(run_by(sampler), modules=denoiser, name=type(sampler).__name__)
        samples = generator(rows(generator, Antithetic(), replicates=20))
        assert (observe(samples) - y).abs().mean() < (observe(samples) + y).abs().mean()
    with pytest.raises(ValueError, match="in 'DPS' the noise of one sample reaches others"):
        capture(run_by(guidance.DPSSampler(denoiser, y, observe, **steps)), modules=denoiser, name="DPS")

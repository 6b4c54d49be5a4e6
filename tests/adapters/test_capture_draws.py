"""What becomes of each kind of draw: drawn again, under inference mode, along any axis, by an inverse distribution."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT
from scipy import stats

torch = pytest.importorskip("torch")

from torch import distributions  # noqa: E402
from torch.nn import functional  # noqa: E402

import mcgen  # noqa: E402
from mcgen import Antithetic, MonteCarlo, Sobol  # noqa: E402
from mcgen.adapters import capture  # noqa: E402
from mcgen.adapters.capturing import repeats as _repeats  # noqa: E402
from mcgen.adapters.capturing.laws import KINDS, draws_nothing  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

Sampler = Callable[[int, object], object]


def rows(generator: mcgen.Generator, n: int = 6, design: mcgen.Design | None = None) -> dict[str, np.ndarray]:
    """Noise of n replicates as a mapping of blocks (rows, ...)."""
    noise = (design or MonteCarlo()).draw(generator.noise, n, SEED)
    blocks = noise if len(generator.noise.blocks) > 1 else {generator.noise.blocks[0][0]: noise}
    return {name: block.reshape(-1, *block.shape[2:]) for name, block in blocks.items()}


def given(generator: mcgen.Generator, noise: dict[str, np.ndarray]) -> torch.Tensor:
    return generator(noise if len(noise) > 1 else next(iter(noise.values())))


def square(x: torch.Tensor) -> torch.Tensor:
    return (x.double().flatten(1) ** 2).mean(1)


def distance(sampler: Sampler, truth: float, error: float = 0.0) -> float:
    """Standard errors between the captured sampler's mean square and the truth, itself known up to an error."""
    result = mcgen.estimate(
        capture(sampler), square, design=MonteCarlo(), n_evaluations=4096, batch_size=4096, seed=SEED
    )
    return abs(float(result.mean) - truth) / float(np.hypot(result.standard_error, error))


# Draws that repeat.


def seeded_twice(n: int, condition: object) -> torch.Tensor:
    generator = torch.Generator()
    generator.manual_seed(0)
    a = torch.randn(n, 4, generator=generator)
    generator.manual_seed(0)
    return a - torch.randn(n, 4, generator=generator)


def restored(n: int, condition: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(n, 4, generator=generator)
    state = generator.get_state()
    b = torch.randn(n, 4, generator=generator)
    generator.set_state(state)
    return a + b - torch.empty(n, 4).normal_(1.0, 0.5, generator=generator)


def forked(n: int, condition: object) -> torch.Tensor:
    parts = [torch.randn(n, 4)]
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            parts.append(torch.randn_like(parts[0]))
    return parts[0] + parts[1] - parts[2]


def globally(n: int, condition: object) -> torch.Tensor:
    torch.manual_seed(5)
    a = torch.rand(n, 4)
    torch.manual_seed(5)
    return a - torch.empty(n, 4).uniform_(-1.0, 1.0)


def alike(n: int, condition: object) -> torch.Tensor:
    one, other = (torch.Generator().manual_seed(7) for _ in range(2))
    return torch.randn(n, 4, generator=one) * torch.randn(n, 4, generator=other)


def same_mask(n: int, condition: object) -> torch.Tensor:
    x = torch.ones(n, 4) + 0 * torch.randn(n, 4)
    for _ in range(2):
        torch.manual_seed(2)
        x = functional.dropout(x, 0.5, training=True)
    return x


@pytest.mark.parametrize(
    ("sampler", "truth", "pattern"),
    [
        (seeded_twice, 0.0, [None, 0]),
        (restored, 1 + 0.25 + 1, [None, None, 1]),
        (forked, 1.0, [None, None, 1]),
        (globally, 1 / 3, [None, 0]),
        (alike, 3.0, [None, 0]),
        (same_mask, 8.0, [None, None, 1]),
    ],
)
def test_draws_that_repeat_share_their_noise(
    sampler: Sampler, truth: float, pattern: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = capture(sampler)
    assert [draw.same for draw in generator.draws] == pattern
    assert len(generator.noise.blocks) == pattern.count(None)
    if truth == 0:
        assert not given(generator, rows(generator)).any()
    else:
        assert distance(sampler, truth) < Z_LIMIT
    # Negative control: without the sharing the same check fails.
    monkeypatch.setattr(_repeats.Repeats, "earlier", lambda *arguments: None)
    assert given(capture(sampler), rows(capture(sampler))).any()
    assert distance(sampler, truth) > Z_LIMIT


def test_repeated_draws_are_described_and_get_their_own_arguments() -> None:
    generator = capture(restored)
    assert generator.describe(effects=True).splitlines()[3].endswith("normal(4), same numbers as draw 1")
    noise = rows(generator, design=Antithetic())
    a, b = (torch.from_numpy(block) for block in noise.values())
    assert torch.allclose(generator(noise), a + b - (1 + 0.5 * b))


def test_gradients_add_up_over_repeated_draws() -> None:
    def cubed(n: int, condition: object) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        a = torch.randn(n, 4, generator=generator, dtype=torch.float64)
        generator.manual_seed(0)
        return a**2 * torch.randn(n, 4, generator=generator, dtype=torch.float64)

    generator = capture(cubed)
    z = rows(generator)["0 randn"]
    assert np.allclose(generator.gradient(z, lambda x: x.sum(1)), 3 * z**2)


def test_seeds_outside_the_sampler_repeat_nothing() -> None:
    """A user seeds torch and a generator with the same number, once: the two are independent afterwards."""
    torch.manual_seed(0)
    own = torch.Generator().manual_seed(0)
    generator = capture(lambda n, c: torch.randn(n, 4, generator=own) - torch.randn(n, 4))
    torch.manual_seed(0)
    assert given(generator, rows(generator)).std() > 1


def again(first: Callable[..., torch.Tensor], second: Callable[..., torch.Tensor]) -> Sampler:
    def sampler(n: int, condition: object) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        a = first(n, generator)
        generator.manual_seed(0)
        return a + second(n, generator)

    return sampler


def normal(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, 4, generator=generator)


def image(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, 2, 4, 4, generator=generator)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (normal, lambda n, g: torch.randn(n, 1, generator=g)),
        (normal, lambda n, g: torch.randn(n, 4, generator=g, dtype=torch.float64)),
        (normal, lambda n, g: torch.rand(n, 4, generator=g)),
        (normal, lambda n, g: torch.randint(0, 2, (n, 4), generator=g)),
        (lambda n, g: torch.randint(0, 3, (n, 4), generator=g), lambda n, g: torch.randint(0, 5, (n, 4), generator=g)),
        (image, lambda n, g: image(n, torch.Generator()).to(memory_format=torch.channels_last).normal_(generator=g)),
        (
            lambda n, g: torch.empty(n, 4).exponential_(1.0, generator=g),
            lambda n, g: torch.empty(n, 4).exponential_(2.0, generator=g),
        ),
        (
            lambda n, g: torch.poisson(torch.full((n, 4), 2.0), generator=g),
            lambda n, g: torch.poisson(torch.full((n, 4), 3.0), generator=g),
        ),
    ],
)
def test_numbers_used_again_in_another_way_are_refused(first: Sampler, second: Sampler) -> None:
    with pytest.raises(ValueError, match=r"\(as number \d\) from random numbers that draw 0, .*, used in another way"):
        capture(again(first, second))


@pytest.mark.parametrize("order", [1, -1])
def test_numbers_that_overlap_in_part_are_refused(order: int) -> None:
    generator = torch.Generator().manual_seed(0)
    states = [generator.get_state()]
    torch.randn(6, generator=generator)
    states.append(generator.get_state())

    def sampler(n: int, condition: object) -> torch.Tensor:
        total = torch.zeros(n, 8)
        for state in states[::order]:
            generator.set_state(state)
            total += torch.randn(n, 8, generator=generator)
        return total

    with pytest.raises(ValueError, match="that draw 0, randn of shape .*, used in another way"):
        capture(sampler)


def test_overlaps_in_a_stream_of_cuda() -> None:
    """States of CUDA's generator are a seed and an offset, so that overlaps are known exactly."""

    def state(seed: int, offset: int) -> bytes:
        return seed.to_bytes(8, sys.byteorder) + offset.to_bytes(8, sys.byteorder)

    repeats, out = _repeats.Repeats("sampler"), torch.zeros(2, 4)
    steps = [(1, 0, 8), (1, 8, 16), (2, 0, 8), (1, 0, 8)]
    found = [
        repeats.earlier(i, "randn", out, {}, state(seed, begin), state(seed, end))
        for i, (seed, begin, end) in enumerate(steps)
    ]
    assert found == [None, None, None, 0]
    with pytest.raises(ValueError, match=r"\(as number 4\) from random numbers that draw 0, "):
        repeats.earlier(4, "randn", out, {}, state(1, 4), state(1, 12))


def test_what_repeats_must_not_change() -> None:
    def flickering(n: int, condition: object) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        a = torch.randn(n, 4, generator=generator)
        generator.manual_seed(2 if condition else 1)
        return a - torch.randn(n, 4, generator=generator)

    for condition, words in ((None, "from fresh random numbers, where it came from the random numbers of draw 0"),
                             (1, "from the random numbers of draw 0, where it came from fresh random numbers")):  # fmt: skip
        generator = capture(flickering, condition=condition)
        with pytest.raises(ValueError, match=words):
            generator(
                next(iter(rows(generator).values())) if condition is None else rows(generator), 1 - bool(condition)
            )
    with pytest.raises(ValueError, match="for 2 samples only: what repeats must not depend on the number"):
        capture(lambda n, c: flickering(n, n == 3))


def test_draws_of_nothing_do_not_count_as_repeated() -> None:
    """Poisson numbers of rate 0 take no random number, so that the next draw begins at the same state."""
    generator = capture(lambda n, c: torch.poisson(torch.zeros(n, 4)) + torch.randn(n, 4))
    assert [draw.same for draw in generator.draws] == [None, None]


def brownian(n: int, condition: object) -> torch.Tensor:
    torchsde = pytest.importorskip("torchsde")

    class Motion(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(y)

        def g(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(y)

    return torchsde.sdeint(Motion(), torch.zeros(n, 1), torch.tensor([0.0, 0.3, 1.0]), dt=0.05)[-1]


@pytest.mark.filterwarnings("ignore")
def test_torchsde(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Brownian motion has variance 1 at time 1; torchsde seeds its tree of increments again and again."""
    assert distance(brownian, 1.0) < Z_LIMIT
    monkeypatch.setattr(_repeats.Repeats, "earlier", lambda *arguments: None)
    assert distance(brownian, 1.0) > Z_LIMIT


@pytest.mark.filterwarnings("ignore")
def test_the_sde_scheduler_of_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The raw sampler's rows are independent: their mean square is the truth, up to its own standard error."""
    pytest.importorskip("torchsde")
    diffusers = pytest.importorskip("diffusers")

    def sampler(n: int, condition: object) -> torch.Tensor:
        scheduler = diffusers.DPMSolverSDEScheduler(noise_sampler_seed=0)
        scheduler.set_timesteps(4)
        x = torch.randn(n, 4) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(0.9 * scheduler.scale_model_input(x, t), t, x).prev_sample
        return x

    torch.manual_seed(SEED)
    raw = square(sampler(20_000, None))
    truth, error = float(raw.mean()), float(raw.std() / len(raw) ** 0.5)
    assert distance(sampler, truth, error) < Z_LIMIT
    monkeypatch.setattr(_repeats.Repeats, "earlier", lambda *arguments: None)
    assert distance(sampler, truth, error) > Z_LIMIT


# Inference mode.


def recurrent(kind: type) -> tuple[torch.nn.Module, Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]]:
    return kind(4, 4, num_layers=2, dropout=0.5, batch_first=True), lambda m, x: m(x[:, None].expand(-1, 3, -1))[0]


def call(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x)


def images(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x[:, :, None, None].expand(-1, -1, 2, 2))


def attend(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x[:, None].expand(-1, 3, -1)
    return module(x, x, x)[0]


class Attention(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, None, None].expand(-1, 1, 3, -1)
        return functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5 * self.training)


LAYERS = {
    "dropout": (torch.nn.Dropout(0.5), call),
    "dropout in place": (torch.nn.Dropout(0.5, inplace=True), lambda m, x: m(x.clone())),
    "feature dropout": (torch.nn.Dropout2d(0.5), images),
    "feature dropout in place": (torch.nn.Dropout1d(0.5, inplace=True), lambda m, x: m(x[:, :, None].clone())),
    "alpha dropout": (torch.nn.AlphaDropout(0.5), call),
    "feature alpha dropout": (torch.nn.FeatureAlphaDropout(0.5), images),
    "LSTM": recurrent(torch.nn.LSTM),
    "GRU": recurrent(torch.nn.GRU),
    "RNN": recurrent(torch.nn.RNN),
    "attention": (Attention(), call),
    "multi-head attention": (torch.nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True), attend),
    "transformer": (torch.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), lambda m, x: m(x[:, None])),
    "RReLU": (torch.nn.RReLU(), call),
    "RReLU in place": (torch.nn.RReLU(inplace=True), lambda m, x: m(x.clone())),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [False, True])
def test_layers_are_the_same_under_inference_mode(name: str, training: bool) -> None:
    module, run = LAYERS[name]
    module.train(training)

    def sampler(n: int, condition: object) -> torch.Tensor:
        return run(module, torch.randn(n, 4))

    decorated = torch.inference_mode()(sampler)
    if training and "RReLU" in name:
        for one in (sampler, decorated):
            with pytest.raises(ValueError, match="draws rrelu_with_noise"):
                capture(one)
        return
    with torch.no_grad():
        plain, under = capture(sampler), capture(decorated)
    assert [draw.operation for draw in under.draws] == [draw.operation for draw in plain.draws]
    assert (len(under.draws) > 1) == training
    noise = rows(plain)
    # Linear maps are fused differently, which rounds differently.
    assert torch.allclose(given(under, noise), given(plain, noise), atol=1e-6)


class Unet(torch.nn.Module):
    """A denoiser with dropout, as denoising-diffusion-pytorch has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.SiLU(), torch.nn.Dropout(0.1))
        self.out = torch.nn.Linear(16, 4)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.out(self.layers(torch.cat([x, t[:, None] / 10], dim=1)))


@pytest.mark.parametrize("named", [False, True])
def test_a_sample_method_under_inference_mode(named: bool) -> None:
    """As denoising-diffusion-pytorch samples: decorated, the network in evaluation mode, noise at every step but one."""
    torch.manual_seed(SEED)
    model = Unet().eval()

    @torch.inference_mode()
    def sample(batch_size: int = 16) -> torch.Tensor:
        x = torch.randn((batch_size, 4), device="cpu")
        for t in reversed(range(5)):
            batched = torch.full((batch_size,), t, dtype=torch.long)
            noise = torch.randn_like(x) if t > 0 else 0.0
            x = 0.9 * x - 0.1 * model(x, batched) + 0.1 * noise
        return x

    generator = capture(lambda n, c: sample(batch_size=n), modules=model if named else ())
    assert [draw.operation for draw in generator.draws] == ["randn", *["randn_like"] * 4]
    torch.manual_seed(SEED)
    expected = sample(8)
    torch.manual_seed(SEED)
    noise = {name: torch.randn(8, 4).numpy() for name, _ in generator.noise.blocks}
    assert torch.allclose(generator(noise), expected, atol=1e-6)


def test_every_random_operation_of_torch_is_judged() -> None:
    """Each is steered, replayed, shown by its parts, silent for some arguments, or on this list, refused by name."""
    refused = {
        "randperm", "rrelu_with_noise", "rrelu_with_noise_", "rrelu_with_noise_functional", "_fused_dropout",
        "normal_functional", "_cudnn_init_dropout_state", "_fill_mem_eff_dropout_mask_",
    }  # fmt: skip
    unjudged = set()
    for full_name in torch._C._dispatch_get_all_op_names():
        space, _, rest = full_name.partition("::")
        name, _, overload = rest.partition(".")
        try:
            operation = getattr(getattr(getattr(torch.ops, space), name), overload or "default")
        except AttributeError:
            continue
        if space != "aten" or torch.Tag.nondeterministic_seeded not in operation.tags:
            continue
        parts = torch._C._dispatch_has_kernel_for_dispatch_key(full_name, "CompositeImplicitAutograd")
        silent = {"dropout_p": 0.0, "training": False, "train": False, "dropout": 0.0}
        taken = {a.name for a in operation._schema.arguments} & set(silent)
        known = name in KINDS or f"{name}_" in KINDS or draws_nothing(name, {key: silent[key] for key in taken} or {})
        if not parts and not known and name not in refused:
            unjudged.add(full_name)
    assert unjudged == set()


# Axes and rows.


@pytest.mark.parametrize(
    ("sampler", "expected", "words"),
    [
        (lambda n, c: torch.randn(5, n, 4).sum(0), lambda z: z.sum(1), "normal(5x4), batch axis 1"),
        (lambda n, c: torch.randn(4, n).T, lambda z: z, "normal(4), batch axis 1"),
        (
            lambda n, c: torch.randn(n * 3, 4).view(n, 3, 4).cumsum(1),
            lambda z: z.cumsum(1),
            "normal(3x4), 3 rows a sample, sample by sample",
        ),
        (
            lambda n, c: torch.randn(n * 4).view(n, 4).cumsum(1),
            lambda z: z.cumsum(1),
            "normal(4), 4 rows a sample, sample by sample",
        ),
        (lambda n, c: torch.randn(3 * n, 4).view(3, n, 4).cumsum(0)[2], lambda z: z.sum(1), "3 rows a sample"),
        (
            lambda n, c: torch.randn(2 * n * 3).view(2, n, 3).diff(dim=0)[0],
            lambda z: z[:, 3:] - z[:, :3],
            "normal(6), 6 rows a sample, in 2 rounds of the samples",
        ),
        # A sample uses one of its rows only: 4 rows of 3 samples would fit two orders.
        (lambda n, c: torch.randn(n * 4, 2).view(n, 4, 2)[:, 0], lambda z: z[:, 0], "sample by sample"),
        (lambda n, c: torch.randn(2, n * 3).view(2, n, 3).sum(0), lambda z: z.sum(2), "batch axis 1, 3 rows a sample"),
        (
            lambda n, c: distributions.Normal(torch.ones(n, 3), 2.0).rsample((6,)).mean(0),
            lambda z: 1 + 2 * z.mean(1),
            "normal(6x3), batch axis 1",
        ),
        (lambda n, c: torch.randn(n, 4) + 0 * torch.randn(n, 0).sum() + torch.randn(0).sum(), lambda z: z, "1 draw"),
        (
            lambda n, c: torch.randn(2, n * 2, dtype=torch.complex64).view(2, n, 2).sum(0).real,
            lambda z: z[..., 0].sum(2) * 0.5**0.5,
            "normal(2x2x2), batch axis 1, 2 rows a sample, sample by sample",
        ),
    ],
)
def test_any_axis_and_any_order_of_rows(sampler: Sampler, expected: Callable[..., torch.Tensor], words: str) -> None:
    generator = capture(sampler)
    assert words in generator.describe()
    noise = rows(generator, 7, Antithetic())
    z = torch.from_numpy(next(iter(noise.values())))
    assert torch.allclose(given(generator, noise), expected(z), atol=1e-5)


def test_rows_in_two_orders_and_rows_whose_effect_is_rare() -> None:
    def both(n: int, condition: object) -> torch.Tensor:
        by_sample, rounds = torch.randn(2 * n, 3).view(n, 2, 3), torch.randn(2 * n, 3).view(2, n, 3)
        return by_sample[:, 0] + 2 * by_sample[:, 1] + 3 * rounds[0] + 4 * rounds[1]

    generator = capture(both)
    assert [draw.rounds for draw in generator.draws] == [1, 2]
    noise = rows(generator)
    a, b = (torch.from_numpy(block) for block in noise.values())
    assert torch.allclose(given(generator, noise), a[:, 0] + 2 * a[:, 1] + 3 * b[:, 0] + 4 * b[:, 1], atol=1e-5)
    rare = capture(lambda n, c: (torch.randn(2 * n, 3).view(n, 2, 3) > 5).float().sum(1))
    assert rare.draws[0].rounds == 1
    never = capture(lambda n, c: torch.randn(n, 3) + (torch.randn(2 * n, 3).view(n, 2, 3) > 100).float().sum(1))
    assert [draw.kind.iid for draw in never.draws] == [False, True]


def test_gradients_reach_draws_along_any_axis() -> None:
    """Compared with central differences, whose error in float64 is some 1e-8 at this step."""
    double = {"dtype": torch.float64}

    def sampler(n: int, condition: object) -> torch.Tensor:
        product = torch.randn(n * 3, 4, **double).view(n, 3, 4).prod(1) * torch.randn(5, n, 4, **double).sin().sum(0)
        return (
            product
            + torch.randn(2, n * 2, 4, **double).view(2, n, 2, 4).cos().sum((0, 2)) * torch.rand(4, n, **double).T ** 2
        )

    generator, step = capture(sampler), 1e-6
    noise = rows(generator)
    gradients = generator.gradient(noise, square)
    for name, block in noise.items():
        direction = np.random.default_rng(SEED).standard_normal(block.shape)
        up, down = (square(generator({**noise, name: block + sign * step * direction})) for sign in (1, -1))
        slopes = (gradients[name] * direction).reshape(len(block), -1).sum(1)
        assert np.allclose(slopes, (up - down).numpy() / (2 * step), rtol=1e-4, atol=1e-6), name


def test_nested_samples() -> None:
    generator = capture(lambda n, c: (lambda x: (x, (x.half(), (x**2, x[:, 0]))))(torch.randn(n, 4)))
    x, (half, (squared, first)) = generator(rows(generator)["0 randn"])
    assert half.dtype == torch.float32
    assert torch.equal(squared, x**2)
    assert torch.equal(first, x[:, 0])
    result = mcgen.estimate(generator, lambda x: x[1][1][0].mean(1), design=Sobol(64), n_evaluations=4096, seed=0)
    assert abs(float(result.mean) - 1) < Z_LIMIT * result.standard_error
    with pytest.raises(ValueError, match="the noise of one sample reaches others"):
        capture(lambda n, c: (lambda x: (x, (x, (x - x.mean(0),))))(torch.randn(n, 4)))


def one_generator_each(n: int, condition: object) -> torch.Tensor:
    utilities = pytest.importorskip("diffusers.utils.torch_utils")
    return utilities.randn_tensor((n, 4), generator=[torch.Generator().manual_seed(i) for i in range(n)])


def in_another_thread(n: int, condition: object) -> torch.Tensor:
    found = [torch.randn(n, 4)] if condition is None else [torch.zeros(n, 4)]
    thread = threading.Thread(target=lambda: found.append(torch.randn(n, 4)))
    thread.start()
    thread.join()
    return found[0] + found[1]


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (one_generator_each, r"one for each sample, such as the list generator=\[\.\.\.\] of diffusers. Give one gener"),
        (in_another_thread, "or in another thread, where capture sees no draw. Draw them by torch in the thread that"),
        (lambda n, c: in_another_thread(n, 1), "Draws in other threads are not seen either: draw in the thread that"),
        (lambda n, c: torch.randn(n, 4) + torch.randint(9, ()), "all samples of a batch would share .* a seed of a rand"),
        (lambda n, c: torch.randn(n, n).sum(1), "grows along 2 axes, .* Exactly one axis may grow with n"),
        (lambda n, c: torch.randn(n * n).view(n, n).sum(1), "axis 0 does not grow in proportion to the samples"),
        (lambda n, c: torch.randn(n + 1, 4)[:n], "axis 0 does not grow in proportion to the samples"),
        (lambda n, c: torch.randn((n,) if n == 2 else (n, 1)), "its number of axes changes"),
        (lambda n, c: torch.randn(2 * n, 4).flip(0)[:n] * torch.randn(n, 4), "reaches others: draw 0, randn, has 2 rows"),
        (lambda n, c: torch.randn(5, n, 4).sum(0).flip(0), "depends on its place in the batch"),
        (lambda n, c: torch.multinomial(torch.ones(n, 5), 2), "num_samples=2 and replacement=False; .* Draw one category a row"),
        (lambda n, c: torch.multinomial(torch.ones(n, 2**16 + 1), 1), "at most 65,536 categories; got 65,537"),
        (lambda n, c: distributions.VonMises(torch.zeros(n, 9), 3.0).sample(), "changes from call to call"),
    ],
)  # fmt: skip
def test_draws_that_are_not_each_samples_own_are_refused(sampler: Sampler, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        capture(sampler)


# Laws by an inverse distribution function.

WEIGHTS = torch.tensor([0.0, 0.2, 0.3, 0.0, 0.5])
RATES = torch.tensor([0.3, 2.0, 30.0, 1e4])


def category(u: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.cumsum([0.0, 0.2, 0.3, 0.0, 0.5]), u, side="right")


@pytest.mark.parametrize(
    ("sampler", "quantile"),
    [
        (lambda n, c: torch.poisson(RATES.expand(n, 4)), lambda u: stats.poisson.ppf(u, RATES)),
        (
            lambda n, c: distributions.Binomial(torch.tensor([1.0, 7.0, 100.0, 5.0]), torch.tensor(0.3)).sample((n,)),
            lambda u: stats.binom.ppf(u, [1, 7, 100, 5], np.float32(0.3)),
        ),
        (
            lambda n, c: distributions.Binomial(torch.tensor([0.0, 3.0, 3.0]), torch.tensor([0.5, 0.0, 1.0])).sample((n,)),
            lambda u: u * 0 + [0, 0, 3],
        ),
        (lambda n, c: torch._standard_gamma(RATES.expand(n, 4)), lambda u: stats.gamma.ppf(u, RATES)),
        (lambda n, c: distributions.Gamma(RATES, 2.0).rsample((n,)), lambda u: stats.gamma.ppf(u, RATES) / 2),
        (
            lambda n, c: distributions.Beta(torch.full((n, 3), 0.4), 2.0).sample(),
            lambda u: stats.beta.ppf(u[..., 0], np.float32(0.4), 2),
        ),
        (lambda n, c: torch.multinomial(WEIGHTS.expand(n, 5), 1), category),
        (lambda n, c: torch.multinomial(WEIGHTS.expand(n, 5), 6, replacement=True), category),
        (lambda n, c: torch.multinomial(3 * WEIGHTS, n, replacement=True), category),
        (lambda n, c: distributions.Categorical(WEIGHTS).sample((n, 3)), category),
        (lambda n, c: distributions.Categorical(WEIGHTS.expand(n, 3, 5)).sample(), category),
        (lambda n, c: distributions.Categorical(WEIGHTS.expand(n, 5)).sample((4,)).T, category),
        (
            lambda n, c: distributions.OneHotCategorical(WEIGHTS.expand(n, 5)).sample(),
            lambda u: np.eye(5)[category(u)],
        ),
    ],
)  # fmt: skip
def test_laws_by_inverse_distribution_functions(sampler: Sampler, quantile: Callable[..., np.ndarray]) -> None:
    generator = capture(sampler)
    noise = rows(generator, 500, Antithetic())
    u = next(iter(noise.values())).astype(np.float64)
    samples = given(generator, noise).numpy()
    assert np.isfinite(samples).all()
    assert np.allclose(samples, quantile(u).reshape(samples.shape), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("shapes", [[0.01, 0.5, 3.0], [0.4, 2.0], [1e-3, 1e-3, 1e-3]])
def test_dirichlet(shapes: list[float]) -> None:
    """The components are beta variables; Kolmogorov's test of each, as likely to err as every check here."""
    generator = capture(lambda n, c: distributions.Dirichlet(torch.tensor(shapes, dtype=torch.float64)).sample((n,)))
    samples = given(generator, rows(generator, 2000, Antithetic())).numpy()
    assert np.allclose(samples.sum(1), 1)
    for column, shape in zip(samples[::2].T, shapes, strict=True):
        law = stats.beta(shape, sum(shapes) - shape)
        # Where half of the law lies below the smallest number, compare above it only.
        assert stats.kstest(law.cdf(np.maximum(column, 1e-300)), lambda p: np.clip(p, 0, 1)).pvalue > FALSE_ALARM or (
            shape < 0.1 and abs((column > 0.5).mean() - law.sf(0.5)) < Z_LIMIT * (0.25 / len(column)) ** 0.5
        )


def test_categories_are_replayed_and_the_others_steered() -> None:
    def mixture(n: int, condition: object) -> torch.Tensor:
        which = distributions.Categorical(torch.tensor([0.3, 0.7])).sample((n,))
        return torch.tensor([-2.0, 2.0])[which][:, None] + torch.poisson(torch.full((n, 1), 3.0))

    generator = capture(mixture)
    assert [(draw.operation, draw.kind.iid) for draw in generator.draws] == [("multinomial", True), ("poisson", False)]
    result = mcgen.estimate(generator, lambda x: x[:, 0], design=Antithetic(), n_evaluations=4096, seed=SEED)
    assert abs(float(result.mean) - 3.8) < Z_LIMIT * result.standard_error


@pytest.mark.parametrize("name", ["Gamma", "Beta", "Dirichlet", "Poisson"])
def test_gradients_through_inverse_distribution_functions_are_refused(name: str) -> None:
    law = {
        "Gamma": lambda n: distributions.Gamma(torch.ones(n, 3), 1.0),
        "Beta": lambda n: distributions.Beta(torch.ones(n, 3), 1.0),
        "Dirichlet": lambda n: distributions.Dirichlet(torch.ones(n, 3)),
        "Poisson": lambda n: distributions.Poisson(torch.ones(n, 3)),
    }[name]
    generator = capture(lambda n, c: torch.randn(n, 3) + law(n).sample())
    with pytest.raises(ValueError, match="inverse distribution function of scipy, where gradients can't follow"):
        generator.gradient(rows(generator), lambda x: x.sum(1))

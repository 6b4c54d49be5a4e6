"""Generators made of generators: exact laws for Gaussian data, names of blocks, what passes through."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec  # noqa: E402
from mcgen.adapters import DDIM, Heun, Schedule, from_torch, models  # noqa: E402
from mcgen.adapters.composed.combinators import Chain  # noqa: E402
from mcgen.adapters.composed.truncation import Partial, Start, Truncate  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

# Pairs under an affine map are equal but for rounding, which is warned of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:all .* replicate means"),
    pytest.mark.usefixtures("one_torch_thread"),
]

MEAN, SD = 0.7, 0.5
SCHEDULE = Schedule.cosine()


class GaussianDenoiser(torch.nn.Module):
    """The exact noise prediction for data N(mean, SD^2), its mean the condition where there is one."""

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        share = torch.tensor(SCHEDULE.alpha_bar, dtype=torch.float64)
        share = share[(time * len(share)).round().long()][:, None]
        mean = MEAN if condition is None else condition
        return (1 - share).sqrt() / (share * SD**2 + 1 - share) * (x - share.sqrt() * mean)


def diffusion(sampler: type = DDIM, steps: int = 100, **options: object):
    model = sampler(GaussianDenoiser().eval(), SCHEDULE, (1,), steps=steps, **options)
    model.dtype = torch.float64
    return model


def drawn(generator: mcgen.Generator, n: int, seed: int = SEED):
    """Noise as a run passes it."""
    noise = MonteCarlo().draw(generator.noise, n, seed)
    return noise[:, 0] if isinstance(noise, np.ndarray) else {name: block[:, 0] for name, block in noise.items()}


def data(shift: float = 0.0) -> mcgen.Generator:
    """A numpy generator of the data themselves, or shifted ones."""
    return mcgen.as_generator(lambda z: MEAN + shift + SD * z, noise=(1,), name="data")


@pytest.mark.parametrize(("sampler", "options"), [(DDIM, {}), (DDIM, {"eta": 1.0}), (Heun, {"steps": 30})])
def test_a_truncated_diffusion_keeps_the_law_of_its_data(sampler: type, options: dict) -> None:
    """The data, mixed forward to any step and reversed, are the data again; shifted ones are not."""
    model = diffusion(sampler, **options)
    middle = model.steps // 2
    truncated = Truncate(data(), model, middle)
    x = truncated(drawn(truncated, 20_000)).numpy()[:, 0]
    assert abs(z_score(x, MEAN)) < Z_LIMIT
    # The sampler's own steps make the standard deviation wrong by less than two hundredths.
    assert abs(x.std() - SD) < 0.02 + Z_LIMIT * SD / math.sqrt(2 * len(x))
    shifted = Truncate(data(shift=1.0), model, middle)
    assert abs(z_score(shifted(drawn(shifted, 20_000)).numpy()[:, 0], MEAN)) > Z_LIMIT


def test_noise_adds_up_and_pairs_stay_exact() -> None:
    stochastic = diffusion(steps=10, eta=1.0)
    truncated = Truncate(data(), stochastic, 6)
    names = [name for name, _ in truncated.noise.blocks]
    assert names == ["first/noise", "second/mix", "second/step 7", "second/step 8", "second/step 9"]
    assert truncated.noise.dimension == data().noise.dimension + 4
    assert Partial(stochastic, 9).noise == Partial(diffusion(steps=10), 3).noise == NoiseSpec({"mix": Block((1,))})
    result = mcgen.estimate(
        truncated, lambda s: s[:, 0], design=Antithetic(), n_evaluations=64, seed=SEED, batch_size=64
    )
    assert result.half_width < 1e-5
    assert result.mean == pytest.approx(MEAN, abs=1e-3)


def test_partial_is_the_forward_process_and_the_rest_of_the_sampler() -> None:
    model = diffusion(steps=10)
    z, sample = np.linspace(-2, 2, 5)[:, None], np.array([0.3])
    i = 4
    signal = float(model.signals[i])
    x = torch.from_numpy(math.sqrt(signal) * 0.3 + math.sqrt(1 - signal) * z)
    for k in range(i, 10):
        x = model.step(x, k, x, None)
    partial = Partial(model, i)
    assert torch.allclose(partial(z, sample), x)
    rows = np.linspace(0, 1, 5)[:, None]
    each = partial(z, rows)
    assert torch.allclose(each[3], partial(z[3:4], rows[3])[0])
    assert not torch.allclose(each[0], partial(z[:1], rows[1])[0], atol=1e-3)
    other = Partial(diffusion(steps=10), i)(z, Start(sample, 2.0))
    assert float((other - partial(z, sample)).min()) > 0.5
    # From the start, what is given is forgotten; at the last step little is.
    assert torch.allclose(Partial(model, 0)(z, sample), model(z), atol=1e-3)


def test_encode_is_the_way_back_of_decode() -> None:
    model = DDIM(GaussianDenoiser().eval(), SCHEDULE, (1,), steps=10, decode=lambda x: (x + 1) / 2)
    with pytest.raises(
        ValueError, match="decodes its states, so that a sample is not on their scale: give the inverse by encode="
    ):
        Partial(model, 4)
    z, sample = np.linspace(-2, 2, 5)[:, None].astype(np.float32), np.float32([0.3])
    plain = DDIM(GaussianDenoiser().eval(), SCHEDULE, (1,), steps=10)
    expected = (Partial(plain, 4)(z, sample) + 1) / 2
    assert torch.allclose(Partial(model, 4, encode=lambda x: 2 * x - 1)(z, (sample + 1) / 2), expected, atol=1e-6)


def test_chain_passes_samples_row_by_row() -> None:
    """Of numpy and torch, in any order; the condition goes to the first, and by `join` to the second."""
    square = mcgen.as_generator(lambda z, c=1.0: c * z**2, noise=(3,), name="square")
    blur = from_torch(lambda z, x: torch.as_tensor(x) + z, (3,), name="blur")
    noise = {name: np.random.default_rng(SEED).standard_normal((4, 3), dtype=np.float32) for name in "ab"}
    noise = {"first/noise": noise["a"], "second/noise": noise["b"]}
    chain = Chain(square, blur)
    assert chain.noise.dimension == 6
    assert torch.allclose(chain(noise, 2.0), torch.from_numpy(2 * noise["first/noise"] ** 2 + noise["second/noise"]))
    assert torch.equal(chain(noise)[1:3], chain({name: block[1:3] for name, block in noise.items()}))
    both = Chain(blur, mcgen.as_generator(lambda z, x: x * z, noise=(3,)), join=lambda x, c: x + c)
    made = both(noise, 2.0)
    assert isinstance(made, np.ndarray)
    assert np.allclose(made, (noise["first/noise"] + 4.0) * noise["second/noise"])
    assert not np.shares_memory(made, noise["second/noise"])


def test_each_part_receives_arrays_of_its_own_library() -> None:
    """Of numpy first, tensors second, and the reverse; inside of tuples and of Start too."""
    square = mcgen.as_generator(lambda z: (np.float64(2) * z.astype(np.float64), {"z": z}), (3,), name="square")
    linear = torch.nn.Linear(3, 2).eval()
    chain = Chain(square, from_torch(lambda z, x: linear(x[0]) + x[1]["z"][:, :2] + 0 * z[:, :2], (3,), modules=linear))
    noise = drawn(chain, 4)
    z = torch.from_numpy(noise["first/noise"])
    assert torch.allclose(chain(noise), linear(2 * z) + z[:, :2])
    seen = []

    def watched(z: np.ndarray, given: Start) -> np.ndarray:
        seen.extend([type(given), type(given.sample), type(given.condition[0])])
        return z

    back = Chain(from_torch(lambda z, c: z, (3,)), mcgen.as_generator(watched, (3,)), join=Start)
    back(drawn(back, 2), (torch.zeros(3), 1))
    assert seen == [Start, np.ndarray, np.ndarray]
    rounded = Chain(data(), from_torch(lambda u, x: u, mcgen.Block((1,), "uniform"), dtype=torch.float16))
    almost = np.full((1, 1), np.nextafter(np.float32(1), np.float32(0)))
    assert float(rounded({"first/noise": 0 * almost, "second/noise": almost})) < 1


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        ("seven", "must be an array of floats; got str"),
        ([[0.1]], "got list. A list is a list of conditions; give an array"),
        (np.zeros(1, np.uint8), "got uint8. Give floats on the scale of the model's samples, such as image / 255"),
        (torch.zeros(1, dtype=torch.int64), "got int64. Give floats"),
        (np.zeros(1, np.complex64), "real numbers; got complex64"),
    ],
)
def test_what_is_no_array_of_floats_is_no_sample_to_start_from(sample: object, found: str) -> None:
    with pytest.raises(TypeError, match=found):
        Partial(diffusion(steps=5), 3)(np.zeros((2, 1)), sample)


def test_one_sample_is_encoded_once() -> None:
    lengths = []

    def encode(x: torch.Tensor) -> torch.Tensor:
        lengths.append(len(x))
        return 2 * x

    partial = Partial(diffusion(steps=5), 3, encode=encode)
    z = np.linspace(-1, 1, 6)[:, None]
    assert torch.equal(partial(z, np.array([0.3])), partial(z, np.full((6, 1), 0.3)))
    assert lengths == [1, 6]
    # A network that encodes receives the type of the model's networks, as one that decodes does.
    half = DDIM(lambda x, t, c: x, SCHEDULE, (1,), steps=5, dtype=torch.bfloat16)
    types = []
    encoded = Partial(half, 3, encode=lambda x: types.append(x.dtype) or 2 * x)(z.astype(np.float32), np.array([0.3]))
    assert (types, encoded.dtype) == ([torch.bfloat16], torch.float32)
    with pytest.raises(
        ValueError, match=r"shape \(1, 1\); 1 axes are needed .* or as in \(6, 1\) for one each: give ima"
    ):
        partial(z, np.array([[0.3]]))


def test_a_condition_that_a_part_does_not_take_is_refused() -> None:
    chain = Chain(from_torch(torch.nn.Identity().eval(), (1,), name="plain"), from_torch(lambda z, x: x + z, (1,)))
    noise = drawn(chain, 2)
    assert chain(noise).shape == (2, 1)
    with pytest.raises(TypeError, match="'plain' takes no condition; got 3. Leave it out"):
        chain(noise, 3)


@pytest.mark.parametrize("kind", ["Partial", "Truncate", "Chain"])
def test_the_laws_of_generators_hold(kind: str) -> None:
    model = DDIM(GaussianDenoiser().eval(), SCHEDULE, (1,), steps=5, eta=1.0)
    generator = {
        "Partial": lambda: Partial(model, 2),
        "Truncate": lambda: Truncate(data(), model, 2),
        "Chain": lambda: Chain(data(), from_torch(lambda z, x: x + z.tanh(), (1,))),
    }[kind]()
    condition = np.array([0.3], np.float32) if kind == "Partial" else None
    check_generator(generator, condition=condition, seed=SEED).require()


def test_combinators_nest_and_blocks_are_drawn_once_in_order() -> None:
    chain = Chain(data(), mcgen.as_generator(lambda z, x: x + 0 * z, noise=NoiseSpec.normal((1,)), name="copy"))
    nested = Truncate(chain, diffusion(steps=6, eta=1.0), 3)
    names = [name for name, _ in nested.noise.blocks]
    assert names[:3] == ["first/first/noise", "first/second/noise", "second/mix"]
    asked = []

    class Watched(dict):
        def __getitem__(self, name: str) -> np.ndarray:
            asked.append(name)
            return super().__getitem__(name)

    plain = Truncate(data(), diffusion(steps=6, eta=1.0), 3)
    noise = drawn(nested, 7)
    x = nested(Watched(noise))
    assert asked == names
    same = {name.replace("first/first", "first"): b for name, b in noise.items() if name != "first/second/noise"}
    assert torch.equal(x, plain(same))
    twice = Truncate(plain, diffusion(steps=6), 2)
    assert [name for name, _ in twice.noise.blocks][-2:] == ["first/second/step 5", "second/mix"]
    x = twice(drawn(twice, 20_000)).numpy()[:, 0]
    assert abs(x.mean() - MEAN) < 0.02 + Z_LIMIT * SD / math.sqrt(len(x))


def test_several_blocks_reach_a_part_lazily() -> None:
    spec = NoiseSpec({"a": Block((2,)), "b": Block((2,), "uniform", iid=True)})
    part = mcgen.as_generator(lambda noise: noise["a"] + noise["b"], noise=spec, name="sum")
    second = from_torch(lambda noise, x: torch.as_tensor(x) * noise["b"] + noise["a"], spec)
    chain = Chain(part, second)
    assert dict(chain.noise.blocks)["second/b"] == Block((2,), "uniform", iid=True)
    noise = drawn(chain, 5)
    expected = (noise["first/a"] + noise["first/b"]) * noise["second/b"] + noise["second/a"]
    assert np.allclose(chain(noise), expected)
    result = mcgen.estimate(chain, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=6400, seed=SEED)
    assert abs(result.mean - 0.25) < Z_LIMIT * result.standard_error


def test_gradients_reach_every_part_or_stop_with_an_error() -> None:
    first = from_torch(lambda z: MEAN + SD * z, (1,))
    truncated = Truncate(first, diffusion(steps=10), 4)
    noise = drawn(truncated, 3)
    slopes = truncated.gradient(noise, lambda s: s[:, 0])
    for name, slope in slopes.items():
        moved = truncated({k: b + (k == name) for k, b in noise.items()}) - truncated(noise)
        assert np.allclose(slope, moved, atol=1e-5)
        assert (slope != 0).all()
    with pytest.raises(RuntimeError, match="numpy"):
        Truncate(data(), diffusion(steps=10), 4).gradient(noise, lambda s: s[:, 0])


def test_combinators_refuse() -> None:
    model = diffusion(steps=10)
    with pytest.raises(TypeError, match=r"only a Diffusion \(DDIM, Heun\) can start in the middle; got TorchGenerator"):
        Truncate(data(), from_torch(lambda z: z, (1,)), 3)
    with pytest.raises(ValueError, match="step must be one of the sampler's, 0 to 9; got 10"):
        Partial(model, 10)
    with pytest.raises(ValueError, match="starts from a sample: give it as the condition"):
        Partial(model, 3)(np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"has shape \(2,\) where the model's states have \(1,\)"):
        Partial(model, 3)(np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(
        ValueError, match=r"1 axes are needed for one sample, as in \(1,\), or as in \(2, 1\) for one each"
    ):
        Partial(model, 3)(np.zeros((2, 1)), np.zeros((3, 1)))
    with pytest.raises(
        ValueError, match="the noise of 'data' is float32, that of .* float64; declare both in one type"
    ):
        Chain(data(), mcgen.as_generator(lambda z, x: x, noise=NoiseSpec.normal((1,), "float64")))
    with pytest.raises(TypeError, match="step must be an int; got 3.0 of type float; write 3"):
        Partial(model, 3.0)
    assert Partial(model, np.int64(3)).start == 3
    with pytest.raises(TypeError, match=r"wrap a function by mcgen.as_generator\(f, noise=shape\)"):
        Chain(data(), lambda z: z)
    with pytest.raises(TypeError, match=r"wrap a function by mcgen.as_generator\(f, noise=shape\)"):
        Truncate(lambda z: z, model, 3)
    model.denoiser.train()
    with pytest.raises(ValueError, match="GaussianDenoiser is in training mode"):
        Partial(model, 3)
    model.denoiser.eval()


def test_digits_start_from_a_given_one_and_from_a_coarse_model() -> None:
    """The later the start, the more of the given digit stays; a coarse model's digits are refined."""
    digits = models.load("digits-diffusion", steps=12)
    back = {"encode": lambda x: 2 * x - 1}
    given = digits(np.random.default_rng(SEED).standard_normal((1, 1, 8, 8), dtype=np.float32), 3)[0]
    z = np.random.default_rng(SEED + 1).standard_normal((50, 1, 8, 8), dtype=np.float32)
    away = [float((Partial(digits, step, **back)(z, Start(given, 3)) - given).square().mean()) for step in (2, 6, 10)]
    assert away[0] > away[1] > away[2]
    truncated = Truncate(digits.coarse(3), digits, 6, **back)
    x = truncated(drawn(truncated, 20), 5)
    assert x.shape == (20, 1, 8, 8)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1

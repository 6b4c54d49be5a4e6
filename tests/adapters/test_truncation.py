"""Diffusion models that start from states of another generator's law: exact laws, blocks, costs, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score
from scipy.special import erf

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Block, MonteCarlo, NoiseSpec  # noqa: E402
from mcgen.adapters import DDIM, Guided, Heun, Partial, Schedule, Truncate, from_torch, models  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCHEDULE = Schedule.cosine()
MEAN, SD = 0.7, 0.5


class GaussianDenoiser(torch.nn.Module):
    """The exact noise prediction for data N(mean, SD^2), its mean the condition where there is one; it counts calls."""

    calls = 0

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        self.calls += 1
        share = torch.tensor(SCHEDULE.alpha_bar, dtype=torch.float64)
        share = share[(time * len(share)).round().long()][:, None]
        mean = MEAN if condition is None else condition
        return ((1 - share).sqrt() / (share * SD**2 + 1 - share) * (x - share.sqrt() * mean)).to(x.dtype)


def diffusion(sampler: type = DDIM, steps: int = 20, **options: object):
    return sampler(GaussianDenoiser().eval(), SCHEDULE, (1,), steps=steps, name="model", **options)


def drawn(generator: mcgen.Generator, n: int):
    """Noise as a run passes it."""
    noise = MonteCarlo().draw(generator.noise, n, SEED)
    return noise[:, 0] if isinstance(noise, np.ndarray) else {name: block[:, 0] for name, block in noise.items()}


def states_at(model, step: int, scale: float = 1.0) -> mcgen.Generator:
    """The states of a deterministic sampler for Gaussian data in closed form: they are affine in its noise."""
    at_zero, at_one = (float(model.trajectory(np.full((1, 1), z, np.float32))[0, step, 0]) for z in (0, 1))
    return mcgen.as_generator(lambda z: at_zero + scale * (at_one - at_zero) * z, (1,), name="states")


@pytest.mark.parametrize("sampler", [DDIM, Heun])
def test_exact_states_give_the_law_of_the_full_model(sampler: type) -> None:
    """Mean and variance are those of the full model; states whose spread is 5 % too large are found out."""
    model = diffusion(sampler)
    low, high = (float(model(np.full((1, 1), z, np.float32))) for z in (0, 1))
    variance = (high - low) ** 2

    def scores(scale: float) -> tuple[float, float]:
        truncated = Truncate(states_at(model, 8, scale), model, 8, mix=False)
        x = truncated(drawn(truncated, 40_000)).double().numpy()[:, 0]
        return z_score(x, low), z_score((x - low) ** 2, variance)

    assert max(map(abs, scores(1.0))) < Z_LIMIT
    assert scores(1.05)[1] > Z_LIMIT


def test_a_sampler_cut_in_two_is_the_sampler() -> None:
    """The first steps of a stochastic sampler as the other generator, on the same noise: the same samples."""
    whole = diffusion(eta=1.0)
    blocks = dict(whole.noise.blocks)

    def first_steps(noise, condition=None):
        states = whole.states(noise, condition)
        return [next(states) for _ in range(9)][-1]

    first = from_torch(first_steps, NoiseSpec({name: blocks[name] for name in [*blocks][:9]}), name="first steps")
    cut = Truncate(first, whole, 8, mix=False)
    noise = drawn(cut, 5)
    assert [*noise] == [f"first/{name}" for name in [*blocks][:9]] + [f"second/{name}" for name in [*blocks][9:]]
    same = {name.partition("/")[2]: block for name, block in noise.items()}
    for condition in (None, 2.0):
        assert torch.equal(cut(noise, condition), whole(same, condition))


def test_states_need_no_block_of_their_own() -> None:
    truncated = Truncate(states_at(diffusion(), 8), diffusion(), 8, mix=False)
    assert truncated.noise == NoiseSpec({"first/noise": Block((1,))})
    assert repr(truncated) == "Truncate(states, model from step 8, noise=normal(1) float32)"
    mixed = Truncate(states_at(diffusion(), 8), diffusion(), 8)
    assert [name for name, _ in mixed.noise.blocks] == ["first/noise", "second/mix"]


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_laws_of_generators_hold(eta: float) -> None:
    truncated = Truncate(states_at(diffusion(), 8), diffusion(eta=eta), 8, mix=False)
    check_generator(truncated, seed=SEED).require()


@pytest.mark.parametrize("kind", ["DDIM", "Heun", "guided"])
def test_evaluations_are_counted(kind: str) -> None:
    network = GaussianDenoiser().eval()
    made = {
        "DDIM": lambda: DDIM(network, SCHEDULE, (1,), steps=10),
        "Heun": lambda: Heun(network, SCHEDULE, (1,), steps=10),
        "guided": lambda: Heun(Guided(network, guidance_scale=2.0), SCHEDULE, (1,), steps=10),
    }[kind]()
    condition = 0.5 if kind == "guided" else None
    first = from_torch(lambda z, condition=None: z, (1,))
    for truncated in (Truncate(first, made, 6, mix=False), Truncate(first, made, 6)):
        network.calls = 0
        truncated(drawn(truncated, 2), condition)
        rows = 2 if kind == "guided" else 1
        # Guidance may evaluate both conditions in one call of twice the rows.
        assert truncated.network_evaluations - 1 in (network.calls, rows * network.calls)
    assert Partial(made, 6).network_evaluations == truncated.network_evaluations - 1
    nested = Truncate(Partial(made, 8), made, 6)
    assert nested.network_evaluations == Partial(made, 8).network_evaluations + Partial(made, 6).network_evaluations
    two = Heun(Guided(network, guidance_scale=2.0), SCHEDULE, (1,), steps=2)
    assert Partial(two, 1).network_evaluations == 2


def test_gradients_pass_through_the_states() -> None:
    truncated = Truncate(from_torch(lambda z: 0.3 + 0.8 * z, (1,)), diffusion(), 8, mix=False)
    noise = drawn(truncated, 3)
    slope = truncated.gradient(noise, lambda s: s[:, 0])
    assert np.allclose(slope, truncated(noise + 1) - truncated(noise), atol=1e-5)
    assert (slope != 0).all()


def test_what_is_refused() -> None:
    model, first = diffusion(steps=10), states_at(diffusion(steps=10), 4)
    with pytest.raises(ValueError, match="mix=False step must be at least 1: at step 0 nothing is truncated"):
        Truncate(first, model, 0, mix=False)
    for step in (-1, 10):
        with pytest.raises(ValueError, match=f"step must be one of the sampler's, 0 to 9; got {step}"):
            Truncate(first, model, step, mix=False)
    with pytest.raises(TypeError, match="step must be an int; got 4.0"):
        Truncate(first, model, 4.0, mix=False)
    with pytest.raises(ValueError, match="makes states of the diffusion model, which need no encode; leave encode out"):
        Truncate(first, model, 4, mix=False, encode=lambda x: x)
    with pytest.raises(TypeError, match=r"mix must be True \(mix noise into samples\) or False \(take states\); got 0"):
        Truncate(first, model, 4, mix=0)
    with pytest.raises(TypeError, match="only a Diffusion .* can start in the middle; got CallableGenerator"):
        Truncate(model, first, 4, mix=False)
    with pytest.raises(TypeError, match=r"wrap a function by mcgen.as_generator\(f, noise=shape\)"):
        Truncate(lambda z: z, model, 4, mix=False)
    decoding = diffusion(steps=10, decode=lambda x: (x + 1) / 2)
    with pytest.raises(ValueError, match="give the inverse by encode="):
        Truncate(first, decoding, 4)
    assert Truncate(first, decoding, 4, mix=False)(np.zeros((2, 1), np.float32)).shape == (2, 1)


@pytest.mark.parametrize(
    ("made", "kind", "message"),
    [
        (
            lambda z: z[:, None],
            ValueError,
            r"states at step 4 of 'model' and must have shape \(2, 1\); got \(2, 1, 1\)",
        ),
        (lambda z: z[:, 0], ValueError, r"must have shape \(2, 1\); got \(2,\). For samples that need noise mixed in"),
        (lambda z: z.astype(int), TypeError, "states at step 4, must be an array of floats; got int64"),
        (lambda z: [*z], TypeError, "states at step 4, must be an array of floats; got list"),
    ],
)
def test_states_of_another_shape_or_type_are_refused(made, kind: type, message: str) -> None:
    truncated = Truncate(mcgen.as_generator(made, (1,), name="other"), diffusion(steps=10), 4, mix=False)
    with pytest.raises(kind, match=message):
        truncated(np.zeros((2, 1), np.float32))


def test_the_truncated_digits_start_at_one_training_time() -> None:
    for steps in (25, 12, 1):
        model = models.load("digits-truncated", steps=steps)
        assert model.diffusion.times[model.start] == 499
        assert model.network_evaluations == 1 + steps
    assert model.name == "digits-truncated-1"
    assert model.noise.dimension == 64
    for steps in (0, 501):
        with pytest.raises(
            ValueError, match=f"training time 499 and takes steps from 1 to 500 after it; got steps={steps}"
        ):
            models.load("digits-truncated", steps=steps)
    with pytest.raises(TypeError, match="steps must be an int"):
        models.load("digits-truncated", steps=2.5)


def test_the_energy_distance_is_unbiased() -> None:
    """For N(0, 1) and N(d, 1), E|X - Y| is the mean of a folded normal; a distance without its correction is biased."""
    pytest.importorskip("sklearn")
    from mcgen.adapters.models.training.truncated import energy_distance

    rng = np.random.default_rng(SEED)
    for shift in (0.0, 1.0):
        between = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * float(erf(shift / 2))
        truth = 2 * between - 4 / math.sqrt(math.pi)
        x, y = torch.from_numpy(rng.standard_normal((2, 2000, 8, 1)))
        found = np.array([float(energy_distance(a, b + shift)) for a, b in zip(x, y, strict=True)])
        assert abs(z_score(found, truth)) < Z_LIMIT
        # With 1/n^2 in place of 1/(n (n - 1)) the inner distances are an eighth smaller.
        assert z_score(found + 4 / math.sqrt(math.pi) / 8, truth) > Z_LIMIT


def test_one_state_for_all_rows_is_refused() -> None:
    one = mcgen.as_generator(lambda z: z[:1], (1,), name="one")
    model = Truncate(one, diffusion(steps=10, eta=1.0), 4, mix=False)
    noise = mcgen.noise.as_rows(mcgen.MonteCarlo().draw(model.noise, 3, SEED))
    with pytest.raises(ValueError, match=r"must have shape \(3, 1\); got \(1, 1\)"):
        model(noise)

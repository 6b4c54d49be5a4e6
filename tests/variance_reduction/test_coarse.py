"""Coarse samplers on the fine one's noise: what law their fresh noise has, and that they follow the fine samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

pytest.importorskip("torch")

import torch

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen.adapters import DDIM, DDS, DPS, Consistency, Flow, Guided, Heun, Inpainting, Partial, Schedule, models
from mcgen.generators import GaussianDiffusion
from mcgen.noise import Array, BlockNoise
from mcgen.statistics import pixel_mean
from mcgen.validation.conformance import check_generator

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = [pytest.mark.filterwarnings("ignore:.*the replicate means"), pytest.mark.usefixtures("one_torch_thread")]

COSINE = Schedule.cosine()
SHARES = torch.tensor(COSINE.alpha_bar, dtype=torch.float64)


def exact(x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
    """The expected noise for data N(0.7, 0.25)."""
    share = SHARES[(time * 1000).round().long()].reshape(-1, *[1] * (x.ndim - 1))
    return (1 - share).sqrt() / (1 - 0.75 * share) * (x - 0.7 * share.sqrt())


def normal(steps: int | Sequence[int] = 50, eta: float = 1.0, schedule: Schedule = COSINE, **options: Any) -> DDIM:
    return DDIM(exact, schedule, (1,), steps=steps, eta=eta, dtype=torch.float64, **options)


def rows_of(model: Any, n: int) -> dict[str, Array]:
    return {name: block[:, 0] for name, block in MonteCarlo().draw(model.noise, n, SEED).items()}


def squared(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] ** 2


def slopes_of(model: DDIM) -> Array:
    """What the sampler, which is affine in its noise, makes of each of its blocks."""
    zeros = {name: np.zeros((1, 1), np.float32) for name, _ in model.noise.blocks}
    gradient = model.gradient(zeros, lambda x: x[:, 0])
    return np.array([gradient[name][0, 0] for name in zeros])


def correlation(a: Array, b: Array) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


SAMPLERS = {
    "ancestral": (normal().coarse(10), 10),
    "half": (normal(eta=0.5).coarse(10), 10),
    "no whole number of steps each": (normal(37).coarse(8), 8),
    "coarse of coarse": (normal().coarse(25).coarse(10), 10),
    "one": (normal().coarse(1), 1),
    "uneven": (normal([900, *range(12, -1, -1)]).coarse(6), 6),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_the_law_of_so_many_steps_on_their_own_noise(name: str) -> None:
    coarse, steps = SAMPLERS[name]
    for blocks in coarse.fresh[:-1]:
        assert sum(weight**2 for weight in blocks.values()) == pytest.approx(1, abs=1e-12)
    # No two steps share a block, so that their noises are independent; the last has none.
    used = [block for blocks in coarse.fresh for block in blocks]
    assert len(set(used)) == len(used)
    assert coarse.fresh[-1] == {}
    assert {"start", *used} <= {block for block, _ in coarse.noise.blocks}
    law = GaussianDiffusion([0.7], [[0.25]], sampler="ddim", steps=steps, eta=coarse.eta)
    slopes = slopes_of(coarse)
    zeros = {block: np.zeros((1, 1), np.float32) for block, _ in coarse.noise.blocks}
    assert slopes @ slopes == pytest.approx(law.sample_covariance[0, 0], rel=1e-5)
    assert coarse(zeros).item() == pytest.approx(law.sample_mean[0], rel=1e-5)


def test_weights_are_what_fine_noises_are_in_the_state_with_the_predicted_sample_held_fixed() -> None:
    """By running the fine steps on a fixed prediction; for eta = 1 they are the coarse step itself."""
    fine = DDIM(lambda x, t, c: 0.3 + 0 * x, COSINE, (1,), steps=50, eta=1.0, prediction="sample", dtype=torch.float64)
    coarse, zero = fine.coarse(10), torch.zeros((1, 1), dtype=torch.float64)
    start, noise = {name: zero for name, _ in fine.noise.blocks}, zero + 0.8
    for i in (0, 4, 8):
        end = [*zip(range(5), fine.reverse(noise, start, first=5 * i), strict=False)]
        assert len(end) == 5
        for j in range(5 * i, 5 * i + 5):
            given = start | {f"step {j + 1}": zero + 1.0}
            x = noise
            for step in range(5 * i, 5 * i + 5):
                x = fine.step(x, step, given, None)
            assert x.item() == pytest.approx(coarse.step(noise, i, given, None).item(), rel=1e-12)


def test_coarse_samples_follow_the_fine_ones() -> None:
    """In closed form for normal data; blocks taken by their number, the control, hardly follow."""
    fine = normal()
    slopes = slopes_of(fine)
    for steps, least in ((25, 0.99), (10, 0.94), (5, 0.84)):
        assert correlation(slopes_of(fine.coarse(steps)), slopes) > least
        alone = slopes_of(fine.with_steps(steps))
        assert correlation(np.append(alone, np.zeros(50 - len(alone))), slopes) < 0.5
    assert slopes_of(fine.coarse(50)).tolist() == slopes.tolist()
    nested, direct = fine.coarse(25).coarse(5).fresh, fine.coarse(5).fresh
    assert all(a.keys() == b.keys() and a == pytest.approx(b) for a, b in zip(nested, direct, strict=True))


def test_digits_follow() -> None:
    fine = models.load("digits-diffusion", eta=1.0)
    coarse, apart = fine.coarse(10), fine.with_steps(10)
    assert coarse.noise == fine.noise
    assert (coarse.steps, coarse.name) == (10, "digits-diffusion ddim-50 eta 1.0-10")
    noise = rows_of(fine, 100)
    by_number = {name: noise[name] for name, _ in apart.noise.blocks}
    means = [pixel_mean(x) for x in (fine(noise), coarse(noise), apart(by_number))]
    table = np.corrcoef(np.stack([np.asarray(mean) for mean in means]))
    assert table[0, 1] > 0.9
    assert table[0, 2] < 0.6


@pytest.mark.filterwarnings("ignore:.*by the pilot")
def test_levels_of_ancestral_samplers_gain() -> None:
    """Against pairs alone, by a factor that for normal data is known; fresh noise by its number, the control, loses."""
    fine = normal(100)
    coarse, options = fine.coarse(20), {"n_evaluations": 8000, "seed": SEED}
    levels = [
        [(few, few.network_evaluations), (fine, fine.network_evaluations)] for few in (coarse, fine.with_steps(20))
    ]
    # In pairs, what is odd in the noise cancels; squares of what is even correlate by the square.
    square, cost = correlation(slopes_of(coarse), slopes_of(fine)) ** 4, 0.2
    assert (math.sqrt(square * cost) + math.sqrt((1 - square) * (1 + cost))) ** -2 > 1.7
    alone = mcgen.estimate(fine, squared, design=Antithetic(), **options)
    made, control = (mcgen.multilevel(both, squared, n_pilot=64, **options) for both in levels)
    assert control.half_width > alone.half_width > 1.05 * made.half_width
    assert abs(made.mean - alone.mean) < Z_LIMIT * math.hypot(made.standard_error, alone.standard_error)


def test_blocks_are_asked_for_one_by_one_and_only_where_needed() -> None:
    coarse, asked = normal(20).coarse(4), []
    rows = rows_of(coarse, 3)
    names = tuple(rows)

    def block(name: str) -> Array:
        asked.append(name)
        return rows[name]

    lazy = coarse(BlockNoise(block, names))
    assert asked == list(names[:16])  # "start", and what starts before the last step
    assert torch.equal(lazy, coarse(rows))
    gradient = coarse.gradient(rows, lambda x: x[:, 0])
    assert [bool(np.any(gradient[name])) for name in names] == [True] * 16 + [False] * 4
    assert coarse.jacobian(rows, lambda x: x)["step 3"].shape == (3, 1, 1)


def test_coarse_samplers_keep_the_laws() -> None:
    check_generator(normal(12).coarse(5)).require()
    guided = DDIM(Guided(exact, guidance_scale=1.5), COSINE, (1,), steps=12, eta=1.0, dtype=torch.float64)
    check_generator(guided.coarse(5), condition=1).require()


@pytest.mark.parametrize("make", [DPS, DDS])
def test_posterior_samplers_follow_too(make: Any) -> None:
    shape = (1, 4, 4)
    prior = DDIM(exact, COSINE, shape, steps=40, eta=1.0, name="prior")
    operator = Inpainting(shape, np.tile(np.array([True, False]), (4, 2)))
    sampler, y = make(prior, operator, name="mine-40"), np.full(operator.measurement_shape, 0.6, np.float32)
    coarse = sampler.coarse(20)
    assert (coarse.name, coarse.noise, coarse.prior.fresh) == ("mine-20", sampler.noise, prior.coarse(20).fresh)
    noise = rows_of(sampler, 100)
    apart = sampler.with_steps(20)
    by_number = {name: noise[name] for name, _ in apart.noise.blocks}
    means = [x.flatten(1).mean(1).numpy() for x in (sampler(noise, y), coarse(noise, y), apart(by_number, y))]
    table = np.corrcoef(means)
    assert table[0, 1] > 0.9
    assert table[0, 2] < 0.75
    check_generator(coarse.coarse(5), condition=y).require()


def test_partial_runs_take_the_fine_noise_of_the_steps_that_remain() -> None:
    fine = normal(20)
    coarse = fine.coarse(5)
    for step in range(5):
        partial = Partial(coarse, step)
        assert {name for blocks in coarse.fresh[step:] for name in blocks} <= {name for name, _ in partial.noise.blocks}
        assert partial(rows_of(partial, 2), np.array([0.4])).isfinite().all()


def test_nothing_changes_without_fresh_noise() -> None:
    model, z = normal(20, eta=0.0), np.linspace(-2, 2, 5)[:, None]
    assert model.coarse(5).noise == model.noise
    assert model.coarse(5).fresh == [{}] * 5
    assert torch.equal(model.coarse(5)(z), model.with_steps(5)(z))


def test_too_few_steps_with_fresh_noise_are_refused() -> None:
    schedule = Schedule(COSINE.alpha_bar, end=COSINE.alpha_bar[0])
    fine = normal([800, 400, 0], schedule=schedule, name="three")
    with pytest.raises(ValueError, match="3 steps need fresh noise 3 times, of which 'three' has only 2 to share out"):
        fine.coarse(3)
    assert [*map(list, fine.coarse(2).fresh)] == [["step 1"], ["step 2"]]
    # Here the last step has noise, too.
    assert [*map(len, normal(20, schedule=schedule).coarse(4).fresh)] == [5, 5, 5, 5]


def test_network_evaluations_are_counted() -> None:
    calls = []

    def network(x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        calls.append(len(x))
        return 0 * x

    z = np.zeros((1, 3), np.float32)
    made = [
        DDIM(network, COSINE, (3,), steps=7),
        DDIM(network, COSINE, (3,), steps=7).coarse(3),
        DDIM(Guided(network, guidance_scale=2.0), COSINE, (3,), steps=7),
        Heun(network, COSINE, (3,), steps=7),
        Heun(Guided(network, guidance_scale=2.0), COSINE, (3,), steps=7).coarse(4),
        Consistency.from_sigmas(network, [80.0], (3,)),
        *(Flow(network, (3,), steps=7, method=method) for method in ("euler", "midpoint", "heun", "rk4")),
    ]
    for model in made:
        calls.clear()
        model(z, 1)
        assert sum(calls) == model.network_evaluations, model
    assert [model.network_evaluations for model in made] == [7, 3, 14, 13, 14, 1, 7, 14, 14, 28]
    prior = DDIM(Guided(lambda x, t, c: x, guidance_scale=2.0), COSINE, (1, 4, 4), steps=6)
    assert DDS(prior, Inpainting((1, 4, 4), np.ones((4, 4), bool))).network_evaluations == 12

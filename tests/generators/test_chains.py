"""Markov chains: exact laws for normal targets, broken kernels as controls, and kernels that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

import mcgen
from mcgen import Block, MonteCarlo
from mcgen.generators import chain
from mcgen.validation.conformance import check_generator

ACCEPTED = {"move": Block((2,)), "accept": Block((), "uniform")}
VARIANCE = 0.5
STEP = 0.4


def score(x: np.ndarray) -> np.ndarray:
    return -x / VARIANCE


def log_density(x: np.ndarray) -> np.ndarray:
    return -(x**2).sum(1) / (2 * VARIANCE)


def langevin(x: np.ndarray, xi: np.ndarray, i: int) -> np.ndarray:
    return x + STEP * score(x) + np.sqrt(2 * STEP) * xi


def random_walk(x: np.ndarray, noise: dict, i: int) -> tuple[np.ndarray, np.ndarray]:
    y = x + noise["move"]
    accepted = np.log(noise["accept"]) < log_density(y) - log_density(x)
    return np.where(accepted[:, None], y, x), accepted


def mala(x: np.ndarray, noise: dict, i: int, divisor: float = 4 * STEP) -> np.ndarray:
    forward = x + STEP * score(x)
    y = forward + np.sqrt(2 * STEP) * noise["move"]
    back = y + STEP * score(y)
    moved = ((x - back) ** 2).sum(1) - ((y - forward) ** 2).sum(1)
    accepted = np.log(noise["accept"]) < log_density(y) - log_density(x) - moved / divisor
    return np.where(accepted[:, None], y, x)


def wrong_density(x: np.ndarray, noise: dict, i: int) -> np.ndarray:
    return mala(x, noise, i, divisor=2 * STEP**2)


def always(x: np.ndarray, noise: dict, i: int) -> np.ndarray:
    return x + noise["move"]


def one_for_all(x: np.ndarray, noise: dict, i: int) -> np.ndarray:
    y = x + noise["move"]
    rise = (log_density(y) - log_density(x)).sum()
    return y if np.log(noise["accept"][0]) < rise else x


def drawn(model: mcgen.Generator, n: int) -> dict:
    noise = MonteCarlo().draw(model.noise, n, SEED)
    return {name: block[:, 0] for name, block in noise.items()}


def second_moments(kernel: object, n_steps: int = 5, n: int = 20_000) -> np.ndarray:
    """The second moments after some steps from the stationary law, one for each chain."""
    model = chain(kernel, n_steps, (2,), noise=ACCEPTED, start=lambda z: np.sqrt(VARIANCE) * z)
    x = model(drawn(model, n))
    return ((x[0] if isinstance(x, tuple) else x) ** 2).mean(1)


def test_an_unadjusted_langevin_chain_has_its_closed_form() -> None:
    n_steps = 6
    model = chain(langevin, n_steps, (1,), start=lambda z: 2 + z)
    noise = drawn(model, 20_000)
    rho = 1 - STEP / VARIANCE
    expected = rho**n_steps * (2 + noise["start"])
    for i in range(1, n_steps + 1):
        expected = expected + rho ** (n_steps - i) * np.sqrt(2 * STEP) * noise[f"noise {i}"]
    x = model(noise)
    assert np.allclose(x, expected, rtol=1e-12)
    variance = rho ** (2 * n_steps) + 2 * STEP * (1 - rho ** (2 * n_steps)) / (1 - rho**2)
    mean = 2 * rho**n_steps
    assert abs(z_score(x[:, 0], mean)) < Z_LIMIT
    assert abs(z_score((x[:, 0] - mean) ** 2, variance)) < Z_LIMIT
    # The chain without accept steps is not at its target.
    assert abs(z_score((x[:, 0] - mean) ** 2, VARIANCE)) > Z_LIMIT


@pytest.mark.parametrize("kernel", [random_walk, mala])
def test_adjusted_kernels_keep_their_target(kernel: object) -> None:
    assert abs(z_score(second_moments(kernel), VARIANCE)) < Z_LIMIT


@pytest.mark.parametrize("kernel", [wrong_density, always])
def test_broken_accept_steps_are_found(kernel: object) -> None:
    assert abs(z_score(second_moments(kernel), VARIANCE)) > Z_LIMIT


def test_chains_keep_the_laws_of_generators() -> None:
    for kernel in (random_walk, mala):
        check_generator(chain(kernel, 4, (2,), noise=ACCEPTED), seed=SEED).require()
    check_generator(chain(langevin, 3, (4,), keep="path", dtype="float32"), seed=SEED).require()
    assert not check_generator(chain(one_for_all, 4, (2,), noise=ACCEPTED), seed=SEED).passed


def test_paths_records_and_conditions() -> None:
    model = chain(random_walk, 7, (2,), noise=ACCEPTED, keep="path", name="walk")
    noise = drawn(model, 50)
    path, rate = model(noise)
    assert path.shape == (50, 8, 2)
    assert np.array_equal(path[:, 0], noise["start"])
    moved = (np.diff(path, axis=1) != 0).any(2)
    assert np.allclose(rate, moved.mean(1))
    assert model.noise.dimension == 2 + 7 * 3
    assert [name for name, _ in model.noise.blocks][:3] == ["start", "move 1", "accept 1"]
    last = chain(random_walk, 7, (2,), noise=ACCEPTED)(noise)[0]
    assert np.array_equal(last, path[:, -1])
    to = chain(lambda x, xi, i, c: (x + c) / 2 + 0 * xi, 40, (3,), start=lambda z, c: z + c)
    assert np.allclose(to(drawn(to, 5), 2.0), 2.0)

    def in_place(x: np.ndarray, xi: np.ndarray, i: int) -> np.ndarray:
        x += xi
        return x

    summed = chain(in_place, 3, (2,), keep="path")
    noise = drawn(summed, 4)
    assert np.allclose(np.diff(summed(noise), axis=1)[:, 1], noise["noise 2"])


def test_the_steps_of_a_chain_are_shown() -> None:
    """Pairs of a linear chain stay negated at all times."""
    profile = mcgen.analysis.along_time(
        chain(langevin, 4, (16,)), n_pairs=4, seed=SEED, kinds="negated", measures="standard"
    )
    assert np.allclose(profile.curve(kind="negated").mean, -1)


@pytest.mark.parametrize(
    ("kernel", "options", "error", "message"),
    [
        ("no", {}, TypeError, "kernel must be a function of arrays; got 'no'"),
        (langevin, {"start": 3}, TypeError, "start must be a function of arrays; got 3"),
        (langevin, {"n_steps": 0}, ValueError, "n_steps must be at least 1; got 0"),
        (langevin, {"n_steps": 2.0}, TypeError, "n_steps must be an int; got 2.0"),
        (langevin, {"keep": "all"}, ValueError, r"keep must be one of \('last', 'path'\); got 'all'"),
        (langevin, {"noise": {"move": 2}}, TypeError, "a noise spec is made from named blocks"),
        (langevin, {"fingerprint": ""}, TypeError, "a fingerprint must be a text"),
    ],
)
def test_arguments_that_are_refused(kernel: object, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        chain(kernel, **({"n_steps": 2, "shape": (2,)} | options))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda x, xi, i: x[:, 0], r"must return states of shape \(5, 2\), as it was given; got \(5,\)"),
        (lambda x, xi, i: x + 1j, r"got \(5, 2\) of complex128 at step 1"),
        (lambda x, xi, i: (x, x, x), "a pair of them and a record; got a tuple of 3"),
        (lambda x, xi, i: (x, 0.5), r"must record one value for each of 5 rows; got shape \(\) at step 1"),
        (lambda x, xi, i: (x, xi) if i == 1 else x, "at every step, or at none; it did so at 1 of 3"),
        (lambda x, xi, i: x / 0.0, "a state of '<lambda>-3' is not finite after step 1 of 3"),
        (lambda x, xi, i: x / (i - 2.0), "is not finite after step 2 of 3"),
    ],
)
def test_kernels_that_are_refused(kernel: object, message: str) -> None:
    model = chain(kernel, 3, (2,))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        model(drawn(model, 5))


def test_a_start_without_rows_is_refused() -> None:
    model = chain(langevin, 3, (2,), start=lambda z: z.sum())
    with pytest.raises(ValueError, match="start must return one state for each of 5 rows of noise"):
        model(drawn(model, 5))


def test_a_kernel_may_return_the_same_array_at_all_steps() -> None:
    made = np.empty((100, 1))

    def kernel(x, noise, i):
        return np.add(0.5 * x, noise, out=made[: len(x)])

    own = chain(kernel, 5, (1,), keep="path")
    fresh = chain(lambda x, noise, i: 0.5 * x + noise, 5, (1,), keep="path")
    noise = mcgen.noise.as_rows(mcgen.MonteCarlo().draw(own.noise, 20, SEED))
    np.testing.assert_array_equal(own(noise), fresh(noise))

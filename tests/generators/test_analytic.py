"""Diffusion models in closed form: their laws, their truths, and what they refuse."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen.generators import EmpiricalDiffusion, GaussianDiffusion, Schedule
from mcgen.generators.stepwise import Resumable, Stepwise
from mcgen.validation import check_generator

POINTS = np.random.default_rng(3).normal(0, 2, (40, 2, 3))
MEAN = np.array([[0.5, -1.0], [2.0, 0.0]])
ROOT = np.random.default_rng(4).normal(0, 0.7, (4, 4))
COVARIANCE = ROOT @ ROOT.T

MODELS: dict[str, Any] = {
    "points": lambda: EmpiricalDiffusion(POINTS, steps=20),
    "points, eta 1": lambda: EmpiricalDiffusion(POINTS, steps=20, eta=1.0),
    "kernel density": lambda: EmpiricalDiffusion(POINTS, bandwidth=0.5, steps=20, dtype="float64"),
    "flow": lambda: GaussianDiffusion(MEAN, COVARIANCE, dtype="float64"),
    "normal, DDIM": lambda: GaussianDiffusion(MEAN, COVARIANCE, sampler="ddim", steps=10),
    "normal, DDPM": lambda: GaussianDiffusion(MEAN, COVARIANCE, sampler="ddim", steps=10, eta=1.0, dtype="float64"),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_keeps_the_laws_of_generators(name: str) -> None:
    check_generator(MODELS[name]()).require()


@pytest.mark.parametrize("name", MODELS)
def test_its_path_ends_in_its_sample(name: str) -> None:
    model = MODELS[name]()
    assert isinstance(model, Stepwise)
    noise = mcgen.noise.as_rows(MonteCarlo().draw(model.noise, 5, SEED))
    seen = [*model.observe(noise)]
    assert len(seen) == model.steps + 1 == len(model.signal_shares)
    np.testing.assert_allclose(seen[-1]["state"], model(noise), rtol=1e-5, atol=1e-6)
    for i in (0, model.steps - 1):
        signal = model.signal_shares[i]
        found = model.predictions(seen[i]["state"], i)
        mixed = math.sqrt(signal) * found["sample"] + math.sqrt(1 - signal) * found["noise"]
        np.testing.assert_allclose(mixed, seen[i]["state"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["sample"], seen[i]["sample"])


@pytest.mark.parametrize("name", MODELS)
def test_its_path_goes_on_from_any_of_its_states(name: str) -> None:
    model = MODELS[name]()
    assert isinstance(model, Resumable)
    noise = mcgen.noise.as_rows(MonteCarlo().draw(model.noise, 5, SEED))
    states = [shown["state"] for shown in model.observe(noise)]
    for i in (0, 3, model.steps - 1):
        np.testing.assert_allclose(model.resume(states[i], i, noise), states[-1], rtol=1e-5, atol=1e-6)
        assert abs(model.resume(states[i] + 1, i, noise) - states[-1]).max() > 1e-4 or name.startswith("points")


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [10, 50, 200])
def test_samples_of_a_finite_data_set_are_its_data(steps: int, eta: float) -> None:
    samples = mcgen.sample(EmpiricalDiffusion(POINTS, steps=steps, eta=eta), 300, seed=SEED)
    distances = np.sqrt(((samples[:, None] - POINTS) ** 2).mean(axis=(2, 3))).min(axis=1)
    assert np.sqrt((distances**2).mean()) < 1e-3 * POINTS.std()
    wide = mcgen.sample(EmpiricalDiffusion(POINTS, steps=steps, bandwidth=0.5), 300, seed=SEED)
    assert np.sqrt(((wide[:, None] - POINTS) ** 2).mean(axis=(2, 3))).min(axis=1).mean() > 0.1


@pytest.mark.parametrize("name", ["flow", "normal, DDIM", "normal, DDPM"])
def test_the_law_of_normal_samples_is_known(name: str) -> None:
    model = MODELS[name]()
    samples = mcgen.sample(model, 20_000, seed=SEED).reshape(-1, 4).astype(np.float64)
    deviations = samples - model.sample_mean.ravel()
    errors = np.sqrt(np.diag(model.sample_covariance) / len(samples))
    assert (abs(deviations.mean(axis=0)) < Z_LIMIT * errors).all()
    products = np.einsum("ni,nj->nij", deviations, deviations)
    spread = products.std(axis=0) / math.sqrt(len(samples))
    assert (abs(products.mean(axis=0) - model.sample_covariance) < Z_LIMIT * spread).all()
    # The same rule rejects a covariance that is a tenth off.
    assert (abs(products.mean(axis=0) - 1.1 * model.sample_covariance) > Z_LIMIT * spread).any()


def test_the_flow_starts_from_noise_and_ends_at_the_data() -> None:
    flow = MODELS["flow"]()
    np.testing.assert_allclose(flow.sample_mean, MEAN, atol=1e-3)
    np.testing.assert_allclose(flow.sample_covariance, COVARIANCE, rtol=1e-6, atol=1e-7)
    many = GaussianDiffusion(MEAN, COVARIANCE, sampler="ddim", steps=1000, dtype="float64")
    noise = MonteCarlo().draw(flow.noise, 10, SEED)[:, 0]
    np.testing.assert_allclose(many(noise), flow(noise), atol=0.03)
    few = many.coarse(20)
    assert abs(few(noise) - flow(noise)).max() > 2 * abs(many(noise) - flow(noise)).max()
    np.testing.assert_allclose((flow(noise) + flow(-noise)) / 2, np.broadcast_to(flow.sample_mean, (10, 2, 2)))


def test_the_posterior_of_one_datum_is_that_of_ddpm() -> None:
    """q(x_s | x_t, x_0) of DDPM, and the Ornstein-Uhlenbeck bridge with e^{-2 tau} = a_s, e^{-2 T} = a_t."""
    x_0 = np.array([[0.7, -1.2]])
    model = EmpiricalDiffusion(x_0, steps=9, eta=1.0, dtype="float64")
    for i in range(1, 7):
        a_t, a_s = model.signal_shares[[i, i + 1]]
        x_t = np.array([[0.3, 0.4]])
        noise = {f"step {i + 1}": np.zeros((1, 2))}
        moved = model._step(x_t, i, noise)
        mean = math.sqrt(a_s) * x_0 + math.sqrt(a_t / a_s) * (1 - a_s) / (1 - a_t) * (x_t - math.sqrt(a_t) * x_0)
        np.testing.assert_allclose(moved, mean, rtol=1e-12, atol=1e-12)
        variance = (1 - a_s) * (1 - a_t / a_s) / (1 - a_t)
        assert model.step_variances[i] == pytest.approx(variance, rel=1e-12)
        tau, end = -math.log(a_s) / 2, -math.log(a_t) / 2
        slope = math.exp(-(end - tau)) * -math.expm1(-2 * tau) / -math.expm1(-2 * end)
        bridge = math.exp(-tau) * x_0 + slope * (x_t - math.exp(-end) * x_0)
        np.testing.assert_allclose(moved, bridge, rtol=1e-12, atol=1e-12)
        spread = math.expm1(-2 * tau) * math.expm1(-2 * (end - tau)) / -math.expm1(-2 * end)
        assert model.step_variances[i] == pytest.approx(spread, rel=1e-12)


def test_a_fit_has_the_moments_of_its_data() -> None:
    data = np.random.default_rng(SEED).normal(1, 2, (500, 2, 2))
    fitted = GaussianDiffusion.fit(data)
    np.testing.assert_allclose(fitted.covariance, np.cov(data.reshape(500, 4).T))
    shrunk = GaussianDiffusion.fit(data, shrink=1.0)
    np.testing.assert_allclose(shrunk.covariance, np.trace(fitted.covariance) / 4 * np.eye(4), atol=1e-12)
    few = GaussianDiffusion.fit(data[:3])
    assert np.linalg.matrix_rank(few.sample_covariance, tol=1e-8) == 2


def test_a_model_can_be_pickled_and_stored(tmp_path: Any) -> None:
    for make in MODELS.values():
        model = make()
        noise = mcgen.noise.as_rows(MonteCarlo().draw(model.noise, 3, SEED))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(noise), model(noise))
    options: Any = {"design": Antithetic(), "n_evaluations": 64, "seed": 0, "store": tmp_path / "run.sqlite"}
    first = mcgen.estimate(MODELS["points"](), mcgen.statistics.pixel_mean, **options)
    assert mcgen.estimate(MODELS["points"](), mcgen.statistics.pixel_mean, **options).mean == first.mean
    with pytest.raises(mcgen.StoreError):
        mcgen.estimate(EmpiricalDiffusion(POINTS + 1, steps=20), mcgen.statistics.pixel_mean, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmpiricalDiffusion([1.0, 2.0]), r"data must have shape \(N, ...\)"),
        (lambda: EmpiricalDiffusion(np.zeros((0, 2))), r"data must have shape"),
        (lambda: EmpiricalDiffusion([[np.nan]]), "data must be finite"),
        (lambda: EmpiricalDiffusion([["a"]]), "array of real numbers"),
        (lambda: EmpiricalDiffusion(POINTS, bandwidth=-1), "at least 0"),
        (lambda: EmpiricalDiffusion(POINTS, steps=0), "steps must be between 1"),
        (lambda: EmpiricalDiffusion(POINTS, eta=2), "eta must lie between"),
        (lambda: EmpiricalDiffusion(POINTS, schedule=[0.5, 0.1]), "must be a mcgen.generators.Schedule"),
        (lambda: GaussianDiffusion([0.0, 0.0], np.eye(3)), r"covariance must have shape \(2, 2\)"),
        (lambda: GaussianDiffusion([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: GaussianDiffusion([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "no negative eigenvalue"),
        (lambda: GaussianDiffusion([0.0], [[1.0]], eta=1.0), "sampler='ddim'"),
        (lambda: GaussianDiffusion([0.0], [[1.0]], sampler="heun"), "sampler must be one of"),
        (lambda: GaussianDiffusion.fit(np.zeros((1, 3))), "N at least 2"),
        (lambda: GaussianDiffusion.fit(np.zeros((5, 3)), shrink=2), "shrink must lie between"),
        (lambda: mcgen.sample(MODELS["points"](), 3, seed=0, condition=3), "takes no condition"),
        (lambda: MODELS["points"]().coarse(30), "between 1 and"),
        (lambda: MODELS["points, eta 1"]().coarse(5), "fresh noise"),
        (lambda: MODELS["flow"]().coarse(5), "one map whatever its steps"),
        (lambda: MODELS["points"]().predictions(np.zeros((2, 6)), 0), "must have shape"),
        (lambda: MODELS["points"]().predictions(np.zeros((2, 2, 3)), 20), "must be a step"),
        (lambda: MODELS["points"]().resume(np.zeros((2, 2, 3)), 20, np.zeros((2, 2, 3))), "must be a step"),
    ],
)
def test_what_it_refuses(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_schedule_of_ones_own_decides_the_steps() -> None:
    schedule = Schedule.from_betas(np.linspace(1e-4, 0.02, 1000))
    model = EmpiricalDiffusion(POINTS, steps=10, schedule=schedule)
    assert model.signal_shares[0] == pytest.approx(schedule.alpha_bar[-1])
    assert model.coarse(5).noise == model.noise
    assert model.coarse(5).schedule is schedule


class OneNormal(mcgen.generators.AnalyticDiffusion):
    """Data N(0, sd^2), whose sd is an argument of the subclass alone."""

    def __init__(self, shape: tuple[int, ...], sd: float, **options: Any) -> None:
        self.sd = sd
        super().__init__(shape, **options)

    def posterior_mean(self, x: Any, signal: float) -> Any:
        return math.sqrt(signal) * self.sd**2 / (signal * self.sd**2 + 1 - signal) * x


def test_a_subclass_keeps_what_it_was_made_with() -> None:
    model = OneNormal((2,), 5.0, steps=40)
    for made, steps in ((model.with_steps(80), 80), (model.coarse(8), 8)):
        assert (made.sd, made.steps, len(made.signal_shares)) == (5.0, steps, steps + 1)
    assert model.steps == 40
    z = np.ones((1, 2), np.float32)
    np.testing.assert_allclose(model.with_steps(40)(z), model(z))


def test_data_far_from_zero_lose_no_digits() -> None:
    gap = np.array([[0.0], [0.01]])
    near, far = EmpiricalDiffusion(gap, steps=5), EmpiricalDiffusion(gap + 1e6, steps=5)
    for x, signal in ((0.004, 0.999), (0.3, 0.9)):
        moved = np.array([[x + math.sqrt(signal) * 1e6]])
        expected = near.posterior_mean(np.array([[x]]), signal)
        np.testing.assert_allclose(far.posterior_mean(moved, signal) - 1e6, expected, atol=1e-7)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianDiffusion([1 + 5j, 2j], np.eye(2)),
        lambda: EmpiricalDiffusion([[1j], [0.0]]),
        lambda: Schedule([0.9 + 1j, 0.1]),
    ],
)
def test_imaginary_parts_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"real numbers|no real"):
        make()


def test_states_of_integers_have_the_posterior_mean_of_floats() -> None:
    model = MODELS["flow"]()
    whole = np.array([[[1, 2], [0, -1]]])
    np.testing.assert_allclose(model.predictions(whole, 9)["sample"], model.predictions(whole * 1.0, 9)["sample"])

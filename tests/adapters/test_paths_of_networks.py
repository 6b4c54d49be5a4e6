"""Paths of torch samplers, their functionals, and the variational bound of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen.adapters import DDIM, DPS, Flow, Inpainting, Schedule, models  # noqa: E402
from mcgen.generators import GaussianDiffusion, Paths, VariationalBound  # noqa: E402
from mcgen.noise import as_rows  # noqa: E402
from mcgen.statistics import paths as functionals  # noqa: E402
from mcgen.validation import check_generator  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCHEDULE = Schedule.cosine(100)
MEAN, VARIANCE = 0.7, 0.25


def denoiser(x: Any, time: Any, condition: Any = None) -> Any:
    """The posterior mean of data N(MEAN + condition, VARIANCE)."""
    step = round(float(time[0]) * 100)
    a, mean = SCHEDULE.signal(step), MEAN + (0 if condition is None else condition)
    return mean + a**0.5 * VARIANCE / (a * VARIANCE + 1 - a) * (x - a**0.5 * mean)


def sampler(**options: Any) -> DDIM:
    return DDIM(
        denoiser, SCHEDULE, (3,), prediction="sample", dtype=torch.float64, **{"eta": 1.0, "steps": 8} | options
    )


def normal(mean: float = MEAN) -> GaussianDiffusion:
    covariance = VARIANCE * np.eye(3)
    return GaussianDiffusion(np.full(3, mean), covariance, sampler="ddim", eta=1.0, steps=8, schedule=SCHEDULE)


def drawn(model: Any, n: int = 10) -> Any:
    return as_rows(mcgen.MonteCarlo().draw(model.noise, n, SEED))


def test_paths_of_torch_are_those_of_numpy() -> None:
    network, exact = sampler(), normal()
    assert network.noise == exact.noise
    np.testing.assert_allclose(network.step_variances, exact.step_variances, rtol=1e-12)
    path, wanted = Paths(network)(drawn(network)), Paths(exact)(drawn(network))
    for own, other in zip(path, wanted, strict=True):
        assert isinstance(own, np.ndarray)
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4)
    assert float(functionals.action_gap(exact)(path).max()) < 1e-8
    assert float(functionals.action_gap(normal(0.9))(path).min()) > 1e-3


def test_the_other_sampler_gets_the_condition_of_the_run() -> None:
    """A run binds the condition of the statistic; without it the other sampler has the law of no condition."""
    network = sampler()
    path = Paths(network)(drawn(network), 0.5)
    same, none = functionals.action_gap(network), functionals.action_gap(network, uses_condition=False)
    assert same.for_condition(0.5)(path).tolist() == [0] * 10
    assert (none.for_condition(0.5)(path) > 0.01).all()
    assert functionals.action_gap(normal(MEAN + 0.5), uses_condition=False)(path).max() < 1e-8
    # Gaps grow with the square of the distance of the means.
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 64, "seed": SEED}
    result = mcgen.estimate(Paths(network), none, condition=[0.5, 1.0], **options)
    gaps = [float(one.mean) for one in result.conditions]
    assert gaps[1] == pytest.approx(4 * gaps[0], rel=1e-6)


def test_a_coarse_sampler_has_the_steps_of_one_made_so() -> None:
    coarse, made = sampler().coarse(4), sampler(steps=4)
    np.testing.assert_allclose(coarse.step_variances, made.step_variances)
    assert functionals.action_gap(made)(Paths(coarse)(drawn(coarse))).tolist() == [0] * 10
    assert (sampler(eta=0.0).step_variances == 0).all()


def test_samplers_of_other_kinds_have_lengths() -> None:
    flow = Flow(lambda x, t, condition: -x, (3,), steps=5)
    posterior = DPS(sampler(), Inpainting((3,), np.array([True, True, False])))
    for model, condition, lack in ((flow, None, "share must be above 0"), (posterior, np.zeros(2), "predicted noise")):
        path = Paths(model)(drawn(model), condition)
        assert (functionals.path_length(path) > 0).all()
        with pytest.raises(ValueError, match=lack):
            functionals.fisher_action(path)


def test_a_network_keeps_the_laws_of_generators() -> None:
    model = models.load("digits-diffusion", steps=5, eta=1.0)
    check_generator(Paths(model), condition=3).require()
    bound = VariationalBound(model, encode=lambda x: 2 * x - 1, levels=17)
    datum = models.real_images("digits-diffusion")[0]
    check_generator(bound, condition=datum).require()
    own = VariationalBound(model, condition=3, encode=lambda x: 2 * x - 1, levels=17)
    assert not np.array_equal(own(drawn(own), datum), bound(drawn(own), datum))


def test_the_bound_of_a_network_is_that_of_its_formula() -> None:
    network, exact, datum = VariationalBound(sampler()), VariationalBound(normal()), np.array([0.4, 1.0, -0.3])
    np.testing.assert_allclose(network(drawn(network), datum), exact(drawn(network), datum), rtol=1e-3, atol=1e-4)
    held = VariationalBound(sampler(), condition=0.5)
    assert not np.allclose(held(drawn(held), datum), exact(drawn(held), datum), rtol=1e-2)

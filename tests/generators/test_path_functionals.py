"""Paths as samples, their functionals and the variational bound: closed forms, laws, and what is refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from stepwise_samplers import Sampler

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen._lib.fingerprints import fingerprint_of
from mcgen.generators import EmpiricalDiffusion, GaussianDiffusion, Paths, Schedule, VariationalBound
from mcgen.noise import as_rows
from mcgen.statistics import paths as functionals
from mcgen.validation import check_generator
from mcgen.validation.problems.affine_paths import AffinePath
from mcgen.validation.studies.path_functionals import STUDIES, models

ONE, OTHER = models()
FLOW = GaussianDiffusion(ONE.mean, ONE.covariance, steps=9)
POINTS = EmpiricalDiffusion(np.random.default_rng(3).normal(0, 2, (30, 3)), eta=0.5, steps=6)
ALL = (
    *(functionals.path_length, functionals.straightness, functionals.kinetic, functionals.fisher_action),
    *(functionals.onsager_machlup(), functionals.onsager_machlup(of=OTHER), functionals.action_gap(OTHER)),
    *(functionals.coarse_gap(3), functionals.coarse_gap(6)),
)
DATUM = np.array([0.4, -1.1, 0.2])


def path_of(model: Any, n: int = 20) -> functionals.Path:
    return Paths(model)(as_rows(MonteCarlo().draw(model.noise, n, SEED)))


@pytest.mark.parametrize("title", STUDIES)
def test_expectations_are_those_of_closed_forms(title: str) -> None:
    broken = [verdict for verdict in STUDIES[title](False, SEED) if not verdict.holds]
    assert broken == []


@pytest.mark.parametrize("model", [ONE, FLOW, POINTS, Sampler()], ids=lambda model: model.name)
def test_paths_keep_the_laws_of_generators(model: Any) -> None:
    check_generator(Paths(model)).require()
    path = path_of(model)
    assert path.states.shape == (20, model.steps + 1, *model.noise.blocks[0][1].shape)
    assert path.noises.shape == path.samples.shape == (20, model.steps, *path.states.shape[2:])
    noise = as_rows(MonteCarlo().draw(model.noise, 20, SEED))
    np.testing.assert_allclose(path.states[:, -1], model(noise), rtol=1e-6)
    assert np.array_equal(path.signals[3], model.signal_shares)


@pytest.mark.parametrize("levels", [None, 9])
def test_bounds_keep_the_laws_of_generators(levels: int | None) -> None:
    bound = VariationalBound(POINTS, levels=levels)
    check_generator(bound, condition=np.array([0.25, -1.0, 1.0])).require()
    assert [name for name, _ in bound.noise.blocks] == [f"forward {i}" for i in range(1, 7)]


def test_a_bound_of_one_step_has_one_block() -> None:
    options: dict[str, Any] = {"sampler": "ddim", "eta": 1.0, "steps": 1}
    model = GaussianDiffusion(ONE.mean, ONE.covariance, schedule=Schedule((0.4,)), **options)
    bound = VariationalBound(model)
    check_generator(bound, condition=DATUM).require()
    assert mcgen.sample(bound, 3, seed=SEED, condition=DATUM).shape == (3, 2)


def test_stores_tell_paths_bounds_and_functionals_apart() -> None:
    one, other = models()
    made: list[Callable[[], Any]] = [
        *(lambda: Paths(one), lambda: Paths(other), lambda: VariationalBound(one), lambda: VariationalBound(other)),
        *(lambda: VariationalBound(one, levels=5), lambda: VariationalBound(one, condition=2)),
        *(lambda: functionals.action_gap(one), lambda: functionals.action_gap(other)),
        lambda: functionals.action_gap(other, uses_condition=False),
        lambda: functionals.action_gap(other).for_condition(2),
        *(lambda: functionals.onsager_machlup(), lambda: functionals.onsager_machlup(of=other)),
        *(lambda: functionals.coarse_gap(3), lambda: functionals.coarse_gap(4)),
    ]
    prints = [fingerprint_of(make()) for make in made]
    assert prints == [fingerprint_of(make()) for make in made]
    assert len({*prints}) == len(made)


def test_all_functionals_are_estimated_together() -> None:
    law, score = AffinePath(ONE), mcgen.statistics.stack(*ALL)
    options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 1280, "seed": SEED}
    result = mcgen.estimate(Paths(ONE), score, **options)
    assert dict(zip(result.names, result.mean, strict=True))["kinetic"] == pytest.approx(law.kinetic(), rel=0.05)
    again = mcgen.estimate(pickle.loads(pickle.dumps(Paths(ONE))), pickle.loads(pickle.dumps(score)), **options)
    np.testing.assert_array_equal(again.mean, result.mean)
    gap = mcgen.difference(Paths(ONE), Paths(OTHER), functionals.action_gap(OTHER), **options)
    np.testing.assert_allclose(gap.mean, result.mean[result.names.index("action gap to other")])


def test_lengths_and_straightness_are_those_of_the_states() -> None:
    path = path_of(FLOW)
    steps = np.linalg.norm(np.diff(path.states.astype(float), axis=1), axis=2)
    np.testing.assert_allclose(functionals.path_length(path), steps.sum(axis=1) / math.sqrt(3))
    ends = np.linalg.norm(path.states[:, -1] - path.states[:, 0], axis=1)
    np.testing.assert_allclose(functionals.straightness(path), ends / steps.sum(axis=1), rtol=1e-5)
    line = path._replace(states=np.linspace(path.states[:, 0], path.states[:, -1], 5, axis=1))
    np.testing.assert_allclose(functionals.straightness(line), 1, rtol=1e-5)


def test_gaps_vanish_between_equal_samplers_alone() -> None:
    path, twin = path_of(ONE), GaussianDiffusion(ONE.mean, ONE.covariance, sampler="ddim", eta=1.0, steps=ONE.steps)
    np.testing.assert_allclose(functionals.action_gap(twin)(path), 0, atol=1e-20)
    np.testing.assert_allclose(functionals.onsager_machlup(of=twin)(path), functionals.onsager_machlup()(path))
    assert (functionals.action_gap(OTHER)(path) > 0.01).all()
    # One step of the coarse sampler a step of the fine one: nothing is held.
    np.testing.assert_allclose(functionals.coarse_gap(ONE.steps)(path), 0, atol=1e-20)


def test_the_onsager_machlup_functional_is_that_of_the_noise() -> None:
    noise = as_rows(MonteCarlo().draw(ONE.noise, 20, SEED))
    fresh = sum((noise[f"step {i}"] ** 2).sum(axis=1) for i in range(1, ONE.steps))
    np.testing.assert_allclose(functionals.onsager_machlup()(Paths(ONE)(noise)), fresh / 2)


def test_probabilities_of_levels_add_up_to_one() -> None:
    """Also of a sampler far from the levels; and not if levels at the ends had no tails (negative control)."""
    options: dict[str, Any] = {"sampler": "ddim", "eta": 1.0, "steps": 4, "schedule": Schedule.cosine(20)}
    for mean in (0.3, 6.0):
        model = GaussianDiffusion([mean], [[0.01]], **options)
        bound = VariationalBound(model, levels=5)
        noise = as_rows(MonteCarlo().draw(bound.noise, 1, SEED))
        # The predicted sample of one noised datum, for all data.
        sample = np.array([[mean]])
        logs = [-bound._decoder(np.array([x]), sample)[0] for x in np.linspace(-1, 1, 5)]
        assert np.exp(logs).sum() == pytest.approx(1, abs=1e-12)
        assert np.isfinite(bound(noise, np.array([-1.0]))).all()
    inner = [-bound._decoder(np.array([x]), sample)[0] for x in np.linspace(-1, 1, 5)[:-1]]
    assert np.exp(inner).sum() < 1e-3


def test_fine_levels_approach_the_density() -> None:
    model = GaussianDiffusion(np.zeros(3), np.eye(3) / 9, sampler="ddim", eta=1.0, steps=8, dtype="float64")
    plain, fine = VariationalBound(model), VariationalBound(model, levels=2001, encode=lambda x: x / 100)
    noise = as_rows(MonteCarlo().draw(plain.noise, 4, SEED))
    datum = np.array([0.2, -0.5, 0.1])
    gap = fine(noise, 100 * datum) - plain(noise, datum)
    np.testing.assert_allclose(gap[:, :-1], 0, atol=1e-12)
    np.testing.assert_allclose(gap[:, -1], math.log2(1000), atol=1e-4)


def test_bounds_of_several_data_are_estimated_with_intervals() -> None:
    law, bound = AffinePath(ONE), VariationalBound(ONE)
    options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 1280, "seed": SEED}
    data = {"first": DATUM, "second": -DATUM}
    result = mcgen.estimate(bound, functionals.bits_per_dimension, condition=data, **options)
    for name, x in data.items():
        assert result[name].mean == pytest.approx(law.bound(x), abs=6 * float(result[name].half_width))


@pytest.mark.parametrize("statistic", ALL[4:], ids=lambda one: one.name)
def test_functionals_of_fresh_noise_refuse_deterministic_samplers(statistic: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="no fresh noise, so a path has no density; make it with eta=1"):
        statistic(path_of(FLOW))
    with pytest.raises(ValueError, match="does not say how much fresh noise"):
        statistic(path_of(Sampler()))


@pytest.mark.parametrize("statistic", ALL, ids=lambda one: getattr(one, "name", getattr(one, "__name__", "")))
def test_functionals_refuse_samples_that_are_no_paths(statistic: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"takes paths.*wrap the sampler by mcgen\.generators\.Paths"):
        statistic(np.zeros((4, 3)))


def test_functionals_say_what_a_sampler_lacks() -> None:
    path, none = path_of(ONE), np.zeros((20, 0))
    for statistic in ALL[2:]:
        with pytest.raises(ValueError, match="does not know the signal's share"):
            statistic(path._replace(signals=none))
    for statistic in (functionals.fisher_action, ALL[4], ALL[6], ALL[7]):
        with pytest.raises(ValueError, match="does not show its predicted noise and sample"):
            statistic(path._replace(noises=none, samples=none))
    assert functionals.path_length(path._replace(signals=none, variances=none, noises=none, samples=none)).shape == (
        20,
    )
    with pytest.raises(ValueError, match="share must be above 0 and increase"):
        functionals.kinetic(path._replace(signals=path.signals[:, ::-1]))
    with pytest.raises(ValueError, match="a path has length 0"):
        functionals.straightness(path._replace(states=np.zeros((20, 4, 3))))
    with pytest.raises(ValueError, match=r"states must have shape \(n, steps \+ 1, ...\)"):
        functionals.path_length(path._replace(states=np.zeros((20, 1, 3))))


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"steps": 6}, "signal shares"),
        ({"eta": 0.5}, "variances"),
        ({"schedule": Schedule.cosine(50)}, "signal shares"),
    ],
)
def test_two_samplers_must_have_the_same_steps(changed: dict[str, Any], what: str) -> None:
    options: dict[str, Any] = {"sampler": "ddim", "eta": 1.0, "steps": ONE.steps, **changed}
    other = GaussianDiffusion(ONE.mean, ONE.covariance, **options)
    for statistic in (functionals.action_gap(other), functionals.onsager_machlup(of=other)):
        with pytest.raises(ValueError, match=f"has other {what} .*give both the same schedule, steps and eta"):
            statistic(path_of(ONE))


def test_samplers_that_do_not_show_their_steps_are_refused() -> None:
    with pytest.raises(TypeError, match="other must be a sampler that shows its steps"):
        functionals.action_gap(Sampler())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="of must be a sampler that shows its steps"):
        functionals.onsager_machlup(of=GaussianDiffusion)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="uses_condition must be True or False"):
        functionals.action_gap(ONE, uses_condition="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="model must show the steps of its path"):
        Paths(mcgen.as_generator(lambda z: z, noise=(3,)))  # type: ignore[arg-type]


def test_coarse_gaps_refuse_steps_that_do_not_compose() -> None:
    with pytest.raises(ValueError, match="steps must be at least 2, .*; got 1"):
        functionals.coarse_gap(1)
    with pytest.raises(ValueError, match="steps must divide the 12 steps of the path; got 5"):
        functionals.coarse_gap(5)(path_of(ONE))
    with pytest.raises(ValueError, match="only steps of the ancestral sampler compose"):
        functionals.coarse_gap(3)(path_of(POINTS))


def test_bounds_refuse_samplers_and_data_that_do_not_fit() -> None:
    ends_early = GaussianDiffusion(
        ONE.mean,
        ONE.covariance,
        sampler="ddim",
        eta=1.0,
        steps=5,
        schedule=Schedule(Schedule.cosine(50).alpha_bar, 0.999),
    )
    for model, message in (
        (FLOW, "needs fresh noise at every step but the last.*eta=1"),
        (Sampler(), "needs signal shares, variances"),
        (ends_early, "ends at the sample.*0.999"),
    ):
        with pytest.raises(ValueError, match=message):
            VariationalBound(model)
    with pytest.raises(ValueError, match="levels must be at least 2"):
        VariationalBound(ONE, levels=1)
    with pytest.raises(TypeError, match="encode must be a callable"):
        VariationalBound(ONE, encode=2)  # type: ignore[arg-type]
    noise = as_rows(MonteCarlo().draw(VariationalBound(ONE).noise, 2, SEED))
    for levels, datum, message in (
        (None, None, "give it as the condition"),
        (None, np.zeros((2, 3)), r"the datum has shape \(2, 3\)"),
        (None, np.array([0.0, np.nan, 0.0]), "must be finite"),
        (5, np.array([0.1, 0.0, 0.0]), "one of 5 levels from -1 to 1"),
        (5, np.array([1.5, 0.0, 0.0]), "one of 5 levels from -1 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            VariationalBound(ONE, levels=levels)(noise, datum)
    with pytest.raises(TypeError, match="takes the terms of a bound"):
        functionals.bits_per_dimension(path_of(ONE))

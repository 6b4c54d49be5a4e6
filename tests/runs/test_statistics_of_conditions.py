"""Runs of statistics that take their condition: every verb, design and helper gives each condition its own truth.

The model gives copies of a truth with errors of standard deviation 0.1, and the statistic is t + t^2 of the errors t, on
average: its expectation is 0.01 for the truth that belongs to the condition, and d + d^2 + 0.01 for a truth that is d
less. So each check has a negative control, the statistic of a wrong truth.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, z_score

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.errors import StoreError
from mcgen.functionals.influence import Influence
from mcgen.functionals.joint import Each
from mcgen.statistics import as_statistic, stack
from mcgen.statistics.values import with_condition
from mcgen.variance_reduction.controls.kernel import kernel

# How well intervals cover is no question here.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.errors.CoverageWarning")

NOISE = (6,)
TRUTHS = {"low": np.full(NOISE, 0.0), "middle": np.linspace(0, 1, 6), "high": np.full(NOISE, 5.0)}
RUN: dict[str, Any] = {"design": MonteCarlo(), "n_evaluations": 1280, "seed": SEED}
WRONG = 1.0
"""How much less the truth of the negative controls is; their expectation is 2.01."""


def copies(z: Any, truth: Any) -> Any:
    """Return copies of a truth with errors."""
    return truth + 0.1 * z


def coarse_copies(z: Any, truth: Any) -> Any:
    """Return copies with slightly other errors."""
    return truth + 0.098 * z


def errors(x: Any, truth: Any) -> Any:
    """Return the mean of t + t^2 over the errors t."""
    return (x - truth + (x - truth) ** 2).mean(1)


MODEL = mcgen.as_generator(copies, NOISE, name="copies")
COARSE = mcgen.as_generator(coarse_copies, NOISE, name="coarse")
ERRORS = as_statistic(errors, uses_condition=True)


def require_own_truth(estimate: mcgen.Estimate, expected: float = 0.01) -> None:
    """Require an expectation that only the condition's own truth gives."""
    assert abs(estimate.mean - expected) < 8 * estimate.standard_error + 1e-3
    assert abs(estimate.mean - expected) < WRONG / 10


def test_the_wrong_truth_gives_another_number() -> None:
    wrong = with_condition(ERRORS, TRUTHS["low"] - WRONG)
    made = mcgen.estimate(MODEL, wrong, condition=TRUTHS["low"], **RUN)
    require_own_truth(made, WRONG + WRONG**2 + 0.01)
    with pytest.raises(AssertionError):
        require_own_truth(made)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_each_condition_has_its_own_truth(common: bool, named: bool) -> None:
    conditions: Any = TRUTHS if named else [*TRUTHS.values()]
    made = mcgen.estimate(MODEL, ERRORS, condition=conditions, common_random_numbers=common, **RUN)
    for part in (*made.conditions, made):
        require_own_truth(part)
    # The first truth for all, as a statistic with a reference has it, is wrong for the others.
    wrong = mcgen.estimate(
        MODEL, with_condition(ERRORS, TRUTHS["low"]), condition=conditions, common_random_numbers=common, **RUN
    )
    assert wrong.conditions[0].mean == made.conditions[0].mean
    assert wrong.conditions[2].mean > 29


@pytest.mark.parametrize("design", [Antithetic(), Sobol(16), mcgen.LatinHypercube(8)])
def test_alone_and_in_a_list_it_is_the_statistic_of_samples_alone(design: mcgen.Design) -> None:
    options: dict[str, Any] = {**RUN, "design": design}
    listed = mcgen.estimate(MODEL, ERRORS, condition=TRUTHS, **options)
    for name, truth in TRUTHS.items():
        alone = mcgen.estimate(MODEL, ERRORS, condition=truth, **options)
        by_hand = mcgen.estimate(MODEL, lambda x, t=truth: errors(x, t), condition=truth, **options)
        assert listed[name].mean == alone.mean == by_hand.mean
        assert listed[name].interval == alone.interval == by_hand.interval


def test_stacks_have_the_truth_and_keep_their_names() -> None:
    both = stack(ERRORS, mcgen.statistics.pixel_mean)
    made = mcgen.estimate(MODEL, both, condition=TRUTHS, **RUN)
    assert made["high"].names == ("errors", "pixel_mean")
    np.testing.assert_allclose(made["high"].mean, [0.01, 5.0], atol=0.02)
    sharp = as_statistic(
        lambda x, t: np.stack([x[:, 0] - t[0], x[:, 1] - t[1]], 1), name="s", components=["a", "b"], uses_condition=True
    )
    assert mcgen.estimate(MODEL, sharp, condition=TRUTHS, **RUN)["low"].names == ("a", "b")


@pytest.mark.parametrize("common", [False, True])
def test_indicators_and_bounds(common: bool) -> None:
    above = as_statistic(lambda x, t: x[:, 0] > t[0], name="above", uses_condition=True)
    made = mcgen.estimate(MODEL, above, condition=TRUTHS, common_random_numbers=common, **RUN)
    for part in made.conditions:
        assert part.moments is not None
        assert part.moments.events is not None
        assert part.mean == pytest.approx(0.5, abs=0.1)
    limited = as_statistic(
        lambda x, t: np.clip(x[:, 0] - t[0], -1, 1), name="limited", bounds=(-1, 1), uses_condition=True
    )
    bet = mcgen.estimate(MODEL, limited, condition=TRUTHS["high"], interval="betting", **RUN)
    assert 0 in bet.interval
    assert bet.half_width < 0.3


def test_differences() -> None:
    shifted = mcgen.as_generator(lambda z, t: t + 0.2 * z, NOISE, name="shifted")
    for common in (False, True):
        made = mcgen.difference(shifted, MODEL, ERRORS, condition=TRUTHS, common_random_numbers=common, **RUN)
        for part in (*made.conditions, made):
            require_own_truth(part, 0.03)


def test_multilevel() -> None:
    levels = [(COARSE, 1.0), (MODEL, 10.0)]
    made = mcgen.multilevel(levels, ERRORS, condition=TRUTHS, n_evaluations=1280, seed=SEED)
    for part in (*made.conditions, made):
        require_own_truth(part)
    assert made.conditions[0].levels[0].names == ("errors",)


@pytest.mark.parametrize("n_evaluations", [400, 3200])
def test_plans_and_auto(n_evaluations: int) -> None:
    options: dict[str, Any] = {"n_evaluations": n_evaluations, "seed": SEED}
    auto = mcgen.Auto(coarse=[(COARSE, 0.1)], correlation=[0.9] if n_evaluations < 1000 else None)
    made = mcgen.estimate(MODEL, ERRORS, condition=TRUTHS, design=auto, **options)
    for part in (*made.conditions, made):
        require_own_truth(part)
    plan = mcgen.plan(MODEL, ERRORS, condition=TRUTHS["high"], coarse=auto.coarse, **options)
    require_own_truth(plan.estimate())
    assert plan.provenance.statistic == "errors"
    # A pilot of the wrong truth would have predicted the same half-width: the pilot's values are looked at.
    many = stack(*(as_statistic(errors, name=f"e{i}", uses_condition=True) for i in range(9)))
    np.testing.assert_allclose(
        mcgen.estimate(MODEL, many, condition=TRUTHS["high"], design="auto", **options).mean, 0.01, atol=0.02
    )


def test_plans_of_fitted_samplers() -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import DDIM, Schedule

    def denoiser(x: Any, time: Any, condition: Any) -> Any:
        return x - 0.8 * (2 * x - condition).tanh() * (1 - time[:, None])

    sampler = DDIM(denoiser, Schedule.cosine(100), (6,), steps=25)
    seen: list[Any] = []
    statistic = as_statistic(
        lambda x, c: (seen.append(c), ((x - c) ** 2).mean(1))[1], name="squares", uses_condition=True
    )
    options: dict[str, Any] = {"condition": {"a": 0.2, "b": 0.5}, "n_evaluations": 200, "seed": SEED}
    made = mcgen.estimate(sampler, statistic, design="auto", **options)
    plain = mcgen.estimate(sampler, statistic, design=MonteCarlo(), **{**options, "n_evaluations": 3200})
    assert set(seen) == {0.2, 0.5}
    for part, other in zip(made.conditions, plain.conditions, strict=True):
        assert "fitted" in part.summary()
        assert abs(part.mean - other.mean) < 3 * (part.half_width + other.half_width)


def test_controls() -> None:
    truth, basis = TRUTHS["high"], mcgen.bases.dct_basis(NOISE, 2)
    quadratic = mcgen.controls.quadratic(basis)
    run = {**RUN, "condition": truth}
    require_own_truth(mcgen.estimate(MODEL, ERRORS, controls=quadratic, **run))
    fitted = quadratic.fit(MODEL, ERRORS, design=MonteCarlo(), n_evaluations=640, seed=SEED, condition=truth)
    by_hand = quadratic.fit(
        MODEL, with_condition(ERRORS, truth), design=MonteCarlo(), n_evaluations=640, seed=SEED, condition=truth
    )
    np.testing.assert_array_equal(fitted.coefficients, by_hand.coefficients)
    wrong = with_condition(ERRORS, truth - WRONG)
    other = quadratic.fit(MODEL, wrong, design=MonteCarlo(), n_evaluations=640, seed=SEED, condition=truth)
    assert not np.allclose(fitted.coefficients, other.coefficients, rtol=0.1)
    for controls in (fitted, mcgen.controls.surrogate(COARSE, ERRORS, 0.098**2, condition=truth)):
        require_own_truth(mcgen.estimate(MODEL, ERRORS, controls=controls, **run))
    require_own_truth(mcgen.estimate(MODEL, ERRORS, controls=kernel(), **{**run, "design": Antithetic()}))
    common = mcgen.estimate(MODEL, ERRORS, controls=quadratic, condition=TRUTHS, common_random_numbers=True, **RUN)
    for part in (*common.conditions, common):
        require_own_truth(part)
    with pytest.raises(ValueError, match="no condition was given"):
        quadratic.fit(MODEL, ERRORS, design=MonteCarlo(), n_evaluations=640, seed=SEED)
    with pytest.raises(ValueError, match="no condition was given"):
        mcgen.controls.surrogate(COARSE, ERRORS, 0.0)


def test_bases_from_values() -> None:
    # Only the error of the first number counts, and the truth says how.
    first = as_statistic(lambda x, t: (x[:, 0] - t[0]) * (1 + t[0]), name="first", uses_condition=True)
    options: dict[str, Any] = {"n_evaluations": 4000, "seed": SEED}
    found = mcgen.bases.regression_basis(MODEL, first, 1, condition=TRUTHS["high"], **options)
    assert abs(found.matrices["noise"][0, 0]) > 0.99
    with pytest.raises(ValueError, match="no condition was given"):
        mcgen.bases.regression_basis(COARSE, first, 1, **options)


def test_bases_from_gradients() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    # The direction is the condition itself.
    model = from_torch(lambda z, c: z + 0 * c, noise=(3,), name="model")
    along = as_statistic(lambda x, c: x @ c, name="along", uses_condition=True)
    direction = torch.tensor([0.6, 0.0, 0.8])
    found = mcgen.bases.active_subspace(model, along, 1, n_gradients=8, seed=SEED, condition=direction)
    np.testing.assert_allclose(abs(found.matrices["noise"][:, 0]), [0.6, 0.0, 0.8], atol=1e-6)
    z = np.zeros((2, 3), np.float32)
    np.testing.assert_allclose(model.gradient(z, along, direction), np.tile(direction.numpy(), (2, 1)))
    np.testing.assert_allclose(model.jacobian(z, along, direction)[:, 0], np.tile(direction.numpy(), (2, 1)))


def test_captured_samplers() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import capture

    model = capture(lambda n, truth: truth + 0.1 * torch.randn(n, 6), condition=torch.zeros(6), name="captured")
    truths = {name: torch.as_tensor(truth, dtype=torch.float32) for name, truth in TRUTHS.items()}
    made = mcgen.estimate(model, ERRORS, condition=truths, **RUN)
    for part in made.conditions:
        require_own_truth(part)


def test_comparisons() -> None:
    options: dict[str, Any] = {"n_evaluations": 1280, "seed": SEED, "common_random_numbers": True}
    table = mcgen.compare(MODEL, ERRORS, designs=[MonteCarlo(), Antithetic()], condition=TRUTHS, **options)
    for estimate in table.estimates:
        require_own_truth(estimate)
    assert table.estimates[0].conditions[1].provenance.condition == "middle"


@pytest.mark.parametrize("interval", [None, "anytime"])
def test_runs_until_a_tolerance(interval: Any) -> None:
    options: dict[str, Any] = {"common_random_numbers": interval is not None, "interval": interval, "seed": SEED}
    made = mcgen.estimate(MODEL, ERRORS, design=MonteCarlo(), condition=TRUTHS, atol=0.01, **options)
    for part in made.conditions:
        require_own_truth(part)


@pytest.mark.parametrize("common", [False, True])
def test_stores_go_on_and_know_the_truth(tmp_path: Path, common: bool) -> None:
    def run(truths: dict[str, Any], n_evaluations: int, statistic: Any = ERRORS) -> mcgen.Estimate:
        return mcgen.estimate(
            MODEL,
            statistic,
            condition=truths,
            common_random_numbers=common,
            store=tmp_path / "run.sqlite",
            **{**RUN, "n_evaluations": n_evaluations},
        )

    run(TRUTHS, 640)
    longer = run({name: truth.copy() for name, truth in TRUTHS.items()}, 1280)
    assert longer.mean == run(TRUTHS, 1280).mean
    for part in longer.conditions:
        require_own_truth(part)
    with pytest.raises(StoreError, match="condition"):
        run({**TRUTHS, "high": TRUTHS["high"] + 1}, 1280)
    with pytest.raises(StoreError, match="statistic"):
        run(TRUTHS, 1280, as_statistic(lambda x, t: errors(x, t), name="errors", uses_condition=True))
    with pytest.raises(StoreError, match="statistic"):
        run(TRUTHS, 1280, as_statistic(lambda x: x.mean(1), name="errors"))


@pytest.mark.parametrize("condition", [2.5, "a text", (np.ones(6), "pair"), {"a": np.ones(6)}, None])
def test_stores_take_conditions_of_any_kind(tmp_path: Path, condition: Any) -> None:
    model = mcgen.as_generator(lambda z, c: z, NOISE, name="model")
    statistic = as_statistic(lambda x, c: x.mean(1) + len(repr(c)), name="s", uses_condition=True)
    conditions = {"only": condition}
    options: dict[str, Any] = {**RUN, "condition": conditions, "store": tmp_path / "run.sqlite"}
    if condition is None:
        with pytest.raises(ValueError, match="no condition was given"):
            mcgen.estimate(model, statistic, **options)
        assert not (tmp_path / "run.sqlite").exists()
        return
    made = mcgen.estimate(model, statistic, **options)
    again = mcgen.estimate(model, statistic, **{**options, "n_evaluations": 2560})
    assert again.n_replicates == 2560
    assert abs(made.mean - len(repr(condition))) < 0.2


def test_a_statistic_that_counts_its_calls_goes_on(tmp_path: Path) -> None:
    calls = {"n": 0}

    def counted(x: Any, truth: Any) -> Any:
        calls["n"] += 1
        return errors(x, truth)

    statistic = stack(as_statistic(counted, name="counted", uses_condition=True), mcgen.statistics.pixel_mean)
    options: dict[str, Any] = {**RUN, "condition": TRUTHS["low"], "store": tmp_path / "run.sqlite"}
    mcgen.estimate(MODEL, statistic, **options)
    assert mcgen.estimate(MODEL, statistic, **{**options, "n_evaluations": 2560}).n_replicates == 2560
    options = {"condition": TRUTHS, "n_evaluations": 1280, "seed": SEED}
    for store in (tmp_path / "levels.sqlite", tmp_path / "auto.sqlite"):
        made = [
            mcgen.multilevel([(COARSE, 1.0), (MODEL, 10.0)], statistic, store=store, **options)
            if store.stem == "levels"
            else mcgen.estimate(MODEL, statistic, design=mcgen.Auto([(COARSE, 0.1)]), store=store, **options)
            for _ in range(2)
        ]
        np.testing.assert_array_equal(made[0].mean, made[1].mean)


def test_other_processes_get_the_truth() -> None:
    options: dict[str, Any] = {**RUN, "condition": TRUTHS, "n_evaluations": 640}
    here = mcgen.estimate(MODEL, ERRORS, **options)
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        there = mcgen.estimate(MODEL, ERRORS, executor=executor, **options)
        common = mcgen.estimate(MODEL, ERRORS, executor=executor, common_random_numbers=True, **options)
    assert there.conditions == tuple(
        replace(part, provenance=other.provenance)
        for part, other in zip(here.conditions, there.conditions, strict=True)
    )
    for part in (*there.conditions, *common.conditions):
        require_own_truth(part)


def test_a_statistic_that_changes_its_condition_is_refused() -> None:
    def overwrites(x: Any, truth: Any) -> Any:
        truth += 1
        return x.mean(1)

    statistic = as_statistic(overwrites, name="overwrites", uses_condition=True)
    for common in (False, True):
        truths = {name: truth.copy() for name, truth in TRUTHS.items()}
        with pytest.raises(mcgen.RunError, match="statistic 'overwrites' changes its condition"):
            mcgen.estimate(MODEL, statistic, condition=truths, common_random_numbers=common, **RUN)


def test_arguments_that_do_not_fit_get_advice() -> None:
    with pytest.raises(TypeError) as caught:
        mcgen.estimate(MODEL, errors, condition=TRUTHS["low"], **RUN)
    assert any("uses_condition=True" in note for note in caught.value.__notes__)
    alone = as_statistic(mcgen.statistics.pixel_mean, uses_condition=True)
    with pytest.raises(TypeError) as caught:
        mcgen.estimate(MODEL, alone, condition=TRUTHS["low"], **RUN)
    assert any("leave out" in note and "uses_condition=True" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match=r"statistic 'errors' takes \(samples, condition\), and no condition"):
        mcgen.estimate(mcgen.as_generator(lambda z: z, NOISE), ERRORS, **RUN)


def test_psnr_of_three_measurements_is_that_of_each_truth() -> None:
    statistic = as_statistic(lambda x, t: mcgen.statistics.PSNR(t, data_range=9)(x), name="psnr", uses_condition=True)
    made = mcgen.estimate(MODEL, statistic, condition=TRUTHS, **RUN)
    # -10 log10 of a mean of six squares: E log chi2_6 = psi(3) + log 2.
    expected = 10 * np.log10(81 / 0.01) - 10 / np.log(10) * (0.9227843350984671 + np.log(2) - np.log(6))
    for part in made.conditions:
        assert part.replicate_means is not None
        assert abs(z_score(part.replicate_means[:, 0], expected)) < 6


SCALED = as_statistic(lambda x, t: (x - t)[:, :2] * 10, name="scaled", components=["a", "b"], uses_condition=True)
SQUARED = as_statistic(lambda x, t: ((x - t)[:, :2] * 10) ** 2, name="squared", uses_condition=True)
SIGNS = as_statistic(
    lambda x, t: np.stack([x[:, 0] > t[0], x[:, 0] <= t[0]], axis=1), name="signs", uses_condition=True
)


@pytest.mark.parametrize(
    ("functional", "expected"),
    [
        (mcgen.functionals.variance(SCALED), 1.0),
        (mcgen.functionals.covariance(SCALED, SQUARED), 0.0),
        (mcgen.functionals.ratio(SQUARED, as_statistic(lambda x, t: np.ones((len(x), 2)), uses_condition=True)), 1.0),
        (mcgen.functionals.quantile(SCALED, 0.5), 0.0),
        (mcgen.functionals.function_of_means(SQUARED, np.sqrt), 1.0),
        (mcgen.functionals.inception_score(SIGNS), 2.0),
    ],
    ids=lambda one: getattr(one, "label", ""),
)
@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("across", ["average", "mixture"])
def test_functionals(functional: Any, expected: float, common: bool, across: Any) -> None:
    options: dict[str, Any] = {**RUN, "n_evaluations": 3200, "common_random_numbers": common, "across": across}
    made = mcgen.estimate(MODEL, functional, condition=TRUTHS, **options)
    # A truth that is 5 less would move the means by 50.
    for part in (*made.conditions, made):
        np.testing.assert_allclose(part.mean, expected, atol=0.25)
    alone = mcgen.estimate(MODEL, functional, condition=TRUTHS["high"], **{**RUN, "n_evaluations": 3200})
    np.testing.assert_allclose(alone.mean, expected, atol=0.25)
    with pytest.raises(ValueError, match="no condition was given"):
        mcgen.estimate(mcgen.as_generator(lambda z: z, NOISE), functional, **RUN)


def test_statistics_of_functionals_hand_the_condition_on() -> None:
    samples = copies(np.arange(24.0).reshape(4, 6), TRUTHS["high"])
    influence = Influence(SCALED, "influence", ("x", "y"), lambda values: values - 1, ())
    np.testing.assert_allclose(with_condition(influence, TRUTHS["high"])(samples), samples[:, :2] * 10 - 51, atol=1e-9)
    each = Each(SCALED)
    np.testing.assert_allclose(
        with_condition(each, TRUTHS["high"])((samples, samples + 1))[:, 1], (samples[:, :2] - 4) * 10, atol=1e-9
    )
    plain = Each(mcgen.statistics.pixel_mean)
    assert with_condition(plain, TRUTHS["high"]) is plain

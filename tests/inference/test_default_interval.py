"""The interval that is chosen where none is named: which it is for each component, and that it covers.

The integrands below were declared before they were run, and were not used to choose the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SEED
from scipy.special import ndtr

import mcgen
from mcgen.inference.coverage import coverage_warnings
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.intervals import interval_of, methods_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.summation import Reduction
from mcgen.validation.studies.verdicts import share

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

model = mcgen.as_generator(lambda z, shift=0.0: z + shift, noise=(4,), name="model")


def tame(x: np.ndarray) -> np.ndarray:
    return np.tanh(x.sum(axis=1))


def skewed(x: np.ndarray) -> np.ndarray:
    return np.exp(1.3 * x[:, 0] + 0.5 * x[:, 1])


def above(x: np.ndarray) -> np.ndarray:
    return x[:, 0] > 1


def method(statistic: Any = tame, generator: Any = model, **changes: Any) -> str:
    options = {"design": mcgen.Antithetic(), "n_evaluations": 64 * 64, "seed": 0} | changes
    return mcgen.estimate(generator, statistic, **options).method


def test_the_choice_by_design_replicates_and_values() -> None:
    net = mcgen.Sobol(64)
    assert method() == "skewness-safe-t"
    assert method(n_evaluations=20) == "skewness-safe-t"
    assert method(n_evaluations=18) == "student-t"
    assert method(design=net) == "student-t"
    assert method(skewed, design=net) == "skewness-safe-t"
    assert method(design=mcgen.Sobol(32)) == "skewness-safe-t"
    assert method(design=mcgen.LatinHypercube(64)) == "skewness-safe-t"
    few = mcgen.as_generator(lambda z: z, noise=(3,), name="few dimensions")
    assert method(generator=few, design=net) == "skewness-safe-t"
    # Somewhat skewed values of many coordinates, and of one, look alike.
    assert method(lambda x: np.exp(x[:, 0] / 4), design=net) == "skewness-safe-t"
    assert method(lambda x: np.exp(x[:, 0] / 20), design=net) == "student-t"
    blocks = {"start": mcgen.Block((4,)), "rest": mcgen.Block((4,), iid=True)}
    mixed = mcgen.as_generator(lambda z: z["start"] + z["rest"], noise=mcgen.NoiseSpec(blocks), name="mixed")
    assert method(generator=mixed, design=net) == "skewness-safe-t"
    for named in ("student-t", "normal", "skewness-adjusted-t"):
        assert method(interval=named) == named


def test_each_component_has_its_own() -> None:
    both = mcgen.statistics.stack(tame, skewed, above)
    assert method(both) == "skewness-safe-t and proportion"
    assert method(both, design=mcgen.Sobol(64)) == "student-t and skewness-safe-t and proportion"
    assert method(both, simultaneous=True) == "skewness-safe and bonferroni-proportion"
    assert method(above, simultaneous=True) == "proportion"
    made = mcgen.estimate(model, both, design=mcgen.Sobol(64), n_evaluations=64 * 64, seed=0)
    assert "Student t and skewness-safe t and proportion" in str(made)
    alone = [
        mcgen.estimate(model, one, design=mcgen.Sobol(64), n_evaluations=64 * 64, seed=0, interval=name)
        for one, name in ((tame, "student-t"), (skewed, "skewness-safe-t"), (above, "proportion"))
    ]
    for j, one in enumerate(alone):
        assert (made.interval.low[j], made.interval.high[j]) == pytest.approx((one.interval.low, one.interval.high))
        assert made.half_width[j] == pytest.approx(one.half_width)


def test_values_that_only_happen_to_be_0_and_1_are_not_boolean() -> None:
    def numbers(x: np.ndarray) -> np.ndarray:
        return above(x).astype(np.float64)

    assert method(numbers) == "skewness-safe-t"
    assert method(numbers, interval="proportion") == "proportion"
    other = mcgen.as_generator(lambda z: 2 * z, noise=(4,), name="other")
    with pytest.raises(ValueError, match="values are all 0 or 1.*got others"):
        method(tame, interval="proportion")
    with pytest.raises(ValueError, match="values are all 0 or 1.*got others"):
        mcgen.difference(
            model, other, above, design=mcgen.Antithetic(), n_evaluations=200, seed=0, interval="proportion"
        )


def test_what_is_no_longer_boolean() -> None:
    """Differences, averages on the same noise, and means that controls have corrected."""
    run: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 400, "seed": 0}
    assert mcgen.difference(model, model, above, **run).method == "skewness-safe-t"
    common = mcgen.estimate(model, above, condition=[0, 1], common_random_numbers=True, **run)
    assert common.method == "skewness-safe-t"
    assert {part.method for part in common.conditions} == {"proportion"}
    controls = mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 1))
    assert mcgen.estimate(model, above, controls=controls, **run).method == "skewness-safe-t"


def test_torch_statistics_are_boolean_too() -> None:
    torch = pytest.importorskip("torch")
    assert method(mcgen.as_statistic(lambda x: torch.as_tensor(x[:, 0]) > 1, name="above")) == "proportion"
    pair = mcgen.as_statistic(lambda x: x[:, :2] > 1, components=["a", "b"])
    assert method(pair) == "proportion"


def test_an_average_over_conditions_is_a_probability() -> None:
    run: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 400, "seed": 0}
    made = mcgen.estimate(model, above, condition=[-5, 1.0], weights=[0.25, 0.75], **run)
    assert made.method == "proportion"
    assert made.weights == (0.25, 0.75)
    assert made.conditions[0].mean == 0
    assert 0.25 * 0 + 0.75 * made.conditions[1].interval.low <= made.interval.low < made.mean < made.interval.high < 1
    one = mcgen.estimate(model, above, condition={"a": 1.0, "b": 1.0 + 1e-12}, **run)
    twice = mcgen.estimate(model, above, condition=1.0, **run | {"n_evaluations": 800})
    assert np.diff(one.interval) == pytest.approx(np.diff(twice.interval), rel=0.1)


def test_it_is_chosen_again_from_a_file_and_by_another_level(tmp_path: Path) -> None:
    both = mcgen.statistics.stack(tame, skewed, above)
    for condition in (None, [0, 0.5]):
        made = mcgen.estimate(model, both, design=mcgen.Sobol(64), n_evaluations=64 * 20, seed=0, condition=condition)
        made.save(tmp_path / "made.json")
        again = mcgen.Estimate.load(tmp_path / "made.json")
        assert again == made
        wider = again.with_interval(confidence_level=0.99)
        assert wider.method == made.method
        assert (wider.half_width > made.half_width).all()
        assert wider.with_interval(confidence_level=0.95).interval.low == pytest.approx(made.interval.low)


def test_a_store_knows_which_components_are_boolean(tmp_path: Path) -> None:
    both = mcgen.statistics.stack(tame, above)
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "seed": 0, "batch_size": 64}
    options["store"] = tmp_path / "run.sqlite"
    first = mcgen.estimate(model, both, n_evaluations=400, **options)
    assert mcgen.read_store(tmp_path / "run.sqlite")[0].estimate == first
    more = mcgen.estimate(model, both, n_evaluations=1200, **options)
    assert more == mcgen.estimate(model, both, n_evaluations=1200, **options | {"store": None})
    assert more.boolean == (False, True)


# Moments of all values, which the choice for nets is made by.


@pytest.mark.parametrize("n", [3, 256, 1000])
def test_third_moments_of_all_values(n: int) -> None:
    values = np.random.default_rng(n).gamma(0.5, size=(40, n, 2)) + 1e3
    parts = []
    for rows in (range(7), range(7, 40)):
        reduction = Reduction(third=True)
        for points in np.array_split(np.arange(n), min(n, 5)):
            reduction.add(values[rows.start : rows.stop, points[0] : points[-1] + 1])
        parts.append(reduction.finish(rows.start))
    merged = Moments.of(parts[0]).merge(Moments.of(parts[1][:5])).merge(Moments.of(parts[1][5:]))
    flat = values.reshape(-1, 2)
    deviations = flat - flat.mean(axis=0)
    assert merged.third == pytest.approx((deviations**3).mean(axis=0), rel=1e-9)
    expected = (deviations**3).mean(axis=0) / (deviations**2).mean(axis=0) ** 1.5
    assert merged.skewness_of_values == pytest.approx(expected, rel=1e-9)


def test_events_are_counted_for_each_component() -> None:
    values = np.stack([np.array([0.0, 1, 1, 0]), np.array([0, 1, 0.5, 0]), np.ones(4)], axis=1)[None]
    reduction = Reduction()
    reduction.add(values)
    reduction.add(values)
    found = Moments.of(reduction.finish(0))
    assert found.events.tolist() == [4, -1, 8]
    assert found.non_events.tolist() == [4, -1, 0]
    assert found.counted.tolist() == [True, False, True]
    assert found.select(slice(1, 2)).events is None
    halves = Reduction()
    halves.add(values + 0.25)
    assert Moments.of(halves.finish(0)).events is None
    assert found.merge(Moments.of(halves.finish(1))).events is None


# Coverage.


INTEGRANDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine of a weighted sum": lambda z: np.sin(z @ np.linspace(0.2, 0.8, z.shape[-1]) + 0.1),
    "mean of arctangents": lambda z: np.arctan(2 * z - 0.5).mean(axis=-1),
    "weighted sum of exponentials": lambda z: np.exp(0.1 * z) @ np.linspace(1, 2, z.shape[-1]),
    "one coordinate, a little curved": lambda z: z[..., 0] + 0.04 * z[..., 0] ** 2,
    "one coordinate, with a kink": lambda z: z[..., 1] + 0.1 * np.abs(z[..., 1]),
    "one coordinate, cubed": lambda z: (z[..., 0] / 2 + 0.05) ** 3 + z[..., 0],
}
"""Values of skewness up to 0.3, declared before they were tried; the limit was chosen on others."""
TAME: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "product of distribution functions": lambda z: np.prod(0.75 + ndtr(z) / 2, axis=-1),
    "softplus": lambda z: np.logaddexp(0, z.mean(axis=-1) * np.sqrt(z.shape[-1]) - 1),
    "largest coordinate": lambda z: z.max(axis=-1),
    "absolute sum": lambda z: np.abs(z.sum(axis=-1) / np.sqrt(z.shape[-1])),
    "mean square": lambda z: (z**2).mean(axis=-1),
    "one coordinate, exponential": lambda z: np.exp(0.45 * z[..., 0]),
    "two coordinates, convex": lambda z: np.logaddexp(z[..., 0], 0.5 * z[..., 1]),
}
"""Values of skewness up to 2, likewise."""
SKEWED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one coordinate, lognormal": lambda z: np.exp(0.8 * z[..., 0]),
    "one coordinate, beyond a kink": lambda z: np.maximum(z[..., 1] - 0.8, 0),
    "one coordinate, squared": lambda z: (z[..., 0] + 0.2) ** 2,
    "two coordinates, squared": lambda z: np.maximum(z[..., 0] + 0.5 * z[..., 1], 0) ** 2,
    "exponential of the sum": lambda z: np.exp(0.75 * z.sum(axis=-1) / np.sqrt(z.shape[-1])),
}
"""Values of skewness from 2 to 4, likewise."""


def pool(integrand: Callable[[np.ndarray], np.ndarray], d: int, n: int, nets: int) -> tuple[np.ndarray, float]:
    """Return the means of so many nets, and the skewness of all values."""
    means, values = [], []
    for start in range(0, nets, 500):
        found = integrand(mcgen.Sobol(n).draw((d,), range(start, start + 500), SEED).astype(np.float64))
        means.append(found.mean(axis=1))
        values.append(found.ravel())
    flat = np.concatenate(values)
    centred = flat - flat.mean()
    return np.concatenate(means), float((centred**3).mean() / (centred**2).mean() ** 1.5)


def hits(means: np.ndarray, skewness: float, d: int, n: int, r: int, runs: int, name: str | None, **known: Any) -> int:
    """Return how many of so many runs of r replicates, drawn from these means, hold their mean."""
    drawn = np.random.default_rng(SEED).choice(means, (r, runs))
    within = np.ones_like(drawn)
    moments = Moments.of(ReplicateMeans(0, drawn, within, None, n, np.zeros_like(drawn)))
    spread = within.mean() + moments.m2 / r
    third = skewness * spread**1.5
    moments = Moments(**{**vars(moments), "third": third})
    sampled = IntervalInput.of(moments, None, SEED, n_points=n, net=d, **known)
    interval, _, _ = interval_of(sampled, IntervalOptions(0.95, name))
    return int(((interval.low <= means.mean()) & (means.mean() <= interval.high)).sum())


@pytest.mark.study
@pytest.mark.parametrize("d", [4, 12])
@pytest.mark.parametrize("integrand", INTEGRANDS)
def test_students_t_covers_nets_of_hardly_skewed_values(integrand: str, d: int) -> None:
    """At least 0.93 from 5 replicates on, less what 3,000 nets in place of all take away, where it is the default."""
    for n in (64, 512):
        means, skewness = pool(INTEGRANDS[integrand], d, n, 3000)
        assert abs(skewness) <= 0.3
        for r in (5, 10, 25):
            found = hits(means, skewness, d, n, r, 10_000, None)
            assert found == hits(means, skewness, d, n, r, 10_000, "student-t")
            assert share(f"{integrand}, n = {n}, R = {r}", found, 10_000, 0.93, at_least=True).holds


@pytest.mark.study
@pytest.mark.parametrize("d", [4, 12])
@pytest.mark.parametrize("integrand", TAME)
def test_the_default_covers_10_nets_of_tame_values(integrand: str, d: int) -> None:
    """At least 0.93 with 10 nets, from which on no warning comes, and 0.94 from 16 on, to the rounding of tables."""
    for n in (64, 512):
        means, skewness = pool(TAME[integrand], d, n, 3000)
        assert abs(skewness) <= 2
        for r, least in ((10, 0.925), (16, 0.935), (32, 0.935)):
            found = hits(means, skewness, d, n, r, 10_000, None)
            assert share(f"{integrand}, n = {n}, R = {r}", found, 10_000, least, at_least=True).holds


@pytest.mark.study
@pytest.mark.parametrize("d", [4, 12])
@pytest.mark.parametrize("integrand", SKEWED)
def test_the_default_covers_20_nets_of_skewed_values(integrand: str, d: int) -> None:
    """At least 0.94 with 20 nets, from which on no warning comes, to the rounding of tables."""
    for n in (64, 512):
        means, skewness = pool(SKEWED[integrand], d, n, 3000)
        assert 2 < abs(skewness) <= 4
        for r in (20, 32):
            found = hits(means, skewness, d, n, r, 10_000, None)
            assert share(f"{integrand}, n = {n}, R = {r}", found, 10_000, 0.935, at_least=True).holds


@pytest.mark.study
def test_the_default_is_wider_for_nets_of_skewed_values() -> None:
    """Student's t is no choice there: it covers less than the default does, and fails the rule that this one keeps."""
    means, skewness = pool(lambda z: np.exp(z[..., 0] / 2), 4, 64, 4000)
    assert 1 < skewness < 2
    default, student = (hits(means, skewness, 4, 64, 16, 20_000, name) for name in (None, "student-t"))
    assert default > student + 400
    assert not share("student", student, 20_000, 0.935, at_least=True).holds


def test_warnings_of_few_replicates_depend_on_what_is_known() -> None:
    def told(n: int, methods: str, holds: bool, net: bool, skewness: float | None = None) -> bool:
        means = np.random.default_rng(0).normal(size=(n, 1))
        third = None if skewness is None else np.full_like(means, skewness * 2**1.5)
        moments = Moments.of(ReplicateMeans(0, means, np.ones_like(means), None, 64, third))
        known = np.array([holds])
        return bool(coverage_warnings(moments, ["x"], 0.0, methods, student_holds=known, net=net))

    assert not told(8, "student-t", holds=True, net=True)
    assert told(7, "student-t", holds=True, net=True)
    assert told(31, "skewness-safe-t", holds=False, net=True)
    assert not told(32, "skewness-safe-t", holds=False, net=True)
    assert told(31, "skewness-safe-t", holds=False, net=True, skewness=5.0)
    assert told(9, "student-t", holds=False, net=True, skewness=0.5)
    assert not told(10, "skewness-safe-t", holds=False, net=True, skewness=0.5)
    assert told(19, "skewness-safe-t", holds=False, net=True, skewness=3.0)
    assert not told(20, "skewness-safe-t", holds=False, net=True, skewness=3.0)
    assert told(24, "skewness-safe-t", holds=False, net=False)
    assert not told(8, "proportion", holds=False, net=False)


def test_a_constant_indicator_has_an_interval_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    made = mcgen.estimate(model, lambda x: x[:, 0] > 9, design=mcgen.Antithetic(), n_evaluations=400, seed=0)
    assert made.mean == 0
    assert made.interval.low == 0
    assert 0.01 < made.interval.high < 0.03
    assert not [one for one in recwarn if issubclass(one.category, mcgen.CoverageWarning)]
    constant = mcgen.estimate(model, lambda x: 0 * x[:, 0], design=mcgen.Antithetic(), n_evaluations=400, seed=0)
    assert any("no width" in text for text in constant.warnings)


def test_methods_of_components_are_an_array() -> None:
    means = np.random.default_rng(0).normal(size=(30, 3))
    sampled = IntervalInput.of(Moments.of(ReplicateMeans(0, means, np.ones_like(means), None, 1)), None, SEED)
    assert methods_of(sampled, IntervalOptions(0.95)).tolist() == ["skewness-safe-t"] * 3


def test_a_result_cites_the_method_of_each_component() -> None:
    both = mcgen.statistics.stack(skewed, above)
    made = mcgen.estimate(model, both, design=mcgen.Antithetic(), n_evaluations=400, seed=0)
    for key in ("hall1992removal", "clopper1934use", "fay1997confidence", "korn1998confidence"):
        assert key in mcgen.citation(made)

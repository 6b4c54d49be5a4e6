"""Quantiles and expected shortfalls as functionals: what runs of them give, keep and refuse."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.functionals import expected_shortfall, quantile
from mcgen.replicates import gathering
from mcgen.replicates.stores.merging import merge_stores

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

DESIGNS = [MonteCarlo(), Antithetic(), Sobol(64)]


def itself(z: np.ndarray) -> np.ndarray:
    return z


def three(x: np.ndarray) -> np.ndarray:
    return np.stack([x[:, 0], (x**2).sum(1), np.exp(x[:, 1])], axis=1)


def first(x: np.ndarray) -> np.ndarray:
    return x[:, 0]


def even(x: np.ndarray) -> np.ndarray:
    return (x**2).sum(1)


model = mcgen.as_generator(itself, noise=(3,), name="itself")


def run(score: Any = None, **changes: Any) -> mcgen.Estimate:
    options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 1280, "seed": 5} | changes
    if "atol" in options:
        options.pop("n_evaluations")
    return mcgen.estimate(model, quantile(three, 0.9) if score is None else score, **options)


def all_values(statistic: Any, design: Any, n: int, seed: int = 5) -> np.ndarray:
    samples = mcgen.sample(model, n, seed=seed, design=design)
    return np.asarray(statistic(samples), np.float64).reshape(n, -1)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("q", [0.05, 0.5, 0.9, 0.97])
def test_the_estimate_is_the_least_value_that_a_share_q_does_not_exceed(design: Any, q: float) -> None:
    found = run(quantile(three, q), design=design)
    values = np.sort(all_values(three, design, 1280), axis=0)
    expected = values[int(np.ceil(1280 * q - 1e-9)) - 1]
    assert np.array_equal(np.asarray(found.plug_in), expected)
    assert np.allclose(found.mean, expected, rtol=1e-12)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.95])
def test_independent_values_have_the_order_statistics_of_scipy(q: float) -> None:
    found = run(quantile(first, q), design=MonteCarlo())
    values = np.sort(all_values(first, MonteCarlo(), 1280)[:, 0])
    # The quantile test rejects where one of two binomial tails is below 2.5 %; its interval has the same ranks.
    low, high = (int(stats.binom.ppf(p, 1280, q)) for p in (0.025, 0.975))
    assert found.interval == (values[low - 1], values[high])
    own = stats.quantile_test(values, q=0, p=q).confidence_interval(0.95)
    assert found.interval.low <= own.low
    assert own.high <= found.interval.high
    assert found.method == "order-statistics"


def test_the_shortfall_is_the_mean_of_the_values_beyond() -> None:
    found = run(expected_shortfall(three, 0.95))
    beyond = np.sort(all_values(three, Antithetic(), 1280), axis=0)[-64:]
    assert np.allclose(found.mean, beyond.mean(axis=0), rtol=1e-10)


def test_the_shortfall_is_skewness_safe_with_few_replicates() -> None:
    assert run(expected_shortfall(first, 0.9), design=Sobol(64), n_evaluations=384).method == "skewness-safe-t"
    assert run(expected_shortfall(three, 0.9), simultaneous=True).method != "skewness-safe-t"


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("level", [0.5, 0.8, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("simultaneous", [False, True])
def test_other_levels_need_no_other_run(design: Any, level: float, simultaneous: bool) -> None:
    options: dict[str, Any] = {"design": design, "n_evaluations": 12_800, "simultaneous": simultaneous}
    other = run(**options).with_interval(confidence_level=level)
    again = run(confidence_level=level, **options)
    assert np.array_equal(other.interval.low, again.interval.low)
    assert np.array_equal(other.interval.high, again.interval.high)
    assert other.method == again.method
    assert again.quantiles is not None
    assert design == Sobol(64) or len(again.quantiles.values) < 4000  # type: ignore[union-attr]


def test_levels_beyond_what_is_kept_are_refused() -> None:
    found = run(n_evaluations=40_000)
    with pytest.raises(ValueError, match="run it again with confidence_level"):
        found.with_interval(confidence_level=1 - 1e-15)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_values_that_are_all_equal(design: Any) -> None:
    found = run(quantile(lambda x: 0 * x[:, 0] + 3, 0.9), design=design)
    assert (found.mean, found.interval) == (3, (3, 3))
    assert run(expected_shortfall(lambda x: 0 * x[:, 0] + 3, 0.9), design=design).mean == 3


def test_boolean_values_and_few_bits() -> None:
    half = run(quantile(lambda x: x[:, 0] > 0, 0.5))
    assert half.interval == (0, 1)
    assert run(quantile(lambda x: x[:, 0] > 0, 0.9)).interval == (1, 1)
    # float16 has ties by the hundred.
    coarse = run(quantile(lambda x: x[:, 0].astype(np.float16), 0.9))
    fine = run(quantile(first, 0.9))
    assert abs(coarse.mean - fine.mean) < 1e-3
    assert abs(coarse.half_width / fine.half_width - 1) < 0.05


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_a_saved_result_is_the_same(design: Any, tmp_path: Path) -> None:
    for found in (
        run(design=design),
        mcgen.difference(model, model, quantile(three, 0.9), design=design, n_evaluations=640, seed=1),
        mcgen.difference(
            model, model, quantile(three, 0.9), design=design, n_evaluations=640, seed=1, common_random_numbers=False
        ),
    ):
        found.save(tmp_path / "result.json")
        loaded = mcgen.load(tmp_path / "result.json")
        assert loaded == found
        wider = found.with_interval(confidence_level=0.99)
        assert loaded.with_interval(confidence_level=0.99) == wider
        assert np.all(wider.half_width >= np.asarray(found.half_width))


@pytest.mark.parametrize("score", [quantile(three, 0.9), expected_shortfall(three, 0.9)], ids=["quantile", "shortfall"])
def test_the_same_bits_however_a_run_is_cut(score: Any, tmp_path: Path) -> None:
    whole = run(score, batch_size=64)
    run(score, n_evaluations=400, batch_size=64, store=tmp_path / "a.db")
    assert run(score, batch_size=64, store=tmp_path / "a.db") == whole
    with ThreadPoolExecutor(2) as executor:
        assert run(score, batch_size=64, executor=executor) == whole
    for number, part in enumerate((range(256), range(256, 640))):
        run(score, n_evaluations=None, replicates=part, batch_size=64, store=tmp_path / f"part{number}.db")
    merge_stores([tmp_path / "part0.db", tmp_path / "part1.db"], tmp_path / "merged.db")
    assert run(score, batch_size=64, store=tmp_path / "merged.db") == whole


def test_processes_give_the_same_bits() -> None:
    with ProcessPoolExecutor(1) as executor:
        assert run(executor=executor) == run()


def test_more_values_than_are_kept_are_refused_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_BYTES", 8 * 3 * 1000)
    with pytest.raises(mcgen.RunError, match="use up to 1,000 evaluations") as caught:
        run(n_evaluations=12_800, batch_size=200)
    partial = caught.value.partial
    assert partial is None or partial.names == ("three[0]", "three[1]", "three[2]")
    # A run that stops by itself sees only then that it has too many.
    with pytest.raises(mcgen.RunError, match="use up to 1,000 evaluations") as caught:
        run(atol=0.01)
    assert caught.value.partial is not None
    assert run(n_evaluations=1000).n_evaluations == 1000


def test_values_that_are_no_numbers_are_refused_before() -> None:
    with pytest.raises(mcgen.RunError, match="NaN or infinity"):
        run(quantile(lambda x: np.where(x[:, 0] > 2, np.nan, x[:, 0]), 0.5))


@pytest.mark.parametrize(
    ("q", "error", "match"),
    [
        (0, ValueError, "between 0 and 1"),
        (1, ValueError, "between 0 and 1"),
        (95, ValueError, "write q=0.95"),
        (np.nan, ValueError, "finite"),
        (True, TypeError, "number"),
        ("0.5", TypeError, "number"),
    ],
)
def test_wrong_probabilities(q: Any, error: type[Exception], match: str) -> None:
    for make in (quantile, expected_shortfall):
        with pytest.raises(error, match=match):
            make(first, q)


def test_quantiles_beyond_all_values_are_refused_with_advice() -> None:
    with pytest.raises(mcgen.RunError, match="use at least 10,000 evaluations") as caught:
        run(quantile(first, 0.9999))
    assert caught.value.partial.names == ("first",)


@pytest.mark.parametrize("interval", ["student-t", "bootstrap-t", "proportion", "anytime", "betting"])
def test_other_intervals_are_refused_by_name(interval: str) -> None:
    with pytest.raises(ValueError, match="0.9 quantile"):
        run(interval=interval)


@pytest.mark.parametrize("simultaneous", ["bootstrap-max-t", "skewness-safe"])
def test_simultaneous_intervals_are_bonferronis(simultaneous: Any) -> None:
    with pytest.raises(ValueError, match="Bonferroni"):
        run(simultaneous=simultaneous)
    assert run(simultaneous=True).method == "bonferroni-quantile-inversion"


@pytest.mark.parametrize("q", [0.9, 0.99, 0.01])
def test_independent_values_have_two_ends_from_the_number_that_the_warning_names_on(q: float) -> None:
    n = int(2 / min(q, 1 - q))
    with pytest.warns(mcgen.CoverageWarning, match="evaluations would have two ends") as caught:
        found = run(quantile(first, q), design=MonteCarlo(), n_evaluations=n)
    assert np.isinf(found.half_width)
    need = int(str(caught[0].message).split("about ")[1].split()[0].replace(",", ""))
    assert np.isfinite(run(quantile(first, q), design=MonteCarlo(), n_evaluations=need).half_width)
    assert np.isinf(run(quantile(first, q), design=MonteCarlo(), n_evaluations=need - 1).half_width)


def test_the_warning_is_of_the_level_that_was_asked_for() -> None:
    options: dict[str, Any] = {"design": MonteCarlo(), "n_evaluations": 400}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(quantile(first, 0.99), **options)
    with pytest.warns(mcgen.CoverageWarning, match="about 757 evaluations"):
        run(quantile(first, 0.99), confidence_level=0.999, **options)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_a_first_stage_has_enough_values_and_not_as_many_replicates(design: Any) -> None:
    found = run(quantile(first, 0.9), design=design, atol=0.5)
    assert found.stopping is not None
    # First stages are whole batches, and one that looks skewed is longer.
    assert found.stopping.first_count is not None
    assert max(32, 100 / design.n_points) <= found.stopping.first_count <= max(64, 2 * 100 / design.n_points)
    assert found.n_evaluations >= 100
    assert found.half_width <= 0.5


def test_a_run_that_stops_reaches_its_tolerance_or_says_that_it_does_not() -> None:
    found = run(quantile(first, 0.9), atol=0.08)
    assert found.stopping is not None
    assert found.stopping.reached
    assert found.half_width <= 0.08
    assert found.with_interval(confidence_level=0.95).interval == found.interval
    short = run(quantile(first, 0.9), atol=0.02, max_evaluations=1000)
    assert short.stopping is not None
    assert not short.stopping.reached
    assert short.n_evaluations <= 1000


def test_a_wider_interval_than_the_rule_takes_it_to_be_has_not_reached_the_tolerance() -> None:
    # By chance the first values beyond the quantile are far apart.
    found = run(quantile(even, 0.9), atol=1.3, max_evaluations=300, seed=19)
    assert found.half_width > 1.3
    assert found.stopping is not None
    assert not found.stopping.reached
    assert "has half-width" in found.stopping.reason


@pytest.mark.parametrize("common", [False, True])
def test_the_quantile_of_a_mixture_of_laws_far_apart(common: bool) -> None:
    shifted = mcgen.as_generator(lambda z, c: z + c, noise=(3,), name="shifted")
    options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 1280, "seed": 5, "condition": [0.0, 100.0]}
    options["common_random_numbers"] = common
    mixture = mcgen.estimate(shifted, quantile(first, 0.9), across="mixture", weights=[0.8, 0.2], **options)
    medians = mcgen.estimate(shifted, quantile(first, 0.5), **options)
    # 0.8 of all values are of the first law, and half of the others make 0.9.
    assert mixture.plug_in == medians.conditions[1].plug_in
    assert mixture.method == "quantile-inversion"


def test_several_conditions_that_stop_allow_for_it() -> None:
    shifted = mcgen.as_generator(lambda z, c: z + c, noise=(3,), name="shifted")
    options: dict[str, Any] = {"condition": [0.0, 1.0], "atol": 0.15, "seed": 5, "design": Antithetic()}
    for across in ("average", "mixture"):
        found = mcgen.estimate(shifted, quantile(first, 0.9), common_random_numbers=True, across=across, **options)
        assert found.stopping is not None
        assert found.stopping.reached
        assert max(one.half_width for one in (*found.conditions, found)) <= 0.15
    assert mcgen.estimate(shifted, quantile(first, 0.9), **options).method == "quantile-sum"

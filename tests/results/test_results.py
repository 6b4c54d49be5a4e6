"""Results: what they print, keep, save and draw; comparisons and efficiencies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, logistic, logistic_until
from scipy import stats

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, NoiseSpec, Sobol
from mcgen.inference.efficiency import log_variance, over_monte_carlo
from mcgen.inference.interval_input import skewness_safe_ends
from mcgen.inference.log_ratios import welch_satterthwaite
from mcgen.results.text import component_text, number_pair
from mcgen.statistics import identity, pixel_mean, stack
from mcgen.variance_reduction.bases.cosines import dct_basis

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


def spread(x: np.ndarray) -> np.ndarray:
    return x.std(axis=1)


BOTH = stack(pixel_mean, spread)


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_prints_in_one_readable_line(estimate) -> None:
    line = str(estimate(n_evaluations=3200, seed=0))
    assert line == "0.69673 ± 0.00047 (95 % skewness-safe t, 1600 replicates of 2 points, Antithetic(), seed 0)"
    assert str(estimate(statistic=BOTH, design=MonteCarlo())).startswith("pixel_mean 0.69")
    assert "3072 components, means" in str(
        estimate(generator=mcgen.as_generator(logistic, (3072,)), statistic=identity, n_evaluations=32000)
    )


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [(0.30931, 0.00112, "0.3093 ± 0.0011"), (1234.5, 67.0, "1234 ± 67"), (2.0, 0.0, "2 ± 0"), (1e-9, 1e-12, "1e-09 ± 1e-12"), (31234.0, 5678.0, "31234 ± 5678")],
)  # fmt: skip
def test_numbers_are_rounded_to_their_half_width(mean: float, half: float, text: str) -> None:
    assert component_text(mean, mean - half, mean + half, half) == text
    assert number_pair(mean, half)[0] == text.split()[0]


def test_asymmetric_intervals_print_their_ends() -> None:
    assert component_text(1.0, 0.9, 1.3, 0.2) == "1.00 [0.90, 1.30]"
    assert component_text(0.0, 0.0, 0.0074, 0.0037) == "0.0000 [0.0000, 0.0074]"


def test_sides_that_are_equal_as_shown_print_once() -> None:
    assert component_text(0.69673, 0.696271, 0.697195, 0.000462) == "0.69673 ± 0.00046"
    assert component_text(0.69673, 0.696251, 0.697195, 0.000472) == "0.69673 [0.69625, 0.69720]"
    # Ends beside a mean that is far larger have lost their digits, and the half-width has not.
    assert component_text(1e15, 1e15, 1e15 + 0.125, 0.062) == "1000000000000000.000 ± 0.062"


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_summary_says_what_was_done(estimate) -> None:
    text = estimate(statistic=BOTH, design=Sobol(16)).summary()
    for part in ("E[S(logistic(noise))] for S = pixel_mean, spread", "Sobol(n_points=16), 40 replicates of 16 points", "640", "normal(16) float32", f"seed         {SEED}", "batch size   64", "seconds", "mcgen 0"):  # fmt: skip
        assert part in text
    many = estimate(statistic=identity, design=Sobol(16), generator=mcgen.as_generator(logistic, (99,))).summary()
    assert "79 more" in many


def test_frames_have_a_row_a_component(estimate) -> None:
    frame = estimate(statistic=BOTH, design=Sobol(16)).to_frame()
    assert frame["component"].tolist() == ["pixel_mean", "spread"]
    assert (frame["low"] < frame["mean"]).all()
    assert (frame["half_width"] > 0).all()


@pytest.mark.parametrize("changes", [{}, {"statistic": identity, "n_evaluations": 6400}, {"condition": [0, 1]}, {"interval": "bootstrap-t"}, {"seed": np.random.SeedSequence(2**100, spawn_key=(1, 2))}])  # fmt: skip
def test_saved_estimates_load_as_they_were(estimate, changes: dict, tmp_path) -> None:
    conditional = mcgen.as_generator(lambda z, c=0: logistic(z + c), (16,))
    result = estimate(**({"generator": conditional, "design": Sobol(16), "n_evaluations": 3200} | changes))
    result.save(tmp_path / "run.json")
    loaded = mcgen.Estimate.load(tmp_path / "run.json")
    assert loaded == result
    assert hash(loaded) == hash(result)
    assert loaded.provenance.seconds == result.provenance.seconds
    assert loaded.provenance.versions == result.provenance.versions
    assert str(loaded) == str(result)
    if not changes.get("condition"):
        again = result.with_interval(interval="bootstrap-t")
        assert loaded.with_interval(interval="bootstrap-t") == again


def test_equality_sees_every_bit_but_not_the_clock(estimate) -> None:
    result, again = estimate(), estimate()
    assert result.provenance.seconds != again.provenance.seconds
    assert result == again
    assert result != estimate(confidence_level=0.9)
    assert result != 3


def test_a_file_of_the_first_schema_loads(estimate, tmp_path) -> None:
    """It has no skewness, so that all intervals can be made but the one adjusted for it."""
    path = tmp_path / "old.json"
    result = estimate(interval="student-t")
    result.save(path)
    content = json.loads(path.read_text())
    del content["skewness"]
    path.write_text(json.dumps(content | {"schema": 1}))
    loaded = mcgen.Estimate.load(path)
    assert loaded.with_interval(confidence_level=0.9).interval == result.with_interval(confidence_level=0.9).interval
    with pytest.raises(ValueError, match="an older version does not have; use student-t"):
        loaded.with_interval(interval="skewness-adjusted-t")


def test_files_of_other_kinds_and_newer_schemas_are_refused(estimate, tmp_path) -> None:
    path = tmp_path / "run.json"
    estimate().save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema": 99}))
    with pytest.raises(
        ValueError, match="was saved with schema 99, this version of mcgen reads up to 2; upgrade mcgen"
    ):
        mcgen.Estimate.load(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="holds something mcgen did not save; an mcgen estimate is needed"):
        mcgen.Estimate.load(path)
    path.write_text("not json")
    with pytest.raises(ValueError, match="is not a file that mcgen saved"):
        mcgen.Comparison.load(path)


def test_results_are_frozen(estimate) -> None:
    with pytest.raises(AttributeError):
        estimate().mean = 0.0


def test_html_and_figures(estimate, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    result = estimate(statistic=BOTH, design=Sobol(16))
    assert result._repr_html_().startswith("<table>")
    result.plot().savefig(tmp_path / "interval.png")
    pictures = estimate(
        generator=mcgen.as_generator(logistic, (3, 4, 4)), statistic=identity, design=Sobol(16), n_evaluations=3200
    )
    figure = pictures.plot()
    assert [ax.get_title() for ax in figure.axes[:2]] == [
        "mean\n(red, green and blue)",
        "half-width of the 95\u00a0% interval\n(skewness-safe t)\n(average of the channels)",
    ]
    assert estimate(keep_replicates=False).plot().axes[0].has_data()


def test_another_interval_without_another_run(estimate) -> None:
    result = estimate(statistic=BOTH, design=Sobol(8))
    wider = result.with_interval(confidence_level=0.99)
    assert (wider.half_width > result.half_width).all()
    together = result.with_interval(simultaneous=True)
    assert together.method == "bootstrap-max-t"
    assert result.with_interval(interval="normal") == estimate(statistic=BOTH, design=Sobol(8), interval="normal")


def test_comparison_table(generator, tmp_path) -> None:
    designs = [MonteCarlo(), Antithetic(), Sobol(64)]
    table = mcgen.compare(generator, BOTH, designs=designs, n_evaluations=3200, seed=SEED)
    frame = table.to_frame().set_index(["design", "component"])
    base = frame.loc[("MonteCarlo()", "pixel_mean")]
    pairs = frame.loc[("Antithetic()", "pixel_mean")]
    assert base[["relative_efficiency", "efficiency_low", "relative_efficiency_width"]].tolist() == [1, 1, 1]
    assert pairs["relative_efficiency"] == pytest.approx(
        (base["standard_error"] / pairs["standard_error"]) ** 2, rel=0.01
    )
    assert pairs["relative_efficiency_width"] == pytest.approx(
        (base["half_width"] / pairs["half_width"]) ** 2, rel=0.01
    )
    assert pairs["efficiency_low"] < pairs["relative_efficiency"] < pairs["efficiency_high"]
    expected = pairs["relative_efficiency"] * base["seconds_per_evaluation"] / pairs["seconds_per_evaluation"]
    assert pairs["efficiency_per_second"] == pytest.approx(expected)
    assert "1 (baseline)" in str(table)
    assert "Antithetic()" in table._repr_html_()
    table.save(tmp_path / "table.json")
    assert mcgen.Comparison.load(tmp_path / "table.json") == table


def test_comparison_counts_the_t_quantile(generator) -> None:
    table = mcgen.compare(generator, pixel_mean, designs=[MonteCarlo(), Sobol(128)], n_evaluations=3200, seed=SEED)
    row = table.to_frame().iloc[1]
    assert row["relative_efficiency_width"] < 0.97 * row["relative_efficiency"]


@pytest.mark.parametrize("conditions", [{}, {"condition": [0.0, 1.0], "common_random_numbers": True}])
def test_comparison_charges_the_pilot(generator, conditions: dict) -> None:
    """A pilot of as many evaluations as the run halves the efficiency; under two conditions it is a third of all."""
    free = mcgen.Subspace(dct_basis((16,), 2), Sobol(16))
    dear = mcgen.Subspace(replace(free.basis, n_evaluations=1600), Sobol(16))
    if conditions:
        generator = mcgen.as_generator(logistic, (16,))
    options = {"designs": [MonteCarlo(), dear], "n_evaluations": 1600, "seed": SEED} | conditions
    table = mcgen.compare(generator, pixel_mean, **options)
    plain, one = table.estimates
    uncharged = mcgen.Comparison(
        (plain, replace(one, provenance=replace(one.provenance, pilot_evaluations=0))), table.baseline
    )
    columns = ["relative_efficiency", "efficiency_low", "relative_efficiency_width", "efficiency_per_second"]
    charged, whole = (each.to_frame().iloc[-1] for each in (table, uncharged))
    share = 2 / 3 if conditions else 1 / 2
    assert charged[columns].tolist() == pytest.approx([share * whole[name] for name in columns])
    assert charged["pilot_evaluations"] == 1600
    assert "pilot" in table.readable()
    assert "1,600" in str(table)
    assert "count the evaluations of pilots" in str(table)
    assert "pilot" not in str(uncharged)


def test_interrupted_comparison_keeps_the_finished_designs(generator) -> None:
    broken = mcgen.as_generator(logistic_until(120, KeyboardInterrupt()), (16,))
    table = mcgen.compare(
        broken, pixel_mean, designs=[Antithetic(), MonteCarlo(), KAntithetic(8)], n_evaluations=3200, seed=SEED
    )
    assert [one.provenance.design for one in table.estimates] == ["Antithetic()", "MonteCarlo()"]
    assert table.baseline == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"designs": [Antithetic(), Antithetic()]}, "one or more designs, all different"),
        ({"designs": []}, "one or more designs"),
        ({"designs": [Sobol(256)], "n_evaluations": 1024}, "an efficiency needs at least 5 replicates; got 4 of .* Use 1280"),
        ({"designs": [KAntithetic(3)]}, "multiple of the 3 points"),
        ({"designs": [KAntithetic(3), Sobol(16)], "n_evaluations": 1000}, r"the points of every design \(3 of KAntithetic\(k=3\), 16 of .*Use 960 or 1008"),
        ({"designs": [KAntithetic(3), Sobol(16)], "n_evaluations": 48}, "for 5 replicates of each or more; got 48. Use 96$"),
        ({"designs": [Antithetic()], "baseline": 3}, "baseline must be one of the designs, or its position from 0 to 0; got 3"),
        ({"designs": [Antithetic()], "condition": [1, 2], "across": "population"}, "the spread between conditions is the same for all; got across='population'"),
    ],
)  # fmt: skip
def test_comparisons_refused_before_anything_runs(options: dict, message: str) -> None:
    def never(z: np.ndarray) -> np.ndarray:
        raise AssertionError("ran")

    with pytest.raises(ValueError, match=message):
        mcgen.compare(mcgen.as_generator(never, (4,)), pixel_mean, **({"n_evaluations": 640, "seed": 0} | options))


def test_citations_name_the_methods_used(estimate, generator) -> None:
    sobol = mcgen.citation(estimate(design=Sobol(16)))
    assert "joe2008sobol" in sobol
    assert "jia2025antithetic" not in sobol
    few = {"statistic": BOTH, "design": Sobol(16), "simultaneous": True, "keep_replicates": False}
    assert "dunn1961" in mcgen.citation(estimate(**few))
    table = mcgen.compare(generator, pixel_mean, designs=[MonteCarlo(), Antithetic()], n_evaluations=640, seed=0)
    assert "jia2025antithetic" in mcgen.citation(table)
    basis = dct_basis((16,), 2)
    cosines, active = (mcgen.Subspace(one, Sobol(16)) for one in (basis, replace(basis, made="active subspace")))
    for key in ("caflisch1997valuation", "joe2008sobol", "hammersley1956antithetic"):
        assert key in mcgen.citation(estimate(design=cosines))
    assert "constantine2014active" in mcgen.citation(estimate(design=active))
    assert "constantine2014active" not in mcgen.citation(estimate(design=cosines))
    conditional = mcgen.as_generator(lambda z, c: logistic(z + c), (16,))
    assert "welch1947" in mcgen.citation(estimate(generator=conditional, condition=[0, 1]))


def test_jackknife_is_the_loop_that_leaves_one_out() -> None:
    x = np.random.default_rng(SEED).gamma(2.0, size=(40, 2))
    within = np.random.default_rng(SEED + 1).gamma(2.0, size=(40, 2))

    def jackknife(function) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        whole = function(x, within)
        left = np.array([function(np.delete(x, i, 0), np.delete(within, i, 0)) for i in range(40)])
        pseudo_values = 40 * whole - 39 * left
        skewness = stats.skew(pseudo_values, bias=False) / np.sqrt(40)
        return pseudo_values.mean(axis=0), pseudo_values.var(axis=0, ddof=1) / 40, skewness

    value, variance, skewness = jackknife(lambda b, w: np.log(b.var(axis=0, ddof=1)))
    ours = log_variance(x, within, 2.0**-52)
    assert ours.value == pytest.approx(value)
    assert ours.variance == pytest.approx(variance)
    assert ours.skewness == pytest.approx(skewness)
    value, variance, skewness = jackknife(
        lambda b, w: np.log((w.mean(axis=0) + b.var(axis=0, ddof=1)) / (8 * b.var(axis=0, ddof=1)))
    )
    ratio, interval = over_monte_carlo(x, within, 8, 0.95)
    assert np.log(ratio) == pytest.approx(value)
    low, high = skewness_safe_ends(np.full(2, 2.0226909), skewness)
    assert np.log(interval.low) == pytest.approx(value + low * np.sqrt(variance) * (1 + 3 / np.sqrt(40)))
    assert np.log(interval.high) == pytest.approx(value + high * np.sqrt(variance))


def test_own_run_shows_the_efficiency_over_monte_carlo(estimate, generator) -> None:
    alone, interval = estimate(n_evaluations=6400).relative_efficiency()
    table = mcgen.compare(generator, pixel_mean, designs=[MonteCarlo(), Antithetic()], n_evaluations=6400, seed=SEED)
    row = table.to_frame().iloc[1]
    assert interval.low < row["relative_efficiency"] < interval.high
    assert row["efficiency_low"] < alone < row["efficiency_high"]
    with pytest.raises(ValueError, match="keep_replicates=True"):
        estimate(keep_replicates=False).relative_efficiency()


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_efficiency_of_what_does_not_vary_is_not_a_number(estimate) -> None:
    value, interval = estimate(statistic=lambda x: 0 * x[:, 0] + 0.1).relative_efficiency()
    assert np.isnan(value)
    assert np.isnan(interval.low)


def test_welch_satterthwaite() -> None:
    equal = welch_satterthwaite(np.ones((3, 1)), np.full((3, 1), 9.0))
    assert equal == pytest.approx(27.0)
    assert welch_satterthwaite(np.zeros((2, 1)), np.array([[9.0], [4.0]])) == pytest.approx(4.0)
    assert Z_LIMIT > 5


def test_asking_for_another_level_keeps_the_method(estimate) -> None:
    result = estimate(statistic=BOTH, design=Sobol(8), interval="bootstrap-t")
    assert result.with_interval(confidence_level=0.9).method == "bootstrap-t"
    together = estimate(statistic=BOTH, design=Sobol(8), simultaneous=True)
    assert together.with_interval(confidence_level=0.9).method == together.method == "bootstrap-max-t"


def test_maps_can_be_compared_and_shown(tmp_path) -> None:
    maps = mcgen.as_generator(logistic, (3, 16, 32))
    with pytest.warns(mcgen.CoverageWarning, match="have skewness"):
        table = mcgen.compare(
            maps, identity, designs=[MonteCarlo(), KAntithetic(8)], n_evaluations=800, seed=0, interval="student-t"
        )
    assert "1524 more components are in to_frame()" in str(table)
    assert len(str(table).splitlines()) < 40
    assert len(table.to_frame()) == 2 * 1536
    with pytest.raises(ValueError, match="leave out keep_replicates=False"):
        mcgen.compare(maps, identity, designs=[MonteCarlo()], n_evaluations=800, seed=0, keep_replicates=False)


@pytest.mark.parametrize("interval", [None, "normal", "student-t"])
def test_width_ratio_is_that_of_students_intervals_whichever_are_printed(generator, interval) -> None:
    options = {"designs": [MonteCarlo(), Sobol(16)], "n_evaluations": 640, "seed": SEED}
    table = mcgen.compare(generator, BOTH, interval=interval, **options)
    rows = mcgen.compare(generator, BOTH, interval="student-t", **options).to_frame()
    expected = (rows["half_width"][:2].to_numpy() / rows["half_width"][2:].to_numpy()) ** 2
    assert table.to_frame()["relative_efficiency_width"][2:].to_numpy() == pytest.approx(expected)
    assert "below 100 their intervals are wide" in str(table)


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_efficiency_of_rounding_is_not_a_number() -> None:
    """z + 1 in float32: pairs have exactly the mean 1 but for rounding."""
    generator = mcgen.as_generator(lambda z: z + 1, (16,))
    table = mcgen.compare(generator, pixel_mean, designs=[MonteCarlo(), Antithetic()], n_evaluations=640, seed=0)
    row = table.to_frame().iloc[1]
    assert np.isnan(row["relative_efficiency"])
    assert "not defined" in str(table)
    value, _ = table.estimates[1].relative_efficiency()
    assert np.isnan(value)


def test_large_offsets_in_float64_are_no_rounding() -> None:
    generator = mcgen.as_generator(lambda z: 1e9 + np.exp(z), mcgen.NoiseSpec.normal((16,), "float64"))
    result = mcgen.estimate(generator, pixel_mean, design=Antithetic(), n_evaluations=6400, seed=0)
    assert not [text for text in result.warnings if "rounding" in text]


def test_a_comparison_that_breaks_carries_the_finished_designs() -> None:
    with pytest.raises(RuntimeError) as caught:
        mcgen.compare(
            mcgen.as_generator(logistic_until(70, RuntimeError("out of memory")), (16,)), pixel_mean, designs=[Antithetic(), MonteCarlo()], n_evaluations=3200, seed=0
        )  # fmt: skip
    assert [one.provenance.design for one in caught.value.partial.estimates] == ["MonteCarlo()"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"designs": "antithetic"}, "each of designs must satisfy mcgen.Design; got 'antithetic'"),
        ({"designs": [Antithetic]}, "design must be a design, not the class Antithetic; add parentheses"),
        ({"baseline": 1.0}, "baseline must be an int; got 1.0 of type float; write 1"),
        ({"generator": logistic}, "generator must satisfy mcgen.Generator"),
        ({"n_evaluations": 640.0}, "n_evaluations must be an int; got 640.0 of type float; write 640"),
    ],
)
def test_comparisons_check_what_they_are_given(generator, changes: dict, message: str) -> None:
    arguments = {
        "generator": generator,
        "designs": [MonteCarlo(), Antithetic()],
        "n_evaluations": 640,
        "seed": 0,
    } | changes
    with pytest.raises(TypeError, match=message):
        mcgen.compare(arguments.pop("generator"), pixel_mean, **arguments)


def test_a_design_can_be_the_baseline(generator) -> None:
    designs = [MonteCarlo(), Antithetic()]
    table = mcgen.compare(generator, pixel_mean, designs=designs, n_evaluations=640, seed=0, baseline=Antithetic())
    assert table.baseline == 1


def test_timing_leaves_out_the_first_batch() -> None:
    import time

    first = True

    def warms_up(z: np.ndarray) -> np.ndarray:
        nonlocal first
        if first:
            time.sleep(0.5)
        first = False
        return logistic(z)

    result = mcgen.estimate(
        mcgen.as_generator(warms_up, (16,)), pixel_mean, design=Antithetic(), n_evaluations=640, seed=0
    )
    assert result.provenance.seconds > 0.5
    assert result.provenance.seconds_per_evaluation < 0.1 * 0.5 / 640


@pytest.mark.parametrize("seed", [np.random.SeedSequence(np.array([1, 2], dtype=np.uint32)), np.random.SeedSequence([2**80, 3]), np.int64(5)])  # fmt: skip
def test_every_legal_seed_can_be_saved(estimate, seed, tmp_path) -> None:
    result = estimate(seed=seed)
    result.save(tmp_path / "run.json")
    assert mcgen.Estimate.load(tmp_path / "run.json") == result


def test_incomplete_files_are_refused(estimate, tmp_path) -> None:
    path = tmp_path / "run.json"
    estimate().save(path)
    content = json.loads(path.read_text())
    for broken in ({k: v for k, v in content.items() if k != "moments"}, content | {"more": 1}):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match="the saved estimate is incomplete"):
            mcgen.Estimate.load(path)
    path.write_text(json.dumps({"mcgen": "estimate"}))
    with pytest.raises(ValueError, match="has no schema number"):
        mcgen.Estimate.load(path)


def test_differences_are_drawn_by_sign() -> None:
    pytest.importorskip("matplotlib")
    a, b = (mcgen.as_generator(lambda z, s=s: logistic(z) * s, (4, 4)) for s in (1.0, 1.1))
    figure = mcgen.difference(a, b, identity, design=MonteCarlo(), n_evaluations=640, seed=0).plot()
    assert figure.axes[0].images[0].get_cmap().name == "RdBu_r"


def test_half_widths_keep_their_digits_where_the_mean_is_far_larger() -> None:
    """At 1e15 with a standard deviation of 10 the ends of the interval differ by less than their last digit."""
    large = mcgen.as_generator(lambda z: 1e15 + 10 * z, NoiseSpec.normal((1,), "float64"), name="large")
    small = mcgen.as_generator(lambda z: 10 * z, NoiseSpec.normal((1,), "float64"), name="small")
    made, wanted = (
        mcgen.estimate(one, lambda x: x[:, 0], design=MonteCarlo(), n_evaluations=100_000, seed=0)
        for one in (large, small)
    )
    assert made.half_width == pytest.approx(wanted.half_width, rel=0.02)
    assert made.with_interval(confidence_level=0.99).half_width > 1.3 * made.half_width


def test_estimates_saved_without_half_widths_load(estimate, tmp_path: Path) -> None:
    made = estimate()
    made.save(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text())
    del content["half_width"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    loaded = mcgen.load(tmp_path / "run.json")
    assert loaded == made
    assert loaded.half_width == pytest.approx(made.half_width, rel=1e-9)

"""`mcgen.analysis.pairs`: correlations and distances in pairs, tests, and what pairs are worth."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from scipy import stats

import mcgen
from mcgen.analysis import measures as own_measures
from mcgen.analysis import pairs
from mcgen.analysis.pair_analysis import PairAnalysis
from mcgen.analysis.pair_tests import holm, log_t_tail
from mcgen.designs import Antithetic, KAntithetic
from mcgen.errors import RunError
from mcgen.noise import Noise

MATRIX = np.random.default_rng(3).standard_normal((12, 12)).astype(np.float32)
MEAN = 2 + np.arange(12, dtype=np.float32)


def affine(z: Noise, shift: float = 0.0) -> np.ndarray:
    assert isinstance(z, np.ndarray)
    return (MEAN + z.reshape(len(z), -1) @ MATRIX + shift).reshape(len(z), 3, 4)


def curved(z: Noise) -> np.ndarray:
    assert isinstance(z, np.ndarray)
    return np.exp(z / 2) + z[:, ::-1] ** 2 / 4


AFFINE = mcgen.as_generator(affine, noise=(3, 4), name="affine")
CURVED = mcgen.as_generator(curved, noise=(3, 4), name="curved")


def means(found: PairAnalysis) -> dict[tuple[str, str], float]:
    frame = found.to_frame()
    return {(row.kind, row.measure): row.mean for row in frame.itertuples()}


def test_negated_noise_of_an_affine_model_is_perfectly_anticorrelated_about_the_mean() -> None:
    found = means(pairs(AFFINE, n_pairs=1000, seed=SEED))
    assert found["negated", "centralized"] < -0.99
    assert abs(found["independent", "centralized"]) < 0.05
    # The mean sample, which all share, makes the plain correlations larger.
    assert found["independent", "standard"] > 0.1


def test_independent_pairs_have_correlation_0_on_average() -> None:
    def found(centre: Any, kinds: tuple[str, ...] = ("negated", "independent")) -> np.ndarray:
        options: dict[str, Any] = {"n_pairs": 10, "measures": ["centralized"], "kinds": kinds}
        return np.array(
            [
                means(pairs(AFFINE, seed=SEED + i, centre=centre, **options))["independent", "centralized"]
                for i in range(400)
            ]
        )

    unbiased, with_all = map(found, ("unbiased", "all"))
    left_out = found("leave-pair-out", ("independent",))
    error = unbiased.std(ddof=1) / math.sqrt(400)
    assert abs(unbiased.mean()) < 4 * error
    # The negative controls: both others miss the test.
    assert left_out.mean() > 4 * error
    assert with_all.mean() < -4 * error


def test_correlations_and_distances_are_those_of_numpy_and_scipy() -> None:
    found = pairs(CURVED, n_pairs=50, seed=SEED, kinds=["negated"], centre="all")
    samples = mcgen.sample(CURVED, 100, seed=SEED, design=Antithetic()).reshape(50, 2, 12).astype(np.float64)
    mean = samples.mean(axis=(0, 1))
    for i, (x, y) in enumerate(samples):
        assert found.values["negated", "standard"][0, i] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
        centred = np.corrcoef(x - mean, y - mean)[0, 1]
        assert found.values["negated", "centralized"][0, i] == pytest.approx(centred, abs=1e-9)
        distance = stats.wasserstein_distance(x, y)
        assert found.values["negated", "wasserstein"][0, i] == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_by_default_first_and_second_samples_have_means_of_their_own(batch_size: int) -> None:
    found = pairs(CURVED, n_pairs=10, seed=SEED, batch_size=batch_size)
    for kind, design in {"negated": Antithetic(), "independent": mcgen.MonteCarlo()}.items():
        samples = mcgen.sample(CURVED, 20, seed=SEED, design=design).reshape(10, 2, 12).astype(np.float64)
        centred = samples - samples.mean(axis=0)
        expected = [np.corrcoef(*pair)[0, 1] for pair in centred]
        np.testing.assert_allclose(found.values[kind, "centralized"][0], expected, atol=1e-9)


def test_the_mean_may_leave_both_samples_of_its_pair_out() -> None:
    found = pairs(CURVED, n_pairs=10, seed=SEED, centre="leave-pair-out")
    for kind, design in (("negated", Antithetic()), ("independent", mcgen.MonteCarlo())):
        samples = mcgen.sample(CURVED, 20, seed=SEED, design=design).reshape(20, 12).astype(np.float64)
        mean = samples[2:].mean(axis=0)
        expected = np.corrcoef(samples[0] - mean, samples[1] - mean)[0, 1]
        assert found.values[kind, "centralized"][0, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n_pairs", [3, 10, 30])
@pytest.mark.parametrize("share_first", [False, True])
def test_few_pairs_of_many_entries_have_correlations_without_bias(n_pairs: int, share_first: bool) -> None:
    model = mcgen.as_generator(lambda z: z + 1, noise=(3000,), name="linear")
    found = pairs(model, n_pairs=n_pairs, seed=SEED, measures="centralized", share_first=share_first)
    # The samples of the other kind in the mean sample would move these by up to 1 / 4 n and 1 / 8 n.
    np.testing.assert_allclose(found.values["negated", "centralized"], -1)
    values = found.values["independent", "centralized"]
    assert abs(values.mean()) < Z_LIMIT / math.sqrt(3000 * n_pairs)


def test_tests_are_those_of_scipy() -> None:
    found = pairs(CURVED, n_pairs=40, seed=SEED)
    table = found.test().set_index("measure")
    for measure in found.measures:
        a, b = (
            found.values[kind, measure][0] + (found.influence[kind, measure][0] if measure == "centralized" else 0)
            for kind in ("negated", "independent")
        )
        expected = stats.ttest_ind(a, b, equal_var=False)
        assert table.loc[measure, "t"] == pytest.approx(expected.statistic)
        assert table.loc[measure, "p"] == pytest.approx(expected.pvalue, rel=1e-8)
        assert table.loc[measure, "degrees_of_freedom"] == pytest.approx(expected.df)
        low, high = expected.confidence_interval(0.95)
        assert (table.loc[measure, "low"], table.loc[measure, "high"]) == pytest.approx((low, high))
    np.testing.assert_allclose(table["holm"], holm(table["p"].to_numpy()))


def test_shared_first_samples_save_evaluations_and_are_tested_in_pairs() -> None:
    found = pairs(CURVED, n_pairs=40, seed=SEED, share_first=True, statistic=mcgen.statistics.pixel_mean)
    plain = pairs(CURVED, n_pairs=40, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    assert (found.about.n_evaluations, plain.about.n_evaluations) == (120, 160)
    np.testing.assert_array_equal(found.values["negated", "standard"], plain.values["negated", "standard"])
    first, shared = (found.of_statistic[kind][0, :, 0] for kind in ("negated", "independent"))
    np.testing.assert_array_equal(first, shared)
    a, b = (found.values[kind, "standard"][0] for kind in ("negated", "independent"))
    expected = stats.ttest_rel(a, b)
    row = found.test().set_index("measure").loc["standard"]
    assert (row["t"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue))


def test_holm_and_tails() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, 0.5])), [1.0, 1.0])
    for t, df in ((3.0, 10.0), (40.0, 200.0)):
        assert log_t_tail(t, df) == pytest.approx(stats.t.logsf(t, df), rel=1e-9)
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(50):
        t, df = mpmath.mpf(54), mpmath.mpf(1600)
        exact = mpmath.log(mpmath.betainc(df / 2, 0.5, 0, df / (df + t * t), regularized=True) / 2)
    assert log_t_tail(54.0, 1600.0) == pytest.approx(float(exact), rel=1e-5)


def test_errors_to_a_reference() -> None:
    truth = np.full((3, 4), 5.0)
    found = pairs(CURVED, n_pairs=30, seed=SEED, kinds=["negated"], reference=truth, centre="all")
    samples = mcgen.sample(CURVED, 60, seed=SEED, design=Antithetic()).reshape(30, 2, 12).astype(np.float64)
    x, y = samples[0] - 5.0
    assert found.values["negated", "standard"][0, 0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    plain = pairs(CURVED, n_pairs=30, seed=SEED, kinds=["negated"], centre="all")
    # A constant truth changes no correlation, and no truth one about the mean.
    np.testing.assert_allclose(found.values["negated", "standard"], plain.values["negated", "standard"])
    other = pairs(CURVED, n_pairs=30, seed=SEED, kinds=["negated"], reference=MEAN.reshape(3, 4), centre="all")
    np.testing.assert_allclose(
        other.values["negated", "centralized"], plain.values["negated", "centralized"], atol=1e-9
    )
    assert not np.allclose(other.values["negated", "standard"], plain.values["negated", "standard"])


def test_each_condition_has_its_own_reference_samples_and_rows() -> None:
    truths = {"low": MEAN.reshape(3, 4), "high": MEAN.reshape(3, 4) * 2}
    options: dict[str, Any] = {"n_pairs": 30, "seed": SEED, "condition": {"low": 0.0, "high": 5.0}}
    found = pairs(AFFINE, **options, reference=truths)
    frame = found.to_frame()
    assert sorted(set(frame["condition"])) == ["all", "high", "low"]
    rows = frame[(frame["kind"] == "negated") & (frame["measure"] == "standard")].set_index("condition")
    assert rows.loc["all", "mean"] == pytest.approx((rows.loc["low", "mean"] + rows.loc["high", "mean"]) / 2)
    assert rows.loc["all", "n"] == 60
    alone = pairs(AFFINE, n_pairs=30, seed=SEED, condition=5.0, reference=truths["high"])
    np.testing.assert_allclose(alone.values["negated", "standard"][0], found.values["negated", "standard"][1])
    by_place = pairs(AFFINE, **options, reference=[*truths.values()])
    np.testing.assert_array_equal(by_place.values["negated", "standard"], found.values["negated", "standard"])


@pytest.mark.parametrize("condition", [None, [0.0, 5.0]])
def test_pairs_that_integrate_a_statistic_exactly_have_no_efficiency(condition: Any) -> None:
    # Linear in the noise: means of pairs vary by rounding alone, as in `compare`.
    statistic = mcgen.as_statistic(lambda x: x[:, 0, 0], name="first")
    rows = pairs(AFFINE, n_pairs=30, seed=SEED, condition=condition, statistic=statistic).efficiencies()
    of_pairs = rows.set_index("kind").loc["negated"]
    assert of_pairs[["correlation", "predicted", "predicted_low", "measured", "measured_high"]].isna().all()
    assert rows.set_index("kind").loc["independent", "measured"] == 1


def test_what_pairs_are_worth_agrees_with_compare() -> None:
    found = pairs(CURVED, n_pairs=3000, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    row = found.efficiencies().iloc[0]
    table = mcgen.compare(
        CURVED,
        mcgen.statistics.pixel_mean,
        designs=[mcgen.MonteCarlo(), Antithetic()],
        n_evaluations=6000,
        seed=SEED + 1,
    ).to_frame()
    compared = table.iloc[1]
    assert row["predicted"] == pytest.approx(1 / (1 + row["correlation"]))
    for name in ("predicted", "measured"):
        assert row[f"{name}_low"] < compared["efficiency_high"]
        assert row[f"{name}_high"] > compared["efficiency_low"]
    values = found.of_statistic["negated"][0, :, :, 0]
    pooled = np.concatenate([values, values[:, ::-1]])
    assert row["correlation"] == pytest.approx(np.corrcoef(pooled.T)[0, 1], abs=0.01)


def test_designs_of_more_points_and_parts_of_samples() -> None:
    mask = np.zeros((3, 4), bool)
    mask[:2] = True
    identity = mcgen.as_generator(lambda z: z + MEAN.reshape(3, 4), noise=(3, 4), name="identity")
    kinds = [Antithetic(only=mask), KAntithetic(4), mcgen.MonteCarlo()]
    top = means(pairs(identity, n_pairs=300, seed=SEED, kinds=kinds, region=mask))
    bottom = means(pairs(identity, n_pairs=300, seed=SEED, kinds=kinds, region=~mask))
    partial = str(kinds[0])
    assert top[partial, "centralized"] < -0.98
    assert bottom[partial, "centralized"] > 0.98
    several = pairs(identity, n_pairs=300, seed=SEED, kinds=kinds)
    four = several.values[several.kinds[1], "centralized"]
    error = four.std(ddof=1) / math.sqrt(300)
    assert abs(four.mean() + 1 / 3) < Z_LIMIT * error + 0.01
    assert len(several.test()) == 2 * len(several.measures)


def test_samples_in_a_file_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pairs(CURVED, n_pairs=40, seed=SEED)
    monkeypatch.setattr(own_measures, "_IN_MEMORY", 100)
    monkeypatch.setattr(own_measures, "_AT_ONCE", 100)
    found = pairs(CURVED, n_pairs=40, seed=SEED)
    assert replace(found, influence=expected.influence) == expected
    for key, influence in found.influence.items():
        np.testing.assert_allclose(influence, expected.influence[key], atol=1e-9)


def test_batches_change_nothing_but_rounding() -> None:
    one, other = (pairs(CURVED, n_pairs=40, seed=SEED, batch_size=size) for size in (3, 64))
    for key, values in one.values.items():
        np.testing.assert_allclose(values, other.values[key], atol=1e-5)


def test_own_measures() -> None:
    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        assert x.shape[1:] == (3, 4)
        return np.abs(x - y).mean(axis=(1, 2))

    found = pairs(CURVED, n_pairs=40, seed=SEED, measures=["standard", distance])
    assert found.measures == ("standard", "distance")
    assert means(found)["negated", "distance"] > means(found)["independent", "distance"]
    with pytest.raises(RunError, match="one number for each of 40 pairs; got an array of shape"):
        pairs(CURVED, n_pairs=40, seed=SEED, measures=[lambda x, y: x - y])


def test_intervals_cover_the_mean_over_pairs() -> None:
    truth = means(pairs(CURVED, n_pairs=20000, seed=SEED + 999, measures=["standard"]))["negated", "standard"]
    hits = 0
    for i in range(200):
        row = pairs(CURVED, n_pairs=25, seed=SEED + i, measures=["standard"], kinds=["negated"]).to_frame().iloc[0]
        hits += row["low"] <= truth <= row["high"]
    assert 178 <= hits <= 199


def test_constant_samples_are_refused_or_counted() -> None:
    def half(z: np.ndarray) -> np.ndarray:
        return np.where(z[:, :1, :1] > 1, 0 * z, z)

    model = mcgen.as_generator(half, noise=(3, 4), name="half")
    with pytest.raises(RunError, match="have a sample that is constant.*undefined='drop'"):
        pairs(model, n_pairs=50, seed=SEED)
    found = pairs(model, n_pairs=50, seed=SEED, undefined="drop")
    assert any("pairs are left out of standard" in text for text in found.warnings)
    frame = found.to_frame().set_index(["kind", "measure"])
    assert frame.loc[("negated", "standard"), "n"] < 50
    assert frame.loc[("negated", "wasserstein"), "n"] == 50
    assert "! " in str(found)


def test_results_are_saved_printed_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = pairs(CURVED, n_pairs=30, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    assert isinstance(found, mcgen.Result)
    found.save(tmp_path / "pairs.json")
    loaded = mcgen.load(tmp_path / "pairs.json")
    assert loaded == found
    assert str(loaded) == str(found)
    assert "pixel_mean: correlation" in str(found)
    assert "Holm" in found.summary()
    assert "negated" in found.to_markdown()
    assert found.to_latex().startswith(r"\begin{tabular}")
    assert "<table" in found._repr_html_()
    assert len(found.plot().axes) == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_pairs": 2}, ValueError, "at least 3; got 2"),
        ({"measures": ["ssim"]}, ValueError, "a measure is one of standard, centralized, wasserstein"),
        ({"measures": []}, ValueError, "one or more"),
        ({"measures": [3]}, TypeError, "a measure is one of"),
        ({"measures": 3}, TypeError, "measures must be names"),
        ({"kinds": 3}, TypeError, "kinds must be names"),
        ({"kinds": ["opposite"]}, ValueError, "a kind of pairs is one of negated, independent"),
        ({"kinds": ["negated", "negated"]}, ValueError, "all different"),
        ({"kinds": ["independent"], "share_first": True}, ValueError, "share_first gives independent pairs"),
        ({"reference": np.zeros((4, 3))}, ValueError, r"shape of a sample, \(3, 4\)"),
        ({"region": np.ones((4, 3), bool)}, ValueError, r"of a sample's shape \(3, 4\)"),
        ({"region": np.ones((3, 4))}, ValueError, "an array of booleans"),
        ({"centre": "mean"}, ValueError, "centre must be one of"),
        ({"undefined": "skip"}, ValueError, "undefined must be one of"),
    ],
    ids=lambda value: "",
)
def test_refusals(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pairs(CURVED, **{"n_pairs": 10, "seed": SEED} | options)


def test_one_kind_has_no_test_and_no_statistic_no_efficiency() -> None:
    found = pairs(CURVED, n_pairs=10, seed=SEED, kinds="negated")
    with pytest.raises(ValueError, match="between kinds of pairs"):
        found.test()
    with pytest.raises(ValueError, match="need a statistic"):
        found.efficiencies()
    tuples = mcgen.as_generator(lambda z: (z, z), noise=(3, 4), name="tuples")
    with pytest.raises(RunError, match="one array for each noise; got a tuple"):
        pairs(tuples, n_pairs=10, seed=SEED)


def test_structural_similarity_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    x, y = np.random.default_rng(SEED).random((2, 4, 3, 16, 16))
    found = mcgen.analysis.ssim(x, y)
    assert found[0] == pytest.approx(metrics.structural_similarity(x[0], y[0], data_range=1, channel_axis=0))
    np.testing.assert_allclose(mcgen.analysis.ssim(x, x), 1.0)
    assert mcgen.analysis.ssim(x[:, 0], y[:, 0])[1] == pytest.approx(
        metrics.structural_similarity(x[1, 0], y[1, 0], data_range=1)
    )
    with pytest.raises(ValueError, match="7 or more pixels a side"):
        mcgen.analysis.ssim(x[..., :5], y[..., :5])


def test_equivalence_is_shown_where_means_agree_and_only_there() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    found = pairs(CURVED, n_pairs=2000, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    table = found.equivalence(0.1)
    assert table["p"][0] < 1e-6
    assert -0.1 < table["low"][0] < table["high"][0] < 0.1
    a, b = (found.of_statistic[kind].mean(axis=2).ravel() for kind in found.kinds)
    both = weightstats.CompareMeans(weightstats.DescrStatsW(a), weightstats.DescrStatsW(b))
    assert table["p"][0] == pytest.approx(both.ttost_ind(-0.1, 0.1, usevar="unequal")[0])
    ends = both.tconfint_diff(alpha=0.1, usevar="unequal")
    assert (table["low"][0], table["high"][0]) == pytest.approx(ends)
    # A narrow margin, and pairs of another law, are not shown to be the same.
    assert found.equivalence(1e-4)["p"][0] > 0.05

    def shifted(z: np.ndarray, other: float) -> np.ndarray:
        return curved(z) + other

    model = mcgen.as_generator(shifted, noise=(3, 4), name="shifted")
    low, high = (
        pairs(model, n_pairs=200, seed=SEED, condition=c, kinds=["negated"], statistic=mcgen.statistics.pixel_mean)
        for c in (0.0, 0.3)
    )
    both = dict(low.of_statistic) | {"independent": high.of_statistic["negated"]}
    assert replace(low, kinds=("negated", "independent"), of_statistic=both).equivalence(0.1)["p"][0] > 0.9
    with pytest.raises(ValueError, match="a margin above 0"):
        found.equivalence(0.0)


def test_shared_first_samples_stay_with_their_pairs_over_several_batches() -> None:
    options: dict[str, Any] = {"n_pairs": 40, "seed": SEED, "share_first": True}
    statistic = mcgen.statistics.pixel_mean
    found = pairs(CURVED, **options, batch_size=6, statistic=statistic)
    whole = pairs(CURVED, **options, batch_size=80, statistic=statistic)
    for key, values in found.values.items():
        np.testing.assert_allclose(values, whole.values[key], atol=1e-5)
    first, shared = (found.of_statistic[kind][0, :, 0] for kind in ("negated", "independent"))
    np.testing.assert_array_equal(first, shared)


def test_what_varies_by_rounding_alone_is_constant() -> None:
    def grey(z: np.ndarray) -> np.ndarray:
        return np.where(z[:, :1] > 0, 0.1, z.astype(np.float64))

    model = mcgen.as_generator(grey, noise=(7,), name="grey")
    found = pairs(model, n_pairs=60, seed=SEED, kinds="independent", measures="standard", undefined="drop")
    samples = mcgen.sample(model, 120, seed=SEED).reshape(60, 2, 7)
    flat = (np.ptp(samples, axis=2) == 0).any(axis=1)
    # The mean of seven times 0.1 is not 0.1.
    np.testing.assert_array_equal(np.isnan(found.values["independent", "standard"][0]), flat)
    same = mcgen.as_generator(lambda z: 0 * z + np.linspace(0, 1, 7), noise=(7,), name="same")
    with pytest.warns(mcgen.GeneratorWarning), pytest.raises(RunError, match="differs from the mean sample"):
        pairs(same, n_pairs=7, seed=SEED, measures="centralized")


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1e100, 1e200])
def test_tiny_and_huge_samples_have_their_correlations(scale: float) -> None:
    plain, scaled = (
        mcgen.as_generator(lambda z, factor=factor: curved(z).astype(np.float64) * factor, noise=(3, 4), name="scaled")
        for factor in (1.0, scale)
    )
    one, other = (
        pairs(model, n_pairs=20, seed=SEED, measures=["standard", "centralized"]) for model in (plain, scaled)
    )
    for key, values in one.values.items():
        np.testing.assert_allclose(values, other.values[key], rtol=1e-9)


def test_a_test_of_rounding_errors_finds_no_difference() -> None:
    linear = mcgen.as_generator(lambda z: z + 3.0, noise=(5, 5), name="linear")
    found = pairs(linear, n_pairs=10, seed=SEED, kinds=["negated", KAntithetic(2)], measures="standard")
    row = found.test().iloc[0]
    assert (row["difference"], row["t"], row["p"]) == (0.0, 0.0, 1.0)


def test_few_pairs_of_many_conditions_show_what_pairs_are_worth() -> None:
    def shifted(z: np.ndarray, shift: float) -> np.ndarray:
        return curved(z) + shift

    model = mcgen.as_generator(shifted, noise=(3, 4), name="shifted")
    statistic = mcgen.statistics.pixel_mean
    truth = pairs(model, n_pairs=20000, seed=SEED, condition=0.0, statistic=statistic).efficiencies()["predicted"][0]
    conditions = [float(i) for i in range(500)]
    row = pairs(model, n_pairs=3, seed=SEED, condition=conditions, statistic=statistic).efficiencies().iloc[0]
    # Three pairs have two degrees of freedom: taken for three, the efficiency would be half as large again.
    assert row["predicted_low"] < truth < row["predicted_high"] < 1.4 * truth


def test_too_few_pairs_for_an_efficiency_are_printed_without_one() -> None:
    found = pairs(CURVED, n_pairs=3, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    assert "what pairs are worth needs 5 pairs of each kind; got 3" in str(found)
    with pytest.raises(ValueError, match="needs 5 pairs of each kind; got 3. Use a larger n_pairs"):
        found.efficiencies()


def test_pairs_whose_means_vary_by_rounding_alone_have_no_efficiency() -> None:
    found = pairs(AFFINE, n_pairs=50, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    assert math.isnan(found.efficiencies()["predicted"][0])
    assert "no efficiency of negated pairs, whose means vary by rounding alone" in str(found)


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda z: z * 1j, "pairs compares samples of real numbers; got values of type complex64"),
        (lambda z: z.astype(str), "pairs compares samples of real numbers; got values of type <U"),
    ],
    ids=["complex", "text"],
)
def test_samples_that_are_no_real_numbers_are_refused(convert: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        pairs(mcgen.as_generator(convert, noise=(3, 4), name="odd"), n_pairs=5, seed=SEED)


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        (3.0, TypeError, "a list or dict with one for each condition; got 3.0"),
        (np.full((3, 4), np.nan), ValueError, "finite numbers alone; got 12 NaN"),
        (np.full((3, 4), 1j), ValueError, "a reference has the shape of a sample"),
        ([np.zeros((3, 4))], ValueError, "one for each condition; got 1 for 2"),
        ([np.zeros((3, 4))] * 3, ValueError, "one for each condition; got 3 for 2"),
        ([np.zeros((3, 4)), "none"], ValueError, "got what is no array of real numbers"),
        ({"a": np.zeros((3, 4))}, ValueError, "which have no names; got references for a"),
    ],
    ids=["number", "nan", "complex", "short", "long", "text", "names"],
)
def test_references_that_do_not_fit_are_refused(reference: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pairs(AFFINE, n_pairs=5, seed=SEED, condition=[0.0, 1.0], reference=reference)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ([1.0, 1.0], "conditions repeat .* have the same samples"),
        ({"all": 1.0, "b": 2.0}, "a condition is named 'all'"),
    ],
    ids=["repeated", "all"],
)
def test_conditions_that_results_would_mistake_are_refused(condition: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pairs(AFFINE, n_pairs=5, seed=SEED, condition=condition)


def test_a_condition_whose_samples_are_all_constant_is_refused() -> None:
    model = mcgen.as_generator(lambda z, factor: z * factor, noise=(3, 4), name="scaled")
    with (
        pytest.warns(mcgen.GeneratorWarning),
        pytest.raises(RunError, match=r"only 0 of 5 negated pairs .* under the condition 0\.0"),
    ):
        pairs(model, n_pairs=5, seed=SEED, condition=[0.0, 1.0], undefined="drop", measures="standard")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.inf, "returned an infinity for 5 of 5 pairs"),
        (np.nan, "got NaN, so that the own measure is not defined"),
        (1j, "no real numbers"),
    ],
    ids=["infinite", "nan", "complex"],
)
def test_own_measures_that_are_no_numbers_are_refused(value: Any, message: str) -> None:
    def own(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.full(len(x), value)

    with pytest.raises(RunError, match=message):
        pairs(CURVED, n_pairs=5, seed=SEED, measures=[own])


def test_a_statistic_that_is_not_finite_is_refused() -> None:
    def broken(samples: np.ndarray) -> np.ndarray:
        return np.full(len(samples), np.nan)

    with pytest.raises(mcgen.NonFiniteError, match="'broken' returned NaN or infinity"):
        pairs(CURVED, n_pairs=5, seed=SEED, statistic=broken)


@pytest.mark.parametrize("margin", ["a", [0.1, 0.2], float("nan"), -1.0], ids=["text", "two", "nan", "negative"])
def test_margins_that_are_no_numbers_above_0_are_refused(margin: Any) -> None:
    found = pairs(CURVED, n_pairs=5, seed=SEED, statistic=mcgen.statistics.pixel_mean)
    with pytest.raises(ValueError, match="a margin above 0, or one for each component"):
        found.equivalence(margin)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda x: (x * 255).astype(np.uint8), {}, "got 1 for images with values from 0 to 25.* Use 255 for bytes"),
        (lambda x: x * 255, {}, "got 1 for images"),
        (lambda x: 2 * x - 1, {}, "2 for images in"),
        (lambda x: x, {"data_range": 0}, "data_range must be a number above 0"),
        (lambda x: x, {"data_range": math.nan}, "data_range must be a number above 0"),
        (lambda x: x, {"data_range": "1"}, "data_range must be a number above 0"),
        (lambda x: x * np.nan, {}, "finite numbers; got NaN"),
        (lambda x: x * 1j, {}, "no real numbers"),
        (lambda x: x.transpose(0, 2, 3, 1), {}, r"\(n, 3, H, W\); got"),
        (lambda x: np.concatenate([x, x], axis=1).transpose(0, 2, 3, 1)[:, :, :, [0] * 8], {}, r"\(n, 3, H, W\); got"),
    ],
    ids=["bytes", "255", "from -1", "0", "nan range", "text", "nan", "complex", "channels last", "many last"],
)
def test_structural_similarity_of_images_on_another_scale_is_refused(change: Any, options: Any, message: str) -> None:
    pytest.importorskip("skimage")
    x, y = np.random.default_rng(SEED).random((2, 4, 3, 16, 16))
    with pytest.raises(ValueError, match=message):
        mcgen.analysis.ssim(change(x), change(y), **options)
    bytes_of = [(one * 255).astype(np.uint8) for one in (x, y)]
    found = mcgen.analysis.ssim(*bytes_of, data_range=255)
    np.testing.assert_allclose(found, mcgen.analysis.ssim(x, y), atol=0.01)


def test_equivalence_does_not_see_how_conditions_differ() -> None:
    def shifted(z: np.ndarray, shift: float) -> np.ndarray:
        return curved(z) + shift

    model = mcgen.as_generator(shifted, noise=(3, 4), name="shifted")
    options: dict[str, Any] = {"n_pairs": 200, "seed": SEED, "statistic": mcgen.statistics.pixel_mean}
    near, far = (pairs(model, condition=[0.0, shift], **options).equivalence(0.5).iloc[0] for shift in (1.0, 100.0))
    assert far["high"] - far["low"] == pytest.approx(near["high"] - near["low"], rel=0.3)
    assert far["p"] < 1e-6


def test_samples_of_one_number_have_no_correlation_over_entries() -> None:
    one = mcgen.as_generator(lambda z: z.sum(axis=1, keepdims=True), noise=(3,), name="one")
    with pytest.raises(ValueError, match=r"standard and centralized correlations .* one number here.*wasserstein"):
        pairs(one, n_pairs=10, seed=SEED)
    found = pairs(one, n_pairs=10, seed=SEED, measures="wasserstein", statistic=lambda x: x[:, 0])
    assert found.efficiencies()["kind"].tolist() == ["negated", "independent"]


def test_intervals_of_centralized_correlations_know_of_the_error_of_the_mean_sample() -> None:
    """With the mean sample taken as known they would cover about 0.7 of the time for these skewed samples."""
    model = mcgen.as_generator(np.exp, noise=(3, 4), name="skewed")
    options: dict[str, Any] = {"kinds": "negated", "measures": "centralized"}
    truth = means(pairs(model, n_pairs=20000, seed=SEED + 999, **options))["negated", "centralized"]
    hits = 0
    for i in range(200):
        row = pairs(model, n_pairs=40, seed=SEED + i, **options).to_frame().iloc[0]
        hits += row["low"] <= truth <= row["high"]
    assert hits >= 176


@pytest.mark.parametrize("with_region", [False, True])
@pytest.mark.parametrize("with_truth", [False, True])
def test_influences_are_those_of_leaving_a_pair_out_of_the_mean_sample(with_region: bool, with_truth: bool) -> None:
    region = np.ones((3, 4), bool)
    region[0, :2] = not with_region
    truth = MEAN.reshape(3, 4) / 4 * with_truth
    found = pairs(
        CURVED, n_pairs=400, seed=SEED, kinds="negated", measures="centralized", region=region, reference=truth
    )
    samples = mcgen.sample(CURVED, 800, seed=SEED, design=Antithetic()).astype(np.float64).reshape(400, 2, 3, 4)
    total = samples.sum(axis=0)

    def correlation(mean: np.ndarray) -> float:
        deviations = (samples - mean)[:, :, region]
        return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in deviations]))

    whole = correlation(total / 400)
    for i in range(20):
        left_out = correlation((total - samples[i]) / 399)
        influence = found.influence["negated", "centralized"][0, i]
        assert influence == pytest.approx(399 * (whole - left_out), abs=0.02)
    assert found.influence["negated", "centralized"].mean() == pytest.approx(0, abs=1e-12)


def test_values_that_differ_by_rounding_alone_are_drawn() -> None:
    pytest.importorskip("matplotlib")
    linear = mcgen.as_generator(lambda z: z.astype(np.float64) * 0.3 + 0.1, noise=(5, 5), name="linear")
    found = pairs(linear, n_pairs=10, seed=0, kinds="negated")
    rounded = {key: values * (1 + 1e-16 * np.arange(10) / 4) for key, values in found.values.items()}
    assert len(replace(found, values=rounded).plot().axes) == 3
    assert len(found.plot().axes) == 3


def test_a_statistic_may_depend_on_the_condition() -> None:
    def less(samples: np.ndarray, shift: float) -> np.ndarray:
        return samples.reshape(len(samples), -1).mean(axis=1) - shift

    statistic = mcgen.as_statistic(less, name="less", uses_condition=True)
    options: dict[str, Any] = {"n_pairs": 20, "seed": SEED, "measures": "standard"}
    for condition in (2.0, [1.0, 2.0]):
        found = pairs(AFFINE, condition=condition, statistic=statistic, **options)
        plain = pairs(AFFINE, condition=condition, statistic=mcgen.statistics.pixel_mean, **options)
        shifts = np.reshape(condition, (-1, 1, 1, 1))
        for kind, values in found.of_statistic.items():
            np.testing.assert_allclose(values, plain.of_statistic[kind] - shifts, atol=1e-5)
    with pytest.raises(ValueError, match="no condition was given"):
        pairs(CURVED, statistic=statistic, **options)

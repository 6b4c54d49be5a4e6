"""`across="population"`: the interval of a population's mean from a sample of its conditions, and of their clusters."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.population import means_of_clusters, variance_components
from mcgen.statistics import pixel_mean

# Whether few conditions look skewed is chance.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

SHIFTED = mcgen.as_generator(lambda z, c: z + c, noise=(4,), name="shifted")
SHIFTS = {f"prompt {i}": float(x) for i, x in enumerate(np.random.default_rng(SEED).normal(2, 1, 24))}
CLUSTERS = [f"template {i % 7}" for i in range(24)]
RUN: dict[str, Any] = {"design": MonteCarlo(), "n_evaluations": 40, "seed": SEED, "condition": SHIFTS}
OF_ALL = {**RUN, "across": "population"}


@pytest.fixture(scope="module")
def sample() -> mcgen.Estimate:
    return mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL)


def test_the_interval_is_students_of_the_means_of_the_conditions(sample: mcgen.Estimate) -> None:
    average = mcgen.estimate(SHIFTED, pixel_mean, **RUN)
    values = np.array([part.mean for part in sample.conditions])
    assert sample.conditions == average.conditions
    assert sample.mean == pytest.approx(average.mean)
    assert sample.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(24))
    assert sample.standard_error > 5 * average.standard_error
    assert sample.degrees_of_freedom == 23
    plain = sample.with_interval(interval="student-t")
    assert plain.half_width == pytest.approx(student_t_quantile(0.975, 23.0) * sample.standard_error)
    assert np.array_equal(sample.replicate_means, values[:, None])
    assert sample.provenance.across == "population"
    assert average.variance_components is None


def test_variance_components_are_those_of_the_analysis_of_variance(sample: mcgen.Estimate) -> None:
    values = np.array([part.mean for part in sample.conditions])
    errors = np.array([part.standard_error for part in sample.conditions])
    found = sample.variance_components
    assert found is not None
    assert found.between_conditions == pytest.approx(values.var(ddof=1) - (errors**2).mean())
    assert found.noise == pytest.approx(40 * (errors**2).mean())
    assert found.noise == pytest.approx(0.25, rel=0.15)  # the variance of a mean of four normal pixels
    assert found.standard_error() == pytest.approx(sample.standard_error)
    assert found.standard_error(96) == pytest.approx(sample.standard_error / 2)
    assert found.between_conditions is not None
    spread = float(found.between_conditions[0])
    assert found.best_evaluations(100.0) == pytest.approx(np.sqrt(100 * found.noise / spread))
    assert found.noise_share == pytest.approx((errors**2).mean() / values.var(ddof=1))


def test_components_are_unbiased_for_clusters_of_unequal_size() -> None:
    """Over 4,000 samples the averages are the variances that made them; each has a margin of four standard errors."""
    rng = np.random.default_rng(SEED)
    sizes, runs = [1, 2, 3, 6], 4000
    clusters = np.repeat(np.arange(4), sizes)
    variances = np.full((12, runs), 0.3)
    values = rng.normal(0, 1, (4, runs))[clusters] + rng.normal(0, 0.7, (12, runs))
    found = variance_components(
        values + rng.normal(0, np.sqrt(0.3), (12, runs)), variances, np.full(12, 10.0), clusters
    )
    assert found.between_clusters is not None
    assert found.between_conditions is not None
    # Both are set to 0 where they are negative, which moves the average up.
    assert 1.0 - 0.05 < found.between_clusters.mean() < 1.12
    assert found.between_conditions.mean() == pytest.approx(0.49, abs=0.03)
    assert np.allclose(found.noise, 3.0)


def test_noise_alone_has_no_spread_between_conditions() -> None:
    """Where conditions do not differ, the noise makes about all of the variance, and the advice is more evaluations."""
    same = mcgen.as_generator(lambda z, c: z, noise=(4,), name="same")
    result = mcgen.estimate(same, pixel_mean, **{**OF_ALL, "condition": [*range(200)]})
    found = result.variance_components
    assert found is not None
    assert found.noise_share == pytest.approx(1.0, abs=0.25)
    assert "more evaluations of each condition narrow the interval" in found.advice(result.names)


def test_clusters_are_the_sample() -> None:
    result = mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=CLUSTERS)
    values = np.array([part.mean for part in result.conditions])
    means = np.array([values[[label == one for label in CLUSTERS]].mean() for one in dict.fromkeys(CLUSTERS)])
    assert result.mean == pytest.approx(means.mean())
    assert result.standard_error == pytest.approx(means.std(ddof=1) / np.sqrt(7))
    assert result.degrees_of_freedom == 6
    assert "24 conditions in 7 clusters" in str(result)
    found = result.variance_components
    assert found is not None
    assert found.n_clusters == 7
    by_name = dict(zip(reversed(SHIFTS), reversed(CLUSTERS), strict=True))
    assert mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=by_name) == result
    assert mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=np.array(CLUSTERS)) == result


def test_labels_of_clusters_are_the_same_where_they_are_equal() -> None:
    def n_clusters(labels: list[Any]) -> int | None:
        result = mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=labels)
        assert result.variance_components is not None
        return result.variance_components.n_clusters

    numbers = [i % 6 for i in range(24)]
    assert n_clusters(numbers) == 6
    mixed: list[Any] = [np.int64(n) if i < 12 else float(n) for i, n in enumerate(numbers)]
    assert n_clusters(mixed) == 6
    # A number and its text are two labels.
    assert n_clusters([n if i < 12 else str(n) for i, n in enumerate(numbers)]) == 12
    assert n_clusters([[n] for n in numbers]) == 6
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="got <NA> for condition"):
        n_clusters([pandas.NA, *numbers[1:]])


def test_clusters_of_one_condition_are_conditions(sample: mcgen.Estimate) -> None:
    result = mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=[*range(24)])
    assert result.mean == pytest.approx(sample.mean)
    assert result.interval == pytest.approx(sample.interval)
    found, own = result.variance_components, sample.variance_components
    assert found is not None
    assert own is not None
    assert found.between_conditions is None
    assert found.between_clusters == pytest.approx(own.between_conditions)
    assert found.standard_error() == pytest.approx(own.standard_error())
    with pytest.raises(ValueError, match="is not known, since each cluster has one condition"):
        found.best_evaluations(10.0)


def test_statsmodels_has_the_same_errors() -> None:
    """Weighted least squares with cluster-robust errors; and a mixed model where all clusters have the same size."""
    regression = pytest.importorskip("statsmodels.regression.linear_model")
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    result = mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=CLUSTERS)
    values, one = np.array([part.mean for part in result.conditions]), np.ones((24, 1))
    numbers = np.array([CLUSTERS.index(label) for label in CLUSTERS])
    sizes = np.bincount(numbers)[numbers]
    fit = regression.WLS(values, one, weights=1 / sizes).fit(cov_type="cluster", cov_kwds={"groups": numbers})
    assert float(fit.params[0]) == pytest.approx(result.mean, rel=1e-12)
    assert float(fit.bse[0]) == pytest.approx(result.standard_error, rel=1e-12)
    # Clusters of four that differ, so that the mixed model's variance between them is not at its bound of 0.
    shifts = [4.0 * (i // 4) + 0.3 * (i % 4) for i in range(24)]
    groups = np.repeat(np.arange(6), 4)
    balanced = mcgen.estimate(SHIFTED, pixel_mean, **{**OF_ALL, "condition": shifts}, clusters=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = np.array([part.mean for part in balanced.conditions])
        other = mixed.MixedLM(values, one, groups=groups).fit()
    assert float(other.bse_fe[0]) == pytest.approx(balanced.standard_error, rel=1e-4)
    found = balanced.variance_components
    assert found is not None
    assert found.between_clusters is not None
    assert float(other.cov_re[0, 0]) == pytest.approx(float(found.between_clusters[0]), rel=1e-3)


def test_an_unbalanced_mixed_model_is_near() -> None:
    """Restricted likelihood weighs clusters by their precision; with spread between them both errors are alike."""
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    rng = np.random.default_rng(SEED)
    numbers = np.repeat(np.arange(30), rng.integers(1, 8, 30))
    values = rng.normal(0, 1, 30)[numbers] + rng.normal(0, 0.5, len(numbers))
    fit = mixed.MixedLM(values, np.ones((len(values), 1)), groups=numbers).fit()
    means = means_of_clusters(values[:, None], numbers)
    assert float(fit.bse_fe[0]) == pytest.approx(means.std(ddof=1) / np.sqrt(30), rel=0.1)
    assert float(fit.params[0]) == pytest.approx(means.mean(), abs=0.1)


@pytest.mark.parametrize("score", [mcgen.functionals.variance(pixel_mean), mcgen.functionals.quantile(pixel_mean, 0.5)])
def test_functionals_are_averaged_over_the_population(score: Any) -> None:
    result = mcgen.estimate(SHIFTED, score, **{**OF_ALL, "n_evaluations": 200})
    values = np.array([part.mean for part in result.conditions])
    assert result.mean == pytest.approx(values.mean())
    assert result.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(24))


def test_differences_over_a_population() -> None:
    """The same conditions for both models: their differences are the sample."""
    other = mcgen.as_generator(lambda z, c: z + 1.1 * c, noise=(4,), name="other")
    result = mcgen.difference(other, SHIFTED, pixel_mean, **OF_ALL)
    assert result.mean == pytest.approx(0.1 * np.mean([*SHIFTS.values()]))
    assert result.standard_error == pytest.approx(0.1 * np.std([*SHIFTS.values()], ddof=1) / np.sqrt(24))
    apart = mcgen.difference(other, SHIFTED, pixel_mean, common_random_numbers=False, **OF_ALL)
    values = np.array([part.mean for part in apart.conditions])
    assert apart.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(24))


def test_plans_of_each_condition() -> None:
    result = mcgen.estimate(SHIFTED, pixel_mean, **{**OF_ALL, "design": "auto", "n_evaluations": 100})
    assert result.variance_components is not None
    assert len(result.conditions) == 24


def test_intervals_of_many_components_hold_together() -> None:
    result = mcgen.estimate(
        SHIFTED, lambda x: x, **{**OF_ALL, "condition": [float(i) for i in range(30)]}, simultaneous=True
    )
    assert result.method == "bonferroni" or "simultaneous" in str(result)
    alone = result.with_interval(interval="student-t")
    assert (result.half_width > alone.half_width).all()
    assert alone.with_interval(interval="bootstrap-t").method == "bootstrap-t"


def test_a_bootstrap_resamples_the_conditions() -> None:
    """Also where the replicates of a condition could not be resampled, since all are equal."""
    positive = mcgen.as_statistic(lambda x: x[:, 0] > 0, name="positive")
    result = mcgen.estimate(SHIFTED, positive, **OF_ALL, interval="bootstrap-t")
    assert result.method == "bootstrap-t"
    assert result.conditions[0].method == "proportion"


@pytest.mark.parametrize("clusters", [None, CLUSTERS, [*range(24)]])
def test_files_have_the_same_estimate(clusters: Any, tmp_path: Path) -> None:
    result = mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=clusters)
    result.save(tmp_path / "run.json")
    loaded = mcgen.load(tmp_path / "run.json")
    assert loaded == result
    assert loaded.with_interval(confidence_level=0.9) == result.with_interval(confidence_level=0.9)
    assert loaded.summary() == result.summary()


def test_texts_tables_and_pictures_say_what_it_is(sample: mcgen.Estimate) -> None:
    assert "population of which these 24 conditions are a sample" in str(sample)
    assert "spread       standard deviations: between conditions" in sample.summary()
    assert "more conditions narrow the interval" in sample.summary()
    assert sample.to_markdown().splitlines()[-1].startswith("| population")
    assert sample.to_frame()["mean"].tolist()[-1] == sample.mean
    assert sample["prompt 3"] is sample.conditions[3]
    assert "searle1992variance" in mcgen.citation(sample)
    with pytest.raises(ValueError, match="needs the replicate means of one run"):
        sample.relative_efficiency()
    pytest.importorskip("matplotlib")
    labels = [label.get_text() for label in sample.plot().axes[0].get_yticklabels()]
    assert labels[-1] == "population"


def test_stores_and_executors_give_the_same(sample: mcgen.Estimate, tmp_path: Path) -> None:
    """A store has the conditions alone, so that it serves an average and a population, with clusters or without."""
    store = tmp_path / "run.sqlite"
    assert mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, store=store) == sample
    assert mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, store=store) == sample
    clustered = mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, store=store, clusters=CLUSTERS)
    assert clustered == mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=CLUSTERS)
    assert mcgen.estimate(SHIFTED, pixel_mean, **RUN, store=store).conditions == sample.conditions
    with ThreadPoolExecutor(2) as executor:
        assert mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, executor=executor) == sample


def ending_at(number: int, error: BaseException) -> mcgen.Generator:
    """Return a generator that fails under the condition of a number."""

    def shifted(z: Any, c: Any) -> Any:
        if c == number:
            raise error
        return z + c

    return mcgen.as_generator(shifted, noise=(4,), name="ending")


def test_an_interrupted_run_has_the_finished_conditions() -> None:
    options = {**OF_ALL, "condition": [*range(20)]}
    result = mcgen.estimate(ending_at(12, KeyboardInterrupt()), pixel_mean, **options)
    assert result.partial
    assert len(result.conditions) == 12
    assert result.degrees_of_freedom == 11
    assert any("interrupted: the average is over the first 12 of 20" in text for text in result.warnings)
    with pytest.raises(RuntimeError) as caught:
        mcgen.estimate(
            ending_at(12, RuntimeError("broken")), pixel_mean, **options, clusters=[i // 3 for i in range(20)]
        )
    partial: Any = caught.value
    assert partial.partial.degrees_of_freedom == 3
    assert partial.partial.provenance.across == "population"


def test_a_run_that_ends_in_its_first_cluster_has_no_population() -> None:
    options = {**OF_ALL, "condition": [*range(20)], "clusters": [i // 10 for i in range(20)]}
    result = mcgen.estimate(ending_at(4, KeyboardInterrupt()), pixel_mean, **options)
    assert result.variance_components is None
    assert result.provenance.across is None
    assert any("no sample of a population" in text for text in result.warnings)


def test_small_samples_warn() -> None:
    few = {**OF_ALL, "condition": [0.0, 1.0, 3.0]}
    with pytest.warns(mcgen.CoverageWarning, match="3 conditions are a small sample of a population"):
        result = mcgen.estimate(SHIFTED, pixel_mean, **few)
    assert len(result.warnings) == 1
    with pytest.warns(mcgen.CoverageWarning, match="7 clusters are a small sample"):
        mcgen.estimate(SHIFTED, pixel_mean, **OF_ALL, clusters=CLUSTERS)
    skewed = {**OF_ALL, "condition": [0.1 * i for i in range(19)] + [100.0]}
    with pytest.warns(mcgen.CoverageWarning, match="the conditions are skewed: pixel_mean has skewness"):
        mcgen.estimate(SHIFTED, pixel_mean, **skewed)
    never = mcgen.as_statistic(lambda x: 1.0 * (x[:, 0] > 100), name="never")
    with pytest.warns(mcgen.CoverageWarning, match="all 24 conditions have the same never but for rounding"):
        mcgen.estimate(SHIFTED, never, **OF_ALL)


def test_warnings_of_the_conditions_stay_with_them() -> None:
    """Ten replicates of a condition are few for its own interval, and enough for that of the population."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = mcgen.estimate(SHIFTED, pixel_mean, **{**OF_ALL, "design": Sobol(4)})
    assert not result.warnings
    assert all("10 replicates are few" in part.warnings[0] for part in result.conditions)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"condition": 1.0}, ValueError, "needs 2 conditions or more, a sample of the population; got one condition"),
        ({"condition": [1.0]}, ValueError, "needs 2 conditions or more, a sample of the population; got 1"),
        ({"weights": [1 / 24] * 24}, ValueError, "each stands for the same share; got weights"),
        ({"common_random_numbers": True}, ValueError, "share a part of the noise that their spread does not show"),
        (
            {"n_evaluations": None, "atol": 0.1},
            ValueError,
            "depends on the spread between conditions too; got atol=0.1",
        ),
        ({"interval": "proportion"}, ValueError, "neither events nor watched one by one; got interval='proportion'"),
        ({"interval": "anytime"}, ValueError, "neither events nor watched one by one; got interval='anytime'"),
        ({"clusters": ["a"] * 24}, ValueError, "clusters must be 2 or more.*got one, 'a', for all 24 conditions"),
        ({"clusters": ["a", "b"]}, ValueError, "a label for each of 24 conditions; got 2"),
        ({"clusters": [None] + ["a"] * 23}, ValueError, "got None for condition"),
        ({"clusters": [float("nan")] + ["a"] * 23}, ValueError, "got nan for condition"),
        ({"clusters": "template"}, TypeError, "must be a list of labels, one for each condition, or a dict"),
        ({"clusters": {"prompt 1": 0}}, ValueError, "'prompt 0' is a condition without a label"),
        ({"clusters": dict.fromkeys([*SHIFTS, "other"], 0)}, ValueError, "'other' is no condition"),
        (
            {"interval": "bootstrap-t", "clusters": [i % 3 for i in range(24)]},
            ValueError,
            "resample the clusters.*got 3",
        ),
        ({"across": "average", "clusters": CLUSTERS}, ValueError, "for across='population'; got across='average'"),
        ({"across": "all"}, ValueError, "across must be one of average, mixture, population; got 'all'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_run(options: Any, kind: Any, message: str) -> None:
    never = ending_at(0, AssertionError("run"))
    with pytest.raises(kind, match=message):
        mcgen.estimate(never, pixel_mean, **{**OF_ALL, **options})


def test_predictions_refuse_impossible_numbers(sample: mcgen.Estimate) -> None:
    found = sample.variance_components
    assert found is not None
    with pytest.raises(ValueError, match="n_units must be 1 or more and n_evaluations a number above 0; got 0 and 40"):
        found.standard_error(0)
    with pytest.raises(ValueError, match="n_evaluations a number above 0; got 24 and 'many'"):
        found.standard_error(n_evaluations="many")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cost_of_condition must be a number of evaluations above 0; got 'much'"):
        found.best_evaluations("much")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cost_of_condition must be a number of evaluations above 0; got 0"):
        found.best_evaluations(0)


def test_pairs_leave_less_noise(sample: mcgen.Estimate) -> None:
    paired = mcgen.estimate(SHIFTED, pixel_mean, **{**OF_ALL, "design": Antithetic()}).variance_components
    assert paired is not None
    assert sample.variance_components is not None
    assert paired.noise[0] < 1e-6 * sample.variance_components.noise[0]

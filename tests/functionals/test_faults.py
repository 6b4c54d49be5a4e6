"""Faults of functionals that hostile use has found, each with what came before it was mended."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol, functionals
from mcgen.errors import RunError
from mcgen.inference.jackknife import widened
from mcgen.results.estimate import Estimate

# How well intervals cover is no question here.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.errors.CoverageWarning")

MODEL = mcgen.as_generator(lambda z: z, noise=(4,), name="model")
SHIFTED = mcgen.as_generator(lambda z, shift: z + shift, noise=(4,), name="shifted")
WIDER = mcgen.as_generator(lambda z, shift: 2 * z + shift, noise=(4,), name="wider")
FIRST = mcgen.as_statistic(lambda x: x[:, 0], name="first")
POWERS = mcgen.statistics.stack(lambda x: x[:, 0] + 3, lambda x: x[:, 1] ** 2 + 2, names=("a", "b"))
RUN: dict[str, Any] = {"design": MonteCarlo(), "seed": SEED}


def partial_of(error: pytest.ExceptionInfo[BaseException]) -> Any:
    """Return the partial estimate that an error carries, or None."""
    return getattr(error.value, "partial", None)


def failing_under(condition: float, error: BaseException) -> mcgen.Generator:
    """Return a model that raises an error in its seventh batch under a condition."""
    calls = []

    def model(z: Any, shift: float) -> Any:
        if shift == condition:
            calls.append(None)
            if len(calls) > 6:
                raise error
        return z + shift

    return mcgen.as_generator(model, noise=(4,), name="failing")


class TestFunctionsOfMeans:
    @pytest.mark.parametrize("n_replicates", [40, 400])
    def test_function_may_change_its_argument(self, n_replicates: int) -> None:
        """The result was 143 in place of 5."""

        def changing(m: Any) -> Any:
            m -= 1
            return m[0] * m[1]

        own, clean = (
            mcgen.estimate(MODEL, functionals.function_of_means(POWERS, g, name="g"), n_replicates=n_replicates, **RUN)
            for g in (changing, lambda m: (m[0] - 1) * (m[1] - 1))
        )
        assert own == clean

    def test_wrong_gradient_is_refused(self) -> None:
        """A transposed Jacobian gave half-widths of 0.36 and 0.31 in place of 0.59 and 0.10."""

        def both(m: Any) -> Any:
            return np.array([m[0] * m[1], m[0]])

        def jacobian(m: Any) -> Any:
            return np.array([[m[1], m[0]], [1, 0]])

        right = functionals.function_of_means(POWERS, both, gradient=jacobian, name="g")
        wrong = functionals.function_of_means(POWERS, both, gradient=lambda m: jacobian(m).T, name="g")
        plain = functionals.function_of_means(POWERS, both, name="g")
        given, found = (mcgen.estimate(MODEL, one, n_replicates=400, **RUN) for one in (right, plain))
        np.testing.assert_allclose(given.half_width, found.half_width, rtol=1e-6)
        with pytest.raises(RunError, match="gradient is not that of 'g': by mean 0 of 2 it gives .* for value 1"):
            mcgen.estimate(MODEL, wrong, n_replicates=400, **RUN)

    @pytest.mark.parametrize(
        ("g", "message"),
        [
            (lambda m: np.zeros(0), "as many numbers for all means, one or more; got 0"),
            (lambda m: m[: 1 + (m[0] > 3)], "as many numbers for all means, one or more; got [12] after [12]"),
        ],
        ids=["no value", "other shapes"],
    )
    def test_values_of_other_shapes_are_refused(self, g: Callable[[Any], Any], message: str) -> None:
        """They gave an estimate without components, and a message of numpy's about stacking."""
        with pytest.raises(RunError, match=message):
            mcgen.estimate(MODEL, functionals.function_of_means(POWERS, g, name="g"), n_replicates=400, **RUN)

    def test_gradient_of_another_size_is_refused_by_name(self) -> None:
        """The message was numpy's: cannot reshape array of size 3 into shape ()."""
        score = functionals.function_of_means(POWERS, lambda m: m[0], gradient=lambda m: np.ones((3, 2)), name="g")
        with pytest.raises(RunError, match=r"derivatives of 1 values of 'g' by each of 2 means, 2 in all"):
            mcgen.estimate(MODEL, score, n_replicates=400, **RUN)

    def test_any_exception_of_the_function_keeps_the_means(self) -> None:
        """Exceptions other than RunError lost the finished run."""
        score = functionals.function_of_means(POWERS, lambda m: {}["missing"], name="g")
        with pytest.raises(KeyError) as error:
            mcgen.estimate(MODEL, score, n_replicates=40, **RUN)
        assert partial_of(error).names == ("a", "b")


class TestPartialResults:
    LOG = functionals.log_mean(FIRST)

    @pytest.mark.parametrize("across", ["average", "mixture"])
    def test_means_do_not_join_functionals_of_other_conditions(self, across: Any) -> None:
        """The partial average of log(5) and the mean -5 was -1.8; the mixture lost the error to one of zip()."""
        with pytest.raises(RunError, match="log of the mean of first has no finite value") as error:
            mcgen.estimate(SHIFTED, self.LOG, n_replicates=40, condition=[5.0, -5.0], across=across, **RUN)
        partial = partial_of(error)
        assert isinstance(partial, Estimate)
        assert [part.provenance.functional for part in partial.conditions] == ["log of the mean"]
        assert abs(partial.mean - np.log(5)) < 0.3

    def test_means_are_not_subtracted_from_functionals(self) -> None:
        """The partial difference was log(5) - (-5) = 6.6."""
        above, below = (mcgen.as_generator(lambda z, s=shift: z + s, noise=(4,), name=f"{shift}") for shift in (5, -5))
        with pytest.raises(RunError, match="no finite value") as error:
            mcgen.difference(above, below, self.LOG, n_replicates=40, common_random_numbers=False, **RUN)
        assert partial_of(error) is None

    def test_mixture_of_two_models_keeps_what_is_finished_if_a_model_fails(self) -> None:
        """The message was one of zip(), and the finished condition was lost."""
        model = failing_under(-5.0, RuntimeError("boom"))
        options: dict[str, Any] = {"condition": [5.0, -5.0, 1.0], "across": "mixture", "common_random_numbers": False}
        with pytest.raises(RuntimeError, match="boom") as error:
            mcgen.difference(model, WIDER, functionals.variance(FIRST), n_replicates=640, **options, **RUN)
        partial = partial_of(error)
        assert len(partial.conditions) == 1
        assert "the mixture is over the first 1 of 3 conditions" in partial.warnings[-1]

    def test_mixture_of_two_models_keeps_what_is_finished_if_interrupted(self) -> None:
        """A ValueError of zip() came in place of the partial result."""
        model = failing_under(-5.0, KeyboardInterrupt())
        options: dict[str, Any] = {"condition": [5.0, -5.0, 1.0], "across": "mixture", "common_random_numbers": False}
        result = mcgen.difference(model, WIDER, functionals.variance(FIRST), n_replicates=640, **options, **RUN)
        assert result.partial
        assert len(result.conditions) == 1


class TestQuantiles:
    @pytest.mark.parametrize("q", [0.5, 0.9])
    def test_equal_values_have_an_interval(self, q: float) -> None:
        """Independent values that were all or nearly all equal ended in a ValueError about a confidence level."""
        for statistic in (lambda x: 0 * x[:, 0], lambda x: x[:, 0] > 2.6):
            result = mcgen.estimate(MODEL, functionals.quantile(statistic, q), n_replicates=6400, **RUN)
            assert tuple(result.interval) == (0, 0)

    @pytest.mark.parametrize("common", [False, True])
    def test_unequal_weights_of_a_mixture(self, common: bool) -> None:
        """A condition of weight 0.01 with most values near the quantile ended in the same ValueError."""
        model = mcgen.as_generator(lambda z, c: c[0] + c[1] * z, noise=(4,), name="model")
        options: dict[str, Any] = {"condition": [(0.0, 1.0), (1.2816, 0.001)], "weights": [0.99, 0.01]}
        options |= {"across": "mixture", "common_random_numbers": common}
        result = mcgen.estimate(model, functionals.quantile(FIRST, 0.9), n_replicates=6400, **options, **RUN)
        assert 1.2816 in result.interval

    def test_two_replicates_of_many_points(self) -> None:
        """Student's quantile of one degree of freedom reaches farther than eight standard errors."""
        for seed in range(5):
            score = functionals.quantile(FIRST, 0.9)
            result = mcgen.estimate(MODEL, score, design=Sobol(1024), n_replicates=2, seed=SEED + seed)
            assert np.isfinite(result.with_interval(confidence_level=0.99).interval.low)

    @pytest.mark.parametrize("together", ["bootstrap-max-t", "skewness-safe"])
    def test_simultaneous_methods_are_refused_before_the_run(self, together: Any) -> None:
        """They were refused after the run."""
        calls = []
        model = mcgen.as_generator(lambda z: (calls.append(None), z)[1], noise=(4,), name="model")
        with pytest.raises(ValueError, match="cover together by Bonferroni's inequality"):
            mcgen.estimate(model, functionals.quantile(FIRST, 0.9), n_replicates=100, simultaneous=together, **RUN)
        assert not calls

    def test_first_look_counts_values_and_not_replicates(self) -> None:
        """A 0.999 quantile took 10,000 nets of 64 points before the first look."""
        score = functionals.quantile(FIRST, 0.999)
        result = mcgen.estimate(MODEL, score, design=Sobol(64), atol=10.0, seed=SEED)
        assert 10_000 <= result.n_evaluations < 20_000

    @pytest.mark.parametrize("common", [True, False])
    def test_difference_of_medians_of_pairs(self, common: bool) -> None:
        """All pairs have equal shares below a median, so that the interval had no width and never covered."""
        wider = mcgen.as_generator(lambda z: 1.2 * z + 0.1, noise=(4,), name="wider")
        score = functionals.quantile(lambda x: x[:, 0] + x[:, 1], 0.5)
        for seed in range(20):
            options: dict[str, Any] = {"design": Antithetic(), "n_replicates": 150, "seed": SEED + seed}
            result = mcgen.difference(MODEL, wider, score, common_random_numbers=common, **options)
            assert -0.2 in result.interval


class TestTolerances:
    def test_capped_run_does_not_claim_to_have_reached_what_its_interval_exceeds(self) -> None:
        """A correlation with half-width 0.028 "reached" 0.02, by its standard error on another scale."""
        score = functionals.correlation(FIRST, lambda x: np.exp(x[:, 0] / 2))
        for seed in range(60):
            result = mcgen.estimate(MODEL, score, design=MonteCarlo(), atol=0.02, max_evaluations=2048, seed=seed)
            assert result.stopping is not None
            assert result.stopping.reached == (result.half_width <= 0.02)

    @pytest.mark.parametrize(
        "score",
        [functionals.function_of_means(FIRST, np.exp), functionals.quantile(FIRST, 0.5)],
        ids=["function", "median"],
    )
    def test_what_is_integrated_exactly_has_reached_its_tolerance(self, score: Any) -> None:
        """The run said that no variation was seen: a constant, or an event too rare."""
        result = mcgen.estimate(MODEL, score, design=Antithetic(), atol=0.05, seed=SEED)
        assert result.stopping is not None
        assert result.stopping.reached
        assert result.half_width <= 0.05

    def test_conditions_on_the_same_noise_say_how_they_ended(self) -> None:
        """They had no stopping, and intervals that did not allow for it."""
        options: dict[str, Any] = {"condition": [0.0, 1.0], "common_random_numbers": True, "atol": 0.2}
        result = mcgen.estimate(SHIFTED, functionals.std(FIRST), **options, **RUN)
        for part in (*result.conditions, result):
            assert part.stopping is not None
            assert part.stopping.reached
            assert part.half_width <= 0.2
            assert part.method == "two-stage-t"

    def test_mixture_says_where_its_own_interval_is_wider(self) -> None:
        """It had no stopping, whatever its half-width."""
        options: dict[str, Any] = {"condition": [0.0, 40.0], "across": "mixture", "atol": 0.2}
        result = mcgen.estimate(SHIFTED, functionals.variance(FIRST), **options, **RUN)
        assert result.stopping is not None
        assert result.half_width > 0.2
        assert not result.stopping.reached
        assert "of the mixture has half-width" in result.stopping.reason

    def test_rare_events_name_a_later_look(self) -> None:
        """The message did not say that the run looked early, nor how to look later."""
        with pytest.raises(RunError, match=r"The run looked at \d+ replicates; .* by min_replicates="):
            mcgen.estimate(MODEL, functionals.log_mean(lambda x: x[:, 0] > 4), atol=0.5, **RUN)

    def test_runs_without_replicate_means_are_refused_before_they_start(self) -> None:
        """They failed at their first look, since a jackknife needs two groups of 256 replicates."""
        with pytest.raises(ValueError, match="keep_replicates=False beside atol or rtol"):
            mcgen.estimate(MODEL, functionals.variance(FIRST), atol=0.5, keep_replicates=False, **RUN)

    def test_efficiency_from_one_run_is_refused_by_name(self) -> None:
        """The advice was keep_replicates=True, which changed nothing."""
        result = mcgen.estimate(MODEL, functionals.variance(FIRST), n_replicates=40, **RUN)
        with pytest.raises(ValueError, match="this is a variance; use mcgen.compare"):
            result.relative_efficiency()


class TestFewReplicates:
    @pytest.mark.parametrize(
        ("score", "n"),
        [
            (functionals.variance(FIRST), 2),
            (functionals.covariance(FIRST, lambda x: x[:, 1]), 2),
            (functionals.correlation(FIRST, lambda x: x[:, 1]), 3),
        ],
        ids=["variance", "covariance", "correlation"],
    )
    def test_too_few_points_for_a_jackknife_are_refused(self, score: Any, n: int) -> None:
        """Their pseudo-values are equal, so that the result was 0.97 ± 0."""
        with pytest.raises(RunError, match=f"needs {n + 1} or more replicates of one point"):
            mcgen.estimate(MODEL, score, n_replicates=n, **RUN)
        assert mcgen.estimate(MODEL, score, n_replicates=n + 1, **RUN).half_width > 0


class TestVanishingDerivatives:
    """At a stationary point of a functional its first-order deviations are too small, and its bias shows by how much."""

    @pytest.mark.parametrize(
        ("score", "truth"),
        [
            (functionals.inception_score(lambda x: np.eye(4)[x[:, :2].argmax(axis=1)]), 2.0),
            (functionals.function_of_means(FIRST, np.square), 0.0),
        ],
        ids=["inception score at its largest", "square at 0"],
    )
    def test_intervals_cover(self, score: Any, truth: float) -> None:
        """They covered 0.70 and 0.85 in 200 runs; fewer than 178 of 200 have a probability of 1e-4 at 0.95."""
        results = [mcgen.estimate(MODEL, score, n_replicates=300, **{**RUN, "seed": seed}) for seed in range(200)]
        assert sum(truth in result.interval for result in results) >= 178

    def test_other_functionals_stay_what_they_are(self) -> None:
        bias, error = np.array([0.2, 0.3]), np.array([1.0, 1.0])
        values = np.arange(10.0).reshape(5, 2)
        (found,) = widened([values], bias, error)
        assert (found[:, 0] == values[:, 0]).all()
        np.testing.assert_allclose(found[:, 1].std() / values[:, 1].std(), np.sqrt(1 + 0.09 - 1 / 16))


@pytest.mark.filterwarnings("default::mcgen.errors.CoverageWarning")
@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic()], ids=str)
def test_ratios_that_few_events_decide_warn(design: mcgen.Design) -> None:
    """The mean beyond 2.2, of which 400 samples have some 6: intervals covered 0.86, and said nothing."""

    def warned(threshold: float, seed: int) -> bool:
        rare = functionals.ratio(lambda x: x[:, 0] * (x[:, 0] > threshold), lambda x: x[:, 0] > threshold)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                mcgen.estimate(MODEL, rare, design=design, n_evaluations=400, seed=seed)
            except RunError:  # a single event is refused
                return True
        return any("denominator of the ratio rests on some" in str(one.message) for one in caught)

    assert sum(warned(2.2, SEED + i) for i in range(20)) > 10
    assert sum(warned(1.0, SEED + i) for i in range(20)) == 0

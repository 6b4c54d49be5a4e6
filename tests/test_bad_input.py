"""Bad input: each refused with what was got, what is allowed and what to do, and nothing finished is lost."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers import SEED, logistic, logistic_until

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, RunError, Sobol
from mcgen.statistics import pixel_mean

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"design": Sobol(64), "n_evaluations": 1000}, r"n_evaluations must be a multiple of the 64 points of a replicate of Sobol\(n_points=64\); got 1000. Use 960 or 1024"),
        ({"design": Antithetic(), "n_evaluations": 3}, "multiple of the 2 points .* got 3. Use 4"),
        ({"design": Sobol(64), "n_evaluations": 64}, r"at least 2 replicates; got 1 of 64 points .* n_evaluations of 128 or more \(25 replicates are 1600\)"),
        ({"n_replicates": 1}, "at least 2 replicates; got 1"),
        ({"n_evaluations": 64, "n_replicates": 32}, "got n_evaluations=64, n_replicates=32"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0. Leave it out for about 64"),
        ({"confidence_level": 95}, "confidence_level must lie between 0 and 1, such as 0.95; got 95; for 95 % write 0.95"),
        ({"interval": "t"}, "interval must be one of student-t, normal, skewness-safe-t, skewness-adjusted-t, bootstrap-t, proportion, or None .*; got 't'"),
        ({"interval": "bootstrap-t", "keep_replicates": False}, "keep_replicates=True; got 320 replicates and keep_replicates=False"),
        ({"interval": "bootstrap-t", "n_replicates": 4, "n_evaluations": None}, "need 5 or more replicates"),
        ({"condition": []}, "condition is an empty list; give at least one condition, or leave it out"),
        ({"condition": [1, 2, 1]}, "conditions repeat in .*; list each once and count it by its weight"),
        ({"condition": [1, 2], "weights": [1.0, 1.0]}, "weights must be 2 numbers above 0 that sum to 1.*Divide them by their sum"),
        ({"condition": 1, "weights": [1.0]}, "are for several conditions: pass a list"),
        ({"condition": [1, 2], "interval": "bootstrap-t"}, "the average over independent conditions has no replicate means"),
    ],
)  # fmt: skip
def test_values_that_are_not_allowed(estimate, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1.5}, "seed must be an int or a numpy.random.SeedSequence; got 1.5 of type float"),
        (
            {"generator": logistic},
            "generator must satisfy mcgen.Generator; got .* wrap a function by mcgen.as_generator",
        ),
        (
            {"generator": type("Model", (), {"noise": (3,), "__call__": lambda self, z, c=None: z})()},
            r"generator.noise must be an mcgen.NoiseSpec; got \(3,\)",
        ),
        (
            {"design": Antithetic},
            r"design must be a design, not the class Antithetic; add parentheses: mcgen.Antithetic\(\)",
        ),
        ({"design": "sobol"}, "design must satisfy mcgen.Design; got 'sobol'"),
        ({"statistic": [pixel_mean]}, "statistic must be a callable .* For several use mcgen.statistics.stack"),
    ],
)
def test_things_of_the_wrong_kind(estimate, changes: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        estimate(**changes)


def test_as_generator_wants_a_callable_and_a_shape() -> None:
    with pytest.raises(TypeError, match="a generator is made from a callable noise -> samples; got 3 of type int"):
        mcgen.as_generator(3, (2,))
    with pytest.raises(ValueError, match="every side of a noise shape must be at least 1"):
        mcgen.as_generator(logistic, (2, 0))


def run(function, statistic=pixel_mean, n: int = 640, **options) -> mcgen.Estimate:
    options = {"design": Antithetic(), "n_evaluations": n, "seed": SEED, "batch_size": 64} | options
    return mcgen.estimate(mcgen.as_generator(function, (4,), name="broken"), statistic, **options)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: logistic(z)[:-1], "generator 'broken' returned 63 samples for 64 points of noise; the leading axis"),
        (lambda z: 1.0, "returned float without a leading axis"),
        (lambda z: (z, z[:3]), "returned tuple without a leading axis .*lengths \\[3, 64\\]"),
    ],
)
def test_generator_with_another_leading_length(function, message: str) -> None:
    with pytest.raises(RunError, match=message):
        run(function)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["generator", "statistic"])
def test_non_finite_values_name_the_replicate_and_keep_the_rest(bad: float, where: str) -> None:
    """The 150th replicate (batches of 32) breaks; the 128 before its batch are in the error."""
    trigger = Antithetic().draw((4,), 1000, SEED)[150, 1]

    def breaks(z: np.ndarray) -> np.ndarray:
        rows = (z == trigger).all(axis=1)
        return np.where(rows[:, None], bad, logistic(z))

    def statistic(x: np.ndarray) -> np.ndarray:
        return x.mean(axis=1)

    function, chosen = (
        (breaks, lambda x: x[:, 0] > 0.5) if where == "generator" else (lambda z: z, lambda z: statistic(breaks(z)))
    )
    with pytest.raises(
        mcgen.NonFiniteError,
        match="NaN or infinity for 1 of the 64 points of a batch, in 1 replicates; the first is replicate 150, point 1",
    ) as caught:
        run(function, chosen)
    partial = caught.value.partial
    assert partial is not None
    assert partial.partial
    assert partial.n_replicates == 128


def test_non_finite_values_beyond_the_run_are_no_concern() -> None:
    """A short last batch is filled with replicates past the run; what they give is dropped, whatever it is."""
    trigger = Antithetic().draw((4,), 64, SEED)[40, 0]

    def breaks(z: np.ndarray) -> np.ndarray:
        return np.where((z == trigger).all(axis=1)[:, None], np.nan, logistic(z))

    assert run(breaks, n=80).n_replicates == 40
    with pytest.raises(mcgen.NonFiniteError):
        run(breaks, n=82)


def test_hidden_noise_is_warned_of_by_name() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(
        mcgen.GeneratorWarning,
        match="generator 'broken' gives other samples for the same noise: it draws random numbers of its own",
    ):
        result = run(lambda z: logistic(z) + 0.1 * rng.standard_normal(z.shape))
    assert "draws random numbers of its own" in result.summary()


def test_batch_coupling_is_warned_of_by_name() -> None:
    with pytest.warns(mcgen.GeneratorWarning, match="when other rows share its batch"):
        run(lambda z: (z - z.mean(axis=0)) / z.std(axis=0) + logistic(z))


@pytest.mark.parametrize(
    "function",
    [lambda z: np.exp(z - z.mean(axis=0)), lambda z: z + np.random.default_rng(0).standard_normal(z.shape), lambda z: z + np.arange(len(z))[:, None]],
    ids=["the mean of a pair is 0", "a fixed seed", "the place in the batch"],
)  # fmt: skip
def test_what_two_points_in_their_own_places_would_hide(function) -> None:
    with pytest.warns(mcgen.GeneratorWarning, match="or on random numbers from a fixed seed inside"):
        run(function)


def test_samples_that_cannot_be_compared_are_warned_of() -> None:
    with pytest.warns(
        mcgen.GeneratorWarning, match=r"the samples of generator 'broken' can't be compared \(they are list\)"
    ):
        run(lambda z: [{"ink": row} for row in z], lambda samples: np.array([(s["ink"] ** 2).mean() for s in samples]))


def test_complex_samples_are_compared_in_their_own_precision() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", mcgen.GeneratorWarning)
        matrix = np.random.default_rng(0).standard_normal((4, 4)).astype(np.complex64)
        run(lambda z: z.astype(np.complex64) @ matrix, lambda x: abs(x).mean(axis=1))


def test_changing_the_input_in_place_is_refused() -> None:
    def in_place(z: np.ndarray) -> np.ndarray:
        z *= 2
        return logistic(z)

    with pytest.raises(RunError, match="generator 'broken' changed its input in place; .* noise = noise.copy"):
        run(in_place)


@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        (lambda x: x.mean(), r"statistic '<lambda>' returned an array of shape \(\) for 64 samples; it must return one number or one vector"),
        (lambda x: x.mean(axis=1)[:5], r"returned an array of shape \(5,\) for 64 samples"),
        (lambda x: np.empty((len(x), 0)), r"components of shape \(0,\) at replicate 0, where one or more are needed"),
    ],
)  # fmt: skip
def test_statistic_of_the_wrong_length(statistic, message: str) -> None:
    with pytest.raises(RunError, match=message):
        run(logistic, statistic)


def test_statistic_that_changes_its_length() -> None:
    calls = 0

    def changing(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        # The first batch is one call and nine of a few rows, by which it is tried.
        return x[:, : 2 if calls < 12 else 3]

    with pytest.raises(
        RunError, match=r"components of shape \(3,\) at replicate 64, where \(2,\) as in the first batch"
    ) as caught:
        run(logistic, changing)
    assert caught.value.partial.n_replicates == 64


def test_errors_of_the_users_code_keep_their_type_and_the_finished_replicates() -> None:
    with pytest.raises(ZeroDivisionError, match="out of luck") as caught:
        run(logistic_until(4, ZeroDivisionError("out of luck")))
    assert caught.value.partial.n_replicates == 64
    assert caught.value.__notes__ == ["raised by 'broken' at replicates 64 to 95"]


def test_a_condition_that_fails_leaves_the_others() -> None:
    def fails(z: np.ndarray, condition: int) -> np.ndarray:
        return logistic(z) if condition < 2 else np.full_like(z, np.nan)

    with pytest.raises(mcgen.NonFiniteError) as caught:
        run(fails, condition=[0, 1, 2])
    assert len(caught.value.partial.conditions) == 2


@pytest.mark.parametrize("n_replicates", [2, 10, 24])
def test_few_replicates_always_warn_with_the_measured_coverage(estimate, n_replicates: int) -> None:
    with pytest.warns(
        mcgen.CoverageWarning,
        match=rf"{n_replicates} replicates are few: .*In simulations with \d+ replicate means of skewness 3.4, 95 % "
        r"Student t intervals covered the truth 8\d % of the time, and skewness-safe ones 9\d %\. Use",
    ):
        result = estimate(n_replicates=n_replicates)
    assert result.warnings


@pytest.mark.filterwarnings("error")
def test_enough_symmetric_replicates_do_not_warn(estimate) -> None:
    assert estimate(n_replicates=25, design=KAntithetic(8), seed=0).warnings == ()


def test_skewed_replicate_means_warn() -> None:
    with pytest.warns(
        mcgen.CoverageWarning,
        match=r"have skewness up to .*, for which 100 replicates are few \(below 25 x skewness\^2",
    ):
        run(lambda z: np.exp(2 * z), design=MonteCarlo(), n=100, interval="student-t")
    with pytest.warns(
        mcgen.CoverageWarning,
        match=r"have skewness up to .*, for which 100 replicates are few \(below 1.5 x skewness\^2",
    ):
        run(lambda z: np.exp(4 * z), design=MonteCarlo(), n=100)


def test_no_variation_is_said() -> None:
    with pytest.warns(
        mcgen.CoverageWarning,
        match="all 320 replicate means of <lambda> are equal but for rounding: their interval has no width",
    ):
        run(logistic, lambda x: (x > 2).mean(axis=1))


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_an_interval_that_cannot_be_made_keeps_the_numbers() -> None:
    result = run(logistic, n=10)
    with pytest.raises(ValueError, match="no finite interval from 5 replicates") as caught:
        run(logistic, n=10, interval="bootstrap-t", confidence_level=0.9999)
    assert caught.value.partial.mean == result.mean


@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        (lambda x: (x + 1j).mean(axis=1), "returned values of type complex64, which are no real numbers"),
        (lambda x: [str(v) for v in x[:, 0]], "returned values of type <U"),
        (lambda x: np.ma.masked_less(x, 0.5)[:, 0], "returned a masked array, whose mask would be lost"),
        (lambda x: {"mean": x.mean(axis=1)}, "which are no real numbers"),
        (lambda x: x[:, 0].astype(float) * 1e80, "beyond 1e\\+75, whose powers overflow; divide them by a constant"),
    ],
)
def test_statistics_of_other_kinds_are_refused_by_name(statistic, message: str) -> None:
    with pytest.raises(RunError, match=f"statistic '<lambda>' {message}|{message}"):
        run(logistic, statistic)


def test_what_fills_a_batch_cannot_break_the_statistic() -> None:
    trigger = Antithetic().draw((4,), 64, SEED)[40, 0]

    def statistic(x: np.ndarray) -> np.ndarray:
        if (x == trigger).all(axis=1).any():
            raise ValueError("not defined here")
        return logistic(x).mean(axis=1)

    assert run(lambda z: z, statistic, n=80).n_replicates == 40
    with pytest.raises(ValueError, match="not defined here"):
        run(lambda z: z, statistic, n=82)


def test_small_hidden_noise_on_a_large_offset_is_seen() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(mcgen.GeneratorWarning, match="draws random numbers of its own"):
        run(lambda z: 100 + logistic(z) + 0.02 * rng.standard_normal(z.shape))


def test_writing_into_one_of_several_blocks_is_refused() -> None:
    spec = mcgen.NoiseSpec({"a": mcgen.Block((4,)), "b": mcgen.Block((4,))})

    def in_place(noise) -> np.ndarray:
        b = noise["b"]
        b += 1
        return logistic(noise["a"] + b)

    with pytest.raises(RunError, match="changed its input in place"):
        mcgen.estimate(mcgen.as_generator(in_place, spec), pixel_mean, design=Antithetic(), n_evaluations=64, seed=0)


def test_differences_do_not_broadcast() -> None:
    a, b = (
        mcgen.as_generator(logistic, (4,), name="a"),
        mcgen.as_generator(lambda z: logistic(z)[:, :1], (4,), name="b"),
    )
    with pytest.raises(RunError, match=r"components of shape \(4,\) for one generator and \(1,\) for the other"):
        mcgen.difference(a, b, lambda x: x, design=Antithetic(), n_evaluations=64, seed=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: KAntithetic(8.0), "k must be an int; got 8.0 of type float; write 8"),
        (lambda: Sobol("64"), "n_points must be an int; got '64' of type str"),
        (lambda: mcgen.NoiseSpec({"a": (4,)}), "a noise spec is made from named blocks"),
        (lambda: mcgen.NoiseSpec((4,)), "a noise spec is made from named blocks"),
        (
            lambda: mcgen.citation("x"),
            "citation takes an Estimate, a Comparison, a Scorecard or VarianceShares; got 'x'",
        ),
        (lambda: mcgen.statistics.stack([pixel_mean]), "stack takes callables, one after another"),
        (lambda: pixel_mean([[1.0]]), "this statistic takes an array of samples; got a list"),
        (lambda: run(logistic, confidence_level="0.95"), "confidence_level must be a number such as 0.95; got '0.95'"),
        (lambda: run(logistic, batch_size=True), "batch_size must be an int; got True of type bool"),
    ],
)
def test_arguments_of_the_wrong_type_are_named(call, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_a_method_beside_a_simultaneous_one_is_refused(estimate) -> None:
    with pytest.raises(ValueError, match="got interval='normal' beside simultaneous=True. Leave out one of them"):
        estimate(interval="normal", simultaneous=True)


def test_designs_need_a_text_form() -> None:
    class Nameless(MonteCarlo):
        __repr__ = object.__repr__

    with pytest.raises(TypeError, match="Nameless has no text form of its own"):
        Nameless().draw((3,), 2, 0)


def test_warnings_point_at_the_users_line(estimate) -> None:
    with pytest.warns(mcgen.CoverageWarning) as caught:
        mcgen.compare(mcgen.as_generator(logistic, (4,)), pixel_mean, designs=[MonteCarlo()], n_evaluations=20, seed=0)
    assert caught[0].filename == __file__

"""Functionals of means against recomputation from all values: estimates, errors, invariances and refusals."""

from __future__ import annotations

import warnings
from typing import Any

import functional_parts as parts
import numpy as np
import pytest
from functional_parts import both, classes, drawn, first, jackknife, model, product, quotient, replicates, run, second

import mcgen
from mcgen import functionals
from mcgen.designs import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.errors import RunError
from mcgen.statistics import stack

# Most runs here are short, of skewed values.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.errors.CoverageWarning")
DESIGNS = (MonteCarlo(), Antithetic(), KAntithetic(3), Sobol(8))
# Functionals, and the same from arrays of all values.
CASES: dict[str, tuple[Any, Any]] = {
    "variance": (functionals.variance(first), lambda a, b: np.var(a)),
    "std": (functionals.std(second), lambda a, b: np.std(b)),
    "coefficient": (functionals.coefficient_of_variation(second), lambda a, b: np.std(b) / np.mean(b)),
    "log": (functionals.log_mean(second), lambda a, b: np.log(np.mean(b))),
    "ratio": (functionals.ratio(first, second), lambda a, b: np.mean(a) / np.mean(b)),
    "covariance": (functionals.covariance(first, second), lambda a, b: np.cov(a, b, ddof=0)[0, 1]),
    "correlation": (functionals.correlation(first, second), lambda a, b: np.corrcoef(a, b)[0, 1]),
    "product": (functionals.function_of_means(both, product), lambda a, b: np.mean(a) * np.mean(b)),
}


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_the_jackknife_is_that_of_all_values(name: str, design: Any) -> None:
    functional, function = CASES[name]
    result = run(functional, design, 40)
    wanted = jackknife(function, replicates(design, 40))
    assert (result.plug_in, result.mean, result.standard_error) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [1000, 1024, 520])
def test_groups_of_unequal_size_have_the_delete_m_jackknife(name: str, n: int) -> None:
    functional, function = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(functional, Antithetic(), n, keep_replicates=False)
    a, b = drawn(Antithetic(), n)
    groups = [(a[i : i + 256], b[i : i + 256]) for i in range(0, n, 256)]
    wanted = jackknife(function, groups)
    assert (result.plug_in, result.mean, result.standard_error) == pytest.approx(wanted, rel=1e-9)
    assert result.degrees_of_freedom == len(groups) - 1


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_variances_and_covariances_are_those_of_all_values_and_of_their_mean(design: Any) -> None:
    # E of the mean squared deviation from the mean is the variance less that of the mean, under every design.
    a, b = drawn(design, 30)
    of_mean = np.var(a.mean(axis=1), ddof=1) / 30
    assert run(functionals.variance(first), design, 30).mean == pytest.approx(np.var(a) + of_mean, rel=1e-11)
    own = np.cov(a.ravel(), b.ravel(), ddof=0)[0, 1] + np.cov(a.mean(axis=1), b.mean(axis=1))[0, 1] / 30
    assert run(functionals.covariance(first, second), design, 30).mean == pytest.approx(own, rel=1e-11)


def test_variances_under_monte_carlo_are_the_usual_ones() -> None:
    a, b = drawn(MonteCarlo(), 30)
    assert run(functionals.variance(first), MonteCarlo(), 30).mean == pytest.approx(np.var(a, ddof=1), rel=1e-12)
    assert run(functionals.covariance(first, second), MonteCarlo(), 30).mean == pytest.approx(
        np.cov(a.ravel(), b.ravel())[0, 1], rel=1e-12
    )


@pytest.mark.parametrize("name", ["variance", "std", "covariance", "correlation"])
def test_no_digits_are_lost_far_from_zero(name: str) -> None:
    def far(x: Any) -> Any:
        # Rounded as the values 1e8 away are, so that both have the same deviations.
        return x[:, 0] + 1e8

    def near(x: Any) -> Any:
        return (x[:, 0] + 1e8) - 1e8

    make = getattr(functionals, name)
    pairs = [(far, second), (near, second)] if name in ("covariance", "correlation") else [(far,), (near,)]
    away, here = (run(make(*pair), Antithetic(), 50) for pair in pairs)
    assert away.mean == pytest.approx(here.mean, rel=1e-7)
    assert away.standard_error == pytest.approx(here.standard_error, rel=1e-7)


def numbers(result: mcgen.Estimate) -> list[float]:
    return [float(one) for one in (result.mean, result.standard_error, *result.interval)]


def test_invariances() -> None:
    def scaled(x: Any) -> Any:
        return -2 * first(x) + 5

    plain = numbers(run(functionals.variance(first), Antithetic()))
    assert numbers(run(functionals.variance(scaled), Antithetic())) == pytest.approx([4 * one for one in plain])
    spread = numbers(run(functionals.std(first), Antithetic()))
    assert numbers(run(functionals.std(scaled), Antithetic())) == pytest.approx([2 * one for one in spread])
    mean, error, low, high = numbers(run(functionals.correlation(first, second), Antithetic()))
    turned = numbers(run(functionals.correlation(scaled, second), Antithetic()))
    assert turned == pytest.approx([-mean, error, -high, -low])
    assert numbers(run(functionals.correlation(second, first), Antithetic())) == pytest.approx([mean, error, low, high])


def test_ends_of_a_standard_deviation_are_roots_of_those_of_the_variance() -> None:
    variance, spread = run(functionals.variance(second), Sobol(16)), run(functionals.std(second), Sobol(16))
    assert np.square(spread.interval) == pytest.approx(np.array(variance.interval))
    assert variance.interval.low >= 0


def test_a_correlation_stays_inside_its_bounds() -> None:
    def close(x: Any) -> Any:
        return first(x) + 0.01 * x[:, 1]

    result = run(functionals.correlation(first, close), MonteCarlo(), 60)
    assert 0.9 < result.interval.low < result.mean < result.interval.high < 1


@pytest.mark.parametrize("name", CASES)
def test_components_of_vectors_are_those_alone(name: str) -> None:
    def vector(x: Any) -> Any:
        return np.stack([first(x), second(x), first(x) * second(x)], axis=1)

    def vector_too(x: Any) -> Any:
        return np.stack([second(x), first(x) ** 2, second(x)], axis=1)

    alone = [lambda x, i=i: vector(x)[:, i] for i in range(3)], [lambda x, i=i: vector_too(x)[:, i] for i in range(3)]
    if name in ("covariance", "correlation", "ratio"):
        make = getattr(functionals, name)
        whole, each = make(vector, vector_too), [make(a, b) for a, b in zip(*alone, strict=True)]
    elif name == "product":
        whole = functionals.function_of_means(vector, lambda m: np.stack([m[0] * m[1], m[2], m[0]]))
        each = [functionals.function_of_means(vector, g) for g in (product, lambda m: m[2], lambda m: m[0])]
    else:
        make = {"coefficient": functionals.coefficient_of_variation, "log": functionals.log_mean}.get(name)
        make = make or getattr(functionals, name)
        whole, each = make(vector), [make(one) for one in alone[0]]
    result = run(whole, Antithetic(), 60)
    assert result.shape == (3,)
    for i, one in enumerate(each):
        single = run(one, Antithetic(), 60)
        assert result.mean[i] == pytest.approx(single.mean, rel=1e-12)
        assert result.interval.low[i] == pytest.approx(single.interval.low, rel=1e-10)
        assert result.plug_in[i] == pytest.approx(single.plug_in, rel=1e-12)


@pytest.mark.parametrize("n", [40, 400])
def test_a_ratio_is_a_function_of_means(n: int) -> None:
    built_in = run(functionals.ratio(first, second), Antithetic(), n)
    own = run(functionals.function_of_means(both, quotient), Antithetic(), n)
    sloped = run(functionals.function_of_means(both, quotient, gradient=parts.quotient_slope), Antithetic(), n)
    # Beyond 64 replicates g is expanded to second order, which leaves terms of third order.
    rel = 1e-11 if n == 40 else 2e-3
    assert own.mean == pytest.approx(built_in.mean, rel=rel * 1e-2)
    assert sloped.mean == pytest.approx(built_in.mean, rel=rel * 1e-2)
    assert own.standard_error == pytest.approx(built_in.standard_error, rel=rel)
    assert sloped.standard_error == pytest.approx(own.standard_error, rel=rel)
    assert own.plug_in == pytest.approx(built_in.plug_in, rel=1e-14)


def test_functions_of_many_means_have_the_jackknife() -> None:
    def powers(x: Any) -> Any:
        return np.cos(x[:, :1] * np.arange(1, 41) / 10)

    def size(means: Any) -> Any:
        return np.sqrt((means**2).sum())

    result = run(functionals.function_of_means(powers, size), Antithetic(), 100)
    x = np.asarray(Antithetic().draw(model().noise, 100, parts.SEED))
    units = [(powers(pair)[None],) for pair in x]
    wanted = jackknife(lambda flat: size(flat.reshape(-1, 40).mean(axis=0)), units)
    assert (result.plug_in, result.mean, result.standard_error) == pytest.approx(wanted, rel=1e-10)


def score_of(p: np.ndarray) -> float:
    mean = p.mean(axis=0)
    return float(np.exp((p * np.log(p / mean)).sum(axis=1).mean()))


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic()], ids=str)
def test_the_inception_score_is_its_formula(design: Any) -> None:
    result = run(functionals.inception_score(classes), design, 50)
    x = np.asarray(design.draw(model().noise, 50, parts.SEED))
    wanted = jackknife(lambda flat: score_of(flat.reshape(-1, 3)), [(classes(points)[None],) for points in x])
    assert (result.plug_in, result.mean, result.standard_error) == pytest.approx(wanted, rel=1e-10)
    assert result.plug_in < result.mean


def test_an_inception_score_of_few_samples_is_too_small() -> None:
    large = run(functionals.inception_score(classes), Sobol(1024), 32).mean
    few = [run(functionals.inception_score(classes), MonteCarlo(), 25, seed=seed) for seed in range(300)]
    assert np.mean([one.mean for one in few]) == pytest.approx(large, abs=0.04)
    assert np.mean([one.plug_in for one in few]) < np.mean([one.mean for one in few]) - 0.01


def test_a_ratio_of_equal_statistics_is_exactly_one() -> None:
    result = run(functionals.ratio(second, second), Antithetic(), 30)
    assert (result.mean, result.standard_error) == (1.0, 0.0)


# --- refusals -------------------------------------------------------------------------------------------------------


def constant(x: Any) -> Any:
    return np.full(len(x), 0.1)


def zero(x: Any) -> Any:
    return np.zeros(len(x))


def negative(x: Any) -> Any:
    return -second(x)


REFUSED: dict[str, tuple[Any, str, bool]] = {
    "a ratio to 0": (functionals.ratio(first, zero), "no finite value", True),
    "a correlation with a constant": (functionals.correlation(first, constant), "no finite value", True),
    "a coefficient of a constant": (functionals.coefficient_of_variation(constant), "no finite value", True),
    "a log of a mean below 0": (functionals.log_mean(negative), "no finite value", True),
    "a g that is infinite": (functionals.function_of_means(both, lambda m: m[0] / 0.0 * m[1]), "no finite", True),
    "a g that fails": (functionals.function_of_means(both, lambda m: m[7]), "of means failed", True),
    "a g of no numbers": (functionals.function_of_means(both, lambda m: "high"), "returned no numbers", True),
    "a gradient of another shape": (
        functionals.function_of_means(both, quotient, gradient=lambda m: np.ones(3)),
        "gradient must return",
        True,
    ),
    "logits": (functionals.inception_score(lambda x: x), "Apply softmax to logits", False),
    "one class": (functionals.inception_score(lambda x: np.ones((len(x), 1))), "two or more classes", False),
    "shapes that differ": (functionals.covariance(first, both), "of shapes", False),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::mcgen.errors.CoverageWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_value_is_refused(name: str) -> None:
    functional, message, has_means = REFUSED[name]
    with pytest.raises(RunError, match=message) as raised:
        run(functional, Antithetic(), 100)
    if has_means:
        # The means are not lost.
        partial = raised.value.partial
        means = np.ravel(partial.mean)
        assert np.isfinite(means).all()
        assert partial.plug_in is None
        assert partial.n_replicates == 100


def test_what_is_no_statistic_or_function_is_refused() -> None:
    for make in (functionals.variance, functionals.std, functionals.log_mean, functionals.inception_score):
        with pytest.raises(TypeError):
            make(3)
    with pytest.raises(TypeError, match="g must be"):
        functionals.function_of_means(first, 3)
    with pytest.raises(TypeError, match="gradient must be"):
        functionals.function_of_means(first, quotient, gradient=3)
    with pytest.raises(TypeError, match="takes a statistic first"):
        run(functionals.variance, Antithetic())


def test_constant_statistics_have_no_spread() -> None:
    for make in (functionals.variance, functionals.std):
        with pytest.warns(mcgen.CoverageWarning, match="equal but for rounding"):
            result = run(make(constant), Antithetic(), 50)
        assert (result.mean, result.interval) == (0.0, (0.0, 0.0))


# --- warnings -------------------------------------------------------------------------------------------------------


def test_curved_functionals_are_warned_of() -> None:
    # The mean of 50 values is 2.5 standard errors from 0.
    def near_zero(x: Any) -> Any:
        return x[:, 1] + 2.5 / np.sqrt(50)

    def texts(denominator: Any, n: int) -> list[bool]:
        functional, fired = functionals.ratio(first, denominator), []
        for seed in range(40):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = run(functional, MonteCarlo(), n, seed=seed)
            fired.append(any("so curved" in text for text in result.warnings))
        return fired

    assert sum(texts(near_zero, 50)) >= 12
    assert sum(texts(lambda x: x[:, 1] + 10 / np.sqrt(50), 50)) == 0


def test_products_with_heavy_tails_are_warned_of() -> None:
    def heavy(x: Any) -> Any:
        return np.exp(1.5 * x[:, 0])

    def heavy_too(x: Any) -> Any:
        return np.exp(x[:, 0] + x[:, 1])

    with pytest.warns(mcgen.CoverageWarning, match="rests on few of the 100 replicates"):
        run(functionals.covariance(heavy, heavy_too), MonteCarlo(), 100)


# --- libraries, batches, executors, stores --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_float32_samples(name: str) -> None:
    generator = mcgen.as_generator(lambda z: z, noise=(2,), name="float32")
    single = run(CASES[name][0], Antithetic(), 40, generator)
    double = run(CASES[name][0], Antithetic(), 40, mcgen.as_generator(lambda z: z.astype(float), noise=(2,), name="64"))
    assert single.mean == pytest.approx(double.mean, rel=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if name != "product"])
def test_torch_samples(name: str) -> None:
    torch = pytest.importorskip("torch")
    generator = mcgen.as_generator(lambda z: torch.as_tensor(z), noise=model().noise, name="torch")
    ours, theirs = run(CASES[name][0], Antithetic(), 40), run(CASES[name][0], Antithetic(), 40, generator)
    assert numbers(theirs) == pytest.approx(numbers(ours), rel=1e-12)


def test_names() -> None:
    named = mcgen.as_statistic(first, name="x")
    assert run(functionals.variance(named), Antithetic()).names == ("variance of x",)
    two = stack(named, second, names=("x", "y"))
    assert run(functionals.std(two), Antithetic()).names == ("standard deviation of x", "standard deviation of y")

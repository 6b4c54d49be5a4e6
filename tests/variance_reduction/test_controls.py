"""Control variates: what they take away, that nothing is biased by it, the degrees of freedom, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT, logistic, logistic_until, z_score
from scipy import stats

import mcgen
from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec, Sobol, Subspace
from mcgen.generators.joint import pair
from mcgen.inference.interval_input import student_t_quantile
from mcgen.noise.directions import Basis
from mcgen.statistics import identity, pixel_mean
from mcgen.statistics.joint import Difference
from mcgen.validation.studies.verdicts import acceptance_band
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.controls.correction import cross_fitted
from mcgen.variance_reduction.controls.quadratic import quadratic
from mcgen.variance_reduction.controls.surrogate import surrogate

# Whether few replicates look skewed is chance, as is whether what is left of an exact result is rounding alone.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means"),
    pytest.mark.filterwarnings("ignore:.*all .* replicate means"),
]

DOUBLE = NoiseSpec.normal((8,), "float64")
TURNED = Basis.orthonormal(np.random.default_rng(5).normal(size=(8, 2)))
AXES = Basis(np.eye(8)[:, :2])
QUADRATIC = quadratic(TURNED)
NAMES = ("a0", "a1", "a0^2", "a1^2", "a0 a1")


def curved(z: np.ndarray) -> np.ndarray:
    """A quadratic function of the two directions, of expectation 1.5 and variance 4 + 1 + 0.5 + 1."""
    a = (z @ TURNED.matrices["noise"]).astype(np.float64)
    return 1 + 2 * a[:, 0] - a[:, 1] + a[:, 0] ** 2 / 2 + a[:, 0] * a[:, 1]


def rest(z: np.ndarray) -> np.ndarray:
    """What is independent of both directions, of variance 1."""
    b = np.linalg.svd(TURNED.matrices["noise"])[0][:, 7]
    return z @ b


CURVED = mcgen.as_generator(curved, DOUBLE, name="curved")
NOISY = mcgen.as_generator(lambda z: curved(z) + rest(z), DOUBLE, name="noisy")
LOGISTIC = mcgen.as_generator(logistic, (8,), name="logistic")


def run(generator: mcgen.Generator = NOISY, statistic: Any = identity, **changes: Any) -> mcgen.Estimate:
    options = {"design": MonteCarlo(), "n_evaluations": 1000, "seed": SEED, "controls": QUADRATIC} | changes
    return mcgen.estimate(generator, statistic, **options)


def fitted(generator: mcgen.Generator = NOISY, statistic: Any = identity, **changes: Any) -> Any:
    controls = changes.pop("controls", QUADRATIC)
    return controls.fit(generator, statistic, **{"design": MonteCarlo(), "n_evaluations": 400, "seed": SEED} | changes)


Residuals = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_cross_fitting(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return cross_fitted(y[:, None], x)[0][:, 0]


def by_one_regression(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    a = np.column_stack([np.ones(len(x)), x])
    return y - x @ np.linalg.lstsq(a, y, rcond=None)[0][1:]


def simulated(n: int, q: int, runs: int, residuals: Residuals) -> np.ndarray:
    """Student's t of the residuals of normal means of 0, shape (runs,); the same means for every kind of residuals."""
    rng = np.random.default_rng(SEED)
    t = np.empty(runs)
    for i in range(runs):
        x = rng.normal(size=(n, q))
        e = residuals(x.sum(axis=1) + rng.normal(size=n), x)
        t[i] = e.mean() / (e.std(ddof=1) / np.sqrt(n))
    return t


def covered(t: np.ndarray, df: int) -> float:
    return float(np.mean(np.abs(t) <= student_t_quantile(0.975, df)))


@pytest.mark.parametrize(("n", "q"), [(30, 3), (100, 10)])
@pytest.mark.study
def test_cross_fitted_intervals_cover_as_often_as_they_say(n: int, q: int) -> None:
    cross = simulated(n, q, 4000, by_cross_fitting)
    low, high = acceptance_band(len(cross))
    assert low <= covered(cross, n - 1 - q) <= high


@pytest.mark.study
def test_residuals_of_their_own_regression_do_not_cover() -> None:
    """A control: in-sample residuals, R - 1 degrees of freedom, a control for every three replicates."""
    cross, all_in_one = (simulated(30, 10, 2000, how) for how in (by_cross_fitting, by_one_regression))
    assert covered(all_in_one, 29) < acceptance_band(2000)[0]
    assert covered(cross, 19) > covered(all_in_one, 29)


@pytest.mark.study
def test_cross_fitting_is_unbiased_and_one_regression_is_not() -> None:
    """Y = X^2 - 1 of expectation 0: coefficients from the same replicates have a bias of about -2 / R."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(3000, 10, 1))
    y = x**2 - 1
    crossed = np.array([cross_fitted(one, on)[0].mean() for one, on in zip(y, x, strict=True)])
    d = x - x.mean(axis=1, keepdims=True)
    slope = (d * y).sum(axis=1) / (d * d).sum(axis=1)
    in_sample = (y.mean(axis=1) - x.mean(axis=1) * slope)[:, 0]
    assert abs(z_score(crossed, 0.0)) < Z_LIMIT
    assert abs(z_score(in_sample, 0.0)) > Z_LIMIT


def test_cross_fitted_is_least_squares_on_the_other_folds() -> None:
    rng = np.random.default_rng(SEED)
    x, y = rng.normal(size=(43, 2)) * [1.0, 1e6], rng.normal(size=(43, 3))
    residuals, rank = cross_fitted(y, x)
    assert rank == 2
    for r in (0, 7, 42):
        others = np.arange(43) % 10 != r % 10
        a = np.column_stack([np.ones(43), x])
        beta = np.linalg.lstsq(a[others], y[others], rcond=None)[0][1:]
        assert residuals[r] == pytest.approx(y[r] - x[r] @ beta)


def test_what_is_quadratic_is_integrated_to_rounding() -> None:
    for controls in (QUADRATIC, fitted(CURVED)):
        result = run(CURVED, n_evaluations=100, controls=controls)
        assert result.mean == pytest.approx(1.5, abs=1e-12)
        assert result.half_width < 1e-12
    # A control: of degree 1 what is curved stays.
    assert run(CURVED, controls=quadratic(TURNED, degree=1)).half_width > 0.03


@pytest.mark.parametrize("how", ["cross-fitted", "fitted"])
def test_variance_is_what_controls_do_not_explain(how: str) -> None:
    controls = QUADRATIC if how == "cross-fitted" else fitted(n_evaluations=4000)
    result, plain = run(controls=controls, n_evaluations=4000), run(controls=None, n_evaluations=4000)
    spread = Z_LIMIT * np.sqrt(2 / 4000)
    assert 4000 * result.standard_error**2 == pytest.approx(1 + 5 / 4000, rel=spread)
    assert 4000 * plain.standard_error**2 == pytest.approx(7.5, rel=3 * spread)
    assert abs(result.mean - 1.5) < Z_LIMIT * result.standard_error
    # Monte Carlo is that of plain values, so that controls show in the efficiency.
    value, interval = result.relative_efficiency(1 - FALSE_ALARM)
    assert value == pytest.approx(plain.standard_error**2 / result.standard_error**2, rel=0.01)
    assert 7.5 in interval


def test_wrong_expectations_are_seen_as_bias() -> None:
    """A control: controls whose expectation is not what they say move the estimate."""
    wrong = Controls(lambda z: z @ TURNED.matrices["noise"], mean=(0.5, 0.0), name="wrong")
    right = Controls(lambda z: z @ TURNED.matrices["noise"], mean=(0.0, 0.0), name="right")
    assert abs(run(controls=right).mean - 1.5) < Z_LIMIT * run(controls=right).standard_error
    assert abs(run(controls=wrong).mean - 1.5) > Z_LIMIT * run(controls=wrong).standard_error


def test_degrees_of_freedom_are_those_of_the_residuals() -> None:
    result, plain = run(interval="student-t"), run(controls=None)
    assert result.degrees_of_freedom == 1000 - 1 - 5
    e = result.replicate_means[:, 0]
    assert result.mean == pytest.approx(e.mean())
    half = student_t_quantile(0.975, 994) * e.std(ddof=1) / np.sqrt(1000)
    assert result.half_width == pytest.approx(float(half))
    basis = TURNED.matrices["noise"]
    a = MonteCarlo().draw(DOUBLE, 1000, SEED)[:, 0] @ basis
    x = np.column_stack([a, a**2 - 1, a[:, 0] * a[:, 1]])
    assert e == pytest.approx(cross_fitted(plain.replicate_means, x)[0][:, 0])
    pilot = fitted()
    assert run(controls=pilot).degrees_of_freedom == 999
    assert run(controls=pilot).replicate_means == pytest.approx(plain.replicate_means - x @ pilot.coefficients)


def test_names_and_text() -> None:
    assert QUADRATIC.names == NAMES
    assert quadratic(TURNED, 1).names == NAMES[:2]
    result = run()
    assert result.provenance.controls == f"quadratic({TURNED}), cross-fitted"
    assert f"controls     quadratic({TURNED}), cross-fitted" in result.summary()
    assert str(result).endswith(f"MonteCarlo(), seed {SEED}, controls)")
    pilot = fitted()
    assert run(controls=pilot).provenance.controls == f"quadratic({TURNED}), coefficients from 400 evaluations"
    assert "nelson1990control" in mcgen.citation(result)
    assert "nelson1990control" not in mcgen.citation(run(controls=None))
    assert pickle.loads(pickle.dumps(QUADRATIC)) == QUADRATIC
    assert pickle.loads(pickle.dumps(pilot)).coefficients.tolist() == pilot.coefficients.tolist()


def test_saved_estimates_say_it_and_older_ones_load(tmp_path) -> None:
    result = run()
    result.save(tmp_path / "run.json")
    assert mcgen.Estimate.load(tmp_path / "run.json") == result
    plain = run(controls=None)
    plain.save(tmp_path / "plain.json")
    content = json.loads((tmp_path / "plain.json").read_text())
    del content["provenance"]["controls"]
    (tmp_path / "older.json").write_text(json.dumps(content))
    assert mcgen.Estimate.load(tmp_path / "older.json") == plain


def test_antithetic_pairs_leave_the_even_controls() -> None:
    result = run(design=Antithetic())
    assert result.degrees_of_freedom == 500 - 1 - 3
    assert result.provenance.controls.endswith("cross-fitted (3 of 5 vary)")
    pilot = fitted(design=Antithetic())
    assert (pilot.coefficients[:2] == 0).all()
    assert pilot.coefficients[2:, 0] == pytest.approx([0.5, 0, 1], abs=0.05)
    # In float32 too, where pairs are opposite to the last bit.
    single = mcgen.as_generator(curved, (8,), name="single")
    assert run(single, design=Antithetic()).provenance.controls.endswith("(3 of 5 vary)")
    # With the odd ones alone nothing is left to correct with.
    odd = run(design=Antithetic(), controls=quadratic(TURNED, 1))
    assert odd.mean == pytest.approx(run(design=Antithetic(), controls=None).mean, rel=1e-12)
    assert odd.degrees_of_freedom == 499


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(16), Subspace(AXES, leading=Sobol(16))], ids=str)
@pytest.mark.parametrize("how", ["cross-fitted", "fitted"])
def test_any_design_keeps_its_expectation(design: mcgen.Design, how: str) -> None:
    generator = mcgen.as_generator(lambda z: np.exp(z[:, :2] / 2 + z[:, 2:4] / 4), (8,), name="exponential")
    options = {"design": design, "n_evaluations": 3200, "controls": quadratic(AXES)}
    controls = quadratic(AXES) if how == "cross-fitted" else fitted(generator, pixel_mean, **options)
    result = run(generator, pixel_mean, **options | {"controls": controls})
    plain = run(generator, pixel_mean, **options | {"controls": None})
    assert abs(result.mean - np.exp(5 / 32)) < Z_LIMIT * result.standard_error
    assert result.standard_error < plain.standard_error * (0.6 if design.n_points == 1 else 1.1)


def test_same_bits_at_every_batch_size() -> None:
    for design in (MonteCarlo(), Antithetic(), Sobol(16)):
        for controls in (quadratic(AXES), fitted(LOGISTIC, identity, controls=quadratic(AXES), design=MonteCarlo())):
            options = {"design": design, "n_evaluations": 960, "controls": controls}
            made = [run(LOGISTIC, identity, batch_size=size, **options) for size in (3, 64, 1000)]
            for other in made[1:]:
                assert (other.replicate_means == made[0].replicate_means).all()
                assert (other.mean == made[0].mean).all()
                assert (other.interval.low == made[0].interval.low).all()


def test_several_components_are_as_each_alone() -> None:
    vector = run(LOGISTIC, lambda x: x.reshape(-1, 2, 4), controls=quadratic(AXES))
    assert vector.shape == (2, 4)
    alone = run(LOGISTIC, lambda x: x[:, 1], controls=quadratic(AXES))
    assert alone.mean == pytest.approx(vector.mean[0, 1], rel=1e-12)
    assert alone.half_width == pytest.approx(vector.half_width[0, 1], rel=1e-9)
    pilot = fitted(LOGISTIC, lambda x: x.reshape(-1, 2, 4), controls=quadratic(AXES))
    assert pilot.shape == (2, 4)
    assert run(LOGISTIC, lambda x: x.reshape(-1, 2, 4), controls=pilot).shape == (2, 4)
    with pytest.raises(mcgen.RunError, match=r"components of shape \(8,\), where one or more, and \(2, 4\)"):
        run(LOGISTIC, identity, controls=pilot)


def test_several_blocks_and_uniform_noise() -> None:
    blocks = {"start": Block((3,)), "mask": Block((2, 2), "uniform"), "coin": Block((), "uniform", iid=True)}
    spec = NoiseSpec(blocks, "float64")
    basis = Basis.orthonormal({"start": np.ones((3, 1)), "mask": np.arange(4.0)[:, None]})

    def function(noise: Any) -> np.ndarray:
        scores = stats.norm.ppf(noise["mask"].reshape(-1, 4)) @ basis.matrices["mask"]
        a = noise["start"] @ basis.matrices["start"] + scores
        return (2 + a + 3 * a**2)[:, 0]

    generator = mcgen.as_generator(function, spec, name="blocks")
    result = run(generator, controls=quadratic(basis), n_evaluations=100)
    assert result.mean == pytest.approx(5, abs=1e-9)
    assert result.half_width < 1e-9
    uniform = mcgen.as_generator(lambda u: np.log(u).sum(axis=1), NoiseSpec.uniform((8,)), name="uniform")
    result = run(uniform, controls=quadratic(Basis(np.ones((8, 1)) / np.sqrt(8))))
    assert abs(result.mean + 8) < Z_LIMIT * result.standard_error
    assert result.standard_error < 0.7 * run(uniform, controls=None).standard_error
    with pytest.raises(ValueError, match="directions reach into|directions of .* reach into"):
        run(generator, controls=quadratic(Basis({"start": np.eye(3)[:, :1] * 0.6, "coin": np.array([[0.8]])})))
    with pytest.raises(ValueError, match="drawn independently for every point"):
        run(generator, controls=quadratic(Basis({"coin": np.ones((1, 1))})))


def test_conditions_on_their_own_and_on_the_same_noise() -> None:
    def two(x: np.ndarray) -> np.ndarray:
        return x[:, :2].mean(axis=1)

    for controls in (quadratic(AXES), fitted(LOGISTIC, two, controls=quadratic(AXES), condition=0)):
        options = {"condition": [0, 1, 2], "design": Antithetic(), "controls": controls}
        result = run(LOGISTIC, two, **options)
        alone = run(LOGISTIC, two, **options | {"condition": 1})
        assert result.conditions[1] == alone
        assert result.mean == pytest.approx(np.mean([part.mean for part in result.conditions]))
        assert result.degrees_of_freedom > alone.degrees_of_freedom
        together = run(LOGISTIC, two, common_random_numbers=True, weights=[0.5, 0.3, 0.2], **options)
        parts = [part.mean for part in together.conditions]
        assert together.mean == pytest.approx(np.dot([0.5, 0.3, 0.2], parts), rel=1e-12)
        assert together.degrees_of_freedom == alone.degrees_of_freedom
        plain = run(LOGISTIC, two, common_random_numbers=True, **options | {"controls": None})
        assert together.conditions[2].mean != plain.conditions[2].mean
        assert together.conditions[2].standard_error < 0.6 * plain.conditions[2].standard_error
        assert together.provenance.controls == together.conditions[0].provenance.controls


def test_differences() -> None:
    a = mcgen.as_generator(lambda z: logistic(z), (8,), name="a")
    b = mcgen.as_generator(lambda z: logistic(1.3 * z), (8,), name="b")
    options = {"design": MonteCarlo(), "n_evaluations": 1000, "seed": SEED}
    linear = quadratic(Basis(np.ones((8, 1)) / np.sqrt(8)))
    plain = mcgen.difference(a, b, pixel_mean, **options)
    crossed = mcgen.difference(a, b, pixel_mean, controls=linear, **options)
    pilot = linear.fit(pair(a, b), Difference(pixel_mean), **options)
    fixed = mcgen.difference(a, b, pixel_mean, controls=pilot, **options)
    for result in (crossed, fixed):
        assert result.standard_error < 0.5 * plain.standard_error
        assert abs(result.mean - plain.mean) < Z_LIMIT * plain.standard_error
    designs = [MonteCarlo(), Antithetic()]
    table = mcgen.compare(a, pixel_mean, designs=designs, n_evaluations=1000, seed=SEED, controls=linear)
    assert [one.degrees_of_freedom for one in table.estimates] == [1000 - 1 - 2, 500 - 1 - 1]


def test_surrogates() -> None:
    fine = mcgen.as_generator(lambda z: np.exp(z / 4), (8,), name="fine")
    cheap = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, (8,), name="cheap")
    controls = surrogate(cheap, pixel_mean, 33 / 32)
    result, plain = run(fine, pixel_mean, controls=controls), run(fine, pixel_mean, controls=None)
    assert result.standard_error < 0.1 * plain.standard_error
    assert abs(result.mean - np.exp(1 / 32)) < Z_LIMIT * result.standard_error
    assert result.provenance.controls == "surrogate(pixel_mean of cheap), cross-fitted"
    each = surrogate(cheap, identity, np.full(8, 33 / 32))
    assert run(fine, pixel_mean, controls=each).degrees_of_freedom == 999 - 8
    with pytest.raises(mcgen.RunError, match=r"components of shape \(8,\); the given expectation has shape \(3,\)"):
        run(fine, pixel_mean, controls=surrogate(cheap, identity, np.ones(3)))
    with pytest.raises(ValueError, match="surrogate 'cheap' must take the noise of the generator that is estimated"):
        run(mcgen.as_generator(np.exp, (7,)), pixel_mean, controls=controls)


def test_a_surrogate_takes_some_of_the_blocks() -> None:
    spec = NoiseSpec({"start": Block((4,)), "steps": Block((2, 4)), "more": Block((2,))})
    generator = mcgen.as_generator(lambda n: n["start"].sum(1) + n["steps"].sum((1, 2)) + n["more"][:, 0], spec)
    start = mcgen.as_generator(lambda z: z.sum(axis=1), NoiseSpec({"start": Block((4,))}), name="start")
    two = NoiseSpec({"start": Block((4,)), "steps": Block((2, 4))})
    both = mcgen.as_generator(lambda n: n["start"].sum(1) + n["steps"].sum((1, 2)), two, name="both")
    plain = run(generator, controls=None)
    assert run(generator, controls=surrogate(start, identity, 0.0)).standard_error < 0.95 * plain.standard_error
    assert run(generator, controls=surrogate(both, identity, 0.0)).standard_error < 0.4 * plain.standard_error


def test_controls_add_and_linear_dependence_counts_once() -> None:
    joined = quadratic(TURNED, 1) + Controls(rest, 0.0, name="rest")
    assert joined.names == ("a0", "a1", "rest[0]")
    assert joined.name == f"quadratic({TURNED}, degree=1) + rest"
    assert run(controls=joined + QUADRATIC).half_width < 1e-9
    twice = run(controls=QUADRATIC + QUADRATIC)
    assert twice.degrees_of_freedom == 994
    assert twice.mean == pytest.approx(run().mean, rel=1e-9)


def test_costs_are_counted_once() -> None:
    basis = Basis(np.eye(8)[:, :2], n_evaluations=60)
    controls = quadratic(basis)
    assert controls.n_evaluations == (controls + controls).n_evaluations == 60
    assert run(controls=controls).provenance.pilot_evaluations == 60
    design = Subspace(basis, leading=Sobol(8))
    assert run(design=design, controls=controls, n_evaluations=8000).provenance.pilot_evaluations == 60
    pilot = fitted(controls=controls)
    assert pilot.n_evaluations == 460
    assert run(controls=pilot).provenance.pilot_evaluations == 460
    assert run(design=design, controls=pilot).provenance.pilot_evaluations == 460
    assert fitted(controls=QUADRATIC, design=design, n_evaluations=800).n_evaluations == 860
    assert "pilot        460 evaluations before the run" in run(controls=pilot).summary()


def test_a_pilot_is_apart_from_the_run_and_depends_on_its_seed() -> None:
    assert (fitted().coefficients == fitted().coefficients).all()
    assert not (fitted().coefficients == fitted(seed=SEED + 1).coefficients).any()
    # On the run's own numbers the coefficients would be those of least squares on these.
    a = MonteCarlo().draw(DOUBLE, 400, SEED)[:, 0] @ TURNED.matrices["noise"]
    x = np.column_stack([np.ones(400), a, a**2 - 1, a[:, 0] * a[:, 1]])
    own = np.linalg.lstsq(x, NOISY(MonteCarlo().draw(DOUBLE, 400, SEED)[:, 0]), rcond=None)[0][1:]
    assert not np.isclose(fitted().coefficients[:, 0], own, rtol=1e-6).any()
    assert fitted().coefficients[:, 0] == pytest.approx([2, -1, 0.5, 0, 1], abs=0.5)


def test_fitted_controls_stream_and_take_any_interval() -> None:
    pilot = fitted()
    streamed = run(controls=pilot, keep_replicates=False)
    assert streamed.replicate_means is None
    assert streamed.mean == run(controls=pilot).mean
    assert run(controls=pilot, interval="bootstrap-t").method == "bootstrap-t"
    assert run(controls=pilot, interval="skewness-adjusted-t").method == "skewness-adjusted-t"
    assert run(LOGISTIC, identity, controls=fitted(LOGISTIC, controls=quadratic(AXES)), simultaneous=True).method == (
        "bootstrap-max-t"
    )


def test_cross_fitted_means_are_not_resampled() -> None:
    for options in ({"interval": "bootstrap-t"}, {"simultaneous": "bootstrap-max-t"}):
        with pytest.raises(ValueError, match=r"share coefficients, and are not to be resampled; use 'student-t'"):
            run(**options)
        with pytest.raises(ValueError, match="share coefficients"):
            run().with_interval(**options)
    assert run(LOGISTIC, identity, controls=quadratic(AXES), simultaneous=True).method == "skewness-safe"
    assert run(interval="skewness-adjusted-t").method == "skewness-adjusted-t"
    with pytest.raises(ValueError, match=r"kept replicate means; got keep_replicates=False.*controls\.fit\("):
        run(keep_replicates=False)


def test_more_controls_than_a_tenth_of_the_replicates_are_refused_before_the_model_runs() -> None:
    calls = 0

    def counting(z: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return curved(z)

    generator = mcgen.as_generator(counting, DOUBLE)
    message = (
        "5 controls that vary need 50 replicates, 10 for each; got 49 of MonteCarlo().*Use n_evaluations of 50 or more"
    )
    for refused in (run, fitted):
        with pytest.raises(ValueError, match=message):
            refused(generator, n_evaluations=49)
    with pytest.raises(ValueError, match=r"3 controls that vary need 30 replicates.*n_evaluations of 60 or more"):
        run(generator, n_evaluations=58, design=Antithetic())
    assert calls == 0
    assert run(generator, n_evaluations=50).degrees_of_freedom == 44
    # Pairs make two of the five constant: these do not count.
    assert run(generator, n_evaluations=60, design=Antithetic()).degrees_of_freedom == 26


def test_controls_that_vary_in_few_replicates() -> None:
    z = np.sort(MonteCarlo().draw(DOUBLE, 100, SEED)[:, 0, 0])
    rare = Controls(lambda x: x[:, 0] > z[-2], mean=0.01, name="rare")
    result = run(controls=rare, n_evaluations=100)
    assert np.isfinite(result.half_width)
    assert result.degrees_of_freedom == 98
    # What the first replicates did not show is found in the end: the plain estimate, and it says so.
    later = MonteCarlo().draw(DOUBLE, range(8, 11), SEED)[:, 0, 0]
    many = Controls(lambda x: (x[:, :1] == later) * 1.0, mean=(0.2,) * 3, name="many")
    with pytest.warns(mcgen.CoverageWarning, match="the controls were not used: 3 controls that vary need 30"):
        result = run(controls=many, n_evaluations=29)
    assert result.provenance.controls == "many, not used"
    assert result.mean == pytest.approx(run(controls=None, n_evaluations=29).mean, rel=1e-12)


def test_interrupted_runs() -> None:
    options = {"controls": quadratic(AXES), "batch_size": 10, "n_evaluations": 200}
    stopped = mcgen.as_generator(logistic_until(14, KeyboardInterrupt()), (8,), name="stopped")
    result = run(stopped, pixel_mean, **options)
    assert result.partial
    assert result.degrees_of_freedom == result.n_replicates - 1 - 5
    assert result.mean == run(LOGISTIC, pixel_mean, **options | {"n_evaluations": result.n_evaluations}).mean
    with pytest.raises(OSError, match="gone") as caught:
        run(mcgen.as_generator(logistic_until(5, OSError("gone")), (8,)), pixel_mean, **options)
    assert "the controls were not used" in caught.value.partial.summary()
    assert caught.value.partial.degrees_of_freedom == caught.value.partial.n_replicates - 1


def test_useless_controls_cost_little() -> None:
    result, plain = (
        run(generator=mcgen.as_generator(rest, DOUBLE)),
        run(mcgen.as_generator(rest, DOUBLE), controls=None),
    )
    assert result.standard_error == pytest.approx(plain.standard_error, rel=0.05)
    value, _ = result.relative_efficiency()
    assert value == pytest.approx(1, abs=0.05)


BROKEN = [
    (
        Controls(lambda z: z[:, :2], mean=0.0, name="wide"),
        r"'wide' returned an array of shape \(\d+, 2\) .* 1 expectations",
    ),
    (Controls(lambda z: z[1:, 0], mean=0.0, name="short"), r"'short' returned an array of shape"),
    (
        Controls(lambda z: np.log(z[:, 0]), mean=0.0, name="log"),
        r"'log' returned NaN or infinity for \d+ of \d+ points",
    ),
    (Controls(lambda z: "text", mean=0.0, name="words"), r"'words' returned values of type"),
]


@pytest.mark.parametrize(("controls", "message"), BROKEN, ids=[one.name for one, _ in BROKEN])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_broken_functions(controls: Controls, message: str) -> None:
    with pytest.raises(mcgen.RunError, match=message):
        run(controls=controls)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="made from a callable noise -> values; got 3"):
        Controls(3, mean=0.0)
    for mean in ((), float("nan"), "zero", [[0.0]]):
        with pytest.raises(ValueError, match="one finite number for each"):
            Controls(np.sin, mean=mean)
    with pytest.raises(ValueError, match="2 controls need as many names"):
        Controls(np.sin, mean=(0.0, 0.0), names=("a",))
    with pytest.raises(TypeError, match=r"quadratic takes an mcgen\.bases\.Basis"):
        quadratic(np.eye(3))
    with pytest.raises(ValueError, match="degree must be 1 or 2; got 3"):
        quadratic(TURNED, 3)
    with pytest.raises(TypeError, match=r"controls must be mcgen\.controls\.Controls"):
        run(controls=TURNED)
    with pytest.raises(TypeError):
        QUADRATIC + 3
    with pytest.raises(ValueError, match="is for noise with the blocks 'noise' of 8 numbers"):
        run(mcgen.as_generator(np.exp, (9,)), pixel_mean)
    with pytest.raises(ValueError, match=r"fitted under one condition; got the list \[0, 1\]"):
        fitted(LOGISTIC, condition=[0, 1])
    with pytest.raises(ValueError, match="either n_evaluations or n_replicates"):
        fitted(n_evaluations=None)
    with pytest.raises(ValueError, match="one finite number for each"):
        surrogate(LOGISTIC, pixel_mean, "half")


def test_controls_that_depend_on_their_batch_are_told() -> None:
    batchwise = Controls(lambda z: z[:, 0] - z[:, 0].mean(), mean=0.0, name="batchwise")
    with pytest.warns(mcgen.GeneratorWarning, match="when other rows share its batch"):
        run(controls=batchwise)

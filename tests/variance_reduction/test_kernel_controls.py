"""Kernel controls: their expectation, that they bias nothing and cover, what they gain, how runs are cut, refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, logistic_until, z_score
from scipy import stats
from scipy.integrate import quad

import mcgen
from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec, Sobol
from mcgen.controls import KernelControl, kernel
from mcgen.noise.directions import Basis
from mcgen.statistics import identity
from mcgen.validation.studies.verdicts import acceptance_band, share
from mcgen.variance_reduction.controls import kernel as kernel_module
from mcgen.variance_reduction.controls import kernel_regression
from mcgen.variance_reduction.controls.kernel_regression import _LENGTHS, GaussianKernel, _Search, kernel_corrected

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


def of_sum(z: np.ndarray, condition: float = 0.0) -> np.ndarray:
    """Logistic function of the sum: nonlinear, neither even nor odd."""
    return 1 / (1 + np.exp(-z.astype(float).sum(axis=1) - 1 - condition))


def expectation_of_sum(d: int) -> float:
    return float(quad(lambda t: stats.norm.pdf(t) / (1 + np.exp(-np.sqrt(d) * t - 1)), -12, 12, epsabs=1e-12)[0])


SMOOTH = mcgen.as_generator(of_sum, (4,), name="smooth")
PAIRS = {"design": Antithetic(), "n_evaluations": 400, "seed": SEED}


def run(generator: mcgen.Generator = SMOOTH, statistic: Any = identity, **changes: Any) -> mcgen.Estimate:
    return mcgen.estimate(generator, statistic, **{**PAIRS, "controls": kernel()} | changes)


def pairs(rng: np.random.Generator, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Pair means of the logistic function, and their coordinates."""
    z = rng.normal(size=(n, d))
    return ((of_sum(z) + of_sum(-z)) / 2)[:, None], z


@pytest.mark.parametrize("scales", [[0.3], [1.0, 0.5], [0.4, 2.0]])
def test_the_expectation_of_the_kernel_is_that_of_quadrature(scales: list[float]) -> None:
    own = GaussianKernel(np.array(scales))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    z = np.stack(np.meshgrid(*[nodes] * len(scales), indexing="ij"), axis=-1).reshape(-1, len(scales))
    product = np.prod(np.stack(np.meshgrid(*[weights] * len(scales), indexing="ij"), axis=-1), axis=-1).ravel()
    x = np.random.default_rng(SEED).normal(size=(20, len(scales)))
    assert product @ own(z, x) == pytest.approx(own.expectation(x), rel=1e-7)
    assert own(-z[:50], x) == pytest.approx(own(z[:50], x), rel=1e-12)


def test_the_expectation_of_the_kernel_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(SEED)
    own, x = GaussianKernel(np.linspace(0.5, 0.1, 16)), rng.normal(size=(3, 16))
    values = own(rng.normal(size=(100_000, 16)), x)
    for column, expectation in zip(values.T, own.expectation(x), strict=True):
        assert abs(z_score(column, expectation)) < Z_LIMIT
        # A negative control: without the widening by the noise the expectation is another.
        assert abs(z_score(column, expectation * np.sqrt(np.prod(1 + own.scales**2)))) > Z_LIMIT


def test_replicates_are_corrected_by_the_fit_to_the_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations (1) to (3), against a regression solved anew for each fold, with one length and one ridge."""
    monkeypatch.setattr(kernel_regression, "_LENGTHS", (1.0,))
    monkeypatch.setattr(kernel_regression, "_RIDGES", (0.01,))
    y, z = pairs(np.random.default_rng(SEED), 123, 3)
    own, expected = GaussianKernel(np.full(3, 1 / np.sqrt(3))), y.copy()
    for f in range(10):
        out = np.arange(123) % 10 == f
        n = int((~out).sum())
        system = np.ones((n + 1, n + 1))
        system[:n, :n], system[n, n] = own(z[~out], z[~out]) + 0.01 * np.eye(n), 0.0
        alpha = np.linalg.solve(system, np.append(y[~out, 0], 0.0))[:n]
        expected[out, 0] -= 0.9 * (own(z[out], z[~out]) - own.expectation(z[~out])) @ alpha
    assert kernel_corrected(y, z, np.ones(3)) == pytest.approx(expected, abs=1e-10)


def test_what_a_fold_is_corrected_by_does_not_depend_on_it() -> None:
    """Length and ridge too: a fold with other means has the same corrections."""
    y, z = pairs(np.random.default_rng(SEED), 200, 4)
    changed, fold = y.copy(), np.arange(200) % 10 == 3
    changed[fold] = 100 * np.cos(50 * z[fold, :1])
    own, other = (means - kernel_corrected(means, z, np.ones(4)) for means in (y, changed))
    assert own[fold] == pytest.approx(other[fold], abs=1e-8)
    assert not np.allclose(own[~fold], other[~fold], atol=1e-2)


def in_sample(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Pair means corrected by the fit to all of them, their own folds included."""
    search = _Search(y, z, 1)
    for length in _LENGTHS:
        search.look_at(GaussianKernel(np.full(z.shape[1], 1 / (length * np.sqrt(z.shape[1])))))
    return search.corrected(y, z)


@pytest.mark.study
def test_intervals_cover_and_are_unbiased_and_those_without_folds_do_not_cover() -> None:
    truth, rng, n = expectation_of_sum(4), np.random.default_rng(SEED), 240
    t = np.empty((300, 2))
    for i in range(len(t)):
        y, z = pairs(rng, n, 4)
        for j, how in enumerate((lambda y, z: kernel_corrected(y, z, np.ones(4)), in_sample)):
            e = how(y, z)[:, 0]
            t[i, j] = (e.mean() - truth) / (e.std(ddof=1) / np.sqrt(n))
    held = np.abs(t) <= stats.t.ppf(0.975, n - 2)
    wrong = held[:, 1].mean()
    assert share("240 pairs", int(held[:, 0].sum()), len(t), 0.93, at_least=True).holds
    assert abs(z_score(t[:, 0], 0.0)) < Z_LIMIT
    assert wrong < acceptance_band(len(t))[0]


def test_gain_on_a_smooth_even_function() -> None:
    even = mcgen.as_generator(lambda z: np.cos(z.sum(axis=1) / 2) + np.abs(z[:, 0]), (4,), name="even")
    result, plain = run(even, n_evaluations=800), run(even, n_evaluations=800, controls=None)
    assert (plain.standard_error / result.standard_error) ** 2 > 3
    assert abs(result.mean - np.exp(-0.5) - np.sqrt(2 / np.pi)) < Z_LIMIT * result.standard_error
    assert result.degrees_of_freedom == 398
    assert result.provenance.controls == "kernel(), cross-fitted"
    assert "oates2017control" in mcgen.citation(result)
    assert result.relative_efficiency()[0] > 3 * plain.relative_efficiency()[0]


@pytest.mark.parametrize("d", [1, 4, 16])
def test_nothing_is_lost_where_nothing_is_learned(d: int) -> None:
    rng = np.random.default_rng(SEED)
    y, z = rng.normal(size=(400, 8)) ** 3, rng.normal(size=(400, d))
    ratio = kernel_corrected(y, z, np.ones(d)).var(axis=0) / y.var(axis=0)
    assert ratio.max() < 1.02


def test_constant_components_stay_constant() -> None:
    both = mcgen.as_generator(lambda z: np.stack([of_sum(z), np.full(len(z), 1 / 3), z[:, 0]], axis=1), (4,))
    with pytest.warns(mcgen.CoverageWarning):
        result, plain = run(both), run(both, controls=None)
    assert (result.mean[1:] == plain.mean[1:]).all()
    assert result.standard_error[0] < 0.5 * plain.standard_error[0]


def test_later_replicates_are_corrected_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_regression, "MOST_CENTRES", 200)
    monkeypatch.setattr(kernel_module, "MOST_CENTRES", 200)
    monkeypatch.setattr(kernel_regression, "_ROWS", 77)
    y, z = pairs(np.random.default_rng(SEED), 500, 4)
    corrected = kernel_corrected(y, z, np.ones(4))
    assert corrected[:200] == pytest.approx(kernel_corrected(y[:200], z[:200], np.ones(4)), abs=1e-9)
    assert corrected[200:].std() < 0.4 * y[200:].std()
    # One later replicate says nothing about another.
    assert corrected[200:300] == pytest.approx(kernel_corrected(y[:300], z[:300], np.ones(4))[200:], abs=1e-9)
    result = run(n_evaluations=1000)
    assert result.provenance.controls == "kernel(), cross-fitted, fitted to 200 of 500 replicates"
    assert abs(result.mean - expectation_of_sum(4)) < Z_LIMIT * result.standard_error


def test_directions_and_their_importance() -> None:
    turned = np.linalg.qr(np.random.default_rng(5).normal(size=(40, 3)))[0]
    wide = mcgen.as_generator(lambda z: of_sum(z @ turned), NoiseSpec.normal((40,), "float64"), name="wide")
    plain, basis = run(wide, controls=None), Basis(turned, n_evaluations=60)
    equal = run(wide, controls=kernel(basis))
    assert equal.standard_error < 0.5 * plain.standard_error
    assert equal.provenance.pilot_evaluations == 60
    assert equal.provenance.controls == f"kernel({basis}), cross-fitted"
    weighted = run(wide, controls=kernel(Basis(turned, importance=(0.6, 0.3, 0.1))))
    assert weighted.standard_error < 0.5 * plain.standard_error
    assert weighted.mean != equal.mean
    # Without a positive importance all directions count alike.
    assert run(wide, controls=kernel(Basis(turned, importance=(0.0, 0.0, 0.0)))).mean == equal.mean


def test_several_blocks_and_uniform_noise() -> None:
    blocks = {"start": Block((3,)), "mask": Block((2, 1), "uniform"), "coin": Block((), "uniform", iid=True)}

    def function(noise: Any) -> np.ndarray:
        a = noise["start"].sum(axis=1) + stats.norm.ppf(noise["mask"].reshape(-1, 2)).sum(axis=1)
        return np.asarray(np.cos(a / 2) + 0.1 * noise["coin"])

    generator = mcgen.as_generator(function, NoiseSpec(blocks, "float64"), name="blocks")
    result, plain = run(generator), run(generator, controls=None)
    assert result.standard_error < 0.5 * plain.standard_error
    assert abs(result.mean - np.exp(-5 / 8) - 0.05) < Z_LIMIT * result.standard_error


def test_chunks_of_noise_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run()
    monkeypatch.setattr(kernel_module, "_DRAWN", 28)
    assert run() == result


def test_conditions_and_their_average() -> None:
    result = run(condition=[0.0, 1.0])
    assert result.conditions[1] == run(condition=1.0)
    options = {"condition": [0.0, 1.0, 2.0], "common_random_numbers": True, "weights": [0.5, 0.3, 0.2]}
    together, plain = run(**options), run(controls=None, **options)
    means = [part.mean for part in together.conditions]
    assert together.mean == pytest.approx(np.dot([0.5, 0.3, 0.2], means), rel=1e-9)
    for own, other in zip((*together.conditions, together), (*plain.conditions, plain), strict=True):
        assert own.standard_error < 0.5 * other.standard_error
        assert own.degrees_of_freedom == 198


def test_differences_and_comparisons() -> None:
    other = mcgen.as_generator(lambda z: of_sum(1.3 * z), (4,), name="other")
    plain, result = (mcgen.difference(SMOOTH, other, identity, **PAIRS, controls=c) for c in (None, kernel()))
    assert result.standard_error < 0.5 * plain.standard_error
    assert abs(result.mean - plain.mean) < Z_LIMIT * plain.standard_error
    table = mcgen.compare(SMOOTH, identity, designs=[Antithetic()], n_evaluations=400, seed=SEED, controls=kernel())
    assert table.estimates[0] == run()


def test_the_same_numbers_however_a_run_is_cut(tmp_path: Path) -> None:
    path, whole = tmp_path / "run.sqlite", run(n_evaluations=800, batch_size=16)
    assert run(n_evaluations=800, batch_size=16) == whole
    with ThreadPoolExecutor(2) as pool:
        assert run(n_evaluations=800, batch_size=16, executor=pool).mean == whole.mean
    stopped = mcgen.as_generator(logistic_stopped(30), (4,), name="smooth", fingerprint="smooth")
    again = mcgen.as_generator(of_sum, (4,), name="smooth", fingerprint="smooth")
    partial = run(stopped, n_evaluations=800, batch_size=16, store=path)
    assert partial.partial
    assert partial.n_replicates < 400
    # Only the run's own call can correct what a store holds.
    assert mcgen.read_store(path)[0].estimate is None
    assert run(again, n_evaluations=800, batch_size=16, store=path).mean == whole.mean
    finished = run(again, n_evaluations=800, batch_size=16, store=path)
    assert (finished.mean, finished.half_width) == (whole.mean, whole.half_width)
    assert (finished.replicate_means == whole.replicate_means).all()
    with pytest.raises(mcgen.StoreError, match="controls"):
        run(again, n_evaluations=800, batch_size=16, store=path, controls=None)


def logistic_stopped(n_calls: int) -> Any:
    count = 0

    def function(z: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        if count > n_calls:
            raise KeyboardInterrupt
        return of_sum(z)

    return function


def test_a_part_of_a_longer_run_has_its_own_coordinates() -> None:
    part, plain = run(n_evaluations=None, replicates=range(300, 500)), run(controls=None, n_evaluations=1000)
    assert abs(part.mean - expectation_of_sum(4)) < Z_LIMIT * part.standard_error
    assert part.standard_error < 0.5 * plain.replicate_means[300:].std() / np.sqrt(200)


def test_too_few_replicates_after_an_interruption() -> None:
    stopped = mcgen.as_generator(logistic_until(6, KeyboardInterrupt()), (4,), name="stopped")
    with pytest.warns(mcgen.CoverageWarning, match="the control was not used: a kernel control needs 100 pairs"):
        result = run(stopped, mcgen.statistics.pixel_mean, batch_size=4)
    assert result.partial
    assert result.provenance.controls == "kernel(), not used"
    assert result.degrees_of_freedom == result.n_replicates - 1


def test_refusals() -> None:
    message = r"corrects antithetic pairs, design=mcgen\.Antithetic\(\); got .*\. Use these"
    for design in (MonteCarlo(), Antithetic(Sobol(4)), Sobol(4)):
        with pytest.raises(ValueError, match=message):
            run(design=design)
    with pytest.raises(ValueError, match=r"from 1 to 16 coordinates of noise.*got 17 of normal\(17\)"):
        run(mcgen.as_generator(np.exp, (17,)))
    with pytest.raises(ValueError, match=r"at most 16 directions; got Basis\(17.*basis\.leading\(16\)"):
        kernel(Basis(np.eye(20)[:, :17]))
    with pytest.raises(TypeError, match=r"kernel takes an mcgen\.bases\.Basis, or nothing; got"):
        kernel(np.eye(3))
    with pytest.raises(ValueError, match="100 pairs or more; got 99. Use n_evaluations of 200 or more"):
        run(n_evaluations=198)
    with pytest.raises(ValueError, match="cross-fitting works on kept replicate means; got keep_replicates=False"):
        run(keep_replicates=False)
    for options in ({"interval": "bootstrap-t"}, {"simultaneous": "bootstrap-max-t"}):
        with pytest.raises(ValueError, match="share coefficients, and are not to be resampled"):
            run(**options)
        with pytest.raises(ValueError, match="share coefficients"):
            run().with_interval(**options)
    with pytest.raises(ValueError, match="interval='betting' is for the replicate means of the statistic itself"):
        run(interval="betting")
    with pytest.raises(ValueError, match="need to know the number of replicates"):
        run(n_evaluations=None, atol=0.01)
    with pytest.raises(ValueError, match="chooses controls itself"):
        run(design="auto", n_evaluations=2000)
    coin = mcgen.as_generator(lambda u: u[:, 0], NoiseSpec({"coin": Block((2,), iid=True)}), name="coin")
    with pytest.raises(ValueError, match="drawn independently for every point; got 0 of"):
        run(coin)
    with pytest.raises(ValueError, match="drawn independently for every point"):
        run(coin, controls=kernel(Basis({"coin": np.eye(2)})))
    with pytest.raises(ValueError, match="is for noise with the blocks 'noise' of 3 numbers"):
        run(controls=kernel(Basis(np.eye(3))))


def test_texts() -> None:
    assert str(kernel()) == repr(KernelControl()) == "kernel()"
    assert kernel(Basis(np.eye(4)[:, :2])).n_evaluations == kernel().n_evaluations == 0


def test_residuals_that_a_few_replicates_make_are_no_correction() -> None:
    skewed = mcgen.as_generator(lambda z: np.exp(0.7 * z[:, 0].astype(float)), (1,), name="lognormal")
    options: dict[str, Any] = {"n_evaluations": 200}
    left = 0
    for seed in range(8):
        alone = run(skewed, controls=None, seed=seed, **options).replicate_means
        controlled = run(skewed, seed=seed, **options).replicate_means
        assert alone is not None
        assert controlled is not None
        left += int(np.array_equal(alone, controlled))
    assert left >= 4
    # A control: residuals of many replicates are taken.
    assert not np.array_equal(
        run(n_evaluations=800).replicate_means, run(controls=None, n_evaluations=800).replicate_means
    )

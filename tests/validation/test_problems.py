"""Problems with known truth: every truth against an independent run, its closed form against another quadrature."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT
from scipy import integrate, stats
from scipy.special import ndtr

from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.noise import BlockNoise
from mcgen.statistics import contrast
from mcgen.validation.conformance import check_generator
from mcgen.validation.problems import (
    PROBLEMS,
    Problem,
    _simulated,
    gaussians,
    integrands,
    lines,
    mixtures,
    networks,
    simulate_truths,
    table,
)
from mcgen.validation.problems._simulated import fingerprint, with_truth
from mcgen.validation.problems.basic import keister_truth
from mcgen.validation.problems.quadrature import density, normal_rule
from mcgen.validation.problems.samplers import MixtureDiffusion
from mcgen.validation.studies.coverage import simulate

SIMULATED = [problem.name for problem in PROBLEMS.values() if problem.truth_error > 0]
# For these a pair is the mean itself.
ODD = ("linear", "affine-mean")


def run(problem: Problem, n: int) -> np.ndarray:
    """Independent replicate means."""
    return simulate(problem, MonteCarlo() if problem.name in ODD else Antithetic(), n, SEED).means


def z_of(problem: Problem, means: np.ndarray) -> float:
    error = math.hypot(means.std(ddof=1) / math.sqrt(len(means)), problem.truth_error)
    return float((means.mean() - problem.truth) / error)


@pytest.mark.parametrize("name", PROBLEMS)
def test_truths_are_those_of_an_independent_run(name: str) -> None:
    problem = PROBLEMS[name]
    means = run(problem, 2**14 if problem.dimension <= 64 else 2**13)
    assert means.std() > 0
    assert abs(z_of(problem, means)) < Z_LIMIT


@pytest.mark.parametrize("name", ["exponential", "SumUeU-32", "genz-continuous", "mixture-16-mean", "digits-class"])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_truth_that_is_off_by_some_standard_errors_is_rejected(name: str, side: int) -> None:
    problem = PROBLEMS[name]
    means = run(problem, 2**14)
    shift = 2 * Z_LIMIT * means.std() / math.sqrt(len(means))
    assert abs(z_of(replace(problem, truth=problem.truth + side * shift), means)) > Z_LIMIT


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        # The data's own moments, which ten steps of a sampler do not reach.
        ("line-ddpm-16-energy", (lines._LINE_WEIGHTS @ lines._LINE[:, 0] ** 2 + 16 * lines._VARIANCE) / 16),
        ("normal-ddpm-energy", float(np.mean(gaussians.spectrum(16)[0] ** 2 + gaussians.spectrum(16)[1]))),
    ],
)
def test_the_expectation_of_the_data_is_not_that_of_the_sampler(name: str, truth: float) -> None:
    problem = PROBLEMS[name]
    assert abs(z_of(replace(problem, truth=truth), run(problem, 2**14))) > Z_LIMIT


@pytest.mark.parametrize("name", PROBLEMS)
def test_generators_keep_the_laws(name: str) -> None:
    check_generator(PROBLEMS[name].generator, seed=SEED).require()


def test_table_and_problems_agree() -> None:
    frame = table()
    assert list(frame["name"]) == list(PROBLEMS) == [problem.name for problem in PROBLEMS.values()]
    assert {"linear", "normal-pairs", "odd-and-even", "exponential", "square"} <= set(frame["name"])
    assert np.isfinite(frame["truth"]).all()
    assert (frame["dimension"] == [problem.generator.noise.dimension for problem in PROBLEMS.values()]).all()
    assert (frame[["family", "source", "hard"]] != "").all(axis=None)
    assert set(frame.loc[frame["truth_error"] > 0, "name"]) == {problem.name for problem in mixtures.unknown()}


@pytest.mark.parametrize("name", PROBLEMS)
def test_statistics_give_a_number_a_sample_and_problems_travel(name: str) -> None:
    """To worker processes, by pickle."""
    problem = pickle.loads(pickle.dumps(PROBLEMS[name]))
    drawn = MonteCarlo().draw(problem.generator.noise, 5, SEED)
    noise = drawn[:, 0] if isinstance(drawn, np.ndarray) else drawn.map(lambda block: block[:, 0])
    values = problem.statistic(problem.generator(noise))
    assert values.shape == (5,)
    expected = PROBLEMS[name].statistic(PROBLEMS[name].generator(noise))
    assert np.array_equal(values, expected)


def cells(edges: np.ndarray, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights in each of the cells between the edges."""
    x, w = np.polynomial.legendre.leggauss(n)
    widths = np.diff(edges)[:, None]
    return (edges[:-1, None] + widths * (x + 1) / 2).ravel(), (widths * w / 2).ravel()


@pytest.mark.parametrize("kind", integrands._GENZ)
def test_genz_integrals_are_those_of_a_tensor_rule_in_two_dimensions(kind: str) -> None:
    integrand, integral, size, _ = integrands._GENZ[kind]
    c, w = size * integrands._DIRECTION[3:], integrands._SHIFTS[3:]
    rules = [cells(np.array([0, shift / 2, shift, (1 + shift) / 2, 1]), 16) for shift in w]
    grid = np.stack(np.meshgrid(*[x for x, _ in rules], indexing="ij"), -1).reshape(-1, 2)
    weights = np.outer(*[v for _, v in rules]).ravel()
    assert integral(c, w) == pytest.approx(weights @ integrand(c, w, grid)[:, 0], rel=1e-10)


@pytest.mark.parametrize("name", integrands._of_study())
def test_the_integrands_of_the_study_have_mean_zero(name: str) -> None:
    """In one dimension, where a ridge is its profile; SumUeU and MC2 are sums and products of such."""
    function = integrands._of_study()[name][0]
    found, _ = integrate.quad(
        lambda s: density(s) * function(np.array([[ndtr(s)]]))[0, 0], -8, 8, points=[1.0], limit=200
    )
    assert abs(found) < 1e-8


def test_the_heavy_tailed_integrand_is_johnsons() -> None:
    law = stats.johnsonsu(1, 1)
    s = np.linspace(-3, 3, 7)
    assert np.allclose(integrands._johnson(s), law.ppf(ndtr(s)))
    mean, _, skewness, kurtosis = law.stats("mvsk")
    assert (mean, skewness, kurtosis) == pytest.approx((-math.exp(0.5) * math.sinh(1), -5.363, 90.36), abs=0.01)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 9])
def test_keister_by_its_radius(d: int) -> None:
    radial, _ = integrate.quad(lambda r: r ** (d - 1) * math.cos(r) * math.exp(-r * r), 0, 12)
    assert keister_truth(d) == pytest.approx(2 * math.pi ** (d / 2) / math.gamma(d / 2) * radial, rel=1e-9)


def test_closed_forms_of_normal_data() -> None:
    mean, variance = np.array([0.3, -1.2]), np.array([0.5, 2.0])
    by_hand = [
        integrate.quad(lambda x, law: x * law.pdf(x), 0, 12, args=(stats.norm(m, math.sqrt(v)),))[0]
        for m, v in zip(mean, variance, strict=True)
    ]
    assert gaussians.lit_truth(mean, variance) == pytest.approx(np.mean(by_hand), rel=1e-8)


def test_many_steps_follow_the_probability_flow() -> None:
    z = np.random.default_rng(SEED).standard_normal((4, 16))
    flow = gaussians.normal_law(16, steps=1)(z)
    gaps = [np.abs(gaussians.normal_sampler(16, n)(z) - flow).max() for n in (100, 1000)]
    assert gaps[1] < gaps[0] / 5 < 0.1


def test_quadratures_have_converged() -> None:
    for make in (lines.inside, lines.inside_ancestral):
        moments = []
        for step in (0.02, 0.01) if make is lines.inside else (0.05, 0.04):
            p, probabilities = make(lines._LINE, lines._LINE_WEIGHTS, step)
            moments.append([probabilities.sum(), probabilities @ p[:, 0], probabilities @ p[:, 0] ** 2])
        assert np.allclose(*moments, rtol=1e-8)
        assert moments[0][0] == pytest.approx(1, abs=1e-10)
    coarse, fine = (lines.inside(lines._PLANE, lines._PLANE_WEIGHTS, step) for step in (0.1, 0.06))
    assert coarse[1] @ coarse[0] == pytest.approx(fine[1] @ fine[0], abs=1e-5)
    layer = [np.array([[0.9, -0.4], [0.2, 1.1]]), np.array([0.3, -0.7]), np.eye(2)]
    x, weights = normal_rule(0.1)
    z = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
    samples, heights = networks._layer(*layer, z), np.outer(weights, weights).ravel()
    mean, second = networks.layer_moments(*layer)
    assert np.allclose(mean, heights @ samples, rtol=1e-8)
    assert np.allclose(second, (samples.T * heights) @ samples, rtol=1e-7)


def test_a_line_mixture_is_its_line_and_a_scaling_across() -> None:
    """What the truths of any dimension rest on, row by row."""
    direction = lines.patterns(16)[:1]
    z = np.random.default_rng(SEED).standard_normal((50, 16))
    x = lines.sampler_of(lines._LINE, lines._LINE_WEIGHTS, direction)(z)
    along = lines.sampler_of(lines._LINE, lines._LINE_WEIGHTS, np.eye(1))(z @ direction.T)
    across = z - z @ direction.T @ direction
    assert np.allclose(x, along @ direction + math.sqrt(lines.across()) * across, atol=1e-12)


def test_posterior_means_follow_from_the_score() -> None:
    """Tweedie's formula, with the score by differences of the log density."""
    data, signal, step = mixtures.image_mixture(4), 0.4, 1e-5
    x = np.random.default_rng(SEED).standard_normal((3, 16))

    def log_density(at: np.ndarray) -> np.ndarray:
        spread = signal * data.variances + 1 - signal
        squares = (at[:, None] - math.sqrt(signal) * data.means) ** 2 / spread + np.log(spread)
        return np.log(np.exp(-squares.sum(axis=2) / 2) @ data.weights)

    steps = step * np.eye(16)
    score = np.stack([(log_density(x + e) - log_density(x - e)) / (2 * step) for e in steps], axis=1)
    assert np.allclose(data.predict(x, signal), (x + (1 - signal) * score) / math.sqrt(signal), atol=1e-6)


# Predicted noise is divided by the first step's sqrt(2e-9): its rounding, 1e-12, grows where clusters part.
@pytest.mark.parametrize(("prediction", "tolerance"), [("sample", 1e-10), ("noise", 1e-8)])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_sampler_is_that_of_the_adapters(eta: float, prediction: str, tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import DDIM, Schedule

    schedule, data = Schedule.cosine(), mixtures.image_mixture(4)
    means, variances, weights = map(torch.from_numpy, (data.means, data.variances, data.weights))

    def denoiser(x: torch.Tensor, time: torch.Tensor, condition: object) -> torch.Tensor:
        signal = schedule.signal(round(float(time[0]) * 1000))
        spread = signal * variances + 1 - signal
        law = torch.distributions.Normal(math.sqrt(signal) * means, spread.sqrt())
        probabilities = (law.log_prob(x[:, None]).sum(2) + weights.log()).softmax(1)[:, :, None]
        if prediction == "sample":
            centres = (math.sqrt(signal) * variances * x[:, None] + (1 - signal) * means) / spread
            return (probabilities * centres).sum(1)
        score = (probabilities * (law.mean - x[:, None]) / spread).sum(1)
        return -math.sqrt(1 - signal) * score

    theirs = DDIM(denoiser, schedule, (16,), steps=10, eta=eta, prediction=prediction, dtype=torch.float64)
    rng = np.random.default_rng(SEED)
    blocks = {name: rng.standard_normal((20, 16)) for name, _ in theirs.noise.blocks}
    noise = BlockNoise(blocks.__getitem__, tuple(blocks)) if eta else blocks["noise"]
    ours = MixtureDiffusion(data, steps=10, eta=eta, dtype="float64")
    assert ours.noise.blocks == theirs.noise.blocks
    assert np.abs(ours(noise) - theirs(noise).numpy()).max() < tolerance


def test_slices_do_not_show() -> None:
    z = np.random.default_rng(SEED).standard_normal((3000, 64))
    sampler = MixtureDiffusion(mixtures.image_mixture(8), steps=3)
    assert np.allclose(sampler(z)[2500:], sampler(z[2500:]), atol=1e-10)


def test_the_sampler_of_the_digits_averages_over_them_at_many_steps() -> None:
    """Samples are data points, each as often as the others: the limit that the stored truths stop short of."""
    points = mixtures.digits()
    generator = mixtures.digit_generator(100)
    x = generator(MonteCarlo().draw((64,), 2**13, SEED)[:, 0]).reshape(-1, 64)
    distances = ((x[:, None] - points.astype(np.float32)) ** 2).mean(axis=2)
    assert np.mean(distances.min(axis=1) < 1e-4) > 0.99
    counts = np.bincount(distances.argmin(axis=1), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-9
    stored, average = PROBLEMS["digits-contrast"], contrast(points.reshape(-1, 8, 8)).mean()
    assert abs(stored.truth - average) > Z_LIMIT * stored.truth_error


@pytest.mark.parametrize("name", SIMULATED)
def test_stored_truths_are_twenty_times_as_accurate_as_any_run(name: str) -> None:
    problem, record = PROBLEMS[name], _simulated._stored(_simulated.TRUTHS)[name]
    assert problem.truth_error <= record["smallest_run_error"] / 20
    assert problem.source.startswith("simulated: ")
    means = simulate(problem, Sobol(64), 200, SEED).means
    error = means.std(ddof=1) / math.sqrt(_simulated.most_replicates(problem))
    assert problem.truth_error <= error / 20 * 1.3


def test_a_truth_of_another_problem_is_refused(tmp_path: Path) -> None:
    problem = PROBLEMS["mixture-16-mean"]
    with pytest.raises(
        RuntimeError,
        match="'nameless' is not stored in .*; simulate it by: python -m mcgen.validation truths --only nameless",
    ):
        with_truth(replace(problem, name="nameless"))
    with pytest.raises(RuntimeError, match="not stored"):
        with_truth(problem, tmp_path / "none.json")
    with pytest.raises(RuntimeError, match="'mixture-16-mean' in .* is for another definition of it; simulate it by"):
        with_truth(replace(problem, generator=mixtures.image_generator(4, n_steps=11)))
    with pytest.raises(RuntimeError, match="is for another definition of it"):
        with_truth(replace(problem, statistic=mixtures.maximum))
    assert with_truth(problem).truth == problem.truth


def test_truths_are_simulated_stored_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "truths.json"
    monkeypatch.setattr(_simulated, "_NET", Sobol(16))
    monkeypatch.setattr(_simulated, "_PILOT", 100)
    with pytest.raises(RuntimeError, match="more than a twentieth of the .* of 200 replicates of Sobol"):
        simulate_truths("mixture-16-mean", path)
    monkeypatch.setattr(_simulated, "SHARE", 1.0)
    made = simulate_truths("mixture-16-mean", path)
    assert list(made["problem"]) == ["mixture-16-mean"]
    found = with_truth(next(p for p in mixtures.unknown() if p.name == "mixture-16-mean"), path)
    assert found.truth == made["truth"][0]
    assert abs(found.truth - PROBLEMS["mixture-16-mean"].truth) < Z_LIMIT * found.truth_error
    assert np.array_equal(fingerprint(found), fingerprint(PROBLEMS["mixture-16-mean"]))


def test_names_that_do_not_exist_are_told() -> None:
    from mcgen.validation import problems

    with pytest.raises(AttributeError, match="no attribute 'NONE'"):
        _ = problems.NONE

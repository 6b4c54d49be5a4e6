"""Fitted samplers: how closely they follow, what they cost, what they refuse, and that two levels stay unbiased."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

torch = pytest.importorskip("torch")

from half_precision import HalfNetwork  # noqa: E402

import mcgen  # noqa: E402
from mcgen._lib.condition_keys import key_of_condition  # noqa: E402
from mcgen._lib.fingerprints import fingerprint_of  # noqa: E402
from mcgen.adapters import DDIM, DDS, Chain, Consistency, Fitted, Flow, Heun, Inpainting, Schedule, models  # noqa: E402
from mcgen.adapters.samplers.fitting import (  # noqa: E402
    _moments_of_choice,
    candidates,
    chosen_nodes,
    run_pilot,
    steps_to_keep,
)
from mcgen.adapters.samplers.nodes import PredictedError, moments_of, spaced_nodes  # noqa: E402
from mcgen.noise import as_rows  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:.*by the pilot the variance"),
    pytest.mark.usefixtures("one_torch_thread"),
]

BOTH = mcgen.statistics.stack(mcgen.statistics.pixel_mean, mcgen.statistics.contrast)


def denoiser(x: torch.Tensor, time: torch.Tensor, condition: float | None = None) -> torch.Tensor:
    """As a noise: that of two points, roughly; neither linear nor odd, and cheap."""
    shift = 0.2 if condition is None else condition
    return x - 0.8 * torch.tanh(2 * (x - shift)) * (1 - time[:, None])


def square(x: torch.Tensor) -> torch.Tensor:
    return (x**2 + x).mean(dim=1)


def small(steps: int = 12, **options: Any) -> DDIM:
    return DDIM(denoiser, Schedule.cosine(100), (6,), steps=steps, name="small", **options)


def correlations(fine: Any, other: Any, condition: Any = None, pairs: int = 96) -> Any:
    """Correlations of pair means of the two statistics on noise that no fit has seen."""
    noise = as_rows(mcgen.Antithetic().draw(fine.noise, pairs, SEED + 1))
    a, b = (np.asarray(BOTH(one(noise, condition))).reshape(pairs, 2, 2).mean(axis=1) for one in (fine, other))
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def distance(fine: Any, other: Any) -> float:
    """Mean squared distance of samples from the fine ones on the same noise that no fit has seen."""
    noise = as_rows(mcgen.Antithetic().draw(fine.noise, 96, SEED + 1))
    return float(np.square(np.asarray(other(noise)) - np.asarray(fine(noise))).mean())


def test_it_follows_the_fine_sampler_where_as_few_steps_do_not() -> None:
    fine = models.load("digits-diffusion")
    fitted = fine.fitted(seed=SEED)
    followed = correlations(fine, fitted)
    assert (followed > 0.98).all()
    assert (1 - followed < (1 - correlations(fine, fine.coarse(5))) / 3).all()
    assert fitted.residual < 0.02
    assert repr(fitted).startswith("Fitted(digits-diffusion ddim-50 fitted-5, nodes ")
    spaced = fine.fitted(seed=SEED, nodes=spaced_nodes(fine.scales, 5))
    assert spaced.nodes == (2, 6, 16, 32, 44)
    assert distance(fine, fitted) < distance(fine, spaced) < distance(fine, fine.coarse(5)) / 3


@pytest.mark.parametrize(
    ("options", "condition", "least"),
    [
        ({"sampler": "heun", "steps": 18}, None, 0.97),
        ({"guidance_scale": 3.0}, 3, 0.95),
        ({"eta": 0.5}, None, 0.8),
    ],
    ids=["heun", "guidance", "eta"],
)
def test_other_samplers_of_diffusion_models(options: dict[str, Any], condition: Any, least: float) -> None:
    fine = models.load("digits-diffusion", **options)
    fitted = fine.fitted(seed=SEED, condition=condition)
    found = correlations(fine, fitted, condition)
    assert (found > least).all()
    assert (found > correlations(fine, fine.coarse(3), condition) + 0.02).all()


def test_flows() -> None:
    fine = models.load("moons-flow")
    assert distance(fine, fine.fitted(pairs=64, seed=SEED)) < distance(fine, fine.coarse(3)) / 2


def test_an_affine_sampler_is_followed_exactly() -> None:
    """Where states are linear in the noise and the first prediction, the fit is exact, with fresh noise too."""

    def linear(x: torch.Tensor, time: torch.Tensor, condition: None = None) -> torch.Tensor:
        return 0.6 * x + 0.1

    for eta in (0.0, 1.0):
        fine = DDIM(linear, Schedule.cosine(100), (4,), steps=10, eta=eta)
        noise = as_rows(mcgen.MonteCarlo().draw(fine.noise, 20, SEED + 1))
        fitted = fine.fitted(3, pairs=16, seed=SEED)
        assert fitted.residual < 1e-6
        assert torch.allclose(fitted(noise), fine(noise), atol=2e-3)
        if eta:
            assert not torch.allclose(fine.coarse(3)(noise), fine(noise), atol=0.1)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_it_obeys_the_laws_of_generators(eta: float) -> None:
    fitted = small(eta=eta).fitted(4, seed=SEED)
    check_generator(fitted).require()
    same = pickle.loads(pickle.dumps(models.load("digits-diffusion").fitted(2, pairs=2, seed=SEED)))
    assert len(same.nodes) == 2


def test_seeds_and_batches() -> None:
    fine = small()
    noise = np.random.default_rng(SEED).standard_normal((9, 6), dtype=np.float32)
    once = fine.fitted(4, seed=SEED)
    assert torch.equal(once(noise), fine.fitted(4, seed=SEED)(noise))
    assert torch.equal(once(noise)[3:5], once(noise[3:5]))
    assert not torch.equal(once(noise), fine.fitted(4, seed=SEED + 1)(noise))
    assert once.digest == fine.fitted(4, seed=SEED).digest != fine.fitted(4, seed=SEED + 1).digest
    slope = once.gradient(noise, lambda x: x[:, 0])
    assert slope.shape == (9, 6)
    assert np.abs(slope).max() > 0


def test_two_levels_are_unbiased_whatever_was_fitted() -> None:
    """Also with a poor fit: the mean of 40 runs is that of the fine sampler; the fitted one alone is far off."""
    fine = small(clip=1.0, decode=lambda x: torch.exp(2 * x))
    poor = fine.fitted(1, pairs=2, seed=SEED, nodes=[9])
    options: dict[str, Any] = {"seed": SEED, "batch_size": 4096}
    truth = mcgen.estimate(
        fine, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=400_000, **options
    )
    below = mcgen.estimate(
        poor, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=400_000, **options
    )
    assert abs(below.mean - truth.mean) > 5 * (below.standard_error + truth.standard_error)
    levels = [(poor, poor.cost), (fine, 1)]
    runs = [
        mcgen.multilevel(levels, mcgen.statistics.pixel_mean, n_evaluations=2000, seed=SEED + 1 + i, batch_size=4096)
        for i in range(40)
    ]
    means = np.array([one.mean for one in runs])
    error = np.hypot(means.std(ddof=1) / np.sqrt(len(means)), truth.standard_error)
    assert abs(means.mean() - truth.mean) < Z_LIMIT * error


def test_its_pilot_counts_in_each_run() -> None:
    fine = small(steps=20)
    fitted = fine.fitted(4, pairs=3, seed=SEED)
    assert fitted.cost == 4 / 20
    assert fitted.network_evaluations == 4
    assert fitted.pilot_evaluations == 8 == int(np.ceil(6 * (1 + 4 / 20)))
    options: dict[str, Any] = {"n_evaluations": 200, "seed": SEED}
    alone = mcgen.estimate(fitted, square, design=mcgen.Antithetic(), **options)
    # Its own evaluations are cheaper by 4 / 20.
    assert alone.provenance.pilot_evaluations == 40
    assert "40 evaluations before the run" in alone.summary()
    table = mcgen.compare(fitted, square, designs=[mcgen.MonteCarlo(), mcgen.Antithetic()], **options)
    assert [one.provenance.pilot_evaluations for one in table.estimates] == [40, 40]
    between = mcgen.difference(fine, fitted, square, design=mcgen.Antithetic(), **options)
    assert between.provenance.pilot_evaluations == 7
    levels = [(fitted, fitted.cost), (fine, 1)]
    two = mcgen.multilevel(levels, square, n_evaluations=400, seed=SEED)
    plain = mcgen.multilevel([(fine.coarse(4), 4), (fine, 20)], square, n_evaluations=400, seed=SEED)
    assert two.provenance.pilot_evaluations == plain.provenance.pilot_evaluations + 8
    blur = mcgen.as_generator(lambda z, x: x + z, noise=(6,), name="blur")
    assert Chain(fitted, blur).pilot_evaluations == pytest.approx(8 / 1.2)
    assert Chain(blur, blur).pilot_evaluations == 0
    auto = mcgen.Auto(coarse=levels[:1])
    planned = mcgen.estimate(fine, square, design=auto, n_evaluations=1000, seed=SEED)
    assert planned.n_evaluations + planned.provenance.pilot_evaluations <= 1000
    assert planned.provenance.pilot_evaluations > 8
    known = mcgen.Auto(coarse=levels[:1], correlation=0.99)
    assert mcgen.estimate(fine, square, design=known, **options).provenance.pilot_evaluations == 8


def test_several_conditions_count_the_pilot_once() -> None:
    fine = small()
    fitted = fine.fitted(4, seed=SEED, condition=[-0.5, 0.5])
    assert fitted.pilot_evaluations == int(np.ceil(32 * (1 + 4 / 12)))
    options: dict[str, Any] = {"condition": [-0.5, 0.5], "n_evaluations": 400, "seed": SEED}
    both = mcgen.multilevel([(fitted, fitted.cost), (fine, 1)], square, **options)
    plain = mcgen.multilevel([(fine.coarse(4), 4), (fine, 12)], square, **options)
    assert both.provenance.pilot_evaluations == plain.provenance.pilot_evaluations + fitted.pilot_evaluations
    noise = np.zeros((2, 6), np.float32)
    assert not torch.equal(fitted(noise, 0.5), fitted(noise, -0.5))
    named = fine.fitted(4, seed=SEED, condition={"low": -0.5, "high": 0.5})
    assert torch.equal(named(noise, 0.5), fitted(noise, 0.5))
    with pytest.raises(ValueError, match=r"fitted for the conditions -0.5, 0.5; got the condition 0.25. Fit it for"):
        fitted(noise, 0.25)
    with pytest.raises(ValueError, match=r"fitted for no condition; got the condition 0.5"):
        fine.fitted(4, seed=SEED)(noise, 0.5)


def test_files(tmp_path: Path) -> None:
    fine, path = small(), tmp_path / "fit.npz"
    noise = np.random.default_rng(SEED).standard_normal((5, 6), dtype=np.float32)
    fitted = fine.fitted(4, seed=SEED, condition=[0.0, 1.0])
    fitted.save(path)
    again = Fitted.load(path, small())
    assert torch.equal(again(noise, 1.0), fitted(noise, 1.0))
    assert again.digest == fitted.digest
    assert (again.nodes, again.pilot_evaluations, again.residual) == (
        fitted.nodes,
        fitted.pilot_evaluations,
        fitted.residual,
    )
    with pytest.raises(ValueError, match="belongs to another sampler than 'small'"):
        Fitted.load(path, small(steps=13))
    with np.load(path) as file:
        content = dict(file)
    np.savez(path, **(content | {"noise": content["noise"] + 1}))
    with pytest.raises(ValueError, match="does not match its SHA-256"):
        Fitted.load(path, fine)
    np.savez(path, **{name: array for name, array in content.items() if name != "header"})
    with pytest.raises(ValueError, match="is not a file that mcgen.adapters.Fitted saved"):
        Fitted.load(path, fine)
    np.savez(path, **(content | {"header": str(content["header"]).replace('"schema": 1', '"schema": 9')}))
    with pytest.raises(ValueError, match="saved with schema 9"):
        Fitted.load(path, fine)
    with pytest.raises(ValueError, match="npz"):
        fitted.save(tmp_path / "fit.csv")


def test_a_folder_keeps_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fits"
    once = small().fitted(4, seed=SEED, folder=folder)
    assert len([*folder.iterdir()]) == 1
    others: list[tuple[Any, dict[str, Any]]] = [
        (small(), {"seed": SEED + 1}),
        (small(), {"seed": SEED, "pairs": 4}),
        (small(), {"seed": SEED, "condition": 0.5}),
        (small(), {"seed": SEED, "nodes": [1, 2, 3, 4]}),
        (small(clip=1.0), {"seed": SEED}),
    ]
    for fine, options in others:
        fine.fitted(4, folder=folder, **options)
    assert len([*folder.iterdir()]) == 1 + len(others)
    monkeypatch.setattr(DDIM, "states", None)
    again = small().fitted(4, seed=SEED, folder=str(folder))
    assert again.digest == once.digest
    assert again.pilot_evaluations == once.pilot_evaluations


def test_a_store_knows_it(tmp_path: Path) -> None:
    fine = small()
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 64, "seed": SEED}
    options["store"] = tmp_path / "run.sqlite"
    first = mcgen.estimate(fine.fitted(4, seed=SEED), square, **options)
    assert mcgen.estimate(fine.fitted(4, seed=SEED), square, **options) == first
    with pytest.raises(mcgen.StoreError, match="weights"):
        mcgen.estimate(fine.fitted(4, seed=SEED + 1), square, **options)


def test_what_is_refused() -> None:
    fine = small()
    for evaluations in (0, 12, 13):
        with pytest.raises(
            ValueError, match=f"between 1 and 11 evaluations, fewer than the 12 steps.*got {evaluations}"
        ):
            fine.fitted(evaluations, seed=SEED)
    with pytest.raises(TypeError, match="evaluations"):
        fine.fitted(2.5, seed=SEED)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2 antithetic pairs; got pairs=1"):
        fine.fitted(4, pairs=1, seed=SEED)
    for nodes in ([3, 3], [4, 12], [5], [-1, 3]):
        with pytest.raises(ValueError, match="nodes must be 2 increasing steps from 0 to 11"):
            fine.fitted(2, seed=SEED, nodes=nodes)
    with pytest.raises(ValueError, match="condition is an empty list"):
        fine.fitted(4, seed=SEED, condition=[])
    with pytest.raises(TypeError, match="recognizes its conditions by their content"):
        fine.fitted(4, seed=SEED, condition=object())
    steps = Consistency.from_sigmas(lambda x, sigma, c: x, [80.0, 1.0], (3,))
    with pytest.raises(TypeError, match="which Consistency does not have; DDIM, Heun and Flow do"):
        steps.fitted(1, seed=SEED)
    prior = DDIM(denoiser, Schedule.cosine(100), (1, 2, 3), steps=12)
    posterior = DDS(prior, Inpainting((1, 2, 3), np.ones((2, 3), bool)))
    with pytest.raises(TypeError, match="which DDS does not have"):
        posterior.fitted(4, seed=SEED)
    broken = DDIM(lambda x, time, c: x / 0, Schedule.cosine(100), (6,), steps=12, name="broken")
    with pytest.raises(ValueError, match="a trajectory of 'broken' has a NaN or an infinity"):
        broken.fitted(4, seed=SEED)


def test_a_constant_sampler_can_be_fitted() -> None:
    fine = Flow(lambda x, t, c: -x, (3,), steps=6, method="euler")
    constant = Heun(lambda x, t, c: x * 0, Schedule.cosine(100), (3,), steps=4, prediction="sample")
    noise = np.ones((2, 3), np.float32)
    assert torch.allclose(constant.fitted(2, seed=SEED)(noise), constant(noise), atol=1e-4)
    assert torch.allclose(fine.fitted(2, seed=SEED)(noise), fine(noise), atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9])
def test_nodes_are_increasing_steps(n: int) -> None:
    for angles in (np.linspace(0, 1, 11), np.linspace(0, 1, 11) ** 4, np.linspace(0, 1, 11) ** 0.1):
        nodes = spaced_nodes(np.stack([np.sin(1.57 * angles), np.cos(1.57 * angles)]), n)
        assert len({*nodes}) == n
        assert [*nodes] == sorted(nodes)
        assert nodes[0] >= 1
        assert nodes[-1] <= 9


def test_networks_in_half_precision() -> None:
    """States and weights stay in single precision, so that the samples are near those of a network in single."""

    def velocity(x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        return 0.5 - torch.tanh(x) * (1 + time[:, None])

    half = Flow(HalfNetwork(velocity).eval(), (6,), steps=12, method="euler", name="half")
    whole = Flow(velocity, (6,), steps=12, method="euler", name="whole")
    noise = np.random.default_rng(SEED).standard_normal((9, 6), dtype=np.float32)
    found = half.fitted(3, seed=SEED, nodes=[2, 5, 9])(noise)
    assert found.dtype == torch.float32
    assert torch.allclose(found, whole.fitted(3, seed=SEED, nodes=[2, 5, 9])(noise), atol=0.02)


def test_pipelines_with_latents_and_guidance() -> None:
    """The states are latents, which the pipeline's decoder turns into images at the end."""
    diffusers = pytest.importorskip("diffusers")
    from test_pipelines import N_TRAINING, dit

    from mcgen.adapters import from_pipeline

    case = dit(diffusers.DDIMScheduler(num_train_timesteps=N_TRAINING, clip_sample=False))
    fine = from_pipeline(case.pipe, steps=10, guidance_scale=2.0)
    fitted = fine.fitted(3, pairs=4, seed=SEED, condition=case.condition)
    assert (fitted.network_evaluations, fitted.cost) == (6, 0.3)
    noise = as_rows(mcgen.MonteCarlo().draw(fine.noise, 8, SEED + 1))
    target, found, few = (one(noise, case.condition) for one in (fine, fitted, fine.coarse(3)))
    assert found.shape == target.shape
    assert ((found - target) ** 2).mean() < ((few - target) ** 2).mean() / 3


@pytest.mark.parametrize("fresh", [False, True])
def test_the_predicted_error_is_that_of_one_ridge_regression_for_each_target(fresh: bool) -> None:
    m, rng = 6, np.random.default_rng(0)
    n_features = 2 * m + 2 + (m + 1) * fresh
    fields = rng.standard_normal((8, n_features, 1, 6, 6)) @ rng.standard_normal((6, 6))
    moments = moments_of([[*fields.swapaxes(0, 1)]], np.eye(n_features) + 0.1 * rng.standard_normal(n_features))
    scales = np.sqrt(np.stack([np.linspace(0.1, 0.9, m), np.linspace(0.9, 0.1, m)]))
    error, first = PredictedError(moments, scales, 2), 1 + (m + 1) * fresh
    joined = moments.joined(-(-3 * 2 * (1 + fresh) // 8))
    for nodes in ([0, 3], [2, 5]):
        expected = 0.0
        for j, target in enumerate([*nodes, m]):
            before = nodes[:j]
            features = [0, *([1 + one for one in (*before, target)] if fresh else []), *(first + i for i in before)]
            for band, size in enumerate(joined.sizes):
                values = joined.values[:, :, band]
                gram, right = values[np.ix_(features, features)], values[features, first + m + target]
                w = np.linalg.solve(gram + 1e-3 * np.diag(np.diag(gram)), right)
                left = values[first + m + target, first + m + target] - 2 * w @ right + w @ gram @ w
                variance = values[-1, -1] / (8 * size)
                signal, noise = scales[:, target] ** 2 if target < m else (0.0, variance)
                expected += left * variance / (signal * variance + noise)
        assert error(nodes) == pytest.approx(expected / joined.values[-1, -1].sum(), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_choice_sees_the_predictions_that_two_states_imply(eta: float) -> None:
    fine = small(eta=eta)
    with torch.no_grad():
        pilot = run_pilot(fine, 8, SEED, None, range(fine.steps + 1))
    x, z, ends = pilot.states, pilot.noise, range(1, fine.steps)

    def fresh(first: int, last: int) -> Any:
        return sum((w * z[name] for name, w in fine.fresh_weights(first, last).items()), torch.zeros_like(x[0]))

    sums = [fresh(0, i) for i in (*ends, fine.steps - 1)] if eta else []
    features = [x[0], *sums, *(fine.predict(x[i], i) for i in ends), *(x[i] for i in (*ends, fine.steps))]
    rows = np.stack([one.double().numpy() for one in features])
    centred = (rows - rows.mean(axis=1, keepdims=True)).reshape(len(rows), -1)
    found = _moments_of_choice(fine, [pilot], [*ends])
    assert found.values[:, :, 0] == pytest.approx(centred @ centred.T, rel=1e-3, abs=1e-3)


def test_the_descent_ends_where_no_single_node_can_be_moved() -> None:
    fine = models.load("digits-diffusion").with_steps(25)
    with torch.no_grad():
        pilot = run_pilot(fine, 4, SEED, None, steps_to_keep(fine, 4, None))
    steps = candidates(fine, 4)
    nodes = [steps.index(one) for one in chosen_nodes(fine, [pilot], [4])[0]]
    error = PredictedError(_moments_of_choice(fine, [pilot], steps), fine.scales[:, steps], 4)
    for j in range(4):
        low, high = ([-1, *nodes, len(steps)][i] for i in (j, j + 2))
        moved = np.array([[*nodes[:j], one, *nodes[j + 1 :]] for one in range(low + 1, high)])
        assert error.of_several(moved).min() >= error(nodes) * (1 - 1e-8)


@pytest.mark.parametrize("condition", [None, 0.5, [0.0, 0.5]], ids=["no condition", "one", "two"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_several_fits_are_those_that_are_made_one_by_one(condition: Any, eta: float) -> None:
    fine = small(steps=25, eta=eta)
    several = fine.fitted_several((3, 5), seed=SEED, condition=condition)
    assert len(several) == 2
    (other,) = fine.fitted_several((5,), seed=SEED + 1, condition=condition)
    assert other.digest != several[1].digest
    noise = as_rows(mcgen.Antithetic().draw(fine.noise, 4, SEED + 1))
    asked = 0.5 if condition else None
    for evaluations, one in zip((3, 5), several, strict=True):
        alone = fine.fitted(evaluations, seed=SEED, condition=condition)
        assert one.digest == alone.digest
        assert one.nodes == alone.nodes
        assert len(one.nodes) == evaluations
        assert one.pilot_evaluations == alone.pilot_evaluations
        assert one.residual == alone.residual
        assert torch.equal(one(noise, asked), alone(noise, asked))
        for name in ("noise", "predictions"):
            assert np.array_equal(getattr(one.weights, name), getattr(alone.weights, name))
    # A control: seeds matter.
    assert not torch.equal(several[1](noise, asked), other(noise, asked))
    with pytest.raises(ValueError, match="between 1 and 24 evaluations"):
        fine.fitted_several((3, 25), seed=SEED)


@pytest.mark.parametrize("condition", [None, 0.5])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_it_shows_the_samples_of_its_pilot(condition: float | None, eta: float) -> None:
    fine = small(steps=25, eta=eta, decode=lambda x: 3 * x)
    fitted = fine.fitted(5, pairs=9, seed=SEED, condition=condition)
    shown = fitted.pilot_samples(condition)
    assert shown is not None
    stream = ("fitted",) if condition is None else ("fitted", str(key_of_condition(condition)))
    noise = as_rows(mcgen.Antithetic().draw(fine.noise, 9, SEED, stream=stream))
    for one, found in zip((fine, fitted), shown, strict=True):
        assert found.shape == (18, 6)
        assert torch.allclose(found, one(noise, condition), atol=1e-5)
    # A control: the two differ, by more than rounding.
    assert not torch.allclose(shown[0], shown[1], atol=1e-3)
    assert not any(x.requires_grad for x in shown)
    # Only for the condition of the fit.
    assert fitted.pilot_samples(0.25) is None
    assert fitted.pilot_samples(None if condition else 0.5) is None


def test_each_condition_has_pilot_samples_of_its_own() -> None:
    fine = small(steps=25)
    fitted = fine.fitted(5, seed=SEED, condition={"low": -0.5, "high": 0.5})
    low, high = fitted.pilot_samples(-0.5), fitted.pilot_samples(0.5)
    assert low is not None
    assert high is not None
    for condition, (own, _) in ((-0.5, low), (0.5, high)):
        noise = as_rows(
            mcgen.Antithetic().draw(fine.noise, 8, SEED, stream=("fitted", str(key_of_condition(condition))))
        )
        assert torch.allclose(own, fine(noise, condition), atol=1e-5)
    assert not torch.allclose(low[0], high[0], atol=0.1)


def test_pilot_samples_are_no_part_of_the_sampler(tmp_path: Path) -> None:
    fine = models.load("digits-diffusion").with_steps(15)
    fitted = fine.fitted(3, pairs=2, seed=SEED)
    assert fitted.pilot_samples() is not None
    before = fingerprint_of(fitted)
    content = pickle.dumps(fitted)
    again = pickle.loads(content)
    assert again.pilot_samples() is None
    assert again.digest == fitted.digest
    assert fingerprint_of(again) == before
    # Pickling takes nothing from the sampler itself.
    assert fitted.pilot_samples() is not None
    assert fingerprint_of(fitted) == before
    bare = Fitted(fine, fitted.weights)
    assert bare.pilot_samples() is None
    assert fingerprint_of(bare) == before
    # Files have none either.
    fitted.save(tmp_path / "fit.npz")
    loaded = Fitted.load(tmp_path / "fit.npz", fine)
    assert loaded.pilot_samples() is None
    assert fingerprint_of(loaded) == before
    noise = np.random.default_rng(SEED).standard_normal((3, 1, 8, 8), dtype=np.float32)
    assert torch.equal(loaded(noise), fitted(noise))
    # A control: another fit has another fingerprint.
    assert fingerprint_of(fine.fitted(3, pairs=2, seed=SEED + 1)) != before

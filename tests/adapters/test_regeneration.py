"""Predict, then regenerate: exact means for Gaussian data, conditions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import Antithetic, MonteCarlo  # noqa: E402
from mcgen.adapters import DDIM, DDS, Inpainting, Partial, Schedule, Start, StoRM, from_torch, models  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCHEDULE = Schedule.cosine()
SHAPE, MEAN, NOISE_SD = (1, 1, 2), 0.7, 0.5
MEASURED = np.array([1.5, -0.5], np.float32)
OPERATOR = Inpainting(SHAPE, np.ones((1, 2), bool))


def normal_denoiser(x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
    """The exact noise prediction for data N(mean, I), its mean the condition where there is one."""
    share = torch.tensor(SCHEDULE.alpha_bar)[(time * 1000).round().long()].to(x).reshape(-1, 1, 1, 1)
    return (1 - share).sqrt() * (x - share.sqrt() * (MEAN if condition is None else condition))


def prior(**options: object) -> DDIM:
    return DDIM(normal_denoiser, SCHEDULE, SHAPE, steps=10, name="prior", **options)


def posterior_mean(y: torch.Tensor) -> torch.Tensor:
    """The mean of x given y = x + 0.5 n, for x from N(MEAN, I)."""
    return OPERATOR.adjoint((MEAN + y[None] / NOISE_SD**2) / (1 + 1 / NOISE_SD**2))


def sampler(**options: object) -> DDS:
    return DDS(prior(**options), OPERATOR, noise_sd=NOISE_SD)


def drawn(generator: mcgen.Generator, n: int):
    noise = MonteCarlo().draw(generator.noise, n, SEED)
    return noise[:, 0] if isinstance(noise, np.ndarray) else {name: block[:, 0] for name, block in noise.items()}


@pytest.mark.parametrize("step", [2, 8])
def test_the_mean_of_the_posterior_is_kept(step: int) -> None:
    """From the posterior's mean, every step keeps it. A sampler that does not see y returns to the prior's mean."""
    storm = StoRM(posterior_mean, sampler(eta=1.0), step)
    x = storm(drawn(storm, 20_000), MEASURED).double().numpy().reshape(-1, 2)
    truth = posterior_mean(torch.from_numpy(MEASURED)).numpy().ravel()
    assert max(abs(z_score(x[:, k], float(truth[k]))) for k in range(2)) < Z_LIMIT
    blind = Partial(prior(eta=1.0), step)
    x = blind(drawn(blind, 20_000), posterior_mean(torch.from_numpy(MEASURED))[0]).numpy().reshape(-1, 2)
    assert abs(z_score(x[:, 0], float(truth[0]))) > Z_LIMIT


def test_it_is_a_partial_sampler_from_the_prediction() -> None:
    storm = StoRM(posterior_mean, sampler(eta=1.0), 6)
    assert storm.noise == Partial(sampler(eta=1.0), 6).noise
    assert [name for name, _ in storm.noise.blocks] == ["mix", "step 7", "step 8", "step 9"]
    noise = drawn(storm, 4)
    prediction = storm.predict(MEASURED)
    assert tuple(prediction.shape) == SHAPE
    expected = Partial(sampler(eta=1.0), 6)(noise, Start(prediction, MEASURED))
    assert torch.equal(storm(noise, MEASURED), expected)
    assert torch.equal(storm(noise, (MEASURED, "the truth")), expected)
    assert (storm.network_evaluations, storm.operator, storm.sampler.steps) == (5, OPERATOR, 10)
    assert storm.name == "StoRM DDS Inpainting prior from step 6"


def test_the_laws_of_generators_hold() -> None:
    check_generator(StoRM(posterior_mean, sampler(eta=1.0), 6), condition=MEASURED, seed=SEED).require()


def test_a_statistic_receives_the_truth() -> None:
    pairs = {"a": (MEASURED, np.float32([1.0])), "b": (-MEASURED, np.float32([2.0]))}
    score = mcgen.as_statistic(lambda x, pair: 0 * x[:, 0, 0, 0] + float(pair[1][0]), uses_condition=True)
    storm = StoRM(posterior_mean, sampler(), 6)
    with pytest.warns(UserWarning, match="replicate means"):
        found = mcgen.estimate(storm, score, design=Antithetic(), n_evaluations=16, seed=SEED, condition=pairs)
    assert found.mean == 1.5


def test_rows_of_a_model_conditioned_on_y_have_predictions_of_their_own() -> None:
    model = prior()
    storm = StoRM(lambda y: 2 * y, model, 6)
    noise, rows = drawn(storm, 3), np.random.default_rng(SEED).standard_normal((3, *SHAPE), dtype=np.float32)
    each = storm(noise, rows)
    for k in range(3):
        assert torch.allclose(each[k], storm(noise[k : k + 1], rows[k])[0], atol=1e-6)
    assert not torch.allclose(each[0], storm(noise[:1], rows[1])[0], atol=1e-3)
    # A numpy function serves too, and so does one sample with a leading axis.
    assert torch.equal(StoRM(lambda y: 2 * np.asarray(y)[None], model, 6)(noise, rows[0]), storm(noise, rows[0]))
    with pytest.raises(AttributeError, match="operator"):
        storm.operator  # noqa: B018


def test_one_measurement_is_predicted_once() -> None:
    seen = []
    storm = StoRM(lambda y: seen.append(tuple(y.shape)) or posterior_mean(y), sampler(), 6)
    storm(drawn(storm, 7), MEASURED)
    assert seen == [(2,)]


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="predictor must be a callable from a measurement to a sample; got 3"):
        StoRM(3, sampler(), 6)
    with pytest.raises(TypeError, match="only a Diffusion .* can start in the middle; got TorchGenerator"):
        StoRM(posterior_mean, from_torch(lambda z: z, (1,)), 6)
    with pytest.raises(ValueError, match="step must be one of the sampler's, 0 to 9; got 10"):
        StoRM(posterior_mean, sampler(), 10)
    with pytest.raises(ValueError, match="decodes its states, .* give the inverse by encode="):
        StoRM(posterior_mean, sampler(decode=lambda x: (x + 1) / 2), 6)
    network = torch.nn.Linear(2, 2)
    for predictor, modules in ((network, ()), (lambda y: network(y), network)):
        with pytest.raises(ValueError, match="Linear is in training mode"):
            StoRM(predictor, sampler(), 6, modules=modules)
    with pytest.raises(TypeError, match="modules must be torch modules"):
        StoRM(posterior_mean, sampler(), 6, modules=[3])


@pytest.mark.parametrize(
    ("condition", "kind", "message"),
    [
        (None, ValueError, "starts from a prediction for a measurement: give it as the condition"),
        (np.zeros(3, np.float32), ValueError, r"must be one measurement, .* of shape \(2,\); got shape \(3,\)"),
        (np.full(2, np.nan), ValueError, "got a NaN or an infinity in it"),
        (np.zeros(2, int), TypeError, "must be an array of floats; got int64"),
        ("three", TypeError, "must be an array of floats; got str"),
    ],
)
def test_a_condition_that_is_no_measurement_is_refused(condition: object, kind: type, message: str) -> None:
    storm = StoRM(posterior_mean, sampler(), 6)
    for call in (lambda: storm(drawn(storm, 2), condition), lambda: storm.predict(condition)):
        with pytest.raises(kind, match=message):
            call()


@pytest.mark.parametrize(
    ("predictor", "kind", "message"),
    [
        (lambda y: y, ValueError, r"has shape \(2,\); 3 axes are needed for one sample"),
        (lambda y: y.reshape(1, 2, 1), ValueError, r"has shape \(1, 2, 1\) where the model's states have \(1, 1, 2\)"),
        (lambda y: "digit", TypeError, "the prediction must be an array of floats; got str"),
        (lambda y: y.long(), TypeError, "the prediction must be an array of floats; got int64"),
    ],
)
def test_a_prediction_of_another_shape_or_type_is_refused(predictor, kind: type, message: str) -> None:
    storm = StoRM(predictor, sampler(), 6)
    with pytest.raises(kind, match=message):
        storm(drawn(storm, 2), MEASURED)


def test_the_shipped_model_restores_digits() -> None:
    """Its predictions of five held-out digits are far closer than the measurements; samples are images."""
    model = models.load("mnist-storm", steps=2)
    truths = models.real_images("mnist-storm")[:5]
    noise = np.random.default_rng(SEED).standard_normal((5, *model.operator.measurement_shape))
    measured = [model.operator.measure(*one) for one in zip(truths, [model.sampler.noise_sd] * 5, noise, strict=True)]
    predicted = np.stack([model.predict(y).numpy() for y in measured])
    filled = np.stack([model.operator.adjoint(torch.tensor(y)[None])[0].numpy() for y in measured])
    # The predictor's mean squared error is below a third of that of measurements with black in the hidden rows.
    assert ((predicted - truths) ** 2).mean() < ((filled - truths) ** 2).mean() / 3
    samples = model(drawn(model, 2), measured[0])
    assert tuple(samples.shape) == (2, 1, 28, 28)
    assert 0 <= float(samples.min()) <= float(samples.max()) <= 1
    assert (model.network_evaluations, model.start, model.sampler.times[model.start]) == (3, 8, 199)
    for steps in (0, 201):
        with pytest.raises(
            ValueError, match=f"training time 199 and takes steps from 1 to 200 after it; got steps={steps}"
        ):
            models.load("mnist-storm", steps=steps)

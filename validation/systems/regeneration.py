"""Predict, then regenerate: a predictor of digits, a posterior sampler from noise, and the sampler from predictions."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

import mcgen
from mcgen.adapters import DDS, Inpainting, Partial, StoRM, features, models
from mcgen.adapters.models.training import data
from mcgen.statistics import brightness, contrast, stack
from mcgen.validation.systems._base import SEED, Case, System, Table

_NOISE_SD = 0.3
# Held-out images of the table, and samples of each.
_N_IMAGES, _N_SAMPLES = 64, 2
_QUALITY = ["PSNR", "L1", "contrast / truth's", "accuracy"]


class Restored:
    """Measurements of held-out digits of MNIST, and models that restore them.

    The condition of a model is the pair of a measurement, and the truth and its class.
    """

    @cached_property
    def storm(self) -> StoRM:
        """The shipped model; its start is at a fifth of the training time."""
        return models.load("mnist-storm")

    @cached_property
    def pairs(self) -> dict[str, Any]:
        """The conditions by name."""
        truths, classes = models.real_images("mnist-storm")[:_N_IMAGES], data.mnist().y_new[:_N_IMAGES].tolist()
        operator, rng = self.storm.operator, np.random.default_rng(SEED)
        noise = rng.standard_normal((_N_IMAGES, *operator.measurement_shape))
        measured = [operator.measure(x, _NOISE_SD, n) for x, n in zip(truths, noise, strict=True)]
        rows = zip(measured, truths, classes, strict=True)
        return {f"image {k}": (y, (truth, digit)) for k, (y, truth, digit) in enumerate(rows)}

    def models(self) -> dict[str, Any]:
        """Return the models by name, with the network evaluations of each."""
        storm, prior = self.storm, models.load("mnist-ddpm")
        blind = Partial(prior, 40, encode=storm.encode)

        def predicted(z: NDArray[Any], pair: Any) -> torch.Tensor:
            return storm.predict(pair).expand(len(z), 1, 28, 28)

        def without_y(z: NDArray[Any], pair: Any) -> Any:
            return blind(z, storm.predict(pair))

        shape = prior.shape
        return {
            "predictor alone": (mcgen.as_generator(predicted, shape, name="predictor"), 1),
            "sampler from noise, 50 steps": (DDS(prior, storm.operator, noise_sd=_NOISE_SD), 50),
            "sampler from noise, 10 steps": (DDS(prior.with_steps(10), storm.operator, noise_sd=_NOISE_SD), 10),
            "StoRM, 10 steps": (storm, storm.network_evaluations),
            "StoRM, 5 steps": (models.load("mnist-storm", steps=5), 6),
            "prediction, then 10 steps without y": (mcgen.as_generator(without_y, shape, name="without y"), 11),
        }

    def scores(self, model: Any) -> Any:
        """Return the estimate of the qualities; its interval is over images."""
        with warnings.catch_warnings():
            # The predictor's samples do not depend on the noise.
            warnings.simplefilter("ignore", mcgen.errors.GeneratorWarning)
            return mcgen.estimate(
                model,
                quality_of(features("mnist-classifier")),
                design=mcgen.MonteCarlo(),
                n_evaluations=_N_SAMPLES,
                condition=self.pairs,
                across="population",
                seed=SEED,
            )


def quality_of(network: Any) -> Any:
    """Return the statistic of PSNR, L1, contrast by the truth's, and whether the classifier sees the truth's class."""

    def values(x: torch.Tensor, pair: Any) -> torch.Tensor:
        truth, digit = pair[1]
        near = stack(mcgen.statistics.PSNR(truth), mcgen.statistics.L1(truth))(x)
        # A blurred image has less contrast (standard deviation of its pixels) than the truth.
        share = x.flatten(1).std(1) / float(truth.std())
        right = network.logits(x).argmax(1) == digit
        return torch.cat([torch.as_tensor(near).double(), share.double()[:, None], right.double()[:, None]], dim=1)

    return mcgen.as_statistic(values, name="quality", components=_QUALITY, uses_condition=True)


def restorations() -> Table:
    """Return the table of the models: their cost, their quality, and the paired difference of their PSNR to StoRM's."""
    restored = Restored()
    found = {name: (restored.scores(model), cost) for name, (model, cost) in restored.models().items()}
    each = {name: np.array([result[key].mean[0] for key in restored.pairs]) for name, (result, _) in found.items()}
    best = each["StoRM, 10 steps"]
    rows = []
    for name, (result, cost) in found.items():
        three = zip(result.mean, result.half_width, (2, 4, 3), strict=False)
        cells = [f"{mean:.{digits}f} ± {half:.{digits}f}" for mean, half, digits in three]
        # An accuracy near 1 has a lopsided interval, whose upper end may pass 1.
        low, high = (float(end[3]) for end in result.interval)
        cells.append(f"{result.mean[3]:.3f} [{max(low, 0):.3f}, {min(high, 1):.3f}]")
        rows.append([name, str(cost), *cells, _difference(each[name] - best)])
    return Table(["model", "network evaluations", *_QUALITY, "PSNR, difference to StoRM in 10 steps"], rows)


def _difference(values: NDArray[Any]) -> str:
    """Return the mean of paired differences with its 95 % interval over images."""
    if not values.any():
        return ""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.2f} ± {half:.2f}"


def cases() -> list[Case]:
    """Return restorations of one digit of 8 x 8 pixels, two rows of which are hidden, with a linear predictor."""
    mask = np.ones((8, 8), bool)
    mask[3:5] = False
    operator = Inpainting((1, 8, 8), mask)
    prior = models.load("digits-diffusion", steps=50)
    sampler = DDS(prior, operator, noise_sd=_NOISE_SD)
    truth = models.real_images("digits-diffusion")[0]
    noise = np.random.default_rng(SEED).standard_normal(operator.measurement_shape)
    y = operator.measure(truth, _NOISE_SD, noise)
    storm = StoRM(linear_predictor(operator), sampler, 40, encode=lambda x: 2 * x - 1, name="storm")
    means = stack(brightness, contrast)
    return [
        Case("8 x 8 digit, sampler from noise, 10 steps", sampler.with_steps(10), means, y),
        Case("8 x 8 digit, StoRM, 10 steps", storm, means, y),
    ]


def linear_predictor(operator: Inpainting) -> Any:
    """Return the best linear predictor of a digit from a measurement, by the moments of the training digits."""
    x = data.digits().x.flatten(1).double()
    mean, centred = x.mean(0), x - x.mean(0)
    seen = torch.from_numpy(operator.mask.reshape(-1).copy())
    cov = centred.T @ centred / len(x)
    gain = cov[:, seen] @ torch.linalg.inv(cov[seen][:, seen] + _NOISE_SD**2 * torch.eye(int(seen.sum())))

    def predictor(y: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = mean + gain @ (y.double() - mean[seen])
        return found.clamp(0, 1).to(y.dtype).reshape(operator.shape)

    return predictor


SYSTEM = System("regeneration", cases, {"predict, then regenerate": restorations})

"""Diffusion of a finite data set: the exact model copies, networks do not, and what designs gain on its jumps.

The data are scikit-learn's handwritten digits of 8 x 8 pixels. The exact model has the first 200 of them. For a network
the statistic is of its own training data, beside images of the same source that it never saw.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

import mcgen
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.adapters import models
from mcgen.adapters.models.training import data
from mcgen.generators import EmpiricalDiffusion
from mcgen.statistics import contrast, nearest, pixel_mean, stack
from mcgen.validation.systems._base import SEED, Case, System, Table

# Data of the exact model, samples that are counted, and samples whose distances are estimated.
_N_DATA, _COUNTED, _SAMPLES = 200, 4000, 400
# Near copies, as in Gu et al. (2023): the nearest datum is less than a third as far as the second nearest.
_NEAR = 1 / 3
# Standard deviations of the kernel densities, in grey values from 0 to 1.
_BANDWIDTHS = (0.05, 0.2)


@cache
def first_digits() -> Floats:
    """Return the first 200 digits, shape (200, 8, 8), in [0, 1]."""
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().images[:_N_DATA] / 16, np.float64)


def support() -> Table:
    """Return how far samples are from the data, and how often each datum comes, by steps and fresh noise."""
    points, rows = first_digits(), []
    flat = points.reshape(_N_DATA, -1)
    for eta in (0.0, 1.0):
        for steps in (10, 50, 200):
            model = EmpiricalDiffusion(points, steps=steps, eta=eta)
            samples = mcgen.sample(model, _COUNTED, seed=SEED)
            distances = nearest(points)(samples)[:, 0]
            own = samples.reshape(_COUNTED, -1).astype(np.float64)
            places = ((flat**2).sum(axis=1) - 2 * own @ flat.T).argmin(axis=1)
            counts = np.bincount(places, minlength=_N_DATA)
            spread = np.sqrt((distances**2).mean()) / points.std()
            p_value = float(chisquare(counts).pvalue)
            found = [f"{steps}", f"{eta:g}", f"{spread:.4f}", f"{counts.min()} to {counts.max()}", _p_text(p_value)]
            rows.append(found)
    return Table(["steps", "eta", "distance to the nearest digit", "times that a digit comes", "p value"], rows)


def copies() -> Table:
    """Return distances to training data, and shares of copies, of exact models, networks and held-out images."""
    digits, mnist = data.digits(), data.mnist()
    train, held = (as_numpy(x).reshape(-1, 8, 8) for x in (digits.x, digits.x_new))
    sources: dict[str, Any] = {"digits, exact model": EmpiricalDiffusion(train)}
    sources |= {f"digits, kernel density, h = {h}": EmpiricalDiffusion(train, bandwidth=h) for h in _BANDWIDTHS}
    sources |= {"`digits-diffusion`": _flat(models.load("digits-diffusion"), 8), "held-out digits": held}
    rows = _distances(sources, train)
    train, held = (as_numpy(x).reshape(-1, 28, 28) for x in (mnist.x, mnist.x_new))
    networks = {f"`{name}`": _flat(models.load(name), 28) for name in ("mnist-consistency", "mnist-vae")}
    rows += _distances(networks | {"held-out images of MNIST": held}, train)
    return Table(["samples", "nearest datum", "second nearest", "share of copies", "share of near copies"], rows)


def cases() -> list[Case]:
    """Return the exact model, and a kernel density, with two statistics of images."""
    statistic = stack(pixel_mean, contrast, names=("brightness", "contrast"))
    return [
        Case("200 digits, exact", EmpiricalDiffusion(first_digits(), steps=20), statistic),
        Case(
            f"200 digits, h = {_BANDWIDTHS[1]}", EmpiricalDiffusion(first_digits(), steps=20, bandwidth=0.2), statistic
        ),
    ]


SYSTEM = System("finite data", cases, {"support of the exact model": support, "copies of training data": copies})


def _flat(model: Any, side: int) -> mcgen.Generator:
    """Return a model of images with one channel as one of images (n, side, side)."""
    return mcgen.as_generator(partial(_without_channel, model, side), model.noise, name=model.name)


def _without_channel(model: Any, side: int, noise: Any) -> Any:
    return model(noise).reshape(-1, side, side)


def _distances(sources: Mapping[str, Any], train: NDArray[Any]) -> list[list[str]]:
    """Return a row for each model, or array of finished images: distances and shares of copies with intervals."""
    scores = {"exact": nearest(train), "near": nearest(train, tolerance=_NEAR)}
    given = {name: one[:_SAMPLES] if isinstance(one, np.ndarray) else one for name, one in sources.items()}
    options: dict[str, Any] = {"design": mcgen.MonteCarlo(), "n_evaluations": _SAMPLES, "seed": SEED}
    with warnings.catch_warnings():
        # A share of 0 or 1 has no spread, which is what is measured here.
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        frame = mcgen.evaluate(given, scores, **options).to_frame()
    return [[name, *_cells(frame[frame["model"] == name])] for name in sources]


def _cells(found: Any) -> list[str]:
    shown = [("exact", "nearest"), ("exact", "second nearest"), ("exact", "copy"), ("near", "copy")]
    rows = [found[(found["score"] == score) & (found["component"] == part)].iloc[0] for score, part in shown]
    return [f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for row in rows]


def _p_text(p: float) -> str:
    return f"{p:.2f}" if p >= 0.01 else f"{p:.1g}"

"""Outline first, details later: what the closed form of normal data predicts of a network, and what it is good for.

The network is `digits-diffusion`. The normal law has the mean and covariance of its training data, or of a pilot run of
the network where it serves as a control variate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

import mcgen
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.adapters import models
from mcgen.adapters.models.training import data
from mcgen.analysis import Profile, emergence, path_dimension, sensitivity, similarity
from mcgen.generators import GaussianDiffusion
from mcgen.results.efficiencies import rows_of_design
from mcgen.statistics import centroid, contrast, pixel_mean, stack
from mcgen.validation.problems.gaussians import energy
from mcgen.validation.systems._base import SEED, Case, System, Table

_PATHS, _STEPS = 300, 50
# Leading principal directions of the data: together they have 99 % of the variance; the others are mostly noise.
_DIRECTIONS = 40
_SHOWN = [0, 7, 14, 21, 28, 35, 42, 49]
# Samples of the pilot that the control variate is fitted to, and samples of each run; the runs have other seeds.
_PILOT, _SAMPLES = 1000, 3200
# Cost of a sample of the network, in products with a matrix of 64 x 64 numbers.
_COST = 1000.0


def clipped_centroid(images: Any) -> Any:
    """Return the centroid of images cut off at 0: a normal law has pixels below it, the network has none."""
    return centroid(images.clip(min=0))


_STATISTIC = stack(pixel_mean, contrast, clipped_centroid, names=("brightness", "contrast", "centroid"))


@cache
def network() -> Any:
    """Return the network's sampler with 50 steps."""
    return models.load("digits-diffusion", steps=_STEPS)


@cache
def states() -> Floats:
    """Return the training digits as states of the network, in [-1, 1]."""
    return 2 * np.asarray(as_numpy(data.digits().x), np.float64) - 1


def row_means(images: Any) -> Any:
    """Return the mean of each row of pixels, shape (n, 8): linear statistics, whose expectation is that of the mean."""
    return images.reshape(len(images), 8, 8).mean(2)


def normal_law() -> GaussianDiffusion:
    """Return the normal law of the training digits, with the network's steps and schedule.

    A thousandth of its covariance is spread evenly, since some pixels of the digits never vary.
    """
    return GaussianDiffusion.fit(states(), shrink=0.001, steps=_STEPS, schedule=network().schedule, name="normal law")


def paths() -> Table:
    """Return the dimension of paths, and the order in which directions emerge, of network and normal law."""
    rows = states().reshape(len(states()), -1)
    directions = np.linalg.eigh(np.cov(rows.T))[1][:, ::-1][:, :_DIRECTIONS].T
    found = []
    for model in (network(), normal_law()):
        options: dict[str, Any] = {"n_paths": _PATHS, "seed": SEED}
        parts = [*path_dimension(model, **options).numbers]
        emerging = emergence(model, directions, **options).numbers
        found.append([*parts, emerging[0], emerging[_DIRECTIONS // 2], emerging[-1]])
    names = [number.name for number in found[0]]
    texts = [[_text(number.value, number.low, number.high) for number in numbers] for numbers in found]
    return Table(["measure", "`digits-diffusion`", "normal law"], [*zip(names, *texts, strict=True)])


def along_the_path() -> Table:
    """Return, by step, the error of the normal law's predicted samples, and the sensitivities of both models."""
    options: dict[str, Any] = {"n_paths": _PATHS, "seed": SEED}
    profiles = [
        similarity(network(), normal_law(), **options),
        sensitivity(network(), steps=_SHOWN, **options),
        sensitivity(normal_law(), steps=_SHOWN, **options),
    ]
    head = ["step", "relative squared error", "sensitivity of `digits-diffusion`", "sensitivity of the normal law"]
    return Table(head, [[f"{step}", *(_at(profile, step) for profile in profiles)] for step in _SHOWN])


def surrogate() -> Table:
    """Return efficiencies of the fitted normal law as a control variate, and as the coarsest of two levels."""
    model = network()
    pilot = mcgen.sample(model, _PILOT, seed=SEED + 1)
    normal = GaussianDiffusion.fit(as_numpy(pilot), name="normal law")
    controls = mcgen.controls.surrogate(normal, row_means, row_means(normal.sample_mean[None])[0])
    options: dict[str, Any] = {"n_evaluations": _SAMPLES, "seed": SEED}
    runs = {
        "pairs": mcgen.estimate(model, _STATISTIC, design=mcgen.Antithetic(), **options),
        "Sobol(32)": mcgen.estimate(model, _STATISTIC, design=mcgen.Sobol(32), **options),
        "control": mcgen.estimate(model, _STATISTIC, design=mcgen.MonteCarlo(), controls=controls, **options),
        "control, pairs": mcgen.estimate(model, _STATISTIC, design=mcgen.Antithetic(), controls=controls, **options),
        "control, Sobol(32)": mcgen.estimate(model, _STATISTIC, design=mcgen.Sobol(32), controls=controls, **options),
        "two levels": mcgen.multilevel(
            [(normal, 1.0), (model, _COST)], _STATISTIC, designs=mcgen.MonteCarlo(), **options
        ),
    }
    base = mcgen.estimate(model, _STATISTIC, design=mcgen.MonteCarlo(), n_evaluations=_SAMPLES, seed=SEED + 2)
    return Table(["run", *_STATISTIC.names], [[name, *_efficiencies(one, base)] for name, one in runs.items()])


def cases() -> list[Case]:
    """Return the normal law of the digits with a quadratic statistic; pairs and nets integrate linear ones exactly."""
    return [Case("normal law of digits", normal_law(), mcgen.as_statistic(energy, name="mean square"))]


SYSTEM = System(
    "outline first",
    cases,
    {"paths of digits": paths, "along the path of digits": along_the_path, "normal law as a control": surrogate},
)


def _efficiencies(one: mcgen.Estimate, base: mcgen.Estimate) -> list[str]:
    rows: Sequence[Mapping[Any, Any]] = rows_of_design(one, base, "").to_dict("records")
    return [_short(*(row[key] for key in ("relative_efficiency", "efficiency_low", "efficiency_high"))) for row in rows]


def _at(profile: Profile, step: int) -> str:
    curve = profile.curves[0]
    place = curve.steps.tolist().index(step)
    return _text(float(curve.mean[place]), float(curve.low[place]), float(curve.high[place]))


def _text(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _short(value: float, low: float, high: float) -> str:
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"

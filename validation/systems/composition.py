"""Compositions of models by annealed Markov chains: mixtures with a known truth, and digits judged by a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

import mcgen
from mcgen.adapters import Compose, Energy, Schedule, features, models
from mcgen.statistics import Statistic
from mcgen.validation.problems.compositions import Isotropic, ring, two_spots
from mcgen.validation.systems._base import SEED, Case, System, Table

N_SAMPLES = 40_000
MOMENTS = mcgen.statistics.stack(
    lambda x: x[:, 0], lambda x: x[:, 1], lambda x: (x**2).sum(1), names=("x", "y", "squared length")
)
# The local width of the product, sqrt(0.0375), rounded.
WIDTH = 0.2
SAMPLERS: dict[str, dict[str, Any]] = {
    "reverse diffusion, 30 steps": {"sampler": "reverse", "eta": 1.0},
    "reverse diffusion, 300 steps": {"sampler": "reverse", "steps": 300, "eta": 1.0},
    "ULA, 4 moves": {"sampler": "ula", "n_moves": 4},
    "MALA, 10 moves": {"sampler": "mala", "n_moves": 10},
    "U-HMC, 3 moves": {"sampler": "uhmc", "n_moves": 3},
    "HMC, 3 moves": {"sampler": "hmc", "n_moves": 3},
}


class MixtureEnergy:
    """The exact log density of a noised Gaussian mixture, in torch.

    Parameters
    ----------
    law : Isotropic
        The mixture.
    schedule : Schedule
        The schedule of the noise.
    """

    def __init__(self, law: Isotropic, schedule: Schedule) -> None:
        self.law, self.schedule, self.name = law, schedule, "mixture"

    def __call__(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the log densities (n,) of points (n, d)."""
        share = self.schedule.alpha_bar[round(float(time[0]) * len(self.schedule.alpha_bar))]
        law = self.law.noised(share)
        w, m, v = (torch.as_tensor(one, dtype=x.dtype) for one in (law.weights, law.means, law.variances))
        squares = (x**2).sum(1, keepdim=True) - 2 * x @ m.T + (m**2).sum(1)
        return torch.logsumexp(w.log() - squares / (2 * v) - x.shape[1] / 2 * (2 * math.pi * v).log(), dim=1)


def product(law: Isotropic | None = None, other: Isotropic | None = None, **options: Any) -> Compose:
    """Return the composition of two mixtures, by default the product of the ring and the two spots."""
    schedule = Schedule.cosine()
    parts = [Energy(MixtureEnergy(one, schedule)) for one in (law or ring(), other or two_spots())]
    given: dict[str, Any] = {"steps": 30, "width": WIDTH, "dtype": torch.float64} | options
    return Compose(parts, schedule, (2,), **given)


def threes_and_eights(sampler: str = "mala", *, n_moves: int = 6, over_any: bool = False, **options: Any) -> Compose:
    """Return the product of the energy of digits with itself, for a condition of two classes.

    With `over_any` the product is divided by the energy under the third condition, which is None for any class. Its
    weights have the sum 1.
    """
    model: Any = models.load("digits-energy")
    given: dict[str, Any] = {"sampler": sampler, "n_moves": n_moves, "width": 0.1, "step_size": 0.1} | options
    name = f"class 3 times class 8, {sampler}"
    weights = (1, 1, -1) if over_any else (1, 1)
    parts = [model.denoiser] * len(weights)
    return Compose(parts, model.schedule, model.shape, weights=weights, decode=model.decode, name=name, **given)


def cases() -> Sequence[Case]:
    """Return the compositions whose designs are compared."""
    return [
        Case("product of two mixtures, MALA, 4 moves", product(sampler="mala"), MOMENTS),
        Case("product of two mixtures, U-HMC, 3 moves", product(sampler="uhmc", n_moves=3), MOMENTS),
        Case(
            "digits, class 3 times class 8, MALA, 20 levels, 2 moves",
            threes_and_eights(n_moves=2, steps=20),
            mcgen.statistics.stack(
                mcgen.statistics.brightness, mcgen.statistics.contrast, names=("brightness", "contrast")
            ),
            condition=(3, 8),
        ),
    ]


def bias_table() -> Table:
    """Return the moments of the product by sampler, beside the truth."""
    truth = ring().times(two_spots()).moments()
    rows = [["truth", *(f"{one:.4f}" for one in truth), "", ""]]
    for name, options in SAMPLERS.items():
        model = product(**options, with_acceptance=True)

        def moments(samples: Any) -> Any:
            return torch.column_stack([MOMENTS(samples[0]), samples[1]])

        found = mcgen.estimate(
            model, moments, design=mcgen.MonteCarlo(), n_evaluations=N_SAMPLES, seed=SEED, batch_size=5000
        )
        mean, half = np.asarray(found.mean), np.asarray(found.half_width)
        cells = [f"{m:.4f} ± {h:.4f}" for m, h in zip(mean[:3], half[:3], strict=True)]
        away = np.abs((mean[:3] - truth) / half[:3]).max() * 1.96
        share = f"{mean[3]:.3f}" if model.sampler in ("mala", "hmc") else ""
        rows.append([name, *cells, f"{away:.1f}", share])
    return Table(["sampler", "E x", "E y", "E of squared length", "largest error / s.e.", "accepted"], rows)


def digits_table() -> Table:
    """Return what the classifier sees in products of two classes, and in each class alone."""
    rows = []
    one: Any = models.load("digits-energy")
    listed: list[tuple[str, Any, Any]] = [
        ("class 3 alone, DDIM", one, 3),
        ("class 8 alone, DDIM", one, 8),
        ("product, reverse diffusion", threes_and_eights("reverse"), (3, 8)),
        ("product, ULA", threes_and_eights("ula"), (3, 8)),
        ("product, MALA", threes_and_eights("mala"), (3, 8)),
        ("product over any class, reverse diffusion", threes_and_eights("reverse", over_any=True), (3, 8, None)),
        ("product over any class, MALA", threes_and_eights("mala", over_any=True), (3, 8, None)),
    ]
    for name, model, condition in listed:
        found = mcgen.estimate(
            model, seen(), design=mcgen.Antithetic(), condition=condition, n_evaluations=800, seed=SEED
        )
        numbers = zip(np.asarray(found.mean), np.asarray(found.half_width), strict=True)
        rows.append([name, *(f"{m:.3f} ± {h:.3f}" for m, h in numbers)])
    return Table(["model", "P(3)", "P(8)", "P(3 or 8)", "P(3) P(8)"], rows)


def seen() -> Statistic:
    """Return the classifier's probabilities of 3, of 8, of either, and the product of the two."""
    network: Any = features("digits-classifier")

    def probabilities(images: Any) -> Any:
        p = torch.as_tensor(network.probabilities(images))
        return torch.stack([p[:, 3], p[:, 8], p[:, 3] + p[:, 8], p[:, 3] * p[:, 8]], dim=1)

    return probabilities


SYSTEM = System("composition", cases, {"bias of compositions": bias_table, "digits that are 3 and 8": digits_table})

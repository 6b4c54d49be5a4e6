"""Scorecards of small models, which several test modules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from helpers import SEED

import mcgen
from mcgen.functionals import variance
from mcgen.results.scorecard import Scorecard
from mcgen.statistics import pixel_mean, stack


def spread(x: Any) -> Any:
    return x.std(axis=1)


def model(name: str, scale: float, dimension: int = 8) -> Any:
    return mcgen.as_generator(lambda z, c=0.0: np.tanh(scale * z + 0.1 + c), noise=(dimension,), name=name)


def as_distance(one: mcgen.Estimate) -> mcgen.Estimate:
    """The same numbers, as if they were of a distance whose plug-in is 15 % larger."""
    provenance = replace(one.provenance, functional="Frechet distance")
    return replace(one, provenance=provenance, plug_in=1.15 * one.mean, parts=tuple(map(as_distance, one.parts)))


SCORES = {"frechet_distance": variance(pixel_mean), "quality": stack(pixel_mean, spread)}


def scorecard(
    names: Sequence[str] = ("A", "B", "C"),
    scales: Sequence[float] = (1.0, 1.1, 1.2),
    scores: Sequence[str] = ("frechet_distance", "quality"),
    extras: bool = True,
    **changes: Any,
) -> Scorecard:
    """Return a scorecard of models of several scales; the distance is a variance that grows with the scale."""
    run: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 400, "seed": SEED} | changes
    models = {name: model(name, scale) for name, scale in zip(names, scales, strict=True)}
    estimates, pairs = {}, {}
    for score in scores:
        measured = SCORES[score]
        estimates[score] = {name: mcgen.estimate(one, measured, **run) for name, one in models.items()}
        pairs[score] = {
            (a, b): mcgen.difference(models[a], models[b], measured, **run) for a, b in combinations(names, 2)
        }
    if "frechet_distance" in estimates:
        estimates["frechet_distance"] = {name: as_distance(e) for name, e in estimates["frechet_distance"].items()}
    if not extras:
        return Scorecard(estimates, pairs)
    counts = np.array([500, 1000, 2000, 4000, 8000])
    curves = {name: curve(counts, scale) for name, scale in zip(names, scales, strict=True)}
    values = np.random.default_rng(SEED).uniform(size=(2, 4, 3, 8, 8))
    pictures = {name: values if i % 2 else values[:, :, 0] for i, name in enumerate(names)}
    return Scorecard(estimates, pairs, {"frechet_distance": curves} if "frechet_distance" in scores else {}, pictures)


def curve(counts: Any, level: float) -> pd.DataFrame:
    columns = {"n": counts, "plug_in": level * (1 + 300 / counts), "estimate": np.full(len(counts), level)}
    return pd.DataFrame(columns | {"low": level * (1 - 3 / counts**0.5), "high": level * (1 + 3 / counts**0.5)})

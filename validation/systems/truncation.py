"""Truncated diffusion: a network makes states of half noise in one pass, and the remaining steps finish them."""

from __future__ import annotations

from typing import Any

import mcgen
from mcgen import functionals
from mcgen.adapters import features, models
from mcgen.statistics import brightness, contrast, stack
from mcgen.validation.systems._base import SEED, Case, System, Table

_N = 3200
# The models whose designs are compared by means.
_COMPARED = ("full, 50 steps", "truncated, 25 steps", "truncated, 12 steps")


def _models() -> dict[str, Any]:
    """Return the full model and the truncated one, with numbers of steps that cost about the same."""
    full = {f"full, {steps} steps": models.load("digits-diffusion", steps=steps) for steps in (50, 25, 13)}
    cut = {f"truncated, {steps} steps": models.load("digits-truncated", steps=steps) for steps in (25, 12)}
    return full | cut


def cases() -> list[Case]:
    """Return the full model with 50 steps and the truncated one with 25 and 12."""
    means = stack(brightness, contrast)
    return [Case(f"digits, {name}", model, means) for name, model in _models().items() if name in _COMPARED]


def distances() -> Table:
    """Return the Fréchet distance of each model to held-out digits, and what pairs gain on it."""
    distance = functionals.frechet_distance(models.real_images("digits-diffusion"), features("digits-classifier"))
    designs = (mcgen.MonteCarlo(), mcgen.Antithetic())
    rows = []
    for name, model in _models().items():
        found = mcgen.compare(model, distance, designs=designs, n_evaluations=_N, seed=SEED).to_frame()
        plain, pairs = found.to_dict("records")
        fid = f"{plain['mean']:.1f} [{plain['low']:.1f}, {plain['high']:.1f}]"
        value, low, high = (pairs[key] for key in ("relative_efficiency", "efficiency_low", "efficiency_high"))
        rows.append([name, str(model.network_evaluations), fid, f"{value:.2g} [{low:.2g}, {high:.2g}]"])
    return Table(["model", "network evaluations", "Fréchet distance", "efficiency of pairs for it"], rows)


SYSTEM = System("truncation", cases, {"truncated diffusion": distances})

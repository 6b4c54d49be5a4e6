"""Truncated diffusion: a network makes states of half noise in one pass, and the remaining steps finish them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcgen
from mcgen import functionals
from mcgen.adapters import features, models
from mcgen.statistics import brightness, contrast, stack
from mcgen.validation.systems._base import SEED, Case, System, Table

_N = 3200
_DESIGNS = (mcgen.MonteCarlo(), mcgen.Antithetic())


def _models() -> dict[str, Any]:
    """Return the full model and the truncated one, with numbers of steps that cost about the same."""
    full = {f"full, {steps} steps": models.load("digits-diffusion", steps=steps) for steps in (50, 25, 13)}
    cut = {f"truncated, {steps} steps": models.load("digits-truncated", steps=steps) for steps in (25, 12)}
    return full | cut


def cases() -> list[Case]:
    """Return the full model with 50 steps and the truncated one with 25 and 12."""
    means = stack(brightness, contrast)
    return [Case(f"digits, {name}", model, means) for name, model in _models().items() if name[-8:] in _SHOWN]


_SHOWN = ("50 steps", "25 steps", "12 steps")


def distances() -> Table:
    """Return the Fréchet distance of each model to held-out digits, and what pairs gain on it and on a mean."""
    distance = functionals.frechet_distance(models.real_images("digits-diffusion"), features("digits-classifier"))
    rows = []
    for name, model in _models().items():
        of_law, of_mean = (_compared(model, score) for score in (distance, brightness))
        fid = f"{of_law[0]['mean']:.1f} [{of_law[0]['low']:.1f}, {of_law[0]['high']:.1f}]"
        rows.append([name, str(model.network_evaluations), fid, _efficiency(of_law[1]), _efficiency(of_mean[1])])
    head = ["model", "network evaluations", "Fréchet distance", "pairs, Fréchet distance", "pairs, brightness"]
    return Table(head, rows)


def _compared(model: mcgen.Generator, score: Any) -> list[dict[Any, Any]]:
    """Return the rows of independent samples and of pairs."""
    found = mcgen.compare(model, score, designs=_DESIGNS, n_evaluations=_N, seed=SEED)
    return found.to_frame().to_dict("records")


def _efficiency(row: Mapping[Any, Any]) -> str:
    value, low, high = (row[key] for key in ("relative_efficiency", "efficiency_low", "efficiency_high"))
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"


SYSTEM = System("truncation", cases, {"truncated diffusion": distances})

"""How wide the intervals of plans are, and how often they cover and are predicted, on functions of known expectation.

The functions are those of `replicates_of_nets`, each alone, as a black box without gradients or a coarse generator. All
evaluations of a plan are counted: those of its pilots and of its run. A gain is the mean squared half-width of
antithetic pairs at as many evaluations over that of the plan. "Beside the best" is the root of the mean squared
half-width over that of the best of Monte Carlo, pairs, 64 Sobol' points and Latin hypercubes of 64.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mcgen.designs import Antithetic, Design, LatinHypercube, MonteCarlo, Sobol
from mcgen.errors import CoverageWarning
from mcgen.generators import as_generator
from mcgen.results.estimate import Estimate
from mcgen.statistics import identity
from mcgen.validation.measurements.replicates_of_nets import Family, Function, families, measured
from mcgen.variance_reduction.planning.plan import Plan
from mcgen.variance_reduction.planning.planner import plan

BUDGETS = (1000, 3200, 10_000)
"""Numbers of evaluations, those of the pilot included."""
RUNS, BASELINE_RUNS = 200, 1000
"""Plans of each function, and runs of each design that they are compared with."""
TOLERANCES = (3200, 12_800)
"""Numbers of evaluations whose half-width under pairs, over 4, is the tolerance of plans from ``atol``."""
PLANS_FROM_ATOL = 20
BASELINES: tuple[Design, ...] = (Antithetic(), MonteCarlo(), Sobol(64), LatinHypercube(64))


def plans_table(n_evaluations: int, runs: int = RUNS, baseline_runs: int = BASELINE_RUNS) -> pd.DataFrame:
    """Return a row for each function: gain, width beside the best design, coverage, and predictions that held."""
    rows = []
    for family in families():
        squares = [
            (measured(family, design, n_evaluations // design.n_points, baseline_runs).half_widths ** 2).mean(axis=0)
            for design in BASELINES
        ]
        for j, (name, function) in enumerate(family.functions.items()):
            found = [_planned(family, name, function, n_evaluations, seed) for seed in range(runs)]
            square = float(np.mean([one.half_width**2 for one in found]))
            rows.append(
                {
                    "function": name,
                    "gain": squares[0][j] / square,
                    "beside the best": float(np.sqrt(square / min(one[j] for one in squares))),
                    "coverage": float(np.mean([one.covers for one in found])),
                    "predicted": float(np.mean([one.predicted for one in found])),
                    "chosen most": Counter(one.chosen for one in found).most_common(1)[0][0],
                }
            )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Planned:
    """What came of one plan: its half-width, whether it covers and was predicted, and what was chosen."""

    half_width: float
    covers: bool
    predicted: bool
    chosen: str


def _planned(family: Family, name: str, function: Function, n_evaluations: int, seed: int) -> _Planned:
    """Return the outcome of one plan."""
    made, result = _made(family, name, function, seed, n_evaluations=n_evaluations)
    half, low, high = (float(one) for one in (result.half_width, result.interval.low, result.interval.high))
    predicted = bool(np.all((made.prediction.low <= half) & (half <= made.prediction.high)))
    return _Planned(half, low <= function.expectation <= high, predicted, made.chosen.name)


def _made(family: Family, name: str, function: Function, seed: int, **goal: Any) -> tuple[Plan, Estimate]:
    """Return the plan of a function, for `n_evaluations` or `atol`, and its run."""
    generator = as_generator(function.values, noise=family.noise, name=name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        made = plan(generator, identity, seed=seed, **goal)
        return made, made.estimate()


def atol_table(runs: int = PLANS_FROM_ATOL) -> pd.DataFrame:
    """Return, for plans from a tolerance, the evaluations planned over those that the plan's design needed.

    The design needed the planned evaluations times the squared ratio of its half-width to the tolerance. Rows have the
    quartiles over plans.
    """
    rows = []
    for family in families():
        for n in TOLERANCES:
            widths = np.sqrt((measured(family, Antithetic(), n // 2, 50).half_widths ** 2).mean(axis=0))
            for j, (name, function) in enumerate(family.functions.items()):
                ratios = [_planned_over_needed(family, name, function, widths[j] / 4, seed) for seed in range(runs)]
                low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
                rows.append({"function": name, "tolerance": widths[j] / 4, "25 %": low, "50 %": middle, "75 %": high})
    return pd.DataFrame(rows)


def _planned_over_needed(family: Family, name: str, function: Function, atol: float, seed: int) -> float:
    made, result = _made(family, name, function, seed, atol=atol)
    needed = made.pilot_evaluations + result.n_evaluations * (float(result.half_width) / atol) ** 2
    return made.n_evaluations / needed


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    **{f"Plans, {n:,} evaluations": partial(plans_table, n) for n in BUDGETS},
    "Plans from a tolerance: evaluations planned over needed": atol_table,
}

"""Problems with known truth, for coverage studies and tests.

A problem is a generator and a statistic whose expectation, the truth, is known. The truth has a closed form, comes from
a quadrature, or was simulated once and stored. The standard error of a simulated truth is at most 5 % of that of the
runs that it judges. The truth of a discretized sampler is that sampler's own expectation, at its number of steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pandas as pd

from mcgen.validation.problems._base import Problem
from mcgen.validation.problems._simulated import RUNS, most_replicates, simulate_truths, with_truth

__all__ = ["PROBLEMS", "RUNS", "Problem", "most_replicates", "simulate_truths", "table"]

PROBLEMS: dict[str, Problem]
"""All problems by name, made at the first access."""


def __getattr__(name: str) -> Any:
    # At the first access and not at import: `simulate_truths` must work while a truth is missing.
    if name == "PROBLEMS":
        return _problems()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@lru_cache
def _problems() -> dict[str, Problem]:
    from mcgen.validation.problems import basic, gaussians, integrands, lines, mixtures, networks

    exact = (problem for module in (basic, integrands, gaussians, lines, networks) for problem in module.problems())
    problems = (*exact, *map(with_truth, mixtures.unknown()))
    return {problem.name: problem for problem in problems}


def table() -> pd.DataFrame:
    """Return a table of all problems: name, family, dimension, truth, its error and source, the difficulty."""
    columns = ("name", "family", "dimension", "truth", "truth_error", "source", "hard")
    return pd.DataFrame([{c: getattr(problem, c) for c in columns} for problem in _problems().values()])

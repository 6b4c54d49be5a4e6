"""Problems with known truth, one table of them, for coverage studies and tests.

Each is a generator and a statistic whose expectation is known: in closed form, by a quadrature, or simulated once to a
small part of the error of the runs that it judges, and stored. The truth of a discretized sampler is that sampler's own
expectation, at its number of steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pandas as pd

from mcgen.validation.problems._base import Problem
from mcgen.validation.problems._simulated import RUNS, most_replicates, simulate_truths, with_truth

__all__ = ["PROBLEMS", "RUNS", "Problem", "most_replicates", "simulate_truths", "table"]

PROBLEMS: dict[str, Problem]
"""All problems by name, made when they are first asked for."""


def __getattr__(name: str) -> Any:
    # Not at import: truths that are missing can then still be simulated.
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
    """Return all problems: name, family, dimension, truth, its standard error, where it is from, and what is hard."""
    columns = ("name", "family", "dimension", "truth", "truth_error", "source", "hard")
    return pd.DataFrame([{c: getattr(problem, c) for c in columns} for problem in _problems().values()])

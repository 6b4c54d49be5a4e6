"""mcgen: how sure you can be of E[S(G(noise))] for any generative model G that turns noise into samples.

The one idea: a design draws independent replicates of dependent noise, a replicate gives one mean of the statistic,
and inference sees only these independent, identically distributed means.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcgen import analysis, bases, controls, functionals, generators, intervals, plots, statistics
from mcgen._version import __version__
from mcgen.citations import citation
from mcgen.comparison import compare
from mcgen.designs import (
    Antithetic,
    Design,
    KAntithetic,
    LatinHypercube,
    MonteCarlo,
    OrthogonalAntithetic,
    Sobol,
    Subspace,
)
from mcgen.differences import difference
from mcgen.errors import CoverageWarning, GeneratorWarning, NonFiniteError, RunError, StoreError, WorkerError
from mcgen.estimation import estimate
from mcgen.evaluation import evaluate
from mcgen.generators import Generator, as_generator
from mcgen.generators.factories import from_factory
from mcgen.inference.interval_input import Interval
from mcgen.loading import load
from mcgen.noise import Block, NoiseSpec
from mcgen.replicates.stores.merging import merge_stores
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate
from mcgen.results.result import Result
from mcgen.results.scorecard import Scorecard
from mcgen.runs.arguments import RunArguments
from mcgen.runs.export import export
from mcgen.runs.state import RunState
from mcgen.runs.stored import read_store, status
from mcgen.sampling import sample
from mcgen.statistics import as_statistic
from mcgen.variance_reduction.levels.multilevel import multilevel
from mcgen.variance_reduction.planning.auto import Auto
from mcgen.variance_reduction.planning.plan import Plan
from mcgen.variance_reduction.planning.planner import plan

__all__ = [
    "Antithetic",
    "Auto",
    "Block",
    "Comparison",
    "CoverageWarning",
    "Design",
    "Estimate",
    "Generator",
    "GeneratorWarning",
    "Interval",
    "KAntithetic",
    "LatinHypercube",
    "MonteCarlo",
    "NoiseSpec",
    "NonFiniteError",
    "OrthogonalAntithetic",
    "Plan",
    "Result",
    "RunArguments",
    "RunError",
    "RunState",
    "Scorecard",
    "Sobol",
    "StoreError",
    "Subspace",
    "WorkerError",
    "__version__",
    "analysis",
    "as_generator",
    "as_statistic",
    "bases",
    "citation",
    "compare",
    "controls",
    "difference",
    "estimate",
    "evaluate",
    "export",
    "from_factory",
    "functionals",
    "generators",
    "intervals",
    "load",
    "merge_stores",
    "multilevel",
    "plan",
    "plots",
    "read_store",
    "sample",
    "statistics",
    "status",
]

# Records go nowhere until the user configures logging; without this, Python would print warnings to stderr.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Imported when they are used: adapters need torch, and both take their time.
_LATER = ("adapters", "validation")

if not TYPE_CHECKING:
    # For type checkers a name that does not exist must stay an error.
    def __getattr__(name: str) -> Any:
        if name in _LATER:
            return import_module(f"mcgen.{name}")
        raise AttributeError(f"module 'mcgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LATER])

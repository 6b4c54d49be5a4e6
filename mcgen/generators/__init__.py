"""Generators: the protocol, functions, chains, finished samples, diffusion models in closed form, and their paths."""

from mcgen.generators.analytic import EmpiricalDiffusion, GaussianDiffusion
from mcgen.generators.base import Generator, as_generator
from mcgen.generators.chains import chain
from mcgen.generators.finished import FinishedSamples
from mcgen.generators.paths import Paths
from mcgen.generators.reverse_steps import AnalyticDiffusion
from mcgen.generators.schedule import Schedule
from mcgen.generators.variational import VariationalBound

__all__ = [
    "AnalyticDiffusion",
    "EmpiricalDiffusion",
    "FinishedSamples",
    "GaussianDiffusion",
    "Generator",
    "Paths",
    "Schedule",
    "VariationalBound",
    "as_generator",
    "chain",
]

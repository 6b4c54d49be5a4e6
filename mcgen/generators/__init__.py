"""Generators: the protocol, plain functions, finished samples, and diffusion models in closed form."""

from mcgen.generators.analytic import EmpiricalDiffusion, GaussianDiffusion
from mcgen.generators.base import Generator, as_generator
from mcgen.generators.finished import FinishedSamples
from mcgen.generators.reverse_steps import AnalyticDiffusion
from mcgen.generators.schedule import Schedule

__all__ = [
    "AnalyticDiffusion",
    "EmpiricalDiffusion",
    "FinishedSamples",
    "GaussianDiffusion",
    "Generator",
    "Schedule",
    "as_generator",
]

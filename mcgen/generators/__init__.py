"""Generators: the protocol, functions, Markov chains, finished samples, and noise schedules of diffusion models."""

from mcgen.generators.base import Generator, as_generator
from mcgen.generators.chains import chain
from mcgen.generators.finished import FinishedSamples
from mcgen.generators.schedule import Schedule

__all__ = ["FinishedSamples", "Generator", "Schedule", "as_generator", "chain"]

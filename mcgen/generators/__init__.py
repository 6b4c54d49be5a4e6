"""Generators: the protocol, plain functions, models that each process loads for itself, and finished samples."""

from mcgen.generators.base import CallableGenerator, Generator, as_generator, checked_fingerprint
from mcgen.generators.finished import FinishedSamples

__all__ = ["CallableGenerator", "FinishedSamples", "Generator", "as_generator", "checked_fingerprint"]

"""Generators: the protocol, plain functions as generators, and models that each process loads for itself."""

from mcgen.generators.base import CallableGenerator, Generator, as_generator, checked_fingerprint

__all__ = ["CallableGenerator", "Generator", "as_generator", "checked_fingerprint"]

"""What makes samples: the contract, plain functions as generators, and models that are loaded where they run."""

from mcgen.generators.base import CallableGenerator, Generator, as_generator, checked_fingerprint

__all__ = ["CallableGenerator", "Generator", "as_generator", "checked_fingerprint"]

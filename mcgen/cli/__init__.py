"""The command line: ``mcgen estimate``, ``difference``, ``compare``, ``plan``, ``models`` and more."""

from mcgen.cli.entry import main
from mcgen.cli.objects import STATISTICS, design_named, generator_named, load, statistic_named

__all__ = ["STATISTICS", "design_named", "generator_named", "load", "main", "statistic_named"]

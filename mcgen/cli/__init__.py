"""The command line: ``mcgen demo``, ``estimate``, ``compare``, ``validate``, ``status``, ``export`` and ``merge``."""

from mcgen.cli.entry import main
from mcgen.cli.objects import STATISTICS, design_named, load, statistic_named

__all__ = ["STATISTICS", "design_named", "load", "main", "statistic_named"]

"""Checks of the laws of generators, designs and statistics, for objects of your own: one law at a time, with a report.

In a test suite, `parametrize_with_checks` makes a test of every law.
"""

from mcgen.validation.conformance.designs import FALSE_ALARM, check_design
from mcgen.validation.conformance.generators import check_generator
from mcgen.validation.conformance.parametrization import LawCheck, law_checks, parametrize_with_checks
from mcgen.validation.conformance.reports import Check, Report
from mcgen.validation.conformance.statistics import check_statistic

__all__ = [
    "FALSE_ALARM",
    "Check",
    "LawCheck",
    "Report",
    "check_design",
    "check_generator",
    "check_statistic",
    "law_checks",
    "parametrize_with_checks",
]

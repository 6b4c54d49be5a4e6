"""What tests of several rooms share: a seed, a budget of false alarms, small generators.

pytest puts `tests/` (for its conftest.py) and the folder of each test into `sys.path`. A module for the tests of one
room lies beside them, a module for several rooms lies here; their names and those of the test modules are unique.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from scipy import stats
from scipy.special import ndtri

SEED = int(os.environ.get("MCGEN_TEST_SEED", "20260101"))

# The checks written here raise a false alarm once in a million seeds: fewer than 700 of them (test_designs counts its
# own), 1e-9 each by the normal or the binomial distribution. Skewed values may make a few of them ten times as likely.
# Studies and conformance checks declare their own: 3e-6 a verdict, 1e-6 a design.
FALSE_ALARM = 1e-9
Z_LIMIT = float(-ndtri(FALSE_ALARM / 2))


def z_score(values: np.ndarray, truth: float) -> float:
    """How many standard errors the mean of independent values is from the truth."""
    return float((values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values))))


def binomial_p_value(hits: int, n: int, p: float) -> float:
    """Probability of a count at least as far out on its side, doubled."""
    return float(2 * min(stats.binom.cdf(hits, n, p), stats.binom.sf(hits - 1, n, p)))


def logistic(z: np.ndarray, condition: float = 0.0) -> np.ndarray:
    return 1 / (1 + np.exp(-z - 1 - condition))


def logistic_until(n_calls: int, error: BaseException) -> Callable[..., np.ndarray]:
    """`logistic` for so many calls, and then an error."""
    calls = 0

    def function(z: np.ndarray, condition: float = 0.0) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > n_calls:
            raise error
        return logistic(z, condition)

    return function


class EndsAfter:
    """A model that returns its noise, and is interrupted after some calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, z: np.ndarray) -> np.ndarray:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return z

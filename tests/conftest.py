"""What the tests share: a seed, a budget of false alarms, small generators, and a mode in which a skip is a failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from scipy import stats
from scipy.special import ndtri

import mcgen

SEED = int(os.environ.get("MCGEN_TEST_SEED", "20260101"))

# The checks written here raise a false alarm once in a million seeds: fewer than 700 of them (test_designs counts its
# own), 1e-9 each by the normal or the binomial distribution. Skewed values may make a few of them ten times as likely.
# Studies and conformance checks declare their own: 3e-6 a verdict, 1e-6 a design.
FALSE_ALARM = 1e-9
Z_LIMIT = float(-ndtri(FALSE_ALARM / 2))

settings.register_profile("mcgen", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mcgen")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="count a skipped test as failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    fail_if_skipped((yield).get_result(), item.config)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """A whole module that skips itself is no test that could be counted as failed."""
    fail_if_skipped((yield).get_result(), collector.config)


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """Count a skip as failed where everything must run."""
    if report.skipped and config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where everything must run: {report.longrepr}"


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


@pytest.fixture
def generator() -> mcgen.Generator:
    """A cheap, batch-invariant generator of 16 numbers."""
    return mcgen.as_generator(logistic, noise=(16,), name="logistic")


@pytest.fixture
def estimate(generator: mcgen.Generator) -> Callable[..., mcgen.Estimate]:
    """`mcgen.estimate` with every argument filled in; tests change what they are about."""

    def run(**changes: object) -> mcgen.Estimate:
        arguments = {
            "generator": generator,
            "statistic": mcgen.statistics.pixel_mean,
            "design": mcgen.Antithetic(),
            "seed": SEED,
        } | changes
        if not {"n_evaluations", "n_replicates"} & set(arguments):
            arguments["n_evaluations"] = 640
        return mcgen.estimate(arguments.pop("generator"), arguments.pop("statistic"), **arguments)

    return run


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """On a busy machine a second thread of torch waits more than it works."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

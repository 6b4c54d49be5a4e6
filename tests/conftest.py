"""Fixtures that the tests share, and a mode in which a skip is a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from helpers import SEED, logistic
from hypothesis import HealthCheck, settings

import mcgen

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

"""Records of `logging`: what runs say, at which level, and that nothing is printed without being asked for."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers import logistic, logistic_until

import mcgen
from mcgen.cli.entry import main

MODEL = mcgen.as_generator(logistic, noise=(4,), name="logistic")
estimate = functools.partial(mcgen.estimate, MODEL, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), seed=7)
WHO = "logistic, pixel_mean, Antithetic()"


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_a_run_says_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mcgen"):
        estimate(n_evaluations=2560)
    first, last = lines(caplog, logging.INFO)
    assert first == f"{WHO}: started; wanted 1,280 replicates, seed 7"
    assert last.startswith(f"{WHO}: finished after 1,280 replicates, 2,560 evaluations, ")
    assert last.endswith(" s")
    assert len(caplog.records) == 2


def test_a_tolerance_and_a_condition_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mcgen"):
        estimate(atol=0.01, condition={"low": 0.0})
    assert caplog.messages[0] == f"{WHO}, condition low: started; wanted half-widths of at most 0.01, seed 7"


def test_a_stored_run_says_what_its_store_has(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    estimate(n_evaluations=640, store=tmp_path / "run.sqlite")
    with caplog.at_level(logging.INFO, "mcgen"):
        estimate(n_evaluations=6400, store=tmp_path / "run.sqlite")
    assert caplog.messages[1] == f"{WHO}: the store has 320 replicates"


def test_an_error_and_an_interrupt_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def run(error: BaseException) -> mcgen.Estimate:
        model = mcgen.as_generator(logistic_until(9, error), noise=(4,), name="logistic")
        return mcgen.estimate(
            model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=6400, batch_size=64, seed=7
        )

    with caplog.at_level(logging.INFO, "mcgen"):
        with pytest.raises(ValueError, match="no memory") as caught:
            run(ValueError("no memory"))
        n = caught.value.partial.n_replicates
        assert caplog.messages[-1] == f"{WHO}: ended after {n} replicates by ValueError('no memory')"
        made = run(KeyboardInterrupt())
        assert made.partial
        assert f"{WHO}: interrupted after {made.n_replicates} replicates, " in caplog.messages[-1]


def test_parts_of_a_run_are_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mcgen"), ThreadPoolExecutor(1) as executor:
        estimate(n_evaluations=640, executor=executor)
    found = lines(caplog, logging.DEBUG)
    assert f"{WHO}: has replicates 0 to 31" in found
    assert any(text.startswith("replicates 0 to 31: done by the executor in ") for text in found)


class Forgetful(Executor):
    """Loses its first call, and runs the others at once."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, function: Any, /, *arguments: Any, **more: Any) -> Future[Any]:
        self.calls += 1
        future: Future[Any] = Future()
        # The call before the first range asks for the version.
        if self.calls == 2:
            future.set_exception(OSError("lost"))
        else:
            future.set_result(function(*arguments, **more))
        return future


def test_a_lost_range_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    executor = Forgetful()
    executor._max_workers = 1  # type: ignore[attr-defined]
    with caplog.at_level(logging.DEBUG, "mcgen"):
        estimate(n_evaluations=640, executor=executor)
    assert any("lost or overdue, 1 of 3 times (OSError: lost)" in text for text in lines(caplog, logging.DEBUG))


def test_nothing_is_printed_without_being_asked_for() -> None:
    code = (
        "import mcgen; mcgen.estimate(mcgen.as_generator(lambda z: z, noise=(2,)), mcgen.statistics.pixel_mean, "
        "design=mcgen.MonteCarlo(), n_evaluations=640, seed=0); import logging; "
        "logging.getLogger('mcgen.runs').warning('not shown')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


@pytest.mark.parametrize(("flags", "debug"), [([], None), (["-v"], False), (["-vv"], True), (["--verbose"], False)])
def test_the_command_line_says_it_on_stderr(
    flags: list[str], debug: bool | None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some_model_to_log.py").write_text(
        "import mcgen\ngenerator = mcgen.as_generator(lambda z: z**2, noise=(2,))\n"
    )
    command = "estimate some_model_to_log.py:generator --statistic pixel_mean --design sobol:32 --seed 0"
    status = main([*command.split(), "--n-evaluations", "2048", "--no-progress", *flags])
    said = capsys.readouterr().err
    assert status == 0
    assert ("pixel_mean, sobol:32: started; wanted 64 replicates, seed 0" in said) is (debug is not None)
    assert ("has replicates 0 to" in said) is bool(debug)
    assert logging.getLogger("mcgen").level == logging.NOTSET
    assert [type(one) for one in logging.getLogger("mcgen").handlers] == [logging.NullHandler]

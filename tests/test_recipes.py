"""The recipes of docs/how-to/track-a-run.md: the code on the page is the code that runs here."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import logistic

import mcgen
from mcgen.runs import watching

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "track-a-run.md"
MODEL = mcgen.as_generator(logistic, noise=(4,), name="decode")


def run_recipe(title: str) -> dict[str, Any]:
    """Run the blocks of a section, the model being there, and return their names."""
    section = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {"model": MODEL}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # So often that there are points on the way too.
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN", 0.0)
    return tmp_path


@pytest.fixture
def result() -> mcgen.Estimate:
    return mcgen.estimate(MODEL, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=6400, seed=0)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_has_the_curves(result: mcgen.Estimate, here: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tensorboard")
    run_recipe("TensorBoard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(here / "runs" / "decode")).Reload()
    tag = "decode/Antithetic()/pixel_mean"
    assert events.Tags()["scalars"] == [f"{tag}/mean", f"{tag}/half-width"]
    for name, truth in (("mean", result.mean), ("half-width", result.half_width)):
        points = events.Scalars(f"{tag}/{name}")
        assert len(points) > 2
        assert points[-1].step == 6400
        assert points[-1].value == np.float32(truth)


class StandIn:
    """Keeps what is logged; it stands for a run of wandb, and for mlflow's current one."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.texts: dict[str, str] = {}

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def log(self, numbers: dict[str, float]) -> None:
        self.logged.append(numbers)

    def log_metric(self, name: str, value: float, *, step: int) -> None:
        self.logged.append({name: value, "evaluations": step})

    def log_text(self, text: str, name: str) -> None:
        self.texts[name] = text


def test_wandb_gets_the_numbers(result: mcgen.Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    run = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Run=StandIn, init=lambda *, project, config: run))
    run_recipe("Weights & Biases")
    assert len(run.logged) > 2
    interval = result.interval
    assert run.logged[-1] == {"evaluations": 6400, "mean": result.mean, "low": interval.low, "high": interval.high}


def test_mlflow_gets_the_numbers(result: mcgen.Estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    run = StandIn()
    stand_in = SimpleNamespace(start_run=lambda *, run_name: run, log_metric=run.log_metric, log_text=run.log_text)
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    run_recipe("MLflow")
    assert len(run.logged) > 4
    assert run.logged[-2:] == [
        {"mean": result.mean, "evaluations": 6400},
        {"half_width": result.half_width, "evaluations": 6400},
    ]
    assert run.texts["estimate.txt"].startswith("E[pixel_mean(decode(noise))]")

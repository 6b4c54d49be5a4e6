"""Runs on a dask cluster of worker processes, killed and hung ones among them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worker_parts
from test_executors import N, bits, bits_here, in_order, number_of, run, tally_of, task_of
from worker_parts import Hangs, Raises

import mcgen
from mcgen.errors import WorkerError
from mcgen.generators.factories import from_factory
from mcgen.replicates.executors.coordinator import checked_executor, finished_ranges

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture
def client(cluster: object) -> Iterator[object]:
    with distributed.Client(cluster, set_as_default=False) as made:
        made.wait_for_workers(2)
        yield made


def test_same_bits(client: Any) -> None:
    assert bits(tally_of(in_order(run(client, task_of())))) == bits_here(task_of())


def test_lambdas_travel(client: Any) -> None:
    assert bits(tally_of(in_order(run(client, task_of(lambda z: np.tanh(z)))))) == bits_here(task_of())


def test_nothing_is_lost_where_workers_are_killed(cluster: object, client: Any) -> None:
    task = task_of(worker_parts.slow_tanh, batch_size=4)
    killed: set[int] = set()
    found = []
    for finished in finished_ranges(client, task, [range(2 * N)], None, 2 * N, None):
        found.append(finished)
        if len(killed) < 5:
            killed.add(kill_one(cluster, killed))
    assert len(killed) == 5
    assert bits(tally_of(in_order(found))) == bits_here(task_of(batch_size=4), 2 * N)


def kill_one(cluster: object, killed: set[int]) -> int:
    """Kill a worker process that runs; the cluster starts another for it."""
    while True:
        running = {nanny.pid for nanny in cluster.workers.values() if nanny.pid} - killed
        if running:
            victim = running.pop()
            os.kill(victim, signal.SIGKILL)
            return victim
        time.sleep(0.01)


def test_what_the_model_raises(client: Any) -> None:
    with pytest.raises(KeyError, match="no such sample") as raised:
        run(client, task_of(Raises(number_of(task_of(), 1001), KeyError("no such sample"))))
    assert raised.value.__notes__ == ["raised by 'model' at replicates 992 to 1007"]
    assert "in happen" in str(raised.value.__cause__)


def test_models_are_loaded_once_a_worker(client: Any, tmp_path: Path) -> None:
    factory = from_factory(worker_parts.load_counted, str(tmp_path), 1.0, noise=(4,))
    found = run(client, task_of(generator=factory))
    loaded = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert len(loaded) == len(set(loaded)) <= 2
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


def test_a_range_that_hangs_is_run_elsewhere(client: Any, tmp_path: Path) -> None:
    task = task_of(Hangs(number_of(task_of(), 1001), str(tmp_path), 1))
    found = run(client, task, timeout=2.0)
    (tmp_path / "over").touch()
    assert len(list(tmp_path.glob("hung-*"))) == 1
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


def test_an_executor_or_a_client_that_is_shut_down(cluster: object) -> None:
    client = distributed.Client(cluster, set_as_default=False)
    executor = client.get_executor()
    executor.shutdown()
    with pytest.warns(UserWarning, match=ADVICE), pytest.raises(WorkerError, match="the executor is shut down"):
        run(executor, task_of())
    executor = client.get_executor()
    client.close()
    with pytest.raises(WorkerError, match="executor is shut down.*the dask client is closed"):
        run(client, task_of())
    with pytest.warns(UserWarning, match=ADVICE), pytest.raises(WorkerError, match="the executor is shut down"):
        run(executor, task_of())


def test_a_client_is_taken_without_being_asked_for_an_executor(client: Any) -> None:
    found = checked_executor(client)
    assert isinstance(found, Executor)
    assert checked_executor(found) is found
    assert found.submit(sorted, [2, 1], reverse=True).result() == [2, 1]


def test_asynchronous_clients_are_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(client), "asynchronous", True)
    with pytest.raises(TypeError, match=r"got the asynchronous <Client.*without asynchronous=True"):
        checked_executor(client)


def test_annotations_hold_for_all_ranges(client: Any, tmp_path: Path) -> None:
    factory = from_factory(worker_parts.load_counted, str(tmp_path), 1.0, noise=(4,), fingerprint="tanh")
    pids = client.run(os.getpid)
    address = min(pids)
    with dask.annotate(workers=[address]):
        found = run(client, task_of(generator=factory))
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == [str(pids[address])]
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


# What `client.get_executor()` returns, an executor like any other.

ADVICE = "Pass the client itself, executor=client"


def test_an_executor_of_a_client_gives_the_same_bits_and_advice(client: Any) -> None:
    with pytest.warns(UserWarning, match=ADVICE) as warned:
        found = run(client.get_executor(), task_of(lambda z: np.tanh(z)))
    assert len(warned) == 1
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


@pytest.mark.filterwarnings("ignore:the executor that client.get_executor")
def test_a_range_that_hangs_in_an_executor_of_a_client_is_run_elsewhere(client: Any, tmp_path: Path) -> None:
    task = task_of(Hangs(number_of(task_of(), 1001), str(tmp_path), 1))
    found = run(client.get_executor(), task, timeout=2.0)
    (tmp_path / "over").touch()
    assert len(list(tmp_path.glob("hung-*"))) == 1
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


def test_workers_without_mcgen() -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.run(worker_parts.block_mcgen)
        with pytest.raises(WorkerError, match="workers lack what mcgen needs.*'mcgen.*install mcgen"):
            run(client, task_of())


ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that docs/how-to/distributed.md shows."""
    folder = tmp_path_factory.mktemp("scripts")
    page = (ROOT / "docs" / "how-to" / "distributed.md").read_text()
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, flags=re.DOTALL):
        (folder / name).write_text(text)
    return folder


def python(folder: Path, *arguments: str, **environment: str) -> str:
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1] if ended.stdout else ""


def test_scripts_of_the_page_agree(scripts: Path) -> None:
    shown = python(scripts, "processes.py")
    assert "10000 replicates of 2 points, Antithetic(), seed 0" in shown
    assert python(scripts, "cluster.py") == shown
    for task in range(2):
        python(scripts, "part.py", SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT="2")
    parts = sorted(path.name for path in scripts.glob("part*.sqlite"))
    assert len(parts) == 2
    python(scripts, "-m", "mcgen", "merge", *parts, "-o", "run.sqlite")
    python(scripts, "-m", "mcgen", "export", "run.sqlite", "--json", "run.json")
    assert shown.split(" (")[0] == str(mcgen.Estimate.load(scripts / "run.json")).split(" (")[0]


def test_script_for_gpus(scripts: Path) -> None:
    pytest.importorskip("torch")
    assert "2048 replicates of 2 points, Antithetic(), seed 0" in python(scripts, "gpus.py")

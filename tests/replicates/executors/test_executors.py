"""Ranges of replicates on executors: the same bits as here, and what is told of all that goes wrong there."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worker_parts
from helpers import SEED
from worker_parts import Hangs, Kills, PassesOnce, Raises, RaisesOddly, block_mcgen, coordinates, load_counted

import mcgen
import mcgen.generators.factories
import mcgen.replicates.executors.worker
from mcgen.errors import WorkerError
from mcgen.generators.factories import from_factory
from mcgen.replicates.executors.coordinator import checked_executor, finished_ranges
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.ranges import FinishedRange
from mcgen.replicates.tally import Tally
from mcgen.replicates.task import Estimand, Findings, Task

N = 1500


def task_of(function: Callable[..., Any] = np.tanh, **changes: Any) -> Task:
    generator = mcgen.as_generator(function, noise=(4,), name="model")
    task = Estimand(generator, coordinates, SEED).task(mcgen.KAntithetic(4), 64)
    return dataclasses.replace(task, **changes)


def run(executor: Executor, task: Task, n: int = N, keep: bool | None = None, **options: Any) -> list[FinishedRange]:
    options = {"timeout": None, "ranges": [range(n)]} | options
    return list(finished_ranges(executor, task, options.pop("ranges"), keep, n, options.pop("timeout"), **options))


def take(coming: Iterator[FinishedRange], found: list[FinishedRange]) -> None:
    """Take what comes, of a run that breaks too."""
    for piece in coming:
        found.append(piece)


def tally_of(segments: Iterable[Any], keep: bool | None = None) -> Tally:
    tally = Tally(keep)
    for segment in segments:
        assert segment.start == tally.count
        tally.add(segment)
    return tally


def in_order(found: list[FinishedRange]) -> list[Any]:
    return [segment for piece in sorted(found, key=lambda one: one.replicates.start) for segment in piece.segments]


def bits(tally: Tally) -> bytes:
    return pickle.dumps((tally.count, tally.moments(), tally.kept()))


def bits_here(task: Task, n: int = N, keep: bool | None = None) -> bytes:
    return bits(tally_of(replicate_means(task, range(n)), keep))


def number_of(task: Task, replicate: int) -> float:
    """The first number of a replicate's noise, by which a model knows it."""
    noise = task.design.draw(task.generator.noise, range(replicate, replicate + 1), task.seed)
    return float(np.asarray(noise).ravel()[0])


def processes(n: int, method: str = "forkserver", **options: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(n, mp_context=multiprocessing.get_context(method), **options)


class Inline(Executor):
    """Runs what it gets at once, as if pickled; tests change what comes back."""

    def __init__(self, change: Callable[[Any], Any] = lambda reply: reply) -> None:
        self._change = change
        self.ranges: list[range] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.ranges += [one for one in args if isinstance(one, range)]
        function, given = pickle.loads(pickle.dumps((fn, args)))
        try:
            future.set_result(self._change(pickle.loads(pickle.dumps(function(*given, **kwargs)))))
        except Exception as error:
            future.set_exception(error)
        return future


class Watched(Executor):
    """Threads behind an executor of no known kind, which counts what is in flight."""

    def __init__(self, n: int) -> None:
        self._pool, self._max_workers = ThreadPoolExecutor(n), n
        self.futures: list[Future[Any]] = []
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = self._pool.submit(fn, *args, **kwargs)
        self.futures.append(future)
        self.most = max(self.most, sum(not one.done() for one in self.futures))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with processes(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Path]:
    """A folder for models that hang; what still hangs in the end is let go."""
    yield tmp_path
    (tmp_path / "over").touch()


# The same bits.


@pytest.mark.parametrize("keep", [None, False])
def test_threads_give_the_same_bits(keep: bool | None) -> None:
    with ThreadPoolExecutor(3) as executor:
        found = run(executor, task_of(worker_parts.slow_tanh), keep=keep)
    assert bits(tally_of(in_order(found), keep)) == bits_here(task_of(), keep=keep)


def test_spawned_processes_give_the_same_bits() -> None:
    with processes(2, "spawn") as executor:
        found = run(executor, task_of(), keep=False)
    assert bits(tally_of(in_order(found), False)) == bits_here(task_of(), keep=False)


FORKED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import mcgen

generator = mcgen.as_generator(np.tanh, noise=(4,), name="model")
options = dict(design=mcgen.KAntithetic(4), n_replicates=1500, seed=0)
method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
    found = mcgen.estimate(generator, mcgen.statistics.pixel_mean, executor=executor, **options)
assert found == mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
print("the same")
"""


def test_forked_processes_give_the_same_bits() -> None:
    # In a process of its own: what other tests import here has threads, which do not survive a fork.
    made = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True)
    assert made.stdout == "the same\n", made.stderr


@pytest.mark.parametrize(
    "design", [mcgen.MonteCarlo(), mcgen.Sobol(32), mcgen.OrthogonalAntithetic(8), mcgen.LatinHypercube(16)]
)
def test_designs_give_the_same_bits_in_a_server_of_processes(pool: Executor, design: mcgen.Design) -> None:
    task = task_of(design=design, batch_size=48)
    assert bits(tally_of(in_order(run(pool, task, 300)))) == bits_here(task_of(design=design, batch_size=48), 300)


def test_gaps_that_start_inside_groups(pool: Executor, threads: Executor) -> None:
    gaps = [range(3, 40), range(100, 131), range(1000, 1400)]
    for executor in (pool, threads):
        found = run(executor, task_of(), ranges=gaps, keep=True)
        rows = {segment.start + i: mean for segment in in_order(found) for i, mean in enumerate(segment.means.tolist())}
        assert list(rows) == [replicate for gap in gaps for replicate in gap]
        whole = tally_of(replicate_means(task_of(), range(N)), True).kept()
        assert whole is not None
        assert all(whole[0][replicate].tolist() == mean for replicate, mean in rows.items())


def test_25_replicates_of_256_points_keep_8_workers_busy() -> None:
    all_there, seen = threading.Barrier(8), threading.local()

    def model(z: np.ndarray) -> np.ndarray:
        if not hasattr(seen, "it"):
            seen.it = True
            # Broken, and so raised, where fewer threads than these ever get work.
            all_there.wait(60)
        return np.tanh(z)

    with ThreadPoolExecutor(8) as executor:
        found = run(executor, task_of(model, design=mcgen.Sobol(256)), 25)
    assert [len(piece.replicates) for piece in sorted(found, key=lambda one: one.replicates.start)][:16] == [1] * 16
    assert bits(tally_of(in_order(found))) == bits_here(task_of(design=mcgen.Sobol(256)), 25)


# How the work is shared out.


def test_work_in_flight_is_bounded() -> None:
    with Watched(3) as executor:
        found = run(executor, task_of(worker_parts.slow_tanh))
    assert executor.most <= 6
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


def test_ranges_begin_with_a_group_and_grow() -> None:
    executor = Inline()
    run(executor, task_of(), 100_000, keep=False)
    first = 2 * (os.cpu_count() or 1)
    assert [len(one) for one in executor.ranges[:first]] == [16] * first
    assert max(map(len, executor.ranges)) > 16
    assert all(one.start % 16 == 0 for one in executor.ranges)
    assert [one.start for one in executor.ranges[1:]] == [one.stop for one in executor.ranges[:-1]]


def test_known_seconds_make_the_first_range() -> None:
    executor = Inline()
    task = task_of()
    findings = Findings(task, components=(4,))
    run(executor, task, 100_000, keep=False, seconds_each=1e-2, findings=findings)
    assert len(executor.ranges[0]) == 96


def test_means_that_travel_at_a_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcgen.replicates.executors.coordinator._MOST_NUMBERS", 4 * 64)
    executor = Inline()
    run(executor, task_of(), 100_000, keep=False)
    assert max(map(len, executor.ranges)) == 64


def test_the_first_batch_is_tried_once() -> None:
    calls = []

    def model(z: np.ndarray) -> np.ndarray:
        calls.append(len(z))
        return np.tanh(z)

    with ThreadPoolExecutor(1) as executor:
        run(executor, task_of(model), 160)
    assert sorted(calls) == [2, 2] + [64] * 10


def test_models_are_loaded_once_a_worker(tmp_path: Path) -> None:
    with processes(2) as executor:
        for seed in range(3):
            # Without a fingerprint the files that are left would count.
            factory = from_factory(load_counted, str(tmp_path), 2.0, noise=(4,), fingerprint="tanh")
            found = run(executor, task_of(generator=factory, seed=seed), 320)
    loaded = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert len(loaded) == len(set(loaded)) <= 2
    assert str(os.getpid()) not in loaded
    task = task_of(generator=load_counted(str(tmp_path), 2.0), seed=2)
    assert bits(tally_of(in_order(found))) == bits_here(task, 320)


def test_tasks_are_unpickled_once_whatever_they_have_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: Any = OrderedDict()
    monkeypatch.setattr(mcgen.replicates.executors.worker, "_tasks", tasks)
    task = task_of()
    for n in (64, 320):
        findings = Findings(task)
        run(Inline(), task, n, findings=findings)
        assert findings.components == (4,)
    assert len(tasks) == 1
    for seed in range(5):
        run(Inline(), task_of(seed=seed), 64)
    assert len(tasks) == 2


def test_closing_cancels_what_waits(stage: Path) -> None:
    task = task_of(PassesOnce(str(stage)))
    with Watched(2) as executor:
        coming = finished_ranges(executor, task, [range(N)], None, N, None, findings=Findings(task, tried=True))
        next(coming)
        coming.close()
        assert sum(future.cancelled() for future in executor.futures) >= 1
        (stage / "over").touch()


# What goes wrong in the model.


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_the_model_raises_comes_with_its_traceback_and_replicate(
    pool: Executor, threads: Executor, kind: str
) -> None:
    executor = pool if kind == "processes" else threads
    task = task_of(Raises(number_of(task_of(), 1001), KeyError("no such sample")))
    with pytest.raises(KeyError, match="no such sample") as raised:
        run(executor, task)
    assert raised.value.__notes__ == ["raised by 'model' at replicates 992 to 1007"]
    if kind == "processes":
        assert "worker_parts.py" in str(raised.value.__cause__)
        assert "in happen" in str(raised.value.__cause__)
    else:
        assert raised.traceback[-1].name == "happen"


def test_all_ranges_before_a_failure_are_there(pool: Executor) -> None:
    task = task_of(Raises(number_of(task_of(), 1001), KeyError("no such sample")))
    found: list[FinishedRange] = []
    with pytest.raises(KeyError):
        take(finished_ranges(pool, task, [range(N)], None, N, None), found)
    covered = {replicate for piece in found for replicate in piece.replicates}
    first_missing = next(replicate for replicate in range(N) if replicate not in covered)
    assert first_missing <= 992
    tally = tally_of(segment for segment in in_order(found) if segment.start < first_missing)
    assert bits(tally) == bits_here(task_of(), first_missing)


def test_the_first_failure_is_told() -> None:
    error = KeyError("both")
    task = task_of(Raises(number_of(task_of(), 1), error), batch_size=4)
    with ThreadPoolExecutor(2) as executor, pytest.raises(KeyError) as raised:
        run(executor, task)
    assert raised.value.__notes__[0] == "raised by 'model' at replicates 1 to 1"


@pytest.mark.parametrize(("kind", "text"), [("locked", "LockedError: here"), ("two", "TwoError: here, there")])
def test_errors_that_can_not_travel_are_told(pool: Executor, kind: str, text: str) -> None:
    with pytest.raises(RuntimeError, match=text) as raised:
        run(pool, task_of(RaisesOddly(number_of(task_of(), 40), kind)))
    assert "raised by 'model' at replicates 32 to 47" in str(raised.value)


def nan_sometimes(z: np.ndarray) -> np.ndarray:
    return np.where(z > 3, np.nan, z)


def test_broken_laws_keep_their_type(pool: Executor) -> None:
    with pytest.raises(mcgen.NonFiniteError, match="the first is replicate"):
        run(pool, task_of(nan_sometimes))


def draws_itself(z: np.ndarray) -> np.ndarray:
    return z + np.random.default_rng().normal(size=z.shape)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_warnings_come_here(pool: Executor, threads: Executor, kind: str) -> None:
    task = task_of(draws_itself)
    findings = Findings(task)
    with pytest.warns(mcgen.GeneratorWarning, match="random numbers of its own") as told:
        run(pool if kind == "processes" else threads, task, 320, findings=findings)
    assert len(told) == len(findings.warnings) == 1


def test_components_must_agree() -> None:
    def other(reply: Any) -> Any:
        if isinstance(reply, str) or reply.result.replicates.start < 64:
            return reply
        facts = dataclasses.replace(reply.result.facts, components=(3,))
        return dataclasses.replace(reply, result=dataclasses.replace(reply.result, facts=facts))

    with pytest.raises(mcgen.RunError, match=r"components of shape \(3,\), where \(4,\) as before"):
        run(Inline(other), task_of())


# What can't travel.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": worker_parts.Locked(1.0)}, r"generator 'model' can't be pickled.*mcgen\.from_factory.*Thread"),
        ({"statistic": worker_parts.Locked(1.0)}, r"statistic 'Locked' can't be pickled.*top level"),
        ({"condition": threading.Lock()}, r"condition of type lock can't be pickled.*top level"),
    ],
)
def test_what_can_not_be_pickled(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        run(Inline(), task_of(**changes))


def test_large_tasks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcgen.replicates.executors.worker, "_LARGE_TASK", 100)
    with pytest.warns(mcgen.GeneratorWarning, match="MB, which travel with every range.*from_factory"):
        run(Inline(), task_of(), 64)


def test_what_can_not_be_loaded_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with processes(1) as executor:
        assert executor.submit(abs, -1).result() == 1
        module = type(sys)("only_here")
        exec("def function(z): return z", vars(module))
        monkeypatch.setitem(sys.modules, "only_here", module)
        with pytest.raises(WorkerError, match=r"can't load the generator.*only_here.*importable there") as raised:
            run(executor, task_of(module.function))
    assert "Traceback" in str(raised.value.__cause__)


# What goes wrong in the executor.


def test_a_killed_process_breaks_a_pool() -> None:
    task = task_of(Kills(number_of(task_of(), 1001)))
    found: list[FinishedRange] = []
    with processes(2) as executor:
        with pytest.raises(
            WorkerError, match=r"the executor broke.*killed.*__name__ == .__main__.*Make a new executor"
        ):
            take(finished_ranges(executor, task, [range(N)], None, N, None), found)
        with pytest.raises(WorkerError, match="the executor broke"):
            run(executor, task)
    assert found


@pytest.mark.parametrize("make", [ThreadPoolExecutor, processes])
def test_an_executor_that_is_shut_down(make: Callable[[int], Executor]) -> None:
    executor = make(1)
    executor.shutdown()
    with pytest.raises(WorkerError, match=r"is shut down \(.*after shutdown\)\. Run inside its with block"):
        run(executor, task_of())


def test_other_refusals_are_told_as_they_are() -> None:
    class Refuses(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(Refuses(), task_of())


def test_an_executor_that_is_shut_down_during_the_run() -> None:
    executor = ThreadPoolExecutor(1)
    coming = finished_ranges(executor, task_of(worker_parts.slow_tanh, batch_size=4), [range(N)], None, N, None)
    next(coming)
    executor.shutdown(cancel_futures=True)
    with pytest.raises(WorkerError, match="the executor is shut down"):
        list(coming)


def test_workers_without_mcgen() -> None:
    with (
        processes(1, "spawn", initializer=block_mcgen) as executor,
        pytest.raises(WorkerError, match=r"workers lack what mcgen needs.*'mcgen.*install mcgen .* where they run"),
    ):
        run(executor, task_of())


def test_workers_with_other_versions() -> None:
    def older(reply: Any) -> Any:
        return reply if isinstance(reply, str) else dataclasses.replace(reply, versions={"numpy": "1.0", "jax": "3"})

    with pytest.raises(WorkerError, match=r"a worker has numpy 1\.0 where this process has .*install the same"):
        run(Inline(older), task_of())
    with pytest.raises(WorkerError, match=r"a worker has mcgen 0\.0 where this process has"):
        run(Inline(lambda reply: "0.0" if isinstance(reply, str) else reply), task_of())


def test_what_is_lost_is_run_again_and_given_up_in_the_end() -> None:
    lost = dict.fromkeys(range(0, N, 160), 0)

    def losing(times: int) -> Callable[[Any], Any]:
        def change(reply: Any) -> Any:
            start = None if isinstance(reply, str) else reply.result.replicates.start
            if lost.get(start, times) < times:
                lost[start] += 1
                raise ConnectionError("no route")
            return reply

        return change

    found = run(Inline(losing(2)), task_of())
    assert max(lost.values()) == 2
    assert bits(tally_of(in_order(found))) == bits_here(task_of())
    lost = dict.fromkeys(range(0, N, 160), 0)
    with pytest.raises(WorkerError, match=r"replicates 0 to 15 were lost 3 times .*ConnectionError: no route"):
        run(Inline(losing(3)), task_of())


def test_workers_of_no_use() -> None:
    def refuse(reply: Any) -> Any:
        raise ConnectionError("no route")

    with pytest.raises(WorkerError, match=r"workers can't be used \(ConnectionError: no route\)"):
        run(Inline(refuse), task_of())


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_range_that_hangs_is_run_elsewhere(stage: Path, kind: str) -> None:
    task = task_of(Hangs(number_of(task_of(), 1001), str(stage), 1))
    with ThreadPoolExecutor(2) if kind == "threads" else processes(2) as executor:
        found = run(executor, task, timeout=2.0)
        (stage / "over").touch()
    assert len(list(stage.glob("hung-*"))) == 1
    assert bits(tally_of(in_order(found))) == bits_here(task_of())


@pytest.mark.parametrize("n_workers", [1, 4])
def test_a_range_that_always_hangs_is_given_up(stage: Path, n_workers: int) -> None:
    task = task_of(Hangs(number_of(task_of(), 20), str(stage), 99))
    with ThreadPoolExecutor(n_workers) as executor:
        message = r"replicates 16 to 31 took longer than the 0\.7 s of range_timeout, 3 times.*range\(16, 32\)"
        with pytest.raises(WorkerError, match=message):
            run(executor, task, timeout=0.7)
        (stage / "over").touch()
    assert len(list(stage.glob("hung-*"))) == min(n_workers, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"must be a concurrent\.futures\.Executor or a distributed\.Client; got 3\. Pass one such as"),
        (ThreadPoolExecutor, r"Pass an instance, ThreadPoolExecutor\(\.\.\.\)"),
    ],
)
def test_what_is_no_executor(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        checked_executor(value)


def test_without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    assert pickle.loads(mcgen._lib.pickling.pickled((1, 2))) == (1, 2)
    with pytest.raises(TypeError, match=r"generator 'model' can't be pickled.*install cloudpickle"):
        run(Inline(), task_of(lambda z: z))
    with pytest.raises(TypeError, match=r"the call of factory 'load' can't be pickled"):
        from_factory(lambda: None, name="load")  # type: ignore[arg-type, return-value]


def test_lambdas_travel_where_cloudpickle_is_installed(pool: Executor) -> None:
    pytest.importorskip("cloudpickle")
    assert bits(tally_of(in_order(run(pool, task_of(lambda z: np.tanh(z)), 320)))) == bits_here(task_of(), 320)


def test_loky() -> None:
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(2)
    try:
        found = run(executor, task_of(lambda z: np.tanh(z)), 320)
        assert bits(tally_of(in_order(found))) == bits_here(task_of(), 320)
        with pytest.raises(WorkerError, match="the executor broke"):
            run(executor, task_of(Kills(number_of(task_of(), 200))))
    finally:
        executor.shutdown(kill_workers=True)


ORPHANS = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import numpy as np
import mcgen

def slow(z):
    time.sleep(0.02)
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    return np.tanh(z)

if __name__ == "__main__":
    generator = mcgen.as_generator(slow, noise=(4,), name="slow")
    if sys.argv[2] == "loky":
        import loky
        executor = loky.ProcessPoolExecutor(2)
    else:
        executor = ProcessPoolExecutor(2, get_context("spawn"))
    with executor:
        mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), n_evaluations=int(sys.argv[3]),
                       seed=0, executor=executor)
"""


@pytest.mark.parametrize("pool", ["python", "loky"])
def test_workers_end_with_the_process_that_started_them(pool: str, tmp_path: Path) -> None:
    if pool == "loky":
        pytest.importorskip("loky")
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(ORPHANS)
    child = subprocess.Popen([sys.executable, str(script), str(log), pool, "1000000"])
    wait_for(lambda: log.exists() and len(set(log.read_text().split())) == 2)
    workers = set(map(int, log.read_text().split()))
    child.kill()
    child.wait()
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_workers_of_loky_print_nothing(tmp_path: Path) -> None:
    pytest.importorskip("loky")
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    command = [sys.executable, str(script), str(tmp_path / "log"), "loky", "640"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def wait_for(happened: Callable[[], bool], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)

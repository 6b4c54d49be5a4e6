"""Ranges of replicates on any `concurrent.futures.Executor`: threads, processes, dask, MPI.

The coordinator cuts the replicates into ranges of whole groups, in replicate order. Each range takes about a second, as
estimated from the ranges before it, and twice as many are in flight as there are workers. A worker draws the noise from
the replicate numbers and sends a `FinishedRange` back: replicate means or moments, never samples. An exception of the
generator comes back as a value. Every other error is thus the executor's, and such a range is submitted again, three
times in all.
"""

from __future__ import annotations

import logging
import math
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from itertools import islice
from pkgutil import resolve_name
from typing import Any
from uuid import uuid4

from mcgen._version import __version__
from mcgen.errors import RunError, WorkerError
from mcgen.replicates.executors.dask import DaskExecutor, is_dask_client, warn_of_get_executor
from mcgen.replicates.executors.worker import Failure, Reply, payload_of, require_versions, run_sent, run_shared
from mcgen.replicates.ranges import FinishedRange
from mcgen.replicates.task import Findings, Task

_logger = logging.getLogger(__name__)

# Seconds that a range is to take, and the fewest when little is left: sending a shorter range costs more than it gains.
_SECONDS, _FEWEST_SECONDS = 1.0, 0.05
# Most numbers in the replicate means of a range: 8 MB, which travel fast and fit any worker.
_MOST_NUMBERS = 2**20
# Times that a range is submitted before it is given up: two losses may be bad luck, three have a cause.
_TRIES = 3
# Words in what executors raise when they take no more calls: "shutdown" in those of Python, loky and MPI, "closed" in
# Dask's, whose error has no public name.
_SHUT_DOWN = ("shutdown", "closed")
# Seconds between two requests for the size of a Dask cluster, which may grow; each request is a round trip.
_SECONDS_BETWEEN_COUNTS = 5.0


def checked_executor(executor: Any) -> Executor:
    """Return an executor that takes single calls: the one that was given, or one of the workers of a Dask client.

    Raises
    ------
    TypeError
        If it is neither an executor nor a Dask client, or the client is asynchronous.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from mcgen.replicates.executors.coordinator import checked_executor
    >>> with ThreadPoolExecutor(2) as pool:
    ...     checked_executor(pool) is pool
    True
    """
    if isinstance(executor, Executor):
        return executor
    if is_dask_client(executor):
        if executor.asynchronous:
            raise TypeError(
                f"executor must be a Dask client that waits for results; got the asynchronous {executor!r}. Make it "
                "without asynchronous=True"
            )
        return DaskExecutor(executor)
    advice = "Pass one such as concurrent.futures.ProcessPoolExecutor(4)"
    if isinstance(executor, type) and issubclass(executor, Executor):
        advice = f"Pass an instance, {executor.__name__}(...)"
    raise TypeError(
        f"executor must be a concurrent.futures.Executor or a distributed.Client; got {executor!r}. {advice}"
    )


def finished_ranges(
    executor: Executor,
    task: Task,
    ranges: Iterable[range],
    keep: bool | None,
    n_replicates: int,
    timeout: float | None,
    seconds_each: float | None = None,
    findings: Findings | None = None,
) -> Generator[FinishedRange, None, None]:
    """Run ranges of a task's replicates on an executor and yield them when they are finished, in any order.

    The findings learn the facts that the first batches give. When the iterator ends (by an error, an interrupt or a
    call of `close`), ranges that no worker runs yet are cancelled.

    Parameters
    ----------
    executor : concurrent.futures.Executor or distributed.Client
        Threads share the task; processes get it pickled.
    task : Task
        The run.
    ranges : iterable of range
        The ranges to run: ascending and disjoint.
    keep : bool or None
        Whether replicate means are returned, or moments of whole leaves; None goes by `n_replicates`.
    n_replicates : int
        The number of replicates of the whole run.
    timeout : float or None
        Seconds that one range may take. They count while it is one of the n oldest, for n workers, and, in a pool of
        `concurrent.futures`, runs. A worker's start and the loading of its model count.
    seconds_each : float, optional
        Seconds that a replicate took before; by default the first ranges, of one group each, are timed.
    findings : Findings, optional
        What the run has found out about its task so far.

    Raises
    ------
    TypeError
        If the generator, the statistic, the design or the condition can't be pickled.
    WorkerError
        If the executor is shut down or broke, its workers lack mcgen or have other versions of what makes the bits,
        or a range was lost, or took longer than `timeout`, three times.
    Exception
        The exception of the generator or the statistic, after all ranges before it were yielded.
    """
    executor = checked_executor(executor)
    warn_of_get_executor(executor)
    findings = Findings(task) if findings is None else findings
    coordinator = _Coordinator(executor, task, findings, keep, n_replicates, timeout)
    yield from coordinator.finished_ranges(_Cutter(ranges, task.group), seconds_each)


class _Cutter:
    """Cuts the gaps that are still to run into ranges that end where groups end."""

    def __init__(self, ranges: Iterable[range], group: int) -> None:
        self._gaps = deque(gap for gap in ranges if len(gap))
        self._group = group
        self.left = sum(map(len, self._gaps))

    def cut(self, size: int) -> range:
        """Return the next range, of about `size` replicates and at least one group."""
        gap, n_groups = self._gaps.popleft(), max(1, size // self._group)
        stop = min(gap.stop, (gap.start // self._group + n_groups) * self._group)
        if stop < gap.stop:
            self._gaps.appendleft(range(stop, gap.stop))
        self.left -= stop - gap.start
        return range(gap.start, stop)


@dataclass(eq=False)
class _Job:
    """A range in flight.

    Attributes
    ----------
    tried : bool
        Whether its first batch was tried before, so that it need not be tried here.
    n_tries : int
        How often it was lost or overdue.
    since : float or None
        The time at which its seconds began to count.
    """

    replicates: range
    tried: bool
    n_tries: int = 0
    since: float | None = None

    def __str__(self) -> str:
        return f"replicates {self.replicates.start} to {self.replicates.stop - 1}"


class _State(Enum):
    """What a job in flight does, where its time is limited."""

    WAITING = "no worker has it, and its time does not count"
    STARTED = "a worker has it since the last look"
    RUNNING = "its time counts; it may be done since the last look"
    OVERDUE = "its time is over"


class _Coordinator:
    """One run on an executor."""

    def __init__(
        self,
        executor: Executor,
        task: Task,
        findings: Findings,
        keep: bool | None,
        n_replicates: int,
        timeout: float | None,
    ) -> None:
        self._executor, self._task, self._findings, self._timeout = executor, task, findings, timeout
        self._target = _SECONDS if timeout is None else min(_SECONDS, timeout / 4)
        # In the order of submission, in which executors run them.
        self._jobs: dict[Future[Reply], _Job] = {}
        self._hung: list[Future[Reply]] = []
        self._failed: tuple[int, BaseException] | None = None
        self._workers, self._counted = 1, -math.inf
        self._dask = executor if isinstance(executor, DaskExecutor) else None
        self._shared = isinstance(executor, ThreadPoolExecutor)
        self._call = self._call_shared(keep, n_replicates) if self._shared else self._call_sent(keep, n_replicates)

    def finished_ranges(self, cutter: _Cutter, seconds_each: float | None) -> Generator[FinishedRange, None, None]:
        """Yield finished ranges until nothing is left."""
        self._cutter, self._tried = cutter, self._findings.tried
        self._count_workers()
        self._rates = deque([] if seconds_each is None else [seconds_each], maxlen=2 * self._workers)
        try:
            if cutter.left and not self._shared:
                self._meet_workers()
            self._fill()
            while self._jobs:
                done, _ = wait(self._jobs, self._patience, FIRST_COMPLETED)
                lost: list[tuple[_Job, BaseException]] = []
                for job, answer in self._answers(done):
                    if isinstance(answer, FinishedRange):
                        yield answer
                    else:
                        lost.append((job, answer))
                for job, error in [*lost, *self._overdue()]:
                    self._try_again(job, error)
                self._fill()
            if self._failed is not None:
                raise self._failed[1]
        finally:
            for future in (*self._jobs, *self._hung):
                future.cancel()

    def _call_shared(self, keep: bool | None, n_replicates: int) -> Callable[[_Job], Future[Reply]]:
        """Return a function that submits a job to threads of this process; their warnings reach the user."""

        def call(job: _Job) -> Future[Reply]:
            findings = Findings(self._task, self._findings.components, job.tried)
            return self._submit(run_shared, self._task, findings, keep, n_replicates, job.replicates)

        return call

    def _call_sent(self, keep: bool | None, n_replicates: int) -> Callable[[_Job], Future[Reply]]:
        """Return a function that submits a job to other processes; the task is pickled once."""
        payload = payload_of(self._task)
        key = sha256(payload).hexdigest()

        def call(job: _Job) -> Future[Reply]:
            known = self._findings.components, job.tried
            # Some executors take equal calls for one call (that of Dask's get_executor() does), and would answer a
            # range that is tried again by waiting for the first try.
            return self._submit(run_sent, payload, key, uuid4().hex, known, keep, n_replicates, job.replicates)

        return call

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._executor.submit(function, *arguments)
        except Exception as error:
            refusal = _refusal(error) if isinstance(error, RuntimeError) else None
            if refusal is not None:
                raise refusal from error
            if not any(word in str(error) for word in _SHUT_DOWN):
                raise
            raise WorkerError(
                f"the executor is shut down ({error}). Run inside its with block, or make a new executor; the finished "
                "replicates are kept"
            ) from error

    def _count_workers(self) -> None:
        """Count the workers; those of a Dask cluster, which may grow, every few seconds."""
        now = time.monotonic()
        if now - self._counted < (math.inf if self._dask is None else _SECONDS_BETWEEN_COUNTS):
            return
        self._counted = now
        n_threads = None if self._dask is None else self._dask.n_threads()
        if n_threads is not None:
            self._workers = max(1, n_threads)
            return
        # Python's pools and loky have the first attribute, mpi4py has the second.
        sizes = (getattr(self._executor, name, None) for name in ("_max_workers", "num_workers"))
        self._workers = next((n for n in sizes if isinstance(n, int) and n > 0), os.cpu_count() or 1)

    def _meet_workers(self) -> None:
        """Check the workers' version of mcgen, by a function that every Python has; the call starts them too."""
        call: tuple[Any, str] = resolve_name, "mcgen._version:__version__"
        answers: list[Any]
        if self._dask is None:
            calls = [self._submit(*call) for _ in range(self._workers)]
            answers = [_error_of(one) or one.result() for one in wait(calls, return_when=FIRST_COMPLETED).done]
        else:
            # Not in a thread of the worker: it would import mcgen while Dask imports it to unpickle the first range,
            # and two threads that import parts of one package can deadlock.
            answers = self._dask.answers(*call)
        for answer in answers:
            if not isinstance(answer, BaseException):
                require_versions({"mcgen": str(answer)})
                continue
            refusal = _refusal(answer)
            # Dask may be about to replace the worker.
            if refusal is not None or self._dask is None:
                raise refusal or WorkerError(
                    f"the executor's workers can't be used ({_text(answer)}); see what "
                    "executor.submit(abs, -1).result() says"
                ) from answer

    def _fill(self) -> None:
        """Submit ranges until twice as many are in flight as there are workers."""
        self._count_workers()
        while self._failed is None and self._cutter.left and len(self._jobs) < 2 * self._workers:
            job = _Job(self._cutter.cut(self._size()), self._tried)
            self._tried = True
            self._jobs[self._call(job)] = job

    def _size(self) -> int:
        """Return a number of replicates that takes about a second and leaves some for every other worker."""
        if not self._rates or self._findings.components is None:
            return 1
        each = max(statistics.median(self._rates), 1e-9)
        share = max(self._cutter.left / (4 * self._workers), _FEWEST_SECONDS / each)
        return int(min(self._target / each, share, _MOST_NUMBERS / max(1, math.prod(self._findings.components))))

    @property
    def _patience(self) -> float | None:
        return None if self._timeout is None else min(1.0, self._timeout / 10)

    def _answers(self, done: Iterable[Future[Reply]]) -> Iterator[tuple[_Job, FinishedRange | BaseException]]:
        """Yield the finished ranges and the errors of the executor among the calls that are done; note failures."""
        for future in sorted(done, key=lambda one: self._jobs[one].replicates.start):
            job, error = self._jobs.pop(future), _error_of(future)
            if error is not None:
                yield job, error
                continue
            reply = future.result()
            if isinstance(reply.result, Failure):
                self._fail(job, reply.result.exception(str(job)))
                continue
            try:
                require_versions(reply.versions)
                # Threads of this process have warned already.
                self._findings.learn(reply.result.facts, warns=not self._shared)
                self._findings.tried |= not job.tried
            except (RunError, WorkerError) as problem:
                self._fail(job, problem)
                continue
            self._rates.append(reply.result.seconds / len(job.replicates))
            _logger.debug("%s: done by the executor in %.3g s", job, reply.result.seconds)
            yield job, reply.result

    def _fail(self, job: _Job, error: BaseException) -> None:
        """Note the first failure in replicate order, and cancel the ranges after it."""
        if self._failed is None or job.replicates.start < self._failed[0]:
            self._failed = job.replicates.start, error
        for future, other in list(self._jobs.items()):
            if other.replicates.start > self._failed[0] and not future.done():
                future.cancel()
                del self._jobs[future]

    def _overdue(self) -> list[tuple[_Job, BaseException]]:
        """Return the jobs that ran out of time, and start the time of those that have a worker now."""
        if self._timeout is None:
            return []
        now = time.monotonic()
        found: list[tuple[_Job, BaseException]] = []
        self._hung = [future for future in self._hung if not future.done()]
        n_free = self._workers - len(self._hung)
        # Executors run calls in the order of submission: only the oldest can have a worker.
        for future, job in list(islice(self._jobs.items(), max(1, n_free))):
            state = self._state_of(job, future, now, n_free)
            if state is _State.STARTED:
                job.since = now
            elif state is _State.OVERDUE:
                # Not cancelled: Dask would take the worker that hangs for idle, and give it the range again.
                self._hung.append(future)
                job.since = None
                del self._jobs[future]
                found.append((job, _OverdueError(f"more than {self._timeout:g} s")))
        return found

    def _state_of(self, job: _Job, future: Future[Reply], now: float, n_free: int) -> _State:
        """Return the state of one of the oldest jobs, where `n_free` workers do not hang."""
        assert self._timeout is not None
        if job.since is None:
            # Only Python's own pools say whether a call runs. Where every worker hangs, no call will ever run.
            says = isinstance(self._executor, ThreadPoolExecutor | ProcessPoolExecutor)
            return _State.STARTED if future.running() or not says or n_free <= 0 else _State.WAITING
        in_time = future.done() or now - job.since <= self._timeout
        return _State.RUNNING if in_time else _State.OVERDUE

    def _try_again(self, job: _Job, error: BaseException) -> None:
        """Submit a range again, or raise `WorkerError` where it was lost or overdue too often."""
        if self._failed is not None:
            return
        refusal = _refusal(error)
        if refusal is not None:
            raise refusal from error
        job.n_tries += 1
        _logger.debug("%s: lost or overdue, %d of %d times (%s)", job, job.n_tries, _TRIES, _text(error))
        if job.n_tries < _TRIES:
            self._jobs[self._call(job)] = job
        elif isinstance(error, _OverdueError):
            raise WorkerError(
                f"{job} took longer than the {self._timeout:g} s of range_timeout, {_TRIES} times. If they are only "
                "slow, give a longer one: a worker's start and the loading of its model count. Otherwise find what "
                f"hangs by running replicates=range({job.replicates.start}, {job.replicates.stop}) without an "
                "executor; a worker that hangs keeps its place in the executor until its process is ended"
            ) from error
        else:
            raise WorkerError(
                f"{job} were lost {_TRIES} times by the executor, at last by {_text(error)}. Look into the logs of its "
                "workers (too little memory is the usual cause); the finished replicates are kept"
            ) from error


class _OverdueError(TimeoutError):
    """A range took longer than its time."""


def _error_of(future: Future[Any]) -> BaseException | None:
    """Return the error of a call that is done, None where it has a result."""
    return CancelledError("the call was cancelled") if future.cancelled() else future.exception()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _refusal(error: BaseException) -> WorkerError | None:
    """Return a `WorkerError` for errors that another try does not mend, None for others."""
    missing: BaseException | None = error
    while missing is not None and not isinstance(missing, ImportError):
        missing = missing.__cause__
    if missing is not None:
        return WorkerError(
            f"the executor's workers lack what mcgen needs ({_text(missing)}); install mcgen {__version__} where they "
            "run, in the environment that they are started in"
        )
    if isinstance(error, BrokenExecutor):
        return WorkerError(
            f"the executor broke ({_text(error)}): a worker process ended and took the pool with it. It was killed "
            "(out of memory?), its initializer failed, or it can't import what it needs: mcgen, or a main script "
            'without `if __name__ == "__main__":`. Make a new executor and run again; the finished replicates are kept'
        )
    return None

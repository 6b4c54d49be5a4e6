"""The function that a worker of an executor runs; it returns a finished range, or an exception as a value.

The pickled task travels with every range. A process unpickles it once, and recognizes it by its hash.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import time
import traceback
import warnings
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from mcgen._lib.fingerprints import (
    EXCLUDE,
    SAME,
    Changes,
    Difference,
    Given,
    changes_of_globals,
    content_of,
    differences,
    is_file,
    is_inside,
    shown,
)
from mcgen._lib.names import name_of
from mcgen._lib.pickling import has_cloudpickle, pickled
from mcgen._version import __version__
from mcgen.errors import GeneratorWarning, WorkerError, warn_user
from mcgen.replicates.ranges import FinishedRange, run_range
from mcgen.replicates.task import Findings, Task

# Seconds between two looks at the number of the parent process: an orphan lives no longer than that.
_SECONDS_BETWEEN_LOOKS = 1.0
# Tasks that a process keeps: those of the run that ends and of the next.
_KEPT_TASKS = 2
# Bytes of a pickled task above which a factory is advised: 32 MB with every range, of about a second, slow a run down.
_LARGE_TASK = 2**25


class RemoteError(Exception):
    """The traceback of an error in another process, as the cause of the same error here."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


@dataclass(frozen=True)
class Failure:
    """An exception of the generator or the statistic in a worker.

    Attributes
    ----------
    error : BaseException, bytes or None
        The exception; pickled where it travels, None where it can't be pickled.
    text : str
        The exception's type, message and notes.
    trace : str
        The exception's traceback.
    loading : bool
        Whether it was raised while the task was unpickled.
    """

    error: BaseException | bytes | None
    text: str
    trace: str
    loading: bool = False

    @classmethod
    def of(cls, error: Exception, loading: bool = False) -> Failure:
        """Return the failure for an exception, in a form that can travel."""
        try:
            sent = pickled(error)
        except Exception:
            sent = None
        text = "".join(traceback.format_exception_only(error)).strip()
        return cls(sent, text, "".join(traceback.format_exception(error)), loading)

    def exception(self, where: str) -> BaseException:
        """Return the exception; where it came from another process, its cause has the traceback."""
        if isinstance(self.error, BaseException):
            return self.error
        if self.loading:
            lacks = WorkerError(
                f"a worker can't load the generator and the statistic that it was sent for {where} ({self.text}). The "
                "modules that they come from must be importable there; functions of a script or a notebook travel "
                "where cloudpickle is installed on both sides"
            )
            lacks.__cause__ = RemoteError(self.trace)
            return lacks
        found: Any = None
        if self.error is not None:
            try:
                found = pickle.loads(self.error)
            except Exception:
                found = None
        error = found if isinstance(found, BaseException) else RuntimeError(self.text)
        error.__cause__ = RemoteError(self.trace)
        return error


@dataclass(frozen=True)
class Reply:
    """The answer of a worker: a finished range or a failure, and the versions of what the last bits depend on."""

    result: FinishedRange | Failure
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Return this process's versions of what the last bits depend on."""
    found = {"mcgen": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    torch: Any = sys.modules.get("torch")
    return found if torch is None else found | {"torch": str(torch.__version__)}


def run_shared(task: Task, findings: Findings, keep: bool | None, n_replicates: int, replicates: range) -> Reply:
    """Run a range in a thread of the coordinator's process, with findings of its own."""
    try:
        return Reply(run_range(task, replicates, keep, n_replicates, findings), {})
    except Exception as error:
        return Reply(Failure(error, "", ""), {})


def run_sent(
    payload: bytes,
    key: str,
    call: str,
    known: tuple[tuple[int, ...] | None, bool],
    keep: bool | None,
    n_replicates: int,
    replicates: range,
) -> Reply:
    """Run a range in another process.

    Parameters
    ----------
    payload : bytes
        The pickled task.
    key : str
        Its hash.
    call : str
        A text that no other call has; it is not read.
    known : tuple
        The shape of the components where it is known, and whether the first batch was tried before.
    keep, n_replicates, replicates
        As for `run_range`.
    """
    _end_with_parent()
    try:
        task = _unpickled(payload, key)
    except WorkerError as error:
        return Reply(Failure.of(error), versions())
    except Exception as error:
        return Reply(Failure.of(error, loading=True), versions())
    components, tried = known
    # The coordinator gives the warnings, where the user sees them.
    quiet: AbstractContextManager[Any] = nullcontext()
    if not tried:
        quiet = warnings.catch_warnings(action="ignore", category=GeneratorWarning)
    try:
        with quiet:
            findings = Findings(task, components, tried)
            return Reply(run_range(task, replicates, keep, n_replicates, findings), versions())
    except Exception as error:
        return Reply(Failure.of(error), versions())


_watched = threading.Event()


def _end_with_parent() -> None:
    """End this process, with its models and its memory, when the process that started it was killed."""
    parent = multiprocessing.parent_process()
    if parent is None or _watched.is_set():
        return
    _watched.set()
    # Workers of loky have no sentinel of their parent and know it by its number alone, which changes when it ends.
    has_sentinel = getattr(parent, "_sentinel", None) is not None
    if not has_sentinel and os.getppid() != parent.pid:
        return

    def watch() -> None:
        if has_sentinel:
            parent.join()
        while not has_sentinel and os.getppid() == parent.pid:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        # No more work can come, and no other process uses this one.
        os._exit(1)

    threading.Thread(target=watch, name="mcgen: ends with its parent", daemon=True).start()


@dataclass(frozen=True)
class Sent:
    """A task as it travels, with the content by which the worker checks that its own modules make the same task.

    Attributes
    ----------
    task : Task
        The task.
    parts : dict
        The content of the generator and of the statistic in the sending process, part by part.
    changes : dict
        The parts that running changed in the sending process.
    """

    task: Task
    parts: dict[str, dict[str, str]]
    changes: Changes

    @classmethod
    def of(cls, task: Task) -> Sent:
        """Return a task to send, without the facts that it has learnt."""
        plain = replace(task, given=Given())
        own = {place.partition(": ")[2]: change for place, change in task.given.changes.items()}
        return cls(plain, _parts_of(task), changes_of_globals() | own)

    def require_same(self) -> None:
        """Raise `WorkerError` where the generator or the statistic differs here, by a changed module or file."""
        for name, here in _parts_of(self.task).items():
            # Running may have changed the parts in either process.
            there = differences(self.parts[name], here, self.changes)
            both = [one for one in differences(self.parts[name], here, changes_of_globals()) if one in there]
            found = _of_concern(both)
            if found:
                raise WorkerError(
                    f"a worker has another {name} than the process that started the run: "
                    f"{shown(found, name, (' there', ' in the worker'))}. Workers keep the modules that they imported: "
                    f"start the executor anew after a change of code or of global variables. {EXCLUDE}"
                )


def _of_concern(found: list[Difference]) -> list[Difference]:
    """Return the differences that sending the task does not explain."""
    # An object that is sent, and is a global variable too, is one object in the sender and two in the worker.
    doubled = {one.place for one in found if any((text or "").startswith(SAME) for text in (one.before, one.now))}

    def counts(one: Difference) -> bool:
        place = one.place
        if place in doubled or any(is_inside(place, other) for other in doubled):
            return False
        # Files that the task reads while it runs are read here, and a factory checks its own files. Variables of a
        # module that a function imports when it runs show only in a process where it has run.
        return not is_file(place) and (one.before is not None or not place.startswith("global "))

    return [one for one in found if counts(one)]


def _parts_of(task: Task) -> dict[str, dict[str, str]]:
    things = {"generator": task.generator, "statistic": task.statistic}
    return {name: content_of(thing, load=False).parts for name, thing in things.items()}


_tasks: OrderedDict[str, Task] = OrderedDict()
_tasks_lock = threading.Lock()


def _unpickled(payload: bytes, key: str) -> Task:
    """Return the task of a payload, unpickled and compared once in this process.

    Raises
    ------
    WorkerError
        If its generator or its statistic is another one here.
    """
    with _tasks_lock:
        if key not in _tasks:
            sent: Sent = pickle.loads(payload)
            sent.require_same()
            task = sent.task
            _tasks[key] = replace(task, given=Given({"generator": task.generator, "statistic": task.statistic}))
            if len(_tasks) > _KEPT_TASKS:
                _tasks.popitem(last=False)
        _tasks.move_to_end(key)
        return _tasks[key]


def payload_of(task: Task) -> bytes:
    """Return the pickled task without what it has learnt; the `TypeError` names the part that can't be pickled."""
    try:
        payload = pickled(Sent.of(task))
    except Exception as error:
        raise _unpicklable(task, error) from error
    if len(payload) > _LARGE_TASK:
        warn_user(
            f"the generator {name_of(task.generator)!r} and what it is run with are {len(payload) / 2**20:.0f} MB, "
            "which travel with every range of replicates; pass a factory, mcgen.from_factory(load, ...), which is "
            "loaded once a worker",
            GeneratorWarning,
        )
    return payload


def _unpicklable(task: Task, error: Exception) -> TypeError:
    parts = {"statistic": task.statistic, "design": task.design, "condition": task.condition}
    for what, part in {"generator": task.generator, **parts}.items():
        try:
            pickled(part)
        except Exception as own:
            name = repr(name_of(part)) if what in ("generator", "statistic") else f"of type {type(part).__name__}"
            advice = (
                "Pass a factory that makes it there, mcgen.from_factory(load, ...)"
                if what == "generator"
                else "Make it of functions at the top level of a module and of arrays"
            )
            lambdas = "" if has_cloudpickle() else "install cloudpickle, which pickles lambdas too, "
            return TypeError(
                f"{what} {name} can't be pickled for the processes of the executor ({own}). {advice}, {lambdas}or use "
                "a ThreadPoolExecutor"
            )
    return TypeError(f"the run can't be pickled for the processes of the executor ({error})")


def require_versions(theirs: dict[str, str]) -> None:
    """Raise `WorkerError` for workers with other versions of what the last bits depend on."""
    ours = versions()
    for name, version in theirs.items():
        if ours.get(name, version) != version:
            raise WorkerError(
                f"a worker has {name} {version} where this process has {ours[name]}, and other versions give other "
                "last bits; install the same version in both"
            )

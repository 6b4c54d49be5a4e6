"""What a worker of an executor runs, and sends back: a finished range, or what went wrong as a value.

The task travels pickled, with every range; a process unpickles it once and knows it again by its hash.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
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
from mcgen.replicates.loop import Task
from mcgen.replicates.ranges import FinishedRange, run_range

# Tasks that a process keeps: that of a run that ends, and of the next.
_KEPT_TASKS = 2
# Bytes of a task above which it had better be a factory.
_LARGE_TASK = 2**25


class RemoteError(Exception):
    """An error as another process showed it: the cause of the same error here."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


@dataclass(frozen=True)
class Failure:
    """What the generator or the statistic raised in a worker.

    Attributes
    ----------
    error : BaseException, bytes or None
        The exception; pickled where it travels, None where it can't be.
    text : str
        Its type, message and notes.
    trace : str
        Its traceback.
    loading : bool
        Whether the task could not even be unpickled.
    """

    error: BaseException | bytes | None
    text: str
    trace: str
    loading: bool = False

    @classmethod
    def of(cls, error: Exception, loading: bool = False) -> Failure:
        """Return an exception so that it can travel."""
        try:
            sent = pickled(error)
        except Exception:
            sent = None
        text = "".join(traceback.format_exception_only(error)).strip()
        return cls(sent, text, "".join(traceback.format_exception(error)), loading)

    def exception(self, where: str) -> BaseException:
        """Return the exception, its traceback as its cause where it came from another process."""
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
    """What a worker sends back: a finished range or a failure, and the versions of what makes the bits."""

    result: FinishedRange | Failure
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Return this process's versions of what the last bits depend on."""
    found = {"mcgen": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    torch: Any = sys.modules.get("torch")
    return found if torch is None else found | {"torch": str(torch.__version__)}


def run_shared(task: Task, keep: bool | None, n_replicates: int, replicates: range) -> Reply:
    """Run a range in a thread of the coordinator's process, on its own copy of the task."""
    try:
        return Reply(run_range(task, replicates, keep, n_replicates), {})
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
        The components, and whether the first batch need not be run twice.
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
    components, checked = known
    # The coordinator warns, where the user sees it.
    quiet: AbstractContextManager[Any] = nullcontext()
    if not checked:
        quiet = warnings.catch_warnings(action="ignore", category=GeneratorWarning)
    try:
        with quiet:
            task = replace(task, warnings=[], components=components, checked=checked)
            return Reply(run_range(task, replicates, keep, n_replicates), versions())
    except Exception as error:
        return Reply(Failure.of(error), versions())


_watched = threading.Event()


def _end_with_parent() -> None:
    """Let this process end where the one that started it was killed, with its models and its memory."""
    parent = multiprocessing.parent_process()
    if parent is None or _watched.is_set():
        return
    _watched.set()

    def watch() -> None:
        parent.join()
        # What waits for work from there waits for ever; nothing here is anybody's any more.
        os._exit(1)

    threading.Thread(target=watch, name="mcgen: ends with its parent", daemon=True).start()


@dataclass(frozen=True)
class Sent:
    """A task as it travels, with what it is to be known by where it arrives.

    Attributes
    ----------
    task : Task
        The task.
    parts : dict
        For its generator and its statistic: the content that they have where they come from.
    changes : dict
        What running was seen to change where it comes from.
    """

    task: Task
    parts: dict[str, dict[str, str]]
    changes: Changes

    @classmethod
    def of(cls, task: Task) -> Sent:
        """Return a task without what it has learnt, ready to travel."""
        plain = replace(task, warnings=[], components=None, rounding=0.0, checked=False, given=Given())
        own = {place.partition(": ")[2]: change for place, change in task.given.changes.items()}
        return cls(plain, _parts_of(task), changes_of_globals() | own)

    def require_same(self) -> None:
        """Refuse a generator or a statistic that is another one here: of a module that has changed, or another file."""
        for name, here in _parts_of(self.task).items():
            # Running may have changed either side.
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
    """Return the differences that do not come of the travel itself."""
    # An object that travels, and is a global variable too, is one object there and two here.
    doubled = {one.place for one in found if any((text or "").startswith(SAME) for text in (one.before, one.now))}

    def counts(one: Difference) -> bool:
        place = one.place
        if place in doubled or any(is_inside(place, other) for other in doubled):
            return False
        # Files that are read as it runs are read here; those of a factory are its own concern. Variables of a module
        # that a function imports when it runs are seen where it has run.
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
    """Return the pickled task, the same whatever it has learnt, or say what of it can't be pickled."""
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
    """Refuse workers with other versions of what makes the bits."""
    ours = versions()
    for name, version in theirs.items():
        if ours.get(name, version) != version:
            raise WorkerError(
                f"a worker has {name} {version} where this process has {ours[name]}, and other versions give other "
                "last bits; install the same version in both"
            )

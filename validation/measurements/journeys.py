"""How much of mcgen lies between a user's call and the user's model: modules and rooms entered, frames on the stack.

A journey is one call of a user, such as `mcgen.estimate` with a fixed number of evaluations. A profile hook watches it:

- modules: the modules of mcgen in which a function, method, lambda, comprehension or generator is entered during the
  journey. Bodies of modules and classes don't count, nor does anything that an import or the model runs.
- rooms: the first parts of the names of these modules below `mcgen`, such as `inference`. A module that lies in no
  folder, such as `mcgen.estimation`, counts as a room.
- frames: the frames of mcgen on the stack when the model is called, the function that the user called included. Two
  calls of the model are reported: the one with the most frames (a check of the first batch) and the last one (an
  ordinary batch). List comprehensions have a frame in Python 3.11 and none from Python 3.12 on. Generators and
  generator expressions always have one. Functions in C, such as `functools.partial`, never have one. In a worker
  thread the stack begins with that thread.

`mcgen.adapters` and `mcgen.validation` don't count. The model is a class of the user's own, so that no wrapper of
`mcgen.as_generator` counts either. Each journey runs in a fresh process, since mcgen keeps what it learned about a
model's code.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from inspect import CO_OPTIMIZED
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

import numpy as np

import mcgen
from mcgen.noise import as_noise_spec
from mcgen.validation.writing.markdown import chosen, markdown_table

_LEFT_OUT = ("mcgen.adapters", "mcgen.validation")


class Model:
    """A small model of a user's own: 16 normal numbers to 16 numbers between 0 and 1."""

    noise = as_noise_spec((16,))
    name = "logistic"

    def __call__(self, noise: Any, condition: float | None = None) -> Any:
        """Return the logistic function of the noise, moved by the condition."""
        return 1 / (1 + np.exp(-noise - 1 - (condition or 0.0)))


def fixed_number() -> None:
    """Estimate with a fixed number of evaluations."""
    mcgen.estimate(Model(), mcgen.statistics.pixel_mean, design=mcgen.Sobol(64), n_evaluations=2048, seed=0)


def chosen_design() -> None:
    """Estimate with the design that a pilot chooses."""
    mcgen.estimate(Model(), mcgen.statistics.pixel_mean, design="auto", n_evaluations=4096, seed=0)


def stored_in_threads() -> None:
    """Estimate until the half-width is 0.002, with a store and an executor of two threads."""
    design = mcgen.Sobol(64)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as executor:
        resources: dict[str, Any] = {"store": Path(folder) / "run.mcgen", "executor": executor}
        mcgen.estimate(Model(), mcgen.statistics.pixel_mean, design=design, seed=0, atol=0.002, **resources)


def two_designs() -> None:
    """Compare two designs."""
    designs = [mcgen.MonteCarlo(), mcgen.Sobol(64)]
    mcgen.compare(Model(), mcgen.statistics.pixel_mean, designs=designs, n_evaluations=2048, seed=0)


def two_conditions() -> None:
    """Estimate for two conditions on the same noise."""
    arguments: dict[str, Any] = {"n_evaluations": 2048, "condition": [0.0, 1.0], "common_random_numbers": True}
    mcgen.estimate(Model(), mcgen.statistics.pixel_mean, design=mcgen.Sobol(64), seed=0, **arguments)


JOURNEYS: Mapping[str, Callable[[], None]] = {
    "1 estimate": fixed_number,
    '2 design="auto"': chosen_design,
    "3 atol, store, threads": stored_in_threads,
    "4a compare two designs": two_designs,
    "4b two conditions, common random numbers": two_conditions,
}


@dataclass
class Counted:
    """Counts of one journey.

    Attributes
    ----------
    modules : list of str
        The modules of mcgen that were entered, in order of first entry.
    frames : list of str
        ``module:function`` of mcgen's frames above the model, the user's call first, at the call with the most frames.
    last_frames : list of str
        The same at the last call.
    """

    modules: list[str] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    last_frames: list[str] = field(default_factory=list)

    @property
    def rooms(self) -> list[str]:
        """The rooms of the modules, in the same order."""
        return list(dict.fromkeys(".".join(name.split(".")[1:2]) for name in self.modules))


def counted(journey: Callable[[], object], model: CodeType = Model.__call__.__code__) -> Counted:
    """Return the modules and frames that a journey met on its way to the code of a model.

    Only the calling thread, and threads that the journey starts, are watched.
    """
    found = Counted()
    before, before_in_threads = sys.getprofile(), threading.getprofile()
    hook = partial(_watch, found, model, sys._getframe())
    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        journey()
    finally:
        sys.setprofile(before)
        threading.setprofile(before_in_threads)
    return found


def _watch(found: Counted, model: CodeType, root: FrameType, frame: FrameType, event: str, _: object) -> None:
    """Note the frames above the model, or a new module; a profile hook once its first three arguments are bound."""
    if event != "call":
        return
    if frame.f_code is model:
        above = [f"{_module(one)}:{one.f_code.co_qualname}" for one in _stack(frame, root) if _counts(one)]
        found.last_frames = above[::-1]
        if len(above) > len(found.frames):
            found.frames = above[::-1]
    elif _counts(frame) and _module(frame) not in found.modules:
        codes = [one.f_code for one in _stack(frame, root)]
        if all(code is not model and code.co_name != "<module>" for code in codes):
            found.modules.append(_module(frame))


def _stack(frame: FrameType, root: FrameType) -> list[FrameType]:
    """Return a frame and those that led to it, up to a root that is left out."""
    frames = []
    one: FrameType | None = frame
    while one is not None and one is not root:
        frames.append(one)
        one = one.f_back
    return frames


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _counts(frame: FrameType) -> bool:
    """Return whether a frame is that of a function of mcgen's core, and not of a module's or a class's body."""
    name = _module(frame)
    left_out = name.startswith(_LEFT_OUT) or not (name == "mcgen" or name.startswith("mcgen."))
    return not left_out and bool(frame.f_code.co_flags & CO_OPTIMIZED)


def journeys_table(only: str = "", names: bool = False) -> str:
    """Return a table in Markdown of the journeys whose name contains `only`, each run in a fresh process.

    Parameters
    ----------
    only : str
        Part of the names of journeys; empty for all.
    names : bool
        Whether the modules, rooms and frames follow by name, the modules and rooms in order of first entry.
    """
    wanted = chosen(JOURNEYS, only, "journey")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as executor:
        found = dict(zip(wanted, executor.map(counted, [JOURNEYS[name] for name in wanted]), strict=True))
    rows = [[name, *(str(len(part)) for part in _parts(one).values())] for name, one in found.items()]
    texts = [markdown_table(["journey", *_parts(Counted())], rows)]
    if names:
        for name, one in found.items():
            for title, lines in _parts(one).items():
                texts += [f"{name}, {title}:", "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))]
    return "\n\n".join(texts)


def _parts(one: Counted) -> dict[str, list[str]]:
    return {
        "modules": one.modules,
        "rooms": one.rooms,
        "frames": one.frames,
        "frames at the last call": one.last_frames,
    }

"""What tests of executors run in other processes: light to import, and mcgen only where it is used."""

from __future__ import annotations

import importlib.abc
import os
import signal
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


def slow_tanh(z: np.ndarray) -> np.ndarray:
    time.sleep(0.001)
    return np.tanh(z)


def coordinates(samples: np.ndarray) -> np.ndarray:
    return samples


@dataclass
class At:
    """tanh, but for the batch with a certain first number of a row."""

    number: float

    def __call__(self, z: np.ndarray) -> np.ndarray:
        if (z[:, 0] == self.number).any():
            self.happen()
        return np.tanh(z)

    def happen(self) -> None: ...


@dataclass
class Raises(At):
    error: BaseException

    def happen(self) -> None:
        raise self.error


@dataclass
class Kills(At):
    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Hangs(At):
    """Hangs so many times, or until a file says that the test is over."""

    folder: str
    times: int

    def happen(self) -> None:
        place = Path(self.folder)
        if len(list(place.glob("hung-*"))) < self.times:
            (place / f"hung-{uuid.uuid4().hex}").touch()
            while not (place / "over").exists():
                time.sleep(0.01)


@dataclass
class PassesOnce:
    """Lets one call pass; later ones hang until a file says that the test is over."""

    folder: str

    def __call__(self, z: np.ndarray) -> np.ndarray:
        place = Path(self.folder)
        try:
            (place / "passed").touch(exist_ok=False)
        except FileExistsError:
            while not (place / "over").exists():
                time.sleep(0.01)
        return np.tanh(z)


class LockedError(Exception):
    """Can't be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TwoError(Exception):
    """Is pickled, but can't be unpickled."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(f"{a}, {b}")


@dataclass
class RaisesOddly(At):
    kind: str

    def happen(self) -> None:
        raise LockedError("here") if self.kind == "locked" else TwoError("here", "there")


class Locked:
    """A model that can't be pickled."""

    def __init__(self, slope: float) -> None:
        self.slope, self.lock = slope, threading.Lock()

    def __call__(self, z: np.ndarray) -> np.ndarray:
        with self.lock:
            return np.tanh(self.slope * z)


def load_counted(folder: str, slope: float) -> Any:
    """Load a model that can't be pickled, and leave a file that says in which process."""
    import mcgen

    (Path(folder) / f"{os.getpid()}-{uuid.uuid4().hex}").touch()
    return mcgen.as_generator(Locked(slope), noise=(4,))


class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] == "mcgen":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def block_mcgen() -> None:
    """Have a process find no mcgen, as where it is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "mcgen"]:
        del sys.modules[name]
    sys.meta_path.insert(0, Blocker())

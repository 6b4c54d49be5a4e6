"""The global random states of numpy, Python and torch: read, compared and restored."""

from __future__ import annotations

import random
import sys
from typing import Any, Protocol

import numpy as np

from mcgen.validation.conformance.reports import Finding, MeasuredLaw, holds


class OwnRandomStates:
    """A context that advances the global random states, so that seeding them shows, and restores them at its end."""

    def __enter__(self) -> OwnRandomStates:
        self._before = read_states()
        np.random.random()  # noqa: NPY002
        random.random()
        if "torch" in self._before:
            sys.modules["torch"].rand(())
        return self

    def __exit__(self, *error: object) -> None:
        np.random.set_state(self._before["numpy"])  # noqa: NPY002
        random.setstate(self._before["python"])
        if "torch" in self._before:
            sys.modules["torch"].set_rng_state(self._before["torch"])
        if "cuda" in self._before:
            sys.modules["torch"].cuda.set_rng_state_all(self._before["cuda"])


def read_states() -> dict[str, Any]:
    """Return the states by library: torch's only if torch has been imported, CUDA's only if there is a GPU."""
    states = {"numpy": np.random.get_state(legacy=False), "python": random.getstate()}  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is None:
        return states
    states["torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def changed_since(before: dict[str, Any]) -> list[str]:
    """Return the libraries whose state has changed since `read_states` returned `before`."""
    after = read_states()
    return [name for name in before if not _same(before[name], after[name])]


class Watched(Protocol):
    """A trial that knows which global random states it changed."""

    @property
    def changed_states(self) -> list[str]:
        """The libraries whose random state changed."""
        ...


def random_states_law(advice: str) -> MeasuredLaw[Any]:
    """Return the law that the global random states are left alone."""
    meaning = "the global random states of numpy, Python and torch stay as they were"
    return MeasuredLaw("random states", _states_kept, meaning, advice)


def _states_kept(trial: Watched) -> Finding:
    return holds(not trial.changed_states, f"it changed the state of {', '.join(trial.changed_states)}")


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return all(_same(before[key], after[key]) for key in before)
    return bool(np.array_equal(np.asarray(before), np.asarray(after))) if hasattr(before, "shape") else before == after

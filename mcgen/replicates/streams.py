"""How random numbers and results name a condition."""

from __future__ import annotations

from typing import Any

from mcgen._lib.condition_keys import key_of_condition
from mcgen.replicates.task import Task


def stream_of(condition: Any, number: int) -> tuple[str, ...]:
    """Return what sets a condition's random numbers apart: its own content, the same in every list and alone.

    What `mcgen._lib.condition_keys.key_of_condition` does not know is known by its place in the list.
    """
    return () if condition is None else ("condition", key_of_condition(condition) or f"number {number}")


def condition_text(condition: Any) -> str:
    """Return a short text for a condition."""
    text = repr(condition)
    if len(text) <= 60 and "\n" not in text:
        return text
    shape = getattr(condition, "shape", None)
    return f"{type(condition).__name__} of shape {tuple(shape)}" if shape is not None else f"{text[:57]}..."


def label_of(task: Task) -> str | None:
    """Return what results call the task's condition: its name, or a short text; None where there is no condition."""
    if task.label is not None or task.condition is None:
        return task.label
    return condition_text(task.condition)

"""Names of conditions: the path of their random numbers, and their texts in results."""

from __future__ import annotations

from typing import Any

from mcgen._lib.condition_keys import key_of_condition
from mcgen.replicates.task import Task


def stream_of(condition: Any, number: int) -> tuple[str, ...]:
    """Return the path of a condition's random numbers.

    It is made of the condition's content, so that a condition has the same numbers alone and in every list. A condition
    for which `mcgen._lib.condition_keys.key_of_condition` has no key is named by its number in the list.
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
    """Return the text of the task's condition in results: its name or a short text; None without a condition."""
    if task.label is not None or task.condition is None:
        return task.label
    return condition_text(task.condition)

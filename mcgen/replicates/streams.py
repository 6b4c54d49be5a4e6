"""Conditions of a run: the path of their random numbers, their texts in results, and an estimand under one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcgen._lib.condition_keys import key_of_condition
from mcgen.replicates.task import Estimand, Task
from mcgen.statistics.values import with_condition


def stream_of(condition: Any, number: int) -> tuple[str, ...]:
    """Return the path of a condition's random numbers.

    It is made of the condition's content, so that a condition has the same numbers alone and in every list. A condition
    for which `mcgen._lib.condition_keys.key_of_condition` has no key is named by its number in the list.
    """
    return () if condition is None else ("condition", key_of_condition(condition) or f"number {number}")


def under_condition(estimand: Estimand, condition: Any, number: int = 0, label: str | None = None) -> Estimand:
    """Return an estimand under one condition: on its random numbers, and with the statistic that belongs to it.

    Parameters
    ----------
    estimand : Estimand
        The statistic is that of the user, whatever the condition.
    condition : object
        What the generator gets.
    number : int
        Its place among several conditions.
    label : str, optional
        What results call it; by default `condition_text`.
    """
    statistic = with_condition(estimand.statistic, condition)
    return replace(
        estimand,
        condition=condition,
        stream=stream_of(condition, number),
        statistic=statistic,
        bound=None if statistic is estimand.statistic else statistic,
        label=label,
    )


def labels_of(conditions: Sequence[Any], names: Sequence[str] | None) -> tuple[str, ...]:
    """Return what results call some conditions: their names, or short texts that all differ.

    Conditions of the same text, such as large arrays of one shape, get their numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.replicates.streams import labels_of
    >>> labels_of([np.zeros(100), np.ones(100), 3], None)
    ('ndarray 0', 'ndarray 1', '3')
    """
    if names is not None:
        return tuple(names)
    texts = [condition_text(one) for one in conditions]
    counts = Counter(texts)
    return tuple(
        text if counts[text] == 1 else f"{type(one).__name__ if hasattr(one, 'shape') else text} {number}"
        for number, (one, text) in enumerate(zip(conditions, texts, strict=True))
    )


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

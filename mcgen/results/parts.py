"""Parts of a result: how they are found by name, how many intervals they have, and why results are not subtracted."""

from __future__ import annotations

from typing import Any

from mcgen.results.shown import Shown


def number_of_part(estimate: Shown, name: Any) -> int:
    """Return the number of the condition or the model of a name, as `Estimate` returns it by ``result[name]``.

    Raises
    ------
    KeyError
        If there is no such part, or there are several; the message lists the names.
    """
    kind = "model" if estimate.models else "condition"
    texts = [str(getattr(part.provenance, kind)) for part in estimate.models or estimate.conditions]
    found = [i for i, text in enumerate(texts) if text == name] or [
        i for i, text in enumerate(texts) if text == repr(name)
    ]
    if len(found) == 1:
        return found[0]
    if name in estimate.names:
        number = estimate.names.index(name)
        where = f".mean[{number}] is the mean of" if len(estimate.shape) == 1 else ".mean has the mean of"
        raise KeyError(
            f"{name!r} is a component, and an estimate has no {kind}s of that name; {where} {name!r}, as "
            f"to_frame() has in row {number} and .names at place {number}"
        )
    if not texts:
        raise KeyError(f"this estimate has no conditions; got {name!r}. Levels of a sum are in .levels")
    problem = f"several {kind}s are" if found else f"no {kind} is"
    raise KeyError(f"{problem} called {name!r}; the names are {', '.join(texts)}, in the order of .{kind}s")


def n_intervals(estimate: Shown) -> int:
    """Return how many intervals of a component hold together where they are simultaneous: all but those of levels."""
    return 1 + sum(n_intervals(part) for part in estimate.parts) if not estimate.levels else 1


def no_subtraction(other: object) -> str:
    """Return why an estimate and something else are not subtracted, and what to do."""
    what = "another estimate" if isinstance(getattr(other, "parts", None), tuple) else f"{other!r}"
    return (
        f"estimates are not subtracted; got an estimate and {what}. Two estimates may share their noise, so that the "
        "interval of their difference does not follow from theirs: use mcgen.difference(a, b, score, ...), which runs "
        "both models. For numbers alone subtract .mean"
    )

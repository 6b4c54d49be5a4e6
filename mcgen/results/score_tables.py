"""Tables of scorecards: models as rows, scores as columns, those that cannot be told from the best in bold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcgen.results.estimate import Estimate
from mcgen.results.score_pairs import ShownScorecard, best_models, is_distance
from mcgen.results.tables import Table
from mcgen.results.text import component_text, counted_evaluations, numbers_of

if TYPE_CHECKING:
    import pandas as pd

# The most columns of numbers, so that a table fits a page.
_MOST_COLUMNS = 12


class Column(NamedTuple):
    """A column of numbers: one component of one score.

    Attributes
    ----------
    score : str
        Name of the score.
    number : int
        Number of the component.
    header : str
        The score, and the component where there are several.
    """

    score: str
    number: int
    header: str


def columns_of(card: ShownScorecard) -> list[Column]:
    """Return a column for each component of each score."""
    found = []
    for score, by_model in card.estimates.items():
        names = next(iter(by_model.values())).names
        found += [
            Column(score, number, score if len(names) == 1 else f"{score}: {name}") for number, name in enumerate(names)
        ]
    return found


def hidden_columns(card: ShownScorecard) -> int:
    """Return how many components tables leave out."""
    return max(0, len(columns_of(card)) - _MOST_COLUMNS)


def scorecard_table(card: ShownScorecard, *, arrows: bool = True) -> Table:
    """Return the table of a scorecard: a row for each model, a column for each component of each score.

    Of distances, the models that cannot be told from the best are in bold. Of more than 12 components the first 12 have
    columns.

    Parameters
    ----------
    card : Scorecard
        The result.
    arrows : bool
        Mark distances, of which less is better, by an arrow that points down.
    """
    columns = columns_of(card)[:_MOST_COLUMNS]
    header, bold = ["model"], set()
    cells = [[model] for model in card.models]
    for place, column in enumerate(columns, start=1):
        by_model = card.estimates[column.score]
        lower = is_distance(by_model)
        header.append(f"{column.header} ↓" if lower and arrows else column.header)
        if lower and len(by_model) > 1:
            best = best_models(by_model, card.shared(column.score), column.number, largest=False)
            bold |= {(card.models.index(model), place) for model in best}
        for row, model in zip(cells, card.models, strict=True):
            row.append(cell_text(by_model[model], column.number) if model in by_model else "")
    for row, model in zip(cells, card.models, strict=True):
        row.append(evaluations_text(card.estimates, model))
    return Table([*header, "evaluations"], cells, frozenset(bold))


def cut_table(card: ShownScorecard) -> Table:
    """Return the table of a scorecard; where components have no column, one before the last says how many."""
    table, hidden = scorecard_table(card), hidden_columns(card)
    if not hidden:
        return table
    *header, last = table.header
    rows = [[*row[:-1], f"{hidden} more", row[-1]] for row in table.rows]
    return Table([*header, "...", last], rows, table.bold)


def cell_text(one: Estimate, number: int) -> str:
    """Return one component with its interval, such as ``0.0123 ± 0.0004``."""
    return component_text(*numbers_of(one, number))


def evaluations_text(estimates: Mapping[str, Mapping[str, Estimate]], model: str) -> str:
    """Return the evaluations of a model; all scores of one run have the same."""
    counts = sorted({counted_evaluations(by_model[model]) for by_model in estimates.values() if model in by_model})
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def scores_frame(estimates: Mapping[str, Mapping[str, Estimate]]) -> pd.DataFrame:
    """Return all numbers as a table; see `Scorecard.to_frame`."""
    import pandas as pd

    frames = []
    for score, by_model in estimates.items():
        for model, one in by_model.items():
            frame = one.to_frame().drop(columns=["score", "model"], errors="ignore")
            frame.insert(0, "score", score)
            frame.insert(1, "model", model)
            if (values := plug_ins(one)) is not None:
                frame["plug_in"] = values
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def plug_ins(one: Estimate) -> list[float] | None:
    """Return the plug-in values of an estimate's rows, those of its parts first; None where none has any."""
    rows: list[Any] = []
    for part in one.parts:
        rows += plug_ins(part) or [np.nan] * (len(part.names) * n_rows(part))
    rows += [np.nan] * len(one.names) if one.plug_in is None else np.ravel(one.plug_in).tolist()
    return None if np.isnan(rows).all() else rows


def n_rows(one: Estimate) -> int:
    """Return how many rows an estimate has in a table for each component."""
    return 1 + sum(map(n_rows, one.parts))

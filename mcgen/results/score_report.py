"""The report of a scorecard: one HTML file that reads on a phone and on a wide screen, in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from mcgen.results.estimate import Estimate
from mcgen.results.figures.forest import MOST_ROWS
from mcgen.results.figures.maps import plot_samples
from mcgen.results.figures.scores import plot_conditions, plot_curves, plot_differences, plot_scores
from mcgen.results.provenance import percent_of
from mcgen.results.report import Report
from mcgen.results.score_pairs import (
    HIGHER,
    LOWER,
    Pair,
    ShownScorecard,
    difference_text,
    ends_of,
    has_bias,
    is_distance,
    verdict,
)
from mcgen.results.score_tables import Column, columns_of, scorecard_table
from mcgen.results.score_text import headlines, listed, notes_of, partial_lines, run_facts, words_of
from mcgen.results.tables import Table
from mcgen.results.text import ends_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Figures with their captions and their texts for those who can't see them.
_Figures = list[tuple["Figure", str, str]]
# The most rows of the table of differences; the data frame has all.
_MOST_DIFFERENCES = 60
# The most models that the heading names.
_MOST_IN_TITLE = 4
# The most components of scores that have figures, so that the file stays small.
_MOST_FIGURES = 12


class Frame(NamedTuple):
    """What stands around a scorecard in its report; see `Scorecard.report`."""

    title: str | None = None
    introduction: str | None = None
    sections: Mapping[str, str] = MappingProxyType({})
    citation: str | None = None


def write_report(card: ShownScorecard, path: str | Path, frame: Frame) -> Path:
    """Write the report of a scorecard and return its path; see `Scorecard.report`."""
    named = listed(card.models) if len(card.models) <= _MOST_IN_TITLE else f"{len(card.models)} models"
    report = Report(frame.title or f"Scorecard of {named}")
    if frame.introduction:
        report.text(frame.introduction)
    for sentence in headlines(card):
        report.lead(sentence)
    report.named_table(scorecard_table(card), "the estimates, models as rows and scores as columns")
    for note in notes_of(card, bold=True):
        report.text(note)
    _add_intervals(report, card)
    _add_differences(report, card)
    _add_curves(report, card)
    _add_samples(report, card)
    _add_conditions(report, card)
    for heading, text in frame.sections.items():
        report.heading(heading).text(text)
    _add_run(report, card)
    report.heading("Tables to copy").details("LaTeX", scorecard_table(card).latex())
    report.details("Markdown", scorecard_table(card).markdown())
    if frame.citation:
        report.heading("How to cite").details("BibTeX", frame.citation)
    return report.write(path)


def _add_intervals(report: Report, card: ShownScorecard) -> None:
    figures: _Figures = []
    for column in _with_figures(card):
        by_model = card.estimates[column.score]
        blue = is_distance(by_model) and len(by_model) > 1
        caption = f"{column.header}: each model's own interval."
        caption += " Blue: the lowest, and those that cannot be told from it." if blue else ""
        text = "; ".join(f"{model} {ends_text(one, column.number)}" for model, one in by_model.items())
        figures.append((plot_scores(card, [column]), caption, f"Intervals of {words_of(column)}: {text}"))
    report.heading("Each number with its interval").gallery(figures)


def _with_figures(card: ShownScorecard) -> list[Column]:
    """Return the components of scores that have figures."""
    return columns_of(card)[:_MOST_FIGURES]


def _add_differences(report: Report, card: ShownScorecard) -> None:
    columns = [column for column in columns_of(card) if card.shared(column.score).pairs]
    if not columns:
        return
    level = percent_of(card.confidence_level)
    report.heading("Differences between the models")
    report.text(
        f"The intervals of a score hold together at {level}, over all pairs and components. A difference is clear "
        "where its interval does not contain 0."
    )
    shown = [column for column in _with_figures(card) if column in columns]
    report.gallery([_figure_of_differences(card, column) for column in shown])
    rows = [
        [difference_text(pair), column.header, ends_text(one, column.number), _in_words(pair, one, column.number)]
        for column in columns
        for pair, one in card.shared(column.score).pairs.items()
    ]
    table = Table(["difference", "score", "value", "verdict"], rows[:_MOST_DIFFERENCES])
    report.named_table(table, "the differences of the models")
    if len(rows) > _MOST_DIFFERENCES:
        report.text(f"{len(rows) - _MOST_DIFFERENCES} more rows: see differences(score).")


def _figure_of_differences(card: ShownScorecard, column: Column) -> tuple[Figure, str, str]:
    pairs = card.shared(column.score).pairs
    text = "; ".join(f"{difference_text(pair)} {ends_text(one, column.number)}" for pair, one in pairs.items())
    caption = f"{column.header}: differences. Blue: clear."
    if len(pairs) > MOST_ROWS:
        caption += f" The first {MOST_ROWS} of {len(pairs)}."
    return plot_differences(card, [column]), caption, f"Differences by {words_of(column)}: {text}"


def _in_words(pair: Pair, one: Estimate, number: int) -> str:
    """Return what is said of a pair, such as ``A is lower``."""
    said = verdict(*ends_of(one, number))
    return f"{pair[0]} is {said}" if said in (LOWER, HIGHER) else said


def _add_curves(report: Report, card: ShownScorecard) -> None:
    if not any(card.curves.values()):
        return
    report.heading("Distance against the number of samples")
    report.text(
        "As samples are added, the estimate should stay within its earlier intervals, and the interval become narrower."
    )
    if any(has_bias(card.estimates[score]) for score in card.curves):
        report.text(
            "The plug-in is the Fréchet distance of the samples as they are. Its bias falls as samples are added, so "
            "plug-ins of different numbers of samples can't be compared. The corrected estimate has no such bias, once "
            "there are several times as many samples as directions in which the features vary."
        )
    figures: _Figures = []
    for score, curves in card.curves.items():
        last = "; ".join(
            f"{model} with {int(one['n'].iloc[-1]):,} samples: plug-in {one['plug_in'].iloc[-1]:.3g}, corrected "
            f"{one['estimate'].iloc[-1]:.3g} [{one['low'].iloc[-1]:.3g}, {one['high'].iloc[-1]:.3g}]"
            for model, one in curves.items()
        )
        figures.append((plot_curves(card, score), f"{score} against the number of samples.", f"{score}: {last}"))
    report.gallery(figures)


def _add_samples(report: Report, card: ShownScorecard) -> None:
    if not card.pictures:
        return
    report.heading("Samples").text("Above: samples of noise z. Below: samples of the negated noise -z.")
    figures = [
        (plot_samples(pictures), model, f"Samples of {model}: of noise z above, of -z below")
        for model, pictures in card.pictures.items()
    ]
    report.gallery(figures, "png")


def _add_conditions(report: Report, card: ShownScorecard) -> None:
    figures: _Figures = []
    for column in _with_figures(card):
        by_model = card.estimates[column.score]
        most = max(len(one.conditions) for one in by_model.values())
        if not most:
            continue
        text = "; ".join(
            f"{model} under {one.provenance.condition} {ends_text(one, column.number)}"
            for model, joined in by_model.items()
            for one in joined.conditions[:MOST_ROWS]
        )
        cut = f" The first {MOST_ROWS} of {most} conditions." if most > MOST_ROWS else ""
        caption = f"{column.header} under each condition.{cut}"
        figures.append((plot_conditions(card, [column]), caption, f"Conditions: {text}"))
    if figures:
        report.heading("By condition").gallery(figures)


def _add_run(report: Report, card: ShownScorecard) -> None:
    facts = [[name, text] for name, text in run_facts(card).items() if text is not None]
    report.heading("What was run").facts(facts)
    for line in partial_lines(card):
        report.text(line)
    if card.warnings:
        report.heading("Warnings").items(card.warnings)

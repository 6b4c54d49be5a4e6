"""Pictures of scorecards, whose labels don't touch, and the report."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from score_cards import scorecard

import mcgen
from mcgen.inference.interval_input import Interval
from mcgen.results.figures.maps import plot_samples
from mcgen.results.scorecard import Scorecard

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

LONG = (
    "a-model-with-a-name-that-is-long-1.0_and_underscores",
    "$x$ & 50%",
    "model <4>",
    "another one that has many words in it",
)


@pytest.fixture(scope="module")
def card() -> Scorecard:
    return scorecard(LONG, (1.0, 1.1, 1.1001, 1.2), condition={"low": 0.0, "a photograph of a dog at the sea": 1.0})


def require_labels_apart(figure: Any) -> None:
    """Labels of one axis don't touch, and no text is cut by the edge."""
    figure.draw_without_rendering()
    page = figure.bbox
    for ax in figure.axes:
        if not ax.get_visible():
            continue
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            boxes = [one.get_window_extent() for one in labels if one.get_text()]
            inside = [box for box in boxes if page.x0 <= box.x1 and box.x0 <= page.x1]
            assert not any(a.overlaps(b) for a, b in combinations(inside, 2))
        for text in (*ax.texts, *ax.get_yticklabels(), ax.title):
            box = text.get_window_extent()
            assert box.x0 >= page.x0 - 1
            assert box.x1 <= page.x1 + 1


def test_labels_of_pictures_do_not_touch(card: Scorecard) -> None:
    figures = [
        card.plot(),
        card.plot(score="quality"),
        card.plot_differences("quality"),
        card.plot_differences("frechet_distance"),
        card.plot_conditions("quality"),
        card.plot_curves("frechet_distance"),
    ]
    for figure in figures:
        require_labels_apart(figure)


def test_panels_are_scores_and_rows_are_models(card: Scorecard) -> None:
    figure = card.plot()
    assert [ax.get_title() for ax in figure.axes if ax.get_visible()] == [
        "frechet_distance",
        "quality: pixel_mean",
        "quality: spread",
    ]
    assert len(figure.axes[0].get_yticks()) == 4
    assert "○ plug-in" in figure.axes[0].get_xlabel()
    assert "plug-in" not in figure.axes[1].get_xlabel()
    assert len(card.plot(score="frechet_distance").axes) == 1
    assert [text.get_text() for text in card.plot_conditions("quality").axes[0].get_yticklabels()] == [
        "low",
        "a photograph of a\ndog at the sea",
    ]


def test_pictures_are_drawn_onto_an_axes_where_there_is_one_panel(card: Scorecard) -> None:
    from matplotlib.figure import Figure

    for draw in (
        lambda ax: card.plot(ax, "frechet_distance"),
        lambda ax: card.plot_differences("frechet_distance", ax),
        lambda ax: card.plot_conditions("frechet_distance", ax),
        lambda ax: card.plot_curves("frechet_distance", ax),
    ):
        figure = Figure()
        ax = figure.subplots()
        assert draw(ax) is figure
        assert ax.has_data()
    with pytest.raises(ValueError, match="this figure has 3 panels; got 1 Axes as ax"):
        card.plot(ax)


def test_what_is_not_there_has_no_picture() -> None:
    one = scorecard(("A",), (1.0,), extras=False)
    for draw, message in (
        (one.plot_differences, "no differences by 'quality'; a difference needs two models"),
        (one.plot_conditions, "no model was run under several conditions"),
        (one.plot_curves, "there is no curve of 'quality'"),
    ):
        with pytest.raises(ValueError, match=message):
            draw("quality")
        with pytest.raises(KeyError, match="there is no score 'x'"):
            draw("x")


@pytest.mark.parametrize("ends", [(0.0, np.inf), (-np.inf, np.inf), (np.nan, np.nan), (0.5, 0.5)])
def test_infinite_and_missing_ends_are_drawn(ends: tuple[float, float]) -> None:
    one = scorecard(("A", "B"), (1.0, 1.1), scores=("frechet_distance",), extras=False)
    half = (ends[1] - ends[0]) / 2
    wide = {
        name: replace(e, interval=Interval(*ends), half_width=half)
        for name, e in one.estimates["frechet_distance"].items()
    }
    pairs = {
        names: replace(e, interval=Interval(*ends), half_width=half)
        for names, e in one.pairs["frechet_distance"].items()
    }
    made = Scorecard({"q": wide}, {"q": pairs})
    for figure in (made.plot(), made.plot_differences("q")):
        require_labels_apart(figure)
        assert np.isfinite(figure.axes[0].get_xlim()).all()
    assert made.summary()
    assert made.to_latex()


@pytest.mark.parametrize("ends", [(0.0, np.inf), (-np.inf, np.inf), (np.nan, np.nan), (1.5, 2.0)])
def test_conditions_of_models_have_their_own_ends(card: Scorecard, ends: tuple[float, float]) -> None:
    """An infinite end reaches the edge, a missing interval is not drawn, and no end moves to the estimate."""
    score = "frechet_distance"
    model = next(iter(card.models))
    one = card.estimates[score][model]
    parts = tuple(replace(part, interval=Interval(*ends)) for part in one.conditions)
    made = Scorecard({score: {model: replace(one, parts=parts)}})
    (panel,) = made.plot_conditions(score).axes
    edges = panel.get_xlim()
    lengths = [line.get_segments() for line in panel.collections]
    drawn = [[x for x, _ in segment] for segments in lengths for segment in segments]
    drawn += [[*line.get_xdata()] for line in panel.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    arrows = [line.get_marker() for line in panel.lines if line.get_marker() in ("<", ">")]
    if np.isnan(ends).any():
        assert not any(map(len, drawn))
        return
    assert arrows == [arrow for arrow, end in zip("<>", ends, strict=True) if np.isinf(end)] * len(parts)
    wanted = np.clip(ends, *edges)
    assert [min(map(min, drawn)), max(map(max, drawn))] == wanted.tolist()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 12, 1, 8, 6), (2, 4, 3, 5, 5)])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (-1.0, 1.0), (-3.0, 300.0), (2.0, 2.0)])
def test_samples_of_z_and_of_its_negation_are_a_grid(shape: tuple[int, ...], ends: tuple[float, float]) -> None:
    ax = plot_samples(np.random.default_rng(0).uniform(*ends, size=shape)).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["z", "-z"]
    sheet = ax.images[0].get_array()
    assert sheet.shape[:2] == (2 * (shape[-2] + 1), min(shape[1], 8) * (shape[-1] + 1))
    assert 0 <= sheet.min() <= sheet.max() <= 1


class Outline(HTMLParser):
    """Headings, pictures and unclosed tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def headings(text: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", text)


def test_a_report_is_one_file_that_says_all(card: Scorecard, tmp_path: Path) -> None:
    path = card.report(tmp_path / "folder" / "report.html", citation="@software{mcgen}")
    text = path.read_text()
    outline = Outline(text)
    assert outline.open == []
    assert headings(text) == [
        "Each number with its interval",
        "Differences between the models",
        "Distance against the number of samples",
        "Samples",
        "By condition",
        "What was run",
        *(["Warnings"] if card.warnings else []),
        "Tables to copy",
        "How to cite",
    ]
    images = [attributes for tag, attributes in outline.found if tag == "img"]
    assert all(one["src"].startswith("data:image/") for one in images)
    assert all(len(one["alt"]) > 10 for one in images)
    assert "http" not in re.sub(r"data:image/[^']*", "", text)
    assert "model &lt;4&gt;" in text
    assert "<4>" not in text
    assert r"\begin{tabular}" in text
    assert "@software{mcgen}" in text
    assert text.index("lowest Fréchet distance of 4 models") < text.index("<table")
    assert path.read_text() == card.report(tmp_path / "again.html", citation="@software{mcgen}").read_text()


def test_a_loaded_scorecard_has_a_report_without_samples(card: Scorecard, tmp_path: Path) -> None:
    card.save(tmp_path / "card.json")
    loaded = mcgen.load(tmp_path / "card.json")
    text = loaded.report(tmp_path / "report.html").read_text()
    assert "Samples" not in headings(text)
    assert "How to cite" not in headings(text)
    assert "Distance against the number of samples" in headings(text)


def test_a_report_of_one_model_has_no_differences(tmp_path: Path) -> None:
    one = scorecard(("A",), (1.0,), extras=False)
    text = one.report(tmp_path / "report.html", title="Mine").read_text()
    assert "<h1>Mine</h1>" in text
    assert headings(text) == ["Each number with its interval", "What was run", "Tables to copy"]


def test_a_report_of_many_components_has_few_figures(tmp_path: Path) -> None:
    pixels = mcgen.as_generator(lambda z: np.tanh(z + 1), noise=(20,), name="A")
    one = mcgen.estimate(pixels, mcgen.statistics.identity, design=mcgen.MonteCarlo(), n_evaluations=100, seed=0)
    card = Scorecard({"pixels": {"A": one}})
    assert sum(ax.get_visible() for ax in card.plot().axes) == 12
    text = card.report(tmp_path / "report.html").read_text()
    assert text.count("<img") == 12
    assert "8 more components of each model: see to_frame()" in text
    assert "The table has 14 more numbers of each model." not in card.to_markdown()
    assert len(card.to_frame()) == 20


def test_long_numbers_leave_labels_apart() -> None:
    scales = (1.0, 1.0001, 1.00011)
    card = scorecard(("a-long-name-of-a-model", "another-long-name-of-one", "third"), scales, extras=False)
    for score in card.scores:
        require_labels_apart(card.plot_differences(score))

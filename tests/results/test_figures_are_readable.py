"""Labels of every kind of figure don't touch, at several resolutions; every figure is drawn onto given Axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic
from score_cards import scorecard
from stepwise_samplers import Sampler

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.statistics import pixel_mean, stack

pytest.importorskip("matplotlib")
pytestmark = [
    pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning"),
    pytest.mark.filterwarnings("ignore::mcgen.GeneratorWarning"),
]

LONG = "a-name-that-is-long-1.0_and_has_underscores and $x$ & 50 % and more words after it"
MODEL = mcgen.as_generator(logistic, noise=(3,), name=LONG)
COARSE = mcgen.as_generator(lambda z, c=0: logistic(1.02 * z, c), noise=(3,), name="coarse")
IMAGES = mcgen.as_generator(logistic, noise=(3, 5), name="images")
OPTIONS: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 64, "seed": SEED}


def spread(x: Any) -> Any:
    return x.std(axis=1)


BOTH = stack(pixel_mean, spread)


def scaled(factor: float, shift: float = 0.0) -> mcgen.Estimate:
    model = mcgen.as_generator(lambda z: factor * z + shift, noise=mcgen.NoiseSpec.normal((3,), "float64"), name="scaled")  # fmt: skip
    named = mcgen.as_statistic(lambda x: x, components=(LONG, "b", "c"), name="s")
    return mcgen.estimate(model, named, **OPTIONS | {"design": MonteCarlo()})


RESULTS: dict[str, Callable[[], Any]] = {
    "one number": lambda: mcgen.estimate(MODEL, pixel_mean, **OPTIONS),
    "long names": lambda: scaled(1.0),
    "a million": lambda: scaled(1e6, -3e6),
    "a nano": lambda: scaled(-1e-9),
    "a nano beside a million": lambda: scaled(1e-8, 1e6),
    "forty conditions": lambda: mcgen.estimate(
        MODEL, BOTH, condition={f"{LONG} {i}": i / 20 for i in range(40)}, **OPTIONS
    ),
    "levels": lambda: mcgen.multilevel([(COARSE, 1), (MODEL, 10)], BOTH, n_evaluations=1600, seed=SEED),
    "models": lambda: mcgen.difference(MODEL, mcgen.as_generator(logistic, noise=(5,), name="B"), BOTH, **OPTIONS),
    "maps": lambda: mcgen.estimate(IMAGES, lambda x: 1e-9 * x - 1e-10, **OPTIONS),
    "comparison": lambda: mcgen.compare(
        MODEL, BOTH, designs=[MonteCarlo(), Antithetic(), Sobol(64)], n_evaluations=640, seed=SEED
    ),
    "plan": lambda: mcgen.plan(MODEL, BOTH, n_evaluations=1600, seed=SEED, coarse=[(COARSE, 0.1)]),
    "scorecard": lambda: scorecard((LONG, "B", "$C$"), (1.0, 1.0001, 1.00011), extras=False),
    "profile": lambda: mcgen.analysis.along_time(Sampler(name="model"), n_pairs=10, seed=SEED),
    "symmetry": lambda: mcgen.analysis.symmetry(Sampler(name="model"), n_base=6, seed=SEED, points=21),
    "pairs": lambda: mcgen.analysis.pairs(IMAGES, n_pairs=64, seed=SEED),
    "shares": lambda: mcgen.analysis.variance_shares(MODEL, BOTH, n_evaluations=1600, seed=SEED),
}
"""Results of every class that has `plot`."""
OTHERS: dict[str, Callable[[], Any]] = {
    "convergence": lambda: mcgen.plots.convergence({LONG: made("long names"), "again": made("long names")}),
    "convergence of a nano": lambda: mcgen.plots.convergence(made("a nano")),
    "convergence of a million": lambda: mcgen.plots.convergence(made("a million")),
    "forest": lambda: mcgen.plots.forest({f"{LONG} {i}": made("long names") for i in range(5)}),
    "samples": lambda: mcgen.plots.samples(IMAGES, 9, seed=SEED),
    "chosen pixels": lambda: made("maps").plot(components=9),
    "differences": lambda: made("scorecard").plot_differences("quality"),
    "slices": lambda: made("symmetry").plot_slices(),
}


@cache
def made(name: str) -> Any:
    return RESULTS[name]()


def require_labels_apart(figure: Any, dpi: int) -> None:
    figure.set_dpi(dpi)
    figure.draw_without_rendering()
    for ax in figure.axes:
        if not ax.get_visible():
            continue
        for axis, side in ((ax.xaxis, "x"), (ax.yaxis, "y")):
            low, high = sorted(axis.get_view_interval())
            labels = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            labels += [tick.label2 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            boxes = [one.get_window_extent() for one in labels if one.get_visible() and one.get_text()]
            ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            assert all(one[1] <= two[0] for one, two in pairwise(ends)), (dpi, ax.get_title(), side)


def texts_of(figure: Any) -> list[Any]:
    from matplotlib.text import Text

    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("name", [*RESULTS, *OTHERS])
def test_labels_do_not_touch_and_are_not_small(name: str) -> None:
    figure = made(name).plot() if name in RESULTS else OTHERS[name]()
    for dpi in (80, 300):
        require_labels_apart(figure, dpi)
    assert min(text.get_fontsize() for text in texts_of(figure)) >= 8


def test_touching_labels_are_found() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    figure.subplots().set_xticks([0.0, 0.1, 0.2], ["a long label", "another one", "third"])
    with pytest.raises(AssertionError):
        require_labels_apart(figure, 130)


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_drawn_onto_as_many_axes_as_there_are_panels(name: str) -> None:
    from matplotlib.figure import Figure

    own = made(name).plot()
    # The axes of colour scales are made with their maps.
    n = 2 if name == "maps" else sum(ax.get_visible() for ax in own.axes)
    figure = Figure(figsize=(6 * n, 6), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)
    assert made(name).plot(ax=axes if name < "m" else [*axes[0]]) is figure
    assert all(ax.has_data() for ax in axes.flat)
    require_labels_apart(figure, 130)
    with pytest.raises(ValueError, match=rf"this figure has {n} panels?; got {n + 1} Axes as ax. Give one for each"):
        made(name).plot(ax=[*axes[0], axes[0, 0]])
    for wrong in (3, "ax", [], [1] * n):
        with pytest.raises(TypeError, match="ax must be one Axes of matplotlib, or a sequence of them; got"):
            made(name).plot(ax=wrong)


def test_a_comparison_has_its_efficiencies_alone_on_one_axes() -> None:
    from matplotlib.figure import Figure

    table = made("comparison")
    ax = Figure().subplots()
    table.plot(ax, components=1)
    assert ax.get_xscale() == "log"
    frame = table.to_frame()
    frame = frame[frame["component"] == "pixel_mean"]
    ends = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert ends == [*zip(frame["efficiency_low"][2:].tolist(), frame["efficiency_high"][2:].tolist(), strict=True)][-2:] or len(ends) == 2  # fmt: skip
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"] == [1.0]
    widths, efficiencies, *_ = table.plot().axes
    assert widths.get_xscale() == "linear"
    assert efficiencies.get_xscale() == "log"


def test_a_plan_has_bars_from_zero_and_one_of_another_colour() -> None:
    plan = made("plan")
    for number, panel in enumerate(plan.plot().axes):
        assert [bar.get_width() for bar in panel.patches] == [one.half_width[number] for one in plan.candidates]
        assert all(bar.get_x() == 0 for bar in panel.patches)
        assert panel.get_xlim()[0] == 0
        colours = [bar.get_facecolor() for bar in panel.patches]
        chosen = [one is plan.chosen for one in plan.candidates].index(True)
        assert [colours.count(colour) for colour in colours][chosen] == 1
        lines = [tuple(line.get_xdata()) for line in panel.lines]
        assert lines[chosen] == (plan.prediction.low[number], plan.prediction.high[number])


def test_the_style_has_the_colours_and_leaves_settings_alone() -> None:
    import matplotlib as mpl

    from mcgen.results.figures.base import COLOURS, STYLE, style

    before = dict(mpl.rcParams)
    with style():
        assert tuple(f"#{one.lstrip('#')}" for one in mpl.rcParams["axes.prop_cycle"].by_key()["color"]) == COLOURS
    made("one number").plot()
    assert dict(mpl.rcParams) == before
    assert STYLE.exists()


def test_low_axes_have_fewer_labels_of_rows() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3))
    made("forty conditions").plot(figure.subplots(1, 2))
    require_labels_apart(figure, 100)
    for panel in figure.axes:
        rows = [text for text in panel.texts if text.get_visible()]
        assert 1 < len(rows) == len(panel.get_yticklabels()) < 41
        assert len([line for line in panel.lines if line.get_marker() == "o"]) == 41


def test_columns_of_numbers_are_those_of_the_result() -> None:
    (panel,) = made("long names").plot().axes
    middle = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    assert middle == np.ravel(made("long names").mean).tolist()

"""Figures of estimates draw the numbers of the result's own interval, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol
from mcgen.functionals import correlation, frechet_distance, quantile, reference, std
from mcgen.statistics import identity, pixel_mean, stack

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

MODEL = mcgen.as_generator(logistic, noise=(4,), name="model")
OPTIONS: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED}
BOUNDED = mcgen.as_statistic(lambda x: x, bounds=(0, 1), components=("a", "b", "c", "d"), name="bounded")


def spread(x: Any) -> Any:
    return x.std(axis=1)


def bright(x: Any) -> Any:
    return x > 0.7


def first(x: Any) -> Any:
    return x[:, :2]


BOTH = stack(pixel_mean, spread)
REAL = reference(np.random.default_rng(SEED).normal(0.7, 0.2, (200, 2)))

SINGLE: dict[str, Callable[[], Any]] = {
    **{
        method: lambda method=method: mcgen.estimate(MODEL, identity, interval=method, **OPTIONS)
        for method in ("student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t")
    },
    **{
        method: lambda method=method: mcgen.estimate(MODEL, identity, simultaneous=method, **OPTIONS)
        for method in ("skewness-safe", "bonferroni", "bootstrap-max-t", "gaussian-multiplier")
    },
    **{
        method: lambda method=method: mcgen.estimate(MODEL, identity, interval=method, **OPTIONS)
        for method in ("anytime", "asymptotic-anytime")
    },
    "bonferroni-anytime": lambda: mcgen.estimate(MODEL, identity, interval="anytime", simultaneous=True, **OPTIONS),
    "betting": lambda: mcgen.estimate(MODEL, BOUNDED, interval="betting", **OPTIONS),
    "proportion": lambda: mcgen.estimate(MODEL, bright, **OPTIONS),
    "bonferroni-proportion": lambda: mcgen.estimate(MODEL, bright, simultaneous=True, **OPTIONS),
    "student-t and skewness-safe-t": lambda: mcgen.estimate(
        mcgen.as_generator(lambda z: np.exp(np.stack([0.01 * z[:, 0], 2 * z[:, 1]], axis=1)), noise=(4,)),
        identity,
        design=Sobol(64),
        n_evaluations=1280,
        seed=SEED,
    ),
}
"""Means of one run, by the method of their interval."""
OTHER: dict[str, Callable[[], Any]] = {
    "two-stage-t": lambda: mcgen.estimate(MODEL, identity, design=Antithetic(), atol=0.004, seed=SEED),
    "order-statistics": lambda: mcgen.estimate(MODEL, quantile(pixel_mean, 0.9), **OPTIONS | {"design": MonteCarlo()}),
    "quantile-inversion": lambda: mcgen.estimate(MODEL, quantile(identity, 0.9), **OPTIONS),
    "lengthened-t": lambda: mcgen.estimate(MODEL, frechet_distance(REAL, first), **OPTIONS),
    "skewness-safe-t of a deviation": lambda: mcgen.estimate(MODEL, std(BOTH), **OPTIONS),
    "skewness-safe-t of a correlation": lambda: mcgen.estimate(MODEL, correlation(pixel_mean, spread), **OPTIONS),
    "skewness-safe-t of common noise": lambda: mcgen.estimate(
        MODEL, pixel_mean, condition=[0, 1], common_random_numbers=True, **OPTIONS
    ).conditions[0],
}


def rows_of(panel: Any) -> list[tuple[float, float, float]]:
    """Middle, lower and upper end of each row, from the artists."""
    middle = {line.get_ydata()[0]: line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o" and line.get_markerfacecolor() != "white"}  # fmt: skip
    ends = {}
    for line in panel.lines:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        if len(x) == 2 and y[0] == y[1] and y[0] in middle:
            ends[y[0]] = x
    return [(middle[y], *ends[y]) for y in sorted(middle, reverse=True)]


def numbers_of(one: mcgen.Estimate, factor: float = 1.0) -> list[tuple[float, float, float]]:
    return [*zip(*(np.ravel(factor * np.asarray(part)).tolist() for part in (one.mean, *one.interval)), strict=True)]


@pytest.mark.parametrize("name", [*SINGLE, *OTHER])
def test_each_component_is_a_row_with_its_own_interval(name: str) -> None:
    result = (SINGLE | OTHER)[name]()
    assert name.startswith(result.method)
    (panel,) = result.plot().axes
    assert rows_of(panel) == numbers_of(result)
    assert [text.get_text().replace("\n", " ") for text in panel.get_yticklabels()] == list(result.names)
    assert result.plot(ax=panel) is panel.figure


@pytest.mark.parametrize("name", ["two-stage-t", "bootstrap-max-t", "bonferroni-anytime", "lengthened-t", "proportion"])
def test_the_caption_says_which_interval_is_drawn(name: str) -> None:
    words = {
        "two-stage-t": "● mean with its 95 % interval (two-stage t)",
        "bootstrap-max-t": "● mean with its 95 % simultaneous interval (bootstrap max-t)",
        "bonferroni-anytime": "● mean with its 95 % simultaneous interval (Bonferroni anytime)",
        "lengthened-t": "● Fréchet distance with its 95 % interval (lengthened t)",
        "proportion": "● mean with its 95 % interval (proportion)",
    }
    (panel,) = (SINGLE | OTHER)[name]().plot().axes
    text = panel.get_xlabel().replace("\u00a0", " ").replace("\n", " ")
    assert text.startswith(words[name])
    assert ("○ plug-in" in text) is (name == "lengthened-t")


def test_conditions_have_their_own_intervals_above_their_average() -> None:
    result = mcgen.estimate(MODEL, BOTH, condition={"low": 0, "high": 1}, simultaneous=True, **OPTIONS)
    panels = result.plot().axes
    for number, panel in enumerate(panels):
        assert rows_of(panel) == [numbers_of(one)[number] for one in (*result.conditions, result)]
        colours = [line.get_color() for line in panel.lines if line.get_marker() == "o"]
        assert colours[0] == colours[1] != colours[2]


def test_levels_are_drawn_times_their_coefficients_and_give_the_sum() -> None:
    coarse = mcgen.as_generator(lambda z: logistic(1.1 * z), noise=(4,), name="coarse")
    result = mcgen.multilevel([(coarse, 1), (MODEL, 10)], pixel_mean, n_evaluations=1600, seed=SEED)
    factors = [float(result.levels[1].provenance.coefficients[0]), 1.0]
    assert factors[0] != 1
    sums, corrections = result.plot().axes
    assert rows_of(sums)[1] == numbers_of(result)[0]
    drawn = [rows_of(sums)[0], rows_of(corrections)[0]]
    assert drawn == [numbers_of(one, factor)[0] for one, factor in zip(result.levels, factors, strict=True)]
    assert sum(row[0] for row in drawn) == pytest.approx(result.mean, rel=1e-12)
    labels = [text.get_text() for panel in (sums, corrections) for text in panel.get_yticklabels()]
    assert labels == [f"level 0\n× {factors[0]:.6g}", "sum of levels", "level 1\n× 1"]


def test_models_are_drawn_beside_their_difference() -> None:
    other = mcgen.as_generator(logistic, noise=(5,), name="other")
    result = mcgen.difference(MODEL, other, pixel_mean, **OPTIONS)
    both, difference = result.plot().axes
    assert rows_of(both) == [numbers_of(one)[0] for one in result.models]
    assert rows_of(difference) == numbers_of(result)


def test_maps_are_the_mean_and_the_half_width_with_scales() -> None:
    images = mcgen.as_generator(lambda z: logistic(z, z.mean(axis=(1, 2), keepdims=True)), noise=(3, 5), name="images")
    for statistic in (identity, lambda x: 100 * x - 60):
        result = mcgen.estimate(images, statistic, simultaneous=True, **OPTIONS)
        mean, half, *bars = result.plot().axes
        assert np.array_equal(mean.images[0].get_array(), result.mean)
        assert np.array_equal(half.images[0].get_array(), result.half_width)
        assert len(bars) == 2
        title = half.get_title().replace("\n", " ").replace("\u00a0", " ")
        assert title == "half-width of the 95 % simultaneous interval (bootstrap max-t)"
    (panel,) = result.plot(components=3).axes
    assert rows_of(panel) == numbers_of(result)[:3]
    assert "the first 3 of 15 components" in panel.get_xlabel()


def test_infinite_ends_are_arrows_at_the_edge_and_missing_ones_are_not_drawn() -> None:
    result = mcgen.estimate(MODEL, quantile(pixel_mean, 0.995), **OPTIONS | {"n_evaluations": 400})
    assert math.isinf(result.interval.high)
    (panel,) = result.plot().axes
    ((middle, low, high),) = rows_of(panel)
    assert (middle, low, high) == (result.mean, result.interval.low, panel.get_xlim()[1])
    assert [line.get_marker() for line in panel.lines] == ["None", ">", "o"]
    from mcgen.results.figures.forest import Panel, Row, forests

    rows = [Row("a", 1.0, math.nan, math.nan, ""), Row("b", math.nan, 0.0, 2.0, ""), Row("c", 1.5, -math.inf, math.inf, "")]  # fmt: skip
    (panel,) = forests([Panel("", rows, "")]).axes
    drawn = [(line.get_marker(), line.get_ydata()[0], *line.get_xdata()) for line in panel.lines]
    low, high = panel.get_xlim()
    assert drawn == [("o", 0, 1), ("None", -1, 0, 2), ("None", -2, low, high), ("<", -2, low), (">", -2, high), ("o", -2, 1.5)]  # fmt: skip


@pytest.mark.filterwarnings("ignore::mcgen.GeneratorWarning")
def test_a_constant_has_a_point_and_no_length() -> None:
    constant = mcgen.as_generator(lambda z: 0 * z + 2, noise=(2,), name="constant")
    (panel,) = mcgen.estimate(constant, identity, **OPTIONS).plot().axes
    assert rows_of(panel) == [(2, 2, 2), (2, 2, 2)]
    assert panel.get_xlim()[0] < 2 < panel.get_xlim()[1]
    figure = mcgen.plots.convergence(mcgen.estimate(constant, identity, **OPTIONS))
    assert all(np.all(line.get_ydata() == 2) for panel in figure.axes for line in panel.lines)
    flat = mcgen.as_generator(lambda z: 0 * z, noise=(3, 3), name="flat")
    mcgen.estimate(flat, identity, **OPTIONS).plot().draw_without_rendering()


def test_what_is_left_out_is_said() -> None:
    many = mcgen.estimate(mcgen.as_generator(logistic, noise=(60,)), identity, **OPTIONS)
    (panel,) = many.plot().axes
    assert rows_of(panel) == numbers_of(many)[:45]
    assert panel.get_xlabel().endswith("the first 45 of 60 components")
    (panel,) = many.plot(components=60).axes
    assert rows_of(panel) == numbers_of(many)
    (panel,) = many.plot(components=["identity[7]", 3]).axes
    assert rows_of(panel) == [numbers_of(many)[7], numbers_of(many)[3]]
    assert panel.get_xlabel().endswith("\n2 of 60 components")
    (panel,) = many.plot(components="identity[59]").axes
    assert rows_of(panel) == numbers_of(many)[59:]
    many = mcgen.estimate(MODEL, pixel_mean, condition=[0.01 * i for i in range(50)], **OPTIONS | {"n_evaluations": 64})
    (panel,) = many.plot().axes
    assert panel.get_xlabel().endswith("the first 44 of 50 conditions")
    assert rows_of(panel)[-1] == numbers_of(many)[0]


@pytest.mark.parametrize(
    ("components", "error", "message"),
    [
        (0, ValueError, "components must be 1 or more, the first so many; got 0"),
        (True, TypeError, "components must be a number .* got True"),
        (2.0, TypeError, "components must be a number .* got 2.0"),
        ("x", ValueError, r"components must be among identity\[0\], .*; got 'x'"),
        ([4], ValueError, "numbers of components must lie in 0 to 3; got 4"),
        ([1.5], TypeError, "a list of names and numbers"),
        ([], ValueError, "components must name at least one"),
    ],
)
def test_unknown_components_are_refused(components: Any, error: type[Exception], message: str) -> None:
    result = SINGLE["student-t"]()
    with pytest.raises(error, match=message):
        result.plot(components=components)
    with pytest.raises(error, match=message):
        mcgen.plots.convergence(result, components=components)


def curves_of(panel: Any) -> list[tuple[np.ndarray[Any, Any], ...]]:
    """Evaluations, lower and upper end and mean of each run, from the artists."""
    lines = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in panel.lines]
    return [(low[0], low[1], high[1], mean[1]) for low, high, mean in zip(*[iter(lines)] * 3, strict=True)]


@pytest.mark.parametrize("name", [*SINGLE, "two-stage-t"])
def test_the_last_point_of_a_convergence_is_the_result(name: str) -> None:
    result = (SINGLE | OTHER)[name]()
    figure = mcgen.plots.convergence(result)
    for panel, numbers in zip(figure.axes, numbers_of(result), strict=True):
        ((n, low, high, mean),) = curves_of(panel)
        assert n[-1] == result.n_evaluations
        assert (mean[-1], low[-1], high[-1]) == numbers
        assert len(n) > 10
    together = any(word in name for word in ("anytime", "betting"))
    caption = figure.axes[0].get_xlabel().replace("\n", " ")
    assert ("the band holds at all numbers of evaluations together" in caption) is together
    assert ("the band holds at one number of evaluations, chosen beforehand" in caption) is (
        not together and name != "two-stage-t"
    )


@pytest.mark.parametrize(
    "name", ["student-t", "skewness-safe-t", "bootstrap-t", "bootstrap-max-t", "skewness-safe", "proportion", "betting"]
)
def test_a_point_on_the_way_is_what_a_shorter_run_gives(name: str) -> None:
    result = SINGLE[name]()
    options: dict[str, Any] = {"simultaneous": name} if name in ("bootstrap-max-t", "skewness-safe") else {}
    if name in ("student-t", "skewness-safe-t", "bootstrap-t"):
        options = {"interval": name}
    panels = mcgen.plots.convergence(result).axes
    ((n, *_),) = curves_of(panels[0])
    place = int(np.searchsorted(n, 300))
    if name == "betting":
        shorter = result.replicate_means[: n[place] // 2]
        from mcgen.inference.betting import bounded_interval

        ends = bounded_interval(shorter, 0.05, result.stopping.planned)
        wanted = [*zip(shorter.mean(axis=0), *ends, strict=True)]
    else:
        statistic = bright if name == "proportion" else identity
        wanted = numbers_of(mcgen.estimate(MODEL, statistic, **OPTIONS | {"n_evaluations": int(n[place])}, **options))
    for panel, numbers in zip(panels, wanted, strict=True):
        ((_, low, high, mean),) = curves_of(panel)
        assert (mean[place], low[place], high[place]) == pytest.approx(numbers, rel=1e-9)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "functional": (lambda: OTHER["quantile-inversion"](), "its pseudo-values belong to all evaluations"),
    "levels": (
        lambda: mcgen.multilevel([(MODEL, 1), (MODEL, 10)], pixel_mean, n_evaluations=1600, seed=SEED),
        "does not have; run it with keep_replicates=True, and draw each of result.levels",
    ),
    "not kept": (lambda: mcgen.estimate(MODEL, pixel_mean, keep_replicates=False, **OPTIONS), "keep_replicates=True"),
    "cross-fitted": (
        lambda: mcgen.estimate(
            MODEL, pixel_mean, controls=mcgen.controls.quadratic(mcgen.bases.dct_basis((2, 2), 2)), **OPTIONS
        ),
        "cross-fitted controls share coefficients",
    ),
    "population": (
        lambda: mcgen.estimate(
            MODEL, pixel_mean, condition=[*range(12)], across="population", **OPTIONS | {"n_evaluations": 64}
        ),
        "a sample of a population",
    ),
    "part": (
        lambda: mcgen.estimate(MODEL, BOTH, condition=[0, 1], simultaneous="bonferroni", **OPTIONS).conditions[0],
        "holds together with those of other parts",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_other_interval_is_drawn_against_evaluations(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        mcgen.plots.convergence(make())


def test_several_estimates_are_drawn_side_by_side() -> None:
    results = [mcgen.estimate(MODEL, BOTH, **OPTIONS | {"design": design}) for design in (MonteCarlo(), Antithetic())]
    for given, labels in ((results, ["MonteCarlo()", "Antithetic()"]), (dict(zip("ab", results, strict=True)), ["a", "b"])):  # fmt: skip
        panels = mcgen.plots.forest(given).axes
        assert [text.get_text() for text in panels[0].get_yticklabels()] == labels
        for number, panel in enumerate(panels):
            assert rows_of(panel) == [numbers_of(one)[number] for one in results]
        figure = mcgen.plots.convergence(given, components=1)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == labels
        assert len(curves_of(figure.axes[0])) == 2
    quantiles = {str(q): mcgen.estimate(MODEL, quantile(pixel_mean, q), **OPTIONS) for q in (0.5, 0.9)}
    (panel,) = mcgen.plots.forest(quantiles).axes
    assert panel.get_title() == "pixel_mean"
    assert panel.get_xlabel().startswith("● estimate with its")
    same = [results[0], results[0]]
    assert [text.get_text() for text in mcgen.plots.forest(same).axes[0].get_yticklabels()] == ["0", "1"]
    with pytest.raises(
        ValueError, match="must have the same components; 'MonteCarlo.*' has pixel_mean, spread, and 'Ant"
    ):
        mcgen.plots.forest([results[0], mcgen.estimate(MODEL, pixel_mean, **OPTIONS)])
    for wrong in ([], {}, [1], "text", mcgen.compare(MODEL, BOTH, designs=[MonteCarlo()], n_evaluations=64, seed=0)):
        with pytest.raises(TypeError, match="results must be an Estimate, or a sequence or a dict of them; got"):
            mcgen.plots.forest(wrong)
        with pytest.raises(TypeError, match="results must be an Estimate, or a sequence or a dict of them; got"):
            mcgen.plots.convergence(wrong)


def test_samples_of_images_are_drawn_in_pairs() -> None:
    from matplotlib.figure import Figure

    images = mcgen.as_generator(logistic, noise=(4, 6), name="images")
    figure = Figure()
    ax = figure.subplots()
    assert mcgen.plots.samples(images, 3, ax, seed=SEED) is figure
    sheet = np.asarray(ax.images[0].get_array())
    drawn = mcgen.sample(images, 6, seed=SEED, design=Antithetic())
    assert sheet.shape == (2 * 5, 3 * 7)
    assert sheet[:4, :6] == pytest.approx(drawn[0])
    assert sheet[5:9, 7:13] == pytest.approx(drawn[3])
    with pytest.raises(ValueError, match="the samples of model are no images"):
        mcgen.plots.samples(MODEL, 3, seed=SEED)
    with pytest.raises(ValueError, match="n must be a number of pairs of samples, 1 or more; got 0"):
        mcgen.plots.samples(images, 0, seed=SEED)


def test_names_that_begin_with_an_underscore_and_empty_ones_are_in_the_legend() -> None:
    one = mcgen.estimate(MODEL, pixel_mean, **OPTIONS)
    figure = mcgen.plots.convergence({"_a": one, "b": one, "": one})
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["_a", "b", ""]


@pytest.mark.filterwarnings("error::UserWarning")
def test_two_replicates_are_drawn_against_evaluations() -> None:
    """There is one number of evaluations, so that a line and a band have no length."""
    result = mcgen.estimate(MODEL, pixel_mean, **OPTIONS | {"n_evaluations": 4})
    (panel,) = mcgen.plots.convergence(result).axes
    assert (4.0, result.mean) in [
        tuple(np.ravel(line.get_xydata())) for line in panel.lines if line.get_marker() == "o"
    ]
    (segment,) = panel.collections[0].get_segments()
    assert segment.tolist() == [[4, result.interval.low], [4, result.interval.high]]
    assert panel.get_xlim()[0] < 4 < panel.get_xlim()[1]


@pytest.mark.parametrize("draw", [mcgen.Estimate.plot, mcgen.plots.convergence])
def test_axes_of_another_kind_are_refused_and_other_scales_are_reset(draw: Callable[..., Any]) -> None:
    from matplotlib.figure import Figure

    result = mcgen.estimate(MODEL, pixel_mean, **OPTIONS)
    for projection in ("polar", "3d"):
        with pytest.raises(ValueError, match=f"ax must have straight axes at right angles; got a {projection} proj"):
            draw(result, Figure().add_subplot(projection=projection))
    ax = Figure().subplots()
    ax.set_yscale("log")
    # Rows leave tick labels that are texts.
    result.plot(ax)
    draw(result, ax)
    assert ax.get_yscale() == "linear"


def test_efficiencies_beyond_a_logarithmic_axis_are_arrows_at_its_edges() -> None:
    from mcgen.results.figures.forest import Panel, Row, forests

    rows = [Row("a", 2.0, 0.0, 1e308, ""), Row("b", math.inf, 0.1, math.inf, ""), Row("c", 0.0, 0.0, 5.0, "")]
    (panel,) = forests([Panel("", rows, "", line=1.0, log=True)]).axes
    low, high = panel.get_xlim()
    drawn = {(line.get_marker(), line.get_ydata()[0], *line.get_xdata()) for line in panel.lines[:-1]}
    assert drawn == {
        ("None", 0, low, high), ("<", 0, low), (">", 0, high), ("o", 0, 2.0),
        ("None", -1, 0.1, high), (">", -1, high),
        ("None", -2, low, 5.0), ("<", -2, low),
    }  # fmt: skip
    assert 0 < low < 0.1
    assert 5 < high < 100

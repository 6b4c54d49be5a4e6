"""Figures of several estimates: side by side, and against the number of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.results.estimate import Estimate
from mcgen.results.figures.base import (
    MOST_PANELS,
    WIDTH,
    Components,
    chosen_components,
    colour_of,
    left_out_text,
    legend_below,
    legend_text,
    log_ticks,
    panels_on,
    rows_of,
    style,
    wrapped,
)
from mcgen.results.figures.estimates import caption_of, plot_side_by_side, shared_names
from mcgen.results.running import Running, running_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# Methods whose intervals hold at all numbers of evaluations together.
_ANY_TIME = ("anytime", "asymptotic-anytime", "betting")
# Entries of the provenance by which estimates are told apart, the most telling first.
_TELLING = ("design", "generator", "statistic", "condition", "model", "level", "seed_text")


def forest(
    results: Estimate | Sequence[Estimate] | Mapping[str, Estimate],
    ax: AxesLike | None = None,
    *,
    components: Components | None = None,
) -> Figure:
    """Draw estimates of the same components side by side, each with its own interval; needs matplotlib.

    Parameters
    ----------
    results : Estimate, or sequence or dict of Estimate
        Up to 45 are drawn, a row each. The names of a dict are the labels; estimates of a sequence are named by what
        differs between them: their design, generator, statistic, condition, seed or interval.
    ax : Axes, or sequence or array of Axes, optional
        Where to draw, one for each panel; by default a new figure is made.
    components : int, str, or sequence of int and str, optional
        Which components have a panel: the first so many, or those of some names or numbers. By default all, up to 12.

    Returns
    -------
    Figure
        The figure, which pyplot does not keep; ``figure.savefig(path)`` writes it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the estimates have different components.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(n_evaluations=1600, seed=0)
    >>> pairs = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), **options)
    >>> single = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), **options)
    >>> figure = mcgen.plots.forest({"pairs": pairs, "independent noise": single})
    """
    return plot_side_by_side(named_results(results), ax, components)


@style()
def convergence(
    results: Estimate | Sequence[Estimate] | Mapping[str, Estimate],
    ax: AxesLike | None = None,
    *,
    components: Components | None = None,
) -> Figure:
    """Draw the running estimate against the number of evaluations, with its own interval; needs matplotlib.

    The band at each number of evaluations is the interval that the method of the result gives there. The last one is
    ``result.interval``. Intervals that hold at any time (anytime, asymptotic anytime and betting) hold at all numbers
    of evaluations together. Others hold at one number that was chosen before the run, and the figure says so.

    Parameters
    ----------
    results : Estimate, or sequence or dict of Estimate
        Estimates of means with kept replicate means, as ``keep_replicates=True`` keeps them. The names of a dict are
        the labels; see `forest` for those of a sequence.
    ax : Axes, or sequence or array of Axes, optional
        Where to draw, one for each panel; by default a new figure is made.
    components : int, str, or sequence of int and str, optional
        Which components have a panel: the first so many, or those of some names or numbers. By default all, up to 12.

    Returns
    -------
    Figure
        The figure, which pyplot does not keep; ``figure.savefig(path)`` writes it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or an estimate does not follow from replicate means that it has kept.
        `Scorecard.plot_curves` draws distances against the number of samples.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(n_evaluations=640, seed=0)
    >>> pairs = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), **options)
    >>> single = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), **options)
    >>> figure = mcgen.plots.convergence([single, pairs])
    """
    named = named_results(results)
    names = shared_names(named)
    numbers = chosen_components(names, components, MOST_PANELS)
    runs = {label: running_estimate(one) for label, one in named.items()}
    n_columns = min(2, len(numbers))
    width = 5.6 if len(numbers) == 1 else WIDTH
    height = 3.4 if len(numbers) == 1 else 2.9
    figure, axes = panels_on(
        ax, len(numbers), n_columns, width * n_columns, [height] * rows_of(len(numbers), n_columns)
    )
    caption = [_caption(named), left_out_text(numbers, len(names), "components")]
    for panel, number in zip(axes, numbers, strict=True):
        _draw(panel, runs, number)
        panel.set_title(wrapped(names[number], 44))
        panel.set_xlabel("\n".join(one for one in caption if one))
    legend_below(figure, axes, ax)
    figure.draw_without_rendering()
    for panel in axes:
        log_ticks(panel.xaxis)
    return figure


def _caption(named: Mapping[str, Estimate]) -> str:
    shown = [*named.values()]
    at_any_time = [any(name in one.method for name in _ANY_TIME) for one in shown]
    if all(at_any_time):
        holds = "the band holds at all numbers of evaluations together"
    elif any(at_any_time):
        holds = "bands of anytime and betting intervals hold at all numbers together, others at one fixed beforehand"
    elif all(one.stopping is not None and one.stopping.first_stage is not None for one in shown):
        holds = "the interval holds where the rule stopped the run"
    else:
        holds = "the band holds at one number of evaluations, chosen beforehand"
    return "\n".join(["evaluations", wrapped(f"line and band: {caption_of(shown)}", 56, 3), wrapped(holds, 56, 3)])


def _draw(panel: Axes, runs: Mapping[str, Running], number: int) -> None:
    """Draw one component of some runs."""
    panel.set_xscale("log")
    low, high = _heights([*runs.values()], number)
    panel.set_ylim(low, high)
    first, last = min(run.evaluations[0] for run in runs.values()), max(run.evaluations[-1] for run in runs.values())
    panel.set_xlim(*((first, last) if first < last else (first / 2, 2 * last)))
    beyond = high - low
    for place, (label, run) in enumerate(runs.items()):
        colour = colour_of(place)
        # An infinite end lies beyond the edge of the panel.
        ends = [
            np.where(np.isfinite(end[:, number]), end[:, number], edge)
            for end, edge in ((run.low, low - beyond), (run.high, high + beyond))
        ]
        if len(run.evaluations) == 1:
            # A single place has no line and no band.
            panel.vlines(run.evaluations, ends[0], ends[1], color=colour, lw=2)
            panel.plot(run.evaluations, run.mean[:, number], "o", color=colour, ms=6)
        panel.fill_between(run.evaluations, ends[0], ends[1], color=colour, alpha=0.22, lw=0)
        for end in ends:
            panel.plot(run.evaluations, end, color=colour, lw=0.7)
        panel.plot(run.evaluations, run.mean[:, number], color=colour, lw=1.6, label=legend_text(label))
    panel.ticklabel_format(axis="y", useOffset=False)
    panel.locator_params(axis="y", nbins=6)
    panel.grid()


def _heights(runs: Sequence[Running], number: int) -> tuple[float, float]:
    """Return the ends of the vertical axis: all final intervals, and the bands but for those of few evaluations."""
    kept: list[Floats] = []
    for run in runs:
        late = run.evaluations >= run.evaluations[-1] / 12
        kept += [end[late, number] for end in (run.low, run.high, run.mean)]
    found = np.concatenate(kept)
    found = found[np.isfinite(found)]
    low, high = float(found.min()), float(found.max())
    space = max(0.06 * (high - low), 1e-12 * max(abs(low), abs(high))) if high > low else 0.1 * abs(low) or 0.1
    return low - space, high + space


def named_results(results: Any) -> dict[str, Estimate]:
    """Return estimates by their names: those of a dict, or what differs between those of a sequence."""
    if isinstance(results, Estimate):
        return {results.provenance.design: results}
    if isinstance(results, Mapping):
        named = {str(name): one for name, one in results.items()}
    elif isinstance(results, Sequence) and not isinstance(results, str):
        named = dict(zip(_labels([*results]), results, strict=True))
    else:
        named = {"": results}
    if not named or not all(isinstance(one, Estimate) for one in named.values()):
        kinds = ", ".join(dict.fromkeys(type(one).__name__ for one in named.values())) or "none"
        raise TypeError(
            f"results must be an Estimate, or a sequence or a dict of them; got {kinds}. Other results have plot()"
        )
    return named


def _labels(results: Sequence[Any]) -> list[str]:
    """Return what differs between estimates, or their numbers."""
    if all(isinstance(one, Estimate) for one in results):
        for texts in (
            *([str(getattr(one.provenance, name)) for one in results] for name in _TELLING),
            [one.method for one in results],
        ):
            if len({*texts}) == len(texts):
                return texts
    return [str(number) for number in range(len(results))]

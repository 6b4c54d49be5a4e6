"""Figures of estimates, each with its own interval; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mcgen.results.figures.base import MOST_PANELS, Components, chosen_components, left_out_text
from mcgen.results.figures.forest import MOST_ROWS, SPECIAL, STRONG, Panel, Row, forests
from mcgen.results.figures.maps import is_image, plot_maps
from mcgen.results.provenance import expectation_text, has_biased_plug_in, weights_of_levels
from mcgen.results.shown import Shown
from mcgen.results.text import ends_text, interval_text, interval_words, numbers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# Width in inches of a figure of one panel, and of a panel beside others.
_ALONE, _BESIDE = 6.0, 4.6


def plot_estimate(estimate: Shown, ax: AxesLike | None = None, components: Components | None = None) -> Figure:
    """Draw an estimate with its own interval.

    Parameters
    ----------
    estimate : Estimate
        Components of shape (H, W), (1, H, W) or (3, H, W) are drawn as maps of mean and half-width, other ones as a
        row each, up to 45. An average over conditions has a panel a component (up to twelve), with a row a condition
        and the average below them. A sum of levels has two panels a component: the first level with the sum, and the
        corrections by the other levels, each times its coefficient. A difference of models on independent noise has two
        panels a component: both models, and the difference.
    ax : Axes, or sequence or array of Axes, optional
        Where to draw it, one for each panel.
    components : int, str, or sequence of int and str, optional
        Which components to draw, also of images: the first so many, or those of some names or numbers.

    Raises
    ------
    TypeError, ValueError
        If `ax` is not one Axes for each panel, or a component is unknown.
    """
    if components is None and is_image(estimate.shape):
        return plot_maps(estimate, ax)
    if estimate.conditions or estimate.levels or estimate.models:
        return _plot_parts(estimate, ax, components)
    numbers = chosen_components(estimate.names, components, MOST_ROWS)
    rows = [row_of(estimate.names[number], estimate, number) for number in numbers]
    caption = [
        caption_of([estimate]),
        f"{estimate.provenance.design}, {estimate.n_evaluations:,} evaluations",
        left_out_text(numbers, len(estimate.names), "components"),
    ]
    panel = Panel(expectation_text(estimate.provenance), rows, "\n".join(caption))
    return forests([panel], ax, width=_ALONE)


def _plot_parts(estimate: Shown, ax: AxesLike | None, components: Components | None) -> Figure:
    """Draw an average over conditions, a sum of levels or a difference of models, by its parts."""
    draw = _of_conditions if estimate.conditions else _of_levels if estimate.levels else _of_models
    numbers = chosen_components(estimate.names, components, MOST_PANELS if estimate.conditions else MOST_PANELS // 2)
    panels = [panel for number in numbers for panel in draw(estimate, number)]
    panels = with_note(panels, left_out_text(numbers, len(estimate.names), "components"))
    return forests(panels, ax, width=_ALONE if len(panels) == 1 else _BESIDE)


def _of_conditions(estimate: Shown, number: int) -> list[Panel]:
    shown = estimate.conditions[: MOST_ROWS - 1]
    joined = estimate.provenance.across or "average"
    rows = [row_of(str(part.provenance.condition), part, number) for part in shown]
    rows.append(row_of(joined, estimate, number, SPECIAL))
    caption = [caption_of((*shown, estimate)), left_out_text(range(len(shown)), len(estimate.conditions), "conditions")]
    return [Panel(_title(estimate, number), rows, "\n".join(caption))]


def _of_levels(estimate: Shown, number: int) -> list[Panel]:
    weights = weights_of_levels([part.provenance for part in estimate.levels], len(estimate.names))
    rows = [_row_of_level(part, own[number], number) for part, own in zip(estimate.levels, weights, strict=True)]
    caption = f"coefficient × {caption_of((*estimate.levels, estimate))}"
    total = row_of("sum of levels", estimate, number, SPECIAL)
    title = estimate.names[number]
    return [
        Panel(f"{title}: first level and sum", [rows[0], total], caption),
        Panel(f"{title}: corrections", rows[1:], caption, line=0.0),
    ]


def _row_of_level(level: Shown, weight: float, number: int) -> Row:
    """Return the row of what a level adds to the sum."""
    mean, low, high, half = numbers_of(level, number)
    low, high = sorted((weight * low, weight * high))
    text = interval_text(weight * mean, low, high, abs(weight) * half)
    return Row(f"{level.provenance.level}\n× {weight:.6g}", weight * mean, low, high, text)


def _of_models(estimate: Shown, number: int) -> list[Panel]:
    title = estimate.names[number]
    models = [row_of(part.provenance.model or part.provenance.generator, part, number) for part in estimate.models]
    difference = [row_of(estimate.provenance.generator, estimate, number, SPECIAL)]
    return [
        Panel(title, models, caption_of(estimate.models)),
        Panel(f"{title}: difference", difference, caption_of([estimate]), line=0.0),
    ]


def plot_side_by_side(
    named: Mapping[str, Shown], ax: AxesLike | None = None, components: Components | None = None
) -> Figure:
    """Draw several estimates of the same components, a panel a component and a row an estimate.

    Raises
    ------
    TypeError, ValueError
        If the estimates have other components than the first, or as for `plot_estimate`.
    """
    names = shared_names(named)
    numbers = chosen_components(names, components, MOST_PANELS)
    panels = panels_side_by_side([*named], [*named.values()], numbers, names)
    note = left_out_text(numbers, len(names), "components")
    return forests(with_note(panels, note), ax, width=_ALONE if len(panels) == 1 else _BESIDE)


def panels_side_by_side(
    labels: Sequence[str], estimates: Sequence[Shown], numbers: Sequence[int], names: Sequence[str]
) -> list[Panel]:
    """Return a panel for some of the components, which have these names, with a row for each estimate."""
    shown = estimates[:MOST_ROWS]
    caption = "\n".join([caption_of(shown), left_out_text(range(len(shown)), len(estimates), "rows")])
    return [
        Panel(
            names[number],
            [row_of(label, one, number) for label, one in zip(labels, shown, strict=False)],
            caption,
        )
        for number in numbers
    ]


def shared_names(named: Mapping[str, Shown]) -> tuple[str, ...]:
    """Return the names of the components, which all estimates share; single numbers may have different names."""
    first = next(iter(named.values())).names
    if all(len(one.names) == 1 for one in named.values()):
        statistics = {one.provenance.statistic for one in named.values()}
        return first if len({one.names for one in named.values()}) == 1 else (", ".join(sorted(statistics)),)
    for label, one in named.items():
        if one.names != first:
            raise ValueError(
                f"estimates side by side must have the same components; {next(iter(named))!r} has "
                f"{_listed(first)}, and {label!r} has {_listed(one.names)}. Draw them in figures of their own"
            )
    return first


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def row_of(label: str, one: Shown, number: int, colour: str = STRONG) -> Row:
    """Return the row of one component, with the numbers of the estimate's own interval."""
    mean, low, high, _ = numbers_of(one, number)
    hollow = one.plug_in is not None and has_biased_plug_in(one.provenance)
    plug_in = float(np.ravel(np.asarray(one.plug_in))[number]) if hollow else None
    return Row(label, mean, low, high, ends_text(one, number), colour, plug_in)


def caption_of(estimates: Sequence[Shown]) -> str:
    """Return what the rows of some estimates are, such as ``mean with its 95 % interval (anytime)``."""
    kinds = {one.provenance.functional or "mean" for one in estimates}
    what = kinds.pop() if len(kinds) == 1 else "estimate"
    return f"{what} with its {' or '.join(dict.fromkeys(map(interval_words, estimates)))}"


def with_note(panels: Sequence[Panel], note: str) -> list[Panel]:
    """Return panels the last of which says what was left out."""
    return [*panels[:-1], panels[-1]._replace(caption=f"{panels[-1].caption}\n{note}")]


def _title(estimate: Shown, number: int) -> str:
    """Return the name of a component, or what is estimated where there is one component."""
    return estimate.names[number] if len(estimate.names) > 1 else expectation_text(estimate.provenance)

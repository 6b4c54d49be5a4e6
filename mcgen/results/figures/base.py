"""What all figures share: the style, new figures and panels, the choice of components, labels that do not touch."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    AxesLike: TypeAlias = Axes | Sequence[Axes] | NDArray[Any]

Components: TypeAlias = int | str | Sequence[int | str]
"""Which components to draw: the first so many, one by its name, or several by name or number."""

COLOURS = ("#4c566a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""The colours of the style file, which readers with colour blindness can tell apart, after Okabe and Ito."""
STYLE = Path(__file__).with_name("mcgen.mplstyle")
"""The style file of every figure."""
WIDTH = 4.2
"""Width of a panel in inches: text keeps its size on a narrow screen, which is as wide."""
LABEL_WIDTH, LABEL_LINES = 18, 2
"""Characters in a line of a label, and the most lines."""
ROW_TEXT = "_text of a row"
"""Label, as an artist, of the text beside a row; legends leave out labels that begin with an underscore."""
MOST_PANELS = 12
"""Panels above which a figure is cut, and says so."""
# Space between the labels of two ticks, as a share of the first: text is up to a quarter wider, and panels narrower, at
# other resolutions than that of the style. And the most ticks of a panel.
_SPACE_BETWEEN = 0.4
_MOST_TICKS = 4
# The most names that an error lists.
_MOST_NAMED = 20
# What matplotlib writes at the end of an axis: a factor, and what is added to all ticks.
_OFFSET = re.compile(r"(1e-?\d+)?([+-].+)?")
# Numbers of the ticks of a logarithmic axis in a factor of 10, from many to few.
_STEPS = ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


def require_matplotlib() -> None:
    """Raise an ImportError that names the extra if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed; install the extra: pip install 'mcgen-stats[plot]'"
        ) from error


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the style file; also a decorator of functions that draw.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    """
    require_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(STYLE):
        yield


def new_figure(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure that pyplot does not keep, and its axes (n_rows, n_columns).

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    """
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def panels_on(
    ax: AxesLike | None, n_panels: int, n_columns: int, width: float, heights: Sequence[float]
) -> tuple[Figure, list[Axes]]:
    """Return a figure and the axes of its panels: those given as `ax`, or those of a new figure.

    Parameters
    ----------
    ax : Axes, or sequence or array of Axes, optional
        One for each panel.
    n_panels, n_columns : int
        How many panels a new figure has, and in how many columns.
    width : float
        Width of a new figure, in inches.
    heights : sequence of float
        Height of each row of a new figure, in inches.

    Raises
    ------
    TypeError
        If `ax` holds something else than Axes of matplotlib.
    ValueError
        If there are more or fewer Axes than panels, or one is polar or in three dimensions.
    """
    if ax is not None:
        return _given_panels(ax, n_panels)
    figure, axes = new_figure(len(heights), n_columns, width, sum(heights))
    axes[0, 0].get_gridspec().set_height_ratios(list(heights))
    for panel in axes.flat[n_panels:]:
        panel.set_visible(False)
    return figure, [*axes.flat][:n_panels]


def _given_panels(ax: AxesLike, n_panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        given: list[Any] = [ax]
    else:
        given = [*np.ravel(np.array(ax, object))] if isinstance(ax, Sequence | np.ndarray) else [ax]
    if not given or not all(isinstance(one, Axes) for one in given):
        raise TypeError(
            f"ax must be one Axes of matplotlib, or a sequence of them; got {ax!r}. Leave it out for a new figure"
        )
    other = next((one.name for one in given if one.name != "rectilinear"), None)
    if other is not None:
        raise ValueError(
            f"ax must have straight axes at right angles; got a {other} projection. Make it without projection=..., or "
            "leave ax out for a new figure"
        )
    if len(given) != n_panels:
        raise ValueError(
            f"this figure has {n_panels} panel{'s' * (n_panels > 1)}; got {len(given)} Axes as ax. Give one for each, "
            "choose components=..., or leave ax out for a new figure and take its axes from figure.axes"
        )
    for one in given:
        # Another scale, or the tick labels of another figure on the same Axes, would hide or misplace what is drawn.
        one.set_xscale("linear")
        one.set_yscale("linear")
    # The figure of a subfigure is the whole figure.
    return given[0].figure.figure, given


def rows_of(n_panels: int, n_columns: int) -> int:
    """Return how many rows so many panels have."""
    return math.ceil(n_panels / n_columns)


def chosen_components(names: Sequence[str], components: Components | None, most: int) -> list[int]:
    """Return the numbers of the components to draw; by default all, or the first `most` of more.

    Raises
    ------
    TypeError, ValueError
        If `components` is no number, name, or list of them, or one is not among the names.
    """
    k = len(names)
    if components is None:
        return [*range(min(k, most))]
    if isinstance(components, int | np.integer) and not isinstance(components, bool):
        if components < 1:
            raise ValueError(f"components must be 1 or more, the first so many; got {components}")
        return [*range(min(k, int(components)))]
    wanted = [components] if isinstance(components, str) else components
    if not isinstance(wanted, Iterable) or any(
        isinstance(one, bool) or not isinstance(one, int | np.integer | str) for one in wanted
    ):
        raise TypeError(
            "components must be a number (the first so many), a name, or a list of names and numbers; got "
            f"{components!r}"
        )
    found = [_number_of(names, one) for one in wanted]
    if not found:
        raise ValueError("components must name at least one; got none. Leave it out for all")
    return found


def _number_of(names: Sequence[str], one: int | str) -> int:
    known = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    if isinstance(one, str):
        if one not in names:
            raise ValueError(f"components must be among {known}; got {one!r}")
        return [*names].index(one)
    if not 0 <= one < len(names):
        raise ValueError(f"numbers of components must lie in 0 to {len(names) - 1}; got {one}")
    return int(one)


def left_out_text(shown: Sequence[int], n_all: int, what: str) -> str:
    """Return how many of all are drawn, such as ``the first 45 of 784 components``; nothing where all are."""
    if len(shown) >= n_all:
        return ""
    first = "the first " if [*shown] == [*range(len(shown))] else ""
    return f"{first}{len(shown):,} of {n_all:,} {what}"


def spaced(figure: Figure) -> None:
    """Keep the numbers at the right of a panel apart from the labels of the next."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.08, wspace=0.03)


def wrapped(text: str, width: int = LABEL_WIDTH, lines: int = LABEL_LINES) -> str:
    """Return a label in up to two lines; a longer one ends in dots."""
    text = text.replace("$", r"\$").replace(" %", "\u00a0%")
    if "\n" in text:
        return text
    found = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    if len(found) > lines:
        found = [*found[: lines - 1], found[lines - 1][: width - 4].rstrip() + " ..."]
    return "\n".join(found)


def keep_ticks_apart(figure: Figure, panels: Sequence[Axes], *, whole: bool = False) -> None:
    """Leave so few ticks on the axes that their labels don't touch, and name a common factor in the label.

    Rows whose labels touch, on Axes that are too low for them, have every second label, or fewer. Where the numbers are
    whole, so are the ticks.
    """
    from matplotlib.ticker import MaxNLocator

    linear = [panel for panel in panels if panel.get_xscale() == "linear"]
    wanted = dict.fromkeys(linear, _MOST_TICKS)
    for panel in linear:
        panel.xaxis.set_major_locator(MaxNLocator(nbins=_MOST_TICKS, min_n_ticks=2, integer=whole))
    changed = _fewer_ticks(figure, wanted, whole)
    for panel in panels:
        if panel.get_xscale() == "log":
            log_ticks(panel.xaxis)
    factors = [_name_factor(panel) for panel in linear]
    if changed or any(factors):
        # The new labels may change the layout.
        _fewer_ticks(figure, wanted, whole)
    for panel in panels:
        _thin_rows(panel)


def _fewer_ticks(figure: Figure, wanted: dict[Axes, int], whole: bool) -> bool:
    """Leave so few ticks on linear horizontal axes that their labels don't touch, and return whether some went.

    Parameters
    ----------
    figure : Figure
        The figure of the panels.
    wanted : dict of Axes and int
        The panels with the most ticks of each, which are lowered.
    whole : bool
        Whether ticks are whole numbers.
    """
    from matplotlib.ticker import MaxNLocator

    changed = False
    while True:
        figure.draw_without_rendering()
        touching = [panel for panel, n in wanted.items() if n and _touching(panel)]
        if not touching:
            return changed
        changed = True
        for panel in touching:
            wanted[panel] -= 1
            if wanted[panel]:
                least = min(wanted[panel], 2)
                panel.xaxis.set_major_locator(MaxNLocator(nbins=wanted[panel], min_n_ticks=least, integer=whole))
            else:
                low, high = panel.get_xlim()
                panel.set_xticks([0.0 if low <= 0 <= high else (low + high) / 2])


def _name_factor(panel: Axes) -> bool:
    """Move a common factor or part of the horizontal ticks into the label, and return whether there is one."""
    factor = panel.xaxis.get_offset_text()
    text = factor.get_text()
    if not text:
        return False
    order, shift = _OFFSET.fullmatch(text.replace("\N{MINUS SIGN}", "-")).groups()  # type: ignore[union-attr]
    told = [
        f"ticks: difference from {shift.removeprefix('+')}" if shift else "",
        f"in units of {order}" if order else "",
    ]
    panel.set_xlabel("\n".join([panel.get_xlabel(), ", ".join(one for one in told if one)]))
    factor.set_visible(False)
    return True


def _thin_rows(panel: Axes) -> None:
    """Leave so few labels of rows that they don't touch, and the texts beside those that are left."""
    places, labels = [*panel.get_yticks()], [one.get_text() for one in panel.get_yticklabels()]
    step = 1
    while panel.get_yscale() == "linear" and step < len(places) and _touching(panel, rows=True):
        step += 1
        panel.set_yticks(places[::step], labels[::step])
        panel.figure.figure.draw_without_rendering()
    if step > 1:
        kept = {*places[::step]}
        for text in panel.texts:
            if text.get_label() == ROW_TEXT:
                text.set_visible(text.get_position()[1] in kept)


def _touching(panel: Axes, *, rows: bool = False) -> bool:
    """Return whether two labels of the horizontal axis touch, or of the rows."""
    return _labels_touch(panel.yaxis if rows else panel.xaxis, rows)


def _labels_touch(axis: Axis, rows: bool = False) -> bool:
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]
    if rows:
        ends = sorted((box.y0, box.y1) for box in boxes)
    else:
        ends = sorted((box.x0, box.x1 + _SPACE_BETWEEN * box.width) for box in boxes)
    return any(one[1] > two[0] for one, two in itertools.pairwise(ends))


def log_ticks(axis: Axis, most: int = 5) -> None:
    """Label a logarithmic axis in full numbers, at so few ticks that their labels don't touch."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tries = [[step * 10.0**power for power in powers for step in steps] for steps in _STEPS]
    tries += [[10.0**power for power in powers if power % each == 0] for each in range(2, len(powers) + 2)]
    inside = [[tick for tick in ticks if low <= tick <= high] for ticks in tries]
    axis.set_minor_locator(NullLocator())
    for ticks in [one for one in inside if 0 < len(one) <= most] or [[math.sqrt(low * high)]]:
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_ticklabels([f"{tick:,.0f}" if 10 <= tick < 1e7 else f"{tick:.3g}" for tick in ticks])
        if not _labels_touch(axis):
            break


def ticks_of_counts(panel: Axes, counts: NDArray[np.int64]) -> None:
    """Label a logarithmic axis at numbers of samples that lie so far apart that their labels don't touch."""
    from matplotlib.ticker import NullFormatter, NullLocator

    panel.set_xscale("log")
    span = math.log(counts[-1] / counts[0]) or 1.0
    kept = [int(counts[-1])]
    for count in counts[::-1].tolist():
        if math.log(kept[-1] / count) / span > 0.17:
            kept.append(int(count))
    panel.set_xticks(kept, [f"{count:,}" for count in kept])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid()


def colour_of(place: int) -> str:
    """Return the colour of one of several lines, by its place among them; grey is left for what stands apart."""
    return COLOURS[1 + place % (len(COLOURS) - 1)]


def legend_text(label: str) -> str:
    """Return the label of a legend; matplotlib would leave out those that are empty or begin with an underscore."""
    text = wrapped(label, 30)
    return f" {text}" if not text or text.startswith("_") else text


def legend_below(figure: Figure, panels: Sequence[Axes], ax: AxesLike | None) -> None:
    """Name what is drawn, where there are several: below the panels of a new figure, or in the first one given."""
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) < 2:
        return
    if ax is not None:
        panels[0].legend(handles, labels)
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=3)

"""What all figures share: colours, new figures and panels, labels that do not touch."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Colours that readers with colour blindness can tell apart, after Okabe and Ito.
COLOURS = ("#4c566a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
# Width of a panel in inches: text keeps its size on a narrow screen, which is as wide.
WIDTH = 4.2
# Characters in a line of a label, and the most lines.
LABEL_WIDTH, LABEL_LINES = 18, 2
# Pixels between the labels of two ticks.
_SPACE_BETWEEN = 6.0


def require_matplotlib() -> None:
    """Raise an ImportError that names the extra if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib, which is not installed; install the extra: pip install 'mcgen-stats[plot]'"
        ) from error


def new_figure(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a figure that pyplot does not keep, and its axes (n_rows, n_columns).

    Raises
    ------
    ImportError
        If matplotlib is missing; the message names the extra.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def panels_on(ax: Axes | None, n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a new figure and its axes (n_rows, n_columns), or that of `ax` where one panel is to be drawn onto it.

    Raises
    ------
    TypeError
        If `ax` is no Axes of matplotlib.
    ValueError
        If `ax` is given for several panels.
    """
    if ax is None:
        return new_figure(n_rows, n_columns, width, height)
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be one Axes of matplotlib; got {ax!r}. Leave it out for a new figure")
    if n_rows * n_columns > 1:
        raise ValueError(
            f"this figure has {n_rows * n_columns} panels, and ax has room for one; leave ax out for a new figure, and "
            "take its axes from figure.axes"
        )
    # The figure of a subfigure is the whole figure.
    return ax.figure.figure, np.array([[ax]])


def spaced(figure: Figure) -> None:
    """Keep the numbers at the right of a panel apart from the labels of the next."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.08, wspace=0.03)


def wrapped(text: str, width: int = LABEL_WIDTH) -> str:
    """Return a label in up to two lines; a longer one ends in dots."""
    text = text.replace("$", r"\$")
    if "\n" in text:
        return text
    lines = textwrap.wrap(text, width) or [""]
    if len(lines) > LABEL_LINES:
        lines = [*lines[: LABEL_LINES - 1], lines[LABEL_LINES - 1][: width - 4].rstrip() + " ..."]
    return "\n".join(lines)


def few_ticks(panel: Axes) -> None:
    """Give the horizontal axis small labels, and the panel a light grid."""
    panel.ticklabel_format(axis="x", useOffset=False)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def keep_ticks_apart(figure: Figure, panels: Sequence[Axes]) -> None:
    """Leave so few ticks on the horizontal axes that their labels don't touch, and name their common factor."""
    from matplotlib.ticker import MaxNLocator

    left = panels
    for n in (4, 3, 2, 1):
        for panel in left:
            panel.xaxis.set_major_locator(MaxNLocator(nbins=n, min_n_ticks=min(n, 2)))
        figure.draw_without_rendering()
        left = [panel for panel in left if _touching(panel)]
    for panel in left:
        low, high = panel.get_xlim()
        panel.set_xticks([0.0 if low <= 0 <= high else (low + high) / 2])
    for panel in panels:
        factor = panel.xaxis.get_offset_text()
        if factor.get_text():
            panel.set_xlabel(f"{panel.get_xlabel()}\nin units of {factor.get_text()}")
            factor.set_visible(False)


def _touching(panel: Axes) -> bool:
    """Return whether two labels of the horizontal axis touch."""
    low, high = panel.get_xlim()
    boxes = [tick.label1.get_window_extent() for tick in panel.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes.sort(key=lambda box: box.x0)
    return any(one.x1 + _SPACE_BETWEEN > two.x0 for one, two in itertools.pairwise(boxes))


def ticks_of_counts(panel: Axes, counts: NDArray[np.int64]) -> None:
    """Label a logarithmic axis at numbers of samples that lie so far apart that their labels don't touch."""
    from matplotlib.ticker import NullFormatter, NullLocator

    panel.set_xscale("log")
    span = math.log(counts[-1] / counts[0]) or 1.0
    kept = [int(counts[-1])]
    for count in counts[::-1].tolist():
        if math.log(kept[-1] / count) / span > 0.17:
            kept.append(int(count))
    panel.set_xticks(kept, [f"{count:,}" for count in kept], fontsize=8)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="y", labelsize=8)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)

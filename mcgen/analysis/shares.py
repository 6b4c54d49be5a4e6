"""The result of `variance_shares`: its numbers as tables, text and a picture."""

from __future__ import annotations

import html
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.serialization import read_json, to_plain, write_json
from mcgen.inference.interval_input import Interval
from mcgen.results.figures.base import COLOURS, keep_ticks_apart, panels_on, rows_of, style, wrapped
from mcgen.results.notes import marks_html, with_marks
from mcgen.results.provenance import Provenance, drawn_text, percent_of
from mcgen.results.saved import estimate_to_plain
from mcgen.results.tables import Table
from mcgen.results.text import component_text, fact_lines, frame_html, method_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# Up to so many components have a column, and a panel, of their own; of more only all together are shown.
_MOST_SHOWN = 6
_DIMENSION = "mean dimension"
# Colours of the bars by index.
_BAR_COLOURS = {"first-order": COLOURS[1], "total": COLOURS[5], "odd": COLOURS[2], "even": COLOURS[4]}


class Share(NamedTuple):
    """A share of the variance, or a mean dimension.

    Attributes
    ----------
    estimate : float
        The estimate.
    interval : Interval
        Its confidence interval.
    """

    estimate: float
    interval: Interval


@dataclass(frozen=True, eq=False, repr=False)
class VarianceShares:
    """Shares of the variance of a statistic by parts of the noise, each with an interval; made by `variance_shares`.

    Estimates and intervals lie in the range that an index can have. That is 0 to 1 for shares, and 1 to the number of
    parts or of coordinates for mean dimensions. They are NaN for components that do not vary.

    Attributes
    ----------
    parts, indices : tuple of str
        For each of the q numbers: the part of the noise, such as "start", and the index, such as "total".
    names : tuple of str
        Names of the components. Where there are several, the last is "all components", whose variance is the sum of
        theirs.
    estimate, standard_error : ndarray of shape (q, components)
        The numbers and their standard errors.
    interval : Interval
        Their intervals, of the same shape.
    variance : ndarray of shape (components,)
        Variance of each component.
    confidence_level : float
        Such as 0.95.
    method : str
        The method that made the intervals.
    provenance : Provenance
        What was done.
    warnings : tuple of str
        Reasons for doubt.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z + z**2 / 4, noise=(4,), name="model")
    >>> shares = mcgen.analysis.variance_shares(model, mcgen.statistics.pixel_mean, n_evaluations=4000, seed=0)
    >>> odd = shares.share("all noise", "odd")
    >>> odd.estimate > 0.8, 8 / 9 in odd.interval
    (True, True)
    """

    parts: tuple[str, ...]
    indices: tuple[str, ...]
    names: tuple[str, ...]
    estimate: Floats
    standard_error: Floats
    interval: Interval
    variance: Floats
    confidence_level: float
    method: str
    provenance: Provenance
    warnings: tuple[str, ...] = ()

    def share(self, part: str, index: str, component: str | None = None) -> Share:
        """Return one number with its interval.

        Parameters
        ----------
        part : str
            A part of the noise, or for example "3 directions", for the indices "first-order" and "total". "all noise"
            for "odd" and "even". "blocks" or "coordinates" for "additive" and "mean dimension".
        index : str
            The index.
        component : str, optional
            Name of a component; by default all of them together.

        Raises
        ------
        KeyError
            If there is no such number; the message lists what there is.
        """
        named = [*zip(self.parts, self.indices, strict=True)]
        column = self.names[-1] if component is None else component
        if (part, index) not in named or column not in self.names:
            told = ", ".join(f"{one!r} {other!r}" for one, other in named)
            raise KeyError(
                f"there is no {index!r} of {part!r} for {column!r}; there are {told}, for {', '.join(self.names)}"
            )
        place = named.index((part, index)), self.names.index(column)
        low, high = np.asarray(self.interval.low), np.asarray(self.interval.high)
        return Share(float(self.estimate[place]), Interval(float(low[place]), float(high[place])))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each number and component.

        Columns: part, index, component, estimate, standard_error, low, high, variance (of the component), n_replicates,
        n_evaluations.
        """
        import pandas as pd

        q, c = self.estimate.shape
        return pd.DataFrame(
            {
                "part": np.repeat(self.parts, c),
                "index": np.repeat(self.indices, c),
                "component": [*self.names] * q,
                "estimate": self.estimate.ravel(),
                "standard_error": self.standard_error.ravel(),
                "low": np.ravel(self.interval.low),
                "high": np.ravel(self.interval.high),
                "variance": np.tile(self.variance, q),
                "n_replicates": self.provenance.n_replicates,
                "n_evaluations": self.provenance.n_evaluations,
            }
        )

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: a row for each number, and a column for each of up to 6 components.

        Of more components it has all together.
        """
        import pandas as pd

        columns: dict[str, Any] = {"part": self.parts, "index": self.indices}
        for column in self._shown():
            columns[self.names[column]] = [*map(self._text, range(len(self.parts)), [column] * len(self.parts))]
        return pd.DataFrame(columns)

    def _shown(self) -> list[int]:
        """Return the components that are shown."""
        last = len(self.names) - 1
        return [*range(last + 1)] if last <= _MOST_SHOWN else [last]

    def _text(self, row: int, column: int) -> str:
        middle = float(self.estimate[row, column])
        low, high = (float(np.asarray(end)[row, column]) for end in self.interval)
        return "not defined" if np.isnan(middle) else component_text(middle, low, high, (high - low) / 2)

    def summary(self) -> str:
        """Return the long form: the table, what was done, and the warnings."""
        p = self.provenance
        facts = {
            "interval": f"{percent_of(self.confidence_level)} {method_text(self.method)}",
            "design": drawn_text(p),
            "evaluations": f"{p.n_evaluations:,}",
            "pilot": f"{p.pilot_evaluations:,} evaluations before the run" if p.pilot_evaluations else None,
            "noise": p.noise,
            "condition": p.condition,
            "seed": p.seed_text,
            "seconds": f"{p.seconds:.3g}",
            "versions": ", ".join(f"{name} {version}" for name, version in p.versions.items()),
        }
        return "\n".join([self._table(), *fact_lines(facts), *(f"warning: {text}" for text in self.warnings)])

    def _head(self) -> str:
        p = self.provenance
        condition = "" if p.condition is None else f", condition {p.condition}"
        functional = "" if p.functional is None else f"the {p.functional} of "
        return (
            f"shares of the variance of {functional}{p.statistic}({p.generator}(noise)), "
            f"{percent_of(self.confidence_level)} intervals, {p.n_evaluations:,} evaluations, seed {p.seed_text}"
            f"{condition}"
        )

    def _table(self) -> str:
        hidden = len(self.names) - 1
        note = [f"{hidden} components have shares of their own in to_frame()"] if hidden > _MOST_SHOWN else []
        return "\n".join([self._head(), self.readable().to_string(index=False), *note])

    def __str__(self) -> str:
        return with_marks(self._table(), self.warnings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._head())}</p>{frame_html(self.readable())}{marks_html(self.warnings)}"

    def to_markdown(self) -> str:
        """Return the table for reading (`readable`) as Markdown."""
        return Table.of_frame(self.readable()).markdown()

    def to_latex(self) -> str:
        """Return the table for reading (`readable`) as a LaTeX ``tabular``."""
        return Table.of_frame(self.readable()).latex()

    @style()
    def plot(self, ax: AxesLike | None = None) -> Figure:
        """Draw the shares as bars with their intervals; needs matplotlib (the extra ``[plot]``).

        A panel for each of up to 6 components, and for all together; of more components for all together alone. Mean
        dimensions stand in the titles.

        Raises
        ------
        TypeError, ValueError
            If `ax` is not one Axes for each panel.
        """
        columns, drawn = self._shown(), [row for row, name in enumerate(self.indices) if name != _DIMENSION]
        # Bars of one part stand together, and parts apart.
        steps = [0.0] + [1.0 if self.parts[a] == self.parts[b] else 1.5 for a, b in pairwise(drawn)]
        places = -np.cumsum(steps)
        n_columns = min(len(columns), 3)
        heights = [1.3 - 0.27 * float(places[-1])] * rows_of(len(columns), n_columns)
        figure, axes = panels_on(ax, len(columns), n_columns, 1.6 + 3.4 * n_columns, heights)
        for number, (panel, column) in enumerate(zip(axes, columns, strict=True)):
            self._draw(panel, column, drawn, places, labelled=number % n_columns == 0 or ax is not None)
        keep_ticks_apart(figure, axes)
        return figure

    def _draw(self, panel: Axes, column: int, drawn: list[int], places: Floats, *, labelled: bool) -> None:
        """Draw the bars of one component."""
        middle = self.estimate[drawn, column]
        low, high = (np.asarray(end)[drawn, column] for end in self.interval)
        colours = [_BAR_COLOURS.get(self.indices[row], COLOURS[0]) for row in drawn]
        panel.barh(places, np.nan_to_num(middle), color=colours, height=0.85, alpha=0.75)
        ends = np.maximum(np.stack([middle - low, high - middle]), 0.0)
        panel.errorbar(middle, places, xerr=ends, fmt="none", ecolor="black", capsize=3, lw=1)
        labels = [f"{self.parts[row]}: {self.indices[row]}" for row in drawn]
        panel.set_yticks(places.tolist(), [wrapped(label, 30) for label in labels] if labelled else [])
        # Leaves room for the caps of intervals that end at 1.
        panel.set_xlim(0, 1.03)
        panel.set_xlabel(f"share of the variance with its {percent_of(self.confidence_level)} interval")
        panel.grid(axis="x")
        dimensions = [
            f"of {self.parts[row]} {self._text(row, column)}"
            for row, name in enumerate(self.indices)
            if name == _DIMENSION
        ]
        told = [wrapped(f"mean dimension {text}", 40) for text in dimensions]
        panel.set_title("\n".join([wrapped(self.names[column], 40), *told]))

    def save(self, path: str | Path) -> None:
        """Write the shares as JSON, from which `load` makes an equal result."""
        write_json("variance-shares", _to_plain(self), path)

    @classmethod
    def load(cls, path: str | Path) -> VarianceShares:
        """Read shares that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, is incomplete, or was written by a newer schema.
        """
        content = read_json("variance-shares", path)
        try:
            return _from_plain(content)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"the saved shares are incomplete, or were changed by hand or by another version ({error!r}); save "
                "them again"
            ) from error

    def __eq__(self, other: object) -> bool:
        """Return whether all numbers and the provenance are equal; seconds and versions do not count."""
        return _compared(self) == _compared(other) if isinstance(other, VarianceShares) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.parts, self.indices, self.names, self.provenance.seed_text, self.provenance.n_evaluations))


def _compared(shares: VarianceShares) -> str:
    """Return what counts when two results are compared, as text: NaN is equal to itself there."""
    told = replace(shares.provenance, seconds=0.0, seconds_per_evaluation=0.0, timing_error=0.0, versions={})
    return repr(to_plain(_to_plain(replace(shares, provenance=told))))


def _to_plain(shares: VarianceShares) -> dict[str, Any]:
    """Return the fields of the result, and of the records inside it, as dictionaries."""
    own = {one.name: getattr(shares, one.name) for one in fields(shares)}
    return own | {"interval": shares.interval._asdict(), "provenance": estimate_to_plain(shares.provenance)}


def _from_plain(content: dict[str, Any]) -> VarianceShares:
    """Return the result that `_to_plain` was given, or refuse content that is none."""
    texts = {name: tuple(content[name]) for name in ("parts", "indices", "names", "warnings")}
    made = VarianceShares(
        parts=texts["parts"],
        indices=texts["indices"],
        names=texts["names"],
        estimate=content["estimate"],
        standard_error=content["standard_error"],
        interval=Interval(**content["interval"]),
        variance=content["variance"],
        confidence_level=content["confidence_level"],
        method=content["method"],
        provenance=Provenance(**content["provenance"]),
        warnings=texts["warnings"],
    )
    shape = (len(made.parts), len(made.names))
    shaped = {"estimate": made.estimate, "standard_error": made.standard_error}
    shaped |= {"interval.low": np.asarray(made.interval.low), "interval.high": np.asarray(made.interval.high)}
    for name, numbers in shaped.items():
        if np.shape(numbers) != shape:
            raise ValueError(f"{name} must have the shape {shape}; got {np.shape(numbers)}")
    if len(made.indices) != shape[0] or np.shape(made.variance) != shape[1:]:
        raise ValueError(f"there must be {shape[0]} indices and {shape[1]} variances")
    if not all(isinstance(text, str) for several in texts.values() for text in several):
        raise TypeError("parts, indices, names and warnings must be texts")
    if not 0 < made.confidence_level < 1:
        raise ValueError(f"confidence_level must lie between 0 and 1; got {made.confidence_level}")
    if {one.name for one in fields(VarianceShares)} != content.keys():
        raise ValueError(f"the entries must be those of VarianceShares; got {', '.join(content)}")
    return made

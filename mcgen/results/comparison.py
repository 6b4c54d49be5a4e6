"""The result of a comparison of designs."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.serialization import read_json, write_json
from mcgen.results.best_designs import Ranking
from mcgen.results.efficiencies import (
    EFFICIENCY,
    GEOMETRIC_MEAN,
    PER_SECOND,
    fewest_replicates,
    has_own_streams,
    rows_by_condition,
    rows_of_design,
    undefined_conditions,
)
from mcgen.results.estimate import Estimate, estimate_from_plain
from mcgen.results.figures.base import Components
from mcgen.results.figures.designs import plot_comparison
from mcgen.results.notes import marks_html, merged_warnings, with_marks
from mcgen.results.provenance import Provenance, chosen_by, expectation_text, percent_of
from mcgen.results.saved import estimate_to_plain
from mcgen.results.score_pairs import number_of_component
from mcgen.results.tables import Table
from mcgen.results.text import component_text, fact_lines, frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike


FEW_FOR_EFFICIENCY = 100
"""Replicates below which the interval of an efficiency is wide: several times the efficiency for skewed means."""

# The most components in a printed table, so that it fits a page.
_MOST_COMPONENTS = 12


_ABOUT_CONDITIONS = (
    "efficiency and in width: those of the average over the conditions; mean half-width: averaged over the conditions; "
    "in mean width: its squared ratio; over conditions: the geometric mean of their efficiencies"
)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Estimates of the same quantity by several designs, with their efficiencies; made by `compare`.

    Attributes
    ----------
    estimates : tuple of Estimate
        The estimate of each design, on independent random numbers.
    baseline : int
        Number of the estimate that the efficiencies are relative to.
    designs : tuple of str
        The designs as they were asked for, such as "auto"; empty in files of older versions.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
    >>> designs = [mcgen.MonteCarlo(), mcgen.Antithetic()]
    >>> table = mcgen.compare(generator, mcgen.statistics.pixel_mean, designs=designs, n_evaluations=3200, seed=0)
    >>> table.labels, table.best()
    (('MonteCarlo()', 'Antithetic()'), ('Antithetic()',))
    >>> table.to_frame()[["design", "half_width", "relative_efficiency"]].shape
    (2, 3)
    """

    estimates: tuple[Estimate, ...]
    baseline: int
    designs: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each row: its design, or for example ``auto: sobol 128`` where a pilot chose."""
        asked = self.designs or [one.provenance.design for one in self.estimates]
        return tuple(map(label_of_design, asked, self.estimates))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each design and component.

        It has these columns beside those of `Estimate.to_frame`:

        - ``design``: the name of the row, as in `labels`;
        - ``pilot_evaluations``: the evaluations before the run that made or chose the design;
        - ``relative_efficiency``: the ratio of variance times evaluations, baseline over design, pilots included; with
          its interval ``efficiency_low``, ``efficiency_high``;
        - ``relative_efficiency_width``: the same ratio with the squared widths of Student's t intervals in place of the
          variances, so that the t quantile of few replicates counts;
        - ``seconds_per_evaluation``;
        - ``efficiency_per_second``: the ratio of variance times seconds; with its interval ``per_second_low``,
          ``per_second_high``. A pilot's evaluations are taken to last as long as others. The interval allows for
          seconds that vary from batch to batch. The designs run one after another: if other work on the machine begins
          or ends meanwhile, this ratio is wrong by as much as ``seconds_per_evaluation`` shows.

        Efficiencies are NaN where the replicate means vary by rounding alone. They are jackknife estimates, which
        remove the bias of a ratio of variances of few replicates. So they differ a little from the ratio of the
        printed standard errors. A sum of levels has the jackknife's estimate for independent levels
        (`mcgen.inference.efficiency`). Its numbers of replicates and points are those of the finest level.

        An average over conditions on independent random numbers is such a sum too. Its rows have further columns:

        - ``mean_half_width``: the average over the conditions of the half-width of each condition's Student t interval;
        - ``relative_efficiency_mean_width``: the squared ratio of these averages, baseline over design, at equal
          numbers of evaluations;
        - ``efficiency_geometric_mean``, with ``geometric_mean_low`` and ``geometric_mean_high``: the geometric mean of
          the efficiencies under each condition (`by_condition`), and its t interval over the conditions as if they were
          a sample. Conditions under which an efficiency is NaN are not in it.
        """
        import pandas as pd

        base = self.estimates[self.baseline]
        rows = [rows_of_design(one, base, label) for one, label in zip(self.estimates, self.labels, strict=True)]
        return pd.concat(rows, ignore_index=True)

    def by_condition(self) -> pd.DataFrame:
        """Return a table with a row for each design, condition and component, with the columns of `to_frame`.

        Each condition bears an equal share of the evaluations of a pilot.

        Raises
        ------
        ValueError
            If the designs were compared without conditions, or under one.
        """
        import pandas as pd

        base = self.estimates[self.baseline]
        if not base.conditions:
            raise ValueError(
                f"by_condition needs a comparison under several conditions; this one has the condition "
                f"{base.provenance.condition}. Use to_frame(), or compare with condition=[...]"
            )
        pairs = zip(self.estimates, self.labels, strict=True)
        return pd.concat(
            [rows for one, label in pairs for rows in rows_by_condition(one, base, label)], ignore_index=True
        )

    def best(self, component: str | None = None) -> tuple[str, ...]:
        """Return the designs that cannot be told from the most efficient one, by decreasing estimated efficiency.

        Parameters
        ----------
        component : str, optional
            Which component; needed where the statistic has several.

        Returns
        -------
        tuple of str
            One or more `labels`. A single one is the most efficient design at the confidence level. Designs without an
            efficiency, whose replicate means do not vary, come last.

        Raises
        ------
        ValueError
            If there are several components and none is named.
        KeyError
            If there is no such component.

        Notes
        -----
        A design is excluded if the interval of its efficiency relative to some other design lies below 1. Efficiencies
        are those of `to_frame`: by evaluations, with their cost and pilots. The intervals
        hold together for all designs and components, by Bonferroni's level. So the most efficient design is among
        those returned with about the probability of the confidence level or more. The intervals are approximate for
        few, skewed replicate means. Several designs in the answer are not proved equal: more evaluations may separate
        them.

        Examples
        --------
        >>> import numpy as np
        >>> import mcgen
        >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
        >>> designs = [mcgen.MonteCarlo(), mcgen.Antithetic()]
        >>> options = dict(designs=designs, n_evaluations=2000, seed=0)
        >>> mcgen.compare(generator, mcgen.statistics.pixel_mean, **options).best()
        ('Antithetic()',)
        """
        first = self.estimates[0]
        number = number_of_component(first.names, component, first.provenance.statistic)
        return tuple(self.labels[i] for i in self._ranking().best[number])

    def _ranking(self) -> Ranking:
        return Ranking(self.estimates, self.baseline, self.labels)

    def save(self, path: str | Path) -> None:
        """Write the comparison as JSON, from which `load` makes an equal one."""
        parts = [estimate_to_plain(one) for one in self.estimates]
        write_json("comparison", {"baseline": self.baseline, "estimates": parts, "designs": self.designs}, path)

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read a comparison that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, is incomplete, or was written by a newer schema.
        """
        content = read_json("comparison", path)
        parts, baseline = content.get("estimates"), content.get("baseline")
        # Files of older versions have no designs.
        designs = content.get("designs", [])
        named = isinstance(designs, list) and all(isinstance(one, str) for one in designs)
        if not (named and isinstance(parts, list) and isinstance(baseline, int) and 0 <= baseline < len(parts)):
            raise ValueError(
                "the saved comparison is incomplete, or was changed by hand: it needs estimates, the number of one of "
                f"them as baseline, and the texts of their designs; got baseline {baseline!r} and designs {designs!r}. "
                "Save it again"
            )
        if len(designs) not in (0, len(parts)):
            raise ValueError(
                f"the saved comparison was changed by hand: it needs a design for each of {len(parts)} estimates; got "
                f"{len(designs)}. Save it again"
            )
        return cls(tuple(estimate_from_plain(part) for part in parts), baseline, tuple(designs))

    def to_markdown(self) -> str:
        """Return the table for reading (`readable`) as Markdown; its last row counts components that are left out."""
        return self._table().markdown()

    def to_latex(self) -> str:
        """Return the same table as a LaTeX ``tabular``."""
        return self._table().latex()

    def _table(self) -> Table:
        table = Table.of_frame(self.readable())
        if not self._hidden:
            return table
        more = ["...", f"{self._hidden:,} more components", *[""] * (len(table.header) - 2)]
        return Table(table.header, [*table.rows, more])

    @property
    def _hidden(self) -> int:
        """Number of components that tables for reading leave out."""
        return max(0, len(self.estimates[0].names) - _MOST_COMPONENTS)

    def plot(self, ax: AxesLike | None = None, *, components: Components | None = None) -> Figure:
        """Draw each design's interval beside its efficiency; needs matplotlib (the extra ``[plot]``).

        A component has two panels: the interval of each design's own result, and the efficiencies over the baseline
        with their intervals, on a logarithmic axis with a line at 1.

        Parameters
        ----------
        ax : Axes, or sequence or array of Axes, optional
            Where to draw. A sequence has two Axes for each component; onto a single Axes the efficiencies of a single
            component are drawn alone.
        components : int, str, or sequence of int and str, optional
            Which components to draw: the first so many, or those of some names or numbers. By default all, up to six.

        Raises
        ------
        TypeError, ValueError
            If `ax` does not fit the panels, a component is unknown, or replicate means were not kept.
        """
        return plot_comparison(self, ax, components)

    @property
    def provenance(self) -> Provenance:
        """The record of the estimate of the baseline."""
        return self.estimates[self.baseline].provenance

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the runs: one for each kind, with the number and the names of its designs."""
        parts = [(label, one.warnings) for label, one in zip(self.labels, self.estimates, strict=True)]
        return merged_warnings(parts, "design", self.estimates[0].names)

    def summary(self) -> str:
        """Return the long form: the table, what all runs share, and the warnings."""
        p = self.provenance
        facts = {
            "noise": p.noise,
            "condition": p.condition,
            "controls": p.controls,
            "versions": ", ".join(f"{name} {version}" for name, version in p.versions.items()),
        }
        named = [*zip(self.labels, self.estimates, strict=True)]
        plans = [
            f"{label}{_under(part)} is {part.provenance.design}; {part.provenance.plan}"
            for label, one in named
            for part in one.conditions or (one,)
            if part.provenance.plan
        ]
        partial = [f"PARTIAL: the run of {label} ended early" for label, one in named if one.partial]
        lines = [self._text(), *fact_lines(facts), *plans, *partial]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def __str__(self) -> str:
        return with_marks(self._text(), self.warnings)

    __repr__ = __str__

    def _text(self) -> str:
        """Return the table with its notes."""
        # What a pilot chose has a seed of its own, and fewer evaluations than were asked for.
        fixed = [one for one in self.estimates if not _plans(one)]
        p = (fixed or self.estimates)[0].provenance
        n_conditions = len(self.estimates[0].conditions)
        evaluations = p.n_evaluations + (0 if fixed else round(p.pilot_evaluations / max(1, n_conditions)))
        each = f" for each of {n_conditions} conditions" if n_conditions else ""
        lines = [
            f"{expectation_text(p)}, {evaluations:,} evaluations a design{each}, seed {p.seed_text}",
            f"efficiency: evaluations of {self.labels[self.baseline]} that one evaluation is worth, with its "
            f"{percent_of(self.estimates[0].confidence_level)} interval; in width: the squared ratio of the "
            "widths of Student t intervals",
            *([_ABOUT_CONDITIONS] if has_own_streams(self.estimates[0]) else []),
            self.readable().to_string(index=False),
            *self.notes(),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes())
        return frame_html(self.readable()) + notes + marks_html(self.warnings)

    def notes(self) -> list[str]:
        """Return the notes below the table: first which design is the most efficient, and whether that is certain."""
        found = self._ranking().sentences()
        few = min(map(fewest_replicates, self.estimates))
        if few < FEW_FOR_EFFICIENCY:
            found.append(
                f"Efficiencies are rough: the fewest replicates are {few}, and below {FEW_FOR_EFFICIENCY} their "
                "intervals are wide."
            )
        if any(one.provenance.pilot_evaluations for one in self.estimates):
            found.append("Efficiencies count the evaluations of pilots, as if this run alone had paid for them.")
        base = self.estimates[self.baseline]
        if has_own_streams(base) and (left_out := max(undefined_conditions(one, base) for one in self.estimates)):
            found.append(
                f"Over conditions: {left_out} of {len(base.conditions)} have no efficiency of some component, whose "
                "replicate means don't vary there; the geometric mean leaves them out."
            )
        if self._hidden:
            found.append(f"{self._hidden} more components are in to_frame().")
        return found

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: rounded, as text, grouped by component."""
        import pandas as pd

        order = {name: i for i, name in enumerate(self.estimates[0].names[:_MOST_COMPONENTS])}
        replicates, k = [*map(_replicates_text, self.estimates)], len(self.estimates[0].names)
        frame = self.to_frame()
        frame = frame[frame["component"].isin(list(order))]
        frame = frame.sort_values("component", key=lambda names: names.map(order), kind="stable")
        piloted = any(one.provenance.pilot_evaluations for one in self.estimates)
        rows = [
            {
                "component": row["component"],
                "design": row["design"],
                "replicates": replicates[number // k],
                **({"pilot": f"{row['pilot_evaluations']:,}"} if piloted else {}),
                "mean": component_text(row["mean"], row["low"], row["high"], row["half_width"]),
                "efficiency": _ratio_text(row, *EFFICIENCY),
                "in width": f"{row['relative_efficiency_width']:.3g}",
                **_over_conditions(row),
                "ms/evaluation": f"{1e3 * row['seconds_per_evaluation']:.3g}",
                "per second": _ratio_text(row, *PER_SECOND),
            }
            for number, row in zip(frame.index.tolist(), frame.to_dict("records"), strict=True)
        ]
        return pd.DataFrame(rows)


def label_of_design(asked: str, made: Estimate) -> str:
    """Return the name of a row: its design, or for one that a pilot chose also what was asked for."""
    plans = _plans(made)
    if not plans:
        return made.provenance.design
    word = "auto" if asked == made.provenance.design else asked
    # Each condition has its own plan; the conditions show them.
    return f"{word}: {plans[0]}" if len(set(plans)) == 1 else word


def _plans(one: Estimate) -> list[str]:
    """Return the short names of what plans chose, under each condition where there are several; empty without plans."""
    return [chosen for part in one.conditions or (one,) if (chosen := chosen_by(part.provenance)) is not None]


def _under(part: Estimate) -> str:
    """Return the words for the condition of an estimate; nothing where it has none."""
    return "" if part.provenance.condition is None else f" under condition {part.provenance.condition}"


def _replicates_text(one: Estimate) -> str:
    """Return the replicates and their points, those of each level for a sum of levels."""
    if has_own_streams(one):
        texts = dict.fromkeys(map(_replicates_text, one.conditions))
        return next(iter(texts)) if len(texts) == 1 else "by condition"
    return " + ".join(f"{part.n_replicates} x {part.provenance.n_points}" for part in one.levels or (one,))


def _over_conditions(row: Any) -> dict[str, str]:
    """Return the cells of a row about its conditions; none where it is no average over independent conditions."""
    if "mean_half_width" not in row:
        return {}
    return {
        "mean half-width": f"{row['mean_half_width']:.3g}",
        "in mean width": f"{row['relative_efficiency_mean_width']:.3g}",
        "over conditions": _ratio_text(row, *GEOMETRIC_MEAN),
    }


def _ratio_text(row: Any, value: str, low: str, high: str) -> str:
    if row[low] == row[high]:
        return "1 (baseline)"
    return "not defined" if np.isnan(row[value]) else f"{row[value]:.3g} [{row[low]:.3g}, {row[high]:.3g}]"

"""The result of a comparison of designs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.serialization import read_json, write_json
from mcgen.inference.efficiency import log_variance, stretch_between
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.log_ratios import LogRatio
from mcgen.results.estimate import Estimate, estimate_from_plain
from mcgen.results.figures import plot_comparison
from mcgen.results.notes import marks_html, merged_warnings, with_marks
from mcgen.results.provenance import Provenance, expectation_text, percent_of
from mcgen.results.saved import estimate_to_plain
from mcgen.results.tables import Table
from mcgen.results.text import component_text, fact_lines, frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FEW_FOR_EFFICIENCY = 100
"""Replicates below which the interval of an efficiency is wide: several times the efficiency for skewed means."""

# The most components in a printed table, so that it fits a page.
_MOST_COMPONENTS = 12

_EFFICIENCY = ("relative_efficiency", "efficiency_low", "efficiency_high")
_PER_SECOND = ("efficiency_per_second", "per_second_low", "per_second_high")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Estimates of the same quantity by several designs; made by `compare`.

    Attributes
    ----------
    estimates : tuple of Estimate
        The estimate of each design, on independent random numbers.
    baseline : int
        Number of the estimate that the efficiencies are relative to.
    """

    estimates: tuple[Estimate, ...]
    baseline: int

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each design and component.

        It has these columns beside those of `Estimate.to_frame`:

        - ``pilot_evaluations``: the evaluations before the run that made the design;
        - ``relative_efficiency``: the ratio of variance times evaluations, baseline over design, pilots included; with
          its interval ``efficiency_low``, ``efficiency_high``;
        - ``relative_efficiency_width``: the same ratio with the squared widths of Student's t intervals in place of the
          variances, so that the t quantile of few replicates counts;
        - ``seconds_per_evaluation``;
        - ``efficiency_per_second``: the ratio of variance times seconds, a pilot's evaluations taken to last as long
          as others; with its interval ``per_second_low``, ``per_second_high``. The interval allows for seconds that
          vary from batch to batch. The designs run one after another: where other work on the machine begins or ends
          meanwhile, this ratio is off by as much as ``seconds_per_evaluation`` shows.

        Efficiencies are NaN where the replicate means vary by rounding alone. They are jackknife estimates, which
        remove the bias of a ratio of variances of few replicates; so they differ a little from the ratio of the printed
        standard errors.
        """
        import pandas as pd

        base = self.estimates[self.baseline]
        return pd.concat([_rows(one, base) for one in self.estimates], ignore_index=True)

    def save(self, path: str | Path) -> None:
        """Write the comparison as JSON, from which `load` makes an equal one."""
        parts = [estimate_to_plain(one) for one in self.estimates]
        write_json("comparison", {"baseline": self.baseline, "estimates": parts}, path)

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
        if not (isinstance(parts, list) and isinstance(baseline, int) and 0 <= baseline < len(parts)):
            raise ValueError(
                "the saved comparison is incomplete, or was changed by hand: it needs estimates, and the number of one "
                f"of them as baseline; got baseline {baseline!r}. Save it again"
            )
        return cls(tuple(estimate_from_plain(part) for part in parts), baseline)

    def to_markdown(self) -> str:
        """Return the table for reading (`readable`) as Markdown."""
        return Table.of_frame(self.readable()).markdown()

    def to_latex(self) -> str:
        """Return the table for reading (`readable`) as a LaTeX ``tabular``."""
        return Table.of_frame(self.readable()).latex()

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw each design's interval, a panel a component (up to six); needs matplotlib (the extra ``[plot]``).

        Onto `ax` for a single component.
        """
        return plot_comparison(self, ax)

    @property
    def provenance(self) -> Provenance:
        """What was done to get the estimate of the baseline."""
        return self.estimates[self.baseline].provenance

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the runs warned of: one warning for each kind, with the number and the names of its designs."""
        parts = [(one.provenance.design, one.warnings) for one in self.estimates]
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
        partial = [f"PARTIAL: the run of {one.provenance.design} ended early" for one in self.estimates if one.partial]
        return "\n".join([self._text(), *fact_lines(facts), *partial, *(f"warning: {text}" for text in self.warnings)])

    def __str__(self) -> str:
        return with_marks(self._text(), self.warnings)

    __repr__ = __str__

    def _text(self) -> str:
        """Return the table with its notes."""
        p = self.provenance
        lines = [
            f"{expectation_text(p)}, {p.n_evaluations:,} evaluations a design, seed {p.seed_text}",
            f"efficiency: evaluations of {p.design} that one evaluation is worth, with its "
            f"{percent_of(self.estimates[0].confidence_level)} interval; in width: the squared ratio of the "
            "widths of Student t intervals",
            self.readable().to_string(index=False),
            *self.notes(),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{note}</p>" for note in self.notes())
        return frame_html(self.readable()) + notes + marks_html(self.warnings)

    def notes(self) -> list[str]:
        """Return the notes that belong below the table."""
        found = []
        few = min(one.n_replicates for one in self.estimates)
        if few < FEW_FOR_EFFICIENCY:
            found.append(
                f"Efficiencies are rough: the fewest replicates are {few}, and below {FEW_FOR_EFFICIENCY} their "
                "intervals are wide."
            )
        if any(one.provenance.pilot_evaluations for one in self.estimates):
            found.append("Efficiencies count the evaluations of pilots, as if this run alone had paid for them.")
        hidden = len(self.estimates[0].names) - _MOST_COMPONENTS
        if hidden > 0:
            found.append(f"{hidden} more components are in to_frame().")
        return found

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: rounded, as text, grouped by component."""
        import pandas as pd

        order = {name: i for i, name in enumerate(self.estimates[0].names[:_MOST_COMPONENTS])}
        frame = self.to_frame()
        frame = frame[frame["component"].isin(list(order))]
        frame = frame.sort_values("component", key=lambda names: names.map(order), kind="stable")
        piloted = any(one.provenance.pilot_evaluations for one in self.estimates)
        rows = [
            {
                "component": row["component"],
                "design": row["design"],
                "replicates": f"{row['n_replicates']} x {row['n_points']}",
                **({"pilot": f"{row['pilot_evaluations']:,}"} if piloted else {}),
                "mean": component_text(row["mean"], row["low"], row["high"], row["half_width"]),
                "efficiency": _ratio_text(row, *_EFFICIENCY),
                "in width": f"{row['relative_efficiency_width']:.3g}",
                "ms/evaluation": f"{1e3 * row['seconds_per_evaluation']:.3g}",
                "per second": _ratio_text(row, *_PER_SECOND),
            }
            for _, row in frame.iterrows()
        ]
        return pd.DataFrame(rows)


def _rows(one: Estimate, base: Estimate) -> pd.DataFrame:
    frame = one.to_frame() if not one.conditions else one.to_frame().tail(len(one.names)).reset_index(drop=True)
    frame.insert(0, "design", one.provenance.design)
    frame.insert([*frame.columns].index("n_replicates"), "n_points", one.provenance.n_points)
    frame.insert([*frame.columns].index("n_evaluations") + 1, "pilot_evaluations", one.provenance.pilot_evaluations)
    work = _log_work(base).minus(_log_work(one)) if one is not base else _log_one(len(one.names))
    times = one.provenance, base.provenance
    speed = math.log(times[1].seconds_per_evaluation / times[0].seconds_per_evaluation)
    noise = sum(part.timing_error**2 for part in times) if one is not base else 0.0
    timed = replace(work.plus_noise(noise), value=work.value + speed)
    stretch = stretch_between(base.n_replicates, one.n_replicates)
    for log_ratio, (point, low, high) in ((work, _EFFICIENCY), (timed, _PER_SECOND)):
        frame[point], interval = log_ratio.exp(one.confidence_level, stretch)
        frame[low], frame[high] = interval.low, interval.high
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = (_student_half_width(base) / _student_half_width(one)) ** 2 * (_spent(base) / _spent(one))
    frame["relative_efficiency_width"] = np.where(np.isnan(work.value), np.nan, widths)
    frame["seconds_per_evaluation"] = one.provenance.seconds_per_evaluation
    return frame


def _student_half_width(one: Estimate) -> Floats:
    """Return the half-widths of Student's t intervals: the same kind for all designs, whichever their own are."""
    t = student_t_quantile((1 + one.confidence_level) / 2, np.ravel(one.degrees_of_freedom))
    return np.asarray(t * np.ravel(one.standard_error))


def _log_one(k: int) -> LogRatio:
    """Return the log of the efficiency of the baseline over itself."""
    return LogRatio(np.zeros(k), np.zeros(k), np.full(k, np.inf))


def _log_work(one: Estimate) -> LogRatio:
    """Return the log of (variance of a replicate mean) x (evaluations spent for a replicate, pilot included)."""
    if one.replicate_means is None or one.within is None:
        raise ValueError(
            "an efficiency needs the replicate means, which this estimate does not have; compare with "
            "keep_replicates=True"
        )
    log = log_variance(one.replicate_means, one.within, one.provenance.rounding)
    each = one.provenance.n_points * _spent(one)
    return replace(log, value=log.value + np.log(each))


def _spent(one: Estimate) -> float:
    """Return the evaluations spent, a pilot's included, over those of the run, under all its conditions."""
    evaluations = one.n_evaluations * max(1, len(one.conditions))
    return (evaluations + one.provenance.pilot_evaluations) / evaluations


def _ratio_text(row: Any, value: str, low: str, high: str) -> str:
    if row[low] == row[high]:
        return "1 (baseline)"
    return "not defined" if np.isnan(row[value]) else f"{row[value]:.3g} [{row[low]:.3g}, {row[high]:.3g}]"

"""A plan: what a pilot found, what was chosen, and the run of the choice."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.serialization import read_json, write_json
from mcgen.designs import Antithetic
from mcgen.errors import CoverageWarning, partial_of, warn_user, with_partial
from mcgen.inference.interval_input import Interval
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.task import Estimand
from mcgen.results.estimate import Estimate
from mcgen.results.figures.base import Components
from mcgen.results.figures.designs import plot_predictions
from mcgen.results.notes import marks_html, with_marks
from mcgen.results.tables import Table
from mcgen.results.text import frame_html, more_text, shown_components
from mcgen.runs.execution import run
from mcgen.runs.options import RunOptions
from mcgen.variance_reduction.levels.sum_of_levels import SumOfLevels, levels_of
from mcgen.variance_reduction.planning.candidate import LEGEND, Candidate, efficiencies, geometric_mean
from mcgen.variance_reduction.planning.saved import (
    NOT_RUN,
    PlanProvenance,
    attributes_from_plain,
    candidate_to_plain,
    numbers_to_plain,
    provenance_to_plain,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# The 90 % quantile of the normal distribution: 80 % prediction intervals reach so far.
_Z = 1.2815515594600038
_COLUMNS = ["candidate", "component", "replicates", "evaluations", "half_width", "low", "high"]
_COLUMNS += ["efficiency", "known_from", "chosen"]
# Up to so many components have columns of their own in what is printed.
_SHOWN = 6
# A difference of levels is warned of above this many times the variance that its correlation says; 25 pairs scatter
# less than that.
_FAR_OFF = 4.0


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """What a pilot found, and the design that it chose; made by `plan`.

    ``print(plan)`` shows all candidates and the reasons for the choice. ``plan.estimate()`` runs the chosen one.

    Attributes
    ----------
    candidates : tuple of Candidate
        All ways of spending the evaluations that were compared.
    chosen : Candidate
        The one that `estimate` runs.
    pilot_evaluations : int
        The cost of the pilot.
    reasons : tuple of str
        Why it was chosen.
    names : tuple of str
        Names of the components; empty where there was no pilot.
    correlations : tuple of ndarray of shape (k,)
        Correlation in the pilot of antithetic pair means, between the generator and each coarse one.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> made = mcgen.plan(model, mcgen.statistics.pixel_mean, n_evaluations=3200, seed=0)
    >>> made.chosen.name, made.pilot_evaluations
    ('sobol 128', 246)
    >>> result = made.estimate()
    >>> result.n_evaluations
    2944
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    pilot_evaluations: int
    reasons: tuple[str, ...]
    names: tuple[str, ...]
    correlations: tuple[Floats, ...]
    _estimand: Estimand | None
    _options: RunOptions | None
    _saved: PlanProvenance | None = None

    @property
    def provenance(self) -> PlanProvenance:
        """What was planned."""
        if self._saved is not None:
            return self._saved
        assert self._estimand is not None
        return PlanProvenance.of(self._estimand, self.n_evaluations)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning if rare failures of the coarse generator may go unseen; everything else is in the `reasons`."""
        return (self.chosen.unseen,) if self.chosen.unseen else ()

    @property
    def n_evaluations(self) -> int:
        """The cost of pilot and run together, in evaluations of the generator, for whole replicates."""
        return self.pilot_evaluations + self.chosen.n_evaluations

    @property
    def half_width(self) -> Floats:
        """The predicted half-width of each component; NaN, or empty, where there was no pilot."""
        return self.chosen.half_width

    @property
    def prediction(self) -> Interval:
        """The 80 % prediction interval of each component's half-width."""
        spread = np.exp(_Z * self.chosen.error)
        return Interval(self.half_width / spread, self.half_width * spread)

    def estimate(self) -> Estimate:
        """Run the chosen candidate, on random numbers that the pilot did not use.

        Raises
        ------
        ValueError
            If the plan was loaded from a file, which holds no model.
        """
        try:
            made = self._run()
        except Exception as error:
            part = partial_of(error, Estimate)
            if part is not None:
                with_partial(error, self._told(part))
            raise
        return self._told(made)

    def _run(self) -> Estimate:
        chosen, estimand, options = self.chosen, self._estimand, self._options
        if estimand is None or options is None:
            raise ValueError(NOT_RUN)
        if chosen.coarse is None:
            design, count = chosen.designs[0], chosen.n_replicates[0]
            task = estimand.task(design, checked_batch_size(options.batch_size, design.n_points, count))
            return run(task, count, replace(options, controls=chosen.controls))
        assert chosen.coefficients is not None
        generators = [(chosen.coarse.generator, chosen.coarse.cost), (estimand.generator, 1.0)]
        parts = levels_of(generators, chosen.designs)
        levels = SumOfLevels(parts, [chosen.coefficients], chosen.n_replicates, 0, self.warnings)
        for text in self.warnings:
            warn_user(text, CoverageWarning)
        made = levels.run(estimand, options)
        return made if chosen.left is None else _with_check(made, chosen.left)

    def _told(self, made: Estimate) -> Estimate:
        """Return the estimate with what its plan cost, and why it was chosen."""
        told = replace(made.provenance, pilot_evaluations=self.pilot_evaluations, plan="; ".join(self.reasons))
        return replace(made, provenance=told)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each candidate and component; no rows where there was no pilot.

        Columns: candidate, component, replicates, evaluations, half_width, its prediction interval (low, high),
        efficiency (over antithetic pairs: the squared ratio of half-widths), known_from, chosen.
        """
        import pandas as pd

        rows = []
        for one in self.candidates:
            spread = np.exp(_Z * one.error)
            efficiency = self._efficiencies(one)
            for j, component in enumerate(self.names):
                rows.append(
                    {
                        "candidate": one.name,
                        "component": component,
                        "replicates": " + ".join(map(str, one.n_replicates)),
                        "evaluations": one.n_evaluations,
                        "half_width": one.half_width[j],
                        "low": one.half_width[j] / spread[j],
                        "high": one.half_width[j] * spread[j],
                        "efficiency": efficiency[j],
                        "known_from": one.known_from,
                        "chosen": one is self.chosen,
                    }
                )
        return pd.DataFrame(rows, columns=_COLUMNS)

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: a row for each candidate, with its efficiencies over antithetic pairs.

        For more than 6 components it has only the geometric mean and the least of the efficiencies; where there was no
        pilot it has none.
        """
        import pandas as pd

        rows = []
        for one in self.candidates:
            efficiency = self._efficiencies(one)
            row = {"": "->" if one is self.chosen else "", "candidate": one.name}
            row |= {"replicates": " + ".join(map(str, one.n_replicates)), "evaluations": f"{one.n_evaluations:,}"}
            if len(self.names) <= _SHOWN:
                row |= {name: f"{value:.2g}" for name, value in zip(self.names, efficiency, strict=True)}
            if len(self.names) > 1:
                row |= {"overall": f"{geometric_mean(efficiency):.2g}", "least": f"{efficiency.min():.2g}"}
            rows.append(row | {"known from": one.known_from})
        return pd.DataFrame(rows)

    def _efficiencies(self, one: Candidate) -> Floats:
        """Return the efficiencies of a candidate over antithetic pairs; none where there was no pilot."""
        if not self.names:
            return np.empty(0)
        # The designs of a loaded plan are texts.
        alone = [str(Antithetic())]
        pairs = (two for two in self.candidates if [*map(str, two.designs)] == alone and two.controls is None)
        return efficiencies(one, next(pairs))

    def summary(self) -> str:
        """Return the long form, which is what ``print`` shows."""
        return str(self)

    def to_markdown(self) -> str:
        """Return the table for reading (`readable`), with the predicted half-widths, as Markdown."""
        return Table.of_frame(self._with_widths()).markdown()

    def to_latex(self) -> str:
        """Return the same table as a LaTeX ``tabular``."""
        return Table.of_frame(self._with_widths()).latex()

    def _with_widths(self) -> pd.DataFrame:
        """Return the table for reading with the predicted half-widths of each candidate, before the last column.

        For more than 6 components it has only the largest half-width; where there was no pilot it has none.
        """
        frame = self.readable()
        texts = [self._width_texts(one) for one in self.candidates]
        if len(self.names) > _SHOWN:
            largest = [int(np.nan_to_num(one.half_width).argmax()) for one in self.candidates]
            columns = {"largest half-width": [row[j] for row, j in zip(texts, largest, strict=True)]}
        else:
            of = [f" of {name}" if len(self.names) > 1 else "" for name in self.names]
            columns = {f"half-width{name}": [row[j] for row in texts] for j, name in enumerate(of)}
        for name, cells in columns.items():
            frame.insert(frame.shape[1] - 1, name, cells)
        return frame

    def _width_texts(self, one: Candidate) -> list[str]:
        """Return each component's predicted half-width with its 80 % prediction interval."""
        if not self.names:
            return []
        spread = np.exp(_Z * one.error)
        ends = np.stack([one.half_width, one.half_width / spread, one.half_width * spread], axis=1)
        return [f"{middle:.2g} [{low:.2g}, {high:.2g}]" for middle, low, high in ends.tolist()]

    def plot(self, ax: AxesLike | None = None, *, components: Components | None = None) -> Figure:
        """Draw the predicted half-width of each candidate as a bar with its 80 % prediction interval.

        A panel a component (up to twelve); the chosen candidate has its own colour. Needs matplotlib (the extra
        ``[plot]``).

        Parameters
        ----------
        ax : Axes, or sequence or array of Axes, optional
            Where to draw, one for each panel.
        components : int, str, or sequence of int and str, optional
            Which components to draw: the first so many, or those of some names or numbers.

        Raises
        ------
        TypeError, ValueError
            If there was no pilot, `ax` is not one Axes for each panel, or a component is unknown.
        """
        if not self.names:
            raise ValueError(
                "a plan without a pilot predicts no half-widths, and has nothing to draw; plan with 1,000 evaluations "
                "or more for a pilot"
            )
        spreads = [np.exp(_Z * one.error) for one in self.candidates]
        predictions = np.stack(
            [
                np.stack([one.half_width, one.half_width / spread, one.half_width * spread])
                for one, spread in zip(self.candidates, spreads, strict=True)
            ]
        )
        chosen = next(number for number, one in enumerate(self.candidates) if one is self.chosen)
        return plot_predictions([one.name for one in self.candidates], self.names, predictions, chosen, ax, components)

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON: its numbers and texts, from which `load` makes a plan that shows the same.

        The file holds no model: a loaded plan can't run.
        """
        write_json("plan", self._to_plain(), path)

    def __eq__(self, other: object) -> bool:
        """Return whether two plans show the same; models do not count, since a file holds none."""
        return self._to_plain() == other._to_plain() if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.chosen.name, self.pilot_evaluations, self.reasons))

    def _to_plain(self) -> dict[str, Any]:
        return {
            "provenance": provenance_to_plain(self.provenance),
            "candidates": [candidate_to_plain(one) for one in self.candidates],
            "chosen": [one is self.chosen for one in self.candidates].index(True),
            "pilot_evaluations": self.pilot_evaluations,
            "reasons": self.reasons,
            "names": self.names,
            "correlations": [numbers_to_plain(one) for one in self.correlations],
        }

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that `save` wrote. It shows the same as the saved one, and its `estimate` raises ValueError.

        Raises
        ------
        ValueError
            If the file holds something else, is incomplete, or was written by a newer schema.
        """
        content = read_json("plan", path)
        try:
            return cls(**attributes_from_plain(content), _estimand=None, _options=None)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ValueError(
                f"the saved plan is incomplete, or was changed by hand or by another version ({error!r}); save it again"
            ) from error

    def __str__(self) -> str:
        p = self.provenance
        lines = [
            f"{p.generator}, {p.statistic}: {self.n_evaluations:,} evaluations, of these {self.pilot_evaluations:,} "
            "in the pilot"
        ]
        if self.names:
            lines += [
                "efficiency over antithetic pairs, by width, of each component:",
                self.readable().to_string(index=False),
                LEGEND,
            ]
        lines += self.reasons
        if self.names:
            parts = zip(self.names[:_SHOWN], self._width_texts(self.chosen), strict=False)
            told = ", ".join(f"{name} {text}" for name, text in parts)
            lines.append(f"predicted half-width [80 % prediction interval]: {told}")
        return with_marks("\n".join(lines), self.warnings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = frame_html(self.readable()) + f"<p>{html.escape(LEGEND)}</p>" if self.names else ""
        reasons = "".join(f"<p>{html.escape(reason)}</p>" for reason in self.reasons)
        return table + reasons + self._widths_html() + marks_html(self.warnings)

    def _widths_html(self) -> str:
        """Return the predicted half-widths of the chosen candidate, those of many components left out in the middle."""
        if not self.names:
            return ""
        texts = self._width_texts(self.chosen)
        rows = [
            ["...", more_text(len(texts))] if j is None else [self.names[j], texts[j]]
            for j in shown_components(len(texts))
        ]
        return Table(["component", "predicted half-width [80 % prediction interval]"], rows).html()


def _with_check(made: Estimate, left: Floats) -> Estimate:
    """Warn where the levels do not vary as the share of variance that the coarse generator leaves says they should."""
    below, above = (np.ravel(part.standard_error) ** 2 * part.n_replicates for part in made.levels)
    if not (above > _FAR_OFF * np.maximum(left, 0.01) * below).any():
        return made
    text = (
        "the difference of the levels varies far more than the correlation or the fit says: the coarse generator "
        "follows the fine one less, or its pair means vary otherwise. Antithetic pairs may do better; look at the "
        "correlations and the choice of mcgen.plan with 1,000 evaluations or more"
    )
    warn_user(text, CoverageWarning)
    return replace(made, warnings=(*made.warnings, text))
